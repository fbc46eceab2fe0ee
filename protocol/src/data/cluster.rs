//! For tests: holders of chunks with every fault, and the network between them and one client.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::message::{DataBody, DataMessage, DataRefusal};
use super::outline::{BLOCK_SIZE, ChunkRoot, Outline};
use super::placement::Layout;
use super::receipt::{Holding, Receipt, ReceiptKey};
use crate::catalog::{BodyId, ChunkId};
use crate::quorums::Quorums;
use crate::types::{ClusterId, Incarnation, ReplicaId, SessionId, Tick};

pub(super) const KEY: ReceiptKey = ReceiptKey::new([9; 32]);
pub(super) const BODY: BodyId = BodyId { session: SessionId::new(4096), upload: 3 };
/// More bytes than anybody asks for.
static TOO_MANY: [u8; 20 * BLOCK_SIZE as usize] = [7; 20 * BLOCK_SIZE as usize];
const CLUSTER: ClusterId = ClusterId::new(5);

/// What a holder does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Fine,
    /// Answers come so much later.
    Slow(u64),
    /// Nothing ever comes, and nothing says so.
    Silent,
    /// The connection is refused.
    Down,
    Refuses(DataRefusal),
    /// Does what it is told, and its answers are lost.
    Mute,
    /// One byte of what it gives is not as it was stored.
    Rotten,
    /// Other bytes than were stored, and an outline that fits them.
    Lies,
    /// Only so many blocks at a time.
    Short(u32),
    /// Answers that no call asks for.
    Confused,
}

#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) mood: Mood,
    pub(super) incarnation: Incarnation,
    pub(super) chunks: BTreeMap<ChunkId, Bytes>,
}

/// What the network brings to the client.
#[derive(Clone, Debug)]
pub(super) enum Arrival {
    Answer { from: ReplicaId, call: u64, body: DataBody },
    CallFailed { replica: ReplicaId, call: u64 },
}

enum Event {
    Call { to: ReplicaId, call: u64, body: DataBody },
    Arrival(Arrival),
}

pub(super) struct Cluster {
    pub(super) layout: Layout,
    pub(super) holders: Vec<Holder>,
    pub(super) now: Tick,
    pub(super) loss_percent: u64,
    pub(super) duplicate_percent: u64,
    /// Answers that come from somebody else than was asked.
    pub(super) stray_percent: u64,
    pub(super) delay_ms: u64,
    /// Nothing comes of a call that was abandoned. Otherwise it may still be answered.
    pub(super) resets: bool,
    pub(super) random: Xoshiro256PlusPlus,
    events: BTreeMap<(Tick, u64), Event>,
    event_count: u64,
    abandoned: BTreeSet<u64>,
}

pub(super) fn replica(index: usize) -> ReplicaId {
    ReplicaId::new(u8::try_from(index).unwrap())
}

/// Bytes in which no two blocks are alike.
pub(super) fn bytes(length: usize, seed: u64) -> Bytes {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut bytes = vec![0; length];
    for word in bytes.chunks_mut(8) {
        word.copy_from_slice(&random.next_u64().to_le_bytes()[..word.len()]);
    }
    Bytes::from(bytes)
}

impl Cluster {
    pub(super) fn of(replica_count: usize, seed: u64) -> Cluster {
        let holder = Holder { mood: Mood::Fine, incarnation: Incarnation::new(1), chunks: BTreeMap::new() };
        Cluster {
            layout: Layout::first(Quorums::of(replica_count)),
            holders: vec![holder; replica_count],
            now: Tick::ZERO,
            loss_percent: 0,
            duplicate_percent: 0,
            stray_percent: 0,
            delay_ms: 1,
            resets: false,
            random: Xoshiro256PlusPlus::seed_from_u64(seed ^ 0xc105),
            events: BTreeMap::new(),
            event_count: 0,
            abandoned: BTreeSet::new(),
        }
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.random.next_u64() % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn order(&self, index: u32) -> Vec<ReplicaId> {
        self.layout.order(BODY.chunk(index)).collect()
    }

    pub(super) fn mood(&mut self, of: ReplicaId, mood: Mood) {
        self.holders[of.index()].mood = mood;
    }

    pub(super) fn everybody(&mut self, mood: Mood) {
        for holder in &mut self.holders {
            holder.mood = mood;
        }
    }

    /// Another disk: empty, and its receipts are others.
    pub(super) fn replace_disk(&mut self, of: ReplicaId) {
        let holder = &mut self.holders[of.index()];
        holder.chunks.clear();
        holder.incarnation = Incarnation::new(holder.incarnation.get() + 1);
    }

    pub(super) fn store(&mut self, of: ReplicaId, chunk: ChunkId, bytes: Bytes) {
        self.holders[of.index()].chunks.insert(chunk, bytes);
    }

    /// Whether the receipt was given for these bytes, by the present disk of who is named in it.
    pub(super) fn is_counted(&self, body: BodyId, receipt: &Receipt, root: ChunkRoot, length: u32) -> bool {
        let holding = Holding {
            chunk: body.chunk(receipt.chunk),
            root,
            length,
            layout: self.layout.version,
            node: receipt.node,
            incarnation: receipt.incarnation,
        };
        assert_eq!(KEY.proof(&holding), receipt.proof, "a receipt that nobody gave");
        self.holders[receipt.node.index()].incarnation == receipt.incarnation
    }

    pub(super) fn send(&mut self, to: ReplicaId, call: u64, body: DataBody) {
        assert!(to.index() < self.holders.len());
        let message = DataMessage { cluster: CLUSTER, call, body };
        let (head, bytes) = message.encode();
        assert_eq!(DataMessage::decode(&Bytes::from(head), bytes).as_ref(), Ok(&message));
        let body = message.body;
        if self.holders[to.index()].mood == Mood::Down {
            return self.post(0, Event::Arrival(Arrival::CallFailed { replica: to, call }));
        }
        if self.chance(self.loss_percent) {
            return self.lose(to, call);
        }
        self.post(0, Event::Call { to, call, body });
    }

    /// Half of what is lost is noticed.
    fn lose(&mut self, replica: ReplicaId, call: u64) {
        if self.chance(50) {
            self.post(0, Event::Arrival(Arrival::CallFailed { replica, call }));
        }
    }

    pub(super) fn abandon(&mut self, call: u64) {
        if self.resets || self.chance(50) {
            self.abandoned.insert(call);
        }
    }

    pub(super) fn next_at(&self) -> Option<Tick> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// What comes next to the client, by the present time.
    pub(super) fn arrival(&mut self) -> Option<Arrival> {
        while self.next_at().is_some_and(|at| at <= self.now) {
            let (_, event) = self.events.pop_first()?;
            match event {
                Event::Arrival(Arrival::Answer { call, .. })
                    if self.resets && self.abandoned.contains(&call) => {}
                Event::Arrival(arrival) => return Some(arrival),
                Event::Call { call, .. } if self.abandoned.contains(&call) => {}
                Event::Call { to, call, body } => self.answer(to, call, &body),
            }
        }
        None
    }

    fn post(&mut self, later_ms: u64, event: Event) {
        let delay = 1 + later_ms + self.below(self.delay_ms);
        self.event_count += 1;
        self.events.insert((self.now.plus(delay), self.event_count), event);
    }

    fn answer(&mut self, to: ReplicaId, call: u64, body: &DataBody) {
        let mood = self.holders[to.index()].mood;
        let later_ms = match mood {
            Mood::Slow(later_ms) => later_ms,
            Mood::Silent => return,
            Mood::Down => return self.lose(to, call),
            _ => 0,
        };
        let body = match mood {
            Mood::Refuses(why) => DataBody::Refused { why },
            Mood::Confused => self.nonsense(body),
            _ => self.obey(to, body),
        };
        if mood == Mood::Mute {
            return;
        }
        if self.chance(self.loss_percent) {
            return self.lose(to, call);
        }
        if self.chance(self.stray_percent) {
            let from = replica(usize::try_from(self.below(7)).unwrap());
            let stray = Arrival::Answer { from, call, body: body.clone() };
            self.post(0, Event::Arrival(stray));
        }
        let copies = if self.chance(self.duplicate_percent) { 2 } else { 1 };
        for _ in 0..copies {
            let answer = Arrival::Answer { from: to, call, body: body.clone() };
            self.post(later_ms, Event::Arrival(answer));
        }
    }

    fn obey(&mut self, to: ReplicaId, body: &DataBody) -> DataBody {
        let layout = self.layout.version;
        let holder = &mut self.holders[to.index()];
        let receipt = |chunk, root, length, holder: &Holder| {
            let incarnation = holder.incarnation;
            let holding = Holding { chunk, root, length, layout, node: to, incarnation };
            DataBody::Stored { receipt: KEY.receipt(&holding) }
        };
        match body {
            DataBody::PutChunk { chunk, root, bytes, .. } => {
                assert_eq!(Outline::of(bytes).root(), *root);
                let stored = holder.chunks.entry(*chunk).or_insert_with(|| bytes.clone());
                if stored != bytes {
                    return DataBody::Refused { why: DataRefusal::Conflict };
                }
                receipt(*chunk, *root, u32::try_from(bytes.len()).unwrap(), holder)
            }
            DataBody::Confirm { chunk, root, length, .. } => match holder.chunks.get(chunk) {
                Some(bytes) if Outline::of(bytes).fits(root, *length) => {
                    receipt(*chunk, *root, *length, holder)
                }
                _ => DataBody::NotHere,
            },
            DataBody::GetBlocks { chunk, root, first, count } => {
                let Some(stored) = holder.chunks.get(chunk).cloned() else { return DataBody::NotHere };
                let mood = holder.mood;
                assert_eq!(Outline::of(&stored).root(), *root);
                self.blocks(mood, &stored, *first, *count)
            }
            _ => panic!("a client calls, it does not answer"),
        }
    }

    fn blocks(&mut self, mood: Mood, stored: &Bytes, first: u32, count: u32) -> DataBody {
        let block = BLOCK_SIZE as usize;
        let count = if let Mood::Short(most) = mood { count.min(most) } else { count };
        let from = first as usize * block;
        let to = (from + count as usize * block).min(stored.len());
        assert!(from < to, "blocks beyond the end of a chunk");
        let outline = Outline::of(stored);
        if !matches!(mood, Mood::Rotten | Mood::Lies) {
            return DataBody::Blocks { outline, first, bytes: stored.slice(from..to) };
        }
        let mut changed = stored.to_vec();
        let at = from + usize::try_from(self.below(u64::MAX)).unwrap() % (to - from);
        changed[at] ^= 0x40;
        let outline = if mood == Mood::Lies { Outline::of(&changed) } else { outline };
        DataBody::Blocks { outline, first, bytes: Bytes::from(changed).slice(from..to) }
    }

    fn nonsense(&mut self, body: &DataBody) -> DataBody {
        match self.below(5) {
            0 => body.clone(),
            1 => DataBody::NotHere,
            2 => DataBody::Blocks { outline: Outline::of(b"x"), first: u32::MAX, bytes: Bytes::new() },
            3 => DataBody::Blocks {
                outline: Outline::of(b"x"),
                first: 0,
                bytes: Bytes::from_static(&TOO_MANY),
            },
            _ => {
                let chunk = BODY.chunk(u32::MAX);
                let (root, node) = (ChunkRoot([0; 32]), ReplicaId::new(200));
                let incarnation = Incarnation::ZERO;
                let holding = Holding { chunk, root, length: 1, layout: 0, node, incarnation };
                DataBody::Stored { receipt: KEY.receipt(&holding) }
            }
        }
    }
}
