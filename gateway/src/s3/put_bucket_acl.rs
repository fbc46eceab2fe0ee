//! PutBucketAcl: the only list there is may be put again. Clients that copy things bring the list along.

use http::StatusCode;

use crate::body::{self, Payload};
use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::S3Result;
use crate::s3::owner::Owner;
use crate::s3::unsupported;

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>, payload: Payload) -> S3Result<Response> {
    let document = body::document(payload, &call.gateway.memory).await?;
    check(call, &document).await?;
    Ok(response::empty(StatusCode::OK))
}

/// Whether it asks for what is so anyhow. A list of a short name was looked at with the other headers.
pub(super) async fn check<L: Link>(call: &Call<'_, L>, document: &[u8]) -> S3Result<()> {
    let owner = Owner::find(call).await?;
    if document.is_empty() && unsupported::has_harmless_acl(call.head) {
        return Ok(());
    }
    owner.check_access_control_policy(document)
}
