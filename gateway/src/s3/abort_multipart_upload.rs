//! Aborting an upload. Its parts are gone at once for every client, and their bytes a little later.
//! Aborting one that was completed or aborted before is `NoSuchUpload`.

use http::StatusCode;
use protocol::catalog::Operation;

use super::multipart::UploadRef;
use super::{S3Error, S3Result, bucket, unsupported};
use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    unsupported::check(call.head)?;
    if call.head.headers.contains_key("x-amz-if-match-initiated-time") {
        return Err(S3Error::not_implemented("x-amz-if-match-initiated-time is not implemented"));
    }
    let UploadRef { bucket, key, upload } = UploadRef::of(call.head, bucket::reference(call).await?)?;
    let operation = Operation::AbortUpload { bucket, key, upload };
    let (_, reply) = call.cluster().submit(&operation).await?;
    reply.map_err(|error| bucket::refused(call, error))?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}
