//! The driver: the core on a thread of its own, its disk on others, and the outside world behind two
//! functions. Time and randomness enter here and nowhere else.
//!
//! ```text
//!   deliver ──▶ inbox ──▶ core thread ──▶ outbox ──▶ the network, or a client in this process
//!                 ▲            │
//!                 │            ├──▶ wal thread: appends, reads; one sync for each group
//!                 ├────────────┼──▶ superblock thread
//!                 │            ├──▶ flush thread: checkpoints, spare segments
//!                 completions  └──▶ space thread: how much of the disk is free
//! ```
//!
//! In reading order: opening a disk (`open`), the loop (`core_thread`), the threads below it
//! (`storage`), what they wait on (`inbox`), and what can be seen of them (`vitals`) and told (`story`).

pub mod clock;
mod core_thread;
mod inbox;
mod open;
mod storage;
mod story;
#[cfg(test)]
mod tests;
mod vitals;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use protocol::message::Message;
use protocol::types::Peer;

pub use core_thread::{Asked, Ended, LocalAnswer};
pub use inbox::Inbox;
use inbox::{Bounds, Lane};
pub use open::{
    Core, OpenOptions, OpenReplica, StartError, cluster_size, format, format_replacement, open, past,
};
pub use vitals::{CoreVitals, Durations, Gauge, Vitals};

use crate::storage::disk::Disk;
use core_thread::{CoreThread, Input};
use storage::Queues;

/// Where the core's messages go: takes all of them. Called on the core's thread: it must not wait.
pub type Outbox = Box<dyn Fn(&mut Vec<(Peer, Message)>) + Send>;

/// Messages that wait for the core, and their bytes: those of replicas and those of clients, each.
/// Twice what a whole pipeline of full batches and its acknowledgements take.
const BOUNDS: Bounds = Bounds { messages_max: 16 << 10, bytes_max: 32 << 20 };

/// So many messages of clients, and the core looks at what replicas and disks say.
const CLIENT_TURN_MAX: usize = 256;

/// A running replica, as its process holds it.
pub struct Driver {
    handle: DriverHandle,
    core: JoinHandle<Ended>,
    storage: Vec<JoinHandle<()>>,
}

/// What the other threads of the process need of it.
#[derive(Clone)]
pub struct DriverHandle {
    inbox: Arc<Inbox<Input>>,
    vitals: Arc<Vitals>,
}

impl Driver {
    pub fn start<D: Disk>(replica: OpenReplica<D>, outbox: Outbox) -> io::Result<Driver> {
        let inbox = Arc::new(Inbox::with_turns(BOUNDS, CLIENT_TURN_MAX));
        let vitals = Arc::new(Vitals::default());
        let queues = Queues::new();
        let OpenReplica { core, wal, superblocks, disk, space } = replica;
        let storage = storage::spawn_all(&queues, &inbox, wal, superblocks, disk, &vitals)?;
        let thread = CoreThread {
            core,
            inbox: inbox.clone(),
            queues,
            space,
            outbox,
            outgoing: Vec::new(),
            vitals: vitals.clone(),
            events: BTreeMap::new(),
            told: None,
        };
        let core = std::thread::Builder::new().name("core".to_owned()).spawn(move || thread.run())?;
        Ok(Driver { handle: DriverHandle { inbox, vitals }, core, storage })
    }

    pub fn handle(&self) -> DriverHandle {
        self.handle.clone()
    }

    /// Waits for the end. When this returns, nobody touches the disk any more.
    pub fn join(self) -> Ended {
        let ended = self.core.join().unwrap_or_else(|_| Ended::Failed("the core panicked".to_owned()));
        for thread in self.storage {
            // A storage thread that panicked has nothing to add.
            let _ = thread.join();
        }
        ended
    }
}

impl DriverHandle {
    /// Hands over a message whose sender was authenticated. `bytes` is what it takes of memory. False
    /// if the core has too much to do: the sender will say it again.
    pub fn deliver(&self, message: Message, bytes: usize) -> bool {
        let lane = match message.from {
            Peer::Replica(_) => Lane::Peers,
            Peer::Client(_) => Lane::Ordinary,
        };
        self.inbox.offer_in(lane, Input::Message(message), bytes)
    }

    /// Asks this replica's own applied tables. There is no answer if the replica ends before.
    pub fn ask(&self, query: Bytes, asked: Asked) {
        self.inbox.complete(Input::Ask { query, asked });
    }

    /// Hands the primary's role to another, if this replica has it.
    pub fn resign(&self) {
        self.inbox.complete(Input::Resign);
    }

    /// Something else of this replica can no longer be relied on: it ends as if its own disk had failed.
    pub fn fail(&self, what: &'static str, error: io::Error) {
        self.inbox.complete(Input::StorageFailed { what, error });
    }

    /// Ends the core at once. What it has promised is on the disk already.
    pub fn stop(&self) {
        self.inbox.complete(Input::Stop);
    }

    pub fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }
}
