//! One walk over everything that should be here: is it?
//!
//! A replica whose disk was replaced owes all that it owns, and no list of debts says so. A replica
//! that starts looks too: an index that was made anew from a damaged disk lacks chunks that nobody
//! else misses. The walk looks into the index only; what lies behind it is the scrub's business.

use std::collections::VecDeque;

use super::Mark;
use super::machine::{Asked, Proposed, Upkeep};
use super::mend::{Cause, Mended};
use crate::catalog::{Answer, BodyId, ChunkedBody, NamedBody, Operation, Query, Reply};
use crate::types::Tick;

/// A page is kept while its bodies are looked at.
const PAGE_LIMIT: u32 = 64;

#[derive(Debug)]
pub(super) struct Survey {
    step: Step,
    asking: bool,
    next_at: Tick,
    /// Whether everything was found here since the disk, or the process, is new.
    done: bool,
    /// Whether some walk has come to its end, whatever it found.
    walked: bool,
    /// Whether the log counts the disk as new.
    rebuilding: bool,
    /// The walk before this one found something absent. It may have been on its way then.
    missed: bool,
    bytes_total: u64,
    bytes_seen: u64,
}

#[derive(Debug)]
enum Step {
    /// Until `next_at`. Then it is asked whether the disk counts as rebuilt.
    Waiting,
    /// How much there is to do. For people.
    Counting {
        after: Option<BodyId>,
    },
    Walking {
        after: Option<BodyId>,
        page: VecDeque<NamedBody>,
        /// The page is the last one.
        last: bool,
        /// How the worst of its bodies ended. Unless all are whole, the walk proves nothing.
        worst: Mended,
    },
    Proposing,
}

impl Survey {
    pub(super) fn new(now: Tick) -> Survey {
        Survey {
            step: Step::Waiting,
            asking: false,
            next_at: now,
            done: false,
            walked: false,
            rebuilding: false,
            missed: false,
            bytes_total: 0,
            bytes_seen: 0,
        }
    }

    /// Whether all that is absent is known, and being looked after. One chunk that nobody has can keep
    /// a replica from ever being whole: whoever only wants to know what is here must not wait for that.
    pub(super) fn has_walked(&self) -> bool {
        self.walked
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    pub(super) fn bytes_left(&self) -> u64 {
        if self.done { 0 } else { self.bytes_total.saturating_sub(self.bytes_seen) }
    }

    fn wait(&mut self, until: Tick) {
        self.step = Step::Waiting;
        self.asking = false;
        self.next_at = until;
    }
}

impl Upkeep {
    fn owned_bytes(&self, id: BodyId, body: &ChunkedBody) -> u64 {
        let lengths = self.owned(id, body).into_iter().filter_map(|index| body.chunk_length(index));
        lengths.map(u64::from).sum()
    }

    pub(super) fn settle_survey(&mut self) {
        if self.survey.asking {
            return;
        }
        match &mut self.survey.step {
            Step::Waiting if self.survey.next_at <= self.now => {
                self.survey.asking = true;
                self.ask(Asked::Rebuilding, Query::Rebuilding);
            }
            Step::Waiting | Step::Proposing => {}
            Step::Counting { after } => {
                let query = Query::ListBodies { after: *after, limit: PAGE_LIMIT };
                self.survey.asking = true;
                self.ask(Asked::Survey, query);
            }
            Step::Walking { .. } => self.walk(),
        }
    }

    pub(super) fn on_rebuilding(&mut self, answer: Option<Answer>) {
        self.survey.asking = false;
        let Some(Answer::Rebuilding { disks }) = answer else {
            let retry_at = self.later(self.settings.retry_ms);
            return self.survey.wait(retry_at);
        };
        let mine = disks.iter().find(|disk| disk.node == self.me);
        // The tables are behind: what they list may be less than what this disk owes.
        if mine.is_some_and(|disk| disk.incarnation != self.standing.incarnation) {
            let retry_at = self.later(self.settings.retry_ms);
            return self.survey.wait(retry_at);
        }
        self.survey.rebuilding = mine.is_some();
        if self.survey.done && !self.survey.rebuilding {
            let again_at = self.later(self.settings.survey_interval_ms);
            return self.survey.wait(again_at);
        }
        self.survey.done = false;
        self.survey.bytes_total = 0;
        self.survey.bytes_seen = 0;
        self.survey.step = Step::Counting { after: None };
    }

    pub(super) fn on_survey_page(&mut self, answer: Option<Answer>) {
        self.survey.asking = false;
        let Some(Answer::Bodies { bodies, truncated }) = answer else {
            let retry_at = self.later(self.settings.retry_ms);
            return self.survey.wait(retry_at);
        };
        let ends = !truncated || bodies.is_empty();
        let bytes: u64 = bodies.iter().map(|named| self.owned_bytes(named.id, &named.body)).sum();
        match &mut self.survey.step {
            Step::Counting { after } => {
                *after = bodies.last().map(|named| named.id);
                self.survey.bytes_total += bytes;
                if ends {
                    let page = VecDeque::new();
                    self.survey.step = Step::Walking { after: None, page, last: false, worst: Mended::Whole };
                }
            }
            Step::Walking { after, page, last, .. } => {
                *after = bodies.last().map(|named| named.id);
                *last = ends;
                page.extend(bodies);
            }
            Step::Waiting | Step::Proposing => {}
        }
    }

    /// A body that is in work for another reason is waited for: it comes to an end.
    fn walk(&mut self) {
        let copies = u8::try_from(self.standing.layout.copies()).unwrap_or(u8::MAX).saturating_sub(1);
        let may_pull = self.survey.rebuilding || self.survey.missed;
        while let Step::Walking { page, .. } = &mut self.survey.step
            && let Some(named) = page.front()
        {
            if self.mends.contains(named.id) || !self.mends.has_room(Cause::Survey) {
                return;
            }
            let Some(named) = page.pop_front() else { return };
            let chunks = self.owned(named.id, &named.body);
            if !chunks.is_empty() {
                self.mend(named.id, named.body, chunks, Cause::Survey, copies, may_pull);
            }
        }
        let Step::Walking { after, last, worst, .. } = self.survey.step else { return };
        if !last {
            self.survey.asking = true;
            self.ask(Asked::Survey, Query::ListBodies { after, limit: PAGE_LIMIT });
        } else if !self.mends.serves(Cause::Survey) {
            self.finish_walk(worst);
        }
    }

    pub(super) fn on_survey_mended(&mut self, id: BodyId, body: &ChunkedBody, ended: Mended) {
        self.survey.bytes_seen += self.owned_bytes(id, body);
        if let Step::Walking { worst, .. } = &mut self.survey.step {
            *worst = ended.max(*worst);
        }
    }

    fn finish_walk(&mut self, worst: Mended) {
        self.survey.walked = true;
        self.survey.missed = worst != Mended::Whole;
        if self.survey.missed {
            let patience_ms = self.settings.debt_patience_ms;
            let retry_at = self.later(self.settings.retry_after(worst)).max(self.now.plus(patience_ms));
            return self.survey.wait(retry_at);
        }
        self.survey.done = true;
        if self.survey.rebuilding {
            self.survey.step = Step::Proposing;
            let operation = Operation::Rebuilt { node: self.me, incarnation: self.standing.incarnation };
            return self.propose(Proposed::Rebuilt, operation);
        }
        let again_at = self.later(self.settings.survey_interval_ms);
        self.survey.wait(again_at);
    }

    /// If it failed, or if the own catalog does not know of it yet, the disk still counts as new when
    /// it is asked again, and the walk begins anew: quick, because everything is here.
    pub(super) fn on_rebuilt(&mut self, reply: Option<Reply>) {
        let again_at = self.later(self.settings.survey_interval_ms);
        self.survey.wait(again_at);
        if matches!(reply, Some(Ok(_))) {
            self.mark(Mark::Rebuilt);
        }
    }

    pub(super) fn survey_due_at(&self) -> Option<Tick> {
        (matches!(self.survey.step, Step::Waiting) && !self.survey.asking).then_some(self.survey.next_at)
    }
}
