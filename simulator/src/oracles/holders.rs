//! Committed is what enough disks hold: a primary may count an op as committed only when a replication
//! quorum, itself included, has sworn to hold it in this very view.

use std::collections::BTreeMap;

use protocol::quorums::Quorums;
use protocol::types::{Op, ReplicaId, View};

#[derive(Default)]
pub struct Holders {
    /// The highest op that each replica has acknowledged in each view.
    acknowledged: BTreeMap<(View, ReplicaId), Op>,
    /// The highest commit number that any primary was seen with.
    committed: Op,
}

impl Holders {
    pub fn on_acknowledgement(&mut self, from: ReplicaId, view: View, op: Op) {
        let known = self.acknowledged.entry((view, from)).or_default();
        *known = op.max(*known);
    }

    /// A primary is seen with this commit number, and holds everything up to `own` itself.
    pub fn on_reign(
        &mut self,
        quorums: &Quorums,
        primary: ReplicaId,
        view: View,
        commit: Op,
        own: Op,
    ) -> Result<(), String> {
        if commit <= self.committed {
            return Ok(());
        }
        self.committed = commit;
        let in_view = self.acknowledged.range((view, ReplicaId::ZERO)..=(view, ReplicaId::new(u8::MAX)));
        let others = in_view.filter(|((_, replica), op)| *replica != primary && **op >= commit).count();
        let holders = others + usize::from(own >= commit);
        if holders >= quorums.replication {
            return Ok(());
        }
        Err(format!("replica {primary} commits op {commit} in view {view}, which {holders} replicas hold"))
    }
}
