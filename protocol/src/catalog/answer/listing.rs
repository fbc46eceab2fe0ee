//! Listings by key, with prefix and delimiter.
//!
//! A common prefix is one entry, however many keys begin with it: the listing jumps over them. So a
//! page visits about as many rows as it has entries.

use bytes::Bytes;

use super::{Ask, Page};
use crate::catalog::keys::{self, Space};
use crate::catalog::names::{BucketId, BucketRef};
use crate::catalog::query::ListPosition;
use crate::catalog::reply::{Answer, ListEntry, UploadEntry};
use crate::catalog::rows::UploadRow;
use crate::catalog::store::{Failure, damaged, decode, decode_summary, find_bucket, scan};
use crate::tables::{Scan, TableFault, Tables};

/// Room for the fixed fields of an entry.
const ENTRY_BYTES: usize = 96;

impl<T: Tables> Ask<'_, T> {
    pub(super) fn list_objects(
        &self,
        bucket: &BucketRef,
        prefix: &[u8],
        delimiter: &[u8],
        after: &ListPosition,
        limit: u32,
    ) -> Result<Answer, Failure> {
        let bucket = find_bucket(self.tables, bucket)?.id;
        let walk = Walk { space: Space::Objects, bucket, prefix, delimiter };
        let page = walk.page(self.tables, after, self.page(limit), |found| match found {
            Found::Prefix { prefix } => Ok(ListEntry::Prefix { prefix }),
            Found::Row { key, row, value, .. } => {
                Ok(ListEntry::Object { key, object: decode_summary(row, value)? })
            }
        })?;
        let next = page.truncated.then(|| match page.entries.last() {
            None => ListPosition::Start,
            Some(ListEntry::Object { key, .. }) => ListPosition::AfterKey { key: key.clone() },
            Some(ListEntry::Prefix { prefix }) => ListPosition::AfterPrefix { prefix: prefix.clone() },
        });
        Ok(Answer::Objects { entries: page.entries, next })
    }

    pub(super) fn list_uploads(
        &self,
        bucket: &BucketRef,
        prefix: &[u8],
        delimiter: &[u8],
        after: &ListPosition,
        limit: u32,
    ) -> Result<Answer, Failure> {
        let bucket = find_bucket(self.tables, bucket)?.id;
        let walk = Walk { space: Space::Uploads, bucket, prefix, delimiter };
        let page = walk.page(self.tables, after, self.page(limit), |found| match found {
            Found::Prefix { prefix } => Ok(UploadEntry::Prefix { prefix }),
            Found::Row { key, number, row, value } => {
                let UploadRow { created, headers, checksum, .. } = decode(row, value)?;
                let id = crate::catalog::names::UploadId::new(number);
                Ok(UploadEntry::Upload { key, id, created, headers, checksum })
            }
        })?;
        let next = page.truncated.then(|| match page.entries.last() {
            None => ListPosition::Start,
            Some(UploadEntry::Upload { key, id, .. }) => {
                ListPosition::AfterUpload { key: key.clone(), upload: *id }
            }
            Some(UploadEntry::Prefix { prefix }) => ListPosition::AfterPrefix { prefix: prefix.clone() },
        });
        Ok(Answer::Uploads { entries: page.entries, next })
    }
}

/// What a walk comes upon.
enum Found<'a> {
    Row { key: Bytes, number: u64, row: &'a [u8], value: &'a [u8] },
    Prefix { prefix: Bytes },
}

/// A walk through the keys of a bucket.
struct Walk<'a> {
    space: Space,
    bucket: BucketId,
    prefix: &'a [u8],
    delimiter: &'a [u8],
}

impl Walk<'_> {
    fn page<E>(
        &self,
        tables: &impl Tables,
        after: &ListPosition,
        mut page: Page<E>,
        entry: impl Fn(Found<'_>) -> Result<E, TableFault>,
    ) -> Result<Page<E>, TableFault> {
        let end = self.space.after_prefix(self.bucket, self.prefix);
        let mut next = Some(self.start(after));
        while let Some(start) = next.take() {
            scan(tables, &start, &end, |row, value| {
                if !page.has_room() {
                    return Ok(Scan::Stop);
                }
                let (key, number) = self.space.parse(row).ok_or_else(|| damaged("a row without a key"))?;
                match self.common_prefix(&key) {
                    Some(prefix) => {
                        next = Some(self.space.after_prefix(self.bucket, prefix));
                        let prefix = Bytes::copy_from_slice(prefix);
                        let bytes = ENTRY_BYTES + prefix.len();
                        page.push(entry(Found::Prefix { prefix })?, bytes);
                        Ok(Scan::Stop)
                    }
                    None => {
                        // The value of an upload is in its entry, that of an object mostly is not.
                        let value_bytes = if self.space == Space::Uploads { value.len() } else { 0 };
                        let bytes = ENTRY_BYTES + key.len() + value_bytes;
                        page.push(entry(Found::Row { key: key.into(), number, row, value })?, bytes);
                        Ok(Scan::Continue)
                    }
                }
            })?;
        }
        Ok(page)
    }

    /// The position and the prefix both say where to begin at the earliest.
    fn start(&self, after: &ListPosition) -> Vec<u8> {
        let first = self.space.prefix(self.bucket, self.prefix);
        let position = match after {
            ListPosition::Start => return first,
            ListPosition::AfterKey { key } => self.space.after_key(self.bucket, key),
            ListPosition::AfterPrefix { prefix } => self.space.after_prefix(self.bucket, prefix),
            ListPosition::AfterUpload { key, upload } => {
                keys::after_row(keys::upload(self.bucket, key, *upload))
            }
        };
        first.max(position)
    }

    /// The key up to and including the first delimiter after the prefix.
    fn common_prefix<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        if self.delimiter.is_empty() {
            return None;
        }
        let rest = &key[self.prefix.len()..];
        let at = rest.windows(self.delimiter.len()).position(|window| window == self.delimiter)?;
        Some(&key[..self.prefix.len() + at + self.delimiter.len()])
    }
}
