//! The bytes of a WAL segment.
//!
//! ```text
//!  file `wal-00000000`, `wal-00000001`, …              7/8 bodies │ 1/8 stubs
//! ┌────────────┬─────┬──────┬────────────┬─────── ─ ─ ─ ───────────┼───────┬───────┬─ ─ ─┐
//! │ record     │0…0  │ mark │ record     │ zeros, or an older        │stub 0 │stub 1 │     │
//! └────────────┴─────┴──────┴────────────┴─────── generation ───────┴───────┴───────┴─ ─ ─┘
//!  each begins at a sector                                          a sector each
//!
//!  record                                              stub
//! ┌───────────────────────────────┐                   ┌───────────────────────────────────┐
//! │ checksum 16                   │                   │ checksum 16                       │
//! │ magic 4 "VWR2", generation 4  │                   │ magic 4 "VWS1", generation 4      │
//! │ stub 4, index 1, count 1,     │                   │ segments 4, count 1, zero 3       │
//! │ earlier 2                     │                   ├───────────────────────────────────┤
//! ├───────────────────────────────┤                   │ up to three times:                │
//! │ entry header 152, body        │                   │   entry header 152                │
//! └───────────────────────────────┘                   │   sector of the record 4, zero 4  │
//!  mark                                               └───────────────────────────────────┘
//! ┌───────────────────────────────┐
//! │ checksum 16                   │
//! │ magic 4 "VWM1", generation 4  │
//! │ segments 4, stubs 4, zero 480 │
//! └───────────────────────────────┘
//! ```
//!
//! All checksums cover the cluster, the replica, the segment and the offset too: what belongs
//! elsewhere is not valid here. A record's checksum covers it up to the entry's header, which holds
//! the hash of the body.
//!
//! A record says in which stub it will be listed (`stub`), at which place (`index`) and with how many
//! others (`count`): if that stub is damaged, the records tell whether they are all it listed. And it
//! says how many stubs of its own group come before that one (`earlier`): all stubs below those belong
//! to groups that were synced before this record was written.
//!
//! A mark says the same of the first `stubs` stubs, when no record follows that could.
//!
//! `generation` counts the uses of a segment: what carries an older one was reclaimed long ago.

use bytes::Bytes;
use protocol::codec::{Decoder, Encoder};
use protocol::entry::{ENTRY_HEADER_SIZE, Entry, EntryHeader};
use protocol::types::{Checksum, ClusterId, ReplicaId};

use crate::storage::disk::{SECTOR, SECTOR_SIZE};

pub(super) const RECORD_PREFIX_SIZE: usize = 32;
pub(super) const STUB_ENTRIES_MAX: usize = 3;
const STUB_PREFIX_SIZE: usize = 32;
const STUB_ENTRY_SIZE: usize = ENTRY_HEADER_SIZE + 8;
const RECORD_MAGIC: &[u8; 4] = b"VWR2";
const STUB_MAGIC: &[u8; 4] = b"VWS1";
const MARK_MAGIC: &[u8; 4] = b"VWM1";
const _: () = assert!(STUB_PREFIX_SIZE + STUB_ENTRIES_MAX * STUB_ENTRY_SIZE == SECTOR_SIZE);

/// A segment smaller than this is one whose allocation was interrupted.
pub(super) const SEGMENT_SIZE_MIN: u64 = 8 * SECTOR;

/// Where the parts of a segment lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) size: u64,
    pub(super) body_end: u64,
    pub(super) stub_count: u32,
}

impl Layout {
    /// None if no segment can be so long.
    pub(super) fn of(size: u64) -> Option<Layout> {
        if size < SEGMENT_SIZE_MIN || !size.is_multiple_of(8 * SECTOR) {
            return None;
        }
        let stub_count = u32::try_from(size / SECTOR / 8).ok()?;
        Some(Layout { size, body_end: size - u64::from(stub_count) * SECTOR, stub_count })
    }

    pub(super) fn stub_offset(self, stub: u32) -> u64 {
        self.body_end + u64::from(stub) * SECTOR
    }
}

/// Whose segment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) cluster: ClusterId,
    pub(super) replica: ReplicaId,
    pub(super) segment: u32,
}

impl Address {
    fn checksum(self, offset: u64, covered: &[u8]) -> Checksum {
        let mut place = [0; 29];
        place[..16].copy_from_slice(&self.cluster.get().to_le_bytes());
        place[16] = self.replica.get();
        place[17..21].copy_from_slice(&self.segment.to_le_bytes());
        place[21..].copy_from_slice(&offset.to_le_bytes());
        Checksum::of_parts(&[&place, covered])
    }
}

/// Where the stub of a record will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StubPlace {
    pub(super) stub: u32,
    pub(super) index: u8,
    pub(super) count: u8,
    /// The stubs of the same group before this one.
    pub(super) earlier: u16,
}

impl StubPlace {
    /// The bodies of all stubs below this one were synced before the record was written.
    pub(super) fn synced_below(self) -> u32 {
        self.stub.saturating_sub(u32::from(self.earlier))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) generation: u32,
    pub(super) place: StubPlace,
    pub(super) entry: Entry,
}

/// The space that an entry's record takes.
pub(super) fn record_size(header: &EntryHeader) -> u64 {
    let size = (RECORD_PREFIX_SIZE + ENTRY_HEADER_SIZE) as u64 + u64::from(header.body_size);
    size.next_multiple_of(SECTOR)
}

pub(super) fn encode_record(
    address: Address,
    offset: u64,
    generation: u32,
    place: StubPlace,
    entry: &Entry,
    out: &mut Vec<u8>,
) {
    let mut covered = Encoder::with_capacity(RECORD_PREFIX_SIZE + ENTRY_HEADER_SIZE);
    covered.raw(RECORD_MAGIC);
    covered.u32(generation);
    covered.u32(place.stub);
    covered.u8(place.index);
    covered.u8(place.count);
    covered.u16(place.earlier);
    entry.header.encode(&mut covered);
    let covered = covered.finish();

    out.extend_from_slice(&address.checksum(offset, &covered).get().to_le_bytes());
    out.extend_from_slice(&covered);
    out.extend_from_slice(&entry.body);
    out.resize(out.len().next_multiple_of(SECTOR_SIZE), 0);
}

/// Whether a record might begin here: cheap, for walking over everything.
pub(super) fn looks_like_record(bytes: &[u8]) -> bool {
    bytes.get(16..20) == Some(RECORD_MAGIC)
}

/// The record at the beginning of `bytes`, if it is whole and belongs here.
pub(super) fn decode_record(address: Address, offset: u64, bytes: &Bytes) -> Option<Record> {
    let mut input = Decoder::new(bytes.clone());
    let checksum = Checksum::new(input.u128("checksum").ok()?);
    let covered = bytes.get(16..RECORD_PREFIX_SIZE + ENTRY_HEADER_SIZE)?;
    if !looks_like_record(bytes) || checksum != address.checksum(offset, covered) {
        return None;
    }
    input.u32("magic").ok()?;
    let generation = input.u32("generation").ok()?;
    let stub = input.u32("stub").ok()?;
    let (index, count) = (input.u8("index").ok()?, input.u8("count").ok()?);
    let place = StubPlace { stub, index, count, earlier: input.u16("earlier").ok()? };
    let entry = Entry::decode(&mut input).ok()?;
    Some(Record { generation, place, entry })
}

/// The bodies that the first `stubs` stubs of the segment list are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) generation: u32,
    /// As in a stub.
    pub(super) segments: u32,
    pub(super) stubs: u32,
}

pub(super) fn encode_mark(address: Address, offset: u64, mark: Mark) -> Vec<u8> {
    let mut covered = Encoder::with_capacity(SECTOR_SIZE);
    covered.raw(MARK_MAGIC);
    covered.u32(mark.generation);
    covered.u32(mark.segments);
    covered.u32(mark.stubs);
    sealed_sector(address, offset, covered)
}

/// The mark in this sector, if it is whole and belongs here.
pub(super) fn decode_mark(address: Address, offset: u64, sector: &[u8]) -> Option<Mark> {
    if sector.get(16..20) != Some(MARK_MAGIC) {
        return None;
    }
    let mut input = open_sector(address, offset, sector, MARK_MAGIC)?;
    let generation = input.u32("generation").ok()?;
    let segments = input.u32("segments").ok()?;
    Some(Mark { generation, segments, stubs: input.u32("stubs").ok()? })
}

/// Fills a sector with zeros and puts the checksum of it all in front.
fn sealed_sector(address: Address, offset: u64, covered: Encoder) -> Vec<u8> {
    let mut covered = covered.finish();
    covered.resize(SECTOR_SIZE - 16, 0);
    let mut raw = address.checksum(offset, &covered).get().to_le_bytes().to_vec();
    raw.extend_from_slice(&covered);
    raw
}

/// What follows the magic in a sealed sector, if it is whole, of this kind, and belongs here.
fn open_sector(address: Address, offset: u64, sector: &[u8], magic: &[u8; 4]) -> Option<Decoder> {
    let mut input = Decoder::copying(sector);
    let checksum = Checksum::new(input.u128("checksum").ok()?);
    let whole = checksum == address.checksum(offset, sector.get(16..SECTOR_SIZE)?);
    (whole && input.raw(4, "magic").ok()?.as_ref() == magic).then_some(input)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stub {
    pub(super) generation: u32,
    /// So many segments, numbered from zero, existed when this was written: one that is missing now
    /// was lost.
    pub(super) segments: u32,
    pub(super) entries: Vec<StubEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StubEntry {
    pub(super) header: EntryHeader,
    pub(super) offset: u64,
}

/// What a stub's sector holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StubSlot {
    Blank,
    Valid(Stub),
    /// Unreadable, torn or rotten.
    Damaged,
}

pub(super) fn encode_stub(address: Address, offset: u64, stub: &Stub) -> Vec<u8> {
    assert!(stub.entries.len() <= STUB_ENTRIES_MAX);
    let mut covered = Encoder::with_capacity(SECTOR_SIZE);
    covered.raw(STUB_MAGIC);
    covered.u32(stub.generation);
    covered.u32(stub.segments);
    covered.u32(u32::try_from(stub.entries.len()).expect("at most three"));
    for entry in &stub.entries {
        entry.header.encode(&mut covered);
        covered.u32(u32::try_from(entry.offset / SECTOR).expect("a segment has fewer than 2^32 sectors"));
        covered.u32(0);
    }
    sealed_sector(address, offset, covered)
}

pub(super) fn decode_stub(address: Address, offset: u64, sector: &[u8]) -> StubSlot {
    if sector.iter().all(|byte| *byte == 0) {
        return StubSlot::Blank;
    }
    valid_stub(address, offset, sector).map_or(StubSlot::Damaged, StubSlot::Valid)
}

fn valid_stub(address: Address, offset: u64, sector: &[u8]) -> Option<Stub> {
    let mut input = open_sector(address, offset, sector, STUB_MAGIC)?;
    let generation = input.u32("generation").ok()?;
    let segments = input.u32("segments").ok()?;
    let count = input.u32("count").ok()? as usize;
    if count > STUB_ENTRIES_MAX {
        return None;
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let header = EntryHeader::decode(&mut input).ok()?;
        let offset = u64::from(input.u32("sector").ok()?) * SECTOR;
        input.u32("zero").ok()?;
        entries.push(StubEntry { header, offset });
    }
    Some(Stub { generation, segments, entries })
}
