//! A small cluster: real catalogs, holders and upkeeps over stores in memory, one log that never
//! forks, and a network that loses and delays. Everything that a replica does to its disk, or says in
//! the log, is judged against the whole log at once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::catalog::*;
use crate::data::holder::{Holder, HolderOutput, HolderSettings};
use crate::data::message::DataBody;
use crate::data::outline::{BLOCK_SIZE, ChunkRoot, Outline};
use crate::data::placement::Layout;
use crate::data::receipt::{Holding, ReceiptKey};
use crate::data::storage::{Found, ReadBlocks, ReadFault, Standing, StoreFault};
use crate::data::upkeep::{Mark, Proposal, Upkeep, UpkeepOutput, UpkeepSettings};
use crate::entry::EntryHeader;
use crate::machine::{Context, Machine, QueryContext};
use crate::quorums::Quorums;
use crate::state::{SessionFacts, Sessions};
use crate::tables::MemoryTables;
use crate::types::{
    ClusterId, Epoch, Incarnation, Op, Peer, REPLICAS_MAX, ReplicaId, SessionId, Tick, Timestamp,
};
use crate::wire::Wire;

pub(super) const KEY: ReceiptKey = ReceiptKey::new([3; 32]);

/// Chunks of the tests: two blocks and a bit, so that a chunk has a short last block.
pub(super) const CHUNK_SIZE: u32 = 2 * BLOCK_SIZE + 100;

/// Stands for what is stored beside the blocks: if that has rotted, the index cannot say what is here.
pub(super) const HEAD: u32 = u32::MAX;

/// One entry of the log.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Begin,
    End(SessionId),
    /// A session's marks.
    Marks(SessionId, u64),
    Rejoin(ReplicaId),
    Operation(SessionId, Box<Operation>),
}

/// The state that a prefix of the log makes.
pub(super) struct State {
    catalog: Catalog,
    tables: MemoryTables,
    pub(super) live: BTreeMap<SessionId, SessionFacts>,
    incarnations: [Incarnation; REPLICAS_MAX],
    pub(super) applied: usize,
}

impl State {
    fn new(layout: Layout) -> State {
        let limits = CatalogLimits { inline_bytes_max: 10, ..CatalogLimits::standard() };
        State {
            catalog: Catalog::new(limits, layout, KEY),
            tables: MemoryTables::new(EntryHeader::genesis(ClusterId::new(1), Epoch::ZERO)),
            live: BTreeMap::new(),
            incarnations: [Incarnation::ZERO; REPLICAS_MAX],
            applied: 0,
        }
    }

    fn op(&self) -> Op {
        Op::new(self.applied as u64)
    }

    fn apply(&mut self, entry: &Entry) -> Option<Reply> {
        self.applied += 1;
        let op = self.op();
        let fresh = SessionFacts { oldest_live_upload: 0, oldest_read: op };
        match entry {
            Entry::Begin => {
                self.live.insert(SessionId::from_register(op, 0), fresh);
            }
            Entry::End(session) => {
                self.live.remove(session);
            }
            Entry::Marks(session, oldest_live_upload) => {
                let facts = SessionFacts { oldest_live_upload: *oldest_live_upload, oldest_read: op };
                self.live.insert(*session, facts);
            }
            Entry::Rejoin(node) => self.incarnations[node.index()] = Incarnation::from_rejoin(op),
            Entry::Operation(session, operation) => {
                let sessions = Sessions::with(self.live.clone());
                let context = Context {
                    op,
                    index: 0,
                    timestamp: Timestamp::new(op.get()),
                    session: *session,
                    sessions: &sessions,
                    incarnations: &self.incarnations,
                };
                let reply = self.catalog.apply(&mut self.tables, &context, &operation.to_bytes());
                return Some(Reply::from_bytes(&reply.unwrap()).unwrap());
            }
        }
        None
    }

    pub(super) fn query(&self, query: &Query) -> Answer {
        let sessions = Sessions::with(self.live.clone());
        let context =
            QueryContext { applied: self.op(), sessions: &sessions, incarnations: &self.incarnations };
        let reply = self.catalog.query(&self.tables, &context, &query.to_bytes()).unwrap().unwrap();
        QueryReply::from_bytes(&reply).unwrap().unwrap()
    }

    pub(super) fn verdict(&self, chunk: ChunkId) -> Verdict {
        match self.query(&Query::GetVerdicts { chunks: vec![chunk] }) {
            Answer::Verdicts { verdicts, .. } => verdicts[0],
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn bodies(&self) -> Vec<NamedBody> {
        match self.query(&Query::ListBodies { after: None, limit: 1000 }) {
            Answer::Bodies { bodies, truncated: false } => bodies,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn debts(&self) -> Vec<Debt> {
        match self.query(&Query::ListDebts { node: None, after: None, limit: 1000 }) {
            Answer::Debts { debts, .. } => debts,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn rebuilding(&self) -> Vec<Disk> {
        match self.query(&Query::Rebuilding) {
            Answer::Rebuilding { disks } => disks,
            other => panic!("{other:?}"),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) root: ChunkRoot,
    outline: Outline,
    pub(super) bytes: Bytes,
    /// Blocks that have rotted.
    pub(super) rotten: BTreeSet<u32>,
}

/// What a replica has on its disk.
#[derive(Default)]
pub(super) struct Store {
    pub(super) chunks: BTreeMap<ChunkId, Stored>,
    pub(super) aside: BTreeMap<ChunkId, Stored>,
    pub(super) full: bool,
}

impl Store {
    fn find(&self, chunk: &ChunkId) -> Result<Found, ReadFault> {
        let stored = self.chunks.get(chunk).ok_or(ReadFault::Absent)?;
        if stored.rotten.contains(&HEAD) {
            return Err(ReadFault::Damaged);
        }
        Ok(Found { root: stored.root, length: u32::try_from(stored.bytes.len()).unwrap() })
    }

    fn read(&self, chunk: ChunkId, root: ChunkRoot, first: u32, count: u32) -> Result<ReadBlocks, ReadFault> {
        let stored = self.chunks.get(&chunk).filter(|stored| stored.root == root).ok_or(ReadFault::Absent)?;
        let outline = stored.outline.clone();
        let blocks = u32::try_from(outline.blocks.len()).unwrap();
        if first >= blocks {
            return Err(ReadFault::Absent);
        }
        let end = blocks.min(first.saturating_add(count));
        if stored.rotten.contains(&HEAD) || stored.rotten.range(first..end).next().is_some() {
            return Err(ReadFault::Damaged);
        }
        let at = |block: u32| (block as usize * BLOCK_SIZE as usize).min(stored.bytes.len());
        Ok(ReadBlocks { outline, bytes: stored.bytes.slice(at(first)..at(end)) })
    }

    fn scrub(&self, chunk: &ChunkId, root: ChunkRoot) -> Result<(), ReadFault> {
        match self.chunks.get(chunk) {
            None => Err(ReadFault::Absent),
            Some(stored) if stored.root != root || !stored.rotten.is_empty() => Err(ReadFault::Damaged),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn put(&mut self, chunk: ChunkId, root: ChunkRoot, bytes: Bytes) -> Result<(), StoreFault> {
        let outline = Outline::of(&bytes);
        if outline.root() != root {
            return Err(StoreFault::Damaged);
        }
        match self.chunks.get(&chunk) {
            Some(stored) if stored.root == root => Ok(()),
            Some(_) => Err(StoreFault::Conflict),
            None if self.full => Err(StoreFault::Full),
            None => {
                self.chunks.insert(chunk, Stored { root, outline, bytes, rotten: BTreeSet::new() });
                Ok(())
            }
        }
    }

    fn walk(&self, after: Option<ChunkId>, limit: usize) -> Vec<ChunkId> {
        let names: BTreeSet<ChunkId> = self.chunks.keys().chain(self.aside.keys()).copied().collect();
        names.into_iter().filter(|chunk| after.is_none_or(|after| *chunk > after)).take(limit).collect()
    }

    pub(super) fn is_sound(&self, chunk: ChunkId, root: ChunkRoot) -> bool {
        self.scrub(&chunk, root).is_ok()
    }
}

pub(super) struct Node {
    pub(super) upkeep: Upkeep,
    pub(super) holder: Holder,
    pub(super) store: Store,
    pub(super) state: State,
    standing: Standing,
    /// Counts the starts of the process: what belongs to an earlier one is dropped.
    start: u64,
    pub(super) down: bool,
    /// Applies nothing more of the log.
    pub(super) frozen: bool,
    /// Sends other bytes than it has.
    pub(super) lies: bool,
    pub(super) marks: Vec<Mark>,
    /// Chunks that others sent to repair it.
    pub(super) fetched: Vec<ChunkId>,
    pub(super) deleted: Vec<ChunkId>,
}

/// What happens at a time.
#[derive(Debug)]
enum Event {
    Call {
        from: usize,
        to: usize,
        call: u64,
        body: DataBody,
    },
    Answer {
        from: usize,
        to: usize,
        call: u64,
        body: DataBody,
    },
    Unreachable {
        from: usize,
        to: usize,
        call: u64,
    },
    Proposal {
        node: usize,
        proposal: Proposal,
        operation: Operation,
    },
    Proposed {
        node: usize,
        proposal: Proposal,
        reply: Option<Reply>,
    },
    /// A job of the upkeep.
    Job {
        node: usize,
        output: UpkeepOutput,
    },
    /// A job of the holder.
    HolderJob {
        node: usize,
        output: HolderOutput,
    },
}

pub(super) struct World {
    pub(super) layout: Layout,
    pub(super) nodes: Vec<Node>,
    pub(super) log: Vec<Entry>,
    /// The state after the whole log.
    pub(super) truth: State,
    pub(super) now: Tick,
    pub(super) random: Xoshiro256PlusPlus,
    settings: UpkeepSettings,
    /// One call in so many is lost, and one proposal. Zero: none.
    pub(super) losses: u64,
    events: BTreeMap<(Tick, u64), (u64, Event)>,
    last_event: u64,
    pub(super) session: SessionId,
    next_upload: u64,
    /// What the client stored, ever.
    pub(super) contents: BTreeMap<ChunkId, (ChunkRoot, Bytes)>,
}

pub(super) fn settings() -> UpkeepSettings {
    UpkeepSettings {
        scrub_period_ms: 20_000,
        scrub_bytes_per_second_max: 1 << 30,
        collection_interval_ms: 2_000,
        collection_interval_full_ms: 200,
        call_timeout_ms: 500,
        retry_ms: 300,
        debt_interval_ms: 100,
        debt_patience_ms: 500,
        survey_interval_ms: 1_000,
        chores_interval_ms: 200,
        ..UpkeepSettings::standard()
    }
}

impl World {
    pub(super) fn of(replica_count: usize, seed: u64) -> World {
        World::with(replica_count, seed, settings())
    }

    /// With a bucket and one session of a client.
    pub(super) fn with(replica_count: usize, seed: u64, settings: UpkeepSettings) -> World {
        settings.check().unwrap();
        let layout = Layout::first(Quorums::of(replica_count));
        let now = Tick::new(5);
        let nodes = (0..replica_count).map(|index| Node::new(index, layout, settings, now)).collect();
        let mut world = World {
            layout,
            nodes,
            log: Vec::new(),
            truth: State::new(layout),
            now,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            settings,
            losses: 0,
            events: BTreeMap::new(),
            last_event: 0,
            session: SessionId::ZERO,
            next_upload: 1,
            contents: BTreeMap::new(),
        };
        world.commit(Entry::Begin);
        world.session = SessionId::from_register(Op::new(1), 0);
        let bucket = Operation::CreateBucket { name: "bucket".into(), owner: "a".into(), tags: Vec::new() };
        world.operate(bucket).unwrap();
        world
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }

    pub(super) fn commit(&mut self, entry: Entry) -> Option<Reply> {
        let reply = self.truth.apply(&entry);
        self.log.push(entry);
        self.catch_up();
        reply
    }

    pub(super) fn operate(&mut self, operation: Operation) -> Reply {
        self.commit(Entry::Operation(self.session, Box::new(operation))).unwrap()
    }

    fn catch_up(&mut self) {
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            if node.frozen || node.down {
                continue;
            }
            while let Some(entry) = self.log.get(node.state.applied) {
                node.state.apply(entry);
            }
            // A disk that is new has a place again once its `Rejoin` is applied.
            let incarnation = node.state.incarnations[index];
            if !node.standing.ready && incarnation > node.standing.incarnation {
                node.stand(self.now, Standing { incarnation, ready: true, ..node.standing });
            }
            if !node.standing.caught_up {
                node.stand(self.now, Standing { caught_up: true, ..node.standing });
            }
        }
    }

    /// A body of which these replicas store every chunk, and whose receipts these others gave. Tells
    /// its name.
    pub(super) fn put(&mut self, chunk_count: u32, stored: &[usize], receipts: &[usize]) -> BodyId {
        let id = self.store(chunk_count, stored);
        self.commit_body(id, receipts).unwrap();
        id
    }

    /// Chunks of an upload that is under way.
    pub(super) fn store(&mut self, chunk_count: u32, stored: &[usize]) -> BodyId {
        let id = BodyId { session: self.session, upload: self.next_upload };
        self.next_upload += 1;
        for index in 0..chunk_count {
            let seed = u8::try_from(self.below(256)).unwrap();
            let bytes: Vec<u8> =
                (0..CHUNK_SIZE).map(|at| seed ^ u8::try_from((at / 64) % 256).unwrap()).collect();
            let root = Outline::of(&bytes).root();
            self.contents.insert(id.chunk(index), (root, bytes.into()));
            for node in stored {
                self.deliver(*node, id.chunk(index));
            }
        }
        id
    }

    /// The client's bytes arrive.
    pub(super) fn deliver(&mut self, node: usize, chunk: ChunkId) {
        let (root, bytes) = self.contents[&chunk].clone();
        self.nodes[node].store.put(chunk, root, bytes).unwrap();
    }

    pub(super) fn commit_body(&mut self, id: BodyId, receipts: &[usize]) -> Reply {
        let count = (0..).take_while(|index| self.contents.contains_key(&id.chunk(*index))).count();
        let chunk_count = u32::try_from(count).unwrap();
        let roots: Vec<ChunkRoot> = (0..chunk_count).map(|index| self.contents[&id.chunk(index)].0).collect();
        let mut given = Vec::new();
        for index in 0..chunk_count {
            for node in receipts {
                given.push(KEY.receipt(&Holding {
                    chunk: id.chunk(index),
                    root: roots[index as usize],
                    length: CHUNK_SIZE,
                    layout: self.layout.version,
                    node: replica(*node),
                    incarnation: self.truth.incarnations[*node],
                }));
            }
        }
        let extents = vec![Extent { chunk_count, encoding: Encoding::Copies { count: 3 } }];
        let length = u64::from(chunk_count) * u64::from(CHUNK_SIZE);
        let body = ChunkedBody { length, chunk_size: CHUNK_SIZE, extents, roots };
        let body = NewBody::Chunked { upload: id.upload, body, layout: self.layout.version, receipts: given };
        self.operate(Operation::PutObject {
            bucket: BucketRef::named("bucket"),
            key: key(id),
            conditions: Conditions::none(),
            etag: ETag::simple([0; 16]),
            headers: Vec::new(),
            checksums: Vec::new(),
            tags: Vec::new(),
            body,
        })
    }

    pub(super) fn delete(&mut self, id: BodyId) {
        let delete = Delete { key: key(id), conditions: Conditions::none() };
        let operation =
            Operation::DeleteObjects { bucket: BucketRef::named("bucket"), deletes: vec![delete] };
        self.operate(operation).unwrap();
    }

    /// The client has ended its reads, and its uploads below this one.
    pub(super) fn set_marks(&mut self, oldest_live_upload: u64) {
        self.commit(Entry::Marks(self.session, oldest_live_upload));
    }

    pub(super) fn next_upload(&self) -> u64 {
        self.next_upload
    }

    pub(super) fn rot(&mut self, node: usize, chunk: ChunkId, block: u32) {
        self.nodes[node].store.chunks.get_mut(&chunk).unwrap().rotten.insert(block);
    }

    /// The disk is gone; a new one is put in, and the replica rejoins.
    pub(super) fn replace_disk(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.store = Store::default();
        node.state = State::new(self.layout);
        let standing = Standing { ready: false, caught_up: false, ..node.standing };
        node.restart(standing, None, self.settings, self.now);
        self.commit(Entry::Rejoin(replica(index)));
    }

    /// The process starts again with tables from before everything, and hears of nobody yet.
    pub(super) fn restart_behind(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.state = State::new(self.layout);
        node.frozen = true;
        let standing = Standing { caught_up: false, ..node.standing };
        node.restart(standing, None, self.settings, self.now);
    }

    pub(super) fn restart(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let position = node.upkeep.scrub_position();
        node.restart(node.standing, position, self.settings, self.now);
    }

    pub(super) fn set_down(&mut self, index: usize, down: bool) {
        self.nodes[index].down = down;
        if down {
            self.restart(index);
        }
        self.catch_up();
    }

    fn at(&mut self, delay_ms: u64, node: usize, event: Event) {
        self.last_event += 1;
        let start = self.nodes[node].start;
        self.events.insert((self.now.plus(delay_ms), self.last_event), (start, event));
    }

    fn is_lost(&mut self) -> bool {
        self.losses > 0 && self.below(self.losses) == 0
    }

    pub(super) fn run(&mut self, duration_ms: u64) {
        let end = self.now.plus(duration_ms);
        self.run_until(end, |_| false);
    }

    /// Runs until it is so, or for two minutes.
    pub(super) fn settle(&mut self, what: &str, is_so: impl Fn(&World) -> bool) {
        let end = self.now.plus(120_000);
        assert!(self.run_until(end, is_so), "never: {what}");
    }

    fn run_until(&mut self, end: Tick, is_so: impl Fn(&World) -> bool) -> bool {
        let mut look_at = self.now;
        loop {
            self.catch_up();
            for node in self.nodes.iter_mut().filter(|node| !node.down) {
                node.upkeep.on_tick(self.now);
            }
            let up: Vec<usize> = (0..self.nodes.len()).filter(|index| !self.nodes[*index].down).collect();
            for index in up {
                self.perform(index);
            }
            if self.now >= look_at {
                look_at = self.now.plus(20);
                if is_so(self) {
                    return true;
                }
            }
            let ticks =
                self.nodes.iter().filter(|node| !node.down).filter_map(|node| node.upkeep.next_tick());
            let next_tick = ticks.min().unwrap_or(end);
            assert!(next_tick > self.now, "a tick that changes nothing");
            let next_event = self.events.keys().next().map_or(end, |(at, _)| *at);
            let next = next_tick.min(next_event);
            if next >= end {
                self.now = end;
                return false;
            }
            self.now = next;
            let due = |key: &(Tick, u64)| key.0 <= next;
            while let Some(entry) = self.events.first_entry()
                && due(entry.key())
            {
                let (start, event) = entry.remove();
                self.happen(start, event);
            }
        }
    }

    /// Takes what a replica wants done.
    fn perform(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].upkeep.next_output() {
            assert!(self.nodes[index].upkeep.figures().pull_bytes <= self.settings.pull_bytes_max);
            assert!(self.nodes[index].standing.ready, "{output:?} of a replica without a place");
            match output {
                UpkeepOutput::AskLocal { ask, query } => {
                    let node = &mut self.nodes[index];
                    assert_eq!(query.check(), Ok(()));
                    let answer = node.state.query(&query);
                    node.upkeep.on_local_answer(self.now, ask, Some(answer));
                }
                UpkeepOutput::Call { to, call, body } => self.send(index, to.index(), call, body),
                UpkeepOutput::Propose { proposal, operation } => {
                    self.judge_proposal(index, &operation);
                    let delay_ms = 1 + self.below(20);
                    self.at(delay_ms, index, Event::Proposal { node: index, proposal, operation });
                }
                UpkeepOutput::Mark(mark) => self.nodes[index].marks.push(mark),
                output => {
                    let delay_ms = 1 + self.below(5);
                    self.at(delay_ms, index, Event::Job { node: index, output });
                }
            }
        }
        while let Some(output) = self.nodes[index].holder.next_output() {
            match output {
                HolderOutput::Answer { to: Peer::Replica(to), call, mut body } => {
                    if let DataBody::Blocks { bytes, .. } = &mut body
                        && self.nodes[index].lies
                    {
                        let mut changed = bytes.to_vec();
                        changed[0] ^= 1;
                        *bytes = changed.into();
                    }
                    let (to, delay_ms) = (to.index(), 1 + self.below(10));
                    if !self.is_lost() {
                        self.at(delay_ms, to, Event::Answer { from: index, to, call, body });
                    }
                }
                HolderOutput::Answer { .. } => {}
                HolderOutput::Damage { chunk } => self.nodes[index].upkeep.on_damage(self.now, chunk),
                output => {
                    let delay_ms = 1 + self.below(5);
                    self.at(delay_ms, index, Event::HolderJob { node: index, output });
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, call: u64, body: DataBody) {
        if let DataBody::GetBlocks { chunk, .. } = body {
            self.nodes[from].fetched.push(chunk);
        }
        let delay_ms = 1 + self.below(10);
        if self.nodes[to].down {
            self.at(delay_ms, from, Event::Unreachable { from, to, call });
        } else if !self.is_lost() {
            self.at(delay_ms, to, Event::Call { from, to, call, body });
        }
    }

    fn happen(&mut self, start: u64, event: Event) {
        let now = self.now;
        let node = match &event {
            Event::Call { to, .. } | Event::Answer { to, .. } => *to,
            Event::Unreachable { from, .. } => *from,
            Event::Proposal { node, .. }
            | Event::Proposed { node, .. }
            | Event::Job { node, .. }
            | Event::HolderJob { node, .. } => *node,
        };
        let is_log = matches!(event, Event::Proposal { .. });
        if !is_log && (self.nodes[node].start != start || self.nodes[node].down) {
            return;
        }
        match event {
            Event::Call { from, to, call, body } => {
                self.nodes[to].holder.on_call(Peer::Replica(replica(from)), call, body);
            }
            Event::Answer { from, to, call, body } => {
                self.nodes[to].upkeep.on_answer(now, replica(from), call, body);
            }
            Event::Unreachable { from, to, call } => {
                self.nodes[from].upkeep.on_call_failed(now, replica(to), call);
            }
            Event::Proposal { node, proposal, operation } => {
                let mut reply = None;
                if !self.is_lost() {
                    reply = self.commit(Entry::Operation(SessionId::ZERO, Box::new(operation)));
                }
                let reply = if self.is_lost() { None } else { reply };
                if !self.nodes[node].down && self.nodes[node].start == start {
                    self.at(3, node, Event::Proposed { node, proposal, reply });
                }
            }
            Event::Proposed { node, proposal, reply } => {
                self.nodes[node].upkeep.on_proposed(now, proposal, reply);
            }
            Event::Job { node, output } => self.carry_out(node, output),
            Event::HolderJob { node, output } => self.nodes[node].carry_out_for_holder(output),
        }
    }

    fn carry_out(&mut self, index: usize, output: UpkeepOutput) {
        self.judge_job(index, &output);
        let now = self.now;
        let Node { upkeep, store, deleted, .. } = &mut self.nodes[index];
        match output {
            UpkeepOutput::Find { job, chunks } => {
                upkeep.on_found(now, job, chunks.iter().map(|chunk| store.find(chunk)).collect());
            }
            UpkeepOutput::Scrub { job, chunk, root } => {
                upkeep.on_scrubbed(now, job, store.scrub(&chunk, root));
            }
            UpkeepOutput::Store { job, chunk, root, bytes } => {
                upkeep.on_stored(now, job, store.put(chunk, root, bytes));
            }
            UpkeepOutput::Quarantine { job, chunk, root } => {
                if store.scrub(&chunk, root).is_err()
                    && let Some(stored) = store.chunks.remove(&chunk)
                {
                    store.aside.insert(chunk, stored);
                }
                upkeep.on_done(now, job);
            }
            UpkeepOutput::Discard { job, chunk } => {
                store.aside.remove(&chunk);
                upkeep.on_done(now, job);
            }
            UpkeepOutput::Walk { job, after, limit } => upkeep.on_walked(now, job, store.walk(after, limit)),
            UpkeepOutput::Delete { job, chunks } => {
                for chunk in chunks {
                    store.chunks.remove(&chunk);
                    store.aside.remove(&chunk);
                    deleted.push(chunk);
                }
                upkeep.on_done(now, job);
            }
            other => panic!("{other:?}"),
        }
    }

    /// What is done to a disk must be right by the whole log, however late the replica is.
    fn judge_job(&self, index: usize, output: &UpkeepOutput) {
        let store = &self.nodes[index].store;
        match output {
            UpkeepOutput::Delete { chunks, .. } => {
                for chunk in chunks {
                    assert_eq!(self.truth.verdict(*chunk), Verdict::Dead, "{index} deletes {chunk:?}");
                }
            }
            UpkeepOutput::Quarantine { chunk, .. } => {
                let root = self.contents[chunk].0;
                assert!(!store.is_sound(*chunk, root), "{index} sets a sound {chunk:?} aside");
            }
            UpkeepOutput::Discard { chunk, .. } => {
                let root = self.contents[chunk].0;
                assert!(store.is_sound(*chunk, root), "{index} discards the only {chunk:?}");
            }
            UpkeepOutput::Store { chunk, bytes, .. } => assert_eq!(self.contents[chunk].1, *bytes),
            _ => {}
        }
    }

    /// What is said in the log must be so on the disk.
    fn judge_proposal(&self, index: usize, operation: &Operation) {
        match operation {
            Operation::Settle { node, bodies, .. } => {
                assert_eq!(*node, replica(index));
                assert!(bodies.len() <= 256);
                bodies.iter().for_each(|id| assert!(self.holds(index, *id), "{index} settles {id:?}"));
            }
            Operation::Rebuilt { .. } => {
                for named in self.nodes[index].state.bodies() {
                    let owed = self.truth.debts().iter().any(|debt| debt.id == named.id);
                    assert!(owed || self.holds(index, named.id), "{index} lacks {:?}", named.id);
                }
            }
            Operation::Collect { .. } => assert_eq!(index, 0, "the primary's chore"),
            other => panic!("{other:?}"),
        }
    }

    /// Whether the index of the replica knows every chunk of the body that it owns.
    pub(super) fn holds(&self, index: usize, id: BodyId) -> bool {
        self.owned(index, id).iter().all(|chunk| self.nodes[index].store.chunks.contains_key(chunk))
    }

    /// Whether they are sound as well.
    pub(super) fn holds_soundly(&self, index: usize, id: BodyId) -> bool {
        self.owned(index, id).iter().all(|chunk| {
            let root = self.contents[chunk].0;
            self.nodes[index].store.is_sound(*chunk, root)
        })
    }

    pub(super) fn owned(&self, index: usize, id: BodyId) -> Vec<ChunkId> {
        let chunks = self.contents.range(id.chunk(0)..=id.chunk(u32::MAX)).map(|(chunk, _)| *chunk);
        chunks.filter(|chunk| self.layout.owns(replica(index), *chunk)).collect()
    }

    /// Every owner has a sound copy of everything that is referenced, and the log knows it.
    pub(super) fn is_whole(&self) -> bool {
        let all = 0..self.nodes.len();
        let bodies = self.truth.bodies();
        self.truth.debts().is_empty()
            && self.truth.rebuilding().is_empty()
            && bodies.iter().all(|named| all.clone().all(|index| self.holds_soundly(index, named.id)))
            && self.nodes.iter().all(|node| node.store.aside.is_empty() && node.upkeep.figures().damaged == 0)
    }

    pub(super) fn marks(&self, index: usize, of: impl Fn(&Mark) -> bool) -> usize {
        self.nodes[index].marks.iter().filter(|mark| of(mark)).count()
    }
}

impl Node {
    fn new(index: usize, layout: Layout, settings: UpkeepSettings, now: Tick) -> Node {
        let primary = index == 0;
        let standing =
            Standing { incarnation: Incarnation::ZERO, ready: true, caught_up: true, primary, layout };
        let (upkeep, holder) = machines(index, standing, None, settings, now);
        Node {
            upkeep,
            holder,
            store: Store::default(),
            state: State::new(layout),
            standing,
            start: 0,
            down: false,
            frozen: false,
            lies: false,
            marks: Vec::new(),
            fetched: Vec::new(),
            deleted: Vec::new(),
        }
    }

    fn stand(&mut self, now: Tick, standing: Standing) {
        self.standing = standing;
        self.upkeep.set_standing(now, standing);
        self.holder.set_standing(standing);
    }

    fn restart(&mut self, standing: Standing, from: Option<BodyId>, settings: UpkeepSettings, now: Tick) {
        self.start += 1;
        self.standing = standing;
        let index = self.upkeep.me.index();
        (self.upkeep, self.holder) = machines(index, standing, from, settings, now);
    }

    fn carry_out_for_holder(&mut self, output: HolderOutput) {
        let Node { holder, store, .. } = self;
        match output {
            HolderOutput::Read { job, chunk, root, first, count } => {
                holder.on_read(job, store.read(chunk, root, first, count));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn machines(
    index: usize,
    standing: Standing,
    from: Option<BodyId>,
    settings: UpkeepSettings,
    now: Tick,
) -> (Upkeep, Holder) {
    let me = replica(index);
    let mut upkeep = Upkeep::new(me, standing, from, settings, index as u64, now);
    upkeep.set_space(now, 1 << 40, 0);
    (upkeep, Holder::new(me, KEY, standing, HolderSettings::standard()))
}

pub(super) fn replica(index: usize) -> ReplicaId {
    ReplicaId::new(u8::try_from(index).unwrap())
}

fn key(id: BodyId) -> Bytes {
    format!("{}-{}", id.session, id.upload).into_bytes().into()
}
