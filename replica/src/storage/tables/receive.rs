//! Taking over the state of a peer, range by range.
//!
//! `begin_sync` durably marks the table as mixed. What is installed afterwards needs no durability of
//! its own: a crash takes back the last few ranges, whose sums then differ again. Only now and then a
//! commit is made durable, so that a restart does not begin from nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::tables::{Checkpoint, RangeSummary, Row, TableFault, begins_range};
use redb::{Durability, ReadableTable, WriteTransaction};

use super::ranges::{Range, Ranges, bounds};
use super::snapshot::Snapshot;
use super::space::Weight;
use super::{CHECKPOINT, DiskTables, META, RANGES, ROWS, SYNCING, encode_checkpoint, fault, load_ranges};

/// So many bytes of rows may have to be fetched again after a crash.
const DURABLE_EVERY_BYTES: usize = 8 << 20;

/// A sync under way.
pub(super) struct Receiving {
    pub(super) target: Checkpoint,
    pub(super) ranges: Ranges,
    pub(super) bytes_not_durable: usize,
}

impl DiskTables {
    pub(super) fn receive_begin(&mut self, target: &Checkpoint) -> Result<(), TableFault> {
        self.active.clear();
        self.active_weight = Weight::default();
        self.frozen = None;
        self.previous = None;
        self.epoch.fetch_add(1, Ordering::AcqRel);

        // Waits for a flush that has already begun. Its commit may not have been taken over by
        // `finish_flush`, so the file is asked what it holds.
        let mut transaction = self.database.begin_write().map_err(fault)?;
        transaction.set_quick_repair(true);
        let ranges = mark(&transaction, target).map_err(fault)?;
        transaction.commit().map_err(fault)?;
        self.receiving = Some(Receiving { target: target.clone(), ranges, bytes_not_durable: 0 });
        self.refresh_base()
    }

    pub(super) fn receive_holds(&self, range: &RangeSummary, end: Option<&[u8]>) -> bool {
        let ranges = self.receiving.as_ref().map_or(self.base.ranges.as_ref(), |it| &it.ranges);
        let wanted = Range { sum: range.sum, row_count: range.row_count };
        ranges.sum_between(&range.start, end) == Some(wanted)
    }

    pub(super) fn receive_install(
        &mut self,
        start: &[u8],
        end: Option<&[u8]>,
        rows: &[Row],
    ) -> Result<(), TableFault> {
        let receiving = self.receiving.as_mut().expect("installed only between begin_sync and finish_sync");
        let size: usize = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
        receiving.bytes_not_durable += size;
        let durable = receiving.bytes_not_durable >= DURABLE_EVERY_BYTES;

        let mut transaction = self.database.begin_write().map_err(fault)?;
        if durable {
            transaction.set_quick_repair(true);
            receiving.bytes_not_durable = 0;
        } else {
            transaction.set_durability(Durability::None).map_err(fault)?;
        }
        replace(&transaction, &mut receiving.ranges, (start, end), rows).map_err(fault)?;
        transaction.commit().map_err(fault)?;
        if durable { self.refresh_base() } else { Ok(()) }
    }

    pub(super) fn receive_finish(&mut self) -> Result<bool, TableFault> {
        let receiving = self.receiving.as_ref().expect("finished only after begin_sync");
        if receiving.ranges.root() != receiving.target.root {
            return Ok(false);
        }
        let mut ranges = receiving.ranges.clone();
        let target = receiving.target.clone();
        let mut transaction = self.database.begin_write().map_err(fault)?;
        transaction.set_quick_repair(true);
        conclude(&transaction, &mut ranges, &target).map_err(fault)?;
        transaction.commit().map_err(fault)?;
        self.base = Snapshot::take(&self.database, target, Arc::new(ranges))?;
        self.receiving = None;
        Ok(true)
    }

    /// Lets go of the pages that the last installed ranges have replaced.
    fn refresh_base(&mut self) -> Result<(), TableFault> {
        let (checkpoint, ranges) = (self.base.checkpoint.clone(), self.base.ranges.clone());
        self.base = Snapshot::take(&self.database, checkpoint, ranges)?;
        Ok(())
    }
}

fn mark(transaction: &WriteTransaction, target: &Checkpoint) -> Result<Ranges, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    meta.insert(SYNCING, encode_checkpoint(target).as_slice())?;
    load_ranges(&transaction.open_table(RANGES)?)
}

/// Makes `rows` all that there is in `start..end`.
fn replace(
    transaction: &WriteTransaction,
    ranges: &mut Ranges,
    (start, end): (&[u8], Option<&[u8]>),
    rows: &[Row],
) -> Result<(), redb::Error> {
    if end.is_some_and(|end| end <= start) {
        return Ok(());
    }
    let mut table = transaction.open_table(ROWS)?;
    ranges.split_at(start, &table)?;
    if let Some(end) = end {
        ranges.split_at(end, &table)?;
    }
    ranges.remove_between(start, end);
    table.retain_in::<&[u8], _>(bounds(start, end), |_, _| false)?;

    ranges.set(start, Range::default());
    for (key, value) in rows {
        // Whatever a peer sends: it ends up in the sum, or not in the table.
        if key.as_ref() < start || end.is_some_and(|end| key.as_ref() >= end) {
            continue;
        }
        if begins_range(key) && !ranges.contains(key) {
            ranges.split_at(key, &table)?;
        }
        let (holder, _) = ranges.around(key);
        let mut range = ranges.get(&holder);
        if let Some(old) = table.insert(key.as_ref(), value.as_ref())? {
            range.remove_row(key, old.value());
        }
        range.add_row(key, value);
        ranges.set(&holder, range);
    }
    Ok(ranges.save(&mut transaction.open_table(RANGES)?)?)
}

/// Declares the table to be the target. Borders that were only those of installed pieces go.
fn conclude(
    transaction: &WriteTransaction,
    ranges: &mut Ranges,
    target: &Checkpoint,
) -> Result<(), redb::Error> {
    let rows = transaction.open_table(ROWS)?;
    let mut borders = Vec::new();
    for start in ranges.starts() {
        if !begins_range(start) || rows.get(start)?.is_none() {
            borders.push(Box::<[u8]>::from(start));
        }
    }
    borders.iter().for_each(|start| ranges.merge_at(start));
    ranges.save(&mut transaction.open_table(RANGES)?)?;
    let mut meta = transaction.open_table(META)?;
    meta.insert(CHECKPOINT, encode_checkpoint(target).as_slice())?;
    meta.remove(SYNCING)?;
    Ok(())
}
