//! A replica as a holder of chunks: it stores what is put, vouches for what is durable, and reads
//! what is asked for. No I/O.
//!
//! Hashing a chunk takes as long as deciding about a thousand of them. So the machine never looks
//! into the bytes: whoever carries out a `Store` compares them with the root before writing them.

mod room;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::message::{DataBody, DataRefusal};
use super::outline::{BLOCK_SIZE, CHUNK_BYTES_MAX, ChunkRoot};
use super::receipt::{Holding, ReceiptKey};
use super::storage::{Found, Job, ReadBlocks, ReadFault, Standing, StoreFault};
use crate::catalog::ChunkId;
use crate::types::{Peer, ReplicaId};
use room::Room;

/// One answer holds at most so many blocks: a megabyte.
pub const SPAN_BLOCKS_MAX: u32 = (1 << 20) / BLOCK_SIZE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderSettings {
    /// Bytes that wait for the disk, from all peers and from one of them.
    pub store_bytes_max: u64,
    pub store_bytes_per_peer_max: u64,
    /// Bytes being read.
    pub read_bytes_max: u64,
    pub read_bytes_per_peer_max: u64,
    /// Calls that wait for the disk, from all peers and from one of them.
    pub calls_max: usize,
    pub calls_per_peer_max: usize,
}

impl HolderSettings {
    pub const fn standard() -> HolderSettings {
        HolderSettings {
            store_bytes_max: 64 << 20,
            store_bytes_per_peer_max: 48 << 20,
            read_bytes_max: 64 << 20,
            read_bytes_per_peer_max: 48 << 20,
            calls_max: 1024,
            calls_per_peer_max: 512,
        }
    }
}

/// What the holder wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HolderOutput {
    Answer {
        to: Peer,
        call: u64,
        body: DataBody,
    },
    /// Compare the bytes with the root, write them, sync: `on_stored`.
    Store {
        job: Job,
        chunk: ChunkId,
        root: ChunkRoot,
        bytes: Bytes,
    },
    /// Look into the index for a durable copy: `on_found`.
    Find {
        job: Job,
        chunk: ChunkId,
    },
    /// Read and verify: `on_read`.
    Read {
        job: Job,
        chunk: ChunkId,
        root: ChunkRoot,
        first: u32,
        count: u32,
    },
    /// A copy did not read as it should. A hint for upkeep, which looks again before it believes it.
    Damage {
        chunk: ChunkId,
    },
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Caller {
    peer: Peer,
    call: u64,
}

/// A job of the store, and what becomes of it.
#[derive(Debug)]
enum Waiting {
    Store {
        holding: Holding,
        /// Whose bytes are being written.
        first: Caller,
        /// Who sent the same chunk in the meantime. Their copies of the bytes are gone already.
        others: Vec<Caller>,
    },
    Find {
        holding: Holding,
        caller: Caller,
    },
    Read {
        chunk: ChunkId,
        first: u32,
        count: u32,
        caller: Caller,
    },
}

pub struct Holder {
    me: ReplicaId,
    key: ReceiptKey,
    standing: Standing,
    /// Free space of the disk, and how much of it is not for chunks.
    available_bytes: u64,
    reserve_bytes: u64,
    last_job: u64,
    waiting: BTreeMap<Job, Waiting>,
    /// Chunks that are being written.
    storing: BTreeMap<ChunkId, Job>,
    calls: Room,
    stores: Room,
    reads: Room,
    outputs: VecDeque<HolderOutput>,
}

impl Holder {
    /// Refuses writes until `set_space` says that there is room for them.
    pub fn new(me: ReplicaId, key: ReceiptKey, standing: Standing, settings: HolderSettings) -> Holder {
        assert!(settings.store_bytes_per_peer_max >= u64::from(CHUNK_BYTES_MAX));
        assert!(settings.read_bytes_per_peer_max >= u64::from(SPAN_BLOCKS_MAX * BLOCK_SIZE));
        Holder {
            me,
            key,
            standing,
            available_bytes: 0,
            reserve_bytes: 0,
            last_job: 0,
            waiting: BTreeMap::new(),
            storing: BTreeMap::new(),
            calls: Room::new(settings.calls_max as u64, settings.calls_per_peer_max as u64),
            stores: Room::new(settings.store_bytes_max, settings.store_bytes_per_peer_max),
            reads: Room::new(settings.read_bytes_max, settings.read_bytes_per_peer_max),
            outputs: VecDeque::new(),
        }
    }

    pub fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
    }

    pub fn set_space(&mut self, available_bytes: u64, reserve_bytes: u64) {
        self.available_bytes = available_bytes;
        self.reserve_bytes = reserve_bytes;
    }

    /// Bytes that wait for the disk.
    pub fn store_bytes(&self) -> u64 {
        self.stores.used()
    }

    pub fn next_output(&mut self) -> Option<HolderOutput> {
        self.outputs.pop_front()
    }

    /// What is no call, or none that a holder answers, is ignored.
    pub fn on_call(&mut self, from: Peer, call: u64, body: DataBody) {
        let caller = Caller { peer: from, call };
        let refusal = match body {
            DataBody::PutChunk { chunk, layout, root, bytes } => {
                self.on_put_chunk(caller, chunk, layout, root, bytes)
            }
            DataBody::Confirm { chunk, layout, root, length } => {
                self.on_confirm(caller, chunk, layout, root, length)
            }
            DataBody::GetBlocks { chunk, root, first, count } => {
                self.on_get_blocks(caller, chunk, root, first, count)
            }
            DataBody::Stored { .. }
            | DataBody::Refused { .. }
            | DataBody::Blocks { .. }
            | DataBody::NotHere
            | DataBody::Introduce { .. }
            | DataBody::GetStatus
            | DataBody::Introduced { .. }
            | DataBody::Status { .. } => Ok(()),
        };
        if let Err(why) = refusal {
            self.answer(caller, DataBody::Refused { why });
        }
    }

    fn on_put_chunk(
        &mut self,
        caller: Caller,
        chunk: ChunkId,
        layout: u32,
        root: ChunkRoot,
        bytes: Bytes,
    ) -> Result<(), DataRefusal> {
        self.check_standing(layout)?;
        let length = u32::try_from(bytes.len()).ok().filter(|length| (1..=CHUNK_BYTES_MAX).contains(length));
        let length = length.ok_or(DataRefusal::Damaged)?;
        let holding = self.holding(chunk, root, length);
        if let Some(job) = self.storing.get(&chunk) {
            return self.join(*job, caller, &holding);
        }
        let size = u64::from(length);
        let wanted = self.reserve_bytes.saturating_add(self.stores.used()).saturating_add(size);
        if self.available_bytes < wanted {
            return Err(DataRefusal::Full);
        }
        if !self.calls.has(caller.peer, 1) || !self.stores.take(caller.peer, size) {
            return Err(DataRefusal::Busy);
        }
        self.calls.take(caller.peer, 1);
        let job = self.wait_for(Waiting::Store { holding, first: caller, others: Vec::new() });
        self.storing.insert(chunk, job);
        self.outputs.push_back(HolderOutput::Store { job, chunk, root, bytes });
        Ok(())
    }

    /// The same chunk is being written: its answer is the answer to this call as well. Whether other
    /// bytes under its name are a conflict is not known before it is durable.
    fn join(&mut self, job: Job, caller: Caller, wanted: &Holding) -> Result<(), DataRefusal> {
        let Some(Waiting::Store { holding, others, .. }) = self.waiting.get_mut(&job) else {
            return Err(DataRefusal::Busy);
        };
        if holding != wanted || !self.calls.take(caller.peer, 1) {
            return Err(DataRefusal::Busy);
        }
        others.push(caller);
        Ok(())
    }

    fn on_confirm(
        &mut self,
        caller: Caller,
        chunk: ChunkId,
        layout: u32,
        root: ChunkRoot,
        length: u32,
    ) -> Result<(), DataRefusal> {
        self.check_standing(layout)?;
        if !self.calls.take(caller.peer, 1) {
            return Err(DataRefusal::Busy);
        }
        let holding = self.holding(chunk, root, length);
        let job = self.wait_for(Waiting::Find { holding, caller });
        self.outputs.push_back(HolderOutput::Find { job, chunk });
        Ok(())
    }

    /// Needs no standing: whoever asks compares the blocks with the root, and a replica that is only
    /// starting may have the last copy that can be reached.
    fn on_get_blocks(
        &mut self,
        caller: Caller,
        chunk: ChunkId,
        root: ChunkRoot,
        first: u32,
        count: u32,
    ) -> Result<(), DataRefusal> {
        let count = count.min(SPAN_BLOCKS_MAX);
        if count == 0 || first >= CHUNK_BYTES_MAX / BLOCK_SIZE {
            self.answer(caller, DataBody::NotHere);
            return Ok(());
        }
        if !self.calls.has(caller.peer, 1) || !self.reads.take(caller.peer, span_bytes(count)) {
            return Err(DataRefusal::Busy);
        }
        self.calls.take(caller.peer, 1);
        let job = self.wait_for(Waiting::Read { chunk, first, count, caller });
        self.outputs.push_back(HolderOutput::Read { job, chunk, root, first, count });
        Ok(())
    }

    fn check_standing(&self, layout: u32) -> Result<(), DataRefusal> {
        if !self.standing.ready {
            return Err(DataRefusal::NotReady);
        }
        if layout != self.standing.layout.version {
            return Err(DataRefusal::WrongLayout);
        }
        Ok(())
    }

    /// What a receipt given now would vouch for.
    fn holding(&self, chunk: ChunkId, root: ChunkRoot, length: u32) -> Holding {
        let Standing { incarnation, layout, .. } = self.standing;
        Holding { chunk, root, length, layout: layout.version, node: self.me, incarnation }
    }

    fn wait_for(&mut self, waiting: Waiting) -> Job {
        self.last_job += 1;
        let job = Job::new(self.last_job);
        self.waiting.insert(job, waiting);
        job
    }

    /// The chunk is durable, or why it is not.
    pub fn on_stored(&mut self, job: Job, outcome: Result<(), StoreFault>) {
        let Some(Waiting::Store { holding, first, others }) =
            take_if(&mut self.waiting, job, |waiting| matches!(waiting, Waiting::Store { .. }))
        else {
            return;
        };
        self.storing.remove(&holding.chunk);
        self.stores.give_back(first.peer, u64::from(holding.length));
        self.available_bytes = match outcome {
            Ok(()) => self.available_bytes.saturating_sub(u64::from(holding.length)),
            Err(_) => self.available_bytes,
        };
        let answer = match outcome {
            Ok(()) => self.receipt(&holding),
            Err(StoreFault::Full) => DataBody::Refused { why: DataRefusal::Full },
            Err(StoreFault::Conflict) => DataBody::Refused { why: DataRefusal::Conflict },
            Err(StoreFault::Damaged) => DataBody::Refused { why: DataRefusal::Damaged },
        };
        // The first caller's bytes were bad. The others' were not looked at, and may be good.
        let theirs = match outcome {
            Err(StoreFault::Damaged) => DataBody::Refused { why: DataRefusal::Busy },
            _ => answer.clone(),
        };
        self.finish(first, answer);
        for caller in others {
            self.finish(caller, theirs.clone());
        }
    }

    pub fn on_found(&mut self, job: Job, found: Result<Found, ReadFault>) {
        let Some(Waiting::Find { holding, caller }) =
            take_if(&mut self.waiting, job, |waiting| matches!(waiting, Waiting::Find { .. }))
        else {
            return;
        };
        let wanted = Found { root: holding.root, length: holding.length };
        if found == Err(ReadFault::Damaged) {
            self.outputs.push_back(HolderOutput::Damage { chunk: holding.chunk });
        }
        let answer = if found == Ok(wanted) { self.receipt(&holding) } else { DataBody::NotHere };
        self.finish(caller, answer);
    }

    pub fn on_read(&mut self, job: Job, outcome: Result<ReadBlocks, ReadFault>) {
        let Some(Waiting::Read { chunk, first, count, caller }) =
            take_if(&mut self.waiting, job, |waiting| matches!(waiting, Waiting::Read { .. }))
        else {
            return;
        };
        self.reads.give_back(caller.peer, span_bytes(count));
        let damaged = match &outcome {
            Ok(blocks) => blocks.are_short(first, count),
            Err(fault) => *fault == ReadFault::Damaged,
        };
        if damaged {
            self.outputs.push_back(HolderOutput::Damage { chunk });
        }
        let answer = match outcome {
            Ok(ReadBlocks { outline, bytes }) => DataBody::Blocks { outline, first, bytes },
            Err(ReadFault::Absent | ReadFault::Damaged) => DataBody::NotHere,
        };
        self.finish(caller, answer);
    }

    /// The disk may have become another one while the job was under way: only the one that was there
    /// at its beginning and is there at its end is known to hold the chunk.
    fn receipt(&self, holding: &Holding) -> DataBody {
        let Standing { incarnation, ready, layout, .. } = self.standing;
        if !ready || holding.incarnation != incarnation {
            return DataBody::Refused { why: DataRefusal::NotReady };
        }
        if holding.layout != layout.version {
            return DataBody::Refused { why: DataRefusal::WrongLayout };
        }
        DataBody::Stored { receipt: self.key.receipt(holding) }
    }

    fn finish(&mut self, caller: Caller, body: DataBody) {
        self.calls.give_back(caller.peer, 1);
        self.answer(caller, body);
    }

    fn answer(&mut self, to: Caller, body: DataBody) {
        self.outputs.push_back(HolderOutput::Answer { to: to.peer, call: to.call, body });
    }
}

/// What a read of so many blocks may take.
fn span_bytes(count: u32) -> u64 {
    u64::from(count) * u64::from(BLOCK_SIZE)
}

/// A report that is no answer to the job is ignored: the job stays.
fn take_if(
    waiting: &mut BTreeMap<Job, Waiting>,
    job: Job,
    fits: impl FnOnce(&Waiting) -> bool,
) -> Option<Waiting> {
    if waiting.get(&job).is_some_and(fits) { waiting.remove(&job) } else { None }
}
