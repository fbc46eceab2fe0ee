//! The little that storage asks of a disk: a flat directory of files, written at offsets, with the
//! moment of durability in the caller's hands.

mod memory_disk;
mod real_disk;
mod simulated_disk;

use std::fmt::Debug;
use std::io;

use bytes::Bytes;

pub use memory_disk::{MemoryDisk, MemoryFile};
pub use real_disk::{RealDisk, RealFile};
pub use simulated_disk::{Damage, DamageKind, SimulatedDisk, SimulatedFile};

/// The unit that a disk writes or loses as a whole. Whatever is durable never shares one with
/// something that is being written.
pub const SECTOR_SIZE: usize = 512;
pub const SECTOR: u64 = SECTOR_SIZE as u64;

/// A directory. Clones share it.
pub trait Disk: Clone + Debug + Send + Sync + 'static {
    type File: DiskFile;

    fn names(&self) -> io::Result<Vec<String>>;

    /// None if there is no such file. Whatever can be read after opening is durable, unless this
    /// process wrote it.
    fn open(&self, name: &str) -> io::Result<Option<Self::File>>;

    /// As `open`, for a file that this process opened or created before: what is cached of it stays.
    fn reopen(&self, name: &str) -> io::Result<Option<Self::File>>;

    /// A new, empty file. Its name is durable only after `sync_names`.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Forgets a file, durably only after `sync_names`. No such file is not an error.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all creations and removals so far durable.
    fn sync_names(&self) -> io::Result<()>;

    /// Bytes that there are in all, whoever has them.
    fn size(&self) -> io::Result<u64>;

    /// Bytes that can still be written. Others write too: a hint, not a promise.
    fn available(&self) -> io::Result<u64>;
}

/// An open file. Clones share it.
pub trait DiskFile: Clone + Debug + Send + Sync + 'static {
    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `out`; an error if the file ends before.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// `size` bytes; an error if the file ends before. Costs less than `read_at` where memory need not be
    /// cleared only to be overwritten.
    fn read_vec_at(&self, offset: u64, size: usize) -> io::Result<Vec<u8>> {
        let mut out = vec![0; size];
        self.read_at(offset, &mut out)?;
        Ok(out)
    }

    /// `size` bytes as the medium has them, around the page cache: what was just written, or is often
    /// read, is verified where it has to survive, and nothing that is hot is pushed out for it.
    /// `offset` is a multiple of 4 KiB.
    fn read_direct_at(&self, offset: u64, size: usize) -> io::Result<Bytes>;

    /// Writes all of `data`, extending the file if needed.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Writes whole pages, which nobody will soon read again, without giving them room in the page
    /// cache where that is possible. Not durable before `sync`, like any other write.
    fn write_direct_at(&self, offset: u64, pages: &PageBuffer) -> io::Result<()> {
        self.write_at(offset, pages.bytes())
    }

    /// Cuts the file, or extends it by zeros that take no space.
    fn set_len(&self, size: u64) -> io::Result<()>;

    /// Makes the file `size` zero bytes that truly take their space, so that writing them later
    /// cannot run out of it and a sync need not touch anything but data.
    fn allocate(&self, size: u64) -> io::Result<()>;

    /// Gives back the space of this range, which reads as zeros from then on. Both are multiples of
    /// 4 KiB. Where the file system cannot, the bytes stay: nobody may rely on the zeros.
    fn punch_hole(&self, offset: u64, size: u64) -> io::Result<()>;

    /// Makes all writes to this file so far durable, its length included.
    fn sync(&self) -> io::Result<()>;
}

/// What direct I/O wants its memory, offsets and sizes to be multiples of.
pub const PAGE_SIZE: usize = 4096;

/// Whole pages in memory that lies as direct I/O wants it. Used again and again: fresh memory costs as
/// much as what is copied into it.
#[derive(Debug, Default)]
pub struct PageBuffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl PageBuffer {
    /// Forgets what is there, and makes room for so many bytes.
    pub fn begin(&mut self, size: usize) {
        let needed = size.next_multiple_of(PAGE_SIZE) + PAGE_SIZE;
        if self.memory.len() < needed {
            self.memory = vec![0; needed];
        }
        self.start = self.memory.as_ptr().align_offset(PAGE_SIZE);
        self.length = 0;
    }

    /// Adds bytes, and zeros up to the end of the page.
    ///
    /// # Panics
    /// If there is no room for them.
    pub fn push_pages(&mut self, bytes: &[u8]) {
        let from = self.start + self.length;
        let padded = bytes.len().next_multiple_of(PAGE_SIZE);
        let room = &mut self.memory[from..from + padded];
        room[..bytes.len()].copy_from_slice(bytes);
        room[bytes.len()..].fill(0);
        self.length += padded;
    }

    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

/// Whether a read failed because the medium cannot return these bytes. That is damage, to be judged
/// and repaired like a bad checksum; any other error is not about the bytes and ends the process.
pub fn is_unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

pub(crate) fn unreadable() -> io::Error {
    rustix::io::Errno::IO.into()
}
