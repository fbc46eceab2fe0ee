//! GetObjectTagging. Unlike a bucket, an object without tags has a set with none: clients that copy
//! objects ask for it and take an error for a failure.

use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::{S3Result, object, tags, unsupported, version};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    version::check_query(call.head)?;
    let bucket = unsupported::expected_bucket(call).await?;
    let object = object::find(call, bucket).await?;
    Ok(response::xml(tags::document(&object.tags)))
}
