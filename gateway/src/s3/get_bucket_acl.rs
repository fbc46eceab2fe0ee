//! GetBucketAcl.

use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::S3Result;
use crate::s3::owner::Owner;

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    Ok(response::xml(Owner::find(call).await?.access_control_policy()))
}
