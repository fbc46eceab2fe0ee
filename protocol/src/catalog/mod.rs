//! Buckets, objects, uploads: S3 as a deterministic state machine.

mod wire;

mod body;
mod error;
mod limits;
mod metadata;
mod names;

mod operation;
mod query;
mod reply;

#[cfg(test)]
mod tests;

pub use body::{
    CHUNK_BYTES_MAX, ChunkedBody, EXTENT_COUNT_MAX, Encoding, Extent, NewBody, Piece, PieceSource,
};
pub use error::Error;
pub use limits::CatalogLimits;
pub use metadata::{
    BUCKET_TAG_COUNT_MAX, CHECKSUM_BYTES_MAX, CHECKSUM_COUNT_MAX, CONDITION_ETAGS_MAX, Checksums, Conditions,
    ETag, ETagMatch, HEADER_BYTES_MAX, HEADER_COUNT_MAX, Header, Headers, OBJECT_TAG_COUNT_MAX,
    ObjectChecksum, SourceConditions, TAG_KEY_CHARS_MAX, TAG_VALUE_CHARS_MAX, Tag, Tags, check_headers,
    check_tags, headers,
};
pub use names::{
    BodyId, BucketId, BucketRef, ChunkId, KEY_BYTES_MAX, PART_NUMBER_MAX, UploadId, check_bucket_name,
    check_key,
};
pub use operation::{
    ACCESS_KEY_ID_BYTES_MAX, AccessKey, ByteRange, COLLECT_COUNT_MAX, DELETE_COUNT_MAX,
    DISPLAY_NAME_BYTES_MAX, Delete, ListedPart, OWNER_BYTES_MAX, Operation, SECRET_BYTES_MAX,
};
pub use query::{ListPosition, PieceSelection, PieceStart, Query, VERDICT_COUNT_MAX};
pub use reply::{
    Answer, Bucket, ListEntry, NamedAccessKey, NamedBody, Object, ObjectSummary, Part, QueryReply, Reply,
    Success, Upload, UploadEntry, Verdict,
};
pub use wire::Wire;
