//! Bodies: where the bytes of an object or a part are.

use bytes::Bytes;

use super::names::BodyId;
use crate::data::outline::{CHUNK_BYTES_MAX, ChunkRoot};
use crate::data::receipt::Receipt;
use crate::types::REPLICAS_MAX;
use crate::wire::{wire_enum, wire_struct};

/// The roots of all chunks and their receipts must fit into one operation. Eight gigabytes in one
/// body; what is larger is uploaded in parts.
pub const CHUNK_COUNT_MAX: usize = 1024;

/// Chunks are stored one way over a whole extent; a body changes its way when nodes come and go,
/// which happens a few times in a body's writing, not hundreds of times.
pub const EXTENT_COUNT_MAX: usize = 64;

wire_enum! {
    /// How a chunk is kept safe. Chosen when it is written, from who answers then.
    #[derive(Copy)]
    pub enum Encoding {
        1 => Copies { count: u8, },
        2 => ErasureCoded { data: u8, parity: u8, },
    }
}

wire_struct! {
    /// So many consecutive chunks in one encoding.
    #[derive(Copy)]
    pub struct Extent {
        pub chunk_count: u32,
        pub encoding: Encoding,
    }
}

wire_struct! {
    /// All that is needed to find and to verify the chunks of a body: some ten bytes for each megabyte.
    pub struct ChunkedBody {
        pub length: u64,
        /// Every chunk has this size except the last.
        pub chunk_size: u32,
        pub extents: Vec<Extent>,
        /// From these, and from nothing that is stored beside the chunks, follows what their bytes
        /// must be. One for each chunk.
        pub roots: Vec<ChunkRoot>,
    }
}

impl ChunkedBody {
    pub fn chunk_count(&self) -> u64 {
        self.length.div_ceil(u64::from(self.chunk_size.max(1)))
    }

    /// None beyond the end.
    pub fn chunk_length(&self, index: u32) -> Option<u32> {
        let start = u64::from(index) * u64::from(self.chunk_size);
        let rest = self.length.checked_sub(start).filter(|rest| *rest > 0)?;
        Some(u32::try_from(rest).unwrap_or(u32::MAX).min(self.chunk_size))
    }

    /// None beyond the end.
    pub fn encoding(&self, index: u32) -> Option<Encoding> {
        let mut end = 0;
        self.extents
            .iter()
            .find(|extent| {
                end += u64::from(extent.chunk_count);
                u64::from(index) < end
            })
            .map(|extent| extent.encoding)
    }

    pub fn check(&self) -> Result<(), &'static str> {
        if self.length == 0 {
            return Err("an empty body has no chunks");
        }
        if self.chunk_size == 0 || self.chunk_size > CHUNK_BYTES_MAX {
            return Err("the chunk size is out of range");
        }
        if self.chunk_count() > CHUNK_COUNT_MAX as u64 {
            return Err("the body has too many chunks");
        }
        if self.roots.len() as u64 != self.chunk_count() {
            return Err("the body has not one root for each chunk");
        }
        if self.extents.len() > EXTENT_COUNT_MAX {
            return Err("the body has too many extents");
        }
        if self.extents.iter().any(|extent| extent.chunk_count == 0) {
            return Err("an extent is empty");
        }
        let extent_chunks: u64 = self.extents.iter().map(|extent| u64::from(extent.chunk_count)).sum();
        if extent_chunks != self.chunk_count() {
            return Err("the extents do not cover the body");
        }
        let sound = |encoding| match encoding {
            Encoding::Copies { count } => count > 0,
            Encoding::ErasureCoded { data, parity } => data > 0 && parity > 0,
        };
        if !self.extents.iter().all(|extent| sound(extent.encoding)) {
            return Err("an encoding keeps nothing");
        }
        Ok(())
    }
}

wire_enum! {
    /// The body that an operation brings.
    pub enum NewBody {
        /// The bytes themselves, up to `CatalogLimits::inline_bytes_max`. They live in the row.
        1 => Inline { bytes: Bytes, },
        /// Chunks that the committing session stored under this upload number of its own.
        2 => Chunked {
            upload: u64,
            body: ChunkedBody,
            /// The version of the layout that the receipts were given under.
            layout: u32,
            /// In any order. Those that count must name enough disks for each chunk.
            receipts: Vec<Receipt>,
        },
    }
}

impl NewBody {
    pub fn inline(bytes: impl Into<Bytes>) -> NewBody {
        NewBody::Inline { bytes: bytes.into() }
    }

    pub fn length(&self) -> u64 {
        match self {
            NewBody::Inline { bytes } => bytes.len() as u64,
            NewBody::Chunked { body, .. } => body.length,
        }
    }

    pub fn check(&self, inline_bytes_max: usize) -> Result<(), &'static str> {
        match self {
            NewBody::Inline { bytes } if bytes.len() > inline_bytes_max => {
                Err("the inline body is too large")
            }
            NewBody::Inline { .. } => Ok(()),
            NewBody::Chunked { body, receipts, .. } => {
                body.check()?;
                if receipts.len() > body.roots.len() * REPLICAS_MAX {
                    return Err("the body has too many receipts");
                }
                if receipts.iter().any(|receipt| receipt.chunk as usize >= body.roots.len()) {
                    return Err("a receipt is of a chunk beyond the end");
                }
                Ok(())
            }
        }
    }
}

wire_enum! {
    /// Where the bytes of one piece are.
    pub enum PieceSource {
        1 => Inline { bytes: Bytes, },
        /// `Piece::length` bytes of the body from `offset`.
        2 => Chunked { id: BodyId, body: ChunkedBody, offset: u64, },
    }
}

wire_struct! {
    /// A consecutive run of an object's bytes that lies in one body. An object is its pieces in order.
    pub struct Piece {
        /// The number of the part; zero if the object was put in one piece.
        pub part: u16,
        /// Where the piece begins in the object.
        pub offset: u64,
        pub length: u64,
        pub source: PieceSource,
    }
}
