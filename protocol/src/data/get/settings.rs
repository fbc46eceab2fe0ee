//! What a get is told, and what it tells.

use crate::catalog::ChunkId;
use crate::data::message::DataBody;
use crate::data::outline::BLOCK_SIZE;
use crate::types::ReplicaId;

/// All durations are in milliseconds of local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetSettings {
    /// The blocks that are asked for at once. Fewer at first, so that the first byte comes soon.
    pub span_blocks: u32,
    pub first_span_blocks: u32,
    /// What is asked for, and what has come and is not taken, together.
    pub read_ahead_bytes: usize,
    /// What may be asked of a second holder beyond that.
    pub hedged_bytes: usize,
    /// A span that is late by this factor of the usual time is asked of another holder as well,
    pub hedge_factor: u64,
    /// but neither sooner
    pub hedge_min_ms: u64,
    /// nor later than this.
    pub hedge_max_ms: u64,
    /// What is taken for the usual time until it is known.
    pub usual_ms: u64,
    /// A holder that was late is asked after the others for so long.
    pub slow_ms: u64,
    /// The pause before a replica is asked again, jittered; doubled each time, up to the maximum.
    pub retry_ms: u64,
    pub retry_max_ms: u64,
    /// When nobody has a chunk, all are asked once more after this pause, jittered.
    pub look_again_ms: u64,
    /// A call that is not answered for so long is given up.
    pub silence_ms: u64,
    /// A span of which nothing comes for so long fails the get.
    pub timeout_ms: u64,
}

impl GetSettings {
    pub const fn standard() -> GetSettings {
        GetSettings {
            span_blocks: 16,
            first_span_blocks: 4,
            read_ahead_bytes: 4 << 20,
            hedged_bytes: 2 << 20,
            hedge_factor: 3,
            hedge_min_ms: 20,
            hedge_max_ms: 1_000,
            usual_ms: 50,
            slow_ms: 2_000,
            retry_ms: 50,
            retry_max_ms: 2_000,
            look_again_ms: 250,
            silence_ms: 5_000,
            timeout_ms: 20_000,
        }
    }
}

impl GetSettings {
    /// For a reader that may hold so many bytes at once: a third of them is for what is asked for twice.
    pub fn within(bytes: usize) -> GetSettings {
        let standard = GetSettings::standard();
        let read_ahead_bytes = (bytes - bytes / 3).min(standard.read_ahead_bytes);
        // Several spans are on their way at once, so that the line is never idle.
        let spans = read_ahead_bytes / 4 / BLOCK_SIZE as usize;
        let span_blocks = u32::try_from(spans).unwrap_or(u32::MAX).clamp(1, standard.span_blocks);
        GetSettings {
            read_ahead_bytes,
            hedged_bytes: (bytes / 3).min(standard.hedged_bytes),
            span_blocks,
            first_span_blocks: span_blocks.min(standard.first_span_blocks),
            ..standard
        }
    }
}

/// Why the bytes do not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetFailure {
    /// Every replica has said twice that it has no sound copy. If the record has changed meanwhile, that is as it
    /// should be; otherwise the chunk is lost.
    Missing { chunk: ChunkId },
    /// Those that may have a copy could not be asked.
    Unavailable,
}

impl std::fmt::Display for GetFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            GetFailure::Missing { chunk } => write!(f, "nobody has a sound copy of {chunk:?}"),
            GetFailure::Unavailable => f.write_str("no holder of a chunk can be reached"),
        }
    }
}

impl std::error::Error for GetFailure {}

/// What a get wants done, or has to tell. The bytes are taken with `Get::take`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GetOutput {
    Send {
        to: ReplicaId,
        /// Comes back with the answer. Unique in the life of the get.
        call: u64,
        body: DataBody,
    },
    /// The answer to this call is not awaited any more, and need not be received.
    Abandon { call: u64 },
    /// What this replica sent of the chunk does not fit the catalog: its copy should be looked at.
    Damage { replica: ReplicaId, chunk: ChunkId },
    /// All bytes were taken. Nothing follows.
    Finished,
    /// Nothing follows.
    Failed(GetFailure),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_hold_less_asks_for_less_at_once() {
        assert_eq!(GetSettings::within(6 << 20), GetSettings::standard());
        assert_eq!(GetSettings::within(usize::MAX), GetSettings::standard());
        for bytes in [192 << 10, 1 << 20, 3 << 19] {
            let settings = GetSettings::within(bytes);
            let span = settings.span_blocks as usize * BLOCK_SIZE as usize;
            assert!(settings.read_ahead_bytes + settings.hedged_bytes <= bytes, "{bytes}");
            assert!(span <= settings.hedged_bytes, "{bytes}: a late holder can be doubled");
            assert!(settings.first_span_blocks > 0 && settings.first_span_blocks <= settings.span_blocks);
        }
    }
}
