//! What must never happen, judged with eyes that no replica has: all messages, all disks, all logs.

mod chatter;
mod chunks;
mod copies;
mod elections;
mod holders;

use std::collections::BTreeMap;

use protocol::catalog::{Catalog, Query, QueryReply};
use protocol::config::Config;
use protocol::data::placement::Layout;
use protocol::entry::{Entry, EntryHeader};
use protocol::message::{Body, Message, SlotState};
use protocol::quorums::Quorums;
use protocol::state::{Outcome, Refusal, Reply, State};
use protocol::tables::{Checkpoint, MemoryTables, ReplicaTables};
use protocol::types::{Checksum, ClientId, Incarnation, Op, Peer, ReplicaId, RequestNumber, SessionId, View};
use protocol::wire::Wire;

use bytes::Bytes;

use crate::model::Model;
use chatter::Chatter;
pub use chunks::Chunks;
use copies::Copies;
use elections::Elections;
use holders::Holders;

/// A disk, as long as it is in use.
pub type Life = (ReplicaId, Incarnation);

/// A read that a client has the answer to.
pub struct AnsweredRead {
    pub query: Bytes,
    pub answer: Bytes,
}

#[derive(Default)]
pub struct Oracles {
    /// Every entry that was ever handed to a WAL or a network, by name.
    entries: BTreeMap<Checksum, Entry>,
    /// What each primary prepared, by view and op: never two things.
    prepared: BTreeMap<(View, Op), Checksum>,
    /// The committed log, as far as any replica has applied it. Index 0 is op 1.
    committed: Vec<Checksum>,
    /// What each life of a disk has sworn to hold.
    sworn: BTreeMap<Life, BTreeMap<Op, (Checksum, View)>>,
    promised: BTreeMap<Life, View>,
    /// What each replica in normal operation was last seen with: its boot, its log view, its head.
    standing: BTreeMap<ReplicaId, (u64, View, Op)>,
    votes: BTreeMap<(ReplicaId, Incarnation, View), Bytes>,
    pub elections: Elections,
    pub holders: Holders,
    pub chatter: Chatter,
    /// None where there are none.
    pub chunks: Option<Chunks>,
    roots: BTreeMap<Op, Checkpoint>,
    applied: BTreeMap<ReplicaId, Op>,
    /// The newest checkpoint that each replica ever held durably.
    checkpoints: BTreeMap<ReplicaId, Op>,
    /// Outcomes that clients saw: (client, session, number) to op and outcome.
    replies: BTreeMap<RequestName, Reply>,
    reads: BTreeMap<Op, Vec<AnsweredRead>>,
    pub compared: Compared,
}

/// How much was actually judged. A run that compared nothing proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub entries: u64,
    pub replies: u64,
    pub reads: u64,
    pub lists: u64,
    pub bodies: u64,
    pub roots: u64,
    pub votes: u64,
    /// Sessions that had to go because there was no room.
    pub evictions: u64,
}

impl Oracles {
    /// A replica hands an entry to its WAL.
    pub fn on_append(&mut self, entry: &Entry) {
        self.entries.entry(entry.name).or_insert_with(|| entry.clone());
    }

    /// A replica sends a message.
    pub fn on_send(&mut self, quorums: &Quorums, message: &Message) -> Result<(), String> {
        let Peer::Replica(from) = message.from else { return Ok(()) };
        let life = (from, message.incarnation);
        match &message.body {
            Body::Prepare { entry, .. } => {
                self.on_append(entry);
                if entry.header.view == message.view {
                    self.check_prepared(message.view, entry)?;
                }
                self.check_promise(life, message.view, "Prepare")
            }
            Body::PrepareOk { op, name } => {
                self.holders.on_acknowledgement(from, message.view, *op);
                self.sworn.entry(life).or_default().insert(*op, (*name, message.view));
                self.check_promise(life, message.view, "PrepareOk")
            }
            Body::CommitOk { .. } => self.check_promise(life, message.view, "CommitOk"),
            Body::Commit { .. } => self.check_promise(life, message.view, "Commit"),
            Body::StartView(_) => {
                self.elections.on_start_view(quorums, from, message.view)?;
                self.check_promise(life, message.view, "StartView")
            }
            Body::DoViewChange(vote) => {
                self.compared.votes += 1;
                self.elections.on_vote(from, vote);
                self.check_promise(life, vote.view, "DoViewChange")?;
                self.check_vote(life, message)
            }
            Body::CheckpointRoot { checkpoint } => self.check_root(checkpoint),
            _ => Ok(()),
        }
    }

    fn check_prepared(&mut self, view: View, entry: &Entry) -> Result<(), String> {
        let name = *self.prepared.entry((view, entry.op())).or_insert(entry.name);
        if name == entry.name {
            return Ok(());
        }
        Err(format!("view {view} prepared two different entries for op {}", entry.op()))
    }

    fn check_promise(&mut self, life: Life, view: View, what: &str) -> Result<(), String> {
        let promised = self.promised.entry(life).or_default();
        if view < *promised {
            return Err(format!("{life:?} sends {what} of view {view} after promising view {promised}"));
        }
        *promised = view;
        Ok(())
    }

    fn check_vote(&mut self, life: Life, message: &Message) -> Result<(), String> {
        let Body::DoViewChange(vote) = &message.body else { return Ok(()) };
        let mut encoder = protocol::codec::Encoder::new();
        vote.encode(&mut encoder);
        let bytes = Bytes::from(encoder.finish());
        let known = self.votes.entry((life.0, life.1, vote.view)).or_insert_with(|| bytes.clone());
        if *known != bytes {
            return Err(format!("{life:?} casts two different votes for view {}", vote.view));
        }
        let Some(sworn) = self.sworn.get(&life) else { return Ok(()) };
        if let Some((op, (_, view))) = sworn.iter().find(|(_, (_, view))| *view > vote.log_view) {
            let log_view = vote.log_view;
            return Err(format!(
                "{life:?} acknowledged op {op} in view {view} and votes the log of view {log_view}"
            ));
        }
        for slot in &vote.slots {
            let name = slot.header.name();
            if slot.state == SlotState::Missing
                && sworn.get(&slot.header.op).is_some_and(|(sworn, _)| *sworn == name)
            {
                return Err(format!("{life:?} denies op {} which it acknowledged", slot.header.op));
            }
        }
        let mut forgotten =
            sworn.iter().filter(|(op, (_, view))| **op > vote.head() && *view == vote.log_view);
        if vote.certain
            && let Some((op, _)) =
                forgotten.find(|(op, (name, _))| !self.is_refuted(vote.commit, **op, *name))
        {
            return Err(format!("{life:?} votes a log that ends before op {op} which it acknowledged"));
        }
        Ok(())
    }

    /// Whether the log as committed through `commit` holds another entry where the ancestor of this one
    /// would be. Who has learnt that by fetching a checkpoint may forget what it acknowledged above: an
    /// election decided against it, and it can never be committed.
    fn is_refuted(&self, commit: Op, op: Op, name: Checksum) -> bool {
        let known = op.min(commit);
        if known == Op::ZERO {
            return false;
        }
        let mut ancestor = name;
        for _ in known.get()..op.get() {
            let Some(entry) = self.entries.get(&ancestor) else { return false };
            ancestor = entry.header.parent;
        }
        self.committed.get(position(known)).is_some_and(|committed| *committed != ancestor)
    }

    fn check_root(&mut self, checkpoint: &Checkpoint) -> Result<(), String> {
        self.compared.roots += 1;
        let known = self.roots.entry(checkpoint.op()).or_insert_with(|| checkpoint.clone());
        if known == checkpoint {
            return Ok(());
        }
        Err(format!("two different states at checkpoint {}", checkpoint.op()))
    }

    /// A replica has applied up to the entry with this header: the whole log below is thereby named.
    pub fn on_applied(&mut self, replica: ReplicaId, header: &EntryHeader) -> Result<(), String> {
        let op = header.op;
        if self.applied.insert(replica, op) == Some(op) || op == Op::ZERO {
            return Ok(());
        }
        let name = header.name();
        let index = position(op);
        if let Some(known) = self.committed.get(index) {
            return if *known == name {
                Ok(())
            } else {
                Err(format!("replica {replica} applied another entry at op {op} than others"))
            };
        }
        let mut chain = Vec::new();
        let mut below = name;
        for at in (self.committed.len()..=index).rev() {
            chain.push(below);
            let entry = self.entries.get(&below).ok_or_else(|| format!("op {} came from nowhere", at + 1))?;
            below = entry.header.parent;
        }
        if let Some(last) = self.committed.last()
            && *last != below
        {
            return Err(format!("replica {replica} applied a log that forks below op {op}"));
        }
        self.committed.extend(chain.into_iter().rev());
        match &mut self.chunks {
            Some(chunks) => chunks.advance(&self.entries, &self.committed),
            None => Ok(()),
        }
    }

    /// A replica's superblock names this checkpoint.
    pub fn on_checkpoint(&mut self, replica: ReplicaId, op: Op) {
        let known = self.checkpoints.entry(replica).or_default();
        *known = op.max(*known);
    }

    /// A replica's log forgets everything up to an op: enough replicas must hold, or have held before
    /// their disks were damaged, a checkpoint that makes up for it.
    pub fn on_reclaim(&self, quorums: &Quorums, replica: ReplicaId, through: Op) -> Result<(), String> {
        let holders = self.checkpoints.values().filter(|checkpoint| **checkpoint >= through).count();
        if holders >= quorums.checkpoint {
            return Ok(());
        }
        Err(format!("replica {replica} forgets its log up to op {through}, which {holders} checkpoints hold"))
    }

    /// A replica in normal operation, or None for any other: the log of a view only grows there.
    pub fn on_standing(
        &mut self,
        replica: ReplicaId,
        standing: Option<(u64, View, Op)>,
    ) -> Result<(), String> {
        let Some((boot, log_view, head)) = standing else {
            self.standing.remove(&replica);
            return Ok(());
        };
        match self.standing.insert(replica, (boot, log_view, head)) {
            Some((known_boot, known_view, known_head))
                if known_boot == boot && known_view == log_view && known_head > head =>
            {
                Err(format!(
                    "replica {replica} moved its log back from op {known_head} to {head} in view {log_view}"
                ))
            }
            _ => Ok(()),
        }
    }

    /// The machine begins another life: what its old disk applied says nothing any more.
    pub fn on_restart(&mut self, replica: ReplicaId) {
        self.applied.remove(&replica);
    }

    /// The name of the entry that was committed as this op.
    pub fn committed_name(&self, op: Op) -> Option<Checksum> {
        self.committed.get(position(op)).copied()
    }

    pub fn committed_count(&self) -> usize {
        self.committed.len()
    }

    /// A client has received the outcome of a request.
    pub fn on_reply(&mut self, reply: &Reply) -> Result<(), String> {
        let Some(key) = request_name(reply).filter(|_| reply.op != Op::ZERO) else { return Ok(()) };
        match self.replies.insert(key, reply.clone()) {
            Some(known) if known != *reply => {
                Err(format!("request {key:?} was answered in two ways: {known:?} and {reply:?}"))
            }
            _ => Ok(()),
        }
    }

    /// A client has the answer to a read.
    pub fn on_answer(&mut self, query: Bytes, applied: Op, answer: Bytes) {
        self.reads.entry(applied).or_default().push(AnsweredRead { query, answer });
    }

    /// Executes the committed log once more, alone and undisturbed, and compares everything that
    /// clients and replicas saw with what it yields.
    ///
    /// Two judges execute it: the real state machine over other tables, and a model that shares no
    /// code with it.
    pub fn replay(&mut self, config: &Config, catalog: Catalog) -> Result<(), String> {
        let genesis = EntryHeader::genesis(config.cluster, config.epoch);
        let mut model = Model::new(&config.limits, catalog.limits, catalog.layout);
        let mut copies = Copies::new(Layout::first(config.quorums));
        let state = State::new(catalog, MemoryTables::new(genesis), config.limits);
        let mut state = state.map_err(|fault| fault.to_string())?;
        let mut expected: BTreeMap<RequestName, Reply> = BTreeMap::new();
        self.compare_reads(&state, &model, Op::ZERO)?;
        for name in self.committed.clone() {
            let entry = self.entries.get(&name).ok_or("a committed entry has no body anywhere")?.clone();
            copies.check(&entry, &self.replies)?;
            let replies = state.apply(&entry).map_err(|fault| fault.to_string())?;
            self.compared.entries += 1;
            if model.execute(&entry)? != replies {
                return Err(format!(
                    "the model would have answered the requests of op {} otherwise",
                    entry.op()
                ));
            }
            for reply in replies {
                if let Some(name) = request_name(&reply) {
                    expected.entry(name).or_insert(reply);
                }
            }
            if entry.op().get() % config.limits.checkpoint_interval_ops == 0 {
                self.compare_root(&mut state, entry.op())?;
            }
            self.compare_reads(&state, &model, entry.op())?;
        }
        self.compared.bodies += copies.bodies;
        self.compared.evictions += model.evicted();
        for (name, reply) in &self.replies {
            self.compared.replies += 1;
            if expected.get(name) != Some(reply) {
                return Err(format!(
                    "{name:?} was answered {reply:?}, the log says {:?}",
                    expected.get(name)
                ));
            }
        }
        let beyond = self.reads.keys().find(|op| position(**op) >= self.committed.len() && **op != Op::ZERO);
        match beyond {
            Some(op) => Err(format!("a read was answered as of op {op}, which nobody applied")),
            None => Ok(()),
        }
    }

    fn compare_root(&mut self, state: &mut State<Catalog, MemoryTables>, op: Op) -> Result<(), String> {
        state.freeze();
        state.tables_mut().finish_flush();
        let Some(known) = self.roots.get(&op) else { return Ok(()) };
        self.compared.roots += 1;
        if known.root == state.tables().durable().root {
            return Ok(());
        }
        Err(format!("the replicas' state at checkpoint {op} is not that of their log"))
    }

    fn compare_reads(
        &mut self,
        state: &State<Catalog, MemoryTables>,
        model: &Model,
        op: Op,
    ) -> Result<(), String> {
        for read in self.reads.get(&op).into_iter().flatten() {
            self.compared.reads += 1;
            let expected = state.query(&read.query).map_err(|fault| fault.to_string())?;
            if expected.as_ref() != Ok(&read.answer) {
                return Err(format!("a read as of op {op} was not answered as the log says"));
            }
            let query = Query::from_bytes(&read.query).map_err(|error| error.to_string())?;
            let answer = QueryReply::from_bytes(&read.answer).map_err(|error| error.to_string())?;
            model.agrees(&query, &answer).map_err(|what| format!("a read as of op {op}: {what}"))?;
            if matches!(query, Query::ListObjects { .. }) {
                self.compared.lists += 1;
            }
        }
        Ok(())
    }
}

/// How a request is recognised in replies. A register's reply has its own session's name.
type RequestName = (ClientId, SessionId, RequestNumber);

/// None for what says nothing about the request itself: a late copy may find its session gone, or
/// itself answered long ago.
fn request_name(reply: &Reply) -> Option<RequestName> {
    match reply.outcome {
        Outcome::Refused(Refusal::SessionGone | Refusal::OutsideWindow) => None,
        Outcome::Registered { .. } => Some((reply.client, reply.session, RequestNumber::ZERO)),
        _ => Some((reply.client, reply.session, reply.number)),
    }
}

fn position(op: Op) -> usize {
    usize::try_from(op.get()).expect("runs are short").saturating_sub(1)
}
