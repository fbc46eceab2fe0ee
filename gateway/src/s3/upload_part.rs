//! UploadPart: a body becomes one part of an upload. A part that comes again replaces the earlier one.

use http::StatusCode;
use http::header::ETAG;
use protocol::catalog::{Operation, Success};

use super::multipart::{self, UploadRef};
use super::put_object::{etag, write_checksum};
use super::{ErrorCode, S3Error, S3Result, bucket, unsupported};
use crate::body::{self, Checksum, Digested, Payload};
use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>, mut payload: Payload) -> S3Result<Response> {
    let head = call.head;
    unsupported::check(head)?;
    let part = multipart::part_number(head)?;
    body::check_length(&payload)?;
    let upload = UploadRef::of(head, bucket::reference(call).await?)?;
    // Asked before gigabytes are read in vain, and because the upload says which checksum its parts have.
    let declared = multipart::checksum_of(&upload.find(call).await?);
    payload.want_md5();
    payload.want(multipart::algorithm_of_part(declared, payload.algorithm())?);

    let UploadRef { bucket, key, upload } = upload;
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
