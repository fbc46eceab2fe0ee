//! What was asked for: a run of blocks, and what of it has come.

use std::collections::VecDeque;

use bytes::Bytes;

use super::plan::Wanted;
use crate::data::outline::BLOCK_SIZE;
use crate::types::{ReplicaId, Tick};

/// What is given out next, in order.
#[derive(Debug)]
pub(super) enum Item {
    Inline(Bytes),
    Span(Span),
}

impl Item {
    pub(super) fn size(&self) -> usize {
        match self {
            Item::Inline(bytes) => bytes.len(),
            Item::Span(span) => span.wanted.size(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Span {
    pub(super) wanted: Wanted,
    /// The first block that has not come.
    pub(super) next: u32,
    /// Verified, trimmed to what is wanted, and not taken.
    pub(super) parts: VecDeque<Bytes>,
    /// The calls that are not answered: one, or two if the first is late.
    pub(super) asked: Vec<Asked>,
    pub(super) last_asked: Tick,
    /// Nothing came until then.
    pub(super) give_up_at: Tick,
}

/// A call that is not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) call: u64,
    pub(super) to: ReplicaId,
    /// How long the answer is at most.
    pub(super) bytes: usize,
}

impl Span {
    pub(super) fn new(wanted: Wanted, now: Tick, give_up_at: Tick) -> Span {
        let next = wanted.first;
        Span { wanted, next, parts: VecDeque::new(), asked: Vec::new(), last_asked: now, give_up_at }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.next == self.wanted.end()
    }

    /// Takes verified blocks from block `first` on. True if there is anything new among them.
    pub(super) fn accept(&mut self, first: u32, bytes: &Bytes) -> bool {
        let size = |blocks: u32| blocks as usize * BLOCK_SIZE as usize;
        let count = u32::try_from(bytes.len().div_ceil(BLOCK_SIZE as usize)).unwrap_or(u32::MAX);
        let end = first.saturating_add(count).min(self.wanted.end());
        if first > self.next || end <= self.next {
            return false;
        }
        // All in bytes of the run from here on.
        let run = size(first - self.wanted.first);
        let (skip, wanted_end) = (self.wanted.skip, self.wanted.skip + self.wanted.take);
        let from = size(self.next - self.wanted.first).max(skip);
        let to = (run + bytes.len()).min(wanted_end);
        if from < to {
            self.parts.push_back(bytes.slice(from - run..to - run));
        }
        self.next = end;
        true
    }

    pub(super) fn forget(&mut self, call: u64) {
        self.asked.retain(|asked| asked.call != call);
    }

    /// What is still to come.
    pub(super) fn rest(&self) -> usize {
        self.wanted.bytes_of(self.next, self.wanted.end() - self.next)
    }

    /// The bytes that may come in vain, because more than one holder was asked.
    pub(super) fn hedged_bytes(&self) -> usize {
        let asked: usize = self.asked.iter().map(|asked| asked.bytes).sum();
        asked.saturating_sub(self.rest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cluster::{BODY, bytes};
    use crate::data::outline::ChunkRoot;

    const BLOCK: usize = BLOCK_SIZE as usize;

    /// Blocks 2 to 5 of a chunk of six and a bit, without the first byte and the last.
    fn span() -> (Span, Bytes) {
        let chunk = bytes(6 * BLOCK + 1, 1);
        let wanted = Wanted {
            chunk: BODY.chunk(0),
            root: ChunkRoot([0; 32]),
            chunk_length: u32::try_from(chunk.len()).unwrap(),
            first: 2,
            count: 4,
            skip: 1,
            take: 4 * BLOCK - 2,
        };
        (Span::new(wanted, Tick::ZERO, Tick::ZERO), chunk)
    }

    /// Two holders were asked, and both gave less than that.
    #[test]
    fn answers_that_overlap_give_every_wanted_byte_once() {
        let runs = [(2, 3), (2, 2), (2, 3), (3, 5), (4, 5), (2, 4), (3, 6), (2, 6)];
        let (mut span, chunk) = span();
        let mut new = Vec::new();
        for (first, end) in runs {
            let blocks = chunk.slice(first as usize * BLOCK..end * BLOCK);
            new.push(if blocks.is_empty() { false } else { span.accept(first, &blocks) });
        }
        assert_eq!(new, [true, false, false, true, false, false, true, false]);
        assert!(span.is_complete());
        assert_eq!(span.rest(), 0);
        let parts: Vec<u8> = span.parts.iter().flatten().copied().collect();
        assert!(parts == chunk[2 * BLOCK + 1..6 * BLOCK - 1]);
    }

    #[test]
    fn blocks_behind_a_gap_are_not_taken() {
        let (mut span, chunk) = span();
        assert!(!span.accept(3, &chunk.slice(3 * BLOCK..6 * BLOCK)));
        assert_eq!(span.next, 2);
        assert_eq!(span.rest(), 4 * BLOCK);
    }
}
