//! What the log says that this replica owes.
//!
//! Nearly always the bytes are here already: the commit did not wait for this replica's receipt. Then
//! the log is told so, for many bodies at a time, and nothing moves.

use std::collections::{BTreeMap, BTreeSet};

use super::Mark;
use super::machine::{Asked, Proposed, Upkeep};
use super::mend::{Cause, Mended};
use crate::catalog::{Answer, BodyId, Operation, Query, Reply};
use crate::types::Tick;

/// The debts of one pass are paged through like this.
const PAGE_LIMIT: u32 = 1000;

/// One operation settles at most so many.
const SETTLE_COUNT_MAX: usize = 256;

/// So many debts of one pass are worked on, the poorest. The next pass finds the others.
const CANDIDATE_COUNT_MAX: usize = 4096;

/// So many bodies are asked for at once: each may be some 30 KiB.
const BODY_COUNT_MAX: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Candidate {
    copies: u8,
    /// When it was first seen. A debt is young while its bytes may be on their way.
    since: Tick,
    not_before: Tick,
}

/// Poorest first.
type Order = (u8, BodyId);

#[derive(Debug)]
pub(super) struct Debts {
    /// When the list is read again.
    next_pass_at: Tick,
    /// What was listed so far, while the list is being read.
    listing: Option<Listing>,
    candidates: BTreeMap<BodyId, Candidate>,
    /// What of them is left to do in this pass.
    due: BTreeSet<Order>,
    asking: bool,
    /// Whole here, and the log does not know.
    whole: BTreeSet<BodyId>,
    proposing: bool,
}

#[derive(Debug, Default)]
struct Listing {
    after: Option<BodyId>,
    poorest: BTreeSet<Order>,
    bodies: u64,
    chunks: u64,
}

impl Debts {
    pub(super) fn new(now: Tick) -> Debts {
        Debts {
            next_pass_at: now,
            listing: None,
            candidates: BTreeMap::new(),
            due: BTreeSet::new(),
            asking: false,
            whole: BTreeSet::new(),
            proposing: false,
        }
    }

    fn is_idle(&self) -> bool {
        !self.asking && self.listing.is_none() && self.due.is_empty()
    }
}

impl Upkeep {
    pub(super) fn settle_debts(&mut self) {
        self.propose_settle();
        if self.debts.asking {
            return;
        }
        if self.debts.is_idle() && self.debts.next_pass_at <= self.now {
            self.debts.next_pass_at = self.later(self.settings.debt_interval_ms);
            self.debts.listing = Some(Listing::default());
        }
        if let Some(listing) = &self.debts.listing {
            let query = Query::ListDebts { node: Some(self.me), after: listing.after, limit: PAGE_LIMIT };
            self.debts.asking = true;
            return self.ask(Asked::Debts, query);
        }
        self.ask_for_owed();
    }

    pub(super) fn on_debts(&mut self, answer: Option<Answer>) {
        self.debts.asking = false;
        let (Some(Answer::Debts { debts, next }), Some(mut listing)) = (answer, self.debts.listing.take())
        else {
            self.debts.listing = None;
            self.debts.next_pass_at = self.later(self.settings.retry_ms);
            return;
        };
        for debt in debts.iter().filter(|debt| debt.is_owed_by(self.me)) {
            listing.bodies += 1;
            listing.chunks += u64::from(debt.chunk_count);
            listing.poorest.insert((debt.copies_min, debt.id));
            if listing.poorest.len() > CANDIDATE_COUNT_MAX {
                listing.poorest.pop_last();
            }
        }
        // A list that does not go on would be read for ever.
        if next.is_some() && next > listing.after {
            listing.after = next;
            self.debts.listing = Some(listing);
            return;
        }
        self.figures.debts = listing.bodies;
        self.figures.chunks_missing = listing.chunks;
        self.begin_pass(&listing.poorest);
    }

    fn begin_pass(&mut self, poorest: &BTreeSet<Order>) {
        let now = self.now;
        let before = std::mem::take(&mut self.debts.candidates);
        for (copies, id) in poorest {
            let fresh = Candidate { copies: *copies, since: now, not_before: now };
            let candidate = before.get(id).map_or(fresh, |known| Candidate { copies: *copies, ..*known });
            self.debts.candidates.insert(*id, candidate);
            if candidate.not_before <= now {
                self.debts.due.insert((*copies, *id));
            }
        }
    }

    fn ask_for_owed(&mut self) {
        let room = self.mends.room(Cause::Debt).min(BODY_COUNT_MAX);
        let mut ids = Vec::new();
        while ids.len() < room
            && let Some((_, id)) = self.debts.due.pop_first()
        {
            // In work for another reason, or settled since the list was read.
            if !self.mends.contains(id) && !self.debts.whole.contains(&id) {
                ids.push(id);
            }
        }
        if !ids.is_empty() {
            self.debts.asking = true;
            self.ask(Asked::OwedBodies(ids.clone()), Query::GetBodies { bodies: ids });
        }
    }

    /// Bodies that are not among the answer are not referenced any more, and so not owed.
    pub(super) fn on_owed_bodies(&mut self, ids: Vec<BodyId>, answer: Option<Answer>) {
        self.debts.asking = false;
        let Some(Answer::Bodies { bodies, truncated }) = answer else {
            self.debts.next_pass_at = self.later(self.settings.retry_ms);
            return;
        };
        if truncated && let Some(last) = bodies.last() {
            let rest = ids.iter().skip_while(|id| **id != last.id).skip(1);
            for id in rest {
                if let Some(candidate) = self.debts.candidates.get(id) {
                    self.debts.due.insert((candidate.copies, *id));
                }
            }
        }
        for named in bodies {
            let Some(candidate) = self.debts.candidates.get(&named.id).copied() else { continue };
            if !ids.contains(&named.id) || self.mends.contains(named.id) {
                continue;
            }
            let age_ms = self.now.since(candidate.since);
            let may_pull = age_ms >= self.settings.debt_patience_ms;
            let chunks = self.owned(named.id, &named.body);
            self.mend(named.id, named.body, chunks, Cause::Debt, candidate.copies, may_pull);
        }
    }

    pub(super) fn on_debt_mended(&mut self, id: BodyId, ended: Mended) {
        if ended == Mended::Whole {
            self.debts.whole.insert(id);
            return;
        }
        let again_at = self.later(self.settings.retry_after(ended));
        let patience_ms = self.settings.debt_patience_ms;
        if let Some(candidate) = self.debts.candidates.get_mut(&id) {
            let old = self.now.since(candidate.since) >= patience_ms;
            candidate.not_before = if old { again_at } else { candidate.since.plus(patience_ms) };
        }
    }

    fn propose_settle(&mut self) {
        if self.debts.proposing || self.debts.whole.is_empty() {
            return;
        }
        let bodies: Vec<BodyId> = self.debts.whole.iter().take(SETTLE_COUNT_MAX).copied().collect();
        self.debts.proposing = true;
        let incarnation = self.standing.incarnation;
        let operation = Operation::Settle { node: self.me, incarnation, bodies: bodies.clone() };
        self.propose(Proposed::Settle(bodies), operation);
    }

    /// However it went: what is still on the list is looked at again. Not at once, because the own
    /// catalog may learn of it later than whoever proposed it.
    pub(super) fn on_settled(&mut self, bodies: Vec<BodyId>, reply: Option<Reply>) {
        self.debts.proposing = false;
        let again_at = self.later(self.settings.retry_ms);
        for id in &bodies {
            self.debts.whole.remove(id);
            if let Some(candidate) = self.debts.candidates.get_mut(id) {
                candidate.not_before = again_at;
            }
        }
        if matches!(reply, Some(Ok(_))) {
            self.mark(Mark::Settled { bodies: bodies.len() });
        }
    }

    pub(super) fn debts_due_at(&self) -> Option<Tick> {
        self.debts.is_idle().then_some(self.debts.next_pass_at)
    }
}
