//! On how many disks the chunks of a body are, and who owes a copy.

use super::Apply;
use crate::catalog::error::Error;
use crate::catalog::keys::{self, Bodies};
use crate::catalog::names::BodyId;
use crate::catalog::reply::{Success, bit};
use crate::catalog::rows::{DebtRow, RebuiltRow};
use crate::catalog::store::{Failure, read, write};
use crate::tables::Tables;
use crate::types::{Incarnation, ReplicaId};

impl<T: Tables> Apply<'_, T> {
    /// Bodies that the node does not owe, or that nothing refers to by now, are passed over.
    pub(super) fn settle(
        &mut self,
        node: ReplicaId,
        incarnation: Incarnation,
        bodies: &[BodyId],
    ) -> Result<Success, Failure> {
        self.check_disk(node, incarnation)?;
        let mut settled = 0;
        for id in bodies {
            let key = Bodies::Debts.row(*id);
            let Some(row) = read::<DebtRow>(self.tables, &key)? else { continue };
            let missing = row.missing & !bit(node);
            if missing == row.missing {
                continue;
            }
            settled += 1;
            match missing {
                0 => self.tables.delete(&key),
                missing => write(self.tables, &key, &DebtRow { missing, ..row }),
            }
        }
        Ok(Success::Settled { bodies: settled })
    }

    pub(super) fn rebuilt(&mut self, node: ReplicaId, incarnation: Incarnation) -> Result<Success, Failure> {
        self.check_disk(node, incarnation)?;
        write(self.tables, &keys::rebuilt(node), &RebuiltRow { incarnation });
        Ok(Success::Done)
    }

    /// What a node said before its disk was replaced is not true of the new one.
    fn check_disk(&self, node: ReplicaId, incarnation: Incarnation) -> Result<(), Error> {
        match self.context.incarnations.get(node.index()) {
            Some(present) if *present == incarnation => Ok(()),
            _ => Err(Error::DiskReplaced),
        }
    }
}
