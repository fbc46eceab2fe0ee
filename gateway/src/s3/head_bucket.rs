//! HeadBucket. Whatever it answers, the region is added where answers leave.

use http::StatusCode;

use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::{S3Result, bucket};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    bucket::find(call).await?;
    Ok(response::empty(StatusCode::OK))
}
