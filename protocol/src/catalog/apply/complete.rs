//! An upload becomes an object.

use super::Apply;
use crate::catalog::error::Error;
use crate::catalog::keys;
use crate::catalog::metadata::{Checksums, Conditions, ETag};
use crate::catalog::names::{BucketRef, UploadId};
use crate::catalog::operation::ListedPart;
use crate::catalog::reply::Success;
use crate::catalog::rows::{
    LayoutRow, ManifestRow, ObjectBody, ObjectRow, PartRun, SurplusRow, UploadRow, VersionKind,
};
use crate::catalog::store::{
    Failure, check_conditions, damaged, decode_size_and_digest, find_object, read, scan_prefix, write,
};
use crate::tables::{Scan, Tables};

/// So many runs does one row hold: about 3 KiB.
const LAYOUT_RUNS_MAX: usize = 256;

/// What a client says of the object that an upload shall become.
pub(super) struct Completion {
    pub(super) upload: UploadId,
    pub(super) parts: Vec<ListedPart>,
    pub(super) etag: ETag,
    pub(super) checksums: Checksums,
    pub(super) size: Option<u64>,
}

/// What becomes of the parts of an upload.
struct Selection {
    /// The parts of the object, in order.
    runs: Vec<PartRun>,
    size: u64,
    /// There are parts that the client uploaded and did not list.
    has_surplus: bool,
}

impl<T: Tables> Apply<'_, T> {
    /// The parts stay where they are and come to belong to the object; those that are not listed stay
    /// beside them, for `Collect`. Clients ask again when they miss the answer, so an upload that has
    /// become the object as asked is answered as before.
    pub(super) fn complete_upload(
        &mut self,
        bucket: &BucketRef,
        key: &[u8],
        conditions: &Conditions,
        completion: Completion,
    ) -> Result<Success, Failure> {
        let Completion { upload, parts, etag, checksums, size } = completion;
        let bucket = self.bucket_id(bucket)?;
        let current = find_object(self.tables, bucket, key)?;
        let upload_key = keys::upload(bucket, key, upload);
        let Some(row) = read::<UploadRow>(self.tables, &upload_key)? else {
            return Ok(repeated(current, upload, etag)?);
        };
        check_conditions(conditions, current.as_ref())?;
        let selection = self.select_parts(upload, &parts)?;
        if size.is_some_and(|size| size != selection.size) {
            return Err(Error::SizeMismatch.into());
        }

        if selection.has_surplus {
            write(self.tables, &keys::surplus(upload), &SurplusRow { next: 0 });
        }
        self.write_layout(upload, &selection.runs);
        write(self.tables, &keys::manifest(upload), &ManifestRow { references: 1 });
        self.tables.delete(&upload_key);
        let object = ObjectRow {
            kind: VersionKind::Object,
            summary: self.summarize(selection.size, etag, checksums),
            headers: row.headers,
            tags: row.tags,
            body: ObjectBody::Composed { upload },
        };
        self.replace_object(bucket, key, current, &object)?;
        Ok(Success::ObjectWritten { object: object.summary })
    }

    /// Compares the list with what was uploaded, in one pass over both that ends as soon as the answer
    /// is known. A part that was put again after the client made its list has another digest and is
    /// refused.
    fn select_parts(&self, upload: UploadId, listed: &[ListedPart]) -> Result<Selection, Failure> {
        if !listed.is_sorted_by(|a, b| a.number < b.number) {
            return Err(Error::InvalidPartOrder.into());
        }
        let mut selection = Selection { runs: Vec::new(), size: 0, has_surplus: false };
        let mut rest = listed.iter().peekable();
        let mut refusal = None;
        scan_prefix(self.tables, &keys::parts(upload), |key, value| {
            let number = keys::parse_part(key).ok_or_else(|| damaged("a part without a number"))?;
            let Some(wanted) = rest.next_if(|wanted| wanted.number <= number) else {
                selection.has_surplus = true;
                return Ok(if rest.peek().is_none() { Scan::Stop } else { Scan::Continue });
            };
            let (size, digest) = decode_size_and_digest(key, value)?;
            let last = rest.peek().is_none();
            refusal = if wanted.number != number || wanted.digest != digest {
                Some(Error::InvalidPart)
            } else if size < self.catalog.limits.part_bytes_min && !last {
                Some(Error::EntityTooSmall)
            } else {
                selection.add(number, size)
            };
            Ok(if refusal.is_some() { Scan::Stop } else { Scan::Continue })
        })?;
        match refusal.or(rest.peek().map(|_| Error::InvalidPart)) {
            Some(refusal) => Err(refusal.into()),
            None => Ok(selection),
        }
    }

    fn write_layout(&mut self, upload: UploadId, runs: &[PartRun]) {
        let mut start = 0;
        for runs in runs.chunks(LAYOUT_RUNS_MAX) {
            let end = start + runs.iter().map(PartRun::size).sum::<u64>();
            let last = runs.last().expect("no chunk is empty").last();
            write(self.tables, &keys::layout(upload, end, last), &LayoutRow { start, runs: runs.to_vec() });
            start = end;
        }
    }
}

impl Selection {
    /// The size of an object is a `u64`, and so is that of each of its parts.
    fn add(&mut self, number: u16, size: u64) -> Option<Error> {
        let Some(total) = self.size.checked_add(size) else { return Some(Error::SizeMismatch) };
        self.size = total;
        match self.runs.last_mut() {
            Some(run) if run.last() + 1 == number && run.length == size => run.count += 1,
            _ => self.runs.push(PartRun { first: number, count: 1, length: size }),
        }
        None
    }
}

fn repeated(current: Option<ObjectRow>, upload: UploadId, etag: ETag) -> Result<Success, Error> {
    match current {
        Some(object) if object.body == (ObjectBody::Composed { upload }) && object.summary.etag == etag => {
            Ok(Success::ObjectWritten { object: object.summary })
        }
        _ => Err(Error::NoSuchUpload),
    }
}
