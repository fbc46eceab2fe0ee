//! What one segment's slots and heads say about the records that were appended to it.
//!
//! A group's records and slots are made durable by one sync, so a crash in it leaves any part of
//! either. Each slot says how many before it were durable when it was written, and a segment is
//! begun only when all of the one before is durable: so what a crash can have torn is at the end of
//! the newest segment, is looked at byte by byte, and is settled before anything else is written.
//!
//! | slot            | head    | verdict                                                          |
//! |-----------------|---------|------------------------------------------------------------------|
//! | valid           | any     | what the slot says; if it may be torn: live only if all bytes fit |
//! | blank, damaged  | valid   | live, likewise; the slot is written again                         |
//! | blank, damaged, | invalid | lost if it was durable; else torn, and the slot is marked dead    |
//! | others follow   |         |                                                                  |
//! | blank, damaged, | invalid | the end                                                          |
//! | none follows    |         |                                                                  |

use std::io;

use protocol::catalog::BodyId;
use protocol::data::outline::{BLOCK_SIZE, ChunkRoot};
use protocol::types::SessionId;

use super::CopyId;
use super::format::{
    self, Address, HEADER_COPIES, HeaderCopy, PAGE, PAGE_SIZE, SegmentHeader, Slot, SlotState,
};
use super::index::Place;
use super::reader::{ReadFault, is_damage};
use super::table::Located;
use crate::storage::disk::{DiskFile, SECTOR_SIZE};

/// What a segment of 256 MiB needs for chunks of 4 MiB, in one read.
const SLOTS_PER_READ: u32 = 64;
/// What stands for sectors that the medium cannot return: neither blank nor valid.
const UNREADABLE: u8 = 0xee;

/// The copies of a segment's header.
pub(super) struct Headers {
    copies: Vec<HeaderCopy>,
}

impl Headers {
    pub(super) fn read<F: DiskFile>(file: &F, address: Address) -> io::Result<Headers> {
        let mut copies = Vec::new();
        for copy in 0..HEADER_COPIES {
            let mut sector = [0; SECTOR_SIZE];
            read_or_mark(file, u64::from(copy) * PAGE, &mut sector)?;
            copies.push(match format::decode_header(address, copy, &sector) {
                HeaderCopy::Newer(version) => {
                    let what = format!("segment {} has format version {version}", address.segment);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                other => other,
            });
        }
        Ok(Headers { copies })
    }

    pub(super) fn header(&self) -> Option<SegmentHeader> {
        let valid = |copy: &HeaderCopy| if let HeaderCopy::Valid(it) = copy { Some(*it) } else { None };
        self.copies.iter().find_map(valid)
    }

    /// Writes the copies again that are not what they should be.
    pub(super) fn heal<F: DiskFile>(&self, file: &F, address: Address) -> io::Result<bool> {
        let Some(header) = self.header() else { return Ok(false) };
        let mut healed = false;
        for (copy, found) in (0..).zip(&self.copies) {
            if *found != HeaderCopy::Valid(header) {
                file.write_at(u64::from(copy) * PAGE, &format::encode_header(address, copy, &header))?;
                healed = true;
            }
        }
        Ok(healed)
    }
}

/// Whether nothing can ever have been stored in a segment without a header: its creation, which
/// ends with a sync, was interrupted.
pub(super) fn never_used<F: DiskFile>(file: &F) -> io::Result<bool> {
    let mut slots = vec![0; SLOTS_PER_READ as usize * SECTOR_SIZE];
    read_or_mark(file, format::slot_offset(0), &mut slots)?;
    Ok(slots.iter().all(|byte| *byte == 0))
}

#[derive(Debug)]
pub(super) struct SegmentScan {
    /// By number.
    pub(super) slots: Vec<Found>,
    /// Records that were durable and of which nothing is known any more, not even the name.
    pub(super) lost: u32,
}

#[derive(Debug)]
pub(super) struct Found {
    pub(super) slot: Slot,
    /// The slot on the disk is not this one, and must be written.
    pub(super) changed: bool,
    /// It may be torn and its bytes do not fit.
    pub(super) suspect: bool,
    /// A head that is torn although the bytes are whole, to be written again.
    pub(super) head: Option<Vec<u8>>,
}

impl Found {
    fn sound(slot: Slot) -> Found {
        Found { slot, changed: false, suspect: false, head: None }
    }
}

/// `in_use`: how many slots are in use, if the segment after this one tells. If none does, this may
/// be the newest segment.
pub(super) fn scan<F: DiskFile>(
    file: &F,
    address: Address,
    header: &SegmentHeader,
    in_use: Option<u32>,
    newest: bool,
) -> io::Result<SegmentScan> {
    let mut walk = Walk { file, address, slot_count: header.slot_count, sectors: Vec::new() };
    let end = in_use.unwrap_or(header.slot_count).min(header.slot_count);
    let mut found: Vec<Option<Found>> = Vec::new();
    // Where the next record begins, if the one before it is known.
    let mut page = Some(format::first_page(header.slot_count));
    while found.len() < end as usize {
        let index = index_of(&found);
        let next = match walk.slot(index)? {
            Some(slot) => Some(Found::sound(slot)),
            None => walk.slot_from_head(index, page)?,
        };
        if next.is_none() && in_use.is_none() && !walk.any_valid_after(index)? {
            break;
        }
        page = next.as_ref().filter(|found| found.slot.pages > 0).map(|found| found.slot.end());
        found.push(next);
    }
    let durable = match newest {
        false => header.slot_count,
        true => found.iter().flatten().map(|found| found.slot.durable).max().unwrap_or(0),
    };
    let mut scan = SegmentScan { slots: Vec::new(), lost: 0 };
    for (index, found) in (0..).zip(found) {
        let may_be_torn = index >= durable;
        let found = match found {
            Some(found) if may_be_torn => judge(&walk, index, found)?,
            Some(found) => found,
            None => {
                scan.lost += u32::from(!may_be_torn);
                Found { changed: may_be_torn, ..Found::sound(void()) }
            }
        };
        scan.slots.push(found);
    }
    Ok(scan)
}

/// Looks at all of a record that may have been torn.
fn judge<F: DiskFile>(walk: &Walk<'_, F>, index: u32, mut found: Found) -> io::Result<Found> {
    let slot = &mut found.slot;
    if slot.state != SlotState::Live {
        return Ok(found);
    }
    let copy = copy_of(walk.address.segment, index, slot);
    let located = Located { copy, address: walk.address, file: walk.file.clone() };
    match located.read(&slot.root, 0, slot.length.div_ceil(BLOCK_SIZE)) {
        Ok(read) if located.head()?.is_none() => {
            let outline = &read.outline;
            let head = format::encode_head(walk.address, slot.page, index, slot.chunk, &slot.root, outline);
            found.head = Some(head);
        }
        Ok(_) => {}
        Err(ReadFault::Io(error)) => return Err(error),
        Err(ReadFault::Absent | ReadFault::Damaged(_)) => {
            slot.state = SlotState::Quarantined;
            (found.changed, found.suspect) = (true, true);
        }
    }
    Ok(found)
}

/// The slot of a record that never was.
fn void() -> Slot {
    Slot {
        state: SlotState::Dead,
        durable: 0,
        page: 0,
        pages: 0,
        chunk: BodyId { session: SessionId::new(0), upload: 0 }.chunk(0),
        root: ChunkRoot([0; 32]),
        length: 0,
    }
}

/// Reads slots in their order, some ahead.
struct Walk<'a, F> {
    file: &'a F,
    address: Address,
    slot_count: u32,
    sectors: Vec<u8>,
}

impl<F: DiskFile> Walk<'_, F> {
    /// None if it is blank or damaged.
    fn slot(&mut self, index: u32) -> io::Result<Option<Slot>> {
        let start = index as usize * SECTOR_SIZE;
        while self.sectors.len() <= start {
            let first = u32::try_from(self.sectors.len() / SECTOR_SIZE).expect("counted by 32 bits");
            let count = SLOTS_PER_READ.min(self.slot_count - first);
            self.sectors.resize(self.sectors.len() + count as usize * SECTOR_SIZE, 0);
            let piece = first as usize * SECTOR_SIZE..;
            read_or_mark(self.file, format::slot_offset(first), &mut self.sectors[piece])?;
        }
        Ok(format::decode_slot(self.address, index, &self.sectors[start..start + SECTOR_SIZE]))
    }

    /// Whether a valid slot follows soon: a group that is torn is not longer than this, or its end
    /// is found from its heads.
    fn any_valid_after(&mut self, index: u32) -> io::Result<bool> {
        for later in (index + 1..self.slot_count).take(SLOTS_PER_READ as usize) {
            if self.slot(later)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the slot must have said, by the head of the record.
    fn slot_from_head(&self, index: u32, page: Option<u32>) -> io::Result<Option<Found>> {
        let Some(page) = page else { return Ok(None) };
        let mut raw = vec![0; PAGE_SIZE];
        read_or_mark(self.file, u64::from(page) * PAGE, &mut raw)?;
        let Some(pages) = format::head_pages_claimed(&raw) else { return Ok(None) };
        raw.resize(pages as usize * PAGE_SIZE, 0);
        read_or_mark(self.file, u64::from(page) * PAGE, &mut raw)?;
        let head = format::decode_head(self.address, page, &raw).filter(|head| head.slot == index);
        Ok(head.map(|head| {
            let length = head.outline.length;
            let slot = Slot {
                state: SlotState::Live,
                durable: 0,
                page,
                pages: format::record_pages(length),
                chunk: head.chunk,
                root: head.root,
                length,
            };
            Found { changed: true, ..Found::sound(slot) }
        }))
    }
}

/// The name of the copy that a slot is about.
pub(super) fn copy_of(segment: u32, index: u32, slot: &Slot) -> CopyId {
    let narrow = "slots and pages of a record are counted by 16 bits";
    CopyId { chunk: slot.chunk, place: place_of(segment, index, slot.page, slot.pages).expect(narrow) }
}

/// None if no record can be there.
pub(super) fn place_of(segment: u32, slot: u32, page: u32, pages: u32) -> Option<Place> {
    Some(Place { segment, page, slot: slot.try_into().ok()?, pages: pages.try_into().ok()? })
}

/// Fills `out`; sectors that cannot be read, in a way that nothing accepts them; what is behind the
/// end of the file, with zeros.
fn read_or_mark<F: DiskFile>(file: &F, offset: u64, out: &mut [u8]) -> io::Result<()> {
    match file.read_at(offset, out) {
        Err(error) if is_damage(&error) => {}
        other => return other,
    }
    for (index, sector) in out.chunks_mut(SECTOR_SIZE).enumerate() {
        match file.read_at(offset + (index * SECTOR_SIZE) as u64, sector) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => sector.fill(0),
            Err(error) if is_damage(&error) => sector.fill(UNREADABLE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn index_of(found: &[Option<Found>]) -> u32 {
    u32::try_from(found.len()).expect("slots are counted by 16 bits")
}

/// Runs of pages between the first record and the last that no record uses.
pub(super) fn gaps(first_page: u32, slots: &[Found]) -> Vec<(u32, u32)> {
    let mut used: Vec<(u32, u32)> = Vec::new();
    let mut last = first_page;
    for Found { slot, .. } in slots {
        last = last.max(slot.end());
        if slot.state != SlotState::Dead {
            used.push((slot.page, slot.end()));
        }
    }
    used.push((last, last));
    used.sort_unstable();
    let mut gaps = Vec::new();
    let mut page = first_page;
    for (start, end) in used {
        if start > page {
            gaps.push((page, start));
        }
        page = page.max(end);
    }
    gaps
}
