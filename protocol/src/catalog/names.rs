//! Names: of buckets, keys, uploads and bodies.

use bytes::Bytes;

use crate::types::{Op, SessionId};
use crate::wire::{wire_number, wire_struct};

/// The longest key of an object, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// The highest number of a part, and so the most parts of an upload.
pub const PART_NUMBER_MAX: u16 = 10_000;

/// A name that no other thing of the cluster ever has: where in the log it was made.
pub(super) fn unique(op: Op, index: usize) -> u64 {
    SessionId::from_register(op, index).get()
}

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            pub const fn new(value: u64) -> $name {
                $name(value)
            }

            pub const fn get(self) -> u64 {
                self.0
            }
        }

        wire_number!($name);
    };
}

id!(
    /// A bucket's name for ever: a bucket that is deleted and made again has another one, so nothing
    /// meant for the old one reaches the new one.
    BucketId
);

id!(
    /// A multipart upload, and afterwards the parts of the object that it became.
    UploadId
);

wire_struct! {
    /// Which bucket an operation means. With `id`, only that one and no later bucket of the same name:
    /// who checked permissions against a bucket says which bucket it was.
    pub struct BucketRef {
        pub name: Bytes,
        pub id: Option<BucketId>,
    }
}

impl BucketRef {
    pub fn named(name: impl Into<Bytes>) -> BucketRef {
        BucketRef { name: name.into(), id: None }
    }

    pub fn exact(name: impl Into<Bytes>, id: BucketId) -> BucketRef {
        BucketRef { name: name.into(), id: Some(id) }
    }
}

wire_struct! {
    /// The bytes that one session stored under one of its upload numbers. A commit may use the pair
    /// once; afterwards the body is shared by reference only.
    #[derive(Copy, PartialOrd, Ord, Hash)]
    pub struct BodyId {
        pub session: SessionId,
        pub upload: u64,
    }
}

wire_struct! {
    /// The name of a chunk follows from its body: no record lists chunks.
    #[derive(Copy, PartialOrd, Ord, Hash)]
    pub struct ChunkId {
        pub body: BodyId,
        pub index: u32,
    }
}

impl BodyId {
    pub const fn chunk(self, index: u32) -> ChunkId {
        ChunkId { body: self, index }
    }
}

/// S3's rules for new bucket names. Names also appear as host names, hence most of them.
pub fn check_bucket_name(name: &[u8]) -> Result<(), &'static str> {
    if name.len() < 3 || name.len() > 63 {
        return Err("a bucket name has 3 to 63 characters");
    }
    if !name.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')) {
        return Err("a bucket name holds lower-case letters, digits, hyphens and periods");
    }
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    if !alphanumeric(name.first()) || !alphanumeric(name.last()) {
        return Err("a bucket name begins and ends with a letter or a digit");
    }
    if name.windows(2).any(|pair| pair == b"..") {
        return Err("a bucket name has no two periods in a row");
    }
    if is_ip_address(name) {
        return Err("a bucket name is not an IP address");
    }
    if [&b"xn--"[..], b"sthree-", b"amzn-s3-demo-"].iter().any(|reserved| name.starts_with(reserved)) {
        return Err("a bucket name does not begin with a reserved prefix");
    }
    if [&b"-s3alias"[..], b"--ol-s3", b".mrap", b"--x-s3", b"--table-s3"]
        .iter()
        .any(|reserved| name.ends_with(reserved))
    {
        return Err("a bucket name does not end with a reserved suffix");
    }
    Ok(())
}

fn is_ip_address(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| name.parse::<std::net::Ipv4Addr>().is_ok())
        || (name.split(|byte| *byte == b'.').count() == 4
            && name.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'))
}

/// Keys are bytes. Nothing is normalised; only the length counts.
pub fn check_key(key: &[u8]) -> Result<(), &'static str> {
    if key.is_empty() {
        return Err("a key is not empty");
    }
    if key.len() > KEY_BYTES_MAX {
        return Err("a key has at most 1024 bytes");
    }
    Ok(())
}
