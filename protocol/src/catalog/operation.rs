//! What changes the catalog. Everything that an operation needs is in it: time and names come from
//! its place in the log.

use bytes::Bytes;

use super::CatalogLimits;
use super::body::NewBody;
use super::metadata::{
    BUCKET_TAG_COUNT_MAX, Checksums, Conditions, ETag, Headers, OBJECT_TAG_COUNT_MAX, SourceConditions, Tags,
    check_checksums, check_headers, check_tags,
};
use super::names::{
    BodyId, BucketRef, KEY_BYTES_MAX, PART_NUMBER_MAX, UploadId, check_bucket_name, check_key,
};
use crate::types::{Incarnation, ReplicaId, Timestamp};
use crate::wire::{wire_enum, wire_struct};

pub const OWNER_BYTES_MAX: usize = 128;
pub const ACCESS_KEY_ID_BYTES_MAX: usize = 128;
pub const SECRET_BYTES_MAX: usize = 512;
pub const USER_NAME_BYTES_MAX: usize = 64;
pub const DISPLAY_NAME_BYTES_MAX: usize = 256;
pub const SCOPE_COUNT_MAX: usize = 64;
pub const DELETE_COUNT_MAX: usize = 1000;
pub const COLLECT_COUNT_MAX: usize = 1024;
pub const SETTLE_COUNT_MAX: usize = 1024;

wire_enum! {
    pub enum Operation {
        1 => CreateBucket { name: Bytes, owner: Bytes, tags: Tags, },
        2 => DeleteBucket { bucket: BucketRef, },
        /// No tags: the bucket has no tag set any more.
        3 => PutBucketTags { bucket: BucketRef, tags: Tags, },

        10 => PutObject {
            bucket: BucketRef,
            key: Bytes,
            conditions: Conditions,
            etag: ETag,
            headers: Headers,
            checksums: Checksums,
            tags: Tags,
            body: NewBody,
        },
        /// Copies by reference: no byte of the body moves, also when an object is copied onto itself.
        11 => CopyObject {
            source: BucketRef,
            source_key: Bytes,
            source_conditions: SourceConditions,
            bucket: BucketRef,
            key: Bytes,
            conditions: Conditions,
            /// None: the source's.
            headers: Option<Headers>,
            /// None: the source's.
            tags: Option<Tags>,
        },
        /// Each key is decided on its own. One operation must fit into a batch, so a long request
        /// becomes several operations.
        12 => DeleteObjects { bucket: BucketRef, deletes: Vec<Delete>, },
        13 => PutObjectTags { bucket: BucketRef, key: Bytes, tags: Tags, },

        20 => CreateUpload {
            bucket: BucketRef,
            key: Bytes,
            headers: Headers,
            tags: Tags,
            /// The kind of checksum that its parts shall have, as the edge numbers them. None: the
            /// client did not say.
            checksum: Option<u8>,
        },
        /// A part that is put again replaces the earlier one.
        21 => PutPart {
            bucket: BucketRef,
            key: Bytes,
            upload: UploadId,
            part: u16,
            digest: [u8; 16],
            checksums: Checksums,
            body: NewBody,
        },
        /// A part that refers to bytes of an existing object. They must lie in one piece of it:
        /// otherwise `Error::CopyNeedsData`, and the bytes have to be sent as a part.
        22 => CopyPart {
            bucket: BucketRef,
            key: Bytes,
            upload: UploadId,
            part: u16,
            source: BucketRef,
            source_key: Bytes,
            source_conditions: SourceConditions,
            /// None: the whole object.
            range: Option<ByteRange>,
            /// What the edge knows of the bytes. It has read them for that, and names in
            /// `source_conditions` what it has read.
            checksums: Checksums,
        },
        23 => CompleteUpload {
            bucket: BucketRef,
            key: Bytes,
            upload: UploadId,
            conditions: Conditions,
            parts: Vec<ListedPart>,
            /// The ETag that follows from `parts`. It names the outcome if the operation is repeated.
            etag: ETag,
            checksums: Checksums,
            /// What the client believes to be the object's size.
            size: Option<u64>,
        },
        24 => AbortUpload { bucket: BucketRef, key: Bytes, upload: UploadId, },

        30 => PutAccessKey { id: Bytes, access_key: AccessKey, },
        31 => DeleteAccessKey { id: Bytes, },

        /// Forgets what nobody can need: see `Query::Collectable`. Each one is checked again.
        40 => Collect { retired: Vec<BodyId>, condemned: Vec<UploadId>, },
        /// The node's disk holds every chunk of these bodies that the node owns.
        41 => Settle { node: ReplicaId, incarnation: Incarnation, bodies: Vec<BodyId>, },
        /// The node has walked, from an op at which its disk was the present one, over all bodies that
        /// are referenced, and its disk holds every chunk of them that the node owns.
        42 => Rebuilt { node: ReplicaId, incarnation: Incarnation, },
    }
}

wire_struct! {
    pub struct Delete {
        pub key: Bytes,
        pub conditions: Conditions,
    }
}

wire_struct! {
    #[derive(Copy)]
    pub struct ByteRange {
        pub offset: u64,
        pub length: u64,
    }
}

wire_struct! {
    /// What the client says part `number` is.
    #[derive(Copy)]
    pub struct ListedPart {
        pub number: u16,
        pub digest: [u8; 16],
    }
}

wire_struct! {
    pub struct AccessKey {
        /// Encrypted by the edge. The catalog cannot read it.
        pub secret: Bytes,
        /// Whose key it is. A user may have several.
        pub user: Bytes,
        /// The canonical id: whoever owns what this key makes.
        pub owner: Bytes,
        pub display_name: Bytes,
        /// As the edge numbers them.
        pub flags: u32,
        /// What the key may be used for. Empty: everything.
        pub scopes: Vec<AccessScope>,
        pub created: Timestamp,
    }
}

wire_struct! {
    /// The keys of a bucket that begin with a prefix.
    pub struct AccessScope {
        /// Of this name, whether or not there is one.
        pub bucket: Bytes,
        pub prefix: Bytes,
    }
}

impl AccessKey {
    fn check(&self) -> Result<(), &'static str> {
        check_length(&self.secret, SECRET_BYTES_MAX, "the secret is empty or too long")?;
        check_length(&self.user, USER_NAME_BYTES_MAX, "the user's name is empty or too long")?;
        check_length(&self.owner, OWNER_BYTES_MAX, "the owner is empty or too long")?;
        if self.display_name.len() > DISPLAY_NAME_BYTES_MAX {
            return Err("the display name is too long");
        }
        if self.scopes.len() > SCOPE_COUNT_MAX {
            return Err("too many scopes");
        }
        self.scopes.iter().try_for_each(|scope| {
            check_bucket_name(&scope.bucket)?;
            if scope.prefix.len() > KEY_BYTES_MAX {
                return Err("the prefix of a scope is longer than a key");
            }
            Ok(())
        })
    }
}

impl Operation {
    /// What an operation that stores bytes brings.
    pub fn new_body(&self) -> Option<&NewBody> {
        match self {
            Operation::PutObject { body, .. } | Operation::PutPart { body, .. } => Some(body),
            _ => None,
        }
    }

    /// Whether it takes space rather than give it back.
    ///
    /// `CompleteUpload` does not: the parts stay where they are, their upload's row goes, and what it
    /// adds is a row with a few bytes for each run of parts. Without it the space that an upload has
    /// taken already would be of no use to anybody. What upkeep proposes replaces rows by shorter ones
    /// or removes them.
    pub fn grows(&self) -> bool {
        match self {
            Operation::CreateBucket { .. }
            | Operation::PutBucketTags { .. }
            | Operation::PutObject { .. }
            | Operation::CopyObject { .. }
            | Operation::PutObjectTags { .. }
            | Operation::CreateUpload { .. }
            | Operation::PutPart { .. }
            | Operation::CopyPart { .. }
            | Operation::PutAccessKey { .. } => true,
            Operation::DeleteBucket { .. }
            | Operation::DeleteObjects { .. }
            | Operation::CompleteUpload { .. }
            | Operation::AbortUpload { .. }
            | Operation::DeleteAccessKey { .. }
            | Operation::Collect { .. }
            | Operation::Settle { .. }
            | Operation::Rebuilt { .. } => false,
        }
    }

    /// Everything that can be said of the operation without looking into the tables.
    pub fn check(&self, limits: &CatalogLimits) -> Result<(), &'static str> {
        match self {
            Operation::CreateBucket { name, owner, tags } => {
                check_bucket_name(name)?;
                check_length(owner, OWNER_BYTES_MAX, "the owner is empty or too long")?;
                check_tags(tags, BUCKET_TAG_COUNT_MAX)
            }
            Operation::DeleteBucket { .. } => Ok(()),
            Operation::PutBucketTags { tags, .. } => check_tags(tags, BUCKET_TAG_COUNT_MAX),
            Operation::PutObject { key, conditions, etag, headers, checksums, tags, body, .. } => {
                check_key(key)?;
                if etag.part_count != 0 {
                    return Err("an object that is put has no parts");
                }
                conditions.check()?;
                check_headers(headers)?;
                check_checksums(checksums)?;
                check_tags(tags, OBJECT_TAG_COUNT_MAX)?;
                body.check(limits.inline_bytes_max)
            }
            Operation::CopyObject {
                source_key, source_conditions, key, conditions, headers, tags, ..
            } => {
                check_key(source_key)?;
                source_conditions.check()?;
                check_key(key)?;
                conditions.check()?;
                headers.iter().try_for_each(|headers| check_headers(headers))?;
                tags.iter().try_for_each(|tags| check_tags(tags, OBJECT_TAG_COUNT_MAX))
            }
            Operation::DeleteObjects { deletes, .. } => {
                check_count(deletes.len(), DELETE_COUNT_MAX, "deletes no keys or too many")?;
                deletes.iter().try_for_each(|delete| {
                    check_key(&delete.key)?;
                    delete.conditions.check()
                })
            }
            Operation::PutObjectTags { key, tags, .. } => {
                check_key(key)?;
                check_tags(tags, OBJECT_TAG_COUNT_MAX)
            }
            Operation::PutAccessKey { id, access_key } => {
                check_length(id, ACCESS_KEY_ID_BYTES_MAX, "the access key's id is empty or too long")?;
                access_key.check()
            }
            Operation::DeleteAccessKey { id } => {
                check_length(id, ACCESS_KEY_ID_BYTES_MAX, "the access key's id is empty or too long")
            }
            Operation::Collect { retired, condemned } => check_count(
                retired.len() + condemned.len(),
                COLLECT_COUNT_MAX,
                "collects nothing or too much",
            ),
            Operation::Settle { bodies, .. } => {
                check_count(bodies.len(), SETTLE_COUNT_MAX, "settles nothing or too much")
            }
            Operation::Rebuilt { .. } => Ok(()),
            _ => self.check_multipart(limits),
        }
    }

    fn check_multipart(&self, limits: &CatalogLimits) -> Result<(), &'static str> {
        match self {
            Operation::CreateUpload { key, headers, tags, .. } => {
                check_key(key)?;
                check_headers(headers)?;
                check_tags(tags, OBJECT_TAG_COUNT_MAX)
            }
            Operation::PutPart { key, part, checksums, body, .. } => {
                check_key(key)?;
                check_part_number(*part)?;
                check_checksums(checksums)?;
                body.check(limits.inline_bytes_max)
            }
            Operation::CopyPart { key, part, source_key, source_conditions, range, checksums, .. } => {
                check_key(key)?;
                check_part_number(*part)?;
                check_checksums(checksums)?;
                check_key(source_key)?;
                source_conditions.check()?;
                let sound =
                    |range: &ByteRange| range.length > 0 && range.offset.checked_add(range.length).is_some();
                if range.as_ref().is_none_or(sound) { Ok(()) } else { Err("the range is empty or too long") }
            }
            Operation::CompleteUpload { key, conditions, parts, etag, checksums, .. } => {
                check_key(key)?;
                conditions.check()?;
                check_checksums(checksums)?;
                check_count(parts.len(), usize::from(PART_NUMBER_MAX), "lists no parts or too many")?;
                if usize::from(etag.part_count) != parts.len() {
                    return Err("the ETag counts other parts than are listed");
                }
                Ok(())
            }
            Operation::AbortUpload { key, .. } => check_key(key),
            _ => Ok(()),
        }
    }
}

fn check_length(bytes: &[u8], bytes_max: usize, why: &'static str) -> Result<(), &'static str> {
    if bytes.is_empty() || bytes.len() > bytes_max { Err(why) } else { Ok(()) }
}

fn check_count(count: usize, count_max: usize, why: &'static str) -> Result<(), &'static str> {
    if count == 0 || count > count_max { Err(why) } else { Ok(()) }
}

fn check_part_number(part: u16) -> Result<(), &'static str> {
    if part == 0 || part > PART_NUMBER_MAX { Err("a part's number lies between 1 and 10000") } else { Ok(()) }
}
