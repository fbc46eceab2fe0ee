//! Whatever a client may send, past every parser that reads it before its signature is known to be good.
//! For fuzzing and for the tests: no bytes may make any of them panic or take memory without bound.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};

use crate::auth::SignedRequest;
use crate::http::Head;
use crate::s3::copy_source::CopySource;
use crate::s3::range::ByteRange;
use crate::s3::tags;
use crate::s3::xml::Element;

/// Documents that clients send begin with one of these.
const ROOTS: [&str; 4] = ["CompleteMultipartUpload", "CreateBucketConfiguration", "Delete", "Tagging"];

/// A request as text: method and path, then headers, an empty line, and the body.
pub fn request(bytes: &[u8]) {
    let (head, body) = split(bytes, b"\n\n").unwrap_or((bytes, b""));
    let mut lines = head.split(|byte| *byte == b'\n');
    if let Some(request) = lines.next().and_then(|line| build(line, lines)) {
        read_head(request);
    }
    for root in ROOTS {
        if let Ok(element) = Element::parse(body, root) {
            let _ = tags::parse_set(&element, 50);
        }
    }
    let _ = tags::parse_document(body, 10);
    crate::body::decode_chunks(Bytes::copy_from_slice(body));
}

fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}

/// None: no HTTP library would hand this to us.
fn build<'a>(first: &[u8], lines: impl Iterator<Item = &'a [u8]>) -> Option<http::request::Parts> {
    let (method, uri) = split(first, b" ")?;
    let method = Method::from_bytes(method).ok()?;
    let mut request = http::Request::builder().method(method).uri(uri).body(()).ok()?;
    for line in lines {
        let (name, value) = split(line, b":")?;
        let value = HeaderValue::from_bytes(value.trim_ascii()).ok()?;
        request.headers_mut().append(HeaderName::from_bytes(name).ok()?, value);
    }
    Some(request.into_parts().0)
}

fn read_head(parts: http::request::Parts) {
    for value in parts.headers.values() {
        if let Some(range) = ByteRange::parse(value.as_bytes()) {
            let _ = range.start();
            let _ = range.of(1 << 20);
        }
        if let Ok(text) = value.to_str() {
            let _ = tags::parse_header(text, 10);
        }
    }
    let Ok(head) = Head::parse(&parts, &["s3.example.com".into()]) else { return };
    crate::http::name_operation(&head);
    let _ = head.bucket();
    let _ = CopySource::parse(&head);
    crate::auth::read_claim(&SignedRequest {
        method: &head.method,
        raw_path: &head.raw_path,
        raw_query: &head.raw_query,
        headers: &parts.headers,
        host: &head.host,
        host_bucket: head.host_bucket.as_deref(),
    });
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    /// The requests that the fuzzer begins with.
    fn corpus() -> Vec<Vec<u8>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/gateway");
        let mut files: Vec<_> = std::fs::read_dir(directory)
            .expect("a corpus")
            .map(|entry| entry.expect("a file").path())
            .collect();
        files.sort();
        files.iter().map(|file| std::fs::read(file).expect("a file")).collect()
    }

    #[test]
    fn the_corpus_is_read_and_most_of_it_understood() {
        let corpus = corpus();
        assert!(corpus.len() >= 8);
        for bytes in corpus {
            let (head, _) = split(&bytes, b"\n\n").expect("a head and a body");
            let mut lines = head.split(|byte| *byte == b'\n');
            assert!(lines.next().and_then(|first| build(first, lines)).is_some());
            request(&bytes);
        }
    }

    proptest! {
        /// One of them with a stretch replaced by anything: most of what follows still makes sense, so it
        /// gets far.
        #[test]
        fn no_damage_to_a_request_makes_a_parser_panic(
            which in any::<Index>(),
            at in any::<Index>(),
            length in 0_usize..12,
            bytes in vec(any::<u8>(), 0..12),
        ) {
            let corpus = corpus();
            let mut damaged = which.get(&corpus).clone();
            let start = at.index(damaged.len());
            let end = damaged.len().min(start + length);
            damaged.splice(start..end, bytes);
            request(&damaged);
        }

        #[test]
        fn no_bytes_make_a_parser_panic(bytes in vec(any::<u8>(), 0..300)) {
            request(&bytes);
        }
    }
}
