//! What is below target: bodies that owners lack, disks that are not rebuilt.

use super::collectable::VISITS_MAX;
use super::{Ask, Page};
use crate::catalog::keys::{self, Bodies};
use crate::catalog::names::BodyId;
use crate::catalog::reply::{Answer, Debt, Disk, NamedBody};
use crate::catalog::rows::{BodyRow, DebtRow, RebuiltRow};
use crate::catalog::store::{Failure, damaged, decode, read, scan};
use crate::tables::{Scan, Tables};
use crate::types::{Incarnation, ReplicaId};

impl<T: Tables> Ask<'_, T> {
    /// Passes over the debts of others, which may be many: so a page may end early, even empty.
    pub(super) fn list_debts(
        &self,
        node: Option<ReplicaId>,
        after: Option<BodyId>,
        limit: u32,
    ) -> Result<Answer, Failure> {
        let mut page: Page<Debt> = self.page(limit);
        let mut visits = 0;
        let mut last = None;
        let mut next = None;
        let end = keys::successor(Bodies::Debts.all());
        scan(self.tables, &Bodies::Debts.after(after), &end, |key, value| {
            if visits >= VISITS_MAX {
                next = last;
                return Ok(Scan::Stop);
            }
            visits += 1;
            let id = Bodies::Debts.parse(key).ok_or_else(|| damaged("a debt without a body"))?;
            let DebtRow { missing, copies_min, chunk_count } = decode(key, value)?;
            let debt = Debt { id, missing, copies_min, chunk_count };
            if node.is_none_or(|node| debt.is_owed_by(node)) {
                if !page.has_room() {
                    next = page.entries.last().map(|debt| debt.id);
                    return Ok(Scan::Stop);
                }
                page.push(debt, key.len() + value.len());
            }
            last = Some(id);
            Ok(Scan::Continue)
        })?;
        Ok(Answer::Debts { debts: page.entries, next })
    }

    pub(super) fn get_bodies(&self, ids: &[BodyId]) -> Result<Answer, Failure> {
        let mut page = self.page(u32::MAX);
        for id in ids {
            let key = Bodies::Referenced.row(*id);
            let Some(value) = self.tables.get(&key)? else { continue };
            if !page.has_room() {
                break;
            }
            let row: BodyRow = decode(&key, &value)?;
            page.push(NamedBody { id: *id, body: row.body }, key.len() + value.len());
        }
        Ok(Answer::Bodies { bodies: page.entries, truncated: page.truncated })
    }

    pub(super) fn rebuilding(&self) -> Result<Answer, Failure> {
        let mut disks = Vec::new();
        for (node, incarnation) in (0_u8..).map(ReplicaId::new).zip(*self.context.incarnations) {
            let rebuilt: Option<RebuiltRow> = read(self.tables, &keys::rebuilt(node))?;
            if rebuilt.map_or(Incarnation::ZERO, |row| row.incarnation) != incarnation {
                disks.push(Disk { node, incarnation });
            }
        }
        Ok(Answer::Rebuilding { disks })
    }
}
