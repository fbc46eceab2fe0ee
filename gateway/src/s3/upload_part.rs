//! UploadPart: a body becomes one part of an upload. A part that comes again replaces the earlier one.

use http::StatusCode;
use http::header::ETAG;
use protocol::catalog::{Operation, Success};

use super::multipart::{UploadRef, algorithm_of_part, checksum_of, part_number};
use super::put_object::{etag, unexpected, write_checksum};
use super::{S3Result, bucket, unsupported};
use crate::body::{self, Checksum, Digested, Payload};
use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>, mut payload: Payload) -> S3Result<Response> {
    unsupported::check(call.head)?;
    let part = part_number(call.head)?;
    let upload = UploadRef::of(call.head, bucket::reference(call).await?)?;
    body::check_length(&payload)?;

    // Asked before gigabytes are read in vain, and because the upload says which checksum its parts have.
    // Of one whose client chose nothing, any that comes is verified.
    let chosen = checksum_of(&upload.find(call).await?);
    payload.want_md5();
    payload.want(algorithm_of_part(chosen, payload.algorithm())?);

    let make = move |digested: &Digested, body| {
        let UploadRef { bucket, key, upload } = upload.clone();
        let checksums = digested.checksums.iter().map(Checksum::to_catalog).collect();
        Operation::PutPart { bucket, key, upload, part, digest: etag(digested).digest, checksums, body }
    };
    let (digested, success) =
        body::store(call.cluster(), &call.gateway.memory, payload, call.seed(), make).await?;
    match success {
        Success::PartWritten { .. } => Ok(answer(&digested)),
        other => Err(unexpected(&other)),
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
