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

    fn of(&self, id: BodyId) -> impl Iterator<Item = (&ChunkId, &Finding)> {
        self.by_chunk.range(id.chunk(0)..=id.chunk(u32::MAX))
    }

    fn forget(&mut self, id: BodyId) {
        self.by_chunk.retain(|chunk, _| chunk.body != id);
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
            return self.postpone(id);
        };
        let Some(named) = bodies.into_iter().find(|named| named.id == id) else {
            return self.findings.forget(id);
        };
        // In work for another reason since it was asked: it comes to an end.
        if self.mends.contains(id) {
            return;
        }
        let count = named.body.roots.len();
        let indexes = self.findings.of(id).map(|(chunk, _)| chunk.index);
        let chunks: Vec<u32> = indexes.filter(|index| (*index as usize) < count).collect();
        let copies = u8::try_from(self.standing.layout.copies()).unwrap_or(u8::MAX).saturating_sub(1);
        self.mend(id, named.body, chunks, Cause::Finding, copies, true);
    }

    pub(super) fn on_finding_mended(&mut self, id: BodyId, ended: Mended) {
        match ended {
            Mended::Whole => self.findings.forget(id),
            Mended::Lacking | Mended::Lost => self.postpone(id),
        }
    }

    fn postpone(&mut self, id: BodyId) {
        let retry_at = self.later(self.settings.retry_ms);
        for (chunk, finding) in &mut self.findings.by_chunk {
            if chunk.body == id {
                finding.not_before = retry_at;
            }
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
