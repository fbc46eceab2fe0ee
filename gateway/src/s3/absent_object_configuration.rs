//! Configurations that no object has, each of which S3 denies in its own words.

use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::Response;
use crate::s3::{ErrorCode, S3Error, S3Result, object, unsupported, version};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>, code: ErrorCode) -> S3Result<Response> {
    version::check_query(call.head)?;
    let bucket = unsupported::expected_bucket(call).await?;
    object::find(call, bucket).await?;
    Err(S3Error::new(code).detail("Key", call.head.key()))
}
