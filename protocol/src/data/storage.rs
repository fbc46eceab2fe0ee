//! What the data plane's machines and a replica's chunk store say to each other.
//!
//! A machine gives a job and goes on; whoever carries it out reports back once. Each machine counts
//! its own jobs, so a report goes to the machine that gave the job.

use bytes::Bytes;

use super::outline::{BLOCK_SIZE, ChunkRoot, Outline};
use super::placement::Layout;
use crate::types::Incarnation;

/// Pairs a report with its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Job(u64);

impl Job {
    pub const fn new(number: u64) -> Job {
        Job(number)
    }

    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What a replica is at present, as far as its data plane must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The disk that is in use, as the tables name it.
    pub incarnation: Incarnation,
    /// Whether this replica's word counts: it has a place in the cluster, and its tables are a state
    /// of the log. Neither holds for a new disk before its `Rejoin`, or in the middle of a sync.
    pub ready: bool,
    /// Whether the tables hold all that had been committed when this replica began. Until then its
    /// catalog is right and old: what it does not name may be referenced all the same.
    pub caught_up: bool,
    pub primary: bool,
    pub layout: Layout,
}

/// Why a chunk is not durable after a job to store it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// The disk keeps its last space for deletions and for the log.
    Full,
    /// Other bytes have this name.
    Conflict,
    /// The bytes are not those of the root.
    Damaged,
}

/// A durable chunk, as the index of the store knows it: its bytes were not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub root: ChunkRoot,
    pub length: u32,
}

/// Verified blocks: as many as were asked for, or as many as are good, and at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBlocks {
    pub outline: Outline,
    pub bytes: Bytes,
}

impl ReadBlocks {
    /// Whether the chunk should have more of the blocks that were asked for: one of them is bad.
    pub fn are_short(&self, first: u32, count: u32) -> bool {
        let block = u64::from(BLOCK_SIZE);
        let end = (u64::from(first) + u64::from(count)) * block;
        let wanted = end.min(u64::from(self.outline.length)).saturating_sub(u64::from(first) * block);
        (self.bytes.len() as u64) < wanted
    }
}

/// Why there is no block to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// No chunk of this name and root is here, or it ends before the first block.
    Absent,
    /// The copy is here, and what was read of it is not what it should be, or cannot be read.
    Damaged,
}
