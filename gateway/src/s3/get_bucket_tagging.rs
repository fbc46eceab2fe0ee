//! GetBucketTagging. Unlike an object, a bucket without tags has no tag set.

use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::{ErrorCode, S3Error, S3Result, bucket, tags};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    let bucket = bucket::find(call).await?;
    if bucket.tags.is_empty() {
        let error = S3Error::new(ErrorCode::NoSuchTagSet);
        return Err(error.detail("BucketName", call.head.bucket_name()));
    }
    Ok(response::xml(tags::document(&bucket.tags)))
}
