//! The world of one seed: machines, network, clients and trouble on one virtual clock.

mod data;
mod jobs;
mod outside;
mod settle;
mod watch;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use bytes::Bytes;
use protocol::catalog::Catalog;
use protocol::entry::Entry;
use protocol::message::{Body, Message};
use protocol::state::{Outcome as RequestOutcome, Refusal};
use protocol::types::{Checksum, ClientId, Op, Peer, ReplicaId};
use protocol::vsr::{Effect, Event as CoreEvent, Halt, StatusName};

use crate::client::Clients;
use crate::coverage::Coverage;
use crate::faults::Nemesis;
use crate::network::Network;
use crate::node::{Job, Machine, StartFailure};
use crate::options::{Mode, Options, Stack};
use crate::oracles::{Chunks, Oracles};
use crate::random::Random;
use crate::trace::Trace;
use outside::Said;
use watch::{check_room, is_void};

/// How often every core is told the time, in microseconds.
const TICK: u64 = 10_000;

/// How long a core that has more to do is at it before it hears what came meanwhile.
const GO: u64 = 100;

/// What a core says whose disk was replaced by one that has rejoined.
const REPLACED: &str = "this disk was replaced by another one";

enum Happening {
    Deliver {
        to: Peer,
        frame: Bytes,
    },
    Tick {
        machine: usize,
        boot: u64,
    },
    /// The core comes to what it left.
    GoOn {
        machine: usize,
        boot: u64,
    },
    /// The time of a job is up.
    Job {
        machine: usize,
        boot: u64,
        number: u64,
    },
    EntryRead {
        machine: usize,
        boot: u64,
        op: Op,
        name: Checksum,
        entry: Option<Box<Entry>>,
    },
    Crash {
        machine: usize,
        boot: u64,
    },
    Start {
        machine: usize,
    },
    /// A frame of the data plane.
    Data {
        from: Peer,
        to: Peer,
        head: Bytes,
        bytes: Bytes,
    },
    /// The connection over which a call was made is gone.
    DataLost {
        to: Peer,
        from: ReplicaId,
        call: u64,
    },
    ClientStep {
        client: usize,
    },
    Trouble,
}

/// Which kind of message is kept back on a link (none named: all of them), and what was.
type Held = (Option<&'static str>, Vec<Bytes>);

struct Scheduled {
    at: u64,
    order: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

pub struct World {
    pub options: Options,
    pub now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    pub machines: Vec<Machine>,
    pub network: Network,
    pub clients: Clients,
    pub nemesis: Nemesis,
    pub oracles: Oracles,
    pub coverage: Coverage,
    pub trace: Trace,
    random: Random,
    failure: Option<String>,
    /// Which machine's upkeep is this client. Names of processes that are gone stay.
    upkeep_clients: BTreeMap<ClientId, usize>,
    /// When the chunks are looked at again, after the troubles.
    look_at_chunks: u64,
    /// Messages of this kind are kept back instead of delivered, for scenarios.
    held: BTreeMap<(Peer, Peer), Held>,
    said: Said,
}

/// What is left of a world that went well.
pub struct Outcome {
    pub coverage: Coverage,
    pub trace_hash: u64,
}

/// What went wrong, and when.
#[derive(Debug)]
pub struct Failure {
    pub at: u64,
    pub what: String,
}

impl World {
    pub fn new(options: Options, verbose: bool) -> World {
        let seed = options.seed;
        let count = options.config.quorums.replica_count;
        let machines = (0..count).map(|index| {
            let id = ReplicaId::new(u8::try_from(index).expect("at most seven"));
            Machine::new(id, seed ^ Random::branch(seed, &format!("machine {index}")).word())
        });
        let mut world = World {
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            machines: machines.collect(),
            network: Network::new(options.network.clone(), Random::branch(seed, "network")),
            clients: Clients::new(&options),
            nemesis: Nemesis::new(&options),
            oracles: Oracles::default(),
            coverage: Coverage::default(),
            trace: Trace::new(count, verbose),
            random: Random::branch(seed, "world"),
            failure: None,
            upkeep_clients: BTreeMap::new(),
            look_at_chunks: 0,
            held: BTreeMap::new(),
            said: Said::new(seed, count),
            options,
        };
        if world.options.stack == Stack::Whole {
            world.oracles.chunks = Some(Chunks::new(&world.options.config, world.catalog()));
        }
        for machine in &mut world.machines {
            machine.format(&world.options.config);
        }
        for machine in 0..count {
            let at = world.random.below(50_000);
            world.schedule(at, Happening::Start { machine });
        }
        for client in 0..world.options.client_count {
            world.schedule(0, Happening::ClientStep { client });
        }
        if world.options.faults.total() > 0 {
            world.schedule(world.options.faults.interval, Happening::Trouble);
        }
        world
    }

    /// Lives through the troubles, heals, and judges.
    pub fn run(mut self) -> Result<Outcome, Failure> {
        self.run_until(self.options.duration)?;
        self.settle()?;
        if self.options.mode == Mode::Calm {
            let committed = self.oracles.committed_count() as u64;
            let judged = self.oracles.chatter.judge(&self.options.config, committed, self.now);
            judged.map_err(|what| self.fail(what))?;
        }
        Ok(Outcome { coverage: self.coverage, trace_hash: self.trace.hash() })
    }

    pub fn catalog(&self) -> Catalog {
        crate::client::catalog(self.options.config.quorums)
    }

    pub fn fail(&self, what: String) -> Failure {
        Failure { at: self.now, what }
    }

    /// Everything that is due until `until` happens.
    pub fn run_until(&mut self, until: u64) -> Result<(), Failure> {
        while self.queue.peek().is_some_and(|Reverse(next)| next.at <= until) {
            let Reverse(next) = self.queue.pop().expect("it was just seen");
            self.now = next.at;
            self.happen(next.what);
            if let Some(what) = self.failure.take() {
                return Err(self.fail(what));
            }
        }
        self.now = until;
        Ok(())
    }

    fn schedule(&mut self, delay: u64, what: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at: self.now + delay, order: self.order, what }));
    }

    fn happen(&mut self, what: Happening) {
        if let Some((until, what)) = self.deferred(what) {
            self.schedule(until - self.now + 1, what);
        }
    }

    /// Handles a happening, unless it concerns a machine that is paused: then it comes back, and this
    /// tells when.
    fn deferred(&mut self, what: Happening) -> Option<(u64, Happening)> {
        let peer = match &what {
            Happening::Deliver { to, .. } | Happening::Data { to, .. } | Happening::DataLost { to, .. } => {
                Some(*to)
            }
            Happening::Tick { machine, .. }
            | Happening::GoOn { machine, .. }
            | Happening::Job { machine, .. }
            | Happening::EntryRead { machine, .. } => Some(Peer::Replica(self.machines[*machine].id)),
            _ => None,
        };
        if let Some(until) = peer.and_then(|peer| self.held_up(peer)) {
            return Some((until, what));
        }
        match what {
            Happening::Deliver { to, frame } => self.deliver(to, frame),
            Happening::Tick { machine, boot } => self.tick(machine, boot),
            Happening::GoOn { machine, boot } => {
                self.with_core(machine, boot, |core, out| core.go_on(out));
            }
            Happening::Job { machine, boot, number } => self.end_job(machine, boot, number),
            Happening::EntryRead { machine, boot, op, name, entry } => {
                self.with_core(machine, boot, |core, out| {
                    core.on_entry_read(op, name, entry.map(|entry| *entry), out);
                });
            }
            Happening::Crash { machine, boot } => {
                if self.machines[machine].boot == boot {
                    self.crash(machine, "power, at a bad moment");
                }
            }
            Happening::Start { machine } => self.start(machine),
            Happening::ClientStep { client } => self.client_step(client),
            Happening::Data { from, to, head, bytes } => self.deliver_data(from, to, &head, bytes),
            Happening::DataLost { to, from, call } => self.answered(to, from, call, None),
            Happening::Trouble => self.trouble(),
        }
        None
    }

    fn client_step(&mut self, client: usize) {
        let cores = self.machines.iter().filter_map(|machine| machine.process.as_ref());
        let newest = cores.map(|process| process.core.state()).max_by_key(|state| state.applied().op);
        if let Some(incarnations) = newest.map(|state| state.incarnations()) {
            self.clients.hear_of_disks(client, &incarnations);
        }
        let sends = self.clients.step(client, self.now, &mut self.coverage);
        self.send_all(Peer::Client(self.clients.id(client)), sends);
        self.schedule(self.clients.pace(), Happening::ClientStep { client });
    }

    fn trouble(&mut self) {
        if self.now >= self.options.duration {
            return;
        }
        Nemesis::strike(self);
        let interval = self.options.faults.interval;
        let delay = interval / 4 + self.random.below(interval * 3 / 2);
        self.schedule(delay, Happening::Trouble);
    }

    fn tick(&mut self, machine: usize, boot: u64) {
        let now = self.now;
        let (tick, clock) = (self.machines[machine].tick_at(now), self.machines[machine].clock_at(now));
        if self.with_core(machine, boot, |core, out| core.on_tick(tick, clock, out)) {
            self.judge_space(machine, boot);
            self.tick_plane(machine, boot);
            self.schedule(TICK, Happening::Tick { machine, boot });
        }
    }

    /// Feeds a core and performs what it wants. False if that process is gone.
    fn with_core(
        &mut self,
        machine: usize,
        boot: u64,
        feed: impl FnOnce(&mut crate::node::Core, &mut Vec<Effect>),
    ) -> bool {
        let host = &mut self.machines[machine];
        let Some(process) = host.process.as_mut().filter(|_| host.boot == boot) else { return false };
        let mut effects = Vec::new();
        feed(&mut process.core, &mut effects);
        let core = &process.core;
        self.oracles.on_checkpoint(host.id, core.checkpoint().op());
        if core.is_primary() {
            let (quorums, own) = (&self.options.config.quorums, core.durable_through());
            let held = self.oracles.holders.on_reign(quorums, host.id, core.view(), core.commit(), own);
            if let Err(what) = held {
                self.failure.get_or_insert(what);
            }
        }
        self.perform(machine, effects);
        self.observe(machine);
        true
    }

    fn observe(&mut self, machine: usize) {
        let Some(process) = &self.machines[machine].process else { return };
        let core = &process.core;
        let id = self.machines[machine].id;
        if let Some(vote) = &core.durable_superblock().vote {
            self.oracles.elections.on_durable_vote(id, vote);
        }
        if let Err(what) = self.oracles.on_applied(id, core.state().applied()) {
            self.failure.get_or_insert(what);
        }
        let standing = (core.status() == StatusName::Normal)
            .then(|| (self.machines[machine].boot, core.log_view(), core.head().0));
        if let Err(what) = self.oracles.on_standing(id, standing) {
            self.failure.get_or_insert(what);
        }
        self.trace.status(
            machine,
            core.status(),
            core.is_primary(),
            core.view(),
            core.head().0,
            core.commit(),
        );
        let superblock = core.durable_superblock();
        let (incarnation, is_blank) = (superblock.incarnation, superblock.amnesiac.is_some());
        let host = &mut self.machines[machine];
        (host.incarnation, host.is_blank) = (incarnation, is_blank);
    }

    fn perform(&mut self, machine: usize, effects: Vec<Effect>) {
        let boot = self.machines[machine].boot;
        for effect in effects {
            if self.machines[machine].boot != boot || !self.machines[machine].is_up() {
                return;
            }
            match effect {
                Effect::Send { to, message } => {
                    let quorums = self.options.config.quorums;
                    if let Err(what) = self.oracles.on_send(&quorums, &message) {
                        self.failure.get_or_insert(what);
                    }
                    self.send(to, &message);
                }
                Effect::Append { entry } => {
                    self.oracles.on_append(&entry);
                    let process = self.machines[machine].process.as_mut().expect("it is up");
                    if let Err(what) = check_room(&process.core, &entry) {
                        self.failure.get_or_insert(what);
                    }
                    process.appends.push(entry);
                    self.begin_group(machine);
                }
                Effect::WriteSuperblock(superblock) => {
                    self.begin_job(machine, Job::Superblock(superblock));
                }
                Effect::ReadEntry { op, name } => {
                    self.read_entry(machine, op, name);
                }
                Effect::Reclaim { through } => {
                    let (id, quorums) = (self.machines[machine].id, self.options.config.quorums);
                    if let Err(what) = self.oracles.on_reclaim(&quorums, id, through) {
                        self.failure.get_or_insert(what);
                    }
                    let process = self.machines[machine].process.as_mut().expect("it is up");
                    process.wal.reclaim(through);
                }
                Effect::FlushCheckpoint => self.flush(machine),
                Effect::GoOn => self.schedule(GO, Happening::GoOn { machine, boot }),
                Effect::Halt(halt) => return self.halted(machine, halt),
                Effect::Event(event) => self.core_event(machine, event),
            }
        }
    }

    fn core_event(&mut self, machine: usize, event: CoreEvent) {
        self.coverage.mark(format!("{event:?}"));
        self.notice_coincidence(machine, event);
        Nemesis::on_event(self, machine, event);
        let noisy = matches!(
            event,
            CoreEvent::PipelineFull
                | CoreEvent::ReadIndexConfirmed
                | CoreEvent::ReadWaitedForApply
                | CoreEvent::Throttled
                | CoreEvent::WalFull
                | CoreEvent::CheckpointWaited
        );
        if !noisy {
            self.trace.note(self.now, Some(machine), &format!("{event:?}"));
        }
    }

    fn halted(&mut self, machine: usize, halt: Halt) {
        self.trace.note(self.now, Some(machine), &format!("halts: {halt:?}"));
        match halt {
            Halt::Diverged(what) if self.machines[machine].has_old_disk && what.contains(REPLACED) => {
                self.coverage.mark("old disk found itself replaced");
                self.crash(machine, "its disk was replaced");
            }
            Halt::Diverged(what) => {
                self.failure.get_or_insert(format!("replica {machine} found a contradiction: {what}"));
            }
            Halt::DiskFailed(_) => self.crash(machine, "the disk takes no more"),
            Halt::TablesLost(_) => {
                self.coverage.mark("tables lost");
                self.crash(machine, "tables lost");
            }
        }
    }

    /// The machine dies soon, if it does not die before.
    pub fn crash_soon(&mut self, machine: usize, delay: u64) {
        let boot = self.machines[machine].boot;
        self.schedule(delay, Happening::Crash { machine, boot });
    }

    /// The process dies now; an operator or a supervisor starts it again after a while.
    pub fn crash(&mut self, machine: usize, why: &str) {
        if !self.machines[machine].is_up() {
            return;
        }
        self.trace.note(self.now, Some(machine), &format!("crash ({why})"));
        self.coverage.mark("crash");
        self.machines[machine].crash();
        self.machines[machine].paused_until = 0;
        self.trace.down(machine);
        let delay = 20_000 + self.random.exponential(500_000);
        self.schedule(delay, Happening::Start { machine });
    }

    /// The process is asked to end.
    pub fn resign(&mut self, machine: usize) {
        let boot = self.machines[machine].boot;
        self.with_core(machine, boot, |core, out| core.resign(out));
    }

    /// Stays down until somebody starts it.
    pub fn kill(&mut self, machine: usize) {
        self.trace.note(self.now, Some(machine), "killed");
        self.machines[machine].crash();
        self.trace.down(machine);
    }

    pub fn start_soon(&mut self, machine: usize, delay: u64) {
        self.schedule(delay, Happening::Start { machine });
    }

    fn start(&mut self, machine: usize) {
        if self.machines[machine].is_up() || self.nemesis.keeps_down(machine) {
            return;
        }
        self.oracles.on_restart(self.machines[machine].id);
        let catalog = self.catalog();
        let now = self.now;
        let segment_size = (self.options.stack == Stack::Whole).then_some(self.options.segment_size);
        let started = self.machines[machine].start(&self.options.config, catalog, segment_size, now);
        if !self.machines[machine].wal_certain && !self.nemesis.is_afflicted(machine) {
            // Two of three replicas in this state could not elect, though no disk is to blame.
            self.failure
                .get_or_insert(format!("replica {machine} does not know the end of an undamaged log"));
        }
        match started {
            Ok(effects) => {
                let boot = self.machines[machine].boot;
                self.trace.note(now, Some(machine), "starts");
                let process = self.machines[machine].process.as_ref().expect("it has just started");
                self.oracles.on_checkpoint(self.machines[machine].id, process.core.checkpoint().op());
                self.perform(machine, effects);
                self.observe(machine);
                self.plane_started(machine);
                self.schedule(self.random.clone().below(TICK), Happening::Tick { machine, boot });
            }
            Err(StartFailure::Crashed) => {
                self.coverage.mark("crash while starting");
                self.trace.note(now, Some(machine), "crashes while starting");
                self.machines[machine].crash();
                self.schedule(300_000, Happening::Start { machine });
            }
            Err(StartFailure::TablesLost) => {
                self.coverage.mark("tables lost");
                self.trace.note(now, Some(machine), "finds its tables damaged");
                self.machines[machine].crash();
                self.schedule(100_000, Happening::Start { machine });
            }
            Err(StartFailure::NoSuperblock(reason)) => self.replace(machine, &reason),
        }
    }

    /// Nothing on the disk can be believed: the operator puts in a new one.
    fn replace(&mut self, machine: usize, reason: &str) {
        if !self.nemesis.is_afflicted(machine) || self.options.config.quorums.replica_count < 3 {
            self.failure
                .get_or_insert(format!("replica {machine} cannot start from an undamaged disk: {reason}"));
            return;
        }
        self.coverage.mark("superblock lost");
        self.trace.note(self.now, Some(machine), "disk replaced");
        let config = self.options.config.clone();
        self.machines[machine].replace_disk(&config);
        self.machines[machine].has_old_disk = false;
        self.schedule(100_000, Happening::Start { machine });
    }

    pub fn send(&mut self, to: Peer, message: &Message) {
        let frame = message.encode();
        self.oracles.chatter.on_send(to, message);
        self.trace.message(self.now, message, to);
        if self.options.mode == Mode::Liveness
            && let Peer::Replica(from) = message.from
        {
            self.said.remember(from.index(), to, message, &frame);
        }
        if let Some((kind, frames)) = self.held.get_mut(&(message.from, to))
            && kind.is_none_or(|kind| kind == message.body.kind())
        {
            return frames.push(frame);
        }
        let (from, link) = (self.link(message.from), self.link(to));
        if from == link {
            // A replica answers the upkeep beside it.
            return self.schedule(1, Happening::Deliver { to, frame });
        }
        for delivery in self.network.deliver(from, link, frame.len()) {
            let frame = if delivery.flipped { self.flip(&frame) } else { frame.clone() };
            self.schedule(delivery.delay, Happening::Deliver { to, frame });
        }
    }

    fn flip(&mut self, frame: &Bytes) -> Bytes {
        let mut bytes = frame.to_vec();
        let index = self.random.index(bytes.len());
        bytes[index] ^= 1 << self.random.below(8);
        self.coverage.mark("bit flipped in flight");
        Bytes::from(bytes)
    }

    fn deliver(&mut self, to: Peer, frame: Bytes) {
        let message = match Message::decode(frame) {
            Ok(message) => message,
            Err(_) => return self.coverage.mark("damaged frame refused"),
        };
        match to {
            Peer::Replica(id) => {
                let machine = id.index();
                let boot = self.machines[machine].boot;
                let mut counted = None;
                self.with_core(machine, boot, |core, out| {
                    let void = is_void(core, &message).then(|| format!("{:?}", message.from));
                    let kind = message.body.kind();
                    core.on_message(message, out);
                    let dropped = Effect::Event(CoreEvent::StaleIncarnationDropped);
                    counted = void.filter(|_| !out.contains(&dropped)).map(|from| (from, kind));
                });
                if let Some((from, kind)) = counted {
                    let what = format!("replica {machine} accepts {kind} of a lost disk of {from}");
                    self.failure.get_or_insert(what);
                }
            }
            Peer::Client(client) => {
                if let Body::Reply(reply) = &message.body
                    && reply.outcome == RequestOutcome::Refused(Refusal::SessionGone)
                {
                    self.coverage.mark("client told that its session is gone");
                }
                if let Body::Reply(reply) = &message.body
                    && let Err(what) = self.oracles.on_reply(reply)
                {
                    self.failure.get_or_insert(what);
                }
                if self.deliver_to_upkeep(client, &message) {
                    return;
                }
                let (sends, seen) = self.clients.on_message(client, self.now, message, &mut self.coverage);
                if let Err(what) = seen {
                    self.failure.get_or_insert(what);
                }
                for (query, applied, answer) in self.clients.take_answers() {
                    self.oracles.on_answer(query, applied, answer);
                }
                self.send_all(to, sends);
            }
        }
    }

    /// Keeps back what `from` sends to `to`, all of it or one kind.
    pub fn hold(&mut self, from: Peer, to: Peer, kind: Option<&'static str>) {
        self.held.entry((from, to)).or_insert((kind, Vec::new()));
    }

    pub fn holds_back(&self) -> bool {
        !self.held.is_empty()
    }

    /// Delivers what was kept back.
    pub fn release(&mut self) {
        for ((_, to), (_, frames)) in std::mem::take(&mut self.held) {
            for frame in frames {
                self.schedule(1, Happening::Deliver { to, frame });
            }
        }
    }
}
