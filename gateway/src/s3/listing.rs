//! What the listings of a bucket share: their parameters, a page, and the elements of a document.
//!
//! A page is one read of the catalog, and so true as of one moment. The catalog bounds how much that may
//! be: a page of long keys can be shorter than was asked for, and then says that there is more.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_encode};
use protocol::catalog::{Answer, KEY_BYTES_MAX, ListEntry, ListPosition, ObjectSummary, Query as Ask};

use super::owner::Owner;
use super::xml::Document;
use super::{ErrorCode, S3Error, S3Result, bucket};
use crate::body::Checksum;
use crate::cluster::{ClusterError, Link};
use crate::http::{Call, Query};

/// The most entries of one page. Who asks for more gets so many.
const LIMIT_MAX: u32 = 1000;

/// About what an entry takes in a document, with a key of 40 bytes.
const ENTRY_BYTES: usize = 420;

/// What is listed of a bucket, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) prefix: String,
    /// Empty: none.
    pub(crate) delimiter: String,
    /// Keys and common prefixes together.
    pub(crate) limit: u32,
    pub(crate) encoding: Encoding,
}

/// How names stand in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    /// For names that no XML document can hold.
    Url,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) entries: Vec<ListEntry>,
    /// Where to go on. None: there is nothing more.
    pub(crate) next: Option<ListPosition>,
}

impl Listing {
    /// `limit`: what the parameter is called here.
    pub(crate) fn parse(query: &Query, limit: &'static str) -> S3Result<Listing> {
        let text = |name| query.get(name).unwrap_or_default().to_owned();
        let listing = Listing {
            prefix: text("prefix"),
            delimiter: text("delimiter"),
            limit: query.number(limit, LIMIT_MAX)?.unwrap_or(LIMIT_MAX),
            encoding: Encoding::parse(query)?,
        };
        for name in [&listing.prefix, &listing.delimiter] {
            if name.len() > KEY_BYTES_MAX {
                return Err(S3Error::new(ErrorCode::KeyTooLong)
                    .detail("Size", name.len().to_string())
                    .detail("MaxSizeAllowed", KEY_BYTES_MAX.to_string()));
            }
        }
        Ok(listing)
    }

    /// Where a listing begins that is to go on after a key or a common prefix. A marker that is a common
    /// prefix itself was an entry of an earlier page: it stands for everything that begins with it.
    pub(crate) fn after(&self, marker: &str) -> ListPosition {
        let rest = marker.strip_prefix(&self.prefix).unwrap_or_default();
        let is_prefix = !self.delimiter.is_empty()
            && rest.find(&self.delimiter).is_some_and(|at| at + self.delimiter.len() == rest.len());
        match marker {
            "" => ListPosition::Start,
            _ if is_prefix => ListPosition::AfterPrefix { prefix: marker.to_owned().into() },
            _ => ListPosition::AfterKey { key: marker.to_owned().into() },
        }
    }

    pub(crate) async fn objects<L: Link>(&self, call: &Call<'_, L>, after: ListPosition) -> S3Result<Page> {
        let query = Ask::ListObjects {
            bucket: bucket::reference(call).await?,
            prefix: self.prefix.clone().into(),
            delimiter: self.delimiter.clone().into(),
            after,
            limit: self.limit,
        };
        match bucket::read(call, &query).await? {
            Answer::Objects { entries, next } => Ok(Page { entries, next }),
            _ => Err(ClusterError::Invalid("the answer is not a list of objects".into()).into()),
        }
    }

    /// An empty document with room for so many entries.
    pub(crate) fn document(root: &'static str, entry_count: usize) -> Document {
        Document::with_capacity(root, 1024 + entry_count * ENTRY_BYTES)
    }

    /// An element that holds a key or a part of one.
    pub(crate) fn name(&self, document: &mut Document, name: &'static str, value: impl AsRef<[u8]>) {
        document.element(name, self.encoding.of(value.as_ref()));
    }

    /// What every listing says of the request, but for where it began.
    pub(crate) fn write_request(&self, document: &mut Document, limit: &'static str) {
        document.element(limit, self.limit);
        // An empty one is none, and is not repeated.
        if !self.delimiter.is_empty() {
            self.name(document, "Delimiter", &self.delimiter);
        }
        if self.encoding == Encoding::Url {
            document.element("EncodingType", "url");
        }
    }

    pub(crate) fn write_common_prefix(&self, document: &mut Document, prefix: &[u8]) {
        document.group("CommonPrefixes", |group| self.name(group, "Prefix", prefix));
    }
}

impl Encoding {
    fn parse(query: &Query) -> S3Result<Encoding> {
        match query.get("encoding-type") {
            None | Some("") => Ok(Encoding::Plain),
            Some("url") => Ok(Encoding::Url),
            Some(other) => Err(S3Error::invalid_argument("Invalid Encoding Method specified in Request")
                .detail("ArgumentName", "encoding-type")
                .detail("ArgumentValue", other)),
        }
    }

    pub(crate) fn of(self, name: &[u8]) -> Encoded<'_> {
        match self {
            Encoding::Plain => Encoded::Plain(String::from_utf8_lossy(name)),
            Encoding::Url => Encoded::Url(percent_encode(name, ENCODED)),
        }
    }
}

/// All but the unreserved characters of RFC 3986, and slashes. Some clients decode a plus as a space and
/// others do not: `%20` and `%2B` are read alike by all.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A name as it stands in a document.
pub(crate) enum Encoded<'a> {
    Plain(Cow<'a, str>),
    Url(PercentEncode<'a>),
}

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Encoded::Plain(text) => f.write_str(text),
            Encoded::Url(encoded) => encoded.fmt(f),
        }
    }
}

impl Page {
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&[u8], &ObjectSummary)> {
        self.entries.iter().filter_map(|entry| match entry {
            ListEntry::Object { key, object } => Some((&key[..], object)),
            ListEntry::Prefix { .. } => None,
        })
    }

    pub(crate) fn prefixes(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter_map(|entry| match entry {
            ListEntry::Object { .. } => None,
            ListEntry::Prefix { prefix } => Some(&prefix[..]),
        })
    }

    /// The last entry, key or common prefix, if there are more after it.
    pub(crate) fn next_marker(&self) -> Option<&[u8]> {
        match self.entries.last().filter(|_| self.next.is_some())? {
            ListEntry::Object { key, .. } => Some(key),
            ListEntry::Prefix { prefix } => Some(prefix),
        }
    }
}

/// What listings say of an object, besides its name.
pub(crate) fn write_object(document: &mut Document, object: &ObjectSummary, owner: Option<&Owner>) {
    document.moment("LastModified", object.last_modified);
    document.element("ETag", format_args!("\"{}\"", object.etag));
    let checksums = || object.checksums.iter().filter_map(Checksum::from_catalog);
    for checksum in checksums() {
        document.element("ChecksumAlgorithm", checksum.algorithm.name());
    }
    // They are all of one type.
    if let Some(checksum) = checksums().next() {
        document.element("ChecksumType", checksum.checksum_type().name());
    }
    document.element("Size", object.size);
    if let Some(owner) = owner {
        owner.write(document, "Owner");
    }
    document.element("StorageClass", "STANDARD");
}

#[cfg(test)]
pub(crate) mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;
    use protocol::catalog::ETag;
    use protocol::types::Timestamp;

    use super::*;
    use crate::body::Algorithm;

    pub(crate) fn query(text: &str) -> Query {
        Query::parse(text).unwrap()
    }

    pub(crate) fn object(key: &'static str) -> ListEntry {
        let object = ObjectSummary {
            version: 1,
            size: 5,
            etag: ETag::simple([0xab; 16]),
            last_modified: Timestamp::new(1_767_323_045_678_901),
            checksums: vec![Checksum::full(Algorithm::Crc32, vec![0; 4]).to_catalog()],
        };
        ListEntry::Object { key: key.into(), object }
    }

    pub(crate) fn prefix(prefix: &'static str) -> ListEntry {
        ListEntry::Prefix { prefix: prefix.into() }
    }

    pub(crate) fn owner() -> Owner {
        Owner { id: "ab".into(), display_name: None }
    }

    /// What `write_object` makes of `object`.
    pub(crate) const OBJECT: &str = "<LastModified>2026-01-02T03:04:05.678Z</LastModified>\
        <ETag>&quot;abababababababababababababababab&quot;</ETag>\
        <ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>\
        <Size>5</Size><StorageClass>STANDARD</StorageClass>";

    pub(crate) const OBJECT_WITH_OWNER: &str = "<LastModified>2026-01-02T03:04:05.678Z</LastModified>\
        <ETag>&quot;abababababababababababababababab&quot;</ETag>\
        <ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>\
        <Size>5</Size><Owner><ID>ab</ID></Owner><StorageClass>STANDARD</StorageClass>";

    /// Whether a document is an element of this name that holds these pieces.
    #[track_caller]
    pub(crate) fn assert_document(document: Document, root: &str, pieces: &[&str]) {
        let expected = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <{root} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{}</{root}>",
            pieces.concat()
        );
        assert_eq!(document.finish(), expected);
    }

    #[test]
    fn parameters_have_their_defaults_and_bounds() {
        let listing = |text: &str| Listing::parse(&query(text), "max-keys");
        let default =
            Listing { prefix: "".into(), delimiter: "".into(), limit: 1000, encoding: Encoding::Plain };
        assert_eq!(listing(""), Ok(default.clone()));
        assert_eq!(listing("prefix=&delimiter=&max-keys=2000&encoding-type="), Ok(default));
        let all = Listing { prefix: "a b".into(), delimiter: "/".into(), limit: 0, encoding: Encoding::Url };
        assert_eq!(listing("prefix=a+b&delimiter=%2F&max-keys=0&encoding-type=url"), Ok(all));
        for text in ["max-keys=-1", "max-keys=a", "encoding-type=URL", "encoding-type=base64"] {
            assert_eq!(listing(text).unwrap_err().code, ErrorCode::InvalidArgument, "{text}");
        }
        for name in ["prefix", "delimiter"] {
            let long = format!("{name}={}", "a".repeat(1025));
            assert_eq!(listing(&long).unwrap_err().code, ErrorCode::KeyTooLong);
        }
    }

    #[test]
    fn a_marker_that_is_a_common_prefix_stands_for_all_that_begins_with_it() {
        for (prefix, delimiter, marker, skips) in [
            ("", "/", "a/", true),
            ("", "/", "a", false),
            ("", "/", "a/b", false),
            ("", "/", "a/b/", false),
            ("", "", "a/", false),
            ("a/", "/", "a/", false),
            ("a/", "/", "a/b/", true),
            ("b", "/", "a/", false),
            ("", "//", "a//", true),
            ("", "//", "a///", false),
        ] {
            let listing = Listing {
                prefix: prefix.into(),
                delimiter: delimiter.into(),
                limit: 1,
                encoding: Encoding::Plain,
            };
            let expected = match skips {
                true => ListPosition::AfterPrefix { prefix: marker.into() },
                false => ListPosition::AfterKey { key: marker.into() },
            };
            assert_eq!(listing.after(marker), expected, "{prefix} {delimiter} {marker}");
            assert_eq!(listing.after(""), ListPosition::Start);
        }
    }

    #[test]
    fn names_are_encoded_as_clients_decode_them() {
        for (name, encoded) in [
            ("", ""),
            ("a/B-1_2.3~4", "a/B-1_2.3~4"),
            ("a b", "a%20b"),
            ("a+b", "a%2Bb"),
            ("a%b", "a%25b"),
            ("\n\0", "%0A%00"),
            ("<&>\"'", "%3C%26%3E%22%27"),
            ("!*();:@=?#[],$", "%21%2A%28%29%3B%3A%40%3D%3F%23%5B%5D%2C%24"),
            ("ä日\u{ffff}", "%C3%A4%E6%97%A5%EF%BF%BF"),
        ] {
            assert_eq!(Encoding::Url.of(name.as_bytes()).to_string(), encoded);
            assert_eq!(Encoding::Plain.of(name.as_bytes()).to_string(), name);
        }
    }

    proptest! {
        #[test]
        fn every_name_is_decoded_as_it_was(name in any::<String>()) {
            let encoded = Encoding::Url.of(name.as_bytes()).to_string();
            prop_assert!(encoded.is_ascii());
            prop_assert!(!encoded.contains(['+', ' ', '<', '&']));
            prop_assert_eq!(percent_decode_str(&encoded).decode_utf8().unwrap(), name.as_str());
        }
    }

    #[test]
    fn a_marker_is_the_last_entry_if_there_are_more() {
        let next = || Some(ListPosition::Start);
        let page = |entries, next| Page { entries, next };
        assert_eq!(page(vec![object("a"), prefix("b/")], next()).next_marker(), Some(&b"b/"[..]));
        assert_eq!(page(vec![prefix("a/"), object("b")], next()).next_marker(), Some(&b"b"[..]));
        assert_eq!(page(vec![object("a")], None).next_marker(), None);
        assert_eq!(page(vec![], None).next_marker(), None);
    }
}
