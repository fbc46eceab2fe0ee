//! The documents that S3 speaks in.
//!
//! In reading order: making them (`write`), and reading those of clients (`read`).

mod read;
mod write;

pub(crate) use read::{Element, malformed};
pub(crate) use write::Document;
