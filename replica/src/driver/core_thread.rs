//! The one thread that owns the core: feeds it what arrives, and performs what it wants in the order
//! in which it wants it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::entry::Entry;
use protocol::machine::Invalid;
use protocol::message::Message;
use protocol::tables::ReplicaTables;
use protocol::types::{Checksum, Incarnation, Op, Peer, REPLICAS_MAX, ReplicaId, Room, View};
use protocol::vsr::{Effect, Event, Halt};

use super::Outbox;
use super::clock;
use super::inbox::Inbox;
use super::open::Core;
use super::storage::{BackgroundTask, Queues, WalTask};
use super::story;
use super::vitals::{CoreVitals, Vitals};
use crate::storage::disk::Disk;
use crate::storage::space::{SpaceKeeper, SpaceNow};
use crate::storage::tables::{CountedPages, Flushed};

/// How often the core is told the time.
const TICK: Duration = Duration::from_millis(10);

/// Messages that leave together: each batch costs the peers an awakening and a packet or two, but the
/// first must not wait long for the last.
const OUTGOING_MAX: usize = 64;

/// How often the core's figures are left for others to see.
const PUBLISH_EVERY: Duration = Duration::from_millis(50);

/// The answer to a question that another thread asked of the applied tables. None: they cannot be
/// asked at present.
pub type Asked = Box<dyn FnOnce(Option<LocalAnswer>) + Send>;

/// What this replica's own tables say, which may be behind.
#[derive(Clone, Debug)]
pub struct LocalAnswer {
    pub applied: Op,
    pub incarnations: [Incarnation; REPLICAS_MAX],
    pub answer: Result<Bytes, Invalid>,
}

pub(super) enum Input {
    Message(Message),
    Appended(Vec<(Op, Checksum)>),
    SuperblockWritten,
    EntryRead {
        op: Op,
        name: Checksum,
        entry: Option<Entry>,
    },
    Flushed(Box<Flushed>),
    Counted(CountedPages),
    /// The core has more to do than it did in one go.
    GoOn,
    /// So many bytes of the disk are free.
    Available(u64),
    /// Any answer is true as of some op that was committed; it need not be the newest.
    Ask {
        query: Bytes,
        asked: Asked,
    },
    Resign,
    StorageFailed {
        what: &'static str,
        error: io::Error,
    },
    Stop,
}

/// Why a replica's core has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// The tables cannot be read, and the superblock says so now: the next start fetches them.
    TablesLost(String),
    /// This could not be written, for want of space. The next start reads what is there.
    DiskFull(&'static str),
    /// The disk failed, or two replicas hold different truths. The next start looks at what is there.
    Failed(String),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Stopped => f.write_str("stopped"),
            Ended::TablesLost(reason) => write!(f, "the tables are damaged: {reason}"),
            Ended::DiskFull(what) => write!(f, "the disk is full: {what} could not be written"),
            Ended::Failed(reason) => f.write_str(reason),
        }
    }
}

pub(super) struct CoreThread<D: Disk> {
    pub(super) core: Core,
    pub(super) inbox: Arc<Inbox<Input>>,
    pub(super) queues: Queues<D>,
    pub(super) space: SpaceKeeper,
    pub(super) outbox: Outbox,
    /// What leaves when the inputs at hand have been dealt with.
    pub(super) outgoing: Vec<(Peer, Message)>,
    pub(super) vitals: Arc<Vitals>,
    pub(super) events: BTreeMap<Event, u64>,
    /// The last event that the log tells of, and its view.
    pub(super) told: Option<(Event, View)>,
}

impl<D: Disk> CoreThread<D> {
    pub(super) fn run(mut self) -> Ended {
        let mut effects = Vec::new();
        self.core.start(clock::now(), clock::wall(), &mut effects);
        let mut ended = self.perform(&mut effects);
        let mut inputs = Vec::new();
        let mut tick_at = Instant::now() + TICK;
        let mut publish_at = Instant::now();
        while ended.is_none() {
            if !self.inbox.take(&mut inputs, Some(tick_at)) {
                ended = Some(Ended::Stopped);
            }
            self.vitals.inbox_depth.set((inputs.len() + self.inbox.len()) as u64);
            for input in inputs.drain(..) {
                if ended.is_none() {
                    ended = self.feed(input, &mut effects);
                }
                // However much there is to do: whoever is late with the time is suspected.
                if ended.is_none() {
                    ended = self.tick_if_due(&mut tick_at, &mut effects);
                }
            }
            if ended.is_none() {
                ended = self.tick_if_due(&mut tick_at, &mut effects);
            }
            let now = Instant::now();
            // Whose disk has failed says nothing more, also not what was true a moment ago.
            if !matches!(ended, Some(Ended::Failed(_) | Ended::DiskFull(_))) {
                self.post();
            }
            if now >= publish_at {
                publish_at = now + PUBLISH_EVERY;
                self.publish();
            }
        }
        self.inbox.close();
        self.queues.close();
        self.publish();
        ended.expect("the loop ends only with a reason")
    }

    fn tick_if_due(&mut self, tick_at: &mut Instant, effects: &mut Vec<Effect>) -> Option<Ended> {
        let now = Instant::now();
        if now < *tick_at {
            return None;
        }
        *tick_at = now + TICK;
        self.core.on_tick(clock::now(), clock::wall(), effects);
        self.perform(effects)
    }

    fn feed(&mut self, input: Input, effects: &mut Vec<Effect>) -> Option<Ended> {
        match input {
            Input::Message(message) => {
                self.vitals.messages_in.add(1);
                self.core.on_message(message, effects);
            }
            Input::Appended(durable) => {
                for (op, name) in durable {
                    self.core.on_appended(op, name, effects);
                }
            }
            Input::SuperblockWritten => self.core.on_superblock_written(effects),
            Input::EntryRead { op, name, entry } => self.core.on_entry_read(op, name, entry, effects),
            Input::Flushed(flushed) => {
                if self.core.state_mut().tables_mut().finish_flush(*flushed) {
                    self.core.on_checkpoint_flushed(effects);
                }
            }
            Input::Counted(counted) => self.core.state_mut().tables_mut().finish_count(counted),
            Input::GoOn => self.core.go_on(effects),
            Input::Available(bytes) => self.judge_space(bytes, effects),
            Input::Ask { query, asked } => asked(self.answer(&query, effects)),
            Input::Resign => self.core.resign(effects),
            Input::StorageFailed { what, error } => {
                return Some(disk_failed(what, &error));
            }
            Input::Stop => return Some(Ended::Stopped),
        }
        self.perform(effects)
    }

    fn judge_space(&mut self, available_bytes: u64, effects: &mut Vec<Effect>) {
        let tables = self.core.state().tables().space();
        let log_left_bytes = self.vitals.wal_left_bytes.get();
        let judged = self.space.judge(&SpaceNow { available_bytes, log_left_bytes, tables });
        self.vitals.space_needed.set(judged.needed_bytes);
        if judged.wants_count {
            let job = self.core.state_mut().tables_mut().count_job();
            self.queues.background.complete(BackgroundTask::Count(job));
        }
        if judged.room != self.core.room() {
            let words = match judged.room {
                Room::Ample => "the disk has room",
                Room::Pressed => "the disk may be full: what grows waits until the tables are written",
                Room::Scarce => "the disk is full: only deletions are taken",
                Room::Spent => "the disk is full: even deletions wait for room",
            };
            tracing::info!(available_bytes, needed_bytes = judged.needed_bytes, "{words}");
        }
        self.core.on_room(judged.room, effects);
    }

    /// In the middle of a sync the tables are a mixture of two states, and say what was never true.
    fn answer(&mut self, query: &Bytes, effects: &mut Vec<Effect>) -> Option<LocalAnswer> {
        let state = self.core.state();
        if state.tables().syncing().is_some() {
            return None;
        }
        match state.query(query) {
            Ok(answer) => {
                Some(LocalAnswer { applied: self.core.applied(), incarnations: state.incarnations(), answer })
            }
            Err(fault) => {
                self.core.tables_cannot_be_read(&fault, effects);
                None
            }
        }
    }

    fn perform(&mut self, effects: &mut Vec<Effect>) -> Option<Ended> {
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { to, message } => self.outgoing.push((to, message)),
                Effect::Append { entry } => self.queues.wal.complete(WalTask::Append(entry)),
                Effect::WriteSuperblock(superblock) => self.queues.superblock.complete(superblock),
                Effect::ReadEntry { op, name } => self.queues.wal.complete(WalTask::Read { op, name }),
                Effect::Reclaim { through } => self.queues.wal.complete(WalTask::Reclaim { through }),
                Effect::FlushCheckpoint => {
                    if let Some(job) = self.core.state().tables().flush_job() {
                        self.queues.background.complete(BackgroundTask::Flush(job));
                    }
                }
                // Behind what waits already, and the time is told in between.
                Effect::GoOn => self.inbox.complete(Input::GoOn),
                Effect::Halt(Halt::TablesLost(reason)) => return Some(Ended::TablesLost(reason)),
                Effect::Halt(Halt::DiskFailed(reason)) => {
                    let error = self.core.state().tables().failure();
                    return Some(error.map_or(Ended::Failed(reason), |error| disk_failed("tables", &error)));
                }
                Effect::Halt(Halt::Diverged(what)) => return Some(Ended::Failed(what)),
                Effect::Event(event) => self.note(event),
            }
        }
        if self.outgoing.len() >= OUTGOING_MAX {
            self.post();
        }
        None
    }

    fn post(&mut self) {
        if !self.outgoing.is_empty() {
            (self.outbox)(&mut self.outgoing);
        }
    }

    fn note(&mut self, event: Event) {
        *self.events.entry(event).or_default() += 1;
        let (view, commit) = (self.core.view(), self.core.commit());
        // What is tried again until it succeeds is told once.
        if let Some(words) = story::words(event)
            && self.told.replace((event, view)) != Some((event, view))
        {
            tracing::info!(?event, view = view.get(), commit = commit.get(), "{words}");
        }
    }

    fn publish(&self) {
        let core = &self.core;
        let superblock = core.durable_superblock();
        let count = superblock.replica_count;
        let others = (0..count).map(ReplicaId::new).filter(|id| *id != superblock.replica);
        self.vitals.messages_refused.set(self.inbox.refused());
        self.vitals.publish(CoreVitals {
            replica: superblock.replica,
            status: core.status(),
            is_primary: core.is_primary(),
            view: core.view(),
            log_view: core.log_view(),
            head: core.head().0,
            durable: core.durable_through(),
            commit: core.commit(),
            applied: core.applied(),
            caught_up: core.has_caught_up(),
            checkpoint: core.checkpoint().op(),
            incarnation: superblock.incarnation,
            boot_count: superblock.boot_count,
            sessions: core.state().sessions().count(),
            rows_in_memory: core.state().tables().rows_in_memory(),
            amnesiac: superblock.amnesiac.is_some(),
            room: core.room(),
            peers: others.map(|id| (id, core.peer_standing(id))).collect(),
            events: self.events.clone(),
        });
    }
}

fn disk_failed(what: &'static str, error: &io::Error) -> Ended {
    match error.kind() {
        io::ErrorKind::StorageFull => Ended::DiskFull(what),
        _ => Ended::Failed(format!("{what}: {error}")),
    }
}
