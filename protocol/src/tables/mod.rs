//! The replicated state as one ordered table of byte keys and byte values.
//!
//! Writes go to memory; a checkpoint freezes what was written so far and makes it durable while new
//! writes continue. What the table contains at a checkpoint is summed up in a root that replicas
//! compare, kept in *ranges* so that a replica far behind fetches only the ranges that differ.

mod memory;

use bytes::Bytes;

pub use memory::MemoryTables;

use crate::entry::EntryHeader;
use crate::types::Op;

/// The table could not be read, or could not be written: the replica must stop serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFault {
    pub reason: String,
    pub cause: FaultCause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultCause {
    /// What is there is not what it should be: the table has to be fetched from the peers.
    Damage,
    /// The disk refused a write, and nothing more is read or written until the next start. What was
    /// durable still is: a disk that is full must not cost every replica its tables.
    Disk,
}

impl TableFault {
    pub fn damage(reason: impl Into<String>) -> TableFault {
        TableFault { reason: reason.into(), cause: FaultCause::Damage }
    }

    pub fn disk(reason: impl Into<String>) -> TableFault {
        TableFault { reason: reason.into(), cause: FaultCause::Disk }
    }
}

impl std::fmt::Display for TableFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.cause {
            FaultCause::Damage => write!(f, "table unreadable: {}", self.reason),
            FaultCause::Disk => write!(f, "table not written: {}", self.reason),
        }
    }
}

impl std::error::Error for TableFault {}

/// Whether a scan wants the next row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    Continue,
    Stop,
}

/// The ordered table that a state machine reads and writes.
pub trait Tables {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TableFault>;

    fn put(&mut self, key: &[u8], value: &[u8]);

    fn delete(&mut self, key: &[u8]);

    /// Visits rows with `from <= key < to` in key order until the visitor stops. No `to`: to the end.
    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), TableFault>;
}

/// The order-free sum of the hashes of all rows of a range, or of the whole table: four lanes of
/// 64 bits, each adding modulo 2^64 the corresponding lane of BLAKE3(key length ‖ key ‖ value).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowSum(pub [u64; 4]);

impl RowSum {
    pub const ZERO: RowSum = RowSum([0; 4]);

    pub fn of_row(key: &[u8], value: &[u8]) -> RowSum {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(key.len() as u64).to_le_bytes());
        hasher.update(key);
        hasher.update(value);
        RowSum::from_bytes(hasher.finalize().as_bytes())
    }

    pub fn add(&mut self, other: RowSum) {
        for (lane, more) in self.0.iter_mut().zip(other.0) {
            *lane = lane.wrapping_add(more);
        }
    }

    pub fn subtract(&mut self, other: RowSum) {
        for (lane, less) in self.0.iter_mut().zip(other.0) {
            *lane = lane.wrapping_sub(less);
        }
    }

    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, lane) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&lane.to_le_bytes());
        }
        bytes
    }

    pub fn from_bytes(bytes: &[u8; 32]) -> RowSum {
        let mut lanes = [0; 4];
        for (lane, chunk) in lanes.iter_mut().zip(bytes.chunks_exact(8)) {
            *lane = u64::from_le_bytes(chunk.try_into().expect("chunks are 8 bytes"));
        }
        RowSum(lanes)
    }
}

/// A state that every replica passes through: the log's entry and the sum of the rows after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub header: EntryHeader,
    pub root: RowSum,
}

impl Checkpoint {
    pub fn op(&self) -> Op {
        self.header.op
    }
}

/// One range of the table at a checkpoint: from `start` to the start of the next range.
/// A key begins a range if its hash says so (`begins_range`), hence equal content has equal ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSummary {
    pub start: Bytes,
    pub sum: RowSum,
    pub row_count: u64,
}

/// On average one key in so many begins a range.
pub const RANGE_ROWS_MEAN: u64 = 512;

/// Whether `key` begins a range. The empty key begins the first range, whether it exists or not.
pub fn begins_range(key: &[u8]) -> bool {
    let hash = blake3::hash(key);
    let word = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"));
    word % RANGE_ROWS_MEAN == 0
}

/// Part of the list of ranges of one checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestPage {
    pub ranges: Vec<RangeSummary>,
    /// Whether these are the last ones. If not, ask again from the start after the last of them.
    pub last: bool,
}

pub type Row = (Bytes, Bytes);

/// Part of the rows of one range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPage {
    pub rows: Vec<Row>,
    /// Whether the range ends here. If not, ask again from just after the last key.
    pub last: bool,
}

/// What the replica needs of its tables beyond what a state machine needs.
///
/// A checkpoint goes through three steps: the core calls `freeze`, the driver flushes in the
/// background (by means of the implementation's own methods) and then tells the core
/// `on_checkpoint_flushed`. Until then `frozen` is true and the core does not freeze again.
pub trait ReplicaTables: Tables {
    /// What is durable: after a crash the table is found in this state.
    fn durable(&self) -> &Checkpoint;

    /// The writes so far, together with all earlier ones, are the state at `header.op`.
    fn freeze(&mut self, header: &EntryHeader);

    /// A frozen checkpoint is not yet durable.
    fn frozen(&self) -> bool;

    /// As a donor: the checkpoints that can be read, oldest first. At least the durable one; the one
    /// before it too, as long as the process has lived since.
    fn snapshots(&self) -> Vec<Checkpoint>;

    /// As a donor: ranges of the snapshot at `checkpoint`, beginning with the first whose start is
    /// greater than `after`. None if the snapshot is gone.
    fn manifest(
        &self,
        checkpoint: Op,
        after: Option<&[u8]>,
        range_count_max: usize,
    ) -> Result<Option<ManifestPage>, TableFault>;

    /// As a donor: rows of the range `start..end` of the snapshot at `checkpoint` whose key is
    /// greater than `after` (or from the start), about `bytes_max` of them but at least one.
    fn rows(
        &self,
        checkpoint: Op,
        start: &[u8],
        end: Option<&[u8]>,
        after: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Option<RowPage>, TableFault>;

    /// As a receiver: gives up the own state, durably, for that of `target`. Writes in memory are
    /// dropped and the table counts as mixed (`syncing`) until `finish_sync`. Begun again with
    /// another target, what was installed stays: ranges that match need not be fetched again.
    fn begin_sync(&mut self, target: &Checkpoint) -> Result<(), TableFault>;

    /// The target of a sync that has begun and not finished, also after a restart.
    fn syncing(&self) -> Option<&Checkpoint>;

    /// As a receiver: whether the own rows in `range.start..end` are already those of `range`.
    fn holds(&self, range: &RangeSummary, end: Option<&[u8]>) -> bool;

    /// As a receiver: makes `rows` the content of `start..end`, which another call need not repeat.
    fn install(&mut self, start: &[u8], end: Option<&[u8]>, rows: &[Row]) -> Result<(), TableFault>;

    /// As a receiver: durably declares the table to be the target, if its sum is the target's root;
    /// false, and still syncing, if it is not.
    fn finish_sync(&mut self) -> Result<bool, TableFault>;
}
