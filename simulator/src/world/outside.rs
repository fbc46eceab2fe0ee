//! Liveness: a random core of the cluster is healed, and whoever is outside stays broken for good.
//!
//! To heal everything proves little, because healing itself sets things in motion again. What is left
//! outside goes on disturbing: it is dead, or hears nothing, or is not heard, or is slow, or repeats
//! what it said long ago, or is cut off from some and not from others. The core must do without it.
//!
//! If disks were damaged in the core, it may lack what only the outside has. Then the world has to say
//! what is lacking: a core that is stuck for no such reason is not live.

use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::message::{Body, Message, SlotState};
use protocol::types::{Op, Peer};
use protocol::vsr::StatusName;

use super::{Happening, World};
use crate::random::Random;

/// So many messages of each machine are remembered, for those who will repeat them.
const SAID_MAX: usize = 256;

/// So many are repeated at a time.
const REPEATED_AT_ONCE: usize = 8;

/// How a machine outside the core stays broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// It does not come back.
    Dead,
    /// Its links and its process stay as the troubles have left them. Its disk has room: by design the
    /// fullest disk that is heard decides what may grow.
    AsItIs,
    /// It sends and hears nothing.
    Deaf,
    /// It hears and is not heard.
    Mute,
    /// Its disk takes two hundred times as long, and its messages a second.
    Slow,
    /// It repeats what it said in views that are over.
    Repeats,
}

impl Broken {
    const ALL: [Broken; 6] =
        [Broken::Dead, Broken::AsItIs, Broken::Deaf, Broken::Mute, Broken::Slow, Broken::Repeats];

    fn mark(self) -> &'static str {
        match self {
            Broken::Dead => "outside the core: dead",
            Broken::AsItIs => "outside the core: as it was",
            Broken::Deaf => "outside the core: deaf",
            Broken::Mute => "outside the core: mute",
            Broken::Slow => "outside the core: slow",
            Broken::Repeats => "outside the core: repeats itself",
        }
    }
}

/// What has been said, as far as somebody may repeat it.
pub(super) struct Said {
    random: Random,
    /// For each machine: to whom, and what.
    messages: Vec<Vec<(Peer, Bytes)>>,
    count: Vec<u64>,
    repeating: Vec<usize>,
}

impl Said {
    pub(super) fn new(seed: u64, machine_count: usize) -> Said {
        Said {
            random: Random::branch(seed, "outside"),
            messages: vec![Vec::new(); machine_count],
            count: vec![0; machine_count],
            repeating: Vec::new(),
        }
    }

    /// Remembers a sample of what a machine says to its peers: each message is as likely as any other.
    pub(super) fn remember(&mut self, machine: usize, to: Peer, message: &Message, frame: &Bytes) {
        let bulky = matches!(message.body, Body::Rows { .. } | Body::Manifest { .. } | Body::Headers { .. });
        if bulky || !matches!(to, Peer::Replica(_)) {
            return;
        }
        self.count[machine] += 1;
        let said = &mut self.messages[machine];
        if said.len() < SAID_MAX {
            return said.push((to, frame.clone()));
        }
        let place = self.random.below(self.count[machine]);
        if let Some(place) = usize::try_from(place).ok().filter(|place| *place < SAID_MAX) {
            said[place] = (to, frame.clone());
        }
    }
}

impl World {
    /// Who is left outside, of whom the cluster can do without. Mostly those whose disks were damaged
    /// come first, and the core must not fail; sometimes chance alone decides.
    pub(super) fn choose_outside(&mut self) -> BTreeSet<usize> {
        let quorums = self.options.config.quorums;
        let spare = quorums.replica_count - quorums.view_change;
        let mut outside = BTreeSet::new();
        if self.said.random.percent(75) {
            outside.extend(self.nemesis.afflicted());
        }
        while outside.len() < spare {
            outside.insert(self.random.index(self.machines.len()));
        }
        if outside.len() > spare { BTreeSet::new() } else { outside }
    }

    /// Makes what is broken stay so. Returns who never starts again.
    pub(super) fn break_for_good(&mut self, outside: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut dead = BTreeSet::new();
        for machine in outside.iter().copied() {
            // Half of them are dead: that is what mostly happens.
            let broken = match self.said.random.percent(40) {
                true => Broken::Dead,
                false => *self.said.random.pick(&Broken::ALL),
            };
            self.coverage.mark(broken.mark());
            self.trace.note(self.now, Some(machine), broken.mark());
            let me = self.peer_of(machine);
            let others: Vec<Peer> = (0..self.machines.len())
                .filter(|other| *other != machine)
                .map(|other| self.peer_of(other))
                .chain(self.clients.peers())
                .collect();
            self.machines[machine].disk.set_capacity(u64::MAX);
            if broken != Broken::AsItIs {
                for other in &others {
                    self.network.mend(me, *other);
                    self.network.mend(*other, me);
                }
            }
            match broken {
                Broken::Dead => {
                    dead.insert(machine);
                    if self.machines[machine].is_up() {
                        self.kill(machine);
                    }
                }
                Broken::AsItIs => {}
                Broken::Deaf => others.iter().for_each(|other| self.network.cut(*other, me)),
                Broken::Mute => others.iter().for_each(|other| self.network.cut(me, *other)),
                Broken::Slow => {
                    self.machines[machine].slowness = 200;
                    for other in others {
                        self.network.clog(me, other, 1_000_000);
                        self.network.clog(other, me, 1_000_000);
                    }
                }
                Broken::Repeats => self.said.repeating.push(machine),
            }
            if !dead.contains(&machine) {
                self.schedule(1, Happening::Start { machine });
            }
        }
        dead
    }

    /// Old messages arrive once more.
    pub(super) fn repeat_old_messages(&mut self) {
        for machine in self.said.repeating.clone() {
            for _ in 0..REPEATED_AT_ONCE {
                if self.said.messages[machine].is_empty() {
                    break;
                }
                let (to, frame) = self.said.random.pick(&self.said.messages[machine]).clone();
                let delay = self.said.random.below(100_000);
                self.schedule(delay, Happening::Deliver { to, frame });
            }
        }
    }

    /// What the core lacks and only the outside has, if it has damaged disks. None: it has no excuse.
    pub(super) fn what_is_beyond_the_budget(&self) -> Option<String> {
        let core: Vec<usize> =
            (0..self.machines.len()).filter(|machine| !self.nemesis.is_outside(*machine)).collect();
        let reign = self.an_outsider_reigns_for_some(&core).or_else(|| self.an_outsider_reigns_late(&core));
        if reign.is_some() {
            return reign;
        }
        if !core.iter().any(|machine| self.nemesis.is_afflicted(*machine)) {
            return None;
        }
        self.too_few_can_vote(&core)
            .or_else(|| self.an_entry_is_outside(&core))
            .or_else(|| self.a_chunk_is_outside(&core))
    }

    /// A known limit: who alone is cut off from a primary that all others hear and reach is not served
    /// by it, and cannot depose it.
    fn an_outsider_reigns_for_some(&self, core: &[usize]) -> Option<String> {
        self.reigning_outside().find_map(|primary| {
            let primary = self.peer_of(primary);
            let inside: Vec<Peer> =
                core.iter().map(|machine| self.peer_of(*machine)).chain(self.clients.peers()).collect();
            let lost = inside.iter().filter(|peer| {
                self.network.is_damaged(primary, **peer) || self.network.is_damaged(**peer, primary)
            });
            let lost = lost.count();
            (lost > 0 && lost < inside.len())
                .then(|| format!("{lost} are cut off from {primary:?}, which reigns outside"))
        })
    }

    /// The same limit: whoever hears a primary late is late, for as long as clients go on. They are served,
    /// and nobody but those who hear it late may lack more than what is in the pipeline.
    fn an_outsider_reigns_late(&self, core: &[usize]) -> Option<String> {
        if self.clients.waiting().is_some() {
            return None;
        }
        self.reigning_outside().find_map(|primary| {
            let view = self.machines[primary].process.as_ref()?.core.view();
            let peer = self.peer_of(primary);
            let hears_late = |machine: &usize| self.network.is_slow(peer, self.peer_of(*machine));
            let pipeline = self.options.config.limits.pipeline_max;
            let follows = |machine: &usize| {
                self.machines[*machine].process.as_ref().is_some_and(|process| {
                    let core = &process.core;
                    let near = core.applied().get() + pipeline >= self.oracles.committed_count() as u64;
                    let follows = core.status() == StatusName::Normal && core.view() == view;
                    follows && (near || hears_late(machine))
                })
            };
            let explained = core.iter().any(hears_late) && core.iter().all(follows);
            explained.then(|| format!("some hear {peer:?}, which reigns outside, late"))
        })
    }

    fn reigning_outside(&self) -> impl Iterator<Item = usize> {
        let outsiders = (0..self.machines.len()).filter(|machine| self.nemesis.is_outside(*machine));
        outsiders.filter(|machine| {
            let process = self.machines[*machine].process.as_ref();
            process.is_some_and(|process| process.core.is_primary())
        })
    }

    fn too_few_can_vote(&self, core: &[usize]) -> Option<String> {
        let needed = self.options.config.quorums.view_change;
        let able = core.iter().filter(|machine| {
            let host = &self.machines[**machine];
            host.process.as_ref().is_some_and(|process| match process.core.status() {
                StatusName::Normal => true,
                StatusName::ViewChange => process
                    .core
                    .durable_superblock()
                    .vote
                    .as_ref()
                    .map_or(host.wal_certain, |vote| vote.certain),
                StatusName::Recovering => host.wal_certain,
                StatusName::Syncing | StatusName::Rejoining => false,
            })
        });
        let able = able.count();
        (able < needed).then(|| format!("only {able} of the core can vote"))
    }

    /// An entry that is committed, or that a vote of the core cannot deny, and that nobody in the core
    /// can produce.
    fn an_entry_is_outside(&self, core: &[usize]) -> Option<String> {
        let processes = || core.iter().filter_map(|machine| self.machines[*machine].process.as_ref());
        let behind = processes().map(|process| process.core.applied()).min()?;
        let checkpoint = processes().map(|process| process.core.checkpoint().op()).max()?;
        let committed = (behind.get() + 1..=self.oracles.committed_count() as u64).map(Op::new);
        let committed = committed.filter(|op| *op > checkpoint);
        let committed = committed.filter_map(|op| Some((op, self.oracles.committed_name(op)?)));
        let votes = processes().filter_map(|process| process.core.durable_superblock().vote.as_ref());
        let undenied = votes.flat_map(|vote| &vote.slots).filter(|slot| slot.state == SlotState::Faulty);
        let undenied = undenied.map(|slot| (slot.header.op, slot.header.name()));
        let lost = committed
            .chain(undenied)
            .find(|(op, name)| !processes().any(|process| process.wal.contains(*op, *name)));
        lost.map(|(op, _)| format!("nobody in the core has op {op}"))
    }

    fn a_chunk_is_outside(&self, core: &[usize]) -> Option<String> {
        let chunks = self.oracles.chunks.as_ref()?;
        let planes: Vec<_> = core
            .iter()
            .filter_map(|machine| self.machines[*machine].process.as_ref()?.plane.as_deref())
            .collect();
        chunks.referenced().iter().find_map(|named| {
            let mut roots = (0..).zip(&named.body.roots);
            let (index, _) = roots.find(|(index, root)| {
                !planes.iter().any(|plane| plane.has_sound(named.id.chunk(*index), **root))
            })?;
            Some(format!("nobody in the core has {:?}", named.id.chunk(index)))
        })
    }

    fn peer_of(&self, machine: usize) -> Peer {
        Peer::Replica(self.machines[machine].id)
    }
}
