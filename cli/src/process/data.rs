//! The data plane of a running replica, and its ways out: calls to the other replicas, and the
//! operations that upkeep proposes as a client like any other.

use std::sync::Arc;
use std::time::Duration;

use protocol::client::{Client, ClientSettings};
use protocol::config::Config;
use protocol::data::holder::HolderSettings;
use protocol::data::upkeep::UpkeepSettings;
use protocol::message::Message;
use protocol::types::{ClientId, Peer};
use replica::data::{DataOptions, DataOutlets, DataPlane};
use replica::driver::{DriverHandle, clock};
use replica::storage::chunks::ChunkOptions;
use replica::storage::disk::Disk;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time;
use transport::{Received, Transport};

use super::{Shared, cut_off, random};
use crate::commands::Failure;

/// Upkeep as a client: its name, its session, and how the others are reached under that name. Outlives
/// the data plane that uses it.
pub(super) struct Upkeep {
    pub(super) name: ClientId,
    transport: Transport,
    receiving: JoinHandle<()>,
}

impl Upkeep {
    pub(super) fn start(shared: &Arc<Shared>, config: &Config) -> Result<(Upkeep, Client), Failure> {
        let name = ClientId::new(u128::from_le_bytes(random()));
        let settings = shared.seat.cluster.transport(Peer::Client(name), vec![]);
        // The replica itself tells of the same peers.
        let settings = transport::Settings { is_quiet: true, ..settings };
        let (transport, inbox) = Transport::start(settings).map_err(Failure::new)?;
        let receiving = tokio::spawn(receive(Arc::clone(shared), inbox.replicas));
        let replicas = u8::try_from(config.quorums.replica_count).expect("there are at most seven replicas");
        let client = Client::new(
            name,
            config.cluster,
            config.epoch,
            replicas,
            ClientSettings::standard(),
            u64::from_le_bytes(random()),
            clock::now(),
        );
        Ok((Upkeep { name, transport, receiving }, client))
    }

    /// Waits until it reaches nobody any more.
    pub(super) async fn cut_off(&self) -> Failure {
        cut_off(&self.transport).await
    }

    /// Opens the chunks, which takes long if their index must be built anew.
    pub(super) fn open(
        &self,
        client: Client,
        shared: &Arc<Shared>,
        disk: &impl Disk,
        config: &Config,
        driver: DriverHandle,
    ) -> JoinHandle<Result<DataPlane, Failure>> {
        let key = shared.seat.cluster.key.receipt_key();
        let options = options(shared, client);
        let outlets = self.outlets(shared, options.upkeep.call_timeout_ms);
        let (disk, config) = (disk.clone(), config.clone());
        spawn_blocking(move || {
            let wrong = |error| Failure::new(format!("the chunks cannot be opened: {error}"));
            DataPlane::start(&disk, &config, key, options, driver, outlets).map_err(wrong)
        })
    }

    fn outlets(&self, shared: &Arc<Shared>, patience_ms: u64) -> DataOutlets {
        let (as_replica, as_client) = (shared.transport.clone(), self.transport.clone());
        let runtime = Handle::current();
        // Upkeep itself passes on before: this only keeps what is forgotten from staying for ever.
        let patience = Duration::from_millis(patience_ms) * 2;
        DataOutlets {
            call_peer: Box::new(move |to, body, answered| {
                let transport = as_replica.clone();
                runtime.spawn(async move {
                    let answer = time::timeout(patience, transport.call(to, body)).await;
                    answered(answer.ok().and_then(Result::ok));
                });
            }),
            send_as_client: Box::new(move |to, message: Message| {
                as_client.send(Peer::Replica(to), message);
            }),
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.receiving.abort();
    }
}

fn options(shared: &Shared, client: Client) -> DataOptions {
    let size = shared.disk_size().unwrap_or(0);
    DataOptions {
        chunks: ChunkOptions {
            segment_size: ChunkOptions::SEGMENT_SIZE,
            reserve_bytes: shared.reserve.bytes_of(size),
            open_files_max: ChunkOptions::OPEN_FILES_MAX,
            salt: u128::from_le_bytes(random()),
        },
        holder: HolderSettings::standard(),
        upkeep: UpkeepSettings::standard(),
        client,
        seed: u64::from_le_bytes(random()),
    }
}

/// What arrives while the chunks are not open goes nowhere, and is asked for again.
async fn receive(shared: Arc<Shared>, mut inbox: mpsc::Receiver<Received>) {
    while let Some(Received { message, .. }) = inbox.recv().await {
        if let Some(data) = shared.data() {
            data.deliver(message);
        }
    }
}
