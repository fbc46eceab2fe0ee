//! The core of a running replica and its data plane: opening them, feeding them, ending them.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::catalog::{Catalog, CatalogLimits};
use protocol::client::Client;
use protocol::config::Config;
use protocol::data::placement::Layout;
use protocol::message::Message;
use protocol::types::{ClientId, Peer};
use replica::data::DataPlane;
use replica::driver::{self, Driver, DriverHandle, Ended, OpenOptions, OpenReplica, Outbox, StartError};
use replica::storage::disk::Disk;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time;
use transport::Received;

use super::data::Upkeep;
use super::{Shared, asked, cut_off, random};
use crate::commands::Failure;
use crate::status::Health;

/// How long a replica that is asked to stop waits for another to be primary in its place. It would
/// take the others half a second to notice by themselves.
const HANDOVER_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Keeps a core running until `stop` becomes true or it cannot go on.
pub(super) async fn keep_running(
    shared: &Arc<Shared>,
    disk: &impl Disk,
    config: &Config,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let (mut upkeep, mut reopening) = (None, Reopening::new());
    loop {
        let began = Instant::now();
        match run_once(shared, disk, config, &mut upkeep, &mut stop).await? {
            Ended::Stopped => {
                tracing::info!("stopped");
                return Ok(());
            }
            Ended::TablesLost(reason) => {
                let wait = reopening.wait_after(began.elapsed());
                tracing::error!(
                    reason,
                    ?wait,
                    "the tables are damaged and will be fetched from the other replicas"
                );
                // Asked to stop in between, it ends where it opens the disk again.
                let _ = time::timeout(wait, asked(&mut stop)).await;
            }
            Ended::DiskFull(what) => {
                return Err(disk_is_full(shared, &format!("{what} could not be written")));
            }
            Ended::Failed(what) => return Err(Failure::new(what)),
        }
    }
}

/// How long to wait before tables that were damaged are opened again: each time all of them are fetched
/// from the others, who have better things to do than to fill a disk that loses everything at once.
struct Reopening {
    wait: Duration,
}

impl Reopening {
    const WAIT_MIN: Duration = Duration::from_secs(1);
    const WAIT_MAX: Duration = Duration::from_secs(60);
    /// After so long it is another fault, and not the last one again.
    const LASTING: Duration = Duration::from_secs(10 * 60);

    fn new() -> Reopening {
        Reopening { wait: Reopening::WAIT_MIN }
    }

    /// The tables have lasted for so long.
    fn wait_after(&mut self, lasted: Duration) -> Duration {
        if lasted >= Reopening::LASTING {
            self.wait = Reopening::WAIT_MIN;
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(Reopening::WAIT_MAX);
        wait
    }
}

/// From opening the disk until nobody touches it any more. `kept` is upkeep as a client, from one time to
/// the next.
async fn run_once(
    shared: &Arc<Shared>,
    disk: &impl Disk,
    config: &Config,
    kept: &mut Option<(Upkeep, Client)>,
    stop: &mut watch::Receiver<bool>,
) -> Result<Ended, Failure> {
    let (upkeep, client) = match kept.take() {
        Some(kept) => kept,
        None => Upkeep::start(shared, config)?,
    };
    let opened = tokio::select! {
        opened = open(shared, disk, config) => opened?,
        // Verifying large tables takes minutes. Nothing runs yet that would have to be ended.
        () = asked(stop) => return Ok(Ended::Stopped),
    };
    let outbox = outbox(Arc::clone(shared), upkeep.name);
    let driver = Driver::start(opened, outbox).map_err(Failure::new)?;
    let core = driver.handle();
    let mut ended = join(driver)?;
    shared.set_core(Some(core.clone()));

    // The log needs this replica's word at once; the chunks may take a while to open.
    let mut opening = upkeep.open(client, shared, disk, config, core.clone());
    let mut data = None;
    let ended = loop {
        tokio::select! {
            ended = &mut ended => break ended,
            () = asked(stop) => {
                hand_over(shared, &core).await;
                core.stop();
                break ended.await;
            }
            failure = cut_off(&shared.transport) => return fail(&core, ended, failure).await,
            failure = upkeep.cut_off() => return fail(&core, ended, failure).await,
            opened = &mut opening, if data.is_none() => match opened.map_err(Failure::new)? {
                Ok(plane) => {
                    shared.set_data(Some(plane.handle()));
                    data = Some(plane);
                }
                Err(failure) => return fail(&core, ended, failure).await,
            }
        }
    };
    shared.set_core(None);
    shared.set_data(None);
    let client = end_data(data, opening).await?;
    *kept = client.map(|client| (upkeep, client));
    ended.map_err(Failure::new)
}

/// Ends the core for a reason that is not its own, and is the one that counts.
async fn fail(
    core: &DriverHandle,
    ended: oneshot::Receiver<Ended>,
    failure: Failure,
) -> Result<Ended, Failure> {
    core.stop();
    let _ = ended.await;
    Err(failure)
}

/// Whoever does not wait for it leaves a thread behind that ends with the process, or closes again what
/// it has opened.
async fn open<D: Disk>(shared: &Shared, disk: &D, config: &Config) -> Result<OpenReplica<D>, Failure> {
    let (disk, config) = (disk.clone(), config.clone());
    let receipts = shared.seat.cluster.key.receipt_key();
    let opened = spawn_blocking(move || {
        let catalog = Catalog::new(CatalogLimits::standard(), Layout::first(config.quorums), receipts);
        let seed = u64::from_le_bytes(random());
        driver::open(&disk, &config, catalog, OpenOptions::standard(), seed)
    });
    opened.await.map_err(Failure::new)?.map_err(|error| match &error {
        StartError::Disk(cause) if cause.kind() == ErrorKind::StorageFull => {
            disk_is_full(shared, "the replica cannot be opened")
        }
        _ => Failure::new(error),
    })
}

/// For whoever finds it at night: what happened, where, and what helps.
fn disk_is_full(shared: &Shared, consequence: &str) -> Failure {
    let dir = shared.seat.dir.display();
    Failure::new(format!(
        "the disk of {dir} is full: {consequence}. Nothing is lost. Make room on that file system or make it \
         larger, start this replica again, then delete what is not needed"
    ))
}

/// Where the core's messages go: to the network, or to clients that live in this process.
fn outbox(shared: Arc<Shared>, upkeep: ClientId) -> Outbox {
    Box::new(move |messages: &mut Vec<(Peer, Message)>| {
        let far = messages.drain(..).filter_map(|(to, message)| match to {
            Peer::Client(client) if client == upkeep => {
                if let Some(data) = shared.data() {
                    data.deliver(message);
                }
                None
            }
            Peer::Client(client) => shared.tell_neighbour(client, message).map(|message| (to, message)),
            Peer::Replica(_) => Some((to, message)),
        });
        shared.transport.send_batch(far);
    })
}

/// Waits on a thread of its own until nobody touches the log any more.
fn join(driver: Driver) -> Result<oneshot::Receiver<Ended>, Failure> {
    let (tell, ended) = oneshot::channel();
    let wait = move || {
        // Nobody is left to be told if the process ends at once.
        let _ = tell.send(driver.join());
    };
    std::thread::Builder::new().name("join".to_owned()).spawn(wait).map_err(Failure::new)?;
    Ok(ended)
}

/// Upkeep's client comes back from a data plane that has run.
async fn end_data(
    data: Option<DataPlane>,
    opening: JoinHandle<Result<DataPlane, Failure>>,
) -> Result<Option<Client>, Failure> {
    let data = match data {
        Some(data) => data,
        None => match opening.await.map_err(Failure::new)? {
            Ok(data) => data,
            // The core ended anyway, for a reason of its own.
            Err(_) => return Ok(None),
        },
    };
    data.handle().stop();
    spawn_blocking(move || data.join()).await.map_err(Failure::new)
}

/// Gives the primary's role away, if this replica has it, and waits until somebody has taken it.
async fn hand_over(shared: &Shared, core: &DriverHandle) {
    let is_primary = || core.vitals().core().is_some_and(|core| core.is_primary);
    if !shared.hands_over || !is_primary() {
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
            // What the core has no room for is counted there, and said again by whoever said it.
            let _ = core.deliver(message, bytes);
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
        // Whoever ended the core has said why.
        let Some(core) = status.core else { continue };
        let (view, commit) = (core.view, core.commit);
        if was_ready {
            tracing::info!(view, commit, primary = core.is_primary, "ready");
        } else {
            tracing::warn!(view, commit, health = status.health.words(), "not ready");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_are_damaged_again_and_again_are_fetched_less_and_less_often() {
        let mut reopening = Reopening::new();
        let brief = Duration::from_secs(20);
        let waits: Vec<u64> = (0..8).map(|_| reopening.wait_after(brief).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(reopening.wait_after(Reopening::LASTING), Reopening::WAIT_MIN);
        assert_eq!(reopening.wait_after(brief).as_secs(), 2);
    }
}
