//! What is known of the other replicas: hints from the headers of their messages.

use crate::message::Message;
use crate::types::{Incarnation, Op, REPLICAS_MAX, ReplicaId, Tick, View};

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
}

#[derive(Default)]
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
        facts.checkpoint = facts.checkpoint.max(message.checkpoint);
        facts.floor = message.floor;
    }

    pub(super) fn wishes(&mut self, from: ReplicaId, candidate: View, now: Tick) {
        let facts = &mut self.facts[from.index()];
        facts.candidate = candidate;
        facts.candidate_at = now;
    }
}
