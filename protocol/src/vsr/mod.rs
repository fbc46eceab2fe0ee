//! Viewstamped Replication without I/O: messages, time and completions go in, effects come out.
//!
//! One `Replica` per process. Every input changes some facts and then `settle`s: what the facts now
//! allow (an acknowledgement, a vote, an apply, the start of a view) is derived from them and done.
//! Nothing is done because an event happened; so nothing is forgotten because an event was missed.

mod backup;
mod checkpoint;
mod effects;
mod log;
#[cfg(feature = "models")]
mod models;
mod peers;
mod primary;
mod reads;
mod recovery;
mod rejoin;
mod repair;
mod room;
pub mod select_log;
mod status;
mod sync;
mod view_change;

use std::collections::BTreeMap;

use rand_core::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

pub use effects::{Effect, Event, Halt};
#[cfg(feature = "models")]
pub use models::Inspection;
pub use peers::PeerStanding;
pub use status::StatusName;

use crate::canary::{Canary, planted};
use crate::config::Config;
use crate::entry::Entry;
use crate::machine::Machine;
use crate::message::{Body, Message};
use crate::state::State;
use crate::superblock::Superblock;
use crate::tables::{Checkpoint, FaultCause, ReplicaTables, TableFault};
use crate::types::{
    Checksum, ClientId, Incarnation, Nonce, Op, Peer, RELEASE, REPLICAS_MAX, ReplicaId, Room, Tick,
    Timestamp, View,
};
use log::Log;
use peers::Peers;
use repair::Repair;
use status::Status;

#[derive(Clone)]
pub struct Replica<M, T> {
    config: Config,
    random: Xoshiro256PlusPlus,
    now: Tick,
    clock: Timestamp,
    out: Vec<Effect>,
    halted: bool,
    /// The tables cannot be read: the superblock is being told, then the process ends.
    dying: Option<String>,

    /// What the disk promises. Only the completion of a write changes it.
    durable: Superblock,
    /// What the disk shall promise. Differs from `durable` while a write is needed or under way.
    wanted: Superblock,
    /// The promise that is being written.
    writing: Option<Superblock>,

    log: Log,
    /// Highest op known to be committed. Never moves backwards, not even through a view change.
    /// May exceed the head of a lagging replica.
    commit: Op,
    /// The WAL may have forgotten everything up to here.
    reclaimed: Op,
    state: State<M, T>,
    /// The last op at which the tables were frozen.
    frozen_at: Op,
    /// The newest durable checkpoint that the peers were told of.
    announced: Op,
    /// What the own disk has room for.
    room: Room,
    /// Whether the end of the own log is known.
    head_certain: bool,
    catch_up: CatchUp,

    status: Status,
    peers: Peers,
    repair: Repair,
    /// The view that this replica wishes to leave for, told to others but promised to nobody.
    candidate: Option<View>,
    /// A `GetView` whose answer must carry this nonce.
    asked_view: Option<Nonce>,
    /// The newest view whose primary was heard: whoever must be told the log asks there.
    heard_view: View,
    ask_view_at: Tick,
    candidate_resend_at: Tick,
    /// Views tried in a row without any progress: each doubles the patience.
    fruitless_views: u32,
    /// Entries being read from the WAL, and for whom.
    reading: BTreeMap<(Op, Checksum), Vec<Reader>>,
    /// The driver was told that there is more to do, and has not come back yet.
    going_on: bool,
    /// State roots that this replica and others reached, by op.
    roots: BTreeMap<Op, Vec<(ReplicaId, Checkpoint)>>,
}

/// How a replica finds out what had been committed before it began: its own disk may know much less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CatchUp {
    /// No primary has told.
    Unknown,
    /// All of it is at or below this op: the head of the primary's log when it was first heard.
    Behind(Op),
    Done,
}

/// Who waits for an entry from the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Apply,
    Peer(ReplicaId),
}

impl<M: Machine, T: ReplicaTables> Replica<M, T> {
    /// Feeds a message whose sender the transport has authenticated.
    pub fn on_message(&mut self, message: Message, out: &mut Vec<Effect>) {
        if !self.halted && self.accepts(&message) {
            self.dispatch(message);
            self.settle();
        }
        self.hand_over(out);
    }

    /// Tells the time; about every 10 ms, and before messages if the driver cares for finer clocks.
    pub fn on_tick(&mut self, now: Tick, clock: Timestamp, out: &mut Vec<Effect>) {
        if !self.halted {
            self.now = now.max(self.now);
            self.clock = clock;
            self.run_timers();
            self.settle();
        }
        self.hand_over(out);
    }

    /// The driver could not read the tables: for a question that it asked itself. Nothing else may ever
    /// read that row on a backup, so the core would not come upon the damage by itself.
    pub fn tables_cannot_be_read(&mut self, fault: &TableFault, out: &mut Vec<Effect>) {
        if !self.halted {
            self.lose_tables(fault);
            self.settle();
        }
        self.hand_over(out);
    }

    /// What this replica's disk has room for, whenever that is looked at: often, since the log grows
    /// in between.
    pub fn on_room(&mut self, room: Room, out: &mut Vec<Effect>) {
        if !self.halted && self.room != room {
            self.room = room;
            self.settle();
        }
        self.hand_over(out);
    }

    /// The WAL holds the entry, body and stub.
    pub fn on_appended(&mut self, op: Op, name: Checksum, out: &mut Vec<Effect>) {
        if !self.halted {
            self.log.on_appended(op, name);
            self.settle();
        }
        self.hand_over(out);
    }

    pub fn on_superblock_written(&mut self, out: &mut Vec<Effect>) {
        if !self.halted {
            self.durable = self.writing.take().expect("the driver completes only writes that were asked for");
            self.after_superblock();
            self.settle();
        }
        self.hand_over(out);
    }

    /// `None`: the WAL cannot produce the entry although it once held it.
    pub fn on_entry_read(&mut self, op: Op, name: Checksum, entry: Option<Entry>, out: &mut Vec<Effect>) {
        if !self.halted {
            self.entry_was_read(op, name, entry);
            self.settle();
        }
        self.hand_over(out);
    }

    /// The process will stop soon. A primary asks the others to begin the next view, rather than let
    /// them find out by its silence; until they do, it serves as before.
    pub fn resign(&mut self, out: &mut Vec<Effect>) {
        if !self.halted && self.is_primary() && self.config.quorums.replica_count > 1 {
            self.event(Event::Resigned);
            self.wish(self.view().next());
            self.settle();
        }
        out.append(&mut self.out);
    }

    /// Does more of what was left when `Effect::GoOn` was given.
    pub fn go_on(&mut self, out: &mut Vec<Effect>) {
        self.going_on = false;
        if !self.halted {
            self.settle();
        }
        self.hand_over(out);
    }

    /// The frozen tables are durable.
    pub fn on_checkpoint_flushed(&mut self, out: &mut Vec<Effect>) {
        if !self.halted {
            self.checkpoint_was_flushed();
            self.settle();
        }
        self.hand_over(out);
    }

    /// Mostly the driver begins with an empty list: then it gets the one that has grown here.
    fn hand_over(&mut self, out: &mut Vec<Effect>) {
        if out.is_empty() {
            std::mem::swap(&mut self.out, out);
        } else {
            out.append(&mut self.out);
        }
    }

    /// Whether a message belongs to this cluster, this epoch and a release that we understand.
    fn accepts(&mut self, message: &Message) -> bool {
        if message.cluster != self.config.cluster
            || message.epoch != self.config.epoch
            || message.release != RELEASE
        {
            return false;
        }
        let Peer::Replica(from) = message.from else { return true };
        if from.index() >= self.config.quorums.replica_count || from == self.me() {
            return false;
        }
        if message.incarnation < self.incarnations()[from.index()] && !planted(Canary::VotesFromTheGrave) {
            // A disk that was replaced: it may still ask, as a new disk must, but not testify.
            let asks = matches!(
                message.body,
                Body::RejoinAsk { .. }
                    | Body::RejoinAnswer { .. }
                    | Body::GetView { .. }
                    | Body::GetHeaders { .. }
                    | Body::GetEntry { .. }
                    | Body::GetManifest { .. }
                    | Body::GetRows { .. }
            );
            if !asks {
                self.event(Event::StaleIncarnationDropped);
            }
            return asks;
        }
        self.peers.heard(from, message, self.now);
        true
    }

    fn dispatch(&mut self, message: Message) {
        let view = message.view;
        match (message.from, message.body) {
            (Peer::Client(client), body) => self.dispatch_client(client, body),
            (Peer::Replica(_), Body::Request(request)) => self.on_request(request, true),
            (Peer::Replica(from), body) => match body {
                Body::Prepare { entry, commit } => self.on_prepare(from, view, entry, commit),
                Body::PrepareOk { op, name } => self.on_prepare_ok(from, view, op, name),
                Body::Commit { commit, name, head, head_name, sequence, room } => {
                    self.on_commit(from, view, commit, name, (head, head_name), (sequence, room));
                }
                Body::CommitOk { sequence, clock, room } => {
                    self.on_commit_ok(from, view, sequence, clock, room);
                }
                Body::StartViewChange { candidate } => self.on_start_view_change(from, view, candidate),
                Body::DoViewChange(vote) => self.on_do_view_change(from, message.incarnation, vote),
                Body::StartView(start) => self.on_start_view(from, view, start),
                Body::GetView { nonce } => self.on_get_view(from, nonce),
                Body::GetHeaders { low, high, name } => self.on_get_headers(from, low, high, name),
                Body::Headers { headers } => self.on_headers(headers),
                Body::GetEntry { op, name } => self.on_get_entry(from, op, name),
                Body::RepairedEntry { entry } => self.on_repaired_entry(entry),
                Body::CheckpointRoot { checkpoint } => self.on_checkpoint_root(from, checkpoint),
                Body::GetManifest { op, after } => self.on_get_manifest(from, op, after),
                Body::Manifest { checkpoint, after, ranges, last } => {
                    self.on_manifest(from, checkpoint, after, ranges, last);
                }
                Body::GetRows { op, start, end, after } => self.on_get_rows(from, op, start, end, after),
                Body::Rows { op, start, after, rows, last } => {
                    self.on_rows(from, op, start, after, rows, last);
                }
                Body::SnapshotGone { op } => self.on_snapshot_gone(from, op),
                Body::RejoinAsk { nonce } => self.on_rejoin_ask(from, nonce),
                Body::RejoinChallenge { nonce, challenge } => {
                    self.on_rejoin_challenge(from, nonce, challenge);
                }
                Body::RejoinAnswer { nonce, challenge } => self.on_rejoin_answer(from, nonce, challenge),
                Body::RejoinGranted { nonce, op } => self.on_rejoin_granted(view, nonce, op),
                // What only clients send or receive.
                Body::Request(_)
                | Body::Reply(_)
                | Body::Query { .. }
                | Body::QueryReply { .. }
                | Body::Locate
                | Body::Located { .. } => {}
            },
        }
    }

    fn dispatch_client(&mut self, client: ClientId, body: Body) {
        match body {
            Body::Request(request) if request.client == client => self.on_request(request, false),
            Body::Query { number, query } => self.on_query(client, number, query),
            Body::Locate => self.send_located(client),
            _ => {}
        }
    }

    /// Does everything that the facts allow. Called after every input.
    fn settle(&mut self) {
        if self.durable.amnesiac.is_none()
            && self.durable.incarnation < self.incarnations()[self.me().index()]
        {
            return self.diverged("this disk was replaced by another one, which rejoined".into());
        }
        self.settle_view_change();
        self.settle_sync();
        self.settle_rejoin();
        self.settle_commit();
        self.settle_apply();
        self.settle_catch_up();
        self.settle_checkpoint();
        self.settle_primary();
        self.settle_acknowledgement();
        self.settle_reads();
        self.settle_superblock();
        self.log.shed_bodies(self.applied());
    }

    fn run_timers(&mut self) {
        self.tick_candidate();
        self.tick_view_change();
        self.tick_recovering();
        self.tick_primary();
        self.tick_backup();
        self.tick_repair();
        self.tick_sync();
        self.tick_rejoin();
    }

    // What follows is the vocabulary of all the parts above.

    fn me(&self) -> ReplicaId {
        self.config.replica
    }

    pub fn view(&self) -> View {
        self.wanted.view
    }

    pub fn log_view(&self) -> View {
        self.wanted.log_view
    }

    fn primary_of(&self, view: View) -> ReplicaId {
        let count = self.config.quorums.replica_count as u64;
        ReplicaId::new(u8::try_from(view.get() % count).expect("there are at most seven replicas"))
    }

    /// The incarnations as of the head: a `Rejoin` counts from the moment it is in the log.
    fn incarnations(&self) -> [Incarnation; REPLICAS_MAX] {
        let mut all = self.log.head().header.incarnations;
        for (mine, applied) in all.iter_mut().zip(self.state.incarnations()) {
            *mine = (*mine).max(applied);
        }
        all
    }

    /// The promises of the present view are on disk: what depends on them may be sent.
    fn view_is_durable(&self) -> bool {
        self.durable.view == self.wanted.view
            && (self.durable.log_view == self.wanted.log_view || planted(Canary::AckBeforeLogView))
    }

    fn send(&mut self, to: ReplicaId, body: Body) {
        let message = self.message(body);
        self.out.push(Effect::Send { to: Peer::Replica(to), message });
    }

    fn send_client(&mut self, to: ClientId, body: Body) {
        if to != ClientId::ZERO {
            let message = self.message(body);
            self.out.push(Effect::Send { to: Peer::Client(to), message });
        }
    }

    fn send_all(&mut self, body: &Body) {
        for to in self.others() {
            self.send(to, body.clone());
        }
    }

    fn message(&self, body: Body) -> Message {
        Message {
            cluster: self.config.cluster,
            epoch: self.config.epoch,
            release: RELEASE,
            from: Peer::Replica(self.me()),
            view: if planted(Canary::VoteBeforeDurable) || planted(Canary::NewerViewAdopted) {
                self.wanted.view
            } else {
                self.durable.view
            },
            incarnation: self.durable.incarnation,
            checkpoint: self.vouched_checkpoint(),
            floor: self.floor(),
            body,
        }
    }

    fn others(&self) -> Vec<ReplicaId> {
        let count =
            u8::try_from(self.config.quorums.replica_count).expect("there are at most seven replicas");
        (0..count).map(ReplicaId::new).filter(|id| *id != self.me()).collect()
    }

    fn event(&mut self, event: Event) {
        self.out.push(Effect::Event(event));
    }

    /// The last effect of this replica's life.
    fn halt(&mut self, why: Halt) {
        if !self.halted {
            self.halted = true;
            self.out.push(Effect::Halt(why));
        }
    }

    fn diverged(&mut self, what: String) {
        self.halt(Halt::Diverged(what));
    }

    /// A moment `delay_ms` from now, give or take a quarter: equal timers must not march in step.
    fn after(&mut self, delay_ms: u64) -> Tick {
        let spread = delay_ms / 2 + 1;
        let jitter = self.random.next_u64() % spread;
        self.now.plus(delay_ms - delay_ms / 4 + jitter)
    }

    fn nonce(&mut self) -> Nonce {
        Nonce::new(u128::from(self.random.next_u64()) << 64 | u128::from(self.random.next_u64()))
    }

    /// The checkpoint that peers may rely on: complete here, now.
    fn vouched_checkpoint(&self) -> Op {
        match &self.status {
            Status::Syncing(sync) if planted(Canary::CheckpointPromisedEarly) => sync.target_op(),
            Status::Syncing(_) => Op::ZERO,
            _ => self.durable.checkpoint.op(),
        }
    }

    /// The log's entries are here above this op.
    fn floor(&self) -> Op {
        self.reclaimed.max(self.log.first().header.op.previous())
    }

    fn settle_superblock(&mut self) {
        if self.writing.is_none() && self.durable != self.wanted && !self.halted {
            self.writing = Some(self.wanted.clone());
            self.out.push(Effect::WriteSuperblock(Box::new(self.wanted.clone())));
        }
    }

    pub fn status(&self) -> StatusName {
        self.status.name()
    }

    pub fn is_primary(&self) -> bool {
        matches!(self.status, Status::Primary(_))
    }

    pub fn head(&self) -> (Op, Checksum) {
        (self.log.head_op(), self.log.head().name)
    }

    /// Highest op known to be committed.
    pub fn commit(&self) -> Op {
        self.commit
    }

    pub fn applied(&self) -> Op {
        self.state.applied().op
    }

    /// Whether everything that had been committed when this replica began, or began to fetch its tables
    /// anew, is applied here, and this start is on its disk.
    pub fn has_caught_up(&self) -> bool {
        self.catch_up == CatchUp::Done && self.durable.boot_count == self.wanted.boot_count
    }

    pub fn checkpoint(&self) -> &Checkpoint {
        &self.durable.checkpoint
    }

    pub fn durable_superblock(&self) -> &Superblock {
        &self.durable
    }

    /// Everything in the log up to here is durable here, or part of the durable checkpoint.
    pub fn durable_through(&self) -> Op {
        self.log.durable_through()
    }

    /// What the own disk has room for, as it was last told.
    pub fn room(&self) -> Room {
        self.room
    }

    /// Headers and WAL index entries in memory: bounded by the WAL's capacity.
    pub fn entries_known(&self) -> usize {
        self.log.entries_known()
    }

    /// What is known of another replica, for whoever watches the cluster.
    pub fn peer_standing(&self, replica: ReplicaId) -> PeerStanding {
        let facts = self.peers.get(replica);
        let acknowledged = match &self.status {
            Status::Primary(primary) => Some(primary.acknowledged[replica.index()]),
            _ => None,
        };
        PeerStanding {
            silent_ms: facts.known.then(|| self.now.since(facts.heard_at)),
            incarnation: facts.incarnation,
            checkpoint: facts.checkpoint,
            acknowledged,
            room: facts.room,
        }
    }

    pub fn state(&self) -> &State<M, T> {
        &self.state
    }

    pub fn state_mut(&mut self) -> &mut State<M, T> {
        &mut self.state
    }
}
