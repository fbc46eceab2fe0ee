//! What the commands take, checked as a whole.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use protocol::quorums::Quorums;
use protocol::types::{Peer, ReplicaId};
use tracing::level_filters::LevelFilter;
use transport::ClusterKey;

use super::sources::{SettingError, Sources};
use super::table::{
    ADMIN, CLUSTER_KEY_FILE, CLUSTER_KEY_VARIABLE, CONFIG, DIR, LISTEN, LOG_FORMAT, LOG_LEVEL, NEW_CLUSTER,
    PEERS, REPLICA, RESERVE, Setting,
};
use super::values::{self, LogFormat, Reserve};

/// Which cluster: what everybody who talks to it must know.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// Hosts and ports in the order of the replicas' numbers.
    pub(crate) peers: Vec<String>,
    pub(crate) key: ClusterKey,
}

/// Which replica, and where its data is.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) dir: PathBuf,
    pub(crate) replica: ReplicaId,
    pub(crate) cluster: Cluster,
}

/// What a running replica needs besides.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) reserve: Reserve,
    /// Somebody said that the cluster is new. Says nothing about a directory that is not blank.
    pub(crate) new_cluster: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Logging {
    pub(crate) format: LogFormat,
    pub(crate) level: LevelFilter,
}

impl Cluster {
    pub(crate) const SETTINGS: &[&Setting] = &[&CONFIG, &PEERS, &CLUSTER_KEY_FILE];

    pub(crate) fn from(sources: &Sources) -> Result<Cluster, SettingError> {
        let peers = sources.required(&PEERS, values::peers)?;
        Ok(Cluster { peers, key: cluster_key(sources)? })
    }

    pub(crate) fn quorums(&self) -> Quorums {
        Quorums::of(self.peers.len())
    }

    /// How a process of this cluster speaks: as `own`, to all replicas, reached at `listen`.
    pub(crate) fn transport(&self, own: Peer, listen: Vec<SocketAddr>) -> transport::Settings {
        transport::Settings {
            key: self.key.clone(),
            own,
            listen,
            replicas: self.replicas().map(|(id, place)| (id, place.to_owned())).collect(),
            limits: transport::limits::Limits::default(),
        }
    }

    /// All replicas with their places.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = (ReplicaId, &str)> {
        (0..).map(ReplicaId::new).zip(self.peers.iter().map(String::as_str))
    }
}

impl Seat {
    pub(crate) const SETTINGS: &[&Setting] = &[&CONFIG, &DIR, &REPLICA, &PEERS, &CLUSTER_KEY_FILE];

    pub(crate) fn from(sources: &Sources) -> Result<Seat, SettingError> {
        let dir = sources.required(&DIR, values::path)?;
        let replica = sources.required(&REPLICA, values::replica)?;
        let cluster = Cluster::from(sources)?;
        if replica.index() >= cluster.peers.len() {
            return Err(SettingError::Together(format!(
                "replica is {replica}, but peers names {} replicas: their numbers begin with 0",
                cluster.peers.len()
            )));
        }
        Ok(Seat { dir, replica, cluster })
    }

    /// The entry of this replica itself.
    fn place(&self) -> &str {
        &self.cluster.peers[self.replica.index()]
    }
}

impl Listening {
    pub(crate) const SETTINGS: &[&Setting] = &[&LISTEN, &ADMIN, &RESERVE, &NEW_CLUSTER];
    const ADMIN_STANDARD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9100);

    pub(crate) fn from(sources: &Sources, seat: &Seat) -> Result<Listening, SettingError> {
        let port = values::port_of(seat.place()).expect("peers were checked when they were read");
        let everywhere = || vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()];
        Ok(Listening {
            listen: sources.optional(&LISTEN, values::addresses)?.unwrap_or_else(everywhere),
            admin: sources.optional(&ADMIN, values::admin)?.unwrap_or(Some(Listening::ADMIN_STANDARD)),
            reserve: sources.optional(&RESERVE, values::reserve)?.unwrap_or(Reserve::STANDARD),
            new_cluster: sources.optional(&NEW_CLUSTER, values::switch)?.unwrap_or(false),
        })
    }
}

impl Logging {
    pub(crate) const SETTINGS: &[&Setting] = &[&LOG_FORMAT, &LOG_LEVEL];

    pub(crate) fn from(sources: &Sources) -> Result<Logging, SettingError> {
        Ok(Logging {
            format: sources.optional(&LOG_FORMAT, values::log_format)?.unwrap_or(LogFormat::Text),
            level: sources.optional(&LOG_LEVEL, values::log_level)?.unwrap_or(LevelFilter::INFO),
        })
    }
}

/// The key itself may stand in the environment. It beats the file of settings like any variable does.
fn cluster_key(sources: &Sources) -> Result<ClusterKey, SettingError> {
    let from_file = |path: &str| ClusterKey::read(Path::new(path)).map_err(|error| error.to_string());
    let file = sources.find(&CLUSTER_KEY_FILE);
    let Some(text) = sources.variable(CLUSTER_KEY_VARIABLE) else {
        return sources.required(&CLUSTER_KEY_FILE, from_file);
    };
    match file {
        Some((_, super::sources::Origin::Flag(_))) => sources.required(&CLUSTER_KEY_FILE, from_file),
        Some((_, super::sources::Origin::Variable(other))) => Err(SettingError::Together(format!(
            "{CLUSTER_KEY_VARIABLE} and {other} are both set: which is meant?"
        ))),
        Some((_, super::sources::Origin::File(_))) | None => {
            text.trim().parse().map_err(|error: transport::KeyError| SettingError::Wrong {
                name: CLUSTER_KEY_FILE.name,
                origin: CLUSTER_KEY_VARIABLE.to_owned(),
                what: error.to_string(),
            })
        }
    }
}
