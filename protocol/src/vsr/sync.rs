//! A replica so far behind that no WAL reaches back to it fetches a checkpoint: of all ranges only
//! those whose sums differ, from any donor that has the snapshot, verified one by one and in total.
//!
//! ```text
//!  GetManifest ──▶ Manifest: target, ranges ──▶ equal? skip ──┐
//!                                          └──▶ GetRows ──▶ Rows … ──▶ sum right? install
//!                                                             │ all ranges
//!                                                             ▼
//!                                          root right? the table is the target: superblock
//! ```

use std::collections::VecDeque;

use bytes::Bytes;

use super::status::Status;
use super::*;
use crate::tables::{RangeSummary, Row, RowSum};

/// Ranges in one page of a manifest.
const MANIFEST_RANGES_MAX: usize = 256;
/// Bytes of rows in one answer, about.
const ROWS_BYTES_MAX: usize = 256 << 10;

#[derive(Clone)]
pub(super) struct Sync {
    /// A checkpoint below this op would not help.
    minimum: Op,
    donor: Option<ReplicaId>,
    target: Option<Checkpoint>,
    /// The manifest was seen up to this start.
    after: Option<Bytes>,
    manifest_complete: bool,
    /// Ranges that differ, each with the start of the next one.
    ranges: VecDeque<(RangeSummary, Option<Bytes>)>,
    /// Rows received of the first of them.
    rows: Vec<Row>,
    asked_at: Option<Tick>,
}

impl Sync {
    pub(super) fn new(minimum: Op) -> Sync {
        Sync {
            minimum,
            donor: None,
            target: None,
            after: None,
            manifest_complete: false,
            ranges: VecDeque::new(),
            rows: Vec::new(),
            asked_at: None,
        }
    }

    pub(super) fn target_op(&self) -> Op {
        self.target.as_ref().map_or(Op::ZERO, Checkpoint::op)
    }

    fn begin_again(&mut self) {
        *self = Sync::new(self.minimum);
    }
}

impl<M: Machine, T: ReplicaTables> Replica<M, T> {
    fn sync(&mut self) -> Option<&mut Sync> {
        match &mut self.status {
            Status::Syncing(sync) => Some(sync),
            Status::Rejoining(rejoining) => rejoining.sync.as_mut(),
            _ => None,
        }
    }

    /// The peers' WALs begin above `needed`.
    pub(super) fn begin_sync(&mut self, needed: Op) {
        self.event(Event::SyncStarted);
        let sync = Sync::new(needed);
        if let Status::Rejoining(rejoining) = &mut self.status {
            rejoining.sync = Some(sync);
        } else {
            self.leave_status();
            self.candidate = None;
            self.status = Status::Syncing(sync);
        }
    }

    pub(super) fn settle_sync(&mut self) {
        if self.dying.is_some() || self.state.tables().frozen() {
            return;
        }
        let Some(sync) = self.sync() else { return };
        if sync.manifest_complete && sync.ranges.is_empty() {
            match self.state.tables_mut().finish_sync() {
                Ok(true) => self.sync_is_finished(),
                Ok(false) => self.begin_sync_again(),
                Err(fault) => self.lose_tables(&fault),
            }
        } else if sync.asked_at.is_none() {
            self.ask_donor();
        }
    }

    fn begin_sync_again(&mut self) {
        self.event(Event::SyncRetargeted);
        if let Some(sync) = self.sync() {
            sync.begin_again();
        }
    }

    pub(super) fn tick_sync(&mut self) {
        let (now, patience) = (self.now, self.config.timeouts.resend_ms * 2);
        let Some(sync) = self.sync() else { return };
        if sync.asked_at.is_some_and(|asked_at| now.since(asked_at) >= patience) {
            // No answer: another donor.
            sync.donor = None;
            sync.asked_at = None;
        }
    }

    /// Asks for the next thing: a page of the manifest, or of the rows of a range that differs.
    fn ask_donor(&mut self) {
        let Some(donor) = self.pick_donor() else { return };
        let now = self.now;
        let Some(sync) = self.sync() else { return };
        sync.donor = Some(donor);
        sync.asked_at = Some(now);
        let op = sync.target_op();
        let body = match sync.ranges.front() {
            Some((range, end)) => Body::GetRows {
                op,
                start: range.start.clone(),
                end: end.clone(),
                after: sync.rows.last().map(|(key, _)| key.clone()),
            },
            None => Body::GetManifest { op, after: sync.after.clone() },
        };
        self.send(donor, body);
    }

    /// The donor in use, or at random one of those whose checkpoint helps.
    fn pick_donor(&mut self) -> Option<ReplicaId> {
        let others = self.others();
        let random = self.random.next_u64();
        let checkpoints: Vec<(ReplicaId, Op)> =
            others.iter().map(|other| (*other, self.peers.get(*other).checkpoint)).collect();
        let sync = self.sync()?;
        if let Some(donor) = sync.donor {
            return Some(donor);
        }
        let least = sync.target.as_ref().map_or(sync.minimum, Checkpoint::op);
        let able: Vec<ReplicaId> =
            checkpoints.iter().filter(|(_, checkpoint)| *checkpoint >= least).map(|(id, _)| *id).collect();
        // Nobody was heard of yet: any answer will tell.
        let able = if able.is_empty() { others } else { able };
        let index =
            usize::try_from(random % (able.len() as u64).max(1)).expect("there are at most seven replicas");
        able.get(index).copied()
    }

    pub(super) fn on_get_manifest(&mut self, from: ReplicaId, op: Op, after: Option<Bytes>) {
        if self.state.tables().syncing().is_some() || self.dying.is_some() {
            return;
        }
        let snapshots = self.state.tables().snapshots();
        let announced = self.announced;
        let wanted = snapshots
            .into_iter()
            .rev()
            .find(|snapshot| snapshot.op() <= announced && (op == Op::ZERO || snapshot.op() == op));
        let Some(checkpoint) = wanted else {
            return self.send(from, Body::SnapshotGone { op });
        };
        match self.state.tables().manifest(checkpoint.op(), after.as_deref(), MANIFEST_RANGES_MAX) {
            Ok(Some(page)) => {
                let body = Body::Manifest { checkpoint, after, ranges: page.ranges, last: page.last };
                self.send(from, body);
            }
            Ok(None) => self.send(from, Body::SnapshotGone { op }),
            Err(fault) => self.lose_tables(&fault),
        }
    }

    pub(super) fn on_manifest(
        &mut self,
        from: ReplicaId,
        checkpoint: Checkpoint,
        after: Option<Bytes>,
        ranges: Vec<RangeSummary>,
        last: bool,
    ) {
        let Some(sync) = self.sync() else { return };
        if sync.donor != Some(from)
            || !sync.ranges.is_empty()
            || sync.after != after
            || sync.manifest_complete
        {
            return;
        }
        match &sync.target {
            Some(target) if *target != checkpoint => return,
            Some(_) => {}
            None if checkpoint.op() < sync.minimum || checkpoint.op() == Op::ZERO => {
                // It lags, too: try another one after a while.
                return;
            }
            None => {
                sync.target = Some(checkpoint.clone());
                if let Err(fault) = self.state.tables_mut().begin_sync(&checkpoint) {
                    return self.lose_tables(&fault);
                }
            }
        }
        self.compare_ranges(ranges, last);
    }

    fn compare_ranges(&mut self, ranges: Vec<RangeSummary>, last: bool) {
        // Where the last range ends, only the next page tells: it is asked for again.
        let certain = if last { ranges.len() } else { ranges.len().saturating_sub(1) };
        let mut differing = VecDeque::new();
        let mut skipped = 0;
        for (index, range) in ranges.iter().take(certain).enumerate() {
            let end = ranges.get(index + 1).map(|next| next.start.clone());
            if self.state.tables().holds(range, end.as_deref()) {
                skipped += 1;
            } else {
                differing.push_back((range.clone(), end));
            }
        }
        for _ in 0..skipped {
            self.event(Event::SyncRangeSkipped);
        }
        let Some(sync) = self.sync() else { return };
        sync.asked_at = None;
        sync.manifest_complete = last;
        sync.ranges = differing;
        if certain > 0 {
            sync.after = Some(ranges[certain - 1].start.clone());
        }
    }

    pub(super) fn on_get_rows(
        &mut self,
        from: ReplicaId,
        op: Op,
        start: Bytes,
        end: Option<Bytes>,
        after: Option<Bytes>,
    ) {
        if self.state.tables().syncing().is_some() || self.dying.is_some() {
            return;
        }
        match self.state.tables().rows(op, &start, end.as_deref(), after.as_deref(), ROWS_BYTES_MAX) {
            Ok(Some(page)) => {
                self.send(from, Body::Rows { op, start, after, rows: page.rows, last: page.last });
            }
            Ok(None) => self.send(from, Body::SnapshotGone { op }),
            Err(fault) => self.lose_tables(&fault),
        }
    }

    pub(super) fn on_rows(
        &mut self,
        from: ReplicaId,
        op: Op,
        start: Bytes,
        after: Option<Bytes>,
        rows: Vec<Row>,
        last: bool,
    ) {
        let Some(sync) = self.sync() else { return };
        let Some((range, end)) = sync.ranges.front() else { return };
        let expected = sync.rows.last().map(|(key, _)| key.clone());
        let matches = sync.target.as_ref().is_some_and(|target| target.op() == op)
            && sync.donor == Some(from)
            && range.start == start
            && expected == after;
        if !matches {
            return;
        }
        sync.asked_at = None;
        // Several donors share the work, range by range.
        sync.donor = None;
        let (range, end) = (range.clone(), end.clone());
        sync.rows.extend(rows);
        if !last {
            sync.donor = Some(from);
            return;
        }
        let rows = std::mem::take(&mut sync.rows);
        let mut sum = RowSum::ZERO;
        for (key, value) in &rows {
            sum.add(RowSum::of_row(key, value));
        }
        if sum != range.sum {
            return;
        }
        sync.ranges.pop_front();
        self.event(Event::SyncRangeInstalled);
        if let Err(fault) = self.state.tables_mut().install(&range.start, end.as_deref(), &rows) {
            self.lose_tables(&fault);
        }
    }

    pub(super) fn on_snapshot_gone(&mut self, from: ReplicaId, op: Op) {
        let Some(sync) = self.sync() else { return };
        let target = sync.target_op();
        if sync.donor == Some(from) && target == op {
            self.begin_sync_again();
        }
    }

    /// The table is that of the target, durably. The log above it stays if it follows from it.
    fn sync_is_finished(&mut self) {
        self.event(Event::SyncFinished);
        if let Err(fault) = self.state.reload() {
            return self.lose_tables(&fault);
        }
        let checkpoint = self.state.tables().durable().clone();
        self.frozen_at = checkpoint.op();
        self.commit = self.commit.max(checkpoint.op());
        self.reclaimed = self.reclaimed.max(checkpoint.op());
        self.log.anchor(&checkpoint.header);
        self.wanted.checkpoint = checkpoint;
        self.wanted.tables_lost = false;
        self.repair.forget();
        if let Status::Rejoining(rejoining) = &mut self.status {
            rejoining.sync = None;
            return;
        }
        let was_primary = self.primary_of(self.view()) == self.me();
        self.transition_to_recovering(was_primary);
    }
}
