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
    searches: BTreeMap<ChunkId, Search>,
}

/// What was found out about a chunk.
#[derive(Debug, Default)]
struct Search {
    /// Who has no sound copy. It is not asked again, but for the second look.
    passed_over: BTreeSet<ReplicaId>,
    /// Who sent something else than the chunk: that is told once.
    caught: BTreeSet<ReplicaId>,
    second: Option<SecondLook>,
}

/// Holders are asked one after the other, and one that lacked the chunk at first may have fetched it by
/// the time at which another one set its own copy aside. So when nobody is left, all are asked once more.
#[derive(Clone, Copy, Debug)]
struct SecondLook {
    /// What was asked before says nothing any more.
    decided_at: Tick,
    begins_at: Tick,
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
        Holders { layout, me, states, searches: BTreeMap::new() }
    }

    /// The best replica to ask, except those that are being asked already.
    pub(super) fn choose(&self, chunk: ChunkId, asked: &[Asked], now: Tick) -> Choice {
        let search = self.searches.get(&chunk);
        if let Some(second) = search.and_then(|search| search.second)
            && second.begins_at > now
        {
            return Choice::Wait(second.begins_at);
        }
        let near = self.me.filter(|me| self.layout.owns(*me, chunk));
        let others = self.layout.order(chunk).filter(|replica| Some(*replica) != near);
        let possible = near.into_iter().chain(others).filter(|replica| {
            !search.is_some_and(|search| search.passed_over.contains(replica))
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

    /// The replica, which was asked then, has no sound copy.
    pub(super) fn pass_over(&mut self, chunk: ChunkId, replica: ReplicaId, asked_at: Tick) {
        let search = self.searches.entry(chunk).or_default();
        if search.second.is_none_or(|second| second.decided_at < asked_at) {
            search.passed_over.insert(replica);
        }
    }

    /// What the replica sent is not the chunk. True if that is new.
    pub(super) fn catch(&mut self, chunk: ChunkId, replica: ReplicaId) -> bool {
        self.searches.entry(chunk).or_default().caught.insert(replica)
    }

    /// Everybody was passed over. False if that was the second look.
    pub(super) fn look_again(&mut self, chunk: ChunkId, now: Tick, pause_ms: u64) -> bool {
        let search = self.searches.entry(chunk).or_default();
        if search.second.is_some() {
            return false;
        }
        search.passed_over.clear();
        search.second = Some(SecondLook { decided_at: now, begins_at: now.plus(pause_ms.max(1)) });
        true
    }

    /// Something of the chunk has come: what is missing after that is looked for twice again.
    pub(super) fn found(&mut self, chunk: ChunkId) {
        if let Some(search) = self.searches.get_mut(&chunk) {
            search.second = None;
        }
    }

    /// Forgets what was found out about chunks that are not needed any more.
    pub(super) fn retain(&mut self, is_needed: impl Fn(ChunkId) -> bool) {
        self.searches.retain(|chunk, _| is_needed(*chunk));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cluster::BODY;
    use crate::quorums::Quorums;

    /// One span asked a holder and waits, while another one has been through all of them and begins
    /// anew: what comes of the first question is from before.
    #[test]
    fn an_answer_from_before_the_second_look_does_not_count_in_it() {
        let mut holders = Holders::new(Layout::first(Quorums::of(1)), None);
        let (chunk, only) = (BODY.chunk(0), ReplicaId::new(0));
        let choose = |holders: &Holders, now| holders.choose(chunk, &[], Tick::new(now));
        holders.pass_over(chunk, only, Tick::new(3));
        assert_eq!(choose(&holders, 5), Choice::Nobody);
        assert!(holders.look_again(chunk, Tick::new(5), 10));
        assert_eq!(choose(&holders, 14), Choice::Wait(Tick::new(15)));

        holders.pass_over(chunk, only, Tick::new(5));
        assert_eq!(choose(&holders, 15), Choice::Ask(only));
        holders.pass_over(chunk, only, Tick::new(15));
        assert_eq!(choose(&holders, 16), Choice::Nobody);
        assert!(!holders.look_again(chunk, Tick::new(16), 10));

        holders.found(chunk);
        assert!(holders.look_again(chunk, Tick::new(17), 10));
    }
}
