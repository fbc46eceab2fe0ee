//! What becomes due: giving up, planning ahead, asking, and asking somebody else as well.

use super::holders::Choice;
use super::machine::{Call, Get};
use super::plan::Step;
use super::span::{Asked, Item, Span};
use super::{GetFailure, GetOutput};
use crate::client::jittered;
use crate::data::message::DataBody;
use crate::types::{ReplicaId, Tick};

/// So many holders are asked for the same blocks at a time.
const ASKED_AT_ONCE: usize = 2;

/// What is next for a span.
enum Next {
    Ask(ReplicaId),
    At(Tick),
    /// An answer, or nothing until it is given up.
    Answer,
    /// Nobody is left who could have it.
    Nobody,
}

impl Get {
    pub(super) fn settle(&mut self) {
        if self.is_over() {
            return;
        }
        self.give_up_silent_calls();
        self.plan_ahead();
        for item in self.incomplete() {
            if let Err(failure) = self.pursue(item) {
                return self.fail(failure);
            }
        }
        if self.plan.is_over() && self.items.is_empty() {
            self.finish();
        }
    }

    /// When `on_tick` has something to do.
    pub fn next_tick(&self) -> Option<Tick> {
        if self.is_over() {
            return None;
        }
        let silent = self.calls.values().map(|call| call.silent_at);
        let spans = self.incomplete().into_iter().filter_map(|item| self.span(item));
        let spans = spans.map(|span| match self.next(span) {
            Next::At(at) => at.min(span.give_up_at),
            Next::Ask(_) | Next::Answer | Next::Nobody => span.give_up_at,
        });
        silent.chain(spans).min()
    }

    fn give_up_silent_calls(&mut self) {
        let now = self.now;
        let silent = self.calls.extract_if(.., |_, call| call.silent_at <= now);
        for (number, call) in silent.collect::<Vec<_>>() {
            if let Some(span) = self.span_mut(call.item) {
                span.forget(number);
            }
            self.say(GetOutput::Abandon { call: number });
            self.pause(call.to);
        }
    }

    /// Plans as far ahead as the reader leaves room. One step there is always room for.
    fn plan_ahead(&mut self) {
        loop {
            let first = self.last_chunk.is_none();
            let blocks = if first { self.settings.first_span_blocks } else { self.settings.span_blocks };
            let Some(step) = self.plan.peek(blocks) else { return };
            let size = match &step {
                Step::Inline(bytes) => bytes.len(),
                Step::Blocks(wanted) => wanted.size(),
            };
            if !self.items.is_empty() && self.ahead_bytes + size > self.settings.read_ahead_bytes {
                return;
            }
            self.plan.pass(&step);
            self.ahead_bytes += size;
            self.items.push_back(match step {
                Step::Inline(bytes) => Item::Inline(bytes),
                Step::Blocks(wanted) => {
                    self.last_chunk = Some(wanted.chunk);
                    Item::Span(Span::new(wanted, self.now, self.now.plus(self.settings.timeout_ms)))
                }
            });
        }
    }

    fn pursue(&mut self, item: u64) -> Result<(), GetFailure> {
        let span = self.span(item).expect("the span is not complete");
        if span.give_up_at <= self.now {
            return Err(GetFailure::Unavailable);
        }
        let chunk = span.wanted.chunk;
        match self.next(span) {
            Next::Ask(to) => self.ask(item, to),
            Next::At(_) | Next::Answer => {}
            Next::Nobody => {
                let pause = jittered(self.settings.look_again_ms, &mut self.random);
                if !self.holders.look_again(chunk, self.now, pause) {
                    return Err(GetFailure::Missing { chunk });
                }
            }
        }
        Ok(())
    }

    fn next(&self, span: &Span) -> Next {
        if span.asked.len() >= ASKED_AT_ONCE {
            return Next::Answer;
        }
        let choice = self.holders.choose(span.wanted.chunk, &span.asked, self.now);
        if span.asked.is_empty() {
            return match choice {
                Choice::Ask(replica) => Next::Ask(replica),
                Choice::Wait(at) => Next::At(at),
                Choice::Nobody => Next::Nobody,
            };
        }
        let has_room = self.hedged_bytes() + span.rest() <= self.settings.hedged_bytes;
        let late_at = span.last_asked.plus(self.usual.late_after(&self.settings));
        match choice {
            _ if late_at > self.now => Next::At(late_at),
            Choice::Ask(replica) if has_room => Next::Ask(replica),
            Choice::Wait(at) => Next::At(at),
            Choice::Ask(_) | Choice::Nobody => Next::Answer,
        }
    }

    /// What was asked of more than one holder and may come in vain.
    pub(super) fn hedged_bytes(&self) -> usize {
        let spans = self.items.iter().filter_map(|item| match item {
            Item::Span(span) => Some(span),
            Item::Inline(_) => None,
        });
        spans.map(Span::hedged_bytes).sum()
    }

    fn ask(&mut self, item: u64, to: ReplicaId) {
        self.last_call += 1;
        let (now, call) = (self.now, self.last_call);
        let span = self.span_mut(item).expect("a holder is asked for a span that is not complete");
        let wanted = span.wanted;
        let (first, count) = (span.next, wanted.end() - span.next);
        let late: Vec<ReplicaId> = span.asked.iter().map(|asked| asked.to).collect();
        span.asked.push(Asked { call, to, bytes: wanted.bytes_of(first, count) });
        span.last_asked = now;
        for replica in late {
            let until = now.plus(jittered(self.settings.slow_ms, &mut self.random));
            self.holders.is_late(replica, until);
        }
        let silent_at = now.plus(self.settings.silence_ms);
        self.calls.insert(call, Call { to, item, first, count, asked_at: now, silent_at });
        let body = DataBody::GetBlocks { chunk: wanted.chunk, root: wanted.root, first, count };
        self.say(GetOutput::Send { to, call, body });
    }
}
