//! Chunks that are being fetched: a run of blocks at a time, each verified against the root from the
//! catalog, from whoever has it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;

use super::budget::Budget;
use super::machine::{Begun, Upkeep};
use super::mend::{Cause, Mended};
use super::{Mark, UpkeepOutput};
use crate::catalog::{BodyId, ChunkId};
use crate::data::holder::SPAN_BLOCKS_MAX;
use crate::data::message::DataBody;
use crate::data::outline::{BLOCK_SIZE, ChunkRoot, Outline};
use crate::data::storage::StoreFault;
use crate::types::{ReplicaId, Tick};

#[derive(Debug)]
pub(super) struct Pull {
    root: ChunkRoot,
    length: u32,
    /// A copy that is not sound is here. It is read for what is good of it, after everybody else.
    bad: bool,
    /// What was fetched: whole blocks from the first on.
    bytes: BytesMut,
    /// So many blocks are asked for at once: fewer after nobody could give so many. A holder with one
    /// bad block among them may give none.
    span: u32,
    /// Who could not give the next block.
    tried: BTreeSet<ReplicaId>,
    /// One of those may be able to another time.
    hope: bool,
    /// Who gave the block before.
    source: Option<ReplicaId>,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// The next blocks are to be asked for.
    Next,
    Asked {
        from: ReplicaId,
        call: u64,
        count: u32,
        give_up_at: Tick,
    },
    /// The bytes are complete: the bad copy is set aside, or the good one written.
    Writing,
}

#[derive(Debug)]
pub(super) struct Pulls {
    by_chunk: BTreeMap<ChunkId, Pull>,
    /// The lengths of all these chunks.
    bytes: u64,
    budget: Budget,
}

impl Pulls {
    pub(super) fn new(now: Tick) -> Pulls {
        Pulls { by_chunk: BTreeMap::new(), bytes: 0, budget: Budget::new(now) }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Pull {
    fn new(root: ChunkRoot, length: u32, bad: bool) -> Pull {
        Pull {
            root,
            length,
            bad,
            bytes: BytesMut::new(),
            span: SPAN_BLOCKS_MAX,
            tried: BTreeSet::new(),
            hope: false,
            source: None,
            step: Step::Next,
        }
    }

    fn next_block(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).div_ceil(BLOCK_SIZE)
    }

    fn is_complete(&self) -> bool {
        self.bytes.len() == self.length as usize
    }

    /// How many blocks to ask for.
    fn count(&self) -> u32 {
        (self.length.div_ceil(BLOCK_SIZE)).saturating_sub(self.next_block()).min(self.span)
    }

    /// Takes the blocks if every one of them fits the root. `count` were asked for.
    fn accept(&mut self, count: u32, outline: &Outline, first: u32, bytes: &[u8]) -> bool {
        let good = first == self.next_block()
            && bytes.len() as u64 <= u64::from(count) * u64::from(BLOCK_SIZE)
            && outline.fits(&self.root, self.length)
            && outline.verifies(first, bytes);
        if good {
            self.bytes.extend_from_slice(bytes);
            self.span = self.span.saturating_mul(2).min(SPAN_BLOCKS_MAX);
        }
        good
    }

    /// Nobody could give so many blocks, and nobody will: asks everybody for fewer. False if there is
    /// nothing less to ask for.
    fn narrow(&mut self) -> bool {
        let may = !self.hope && self.count() > 1;
        if may {
            self.span = self.count() / 2;
            self.tried.clear();
        }
        may
    }
}

impl Upkeep {
    pub(super) fn settle_pulls(&mut self) {
        self.give_up_calls();
        self.begin_pulls();
        // Some may have been refused.
        self.settle_mends();
        self.ask_for_blocks();
    }

    fn give_up_calls(&mut self) {
        let now = self.now;
        let late =
            |pull: &&mut Pull| matches!(pull.step, Step::Asked { give_up_at, .. } if give_up_at <= now);
        for pull in self.pulls.by_chunk.values_mut().filter(late) {
            pull.pass_over(true);
        }
    }

    /// The poorest bodies first, and chunks in order.
    fn begin_pulls(&mut self) {
        let mut wanted: Vec<(u8, Cause, BodyId)> = Vec::new();
        for (id, mend) in &self.mends.by_body {
            if mend.may_pull && !mend.lacking.is_empty() {
                wanted.push((mend.copies, mend.cause, *id));
            }
        }
        wanted.sort_unstable();
        for (_, _, id) in wanted {
            while let Some(mend) = self.mends.by_body.get_mut(&id)
                && let Some((index, bad)) = mend.lacking.first_key_value()
            {
                let (index, bad) = (*index, *bad);
                let (Some(root), Some(length)) =
                    (mend.body.roots.get(index as usize).copied(), mend.body.chunk_length(index))
                else {
                    mend.lacking.remove(&index);
                    continue;
                };
                let bytes = self.pulls.bytes + u64::from(length);
                if bytes > self.space_bytes {
                    mend.lacking.clear();
                    mend.ended = mend.ended.max(Mended::Lacking);
                    break;
                }
                if bytes > self.settings.pull_bytes_max {
                    return;
                }
                mend.lacking.remove(&index);
                mend.pulling.insert(index);
                self.pulls.bytes = bytes;
                self.pulls.by_chunk.insert(id.chunk(index), Pull::new(root, length, bad));
            }
        }
    }

    /// The most urgent of what is being fetched sets the pace for all of it.
    fn pull_rate(&self) -> u64 {
        let copies_min = self.standing.layout.copies_min();
        let urgent = self
            .mends
            .by_body
            .values()
            .any(|mend| !mend.pulling.is_empty() && usize::from(mend.copies) <= copies_min);
        let rate = self.settings.pull_bytes_per_second;
        if urgent { rate.saturating_mul(self.settings.urgency) } else { rate }
    }

    fn ask_for_blocks(&mut self) {
        let rate = self.pull_rate();
        self.pulls.budget.accrue(self.now, rate);
        let mut wanted: Vec<(u8, ChunkId)> = Vec::new();
        for (chunk, pull) in &self.pulls.by_chunk {
            if matches!(pull.step, Step::Next) {
                let copies = self.mends.by_body.get(&chunk.body).map_or(u8::MAX, |mend| mend.copies);
                wanted.push((copies, *chunk));
            }
        }
        wanted.sort_unstable();
        for (_, chunk) in wanted {
            let Some(from) = self.candidate_or_fewer(chunk) else {
                self.fail_pull(chunk);
                continue;
            };
            let Some(pull) = self.pulls.by_chunk.get(&chunk) else { continue };
            let (root, first, count) = (pull.root, pull.next_block(), pull.count());
            if !self.pulls.budget.take(u64::from(count) * u64::from(BLOCK_SIZE)) {
                return;
            }
            let call = self.call(from, DataBody::GetBlocks { chunk, root, first, count });
            let give_up_at = self.now.plus(self.settings.call_timeout_ms);
            if let Some(pull) = self.pulls.by_chunk.get_mut(&chunk) {
                pull.step = Step::Asked { from, call, count, give_up_at };
            }
        }
    }

    fn fail_pull(&mut self, chunk: ChunkId) {
        let hope = self.pulls.by_chunk.get(&chunk).is_some_and(|pull| pull.hope);
        if !hope {
            self.mark(Mark::NoSoundCopy { chunk });
        }
        self.finish_pull(chunk, if hope { Mended::Lacking } else { Mended::Lost });
    }

    fn candidate_or_fewer(&mut self, chunk: ChunkId) -> Option<ReplicaId> {
        if let Some(from) = self.candidate(chunk) {
            return Some(from);
        }
        let narrowed = self.pulls.by_chunk.get_mut(&chunk)?.narrow();
        if narrowed { self.candidate(chunk) } else { None }
    }

    /// Who is asked for the next blocks: who gave the last ones, then the others in the chunk's order.
    fn candidate(&self, chunk: ChunkId) -> Option<ReplicaId> {
        let pull = self.pulls.by_chunk.get(&chunk)?;
        let others = self.standing.layout.order(chunk).filter(|replica| *replica != self.me);
        let myself = pull.bad.then_some(self.me);
        let mut all = pull.source.into_iter().chain(others).chain(myself);
        all.find(|replica| !pull.tried.contains(replica))
    }

    fn asked_for(&mut self, from: ReplicaId, call: u64) -> Option<(ChunkId, u32)> {
        self.pulls.by_chunk.iter().find_map(|(chunk, pull)| match pull.step {
            Step::Asked { from: asked, call: number, count, .. } if (asked, number) == (from, call) => {
                Some((*chunk, count))
            }
            _ => None,
        })
    }

    pub(super) fn on_blocks(&mut self, from: ReplicaId, call: u64, body: DataBody) {
        let Some((chunk, count)) = self.asked_for(from, call) else { return };
        let Some(pull) = self.pulls.by_chunk.get_mut(&chunk) else { return };
        match body {
            DataBody::Blocks { outline, first, bytes } if pull.accept(count, &outline, first, &bytes) => {
                pull.source = Some(from);
                pull.tried.clear();
                pull.hope = false;
                pull.step = Step::Next;
                if pull.is_complete() {
                    self.write(chunk);
                }
            }
            DataBody::Refused { .. } => pull.pass_over(true),
            _ => pull.pass_over(false),
        }
    }

    pub(super) fn on_silence(&mut self, from: ReplicaId, call: u64) {
        let Some((chunk, _)) = self.asked_for(from, call) else { return };
        if let Some(pull) = self.pulls.by_chunk.get_mut(&chunk) {
            pull.pass_over(true);
        }
    }

    /// A bad copy makes room only when a good one is in hand.
    fn write(&mut self, chunk: ChunkId) {
        let Some(pull) = self.pulls.by_chunk.get_mut(&chunk) else { return };
        pull.step = Step::Writing;
        let root = pull.root;
        if pull.bad {
            self.begin(Begun::Quarantine(chunk), |job| UpkeepOutput::Quarantine { job, chunk, root });
        } else {
            self.store(chunk);
        }
    }

    pub(super) fn on_set_aside(&mut self, chunk: ChunkId) {
        self.store(chunk);
    }

    fn store(&mut self, chunk: ChunkId) {
        let Some(pull) = self.pulls.by_chunk.get_mut(&chunk) else { return };
        let root = pull.root;
        let bytes = std::mem::take(&mut pull.bytes).freeze();
        self.begin(Begun::Store(chunk), |job| UpkeepOutput::Store { job, chunk, root, bytes });
    }

    /// What was set aside goes only now that a good copy is durable.
    pub(super) fn on_pull_stored(&mut self, chunk: ChunkId, outcome: Result<(), StoreFault>) {
        let Some(pull) = self.pulls.by_chunk.get(&chunk) else { return };
        let (bad, bytes) = (pull.bad, pull.length);
        let was_found = self.findings.contains(chunk);
        if outcome.is_err() {
            return self.finish_pull(chunk, Mended::Lacking);
        }
        if bad || was_found {
            self.begin(Begun::Discard, |job| UpkeepOutput::Discard { job, chunk });
        }
        self.space_bytes = self.space_bytes.saturating_sub(u64::from(bytes));
        self.figures.repaired_chunks += 1;
        self.figures.repaired_bytes += u64::from(bytes);
        self.mark(Mark::Repaired { chunk, bytes });
        self.finish_pull(chunk, Mended::Whole);
    }

    fn finish_pull(&mut self, chunk: ChunkId, ended: Mended) {
        let Some(pull) = self.pulls.by_chunk.remove(&chunk) else { return };
        self.pulls.bytes -= u64::from(pull.length);
        if let Some(mend) = self.mends.by_body.get_mut(&chunk.body) {
            mend.pulling.remove(&chunk.index);
            mend.ended = mend.ended.max(ended);
        }
        self.findings.set_lost(chunk, ended == Mended::Lost);
        self.settle_mends();
    }

    pub(super) fn pulls_due_at(&self) -> Option<Tick> {
        let waits = |pull: &Pull| matches!(pull.step, Step::Next);
        let ready = self.pulls.by_chunk.values().any(waits);
        let ready = ready.then(|| self.pulls.budget.ready_at(self.pull_rate()));
        let late = self.pulls.by_chunk.values().filter_map(|pull| match pull.step {
            Step::Asked { give_up_at, .. } => Some(give_up_at),
            _ => None,
        });
        late.chain(ready).min()
    }
}

impl Pull {
    /// Whoever was asked cannot give the next block: at present, or at all.
    fn pass_over(&mut self, hope: bool) {
        if let Step::Asked { from, .. } = self.step {
            self.tried.insert(from);
            self.hope |= hope;
            self.source = self.source.filter(|source| *source != from);
            self.step = Step::Next;
        }
    }
}
