//! Reads and verifies everything that should be here, over and over: what nobody reads rots unseen
//! until its last good sibling dies.

use std::collections::VecDeque;

use super::budget::Budget;
use super::machine::{Asked, Begun, Upkeep};
use super::{Mark, UpkeepOutput};
use crate::catalog::{Answer, BodyId, ChunkId, NamedBody, Query};
use crate::data::outline::ChunkRoot;
use crate::data::storage::ReadFault;
use crate::types::Tick;

const PAGE_LIMIT: u32 = 16;

#[derive(Debug)]
pub(super) struct Scrub {
    /// The last body of this pass that was verified to its end.
    cursor: Option<BodyId>,
    page: VecDeque<NamedBody>,
    /// The page is the last one.
    last: bool,
    /// What is left of the body that is being verified, the last chunk first.
    chunks: Vec<(ChunkId, ChunkRoot, u32)>,
    current: Option<BodyId>,
    asking: bool,
    reading: bool,
    budget: Budget,
    pass_began: Tick,
    /// When the pass before began: what lies after the cursor was verified no earlier.
    previous_began: Tick,
    next_pass_at: Tick,
    /// Verified in this pass, and in the one before.
    bytes: u64,
    bytes_before: u64,
    asked_again_at: Tick,
}

impl Scrub {
    pub(super) fn new(now: Tick, from: Option<BodyId>) -> Scrub {
        Scrub {
            cursor: from,
            page: VecDeque::new(),
            last: false,
            chunks: Vec::new(),
            current: None,
            asking: false,
            reading: false,
            budget: Budget::new(now),
            pass_began: now,
            previous_began: now,
            next_pass_at: now,
            bytes: 0,
            bytes_before: 0,
            asked_again_at: now,
        }
    }

    /// Goes on where the last body was verified to its end.
    pub(super) fn begin_anew(&mut self, now: Tick) {
        self.page.clear();
        self.chunks.clear();
        self.current = None;
        self.last = false;
        self.asking = false;
        self.reading = false;
        self.asked_again_at = now;
    }

    pub(super) fn cursor(&self) -> Option<BodyId> {
        self.cursor
    }

    pub(super) fn oldest(&self) -> Tick {
        self.previous_began
    }

    /// Everything is verified in half the period, so that no two looks at one thing are further apart
    /// than the period, whatever the second pass meets.
    fn rate(&self, expected_bytes: u64, period_ms: u64, min: u64, max: u64) -> u64 {
        let bytes = u128::from(expected_bytes.max(self.bytes_before).max(self.bytes));
        let needed = (bytes * 2_000).div_ceil(u128::from(period_ms.max(1)));
        u64::try_from(needed).unwrap_or(u64::MAX).clamp(min, max)
    }
}

/// The name before this one, whether anything has it or not.
fn before(id: BodyId) -> Option<BodyId> {
    match (id.session.get(), id.upload) {
        (0, 0) => None,
        (_, 0) => Some(BodyId { session: id.session.previous(), upload: u64::MAX }),
        (_, upload) => Some(BodyId { upload: upload - 1, ..id }),
    }
}

impl Upkeep {
    pub(super) fn scrub_from(&self) -> Option<BodyId> {
        match (self.scrub.cursor, self.findings.first()) {
            (Some(cursor), Some(found)) if found <= cursor => before(found),
            (cursor, _) => cursor,
        }
    }

    fn scrub_rate(&self) -> u64 {
        let settings = &self.settings;
        self.scrub.rate(
            self.survey.bytes_total(),
            settings.scrub_period_ms,
            settings.scrub_bytes_per_second_min,
            settings.scrub_bytes_per_second_max,
        )
    }

    /// The first walk of the survey finds out what is absent, faster; and a list that is full needs no
    /// additions.
    fn may_scrub(&self) -> bool {
        let scrub = &self.scrub;
        self.survey.has_walked() && !self.findings.is_full() && !scrub.asking && !scrub.reading
    }

    pub(super) fn settle_scrub(&mut self) {
        if !self.may_scrub() || self.scrub.next_pass_at > self.now {
            return;
        }
        if self.scrub.chunks.is_empty() {
            self.next_body();
        }
        let rate = self.scrub_rate();
        self.scrub.budget.accrue(self.now, rate);
        if let Some((chunk, root, length)) = self.scrub.chunks.last().copied()
            && self.scrub.budget.take(u64::from(length))
        {
            self.scrub.chunks.pop();
            self.scrub.reading = true;
            self.begin(Begun::Scrub(chunk, length), |job| UpkeepOutput::Scrub { job, chunk, root });
        }
    }

    /// Finds the next body with something to verify, or ends the pass.
    fn next_body(&mut self) {
        self.scrub.cursor = self.scrub.current.take().or(self.scrub.cursor);
        while let Some(named) = self.scrub.page.pop_front() {
            let owned = self.owned(named.id, &named.body).into_iter().rev();
            let known = owned.filter_map(|index| {
                let root = named.body.roots.get(index as usize)?;
                Some((named.id.chunk(index), *root, named.body.chunk_length(index)?))
            });
            self.scrub.chunks = known.collect();
            if !self.scrub.chunks.is_empty() {
                self.scrub.current = Some(named.id);
                return;
            }
            self.scrub.cursor = Some(named.id);
        }
        if self.scrub.last {
            self.finish_scrub_pass();
        } else if self.scrub.asked_again_at <= self.now {
            self.scrub.asking = true;
            self.ask(Asked::Scrub, Query::ListBodies { after: self.scrub.cursor, limit: PAGE_LIMIT });
        }
    }

    fn finish_scrub_pass(&mut self) {
        let scrub = &mut self.scrub;
        let bytes = std::mem::take(&mut scrub.bytes);
        scrub.bytes_before = bytes;
        scrub.cursor = None;
        scrub.last = false;
        scrub.previous_began = scrub.pass_began;
        scrub.next_pass_at = scrub.pass_began.plus(self.settings.scrub_period_ms / 2).max(self.now.next());
        scrub.pass_began = scrub.next_pass_at;
        self.mark(Mark::Scrubbed { bytes });
    }

    pub(super) fn on_scrub_page(&mut self, answer: Option<Answer>) {
        self.scrub.asking = false;
        let Some(Answer::Bodies { bodies, truncated }) = answer else {
            self.scrub.asked_again_at = self.later(self.settings.retry_ms);
            return;
        };
        self.scrub.last = !truncated || bodies.is_empty();
        self.scrub.page = bodies.into();
    }

    pub(super) fn on_scrubbed_chunk(&mut self, chunk: ChunkId, bytes: u32, outcome: Result<(), ReadFault>) {
        self.scrub.reading = false;
        self.scrub.bytes += u64::from(bytes);
        match outcome {
            Ok(()) => {}
            // The survey walks until nothing is absent. A half empty disk would fill the list of
            // findings with what is known, and stop the scrub.
            Err(ReadFault::Absent) if !self.survey.is_done() => {}
            Err(_) => self.findings.add(chunk, self.now),
        }
    }

    pub(super) fn scrub_due_at(&self) -> Option<Tick> {
        if !self.may_scrub() {
            return None;
        }
        let ready = match self.scrub.chunks.is_empty() {
            true => self.scrub.asked_again_at,
            false => self.scrub.budget.ready_at(self.scrub_rate()),
        };
        Some(ready.max(self.scrub.next_pass_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SessionId;

    #[test]
    fn the_name_before_a_name_is_less_by_one() {
        let id = |session, upload| BodyId { session: SessionId::new(session), upload };
        assert_eq!(before(id(0, 0)), None);
        assert_eq!(before(id(3, 0)), Some(id(2, u64::MAX)));
        assert_eq!(before(id(3, 7)), Some(id(3, 6)));
    }

    #[test]
    fn the_pace_follows_from_what_there_is_within_its_bounds() {
        let scrub = Scrub::new(Tick::ZERO, None);
        assert_eq!(scrub.rate(1_000_000, 100_000, 1, u64::MAX), 20_000);
        assert_eq!(scrub.rate(1_000_000, 100_000, 30_000, u64::MAX), 30_000);
        assert_eq!(scrub.rate(u64::MAX, 100_000, 1, 40_000), 40_000);
    }
}
