//! One replica: the core, what its disk holds, and what is on its way to the disk.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use protocol::config::{Config, Limits, Timeouts};
use protocol::entry::{Entry, EntryHeader};
use protocol::machine::{Context, Invalid, Machine, QueryContext};
use protocol::message::Message;
use protocol::quorums::Quorums;
use protocol::state::State;
use protocol::superblock::Superblock;
use protocol::tables::{MemoryTables, TableFault, Tables};
use protocol::types::{Checksum, ClusterId, Epoch, Op, Peer, ReplicaId, SessionId, Timestamp, View};
use protocol::vsr::select_log::{Selection, select_log};
use protocol::vsr::{Effect, Replica};
use protocol::wal::{WalRecord, WalScan};

pub(super) const CLUSTER: ClusterId = ClusterId::new(3);
pub(super) const EPOCH: Epoch = Epoch::new(1);
pub(super) const REPLICA_COUNT: usize = 3;

/// It stands still, like the ticks.
const CLOCK: Timestamp = Timestamp::new(1 << 40);

/// The application: the operations of these clusters are registrations, which need none.
#[derive(Clone)]
pub(super) struct Nothing;

impl Machine for Nothing {
    fn validate(&self, _: SessionId, _: &Bytes) -> Result<(), Invalid> {
        Err(Invalid("nothing can be done"))
    }

    fn grows(&self, _: &Bytes) -> bool {
        false
    }

    fn apply<T: Tables>(&self, _: &mut T, _: &Context<'_>, _: &Bytes) -> Result<Bytes, TableFault> {
        Ok(Bytes::new())
    }

    fn query<T: Tables>(
        &self,
        _: &T,
        _: &QueryContext<'_>,
        _: &Bytes,
    ) -> Result<Result<Bytes, Invalid>, TableFault> {
        Ok(Err(Invalid("nothing can be asked")))
    }
}

type Core = Replica<Nothing, MemoryTables>;

/// No checkpoint is ever due.
fn config(replica: ReplicaId, pipeline_max: u64) -> Config {
    Config {
        cluster: CLUSTER,
        epoch: EPOCH,
        replica,
        quorums: Quorums::of(REPLICA_COUNT),
        limits: Limits { pipeline_max, batch_requests_max: 1, ..Limits::standard() },
        timeouts: Timeouts::standard(),
    }
}

/// When what is written is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disks {
    /// Within the step that asks for it; but the replica may crash before, after and in between.
    AtOnce,
    /// At some later step, one write after the other; the superblock and the log do not wait for
    /// each other.
    Later,
}

/// What happens to a single replica.
#[derive(Clone, Debug)]
pub(super) enum Input<'a> {
    Message(&'a Message),
    LeaveFor(View),
    Beat,
    /// Asks for what is missing.
    Tick,
    Crash,
    /// The oldest entry on its way to the log is there.
    Appended,
    SuperblockWritten,
}

#[derive(Clone)]
pub(super) struct Node {
    core: Core,
    pipeline_max: u64,
    /// Every entry that the WAL holds, whether it belongs to the log or not.
    wal: BTreeMap<(Op, Checksum), Entry>,
    appending: VecDeque<Entry>,
    writing: Option<Superblock>,
}

/// One way in which a step may end.
#[derive(Clone)]
pub(super) struct Outcome {
    pub(super) node: Node,
    pub(super) sent: Vec<(Peer, Message)>,
    /// What was known to be committed at any moment of the step, by op and name, and in which log view.
    pub(super) committed: Vec<(Op, Checksum, View)>,
    /// Ballots that were counted for a view that this replica was elected for.
    pub(super) counted: Option<(View, Vec<(ReplicaId, u64)>)>,
    /// It crashed on the way.
    pub(super) crashed: bool,
    pub(super) halt: Option<String>,
}

impl Node {
    /// Starts from a disk with this superblock and an empty log.
    pub(super) fn on(superblock: Superblock, pipeline_max: u64) -> Outcome {
        let mut outcome = Outcome::of(Node::boot(superblock, BTreeMap::new(), pipeline_max));
        let effects = outcome.node.start();
        outcome.finish(effects, None, Disks::AtOnce);
        outcome.node.core.forget_time();
        outcome
    }

    fn boot(superblock: Superblock, wal: BTreeMap<(Op, Checksum), Entry>, pipeline_max: u64) -> Node {
        let config = config(superblock.replica, pipeline_max);
        let tables = MemoryTables::new(EntryHeader::genesis(CLUSTER, EPOCH));
        let state = State::new(Nothing, tables, config.limits).expect("memory does not rot");
        let record =
            |entry: &Entry| WalRecord { header: entry.header.clone(), name: entry.name, present: true };
        let scan = WalScan { records: wal.values().map(record).collect(), certain: true };
        let core = Replica::new(config, superblock, scan, state, 0);
        Node { core, pipeline_max, wal, appending: VecDeque::new(), writing: None }
    }

    fn start(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.start(Core::STANDSTILL, CLOCK, &mut effects);
        effects
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    pub(super) fn appends_pending(&self) -> bool {
        !self.appending.is_empty()
    }

    pub(super) fn superblock_pending(&self) -> bool {
        self.writing.is_some()
    }

    pub(super) fn holds(&self, op: Op, name: Checksum) -> bool {
        self.wal.contains_key(&(op, name))
    }

    /// Two nodes with one identity have the same future.
    pub(super) fn identity(&self) -> Vec<u8> {
        let mut identity = self.core.identity();
        // The core's index of the WAL tells what it holds; what is being appended is in it, too, but
        // not in which order.
        for entry in &self.appending {
            identity.extend_from_slice(&entry.name.get().to_le_bytes());
        }
        identity
    }

    /// All the ways in which this input may end: the first is the one without a crash.
    pub(super) fn step(&self, input: &Input<'_>, disks: Disks, may_crash: bool) -> Vec<Outcome> {
        let mut crashes = Vec::new();
        let mut outcome = Outcome::of(self.clone());
        let mut effects = Vec::new();
        let core = &mut outcome.node.core;
        match input {
            Input::Message(message) => core.on_message((*message).clone(), &mut effects),
            Input::LeaveFor(view) => core.leave_for(*view, &mut effects),
            Input::Beat => core.beat_once(&mut effects),
            Input::Tick => core.on_tick(Core::STANDSTILL, CLOCK, &mut effects),
            Input::Crash => {
                outcome.crash(&mut crashes);
                return crashes.into_iter().map(Outcome::at_rest).collect();
            }
            Input::Appended => effects = outcome.append_one(),
            Input::SuperblockWritten => effects = outcome.write_superblock(),
        }
        outcome.finish(effects, may_crash.then_some(&mut crashes), disks);
        let mut outcomes = vec![outcome];
        outcomes.append(&mut crashes);
        outcomes.into_iter().map(Outcome::at_rest).collect()
    }
}

impl Outcome {
    fn of(node: Node) -> Outcome {
        Outcome { node, sent: Vec::new(), committed: Vec::new(), counted: None, crashed: false, halt: None }
    }

    fn at_rest(mut self) -> Outcome {
        self.node.core.forget_time();
        self
    }

    /// Performs what the core wants, in order, until nothing is left to be done at once. What may come
    /// of a crash in between goes to `crashes`. (A crash while starting is one more crash before it.)
    fn finish(&mut self, effects: Vec<Effect>, mut crashes: Option<&mut Vec<Outcome>>, disks: Disks) {
        self.perform(effects);
        while disks == Disks::AtOnce && self.halt.is_none() {
            let (appends, superblock) = (self.node.appends_pending(), self.node.superblock_pending());
            if !appends && !superblock {
                break;
            }
            if let Some(crashes) = &mut crashes {
                self.crash(crashes);
            }
            let effects = if appends { self.append_one() } else { self.write_superblock() };
            self.perform(effects);
        }
    }

    /// Notes what is to be written, and reads at once.
    fn perform(&mut self, effects: Vec<Effect>) {
        self.witness();
        for effect in effects {
            match effect {
                Effect::Send { to, message } => self.sent.push((to, message)),
                Effect::Append { entry } => self.node.appending.push_back(entry),
                Effect::WriteSuperblock(superblock) => {
                    assert!(self.node.writing.is_none(), "one write of the superblock at a time");
                    self.node.writing = Some(*superblock);
                }
                Effect::Halt(why) => self.halt = Some(format!("{why:?}")),
                Effect::Event(_) => {}
                Effect::ReadEntry { op, name } => {
                    let entry = self.node.wal.get(&(op, name)).cloned();
                    let mut effects = Vec::new();
                    self.node.core.on_entry_read(op, name, entry, &mut effects);
                    self.perform(effects);
                }
                Effect::Reclaim { .. } | Effect::FlushCheckpoint => {
                    unreachable!("no checkpoint is due")
                }
                Effect::GoOn => unreachable!("nobody asks so much"),
            }
        }
    }

    /// Notes what must be judged although it may not last until the end of the step.
    fn witness(&mut self) {
        let core = &self.node.core;
        let inspection = core.inspect();
        for (op, name, _) in &inspection.log {
            let fact = (*op, *name, core.log_view());
            if *op <= core.commit() && !self.committed.contains(&fact) {
                self.committed.push(fact);
            }
        }
        if let Some(ballots) = &inspection.elected_by {
            let quorums = Quorums::of(REPLICA_COUNT);
            if let Selection::Chosen(chosen) = select_log(&quorums, self.node.pipeline_max, ballots) {
                let counted = ballots.iter().filter(|ballot| !chosen.stale.contains(&ballot.replica));
                let counted = counted.map(|ballot| (ballot.replica, ballot.incarnation.get()));
                self.counted = Some((core.view(), counted.collect()));
            }
        }
    }

    fn append_one(&mut self) -> Vec<Effect> {
        let entry = self.node.appending.pop_front().expect("only what is pending is completed");
        let (op, name) = (entry.op(), entry.name);
        self.node.wal.insert((op, name), entry);
        let mut effects = Vec::new();
        self.node.core.on_appended(op, name, &mut effects);
        effects
    }

    fn write_superblock(&mut self) -> Vec<Effect> {
        self.node.writing.take().expect("only what is pending is completed");
        let mut effects = Vec::new();
        self.node.core.on_superblock_written(&mut effects);
        effects
    }

    /// The process dies now and starts again. Of what was on its way, the log may have got any
    /// beginning, and the superblock may have been replaced or not.
    fn crash(&self, crashes: &mut Vec<Outcome>) {
        let superblocks = [Some(self.node.core.durable_superblock().clone()), self.node.writing.clone()];
        for superblock in superblocks.into_iter().flatten() {
            for kept in 0..=self.node.appending.len() {
                let mut wal = self.node.wal.clone();
                for entry in self.node.appending.iter().take(kept) {
                    wal.insert((entry.op(), entry.name), entry.clone());
                }
                let mut after = Outcome {
                    node: Node::boot(superblock.clone(), wal, self.node.pipeline_max),
                    sent: self.sent.clone(),
                    committed: self.committed.clone(),
                    counted: self.counted.clone(),
                    crashed: true,
                    halt: None,
                };
                let effects = after.node.start();
                after.finish(effects, None, Disks::AtOnce);
                crashes.push(after);
            }
        }
    }
}
