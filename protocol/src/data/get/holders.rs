//! Whom to ask for a chunk.

use std::collections::{BTreeMap, BTreeSet};

use rand_xoshiro::Xoshiro256PlusPlus;

use super::GetSettings;
use super::span::Asked;
use crate::catalog::ChunkId;
use crate::client::jittered;
use crate::data::placement::Layout;
use crate::types::{ReplicaId, Tick};

/// `retry_ms` doubled so often exceeds every sensible maximum.
const DOUBLINGS_MAX: u32 = 16;

#[derive(Debug)]
pub(super) struct Holders {
    layout: Layout,
    /// A holder on this machine, asked first for what it owns.
    me: Option<ReplicaId>,
    states: Vec<Holder>,
    /// Who has no sound copy of a chunk, as far as was found out.
    passed_over: BTreeMap<ChunkId, BTreeSet<ReplicaId>>,
}

/// What was seen of a replica, whatever the chunk.
#[derive(Clone, Copy, Debug, Default)]
struct Holder {
    /// It could not be reached, or had too much to do.
    paused_until: Tick,
    pauses: u32,
    /// It was late: others are asked before it.
    slow_until: Tick,
}

/// Who is to be asked for a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Ask(ReplicaId),
    /// Those that may have it can be asked again at this time.
    Wait(Tick),
    /// Everybody else was asked or has no sound copy.
    Nobody,
}

impl Holders {
    pub(super) fn new(layout: Layout, me: Option<ReplicaId>) -> Holders {
        let states = vec![Holder::default(); layout.quorums.replica_count];
        Holders { layout, me, states, passed_over: BTreeMap::new() }
    }

    /// The best replica to ask, except those that are being asked already.
    pub(super) fn choose(&self, chunk: ChunkId, asked: &[Asked], now: Tick) -> Choice {
        let near = self.me.filter(|me| self.layout.owns(*me, chunk));
        let others = self.layout.order(chunk).filter(|replica| Some(*replica) != near);
        let passed_over = self.passed_over.get(&chunk);
        let possible = near.into_iter().chain(others).filter(|replica| {
            !passed_over.is_some_and(|passed_over| passed_over.contains(replica))
                && !asked.iter().any(|asked| asked.to == *replica)
        });
        let ready = possible.clone().filter(|replica| self.state(*replica).paused_until <= now);
        // The first one, unless only later ones are quick.
        if let Some(best) = ready.min_by_key(|replica| self.state(*replica).slow_until > now) {
            return Choice::Ask(best);
        }
        let soonest = possible.map(|replica| self.state(replica).paused_until).min();
        soonest.map_or(Choice::Nobody, Choice::Wait)
    }

    /// True if that is new.
    pub(super) fn pass_over(&mut self, chunk: ChunkId, replica: ReplicaId) -> bool {
        self.passed_over.entry(chunk).or_default().insert(replica)
    }

    /// Forgets what was found out about chunks that are not needed any more.
    pub(super) fn retain(&mut self, is_needed: impl Fn(ChunkId) -> bool) {
        self.passed_over.retain(|chunk, _| is_needed(*chunk));
    }

    pub(super) fn works(&mut self, replica: ReplicaId) {
        if let Some(state) = self.states.get_mut(replica.index()) {
            state.pauses = 0;
            state.paused_until = Tick::ZERO;
        }
    }

    pub(super) fn is_late(&mut self, replica: ReplicaId, until: Tick) {
        if let Some(state) = self.states.get_mut(replica.index()) {
            state.slow_until = state.slow_until.max(until);
        }
    }

    /// The replica is asked nothing for a while.
    pub(super) fn pause(
        &mut self,
        replica: ReplicaId,
        now: Tick,
        settings: &GetSettings,
        random: &mut Xoshiro256PlusPlus,
    ) {
        if let Some(state) = self.states.get_mut(replica.index()) {
            let doubled = settings.retry_ms.saturating_mul(1 << state.pauses);
            state.paused_until = now.plus(jittered(doubled.min(settings.retry_max_ms), random));
            state.pauses = (state.pauses + 1).min(DOUBLINGS_MAX);
        }
    }

    fn state(&self, replica: ReplicaId) -> &Holder {
        &self.states[replica.index()]
    }
}
