//! The bytes of a chunk segment.
//!
//! ```text
//!  file `chunks-00000000`, `chunks-00000001`, …        pages of 4096 bytes
//! ┌──────────┬──────────┬────────────────────────┬────────────────────┬────────────────────┬─ ─
//! │ segment  │ segment  │ slots, a sector each:  │ record 0: head,    │ record 1: head,    │
//! │ header   │ header   │ one for each record    │ bytes, hole to page│ bytes, hole to page│
//! └──────────┴──────────┴────────────────────────┴────────────────────┴────────────────────┴─ ─
//!  segment header, a sector                     slot, a sector                record head, whole pages
//! ┌───────────────────────────────┐            ┌────────────────────────┐    ┌─────────────────────────┐
//! │ checksum 16                   │            │ checksum 16            │    │ checksum 16             │
//! │ magic 4 "VCG1", version 4     │            │ magic 4 "VCS1"         │    │ magic 4 "VCR1"          │
//! │ cluster 16, replica 1, zero 3 │            │ state 1, zero 3        │    │ slot 4                  │
//! │ segment 4, salt 16            │            │ durable 4              │    │ chunk 20, root 32       │
//! │ slots 4                       │            │ page 4, pages 4        │    │ length 4                │
//! │ previous segment 4, its slots │            │ chunk 20, root 32      │    │ hash of each block, 32  │
//! │ in use 4, zeros               │            │ length 4, zeros        │    │ each; zeros             │
//! └───────────────────────────────┘            └────────────────────────┘    └─────────────────────────┘
//! ```
//!
//! All checksums cover the offset; those of slots and heads also the cluster, the replica, the
//! segment and its salt. The salt is random: nobody can choose bytes that pass for a head, and what a
//! disk still holds of an earlier file is not valid in this one.
//!
//! What is said of a record stands twice, in its slot and in its head: either can be lost.

use protocol::catalog::ChunkId;
use protocol::codec::{DecodeError, Decoder, Encoder};
use protocol::data::outline::{BLOCK_SIZE, BlockHash, CHUNK_BYTES_MAX, ChunkRoot, Outline};
use protocol::types::{Checksum, ClusterId, ReplicaId};
use protocol::wire::Wire;

use crate::storage::disk::{SECTOR, SECTOR_SIZE};

pub(super) const PAGE_SIZE: usize = 4096;
pub(super) const PAGE: u64 = PAGE_SIZE as u64;
const PAGE_BYTES: u32 = 4096;
const _: () = assert!(PAGE_BYTES as usize == PAGE_SIZE);
/// The segment header has a copy in each of the first pages.
pub(super) const HEADER_COPIES: u32 = 2;
const VERSION: u32 = 1;
const SEGMENT_MAGIC: &[u8; 4] = b"VCG1";
const SLOT_MAGIC: &[u8; 4] = b"VCS1";
const HEAD_MAGIC: &[u8; 4] = b"VCR1";
const HEAD_PREFIX_SIZE: usize = 80;
const HASH_SIZE: usize = 32;

const SLOTS_PER_PAGE: u32 = 8;
/// Smaller chunks fill a segment's slots before its pages.
const SEGMENT_BYTES_PER_SLOT: u64 = 64 << 10;
/// What an entry of the index can count.
const SLOT_COUNT_MAX: u32 = 1 << 16;
pub(super) const RECORD_PAGES_MAX: u32 = (CHUNK_BYTES_MAX / PAGE_BYTES) + 2;
const _: () = assert!(SLOTS_PER_PAGE as usize * SECTOR_SIZE == PAGE_SIZE);
const _: () = assert!(CHUNK_BYTES_MAX.is_multiple_of(PAGE_BYTES));
const _: () =
    assert!(HEAD_PREFIX_SIZE + (CHUNK_BYTES_MAX / BLOCK_SIZE) as usize * HASH_SIZE <= 2 * PAGE_SIZE);

/// How many slots a segment has that is to become about this long.
pub(super) fn slot_count_for(segment_size: u64) -> u32 {
    let count = u32::try_from(segment_size / SEGMENT_BYTES_PER_SLOT).unwrap_or(SLOT_COUNT_MAX);
    count.clamp(1, SLOT_COUNT_MAX).next_multiple_of(SLOTS_PER_PAGE)
}

/// The page where the records of a segment begin.
pub(super) fn first_page(slot_count: u32) -> u32 {
    HEADER_COPIES + slot_count.div_ceil(SLOTS_PER_PAGE)
}

pub(super) fn slot_offset(slot: u32) -> u64 {
    u64::from(HEADER_COPIES) * PAGE + u64::from(slot) * SECTOR
}

/// The pages that the head of a chunk of this length takes. Its bytes follow.
pub(super) fn head_pages(length: u32) -> u32 {
    let size = HEAD_PREFIX_SIZE + length.div_ceil(BLOCK_SIZE) as usize * HASH_SIZE;
    u32::try_from(size.div_ceil(PAGE_SIZE)).expect("a head is one page or two")
}

pub(super) fn record_pages(length: u32) -> u32 {
    head_pages(length) + length.div_ceil(PAGE_BYTES)
}

/// The pages that the head of a record of so many pages takes.
pub(super) fn head_pages_within(record_pages: u32) -> u32 {
    let length_max = record_pages.saturating_sub(1).saturating_mul(PAGE_BYTES);
    head_pages(length_max.min(CHUNK_BYTES_MAX))
}

/// The longest chunk whose record takes so many pages.
pub(super) fn length_within(record_pages: u32) -> u32 {
    record_pages.saturating_sub(head_pages_within(record_pages)).saturating_mul(PAGE_BYTES)
}

/// Whose segment it is, and which use of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) cluster: ClusterId,
    pub(super) replica: ReplicaId,
    pub(super) segment: u32,
    pub(super) salt: u128,
}

impl Address {
    fn checksum(self, offset: u64, covered: &[u8]) -> Checksum {
        let mut place = [0; 45];
        place[..16].copy_from_slice(&self.cluster.get().to_le_bytes());
        place[16] = self.replica.get();
        place[17..21].copy_from_slice(&self.segment.to_le_bytes());
        place[21..37].copy_from_slice(&self.salt.to_le_bytes());
        place[37..].copy_from_slice(&offset.to_le_bytes());
        Checksum::of_parts(&[&place, covered])
    }

    #[cfg(test)]
    pub(super) fn checksum_for_test(self, offset: u64, covered: &[u8]) -> [u8; 16] {
        self.checksum(offset, covered).get().to_le_bytes()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) salt: u128,
    pub(super) slot_count: u32,
    /// The segment before this one, and how many of its slots were in use: all of them were durable
    /// when this header was written. The first segment names itself.
    pub(super) previous: u32,
    pub(super) previous_slots: u32,
}

/// What a copy of a segment header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderCopy {
    /// Never written: the creation of the segment was interrupted.
    Blank,
    Valid(SegmentHeader),
    /// Written by a later release: nothing here may be judged, let alone changed.
    Newer(u32),
    Damaged,
}

/// `address` without a salt.
pub(super) fn encode_header(address: Address, copy: u32, header: &SegmentHeader) -> Vec<u8> {
    let mut out = Encoder::with_capacity(SECTOR_SIZE);
    out.raw(SEGMENT_MAGIC);
    out.u32(VERSION);
    out.u128(address.cluster.get());
    out.u8(address.replica.get());
    out.raw(&[0; 3]);
    out.u32(address.segment);
    out.u128(header.salt);
    out.u32(header.slot_count);
    out.u32(header.previous);
    out.u32(header.previous_slots);
    seal(Address { salt: 0, ..address }, u64::from(copy) * PAGE, out)
}

pub(super) fn decode_header(address: Address, copy: u32, sector: &[u8]) -> HeaderCopy {
    if sector.iter().all(|byte| *byte == 0) {
        return HeaderCopy::Blank;
    }
    let address = Address { salt: 0, ..address };
    let parse = || -> Result<HeaderCopy, DecodeError> {
        let mut input = open_seal(address, u64::from(copy) * PAGE, sector, SEGMENT_MAGIC)?;
        match input.u32("version")? {
            VERSION => {}
            version => return Ok(HeaderCopy::Newer(version)),
        }
        // The checksum has covered these already.
        input.array::<24>("address")?;
        let header = SegmentHeader {
            salt: input.u128("salt")?,
            slot_count: input.u32("slot_count")?,
            previous: input.u32("previous")?,
            previous_slots: input.u32("previous_slots")?,
        };
        let sound = (1..=SLOT_COUNT_MAX).contains(&header.slot_count);
        if sound { Ok(HeaderCopy::Valid(header)) } else { Err(DecodeError::Invalid("slot_count")) }
    };
    parse().unwrap_or(HeaderCopy::Damaged)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotState {
    Live,
    /// Set aside: its bytes were found damaged.
    Quarantined,
    /// Deleted: its pages may be holes. Also the mark of a record that never was whole.
    Dead,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) state: SlotState,
    /// So many slots of this segment, from the first, were durable with their records when this one
    /// was written: only those from there on can have been torn by a crash.
    pub(super) durable: u32,
    pub(super) page: u32,
    pub(super) pages: u32,
    pub(super) chunk: ChunkId,
    pub(super) root: ChunkRoot,
    pub(super) length: u32,
}

impl Slot {
    /// The page after the record.
    pub(super) fn end(&self) -> u32 {
        self.page + self.pages
    }
}

pub(super) fn encode_slot(address: Address, index: u32, slot: &Slot) -> Vec<u8> {
    let mut out = Encoder::with_capacity(SECTOR_SIZE);
    out.raw(SLOT_MAGIC);
    out.u8(match slot.state {
        SlotState::Live => 1,
        SlotState::Quarantined => 2,
        SlotState::Dead => 3,
    });
    out.raw(&[0; 3]);
    out.u32(slot.durable);
    out.u32(slot.page);
    out.u32(slot.pages);
    slot.chunk.encode(&mut out);
    slot.root.encode(&mut out);
    out.u32(slot.length);
    seal(address, slot_offset(index), out)
}

/// None if it is blank, damaged or belongs elsewhere.
pub(super) fn decode_slot(address: Address, index: u32, sector: &[u8]) -> Option<Slot> {
    let parse = || -> Result<Slot, DecodeError> {
        let mut input = open_seal(address, slot_offset(index), sector, SLOT_MAGIC)?;
        let state = match input.u8("state")? {
            1 => SlotState::Live,
            2 => SlotState::Quarantined,
            3 => SlotState::Dead,
            _ => return Err(DecodeError::Invalid("state")),
        };
        input.array::<3>("zero")?;
        Ok(Slot {
            state,
            durable: input.u32("durable")?,
            page: input.u32("page")?,
            pages: input.u32("pages")?,
            chunk: Wire::decode(&mut input, "chunk")?,
            root: Wire::decode(&mut input, "root")?,
            length: input.u32("length")?,
        })
    };
    let slot = parse().ok()?;
    let fits = slot.length <= CHUNK_BYTES_MAX
        && slot.pages <= RECORD_PAGES_MAX
        && slot.page.checked_add(slot.pages).is_some();
    let whole = slot.state == SlotState::Dead || slot.pages == record_pages(slot.length);
    (fits && whole).then_some(slot)
}

/// What stands before the bytes of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) slot: u32,
    pub(super) chunk: ChunkId,
    pub(super) root: ChunkRoot,
    pub(super) outline: Outline,
}

pub(super) fn encode_head(
    address: Address,
    page: u32,
    slot: u32,
    chunk: ChunkId,
    root: &ChunkRoot,
    outline: &Outline,
) -> Vec<u8> {
    let size = head_pages(outline.length) as usize * PAGE_SIZE;
    let mut out = Encoder::with_capacity(size);
    out.u128(0);
    out.raw(HEAD_MAGIC);
    out.u32(slot);
    chunk.encode(&mut out);
    root.encode(&mut out);
    out.u32(outline.length);
    for block in &outline.blocks {
        block.encode(&mut out);
    }
    let mut raw = out.finish();
    let checksum = address.checksum(u64::from(page) * PAGE, &raw[16..]);
    raw[..16].copy_from_slice(&checksum.get().to_le_bytes());
    raw.resize(size, 0);
    raw
}

/// How many pages the head takes that begins with this page, if it looks like one: no word of it is
/// believed before the whole of it fits its checksum.
pub(super) fn head_pages_claimed(page: &[u8]) -> Option<u32> {
    let length = u32::from_le_bytes(*page.get(HEAD_PREFIX_SIZE - 4..)?.first_chunk()?);
    let plausible = page.get(16..20) == Some(HEAD_MAGIC) && (1..=CHUNK_BYTES_MAX).contains(&length);
    plausible.then(|| head_pages(length))
}

/// The head at the beginning of `bytes`, if it is whole and belongs here.
pub(super) fn decode_head(address: Address, page: u32, bytes: &[u8]) -> Option<Head> {
    let length = u32::from_le_bytes(*bytes.get(HEAD_PREFIX_SIZE - 4..)?.first_chunk()?);
    if length > CHUNK_BYTES_MAX {
        return None;
    }
    let block_count = length.div_ceil(BLOCK_SIZE) as usize;
    let covered = bytes.get(16..HEAD_PREFIX_SIZE + block_count * HASH_SIZE)?;
    let checksum = address.checksum(u64::from(page) * PAGE, covered);
    if bytes[..16] != checksum.get().to_le_bytes() || covered[..4] != *HEAD_MAGIC {
        return None;
    }
    let (fields, hashes) = covered.split_at(HEAD_PREFIX_SIZE - 16);
    let parse = || -> Result<(u32, ChunkId, ChunkRoot), DecodeError> {
        let mut input = Decoder::copying(&fields[4..]);
        let slot = input.u32("slot")?;
        Ok((slot, Wire::decode(&mut input, "chunk")?, Wire::decode(&mut input, "root")?))
    };
    let (slot, chunk, root) = parse().ok()?;
    let blocks = hashes.as_chunks::<HASH_SIZE>().0.iter().map(|hash| BlockHash(*hash)).collect();
    let outline = Outline { length, blocks };
    outline.fits(&root, length).then_some(Head { slot, chunk, root, outline })
}

/// A sector that begins with the checksum of the rest.
fn seal(address: Address, offset: u64, content: Encoder) -> Vec<u8> {
    let mut covered = content.finish();
    covered.resize(SECTOR_SIZE - 16, 0);
    let mut raw = address.checksum(offset, &covered).get().to_le_bytes().to_vec();
    raw.extend_from_slice(&covered);
    raw
}

/// What follows the magic number of a sector that is whole and belongs here.
fn open_seal(
    address: Address,
    offset: u64,
    sector: &[u8],
    magic: &'static [u8; 4],
) -> Result<Decoder, DecodeError> {
    let covered = sector.get(16..SECTOR_SIZE).ok_or(DecodeError::Truncated("sector"))?;
    if sector[..16] != address.checksum(offset, covered).get().to_le_bytes() {
        return Err(DecodeError::Invalid("checksum"));
    }
    if covered[..4] != *magic {
        return Err(DecodeError::Invalid("magic"));
    }
    Ok(Decoder::copying(&covered[4..]))
}
