//! PutObjectTagging: the tags of the document take the place of all that there were. Neither the ETag nor
//! the date of the object changes.

use http::StatusCode;
use protocol::catalog::{OBJECT_TAG_COUNT_MAX, Operation, Tags};

use crate::body::{self, Payload};
use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::{S3Result, object, tags, unsupported, version};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>, payload: Payload) -> S3Result<Response> {
    let tags =
        tags::parse_document(&body::document(payload, &call.gateway.memory).await?, OBJECT_TAG_COUNT_MAX)?;
    put(call, tags, StatusCode::OK).await
}

/// An object without tags has an empty set of them.
pub(super) async fn put<L: Link>(call: &Call<'_, L>, tags: Tags, done: StatusCode) -> S3Result<Response> {
    version::check_query(call.head)?;
    let bucket = unsupported::expected_bucket(call).await?;
    let operation = Operation::PutObjectTags { bucket, key: call.head.key().to_owned().into(), tags };
    let (_, reply) = call.cluster().submit(&operation).await?;
    reply.map_err(|error| object::refused(call, error))?;
    Ok(response::empty(done))
}
