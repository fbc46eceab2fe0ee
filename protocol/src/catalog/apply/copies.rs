//! On how many disks the chunks of a body are, and who owes a copy.

use super::Apply;
use crate::canary::{Canary, planted};
use crate::catalog::body::ChunkedBody;
use crate::catalog::error::Error;
use crate::catalog::keys::{self, Bodies};
use crate::catalog::names::BodyId;
use crate::catalog::reply::{Success, bit};
use crate::catalog::rows::{DebtRow, RebuiltRow};
use crate::catalog::store::{Failure, read, write};
use crate::data::receipt::Receipt;
use crate::tables::Tables;
use crate::types::{Incarnation, ReplicaId};

impl<T: Tables> Apply<'_, T> {
    /// What the owners of a new body lack, if anything: everything that they have given no receipt for
    /// which counts. Refused if any chunk is on so few disks that it could be lost where its record is
    /// not.
    pub(super) fn debt(
        &self,
        id: BodyId,
        body: &ChunkedBody,
        layout: u32,
        receipts: &[Receipt],
    ) -> Result<Option<DebtRow>, Error> {
        if layout != self.catalog.layout.version {
            return Err(Error::WrongLayout);
        }
        let holders = self.holders(body, receipts);
        let copies_min = holders.iter().map(|held| held.count_ones()).min().unwrap_or(0);
        if (copies_min as usize) < self.catalog.layout.copies_min() {
            return Err(Error::TooFewCopies);
        }
        let mut missing = 0;
        for (chunk, held) in (0..).zip(&holders) {
            for owner in self.catalog.layout.owners(id.chunk(chunk)) {
                missing |= bit(owner) & !held;
            }
        }
        let copies_min = u8::try_from(copies_min).expect("there are at most seven replicas");
        let chunk_count = u32::try_from(holders.len()).expect("the number of chunks is bounded");
        Ok((missing != 0).then_some(DebtRow { missing, copies_min, chunk_count }))
    }

    /// For each chunk, the replicas on whose present disks it is.
    fn holders(&self, body: &ChunkedBody, receipts: &[Receipt]) -> Vec<u8> {
        let present = &self.context.incarnations[..self.catalog.layout.quorums.replica_count];
        let mut holders = vec![0; body.roots.len()];
        for receipt in receipts {
            let disk = present.get(receipt.node.index());
            let counts =
                disk == Some(&receipt.incarnation) || (disk.is_some() && planted(Canary::StaleReceipts));
            if let Some(held) = holders.get_mut(receipt.chunk as usize).filter(|_| counts) {
                *held |= bit(receipt.node);
            }
        }
        holders
    }

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
