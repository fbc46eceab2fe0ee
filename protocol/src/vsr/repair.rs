//! Fetching what is missing, by name: headers downwards from a known name, bodies upwards from the
//! durable prefix. Any peer may answer; a name cannot lie.

use std::collections::VecDeque;

use super::log::BodyState;
use super::status::Status;
use super::*;
use crate::entry::EntryHeader;

/// Bodies asked for and not yet received.
const OUTSTANDING_MAX: usize = 8;
/// Headers in one answer.
const HEADERS_MAX: u64 = 64;
/// Fruitless rounds after which a checkpoint is fetched, if no peer's WAL reaches down far enough.
const FRUITLESS_ROUNDS_MAX: u32 = 4;
/// The same, although some peer's WAL begins low enough: it may not reach up far enough, or be deaf.
const FRUITLESS_ROUNDS_LIMIT: u32 = 20;

#[derive(Clone, Default)]
pub(super) struct Repair {
    outstanding: BTreeMap<Op, Tick>,
    headers_at: Tick,
    /// The end of the view's log as the primary tells it, beyond the own head.
    target: Option<(Op, Checksum)>,
    /// Headers below the target, contiguous, not yet connected with the own head.
    ahead: VecDeque<EntryHeader>,
    fruitless_rounds: u32,
    round_at: Tick,
    progress: (Op, Op, Op),
}

impl Repair {
    /// A backup has learned of an entry of its view beyond its head.
    pub(super) fn catch_up(&mut self, op: Op, name: Checksum) {
        let reaches = self.target.map_or(Op::ZERO, |(op, _)| op);
        // A fetch under way is finished first: its headers remain valid, the end moves later.
        if self.ahead.is_empty() && op > reaches {
            self.target = Some((op, name));
        }
    }

    pub(super) fn forget(&mut self) {
        *self = Repair { headers_at: self.headers_at, ..Repair::default() };
    }
}

/// For a model checker.
#[cfg(feature = "models")]
impl Repair {
    pub(super) fn forget_time(&mut self, never: Tick) {
        self.outstanding.clear();
        self.headers_at = Tick::ZERO;
        self.fruitless_rounds = 0;
        self.round_at = never;
        self.progress = Default::default();
    }

    pub(super) fn identify(&self, out: &mut crate::codec::Encoder) {
        out.option(self.target, |out, (op, name)| {
            out.u64(op.get());
            out.u128(name.get());
        });
        out.count(self.ahead.len());
        self.ahead.iter().for_each(|header| header.encode(out));
    }
}

impl<M: Machine, T: ReplicaTables> Replica<M, T> {
    /// Whether there are ops between the durable checkpoint and the lowest known header.
    pub(super) fn headers_missing(&self) -> bool {
        self.log.first().header.op > self.log.checkpoint().next()
    }

    /// Whether this replica fetches what its log lacks.
    fn repairs(&self) -> bool {
        match &self.status {
            Status::Primary(_) | Status::Backup(_) => true,
            Status::ViewChange(change) => change.elected && self.view_is_durable(),
            Status::Rejoining(rejoining) => rejoining.learned.is_some() && rejoining.sync.is_none(),
            Status::Recovering(_) | Status::Syncing(_) => false,
        }
    }

    pub(super) fn tick_repair(&mut self) {
        let (now, patience) = (self.now, self.config.timeouts.repair_ms * 2);
        self.repair.outstanding.retain(|_, asked_at| now.since(*asked_at) < patience);
        if !self.repairs() {
            return;
        }
        self.request_headers();
        self.request_bodies();
        self.judge_progress();
    }

    fn request_headers(&mut self) {
        if self.now < self.repair.headers_at {
            return;
        }
        self.connect_ahead();
        let head = self.log.head_op();
        if self.repair.target.is_some_and(|(op, _)| op <= head) {
            self.repair.target = None;
            self.repair.ahead.clear();
        }
        let first = &self.log.first().header;
        let (low, high, name) = if self.headers_missing() {
            (self.log.checkpoint().next(), first.op.previous(), first.parent)
        } else if let Some(lowest) = self.repair.ahead.front() {
            (head.next(), lowest.op.previous(), lowest.parent)
        } else if let Some((op, name)) = self.repair.target {
            (head.next(), op, name)
        } else {
            return;
        };
        if low > high {
            return;
        }
        if let Some(peer) = self.pick_peer(high) {
            self.repair.headers_at = self.now.plus(self.config.timeouts.repair_ms);
            self.send(peer, Body::GetHeaders { low, high, name });
        }
    }

    fn request_bodies(&mut self) {
        let room = OUTSTANDING_MAX.saturating_sub(self.repair.outstanding.len());
        let outstanding = &self.repair.outstanding;
        let wanted: Vec<(Op, Checksum)> = self
            .log
            .wanted()
            .filter(|slot| !outstanding.contains_key(&slot.header.op))
            .take(room)
            .map(|slot| (slot.header.op, slot.name))
            .collect();
        for (op, name) in wanted {
            let Some(peer) = self.pick_peer(op) else { return };
            self.repair.outstanding.insert(op, self.now);
            self.send(peer, Body::GetEntry { op, name });
        }
    }

    /// Whether the peer was heard of lately: what a silent one last said proves nothing.
    fn is_fresh(&self, other: ReplicaId) -> bool {
        let facts = self.peers.get(other);
        facts.known && self.now.since(facts.heard_at) < self.config.timeouts.suspicion_ms * 4
    }

    /// A peer whose WAL may still hold `op`; the primary only if nobody else is heard of.
    fn pick_peer(&mut self, op: Op) -> Option<ReplicaId> {
        let able: Vec<ReplicaId> = self
            .others()
            .into_iter()
            .filter(|other| self.is_fresh(*other) && self.peers.get(*other).floor < op)
            .collect();
        let count = able.len() as u64;
        if count == 0 {
            return None;
        }
        let chosen =
            usize::try_from(self.random.next_u64() % count).expect("there are at most seven replicas");
        Some(able[chosen])
    }

    /// When rounds pass without anything arriving, and no peer's WAL reaches down far enough, only a
    /// checkpoint helps.
    fn judge_progress(&mut self) {
        if self.now < self.repair.round_at {
            return;
        }
        self.repair.round_at = self.now.plus(self.config.timeouts.repair_ms);
        let first = self.log.first().header.op;
        let progress = (self.log.durable_through(), first, self.applied());
        let lowest = if self.headers_missing() {
            Some(self.log.checkpoint().next())
        } else if let Some(slot) = self.log.wanted().next() {
            Some(slot.header.op)
        } else if self.repair.target.is_some() || self.commit > self.log.head_op() {
            Some(self.log.head_op().next())
        } else {
            None
        };
        let Some(lowest) = lowest.filter(|_| progress == self.repair.progress) else {
            self.repair.progress = progress;
            self.repair.fruitless_rounds = 0;
            return;
        };
        self.repair.fruitless_rounds += 1;
        let known: Vec<_> = self
            .others()
            .into_iter()
            .filter(|other| self.is_fresh(*other))
            .map(|other| *self.peers.get(other))
            .collect();
        let all_moved_on = !known.is_empty() && known.iter().all(|facts| facts.floor >= lowest);
        let checkpoint = known.iter().map(|facts| facts.checkpoint).max().unwrap_or(Op::ZERO);
        let patience = if all_moved_on { FRUITLESS_ROUNDS_MAX } else { FRUITLESS_ROUNDS_LIMIT };
        if self.repair.fruitless_rounds > patience && checkpoint >= lowest {
            self.repair.fruitless_rounds = 0;
            self.begin_sync(lowest);
        }
    }

    pub(super) fn on_get_headers(&mut self, from: ReplicaId, low: Op, high: Op, name: Checksum) {
        if matches!(self.status, Status::Rejoining(_)) {
            return;
        }
        if self.log.slot(high).is_none_or(|slot| slot.name != name) {
            return self.event(Event::RepairUnanswerable);
        }
        let low = low.max(high.minus(HEADERS_MAX - 1)).max(self.log.first().header.op).max(Op::new(1));
        let mut headers = Vec::new();
        let mut op = low;
        while op <= high {
            let Some(slot) = self.log.slot(op) else { break };
            headers.push(slot.header.clone());
            op = op.next();
        }
        if !headers.is_empty() {
            self.send(from, Body::Headers { headers });
        }
    }

    pub(super) fn on_headers(&mut self, headers: Vec<EntryHeader>) {
        if !self.repairs() {
            return;
        }
        let Some(last) = headers.last() else { return };
        let (op, name) = (last.op, last.name());
        let first = &self.log.first().header;
        if self.headers_missing() && op == first.op.previous() && name == first.parent {
            self.fill_below(headers);
        } else if self.is_ahead(op, name) {
            self.fill_ahead(headers);
        } else {
            return;
        }
        self.event(Event::HeadersRepaired);
        self.repair.headers_at = self.now;
        self.request_headers();
        self.request_bodies();
    }

    fn fill_below(&mut self, headers: Vec<EntryHeader>) {
        let checkpoint = self.log.checkpoint();
        let applied = self.applied();
        let name = self.state.applied().name();
        let new: Vec<_> = headers.into_iter().filter(|header| header.op > checkpoint).collect();
        let contradicts = new.iter().any(|header| {
            (header.op == applied && header.name() != name)
                || (header.op == applied.next() && header.parent != name)
        });
        if contradicts {
            return self.diverged(format!("the log above applied op {applied} does not follow it"));
        }
        self.log.prepend(new);
    }

    fn is_ahead(&self, op: Op, name: Checksum) -> bool {
        if !matches!(self.status, Status::Backup(_)) {
            return false;
        }
        match self.repair.ahead.front() {
            Some(lowest) => op == lowest.op.previous() && name == lowest.parent,
            None => self.repair.target == Some((op, name)),
        }
    }

    fn fill_ahead(&mut self, headers: Vec<EntryHeader>) {
        let head = self.log.head_op();
        for header in headers.into_iter().rev() {
            if header.op > head {
                self.repair.ahead.push_front(header);
            }
        }
        self.connect_ahead();
    }

    /// Appends the headers above the head once they reach down to it. The head may have moved up to
    /// meet them.
    fn connect_ahead(&mut self) {
        let (head, head_name) = self.head();
        while self.repair.ahead.front().is_some_and(|header| header.op <= head) {
            self.repair.ahead.pop_front();
        }
        let Some(lowest) = self.repair.ahead.front() else { return };
        if lowest.op > head.next() {
            return;
        }
        if lowest.parent != head_name {
            return self.diverged(format!("our head {head} is not part of our view's log"));
        }
        let room = self.reclaimed.plus(self.config.limits.wal_ops_max);
        for header in std::mem::take(&mut self.repair.ahead) {
            if header.op <= room {
                self.log.append(header);
            }
        }
        self.repair.target = None;
        self.append_early();
    }

    pub(super) fn on_get_entry(&mut self, from: ReplicaId, op: Op, name: Checksum) {
        if let Some(entry) = self.log.body(op, name) {
            let entry = entry.clone();
            self.send(from, Body::RepairedEntry { entry });
        } else if self.log.in_wal(op, name) {
            self.read_entry(op, name, Reader::Peer(from));
        } else {
            self.event(Event::RepairUnanswerable);
        }
    }

    pub(super) fn read_entry(&mut self, op: Op, name: Checksum, reader: Reader) {
        let readers = self.reading.entry((op, name)).or_default();
        let first = readers.is_empty();
        if !readers.contains(&reader) {
            readers.push(reader);
        }
        if first {
            self.out.push(Effect::ReadEntry { op, name });
        }
    }

    pub(super) fn entry_was_read(&mut self, op: Op, name: Checksum, entry: Option<Entry>) {
        let readers = self.reading.remove(&(op, name)).unwrap_or_default();
        let Some(entry) = entry else {
            if op > self.reclaimed {
                self.log.on_rotten(op, name);
            }
            return;
        };
        for reader in readers {
            match reader {
                Reader::Peer(peer) => self.send(peer, Body::RepairedEntry { entry: entry.clone() }),
                Reader::Apply => {
                    if self.log.slot(op).is_some_and(|slot| slot.name == name) {
                        self.log.keep_body(&entry);
                    }
                }
            }
        }
    }

    /// Fills a place in the log whose name is known. Never extends the log.
    pub(super) fn on_repaired_entry(&mut self, entry: Entry) {
        if !self.repairs() {
            return;
        }
        let op = entry.op();
        if planted(Canary::RepairMovesHead) {
            self.take_place(&entry);
        }
        let Some(slot) = self.log.slot(op) else { return };
        if slot.name != entry.name {
            return;
        }
        self.repair.outstanding.remove(&op);
        if matches!(slot.body, BodyState::Faulty | BodyState::Missing) {
            self.event(Event::EntryRepaired);
            let name = entry.name;
            self.take_body(entry);
            if planted(Canary::RepairedTooEarly) {
                self.log.on_appended(op, name);
            }
        }
        self.request_bodies();
    }

    /// The bug of P51: a repaired entry becomes the head, whatever the log has behind its parent.
    fn take_place(&mut self, entry: &Entry) {
        let (op, parent) = (entry.op(), entry.header.parent);
        let follows = op > Op::ZERO && self.log.slot(op.previous()).is_some_and(|slot| slot.name == parent);
        if follows {
            self.log.replace(vec![entry.header.clone()]);
        }
    }

    /// Hands the body of a known header to the WAL.
    pub(super) fn take_body(&mut self, entry: Entry) {
        let (op, name) = (entry.op(), entry.name);
        self.log.keep_body(&entry);
        if self.log.slot(op).is_some_and(|slot| matches!(slot.body, BodyState::Faulty | BodyState::Missing)) {
            self.log.on_writing(op, name);
            self.out.push(Effect::Append { entry });
        }
    }
}
