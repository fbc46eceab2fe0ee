//! The values of the catalog's rows.

use bytes::Bytes;

use super::body::ChunkedBody;
use super::metadata::{CHECKSUM_BYTES_MAX, CHECKSUM_COUNT_MAX, Checksums, Headers, Tags};
use super::names::{BodyId, BucketId, UploadId};
use super::reply::ObjectSummary;
use crate::codec::{DecodeError, Decoder};
use crate::types::{Incarnation, Op, Timestamp};
use crate::wire::{Wire, wire_enum, wire_struct};

wire_struct! {
    pub(super) struct BucketRow {
        pub(super) id: BucketId,
        pub(super) owner: Bytes,
        pub(super) created: Timestamp,
        pub(super) tags: Tags,
    }
}

wire_enum! {
    /// What stands under a version. A delete marker would be another kind.
    #[derive(Copy)]
    pub(super) enum VersionKind {
        1 => Object,
    }
}

wire_struct! {
    pub(super) struct ObjectRow {
        pub(super) kind: VersionKind,
        /// Stands first, so that a listing need not read the rest.
        pub(super) summary: ObjectSummary,
        pub(super) headers: Headers,
        pub(super) tags: Tags,
        pub(super) body: ObjectBody,
    }
}

/// No summary, with the kind before it, is longer.
const SUMMARY_BYTES_MAX: usize = 1 + ObjectSummary::SIZE_MIN + CHECKSUM_COUNT_MAX * (5 + CHECKSUM_BYTES_MAX);

impl ObjectRow {
    /// The summary in an encoded row. A page of a thousand small objects must not copy their bodies.
    pub(super) fn summary(row: &[u8]) -> Result<ObjectSummary, DecodeError> {
        let mut input = Decoder::copying(&row[..row.len().min(SUMMARY_BYTES_MAX)]);
        VersionKind::decode(&mut input, "ObjectRow.kind")?;
        ObjectSummary::decode(&mut input, "ObjectRow.summary")
    }
}

wire_enum! {
    /// Whose bytes an object has.
    pub(super) enum ObjectBody {
        /// Its own, here: a small object is one row, read and written at once. A copy of it has its
        /// own bytes too, which costs less than counting references to so few.
        1 => Inline { bytes: Bytes, },
        /// Those of a body, shared with every copy of the object.
        2 => Chunked { id: BodyId, },
        /// Those of an upload's parts, shared with every copy of the object.
        3 => Composed { upload: UploadId, },
    }
}

wire_struct! {
    /// An upload that is neither completed nor aborted.
    pub(super) struct UploadRow {
        pub(super) created: Timestamp,
        pub(super) headers: Headers,
        pub(super) tags: Tags,
        pub(super) checksum: Option<u8>,
    }
}

wire_struct! {
    /// Belongs to the upload first and to the object that was made of it afterwards, in the same
    /// place: completing an upload moves nothing.
    pub(super) struct PartRow {
        pub(super) size: u64,
        pub(super) digest: [u8; 16],
        pub(super) last_modified: Timestamp,
        pub(super) checksums: Checksums,
        pub(super) body: PartBody,
    }
}

impl PartRow {
    /// The size and the digest in an encoded row. Completing an upload looks at ten thousand parts and
    /// has no use for their bodies.
    pub(super) fn size_and_digest(row: &[u8]) -> Result<(u64, [u8; 16]), DecodeError> {
        let mut input = Decoder::copying(&row[..row.len().min(u64::SIZE_MIN + <[u8; 16]>::SIZE_MIN)]);
        Ok((u64::decode(&mut input, "PartRow.size")?, Wire::decode(&mut input, "PartRow.digest")?))
    }
}

wire_enum! {
    pub(super) enum PartBody {
        1 => Inline { bytes: Bytes, },
        /// `PartRow::size` bytes of the body from `offset`: all of it, unless the part was copied.
        2 => Slice { id: BodyId, offset: u64, },
    }
}

wire_struct! {
    /// A completed upload.
    pub(super) struct ManifestRow {
        /// How many objects consist of its parts.
        pub(super) references: u64,
    }
}

wire_struct! {
    /// A section of a completed upload's parts, in order.
    pub(super) struct LayoutRow {
        /// Where in the object the section begins.
        pub(super) start: u64,
        pub(super) runs: Vec<PartRun>,
    }
}

wire_struct! {
    /// Parts of equal length with consecutive numbers. Most uploads are two of these.
    #[derive(Copy)]
    pub(super) struct PartRun {
        pub(super) first: u16,
        pub(super) count: u16,
        pub(super) length: u64,
    }
}

impl PartRun {
    /// The number of the last part.
    pub(super) fn last(&self) -> u16 {
        self.first + (self.count - 1)
    }

    pub(super) fn size(&self) -> u64 {
        u64::from(self.count) * self.length
    }
}

wire_struct! {
    /// An upload whose parts nothing needs any more: aborted, or no object consists of them. They
    /// are taken apart bit by bit.
    pub(super) struct CondemnedRow {
        pub(super) since: Op,
    }
}

wire_struct! {
    /// A completed upload that has more parts than its layout names: the client uploaded them and did
    /// not list them. They are dropped bit by bit.
    pub(super) struct SurplusRow {
        /// Below this number only parts of the object are left.
        pub(super) next: u16,
    }
}

wire_struct! {
    /// A body of chunks that something refers to.
    pub(super) struct BodyRow {
        /// By objects and parts. Never zero: then the row is a `RetiredRow`.
        pub(super) references: u64,
        pub(super) body: ChunkedBody,
    }
}

wire_struct! {
    /// A body that was referenced and is not any more. The row is what keeps its upload number from
    /// being used again, so it stays until the number is fenced.
    pub(super) struct RetiredRow {
        /// When the last reference was dropped.
        pub(super) since: Op,
        pub(super) chunk_count: u64,
    }
}

wire_struct! {
    /// A referenced body of which an owner lacks a chunk.
    pub(super) struct DebtRow {
        /// A bit for each replica. Never zero: then there is no row.
        pub(super) missing: u8,
        /// So many disks held the rarest of its chunks when it was committed.
        pub(super) copies_min: u8,
        pub(super) chunk_count: u32,
    }
}

wire_struct! {
    /// The disk with which a node last had everything that it owns. No row: the first one, which
    /// owned nothing when it was new.
    pub(super) struct RebuiltRow {
        pub(super) incarnation: Incarnation,
    }
}
