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

/// Whether it asks for what is so anyhow: by its document, or by a header with a short name.
pub(super) async fn check<L: Link>(call: &Call<'_, L>, document: &[u8]) -> S3Result<()> {
    unsupported::check(call.head)?;
    let owner = Owner::find(call).await?;
    if document.is_empty() && unsupported::has_harmless_acl(call.head) {
        return Ok(());
    }
    owner.check_access_control_policy(document)
}
