//! Buckets, objects, uploads: S3 as a deterministic state machine.
