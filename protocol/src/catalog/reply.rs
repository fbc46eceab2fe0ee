//! What the catalog answers.

use bytes::Bytes;

use super::body::{ChunkedBody, Piece};
use super::error::Error;
use super::metadata::{Checksums, ETag, Headers, Tags};
use super::names::{BodyId, BucketId, UploadId};
use super::operation::AccessKey;
use super::query::ListPosition;
use crate::types::{Incarnation, Op, ReplicaId, Timestamp};
use crate::wire::{wire_enum, wire_struct};

/// The answer to an operation. Small: it is kept with the session for as long as it may be asked again.
pub type Reply = Result<Success, Error>;

/// The answer to a query.
pub type QueryReply = Result<Answer, Error>;

wire_enum! {
    pub enum Success {
        /// Nothing more to say.
        1 => Done,
        2 => BucketCreated { id: BucketId, created: Timestamp, },
        /// An object was put, copied or completed.
        3 => ObjectWritten { object: ObjectSummary, },
        /// For each key, in the order of the operation, why it was not deleted.
        4 => ObjectsDeleted { outcomes: Vec<Option<Error>>, },
        5 => UploadCreated { upload: UploadId, created: Timestamp, },
        6 => PartWritten { digest: [u8; 16], size: u64, last_modified: Timestamp, },
        7 => Collected {
            /// Bodies forgotten.
            retired: u32,
            /// Parts of deleted objects and aborted uploads taken apart.
            parts: u32,
        },
        /// So many of the bodies were owed by the node, and are not any more.
        8 => Settled { bodies: u32, },
    }
}

wire_enum! {
    pub enum Answer {
        1 => Bucket { bucket: Bucket, },
        2 => Buckets { buckets: Vec<Bucket>, truncated: bool, },
        3 => Object { object: Object, pieces: Vec<Piece>, more: bool, },
        4 => Pieces { pieces: Vec<Piece>, more: bool, },
        5 => Objects { entries: Vec<ListEntry>, next: Option<ListPosition>, },
        6 => Parts { upload: Upload, parts: Vec<Part>, truncated: bool, },
        7 => Uploads { entries: Vec<UploadEntry>, next: Option<ListPosition>, },
        8 => AccessKey { access_key: AccessKey, },
        9 => AccessKeys { access_keys: Vec<NamedAccessKey>, truncated: bool, },
        10 => Verdicts {
            /// The op as of which they are true. `Dead` is true ever after.
            applied: Op,
            verdicts: Vec<Verdict>,
        },
        11 => Collectable {
            retired: Vec<BodyId>,
            /// Uploads of which all parts may go, or those that their object does not consist of.
            condemned: Vec<UploadId>,
            /// Ask again after this one, there may be more.
            next: Option<BodyId>,
        },
        12 => Bodies {
            bodies: Vec<NamedBody>,
            /// There are more after the last of these. Of bodies that were asked for by name: ask again
            /// for those after it.
            truncated: bool,
        },
        13 => Debts {
            debts: Vec<Debt>,
            /// Ask again after this one, there may be more.
            next: Option<BodyId>,
        },
        14 => Rebuilding { disks: Vec<Disk>, },
        15 => ObjectParts { object: Object, parts: Vec<Part>, truncated: bool, },
    }
}

wire_struct! {
    pub struct Bucket {
        pub name: Bytes,
        pub id: BucketId,
        pub owner: Bytes,
        pub created: Timestamp,
        /// Empty: the bucket has no tag set.
        pub tags: Tags,
    }
}

wire_struct! {
    /// What a listing says of an object.
    pub struct ObjectSummary {
        /// When in the log it was written: unique, and greater than that of every earlier version.
        pub version: u64,
        pub size: u64,
        pub etag: ETag,
        pub last_modified: Timestamp,
        pub checksums: Checksums,
    }
}

wire_struct! {
    pub struct Object {
        pub summary: ObjectSummary,
        pub headers: Headers,
        pub tags: Tags,
        /// If the object was uploaded in parts: the upload, to ask for more pieces.
        pub upload: Option<UploadId>,
    }
}

wire_enum! {
    pub enum ListEntry {
        1 => Object { key: Bytes, object: ObjectSummary, },
        2 => Prefix { prefix: Bytes, },
    }
}

wire_struct! {
    pub struct Upload {
        pub id: UploadId,
        pub created: Timestamp,
        pub headers: Headers,
        pub tags: Tags,
        /// As the client declared it.
        pub checksum: Option<u8>,
    }
}

wire_enum! {
    pub enum UploadEntry {
        1 => Upload {
            key: Bytes,
            id: UploadId,
            created: Timestamp,
            headers: Headers,
            checksum: Option<u8>,
        },
        2 => Prefix { prefix: Bytes, },
    }
}

wire_struct! {
    pub struct Part {
        pub number: u16,
        pub size: u64,
        pub digest: [u8; 16],
        pub last_modified: Timestamp,
        pub checksums: Checksums,
    }
}

wire_struct! {
    pub struct NamedAccessKey {
        pub id: Bytes,
        pub access_key: AccessKey,
    }
}

wire_struct! {
    pub struct NamedBody {
        pub id: BodyId,
        pub body: ChunkedBody,
    }
}

wire_struct! {
    /// An owner lacks a chunk of the body.
    #[derive(Copy)]
    pub struct Debt {
        pub id: BodyId,
        /// Who does: bit `i` stands for replica `i`.
        pub missing: u8,
        /// So many disks held the rarest of its chunks when it was committed.
        pub copies_min: u8,
        pub chunk_count: u32,
    }
}

impl Debt {
    pub fn is_owed_by(&self, node: ReplicaId) -> bool {
        self.missing & bit(node) != 0
    }
}

/// How a replica is written in a set of replicas.
pub(super) fn bit(node: ReplicaId) -> u8 {
    1_u8.checked_shl(u32::from(node.get())).unwrap_or(0)
}

wire_struct! {
    /// A replica's present disk.
    #[derive(Copy)]
    pub struct Disk {
        pub node: ReplicaId,
        pub incarnation: Incarnation,
    }
}

wire_enum! {
    /// What may become of a chunk.
    #[derive(Copy)]
    pub enum Verdict {
        /// An object or a part needs it.
        1 => Referenced,
        /// Nothing needs it, but a read that began earlier may still be using it.
        2 => Retiring,
        /// Its upload may yet be committed.
        3 => Pending,
        /// Nothing needs it, ever again.
        4 => Dead,
    }
}
