//! Whoever was told that a body is stored can rely on its copies.

use std::collections::{BTreeMap, BTreeSet};

use protocol::catalog::{self, NewBody};
use protocol::data::placement::Layout;
use protocol::entry::{Entry, Operation, Request};
use protocol::state::{Outcome, Reply};
use protocol::types::{Incarnation, REPLICAS_MAX, ReplicaId};
use protocol::wire::Wire;

use super::{RequestName, request_name};

/// Goes through the committed log and through what clients were told, and asks no state machine.
pub(super) struct Copies {
    layout: Layout,
    disks: [Incarnation; REPLICAS_MAX],
    /// How many bodies were looked at.
    pub(super) bodies: u64,
}

impl Copies {
    pub(super) fn new(layout: Layout) -> Copies {
        Copies { layout, disks: [Incarnation::ZERO; REPLICAS_MAX], bodies: 0 }
    }

    pub(super) fn check(
        &mut self,
        entry: &Entry,
        replies: &BTreeMap<RequestName, Reply>,
    ) -> Result<(), String> {
        for request in entry.requests().map_err(|error| error.to_string())? {
            match &request.operation {
                Operation::Rejoin { replica, .. } => {
                    let replica = replica.index();
                    self.disks[replica] = entry.header.incarnations[replica];
                }
                Operation::Machine(_) if was_told(&request, entry, replies) => self.body(&request, entry)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn body(&mut self, request: &Request, entry: &Entry) -> Result<(), String> {
        let Operation::Machine(bytes) = &request.operation else { return Ok(()) };
        let operation = catalog::Operation::from_bytes(bytes).map_err(|error| error.to_string())?;
        let Some(NewBody::Chunked { upload, body, layout, receipts }) = operation.new_body() else {
            return Ok(());
        };
        self.bodies += 1;
        let complaint = |what: String| Err(format!("op {} stores body {upload}: {what}", entry.op()));
        if *layout != self.layout.version {
            return complaint(format!("under layout {layout}"));
        }
        for index in (0_u32..).take(body.roots.len()) {
            let holders: BTreeSet<ReplicaId> = receipts
                .iter()
                .filter(|receipt| receipt.chunk == index)
                .filter(|receipt| self.disks[receipt.node.index()] == receipt.incarnation)
                .map(|receipt| receipt.node)
                .collect();
            if holders.len() < self.layout.copies_min() {
                return complaint(format!("chunk {index} is on {} disks", holders.len()));
            }
        }
        Ok(())
    }
}

/// Whether its client was told that the request had succeeded, at this op.
fn was_told(request: &Request, entry: &Entry, replies: &BTreeMap<RequestName, Reply>) -> bool {
    let name = (request.client, request.session, request.number);
    let reply =
        replies.get(&name).filter(|reply| reply.op == entry.op() && request_name(reply) == Some(name));
    match reply.map(|reply| &reply.outcome) {
        Some(Outcome::Done(bytes)) => matches!(catalog::Reply::from_bytes(bytes), Ok(Ok(_))),
        _ => false,
    }
}
