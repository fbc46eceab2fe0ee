//! Receipts, debts and disks: what the data plane does, as far as the log is told of it.
//!
//! A client gives the receipts itself, for disks that it believes in. What it believes may be out of
//! date, as the receipts of a slow upload are.

use protocol::catalog::{BodyId, ChunkedBody, Debt, Disk, NewBody, Operation, Query};
use protocol::data::receipt::{Holding, Receipt};
use protocol::types::{Incarnation, REPLICAS_MAX, ReplicaId, SessionId};

use super::{Action, Workload};
use crate::client::RECEIPT_KEY;

impl Workload {
    /// The world tells what it knows. The client goes by it once it has had reason to ask.
    pub fn hear_of_disks(&mut self, incarnations: &[Incarnation; REPLICAS_MAX]) {
        self.incarnations_heard = *incarnations;
    }

    /// Mostly of enough disks, mostly of all owners, and mostly of disks that are still there.
    pub(super) fn receipts(&mut self, id: BodyId, body: &ChunkedBody, layout: u32) -> Vec<Receipt> {
        if self.random.percent(10) {
            self.incarnations = self.incarnations_heard;
        }
        let mut receipts = Vec::new();
        for (index, _) in (0..).zip(&body.roots) {
            for node in self.holders(id, index) {
                let Disk { node, incarnation } = self.disk(node, 1);
                receipts.push(RECEIPT_KEY.receipt(&Holding {
                    chunk: id.chunk(index),
                    root: body.roots[index as usize],
                    length: body.chunk_length(index).expect("a chunk has a length"),
                    layout,
                    node,
                    incarnation,
                }));
            }
        }
        match self.random.below(100) {
            // Too few of one chunk, unless it had more than it needs.
            0..4 => drop(receipts.pop()),
            4 => receipts.iter_mut().take(1).for_each(|receipt| receipt.proof.0[0] ^= 1),
            5 => receipts.extend_from_within(..receipts.len().min(1)),
            6 => receipts.reverse(),
            _ => {}
        }
        receipts
    }

    /// The owners, or others in the place of some of them, or no more than are needed.
    fn holders(&mut self, id: BodyId, index: u32) -> Vec<ReplicaId> {
        let order = self.layout.order(id.chunk(index));
        let (needed, owners) = (self.layout.copies_min(), self.layout.copies());
        match self.random.below(20) {
            0 => order.skip(1).take(owners.max(needed)).collect(),
            1 => order.skip(owners - needed).take(needed).collect(),
            2 => order.take(needed).collect(),
            3 => order.collect(),
            _ => order.take(owners).collect(),
        }
    }

    /// The replica's disk as the client believes; so many of a hundred times another one.
    fn disk(&mut self, node: ReplicaId, wrong_percent: u64) -> Disk {
        let believed = self.incarnations[node.index()];
        let incarnation = match self.random.percent(wrong_percent) {
            true => *self.random.pick(&[believed.previous(), believed.next(), Incarnation::ZERO]),
            false => believed,
        };
        Disk { node, incarnation }
    }

    fn node(&mut self) -> ReplicaId {
        let index = self.random.index(self.layout.quorums.replica_count);
        ReplicaId::new(u8::try_from(index).expect("there are at most seven"))
    }

    /// Asks the holders once more, which are other disks by now, and says what they say.
    pub(super) fn plan_more_copies(&mut self, operation: &Operation) {
        if self.options.real_bodies {
            return;
        }
        self.incarnations = self.incarnations_heard;
        let mut operation = operation.clone();
        if let Operation::PutObject { body, .. } | Operation::PutPart { body, .. } = &mut operation
            && let NewBody::Chunked { upload, body, layout, receipts } = body
        {
            let id = BodyId { session: self.session, upload: *upload };
            *receipts = self.receipts(id, body, *layout);
            let upload = *upload;
            if self.plan(Action::Write { operation }) {
                self.live_uploads.insert(upload);
            }
        }
    }

    /// One of the replicas that owe has fetched what it owed.
    pub(super) fn plan_settling(&mut self, debts: &[Debt]) {
        if self.options.real_bodies || debts.is_empty() || self.random.percent(40) {
            return;
        }
        let debt = *self.random.pick(debts);
        let owing: Vec<u8> = (0..8).filter(|node| debt.missing & (1 << node) != 0).collect();
        let node = ReplicaId::new(*self.random.pick(&owing));
        let bodies = debts.iter().filter(|debt| debt.is_owed_by(node)).map(|debt| debt.id).take(50).collect();
        let Disk { node, incarnation } = self.disk(node, 5);
        self.plan(Action::Write { operation: Operation::Settle { node, incarnation, bodies } });
    }

    pub(super) fn plan_rebuilt(&mut self, disks: &[Disk]) {
        for Disk { node, incarnation } in disks {
            self.incarnations[node.index()] = *incarnation;
        }
        if !self.options.real_bodies && !disks.is_empty() && self.random.percent(50) {
            let Disk { node, incarnation } = *self.random.pick(disks);
            self.plan(Action::Write { operation: Operation::Rebuilt { node, incarnation } });
        }
    }

    /// Of bodies that may be owed, may be gone, or may never have been.
    pub(super) fn settle(&mut self) -> Operation {
        let node = self.node();
        let Disk { node, incarnation } = self.disk(node, 20);
        Operation::Settle { node, incarnation, bodies: self.some_bodies() }
    }

    pub(super) fn rebuilt(&mut self) -> Operation {
        let node = self.node();
        let Disk { node, incarnation } = self.disk(node, 20);
        Operation::Rebuilt { node, incarnation }
    }

    pub(super) fn list_debts(&mut self) -> Query {
        let node = if self.random.percent(50) { Some(self.node()) } else { None };
        let after = if self.random.percent(20) { self.some_bodies().pop() } else { None };
        Query::ListDebts { node, after, limit: self.limit() }
    }

    /// Bodies that somebody read or owes, own ones, and ones that may not exist.
    pub(super) fn some_bodies(&mut self) -> Vec<BodyId> {
        let mut bodies = self.knowledge.bodies.clone();
        for _ in 0..4 {
            bodies.push(BodyId { session: self.session, upload: self.random.below(self.next_upload + 1) });
        }
        bodies.push(BodyId { session: SessionId::new(self.random.below(100_000)), upload: 1 });
        bodies
    }
}
