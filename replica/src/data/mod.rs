//! The data plane of one replica: the machines of `protocol::data` on a thread of their own, the chunk
//! store on others.
//!
//! ```text
//!   calls ──▶ inbox ──▶ data thread: Holder, Upkeep, Client ──▶ answers, calls to peers, proposals
//!                ▲          │
//!                │          ├──▶ check threads: compare with the root, read blocks
//!                │          ├──▶ scrub thread: read from the medium
//!                └──────────┴──▶ write thread: append, one sync for each group; set aside, delete
//! ```
//!
//! In reading order: the thread (`thread`), what it hands to the disk (`store`), and what can be seen
//! of it (`vitals`).

mod store;
mod thread;
mod vitals;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use protocol::client::Client;
use protocol::config::Config;
use protocol::data::holder::HolderSettings;
use protocol::data::message::{DataBody, DataRefusal};
use protocol::data::placement::Layout;
use protocol::data::receipt::ReceiptKey;
use protocol::data::upkeep::UpkeepSettings;
use protocol::message::Message;
use protocol::types::{Peer, ReplicaId};

use crate::driver::{DriverHandle, Inbox};
use crate::storage::chunks::{ChunkOptions, ChunkStore};
use crate::storage::disk::Disk;
use crate::storage::scrub_position::ScrubPosition;
use thread::{DataThread, Input};
pub use vitals::{DataVitals, DataVitalsNow};

/// Where an answer goes. Called on the data thread: it must not wait.
pub type Answered = Box<dyn FnOnce(DataBody) + Send>;

/// Called with the answer, or with nothing if there will be none.
pub type PeerAnswered = Box<dyn FnOnce(Option<DataBody>) + Send>;

/// Asks another replica. Must not wait.
pub type CallPeer = Box<dyn Fn(ReplicaId, DataBody, PeerAnswered) + Send>;

/// Sends what this process says as a client: upkeep's own operations. Must not wait.
pub type SendAsClient = Box<dyn Fn(ReplicaId, Message) + Send>;

/// Calls that wait for the data thread, and their bytes.
const CALLS_MAX: usize = 4 << 10;
const CALL_BYTES_MAX: usize = 128 << 20;

pub struct DataOptions {
    pub chunks: ChunkOptions,
    pub holder: HolderSettings,
    pub upkeep: UpkeepSettings,
    /// What upkeep proposes with. It outlives the data plane, which gives it back: a second one of the
    /// same name would find the session of the first, number its requests from one again, and be given
    /// the replies of that one; and one of another name would leave a session behind in which nobody
    /// says any more what may be collected.
    pub client: Client,
    pub seed: u64,
}

/// The ways out of the data plane.
pub struct DataOutlets {
    pub call_peer: CallPeer,
    pub send_as_client: SendAsClient,
}

pub struct DataPlane {
    handle: DataHandle,
    data: JoinHandle<Client>,
    threads: Vec<JoinHandle<()>>,
}

/// What the other threads of the process need of it.
#[derive(Clone)]
pub struct DataHandle {
    inbox: Arc<Inbox<Input>>,
    vitals: Arc<DataVitals>,
}

impl DataPlane {
    /// Opens the chunks on the disk, and begins. `driver` is asked for what the catalog knows.
    pub fn start<D: Disk>(
        disk: &D,
        config: &Config,
        key: ReceiptKey,
        options: DataOptions,
        driver: DriverHandle,
        outlets: DataOutlets,
    ) -> io::Result<DataPlane> {
        let (chunks, report) = ChunkStore::open(disk, config.cluster, config.replica, options.chunks)?;
        if !report.is_complete() {
            tracing::error!(
                lost_records = report.lost_records,
                unreadable_segments = report.unreadable_segments.len(),
                "chunks are damaged beyond their names: all that should be here is compared with what is"
            );
        }
        let (position, scrub_from) = ScrubPosition::open(disk)?;
        let inbox = Arc::new(Inbox::new(CALLS_MAX, CALL_BYTES_MAX));
        let vitals = Arc::new(DataVitals::default());
        let (queues, threads) =
            store::spawn_all(disk.clone(), chunks, position, options.chunks.reserve_bytes, &inbox, &vitals)?;
        let layout = Layout::first(config.quorums);
        let thread = DataThread::new(
            config,
            key,
            layout,
            options,
            driver,
            outlets,
            inbox.clone(),
            queues,
            vitals.clone(),
            report,
            scrub_from,
        );
        let data = std::thread::Builder::new().name("data".to_owned()).spawn(move || thread.run())?;
        Ok(DataPlane { handle: DataHandle { inbox, vitals }, data, threads })
    }

    pub fn handle(&self) -> DataHandle {
        self.handle.clone()
    }

    /// Waits for the end. When this returns, nobody touches the chunks any more. Gives upkeep's client
    /// back, unless a panic took it.
    pub fn join(self) -> Option<Client> {
        let client = self.data.join();
        for thread in self.threads {
            // A thread that panicked has nothing to add.
            let _ = thread.join();
        }
        client.ok()
    }
}

impl DataHandle {
    /// Somebody asks for something. `from` was authenticated.
    pub fn call(&self, from: Peer, body: DataBody, answered: Answered) {
        let bytes = match &body {
            DataBody::PutChunk { bytes, .. } => bytes.len(),
            _ => 256,
        };
        let call = Input::Call { from, body, answered };
        if let Err(Input::Call { answered, .. }) = self.inbox.try_offer(call, bytes) {
            answered(DataBody::Refused { why: DataRefusal::Busy });
        }
    }

    /// A message for upkeep's own client.
    pub fn deliver(&self, message: Message) {
        // What is refused is said again.
        let _ = self.inbox.offer(Input::ClientMessage(message), 1 << 10);
    }

    pub fn stop(&self) {
        self.inbox.complete(Input::Stop);
    }

    pub fn vitals(&self) -> &Arc<DataVitals> {
        &self.vitals
    }
}
