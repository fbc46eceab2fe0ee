//! Configurations that no bucket has, each of which S3 denies in its own words. Clients ask for them to
//! learn just that, and take another error for a failure.

use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::Response;
use crate::s3::{ErrorCode, S3Error, S3Result, bucket};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>, code: ErrorCode) -> S3Result<Response> {
    bucket::find(call).await?;
    Err(S3Error::new(code).detail("BucketName", call.head.bucket_name()))
}
