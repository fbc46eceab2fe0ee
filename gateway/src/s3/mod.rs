//! The operations of S3, a file each, and what they share.

mod conditions;
pub(crate) mod copy_source;
mod error;
mod headers;
mod range;
mod unsupported;
pub(crate) mod upload_id;
mod version;
pub(crate) mod xml;

pub use error::{ErrorCode, S3Error, S3Result};

use crate::cluster::Link;
use crate::http::response::Response;
use crate::http::{Call, Operation};

/// Whoever asks has been authenticated, and may do this.
pub(crate) async fn perform<L: Link>(_call: &Call<'_, L>, operation: Operation) -> S3Result<Response> {
    Err(S3Error::not_implemented(format!("{operation:?} is not implemented")))
}
