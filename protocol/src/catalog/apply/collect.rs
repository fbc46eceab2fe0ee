//! Forgetting what nobody can need any more.

use super::Apply;
use crate::catalog::answer::verdicts::{is_collectable, is_read_by_nobody};
use crate::catalog::keys::{self, Bodies};
use crate::catalog::names::{BodyId, UploadId};
use crate::catalog::reply::Success;
use crate::catalog::rows::{CondemnedRow, PartRow, RetiredRow};
use crate::catalog::store::{Failure, decode, read, scan_prefix};
use crate::tables::{Scan, TableFault, Tables};

impl<T: Tables> Apply<'_, T> {
    /// Who proposed this asked an earlier state; what is not collectable, or gone, is passed over.
    pub(super) fn collect(&mut self, retired: &[BodyId], condemned: &[UploadId]) -> Result<Success, Failure> {
        let mut forgotten = 0;
        for id in retired {
            let key = Bodies::Retired.row(*id);
            let row: Option<RetiredRow> = read(self.tables, &key)?;
            if row.is_some_and(|row| is_collectable(self.context.sessions, *id, &row)) {
                self.tables.delete(&key);
                forgotten += 1;
            }
        }
        let mut parts = 0;
        for upload in condemned {
            let left = self.catalog.limits.collect_parts_max - parts;
            parts += self.take_apart(*upload, left)?;
        }
        Ok(Success::Collected { retired: forgotten, parts })
    }

    /// Takes up to `parts_max` parts from a condemned upload, and what is left of it after the last.
    ///
    /// A reader may still be asking where the bytes of its object are: then it has to wait. A reader
    /// that is fenced and asks all the same finds no layout, and never half of the parts.
    fn take_apart(&mut self, upload: UploadId, parts_max: u32) -> Result<u32, TableFault> {
        let key = keys::condemned(upload);
        let row: Option<CondemnedRow> = read(self.tables, &key)?;
        if !row.is_some_and(|row| is_read_by_nobody(self.context.sessions, row.since)) {
            return Ok(0);
        }
        self.delete_all(&keys::layouts(upload))?;
        let mut parts = Vec::new();
        let mut count = 0;
        let mut last = true;
        scan_prefix(self.tables, &keys::parts(upload), |key, value| {
            last = count < parts_max;
            if !last {
                return Ok(Scan::Stop);
            }
            count += 1;
            parts.push((key.to_vec(), decode::<PartRow>(key, value)?.body));
            Ok(Scan::Continue)
        })?;
        for (key, body) in &parts {
            self.tables.delete(key);
            self.release_part(body)?;
        }
        if last {
            self.tables.delete(&key);
        }
        Ok(count)
    }

    fn delete_all(&mut self, prefix: &[u8]) -> Result<(), TableFault> {
        let mut rows = Vec::new();
        scan_prefix(self.tables, prefix, |key, _| {
            rows.push(key.to_vec());
            Ok(Scan::Continue)
        })?;
        rows.iter().for_each(|key| self.tables.delete(key));
        Ok(())
    }
}
