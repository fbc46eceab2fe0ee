//! Multipart uploads, up to the point where they become an object.

use super::Apply;
use crate::catalog::body::NewBody;
use crate::catalog::error::Error;
use crate::catalog::keys;
use crate::catalog::metadata::{Checksums, Headers, Tags};
use crate::catalog::names::{BucketRef, UploadId};
use crate::catalog::reply::Success;
use crate::catalog::rows::{PartBody, PartRow, UploadRow};
use crate::catalog::store::{Failure, read, write};
use crate::tables::Tables;

impl<T: Tables> Apply<'_, T> {
    pub(super) fn create_upload(
        &mut self,
        bucket: &BucketRef,
        key: &[u8],
        headers: Headers,
        tags: Tags,
        checksum: Option<u8>,
    ) -> Result<Success, Failure> {
        let bucket = self.bucket_id(bucket)?;
        let upload = UploadId::new(self.unique());
        let row = UploadRow { created: self.context.timestamp, headers, tags, checksum };
        write(self.tables, &keys::upload(bucket, key, upload), &row);
        Ok(Success::UploadCreated { upload, created: row.created })
    }

    pub(super) fn find_upload(
        &self,
        bucket: &BucketRef,
        key: &[u8],
        upload: UploadId,
    ) -> Result<UploadRow, Failure> {
        let bucket = self.bucket_id(bucket)?;
        Ok(read(self.tables, &keys::upload(bucket, key, upload))?.ok_or(Error::NoSuchUpload)?)
    }

    pub(super) fn put_part(
        &mut self,
        upload: UploadId,
        number: u16,
        digest: [u8; 16],
        checksums: Checksums,
        body: NewBody,
    ) -> Result<Success, Failure> {
        let size = body.length();
        let body = match body {
            NewBody::Inline { bytes } => PartBody::Inline { bytes },
            NewBody::Chunked { upload, body, layout, receipts } => {
                PartBody::Slice { id: self.claim(upload, body, layout, &receipts)?, offset: 0 }
            }
        };
        let part = PartRow { size, digest, last_modified: self.context.timestamp, checksums, body };
        self.replace_part(upload, number, part)
    }

    /// Writes a part whose body is already counted, and drops the one of the same number.
    pub(super) fn replace_part(
        &mut self,
        upload: UploadId,
        number: u16,
        part: PartRow,
    ) -> Result<Success, Failure> {
        let key = keys::part(upload, number);
        let before: Option<PartRow> = read(self.tables, &key)?;
        write(self.tables, &key, &part);
        if let Some(before) = before {
            self.release_part(&before.body)?;
        }
        let PartRow { digest, size, last_modified, .. } = part;
        Ok(Success::PartWritten { digest, size, last_modified })
    }

    pub(super) fn abort_upload(
        &mut self,
        bucket: &BucketRef,
        key: &[u8],
        upload: UploadId,
    ) -> Result<Success, Failure> {
        let bucket = self.bucket_id(bucket)?;
        let row = keys::upload(bucket, key, upload);
        self.tables.get(&row)?.ok_or(Error::NoSuchUpload)?;
        self.tables.delete(&row);
        self.condemn(upload);
        Ok(Success::Done)
    }
}
