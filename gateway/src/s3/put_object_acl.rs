//! PutObjectAcl: as of a bucket, for the objects of a bucket have one owner.

use http::StatusCode;

use crate::body::{self, Payload};
use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::{S3Result, object, put_bucket_acl, unsupported, version};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>, payload: Payload) -> S3Result<Response> {
    let document = body::document(payload, &call.gateway.memory).await?;
    version::check_query(call.head)?;
    let bucket = unsupported::expected_bucket(call).await?;
    object::find(call, bucket).await?;
    put_bucket_acl::check(call, &document).await?;
    Ok(response::empty(StatusCode::OK))
}
