//! Deletes what is dead: upon a verdict of the catalog, and for no other reason.
//!
//! `Dead` is true for ever, so it does not matter how late the own catalog is. Every other verdict,
//! and none at all, keeps the chunk.

use super::machine::{Asked, Begun, Upkeep};
use super::{Mark, UpkeepOutput};
use crate::canary::{Canary, planted};
use crate::catalog::{Answer, ChunkId, Query, Verdict};
use crate::types::Tick;

/// So many chunks are judged at once.
const BATCH_LIMIT: usize = 256;

#[derive(Debug)]
pub(super) struct Collection {
    /// The last chunk of the present walk that was judged.
    after: Option<ChunkId>,
    /// Chunks are being listed, judged or deleted.
    busy: bool,
    next_at: Tick,
}

impl Collection {
    pub(super) fn new(now: Tick) -> Collection {
        Collection { after: None, busy: false, next_at: now }
    }
}

impl Upkeep {
    pub(super) fn settle_collection(&mut self) {
        if self.collection.busy || self.collection.next_at > self.now {
            return;
        }
        self.collection.busy = true;
        let after = self.collection.after;
        self.begin(Begun::Walk, |job| UpkeepOutput::Walk { job, after, limit: BATCH_LIMIT });
    }

    pub(super) fn on_walked_over(&mut self, mut chunks: Vec<ChunkId>) {
        chunks.truncate(BATCH_LIMIT);
        let Some(last) = chunks.last() else {
            self.collection.after = None;
            return self.rest(self.collection_interval_ms());
        };
        self.collection.after = Some(*last);
        self.ask(Asked::Verdicts(chunks.clone()), Query::GetVerdicts { chunks });
    }

    pub(super) fn on_verdicts(&mut self, chunks: Vec<ChunkId>, answer: Option<Answer>) {
        let Some(Answer::Verdicts { verdicts, .. }) = answer else {
            return self.rest(self.settings.retry_ms);
        };
        if verdicts.len() != chunks.len() {
            return self.rest(self.settings.retry_ms);
        }
        let judged = chunks.into_iter().zip(verdicts);
        let may_go = |verdict: Verdict| {
            verdict == Verdict::Dead || (verdict != Verdict::Referenced && planted(Canary::DeleteByIgnorance))
        };
        let dead: Vec<ChunkId> =
            judged.filter(|(_, verdict)| may_go(*verdict)).map(|(chunk, _)| chunk).collect();
        if dead.is_empty() {
            return self.rest(self.settings.collection_pause_ms);
        }
        self.begin(Begun::Delete(dead.len()), |job| UpkeepOutput::Delete { job, chunks: dead });
    }

    pub(super) fn on_deleted(&mut self, chunks: usize) {
        self.figures.collected_chunks += chunks as u64;
        self.mark(Mark::Collected { chunks });
        self.rest(self.settings.collection_pause_ms);
    }

    fn collection_interval_ms(&self) -> u64 {
        match self.is_full() {
            true => self.settings.collection_interval_full_ms,
            false => self.settings.collection_interval_ms,
        }
    }

    /// The disk may have filled since the next walk was put off.
    pub(super) fn hasten_collection(&mut self) {
        let latest = self.now.plus(self.settings.collection_interval_full_ms * 2);
        if self.is_full() && self.collection.next_at > latest {
            self.collection.next_at = self.later(self.settings.collection_interval_full_ms);
        }
    }

    fn rest(&mut self, duration_ms: u64) {
        self.collection.busy = false;
        self.collection.next_at = self.later(duration_ms);
    }

    pub(super) fn collection_due_at(&self) -> Option<Tick> {
        (!self.collection.busy).then_some(self.collection.next_at)
    }
}
