//! The parts of an upload: under way, or of the object that it became.

use super::Ask;
use crate::catalog::error::Error;
use crate::catalog::keys;
use crate::catalog::names::{BucketRef, UploadId};
use crate::catalog::reply::{Answer, Part, Upload};
use crate::catalog::rows::{PartRow, UploadRow};
use crate::catalog::store::{Failure, damaged, decode, find_bucket, read, scan};
use crate::tables::{Scan, TableFault, Tables};

/// About what a part takes in an answer, its checksums aside.
const PART_BYTES: usize = 64;

impl<T: Tables> Ask<'_, T> {
    pub(super) fn list_parts(
        &self,
        bucket: &BucketRef,
        key: &[u8],
        upload: UploadId,
        after: u16,
        limit: u32,
    ) -> Result<Answer, Failure> {
        let bucket = find_bucket(self.tables, bucket)?.id;
        let row: UploadRow =
            read(self.tables, &keys::upload(bucket, key, upload))?.ok_or(Error::NoSuchUpload)?;
        let (parts, truncated) = self.parts_after(upload, after, limit)?;
        let UploadRow { created, headers, tags, checksum } = row;
        let upload = Upload { id: upload, created, headers, tags, checksum };
        Ok(Answer::Parts { upload, parts, truncated })
    }

    pub(super) fn parts_after(
        &self,
        upload: UploadId,
        after: u16,
        limit: u32,
    ) -> Result<(Vec<Part>, bool), TableFault> {
        let mut page = self.page(limit);
        let start = keys::after_row(keys::part(upload, after));
        let end = keys::successor(keys::parts(upload));
        scan(self.tables, &start, &end, |key, value| {
            if !page.has_room() {
                return Ok(Scan::Stop);
            }
            let number = keys::parse_part(key).ok_or_else(|| damaged("a part without a number"))?;
            let PartRow { size, digest, last_modified, checksums, .. } = decode(key, value)?;
            let bytes = checksums.iter().map(|checksum| 5 + checksum.value.len()).sum::<usize>();
            page.push(Part { number, size, digest, last_modified, checksums }, PART_BYTES + bytes);
            Ok(Scan::Continue)
        })?;
        Ok((page.entries, page.truncated))
    }
}
