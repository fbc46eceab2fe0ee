//! What is known of an object besides its bytes: ETag, headers, checksums, tags; and the conditions
//! that a request may tie to them.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;

use crate::types::Timestamp;
use crate::wire::{wire_enum, wire_struct};

/// All headers of an object together, names and values.
pub const HEADER_BYTES_MAX: usize = 8 << 10;
pub const HEADER_COUNT_MAX: usize = 256;
pub const CHECKSUM_COUNT_MAX: usize = 8;
pub const CHECKSUM_BYTES_MAX: usize = 64;
pub const OBJECT_TAG_COUNT_MAX: usize = 10;
pub const BUCKET_TAG_COUNT_MAX: usize = 50;
pub const TAG_KEY_CHARS_MAX: usize = 128;
pub const TAG_VALUE_CHARS_MAX: usize = 256;
pub const CONDITION_ETAGS_MAX: usize = 64;

wire_struct! {
    /// The 16 bytes that clients see as 32 hexadecimal digits, with `-N` after them if the object was
    /// uploaded in N parts. Fixed in size, so that the list of 10,000 parts fits into one operation.
    #[derive(Copy, PartialOrd, Ord, Hash)]
    pub struct ETag {
        pub digest: [u8; 16],
        /// Zero for an object that was put in one piece.
        pub part_count: u16,
    }
}

impl ETag {
    pub const fn simple(digest: [u8; 16]) -> ETag {
        ETag { digest, part_count: 0 }
    }

    /// Reads what a client sent, with or without quotes. None if no object of ours can have it.
    pub fn parse(text: &[u8]) -> Option<ETag> {
        let text = text.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(text);
        let (hex, part_count) = match text.iter().position(|byte| *byte == b'-') {
            Some(dash) => (&text[..dash], parse_part_count(&text[dash + 1..])?),
            None => (text, 0),
        };
        if hex.len() != 32 {
            return None;
        }
        let mut digest = [0; 16];
        for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(ETag { digest, part_count })
    }
}

fn parse_part_count(text: &[u8]) -> Option<u16> {
    if text.first() == Some(&b'0') || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Without the quotes.
impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // At once, because listings are full of them.
        let mut hex = [0; 32];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.digest) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 0xf)];
        }
        f.write_str(std::str::from_utf8(&hex).expect("hexadecimal digits are ASCII"))?;
        if self.part_count > 0 { write!(f, "-{}", self.part_count) } else { Ok(()) }
    }
}

wire_struct! {
    pub struct Header {
        pub name: Bytes,
        pub value: Bytes,
    }
}

/// What is stored with an object and given back with it: content type and the like, user metadata,
/// whatever the edge wants to keep. The catalog does not look inside. Sorted by name, names unique.
pub type Headers = Vec<Header>;

/// Headers from pairs in any order.
pub fn headers<N: Into<Bytes>, V: Into<Bytes>>(pairs: impl IntoIterator<Item = (N, V)>) -> Headers {
    let mut headers: Headers =
        pairs.into_iter().map(|(name, value)| Header { name: name.into(), value: value.into() }).collect();
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    headers
}

pub fn check_headers(headers: &[Header]) -> Result<(), &'static str> {
    if headers.len() > HEADER_COUNT_MAX {
        return Err("too many headers");
    }
    if headers.iter().map(|header| header.name.len() + header.value.len()).sum::<usize>() > HEADER_BYTES_MAX {
        return Err("the headers are too large");
    }
    if !headers.is_sorted_by(|a, b| a.name < b.name) {
        return Err("the headers are not sorted by name, or a name repeats");
    }
    Ok(())
}

wire_struct! {
    /// A checksum that the client chose. The edge computes and compares; the catalog keeps.
    pub struct ObjectChecksum {
        /// Algorithm and kind, as the edge numbers them.
        pub kind: u8,
        pub value: Bytes,
    }
}

pub type Checksums = Vec<ObjectChecksum>;

pub(super) fn check_checksums(checksums: &[ObjectChecksum]) -> Result<(), &'static str> {
    if checksums.len() > CHECKSUM_COUNT_MAX {
        return Err("too many checksums");
    }
    if checksums.iter().any(|checksum| checksum.value.len() > CHECKSUM_BYTES_MAX) {
        return Err("a checksum is too long");
    }
    Ok(())
}

wire_struct! {
    pub struct Tag {
        pub key: Bytes,
        pub value: Bytes,
    }
}

/// In the order in which the client gave them. Keys are unique.
pub type Tags = Vec<Tag>;

pub fn check_tags(tags: &[Tag], count_max: usize) -> Result<(), &'static str> {
    if tags.len() > count_max {
        return Err("too many tags");
    }
    for tag in tags {
        let (Ok(key), Ok(value)) = (std::str::from_utf8(&tag.key), std::str::from_utf8(&tag.value)) else {
            return Err("a tag is not UTF-8");
        };
        if key.is_empty() || key.chars().count() > TAG_KEY_CHARS_MAX {
            return Err("a tag's key has 1 to 128 characters");
        }
        if value.chars().count() > TAG_VALUE_CHARS_MAX {
            return Err("a tag's value has at most 256 characters");
        }
        if key.starts_with("aws:") {
            return Err("a tag's key does not begin with aws:");
        }
    }
    if tags.iter().map(|tag| &tag.key).collect::<BTreeSet<_>>().len() < tags.len() {
        return Err("a tag's key repeats");
    }
    Ok(())
}

wire_enum! {
    /// The value of an `If-Match` or `If-None-Match`. ETags that `ETag::parse` does not know match
    /// nothing and may be left out; a list may be empty and then matches nothing.
    pub enum ETagMatch {
        1 => Any,
        2 => OneOf { etags: Vec<ETag>, },
    }
}

impl ETagMatch {
    pub fn one(etag: ETag) -> ETagMatch {
        ETagMatch::OneOf { etags: vec![etag] }
    }

    pub fn matches(&self, etag: &ETag) -> bool {
        match self {
            ETagMatch::Any => true,
            ETagMatch::OneOf { etags } => etags.contains(etag),
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        match self {
            ETagMatch::OneOf { etags } if etags.len() > CONDITION_ETAGS_MAX => {
                Err("too many ETags in a condition")
            }
            _ => Ok(()),
        }
    }
}

wire_struct! {
    /// What must be true of the key before it is written. Decided where the write is decided.
    #[derive(Default)]
    pub struct Conditions {
        pub if_match: Option<ETagMatch>,
        pub if_none_match: Option<ETagMatch>,
    }
}

impl Conditions {
    pub fn none() -> Conditions {
        Conditions::default()
    }

    /// Write only if there is nothing yet.
    pub fn absent() -> Conditions {
        Conditions { if_none_match: Some(ETagMatch::Any), ..Conditions::default() }
    }

    /// Write only over this.
    pub fn matching(etag: ETag) -> Conditions {
        Conditions { if_match: Some(ETagMatch::one(etag)), ..Conditions::default() }
    }

    pub fn check(&self) -> Result<(), &'static str> {
        self.if_match.iter().chain(&self.if_none_match).try_for_each(ETagMatch::check)
    }
}

wire_struct! {
    /// What must be true of the source of a copy.
    #[derive(Default)]
    pub struct SourceConditions {
        pub if_match: Option<ETagMatch>,
        pub if_none_match: Option<ETagMatch>,
        pub if_modified_since: Option<Timestamp>,
        pub if_unmodified_since: Option<Timestamp>,
    }
}

impl SourceConditions {
    pub fn none() -> SourceConditions {
        SourceConditions::default()
    }

    pub fn check(&self) -> Result<(), &'static str> {
        self.if_match.iter().chain(&self.if_none_match).try_for_each(ETagMatch::check)
    }

    pub fn hold(&self, etag: &ETag, last_modified: Timestamp) -> bool {
        self.hold_as_unchanged(etag, last_modified) && self.hold_as_changed(etag, last_modified)
    }

    /// What the client knows is still so. An ETag is exact and a date is not: where both are given, the
    /// date is not looked at.
    pub fn hold_as_unchanged(&self, etag: &ETag, last_modified: Timestamp) -> bool {
        match (&self.if_match, self.if_unmodified_since) {
            (Some(wanted), _) => wanted.matches(etag),
            (None, Some(since)) => seconds(last_modified) <= seconds(since),
            (None, None) => true,
        }
    }

    /// What the client knows is so no more. Here, too, an ETag comes before a date.
    pub fn hold_as_changed(&self, etag: &ETag, last_modified: Timestamp) -> bool {
        match (&self.if_none_match, self.if_modified_since) {
            (Some(unwanted), _) => !unwanted.matches(etag),
            (None, Some(since)) => seconds(last_modified) > seconds(since),
            (None, None) => true,
        }
    }
}

/// HTTP dates have seconds, ours microseconds: what happened within the second is not later.
fn seconds(time: Timestamp) -> u64 {
    time.get() / 1_000_000
}
