//! The table's ranges in memory: where each begins, what it sums up to.
//!
//! A range begins at the empty key and at every row whose key says so (`begins_range`). While a sync
//! is under way there may be further beginnings, at the borders of what was installed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use protocol::tables::{ManifestPage, RangeSummary, RowSum};
use redb::{ReadableTable, StorageError, Table};

/// The row table, as a write transaction sees it.
pub(super) type Rows<'txn> = Table<'txn, &'static [u8], &'static [u8]>;

pub(super) const RANGE_RECORD_SIZE: usize = 40;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) sum: RowSum,
    pub(super) row_count: u64,
}

impl Range {
    pub(super) fn add_row(&mut self, key: &[u8], value: &[u8]) {
        self.sum.add(RowSum::of_row(key, value));
        self.row_count += 1;
    }

    pub(super) fn remove_row(&mut self, key: &[u8], value: &[u8]) {
        self.sum.subtract(RowSum::of_row(key, value));
        // A count that a damaged file understates must not end the process.
        self.row_count = self.row_count.saturating_sub(1);
    }

    fn add(&mut self, other: Range) {
        self.sum.add(other.sum);
        self.row_count += other.row_count;
    }

    fn subtract(&mut self, other: Range) {
        self.sum.subtract(other.sum);
        self.row_count = self.row_count.saturating_sub(other.row_count);
    }

    pub(super) fn to_bytes(self) -> [u8; RANGE_RECORD_SIZE] {
        let mut bytes = [0; RANGE_RECORD_SIZE];
        bytes[..32].copy_from_slice(&self.sum.to_bytes());
        bytes[32..].copy_from_slice(&self.row_count.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Range> {
        let (sum, row_count) = bytes.split_first_chunk::<32>()?;
        let row_count = u64::from_le_bytes(row_count.try_into().ok()?);
        Some(Range { sum: RowSum::from_bytes(sum), row_count })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Ranges {
    /// Always holds the empty key.
    by_start: BTreeMap<Box<[u8]>, Range>,
    /// The starts whose records in the file are out of date.
    changed: BTreeSet<Box<[u8]>>,
}

impl Ranges {
    pub(super) fn new(mut by_start: BTreeMap<Box<[u8]>, Range>) -> Ranges {
        by_start.entry(Box::default()).or_default();
        Ranges { by_start, changed: BTreeSet::new() }
    }

    pub(super) fn root(&self) -> RowSum {
        let mut root = RowSum::ZERO;
        self.by_start.values().for_each(|range| root.add(range.sum));
        root
    }

    pub(super) fn contains(&self, start: &[u8]) -> bool {
        self.by_start.contains_key(start)
    }

    pub(super) fn starts(&self) -> impl Iterator<Item = &[u8]> {
        self.by_start.keys().map(AsRef::as_ref)
    }

    /// The range that holds `key`: its start, and the start of the next.
    pub(super) fn around(&self, key: &[u8]) -> (Box<[u8]>, Option<Box<[u8]>>) {
        let upto = (Bound::Unbounded, Bound::Included(key));
        let (start, _) = self.by_start.range::<[u8], _>(upto).next_back().expect("the empty key is a start");
        (start.clone(), self.start_after(key))
    }

    fn start_after(&self, key: &[u8]) -> Option<Box<[u8]>> {
        let after = (Bound::Excluded(key), Bound::Unbounded);
        self.by_start.range::<[u8], _>(after).next().map(|(start, _)| start.clone())
    }

    pub(super) fn get(&self, start: &[u8]) -> Range {
        self.by_start.get(start).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, start: &[u8], range: Range) {
        if self.by_start.insert(start.into(), range) != Some(range) {
            self.changed.insert(start.into());
        }
    }

    /// The sum of `start..end`, if ranges begin at both borders.
    pub(super) fn sum_between(&self, start: &[u8], end: Option<&[u8]>) -> Option<Range> {
        if !self.contains(start) || end.is_some_and(|end| !self.contains(end) || end <= start) {
            return None;
        }
        let mut total = Range::default();
        self.by_start.range::<[u8], _>(bounds(start, end)).for_each(|(_, range)| total.add(*range));
        Some(total)
    }

    /// Lets a range begin at `key`, which divides the one that holds it.
    pub(super) fn split_at(&mut self, key: &[u8], rows: &Rows<'_>) -> Result<(), StorageError> {
        if self.contains(key) {
            return Ok(());
        }
        let (start, end) = self.around(key);
        let mut upper = Range::default();
        for row in rows.range::<&[u8]>(bounds(key, end.as_deref()))? {
            let (key, value) = row?;
            upper.add_row(key.value(), value.value());
        }
        let mut lower = self.get(&start);
        lower.subtract(upper);
        self.set(&start, lower);
        self.set(key, upper);
        Ok(())
    }

    /// Lets no range begin at `start`: what it held joins the one before.
    pub(super) fn merge_at(&mut self, start: &[u8]) {
        if start.is_empty() {
            return;
        }
        if let Some(range) = self.by_start.remove(start) {
            self.changed.insert(start.into());
            let (before, _) = self.around(start);
            let mut joined = self.get(&before);
            joined.add(range);
            self.set(&before, joined);
        }
    }

    /// Forgets every range that begins in `start..end`.
    pub(super) fn remove_between(&mut self, start: &[u8], end: Option<&[u8]>) {
        let inside = self.by_start.range::<[u8], _>(bounds(start, end)).map(|(start, _)| start.clone());
        for start in inside.collect::<Vec<_>>() {
            self.by_start.remove(&start);
            self.changed.insert(start);
        }
    }

    /// Brings the records in the file up to date.
    pub(super) fn save(&mut self, records: &mut Rows<'_>) -> Result<(), StorageError> {
        for start in std::mem::take(&mut self.changed) {
            match self.by_start.get(&start) {
                Some(range) => drop(records.insert(start.as_ref(), range.to_bytes().as_slice())?),
                None => drop(records.remove(start.as_ref())?),
            }
        }
        Ok(())
    }

    pub(super) fn page(&self, after: Option<&[u8]>, range_count_max: usize) -> ManifestPage {
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let mut rest = self.by_start.range::<[u8], _>(from);
        let ranges = rest.by_ref().take(range_count_max.max(1)).map(|(start, range)| RangeSummary {
            start: Bytes::copy_from_slice(start),
            sum: range.sum,
            row_count: range.row_count,
        });
        let ranges = ranges.collect();
        ManifestPage { ranges, last: rest.next().is_none() }
    }
}

pub(super) fn bounds<'a>(start: &'a [u8], end: Option<&'a [u8]>) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded))
}
