//! What a replica says of itself: the same document over the cluster's transport and at `/status`.

use protocol::types::Room;
use protocol::vsr::StatusName;
use replica::data::DataVitals;
use replica::driver::CoreVitals;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplicaStatus {
    pub(crate) replica: u8,
    /// How many replicas it believes the cluster to have.
    pub(crate) replicas: u8,
    pub(crate) version: String,
    pub(crate) uptime_seconds: u64,
    /// What its clock says, in microseconds since 1970.
    pub(crate) clock_micros: u64,
    /// Processor time that its process has used.
    pub(crate) cpu_micros: u64,
    pub(crate) health: Health,
    /// Whom its first start waits for.
    pub(crate) waiting_for: Vec<u8>,
    /// Whether it takes part and is nearly up to date.
    pub(crate) ready: bool,
    /// None until the core has started.
    pub(crate) core: Option<CoreStatus>,
    /// None if the file system does not say.
    pub(crate) disk: Option<DiskStatus>,
    /// None until the data plane has started.
    pub(crate) data: Option<DataStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Health {
    /// The core does not run yet.
    Starting,
    Normal,
    ViewChange,
    /// Restarted, and waits to be told where the log ends.
    Recovering,
    /// Fetches the state of another replica.
    Syncing,
    /// Its disk is new, and it waits to be readmitted.
    Rejoining,
}

impl Health {
    pub(crate) const ALL: [Health; 6] = [
        Health::Starting,
        Health::Normal,
        Health::ViewChange,
        Health::Recovering,
        Health::Syncing,
        Health::Rejoining,
    ];

    pub(crate) fn of(core: &CoreVitals) -> Health {
        match core.status {
            _ if core.amnesiac => Health::Rejoining,
            StatusName::Normal => Health::Normal,
            StatusName::ViewChange => Health::ViewChange,
            StatusName::Recovering => Health::Recovering,
            StatusName::Syncing => Health::Syncing,
            StatusName::Rejoining => Health::Rejoining,
        }
    }

    /// As an operator reads it.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Health::Starting => "starting",
            Health::Normal => "normal",
            Health::ViewChange => "view change",
            Health::Recovering => "recovering",
            Health::Syncing => "syncing",
            Health::Rejoining => "rejoining",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CoreStatus {
    pub(crate) is_primary: bool,
    pub(crate) view: u64,
    pub(crate) log_view: u64,
    pub(crate) head: u64,
    /// Up to here its own disk has the log.
    pub(crate) durable: u64,
    pub(crate) commit: u64,
    pub(crate) applied: u64,
    /// Whether all that had been committed when it began is applied.
    pub(crate) caught_up: bool,
    pub(crate) checkpoint: u64,
    pub(crate) incarnation: u64,
    pub(crate) boot_count: u64,
    pub(crate) sessions: u64,
    pub(crate) rows_in_memory: u64,
    pub(crate) wal_bytes: u64,
    /// Whether its disk has no room for anything that grows.
    pub(crate) refuses_growth: bool,
    pub(crate) peers: Vec<PeerStatus>,
}

/// What it knows of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerStatus {
    pub(crate) replica: u8,
    /// None: nothing was ever heard of it.
    pub(crate) silent_ms: Option<u64>,
    pub(crate) incarnation: u64,
    pub(crate) checkpoint: u64,
    /// Only the primary knows.
    pub(crate) acknowledged: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DiskStatus {
    pub(crate) size_bytes: u64,
    pub(crate) available_bytes: u64,
    /// Objects never take the last of it.
    pub(crate) reserve_bytes: u64,
}

impl DiskStatus {
    pub(crate) const fn used_bytes(&self) -> u64 {
        self.size_bytes.saturating_sub(self.available_bytes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataStatus {
    /// Whether receipts are given and upkeep works.
    pub(crate) ready: bool,
    pub(crate) chunks: u64,
    pub(crate) chunk_bytes: u64,
    /// Bodies of which this replica is known to lack chunks, and at most so many chunks.
    pub(crate) debts: u64,
    pub(crate) chunks_missing: u64,
    /// What a new disk still has to fetch.
    pub(crate) bytes_to_rebuild: u64,
    /// Copies that have rotted or are gone and have not been replaced.
    pub(crate) chunks_damaged: u64,
    /// Of those: no replica has a sound copy.
    pub(crate) chunks_lost: u64,
    /// For how long some chunk has not been verified, as far as this process knows.
    pub(crate) unscrubbed_seconds: u64,
}

impl DataStatus {
    pub(crate) fn of(vitals: &DataVitals) -> DataStatus {
        let now = vitals.now();
        DataStatus {
            ready: now.ready,
            chunks: vitals.chunks.get(),
            chunk_bytes: vitals.chunk_bytes.get(),
            debts: now.figures.debts,
            chunks_missing: now.figures.chunks_missing,
            bytes_to_rebuild: now.figures.bytes_to_rebuild,
            chunks_damaged: now.figures.damaged,
            chunks_lost: now.figures.lost,
            unscrubbed_seconds: now.unscrubbed_ms / 1_000,
        }
    }

    /// Whether everything is here that should be.
    pub(crate) const fn is_whole(&self) -> bool {
        self.debts == 0 && self.chunks_missing == 0 && self.bytes_to_rebuild == 0 && self.chunks_damaged == 0
    }
}

impl CoreStatus {
    pub(crate) fn of(core: &CoreVitals, wal_bytes: u64) -> CoreStatus {
        let peer = |(id, standing): &(protocol::types::ReplicaId, protocol::vsr::PeerStanding)| PeerStatus {
            replica: id.get(),
            silent_ms: standing.silent_ms,
            incarnation: standing.incarnation.get(),
            checkpoint: standing.checkpoint.get(),
            acknowledged: standing.acknowledged.map(protocol::types::Op::get),
        };
        CoreStatus {
            is_primary: core.is_primary,
            view: core.view.get(),
            log_view: core.log_view.get(),
            head: core.head.get(),
            durable: core.durable.get(),
            commit: core.commit.get(),
            applied: core.applied.get(),
            caught_up: core.caught_up,
            checkpoint: core.checkpoint.get(),
            incarnation: core.incarnation.get(),
            boot_count: core.boot_count,
            sessions: core.sessions as u64,
            rows_in_memory: core.rows_in_memory as u64,
            refuses_growth: core.room > Room::Pressed,
            wal_bytes,
            peers: core.peers.iter().map(peer).collect(),
        }
    }
}
