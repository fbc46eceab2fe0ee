//! What the operations on uploads in parts share: which upload and which part a request means, which
//! checksum the client declared, and what has been uploaded.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::catalog::{self, Answer, BucketRef, PART_NUMBER_MAX, Part, Query, Upload, UploadId};

use super::{S3Error, S3Result, bucket, upload_id};
use crate::body::{Algorithm, Checksum, ChecksumKind, ChecksumType};
use crate::cluster::{Cluster, ClusterError, Link};
use crate::http::{Call, Head};
use crate::s3::ErrorCode;
use crate::s3::xml::Document;

const CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("x-amz-checksum-algorithm");
const CHECKSUM_TYPE: HeaderName = HeaderName::from_static("x-amz-checksum-type");

/// One upload of one key.
#[derive(Clone, Debug)]
pub(crate) struct UploadRef {
    pub(crate) bucket: BucketRef,
    pub(crate) key: Bytes,
    pub(crate) upload: UploadId,
}

impl UploadRef {
    /// The upload that a request is about. `bucket`: which one that is, if the client says whose.
    pub(crate) fn of(head: &Head, bucket: BucketRef) -> S3Result<UploadRef> {
        let upload = upload_id::parse(head.query.get("uploadId").unwrap_or_default())?;
        Ok(UploadRef { bucket, key: Bytes::from(head.key().to_owned()), upload })
    }

    /// What was declared when the upload was begun.
    pub(crate) async fn find<L: Link>(&self, call: &Call<'_, L>) -> S3Result<Upload> {
        let page = self.page(call.cluster(), 0, 0).await?;
        let (upload, _, _) = page.map_err(|error| bucket::refused(call, error))?;
        Ok(upload)
    }

    /// The parts with numbers greater than `after`, and whether there are more. The inner error is the
    /// catalog's.
    pub(crate) async fn page<L: Link>(
        &self,
        cluster: &Cluster<L>,
        after: u16,
        limit: u32,
    ) -> Result<Result<(Upload, Vec<Part>, bool), catalog::Error>, ClusterError> {
        let UploadRef { bucket, key, upload } = self.clone();
        let (_, answer) = cluster.read(&Query::ListParts { bucket, key, upload, after, limit }).await?;
        match answer {
            Ok(Answer::Parts { upload, parts, truncated }) => Ok(Ok((upload, parts, truncated))),
            Ok(_) => Err(ClusterError::Invalid("the answer is not a list of parts".into())),
            Err(error) => Ok(Err(error)),
        }
    }
}

/// The number of the part that a request is about.
pub(crate) fn part_number(head: &Head) -> S3Result<u16> {
    let text = head.query.get("partNumber").unwrap_or_default();
    parse_part_number(text).ok_or_else(|| {
        S3Error::invalid_argument("Part number must be an integer between 1 and 10000, inclusive")
            .detail("ArgumentName", "partNumber")
            .detail("ArgumentValue", text)
    })
}

pub(super) fn parse_part_number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.filter(|number| (1..=PART_NUMBER_MAX).contains(number))
}

/// Which checksum the parts shall have, as a client declares it when it begins an upload.
pub(crate) fn declared_checksum(head: &Head) -> S3Result<Option<ChecksumKind>> {
    let checksum_type = checksum_type(head)?;
    let Some(name) = head.header(&CHECKSUM_ALGORITHM)? else {
        return match checksum_type {
            None => Ok(None),
            Some(_) => Err(S3Error::invalid_request(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            )),
        };
    };
    let algorithm = Algorithm::parse(name.as_bytes()).ok_or_else(|| {
        S3Error::invalid_request("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
    })?;
    let checksum_type = checksum_type.unwrap_or(algorithm.default_type());
    if !algorithm.allows(checksum_type) {
        return Err(S3Error::invalid_request(format!(
            "The {} checksum type cannot be used with the {} checksum algorithm.",
            checksum_type.name(),
            algorithm.name().to_lowercase()
        )));
    }
    Ok(Some(ChecksumKind { algorithm, checksum_type }))
}

pub(super) fn checksum_type(head: &Head) -> S3Result<Option<ChecksumType>> {
    let Some(name) = head.header(&CHECKSUM_TYPE)? else { return Ok(None) };
    let known = ChecksumType::parse(name.as_bytes());
    known
        .map(Some)
        .ok_or_else(|| S3Error::invalid_request("Value for x-amz-checksum-type header is invalid."))
}

/// Which checksum the client declared when it began the upload.
pub(crate) fn checksum_of(upload: &Upload) -> Option<ChecksumKind> {
    upload.checksum.and_then(ChecksumKind::from_catalog)
}

/// The same in an answer.
pub(crate) fn write_kind(kind: ChecksumKind, headers: &mut HeaderMap) {
    headers.insert(CHECKSUM_ALGORITHM, HeaderValue::from_static(kind.algorithm.name()));
    headers.insert(CHECKSUM_TYPE, HeaderValue::from_static(kind.checksum_type.name()));
}

/// The algorithm of which a part needs a checksum, so that the object can have its own. `sent`: that of the
/// checksum that comes with the part. Of an upload whose client declared nothing, any is verified and kept.
pub(crate) fn algorithm_of_part(
    declared: Option<ChecksumKind>,
    sent: Option<Algorithm>,
) -> S3Result<Algorithm> {
    let ChecksumKind { algorithm, .. } = declared.unwrap_or(ChecksumKind::DEFAULT);
    match sent {
        Some(sent) if declared.is_some() && sent != algorithm => Err(mixed_checksums(algorithm, sent)),
        _ => Ok(algorithm),
    }
}

pub(super) fn mixed_checksums(expected: Algorithm, actual: Algorithm) -> S3Error {
    S3Error::invalid_request(format!(
        "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
        expected.name().to_lowercase(),
        actual.name().to_lowercase()
    ))
}

/// What is stored of a part's or an object's checksums, an element each.
pub(crate) fn write_checksums(document: &mut Document, stored: &catalog::Checksums) {
    for checksum in stored.iter().filter_map(Checksum::from_catalog) {
        document.element(checksum.algorithm.element(), &checksum);
    }
}

/// A listed part that is not there, or not any more.
pub(super) fn invalid_part(upload: UploadId, number: u16, etag: &str) -> S3Error {
    S3Error::with(
        ErrorCode::InvalidPart,
        "A part of the list was not uploaded, or is not the one that its ETag or its checksum says.",
    )
    .detail("UploadId", upload_id::format(upload))
    .detail("PartNumber", number.to_string())
    .detail("ETag", etag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::headers::tests::{head, head_of};

    #[test]
    fn a_part_has_a_number_from_1_to_10000() {
        for (text, number) in [("1", Some(1)), ("10000", Some(10_000)), ("007", Some(7))] {
            assert_eq!(parse_part_number(text), number, "{text}");
        }
        for text in ["", "0", "10001", "-1", "+1", "1.0", "x", "65537", "99999999999999999999"] {
            let error =
                part_number(&head_of(&format!("/b/k?uploadId=x&partNumber={text}"), &[])).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{text}");
        }
        assert!(part_number(&head_of("/b/k?uploadId=x", &[])).is_err());
    }

    #[test]
    fn what_an_upload_declares_is_an_algorithm_and_a_type_that_it_allows() {
        use Algorithm::*;
        use ChecksumType::*;
        let declared = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            declared_checksum(&head(&pairs)).map_err(|error| error.code)
        };
        let (algorithm, kind) = ("x-amz-checksum-algorithm", "x-amz-checksum-type");
        assert_eq!(declared(&[]), Ok(None));
        for (name, expected, checksum_type) in [
            ("CRC32", Crc32, Composite),
            ("crc32c", Crc32c, Composite),
            ("CRC64NVME", Crc64Nvme, FullObject),
            ("SHA1", Sha1, Composite),
            ("SHA256", Sha256, Composite),
        ] {
            let found = declared(&[(algorithm, name)]);
            assert_eq!(found, Ok(Some(ChecksumKind { algorithm: expected, checksum_type })), "{name}");
        }
        let full = ChecksumKind { algorithm: Crc32, checksum_type: FullObject };
        assert_eq!(declared(&[(algorithm, "CRC32"), (kind, "FULL_OBJECT")]), Ok(Some(full)));
        for (name, checksum_type) in [("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE"), ("CRC32", "x")] {
            let refused = declared(&[(algorithm, name), (kind, checksum_type)]);
            assert_eq!(refused, Err(ErrorCode::InvalidRequest), "{name} {checksum_type}");
        }
        assert_eq!(declared(&[(kind, "COMPOSITE")]), Err(ErrorCode::InvalidRequest));
        assert_eq!(declared(&[(algorithm, "MD5")]), Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn parts_of_one_upload_have_one_kind_of_checksum() {
        let sha1 = ChecksumKind { algorithm: Algorithm::Sha1, checksum_type: ChecksumType::Composite };
        assert_eq!(algorithm_of_part(None, None), Ok(Algorithm::Crc64Nvme));
        assert_eq!(algorithm_of_part(None, Some(Algorithm::Crc32)), Ok(Algorithm::Crc64Nvme));
        assert_eq!(algorithm_of_part(Some(sha1), None), Ok(Algorithm::Sha1));
        assert_eq!(algorithm_of_part(Some(sha1), Some(Algorithm::Sha1)), Ok(Algorithm::Sha1));
        let mismatch = algorithm_of_part(Some(sha1), Some(Algorithm::Crc32)).unwrap_err();
        assert_eq!(mismatch.code, ErrorCode::InvalidRequest);
    }
}
