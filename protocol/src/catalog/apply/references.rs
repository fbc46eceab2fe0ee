//! Who refers to which body. A body is born with one reference and never comes back from none.

use super::Apply;
use crate::catalog::answer::verdicts::is_fenced;
use crate::catalog::body::ChunkedBody;
use crate::catalog::error::Error;
use crate::catalog::keys::{self, Bodies};
use crate::catalog::names::{BodyId, UploadId};
use crate::catalog::rows::{BodyRow, CondemnedRow, ManifestRow, ObjectBody, PartBody, RetiredRow};
use crate::catalog::store::{Failure, damaged, read, write};
use crate::data::receipt::Receipt;
use crate::tables::{TableFault, Tables};

impl<T: Tables> Apply<'_, T> {
    /// Makes the chunks that this session stored under `upload` a body with one reference.
    ///
    /// Refused if the log says that the upload has ended: its chunks may be collected already. And
    /// refused a second time: if a number could come back, a chunk could come back from the dead. What
    /// is on too few disks may come again with more receipts.
    pub(super) fn claim(
        &mut self,
        upload: u64,
        body: ChunkedBody,
        layout: u32,
        receipts: &[Receipt],
    ) -> Result<BodyId, Failure> {
        let id = BodyId { session: self.context.session, upload };
        if is_fenced(self.context.sessions, id) {
            return Err(Error::UploadFenced.into());
        }
        let row = Bodies::Referenced.row(id);
        let spent = self.tables.get(&row)?.is_some() || self.tables.get(&Bodies::Retired.row(id))?.is_some();
        if spent {
            return Err(Error::UploadSpent.into());
        }
        let debt = self.debt(id, &body, layout, receipts)?;
        write(self.tables, &row, &BodyRow { references: 1, body });
        if let Some(debt) = debt {
            write(self.tables, &Bodies::Debts.row(id), &debt);
        }
        Ok(id)
    }

    pub(super) fn acquire(&mut self, body: &ObjectBody) -> Result<(), TableFault> {
        match body {
            ObjectBody::Inline { .. } => Ok(()),
            ObjectBody::Chunked { id } => self.acquire_body(*id),
            ObjectBody::Composed { upload } => {
                let (key, row) = self.manifest(*upload)?;
                write(self.tables, &key, &ManifestRow { references: row.references + 1 });
                Ok(())
            }
        }
    }

    pub(super) fn release(&mut self, body: &ObjectBody) -> Result<(), TableFault> {
        match body {
            ObjectBody::Inline { .. } => Ok(()),
            ObjectBody::Chunked { id } => self.release_body(*id),
            ObjectBody::Composed { upload } => self.release_manifest(*upload),
        }
    }

    pub(super) fn release_part(&mut self, body: &PartBody) -> Result<(), TableFault> {
        match body {
            PartBody::Inline { .. } => Ok(()),
            PartBody::Slice { id, .. } => self.release_body(*id),
        }
    }

    pub(super) fn acquire_body(&mut self, id: BodyId) -> Result<(), TableFault> {
        let (key, row) = self.body(id)?;
        write(self.tables, &key, &BodyRow { references: row.references + 1, ..row });
        Ok(())
    }

    fn release_body(&mut self, id: BodyId) -> Result<(), TableFault> {
        let (key, row) = self.body(id)?;
        if row.references > 1 {
            write(self.tables, &key, &BodyRow { references: row.references - 1, ..row });
        } else {
            self.tables.delete(&key);
            self.tables.delete(&Bodies::Debts.row(id));
            let retired = RetiredRow { since: self.context.op, chunk_count: row.body.chunk_count() };
            write(self.tables, &Bodies::Retired.row(id), &retired);
        }
        Ok(())
    }

    fn release_manifest(&mut self, upload: UploadId) -> Result<(), TableFault> {
        let (key, row) = self.manifest(upload)?;
        if row.references > 1 {
            write(self.tables, &key, &ManifestRow { references: row.references - 1 });
        } else {
            self.tables.delete(&key);
            self.tables.delete(&keys::surplus(upload));
            self.condemn(upload);
        }
        Ok(())
    }

    /// Leaves the parts of an upload to `Collect`: there may be 10,000 of them. Until then their
    /// bodies count as referenced, which keeps chunks longer than needed and never too short.
    pub(super) fn condemn(&mut self, upload: UploadId) {
        write(self.tables, &keys::condemned(upload), &CondemnedRow { since: self.context.op });
    }

    fn body(&self, id: BodyId) -> Result<(Vec<u8>, BodyRow), TableFault> {
        let key = Bodies::Referenced.row(id);
        let row = read(self.tables, &key)?.ok_or_else(|| damaged(format_args!("{id:?} has no row")))?;
        Ok((key, row))
    }

    fn manifest(&self, upload: UploadId) -> Result<(Vec<u8>, ManifestRow), TableFault> {
        let key = keys::manifest(upload);
        let row = read(self.tables, &key)?.ok_or_else(|| damaged(format_args!("{upload:?} has no row")))?;
        Ok((key, row))
    }
}
