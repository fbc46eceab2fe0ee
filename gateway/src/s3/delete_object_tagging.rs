//! DeleteObjectTagging.

use http::StatusCode;
use protocol::catalog::Tags;

use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::Response;
use crate::s3::{S3Result, put_object_tagging};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    put_object_tagging::put(call, Tags::new(), StatusCode::NO_CONTENT).await
}
