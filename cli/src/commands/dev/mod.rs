//! `viewstone dev`: a whole cluster and its S3 side in one process, durable in one directory.
//!
//! In reading order: where it is kept (`place`), and what it says (`greeting`).

mod greeting;
mod place;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};
use protocol::types::ReplicaId;
use replica::storage::disk::Disk;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::greeting::{Facts, Kept, greeting};
use self::place::{Disks, Place, check_ports, replace_lost};
use super::open_files::raise_limit;
use super::signals::stop_upon_signal;
use super::{Failure, print};
use crate::process::{Shared, client, s3};
use crate::settings::{Cluster, Listening, Logging, Reserve, S3, Seat, Setting, Sources, size, table};
use crate::{logging, process};

/// Goes with the secret that everybody knows.
const ACCESS_KEY: &str = "viewstone";

/// The disk is somebody's own, and full of other things: a share of it would be too much to ask for.
const RESERVE: Reserve = Reserve::Bytes(512 << 20);

/// After so long somebody wonders why it does not stop.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

fn settings() -> Vec<&'static Setting> {
    [S3::CREDENTIALS, &[&table::RESERVE], Logging::SETTINGS].concat()
}

pub(super) fn command() -> Command {
    Command::new("dev")
        .about("Run a whole cluster and serve S3 from one process")
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIRECTORY")
                .default_value("viewstone-data")
                .value_parser(value_parser!(PathBuf))
                .help("Where everything is kept"),
        )
        .arg(
            Arg::new("memory")
                .long("memory")
                .value_name("SIZE")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("2GiB")
                .value_parser(size)
                .conflicts_with("dir")
                .help("Keep everything in so much memory [2GiB] and forget it at the end"),
        )
        .arg(
            Arg::new("replicas")
                .long("replicas")
                .value_name("NUMBER")
                .value_parser(value_parser!(u8).range(1..=7))
                .help("How many replicas: 1, 3 or 5, for instance. Fixed once there is data [default: 3]"),
        )
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDRESS:PORT")
                .default_value("127.0.0.1:9000")
                .value_parser(value_parser!(SocketAddr))
                .help("Where S3 clients are served. Anything but this machine itself needs credentials"),
        )
        .arg(
            Arg::new("port")
                .long("port")
                .value_name("PORT")
                .default_value("7400")
                .value_parser(value_parser!(u16).range(1..=65_000))
                .help("The first replica's port on this machine. The others have the next ones"),
        )
        .args(settings().into_iter().map(Setting::argument))
}

/// What is run, and where.
struct Plan {
    dir: PathBuf,
    /// The bytes of memory, if nothing is to stay.
    memory: Option<u64>,
    cluster: Cluster,
    addresses: Vec<SocketAddr>,
    reserve: Reserve,
    s3: S3,
    /// As a shell is told.
    secret: String,
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let sources = Sources::of_process(matches, &settings())?;
    let listen = *matches.get_one::<SocketAddr>("listen").expect("it has a default");
    let s3 = s3_of(&sources, listen)?;
    let secret = S3::secret_for_shells(&sources, &s3.secret_key);
    let memory = matches.get_one::<u64>("memory").copied();
    // Memory that was given for this is for nothing else.
    let standard = if memory.is_some() { Reserve::Bytes(0) } else { RESERVE };
    let reserve = Reserve::given(&sources)?.unwrap_or(standard);
    let replicas = matches.get_one::<u8>("replicas").copied();
    let first_port = *matches.get_one::<u16>("port").expect("it has a default");
    logging::start(Logging::calm(&sources)?);
    raise_limit();

    let place = match memory {
        Some(size) => Place::in_memory(size, replicas.unwrap_or(place::REPLICAS_STANDARD))?,
        None => Place::on_disk(matches.get_one::<PathBuf>("dir").expect("it has a default"), replicas)?,
    };
    let addresses: Vec<_> = (0..place.replicas()).map(|id| address(first_port, id)).collect();
    check_ports(&addresses)?;
    let peers = addresses.iter().map(SocketAddr::to_string).collect();
    let cluster = Cluster { peers, key: place.key };
    let plan = Plan { dir: place.dir, memory: None, cluster, addresses, reserve, s3, secret };
    match place.disks {
        Disks::Real { disks, _lock } => run_to_its_end(plan, disks),
        Disks::Memory { disks, size } => run_to_its_end(Plan { memory: Some(size), ..plan }, disks),
    }
}

fn run_to_its_end<D: Disk>(plan: Plan, disks: Vec<D>) -> Result<ExitCode, Failure> {
    let forgets = plan.memory.is_some();
    let replaced = replace_lost(&plan.dir, &plan.cluster, &disks)?;
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::new)?;
    let ended = runtime.block_on(run_all(plan, disks, replaced));
    runtime.shutdown_background();
    ended?;
    print(if forgets { "  Stopped, and forgotten.\n" } else { "  Stopped.\n" })?;
    Ok(ExitCode::SUCCESS)
}

fn s3_of(sources: &Sources, listen: SocketAddr) -> Result<S3, Failure> {
    let given = S3::credentials(sources)?;
    let (access_key, secret_key) = match given {
        Some(given) => given,
        None => (ACCESS_KEY.to_owned(), S3::PUBLISHED_SECRET.to_owned()),
    };
    S3::not_for_everybody(&[listen], &secret_key)?;
    Ok(S3 {
        known_keys: secret_key == S3::PUBLISHED_SECRET,
        listen: vec![listen],
        access_key,
        secret_key,
        region: S3::REGION.to_owned(),
        // Resolves to this machine, also its subdomains.
        domains: vec!["localhost".to_owned()],
        tls: None,
    })
}

fn address(first_port: u16, id: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, first_port + u16::from(id)))
}

/// Until all have ended. The first that cannot go on ends the others.
async fn run_all<D: Disk>(plan: Plan, disks: Vec<D>, replaced: Vec<ReplicaId>) -> Result<(), Failure> {
    let stop = stop_upon_signal().map_err(Failure::new)?;
    let listeners = s3::listen(&plan.s3.listen, "--listen")?;
    let (end, ends) = watch::channel(false);
    let (tell, begun) = mpsc::unbounded_channel();
    let mut replicas = JoinSet::new();
    for ((id, _), disk) in plan.cluster.replicas().zip(disks) {
        let (seat, listening) = seat_of(&plan, id);
        let tell = tell.clone();
        let replica = process::run_on(disk, seat, listening, ends.clone(), move |shared| {
            let _ = tell.send(Arc::clone(shared));
        });
        replicas.spawn(replica);
    }
    drop(tell);

    let (quit, quits) = watch::channel(false);
    let mut serving = tokio::spawn(serve(begun, plan, replaced, listeners, quits));
    let served = {
        let mut stop = stop;
        tokio::select! {
            served = &mut serving => served,
            () = process::asked(&mut stop) => {
                quit.send_replace(true);
                finish(&mut serving).await
            }
            // A replica that ends by itself ends all.
            Some(ended) = replicas.join_next() => {
                quit.send_replace(true);
                end.send_replace(true);
                serving.abort();
                drop(join(replicas).await);
                return ended.map_err(Failure::new)?;
            }
        }
    };
    end.send_replace(true);
    let ended = join(replicas).await;
    served.map_err(Failure::new)?.and(ended)
}

/// Requests that run may end. If they take their time, that is said.
async fn finish<T>(serving: &mut tokio::task::JoinHandle<T>) -> Result<T, tokio::task::JoinError> {
    if let Ok(served) = tokio::time::timeout(STOP_PATIENCE, &mut *serving).await {
        return served;
    }
    // Nobody reads what cannot be printed.
    let _ = print("  Stopping as soon as the requests that run are done. Ctrl-C again ends them.\n");
    serving.await
}

fn seat_of(plan: &Plan, id: ReplicaId) -> (Seat, Listening) {
    // All replicas live in one directory, beside the key: what is lost is lost with the key that
    // would tell, and a cluster whose key is gone is a new one in any case.
    let listening = Listening {
        listen: vec![plan.addresses[id.index()]],
        admin: None,
        reserve: plan.reserve,
        // All of them stop at once.
        hands_over: false,
        new_cluster: true,
    };
    let dir = place::path_of(&plan.dir, id.get());
    (Seat { dir, replica: id, cluster: plan.cluster.clone() }, listening)
}

async fn join(mut replicas: JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    let mut outcome = Ok(());
    while let Some(ended) = replicas.join_next().await {
        outcome = outcome.and(ended.map_err(Failure::new)?);
    }
    outcome
}

/// Serves S3 beside the first replica that has begun.
async fn serve(
    mut begun: mpsc::UnboundedReceiver<Arc<Shared>>,
    plan: Plan,
    replaced: Vec<ReplicaId>,
    listeners: Vec<TcpListener>,
    stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    // Replicas that did not come so far say why themselves.
    let Some(shared) = begun.recv().await else { return std::future::pending().await };
    let mut stopped = stop.clone();
    tokio::select! {
        () = ready(&shared) => print(&greeting(&facts(&plan, &replaced)))?,
        () = process::asked(&mut stopped) => return Ok(()),
    }
    let client = client::beside(&shared)?;
    let gateway = s3::gateway(client.cluster.clone(), &plan.cluster.key, &plan.s3);
    let ended = tokio::select! {
        ended = s3::serve(gateway, plan.s3, listeners, stop) => ended,
        failure = client.cut_off() => Err(failure),
    };
    client.close().await;
    ended
}

fn facts<'a>(plan: &'a Plan, replaced: &'a [ReplicaId]) -> Facts<'a> {
    let kept = plan.memory.map_or(Kept::In(&plan.dir), Kept::InMemory);
    Facts { cluster: &plan.cluster, s3: &plan.s3, secret: &plan.secret, kept, replaced }
}

async fn ready(shared: &Shared) {
    while !shared.status().ready {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
