//! The operations of S3, a file each, and what they share.

mod bucket;
mod conditions;
mod error;
mod headers;
mod multipart;
mod put_object;
mod tags;
mod unsupported;
pub(crate) mod upload_id;
mod upload_part;
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
        Operation::UploadPart => upload_part::handle(call, payload).await,
        _ => Err(S3Error::not_implemented(format!("{operation:?} is not implemented"))),
    }
}
