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
        let ObjectRow { summary, headers, tags, body, .. } = row;
        let upload = match body {
            ObjectBody::Composed { upload } => Some(upload),
            ObjectBody::Inline { .. } | ObjectBody::Chunked { .. } => None,
        };
        Ok(Answer::Object { object: Object { summary, headers, tags, upload }, pieces, more })
    }
}
