//! Tables that live in memory only: for embedders without a disk, for tests, and as the reference
//! that tables on disks are compared with. Simple rather than quick: a freeze copies everything.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::{
    Checkpoint, ManifestPage, RangeSummary, ReplicaTables, Row, RowPage, RowSum, Scan, TableFault, Tables,
    begins_range,
};
use crate::entry::EntryHeader;
use crate::types::Op;

type Rows = BTreeMap<Bytes, Bytes>;

/// The rows at a checkpoint.
#[derive(Clone)]
struct Snapshot {
    checkpoint: Checkpoint,
    rows: Arc<Rows>,
}

impl Snapshot {
    fn new(header: EntryHeader, rows: Rows) -> Snapshot {
        let root = sum(rows.iter());
        Snapshot { checkpoint: Checkpoint { header, root }, rows: Arc::new(rows) }
    }

    /// A later checkpoint. Most of its rows are those of this one, and hashing them all again would
    /// be most of the work of whoever executes a log with many checkpoints.
    fn next(&self, header: EntryHeader, rows: Rows) -> Snapshot {
        let root = sum_after(self.checkpoint.root, &self.rows, &rows);
        Snapshot { checkpoint: Checkpoint { header, root }, rows: Arc::new(rows) }
    }
}

#[derive(Clone)]
pub struct MemoryTables {
    active: Rows,
    frozen: Option<Snapshot>,
    durable: Snapshot,
    /// The checkpoint before the durable one: a receiver may be in the middle of fetching it.
    previous: Option<Snapshot>,
    syncing: Option<Checkpoint>,
}

impl MemoryTables {
    /// Empty, as of `genesis`.
    pub fn new(genesis: EntryHeader) -> MemoryTables {
        MemoryTables {
            active: Rows::new(),
            frozen: None,
            durable: Snapshot::new(genesis, Rows::new()),
            previous: None,
            syncing: None,
        }
    }

    /// What the driver does after `Effect::FlushCheckpoint`: the frozen checkpoint becomes durable.
    /// False if nothing was frozen, as after a sync that began in between.
    pub fn finish_flush(&mut self) -> bool {
        let Some(frozen) = self.frozen.take() else { return false };
        self.previous = Some(std::mem::replace(&mut self.durable, frozen));
        true
    }

    /// What a crash leaves behind: the durable rows, or those of an unfinished sync.
    pub fn crash(&mut self) {
        self.frozen = None;
        self.previous = None;
        if self.syncing.is_none() {
            self.active = Rows::clone(&self.durable.rows);
        }
    }

    fn snapshot(&self, checkpoint: Op) -> Option<&Snapshot> {
        if self.syncing.is_some() {
            return None;
        }
        let kept = [Some(&self.durable), self.previous.as_ref()];
        kept.into_iter().flatten().find(|snapshot| snapshot.checkpoint.op() == checkpoint)
    }
}

fn sum<'a>(rows: impl Iterator<Item = (&'a Bytes, &'a Bytes)>) -> RowSum {
    let mut sum = RowSum::ZERO;
    for (key, value) in rows {
        sum.add(RowSum::of_row(key, value));
    }
    sum
}

/// The sum of `rows`, which `before`, with the sum `root`, has turned into.
fn sum_after(mut root: RowSum, before: &Rows, rows: &Rows) -> RowSum {
    let mut old = before.iter().peekable();
    for (key, value) in rows {
        while let Some((gone, value)) = old.next_if(|(old, _)| *old < key) {
            root.subtract(RowSum::of_row(gone, value));
        }
        match old.next_if(|(old, _)| *old == key) {
            Some((_, same)) if same == value => continue,
            Some((_, replaced)) => root.subtract(RowSum::of_row(key, replaced)),
            None => {}
        }
        root.add(RowSum::of_row(key, value));
    }
    for (gone, value) in old {
        root.subtract(RowSum::of_row(gone, value));
    }
    root
}

/// The rows between two bounds, none if they are the wrong way round: a peer may have chosen them.
fn between<'a>(
    rows: &'a Rows,
    from: Bound<&[u8]>,
    to: Option<&[u8]>,
) -> impl Iterator<Item = (&'a Bytes, &'a Bytes)> + use<'a> {
    let empty = match (from, to) {
        (Bound::Included(from) | Bound::Excluded(from), Some(to)) => from >= to,
        _ => false,
    };
    let to = to.map_or(Bound::Unbounded, Bound::Excluded);
    let range = (!empty).then(|| rows.range::<[u8], _>((from, to)));
    range.into_iter().flatten()
}

/// All ranges in order: the first starts at the empty key.
fn ranges(rows: &Rows) -> Vec<RangeSummary> {
    let mut all = vec![RangeSummary { start: Bytes::new(), sum: RowSum::ZERO, row_count: 0 }];
    for (key, value) in rows {
        if !key.is_empty() && begins_range(key) {
            all.push(RangeSummary { start: key.clone(), sum: RowSum::ZERO, row_count: 0 });
        }
        let range = all.last_mut().expect("there is a first range");
        range.sum.add(RowSum::of_row(key, value));
        range.row_count += 1;
    }
    all
}

impl Tables for MemoryTables {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TableFault> {
        Ok(self.active.get(key).cloned())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.active.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    }

    fn delete(&mut self, key: &[u8]) {
        self.active.remove(key);
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), TableFault> {
        for (key, value) in between(&self.active, Bound::Included(from), to) {
            if visit(key, value) == Scan::Stop {
                break;
            }
        }
        Ok(())
    }
}

impl ReplicaTables for MemoryTables {
    fn durable(&self) -> &Checkpoint {
        &self.durable.checkpoint
    }

    fn freeze(&mut self, header: &EntryHeader) {
        assert!(self.frozen.is_none());
        assert!(self.syncing.is_none());
        self.frozen = Some(self.durable.next(header.clone(), self.active.clone()));
    }

    fn frozen(&self) -> bool {
        self.frozen.is_some()
    }

    fn snapshots(&self) -> Vec<Checkpoint> {
        if self.syncing.is_some() {
            return Vec::new();
        }
        let kept = [self.previous.as_ref(), Some(&self.durable)];
        kept.into_iter().flatten().map(|snapshot| snapshot.checkpoint.clone()).collect()
    }

    fn manifest(
        &self,
        checkpoint: Op,
        after: Option<&[u8]>,
        range_count_max: usize,
    ) -> Result<Option<ManifestPage>, TableFault> {
        let Some(snapshot) = self.snapshot(checkpoint) else { return Ok(None) };
        let mut rest = ranges(&snapshot.rows);
        rest.retain(|range| after.is_none_or(|after| range.start.as_ref() > after));
        let last = rest.len() <= range_count_max;
        rest.truncate(range_count_max);
        Ok(Some(ManifestPage { ranges: rest, last }))
    }

    fn rows(
        &self,
        checkpoint: Op,
        start: &[u8],
        end: Option<&[u8]>,
        after: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Option<RowPage>, TableFault> {
        let Some(snapshot) = self.snapshot(checkpoint) else { return Ok(None) };
        let from = match after {
            Some(after) if after >= start => Bound::Excluded(after),
            _ => Bound::Included(start),
        };
        let mut page = RowPage { rows: Vec::new(), last: true };
        let mut bytes = 0;
        for (key, value) in between(&snapshot.rows, from, end) {
            if bytes >= bytes_max && !page.rows.is_empty() {
                page.last = false;
                break;
            }
            bytes += key.len() + value.len();
            page.rows.push((key.clone(), value.clone()));
        }
        Ok(Some(page))
    }

    fn begin_sync(&mut self, target: &Checkpoint) -> Result<(), TableFault> {
        if self.syncing.is_none() {
            self.active = Rows::clone(&self.durable.rows);
            self.frozen = None;
            self.previous = None;
        }
        self.syncing = Some(target.clone());
        Ok(())
    }

    fn syncing(&self) -> Option<&Checkpoint> {
        self.syncing.as_ref()
    }

    fn holds(&self, range: &RangeSummary, end: Option<&[u8]>) -> bool {
        let own = || between(&self.active, Bound::Included(range.start.as_ref()), end);
        own().count() as u64 == range.row_count && sum(own()) == range.sum
    }

    fn install(&mut self, start: &[u8], end: Option<&[u8]>, rows: &[Row]) -> Result<(), TableFault> {
        let old: Vec<Bytes> =
            between(&self.active, Bound::Included(start), end).map(|(key, _)| key.clone()).collect();
        for key in old {
            self.active.remove(&key);
        }
        // A row outside the range is the donor's mistake, and must not spoil another range.
        let inside = |key: &[u8]| key >= start && end.is_none_or(|end| key < end);
        self.active.extend(rows.iter().filter(|(key, _)| inside(key)).cloned());
        Ok(())
    }

    fn finish_sync(&mut self) -> Result<bool, TableFault> {
        let Some(target) = self.syncing.as_ref() else { return Ok(false) };
        let snapshot = Snapshot::new(target.header.clone(), self.active.clone());
        if snapshot.checkpoint != *target {
            return Ok(false);
        }
        self.durable = snapshot;
        self.syncing = None;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ClusterId, Epoch};

    fn header(op: u64) -> EntryHeader {
        EntryHeader { op: Op::new(op), ..EntryHeader::genesis(ClusterId::new(1), Epoch::ZERO) }
    }

    /// Tables with so many rows, made durable as of `op`.
    fn filled(row_count: u32, op: u64) -> MemoryTables {
        let mut tables = MemoryTables::new(header(0));
        for number in 0..row_count {
            tables.put(&number.to_be_bytes(), format!("row {number}").as_bytes());
        }
        tables.freeze(&header(op));
        assert!(tables.finish_flush());
        tables
    }

    fn keys(tables: &MemoryTables, from: &[u8], to: Option<&[u8]>) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            seen.push(key.to_vec());
            Scan::Continue
        };
        tables.scan(from, to, &mut visit).unwrap();
        seen
    }

    /// The receiver's part of a sync; returns how many ranges had to be fetched.
    fn sync(receiver: &mut MemoryTables, donor: &MemoryTables) -> usize {
        let target = donor.durable().clone();
        receiver.begin_sync(&target).unwrap();
        let mut ranges = Vec::new();
        loop {
            let after = ranges.last().map(|range: &RangeSummary| range.start.clone());
            let page = donor.manifest(target.op(), after.as_deref(), 3).unwrap().unwrap();
            ranges.extend(page.ranges);
            if page.last {
                break;
            }
        }
        let mut fetched = 0;
        for (index, range) in ranges.iter().enumerate() {
            let end = ranges.get(index + 1).map(|next| next.start.as_ref());
            if receiver.holds(range, end) {
                continue;
            }
            let mut rows: Vec<Row> = Vec::new();
            loop {
                let after = rows.last().map(|(key, _)| key.clone());
                let page = donor.rows(target.op(), &range.start, end, after.as_deref(), 1000);
                let page = page.unwrap().unwrap();
                rows.extend(page.rows);
                if page.last {
                    break;
                }
            }
            receiver.install(&range.start, end, &rows).unwrap();
            fetched += 1;
        }
        fetched
    }

    #[test]
    fn a_scan_is_ordered_and_half_open() {
        let mut tables = MemoryTables::new(header(0));
        for key in [b"b".as_slice(), b"a", b"", b"ab"] {
            tables.put(key, b"");
        }
        assert_eq!(keys(&tables, b"", None), [b"".as_slice(), b"a", b"ab", b"b"]);
        assert_eq!(keys(&tables, b"a", Some(b"b")), [b"a".as_slice(), b"ab"]);
        assert!(keys(&tables, b"b", Some(b"a")).is_empty());
        assert!(keys(&tables, b"a", Some(b"a")).is_empty());
    }

    #[test]
    fn a_crash_returns_to_the_last_flushed_checkpoint() {
        let mut tables = filled(3, 1);
        tables.put(b"late", b"1");
        tables.freeze(&header(2));
        assert!(tables.frozen());
        tables.put(b"later", b"2");
        tables.crash();
        assert_eq!(tables.durable().op(), Op::new(1));
        assert_eq!(tables.get(b"late").unwrap(), None);
        assert!(!tables.finish_flush());
    }

    #[test]
    fn what_is_written_after_a_freeze_is_not_in_the_checkpoint() {
        let mut tables = filled(3, 1);
        tables.freeze(&header(2));
        tables.put(b"late", b"1");
        tables.finish_flush();
        assert_eq!(tables.durable().root, filled(3, 1).durable().root);
        assert_eq!(tables.get(b"late").unwrap().as_deref(), Some(b"1".as_slice()));
    }

    #[test]
    fn a_root_is_the_sum_of_all_rows_however_they_came_about() {
        let mut tables = filled(100, 1);
        for number in (0_u32..120).step_by(7) {
            tables.put(&number.to_be_bytes(), b"changed, or new");
            tables.delete(&(number + 3).to_be_bytes());
            tables.put(&(number + 4).to_be_bytes(), format!("row {}", number + 4).as_bytes());
        }
        tables.delete(&99_u32.to_be_bytes());
        tables.put(b"", b"first");
        tables.freeze(&header(2));
        tables.finish_flush();
        assert_eq!(tables.durable().root, sum(tables.active.iter()));
        assert_ne!(tables.durable().root, filled(100, 1).durable().root);

        tables.active.clear();
        tables.freeze(&header(3));
        tables.finish_flush();
        assert_eq!(tables.durable().root, RowSum::ZERO);
    }

    #[test]
    fn the_two_newest_checkpoints_can_be_read() {
        let mut tables = filled(3, 1);
        tables.freeze(&header(2));
        assert_eq!(tables.snapshots().len(), 2);
        tables.finish_flush();
        let ops: Vec<u64> = tables.snapshots().iter().map(|checkpoint| checkpoint.op().get()).collect();
        assert_eq!(ops, [1, 2]);
        assert_eq!(tables.manifest(Op::ZERO, None, 8).unwrap(), None);
    }

    #[test]
    fn a_sync_fetches_only_the_ranges_that_differ() {
        let mut donor = filled(4000, 1);
        let mut receiver = donor.clone();
        let range_count = donor.manifest(Op::new(1), None, 1000).unwrap().unwrap().ranges.len();
        assert!(range_count > 3, "the test wants several ranges");

        donor.put(&7_u32.to_be_bytes(), b"changed");
        donor.freeze(&header(2));
        donor.finish_flush();
        receiver.put(b"lost with the sync", b"");
        assert_eq!(sync(&mut receiver, &donor), 1);
        assert!(receiver.finish_sync().unwrap());
        assert_eq!(receiver.durable(), donor.durable());
        assert_eq!(receiver.syncing(), None);
    }

    #[test]
    fn an_unfinished_sync_survives_a_crash_and_serves_nobody() {
        let donor = filled(2000, 5);
        let mut receiver = filled(10, 1);
        receiver.begin_sync(donor.durable()).unwrap();
        receiver.crash();
        assert_eq!(receiver.syncing(), Some(donor.durable()));
        assert!(receiver.snapshots().is_empty());
        assert!(!receiver.finish_sync().unwrap());

        sync(&mut receiver, &donor);
        assert_eq!(sync(&mut receiver, &donor), 0, "what was installed is not fetched again");
        assert!(receiver.finish_sync().unwrap());
    }

    #[test]
    fn rows_outside_their_range_are_not_installed() {
        let mut receiver = filled(10, 1);
        receiver.begin_sync(filled(20, 2).durable()).unwrap();
        let stray = (Bytes::from_static(b"zz"), Bytes::new());
        receiver.install(b"a", Some(b"b"), &[stray]).unwrap();
        assert_eq!(receiver.get(b"zz").unwrap(), None);
        receiver.install(b"b", Some(b"a"), &[]).unwrap();
    }
}
