//! What GetObject and HeadObject have in common: what of an object is asked for, under which conditions,
//! and the headers of the answer.

use std::ops::Range;

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, IF_RANGE, LAST_MODIFIED, RANGE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use protocol::catalog::{ETag, Object, Part, PieceStart, SourceConditions};
use protocol::types::Timestamp;

use crate::body::Checksum;
use crate::http::{Head, response};
use crate::s3::range::{ByteRange, content_range};
use crate::s3::{ErrorCode, S3Error, S3Result, conditions, headers, multipart, unsupported, version};

const CHECKSUM_MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");
const CHECKSUM_TYPE: HeaderName = HeaderName::from_static("x-amz-checksum-type");
const TAGGING_COUNT: HeaderName = HeaderName::from_static("x-amz-tagging-count");
const PARTS_COUNT: HeaderName = HeaderName::from_static("x-amz-mp-parts-count");

/// The query parameters that say what a header of the answer shall be.
const OVERRIDES: [(&str, HeaderName); 6] = [
    ("response-cache-control", CACHE_CONTROL),
    ("response-content-disposition", CONTENT_DISPOSITION),
    ("response-content-encoding", CONTENT_ENCODING),
    ("response-content-language", CONTENT_LANGUAGE),
    ("response-content-type", CONTENT_TYPE),
    ("response-expires", EXPIRES),
];

/// A request that reads an object, or would.
#[derive(Clone, Debug)]
pub(crate) struct ReadRequest {
    pub(crate) wanted: Wanted,
    conditions: SourceConditions,
    if_range: Option<IfRange>,
    overrides: Vec<(HeaderName, HeaderValue)>,
    with_checksums: bool,
}

/// What of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Whole,
    Range(ByteRange),
    Part(u16),
}

/// A range is only wanted of the object that the client has begun to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IfRange {
    ETag(ETag),
    Date(Timestamp),
    /// No object of ours is meant.
    Never,
}

impl ReadRequest {
    pub(crate) fn parse(head: &Head) -> S3Result<ReadRequest> {
        unsupported::check(head)?;
        version::check_query(head)?;
        let if_range = head.headers.get(IF_RANGE).map(|value| IfRange::parse(value.as_bytes()));
        let mode = head.headers.get(CHECKSUM_MODE);
        Ok(ReadRequest {
            wanted: Wanted::parse(head)?,
            conditions: conditions::for_read(head)?,
            if_range,
            overrides: overrides(head)?,
            with_checksums: mode.is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"ENABLED")),
        })
    }

    /// Whether the object may be read, and whether this is the one of which a range is wanted: if not,
    /// all of it is. True if that is so.
    pub(crate) fn check(&mut self, object: &Object) -> S3Result<bool> {
        conditions::check_read(&self.conditions, &object.summary)
            .map_err(|error| with_caching_headers(error, object))?;
        let other = self.if_range.is_some_and(|if_range| !if_range.holds(object));
        let drops = other && matches!(self.wanted, Wanted::Range(_));
        if drops {
            self.wanted = Wanted::Whole;
        }
        Ok(drops)
    }

    /// The bytes that are wanted. `part`: where the part is that was asked for.
    pub(crate) fn range(&self, object: &Object, part: Option<Range<u64>>) -> S3Result<Range<u64>> {
        let size = object.summary.size;
        match self.wanted {
            Wanted::Whole => Ok(0..size),
            Wanted::Range(range) => range.of(size),
            // Nothing but an empty object has no piece.
            Wanted::Part(_) => Ok(part.unwrap_or(0..size)),
        }
    }

    /// The part that is wanted with its own checksums: those of the object do not fit its bytes.
    pub(crate) fn part_with_checksums(&self) -> Option<u16> {
        match self.wanted {
            Wanted::Part(number) if self.with_checksums => Some(number),
            _ => None,
        }
    }

    /// The status and the headers of an answer that holds this range of the object.
    pub(crate) fn describe(&self, object: &Object, range: &Range<u64>, answer: &mut response::Response) {
        let Object { summary, headers, tags, .. } = object;
        let answer_headers = answer.headers_mut();
        headers::write(headers, answer_headers);
        answer_headers.insert(ETAG, response::etag(&summary.etag));
        answer_headers.insert(LAST_MODIFIED, response::http_date(summary.last_modified));
        answer_headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        answer_headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
        if !tags.is_empty() {
            answer_headers.insert(TAGGING_COUNT, HeaderValue::from(tags.len()));
        }
        if matches!(self.wanted, Wanted::Part(_)) && summary.etag.part_count > 0 {
            answer_headers.insert(PARTS_COUNT, HeaderValue::from(summary.etag.part_count));
        }
        let is_whole = *range == (0..summary.size);
        // Clients compare it with the bytes that come.
        if self.with_checksums && is_whole {
            write_checksums(object, answer_headers);
        }
        for (name, value) in &self.overrides {
            answer_headers.insert(name, value.clone());
        }
        if self.wanted != Wanted::Whole && !range.is_empty() {
            answer_headers.insert(CONTENT_RANGE, content_range(range, summary.size));
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
    }
}

/// The checksums of a whole object.
pub(crate) fn write_checksums(object: &Object, headers: &mut HeaderMap) {
    for checksum in object.summary.checksums.iter().filter_map(Checksum::from_catalog) {
        let value = HeaderValue::try_from(checksum.to_string()).expect("base64 and digits");
        headers.insert(checksum.algorithm.header(), value);
        headers.insert(CHECKSUM_TYPE, HeaderValue::from_static(checksum.checksum_type().name()));
    }
}

/// Those of a part of it, by the algorithms of the object. The type is that of the object's.
pub(crate) fn write_part_checksums(object: &Object, part: &Part, headers: &mut HeaderMap) {
    for whole in object.summary.checksums.iter().filter_map(Checksum::from_catalog) {
        let of_part = part.checksums.iter().filter_map(Checksum::from_catalog);
        let name = whole.algorithm.header();
        match of_part.into_iter().find(|checksum| checksum.algorithm == whole.algorithm) {
            Some(checksum) => {
                let value = HeaderValue::try_from(checksum.to_string()).expect("base64 and digits");
                headers.insert(name, value);
                headers.insert(CHECKSUM_TYPE, HeaderValue::from_static(whole.checksum_type().name()));
            }
            None => drop(headers.remove(name)),
        }
    }
}

/// A client that has the object already is told for how long it may keep it.
fn with_caching_headers(error: S3Error, object: &Object) -> S3Error {
    if error.code != ErrorCode::NotModified {
        return error;
    }
    let mut stored = HeaderMap::new();
    headers::write(&object.headers, &mut stored);
    [CACHE_CONTROL, EXPIRES, VARY].into_iter().fold(error, |error, name| match stored.remove(&name) {
        Some(value) => error.header(name, value),
        None => error,
    })
}

impl Wanted {
    fn parse(head: &Head) -> S3Result<Wanted> {
        let range = head.headers.get(RANGE);
        if let Some(number) = head.query.get("partNumber") {
            if range.is_some() {
                return Err(S3Error::invalid_request(
                    "Cannot specify both Range header and partNumber query parameter",
                ));
            }
            return part_number(number).map(Wanted::Part);
        }
        Ok(range.and_then(|range| ByteRange::parse(range.as_bytes())).map_or(Wanted::Whole, Wanted::Range))
    }

    /// Where its first byte is.
    pub(crate) fn start(self) -> PieceStart {
        match self {
            Wanted::Whole => PieceStart::Offset { offset: 0 },
            Wanted::Range(range) => range.start(),
            Wanted::Part(number) => PieceStart::Part { number },
        }
    }
}

fn part_number(text: &str) -> S3Result<u16> {
    multipart::parse_part_number(text).ok_or_else(|| {
        S3Error::invalid_argument("Part number must be an integer between 1 and 10000, inclusive")
            .detail("ArgumentName", "partNumber")
            .detail("ArgumentValue", text)
    })
}

impl IfRange {
    /// A weak ETag does not say that the bytes are the same.
    fn parse(value: &[u8]) -> IfRange {
        let etag = ETag::parse(value.trim_ascii()).map(IfRange::ETag);
        etag.or_else(|| conditions::parse_date(value).map(IfRange::Date)).unwrap_or(IfRange::Never)
    }

    fn holds(self, object: &Object) -> bool {
        let seconds = |time: Timestamp| time.get() / 1_000_000;
        match self {
            IfRange::ETag(etag) => etag == object.summary.etag,
            IfRange::Date(date) => seconds(date) == seconds(object.summary.last_modified),
            IfRange::Never => false,
        }
    }
}

fn overrides(head: &Head) -> S3Result<Vec<(HeaderName, HeaderValue)>> {
    let given =
        OVERRIDES.iter().filter_map(|(parameter, name)| Some((parameter, name, head.query.get(parameter)?)));
    let parse = |(parameter, name, value): (&&str, &HeaderName, &str)| match HeaderValue::from_bytes(
        value.as_bytes(),
    ) {
        Ok(value) => Ok((name.clone(), value)),
        Err(_) => Err(S3Error::invalid_argument(format!("{parameter} is no value of a header"))
            .detail("ArgumentName", *parameter)
            .detail("ArgumentValue", value)),
    };
    given.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use protocol::catalog::{ObjectSummary, Tag, UploadId};

    use super::*;
    use crate::body::Algorithm;
    use crate::s3::headers::tests::head_of;

    const ETAG_TEXT: &str = "0123456789abcdef0123456789abcdef";

    /// Two hundred bytes, a checksum, a tag.
    fn object(etag: &str) -> Object {
        let checksum = Checksum::full(Algorithm::Crc32, vec![0, 0, 0, 1]);
        Object {
            summary: ObjectSummary {
                version: 1,
                size: 200,
                etag: ETag::parse(etag.as_bytes()).unwrap(),
                last_modified: Timestamp::new(784_111_777_900_000),
                checksums: vec![checksum.to_catalog()],
            },
            headers: protocol::catalog::headers([
                ("content-type", "text/plain"),
                ("cache-control", "no-store"),
            ]),
            tags: vec![Tag { key: "a".into(), value: "b".into() }],
            upload: Some(UploadId::new(1)),
        }
    }

    fn request(query: &str, headers: &[(&str, &str)]) -> S3Result<ReadRequest> {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        ReadRequest::parse(&head_of(&format!("/b/k?{query}"), &headers))
    }

    /// The status, and the headers.
    fn answer(query: &str, headers: &[(&str, &str)], part: Option<Range<u64>>) -> (u16, HeaderMap) {
        let object = object(&format!("{ETAG_TEXT}-3"));
        let mut request = request(query, headers).unwrap();
        request.check(&object).unwrap();
        let range = request.range(&object, part).unwrap();
        let mut answer = response::empty(StatusCode::OK);
        request.describe(&object, &range, &mut answer);
        (answer.status().as_u16(), answer.headers().clone())
    }

    fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn an_answer_says_what_is_known_of_the_object() {
        let (status, headers) =
            answer("x-id=GetObject&versionId=null", &[("x-amz-checksum-mode", "ENABLED")], None);
        assert_eq!(status, 200);
        for (name, value) in [
            ("content-type", Some("text/plain")),
            ("cache-control", Some("no-store")),
            ("content-length", Some("200")),
            ("etag", Some("\"0123456789abcdef0123456789abcdef-3\"")),
            ("last-modified", Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            ("accept-ranges", Some("bytes")),
            ("x-amz-tagging-count", Some("1")),
            ("x-amz-checksum-crc32", Some("AAAAAQ==")),
            ("x-amz-checksum-type", Some("FULL_OBJECT")),
            ("x-amz-mp-parts-count", None),
            ("content-range", None),
        ] {
            assert_eq!(text(&headers, name), value, "{name}");
        }
        let (_, headers) = answer("", &[], None);
        assert!(!headers.contains_key("x-amz-checksum-crc32"), "nobody asked for it");
    }

    #[test]
    fn a_checksum_is_not_given_with_a_part_of_its_bytes() {
        let enabled = ("x-amz-checksum-mode", "ENABLED");
        let (status, headers) = answer("", &[enabled, ("range", "bytes=10-19")], None);
        assert_eq!(status, 206);
        assert_eq!(text(&headers, "content-range"), Some("bytes 10-19/200"));
        assert_eq!(text(&headers, "content-length"), Some("10"));
        assert!(!headers.contains_key("x-amz-checksum-crc32"));

        let (status, headers) = answer("partNumber=2", &[enabled], Some(50..150));
        assert_eq!(status, 206);
        assert_eq!(text(&headers, "content-range"), Some("bytes 50-149/200"));
        assert_eq!(text(&headers, "x-amz-mp-parts-count"), Some("3"));
        assert!(!headers.contains_key("x-amz-checksum-crc32"));

        let (status, headers) = answer("", &[enabled, ("range", "bytes=0-1,3-4")], None);
        assert_eq!(status, 200);
        assert!(headers.contains_key("x-amz-checksum-crc32"));
    }

    #[test]
    fn a_part_has_checksums_of_its_own() {
        let of = |algorithm, bytes: &[u8]| Checksum::of(algorithm, bytes).to_catalog();
        let part = Part {
            number: 2,
            size: 100,
            digest: [0; 16],
            last_modified: Timestamp::new(0),
            checksums: vec![of(Algorithm::Crc64Nvme, b"part"), of(Algorithm::Crc32, b"part")],
        };
        let object = object(&format!("{ETAG_TEXT}-3"));
        let written = |part: &Part| {
            let mut headers = HeaderMap::new();
            write_checksums(&object, &mut headers);
            write_part_checksums(&object, part, &mut headers);
            headers
        };
        let headers = written(&part);
        let expected = Checksum::of(Algorithm::Crc32, b"part").to_string();
        assert_eq!(text(&headers, "x-amz-checksum-crc32"), Some(expected.as_str()));
        assert_eq!(text(&headers, "x-amz-checksum-type"), Some("FULL_OBJECT"));
        assert!(!headers.contains_key("x-amz-checksum-crc64nvme"), "the object has none");
        let bare = Part { checksums: Vec::new(), ..part };
        assert!(!written(&bare).contains_key("x-amz-checksum-crc32"), "that of the object does not fit");

        let enabled = [("x-amz-checksum-mode", "ENABLED")];
        assert_eq!(request("partNumber=2", &enabled).unwrap().part_with_checksums(), Some(2));
        assert_eq!(request("partNumber=2", &[]).unwrap().part_with_checksums(), None);
        assert_eq!(request("", &enabled).unwrap().part_with_checksums(), None);
    }

    #[test]
    fn a_request_may_say_what_the_headers_of_the_answer_shall_be() {
        let query = "response-content-type=a%2Fb&response-expires=never&response-content-disposition=\
             attachment%3B%20filename%3D%22a%20b%22&response-content-encoding=x&response-content-language=y\
             &response-cache-control=z";
        let (_, headers) = answer(query, &[], None);
        for (name, value) in [
            ("content-type", "a/b"),
            ("expires", "never"),
            ("content-disposition", "attachment; filename=\"a b\""),
            ("content-encoding", "x"),
            ("content-language", "y"),
            ("cache-control", "z"),
        ] {
            assert_eq!(text(&headers, name), Some(value), "{name}");
        }
        let refused = request("response-content-type=a%0Ab", &[]).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidArgument);
    }

    #[test]
    fn a_range_is_sent_only_of_the_object_that_the_client_has() {
        for (if_range, status) in [
            (&format!("\"{ETAG_TEXT}-3\"")[..], 206),
            (&format!("\"{ETAG_TEXT}\""), 200),
            (&format!("W/\"{ETAG_TEXT}-3\""), 200),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 206),
            ("Sun, 06 Nov 1994 08:49:38 GMT", 200),
            ("x", 200),
        ] {
            let headers = [("range", "bytes=0-9"), ("if-range", if_range)];
            assert_eq!(answer("", &headers, None).0, status, "{if_range}");
        }
    }

    #[test]
    fn parts_have_numbers() {
        let code = |query, headers: &[_]| request(query, headers).map(|_| ()).unwrap_err().code;
        for query in [
            "partNumber=0",
            "partNumber=10001",
            "partNumber=x",
            "partNumber=",
            "partNumber=-1",
            "partNumber=%2B1",
        ] {
            assert_eq!(code(query, &[]), ErrorCode::InvalidArgument, "{query}");
        }
        assert_eq!(code("partNumber=1", &[("range", "bytes=0-1")]), ErrorCode::InvalidRequest);
        assert_eq!(code("versionId=x", &[]), ErrorCode::NoSuchVersion);
        assert_eq!(request("partNumber=7", &[]).unwrap().wanted.start(), PieceStart::Part { number: 7 });
    }

    #[test]
    fn a_client_that_has_the_object_is_told_how_long_to_keep_it() {
        let mut request = request("", &[("if-none-match", ETAG_TEXT)]).unwrap();
        let error = request.check(&object(ETAG_TEXT)).unwrap_err();
        let names: Vec<_> = error.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["etag", "content-length", "last-modified", "cache-control"]);
    }
}
