//! What can be asked of the catalog. A query sees the tables as of one op and changes nothing.

use bytes::Bytes;

use super::names::{BodyId, BucketRef, ChunkId, KEY_BYTES_MAX, UploadId};
use super::operation::OWNER_BYTES_MAX;
use crate::types::ReplicaId;
use crate::wire::{wire_enum, wire_struct};

/// The most chunks that one query asks about.
pub const VERDICT_COUNT_MAX: usize = 4096;

/// The most bodies that one query asks for.
pub const BODY_COUNT_MAX: usize = 1024;

wire_enum! {
    pub enum Query {
        1 => GetBucket { bucket: BucketRef, },
        2 => ListBuckets {
            /// None: everybody's.
            owner: Option<Bytes>,
            prefix: Bytes,
            /// Only names greater than this.
            after: Bytes,
            limit: u32,
        },

        10 => GetObject {
            bucket: BucketRef,
            key: Bytes,
            /// None: only what is known of the object, not where its bytes are.
            pieces: Option<PieceSelection>,
        },
        /// More pieces of an object whose `GetObject` said there were more. They can be read until
        /// the session's oldest read has moved on, even if the object is gone by then.
        11 => GetPieces { upload: UploadId, selection: PieceSelection, },
        12 => ListObjects {
            bucket: BucketRef,
            prefix: Bytes,
            /// Empty: none.
            delimiter: Bytes,
            after: ListPosition,
            /// Counts keys and common prefixes. Zero is answered with an empty page that is the last.
            limit: u32,
        },
        /// The object, and the parts that it was uploaded in. None if it was not uploaded in parts.
        13 => ListObjectParts {
            bucket: BucketRef,
            key: Bytes,
            /// Only numbers greater than this.
            after: u16,
            limit: u32,
        },

        20 => ListParts {
            bucket: BucketRef,
            key: Bytes,
            upload: UploadId,
            /// Only numbers greater than this.
            after: u16,
            limit: u32,
        },
        21 => ListUploads {
            bucket: BucketRef,
            prefix: Bytes,
            delimiter: Bytes,
            after: ListPosition,
            limit: u32,
        },

        30 => GetAccessKey { id: Bytes, },
        31 => ListAccessKeys { after: Bytes, limit: u32, },

        /// May be answered by any replica, however late it is: `Dead` stays true.
        40 => GetVerdicts { chunks: Vec<ChunkId>, },
        /// What `Operation::Collect` would forget now.
        41 => Collectable { after: Option<BodyId>, limit: u32, },
        /// The bodies that are referenced, by id: what the nodes should hold.
        42 => ListBodies { after: Option<BodyId>, limit: u32, },
        /// The bodies of which an owner lacks a chunk.
        43 => ListDebts {
            /// Only what this replica owes. None: everybody's.
            node: Option<ReplicaId>,
            after: Option<BodyId>,
            limit: u32,
        },
        /// Answered by `Answer::Bodies`, in the order asked for, without those that nothing refers to.
        44 => GetBodies { bodies: Vec<BodyId>, },
        /// The replicas that have been given another disk and have not said `Operation::Rebuilt` of it.
        45 => Rebuilding,
    }
}

wire_enum! {
    /// Where a page of a listing begins.
    pub enum ListPosition {
        1 => Start,
        /// At the first key greater than this.
        2 => AfterKey { key: Bytes, },
        /// At the first key that is greater than this and does not begin with it.
        3 => AfterPrefix { prefix: Bytes, },
        /// In a list of uploads: after this upload of this key.
        4 => AfterUpload { key: Bytes, upload: UploadId, },
    }
}

wire_struct! {
    pub struct PieceSelection {
        pub from: PieceStart,
        pub limit: u32,
    }
}

wire_enum! {
    /// Which piece is the first that is wanted.
    #[derive(Copy)]
    pub enum PieceStart {
        /// The piece that holds this byte.
        1 => Offset { offset: u64, },
        /// The piece that holds the first of the last so many bytes.
        2 => Suffix { length: u64, },
        /// The part of this number. A body in one piece is part 1.
        3 => Part { number: u16, },
    }
}

impl PieceSelection {
    pub fn all(limit: u32) -> PieceSelection {
        PieceSelection { from: PieceStart::Offset { offset: 0 }, limit }
    }
}

impl Query {
    /// Everything that can be said of the query without looking into the tables.
    pub fn check(&self) -> Result<(), &'static str> {
        match self {
            Query::ListBuckets { owner: Some(owner), .. } if owner.len() > OWNER_BYTES_MAX => {
                Err("the owner is too long")
            }
            Query::ListObjects { prefix, delimiter, .. } | Query::ListUploads { prefix, delimiter, .. }
                if prefix.len() > KEY_BYTES_MAX || delimiter.len() > KEY_BYTES_MAX =>
            {
                Err("the prefix or the delimiter is longer than a key")
            }
            // Who asks for more pieces has the object's size, and we may not have it any more.
            Query::GetPieces {
                selection: PieceSelection { from: PieceStart::Suffix { .. }, .. }, ..
            } => Err("a suffix is asked of an object, not of its upload"),
            Query::ListObjects { after: ListPosition::AfterUpload { .. }, .. } => {
                Err("a list of objects has no upload to begin after")
            }
            Query::GetVerdicts { chunks } if chunks.len() > VERDICT_COUNT_MAX => {
                Err("asks about too many chunks")
            }
            Query::GetBodies { bodies } if bodies.len() > BODY_COUNT_MAX => Err("asks for too many bodies"),
            _ => Ok(()),
        }
    }
}
