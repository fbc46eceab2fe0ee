//! How much space the tables take, how much of it they can use anew, and what is still to be written.
//!
//! redb gives nothing back to the disk: its file keeps the pages of deleted rows and fills them again.
//! How many there are it tells only while it counts everything, which takes as long as reading the
//! tables. So they are counted when it matters, when the disk is nearly full, after a flush.

use std::sync::Arc;

use protocol::tables::TableFault;
use redb::Database;

use super::ledger::Ledger;
use super::verified_file::{BLOCK, STRIDE};
use super::{DiskTables, Frozen, fault};

/// Half of the pages that nobody needs: they lie scattered, and a large row needs neighbours.
const USABLE: u64 = 2;

/// What admission must know of the tables, all in bytes of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TablesSpace {
    /// What the file takes.
    pub file_bytes: u64,
    /// What of it can be written again, as far as it was counted.
    pub reusable_bytes: u64,
    /// What the flushes take at most that make durable what is in memory now.
    pub flush_bytes: u64,
    /// Whether pages have come free, or may have, since they were last counted.
    pub is_uncounted: bool,
}

/// Rows that wait for their flush.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weight {
    rows: u64,
    bytes: u64,
}

impl Weight {
    pub(super) fn add(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.rows += 1;
        self.bytes += size(key, value);
    }

    pub(super) fn remove(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.rows -= 1;
        self.bytes -= size(key, value);
    }

    /// redb never overwrites a page that counts: each row may need a copy of the page that it is on,
    /// but no more pages than there are. What is new takes up to twice its size, as pages come in
    /// powers of two.
    fn flush_bytes(self, file_bytes: u64) -> u64 {
        let copied = (self.rows * STRIDE).min(file_bytes);
        copied + on_disk(2 * self.bytes)
    }
}

/// A row costs a little more than its bytes.
fn size(key: &[u8], value: Option<&[u8]>) -> u64 {
    const ROW_OVERHEAD: u64 = 16;
    value.map_or(0, |value| ROW_OVERHEAD + (key.len() + value.len()) as u64)
}

fn on_disk(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK) * STRIDE
}

impl Frozen {
    /// What its flush still takes. By as much as the file has grown the disk has less space already: in
    /// the middle of a flush nothing may count twice.
    pub(super) fn flush_bytes(&self, file_bytes: u64) -> u64 {
        let grown = file_bytes.saturating_sub(self.file_bytes);
        self.weight.flush_bytes(self.file_bytes).saturating_sub(grown)
    }
}

/// What was last counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    reusable_bytes: u64,
    uncounted: bool,
}

impl Counted {
    pub(super) const NEVER: Counted = Counted { reusable_bytes: 0, uncounted: true };

    /// A flush has used some of what was free.
    pub(super) fn flushed(&mut self, flush_bytes: u64) {
        self.reusable_bytes = self.reusable_bytes.saturating_sub(flush_bytes);
        self.uncounted = true;
    }
}

/// Counts the pages that redb can use anew. Owns all it needs, like a flush, and waits for one.
pub struct CountJob {
    database: Arc<Database>,
    ledger: Arc<Ledger>,
}

/// What `DiskTables::finish_count` takes over.
#[derive(Clone, Copy, Debug)]
pub struct CountedPages(u64);

impl CountJob {
    /// A table that cannot be read is not judged here: whoever needs its rows will come upon it.
    pub fn run(self) -> CountedPages {
        let written = self.ledger.written_blocks() * BLOCK;
        CountedPages(self.allocated_bytes().map_or(0, |allocated| written.saturating_sub(allocated)))
    }

    fn allocated_bytes(&self) -> Result<u64, TableFault> {
        let transaction = self.database.begin_write().map_err(fault)?;
        let stats = transaction.stats().map_err(fault)?;
        transaction.abort().map_err(fault)?;
        Ok(stats.allocated_pages() * stats.page_size() as u64)
    }
}

impl DiskTables {
    pub fn space(&self) -> TablesSpace {
        let file_bytes = self.file_bytes();
        let frozen = self.frozen.as_ref().map_or(0, |frozen| frozen.flush_bytes(file_bytes));
        TablesSpace {
            file_bytes,
            reusable_bytes: self.counted.reusable_bytes,
            flush_bytes: self.active_weight.flush_bytes(file_bytes) + frozen,
            is_uncounted: self.counted.uncounted,
        }
    }

    /// The work that finds out how much can be used anew.
    pub fn count_job(&mut self) -> CountJob {
        self.counted.uncounted = false;
        CountJob { database: self.database.clone(), ledger: self.ledger.clone() }
    }

    pub fn finish_count(&mut self, counted: CountedPages) {
        self.counted.reusable_bytes = on_disk(counted.0 / USABLE);
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.ledger.written_blocks() * STRIDE
    }
}
