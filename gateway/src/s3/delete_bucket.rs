//! DeleteBucket. A bucket with objects, or with uploads under way, stays.

use http::StatusCode;
use protocol::catalog::Operation;

use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::{S3Result, bucket};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    let operation = Operation::DeleteBucket { bucket: bucket::reference(call).await? };
    bucket::submit(call, &operation).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}
