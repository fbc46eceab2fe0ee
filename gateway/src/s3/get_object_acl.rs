//! GetObjectAcl: an object belongs to whom its bucket belongs to.

use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::owner::Owner;
use crate::s3::{S3Result, object, unsupported, version};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    version::check_query(call.head)?;
    let bucket = unsupported::expected_bucket(call).await?;
    object::find(call, bucket).await?;
    Ok(response::xml(Owner::find(call).await?.access_control_policy()))
}
