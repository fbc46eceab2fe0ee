//! What S3 clients rely on: one behaviour per test, a bucket of its own for each.
//!
//! `S3_ENDPOINT=http://host:port`, `S3_ACCESS_KEY` and `S3_SECRET_KEY` name any server. Without them the
//! tests start `viewstone dev`.

#![expect(clippy::unwrap_used, reason = "all of this is tests, also what is not marked as one")]

mod bucket;

mod attributes;
mod auth_raw;
mod buckets;
mod checksums;
mod chunked_raw;
mod conditions;
mod copy;
mod delete_objects;
mod errors;
mod keys_raw;
mod listing_v1;
mod listing_v2;
mod malformed_raw;
mod metadata;
mod multipart;
mod multipart_copy;
mod objects;
mod presign;
mod properties;
mod ranges;
mod tagging;
mod versions;
