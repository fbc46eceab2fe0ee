//! What a put is told, and what it tells.

use bytes::Bytes;

use crate::catalog::{ChunkedBody, NewBody};
use crate::data::message::DataBody;
use crate::data::outline::{ChunkRoot, Outline};
use crate::data::receipt::Receipt;
use crate::types::ReplicaId;

/// All durations are in milliseconds of local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutSettings {
    /// So many chunks are held in memory at most.
    pub chunks_held_max: usize,
    /// An owner that does not answer for so long is not relied on: somebody else is asked as well.
    pub stand_in_after_ms: u64,
    /// A chunk with enough receipts waits so long for those that may still come.
    pub grace_ms: u64,
    /// After that its bytes are kept so long for owners that have not answered, if there is room.
    pub linger_ms: u64,
    /// The pause before a replica is asked again, jittered; doubled each time, up to the maximum.
    pub retry_ms: u64,
    pub retry_max_ms: u64,
    /// A call that is not answered for so long is given up, and made again. And so long is a replica not
    /// relied on that was relied on in vain, unless it answers.
    pub silence_ms: u64,
    /// A chunk that lacks receipts for so long fails the put.
    pub timeout_ms: u64,
    /// So often the holders are asked to confirm what the log did not count.
    pub confirm_rounds_max: u32,
}

impl PutSettings {
    pub const fn standard() -> PutSettings {
        PutSettings {
            chunks_held_max: 4,
            stand_in_after_ms: 1_000,
            grace_ms: 150,
            linger_ms: 2_000,
            retry_ms: 50,
            retry_max_ms: 2_000,
            silence_ms: 10_000,
            timeout_ms: 30_000,
            confirm_rounds_max: 3,
        }
    }
}

/// A chunk with its root. To make one means to hash its bytes, which any thread can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedChunk {
    pub(super) root: ChunkRoot,
    pub(super) bytes: Bytes,
}

impl PreparedChunk {
    /// # Panics
    /// If there are 4 GiB or more, which is no chunk.
    pub fn of(bytes: Bytes) -> PreparedChunk {
        PreparedChunk { root: Outline::of(&bytes).root(), bytes }
    }
}

/// Why a chunk was not accepted, or no end. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferError {
    /// Too many bytes are held: ask `wants_more`.
    NoRoom,
    /// Only the last chunk may be shorter than the others, and none is longer or empty.
    WrongSize,
    /// A body has no more chunks than this.
    TooManyChunks,
    /// `finish` was called, or the put has failed.
    Over,
    /// A body without a byte has no chunks.
    Empty,
}

impl std::fmt::Display for OfferError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            OfferError::NoRoom => "too many chunks are under way",
            OfferError::WrongSize => "the chunk has not the size of a chunk",
            OfferError::TooManyChunks => "the body has too many chunks",
            OfferError::Over => "the put accepts nothing more",
            OfferError::Empty => "the body is empty",
        })
    }
}

impl std::error::Error for OfferError {}

/// Why a body could not be stored. What was stored of it dies with its upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PutFailure {
    /// Too few replicas have a chunk and can be reached.
    NoQuorum,
    /// Too few replicas have room for a chunk.
    Full,
    /// Another body has this name: its upload number was used before.
    Conflict,
    /// The layout is not the present one.
    WrongLayout,
}

impl std::fmt::Display for PutFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PutFailure::NoQuorum => "too few replicas hold a chunk",
            PutFailure::Full => "too few replicas have room",
            PutFailure::Conflict => "the upload number was used before",
            PutFailure::WrongLayout => "the layout is not the present one",
        })
    }
}

impl std::error::Error for PutFailure {}

/// A body whose chunks are durable on enough disks, as their receipts say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBody {
    pub upload: u64,
    pub body: ChunkedBody,
    /// The version of the layout that the receipts were given under.
    pub layout: u32,
    /// In the order of the chunks, and those of owners first. At most as many for a chunk as it has
    /// owners: they travel in the log.
    pub receipts: Vec<Receipt>,
}

impl From<StoredBody> for NewBody {
    fn from(stored: StoredBody) -> NewBody {
        let StoredBody { upload, body, layout, receipts } = stored;
        NewBody::Chunked { upload, body, layout, receipts }
    }
}

/// What a put wants done, or has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutput {
    Send {
        to: ReplicaId,
        /// Comes back with the answer. Unique in the life of the put.
        call: u64,
        body: DataBody,
    },
    /// The answer to this call is not awaited any more. What has not been sent of it need not be, and
    /// its bytes must be let go: they no longer count as held.
    Abandon { call: u64 },
    /// May be committed. Once, and once more for each `on_too_few_copies`.
    Ready(StoredBody),
    /// Nothing follows.
    Failed(PutFailure),
}
