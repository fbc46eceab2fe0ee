//! The operations of S3, a file each, and what they share.

mod bucket;
mod conditions;
mod copy_object;
pub(crate) mod copy_source;
mod delete_object;
mod error;
mod get_object;
mod get_object_attributes;
mod head_object;
mod headers;
mod multipart;
mod object;
mod object_body;
mod put_object;
mod range;
mod read_request;
mod tags;
mod unsupported;
pub(crate) mod upload_id;
mod upload_part;
mod version;
pub(crate) mod xml;

pub use error::{ErrorCode, S3Error, S3Result};

use crate::body::Payload;
use crate::cluster::Link;
use crate::http::response::Response;
use crate::http::{Call, Operation};

/// Whoever asks has been authenticated, and may do this.
pub(crate) async fn perform<L: Link>(
    call: &Call<'_, L>,
    operation: Operation,
    payload: Payload,
) -> S3Result<Response> {
    match operation {
        Operation::PutObject => put_object::handle(call, payload).await,
        Operation::CopyObject => copy_object::handle(call).await,
        Operation::GetObject => get_object::handle(call).await,
        Operation::HeadObject => head_object::handle(call).await,
        Operation::DeleteObject => delete_object::handle(call).await,
        Operation::GetObjectAttributes => get_object_attributes::handle(call).await,
        Operation::UploadPart => upload_part::handle(call, payload).await,
        _ => Err(S3Error::not_implemented(format!("{operation:?} is not implemented"))),
    }
}
