//! A running replica: its disk, its core, its part in the cluster's traffic, and what can be seen of
//! it. Nothing here belongs to the whole operating system process, so that several replicas can run
//! in one.
//!
//! In reading order: what the parts share (`shared`), whether a blank disk may be taken for a new one
//! (`founding`), the core (`core`), the data plane (`data`), and who asks from outside (`calls`)
//! and from the same process (`near`). Then who uses a cluster: a client (`client`), and the S3 side
//! (`s3`).

mod calls;
pub(crate) mod client;
mod core;
mod data;
mod founding;
mod near;
pub(crate) mod s3;
mod shared;

use std::sync::Arc;

use protocol::config::{Config, Limits, Timeouts};
use protocol::data::message::Past;
use protocol::types::{Epoch, Peer};
use replica::driver;
use replica::storage::disk::{Disk, RealDisk};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use transport::Transport;

use crate::admin;
use crate::commands::{Failure, cannot_listen};
use crate::settings::{Listening, Seat};
pub(crate) use near::NearLink;
pub(crate) use shared::Shared;

/// What the core is configured with: the same on every replica but for its number.
pub(crate) fn config_of(seat: &Seat) -> Config {
    Config {
        cluster: seat.cluster.key.cluster(),
        epoch: Epoch::ZERO,
        replica: seat.replica,
        quorums: seat.cluster.quorums(),
        limits: Limits::standard(),
        timeouts: Timeouts::standard(),
    }
}

/// From the operating system. There is nothing to do without.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    assert_eq!(filled, Ok(N), "the operating system gives so few random bytes at once, or is broken");
    bytes
}

/// Runs a replica in its directory. See `run_on`.
pub(crate) async fn run(
    seat: Seat,
    listening: Listening,
    stop: watch::Receiver<bool>,
    begun: impl FnOnce(&Arc<Shared>),
) -> Result<(), Failure> {
    let dir = seat.dir.clone();
    let opened = spawn_blocking(move || {
        RealDisk::open(&dir).map_err(|error| Failure::new(format!("{}: {error}", dir.display())))
    });
    let disk = opened.await.map_err(Failure::new)??;
    run_on(disk, seat, listening, stop, begun).await
}

/// Runs a replica until `stop` becomes true, or until it cannot go on. `begun` is told where clients in
/// this process find it.
pub(crate) async fn run_on<D: Disk>(
    disk: D,
    seat: Seat,
    listening: Listening,
    mut stop: watch::Receiver<bool>,
    begun: impl FnOnce(&Arc<Shared>),
) -> Result<(), Failure> {
    let config = config_of(&seat);
    let past = past_of(&disk, &seat, &config).await?;
    let (transport, inbox) =
        Transport::start(seat.cluster.transport(Peer::Replica(seat.replica), listening.listen.clone()))
            .map_err(cannot_start)?;
    let shared = Arc::new(Shared::new(seat, &listening, transport.clone(), past, disk.clone()));
    begun(&shared);

    let mut tasks = JoinSet::new();
    if let Some(address) = listening.admin {
        tasks.spawn(admin::serve(admin::listen(address).await?, Arc::clone(&shared)));
    }
    tasks.spawn(calls::serve(Arc::clone(&shared), inbox.calls));
    tasks.spawn(core::deliver(Arc::clone(&shared), inbox.replicas));
    tasks.spawn(core::deliver(Arc::clone(&shared), inbox.clients));
    tasks.spawn(core::announce(Arc::clone(&shared)));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        replica = shared.seat.replica.get(),
        replicas = shared.seat.cluster.peers.len(),
        dir = %shared.seat.dir.display(),
        listen = ?listening.listen,
        admin = ?listening.admin,
        "started"
    );

    let ended = tokio::select! {
        founded = founding::settle(&shared, &disk, &config, listening.new_cluster) => match founded {
            Ok(()) => None,
            Err(why) => Some(Err(why)),
        },
        () = asked(&mut stop) => Some(Ok(())),
        failure = cut_off(&transport) => Some(Err(failure)),
    };
    let ended = match ended {
        Some(ended) => ended,
        None => core::keep_running(&shared, &disk, &config, stop).await,
    };
    transport.close().await;
    ended
}

/// Waits until `stop` becomes true, or nobody is left who could say so.
pub(crate) async fn asked(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|asked| *asked).await;
}

/// Waits until a socket has failed: what it was there for will not be done by this process any more.
async fn cut_off(transport: &Transport) -> Failure {
    transport.cut_off().await;
    Failure::new("a socket of the cluster's traffic has failed: start this process again")
}

fn cannot_start(error: transport::StartError) -> Failure {
    match error {
        transport::StartError::Bind(address, error) => {
            cannot_listen(address, "the other replicas (UDP)", &error, "--listen and its entry in --peers")
        }
        error => Failure::new(error),
    }
}

async fn past_of<D: Disk>(disk: &D, seat: &Seat, config: &Config) -> Result<Past, Failure> {
    let (disk, dir, config) = (disk.clone(), seat.dir.clone(), config.clone());
    let looked = spawn_blocking(move || {
        driver::past(&disk, &config).map_err(|error| Failure::new(format!("{}: {error}", dir.display())))
    });
    looked.await.map_err(Failure::new)?
}
