//! The parts of an upload: under way, or of the object that it became.

use super::pieces::{part_row, places};
use super::{Ask, Page};
use crate::catalog::error::Error;
use crate::catalog::keys;
use crate::catalog::names::{BucketRef, UploadId};
use crate::catalog::query::PieceStart;
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

    fn parts_after(&self, upload: UploadId, after: u16, limit: u32) -> Result<(Vec<Part>, bool), TableFault> {
        let mut page = self.page(limit);
        let start = keys::after_row(keys::part(upload, after));
        let end = keys::successor(keys::parts(upload));
        scan(self.tables, &start, &end, |key, value| {
            if !page.has_room() {
                return Ok(Scan::Stop);
            }
            let number = keys::parse_part(key).ok_or_else(|| damaged("a part without a number"))?;
            push_part(&mut page, number, decode(key, value)?);
            Ok(Scan::Continue)
        })?;
        Ok((page.entries, page.truncated))
    }

    /// Of an object, which tells by its layout what it consists of: parts that were not listed when it
    /// was completed may still be there.
    pub(super) fn object_parts_after(
        &self,
        upload: UploadId,
        after: u16,
        limit: u32,
    ) -> Result<(Vec<Part>, bool), TableFault> {
        let mut page = self.page(limit);
        let from = PieceStart::Part { number: after.saturating_add(1) };
        for place in places(self.tables, upload, from, page.limit + 1)? {
            if !page.has_room() {
                break;
            }
            push_part(&mut page, place.number, part_row(self.tables, upload, place.number)?);
        }
        Ok((page.entries, page.truncated))
    }
}

fn push_part(page: &mut Page<Part>, number: u16, row: PartRow) {
    let PartRow { size, digest, last_modified, checksums, .. } = row;
    let bytes = checksums.iter().map(|checksum| 5 + checksum.value.len()).sum::<usize>();
    page.push(Part { number, size, digest, last_modified, checksums }, PART_BYTES + bytes);
}
