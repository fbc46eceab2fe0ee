//! The put as its driver sees it. Inputs change what is known of holders; then `settle` does whatever
//! has become due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::chunk::{Attempt, Chunk, NEVER, Stage};
use super::{OfferError, PreparedChunk, PutFailure, PutOutput, PutSettings, StoredBody};
use crate::catalog::{BodyId, CHUNK_COUNT_MAX, ChunkedBody, Encoding, Extent};
use crate::client::jittered;
use crate::data::outline::CHUNK_BYTES_MAX;
use crate::data::placement::Layout;
use crate::types::{ReplicaId, Tick};

/// So many chunks are confirmed at once: a body may have a thousand of them.
const CONFIRMED_AT_ONCE: usize = 16;

/// `retry_ms` doubled so often exceeds every sensible maximum.
const DOUBLINGS_MAX: u32 = 16;

pub struct Put {
    layout: Layout,
    body: BodyId,
    chunk_size: u32,
    pub(super) settings: PutSettings,
    random: Xoshiro256PlusPlus,
    pub(super) now: Tick,
    pub(super) chunks: Vec<Chunk>,
    /// The indexes of the chunks that are not done.
    pub(super) active: BTreeSet<usize>,
    /// For each call that is not answered, whom it went to about which chunk.
    pub(super) calls: BTreeMap<u64, (usize, ReplicaId)>,
    last_call: u64,
    /// Replicas that were relied on in vain, and until when they are not relied on again. They are still
    /// asked. So one silent replica delays a few chunks and not all of them; and one that works again
    /// is waited for again, even if others are always quicker.
    pub(super) silent: BTreeMap<ReplicaId, Tick>,
    length: u64,
    pub(super) status: Status,
    confirm_rounds: u32,
    outputs: VecDeque<PutOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// More chunks may come.
    Open,
    /// All chunks are known; some lack receipts.
    Finished,
    /// `Ready` was given.
    Ready,
    Failed,
}

impl Put {
    /// Nobody else may ever use the name `body`: it is a number of the session's own.
    pub fn new(
        layout: Layout,
        body: BodyId,
        chunk_size: u32,
        settings: PutSettings,
        seed: u64,
        now: Tick,
    ) -> Put {
        assert!(chunk_size > 0);
        assert!(chunk_size <= CHUNK_BYTES_MAX);
        assert!(settings.chunks_held_max > 0);
        Put {
            layout,
            body,
            chunk_size,
            settings,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            now,
            chunks: Vec::new(),
            active: BTreeSet::new(),
            calls: BTreeMap::new(),
            last_call: 0,
            silent: BTreeMap::new(),
            length: 0,
            status: Status::Open,
            confirm_rounds: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Whether `offer` accepts another chunk now.
    pub fn wants_more(&self) -> bool {
        let under_way = self.active.iter().filter(|index| self.chunks[**index].is_short()).count();
        self.status == Status::Open
            && !self.has_last_chunk()
            && under_way < self.settings.chunks_held_max
            && self.chunks.len() < CHUNK_COUNT_MAX
    }

    /// A chunk that is shorter than the others has come.
    fn has_last_chunk(&self) -> bool {
        !self.length.is_multiple_of(u64::from(self.chunk_size))
    }

    /// The bytes that are in memory on behalf of this put.
    pub fn bytes_held(&self) -> usize {
        let held = self.active.iter().filter_map(|index| self.chunks[*index].bytes.as_ref());
        held.map(|bytes| bytes.len()).sum()
    }

    /// Accepts the next chunk of the body. All have the chunk size, except the last.
    pub fn offer(&mut self, now: Tick, chunk: PreparedChunk) -> Result<(), OfferError> {
        self.advance(now);
        let PreparedChunk { root, bytes } = chunk;
        let length = u32::try_from(bytes.len()).map_err(|_| OfferError::WrongSize)?;
        if self.status != Status::Open {
            return Err(OfferError::Over);
        }
        if length == 0 || length > self.chunk_size || self.has_last_chunk() {
            return Err(OfferError::WrongSize);
        }
        if self.chunks.len() >= CHUNK_COUNT_MAX {
            return Err(OfferError::TooManyChunks);
        }
        if !self.wants_more() {
            return Err(OfferError::NoRoom);
        }
        self.make_room();
        let index = self.chunks.len();
        let id = self.body.chunk(index_of(index));
        let give_up_at = self.now.plus(self.settings.timeout_ms);
        self.chunks.push(Chunk::new(id, root, length, bytes, &self.layout, give_up_at));
        self.active.insert(index);
        self.length += u64::from(length);
        self.settle();
        Ok(())
    }

    /// There are no more chunks.
    pub fn finish(&mut self, now: Tick) -> Result<(), OfferError> {
        self.advance(now);
        if self.status != Status::Open {
            return Err(OfferError::Over);
        }
        if self.chunks.is_empty() {
            return Err(OfferError::Empty);
        }
        self.status = Status::Finished;
        self.settle();
        Ok(())
    }

    /// The log did not count enough of the receipts: a disk was replaced since it gave its word. Everybody
    /// is asked what is durable now, and whoever lacks a chunk is sent it if its bytes are still held.
    pub fn on_too_few_copies(&mut self, now: Tick) {
        self.advance(now);
        if self.status != Status::Ready {
            return;
        }
        self.confirm_rounds += 1;
        if self.confirm_rounds > self.settings.confirm_rounds_max {
            return self.fail(PutFailure::NoQuorum);
        }
        self.status = Status::Finished;
        for call in std::mem::take(&mut self.calls).into_keys() {
            self.outputs.push_back(PutOutput::Abandon { call });
        }
        for (index, chunk) in self.chunks.iter_mut().enumerate() {
            chunk.doubt_all();
            self.active.insert(index);
        }
        self.settle();
    }

    /// The body with the receipts that have come so far. None unless it is ready: then it may have more
    /// of them than when `Ready` was given.
    pub fn stored(&self) -> Option<StoredBody> {
        if self.status != Status::Ready {
            return None;
        }
        let copies = self.layout.copies();
        let chunk_count = index_of(self.chunks.len());
        let count = u8::try_from(copies).expect("there are at most seven replicas");
        let body = ChunkedBody {
            length: self.length,
            chunk_size: self.chunk_size,
            extents: vec![Extent { chunk_count, encoding: Encoding::Copies { count } }],
            roots: self.chunks.iter().map(|chunk| chunk.root).collect(),
        };
        let receipts = self.chunks.iter().flat_map(|chunk| chunk.receipts().take(copies)).collect();
        Some(StoredBody { upload: self.body.upload, body, layout: self.layout.version, receipts })
    }

    pub fn on_tick(&mut self, now: Tick) {
        self.advance(now);
        self.settle();
    }

    pub fn next_output(&mut self) -> Option<PutOutput> {
        self.outputs.pop_front()
    }

    /// When `on_tick` has something to do.
    pub fn next_tick(&self) -> Option<Tick> {
        self.active.iter().filter_map(|index| self.chunks[*index].next_tick(self.now)).min()
    }

    pub(super) fn advance(&mut self, now: Tick) {
        self.now = self.now.max(now);
    }

    /// Lets all bytes go that are kept only for owners that are late, because memory is short.
    pub fn let_late_holders_go(&mut self, now: Tick) {
        self.advance(now);
        let lingering = |index: &usize| matches!(self.chunks[*index].stage, Stage::Lingering { .. });
        let late: Vec<usize> = self.active.iter().copied().filter(lingering).collect();
        for index in late {
            self.chunks[index].stage = Stage::Done;
            self.let_go(index);
        }
    }

    /// Lets the oldest bytes go that are kept only for late owners: what these lack becomes debt, which
    /// costs less than a client that has to wait.
    fn make_room(&mut self) {
        let held = self.active.iter().filter(|index| self.chunks[**index].bytes.is_some()).count();
        let lingering = |index: &usize| matches!(self.chunks[*index].stage, Stage::Lingering { .. });
        let excess = (held + 1).saturating_sub(self.settings.chunks_held_max);
        let oldest: Vec<usize> = self.active.iter().copied().filter(lingering).take(excess).collect();
        for index in oldest {
            self.chunks[index].stage = Stage::Done;
            self.let_go(index);
        }
    }

    /// The chunk is done: whatever was still wanted of its holders no longer is.
    fn let_go(&mut self, index: usize) {
        assert_eq!(self.chunks[index].stage, Stage::Done);
        let chunk = &mut self.chunks[index];
        chunk.bytes = None;
        for holder in &mut chunk.holders {
            if let Some(call) = holder.call() {
                self.calls.remove(&call);
                self.outputs.push_back(PutOutput::Abandon { call });
            }
            if !matches!(holder.attempt, Attempt::Stored { .. }) {
                holder.pass_over(None);
            }
        }
        self.active.remove(&index);
    }

    pub(super) fn settle(&mut self) {
        if self.status == Status::Failed {
            return;
        }
        for index in self.active.clone() {
            self.give_up_silent_calls(index);
            if let Err(failure) = self.chunks[index].advance(self.now, &self.layout, &self.settings) {
                return self.fail(failure);
            }
            match self.chunks[index].stage {
                Stage::Done => self.let_go(index),
                _ => self.make_calls(index),
            }
        }
        if self.begin_confirming() {
            return self.settle();
        }
        if self.status == Status::Finished && !self.active.iter().any(|index| self.chunks[*index].is_short())
        {
            self.status = Status::Ready;
            let stored = self.stored().expect("the put is ready");
            self.outputs.push_back(PutOutput::Ready(stored));
        }
    }

    /// Lets chunks that wait for confirmation begin, as many as may be asked about at once. True if
    /// there were any.
    fn begin_confirming(&mut self) -> bool {
        let asked = self.active.iter().filter(|index| self.chunks[**index].is_being_asked()).count();
        let queued = |index: &usize| self.chunks[*index].stage == Stage::Queued;
        let room = CONFIRMED_AT_ONCE.saturating_sub(asked);
        let next: Vec<usize> = self.active.iter().copied().filter(queued).take(room).collect();
        let give_up_at = self.now.plus(self.settings.timeout_ms);
        for index in &next {
            self.chunks[*index].stage = Stage::Short { give_up_at };
        }
        !next.is_empty()
    }

    fn give_up_silent_calls(&mut self, index: usize) {
        let now = self.now;
        for place in 0..self.chunks[index].holders.len() {
            let holder = &mut self.chunks[index].holders[place];
            if holder.disappoints(now) {
                self.silent.insert(holder.replica, now.plus(self.settings.silence_ms));
            }
            if let Attempt::Called { call, silent_at, .. } = holder.attempt
                && silent_at <= now
            {
                self.calls.remove(&call);
                self.outputs.push_back(PutOutput::Abandon { call });
                self.pause(index, place);
            }
        }
    }

    fn make_calls(&mut self, index: usize) {
        for place in self.chunks[index].due(self.now, &self.layout) {
            let chunk = &mut self.chunks[index];
            let ask = chunk.holders[place].ask;
            let body = chunk.message(self.body.chunk(index_of(index)), self.layout.version, ask);
            let holder = &mut chunk.holders[place];
            self.last_call += 1;
            let (call, to) = (self.last_call, holder.replica);
            let silent_at = self.now.plus(self.settings.silence_ms);
            if holder.doubt_at == NEVER {
                let is_silent = self.silent.get(&to).is_some_and(|until| *until > self.now);
                let patience = if is_silent { 0 } else { self.settings.stand_in_after_ms };
                holder.doubt_at = self.now.plus(patience);
            }
            let relied_on = holder.doubt_at > self.now;
            holder.attempt = Attempt::Called { call, silent_at, relied_on };
            self.calls.insert(call, (index, to));
            self.outputs.push_back(PutOutput::Send { to, call, body });
        }
    }

    /// The holder is asked again, after a while.
    pub(super) fn pause(&mut self, index: usize, place: usize) {
        let holder = &mut self.chunks[index].holders[place];
        let doubled = self.settings.retry_ms.saturating_mul(1 << holder.pauses);
        let pause = jittered(doubled.min(self.settings.retry_max_ms), &mut self.random);
        holder.pauses = (holder.pauses + 1).min(DOUBLINGS_MAX);
        holder.attempt = Attempt::Paused { until: self.now.plus(pause) };
    }

    fn fail(&mut self, failure: PutFailure) {
        self.status = Status::Failed;
        for call in std::mem::take(&mut self.calls).into_keys() {
            self.outputs.push_back(PutOutput::Abandon { call });
        }
        self.active.clear();
        self.chunks.clear();
        self.outputs.push_back(PutOutput::Failed(failure));
    }
}

fn index_of(index: usize) -> u32 {
    u32::try_from(index).expect("a body has at most a thousand chunks")
}
