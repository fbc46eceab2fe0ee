//! What the commands take, checked as a whole.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use gateway::http::TlsFiles;
use protocol::quorums::Quorums;
use protocol::types::{Peer, ReplicaId};
use tracing::level_filters::LevelFilter;
use transport::ClusterKey;

use super::sources::{SettingError, Sources};
use super::table::{
    ACCESS_KEY, ADMIN, CLUSTER_KEY_FILE, CLUSTER_KEY_VARIABLE, CONFIG, DIR, DOMAINS, LISTEN, LOG_FORMAT,
    LOG_LEVEL, NEW_CLUSTER, PEERS, REGION, REPLICA, RESERVE, S3_LISTEN, SECRET_KEY_FILE, SECRET_KEY_VARIABLE,
    Setting, TLS_CERTIFICATES, TLS_KEY,
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
    /// The others go on when this one stops, so one of them should be primary by then.
    pub(crate) hands_over: bool,
    /// Somebody said that the cluster is new. Says nothing about a directory that is not blank.
    pub(crate) new_cluster: bool,
}

/// The S3 side.
#[derive(Clone)]
pub(crate) struct S3 {
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) region: String,
    pub(crate) domains: Vec<String>,
    /// The access key and its secret are those that are written in the README.
    pub(crate) known_keys: bool,
    pub(crate) tls: Option<TlsFiles>,
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
            is_quiet: false,
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
            hands_over: seat.cluster.peers.len() > 1,
            listen: sources.optional(&LISTEN, values::addresses)?.unwrap_or_else(everywhere),
            admin: sources.optional(&ADMIN, values::admin)?.unwrap_or(Some(Listening::ADMIN_STANDARD)),
            reserve: Reserve::from(sources)?,
            new_cluster: sources.optional(&NEW_CLUSTER, values::switch)?.unwrap_or(false),
        })
    }
}

impl Reserve {
    pub(crate) fn from(sources: &Sources) -> Result<Reserve, SettingError> {
        Ok(Reserve::given(sources)?.unwrap_or(Reserve::STANDARD))
    }

    pub(crate) fn given(sources: &Sources) -> Result<Option<Reserve>, SettingError> {
        sources.optional(&RESERVE, values::reserve)
    }
}

impl S3 {
    pub(crate) const SETTINGS: &[&Setting] =
        &[&S3_LISTEN, &ACCESS_KEY, &SECRET_KEY_FILE, &REGION, &DOMAINS, &TLS_CERTIFICATES, &TLS_KEY];
    pub(crate) const CREDENTIALS: &[&Setting] = &[&CONFIG, &ACCESS_KEY, &SECRET_KEY_FILE];
    const PORT: u16 = 9000;
    pub(crate) const REGION: &str = "us-east-1";

    pub(crate) fn from(sources: &Sources) -> Result<S3, SettingError> {
        let everywhere =
            || vec![(Ipv4Addr::UNSPECIFIED, S3::PORT).into(), (Ipv6Addr::UNSPECIFIED, S3::PORT).into()];
        let tls = match (
            sources.optional(&TLS_CERTIFICATES, values::path)?,
            sources.optional(&TLS_KEY, values::path)?,
        ) {
            (Some(certificates), Some(key)) => Some(TlsFiles { certificates, key }),
            (None, None) => None,
            (Some(_), None) => return Err(SettingError::Missing(&TLS_KEY)),
            (None, Some(_)) => return Err(SettingError::Missing(&TLS_CERTIFICATES)),
        };
        let Some((access_key, secret_key)) = S3::credentials(sources)? else {
            return Err(SettingError::Missing(&ACCESS_KEY));
        };
        let listen = sources.optional(&S3_LISTEN, values::addresses)?.unwrap_or_else(everywhere);
        S3::not_for_everybody(&listen, &secret_key)?;
        Ok(S3 {
            listen,
            access_key,
            secret_key,
            region: sources.optional(&REGION, values::region)?.unwrap_or_else(|| S3::REGION.to_owned()),
            domains: sources.optional(&DOMAINS, values::domains)?.unwrap_or_default(),
            known_keys: false,
            tls,
        })
    }
}

impl S3 {
    /// Where a gateway alone tells of itself: beside a replica on the same machine.
    const ADMIN_STANDARD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9101);

    /// What `dev` takes on its own machine if it is given no secret. Everybody knows it.
    pub(crate) const PUBLISHED_SECRET: &str = "viewstone-secret";

    /// Nobody gets in from another machine with a secret that stands in the documentation, also where it
    /// is in the environment.
    pub(crate) fn not_for_everybody(listen: &[SocketAddr], secret: &str) -> Result<(), SettingError> {
        let open = listen.iter().find(|address| !address.ip().is_loopback());
        match open.filter(|_| secret == S3::PUBLISHED_SECRET) {
            None => Ok(()),
            Some(open) => Err(SettingError::Together(format!(
                "{open} can be reached from other machines: set {} and {SECRET_KEY_VARIABLE} to keys of your own",
                ACCESS_KEY.variable(),
            ))),
        }
    }

    /// What a shell makes the secret of, as far as it may be shown.
    pub(crate) fn secret_for_shells(sources: &Sources, secret: &str) -> String {
        match sources.find(&SECRET_KEY_FILE) {
            _ if secret == S3::PUBLISHED_SECRET => secret.to_owned(),
            Some((path, _)) if sources.variable(SECRET_KEY_VARIABLE).is_none() => {
                format!("\"$(cat '{path}')\"")
            }
            _ => format!("\"${SECRET_KEY_VARIABLE}\""),
        }
    }

    pub(crate) fn admin(sources: &Sources) -> Result<Option<SocketAddr>, SettingError> {
        Ok(sources.optional(&ADMIN, values::admin)?.unwrap_or(Some(S3::ADMIN_STANDARD)))
    }

    /// The root user's access key and its secret. None if neither is given.
    pub(crate) fn credentials(sources: &Sources) -> Result<Option<(String, String)>, SettingError> {
        let secret =
            sources.find(&SECRET_KEY_FILE).is_some() || sources.variable(SECRET_KEY_VARIABLE).is_some();
        if !secret && sources.find(&ACCESS_KEY).is_none() {
            return Ok(None);
        }
        Ok(Some((sources.required(&ACCESS_KEY, values::access_key)?, secret_key(sources)?)))
    }
}

impl Logging {
    pub(crate) const SETTINGS: &[&Setting] = &[&LOG_FORMAT, &LOG_LEVEL];

    pub(crate) fn from(sources: &Sources) -> Result<Logging, SettingError> {
        Logging::with_standard(sources, LevelFilter::INFO)
    }

    /// For whoever looks on: nothing, unless something is wrong.
    pub(crate) fn calm(sources: &Sources) -> Result<Logging, SettingError> {
        Logging::with_standard(sources, LevelFilter::ERROR)
    }

    fn with_standard(sources: &Sources, level: LevelFilter) -> Result<Logging, SettingError> {
        Ok(Logging {
            format: sources.optional(&LOG_FORMAT, values::log_format)?.unwrap_or(LogFormat::Text),
            level: sources.optional(&LOG_LEVEL, values::log_level)?.unwrap_or(level),
        })
    }
}

fn cluster_key(sources: &Sources) -> Result<ClusterKey, SettingError> {
    let from_file = |path: &str| ClusterKey::read(Path::new(path)).map_err(|error| error.to_string());
    let from_text = |text: &str| text.parse().map_err(|error: transport::KeyError| error.to_string());
    secret(sources, &CLUSTER_KEY_FILE, CLUSTER_KEY_VARIABLE, from_file, from_text)
}

fn secret_key(sources: &Sources) -> Result<String, SettingError> {
    let from_file = |path: &str| {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        values::secret_key(text.trim())
    };
    secret(sources, &SECRET_KEY_FILE, SECRET_KEY_VARIABLE, from_file, values::secret_key)
}

/// A secret may stand in a file, or itself in the environment. There it beats the file of settings like
/// any variable does.
fn secret<T>(
    sources: &Sources,
    file: &'static Setting,
    variable: &'static str,
    from_file: impl FnOnce(&str) -> Result<T, String>,
    from_text: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, SettingError> {
    let Some(text) = sources.variable(variable) else {
        let given = sources.optional(file, from_file)?;
        return given.ok_or_else(|| {
            SettingError::Together(format!(
                "{}, or the secret itself in {variable}",
                SettingError::Missing(file)
            ))
        });
    };
    match sources.find(file) {
        Some((_, super::sources::Origin::Flag(_))) => sources.required(file, from_file),
        Some((_, super::sources::Origin::Variable(other))) => {
            Err(SettingError::Together(format!("{variable} and {other} are both set: which is meant?")))
        }
        Some((_, super::sources::Origin::File(_))) | None => {
            let wrong = |what| SettingError::Wrong { name: file.name, origin: variable.to_owned(), what };
            from_text(text.trim()).map_err(wrong)
        }
    }
}
