//! The backup: appends what the primary prepares, acknowledges what is durable, suspects silence.

use super::status::{Backup, Status, request_key};
use super::*;
use crate::entry::Request;
use crate::state::Admission;

/// Requests that are remembered as a reason to suspect the primary.
const STARVING_MAX: usize = 64;

impl<M: Machine, T: ReplicaTables> Replica<M, T> {
    /// Follows the primary of the installed view.
    pub(super) fn transition_to_backup(&mut self) {
        let suspect_at = self.after(self.config.timeouts.suspicion_ms);
        self.status = Status::Backup(Backup {
            heartbeat: 0,
            suspect_at,
            early: BTreeMap::new(),
            starving: BTreeMap::new(),
            acknowledged: Op::ZERO,
        });
        self.candidate = None;
        self.asked_view = None;
        self.repair.forget();
        self.forget_heard_head();
        self.event(Event::ViewStartedAsBackup);
    }

    /// Whether a message of a view's primary concerns this replica; if the view is news, asks for it.
    fn follows(&mut self, from: ReplicaId, view: View) -> bool {
        if from != self.primary_of(view) || view < self.view() {
            return false;
        }
        self.heard_view = self.heard_view.max(view);
        if matches!(self.status, Status::Syncing(_) | Status::Rejoining(_)) {
            return false;
        }
        if matches!(self.status, Status::Backup(_)) && view == self.view() {
            return true;
        }
        if planted(Canary::NewerViewAdopted) && view > self.view() {
            self.adopt_view_by_guess(view);
            return true;
        }
        self.ask_view(from);
        false
    }

    /// The bug of P74: the view changes, the log does not.
    fn adopt_view_by_guess(&mut self, view: View) {
        self.leave_status();
        self.wanted.view = view;
        self.wanted.log_view = view;
        self.wanted.vote = None;
        let keep: Vec<_> = self
            .log
            .slots()
            .filter(|slot| slot.header.op <= self.commit)
            .map(|slot| slot.header.clone())
            .collect();
        if !keep.is_empty() {
            self.wanted.suffix = keep[keep.len().saturating_sub(2)..].to_vec();
            self.log.replace(keep);
        }
        self.transition_to_backup();
    }

    /// A backup appends the primary's next entry.
    ///
    /// The acknowledgement is not sent here: it promises that the entry survives a crash, so it
    /// waits until the WAL reports the entry durable, and is derived in `settle_acknowledgement`.
    pub(super) fn on_prepare(&mut self, from: ReplicaId, view: View, entry: Entry, commit: Op) {
        if !self.follows(from, view) {
            return;
        }
        self.commit = self.commit.max(commit);
        let op = entry.op();
        if op > self.reclaimed.plus(self.config.limits.wal_ops_max) {
            return self.event(Event::WalFull);
        }
        let early_max = 2 * usize::try_from(self.config.limits.pipeline_max).expect("the pipeline is short");
        if op <= self.log.head_op() {
            return match self.log.slot(op) {
                Some(slot) if slot.name != entry.name => {
                    self.diverged(format!("view {view} has two entries for op {op}"));
                }
                _ => self.on_repaired_entry(entry),
            };
        }
        let next = self.log.head_op().next();
        if op > next {
            self.repair.catch_up(op.previous(), entry.header.parent);
            let Status::Backup(backup) = &mut self.status else { return };
            if backup.early.len() < early_max {
                backup.early.insert(op, entry);
            }
            return;
        }
        self.append_prepared(entry);
        self.append_early();
    }

    fn append_prepared(&mut self, entry: Entry) {
        if entry.header.parent != self.log.head().name {
            return self.diverged(format!("op {} does not follow our head in the same view", entry.op()));
        }
        self.log.append(entry.header.clone());
        self.take_body(entry);
    }

    /// What came too early and fits now.
    pub(super) fn append_early(&mut self) {
        while !self.halted {
            let next = self.log.head_op().next();
            let Status::Backup(backup) = &mut self.status else { return };
            let Some(earliest) = backup.early.first_entry() else { return };
            match earliest.key().cmp(&next) {
                std::cmp::Ordering::Less => {
                    let entry = earliest.remove();
                    self.on_repaired_entry(entry);
                }
                std::cmp::Ordering::Equal => {
                    let entry = earliest.remove();
                    self.append_prepared(entry);
                }
                std::cmp::Ordering::Greater => return,
            }
        }
    }

    pub(super) fn on_commit(
        &mut self,
        from: ReplicaId,
        view: View,
        commit: Op,
        name: Checksum,
        head: (Op, Checksum),
        (sequence, room): (u64, Room),
    ) {
        let votes = !matches!(self.status, Status::Syncing(_) | Status::Rejoining(_));
        if view < self.view() && votes {
            // It leads a view that this replica has left for good: it must hear of it.
            let candidate = self.candidate.unwrap_or(self.view());
            return self.send(from, Body::StartViewChange { candidate });
        }
        if !self.follows(from, view) {
            return;
        }
        if let Some(slot) = self.log.slot(commit)
            && name != Checksum::ZERO
            && slot.name != name
        {
            return self.diverged(format!("op {commit} was committed with another name"));
        }
        self.forget_refused_for_room(room);
        let suspect_at = self.after(self.config.timeouts.suspicion_ms);
        let starvation_ms = self.config.timeouts.starvation_ms;
        let Status::Backup(backup) = &mut self.status else { return };
        if sequence > backup.heartbeat {
            backup.heartbeat = sequence;
            backup.suspect_at = suspect_at;
            // An acknowledgement may have been lost: derive it again.
            backup.acknowledged = Op::ZERO;
            // A primary that is heard but does not hear stays under suspicion.
            let starved = backup.starving.values().any(|(_, since)| self.now.since(*since) > starvation_ms);
            if !starved {
                self.candidate = None;
            }
            self.fruitless_views = 0;
            self.heard_head(head.0);
        }
        self.commit = self.commit.max(commit);
        if head.0 > self.log.head_op() {
            self.repair.catch_up(head.0, head.1);
        }
        if self.durable.view == self.wanted.view {
            let body = Body::CommitOk { sequence, clock: self.clock, room: self.room };
            self.send(from, body);
        }
    }

    /// The highest op that this replica may swear to hold.
    pub(super) fn acknowledgeable(&self) -> Op {
        if planted(Canary::AckBeforeDurable) {
            return self.log.head_op();
        }
        if planted(Canary::AckOverHole) {
            let durable = |slot: &&log::Slot| slot.body == log::BodyState::Durable;
            return self.log.slots().rev().find(durable).map_or(Op::ZERO, |slot| slot.header.op);
        }
        self.log.durable_through()
    }

    pub(super) fn settle_acknowledgement(&mut self) {
        let through = self.acknowledgeable();
        let view_is_durable = self.view_is_durable();
        let Status::Backup(backup) = &mut self.status else { return };
        if !view_is_durable || through <= backup.acknowledged {
            return;
        }
        let Some(slot) = self.log.slot(through) else { return };
        backup.acknowledged = through;
        let (op, name) = (through, slot.name);
        let primary = self.primary_of(self.view());
        self.send(primary, Body::PrepareOk { op, name });
    }

    /// A client could not reach the primary, or the primary does not answer it.
    pub(super) fn remember_request(&mut self, request: Request) {
        let standing = self.state.sessions().check(&request);
        if let Admission::Answered(reply) = standing {
            return self.send_client(request.client, Body::Reply(reply));
        }
        self.send_located(request.client);
        if self.check_request(&request).is_err() {
            return;
        }
        let now = self.now;
        let Status::Backup(backup) = &mut self.status else { return };
        // What the primary would refuse is no reason to suspect it; but it may know more sessions.
        if standing == Admission::New && backup.starving.len() < STARVING_MAX {
            backup.starving.entry(request_key(&request)).or_insert_with(|| (request.clone(), now));
        }
        let primary = self.primary_of(self.view());
        self.send(primary, Body::Request(request));
    }

    pub(super) fn tick_backup(&mut self) {
        let (now, clock) = (self.now, self.clock);
        let starvation_ms = self.config.timeouts.starvation_ms;
        let Status::Backup(backup) = &mut self.status else { return };
        let silent = now >= backup.suspect_at;
        // A request that is refused rather than starved is forgotten after a while.
        backup.starving.retain(|_, (request, since)| {
            request.deadline >= clock && now.since(*since) <= 2 * starvation_ms
        });
        let starved = backup.starving.values().any(|(_, since)| now.since(*since) > starvation_ms)
            && !planted(Canary::DeafPrimaryStays);
        let idle = self.commit >= self.log.head_op() && self.applied() >= self.commit;
        if silent && self.candidate.is_none() {
            self.event(Event::SuspectedSilentPrimary);
            self.wish(self.view().next());
        } else if starved && idle && self.candidate.is_none() {
            self.event(Event::SuspectedStarvingPrimary);
            self.wish(self.view().next());
        }
    }
}
