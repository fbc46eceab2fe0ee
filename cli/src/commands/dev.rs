//! `viewstone dev`: a whole cluster in one process, durable in one directory, for this machine alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use protocol::types::ReplicaId;
use tokio::sync::watch;
use tokio::task::JoinSet;
use transport::ClusterKey;

use super::open_files::raise_limit;
use super::signals::stop_upon_signal;
use super::{Failure, print};
use crate::settings::{Cluster, Listening, Logging, Reserve, Seat, Setting, Sources};
use crate::{logging, process};

const KEY_NAME: &str = "cluster-key";

pub(super) fn command() -> Command {
    Command::new("dev")
        .about("Run a whole cluster in one process, reachable from this machine only")
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIRECTORY")
                .default_value("viewstone-data")
                .value_parser(value_parser!(PathBuf))
                .help("Where everything is kept"),
        )
        .arg(
            Arg::new("replicas")
                .long("replicas")
                .value_name("NUMBER")
                .default_value("3")
                .value_parser(value_parser!(u8).range(1..=7))
                .help("How many replicas. Fixed once there is data"),
        )
        .arg(
            Arg::new("port")
                .long("port")
                .value_name("PORT")
                .default_value("7400")
                .value_parser(value_parser!(u16).range(1..=65_000))
                .help("The first replica's port. The others have the next ones"),
        )
        .args(Logging::SETTINGS.iter().copied().map(Setting::argument))
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let logging = Logging::from(&Sources::of_process(matches, Logging::SETTINGS)?)?;
    let dir = matches.get_one::<PathBuf>("dir").expect("it has a default");
    let replicas = *matches.get_one::<u8>("replicas").expect("it has a default");
    let port = *matches.get_one::<u16>("port").expect("it has a default");
    logging::start(logging);
    raise_limit();

    let key = open_key(dir)?;
    let address = |id: u8| SocketAddr::from((Ipv4Addr::LOCALHOST, port + u16::from(id)));
    let peers: Vec<String> = (0..replicas).map(|id| address(id).to_string()).collect();
    print(&format!(
        "A cluster of {replicas} in {}. Ctrl-C stops it; what was acknowledged stays.\n\
         Look at it:    viewstone status --peers {peers} --cluster-key-file {key}\n\
         Load it:       viewstone bench --direct --peers {peers} --cluster-key-file {key}\n",
        dir.display(),
        peers = peers.join(","),
        key = dir.join(KEY_NAME).display(),
    ))?;

    let runtime = tokio::runtime::Runtime::new().map_err(Failure::new)?;
    let ended = runtime.block_on(async {
        let stop = stop_upon_signal().map_err(Failure::new)?;
        let cluster = Cluster { peers, key };
        let seats = (0..replicas).map(|id| {
            // All replicas live in one directory, beside the key: what is lost is lost with the key that
            // would tell, and a cluster whose key is gone is a new one in any case.
            let listening = Listening {
                listen: vec![address(id)],
                admin: None,
                reserve: Reserve::STANDARD,
                new_cluster: true,
            };
            let dir = dir.join(format!("replica-{id}"));
            (Seat { dir, replica: ReplicaId::new(id), cluster: cluster.clone() }, listening)
        });
        run_all(seats, stop).await
    });
    runtime.shutdown_background();
    ended.map(|()| ExitCode::SUCCESS)
}

/// The same key as long as the directory lives: identities follow from it, and so does the cluster's name.
fn open_key(dir: &Path) -> Result<ClusterKey, Failure> {
    let path = dir.join(KEY_NAME);
    std::fs::create_dir_all(dir).map_err(|error| Failure::new(format!("{}: {error}", dir.display())))?;
    if !path.exists() {
        let key = ClusterKey::generate().map_err(Failure::new)?;
        key.write_new(&path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    }
    ClusterKey::read(&path).map_err(Failure::new)
}

/// Until all have ended. The first that cannot go on ends the others.
async fn run_all(
    seats: impl Iterator<Item = (Seat, Listening)>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let (end, ends) = watch::channel(false);
    let mut replicas = JoinSet::new();
    for (seat, listening) in seats {
        let id = seat.replica;
        let replica = process::run(seat, listening, ends.clone(), |_| {});
        replicas.spawn(async move { (id, replica.await) });
    }
    let mut outcome = Ok(());
    loop {
        let ended = tokio::select! {
            ended = replicas.join_next() => ended,
            () = process::asked(&mut stop), if !*end.borrow() => {
                end.send_replace(true);
                continue;
            }
        };
        match ended {
            None => return outcome,
            Some(Ok((_, Ok(())))) => {}
            Some(Ok((id, Err(failure)))) => {
                tracing::error!(replica = id.get(), reason = %failure, "ended");
                outcome = outcome.and(Err(failure));
                end.send_replace(true);
            }
            Some(Err(error)) => outcome = outcome.and(Err(Failure::new(error))),
        }
    }
}
