//! Buckets.

use bytes::Bytes;

use super::Ask;
use crate::catalog::keys;
use crate::catalog::names::BucketRef;
use crate::catalog::reply::{Answer, Bucket};
use crate::catalog::rows::BucketRow;
use crate::catalog::store::{Failure, damaged, decode, find_bucket, scan};
use crate::tables::{Scan, Tables};

fn named(name: Bytes, row: BucketRow) -> Bucket {
    let BucketRow { id, owner, created, tags } = row;
    Bucket { name, id, owner, created, tags }
}

impl<T: Tables> Ask<'_, T> {
    pub(super) fn get_bucket(&self, bucket: BucketRef) -> Result<Answer, Failure> {
        let row = find_bucket(self.tables, &bucket)?;
        Ok(Answer::Bucket { bucket: named(bucket.name, row) })
    }

    /// Passes over the buckets of other owners one by one: buckets are few.
    pub(super) fn list_buckets(
        &self,
        owner: Option<&[u8]>,
        prefix: &[u8],
        after: &[u8],
        limit: u32,
    ) -> Result<Answer, Failure> {
        let mut page = self.page(limit);
        let prefix = keys::bucket(prefix);
        let start = keys::after_row(keys::bucket(after)).max(prefix.clone());
        scan(self.tables, &start, &keys::successor(prefix), |key, value| {
            let row: BucketRow = decode(key, value)?;
            if owner.is_some_and(|owner| owner != row.owner) {
                return Ok(Scan::Continue);
            }
            if !page.has_room() {
                return Ok(Scan::Stop);
            }
            let name = keys::parse_bucket(key).ok_or_else(|| damaged("a bucket without a name"))?;
            page.push(named(Bytes::copy_from_slice(name), row), key.len() + value.len());
            Ok(Scan::Continue)
        })?;
        Ok(Answer::Buckets { buckets: page.entries, truncated: page.truncated })
    }
}
