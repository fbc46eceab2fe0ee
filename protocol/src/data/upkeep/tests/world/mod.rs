//! A small cluster: real catalogs, holders and upkeeps over stores in memory, one log that never
//! forks, and a network that loses and delays. Everything that a replica does to its disk, or says in
//! the log, is judged against the whole log at once.

mod run;
mod state;
mod store;

use std::collections::BTreeMap;

use bytes::Bytes;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::catalog::*;
use crate::data::holder::{Holder, HolderOutput, HolderSettings};
use crate::data::message::DataBody;
use crate::data::outline::{BLOCK_SIZE, ChunkRoot, Outline};
use crate::data::placement::Layout;
use crate::data::receipt::{Holding, ReceiptKey};
use crate::data::storage::Standing;
use crate::data::upkeep::{Mark, Proposal, Upkeep, UpkeepOutput, UpkeepSettings};
use crate::quorums::Quorums;
use crate::types::{Incarnation, Op, Peer, ReplicaId, SessionId, Tick};

use run::Event;
pub(super) use state::{Entry, State};
pub(super) use store::{Store, Stored};

pub(super) const KEY: ReceiptKey = ReceiptKey::new([3; 32]);

/// Chunks of the tests: two blocks and a bit, so that a chunk has a short last block.
pub(super) const CHUNK_SIZE: u32 = 2 * BLOCK_SIZE + 100;

/// Stands for what is stored beside the blocks: if that has rotted, the index cannot say what is here.
pub(super) const HEAD: u32 = u32::MAX;

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
