//! Helpers; the tests stand in the files below.

mod damage;
mod formats;
mod model;
mod stories;

use bytes::Bytes;
use protocol::catalog::BodyId;
use protocol::data::outline::BLOCK_SIZE;
use protocol::types::{ClusterId, ReplicaId, SessionId};

use super::*;
use crate::storage::disk::{SECTOR, SimulatedDisk};

const CLUSTER: ClusterId = ClusterId::new(0xc1);
const REPLICA: ReplicaId = ReplicaId::new(2);
/// Eight slots: a segment that a test fills.
const SEGMENT: u64 = 256 << 10;
const BLOCK: usize = BLOCK_SIZE as usize;
const FIRST: &str = "chunks-00000000";
/// Two header pages, and one of slots.
const RECORDS: u64 = 3 * PAGE;

type Store = ChunkStore<SimulatedDisk>;
type Reader = ChunkReader<SimulatedDisk>;

fn id(number: u64) -> ChunkId {
    let body = BodyId { session: SessionId::new(number / 16), upload: number / 4 % 4 };
    body.chunk(u32::try_from(number % 4).unwrap())
}

/// The one content that a name has.
fn content(number: u64, length: usize) -> Vec<u8> {
    let byte = |index: usize| u8::try_from((index as u64 * 7 + index as u64 / 256 + number) % 251).unwrap();
    (0..length).map(byte).collect()
}

fn options(salt: u128) -> ChunkOptions {
    ChunkOptions { segment_size: SEGMENT, reserve_bytes: 0, open_files_max: 3, salt }
}

fn open(disk: &SimulatedDisk) -> io::Result<(Store, OpenReport)> {
    ChunkStore::open(disk, CLUSTER, REPLICA, options(disk.calls().into()))
}

fn new_store(seed: u64) -> (SimulatedDisk, Store) {
    let disk = SimulatedDisk::new(seed);
    let (store, report) = open(&disk).unwrap();
    assert_eq!(report, OpenReport::default());
    (disk, store)
}

fn reopen(disk: &mut SimulatedDisk) -> (Store, OpenReport) {
    disk.crash();
    open(disk).unwrap()
}

fn append_bytes(store: &mut Store, chunk: ChunkId, bytes: &[u8]) -> Result<(), AppendError> {
    let bytes = Bytes::copy_from_slice(bytes);
    store.append(&VerifiedChunk::new(chunk, Outline::of(&bytes).root(), bytes).unwrap())
}

fn append(store: &mut Store, number: u64, length: usize) {
    append_bytes(store, id(number), &content(number, length)).unwrap();
}

/// Stores one chunk after the other, in one group.
fn store_all(store: &mut Store, numbers: impl IntoIterator<Item = u64>, length: usize) {
    let numbers: Vec<u64> = numbers.into_iter().collect();
    numbers.iter().for_each(|number| append(store, *number, length));
    assert_eq!(store.commit_group().unwrap().len(), numbers.len());
}

fn read_all(reader: &Reader, number: u64, length: usize) -> Result<Bytes, ReadFault> {
    let root = Outline::of(&content(number, length)).root();
    reader.read(id(number), &root, 0, u32::MAX).map(|read| read.bytes)
}

fn is_whole(reader: &Reader, number: u64, length: usize) -> bool {
    match read_all(reader, number, length) {
        Ok(bytes) => bytes == content(number, length),
        Err(ReadFault::Io(error)) => panic!("{error}"),
        Err(_) => false,
    }
}

fn is_absent(reader: &Reader, number: u64) -> bool {
    matches!(reader.find(id(number)), Err(ReadFault::Absent))
}

fn damaged_copy<T: std::fmt::Debug>(outcome: Result<T, ReadFault>) -> CopyId {
    match outcome {
        Err(ReadFault::Damaged(copy)) => copy,
        other => panic!("{other:?}"),
    }
}

/// What the store says of everything that it holds, in the order of the walk.
fn held(reader: &Reader) -> Vec<Held> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = reader.walk(after, 3);
        let Some(last) = page.last() else { return all };
        after = Some(last.chunk);
        all.extend(page);
    }
}
