//! What S3 clients rely on: one behaviour per test, a bucket of its own for each.
//!
//! `S3_ENDPOINT=http://host:port`, `S3_ACCESS_KEY` and `S3_SECRET_KEY` name any server. Without them the
//! tests start `viewstone dev`.

mod bucket;

mod buckets;
mod conditions;
mod metadata;
mod objects;
mod ranges;
