//! A get, the holders, a reader, and a check of everything that the get ever says.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::catalog::{BodyId, ChunkId, ChunkedBody, Encoding, Extent, Piece, PieceSource};
use crate::data::cluster::{Arrival, BODY, Cluster, Mood, bytes};
use crate::data::get::{Get, GetFailure, GetOutput, GetSettings};
use crate::data::message::DataBody;
use crate::data::outline::{BLOCK_SIZE, Outline};
use crate::types::{ReplicaId, Tick};

pub(super) const BLOCK: usize = BLOCK_SIZE as usize;
/// Four blocks and a bit.
pub(super) const CHUNK: usize = 4 * BLOCK + 100;

pub(super) fn settings() -> GetSettings {
    GetSettings {
        span_blocks: 3,
        first_span_blocks: 1,
        read_ahead_bytes: 8 * BLOCK,
        hedged_bytes: 4 * BLOCK,
        hedge_factor: 3,
        hedge_min_ms: 10,
        hedge_max_ms: 200,
        usual_ms: 20,
        slow_ms: 500,
        retry_ms: 20,
        retry_max_ms: 400,
        look_again_ms: 60,
        silence_ms: 1_000,
        timeout_ms: 8_000,
    }
}

/// An object whose chunks are with their owners.
pub(super) struct Object {
    pub(super) content: Vec<u8>,
    pub(super) pieces: Vec<Piece>,
}

impl Object {
    pub(super) fn empty() -> Object {
        Object { content: Vec::new(), pieces: Vec::new() }
    }

    /// An object in one body.
    pub(super) fn of(cluster: &mut Cluster, length: usize) -> Object {
        let mut object = Object::empty();
        object.add_chunked(cluster, BODY, length, 0..length);
        object
    }

    fn add(&mut self, bytes: &[u8], source: PieceSource) {
        let part = u16::try_from(self.pieces.len()).unwrap();
        let (offset, length) = (self.content.len() as u64, bytes.len() as u64);
        self.pieces.push(Piece { part, offset, length, source });
        self.content.extend(bytes);
    }

    pub(super) fn add_inline(&mut self, length: usize) {
        let bytes = bytes(length, self.content.len() as u64);
        self.add(&bytes.clone(), PieceSource::Inline { bytes });
    }

    /// A piece that is a part of a body: a copy of a range.
    pub(super) fn add_chunked(
        &mut self,
        cluster: &mut Cluster,
        id: BodyId,
        length: usize,
        part: Range<usize>,
    ) {
        let stored = bytes(length, id.upload);
        let mut roots = Vec::new();
        for (index, start) in (0..length).step_by(CHUNK).enumerate() {
            let chunk = id.chunk(u32::try_from(index).unwrap());
            let bytes = stored.slice(start..(start + CHUNK).min(length));
            roots.push(Outline::of(&bytes).root());
            for owner in cluster.layout.owners(chunk) {
                cluster.store(owner, chunk, bytes.clone());
            }
        }
        let count = u8::try_from(cluster.layout.copies()).unwrap();
        let extents = vec![Extent {
            chunk_count: u32::try_from(roots.len()).unwrap(),
            encoding: Encoding::Copies { count },
        }];
        let chunk_size = u32::try_from(CHUNK).unwrap();
        let body = ChunkedBody { length: length as u64, chunk_size, extents, roots };
        let offset = part.start as u64;
        self.add(&stored[part], PieceSource::Chunked { id, body, offset });
    }
}

pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) get: Get,
    pub(super) wanted: Vec<u8>,
    /// Pieces that the get has not been given.
    pub(super) later: VecDeque<Piece>,
    pub(super) delivered: Vec<u8>,
    /// So many more bytes the reader takes.
    pub(super) appetite: usize,
    pub(super) finished: bool,
    pub(super) failed: Option<GetFailure>,
    pub(super) damage: Vec<(ReplicaId, ChunkId)>,
    /// Everything that was sent, when, to whom.
    pub(super) sent: Vec<(Tick, ReplicaId, DataBody)>,
    pub(super) first_byte_at: Option<Tick>,
}

impl World {
    pub(super) fn new(cluster: Cluster, object: Object, range: Range<usize>, seed: u64) -> World {
        World::near(cluster, object, range, None, seed)
    }

    pub(super) fn with(settings: GetSettings, mut cluster: Cluster, length: usize) -> World {
        let object = Object::of(&mut cluster, length);
        let pieces = object.pieces.clone();
        let mut world = World::new(cluster, object, 0..length, 1);
        let end = length as u64;
        world.get = Get::new(world.cluster.layout, pieces, 0..end, None, settings, 1, Tick::ZERO).unwrap();
        world
    }

    pub(super) fn near(
        cluster: Cluster,
        object: Object,
        range: Range<usize>,
        me: Option<ReplicaId>,
        seed: u64,
    ) -> World {
        let wanted = object.content[range.clone()].to_vec();
        let bytes = range.start as u64..range.end as u64;
        // From the piece on that holds the first byte.
        let skipped =
            object.pieces.into_iter().skip_while(|piece| piece.offset + piece.length <= bytes.start);
        let mut later: VecDeque<Piece> = skipped.collect();
        let first = later.pop_front().into_iter().collect();
        let get = Get::new(cluster.layout, first, bytes, me, settings(), seed, Tick::ZERO).unwrap();
        World {
            cluster,
            get,
            wanted,
            later,
            delivered: Vec::new(),
            appetite: usize::MAX,
            finished: false,
            failed: None,
            damage: Vec::new(),
            sent: Vec::new(),
            first_byte_at: None,
        }
    }

    /// Everything that happens in the next so many milliseconds. The get is woken only when it asked
    /// for it.
    pub(super) fn run(&mut self, duration_ms: u64) {
        let end = self.cluster.now.plus(duration_ms);
        self.collect();
        loop {
            let (network, tick) = (self.cluster.next_at(), self.get.next_tick());
            let Some(next) = network.into_iter().chain(tick).min().filter(|next| *next <= end) else {
                self.cluster.now = end;
                return;
            };
            self.cluster.now = self.cluster.now.max(next);
            match self.cluster.arrival() {
                Some(arrival) => self.hear(arrival),
                None => {
                    let now = self.cluster.now;
                    self.get.on_tick(now);
                    assert!(self.get.next_tick().is_none_or(|tick| tick > now), "a tick changes nothing");
                }
            }
            self.collect();
        }
    }

    pub(super) fn run_to_the_end(&mut self) {
        for _ in 0..20_000 {
            if self.finished || self.failed.is_some() {
                return;
            }
            self.run(10);
        }
        panic!("the get never ends");
    }

    fn hear(&mut self, arrival: Arrival) {
        let now = self.cluster.now;
        match arrival {
            Arrival::Answer { from, call, body } => self.get.on_answer(now, from, call, body),
            Arrival::CallFailed { replica, call } => self.get.on_call_failed(now, replica, call),
        }
    }

    /// Takes what the get has to say and, as far as the reader likes, what it has to give.
    pub(super) fn collect(&mut self) {
        let now = self.cluster.now;
        loop {
            self.listen();
            self.check_bounds();
            if self.get.wants_pieces()
                && let Some(piece) = self.later.pop_front()
            {
                self.get.add_pieces(now, vec![piece]).unwrap();
                continue;
            }
            if self.appetite == 0 {
                return;
            }
            let Some(bytes) = self.get.take(now) else { return };
            assert!(!bytes.is_empty());
            self.first_byte_at.get_or_insert(now);
            self.appetite = self.appetite.saturating_sub(bytes.len());
            let rest = &self.wanted[self.delivered.len()..];
            assert!(rest.starts_with(&bytes), "other bytes than were stored");
            self.delivered.extend_from_slice(&bytes);
        }
    }

    fn listen(&mut self) {
        while let Some(output) = self.get.next_output() {
            assert!(!self.finished, "{output:?} after the end");
            assert_eq!(self.failed, None, "{output:?} after the end");
            match output {
                GetOutput::Send { to, call, body } => {
                    self.sent.push((self.cluster.now, to, body.clone()));
                    self.cluster.send(to, call, body);
                }
                GetOutput::Abandon { call } => self.cluster.abandon(call),
                GetOutput::Damage { replica, chunk } => self.damage.push((replica, chunk)),
                GetOutput::Finished => {
                    assert_eq!(self.delivered.len(), self.wanted.len());
                    self.finished = true;
                }
                GetOutput::Failed(failure) => self.failed = Some(failure),
            }
        }
    }

    fn check_bounds(&self) {
        let ahead = self.get.bytes_ahead();
        assert!(ahead <= settings().read_ahead_bytes + settings().hedged_bytes, "{ahead} bytes ahead");
    }

    /// Only of those that are at fault, and of each once for a chunk.
    pub(super) fn check_damage(&self, may_be: impl Fn(Mood) -> bool) {
        let mut seen = self.damage.clone();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), self.damage.len(), "{:?}", self.damage);
        for (replica, _) in &self.damage {
            assert!(may_be(self.cluster.holders[replica.index()].mood));
        }
    }

    /// The blocks that were asked for: chunk, first, count.
    pub(super) fn asked(&self) -> Vec<(u32, u32, u32)> {
        let blocks = self.sent.iter().map(|(_, _, body)| match body {
            DataBody::GetBlocks { chunk, first, count, .. } => (chunk.index, *first, *count),
            other => panic!("{} in a get", other.kind()),
        });
        blocks.collect()
    }

    pub(super) fn asked_of(&self, replica: ReplicaId) -> usize {
        self.sent.iter().filter(|(_, to, _)| *to == replica).count()
    }

    pub(super) fn result(self) -> (Bytes, Option<GetFailure>, Vec<(Tick, ReplicaId, DataBody)>) {
        (Bytes::from(self.delivered), self.failed, self.sent)
    }
}
