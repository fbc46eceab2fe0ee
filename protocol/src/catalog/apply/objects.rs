//! Objects: put, delete, tag.

use super::Apply;
use crate::catalog::body::NewBody;
use crate::catalog::error::Error;
use crate::catalog::keys;
use crate::catalog::metadata::{Checksums, Conditions, ETag, Headers, Tags};
use crate::catalog::names::{BucketId, BucketRef};
use crate::catalog::operation::Delete;
use crate::catalog::reply::{ObjectSummary, Success};
use crate::catalog::rows::{ObjectBody, ObjectRow, VersionKind};
use crate::catalog::store::{Failure, check_conditions, find_object, write};
use crate::tables::{TableFault, Tables};

/// What a put says of its object.
pub(super) struct NewObject {
    pub(super) etag: ETag,
    pub(super) headers: Headers,
    pub(super) checksums: Checksums,
    pub(super) tags: Tags,
    pub(super) body: NewBody,
}

impl<T: Tables> Apply<'_, T> {
    /// The rows of a small put: the bucket's is read, the object's is read and written.
    pub(super) fn put_object(
        &mut self,
        bucket: &BucketRef,
        key: &[u8],
        conditions: &Conditions,
        object: NewObject,
    ) -> Result<Success, Failure> {
        let bucket = self.bucket_id(bucket)?;
        let current = find_object(self.tables, bucket, key)?;
        check_conditions(conditions, current.as_ref())?;

        let NewObject { etag, headers, checksums, tags, body } = object;
        let summary = self.summarize(body.length(), etag, checksums);
        let body = match body {
            NewBody::Inline { bytes } => ObjectBody::Inline { bytes },
            NewBody::Chunked { upload, body, layout, receipts } => {
                ObjectBody::Chunked { id: self.claim(upload, body, layout, &receipts)? }
            }
        };
        let row = ObjectRow { kind: VersionKind::Object, summary, headers, tags, body };
        self.replace_object(bucket, key, current, &row)?;
        Ok(Success::ObjectWritten { object: row.summary })
    }

    /// What a listing will say of an object that is written now.
    pub(super) fn summarize(&self, size: u64, etag: ETag, checksums: Checksums) -> ObjectSummary {
        let last_modified = self.context.timestamp;
        ObjectSummary { version: self.unique(), size, etag, last_modified, checksums }
    }

    /// Writes an object whose body is already counted, and drops what was there before.
    pub(super) fn replace_object(
        &mut self,
        bucket: BucketId,
        key: &[u8],
        current: Option<ObjectRow>,
        new: &ObjectRow,
    ) -> Result<(), TableFault> {
        write(self.tables, &keys::object(bucket, key), new);
        current.map_or(Ok(()), |current| self.release(&current.body))
    }

    pub(super) fn delete_objects(
        &mut self,
        bucket: &BucketRef,
        deletes: &[Delete],
    ) -> Result<Success, Failure> {
        let bucket = self.bucket_id(bucket)?;
        let outcomes = deletes
            .iter()
            .map(|delete| match self.delete_object(bucket, delete) {
                Ok(()) => Ok(None),
                Err(Failure::Refused(error)) => Ok(Some(error)),
                Err(fault @ Failure::Fault(_)) => Err(fault),
            })
            .collect::<Result<_, Failure>>()?;
        Ok(Success::ObjectsDeleted { outcomes })
    }

    /// Deleting a key that is not there succeeds, whatever the conditions.
    fn delete_object(&mut self, bucket: BucketId, delete: &Delete) -> Result<(), Failure> {
        let Some(current) = find_object(self.tables, bucket, &delete.key)? else { return Ok(()) };
        check_conditions(&delete.conditions, Some(&current))?;
        self.tables.delete(&keys::object(bucket, &delete.key));
        Ok(self.release(&current.body)?)
    }

    /// Tags are not part of the object's content: neither the ETag nor the date changes.
    pub(super) fn put_object_tags(
        &mut self,
        bucket: &BucketRef,
        key: &[u8],
        tags: Tags,
    ) -> Result<Success, Failure> {
        let bucket = self.bucket_id(bucket)?;
        let current = find_object(self.tables, bucket, key)?.ok_or(Error::NoSuchKey)?;
        write(self.tables, &keys::object(bucket, key), &ObjectRow { tags, ..current });
        Ok(Success::Done)
    }
}
