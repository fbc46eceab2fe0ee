//! CopyObject. No byte moves: the copy refers to what its source refers to, so it keeps the source's ETag
//! and checksums, also if that was uploaded in parts.
//!
//! Only a client that asks for a checksum which the source has not got makes the gateway read the bytes:
//! then they are stored anew, and the copy is an object of one piece.

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::catalog::{
    self, Answer, BucketRef, Conditions, ETag, ETagMatch, OBJECT_TAG_COUNT_MAX, Object, ObjectSummary,
    Operation, PieceStart, Query, SourceConditions, Success, Tags,
};

use crate::auth::signature::BodyAuth;
use crate::body::{self, Algorithm, BODY_BYTES_MAX, Checksum, Digested, Payload};
use crate::cluster::{ClusterError, Link};
use crate::http::response::{self, Response};
use crate::http::{Call, Head};
use crate::s3::copy_source::CopySource;
use crate::s3::object_body::ObjectBody;
use crate::s3::xml::Document;
use crate::s3::{ErrorCode, S3Error, S3Result, conditions, headers, object, put_object, tags, unsupported};

const METADATA_DIRECTIVE: &str = "x-amz-metadata-directive";
const TAGGING_DIRECTIVE: &str = "x-amz-tagging-directive";
const CHECKSUM_ALGORITHM: &str = "x-amz-checksum-algorithm";
const STORAGE_CLASS: HeaderName = HeaderName::from_static("x-amz-storage-class");

/// So often is the source looked at again if it is replaced while it is copied.
pub(super) const ATTEMPTS: usize = 3;

/// What a client wants its copy to be. Everything that is None is taken from the source.
#[derive(Clone)]
struct CopyRequest {
    conditions: Conditions,
    headers: Option<catalog::Headers>,
    tags: Option<Tags>,
    algorithm: Option<Algorithm>,
}

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    unsupported::check(call.head)?;
    let mut source = CopySource::parse(call.head)?;
    let request = CopyRequest::parse(call.head)?;
    request.check_that_something_changes(call.head, &source)?;
    source.authorise(call).await?;
    let bucket = unsupported::expected_bucket(call).await?;

    let mut refused = None;
    for _ in 0..ATTEMPTS {
        let found = find_source(call, &source).await?;
        let etag = found.summary.etag;
        if let Some(error) = refused.take().and_then(|refusal| is_of_destination(refusal, etag)) {
            return Err(error);
        }
        check_size(&found.summary)?;
        let copied = match request.algorithm.filter(|algorithm| !has_checksum(&found, *algorithm)) {
            Some(algorithm) => copy_bytes(call, &source, &bucket, &request, algorithm).await,
            None => {
                let key = Bytes::from(call.head.key().to_owned());
                copy_reference(call, by_reference(&source, &found, &bucket, key, &request)).await
            }
        };
        match copied {
            Err(error) if error.code == ErrorCode::PreconditionFailed => refused = Some((etag, error)),
            copied => return Ok(response::xml(document(&copied?))),
        }
    }
    Err(changes_all_the_time())
}

/// A condition did not hold, when the source had this ETag. If it has it still, and the client's conditions on
/// the source hold, that was one on the destination.
fn is_of_destination((etag_before, error): (ETag, S3Error), etag: ETag) -> Option<S3Error> {
    (etag_before == etag).then_some(error)
}

pub(super) fn changes_all_the_time() -> S3Error {
    S3Error::with(ErrorCode::SlowDown, "the source of the copy changes all the time")
}

fn check_size(source: &ObjectSummary) -> S3Result<()> {
    if source.size <= BODY_BYTES_MAX {
        return Ok(());
    }
    Err(S3Error::invalid_request(format!(
        "The specified copy source is larger than the maximum allowable size for a copy source: {BODY_BYTES_MAX}"
    )))
}

/// True of this content only. What was judged of it, its size and checksums, holds for as long as this does.
pub(super) fn same(object: &Object) -> SourceConditions {
    SourceConditions { if_match: Some(ETagMatch::one(object.summary.etag)), ..SourceConditions::none() }
}

impl CopyRequest {
    fn parse(head: &Head) -> S3Result<CopyRequest> {
        headers::check_storage_class(head)?;
        let replaces_tags = replaces(head, TAGGING_DIRECTIVE)?;
        let tags = head.header("x-amz-tagging")?.filter(|_| replaces_tags).unwrap_or_default();
        let algorithm = match head.header(CHECKSUM_ALGORITHM)? {
            None => None,
            Some(name) => Some(Algorithm::parse(name.as_bytes()).ok_or_else(|| {
                S3Error::invalid_request("Checksum algorithm provided is unsupported.")
                    .detail("ArgumentName", CHECKSUM_ALGORITHM)
                    .detail("ArgumentValue", name)
            })?),
        };
        Ok(CopyRequest {
            conditions: conditions::for_write(head)?,
            headers: replaces(head, METADATA_DIRECTIVE)?.then(|| headers::stored(head)).transpose()?,
            tags: replaces_tags.then(|| tags::parse_header(tags, OBJECT_TAG_COUNT_MAX)).transpose()?,
            algorithm,
        })
    }

    /// Copying an object onto itself is how its metadata is changed. To change nothing is a mistake. A
    /// storage class is a change also if it is the one there is: clients use it to copy in place.
    fn check_that_something_changes(&self, head: &Head, source: &CopySource) -> S3Result<()> {
        let onto_itself = source.bucket.name == head.bucket_name().as_bytes() && source.key == head.key();
        let changes = self.headers.is_some()
            || self.tags.is_some()
            || self.algorithm.is_some()
            || head.headers.contains_key(STORAGE_CLASS);
        if onto_itself && !changes {
            return Err(S3Error::invalid_request(
                "This copy request is illegal because it is trying to copy an object to itself without \
                 changing the object's metadata, storage class, website redirect location or encryption \
                 attributes.",
            ));
        }
        Ok(())
    }
}

/// Whether the request brings something of its own instead of what the source has.
fn replaces(head: &Head, directive: &'static str) -> S3Result<bool> {
    match head.header(directive)? {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => Err(S3Error::invalid_argument(format!("{directive} is neither COPY nor REPLACE"))
            .detail("ArgumentName", directive)
            .detail("ArgumentValue", other)),
    }
}

/// The conditions are judged here, too: a client learns of them before anything is read.
pub(super) async fn find_source<L: Link>(call: &Call<'_, L>, source: &CopySource) -> S3Result<Object> {
    let (bucket, key) = (source.bucket.clone(), Bytes::from(source.key.clone()));
    let (_, answer) = call.cluster().read(&Query::GetObject { bucket, key, pieces: None }).await?;
    let Answer::Object { object, .. } = answer.map_err(|error| of_source(source, error))? else {
        return Err(ClusterError::Invalid("the answer is not an object".into()).into());
    };
    if source.conditions.hold(&object.summary.etag, object.summary.last_modified) {
        Ok(object)
    } else {
        Err(ErrorCode::PreconditionFailed.into())
    }
}

/// What the catalog refused of the source, with its name.
pub(super) fn of_source(source: &CopySource, error: catalog::Error) -> S3Error {
    let error = S3Error::from(error);
    match error.code {
        ErrorCode::NoSuchKey => error.detail("Key", &source.key),
        ErrorCode::NoSuchBucket => error.detail("BucketName", String::from_utf8_lossy(&source.bucket.name)),
        _ => error,
    }
}

fn has_checksum(object: &Object, algorithm: Algorithm) -> bool {
    let checksums = object.summary.checksums.iter().filter_map(Checksum::from_catalog);
    checksums.into_iter().any(|checksum| checksum.algorithm == algorithm)
}

/// The client's conditions on the source were judged on what was found, and all else that may be copied.
fn by_reference(
    source: &CopySource,
    found: &Object,
    bucket: &BucketRef,
    key: Bytes,
    request: &CopyRequest,
) -> Operation {
    Operation::CopyObject {
        source: source.bucket.clone(),
        source_key: source.key.clone().into(),
        source_conditions: same(found),
        bucket: bucket.clone(),
        key,
        conditions: request.conditions.clone(),
        headers: request.headers.clone(),
        tags: request.tags.clone(),
    }
}

async fn copy_reference<L: Link>(call: &Call<'_, L>, operation: Operation) -> S3Result<ObjectSummary> {
    let (_, reply) = call.cluster().submit(&operation).await?;
    written(reply.map_err(|error| object::refused(call, error))?)
}

fn written(success: Success) -> S3Result<ObjectSummary> {
    match success {
        Success::ObjectWritten { object } => Ok(object),
        _ => Err(ClusterError::Invalid("the answer is not that of a copy".into()).into()),
    }
}

/// What is read is one version of the source, whatever becomes of the source meanwhile.
async fn copy_bytes<L: Link>(
    call: &Call<'_, L>,
    source: &CopySource,
    bucket: &BucketRef,
    request: &CopyRequest,
    algorithm: Algorithm,
) -> S3Result<ObjectSummary> {
    let start = PieceStart::Offset { offset: 0 };
    let opened = call.cluster().open(source.bucket.clone(), source.key.clone().into(), start).await?;
    let record = opened.map_err(|error| of_source(source, error))?;
    let Object { summary, headers, tags, .. } = record.object.clone();
    if !source.conditions.hold(&summary.etag, summary.last_modified) {
        return Err(ErrorCode::PreconditionFailed.into());
    }
    check_size(&summary)?;
    let body = match summary.size {
        0 => Body::empty(),
        size => Body::new(ObjectBody::new(record.read(0..size, call.seed()).await?, size)),
    };
    let length = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(summary.size))]);
    let mut payload = Payload::new(body, BodyAuth::Unsigned, &length)?;
    payload.want_md5();
    payload.want(algorithm);

    let key = Bytes::from(call.head.key().to_owned());
    let CopyRequest { conditions, headers: new_headers, tags: new_tags, .. } = request.clone();
    let bucket = bucket.clone();
    let (headers, tags) = (new_headers.unwrap_or(headers), new_tags.unwrap_or(tags));
    let make = move |digested: &Digested, body| Operation::PutObject {
        bucket: bucket.clone(),
        key: key.clone(),
        conditions: conditions.clone(),
        etag: put_object::etag(digested),
        headers: headers.clone(),
        checksums: digested.checksums.iter().map(Checksum::to_catalog).collect(),
        tags: tags.clone(),
        body,
    };
    let stored = body::store(call.cluster(), &call.gateway.memory, payload, call.seed(), make).await;
    let (_, success) = stored.map_err(unreadable)?;
    written(success)
}

/// A client that sends half a body is told so. Here it was we who did.
pub(super) fn unreadable(error: S3Error) -> S3Error {
    match error.code {
        ErrorCode::IncompleteBody | ErrorCode::RequestTimeout => {
            ClusterError::Unavailable("the source of the copy could not be read").into()
        }
        _ => error,
    }
}

fn document(copy: &ObjectSummary) -> Document {
    let mut document = Document::new("CopyObjectResult");
    document.moment("LastModified", copy.last_modified);
    document.element("ETag", format_args!("\"{}\"", copy.etag));
    for checksum in copy.checksums.iter().filter_map(Checksum::from_catalog) {
        document.element(checksum.algorithm.element(), &checksum);
        document.element("ChecksumType", checksum.checksum_type().name());
    }
    document
}

#[cfg(test)]
mod tests {
    use protocol::types::Timestamp;

    use super::*;
    use crate::s3::headers::tests::head_of;

    fn request(headers: &[(&str, &str)]) -> S3Result<CopyRequest> {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        CopyRequest::parse(&head_of("/b/k", &headers))
    }

    #[test]
    fn what_a_request_brings_counts_only_if_it_is_to_replace() {
        let both = [("x-amz-meta-a", "1"), ("x-amz-tagging", "t=1")];
        let copied = request(&both).unwrap();
        assert!(copied.headers.is_none() && copied.tags.is_none());
        let replaced =
            [&both[..], &[(METADATA_DIRECTIVE, "REPLACE"), (TAGGING_DIRECTIVE, "REPLACE")]].concat();
        let replaced = request(&replaced).unwrap();
        assert_eq!(replaced.headers, Some(catalog::headers([("x-amz-meta-a", "1")])));
        assert_eq!(replaced.tags.unwrap().len(), 1);
        let emptied = request(&[(TAGGING_DIRECTIVE, "REPLACE")]).unwrap();
        assert_eq!(emptied.tags, Some(Tags::new()));
        for directive in [METADATA_DIRECTIVE, TAGGING_DIRECTIVE] {
            assert_eq!(request(&[(directive, "replace")]).err().unwrap().code, ErrorCode::InvalidArgument);
        }
        assert_eq!(request(&[(CHECKSUM_ALGORITHM, "MD4")]).err().unwrap().code, ErrorCode::InvalidRequest);
    }

    /// A client that is told that its body was too short does not try again, and it sent none.
    #[test]
    fn a_source_that_cannot_be_read_is_not_the_clients_fault() {
        for code in [ErrorCode::IncompleteBody, ErrorCode::RequestTimeout] {
            assert_eq!(unreadable(code.into()).status().as_u16(), 503);
        }
        assert_eq!(unreadable(ErrorCode::PreconditionFailed.into()).code, ErrorCode::PreconditionFailed);
    }

    #[test]
    fn a_copy_onto_itself_changes_something() {
        let check = |target: &str, source: &str, headers: &[(&str, &str)]| {
            let mut headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            headers.push(("x-amz-copy-source", source.as_bytes()));
            let head = head_of(target, &headers);
            let source = CopySource::parse(&head).unwrap();
            CopyRequest::parse(&head).unwrap().check_that_something_changes(&head, &source).is_ok()
        };
        assert!(!check("/b/k%20", "/b/k%20", &[]));
        assert!(!check("/b/k", "b/k?versionId=null", &[("x-amz-meta-a", "not heard")]));
        assert!(check("/b/k", "b/k/", &[]));
        assert!(check("/b/k", "c/k", &[]));
        assert!(check("/b/k", "b/k", &[(METADATA_DIRECTIVE, "REPLACE")]));
        assert!(check("/b/k", "b/k", &[(TAGGING_DIRECTIVE, "REPLACE")]));
        assert!(check("/b/k", "b/k", &[(CHECKSUM_ALGORITHM, "SHA256")]));
        assert!(check("/b/k", "b/k", &[("x-amz-storage-class", "STANDARD")]));
    }

    fn summary() -> ObjectSummary {
        let checksum = Checksum::parse(Algorithm::Crc32, b"AAAAAQ==-2").unwrap();
        ObjectSummary {
            version: 1,
            size: 1,
            etag: ETag { digest: [0xab; 16], part_count: 2 },
            last_modified: Timestamp::new(0),
            checksums: vec![checksum.to_catalog()],
        }
    }

    /// Between looking at the source and copying it, it could be replaced: by one of more than 5 GiB, or one
    /// without the checksum that was asked for.
    #[test]
    fn what_is_copied_is_what_was_looked_at() {
        let head =
            head_of("/b/k", &[("x-amz-copy-source", b"c/s"), ("x-amz-copy-source-if-none-match", b"\"x\"")]);
        let source = CopySource::parse(&head).unwrap();
        let found = Object { summary: summary(), headers: Vec::new(), tags: Vec::new(), upload: None };
        let bucket = BucketRef::named("b");
        let operation =
            by_reference(&source, &found, &bucket, "k".into(), &CopyRequest::parse(&head).unwrap());
        let Operation::CopyObject { source_conditions, .. } = operation else { panic!("{operation:?}") };
        assert!(source_conditions.hold(&found.summary.etag, found.summary.last_modified));
        assert!(!source_conditions.hold(&ETag::simple([1; 16]), found.summary.last_modified));
    }

    /// A condition on the source is tried again, one on the destination is the client's.
    #[test]
    fn a_condition_that_fails_although_the_source_is_the_same_is_one_on_the_destination() {
        let refusal = || (ETag::simple([1; 16]), S3Error::new(ErrorCode::PreconditionFailed));
        assert!(is_of_destination(refusal(), ETag::simple([1; 16])).is_some());
        assert!(is_of_destination(refusal(), ETag::simple([2; 16])).is_none());
    }

    #[test]
    fn the_answer_tells_what_the_copy_is() {
        let text = document(&summary()).finish();
        let expected = "<LastModified>1970-01-01T00:00:00.000Z</LastModified>\
            <ETag>&quot;abababababababababababababababab-2&quot;</ETag>\
            <ChecksumCRC32>AAAAAQ==-2</ChecksumCRC32><ChecksumType>COMPOSITE</ChecksumType></CopyObjectResult>";
        assert!(text.ends_with(expected), "{text}");
    }
}
