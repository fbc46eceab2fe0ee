//! UploadPart: a body becomes one part of an upload. A part that comes again replaces the earlier one.

use bytes::Bytes;
use http::StatusCode;
use http::header::ETAG;
use protocol::catalog::{Answer, Operation, PART_NUMBER_MAX, Query, Success};

use super::put_object::{etag, write_checksum};
use super::upload_checksum::UploadChecksum;
use super::{ErrorCode, S3Error, S3Result, unsupported, upload_id};
use crate::body::{self, Algorithm, Checksum, Digested, Payload};
use crate::cluster::Link;
use crate::http::response::{self, Response};
use crate::http::{Call, Head};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>, mut payload: Payload) -> S3Result<Response> {
    let head = call.head;
    unsupported::check(head)?;
    let part = part_number(head)?;
    let upload = upload_id::parse(head.query.get("uploadId").unwrap_or_default())?;
    body::check_length(&payload)?;
    let bucket = unsupported::expected_bucket(call).await?;
    let key = Bytes::copy_from_slice(head.key().as_bytes());

    // Asked before gigabytes are read in vain, and because the upload says which checksum its parts have.
    let query = Query::ListParts {
        bucket: bucket.clone(),
        key: key.clone(),
        upload,
        after: PART_NUMBER_MAX,
        limit: 1,
    };
    let Answer::Parts { upload: record, .. } = call.read(&query).await? else {
        return Err(S3Error::with(ErrorCode::InternalError, "the answer is not an upload"));
    };
    let algorithm = algorithm(UploadChecksum::of(&record.headers), payload.algorithm())?;
    payload.want_md5();
    payload.want(algorithm);

    let make = move |digested: &Digested, body| Operation::PutPart {
        bucket: bucket.clone(),
        key: key.clone(),
        upload,
        part,
        digest: etag(digested).digest,
        checksums: digested.checksums.iter().map(Checksum::to_catalog).collect(),
        body,
    };
    let (digested, success) =
        body::store(call.cluster(), &call.gateway.memory, payload, call.seed(), make).await?;
    match success {
        Success::PartWritten { .. } => Ok(answer(&digested)),
        other => Err(S3Error::with(ErrorCode::InternalError, format!("unexpected answer: {other:?}"))),
    }
}

fn answer(digested: &Digested) -> Response {
    let mut response = response::empty(StatusCode::OK);
    response.headers_mut().insert(ETAG, response::etag(&etag(digested)));
    if let Some(checksum) = digested.checksums.first() {
        write_checksum(checksum, response.headers_mut());
    }
    response
}

pub(super) fn part_number(head: &Head) -> S3Result<u16> {
    let text = head.query.get("partNumber").unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && (1..=PART_NUMBER_MAX).contains(number));
    number.ok_or_else(|| {
        S3Error::invalid_argument("Part number must be an integer between 1 and 10000, inclusive")
            .detail("ArgumentName", "partNumber")
            .detail("ArgumentValue", text)
    })
}

/// The algorithm that the part needs so that the object can have its checksum. `sent`: that of the checksum
/// that came with it. Of an upload whose client chose nothing, any is verified.
fn algorithm(chosen: Option<UploadChecksum>, sent: Option<Algorithm>) -> S3Result<Algorithm> {
    match (chosen, sent) {
        (None, _) => Ok(UploadChecksum::DEFAULT.algorithm),
        (Some(chosen), Some(sent)) if chosen.algorithm != sent => Err(S3Error::invalid_request(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            chosen.algorithm.name().to_lowercase(),
            sent.name().to_lowercase()
        ))),
        (Some(chosen), _) => Ok(chosen.algorithm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::ChecksumType;
    use crate::s3::headers::tests::head_of;

    #[test]
    fn a_part_has_a_number_from_one_to_ten_thousand() {
        for (query, number) in [("1", Some(1)), ("10000", Some(10_000)), ("007", Some(7))] {
            let head = head_of(&format!("/b/k?uploadId=x&partNumber={query}"), &[]);
            assert_eq!(part_number(&head).ok(), number, "{query}");
        }
        for query in ["", "0", "10001", "-1", "%2B1", "1.0", "99999999999"] {
            let head = head_of(&format!("/b/k?uploadId=x&partNumber={query}"), &[]);
            assert_eq!(part_number(&head).unwrap_err().code, ErrorCode::InvalidArgument, "{query}");
        }
        let without = head_of("/b/k?uploadId=x", &[]);
        assert_eq!(part_number(&without).unwrap_err().code, ErrorCode::InvalidArgument);
    }

    #[test]
    fn a_part_has_the_checksum_of_its_upload() {
        let sha1 = UploadChecksum { algorithm: Algorithm::Sha1, checksum_type: ChecksumType::Composite };
        assert_eq!(algorithm(None, None), Ok(Algorithm::Crc64Nvme));
        assert_eq!(algorithm(None, Some(Algorithm::Crc32)), Ok(Algorithm::Crc64Nvme));
        assert_eq!(algorithm(Some(sha1), None), Ok(Algorithm::Sha1));
        assert_eq!(algorithm(Some(sha1), Some(Algorithm::Sha1)), Ok(Algorithm::Sha1));
        let mismatch = algorithm(Some(sha1), Some(Algorithm::Crc32)).unwrap_err();
        assert_eq!(mismatch.code, ErrorCode::InvalidRequest);
    }
}
