//! A part whose bytes are those of an object, or of a range of it. No byte moves if they lie in one piece
//! of the source; otherwise they are read and stored anew.
//!
//! If the client declared a checksum when it began the upload, the part must have one. It is the source's
//! own where that will do; otherwise the bytes are read, though they stay where they are.

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::catalog::{
    self, ByteRange, Checksums, ETag, Object, Operation, PieceStart, SourceConditions, Success,
};
use protocol::types::Timestamp;

use super::copy_object::{ATTEMPTS, changes_all_the_time, find_source, of_source, same, unreadable};
use super::copy_source::CopySource;
use super::multipart::{self, UploadRef};
use super::object_body::ObjectBody;
use super::{ErrorCode, S3Error, S3Result, bucket, put_object, unsupported};
use crate::auth::signature::BodyAuth;
use crate::body::{self, Algorithm, BODY_BYTES_MAX, Checksum, ChecksumKind, Digested, Payload};
use crate::cluster::{Link, Record};
use crate::http::response::{self, Response};
use crate::http::{Call, Head};
use crate::s3::xml::Document;

const RANGE: HeaderName = HeaderName::from_static("x-amz-copy-source-range");

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    unsupported::check(call.head)?;
    let part = multipart::part_number(call.head)?;
    let range = parse_range(call.head)?;
    let mut source = CopySource::parse(call.head)?;
    source.authorise(call).await?;
    let upload = UploadRef::of(call.head, bucket::reference(call).await?)?;
    let declared = multipart::checksum_of(&upload.find(call).await?);
    let copy = Copy { call, source, upload, part, range, declared };
    for _ in 0..ATTEMPTS {
        if let Some(copied) = copy.attempt().await? {
            return Ok(response::xml(copied.document()));
        }
    }
    Err(changes_all_the_time())
}

/// `bytes=first-last`, both given, both inclusive: nothing else that a range can be.
fn parse_range(head: &Head) -> S3Result<Option<ByteRange>> {
    let Some(text) = head.header(&RANGE)? else { return Ok(None) };
    let range = text.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let range = range.and_then(|(first, last)| {
        let (offset, last) = (number(first)?, number(last)?);
        let length = last.checked_sub(offset)?.checked_add(1)?;
        Some(ByteRange { offset, length })
    });
    range.map(Some).ok_or_else(|| {
        S3Error::invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are \
             the zero-based offsets of the first and last bytes to copy",
        )
        .detail("ArgumentName", RANGE.as_str())
        .detail("ArgumentValue", text)
    })
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

struct Copy<'a, L> {
    call: &'a Call<'a, L>,
    source: CopySource,
    upload: UploadRef,
    part: u16,
    /// None: the whole source.
    range: Option<ByteRange>,
    declared: Option<ChecksumKind>,
}

/// A part that is there now.
#[derive(Debug)]
struct Copied {
    digest: [u8; 16],
    last_modified: Timestamp,
    checksums: Checksums,
}

impl Copied {
    fn new(success: Success, checksums: Checksums) -> S3Result<Copied> {
        match success {
            Success::PartWritten { digest, last_modified, .. } => {
                Ok(Copied { digest, last_modified, checksums })
            }
            other => Err(put_object::unexpected(&other)),
        }
    }

    fn document(&self) -> Document {
        let mut document = Document::new("CopyPartResult");
        document.moment("LastModified", self.last_modified);
        document.element("ETag", format_args!("\"{}\"", ETag::simple(self.digest)));
        multipart::write_checksums(&mut document, &self.checksums);
        document
    }
}

impl<L: Link> Copy<'_, L> {
    /// None if the source was replaced in the middle of it.
    async fn attempt(&self) -> S3Result<Option<Copied>> {
        let found = find_source(self.call, &self.source).await?;
        let range = range_within(self.range, found.summary.size)?;
        let wanted = self.declared.unwrap_or(ChecksumKind::DEFAULT).algorithm;
        match (checksum_of_whole(&found, range, wanted), self.declared) {
            // The condition holds for as long as the checksum does.
            (Some(known), _) => {
                let is_the_same = same(&found);
                let copied = self.refer(vec![known.to_catalog()], is_the_same).await?;
                self.or_store(copied).await
            }
            (None, None) => {
                let copied = self.refer(Vec::new(), self.source.conditions.clone()).await?;
                self.or_store(copied).await
            }
            (None, Some(_)) => self.read_and_refer(wanted).await,
        }
    }

    async fn or_store(&self, referred: Referred) -> S3Result<Option<Copied>> {
        match referred {
            Referred::Copied(copied) => Ok(Some(copied)),
            Referred::Changed => Ok(None),
            Referred::NeedsData => {
                let (record, range) = self.open().await?;
                self.store(record, range).await.map(Some)
            }
        }
    }

    /// The source as it is now.
    async fn open(&self) -> S3Result<(Record<L>, ByteRange)> {
        let CopySource { bucket, key, conditions } = &self.source;
        let start = PieceStart::Offset { offset: self.range.map_or(0, |range| range.offset) };
        let opened = self.call.cluster().open(bucket.clone(), Bytes::from(key.clone()), start).await?;
        let record = opened.map_err(|error| of_source(&self.source, error))?;
        let Object { summary, .. } = &record.object;
        if !conditions.hold(&summary.etag, summary.last_modified) {
            return Err(ErrorCode::PreconditionFailed.into());
        }
        let range = range_within(self.range, summary.size)?;
        Ok((record, range))
    }

    /// The bytes are read, to know their checksum, and stay where they are if they can.
    async fn read_and_refer(&self, algorithm: Algorithm) -> S3Result<Option<Copied>> {
        let (record, range) = self.open().await?;
        let is_one_piece = record.first_piece().is_some_and(|piece| range.offset + range.length <= piece.end);
        if !is_one_piece {
            return self.store(record, range).await.map(Some);
        }
        let is_the_same = same(&record.object);
        let mut payload = self.payload(record, range).await?;
        payload.want(algorithm);
        while payload.next().await.map_err(unreadable)?.is_some() {}
        let digested = payload.finish().map_err(unreadable)?;
        match self.refer(stored(&digested), is_the_same).await? {
            Referred::Copied(copied) => Ok(Some(copied)),
            Referred::Changed | Referred::NeedsData => Ok(None),
        }
    }

    async fn refer(&self, checksums: Checksums, source_conditions: SourceConditions) -> S3Result<Referred> {
        let UploadRef { bucket, key, upload } = self.upload.clone();
        let operation = Operation::CopyPart {
            bucket,
            key,
            upload,
            part: self.part,
            source: self.source.bucket.clone(),
            source_key: Bytes::from(self.source.key.clone()),
            source_conditions,
            range: self.range,
            checksums: checksums.clone(),
        };
        let (_, reply) = self.call.cluster().submit(&operation).await?;
        match reply {
            Ok(success) => Copied::new(success, checksums).map(Referred::Copied),
            Err(catalog::Error::CopyNeedsData) => Ok(Referred::NeedsData),
            Err(catalog::Error::PreconditionFailed | catalog::Error::InvalidRange) => Ok(Referred::Changed),
            Err(catalog::Error::NoSuchUpload) => Err(ErrorCode::NoSuchUpload.into()),
            Err(error) => Err(of_source(&self.source, error)),
        }
    }

    /// As if the client had sent the bytes.
    async fn store(&self, record: Record<L>, range: ByteRange) -> S3Result<Copied> {
        let mut payload = self.payload(record, range).await?;
        payload.want_md5();
        payload.want(multipart::algorithm_of_part(self.declared, None)?);
        let (upload, part) = (self.upload.clone(), self.part);
        let make = move |digested: &Digested, body| {
            let UploadRef { bucket, key, upload } = upload.clone();
            let digest = put_object::etag(digested).digest;
            Operation::PutPart { bucket, key, upload, part, digest, checksums: stored(digested), body }
        };
        let (cluster, memory) = (self.call.cluster(), &self.call.gateway.memory);
        let stored_body = body::store(cluster, memory, payload, self.call.seed(), make).await;
        let (digested, success) = stored_body.map_err(unreadable)?;
        Copied::new(success, stored(&digested))
    }

    async fn payload(&self, record: Record<L>, range: ByteRange) -> S3Result<Payload> {
        let ByteRange { offset, length } = range;
        let body = match length {
            0 => Body::empty(),
            _ => {
                let reader = record.read(offset..offset + length, self.call.seed()).await?;
                Body::new(ObjectBody::new(reader, length))
            }
        };
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(length))]);
        Payload::new(body, BodyAuth::Unsigned, &headers)
    }
}

/// What became of a part that was to refer to bytes that are there.
enum Referred {
    Copied(Copied),
    /// The source is not what it was.
    Changed,
    /// The bytes do not lie in one piece.
    NeedsData,
}

fn stored(digested: &Digested) -> Checksums {
    digested.checksums.iter().map(Checksum::to_catalog).collect()
}

/// Which bytes of a source of this size are meant.
fn range_within(range: Option<ByteRange>, size: u64) -> S3Result<ByteRange> {
    let range = range.unwrap_or(ByteRange { offset: 0, length: size });
    if range.offset.checked_add(range.length).is_none_or(|end| end > size) {
        return Err(S3Error::invalid_argument(format!(
            "Range specified is not valid for source object of size: {size}"
        ))
        .detail("ArgumentName", RANGE.as_str()));
    }
    if range.length > BODY_BYTES_MAX {
        return Err(S3Error::invalid_request(format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {BODY_BYTES_MAX}"
        )));
    }
    Ok(range)
}

/// The source's own checksum is the part's if the part is all of it, and if it is not made of other ones.
fn checksum_of_whole(source: &Object, range: ByteRange, algorithm: Algorithm) -> Option<Checksum> {
    let is_whole = range == ByteRange { offset: 0, length: source.summary.size };
    let mut checksums = source.summary.checksums.iter().filter_map(Checksum::from_catalog);
    let known = checksums.find(|checksum| checksum.algorithm == algorithm && checksum.part_count.is_none());
    known.filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use protocol::catalog::ObjectSummary;

    use super::*;
    use crate::s3::headers::tests::head;

    fn range(text: &str) -> Result<Option<ByteRange>, ErrorCode> {
        parse_range(&head(&[("x-amz-copy-source-range", text.as_bytes())])).map_err(|error| error.code)
    }

    #[test]
    fn a_range_has_a_first_and_a_last_byte() {
        assert_eq!(parse_range(&head(&[])), Ok(None));
        assert_eq!(range("bytes=0-0"), Ok(Some(ByteRange { offset: 0, length: 1 })));
        assert_eq!(range("bytes=5-14"), Ok(Some(ByteRange { offset: 5, length: 10 })));
        let most = format!("bytes=1-{}", u64::MAX);
        assert_eq!(range(&most), Ok(Some(ByteRange { offset: 1, length: u64::MAX })));
        let too_much = format!("bytes=0-{}", u64::MAX);
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=1-",
            "bytes=-1",
            "bytes=5-4",
            "bytes=0-1,3-4",
            "bytes= 0-1",
            "0-1",
            "lines=0-1",
            "bytes=+0-1",
            "bytes=0x0-1",
            "bytes=0-1-2",
            &too_much,
        ] {
            assert_eq!(range(text), Err(ErrorCode::InvalidArgument), "{text}");
        }
    }

    #[test]
    fn a_range_lies_within_the_source_and_is_no_larger_than_a_part() {
        let within = |offset, length, size| {
            range_within(Some(ByteRange { offset, length }), size).map(|_| ()).map_err(|error| error.code)
        };
        assert_eq!(range_within(None, 7), Ok(ByteRange { offset: 0, length: 7 }));
        assert_eq!(within(3, 4, 7), Ok(()));
        assert_eq!(within(3, 5, 7), Err(ErrorCode::InvalidArgument));
        assert_eq!(within(1, u64::MAX, 7), Err(ErrorCode::InvalidArgument));
        let most = BODY_BYTES_MAX;
        assert_eq!(within(1, most, most + 1), Ok(()));
        assert_eq!(range_within(None, most + 1).unwrap_err().code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_checksum_of_the_source_is_that_of_a_part_that_is_all_of_it() {
        let (crc32, sha1) = (Checksum::of(Algorithm::Crc32, b"abc"), Checksum::of(Algorithm::Sha1, b"x"));
        let composite = Checksum { part_count: Some(2), ..sha1 };
        let summary = ObjectSummary {
            version: 1,
            size: 3,
            etag: ETag::simple([1; 16]),
            last_modified: Timestamp::new(0),
            checksums: vec![crc32.to_catalog(), composite.to_catalog()],
        };
        let source = Object { summary, headers: Vec::new(), tags: Vec::new(), upload: None };
        let whole = ByteRange { offset: 0, length: 3 };
        assert_eq!(checksum_of_whole(&source, whole, Algorithm::Crc32), Some(crc32));
        assert_eq!(checksum_of_whole(&source, whole, Algorithm::Sha1), None);
        assert_eq!(checksum_of_whole(&source, whole, Algorithm::Sha256), None);
        let half = ByteRange { offset: 0, length: 2 };
        assert_eq!(checksum_of_whole(&source, half, Algorithm::Crc32), None);
    }
}
