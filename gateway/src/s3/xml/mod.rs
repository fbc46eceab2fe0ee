//! The documents that S3 speaks in.
//!
//! In reading order: making them (`write`).

mod write;

pub(crate) use write::Document;
