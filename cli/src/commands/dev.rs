//! `viewstone dev`: a whole cluster and its S3 side in one process, durable in one directory.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};
use protocol::types::ReplicaId;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use transport::ClusterKey;

use super::open_files::raise_limit;
use super::signals::stop_upon_signal;
use super::{Failure, print};
use crate::process::{Shared, client, s3};
use crate::settings::{Cluster, Listening, Logging, Reserve, S3, Seat, Setting, Sources, table};
use crate::{logging, process};

const KEY_NAME: &str = "cluster-key";

/// Known to everybody, and therefore good only where nobody else can reach.
const ACCESS_KEY: &str = "viewstone";
const SECRET_KEY: &str = "viewstone-secret";

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
            Arg::new("replicas")
                .long("replicas")
                .value_name("NUMBER")
                .default_value("3")
                .value_parser(value_parser!(u8).range(1..=7))
                .help("How many replicas. Fixed once there is data"),
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
    cluster: Cluster,
    first_port: u16,
    reserve: Reserve,
    s3: S3,
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let sources = Sources::of_process(matches, &settings())?;
    let listen = *matches.get_one::<SocketAddr>("listen").expect("it has a default");
    let s3 = s3_of(&sources, listen)?;
    let reserve = Reserve::from(&sources)?;
    let dir = matches.get_one::<PathBuf>("dir").expect("it has a default").clone();
    let replicas = *matches.get_one::<u8>("replicas").expect("it has a default");
    let first_port = *matches.get_one::<u16>("port").expect("it has a default");
    logging::start(Logging::calm(&sources)?);
    raise_limit();

    let key = open_key(&dir)?;
    let peers = (0..replicas).map(|id| address(first_port, id).to_string()).collect();
    let plan = Plan { dir, cluster: Cluster { peers, key }, first_port, reserve, s3 };
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::new)?;
    let ended = runtime.block_on(run_all(plan));
    runtime.shutdown_background();
    ended.map(|()| ExitCode::SUCCESS)
}

fn s3_of(sources: &Sources, listen: SocketAddr) -> Result<S3, Failure> {
    let given = S3::credentials(sources)?;
    let (access_key, secret_key) = match given {
        Some(given) => given,
        None if listen.ip().is_loopback() => (ACCESS_KEY.to_owned(), SECRET_KEY.to_owned()),
        None => {
            return Err(Failure::new(format!(
                "{listen} can be reached from other machines: set VIEWSTONE_ACCESS_KEY and VIEWSTONE_SECRET_KEY \
                 to keys of your own"
            )));
        }
    };
    Ok(S3 {
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
async fn run_all(plan: Plan) -> Result<(), Failure> {
    let stop = stop_upon_signal().map_err(Failure::new)?;
    let listeners = s3::listen(&plan.s3.listen)?;
    let (end, ends) = watch::channel(false);
    let (tell, begun) = mpsc::unbounded_channel();
    let mut replicas = JoinSet::new();
    for (id, _) in plan.cluster.replicas() {
        let (seat, listening) = seat_of(&plan, id);
        let tell = tell.clone();
        let replica = process::run(seat, listening, ends.clone(), move |shared| {
            let _ = tell.send(Arc::clone(shared));
        });
        replicas.spawn(replica);
    }
    drop(tell);

    let (quit, quits) = watch::channel(false);
    let mut serving = tokio::spawn(serve(begun, plan, listeners, quits));
    let served = {
        let mut stop = stop;
        tokio::select! {
            served = &mut serving => served,
            () = process::asked(&mut stop) => {
                quit.send_replace(true);
                serving.await
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

fn seat_of(plan: &Plan, id: ReplicaId) -> (Seat, Listening) {
    // All replicas live in one directory, beside the key: what is lost is lost with the key that
    // would tell, and a cluster whose key is gone is a new one in any case.
    let listening = Listening {
        listen: vec![address(plan.first_port, id.get())],
        admin: None,
        reserve: plan.reserve,
        // All of them stop at once.
        hands_over: false,
        new_cluster: true,
    };
    let dir = plan.dir.join(format!("replica-{id}"));
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
    listeners: Vec<TcpListener>,
    stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    // Replicas that did not come so far say why themselves.
    let Some(shared) = begun.recv().await else { return std::future::pending().await };
    let mut stopped = stop.clone();
    tokio::select! {
        () = ready(&shared) => greet(&plan)?,
        () = process::asked(&mut stopped) => return Ok(()),
    }
    let client = client::beside(&shared)?;
    let gateway = s3::gateway(client.cluster.clone(), &plan.cluster.key, &plan.s3);
    let ended = s3::serve(gateway, plan.s3, listeners, stop).await;
    client.close().await;
    ended
}

async fn ready(shared: &Shared) {
    while !shared.status().ready {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn greet(plan: &Plan) -> Result<(), Failure> {
    let S3 { listen, access_key, secret_key, region, .. } = &plan.s3;
    let listen = listen[0];
    // Whoever chose a secret knows it.
    let shown = if secret_key == SECRET_KEY { SECRET_KEY } else { "$VIEWSTONE_SECRET_KEY" };
    print(&format!(
        "
  Viewstone: {count} replicas in {dir}
  S3 at http://{listen}   access key {access_key}   secret key {shown}

  aws cli   export AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={shown} AWS_DEFAULT_REGION={region}
            aws --endpoint-url http://{listen} s3 mb s3://demo
            aws --endpoint-url http://{listen} s3 cp README.md s3://demo/
  rclone    rclone lsd ':s3,provider=Other,endpoint=\"http://{listen}\",access_key_id={access_key},secret_access_key={shown}:'
  boto3     boto3.client('s3', endpoint_url='http://{listen}', region_name='{region}',
                         aws_access_key_id='{access_key}', aws_secret_access_key='{shown}')
  status    viewstone status --peers {peers} --cluster-key-file {key}

  Ctrl-C stops it; what was acknowledged stays.

",
        count = plan.cluster.peers.len(),
        dir = plan.dir.display(),
        peers = plan.cluster.peers.join(","),
        key = plan.dir.join(KEY_NAME).display(),
    ))
}
