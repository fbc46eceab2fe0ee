//! Forgetting what nobody can need any more.

use super::Apply;
use crate::catalog::answer::verdicts::{is_collectable, is_read_by_nobody};
use crate::catalog::keys::{self, Bodies};
use crate::catalog::names::{BodyId, UploadId};
use crate::catalog::reply::Success;
use crate::catalog::rows::{CondemnedRow, LayoutRow, PartRow, PartRun, RetiredRow, SurplusRow};
use crate::catalog::store::{Failure, damaged, decode, read, scan, scan_prefix, write};
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
            if left == 0 {
                break;
            }
            parts += self.take_apart(*upload, left)?;
        }
        Ok(Success::Collected { retired: forgotten, parts })
    }

    fn take_apart(&mut self, upload: UploadId, parts_max: u32) -> Result<u32, TableFault> {
        match read::<SurplusRow>(self.tables, &keys::surplus(upload))? {
            Some(row) => self.take_surplus(upload, &row, parts_max),
            None => self.take_condemned(upload, parts_max),
        }
    }

    /// Takes up to `parts_max` parts from a completed upload that are not its object's. Nobody can be
    /// reading them: readers go by the layout.
    fn take_surplus(
        &mut self,
        upload: UploadId,
        row: &SurplusRow,
        parts_max: u32,
    ) -> Result<u32, TableFault> {
        let mut runs: Vec<PartRun> = Vec::new();
        scan_prefix(self.tables, &keys::layouts(upload), |key, value| {
            runs.extend(decode::<LayoutRow>(key, value)?.runs);
            Ok(Scan::Continue)
        })?;
        let is_listed = |number| {
            let after = runs.partition_point(|run| run.first <= number);
            runs[..after].last().is_some_and(|run| number <= run.last())
        };
        let (count, next) = self.drop_parts(upload, row.next, parts_max, is_listed)?;
        match next {
            Some(next) => write(self.tables, &keys::surplus(upload), &SurplusRow { next }),
            None => self.tables.delete(&keys::surplus(upload)),
        }
        Ok(count)
    }

    /// Takes up to `parts_max` parts from a condemned upload, and what is left of it after the last.
    ///
    /// A reader may still be asking where the bytes of its object are: then it has to wait. A reader
    /// that is fenced and asks all the same finds no layout, and never half of the parts.
    fn take_condemned(&mut self, upload: UploadId, parts_max: u32) -> Result<u32, TableFault> {
        let key = keys::condemned(upload);
        let row: Option<CondemnedRow> = read(self.tables, &key)?;
        if !row.is_some_and(|row| is_read_by_nobody(self.context.sessions, row.since)) {
            return Ok(0);
        }
        self.delete_all(&keys::layouts(upload))?;
        let (count, next) = self.drop_parts(upload, 0, parts_max, |_| false)?;
        if next.is_none() {
            self.tables.delete(&key);
        }
        Ok(count)
    }

    /// Drops up to `parts_max` parts from number `from` on, but for those to be kept. Tells how many,
    /// and the number of the next one to be dropped.
    fn drop_parts(
        &mut self,
        upload: UploadId,
        from: u16,
        parts_max: u32,
        is_kept: impl Fn(u16) -> bool,
    ) -> Result<(u32, Option<u16>), TableFault> {
        let mut parts = Vec::new();
        let mut count = 0;
        let mut next = None;
        let end = keys::successor(keys::parts(upload));
        scan(self.tables, &keys::part(upload, from), &end, |key, value| {
            let number = keys::parse_part(key).ok_or_else(|| damaged("a part without a number"))?;
            if is_kept(number) {
                return Ok(Scan::Continue);
            }
            if count == parts_max {
                next = Some(number);
                return Ok(Scan::Stop);
            }
            count += 1;
            parts.push((number, decode::<PartRow>(key, value)?.body));
            Ok(Scan::Continue)
        })?;
        for (number, body) in &parts {
            self.tables.delete(&keys::part(upload, *number));
            self.release_part(body)?;
        }
        Ok((count, next))
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
