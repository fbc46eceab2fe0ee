//! The operations of S3, a file each, and what they share.

mod error;

pub use error::{ErrorCode, S3Error, S3Result};
