//! What a disk has room for: one judgement for the log and for the chunks.
//!
//! ```text
//!  free space of the disk, and what the tables can use anew
//! ├───────────────┬──────────────────────────────┬───────────────┬─ ─ ─ ─ ─ ─ ─┤
//! │ owed: what is │ kept: a pipeline that is     │ spare: full   │ ample        │
//! │ logged, but in│ under way, deletions with    │ and not full  │              │
//! │ no table yet  │ their checkpoints, a restart │ stay apart    │              │
//! └───────────────┴──────────────────────────────┴───────────────┴─ ─ ─ ─ ─ ─ ─┘
//! spent ▲      scarce ▲                          ▲ ample again
//! ```
//!
//! Everything is computed from the limits of the log and from what is in memory; nothing is a share of
//! the disk, for a flush takes the same on a small one.

use protocol::config::Limits;
use protocol::types::Room;

use super::disk::SECTOR;
use super::tables::TablesSpace;

/// Rows that one small operation changes, each on a page of its own: as many as any has.
const ROWS_PER_OP: u64 = 8;
const PAGE_ON_DISK: u64 = 4096 + SECTOR;
/// What frees space is free only after so many checkpoints: the pages of the last two are read by peers.
const CHECKPOINTS_UNTIL_FREED: u64 = 3;
/// An entry that holds nothing, its stub and its mark.
const EMPTY_ENTRY: u64 = 3 * SECTOR;
/// Of the log's segments, for bodies.
const SEGMENT_BODIES: (u64, u64) = (7, 8);

/// What is on a disk at present.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpaceNow {
    /// Free, for the process.
    pub available_bytes: u64,
    /// What the log can take without another segment.
    pub log_left_bytes: u64,
    pub tables: TablesSpace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub room: Room,
    /// So much of the free space is not for chunks: below it nothing would grow any more.
    pub needed_bytes: u64,
    /// It would help to know how much the tables can use anew.
    pub wants_count: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct SpaceKeeper {
    pipeline_bytes: u64,
    checkpoint_ops: u64,
    segment_size: u64,
    room: Room,
}

impl SpaceKeeper {
    pub fn new(limits: &Limits, segment_size: u64) -> SpaceKeeper {
        SpaceKeeper {
            pipeline_bytes: limits.pipeline_max * limits.batch_bytes_max as u64,
            checkpoint_ops: limits.checkpoint_interval_ops,
            segment_size,
            room: Room::Ample,
        }
    }

    pub fn judge(&mut self, now: &SpaceNow) -> Judgement {
        let owed = now.tables.flush_bytes + self.segments_missing(now.log_left_bytes);
        let scarce = owed + self.kept(now);
        let ample = scarce + self.pipeline_bytes;
        let room_of = |free: u64| match self.room {
            _ if free < owed => Room::Spent,
            _ if free < scarce => Room::Scarce,
            Room::Spent | Room::Scarce if free < ample => Room::Scarce,
            _ => Room::Ample,
        };
        let wants_count = now.tables.is_uncounted && room_of(now.available_bytes) > Room::Ample;
        self.room = room_of(now.available_bytes.saturating_add(now.tables.reusable_bytes));
        Judgement {
            room: self.room,
            needed_bytes: ample.saturating_sub(now.tables.reusable_bytes),
            wants_count,
        }
    }

    /// What a pipeline takes in the tables, where pages come in powers of two; what deletions copy until
    /// the checkpoints that free their space; and the segment of the log that a restart begins.
    fn kept(&self, now: &SpaceNow) -> u64 {
        let pages = CHECKPOINTS_UNTIL_FREED * self.checkpoint_ops * ROWS_PER_OP * PAGE_ON_DISK;
        let deletions = pages.min(CHECKPOINTS_UNTIL_FREED * now.tables.file_bytes);
        2 * self.pipeline_bytes + deletions + self.segment_size
    }

    /// What must be allocated for the pipeline and for empty entries through the next checkpoints.
    fn segments_missing(&self, left: u64) -> u64 {
        let entries = CHECKPOINTS_UNTIL_FREED * self.checkpoint_ops * EMPTY_ENTRY;
        let missing = (self.pipeline_bytes + entries).saturating_sub(left);
        let (bodies, of) = SEGMENT_BODIES;
        missing.div_ceil((self.segment_size / of * bodies).max(1)) * self.segment_size
    }
}
