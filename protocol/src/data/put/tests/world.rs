//! A put, the holders, and a check of everything that the put ever says.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::catalog::NewBody;
use crate::data::cluster::{Arrival, BODY, Cluster, bytes};
use crate::data::message::DataBody;
use crate::data::outline::Outline;
use crate::data::put::{PreparedChunk, Put, PutFailure, PutOutput, PutSettings, StoredBody};
use crate::types::{ReplicaId, Tick};

pub(super) const CHUNK: usize = 1_000;

pub(super) fn settings() -> PutSettings {
    PutSettings {
        chunks_held_max: 3,
        stand_in_after_ms: 400,
        grace_ms: 50,
        linger_ms: 1_000,
        retry_ms: 20,
        retry_max_ms: 400,
        silence_ms: 1_500,
        timeout_ms: 10_000,
        confirm_rounds_max: 3,
    }
}

pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) put: Put,
    /// What is to be stored, and how much of it was offered.
    pub(super) content: Bytes,
    offered: usize,
    finished: bool,
    /// The bytes that the network has to keep: of calls that are not answered.
    in_network: BTreeMap<u64, (ReplicaId, Bytes)>,
    /// Everything that was sent, when, to whom.
    pub(super) sent: Vec<(Tick, ReplicaId, DataBody)>,
    pub(super) ready: Vec<(Tick, StoredBody)>,
    pub(super) failed: Option<PutFailure>,
}

impl World {
    pub(super) fn new(replica_count: usize, length: usize, seed: u64) -> World {
        let cluster = Cluster::of(replica_count, seed);
        World {
            put: Put::new(cluster.layout, BODY, u32::try_from(CHUNK).unwrap(), settings(), seed, Tick::ZERO),
            cluster,
            content: bytes(length, seed),
            offered: 0,
            finished: false,
            in_network: BTreeMap::new(),
            sent: Vec::new(),
            ready: Vec::new(),
            failed: None,
        }
    }

    /// Everything that happens in the next so many milliseconds. The put is woken only when it asked
    /// for it, and fed whenever it has room.
    pub(super) fn run(&mut self, duration_ms: u64) {
        let end = self.cluster.now.plus(duration_ms);
        self.feed();
        loop {
            let (network, tick) = (self.cluster.next_at(), self.put.next_tick());
            let Some(next) = network.into_iter().chain(tick).min().filter(|next| *next <= end) else {
                self.cluster.now = end;
                return;
            };
            self.cluster.now = self.cluster.now.max(next);
            match self.cluster.arrival() {
                Some(arrival) => self.hear(arrival),
                None => {
                    let now = self.cluster.now;
                    self.put.on_tick(now);
                    assert!(self.put.next_tick().is_none_or(|tick| tick > now), "a tick changes nothing");
                }
            }
            self.feed();
        }
    }

    /// Until the put is ready or has failed.
    pub(super) fn run_to_the_end(&mut self) {
        let before = self.ready.len();
        for _ in 0..20_000 {
            if self.ready.len() > before || self.failed.is_some() {
                return;
            }
            self.run(10);
        }
        panic!("the put never ends");
    }

    pub(super) fn hear(&mut self, arrival: Arrival) {
        let now = self.cluster.now;
        match arrival {
            Arrival::Answer { from, call, body } => {
                self.in_network.retain(|other, (to, _)| *other != call || *to != from);
                self.put.on_answer(now, from, call, body);
            }
            Arrival::CallFailed { replica, call } => {
                self.in_network.remove(&call);
                self.put.on_call_failed(now, replica, call);
            }
        }
        self.collect();
    }

    pub(super) fn feed(&mut self) {
        let now = self.cluster.now;
        self.collect();
        while self.offered < self.content.len() && self.put.wants_more() {
            let end = (self.offered + CHUNK).min(self.content.len());
            let chunk = PreparedChunk::of(self.content.slice(self.offered..end));
            self.put.offer(now, chunk).unwrap();
            self.offered = end;
            self.collect();
        }
        if self.offered == self.content.len() && !self.finished && self.failed.is_none() {
            self.finished = true;
            self.put.finish(now).unwrap();
            self.collect();
        }
    }

    pub(super) fn on_too_few_copies(&mut self) {
        self.put.on_too_few_copies(self.cluster.now);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(output) = self.put.next_output() {
            assert_eq!(self.failed, None, "{output:?} after the end");
            match output {
                PutOutput::Send { to, call, body } => {
                    if let DataBody::PutChunk { bytes, .. } = &body {
                        assert!(self.in_network.insert(call, (to, bytes.clone())).is_none());
                    }
                    self.sent.push((self.cluster.now, to, body.clone()));
                    self.cluster.send(to, call, body);
                }
                PutOutput::Abandon { call } => {
                    self.in_network.remove(&call);
                    self.cluster.abandon(call);
                }
                PutOutput::Ready(stored) => {
                    self.check(&stored);
                    self.ready.push((self.cluster.now, stored));
                }
                PutOutput::Failed(failure) => self.failed = Some(failure),
            }
        }
        let bound = settings().chunks_held_max * CHUNK;
        assert!(self.put.bytes_held() <= bound);
        // A chunk that goes to three replicas is in memory once.
        let distinct: BTreeMap<*const u8, usize> =
            self.in_network.values().map(|(_, bytes)| (bytes.as_ptr(), bytes.len())).collect();
        assert!(distinct.values().sum::<usize>() <= bound, "the network keeps what the put let go");
    }

    /// Whatever is ready is what was to be stored, and its receipts are true and sufficient.
    fn check(&self, stored: &StoredBody) {
        let body = &stored.body;
        assert_eq!(NewBody::from(stored.clone()).check(0), Ok(()));
        assert_eq!(body.length, self.content.len() as u64);
        for (index, chunk) in self.content.chunks(CHUNK).enumerate() {
            assert_eq!(body.roots[index], Outline::of(chunk).root());
            let receipts: Vec<_> =
                stored.receipts.iter().filter(|receipt| receipt.chunk as usize == index).collect();
            let mut nodes: Vec<_> = receipts.iter().map(|receipt| receipt.node).collect();
            nodes.sort();
            nodes.dedup();
            assert_eq!(nodes.len(), receipts.len());
            assert!(nodes.len() >= self.cluster.layout.copies_min());
            assert!(nodes.len() <= self.cluster.layout.copies());
        }
        self.counted(stored);
    }

    /// For each chunk, how many of the receipts the log would count now. Each of these is true.
    pub(super) fn counted(&self, stored: &StoredBody) -> Vec<usize> {
        let mut counted = vec![0; stored.body.roots.len()];
        for receipt in &stored.receipts {
            let index = receipt.chunk as usize;
            let length = stored.body.chunk_length(receipt.chunk).unwrap();
            if self.cluster.is_counted(BODY, receipt, stored.body.roots[index], length) {
                let holder = &self.cluster.holders[receipt.node.index()];
                let chunk = self.content.slice(index * CHUNK..index * CHUNK + length as usize);
                assert_eq!(holder.chunks[&BODY.chunk(receipt.chunk)], chunk);
                counted[index] += 1;
            }
        }
        counted
    }

    pub(super) fn is_committed(&self, stored: &StoredBody) -> bool {
        self.counted(stored).iter().all(|count| *count >= self.cluster.layout.copies_min())
    }

    /// How many replicas have the chunk.
    pub(super) fn copies_of(&self, index: u32) -> usize {
        let chunk = BODY.chunk(index);
        self.cluster.holders.iter().filter(|holder| holder.chunks.contains_key(&chunk)).count()
    }

    pub(super) fn sent_to(&self, replica: ReplicaId) -> usize {
        self.sent.iter().filter(|(_, to, _)| *to == replica).count()
    }

    pub(super) fn stored(&self) -> &StoredBody {
        &self.ready.last().expect("the put should be ready").1
    }
}
