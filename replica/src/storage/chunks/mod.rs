//! The chunk store: the bytes of large objects, in segment files that are only ever appended to.
//!
//! ```text
//!  append ─▶ head and bytes written ──▶ commit_group: slots written, one sync ──▶ receipts
//!  quarantine, delete ─▶ the slot is overwritten, sync ──▶ no longer served, space given back
//!  ChunkReader: find, read, scrub, walk; from any thread
//! ```
//!
//! Slots stand together at the front of a segment: opening reads them and no record. A slot is
//! overwritten in place, which takes no space: deleting works on a disk that is full. It is the only
//! thing that is ever overwritten; should that be torn, the record's head tells what it said.
//!
//! A record that a crash may have torn is looked at when the store is opened. One that is not whole
//! is set aside like any bad copy, because nobody can tell a torn record from a rotten one: whoever
//! asked for a receipt in vain asks again or somebody else, and the catalog knows what is dead.
//!
//! Memory: about 36 bytes for each chunk, 50 for each segment, a hundred for each copy set aside; no
//! buffers. 10 million chunks take less than 400 MB.

mod files;
mod format;
mod index;
mod open;
mod reader;
mod scan;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use protocol::canary::{Canary, planted};
use protocol::catalog::ChunkId;
use protocol::data::outline::{CHUNK_BYTES_MAX, ChunkRoot, Outline};

use super::disk::{Disk, DiskFile, PAGE_SIZE, PageBuffer};
use format::{Address, PAGE, SegmentHeader, Slot, SlotState};
use index::Place;
pub use open::OpenReport;
pub use reader::{ChunkReader, Held, ReadBlocks, ReadFault, Stored};
use table::{Located, Shared};

#[derive(Clone, Copy, Debug)]
pub struct ChunkOptions {
    /// A segment is left for the next one when a record would make it longer. What one larger
    /// record makes of it, it may become.
    pub segment_size: u64,
    /// Space that appending leaves free: for the log, for checkpoints, and for deleting.
    pub reserve_bytes: u64,
    pub open_files_max: usize,
    /// Random, and another one at each start.
    pub salt: u128,
}

impl ChunkOptions {
    pub const SEGMENT_SIZE: u64 = 256 << 20;
    pub const OPEN_FILES_MAX: usize = 256;
}

/// A chunk whose bytes fit its root: verified wherever there is a thread for it, before it comes to
/// the one that writes.
#[derive(Clone, Debug)]
pub struct VerifiedChunk {
    chunk: ChunkId,
    root: ChunkRoot,
    outline: Outline,
    bytes: Bytes,
}

impl VerifiedChunk {
    /// None if the bytes are not those of the root, or no chunk has so many.
    pub fn new(chunk: ChunkId, root: ChunkRoot, bytes: Bytes) -> Option<VerifiedChunk> {
        if bytes.len() > CHUNK_BYTES_MAX as usize {
            return None;
        }
        let outline = Outline::of(&bytes);
        let fits = outline.fits(&root, outline.length);
        fits.then_some(VerifiedChunk { chunk, root, outline, bytes })
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// One copy of a chunk, and no other that may come in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyId {
    chunk: ChunkId,
    place: Place,
}

#[derive(Debug)]
pub enum AppendError {
    /// Only the reserve is left. Nothing was stored; everything else goes on.
    Full,
    /// The name has another content here. Nothing was stored.
    Conflict(ChunkRoot),
    /// The process must end.
    Io(io::Error),
}

/// Records of at least this size are written around the page cache, where they would only displace what
/// is read. Smaller ones wait there for the sync of their group.
const DIRECT_BYTES_MIN: usize = 256 << 10;

/// The one writer. Its readers may be anywhere.
pub struct ChunkStore<D: Disk> {
    disk: D,
    options: ChunkOptions,
    shared: Arc<Shared<D>>,
    reader: ChunkReader<D>,
    active: Option<Active<D::File>>,
    number_next: u32,
    /// What the next segment says of the one before it.
    previous: Option<(u32, u32)>,
    /// Written, not durable: the slots from `active.durable` on.
    pending: Vec<Slot>,
    pending_names: BTreeMap<ChunkId, usize>,
    /// Durable, to be reported by the next group.
    owed: BTreeSet<ChunkId>,
    /// Where a large record is put together.
    pages: PageBuffer,
    failed: bool,
}

/// The segment that is written. Each start begins a new one: what a crash left behind the end of
/// another is never written over.
struct Active<F> {
    file: F,
    address: Address,
    slot_count: u32,
    /// Slots that are durable with their records.
    durable: u32,
    page_next: u32,
}

impl<D: Disk> ChunkStore<D> {
    pub fn reader(&self) -> ChunkReader<D> {
        self.reader.clone()
    }

    /// Writes a chunk. It is not durable, and nobody sees it, before `commit_group`.
    ///
    /// A chunk that is here with the same root is not written again, but reported with the group.
    pub fn append(&mut self, new: &VerifiedChunk) -> Result<(), AppendError> {
        self.check_not_failed().map_err(AppendError::Io)?;
        if self.is_here(new)? {
            return Ok(());
        }
        let pages = format::record_pages(new.outline.length);
        self.check_space(pages)?;
        if !self.has_room(pages) {
            self.settle().map_err(AppendError::Io)?;
            // Of a segment that could not be created, and of a record that could not be written,
            // nothing is pointed to: the next attempt comes in its place.
            self.begin_segment().map_err(|error| self.full_or_fatal(error))?;
        }
        let slot = self.write_record(new, pages).map_err(|error| self.full_or_fatal(error))?;
        self.pending_names.insert(new.chunk, self.pending.len());
        self.pending.push(slot);
        Ok(())
    }

    /// Makes everything durable that was appended, and says what is: only now may a receipt be given.
    ///
    /// After an error nothing more can be known about the disk without reading it again: the process
    /// must end, and further calls fail.
    pub fn commit_group(&mut self) -> io::Result<Vec<ChunkId>> {
        self.check_not_failed()?;
        self.settle()?;
        let owed = std::mem::take(&mut self.owed);
        let table = self.shared.table();
        // What was deleted or set aside since it was appended is not here any more.
        Ok(owed.into_iter().filter(|chunk| table.index.get(*chunk).is_some()).collect())
    }

    /// Sets a copy aside that was found damaged: it is not served any more, but kept until it is
    /// deleted, and the chunk may be stored anew. False if the copy is not served anyway, perhaps
    /// because a better one has come in its place.
    pub fn quarantine(&mut self, copy: CopyId) -> io::Result<bool> {
        self.check_not_failed()?;
        if self.shared.table().index.get(copy.chunk) != Some(copy.place) {
            return Ok(false);
        }
        let marked = self.mark(&[copy], SlotState::Quarantined);
        self.fatal(marked)?;
        self.shared.table().quarantine(copy);
        Ok(true)
    }

    /// Deletes all copies of these chunks and gives their space back. A chunk that was appended and
    /// is not yet durable is not here to be deleted.
    pub fn delete(&mut self, chunks: &[ChunkId]) -> io::Result<()> {
        self.delete_copies(chunks, true)
    }

    /// Deletes the copies of these chunks that were set aside, and keeps those that are served.
    pub fn delete_quarantined(&mut self, chunks: &[ChunkId]) -> io::Result<()> {
        self.delete_copies(chunks, false)
    }

    fn delete_copies(&mut self, chunks: &[ChunkId], served_too: bool) -> io::Result<()> {
        self.check_not_failed()?;
        let mut by_segment: BTreeMap<u32, BTreeSet<CopyId>> = BTreeMap::new();
        {
            let table = self.shared.table();
            for chunk in chunks.iter().copied() {
                let served = table.index.get(chunk).filter(|_| served_too);
                let aside = table.quarantined.get(&chunk).into_iter().flatten().copied();
                for place in aside.chain(served) {
                    by_segment.entry(place.segment).or_default().insert(CopyId { chunk, place });
                }
            }
        }
        let mut emptied = Vec::new();
        for (number, copies) in by_segment {
            let copies: Vec<CopyId> = copies.into_iter().collect();
            let deleted = self.delete_in_segment(number, &copies);
            self.fatal(deleted)?;
            emptied.push(number);
        }
        let removed = self.remove_dead_segments(&emptied);
        self.fatal(removed)
    }

    /// The marks are durable before the bytes go: a crash must not leave a chunk that is listed and
    /// whose bytes are gone.
    fn delete_in_segment(&self, number: u32, copies: &[CopyId]) -> io::Result<()> {
        self.mark(copies, SlotState::Dead)?;
        {
            let mut table = self.shared.table();
            copies.iter().for_each(|copy| table.remove(*copy));
        }
        if let Some(file) = self.shared.files.get(number)? {
            for CopyId { place, .. } in copies {
                file.punch_hole(u64::from(place.page) * PAGE, u64::from(place.pages) * PAGE)?;
            }
        }
        Ok(())
    }

    /// Overwrites the slots of copies in one segment, durably.
    fn mark(&self, copies: &[CopyId], state: SlotState) -> io::Result<()> {
        let mut file = None;
        for copy in copies {
            // Nothing is to be marked in a file that was lost.
            let Some(located) = self.shared.open_copy(*copy)? else { return Ok(()) };
            let slot = Slot { state, ..slot_of(&located)? };
            let index = u32::from(copy.place.slot);
            let raw = format::encode_slot(located.address, index, &slot);
            located.file.write_at(format::slot_offset(index), &raw)?;
            file = Some(located.file);
        }
        file.map_or(Ok(()), |file| file.sync())
    }

    /// Of these segments, removes those in which everything is dead.
    fn remove_dead_segments(&self, numbers: &[u32]) -> io::Result<()> {
        let mut removed = false;
        for number in numbers.iter().copied().filter(|number| !self.is_active(*number)) {
            {
                let mut table = self.shared.table();
                if table.segments.get(&number).is_none_or(|segment| segment.records > 0) {
                    continue;
                }
                table.remove_segment(number);
            }
            self.shared.files.forget(number);
            self.disk.remove(&files::name(number))?;
            removed = true;
        }
        if removed { self.disk.sync_names() } else { Ok(()) }
    }

    fn is_active(&self, number: u32) -> bool {
        self.active.as_ref().is_some_and(|active| active.address.segment == number)
    }

    /// Whether the chunk needs no writing.
    fn is_here(&mut self, new: &VerifiedChunk) -> Result<bool, AppendError> {
        let pending = self.pending_names.get(&new.chunk).map(|index| self.pending[*index].root);
        let root = match pending {
            Some(root) => root,
            None => match self.reader.find(new.chunk) {
                Ok(stored) => stored.root,
                Err(ReadFault::Absent) => return Ok(false),
                Err(ReadFault::Damaged(copy)) => {
                    // Not even what it was can be read. Here comes a better one.
                    self.quarantine(copy).map_err(AppendError::Io)?;
                    return Ok(false);
                }
                Err(ReadFault::Io(error)) => return Err(AppendError::Io(error)),
            },
        };
        if root != new.root {
            return Err(AppendError::Conflict(root));
        }
        self.owed.insert(new.chunk);
        Ok(true)
    }

    fn check_space(&self, pages: u32) -> Result<(), AppendError> {
        let fixed_pages = match self.has_room(pages) {
            true => 0,
            false => format::first_page(format::slot_count_for(self.options.segment_size)),
        };
        let needed = u64::from(pages + fixed_pages) * PAGE;
        let available = self.disk.available().map_err(AppendError::Io)?;
        if available < self.options.reserve_bytes.saturating_add(needed) {
            return Err(AppendError::Full);
        }
        Ok(())
    }

    fn has_room(&self, pages: u32) -> bool {
        let Some(active) = &self.active else { return false };
        let slots = active.durable as usize + self.pending.len();
        let is_empty = slots == 0;
        let end = u64::from(active.page_next) + u64::from(pages);
        slots < active.slot_count as usize && (is_empty || end * PAGE <= self.options.segment_size)
    }

    /// All of the present segment is durable by now: only the newest can ever have a torn end.
    fn begin_segment(&mut self) -> io::Result<()> {
        assert!(self.pending.is_empty());
        let number = self.number_next;
        let mut salt = [0; 16];
        let mut hasher = blake3::Hasher::new_derive_key("viewstone 1 salt of a chunk segment");
        hasher.update(&self.options.salt.to_le_bytes());
        hasher.update(&number.to_le_bytes());
        hasher.finalize_xof().fill(&mut salt);
        let before = self.active.as_ref().map(|active| (active.address.segment, active.durable));
        let (previous, previous_slots) = before.or(self.previous).unwrap_or((number, 0));
        let header = SegmentHeader {
            salt: u128::from_le_bytes(salt),
            slot_count: format::slot_count_for(self.options.segment_size),
            previous,
            previous_slots,
        };
        let address = self.shared.address(number, header.salt);
        let file = files::create(&self.disk, address, &header)?;
        let page_next = format::first_page(header.slot_count);
        self.shared.table().add_segment(number, header.salt, page_next);
        self.shared.files.set_written(number, file.clone());
        self.active = Some(Active { file, address, slot_count: header.slot_count, durable: 0, page_next });
        self.number_next = number.saturating_add(1);
        self.remove_dead_segments(&[previous])
    }

    fn write_record(&mut self, new: &VerifiedChunk, pages: u32) -> io::Result<Slot> {
        let active = self.active.as_mut().expect("there is room, so there is a segment");
        let index = u32::try_from(active.durable as usize + self.pending.len()).expect("a slot's number");
        let (page, length) = (active.page_next, new.outline.length);
        let head = format::encode_head(active.address, page, index, new.chunk, &new.root, &new.outline);
        if new.bytes.len() >= DIRECT_BYTES_MIN {
            self.pages.begin(head.len().next_multiple_of(PAGE_SIZE) + new.bytes.len());
            self.pages.push_pages(&head);
            self.pages.push_pages(&new.bytes);
            active.file.write_direct_at(u64::from(page) * PAGE, &self.pages)?;
        } else {
            active.file.write_at(u64::from(page) * PAGE, &head)?;
            active.file.write_at(u64::from(page + format::head_pages(length)) * PAGE, &new.bytes)?;
        }
        active.page_next += pages;
        Ok(Slot {
            state: SlotState::Live,
            durable: active.durable,
            page,
            pages,
            chunk: new.chunk,
            root: new.root,
            length,
        })
    }

    /// Makes durable what is pending, and serves it from now on.
    fn settle(&mut self) -> io::Result<()> {
        let Some(active) = self.active.as_mut().filter(|_| !self.pending.is_empty()) else {
            return Ok(());
        };
        let numbered = || (active.durable..).zip(&self.pending);
        let slots: Vec<u8> =
            numbered().flat_map(|(index, slot)| format::encode_slot(active.address, index, slot)).collect();
        let written = active.file.write_at(format::slot_offset(active.durable), &slots);
        let sync = || if planted(Canary::ReceiptBeforeSync) { Ok(()) } else { active.file.sync() };
        if let Err(error) = written.and_then(|()| sync()) {
            self.failed = true;
            return Err(error);
        }
        let mut table = self.shared.table();
        for (index, slot) in numbered() {
            let CopyId { chunk, place } = scan::copy_of(active.address.segment, index, slot);
            table.add(chunk, place);
            self.owed.insert(chunk);
        }
        active.durable += u32::try_from(self.pending.len()).expect("slots are counted by 16 bits");
        self.pending.clear();
        self.pending_names.clear();
        Ok(())
    }

    fn check_not_failed(&self) -> io::Result<()> {
        match self.failed {
            true => Err(io::Error::other("an earlier write of the chunk store failed")),
            false => Ok(()),
        }
    }

    fn fatal<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        self.failed |= outcome.is_err();
        outcome
    }

    fn full_or_fatal(&mut self, error: io::Error) -> AppendError {
        if error.kind() == io::ErrorKind::StorageFull {
            return AppendError::Full;
        }
        self.failed = true;
        AppendError::Io(error)
    }
}

/// What the slot of a copy says, or must have said.
fn slot_of<F: DiskFile>(located: &Located<F>) -> io::Result<Slot> {
    if let Some(slot) = located.slot()? {
        return Ok(slot);
    }
    let CopyId { chunk, place } = located.copy;
    let (root, length) = match located.head()? {
        Some(head) => (head.root, head.outline.length),
        // Nothing of it can be read any more but where it is.
        None => (ChunkRoot([0; 32]), format::length_within(place.pages.into())),
    };
    let (page, pages) = (place.page, place.pages.into());
    Ok(Slot { state: SlotState::Live, durable: 0, page, pages, chunk, root, length })
}
