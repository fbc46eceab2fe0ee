//! The headers that are kept with an object and come back with it.
//!
//! The catalog holds them under their names in lower case, `content-type` or `x-amz-meta-color`, with the
//! bytes that the client sent: nothing is decoded, and nothing need be UTF-8. A name that begins with a colon
//! is no header: a note of ours, which never leaves.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::catalog::{self, HEADER_BYTES_MAX, HEADER_COUNT_MAX, Header};

use crate::http::Head;
use crate::s3::{ErrorCode, S3Error, S3Result};

/// What begins like this is the user's.
const META_PREFIX: &str = "x-amz-meta-";

/// All user metadata of an object together: names, without their prefix, and values.
const USER_METADATA_BYTES_MAX: usize = 2 << 10;

/// What an object is that came without a type.
const DEFAULT_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("binary/octet-stream");

const STORAGE_CLASS: HeaderName = HeaderName::from_static("x-amz-storage-class");

/// Those that a client may name. All are served as the first.
const STORAGE_CLASSES: &[&str] = &[
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "GLACIER_IR",
    "DEEP_ARCHIVE",
    "EXPRESS_ONEZONE",
    "OUTPOSTS",
    "SNOW",
];

/// The headers, besides the user's, that S3 keeps.
fn is_kept(name: &HeaderName) -> bool {
    [CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES]
        .contains(name)
}

/// What of a request's headers is to be kept with the object that it writes.
pub(crate) fn stored(head: &Head) -> S3Result<catalog::Headers> {
    check_storage_class(head)?;
    let mut pairs = Vec::new();
    let mut user_bytes = 0;
    for name in head.headers.keys() {
        let user_name = name.as_str().strip_prefix(META_PREFIX);
        if user_name.is_none() && !is_kept(name) {
            continue;
        }
        let value = match *name {
            CONTENT_ENCODING => without_aws_chunked(joined(&head.headers, name)),
            _ => joined(&head.headers, name),
        };
        match user_name {
            Some(user_name) => user_bytes += user_name.len() + value.len(),
            // Said without a word in it: not said.
            None if value.is_empty() => continue,
            None => {}
        }
        pairs.push((Bytes::copy_from_slice(name.as_str().as_bytes()), value));
    }
    if user_bytes > USER_METADATA_BYTES_MAX {
        return Err(too_large(user_bytes, USER_METADATA_BYTES_MAX));
    }
    let bytes = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX {
        return Err(too_large(bytes, HEADER_BYTES_MAX));
    }
    if pairs.len() > HEADER_COUNT_MAX {
        return Err(S3Error::with(ErrorCode::MetadataTooLarge, "there are too many metadata headers"));
    }
    Ok(catalog::headers(pairs))
}

fn too_large(size: usize, most: usize) -> S3Error {
    let error = S3Error::new(ErrorCode::MetadataTooLarge);
    error.detail("Size", size.to_string()).detail("MaxSizeAllowed", most.to_string())
}

/// A header that came in several lines means what it means in one, with commas.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Bytes {
    let mut lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let mut value = lines.next().unwrap_or_default().to_vec();
    for line in lines {
        value.push(b',');
        value.extend_from_slice(line);
    }
    value.into()
}

/// `aws-chunked` says how the body travels, and nothing of the object. Clients put it before or after
/// the encodings that are the object's own.
fn without_aws_chunked(value: Bytes) -> Bytes {
    let is_chunked = |token: &&[u8]| token.eq_ignore_ascii_case(b"aws-chunked");
    let tokens = || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    if !tokens().any(|token| is_chunked(&token)) {
        return value;
    }
    let kept: Vec<_> = tokens().filter(|token| !token.is_empty() && !is_chunked(token)).collect();
    kept.join(&b","[..]).into()
}

/// There is one storage class. A client that wants another one gets what is at least as good, and is told
/// so: the answers do not repeat the class. One that is misspelled is refused.
pub(crate) fn check_storage_class(head: &Head) -> S3Result<()> {
    match head.headers.get(STORAGE_CLASS) {
        Some(class) if !STORAGE_CLASSES.iter().any(|known| class == known) => {
            Err(ErrorCode::InvalidStorageClass.into())
        }
        _ => Ok(()),
    }
}

/// Puts what was kept with an object into an answer. What begins with a colon is no header, and stays.
pub(crate) fn write(stored: &catalog::Headers, headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, DEFAULT_CONTENT_TYPE);
    for Header { name, value } in stored {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value.clone()))
        {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use http::Request;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    /// A request with these headers.
    pub(crate) fn head(headers: &[(&str, &[u8])]) -> Head {
        head_of("/b/k", headers)
    }

    pub(crate) fn head_of(uri: &str, headers: &[(&str, &[u8])]) -> Head {
        let mut request = Request::builder().uri(uri).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
        }
        Head::parse(&request.body(()).unwrap().into_parts().0, &[]).unwrap()
    }

    fn pairs(headers: &[Header]) -> Vec<(&str, &[u8])> {
        headers.iter().map(|header| (std::str::from_utf8(&header.name).unwrap(), &header.value[..])).collect()
    }

    #[test]
    fn what_is_said_of_the_object_is_kept_and_nothing_else() {
        let head = head(&[
            ("X-Amz-Meta-Color", b"r\xf6t"),
            ("x-amz-meta-empty", b""),
            ("x-amz-meta-a", b"1"),
            ("x-amz-meta-a", b"2"),
            ("Content-Type", b"text/plain"),
            ("Cache-Control", b""),
            ("Expires", b"tomorrow"),
            ("Content-Encoding", b"aws-chunked, gzip"),
            ("Content-MD5", b"x"),
            ("Content-Length", b"3"),
            ("x-amz-storage-class", b"STANDARD_IA"),
            ("x-amz-date", b"x"),
        ]);
        let stored = stored(&head).unwrap();
        let expected: [(&str, &[u8]); 6] = [
            ("content-encoding", b"gzip"),
            ("content-type", b"text/plain"),
            ("expires", b"tomorrow"),
            ("x-amz-meta-a", b"1,2"),
            ("x-amz-meta-color", b"r\xf6t"),
            ("x-amz-meta-empty", b""),
        ];
        assert_eq!(pairs(&stored), expected);
        assert_eq!(catalog::check_headers(&stored), Ok(()));
    }

    #[test]
    fn the_encoding_of_the_transfer_is_not_the_objects() {
        for (value, kept) in [
            ("aws-chunked", None),
            ("gzip,aws-chunked", Some("gzip")),
            ("aws-chunked, gzip", Some("gzip")),
            ("gzip, AWS-Chunked ,br", Some("gzip,br")),
            ("gzip, br", Some("gzip, br")),
            ("", None),
        ] {
            let stored = stored(&head(&[("content-encoding", value.as_bytes())])).unwrap();
            let found = pairs(&stored).first().map(|(_, value)| *value);
            assert_eq!(found, kept.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn metadata_has_its_bounds() {
        let code = |headers: &[(&str, &[u8])]| stored(&head(headers)).map_err(|error| error.code).err();
        assert_eq!(code(&[("x-amz-meta-k", &[b'v'; 2047])]), None);
        assert_eq!(code(&[("x-amz-meta-k", &[b'v'; 2048])]), Some(ErrorCode::MetadataTooLarge));
        assert_eq!(code(&[("cache-control", &[b'v'; 8179])]), None);
        assert_eq!(code(&[("cache-control", &[b'v'; 8180])]), Some(ErrorCode::MetadataTooLarge));
        let names: Vec<_> = (0..257).map(|n| format!("x-amz-meta-{n}")).collect();
        let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
        assert_eq!(code(&many), Some(ErrorCode::MetadataTooLarge));
        assert_eq!(code(&many[..256]), None);
    }

    #[test]
    fn a_storage_class_that_does_not_exist_is_refused() {
        let check = |class: &[u8]| check_storage_class(&head(&[("x-amz-storage-class", class)]));
        assert_eq!(check(b"STANDARD"), Ok(()));
        assert_eq!(check(b"GLACIER"), Ok(()));
        assert_eq!(check(b"standard"), Err(ErrorCode::InvalidStorageClass.into()));
        assert_eq!(check(b""), Err(ErrorCode::InvalidStorageClass.into()));
    }

    #[test]
    fn an_object_without_a_type_is_bytes() {
        let mut headers = HeaderMap::new();
        write(&Vec::new(), &mut headers);
        assert_eq!(headers.get("content-type").unwrap(), "binary/octet-stream");
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn notes_of_ours_do_not_leave() {
        let mut headers = HeaderMap::new();
        write(&catalog::headers([(":note", "1"), ("expires", "0")]), &mut headers);
        assert_eq!(headers.len(), 2);
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        let byte = any::<u8>().prop_filter("headers have no controls", |byte| *byte >= 32 && *byte != 127);
        vec(byte, 0..40)
    }

    proptest! {
        #[test]
        fn metadata_comes_back_as_it_was(
            metadata in btree_map("[a-z0-9!#$%&'*+.^_`|~-]{0,20}", value(), 0..20),
        ) {
            let named: Vec<_> =
                metadata.iter().map(|(name, value)| (format!("{META_PREFIX}{name}"), value)).collect();
            let sent: Vec<_> = named.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
            let stored = stored(&head(&sent)).unwrap();
            prop_assert_eq!(catalog::check_headers(&stored), Ok(()));
            let mut headers = HeaderMap::new();
            write(&stored, &mut headers);
            prop_assert_eq!(headers.len(), sent.len() + 1);
            for (name, value) in sent {
                prop_assert_eq!(headers.get(name).unwrap().as_bytes(), value);
            }
        }
    }
}
