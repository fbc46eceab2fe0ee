//! Buckets.

use bytes::Bytes;

use super::Apply;
use crate::catalog::error::Error;
use crate::catalog::keys::{self, Space};
use crate::catalog::metadata::Tags;
use crate::catalog::names::{BucketId, BucketRef};
use crate::catalog::reply::Success;
use crate::catalog::rows::BucketRow;
use crate::catalog::store::{Failure, find_bucket, is_empty, read, write};
use crate::tables::Tables;

impl<T: Tables> Apply<'_, T> {
    pub(super) fn create_bucket(
        &mut self,
        name: &[u8],
        owner: Bytes,
        tags: Tags,
    ) -> Result<Success, Failure> {
        let key = keys::bucket(name);
        if let Some(existing) = read::<BucketRow>(self.tables, &key)? {
            let mine = existing.owner == owner;
            return Err(if mine { Error::BucketAlreadyOwnedByYou } else { Error::BucketAlreadyExists }.into());
        }
        let row =
            BucketRow { id: BucketId::new(self.unique()), owner, created: self.context.timestamp, tags };
        write(self.tables, &key, &row);
        Ok(Success::BucketCreated { id: row.id, created: row.created })
    }

    /// An upload that is under way keeps its bucket: its parts are found through it.
    pub(super) fn delete_bucket(&mut self, bucket: &BucketRef) -> Result<Success, Failure> {
        let id = self.bucket_id(bucket)?;
        for space in [Space::Objects, Space::Uploads] {
            if !is_empty(self.tables, &space.prefix(id, b""))? {
                return Err(Error::BucketNotEmpty.into());
            }
        }
        self.tables.delete(&keys::bucket(&bucket.name));
        Ok(Success::Done)
    }

    pub(super) fn put_bucket_tags(&mut self, bucket: &BucketRef, tags: Tags) -> Result<Success, Failure> {
        let row = BucketRow { tags, ..find_bucket(self.tables, bucket)? };
        write(self.tables, &keys::bucket(&bucket.name), &row);
        Ok(Success::Done)
    }
}
