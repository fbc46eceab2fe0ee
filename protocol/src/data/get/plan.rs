//! Which blocks are needed, in which order: a cursor over the pieces of an object.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::catalog::{ChunkId, Encoding, Piece, PieceSource};
use crate::data::outline::{BLOCK_SIZE, ChunkRoot};

/// Why pieces were not accepted: they are not the next ones of an object, or not sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPieces(pub &'static str);

impl std::fmt::Display for BadPieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadPieces {}

#[derive(Debug)]
pub(super) struct Plan {
    pieces: VecDeque<Piece>,
    /// The next byte of the object to be planned, and where to stop.
    position: u64,
    end: u64,
    /// Where the known pieces end. None before the first one.
    known_end: Option<u64>,
}

#[derive(Debug)]
pub(super) enum Step {
    Inline(Bytes),
    Blocks(Wanted),
}

/// A run of blocks of one chunk, and the bytes of it that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) chunk: ChunkId,
    pub(super) root: ChunkRoot,
    pub(super) chunk_length: u32,
    pub(super) first: u32,
    pub(super) count: u32,
    /// The wanted bytes within the run.
    pub(super) skip: usize,
    pub(super) take: usize,
}

impl Wanted {
    /// How many bytes blocks `first..first + count` of the chunk have.
    pub(super) fn bytes_of(&self, first: u32, count: u32) -> usize {
        let at = |block: u32| block.saturating_mul(BLOCK_SIZE).min(self.chunk_length);
        (at(first.saturating_add(count)) - at(first)) as usize
    }

    pub(super) fn size(&self) -> usize {
        self.bytes_of(self.first, self.count)
    }

    /// The block after the last.
    pub(super) fn end(&self) -> u32 {
        self.first + self.count
    }
}

impl Plan {
    /// Plans bytes `start..end` of an object.
    pub(super) fn new(start: u64, end: u64) -> Plan {
        Plan { pieces: VecDeque::new(), position: start, end: end.max(start), known_end: None }
    }

    /// Either all pieces are accepted or none.
    pub(super) fn add(&mut self, pieces: Vec<Piece>) -> Result<(), BadPieces> {
        let mut known_end = self.known_end;
        for piece in &pieces {
            let follows = match known_end {
                Some(end) => piece.offset == end,
                None => piece.offset <= self.position,
            };
            if !follows {
                return Err(BadPieces("the pieces do not follow each other"));
            }
            known_end = Some(check(piece)?);
        }
        self.known_end = known_end;
        self.pieces.extend(pieces);
        Ok(())
    }

    /// How many bytes of the range the known pieces still have. None if they have all of it.
    pub(super) fn known_bytes(&self) -> Option<u64> {
        let known_end = self.known_end.unwrap_or(0).max(self.position);
        (known_end < self.end).then(|| known_end - self.position)
    }

    pub(super) fn is_over(&self) -> bool {
        self.position >= self.end
    }

    /// The next step, of at most so many blocks. None if the pieces or the range are at their end.
    pub(super) fn peek(&mut self, blocks_max: u32) -> Option<Step> {
        if self.is_over() {
            return None;
        }
        while self.pieces.pop_front_if(|piece| piece.offset + piece.length <= self.position).is_some() {}
        let piece = self.pieces.front()?;
        let within = self.position - piece.offset;
        let rest = (piece.offset + piece.length).min(self.end) - self.position;
        let (id, body, offset) = match &piece.source {
            PieceSource::Inline { bytes } => {
                let in_memory = "what is inline is in memory, and so is its length";
                let start = usize::try_from(within).expect(in_memory);
                let rest = usize::try_from(rest).expect(in_memory);
                return Some(Step::Inline(bytes.slice(start..start + rest)));
            }
            PieceSource::Chunked { id, body, offset } => (id, body, *offset),
        };
        let checked = "the piece lies within its body, which is sound";
        let position = offset + within;
        let index = u32::try_from(position / u64::from(body.chunk_size)).expect(checked);
        let in_chunk = u32::try_from(position % u64::from(body.chunk_size)).expect(checked);
        let chunk_length = body.chunk_length(index).expect(checked);
        let first = in_chunk / BLOCK_SIZE;
        let skip = in_chunk % BLOCK_SIZE;
        let room = blocks_max.max(1).saturating_mul(BLOCK_SIZE) - skip;
        let available = room.min(chunk_length - in_chunk);
        let take = u32::try_from(rest).unwrap_or(u32::MAX).min(available);
        Some(Step::Blocks(Wanted {
            chunk: id.chunk(index),
            root: *body.roots.get(index as usize).expect(checked),
            chunk_length,
            first,
            count: (skip + take).div_ceil(BLOCK_SIZE),
            skip: skip as usize,
            take: take as usize,
        }))
    }

    /// Goes on behind the step that `peek` gave.
    pub(super) fn pass(&mut self, step: &Step) {
        self.position += match step {
            Step::Inline(bytes) => bytes.len() as u64,
            Step::Blocks(wanted) => wanted.take as u64,
        };
    }
}

/// Where the piece ends in the object.
fn check(piece: &Piece) -> Result<u64, BadPieces> {
    let end = piece.offset.checked_add(piece.length).ok_or(BadPieces("a piece is too long"))?;
    match &piece.source {
        PieceSource::Inline { bytes } if bytes.len() as u64 != piece.length => {
            Err(BadPieces("an inline piece has not the bytes that it says"))
        }
        PieceSource::Inline { .. } => Ok(end),
        PieceSource::Chunked { body, offset, .. } => {
            body.check().map_err(BadPieces)?;
            if body.extents.iter().any(|extent| !matches!(extent.encoding, Encoding::Copies { .. })) {
                return Err(BadPieces("a piece is encoded in a way that is not known"));
            }
            if offset.checked_add(piece.length).is_none_or(|end| end > body.length) {
                return Err(BadPieces("a piece goes beyond its body"));
            }
            Ok(end)
        }
    }
}
