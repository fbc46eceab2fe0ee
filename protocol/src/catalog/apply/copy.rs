//! Copies: by reference, so that their cost does not depend on the size of what is copied.

use super::Apply;
use crate::catalog::answer::pieces::single_piece;
use crate::catalog::body::{Piece, PieceSource};
use crate::catalog::error::Error;
use crate::catalog::metadata::{Checksums, Conditions, Headers, SourceConditions, Tags};
use crate::catalog::names::{BucketRef, UploadId};
use crate::catalog::operation::ByteRange;
use crate::catalog::reply::Success;
use crate::catalog::rows::{ObjectRow, PartBody, PartRow};
use crate::catalog::store::{Failure, check_conditions, find_bucket, find_object};
use crate::tables::Tables;
use crate::types::Checksum;

impl<T: Tables> Apply<'_, T> {
    pub(super) fn copy_source(
        &self,
        bucket: &BucketRef,
        key: &[u8],
        conditions: &SourceConditions,
    ) -> Result<ObjectRow, Failure> {
        let bucket = find_bucket(self.tables, bucket)?;
        let source = find_object(self.tables, bucket.id, key)?.ok_or(Error::NoSuchKey)?;
        if !conditions.hold(&source.summary.etag, source.summary.last_modified) {
            return Err(Error::PreconditionFailed.into());
        }
        Ok(source)
    }

    /// The new reference is counted before the old one is dropped: an object that is copied onto
    /// itself never lets go of its body.
    pub(super) fn copy_object(
        &mut self,
        source: ObjectRow,
        bucket: &BucketRef,
        key: &[u8],
        conditions: &Conditions,
        headers: Option<Headers>,
        tags: Option<Tags>,
    ) -> Result<Success, Failure> {
        let bucket = self.bucket_id(bucket)?;
        let current = find_object(self.tables, bucket, key)?;
        check_conditions(conditions, current.as_ref())?;

        let was = source.summary;
        let row = ObjectRow {
            kind: source.kind,
            summary: self.summarize(was.size, was.etag, was.checksums),
            headers: headers.unwrap_or(source.headers),
            tags: tags.unwrap_or(source.tags),
            body: source.body,
        };
        self.acquire(&row.body)?;
        self.replace_object(bucket, key, current, &row)?;
        Ok(Success::ObjectWritten { object: row.summary })
    }

    /// Nobody has read the bytes, so nobody knows their MD5: the part's digest only has to differ
    /// from that of other content.
    pub(super) fn copy_part(
        &mut self,
        source: ObjectRow,
        upload: UploadId,
        number: u16,
        range: Option<ByteRange>,
        checksums: Checksums,
    ) -> Result<Success, Failure> {
        let whole = ByteRange { offset: 0, length: source.summary.size };
        let range = range.unwrap_or(whole);
        let fits = range.offset.checked_add(range.length).is_some_and(|end| end <= source.summary.size);
        if !fits {
            return Err(Error::InvalidRange.into());
        }
        let etag = source.summary.etag;
        let digest = if range == whole && etag.part_count == 0 {
            etag.digest
        } else {
            let version = source.summary.version.to_le_bytes();
            let part_count = etag.part_count.to_le_bytes();
            let (offset, length) = (range.offset.to_le_bytes(), range.length.to_le_bytes());
            Checksum::of_parts(&[&version, &etag.digest, &part_count, &offset, &length]).get().to_le_bytes()
        };
        let body = match single_piece(self.tables, &source, range)? {
            Some(piece) => slice(piece, range),
            None => return Err(Error::CopyNeedsData.into()),
        };
        if let PartBody::Slice { id, .. } = body {
            self.acquire_body(id)?;
        }
        let last_modified = self.context.timestamp;
        let part = PartRow { size: range.length, digest, last_modified, checksums, body };
        self.replace_part(upload, number, part)
    }
}

/// The bytes of `range`, which lies within `piece`.
fn slice(piece: Piece, range: ByteRange) -> PartBody {
    let start = range.offset - piece.offset;
    match piece.source {
        PieceSource::Inline { bytes } => {
            let start = usize::try_from(start).expect("an inline piece is in memory");
            let length = usize::try_from(range.length).expect("an inline piece is in memory");
            PartBody::Inline { bytes: bytes.slice(start..start + length) }
        }
        PieceSource::Chunked { id, offset, .. } => PartBody::Slice { id, offset: offset + start },
    }
}
