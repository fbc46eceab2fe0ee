//! The get as its driver sees it. Inputs change what has come and what is known of holders; then
//! `settle` does whatever has become due.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::holders::Holders;
use super::plan::{BadPieces, Plan};
use super::span::{Item, Span};
use super::{GetFailure, GetOutput, GetSettings};
use crate::catalog::{ChunkId, Piece};
use crate::data::placement::Layout;
use crate::types::{ReplicaId, Tick};

pub struct Get {
    pub(super) settings: GetSettings,
    pub(super) random: Xoshiro256PlusPlus,
    pub(super) now: Tick,
    pub(super) plan: Plan,
    /// What is given out next: asked for, or there. The first one has the number `given`.
    pub(super) items: VecDeque<Item>,
    pub(super) given: u64,
    /// The sizes of all items together.
    pub(super) ahead_bytes: usize,
    /// The chunk that was planned last: the next step may be about it, too.
    pub(super) last_chunk: Option<ChunkId>,
    pub(super) holders: Holders,
    pub(super) calls: BTreeMap<u64, Call>,
    pub(super) last_call: u64,
    pub(super) usual: Usual,
    over: bool,
    outputs: VecDeque<GetOutput>,
}

/// What waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) to: ReplicaId,
    /// The number of the item.
    pub(super) item: u64,
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) asked_at: Tick,
    pub(super) silent_at: Tick,
}

/// How long an answer usually takes: a running mean, in sixteenths of a millisecond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usual(u64);

impl Usual {
    pub(super) fn learn(&mut self, duration_ms: u64) {
        let sample = duration_ms.saturating_mul(16);
        self.0 = self.0 - self.0 / 8 + sample / 8;
    }

    /// After this time an answer is late.
    pub(super) fn late_after(&self, settings: &GetSettings) -> u64 {
        let late = (self.0 / 16).saturating_mul(settings.hedge_factor);
        late.max(settings.hedge_min_ms).min(settings.hedge_max_ms)
    }
}

impl Get {
    /// Delivers bytes `range` of an object whose record says that it has them. Its first pieces, from
    /// the one that holds the first byte on, are `pieces`; more may be added. `me` is the replica on this
    /// machine, if there is one.
    pub fn new(
        layout: Layout,
        pieces: Vec<Piece>,
        range: std::ops::Range<u64>,
        me: Option<ReplicaId>,
        settings: GetSettings,
        seed: u64,
        now: Tick,
    ) -> Result<Get, BadPieces> {
        assert!(settings.span_blocks > 0);
        assert!(settings.first_span_blocks > 0);
        let mut plan = Plan::new(range.start, range.end);
        plan.add(pieces)?;
        let mut get = Get {
            settings,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            now,
            plan,
            items: VecDeque::new(),
            given: 0,
            ahead_bytes: 0,
            last_chunk: None,
            holders: Holders::new(layout, me),
            calls: BTreeMap::new(),
            last_call: 0,
            usual: Usual(settings.usual_ms.saturating_mul(16)),
            over: false,
            outputs: VecDeque::new(),
        };
        get.settle();
        Ok(get)
    }

    /// Whether the known pieces will soon be at their end, and the range is not.
    pub fn wants_pieces(&self) -> bool {
        let near_end = |known| known < self.settings.read_ahead_bytes as u64;
        !self.over && self.plan.known_bytes().is_some_and(near_end)
    }

    /// Accepts the pieces that follow. Nothing changes if they are refused.
    pub fn add_pieces(&mut self, now: Tick, pieces: Vec<Piece>) -> Result<(), BadPieces> {
        self.advance(now);
        self.plan.add(pieces)?;
        self.settle();
        Ok(())
    }

    /// The next bytes, in order. None if they have not come yet, or if the get is over. Only when bytes
    /// are taken is more asked for: so much as the reader leaves room for.
    pub fn take(&mut self, now: Tick) -> Option<Bytes> {
        self.advance(now);
        if self.over {
            return None;
        }
        let bytes = match self.items.front_mut()? {
            Item::Inline(bytes) => bytes.clone(),
            Item::Span(span) => span.parts.pop_front()?,
        };
        let is_done = match &self.items[0] {
            Item::Inline(_) => true,
            Item::Span(span) => span.is_complete() && span.parts.is_empty(),
        };
        if is_done {
            self.pop_item();
        }
        self.settle();
        Some(bytes)
    }

    fn pop_item(&mut self) {
        let item = self.items.pop_front().expect("an item was just taken from");
        self.given += 1;
        self.ahead_bytes -= item.size();
        let Get { items, last_chunk, holders, .. } = self;
        let is_needed = |chunk| {
            let about = |item: &Item| matches!(item, Item::Span(span) if span.wanted.chunk == chunk);
            *last_chunk == Some(chunk) || items.iter().any(about)
        };
        holders.retain(is_needed);
    }

    /// All bytes were taken, or the get has failed.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// What is asked for, and what has come and is not taken.
    pub fn bytes_ahead(&self) -> usize {
        self.ahead_bytes + self.hedged_bytes()
    }

    pub fn on_tick(&mut self, now: Tick) {
        self.advance(now);
        self.settle();
    }

    pub fn next_output(&mut self) -> Option<GetOutput> {
        self.outputs.pop_front()
    }

    pub(super) fn advance(&mut self, now: Tick) {
        self.now = self.now.max(now);
    }

    pub(super) fn say(&mut self, output: GetOutput) {
        self.outputs.push_back(output);
    }

    pub(super) fn span(&self, item: u64) -> Option<&Span> {
        let index = usize::try_from(item.checked_sub(self.given)?).ok()?;
        match self.items.get(index)? {
            Item::Span(span) => Some(span),
            Item::Inline(_) => None,
        }
    }

    pub(super) fn span_mut(&mut self, item: u64) -> Option<&mut Span> {
        let index = usize::try_from(item.checked_sub(self.given)?).ok()?;
        match self.items.get_mut(index)? {
            Item::Span(span) => Some(span),
            Item::Inline(_) => None,
        }
    }

    /// The numbers of the spans that lack something, in order.
    pub(super) fn incomplete(&self) -> Vec<u64> {
        let numbered = (self.given..).zip(&self.items);
        let lacking = |item: &Item| matches!(item, Item::Span(span) if !span.is_complete());
        numbered.filter(|(_, item)| lacking(item)).map(|(number, _)| number).collect()
    }

    pub(super) fn finish(&mut self) {
        self.over = true;
        self.say(GetOutput::Finished);
    }

    pub(super) fn fail(&mut self, failure: GetFailure) {
        self.over = true;
        for call in std::mem::take(&mut self.calls).into_keys() {
            self.say(GetOutput::Abandon { call });
        }
        self.items.clear();
        self.ahead_bytes = 0;
        self.say(GetOutput::Failed(failure));
    }
}
