//! The log in memory: a contiguous run of headers up to the head, each with what is known of its body.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::entry::{Entry, EntryHeader};
use crate::message::{SlotState, VoteSlot};
use crate::types::{Checksum, Op};
use crate::wal::{WalRecord, WalScan};

/// What is known of an entry's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyState {
    /// In the WAL, or covered by the durable checkpoint.
    Durable,
    /// On its way into the WAL.
    Writing,
    /// It was in the WAL, or may have been, and cannot be produced.
    Faulty,
    /// Never was in the WAL of this incarnation: it was certainly not acknowledged.
    Missing,
}

#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) header: EntryHeader,
    pub(super) name: Checksum,
    pub(super) body: BodyState,
}

/// Entries of the WAL by op and name, whether they belong to the log or not.
#[derive(Clone, Default)]
pub(super) struct WalIndex {
    known: BTreeMap<(Op, Checksum), bool>,
    writing: BTreeSet<(Op, Checksum)>,
    /// Up to here, absence from the WAL proves nothing: a damaged place may have held it.
    uncertain_through: Op,
}

impl WalIndex {
    pub(super) fn new(scan: &WalScan) -> WalIndex {
        let known = scan.records.iter().map(|record| ((record.header.op, record.name), record.present));
        WalIndex {
            known: known.collect(),
            writing: BTreeSet::new(),
            uncertain_through: if scan.certain { Op::ZERO } else { Op::new(u64::MAX) },
        }
    }

    fn state(&self, op: Op, name: Checksum) -> BodyState {
        if self.writing.contains(&(op, name)) {
            return BodyState::Writing;
        }
        match self.known.get(&(op, name)) {
            Some(true) => BodyState::Durable,
            Some(false) => BodyState::Faulty,
            None if op <= self.uncertain_through => BodyState::Faulty,
            None => BodyState::Missing,
        }
    }

    /// Whether this incarnation certainly never had the entry durably, and so never acknowledged it.
    fn never_held(&self, op: Op, name: Checksum) -> bool {
        !self.known.contains_key(&(op, name)) && op > self.uncertain_through
    }

    /// The head was learned from a primary: later entries cannot have been acknowledged before.
    pub(super) fn certain_above(&mut self, op: Op) {
        self.uncertain_through = self.uncertain_through.min(op);
    }

    pub(super) fn len(&self) -> usize {
        self.known.len() + self.writing.len()
    }
}

/// The log. Invariant: never empty, contiguous, each slot's header names the one before as its parent.
///
/// The first slot may be a mere anchor: an entry that the durable checkpoint covers and that the WAL
/// was allowed to forget. If the first slot lies above the checkpoint plus one, headers are missing
/// in between; they are fetched downwards by the parent's name.
#[derive(Clone)]
pub(super) struct Log {
    slots: VecDeque<Slot>,
    wal: WalIndex,
    /// Bodies in memory: everything not yet applied, and as much of the rest as the budget allows.
    bodies: BTreeMap<Op, Entry>,
    bodies_bytes: usize,
    /// Everything at or below is durable in the checkpoint.
    checkpoint: Op,
    /// Everything from the checkpoint up to here is contiguous and durable.
    durable_through: Op,
}

/// Applied entries are kept in memory up to so many bytes, to serve lagging peers without the disk.
const BODIES_BYTES_MAX: usize = 8 << 20;

impl Log {
    /// Begins with `headers` (ascending, contiguous, not empty) above a durable checkpoint.
    pub(super) fn new(headers: Vec<EntryHeader>, wal: WalIndex, checkpoint: Op) -> Log {
        let mut log = Log {
            slots: VecDeque::new(),
            wal,
            bodies: BTreeMap::new(),
            bodies_bytes: 0,
            checkpoint,
            durable_through: checkpoint,
        };
        log.replace(headers);
        log
    }

    pub(super) fn checkpoint(&self) -> Op {
        self.checkpoint
    }

    pub(super) fn first(&self) -> &Slot {
        self.slots.front().expect("the log is never empty")
    }

    pub(super) fn head(&self) -> &Slot {
        self.slots.back().expect("the log is never empty")
    }

    pub(super) fn head_op(&self) -> Op {
        self.head().header.op
    }

    fn index(&self, op: Op) -> Option<usize> {
        let first = self.slots.front()?;
        let offset = op.get().checked_sub(first.header.op.get())?;
        usize::try_from(offset).ok().filter(|index| *index < self.slots.len())
    }

    pub(super) fn slot(&self, op: Op) -> Option<&Slot> {
        self.index(op).map(|index| &self.slots[index])
    }

    pub(super) fn slots(&self) -> impl DoubleEndedIterator<Item = &Slot> {
        self.slots.iter()
    }

    /// The newest `count` headers at most.
    pub(super) fn newest(&self, count: usize) -> Vec<EntryHeader> {
        let skip = self.slots.len().saturating_sub(count);
        self.slots.iter().skip(skip).map(|slot| slot.header.clone()).collect()
    }

    /// What a vote says about the newest `count` entries.
    pub(super) fn vote_slots(&self, count: usize) -> Vec<VoteSlot> {
        let skip = self.slots.len().saturating_sub(count);
        let state = |slot: &Slot| match slot.body {
            _ if slot.header.op <= self.checkpoint => SlotState::Present,
            BodyState::Durable => SlotState::Present,
            BodyState::Faulty => SlotState::Faulty,
            // Acknowledged once, found damaged, and just being written again.
            BodyState::Writing if !self.wal.never_held(slot.header.op, slot.name) => SlotState::Faulty,
            // What is still being written was not acknowledged, and will not be in the old view.
            BodyState::Writing | BodyState::Missing => SlotState::Missing,
        };
        self.slots
            .iter()
            .skip(skip)
            .map(|slot| VoteSlot { header: slot.header.clone(), state: state(slot) })
            .collect()
    }

    fn make_slot(&self, header: EntryHeader) -> Slot {
        let name = header.name();
        let body =
            if header.op <= self.checkpoint { BodyState::Durable } else { self.wal.state(header.op, name) };
        Slot { header, name, body }
    }

    /// Appends the next header.
    pub(super) fn append(&mut self, header: EntryHeader) {
        assert_eq!(header.op, self.head_op().next());
        assert_eq!(header.parent, self.head().name);
        let slot = self.make_slot(header);
        self.slots.push_back(slot);
        self.advance_durable();
    }

    /// Makes `headers` the end of the log: what lies above or contradicts them is cut off, what lies
    /// below stays if it connects. Returns whether the old end was cut.
    pub(super) fn replace(&mut self, headers: Vec<EntryHeader>) -> bool {
        let lowest = headers.first().expect("a log is never empty").clone();
        let connected = match self.slot(lowest.op.previous()) {
            Some(below) => lowest.op > Op::ZERO && below.name == lowest.parent,
            None => false,
        };
        let old_head = self.slots.back().map(|slot| (slot.header.op, slot.name));
        if connected {
            let keep = self.index(lowest.op).unwrap_or(self.slots.len());
            self.slots.truncate(keep);
        } else if self.slot(lowest.op).is_some_and(|slot| slot.name == lowest.name()) {
            let keep = self.index(lowest.op).expect("just found");
            self.slots.truncate(keep);
        } else {
            self.slots.clear();
        }
        for header in headers {
            let slot = self.make_slot(header);
            self.slots.push_back(slot);
        }
        self.forget_foreign_bodies();
        self.durable_through = self.checkpoint;
        self.advance_durable();
        old_head.is_some_and(|(op, name)| self.slot(op).is_none_or(|slot| slot.name != name))
    }

    /// Puts headers below the first one. They must connect.
    pub(super) fn prepend(&mut self, headers: Vec<EntryHeader>) {
        for header in headers.into_iter().rev() {
            assert_eq!(header.op.next(), self.first().header.op);
            let slot = self.make_slot(header);
            assert_eq!(slot.name, self.first().header.parent);
            self.slots.push_front(slot);
        }
        self.advance_durable();
    }

    fn forget_foreign_bodies(&mut self) {
        let slots = &self.slots;
        let first = slots.front().map_or(0, |slot| slot.header.op.get());
        let belongs = |op: &Op, entry: &Entry| {
            op.get()
                .checked_sub(first)
                .and_then(|offset| slots.get(usize::try_from(offset).ok()?))
                .is_some_and(|slot| slot.name == entry.name)
        };
        self.bodies.retain(|op, entry| belongs(op, entry));
        self.bodies_bytes = self.bodies.values().map(Entry::encoded_size).sum();
    }

    /// The highest op up to which everything above the checkpoint is contiguous and durable.
    pub(super) fn durable_through(&self) -> Op {
        self.durable_through.max(self.checkpoint).min(self.head_op())
    }

    fn advance_durable(&mut self) {
        self.durable_through = self.durable_through.max(self.checkpoint);
        while let Some(slot) = self.slot(self.durable_through.next()) {
            if slot.body != BodyState::Durable {
                break;
            }
            self.durable_through = self.durable_through.next();
        }
    }

    /// Entries above the durable prefix whose body must be fetched, lowest first.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &Slot> {
        let from = self.durable_through().next();
        let skip = usize::try_from(from.since(self.first().header.op)).unwrap_or(usize::MAX);
        self.slots
            .iter()
            .skip(skip)
            .filter(|slot| matches!(slot.body, BodyState::Faulty | BodyState::Missing))
    }

    /// The body is known; it is not necessarily durable.
    pub(super) fn keep_body(&mut self, entry: &Entry) {
        if self.bodies.insert(entry.op(), entry.clone()).is_none() {
            self.bodies_bytes += entry.encoded_size();
        }
    }

    pub(super) fn body(&self, op: Op, name: Checksum) -> Option<&Entry> {
        self.bodies.get(&op).filter(|entry| entry.name == name)
    }

    /// Bodies that are applied and durable leave memory, oldest first, beyond the budget.
    pub(super) fn shed_bodies(&mut self, applied: Op) {
        while self.bodies_bytes > BODIES_BYTES_MAX {
            let Some((op, _)) = self.bodies.first_key_value() else { break };
            let op = *op;
            if op > applied || self.slot(op).is_some_and(|slot| slot.body == BodyState::Writing) {
                break;
            }
            let entry = self.bodies.remove(&op).expect("it was just seen");
            self.bodies_bytes -= entry.encoded_size();
        }
        // Far ahead of what is applied, what the WAL can give back need not be kept either.
        while self.bodies_bytes > 4 * BODIES_BYTES_MAX {
            let Some((op, _)) = self.bodies.last_key_value() else { break };
            let op = *op;
            if self.slot(op).is_none_or(|slot| slot.body != BodyState::Durable) {
                break;
            }
            let entry = self.bodies.remove(&op).expect("it was just seen");
            self.bodies_bytes -= entry.encoded_size();
        }
    }

    /// The body is handed to the WAL.
    pub(super) fn on_writing(&mut self, op: Op, name: Checksum) {
        self.wal.writing.insert((op, name));
        self.set_body(op, name, BodyState::Writing);
    }

    pub(super) fn is_writing(&self) -> bool {
        !self.wal.writing.is_empty()
    }

    /// The WAL holds body and stub.
    pub(super) fn on_appended(&mut self, op: Op, name: Checksum) {
        self.wal.writing.remove(&(op, name));
        self.wal.known.insert((op, name), true);
        self.set_body(op, name, BodyState::Durable);
        self.advance_durable();
    }

    pub(super) fn in_wal(&self, op: Op, name: Checksum) -> bool {
        self.wal.known.get(&(op, name)) == Some(&true)
    }

    /// The WAL could not produce an entry that it held: the entry must be fetched again.
    pub(super) fn on_rotten(&mut self, op: Op, name: Checksum) {
        self.wal.known.insert((op, name), false);
        self.set_body(op, name, BodyState::Faulty);
        if op > self.checkpoint && self.slot(op).is_some_and(|slot| slot.name == name) {
            self.durable_through = self.durable_through.min(op.previous());
        }
    }

    fn set_body(&mut self, op: Op, name: Checksum, body: BodyState) {
        if op <= self.checkpoint {
            return;
        }
        if let Some(index) = self.index(op) {
            let slot = &mut self.slots[index];
            if slot.name == name {
                slot.body = body;
            }
        }
    }

    pub(super) fn wal_index(&mut self) -> &mut WalIndex {
        &mut self.wal
    }

    /// So many entries of memory: headers and the WAL's index.
    pub(super) fn entries_known(&self) -> usize {
        self.slots.len() + self.wal.len()
    }

    /// A checkpoint is durable: what it covers needs no body any more.
    pub(super) fn on_checkpoint(&mut self, op: Op) {
        self.checkpoint = self.checkpoint.max(op);
        for slot in self.slots.iter_mut().take_while(|slot| slot.header.op <= op) {
            slot.body = BodyState::Durable;
        }
        self.advance_durable();
    }

    /// Forgets everything below `op`, which stays as the anchor.
    pub(super) fn forget_below(&mut self, op: Op) {
        assert!(op <= self.checkpoint);
        while self.slots.len() > 1 && self.first().header.op < op {
            self.slots.pop_front();
        }
        self.wal.known.retain(|(known, _), _| *known > op);
        let kept = self.bodies.split_off(&op.next());
        self.bodies = kept;
        self.bodies_bytes = self.bodies.values().map(Entry::encoded_size).sum();
    }

    /// The state jumped to `checkpoint`: the log above stays if it follows from it.
    /// Returns whether it did.
    pub(super) fn anchor(&mut self, checkpoint: &EntryHeader) -> bool {
        let name = checkpoint.name();
        let connects = match self.slot(checkpoint.op) {
            Some(slot) => slot.name == name,
            None => {
                let first = &self.first().header;
                first.op == checkpoint.op.next() && first.parent == name
            }
        };
        let gap_above = self.first().header.op > checkpoint.op.next();
        self.checkpoint = self.checkpoint.max(checkpoint.op);
        if connects {
            if self.first().header.op > checkpoint.op {
                self.prepend(vec![checkpoint.clone()]);
            }
        } else if !gap_above {
            self.slots.clear();
            let slot = self.make_slot(checkpoint.clone());
            self.slots.push_back(slot);
        }
        self.durable_through = self.checkpoint;
        for slot in self.slots.iter_mut().take_while(|slot| slot.header.op <= checkpoint.op) {
            slot.body = BodyState::Durable;
        }
        self.forget_foreign_bodies();
        self.advance_durable();
        connects || gap_above
    }
}

/// For a model checker.
#[cfg(feature = "models")]
impl Log {
    pub(super) fn identify(&self, out: &mut crate::codec::Encoder) {
        out.count(self.slots.len());
        for slot in &self.slots {
            out.u128(slot.name.get());
            out.u8(slot.body as u8);
        }
        out.count(self.wal.known.len());
        for ((op, name), present) in &self.wal.known {
            out.u64(op.get());
            out.u128(name.get());
            out.bool(*present);
        }
        out.count(self.wal.writing.len());
        for (op, name) in &self.wal.writing {
            out.u64(op.get());
            out.u128(name.get());
        }
        out.u64(self.wal.uncertain_through.get());
        out.count(self.bodies.len());
        self.bodies.values().for_each(|entry| out.u128(entry.name.get()));
        out.u64(self.checkpoint.get());
        out.u64(self.durable_through.get());
    }
}

/// The log as the superblock and the WAL together tell it: the newest entry of the installed view
/// and its ancestors, as far as they are known.
pub(super) fn recover_headers(
    suffix: &[EntryHeader],
    log_view: crate::types::View,
    checkpoint: &EntryHeader,
    records: &[WalRecord],
) -> Vec<EntryHeader> {
    let mut by_name: BTreeMap<(Op, Checksum), &EntryHeader> =
        records.iter().map(|record| ((record.header.op, record.name), &record.header)).collect();
    by_name.extend(suffix.iter().map(|header| ((header.op, header.name()), header)));
    by_name.insert((checkpoint.op, checkpoint.name()), checkpoint);

    let installed = suffix.last().map_or(Op::ZERO, |header| header.op);
    // The newest entry prepared since whose ancestors lead down to what was installed. Above a hole
    // nothing was acknowledged; if damage made the hole, the WAL says that it is not certain.
    let mut prepared_since: Vec<&EntryHeader> = records
        .iter()
        .map(|record| &record.header)
        .filter(|header| header.view == log_view && header.op > installed)
        .collect();
    prepared_since.sort_unstable_by_key(|header| std::cmp::Reverse(header.op));
    let floor = installed.max(checkpoint.op);
    let headers = prepared_since
        .into_iter()
        .map(|newest| ancestors(newest, &by_name))
        .find(|headers| headers[0].op <= floor)
        .unwrap_or_else(|| ancestors(suffix.last().unwrap_or(checkpoint), &by_name));
    if headers.last().is_none_or(|newest| newest.op <= checkpoint.op) {
        return vec![checkpoint.clone()];
    }
    let contradicts = match headers.iter().find(|header| header.op == checkpoint.op) {
        Some(header) => header.name() != checkpoint.name(),
        None => headers[0].op == checkpoint.op.next(),
    };
    // Entries of a deposed view may stand above a checkpoint that was fetched from a later one.
    if contradicts { vec![checkpoint.clone()] } else { headers }
}

/// The entry and its ancestors as far as they are known, ascending.
fn ancestors(newest: &EntryHeader, by_name: &BTreeMap<(Op, Checksum), &EntryHeader>) -> Vec<EntryHeader> {
    let mut headers = vec![newest.clone()];
    let mut below = newest;
    while below.op > Op::ZERO
        && let Some(parent) = by_name.get(&(below.op.previous(), below.parent))
    {
        headers.push((*parent).clone());
        below = parent;
    }
    headers.reverse();
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ClusterId, Epoch, Timestamp, View};

    /// The empty log and so many entries of view 1 after it.
    fn headers(count: u64) -> Vec<EntryHeader> {
        let mut all = vec![EntryHeader::genesis(ClusterId::new(1), Epoch::new(1))];
        for op in 1..=count {
            let below = all.last().expect("it begins with the empty log");
            let next = EntryHeader {
                view: View::new(1),
                op: Op::new(op),
                parent: below.name(),
                timestamp: Timestamp::new(op),
                ..below.clone()
            };
            all.push(next);
        }
        all
    }

    fn record(header: &EntryHeader, present: bool) -> WalRecord {
        WalRecord { header: header.clone(), name: header.name(), present }
    }

    /// It was acknowledged, then found damaged; a vote taken while its repair was on the way to the
    /// disk denied it, and a quorum of denials cut off what had been committed.
    #[test]
    fn an_entry_that_was_durable_once_is_never_denied_while_it_is_repaired() {
        let all = headers(2);
        let scan = WalScan { records: vec![record(&all[1], false)], certain: true };
        let mut log = Log::new(all.clone(), WalIndex::new(&scan), Op::ZERO);
        for header in &all[1..] {
            log.on_writing(header.op, header.name());
        }
        let states: Vec<SlotState> = log.vote_slots(3).iter().map(|slot| slot.state).collect();
        assert_eq!(states, [SlotState::Present, SlotState::Faulty, SlotState::Missing]);
    }

    /// A crash in the middle of catching up left the newest entry without its ancestors; everything
    /// that had been acknowledged below it was missing from the next vote.
    #[test]
    fn an_entry_above_a_hole_does_not_hide_what_is_below_it() {
        let all = headers(5);
        let records: Vec<WalRecord> = [1, 2, 5].map(|op| record(&all[op], true)).to_vec();
        let recovered = recover_headers(&all[..1], View::new(1), &all[0], &records);
        assert_eq!(recovered, all[..=2]);
    }

    #[test]
    fn the_durable_prefix_ends_before_the_first_gap_and_grows_over_it_later() {
        let all = headers(3);
        let mut log = Log::new(all.clone(), WalIndex::default(), Op::ZERO);
        for op in [1, 3] {
            log.on_appended(Op::new(op), all[usize::try_from(op).unwrap()].name());
        }
        assert_eq!(log.durable_through(), Op::new(1));
        log.on_appended(Op::new(2), all[2].name());
        assert_eq!(log.durable_through(), Op::new(3));
    }

    /// A log that does not follow from a fetched checkpoint belongs to a view that is over.
    #[test]
    fn a_log_that_contradicts_a_fetched_checkpoint_is_dropped() {
        let all = headers(3);
        let mut foreign = all[2].clone();
        foreign.view = View::new(2);
        let mut log = Log::new(all.clone(), WalIndex::default(), Op::ZERO);
        assert!(!log.anchor(&foreign));
        assert_eq!(log.head().header, foreign);

        let mut log = Log::new(all.clone(), WalIndex::default(), Op::ZERO);
        assert!(log.anchor(&all[2]));
        assert_eq!(log.head_op(), Op::new(3));
    }
}
