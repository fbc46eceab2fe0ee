//! Reading: by any number of threads at once, while chunks are appended and deleted.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use protocol::catalog::ChunkId;
use protocol::data::outline::{BLOCK_SIZE, ChunkRoot, Outline};

use super::CopyId;
use super::format::{self, Head, PAGE, PAGE_SIZE, Slot};
use super::index::Place;
use super::table::{Located, Shared};
use crate::storage::disk::{Disk, DiskFile, SECTOR_SIZE, is_unreadable};

/// Sees everything that is durable, and nothing else. Clones are cheap.
#[derive(Debug)]
pub struct ChunkReader<D: Disk> {
    shared: Arc<Shared<D>>,
}

/// A copy that is durable here. Whether its bytes are still sound only a read can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub root: ChunkRoot,
    pub length: u32,
    pub copy: CopyId,
}

/// Blocks that were verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBlocks {
    pub outline: Outline,
    pub bytes: Bytes,
}

#[derive(Debug)]
pub enum ReadFault {
    /// No such blocks of a chunk with this name and this root are here, but for copies that were set
    /// aside.
    Absent,
    /// The bytes are not what was stored. The copy should be set aside, and replaced.
    Damaged(CopyId),
    /// Not about the bytes: the process must end.
    Io(io::Error),
}

impl From<io::Error> for ReadFault {
    fn from(error: io::Error) -> ReadFault {
        ReadFault::Io(error)
    }
}

/// What there is of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub chunk: ChunkId,
    /// A copy that is served.
    pub served: bool,
    /// Copies that were set aside.
    pub quarantined: bool,
}

impl<D: Disk> Clone for ChunkReader<D> {
    fn clone(&self) -> ChunkReader<D> {
        ChunkReader { shared: self.shared.clone() }
    }
}

impl<D: Disk> ChunkReader<D> {
    pub(super) fn new(shared: Arc<Shared<D>>) -> ChunkReader<D> {
        ChunkReader { shared }
    }

    /// Whether a receipt may be given. Reads a sector, not the chunk.
    pub fn find(&self, chunk: ChunkId) -> Result<Stored, ReadFault> {
        self.look(chunk, |located| located.describe())
    }

    /// Blocks `first..first + count`, or as many of them as there are. Every one fits the root.
    pub fn read(
        &self,
        chunk: ChunkId,
        root: &ChunkRoot,
        first: u32,
        count: u32,
    ) -> Result<ReadBlocks, ReadFault> {
        self.look(chunk, |located| located.read(root, first, count))
    }

    /// Verifies all of the copy that is served, as the medium has it.
    pub fn scrub(&self, chunk: ChunkId) -> Result<Stored, ReadFault> {
        self.look(chunk, |located| located.scrub())
    }

    /// The next chunks in their order, those with nothing but copies set aside among them.
    pub fn walk(&self, after: Option<ChunkId>, limit: usize) -> Vec<Held> {
        let table = self.shared.table();
        let served = table.index.after(after).map(|(chunk, _)| chunk).take(limit);
        let aside = table.quarantined.keys().copied().filter(|it| after.is_none_or(|after| *it > after));
        let mut chunks: Vec<ChunkId> = served.chain(aside.take(limit)).collect();
        chunks.sort_unstable();
        chunks.dedup();
        let held = chunks.into_iter().take(limit).map(|chunk| Held {
            chunk,
            served: table.index.get(chunk).is_some(),
            quarantined: table.quarantined.contains_key(&chunk),
        });
        held.collect()
    }

    /// Chunks that are served.
    pub fn chunk_count(&self) -> u64 {
        self.shared.table().index.len()
    }

    /// Chunks of which copies were set aside.
    pub fn quarantined_count(&self) -> u64 {
        self.shared.table().quarantined.len() as u64
    }

    /// What the segments take on the disk.
    pub fn used_bytes(&self) -> u64 {
        self.shared.table().used_bytes()
    }

    /// Looks at the copy that is served. If it is deleted meanwhile, what was seen of it does not
    /// count: its pages may have become a hole in the middle of the read.
    fn look<T>(
        &self,
        chunk: ChunkId,
        look: impl Fn(&Located<D::File>) -> Result<T, ReadFault>,
    ) -> Result<T, ReadFault> {
        let place_now = || self.shared.table().index.get(chunk);
        let mut place = place_now();
        loop {
            let Some(seen) = place else { return Err(ReadFault::Absent) };
            let copy = CopyId { chunk, place: seen };
            let outcome = match self.shared.open_copy(copy) {
                Ok(Some(located)) => look(&located),
                // The whole file was lost.
                Ok(None) => Err(ReadFault::Damaged(copy)),
                Err(error) => Err(ReadFault::Io(error)),
            };
            place = place_now();
            if outcome.is_ok() || place == Some(seen) {
                return outcome;
            }
        }
    }
}

impl<F: DiskFile> Located<F> {
    /// What the slot says; if it cannot be read, what the head says.
    fn describe(&self) -> Result<Stored, ReadFault> {
        if let Some(slot) = self.slot()? {
            return Ok(self.stored(slot.root, slot.length));
        }
        let head = self.head()?.ok_or(ReadFault::Damaged(self.copy))?;
        Ok(self.stored(head.root, head.outline.length))
    }

    pub(super) fn read(&self, root: &ChunkRoot, first: u32, count: u32) -> Result<ReadBlocks, ReadFault> {
        let Some(Head { root: stored, outline, .. }) = self.head()? else {
            return self.read_without_head(root, first, count);
        };
        if stored != *root {
            return Err(ReadFault::Absent);
        }
        let (start, end) = range(&outline, first, count)?;
        let offset = self.bytes_offset(outline.length) + start as u64;
        let bytes = self.bytes(offset, end - start)?;
        if !outline.verifies(first, &bytes) {
            return Err(ReadFault::Damaged(self.copy));
        }
        Ok(ReadBlocks { outline, bytes: bytes.into() })
    }

    /// The hashes are lost, but they follow from the bytes: if those fit the root, all is well.
    fn read_without_head(&self, root: &ChunkRoot, first: u32, count: u32) -> Result<ReadBlocks, ReadFault> {
        let slot = self.slot()?.ok_or(ReadFault::Damaged(self.copy))?;
        if slot.root != *root {
            return Err(ReadFault::Absent);
        }
        let bytes = self.bytes(self.bytes_offset(slot.length), slot.length as usize)?;
        let outline = Outline::of(&bytes);
        if !outline.fits(root, slot.length) {
            return Err(ReadFault::Damaged(self.copy));
        }
        let (start, end) = range(&outline, first, count)?;
        Ok(ReadBlocks { outline, bytes: Bytes::from(bytes).slice(start..end) })
    }

    pub(super) fn scrub(&self) -> Result<Stored, ReadFault> {
        let damaged = || ReadFault::Damaged(self.copy);
        let place = self.copy.place;
        let slot_offset = format::slot_offset(place.slot.into());
        let slots = self.direct(slot_offset / PAGE * PAGE, PAGE_SIZE)?;
        let within = usize::try_from(slot_offset % PAGE).expect("less than a page");
        let sector = &slots[within..within + SECTOR_SIZE];
        let slot = format::decode_slot(self.address, place.slot.into(), sector).ok_or_else(damaged)?;
        let head_size = format::head_pages(slot.length) as usize * PAGE_SIZE;
        let head = self.direct(u64::from(place.page) * PAGE, head_size)?;
        let head = format::decode_head(self.address, place.page, &head).ok_or_else(damaged)?;
        let agree = slot.chunk == self.copy.chunk
            && head.chunk == self.copy.chunk
            && head.root == slot.root
            && head.outline.length == slot.length;
        let bytes = self.direct(self.bytes_offset(slot.length), slot.length as usize)?;
        match agree && head.outline.verifies(0, &bytes) {
            true => Ok(self.stored(slot.root, slot.length)),
            false => Err(damaged()),
        }
    }

    fn bytes(&self, offset: u64, size: usize) -> Result<Vec<u8>, ReadFault> {
        self.judge(self.file.read_vec_at(offset, size))
    }

    fn direct(&self, offset: u64, size: usize) -> Result<Bytes, ReadFault> {
        self.judge(self.file.read_direct_at(offset, size))
    }

    fn judge<T>(&self, read: io::Result<T>) -> Result<T, ReadFault> {
        match read {
            Ok(bytes) => Ok(bytes),
            Err(error) if is_damage(&error) => Err(ReadFault::Damaged(self.copy)),
            Err(error) => Err(error.into()),
        }
    }

    /// None if it cannot be read, or is not that of this copy.
    pub(super) fn slot(&self) -> io::Result<Option<Slot>> {
        let Place { slot: index, page, .. } = self.copy.place;
        let mut sector = [0; SECTOR_SIZE];
        let read = self.file.read_at(format::slot_offset(index.into()), &mut sector);
        if !is_readable(read)? {
            return Ok(None);
        }
        let slot = format::decode_slot(self.address, index.into(), &sector);
        Ok(slot.filter(|slot| slot.chunk == self.copy.chunk && slot.page == page))
    }

    /// None if it cannot be read, or is not that of this copy.
    pub(super) fn head(&self) -> io::Result<Option<Head>> {
        let Place { slot, page, pages, .. } = self.copy.place;
        let mut raw = vec![0; format::head_pages_within(pages.into()) as usize * PAGE_SIZE];
        let read = self.file.read_at(u64::from(page) * PAGE, &mut raw);
        if !is_readable(read)? {
            return Ok(None);
        }
        let head = format::decode_head(self.address, page, &raw);
        Ok(head.filter(|head| head.chunk == self.copy.chunk && head.slot == u32::from(slot)))
    }

    fn bytes_offset(&self, length: u32) -> u64 {
        u64::from(self.copy.place.page + format::head_pages(length)) * PAGE
    }

    fn stored(&self, root: ChunkRoot, length: u32) -> Stored {
        Stored { root, length, copy: self.copy }
    }
}

/// The medium cannot return the bytes, or the file has become too short for them.
pub(super) fn is_damage(error: &io::Error) -> bool {
    is_unreadable(error) || error.kind() == io::ErrorKind::UnexpectedEof
}

/// Whether a read returned bytes. Damage is an answer; any other error is not.
fn is_readable(read: io::Result<()>) -> io::Result<bool> {
    match read {
        Ok(()) => Ok(true),
        Err(error) if is_damage(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where these blocks are within the chunk.
fn range(outline: &Outline, first: u32, count: u32) -> Result<(usize, usize), ReadFault> {
    if count == 0 || outline.block_length(first).is_none() {
        return Err(ReadFault::Absent);
    }
    let end = u64::from(first.saturating_add(count)) * u64::from(BLOCK_SIZE);
    let end = end.min(outline.length.into());
    let index = |number: u64| usize::try_from(number).expect("a chunk fits in memory");
    Ok((index(u64::from(first) * u64::from(BLOCK_SIZE)), index(end)))
}
