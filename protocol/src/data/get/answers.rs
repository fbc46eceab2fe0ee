//! What holders say, and what the network says of them. Bytes are believed when they fit the root from
//! the catalog, and nothing else is.

use bytes::Bytes;

use super::machine::{Call, Get};
use super::span::Asked;
use super::{GetFailure, GetOutput};
use crate::canary::{Canary, planted};
use crate::data::message::{DataBody, DataRefusal};
use crate::data::outline::{BLOCK_SIZE, Outline};
use crate::types::{ReplicaId, Tick};

impl Get {
    /// An answer to a call, or what claims to be one.
    pub fn on_answer(&mut self, now: Tick, from: ReplicaId, call: u64, answer: DataBody) {
        self.advance(now);
        if let Some(asked) = self.take_call(from, call) {
            match answer {
                DataBody::Blocks { outline, first, bytes } => self.on_blocks(asked, &outline, first, &bytes),
                DataBody::NotHere | DataBody::Refused { why: DataRefusal::Damaged } => {
                    self.holders.works(from);
                    self.pass_over(asked);
                }
                _ => self.pause(from),
            }
        }
        self.settle();
    }

    /// The call came to nothing: its stream or its connection was lost.
    pub fn on_call_failed(&mut self, now: Tick, replica: ReplicaId, call: u64) {
        self.advance(now);
        if let Some(asked) = self.take_call(replica, call) {
            if planted(Canary::SilenceIsAbsence)
                && let Some(chunk) = self.span(asked.item).map(|span| span.wanted.chunk)
            {
                return self.fail(GetFailure::Missing { chunk });
            }
            self.pause(replica);
        }
        self.settle();
    }

    /// What was asked, if this call waits for an answer of this replica.
    fn take_call(&mut self, from: ReplicaId, call: u64) -> Option<Call> {
        self.calls.get(&call).filter(|asked| asked.to == from)?;
        let asked = self.calls.remove(&call)?;
        if let Some(span) = self.span_mut(asked.item) {
            span.forget(call);
        }
        Some(asked)
    }

    fn on_blocks(&mut self, asked: Call, outline: &Outline, first: u32, bytes: &Bytes) {
        let timeout = self.settings.timeout_ms;
        let now = self.now;
        let span =
            self.span_mut(asked.item).expect("a span stays until all its calls are answered or given up");
        let wanted = span.wanted;
        let fits = first == asked.first
            && bytes.len() <= asked.count as usize * BLOCK_SIZE as usize
            && (planted(Canary::UnverifiedBytes)
                || outline.fits(&wanted.root, wanted.chunk_length) && outline.verifies(first, bytes));
        if !fits {
            self.holders.pass_over(wanted.chunk, asked.to, asked.asked_at);
            if self.holders.catch(wanted.chunk, asked.to) {
                self.say(GetOutput::Damage { replica: asked.to, chunk: wanted.chunk });
            }
            return;
        }
        let is_news = span.accept(first, bytes);
        if is_news {
            span.give_up_at = now.plus(timeout);
        }
        let not_needed = if span.is_complete() { std::mem::take(&mut span.asked) } else { Vec::new() };
        for Asked { call, .. } in not_needed {
            self.calls.remove(&call);
            self.say(GetOutput::Abandon { call });
        }
        if is_news {
            self.holders.found(wanted.chunk);
        }
        self.usual.learn(now.since(asked.asked_at));
        self.holders.works(asked.to);
    }

    /// The replica has no sound copy.
    fn pass_over(&mut self, asked: Call) {
        if let Some(span) = self.span(asked.item) {
            let chunk = span.wanted.chunk;
            self.holders.pass_over(chunk, asked.to, asked.asked_at);
        }
    }

    pub(super) fn pause(&mut self, replica: ReplicaId) {
        self.holders.pause(replica, self.now, &self.settings, &mut self.random);
    }
}
