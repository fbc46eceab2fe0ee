//! What holders of chunks and those who need them say to each other.
//!
//! ```text
//!  0        4     5      6        8              24        32            48       48 + head
//!  ┌────────┬─────┬──────┬────────┬──────────────┬─────────┬─────────────┬────────┬─────────┐
//!  │ magic  │ ver │ kind │ 0      │ cluster      │ call    │ sum of head │ head … │ bytes … │
//!  └────────┴─────┴──────┴────────┴──────────────┴─────────┴─────────────┴────────┴─────────┘
//!            head size and size of bytes are the first eight bytes of the head
//! ```
//!
//! The sum covers everything before the bytes but itself. The bytes of a chunk have no sum here:
//! whoever receives them compares them with the chunk's root, which came another way.

use bytes::Bytes;

use super::outline::{CHUNK_BYTES_MAX, ChunkRoot, Outline};
use super::receipt::Receipt;
use crate::catalog::ChunkId;
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::types::{Checksum, ClusterId};
use crate::wire::{Wire, wire_enum};

/// A call or the answer to one. Who sent it is known from how it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataMessage {
    pub cluster: ClusterId,
    /// Pairs an answer with its call. Chosen by the caller.
    pub call: u64,
    pub body: DataBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataBody {
    /// "Store this." Answered by `Stored` once it is durable, or `Refused`.
    PutChunk {
        chunk: ChunkId,
        layout: u32,
        root: ChunkRoot,
        bytes: Bytes,
    },
    /// "Is this durable with you?" Answered by `Stored`, `NotHere` or `Refused`.
    Confirm {
        chunk: ChunkId,
        layout: u32,
        root: ChunkRoot,
        length: u32,
    },
    /// Blocks `first..first + count` of the chunk. Answered by `Blocks`, `NotHere` or `Refused`.
    GetBlocks {
        chunk: ChunkId,
        root: ChunkRoot,
        first: u32,
        count: u32,
    },
    /// "Was your disk ever part of this cluster?" A replica with a blank disk must know before it
    /// takes itself for a new one. Answered by `Introduced`.
    Introduce {
        /// How many replicas the asking one believes the cluster to have.
        replicas: u8,
    },
    /// "How are you?" Answered by `Status`.
    GetStatus,

    Stored {
        receipt: Receipt,
    },
    /// Nothing was stored, or nothing can be read.
    Refused {
        why: DataRefusal,
    },
    /// Whole blocks from `first` on: as many as were asked for, or as many as are good.
    Blocks {
        outline: Outline,
        first: u32,
        bytes: Bytes,
    },
    /// No chunk of this name and root is here, or its copy is damaged.
    NotHere,
    Introduced {
        past: Past,
        replicas: u8,
    },
    /// A document for people and their tools. No replica acts upon it.
    Status {
        json: Bytes,
    },
}

wire_enum! {
    /// What a replica's disk has been through.
    #[derive(Copy)]
    pub enum Past {
        /// Nothing.
        1 => Blank,
        /// It was made that of a new cluster's replica, which has never run: it has promised nothing.
        2 => Formatted,
        /// Its replica runs or has run, and knows that the others were all formatted before.
        3 => Started,
    }
}

wire_enum! {
    #[derive(Copy)]
    pub enum DataRefusal {
        /// Too much is under way: ask again later, or somebody else.
        1 => Busy,
        /// The disk keeps its last space for deletions and for the log.
        2 => Full,
        /// This replica is not (or not yet) one whose word counts.
        3 => NotReady,
        /// Other bytes have this name already.
        4 => Conflict,
        /// The bytes are not those of the root.
        5 => Damaged,
        /// The layout is not the present one.
        6 => WrongLayout,
    }
}

impl DataBody {
    pub const fn kind(&self) -> &'static str {
        match self {
            DataBody::PutChunk { .. } => "PutChunk",
            DataBody::Confirm { .. } => "Confirm",
            DataBody::GetBlocks { .. } => "GetBlocks",
            DataBody::Stored { .. } => "Stored",
            DataBody::Refused { .. } => "Refused",
            DataBody::Blocks { .. } => "Blocks",
            DataBody::NotHere => "NotHere",
            DataBody::Introduce { .. } => "Introduce",
            DataBody::GetStatus => "GetStatus",
            DataBody::Introduced { .. } => "Introduced",
            DataBody::Status { .. } => "Status",
        }
    }

    /// Whether this asks something, and an answer is owed.
    pub const fn is_call(&self) -> bool {
        matches!(
            self,
            DataBody::PutChunk { .. }
                | DataBody::Confirm { .. }
                | DataBody::GetBlocks { .. }
                | DataBody::Introduce { .. }
                | DataBody::GetStatus
        )
    }
}

const MAGIC: [u8; 4] = *b"VSDP";
const VERSION: u8 = 1;
const SUM_OFFSET: usize = 32;

/// What must be read before it is known how long the rest is.
pub const PREFIX_SIZE: usize = 56;

/// The longest head: a `Blocks` with an outline of the largest chunk.
pub const HEAD_SIZE_MAX: usize = 8 << 10;

/// The longest document of a `Status`: a few hundred figures.
pub const STATUS_BYTES_MAX: u32 = 64 << 10;

/// How much follows a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The rest of the head.
    pub head: usize,
    pub bytes: usize,
}

impl Sizes {
    /// What a prefix says of what follows: enough to receive it, nothing to believe yet.
    pub fn of_prefix(prefix: &[u8; PREFIX_SIZE]) -> Result<Sizes, DecodeError> {
        if prefix[..4] != MAGIC {
            return Err(DecodeError::Invalid("DataMessage.magic"));
        }
        if prefix[4] != VERSION {
            return Err(DecodeError::Invalid("DataMessage.version"));
        }
        let number = |at: usize| {
            let bytes = prefix[at..at + 4].try_into().expect("four bytes are four bytes");
            u32::from_le_bytes(bytes)
        };
        let (head, bytes) = (number(48) as usize, number(52));
        if head > HEAD_SIZE_MAX {
            return Err(DecodeError::Invalid("DataMessage.head_size"));
        }
        if bytes > CHUNK_BYTES_MAX {
            return Err(DecodeError::Invalid("DataMessage.bytes_size"));
        }
        Ok(Sizes { head, bytes: bytes as usize })
    }
}

impl DataMessage {
    /// The head, and the bytes that follow it: apart, because they are large and need no copy.
    pub fn encode(&self) -> (Vec<u8>, Bytes) {
        let mut head = Encoder::new();
        let (kind, bytes) = self.body.encode(&mut head);
        let head = head.finish();
        let size = |size: usize| u32::try_from(size).expect("heads and chunks are at most a few megabytes");

        let mut out = Encoder::with_capacity(PREFIX_SIZE + head.len());
        out.raw(&MAGIC);
        out.u8(VERSION);
        out.u8(kind);
        out.u16(0);
        out.u128(self.cluster.get());
        out.u64(self.call);
        out.u128(0);
        out.u32(size(head.len()));
        out.u32(size(bytes.len()));
        out.raw(&head);
        let mut out = out.finish();
        let sum = sum(&out);
        out[SUM_OFFSET..SUM_OFFSET + 16].copy_from_slice(&sum.get().to_le_bytes());
        (out, bytes)
    }

    /// `head` is the prefix and the rest of the head together.
    pub fn decode(head: &Bytes, bytes: Bytes) -> Result<DataMessage, DecodeError> {
        let prefix = head.first_chunk::<PREFIX_SIZE>().ok_or(DecodeError::Truncated("DataMessage"))?;
        let sizes = Sizes::of_prefix(prefix)?;
        if head.len() != PREFIX_SIZE + sizes.head || bytes.len() != sizes.bytes {
            return Err(DecodeError::Invalid("DataMessage.size"));
        }
        let mut input = Decoder::new(head.slice(5..));
        let kind = input.u8("DataMessage.kind")?;
        if input.u16("DataMessage.reserved")? != 0 {
            return Err(DecodeError::Invalid("DataMessage.reserved"));
        }
        let cluster = ClusterId::new(input.u128("DataMessage.cluster")?);
        let call = input.u64("DataMessage.call")?;
        if input.u128("DataMessage.sum")? != sum(head).get() {
            return Err(DecodeError::Invalid("DataMessage.sum"));
        }
        input.u64("DataMessage.sizes")?;
        let body = DataBody::decode(kind, &mut input, bytes)?;
        input.finish()?;
        Ok(DataMessage { cluster, call, body })
    }
}

/// The sum of a head, as if the sum itself were not there.
fn sum(head: &[u8]) -> Checksum {
    Checksum::of_parts(&[&head[..SUM_OFFSET], &head[SUM_OFFSET + 16..]])
}

impl DataBody {
    fn encode(&self, out: &mut Encoder) -> (u8, Bytes) {
        match self {
            DataBody::PutChunk { chunk, layout, root, bytes } => {
                chunk.encode(out);
                layout.encode(out);
                root.encode(out);
                (1, bytes.clone())
            }
            DataBody::Confirm { chunk, layout, root, length } => {
                chunk.encode(out);
                layout.encode(out);
                root.encode(out);
                length.encode(out);
                (2, Bytes::new())
            }
            DataBody::GetBlocks { chunk, root, first, count } => {
                chunk.encode(out);
                root.encode(out);
                first.encode(out);
                count.encode(out);
                (3, Bytes::new())
            }
            DataBody::Stored { receipt } => {
                receipt.encode(out);
                (16, Bytes::new())
            }
            DataBody::Refused { why } => {
                why.encode(out);
                (17, Bytes::new())
            }
            DataBody::Blocks { outline, first, bytes } => {
                outline.encode(out);
                first.encode(out);
                (18, bytes.clone())
            }
            DataBody::NotHere => (19, Bytes::new()),
            DataBody::Introduce { replicas } => {
                replicas.encode(out);
                (4, Bytes::new())
            }
            DataBody::GetStatus => (5, Bytes::new()),
            DataBody::Introduced { past, replicas } => {
                past.encode(out);
                replicas.encode(out);
                (20, Bytes::new())
            }
            DataBody::Status { json } => (21, json.clone()),
        }
    }

    fn decode(kind: u8, input: &mut Decoder, bytes: Bytes) -> Result<DataBody, DecodeError> {
        if !bytes.is_empty() && !matches!(kind, 1 | 18 | 21) {
            return Err(DecodeError::TrailingBytes);
        }
        Ok(match kind {
            1 => DataBody::PutChunk {
                chunk: Wire::decode(input, "PutChunk.chunk")?,
                layout: input.u32("PutChunk.layout")?,
                root: Wire::decode(input, "PutChunk.root")?,
                bytes,
            },
            2 => DataBody::Confirm {
                chunk: Wire::decode(input, "Confirm.chunk")?,
                layout: input.u32("Confirm.layout")?,
                root: Wire::decode(input, "Confirm.root")?,
                length: input.u32("Confirm.length")?,
            },
            3 => DataBody::GetBlocks {
                chunk: Wire::decode(input, "GetBlocks.chunk")?,
                root: Wire::decode(input, "GetBlocks.root")?,
                first: input.u32("GetBlocks.first")?,
                count: input.u32("GetBlocks.count")?,
            },
            16 => DataBody::Stored { receipt: Wire::decode(input, "Stored.receipt")? },
            17 => DataBody::Refused { why: Wire::decode(input, "Refused.why")? },
            18 => DataBody::Blocks {
                outline: Wire::decode(input, "Blocks.outline")?,
                first: input.u32("Blocks.first")?,
                bytes,
            },
            19 => DataBody::NotHere,
            4 => DataBody::Introduce { replicas: input.u8("Introduce.replicas")? },
            5 => DataBody::GetStatus,
            20 => DataBody::Introduced {
                past: Wire::decode(input, "Introduced.past")?,
                replicas: input.u8("Introduced.replicas")?,
            },
            21 => DataBody::Status { json: bytes },
            _ => return Err(DecodeError::Invalid("DataMessage.kind")),
        })
    }
}

#[cfg(test)]
mod tests;
