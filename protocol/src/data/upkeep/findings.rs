//! What was found damaged or absent here: by a read, by the scrub.
//!
//! A finding is a hint. The catalog says what the chunk must be, or that nobody needs it; then the disk
//! is read once more, and only then is it believed.

use std::collections::BTreeMap;

use super::machine::{Asked, Upkeep};
use super::mend::{Cause, Mended};
use crate::catalog::{Answer, BodyId, ChunkId, Query};
use crate::types::Tick;

/// So many are remembered. The scrub waits while there are so many; what else is found is forgotten,
/// and found again.
const FINDING_COUNT_MAX: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Finding {
    not_before: Tick,
    /// The second look found the same.
    confirmed: bool,
    /// No sound copy was found anywhere, the last time that one was looked for.
    lost: bool,
}

#[derive(Debug, Default)]
pub(super) struct Findings {
    by_chunk: BTreeMap<ChunkId, Finding>,
    asking: bool,
}

impl Findings {
    pub(super) fn begin_anew(&mut self) {
        self.asking = false;
    }

    pub(super) fn add(&mut self, chunk: ChunkId, now: Tick) {
        if self.by_chunk.len() < FINDING_COUNT_MAX {
            let finding = Finding { not_before: now, confirmed: false, lost: false };
            self.by_chunk.entry(chunk).or_insert(finding);
        }
    }

    /// True if it was not confirmed before.
    pub(super) fn confirm(&mut self, chunk: ChunkId) -> bool {
        let finding = self.by_chunk.get_mut(&chunk).filter(|finding| !finding.confirmed);
        finding.map(|finding| finding.confirmed = true).is_some()
    }

    pub(super) fn set_lost(&mut self, chunk: ChunkId, lost: bool) {
        if let Some(finding) = self.by_chunk.get_mut(&chunk) {
            finding.lost = lost;
        }
    }

    pub(super) fn contains(&self, chunk: ChunkId) -> bool {
        self.by_chunk.contains_key(&chunk)
    }

    pub(super) fn is_full(&self) -> bool {
        self.by_chunk.len() >= FINDING_COUNT_MAX
    }

    /// Those that a second look has confirmed.
    pub(super) fn count(&self) -> usize {
        self.by_chunk.values().filter(|finding| finding.confirmed).count()
    }

    pub(super) fn lost(&self) -> usize {
        self.by_chunk.values().filter(|finding| finding.lost).count()
    }

    pub(super) fn first(&self) -> Option<BodyId> {
        self.by_chunk.keys().next().map(|chunk| chunk.body)
    }

    /// The chunks of the body that something was found of.
    fn of(&self, id: BodyId) -> Vec<u32> {
        let range = self.by_chunk.range(id.chunk(0)..=id.chunk(u32::MAX));
        range.map(|(chunk, _)| chunk.index).collect()
    }

    fn forget(&mut self, id: BodyId, indexes: &[u32]) {
        for index in indexes {
            self.by_chunk.remove(&id.chunk(*index));
        }
    }
}

impl Upkeep {
    pub(super) fn settle_findings(&mut self) {
        if self.findings.asking || !self.mends.has_room(Cause::Finding) {
            return;
        }
        let due = |(chunk, finding): &(&ChunkId, &Finding)| {
            finding.not_before <= self.now && !self.mends.contains(chunk.body)
        };
        if let Some((chunk, _)) = self.findings.by_chunk.iter().find(due) {
            let id = chunk.body;
            self.findings.asking = true;
            self.ask(Asked::FoundBody(id), Query::GetBodies { bodies: vec![id] });
        }
    }

    /// What nothing refers to is not replaced: when it is dead it is deleted.
    pub(super) fn on_found_body(&mut self, id: BodyId, answer: Option<Answer>) {
        self.findings.asking = false;
        let Some(Answer::Bodies { bodies, .. }) = answer else {
            return self.postpone(id, Mended::Lacking);
        };
        let Some(named) = bodies.into_iter().find(|named| named.id == id) else {
            let all = self.findings.of(id);
            return self.findings.forget(id, &all);
        };
        // In work for another reason since it was asked: it comes to an end.
        if self.mends.contains(id) {
            return;
        }
        let count = named.body.roots.len();
        let all = self.findings.of(id);
        let (chunks, beyond): (Vec<u32>, Vec<u32>) =
            all.into_iter().partition(|index| (*index as usize) < count);
        self.findings.forget(id, &beyond);
        if chunks.is_empty() {
            return;
        }
        let copies = u8::try_from(self.standing.layout.copies()).unwrap_or(u8::MAX).saturating_sub(1);
        self.mend(id, named.body, chunks, Cause::Finding, copies, true);
    }

    /// What else was found of the body in the meantime is looked into next.
    pub(super) fn on_finding_mended(&mut self, id: BodyId, examined: &[u32], ended: Mended) {
        match ended {
            Mended::Whole => self.findings.forget(id, examined),
            Mended::Lacking | Mended::Lost => self.postpone(id, ended),
        }
    }

    fn postpone(&mut self, id: BodyId, ended: Mended) {
        let retry_at = self.later(self.settings.retry_after(ended));
        for finding in self.findings.by_chunk.range_mut(id.chunk(0)..=id.chunk(u32::MAX)) {
            finding.1.not_before = retry_at;
        }
    }

    /// A finding whose body is in work for another reason waits for that, not for a time.
    pub(super) fn findings_due_at(&self) -> Option<Tick> {
        let waits = !self.findings.asking && self.mends.has_room(Cause::Finding);
        let idle = self.findings.by_chunk.iter().filter(|(chunk, _)| !self.mends.contains(chunk.body));
        let times = idle.map(|(_, finding)| finding.not_before);
        if waits { times.min() } else { None }
    }
}
