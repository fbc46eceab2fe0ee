//! What upkeep is told, and what it wants done.

use bytes::Bytes;

use super::mend::Mended;
use crate::catalog::{BodyId, ChunkId, Operation, Query};
use crate::data::message::DataBody;
use crate::data::outline::{CHUNK_BYTES_MAX, ChunkRoot};
use crate::data::storage::Job;
use crate::types::{ReplicaId, Tick};

/// All durations are in milliseconds of local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpkeepSettings {
    /// Bytes of chunks that are being fetched or written.
    pub pull_bytes_max: u64,
    pub pull_bytes_per_second: u64,
    /// So much faster while something has no copy more than a commit needs.
    pub urgency: u64,
    /// A peer that has not answered for so long is passed over.
    pub call_timeout_ms: u64,
    /// After so long, what failed is tried again.
    pub retry_ms: u64,
    /// The least time between two looks at the list of debts.
    pub debt_interval_ms: u64,
    /// Nothing is fetched for a debt that is younger: the bytes may be on their way from the client.
    pub debt_patience_ms: u64,
    /// So often is it asked whether the disk counts as rebuilt.
    pub survey_interval_ms: u64,
    /// In so long everything that should be here is read and verified.
    pub scrub_period_ms: u64,
    pub scrub_bytes_per_second_min: u64,
    pub scrub_bytes_per_second_max: u64,
    /// Between two walks over what is stored.
    pub collection_interval_ms: u64,
    /// The same while there is less room than `pull_bytes_max`: somebody is being refused, and may be
    /// deleting to be refused no longer.
    pub collection_interval_full_ms: u64,
    /// Between two batches of a walk.
    pub collection_pause_ms: u64,
    /// Between two looks at what the catalog can forget.
    pub chores_interval_ms: u64,
}

impl UpkeepSettings {
    pub const fn standard() -> UpkeepSettings {
        UpkeepSettings {
            pull_bytes_max: 32 << 20,
            pull_bytes_per_second: 32 << 20,
            urgency: 4,
            call_timeout_ms: 10_000,
            retry_ms: 5_000,
            debt_interval_ms: 1_000,
            debt_patience_ms: 3_000,
            survey_interval_ms: 10_000,
            scrub_period_ms: 14 * 24 * 3_600 * 1_000,
            scrub_bytes_per_second_min: 256 << 10,
            scrub_bytes_per_second_max: 32 << 20,
            collection_interval_ms: 60_000,
            collection_interval_full_ms: 2_000,
            collection_pause_ms: 50,
            chores_interval_ms: 1_000,
        }
    }

    /// When to try again: what nobody has does not come back soon, if at all.
    pub(super) fn retry_after(&self, ended: Mended) -> u64 {
        match ended {
            Mended::Whole | Mended::Lacking => self.retry_ms,
            Mended::Lost => self.retry_ms.saturating_mul(LOST_RETRY_FACTOR),
        }
    }

    /// Whether the numbers fit together; the error names the first that does not.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.pull_bytes_max < u64::from(CHUNK_BYTES_MAX) {
            return Err("pull_bytes_max must hold the largest chunk");
        }
        if self.pull_bytes_per_second == 0 || self.urgency == 0 {
            return Err("pull_bytes_per_second and urgency must not be zero");
        }
        if self.scrub_bytes_per_second_min == 0
            || self.scrub_bytes_per_second_max < self.scrub_bytes_per_second_min
        {
            return Err("the scrub's rates must not be zero, nor the wrong way round");
        }
        if self.scrub_period_ms < 2 {
            return Err("scrub_period_ms must leave room for two passes");
        }
        Ok(())
    }
}

const LOST_RETRY_FACTOR: u64 = 12;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(super) u64);
    };
}

number!(
    /// Pairs a question to the replica's own catalog with its answer.
    Ask
);
number!(
    /// Pairs an operation with what became of it.
    Proposal
);

/// What upkeep wants done. Every `AskLocal`, every `Propose` and every job is reported on once; a
/// `Call` may stay unanswered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpkeepOutput {
    /// Ask this replica's applied catalog: `on_local_answer`.
    AskLocal { ask: Ask, query: Query },
    /// A `GetBlocks`: `on_answer` or `on_call_failed`. It may go to this replica itself, whose holder
    /// gives the good blocks of a copy that is not good as a whole.
    Call { to: ReplicaId, call: u64, body: DataBody },
    /// Submit to the log, with a deadline of its own: `on_proposed`.
    Propose { proposal: Proposal, operation: Operation },
    /// Look into the index for durable copies: `on_found`.
    Find { job: Job, chunks: Vec<ChunkId> },
    /// Read all of the chunk from the medium, past every cache, and verify it: `on_scrubbed`.
    Scrub { job: Job, chunk: ChunkId, root: ChunkRoot },
    /// Compare the bytes with the root, write them, sync: `on_stored`.
    Store { job: Job, chunk: ChunkId, root: ChunkRoot, bytes: Bytes },
    /// Set the present copy aside, unless it is sound and of this root after all: it is not found nor
    /// read any more, and another one can be stored: `on_done`. Nothing happens if there is none.
    Quarantine { job: Job, chunk: ChunkId, root: ChunkRoot },
    /// Delete what was set aside of this chunk, and nothing else: `on_done`.
    Discard { job: Job, chunk: ChunkId },
    /// The chunks that are stored, set aside or not, by name: `on_walked`.
    Walk { job: Job, after: Option<ChunkId>, limit: usize },
    /// Delete all that is stored of these chunks: `on_done`.
    Delete { job: Job, chunks: Vec<ChunkId> },
    /// Something to count or to log. Asks nothing.
    Mark(Mark),
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A chunk was fetched and is durable.
    Repaired {
        chunk: ChunkId,
        bytes: u32,
    },
    /// A copy has rotted or is gone, and nobody knew.
    Damaged {
        chunk: ChunkId,
    },
    /// Nobody that can be reached has a sound copy of a block of this chunk, and all could be reached.
    /// What is left of it is kept.
    NoSoundCopy {
        chunk: ChunkId,
    },
    /// The log has been told that so many bodies are whole here.
    Settled {
        bodies: usize,
    },
    /// The log has been told that this disk is whole.
    Rebuilt,
    Collected {
        chunks: usize,
    },
    /// Everything that should be here was read and verified once more.
    Scrubbed {
        bytes: u64,
    },
}

/// How far things are. For people and their dashboards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bodies that this replica owes, when the list was last read to its end.
    pub debts: u64,
    /// At most so many chunks: those of these bodies.
    pub chunks_missing: u64,
    /// Of the walk over everything that this replica owns.
    pub bytes_to_rebuild: u64,
    /// Copies that have rotted or are gone and have not been replaced.
    pub damaged: u64,
    /// Of those: no sound copy was found anywhere.
    pub lost: u64,
    pub repaired_chunks: u64,
    pub repaired_bytes: u64,
    pub collected_chunks: u64,
    /// Bytes that are being fetched or written.
    pub pull_bytes: u64,
    /// The last body that was verified in the present pass.
    pub scrubbed_through: Option<BodyId>,
    /// Nothing that should be here was verified longer ago, as far as this process knows.
    pub oldest_unscrubbed: Tick,
}
