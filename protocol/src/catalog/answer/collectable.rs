//! Walks over the bodies: those that can be forgotten, and those that must be kept.

use super::Ask;
use super::verdicts::{is_collectable, is_read_by_nobody};
use crate::catalog::keys::{self, Bodies};
use crate::catalog::names::{BodyId, UploadId};
use crate::catalog::operation::COLLECT_COUNT_MAX;
use crate::catalog::reply::{Answer, NamedBody};
use crate::catalog::rows::{BodyRow, CondemnedRow, RetiredRow};
use crate::catalog::store::{Failure, damaged, decode, scan, scan_prefix};
use crate::tables::{Scan, TableFault, Tables};

/// So many rows does one query look at, whether they are what it asks for or not.
pub(super) const VISITS_MAX: usize = 8 * COLLECT_COUNT_MAX;

impl<T: Tables> Ask<'_, T> {
    /// What one `Operation::Collect` would forget now.
    pub(super) fn collectable(&self, after: Option<BodyId>, limit: u32) -> Result<Answer, Failure> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(COLLECT_COUNT_MAX);
        let condemned = self.condemned(limit)?;
        let limit = limit - condemned.len();
        let mut retired = Vec::new();
        let mut visits = 0;
        let mut last = None;
        let mut next = None;
        let end = keys::successor(Bodies::Retired.all());
        scan(self.tables, &Bodies::Retired.after(after), &end, |key, value| {
            if retired.len() >= limit || visits >= VISITS_MAX {
                next = last.or(after);
                return Ok(Scan::Stop);
            }
            visits += 1;
            let id = Bodies::Retired.parse(key).ok_or_else(|| damaged("a retired body without an id"))?;
            last = Some(id);
            if is_collectable(self.context.sessions, id, &decode::<RetiredRow>(key, value)?) {
                retired.push(id);
            }
            Ok(Scan::Continue)
        })?;
        Ok(Answer::Collectable { retired, condemned, next })
    }

    /// Uploads that can be taken apart, and such as have parts that are not their object's.
    fn condemned(&self, limit: usize) -> Result<Vec<UploadId>, TableFault> {
        let mut condemned = Vec::new();
        let mut visits = 0;
        scan_prefix(self.tables, &keys::CONDEMNED_ALL, |key, value| {
            if condemned.len() >= limit || visits >= VISITS_MAX {
                return Ok(Scan::Stop);
            }
            visits += 1;
            let id = keys::parse_condemned(key).ok_or_else(|| damaged("a condemned upload without an id"))?;
            if is_read_by_nobody(self.context.sessions, decode::<CondemnedRow>(key, value)?.since) {
                condemned.push(id);
            }
            Ok(Scan::Continue)
        })?;
        scan_prefix(self.tables, &keys::SURPLUS_ALL, |key, _| {
            if condemned.len() >= limit {
                return Ok(Scan::Stop);
            }
            let id =
                keys::parse_surplus(key).ok_or_else(|| damaged("an upload with surplus without an id"))?;
            condemned.push(id);
            Ok(Scan::Continue)
        })?;
        Ok(condemned)
    }

    pub(super) fn list_bodies(&self, after: Option<BodyId>, limit: u32) -> Result<Answer, Failure> {
        let mut page = self.page(limit);
        let end = keys::successor(Bodies::Referenced.all());
        scan(self.tables, &Bodies::Referenced.after(after), &end, |key, value| {
            if !page.has_room() {
                return Ok(Scan::Stop);
            }
            let id = Bodies::Referenced.parse(key).ok_or_else(|| damaged("a body without an id"))?;
            let row: BodyRow = decode(key, value)?;
            page.push(NamedBody { id, body: row.body }, key.len() + value.len());
            Ok(Scan::Continue)
        })?;
        Ok(Answer::Bodies { bodies: page.entries, truncated: page.truncated })
    }
}
