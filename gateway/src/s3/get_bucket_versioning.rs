//! GetBucketVersioning: a document without a status is that of a bucket that was never versioned.

use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::xml::Document;
use crate::s3::{S3Result, bucket};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    bucket::find(call).await?;
    Ok(response::xml(Document::new("VersioningConfiguration")))
}
