//! Full disks: what still gets a place in the log when some disk has no room.
//!
//! A backup cannot refuse an entry, and a table that cannot be flushed ends its replica. So the
//! primary looks ahead: it counts its own disk and those of all backups that it hears, and the
//! fullest one decides. Whatever frees space goes on; and since it is given back only when later
//! checkpoints have let go of the old pages, the primary carries the log on to them.

use super::status::Status;
use super::*;
use crate::entry::{Operation, Request};
use crate::state::Refusal;

/// A page that a checkpoint's flush gives up may be read by those who fetch that checkpoint or the one
/// before: the flush after next is the first that may write over it.
const CHECKPOINTS_UNTIL_FREED: u64 = 3;

impl<M: Machine, T: ReplicaTables> Replica<M, T> {
    /// Of the fullest disk among this replica and those that follow it and were just heard.
    pub(super) fn room_of_all(&self) -> Room {
        let recent = self.now.minus(self.config.timeouts.suspicion_ms).max(Tick::new(1));
        let others = self.others().into_iter().map(|other| self.peers.get(other));
        let heard = others.filter(|facts| facts.room_at >= recent).map(|facts| facts.room);
        heard.fold(self.room, Room::max)
    }

    /// Whether a request must not get a place in the log now.
    pub(super) fn refused_for_room(&mut self, request: &Request) -> Option<Refusal> {
        let Operation::Machine(operation) = &request.operation else { return None };
        let room = self.room_of_all();
        if room == Room::Ample || planted(Canary::GrowsWithoutRoom) {
            // Mostly. What the operation is need not be looked at.
            return None;
        }
        let grows = self.state.machine().grows(operation);
        let (event, refusal) = match (grows, room) {
            (_, Room::Ample) | (false, Room::Pressed | Room::Scarce) => return None,
            (true, Room::Pressed) => (Event::GrowthDelayed, Refusal::Busy),
            (true, Room::Scarce | Room::Spent) => (Event::GrowthRefused, Refusal::Full),
            (false, Room::Spent) => (Event::FreeingDelayed, Refusal::Busy),
        };
        self.event(event);
        Some(refusal)
    }

    /// The log is wanted up to here, with nothing but empty entries if there is nothing else: then
    /// the space is free that was freed up to now.
    fn wanted_through(&self) -> Op {
        let Status::Primary(primary) = &self.status else { return Op::ZERO };
        let interval = self.config.limits.checkpoint_interval_ops;
        let checkpoint = primary.changed_at.get().div_ceil(interval) * interval;
        Op::new(checkpoint).plus((CHECKPOINTS_UNTIL_FREED - 1) * interval)
    }

    /// Whether an empty entry should be prepared: a disk is full or may be, the checkpoint that tells, or
    /// that frees what was deleted, is not reached, and nothing else is under way.
    pub(super) fn should_carry_on(&self) -> bool {
        let head = self.log.head_op();
        self.room_of_all() > Room::Ample
            && head < self.wanted_through()
            && self.applied() == head
            && !self.state.tables().frozen()
    }

    pub(super) fn carry_on(&mut self) {
        self.event(Event::CarriedOn);
        let nothing = self.own_request(Operation::Expire { sessions: Vec::new() });
        self.prepare(vec![nothing]);
    }

    /// What the primary refuses for want of room is no reason to suspect it.
    pub(super) fn forget_refused_for_room(&mut self, room: Room) {
        let Status::Backup(backup) = &mut self.status else { return };
        if room == Room::Ample || backup.starving.is_empty() {
            return;
        }
        let machine = self.state.machine();
        backup.starving.retain(|_, (request, _)| match &request.operation {
            Operation::Machine(operation) => room < Room::Spent && !machine.grows(operation),
            _ => true,
        });
    }
}
