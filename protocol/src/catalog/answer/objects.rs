//! One object.

use super::Ask;
use crate::catalog::error::Error;
use crate::catalog::names::BucketRef;
use crate::catalog::query::PieceSelection;
use crate::catalog::reply::{Answer, Object};
use crate::catalog::rows::{ObjectBody, ObjectRow};
use crate::catalog::store::{Failure, find_bucket, find_object};
use crate::tables::Tables;

impl<T: Tables> Ask<'_, T> {
    pub(super) fn get_object(
        &self,
        bucket: &BucketRef,
        key: &[u8],
        selection: Option<&PieceSelection>,
    ) -> Result<Answer, Failure> {
        let bucket = find_bucket(self.tables, bucket)?;
        let row = find_object(self.tables, bucket.id, key)?.ok_or(Error::NoSuchKey)?;
        let (pieces, more) = match selection {
            Some(selection) => self.pieces_of(&row, selection)?,
            None => (Vec::new(), false),
        };
        Ok(Answer::Object { object: described(row), pieces, more })
    }

    pub(super) fn list_object_parts(
        &self,
        bucket: &BucketRef,
        key: &[u8],
        after: u16,
        limit: u32,
    ) -> Result<Answer, Failure> {
        let bucket = find_bucket(self.tables, bucket)?;
        let row = find_object(self.tables, bucket.id, key)?.ok_or(Error::NoSuchKey)?;
        let object = described(row);
        let (parts, truncated) = match object.upload {
            Some(upload) => self.object_parts_after(upload, after, limit)?,
            None => (Vec::new(), false),
        };
        Ok(Answer::ObjectParts { object, parts, truncated })
    }
}

fn described(row: ObjectRow) -> Object {
    let ObjectRow { summary, headers, tags, body, .. } = row;
    let upload = match body {
        ObjectBody::Composed { upload } => Some(upload),
        ObjectBody::Inline { .. } | ObjectBody::Chunked { .. } => None,
    };
    Object { summary, headers, tags, upload }
}
