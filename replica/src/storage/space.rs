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
//! What is owed is taken for the most that it can be. As long as that is much, a disk that looks full is
//! only *pressed*: whatever grows waits for the flush, which tells how much it was.
//!
//! Everything is computed from the limits of the log and from what is in memory; nothing is a share of
//! the disk, for a flush takes the same on a small one.

use protocol::config::Limits;
use protocol::types::Room;

use super::disk::SECTOR;
use super::tables::TablesSpace;

/// Rows that one deletion changes, each on a page of its own: the object, its body, what the body is owed
/// and where it waits for collection.
const ROWS_PER_OP: u64 = 4;
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
        let wants_count = now.tables.is_uncounted && self.room_of(now, now.available_bytes) > Room::Ample;
        self.room = self.room_of(now, now.available_bytes.saturating_add(now.tables.reusable_bytes));
        let needed = self.owed(now) + self.kept(now) + self.pipeline_bytes;
        let needed_bytes = needed.saturating_sub(now.tables.reusable_bytes);
        Judgement { room: self.room, needed_bytes, wants_count }
    }

    fn room_of(&self, now: &SpaceNow, free: u64) -> Room {
        let (owed, kept) = (self.owed(now), self.kept(now));
        let spare = if self.room == Room::Ample { 0 } else { self.pipeline_bytes };
        // What waits for its flush is taken for as much as it can be. Where that decides, the flush tells.
        let is_guess = self.room != Room::Scarce && now.tables.flush_bytes > kept / 4;
        if free < owed {
            Room::Spent
        } else if free >= owed + kept + spare {
            Room::Ample
        } else if is_guess {
            Room::Pressed
        } else {
            Room::Scarce
        }
    }

    /// What the flushes take of what is in memory, and the log until they are through.
    fn owed(&self, now: &SpaceNow) -> u64 {
        now.tables.flush_bytes + self.segments_missing(now.log_left_bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn keeper() -> SpaceKeeper {
        SpaceKeeper::new(&Limits::standard(), 16 * MIB)
    }

    /// Tables of this size, and a log with room.
    fn now(available: u64, file: u64, flush: u64, reusable: u64) -> SpaceNow {
        let (file_bytes, flush_bytes, reusable_bytes) = (file * MIB, flush * MIB, reusable * MIB);
        let tables = TablesSpace { file_bytes, flush_bytes, reusable_bytes, is_uncounted: false };
        SpaceNow { available_bytes: available * MIB, log_left_bytes: 28 * MIB, tables }
    }

    /// A pipeline is 8 MiB: twice that, and a segment of the log, is kept on any disk.
    #[test]
    fn a_small_disk_keeps_what_a_pipeline_and_a_restart_take() {
        for (available, room) in
            [(1000, Room::Ample), (32, Room::Ample), (31, Room::Scarce), (0, Room::Scarce)]
        {
            assert_eq!(keeper().judge(&now(available, 0, 0, 0)).room, room, "{available}");
        }
    }

    #[test]
    fn deletions_may_copy_the_tables_three_times_but_no_more_than_they_touch() {
        let needed = |file| keeper().judge(&now(1000, file, 0, 0)).needed_bytes / MIB;
        assert_eq!((needed(0), needed(5), needed(100_000)), (40, 55, 67));
    }

    #[test]
    fn full_and_not_full_stay_apart() {
        let mut keeper = keeper();
        let rooms = [33, 31, 33, 39, 40, 33].map(|available| keeper.judge(&now(available, 0, 0, 0)).room);
        use Room::{Ample, Scarce};
        assert_eq!(rooms, [Ample, Scarce, Scarce, Scarce, Ample, Ample]);
    }

    /// A thousand rows in memory may take much or little. Refusing them for good before anybody knows
    /// would call a disk full that is half empty.
    #[test]
    fn what_is_only_guessed_makes_growth_wait_and_what_is_owed_makes_everything_wait() {
        let mut keeper = keeper();
        assert_eq!(keeper.judge(&now(100, 0, 60, 0)).room, Room::Ample);
        assert_eq!(keeper.judge(&now(100, 0, 70, 0)).room, Room::Pressed);
        assert_eq!(keeper.judge(&now(100, 0, 101, 0)).room, Room::Spent);
        assert_eq!(keeper.judge(&now(60, 2, 0, 0)).room, Room::Ample);
        assert_eq!(keeper.judge(&now(10, 0, 0, 0)).room, Room::Scarce);
        // Deletions wait for their flush, too: that tells nothing new.
        assert_eq!(keeper.judge(&now(30, 0, 20, 0)).room, Room::Scarce);
    }

    #[test]
    fn what_the_tables_can_use_anew_is_room_and_is_counted_when_it_matters() {
        let mut keeper = keeper();
        let uncounted = |mut now: SpaceNow| {
            now.tables.is_uncounted = true;
            now
        };
        assert!(!keeper.judge(&uncounted(now(500, 10, 0, 0))).wants_count);
        assert!(keeper.judge(&uncounted(now(30, 10, 0, 0))).wants_count);
        assert_eq!(keeper.judge(&now(30, 10, 0, 30)).room, Room::Scarce);
        assert_eq!(keeper.judge(&now(30, 10, 0, 50)).room, Room::Ample);
    }

    #[test]
    fn a_log_without_room_needs_segments() {
        for (available, room) in [(15, Room::Spent), (47, Room::Scarce), (48, Room::Ample)] {
            let used_up = SpaceNow { log_left_bytes: 0, ..now(available, 0, 0, 0) };
            assert_eq!(keeper().judge(&used_up).room, room, "{available}");
        }
    }
}
