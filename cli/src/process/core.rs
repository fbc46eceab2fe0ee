//! The core of a running replica: opening it, feeding it, ending it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::catalog::{Catalog, CatalogLimits};
use protocol::config::Config;
use replica::driver::{self, Driver, DriverHandle, Ended, OpenOptions};
use replica::storage::disk::RealDisk;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time;
use transport::Received;

use super::{Shared, random};
use crate::commands::Failure;
use crate::status::Health;

/// How long a replica that is asked to stop waits for another to be primary in its place. It would
/// take the others half a second to notice by themselves.
const HANDOVER_MAX: Duration = Duration::from_secs(2);
/// Between two attempts with tables that turned out to be damaged.
const REOPEN_WAIT: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Keeps a core running until `stop` becomes true or it cannot go on.
pub(super) async fn keep_running(
    shared: &Arc<Shared>,
    disk: &RealDisk,
    config: &Config,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    loop {
        let driver = start(shared, disk, config).await?;
        let core = driver.handle();
        shared.set_core(Some(core.clone()));
        let mut ended = join(driver)?;
        let ended = tokio::select! {
            ended = &mut ended => ended,
            _ = stop.wait_for(|asked| *asked) => {
                hand_over(shared, &core).await;
                core.stop();
                ended.await
            }
        };
        shared.set_core(None);
        match ended.map_err(Failure::new)? {
            Ended::Stopped => {
                tracing::info!("stopped");
                return Ok(());
            }
            Ended::TablesLost(reason) => {
                tracing::error!(reason, "the tables are damaged and will be fetched from the other replicas");
                time::sleep(REOPEN_WAIT).await;
            }
            Ended::Failed(what) => return Err(Failure::new(what)),
        }
    }
}

async fn start(shared: &Arc<Shared>, disk: &RealDisk, config: &Config) -> Result<Driver, Failure> {
    let (disk, config) = (disk.clone(), config.clone());
    let transport = shared.transport.clone();
    let started = spawn_blocking(move || {
        let catalog = Catalog::new(CatalogLimits::standard());
        let seed = u64::from_le_bytes(random());
        let open =
            driver::open(&disk, &config, catalog, OpenOptions::standard(), seed).map_err(Failure::new)?;
        Driver::start(open, Box::new(move |to, message| transport.send(to, message))).map_err(Failure::new)
    });
    started.await.map_err(Failure::new)?
}

/// Waits on a thread of its own until nobody touches the disk any more.
fn join(driver: Driver) -> Result<oneshot::Receiver<Ended>, Failure> {
    let (tell, ended) = oneshot::channel();
    let wait = move || {
        // Nobody is left to be told if the process ends at once.
        let _ = tell.send(driver.join());
    };
    std::thread::Builder::new().name("join".to_owned()).spawn(wait).map_err(Failure::new)?;
    Ok(ended)
}

/// Gives the primary's role away, if this replica has it, and waits until somebody has taken it.
async fn hand_over(shared: &Shared, core: &DriverHandle) {
    let is_primary = || core.vitals().core().is_some_and(|core| core.is_primary);
    if shared.seat.cluster.peers.len() == 1 || !is_primary() {
        return;
    }
    let began = Instant::now();
    core.resign();
    while began.elapsed() < HANDOVER_MAX {
        time::sleep(LOOK_EVERY).await;
        // It takes part again, behind another.
        if core.vitals().core().is_some_and(|core| !core.is_primary && Health::of(&core) == Health::Normal) {
            let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            return tracing::info!(millis, "another replica is primary now");
        }
    }
    tracing::warn!("nobody took over the primary's role in time");
}

/// Feeds the core with what arrives. Without a core it is lost, which the senders live with.
pub(super) async fn deliver(shared: Arc<Shared>, mut inbox: mpsc::Receiver<Received>) {
    while let Some(Received { message, .. }) = inbox.recv().await {
        if let Some(core) = shared.core() {
            let bytes = message.size_hint();
            core.deliver(message, bytes);
        }
    }
}

/// Says when the replica begins to be of use, and when it ceases to be.
pub(super) async fn announce(shared: Arc<Shared>) {
    let mut was_ready = false;
    loop {
        time::sleep(LOOK_EVERY * 5).await;
        let status = shared.status();
        if status.ready == was_ready {
            continue;
        }
        was_ready = status.ready;
        let (view, commit) = status.core.as_ref().map_or((0, 0), |core| (core.view, core.commit));
        if was_ready {
            tracing::info!(view, commit, primary = status.core.is_some_and(|core| core.is_primary), "ready");
        } else {
            tracing::warn!(view, commit, health = status.health.words(), "not ready");
        }
    }
}
