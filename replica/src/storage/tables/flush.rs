//! A frozen overlay becomes durable: one sorted transaction, on whatever thread runs it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::entry::EntryHeader;
use protocol::tables::{Checkpoint, TableFault, begins_range};
use redb::{Database, StorageError, WriteTransaction};

use super::ledger::Ledger;
use super::overlay::Overlay;
use super::ranges::{Ranges, Rows};
use super::snapshot::Snapshot;
use super::{CHECKPOINT, META, RANGES, ROWS, encode_checkpoint, fault};

/// Owns all it needs: reading and writing the tables goes on while it runs.
pub struct FlushJob {
    pub(super) database: Arc<Database>,
    pub(super) header: EntryHeader,
    pub(super) rows: Arc<Overlay>,
    pub(super) ranges: Arc<Ranges>,
    pub(super) epoch: Epoch,
    pub(super) ledger: Arc<Ledger>,
}

/// What `DiskTables::finish_flush` takes over.
pub struct Flushed(pub(super) Option<Snapshot>);

/// Counts the syncs begun: what was frozen before one must not be written after it.
#[derive(Clone)]
pub(super) struct Epoch {
    pub(super) current: Arc<AtomicU64>,
    pub(super) seen: u64,
}

impl Epoch {
    pub(super) fn has_passed(&self) -> bool {
        self.current.load(Ordering::Acquire) != self.seen
    }
}

impl FlushJob {
    /// An error is one of the disk, and ends the process like any failed write: the tables stay as
    /// they were at the checkpoint before, and opening them tells whether they are damaged.
    pub fn run(self) -> io::Result<Flushed> {
        self.flush().map_err(|fault| self.ledger.error(&fault))
    }

    fn flush(&self) -> Result<Flushed, TableFault> {
        let mut transaction = self.database.begin_write().map_err(fault)?;
        // The transaction's turn is the turn against `begin_sync`.
        if self.epoch.has_passed() {
            return Ok(Flushed(None));
        }
        transaction.set_quick_repair(true);
        let mut ranges = Ranges::clone(&self.ranges);
        let checkpoint = self.write(&transaction, &mut ranges).map_err(fault)?;
        transaction.commit().map_err(fault)?;
        Ok(Flushed(Some(Snapshot::take(&self.database, checkpoint, Arc::new(ranges))?)))
    }

    fn write(&self, transaction: &WriteTransaction, ranges: &mut Ranges) -> Result<Checkpoint, redb::Error> {
        let mut rows = transaction.open_table(ROWS)?;
        write_rows(&self.rows, &mut rows, ranges)?;
        ranges.save(&mut transaction.open_table(RANGES)?)?;
        let checkpoint = Checkpoint { header: self.header.clone(), root: ranges.root() };
        let mut meta = transaction.open_table(META)?;
        meta.insert(CHECKPOINT, encode_checkpoint(&checkpoint).as_slice())?;
        Ok(checkpoint)
    }
}

/// Writes the rows in key order, keeping the sums of their ranges.
///
/// Ranges begin before the rows that begin them are there, so that only the rows of the checkpoint
/// before are read and summed for it, each at most once: the new ones then count where they belong.
fn write_rows(changes: &Overlay, rows: &mut Rows<'_>, ranges: &mut Ranges) -> Result<(), StorageError> {
    let begun = changes.iter().filter(|(key, value)| value.is_some() && begins_range(key.as_ref()));
    // From the last to the first: what one of them has summed, none before it sums again.
    begun.rev().try_for_each(|(start, _)| ranges.split_at(start.as_ref(), rows))?;

    let mut ended = Vec::new();
    let (mut start, mut end) = ranges.around(&[]);
    let mut range = ranges.get(&start);
    for (key, value) in changes {
        let key = key.as_ref();
        if end.as_ref().is_some_and(|end| key >= end.as_ref()) {
            ranges.set(&start, range);
            (start, end) = ranges.around(key);
            range = ranges.get(&start);
        }
        let old = match value {
            Some(value) => rows.insert(key, value.as_ref())?,
            None => rows.remove(key)?,
        };
        if let Some(old) = &old {
            range.remove_row(key, old.value());
        }
        match value {
            Some(value) => range.add_row(key, value),
            None if old.is_some() && begins_range(key) => ended.push(key),
            None => {}
        }
    }
    ranges.set(&start, range);
    ended.into_iter().for_each(|start| ranges.merge_at(start));
    Ok(())
}
