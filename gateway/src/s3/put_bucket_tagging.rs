//! PutBucketTagging: the tags of the document take the place of all that there were.

use http::StatusCode;
use protocol::catalog::{BUCKET_TAG_COUNT_MAX, Operation, Tags};

use crate::body::{self, Payload};
use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::{S3Result, bucket, tags};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>, payload: Payload) -> S3Result<Response> {
    let tags =
        tags::parse_document(&body::document(payload, &call.gateway.memory).await?, BUCKET_TAG_COUNT_MAX)?;
    put(call, tags).await
}

/// No tags: no tag set.
pub(super) async fn put<L: Link>(call: &Call<'_, L>, tags: Tags) -> S3Result<Response> {
    let operation = Operation::PutBucketTags { bucket: bucket::reference(call).await?, tags };
    bucket::submit(call, &operation).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}
