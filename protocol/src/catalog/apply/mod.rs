//! What operations do.
//!
//! Everything that may refuse an operation comes before its first write: a refused operation has
//! changed nothing.

mod access_keys;
mod buckets;
mod collect;
mod complete;
mod copies;
mod copy;
mod objects;
mod references;
mod uploads;

use super::Catalog;
use super::names::{BucketId, BucketRef, unique};
use super::operation::Operation;
use super::reply::Success;
use super::store::{Failure, find_bucket};
use crate::machine::Context;
use crate::tables::Tables;

/// One operation under way.
pub(super) struct Apply<'a, T> {
    pub(super) tables: &'a mut T,
    pub(super) context: &'a Context<'a>,
    pub(super) catalog: &'a Catalog,
}

impl<T: Tables> Apply<'_, T> {
    pub(super) fn operation(&mut self, operation: Operation) -> Result<Success, Failure> {
        match operation {
            Operation::CreateBucket { name, owner, tags } => self.create_bucket(&name, owner, tags),
            Operation::DeleteBucket { bucket } => self.delete_bucket(&bucket),
            Operation::PutBucketTags { bucket, tags } => self.put_bucket_tags(&bucket, tags),
            Operation::PutObject { bucket, key, conditions, etag, headers, checksums, tags, body } => {
                let object = objects::NewObject { etag, headers, checksums, tags, body };
                self.put_object(&bucket, &key, &conditions, object)
            }
            Operation::CopyObject {
                source,
                source_key,
                source_conditions,
                bucket,
                key,
                conditions,
                headers,
                tags,
            } => {
                let source = self.copy_source(&source, &source_key, &source_conditions)?;
                self.copy_object(source, &bucket, &key, &conditions, headers, tags)
            }
            Operation::DeleteObjects { bucket, deletes } => self.delete_objects(&bucket, &deletes),
            Operation::PutObjectTags { bucket, key, tags } => self.put_object_tags(&bucket, &key, tags),
            Operation::CreateUpload { bucket, key, headers, tags, checksum } => {
                self.create_upload(&bucket, &key, headers, tags, checksum)
            }
            Operation::PutPart { bucket, key, upload, part, digest, checksums, body } => {
                self.find_upload(&bucket, &key, upload)?;
                self.put_part(upload, part, digest, checksums, body)
            }
            Operation::CopyPart {
                bucket,
                key,
                upload,
                part,
                source,
                source_key,
                source_conditions,
                range,
                checksums,
            } => {
                self.find_upload(&bucket, &key, upload)?;
                let source = self.copy_source(&source, &source_key, &source_conditions)?;
                self.copy_part(source, upload, part, range, checksums)
            }
            Operation::CompleteUpload { bucket, key, upload, conditions, parts, etag, checksums, size } => {
                let completion = complete::Completion { upload, parts, etag, checksums, size };
                self.complete_upload(&bucket, &key, &conditions, completion)
            }
            Operation::AbortUpload { bucket, key, upload } => self.abort_upload(&bucket, &key, upload),
            Operation::PutAccessKey { id, access_key } => self.put_access_key(&id, &access_key),
            Operation::DeleteAccessKey { id } => self.delete_access_key(&id),
            Operation::Collect { retired, condemned } => self.collect(&retired, &condemned),
            Operation::Settle { node, incarnation, bodies } => self.settle(node, incarnation, &bodies),
            Operation::Rebuilt { node, incarnation } => self.rebuilt(node, incarnation),
        }
    }

    fn bucket_id(&self, bucket: &BucketRef) -> Result<BucketId, Failure> {
        find_bucket(self.tables, bucket).map(|row| row.id)
    }

    /// A number that stands for this request for ever.
    fn unique(&self) -> u64 {
        unique(self.context.op, self.context.index)
    }
}
