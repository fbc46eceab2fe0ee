//! Applying what is committed, and making the result durable now and then.
//!
//! ```text
//!  commit ──▶ apply in order, once ──▶ checkpoint op? freeze the tables, go on applying
//!                                        │ flushed in the background
//!                                        ▼
//!             superblock names it ──▶ told to all ──▶ a quorum has it: the WAL may forget
//! ```

use super::log::BodyState;
use super::status::Status;
use super::*;

/// Roots of so many checkpoints are remembered for comparison.
const ROOTS_MAX: usize = 4;

impl<M: Machine, T: ReplicaTables> Replica<M, T> {
    /// Whether the log may be applied: it is that of a view, not something half fetched.
    fn may_apply(&self) -> bool {
        match &self.status {
            Status::Syncing(_) => false,
            Status::Rejoining(rejoining) => rejoining.learned.is_some() && rejoining.sync.is_none(),
            _ => true,
        }
    }

    /// Applies committed entries, strictly in order, as far as their bodies are at hand.
    pub(super) fn settle_apply(&mut self) {
        while self.may_apply() && !self.halted && self.applied() < self.commit {
            if self.checkpoint_is_due() {
                self.settle_checkpoint();
                if self.checkpoint_is_due() {
                    return self.event(Event::CheckpointWaited);
                }
            }
            let op = self.applied().next();
            let Some(slot) = self.log.slot(op) else { return };
            let (name, body) = (slot.name, slot.body);
            if slot.header.parent != self.state.applied_name() {
                return self.diverged(format!("op {op} does not follow what was applied"));
            }
            let Some(entry) = self.log.body(op, name).cloned() else {
                if body == BodyState::Durable {
                    self.read_entry(op, name, Reader::Apply);
                }
                return;
            };
            match self.state.apply(&entry) {
                Ok(replies) => self.answer(replies),
                Err(fault) => return self.lose_tables(&fault),
            }
        }
    }

    /// The op just applied is a checkpoint op and has not been frozen.
    fn checkpoint_is_due(&self) -> bool {
        let applied = self.applied();
        applied > self.frozen_at && applied.get().is_multiple_of(self.config.limits.checkpoint_interval_ops)
    }

    pub(super) fn settle_checkpoint(&mut self) {
        if self.may_apply() && self.checkpoint_is_due() && !self.state.tables().frozen() {
            self.frozen_at = self.applied();
            self.state.freeze();
            self.event(Event::CheckpointStarted);
            self.out.push(Effect::FlushCheckpoint);
        }
        self.settle_reclaim();
    }

    pub(super) fn checkpoint_was_flushed(&mut self) {
        let checkpoint = self.state.tables().durable().clone();
        assert!(checkpoint.op() >= self.wanted.checkpoint.op());
        self.wanted.checkpoint = checkpoint;
    }

    /// The superblock names the checkpoint: it may be announced and relied upon.
    pub(super) fn checkpoint_is_durable(&mut self) {
        let checkpoint = self.durable.checkpoint.clone();
        if checkpoint.op() <= self.announced {
            return;
        }
        self.announced = checkpoint.op();
        self.log.on_checkpoint(checkpoint.op());
        self.event(Event::CheckpointDurable);
        self.compare_root(self.me(), checkpoint.clone());
        self.send_all(&Body::CheckpointRoot { checkpoint });
    }

    pub(super) fn on_checkpoint_root(&mut self, from: ReplicaId, checkpoint: Checkpoint) {
        self.compare_root(from, checkpoint);
    }

    /// Equal logs make equal states. A replica that finds itself alone with its state stops.
    fn compare_root(&mut self, from: ReplicaId, checkpoint: Checkpoint) {
        let op = checkpoint.op();
        let known = self.roots.entry(op).or_default();
        known.retain(|(replica, _)| *replica != from);
        known.push((from, checkpoint));
        let mine =
            known.iter().find(|(replica, _)| *replica == self.config.replica).map(|(_, mine)| mine.clone());
        let others =
            known.iter().filter(|(_, theirs)| mine.as_ref().is_some_and(|mine| mine != theirs)).count();
        let enough = self.config.quorums.replication.min(self.config.quorums.replica_count - 1);
        if others > 0 && others >= enough {
            self.diverged(format!("the state at checkpoint {op} differs from that of {others} replicas"));
        }
        while self.roots.len() > ROOTS_MAX {
            self.roots.pop_first();
        }
    }

    /// Lets the WAL forget what enough checkpoints hold, but keeps what a slow peer still needs as
    /// long as there is room.
    fn settle_reclaim(&mut self) {
        // Never beyond what was announced: mostly that leaves nothing to look for.
        if self.announced <= self.reclaimed {
            return;
        }
        let own = self.durable.checkpoint.op();
        let limits = self.config.limits;
        let mut points: Vec<Op> = vec![own];
        let incarnations = self.incarnations();
        points.extend(self.others().into_iter().map(|other| {
            let facts = self.peers.get(other);
            // What the lost disk of a peer had is lost.
            if facts.incarnation < incarnations[other.index()] { Op::ZERO } else { facts.checkpoint }
        }));
        points.sort_unstable_by(|a, b| b.cmp(a));
        let slowest = *points.last().expect("this replica is among them");
        let by_quorum = points[self.config.quorums.checkpoint - 1].min(own);
        let roomy = self.log.head_op().since(slowest) < limits.kept_ops_max();
        let through = if planted(Canary::ReclaimAlone) {
            own
        } else if roomy {
            slowest.min(by_quorum)
        } else {
            by_quorum
        };
        if through > self.reclaimed && through <= self.announced {
            self.reclaimed = through;
            self.log.forget_below(through);
            self.event(Event::WalReclaimed);
            self.out.push(Effect::Reclaim { through });
        }
    }

    /// The tables cannot be read. The superblock remembers it, then the process ends; the next start
    /// fetches them from the peers.
    ///
    /// Unless only the disk has failed: what is on it is as good as it was, and nothing is noted.
    pub(super) fn lose_tables(&mut self, fault: &TableFault) {
        let reason = fault.to_string();
        if fault.cause == FaultCause::Disk {
            self.halt(Halt::DiskFailed(reason));
        } else if self.durable.tables_lost {
            // The disk says so already, and their replacement is lost, too.
            self.halt(Halt::TablesLost(reason));
        } else if self.dying.is_none() {
            self.leave_status();
            self.dying = Some(reason);
            self.wanted.tables_lost = true;
            self.status = Status::Syncing(sync::Sync::new(self.wanted.checkpoint.op()));
        }
    }
}
