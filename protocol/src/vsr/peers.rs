//! What is known of the other replicas: hints from the headers of their messages.

use crate::message::Message;
use crate::types::{Incarnation, Op, REPLICAS_MAX, ReplicaId, Room, Tick, Timestamp, View};

#[derive(Clone, Copy, Default)]
pub(super) struct PeerFacts {
    pub heard_at: Tick,
    pub known: bool,
    pub incarnation: Incarnation,
    pub checkpoint: Op,
    pub floor: Op,
    /// The view that it wishes for, and when it said so.
    pub candidate: View,
    pub candidate_at: Tick,
    /// How far its wall clock was ahead of ours, in microseconds, and when.
    clock_ahead: i64,
    clock_at: Tick,
    /// What its disk has room for, and when it said so.
    pub room: Room,
    pub room_at: Tick,
}

/// What one replica knows of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStanding {
    /// For how long nothing was heard of it. None: nothing ever was.
    pub silent_ms: Option<u64>,
    pub incarnation: Incarnation,
    /// Its durable checkpoint, as far as it vouches for one.
    pub checkpoint: Op,
    /// Up to where it has acknowledged the log. Only the primary knows.
    pub acknowledged: Option<Op>,
    /// What its disk has room for, as it last told the primary.
    pub room: Room,
}

#[derive(Clone, Default)]
pub(super) struct Peers {
    facts: [PeerFacts; REPLICAS_MAX],
}

impl Peers {
    pub(super) fn get(&self, replica: ReplicaId) -> &PeerFacts {
        &self.facts[replica.index()]
    }

    pub(super) fn heard(&mut self, from: ReplicaId, message: &Message, now: Tick) {
        let facts = &mut self.facts[from.index()];
        if message.incarnation < facts.incarnation {
            return;
        }
        if message.incarnation > facts.incarnation {
            *facts = PeerFacts { incarnation: message.incarnation, ..PeerFacts::default() };
        }
        facts.known = true;
        facts.heard_at = now;
        // A late message is an older truth: a durable checkpoint never falls. The floor may.
        // Unless its tables are lost: then it vouches for nothing.
        let vouches = message.checkpoint > Op::ZERO;
        facts.checkpoint = if vouches { facts.checkpoint.max(message.checkpoint) } else { Op::ZERO };
        facts.floor = message.floor;
    }

    pub(super) fn tells_time(&mut self, from: ReplicaId, theirs: Timestamp, ours: Timestamp, now: Tick) {
        let facts = &mut self.facts[from.index()];
        let difference = i128::from(theirs.get()) - i128::from(ours.get());
        facts.clock_ahead =
            i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX });
        facts.clock_at = now;
    }

    pub(super) fn tells_room(&mut self, from: ReplicaId, room: Room, now: Tick) {
        let facts = &mut self.facts[from.index()];
        (facts.room, facts.room_at) = (room, now);
    }

    /// The own clock, corrected to the median of all clocks heard of since `since`: one wrong clock
    /// among three moves nothing, be it our own.
    pub(super) fn median_clock(&self, ours: Timestamp, since: Tick) -> Timestamp {
        let mut ahead: Vec<i64> = self
            .facts
            .iter()
            .filter(|facts| facts.clock_at >= since && facts.known)
            .map(|facts| facts.clock_ahead)
            .collect();
        ahead.push(0);
        ahead.sort_unstable();
        let median = ahead[(ahead.len() - 1) / 2];
        Timestamp::new(ours.get().saturating_add_signed(median))
    }

    pub(super) fn wishes(&mut self, from: ReplicaId, candidate: View, now: Tick) {
        let facts = &mut self.facts[from.index()];
        facts.candidate = candidate;
        facts.candidate_at = now;
    }
}

/// For a model checker.
#[cfg(feature = "models")]
impl Peers {
    /// Heard of just now; nothing more is known.
    pub(super) fn is_there(&mut self, replica: ReplicaId, now: Tick) {
        self.facts[replica.index()] = PeerFacts { known: true, heard_at: now, ..PeerFacts::default() };
    }
}
