//! Copies: which disks hold a body, and which replicas still have to fetch some of it.

use std::collections::BTreeSet;

use protocol::catalog::{Answer, BodyId, ChunkedBody, Debt, Disk, Error, Reply, Success};
use protocol::data::receipt::Receipt;
use protocol::types::{Incarnation, ReplicaId};

use super::{Body, CatalogModel, Disks, Place};

/// So many disks must hold a chunk, by the number of replicas.
const COPIES_NEEDED: [usize; 8] = [0, 1, 2, 2, 2, 3, 3, 4];

impl CatalogModel {
    /// For each chunk, which disks hold it of those that are still in use. An error if that is not
    /// enough.
    pub(super) fn disks_of(
        &self,
        place: &Place<'_>,
        body: &ChunkedBody,
        layout: u32,
        receipts: &[Receipt],
    ) -> Result<Vec<BTreeSet<ReplicaId>>, Error> {
        if layout != self.layout.version {
            return Err(Error::WrongLayout);
        }
        let replica_count = self.layout.quorums.replica_count;
        let chunk_count = body.length.div_ceil(u64::from(body.chunk_size));
        let mut disks = Vec::new();
        for index in 0..chunk_count {
            let of_chunk = receipts.iter().filter(|receipt| u64::from(receipt.chunk) == index);
            let sound = of_chunk.filter(|receipt| {
                receipt.node.index() < replica_count
                    && place.disks[receipt.node.index()] == receipt.incarnation
            });
            let nodes: BTreeSet<ReplicaId> = sound.map(|receipt| receipt.node).collect();
            if nodes.len() < COPIES_NEEDED[replica_count] {
                return Err(Error::TooFewCopies);
            }
            disks.push(nodes);
        }
        Ok(disks)
    }

    pub(super) fn owing(&self, id: BodyId, disks: &[BTreeSet<ReplicaId>]) -> BTreeSet<ReplicaId> {
        let mut owing = BTreeSet::new();
        for (index, holders) in (0..).zip(disks) {
            owing.extend(self.layout.owners(id.chunk(index)).filter(|owner| !holders.contains(owner)));
        }
        owing
    }

    pub(super) fn settle(
        &mut self,
        place: &Place<'_>,
        node: ReplicaId,
        incarnation: Incarnation,
        bodies: &[BodyId],
    ) -> Reply {
        is_present(place.disks, node, incarnation)?;
        let mut settled = 0;
        for id in bodies {
            let owed = self.bodies.get_mut(id).is_some_and(|body| body.owing.remove(&node));
            settled += u32::from(owed);
        }
        Ok(Success::Settled { bodies: settled })
    }

    pub(super) fn note_rebuilt(
        &mut self,
        place: &Place<'_>,
        node: ReplicaId,
        incarnation: Incarnation,
    ) -> Reply {
        is_present(place.disks, node, incarnation)?;
        self.rebuilt.insert(node, incarnation);
        Ok(Success::Done)
    }

    pub(super) fn debts(&self, node: Option<ReplicaId>, after: Option<BodyId>, limit: u32) -> Answer {
        let owed = self.bodies.iter().filter(|(id, body)| {
            let matches = match node {
                Some(node) => body.owing.contains(&node),
                None => !body.owing.is_empty(),
            };
            matches && after.is_none_or(|after| **id > after)
        });
        let (debts, truncated) = self.page(owed.map(|(id, body)| body.debt(*id)), limit);
        let next = debts.last().filter(|_| truncated).map(|debt| debt.id);
        Answer::Debts { debts, next }
    }

    /// A replica's first disk had nothing to fetch when it was new.
    pub(super) fn to_rebuild(&self, disks: &Disks) -> Answer {
        let disks = (0_u8..).map(ReplicaId::new).zip(disks).filter(|(node, incarnation)| {
            **incarnation != self.rebuilt.get(node).copied().unwrap_or(Incarnation::ZERO)
        });
        let disks = disks.map(|(node, incarnation)| Disk { node, incarnation: *incarnation }).collect();
        Answer::Rebuilding { disks }
    }
}

impl Body {
    fn debt(&self, id: BodyId) -> Debt {
        Debt {
            id,
            missing: self.owing.iter().map(|node| 1 << node.get()).sum(),
            copies_min: u8::try_from(self.copies_min).expect("there are at most seven"),
            chunk_count: u32::try_from(self.body.roots.len()).expect("there are at most a thousand"),
        }
    }
}

fn is_present(disks: &Disks, node: ReplicaId, incarnation: Incarnation) -> Result<(), Error> {
    let present = disks.get(node.index()) == Some(&incarnation);
    if present { Ok(()) } else { Err(Error::DiskReplaced) }
}
