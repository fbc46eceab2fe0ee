//! What the parts of a running replica share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use protocol::data::message::Past;
use protocol::message::Message;
use protocol::types::{ClientId, ReplicaId};
use replica::data::DataHandle;
use replica::driver::{DriverHandle, clock};
use replica::storage::disk::Disk;
use transport::Transport;

use crate::settings::{Listening, Reserve, Seat};
use crate::status::{CoreStatus, DataStatus, DiskStatus, Health, ReplicaStatus};

/// How a client in this process is told what the core says to it. Called on the core's thread: it must
/// not wait.
pub(crate) type Neighbour = Arc<dyn Fn(Message) + Send + Sync>;

/// The size of the disk, and what of it is free. None if it does not say.
type Space = Box<dyn Fn() -> Option<(u64, u64)> + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) seat: Seat,
    pub(crate) transport: Transport,
    pub(super) reserve: Reserve,
    /// Whether the others go on when this replica stops.
    pub(super) hands_over: bool,
    space: Space,
    began: Instant,
    stage: Mutex<Stage>,
    neighbours: RwLock<BTreeMap<ClientId, Neighbour>>,
}

/// How far the replica has come.
struct Stage {
    past: Past,
    waiting_for: Vec<ReplicaId>,
    /// None before the core runs, and while it is opened again.
    core: Option<DriverHandle>,
    /// None before the chunks are open.
    data: Option<DataHandle>,
}

impl Shared {
    pub(super) fn new(
        seat: Seat,
        listening: &Listening,
        transport: Transport,
        past: Past,
        disk: impl Disk,
    ) -> Shared {
        let Listening { reserve, hands_over, .. } = *listening;
        let stage = Mutex::new(Stage { past, waiting_for: vec![], core: None, data: None });
        let neighbours = RwLock::default();
        let space: Space = Box::new(move || Some((disk.size().ok()?, disk.available().ok()?)));
        Shared { seat, transport, reserve, hands_over, space, began: Instant::now(), stage, neighbours }
    }

    /// A thread that panics ends the process: nobody who matters sees a poisoned lock.
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn core(&self) -> Option<DriverHandle> {
        self.stage().core.clone()
    }

    pub(super) fn set_core(&self, core: Option<DriverHandle>) {
        self.stage().core = core;
    }

    pub(crate) fn data(&self) -> Option<DataHandle> {
        self.stage().data.clone()
    }

    pub(super) fn set_data(&self, data: Option<DataHandle>) {
        self.stage().data = data;
    }

    pub(super) fn add_neighbour(&self, client: ClientId, neighbour: Neighbour) {
        self.neighbours.write().unwrap_or_else(PoisonError::into_inner).insert(client, neighbour);
    }

    pub(super) fn remove_neighbour(&self, client: ClientId) {
        self.neighbours.write().unwrap_or_else(PoisonError::into_inner).remove(&client);
    }

    /// Gives the message back if this client is not in this process.
    pub(super) fn tell_neighbour(&self, client: ClientId, message: Message) -> Option<Message> {
        // Not called under the lock: it may be the end of that client, which takes the lock itself.
        let neighbour = self.neighbours.read().unwrap_or_else(PoisonError::into_inner).get(&client).cloned();
        match neighbour {
            Some(neighbour) => {
                neighbour(message);
                None
            }
            None => Some(message),
        }
    }

    pub(super) fn past(&self) -> Past {
        self.stage().past
    }

    pub(super) fn set_past(&self, past: Past) {
        let mut stage = self.stage();
        stage.past = past;
        stage.waiting_for.clear();
    }

    pub(super) fn set_waiting_for(&self, waiting_for: Vec<ReplicaId>) {
        self.stage().waiting_for = waiting_for;
    }

    pub(crate) fn status(&self) -> ReplicaStatus {
        let (core, waiting_for) = {
            let stage = self.stage();
            (stage.core.clone(), stage.waiting_for.iter().map(|id| id.get()).collect())
        };
        let vitals = core.as_ref().map(DriverHandle::vitals);
        let core = vitals.and_then(|vitals| vitals.core());
        let data = self.data().map(|data| DataStatus::of(data.vitals()));
        let has_core = core.as_ref().is_some_and(|core| core.is_ready() && !core.amnesiac);
        let wal_bytes = vitals.map_or(0, |vitals| vitals.wal_bytes.get());
        ReplicaStatus {
            replica: self.seat.replica.get(),
            replicas: u8::try_from(self.seat.cluster.peers.len()).expect("there are at most seven replicas"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.began.elapsed().as_secs(),
            clock_micros: clock::wall().get(),
            cpu_micros: u64::try_from(crate::bench::own_cpu().as_micros()).unwrap_or(u64::MAX),
            health: core.as_ref().map_or(Health::Starting, Health::of),
            waiting_for,
            ready: has_core && data.as_ref().is_some_and(|data| data.ready),
            core: core.as_ref().map(|core| CoreStatus::of(core, wal_bytes)),
            disk: self.disk_status(),
            data,
        }
    }

    /// None if the file system does not say.
    pub(super) fn disk_size(&self) -> Option<u64> {
        self.disk_status().map(|disk| disk.size_bytes)
    }

    fn disk_status(&self) -> Option<DiskStatus> {
        let (size_bytes, available_bytes) = (self.space)()?;
        let needed_bytes = self.core().map_or(0, |core| core.vitals().space_needed.get());
        Some(DiskStatus {
            size_bytes,
            available_bytes,
            reserve_bytes: self.reserve.bytes_of(size_bytes).max(needed_bytes),
        })
    }
}
