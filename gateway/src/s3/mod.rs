//! The operations of S3, a file each, and what they share.

mod abort_multipart_upload;
mod bucket;
mod complete_multipart_upload;
mod conditions;
pub(crate) mod copy_source;
mod create_multipart_upload;
mod delete_object;
mod error;
mod get_object;
mod head_object;
mod headers;
mod list_parts;
mod multipart;
mod object;
mod object_body;
mod owner;
mod parts_checksum;
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
        Operation::GetObject => get_object::handle(call).await,
        Operation::HeadObject => head_object::handle(call).await,
        Operation::DeleteObject => delete_object::handle(call).await,
        Operation::CreateMultipartUpload => create_multipart_upload::handle(call).await,
        Operation::UploadPart => upload_part::handle(call, payload).await,
        Operation::CompleteMultipartUpload => complete_multipart_upload::handle(call, payload).await,
        Operation::AbortMultipartUpload => abort_multipart_upload::handle(call).await,
        Operation::ListParts => list_parts::handle(call).await,
        _ => Err(S3Error::not_implemented(format!("{operation:?} is not implemented"))),
    }
}
