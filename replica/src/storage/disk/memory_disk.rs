//! A disk that forgets: files in memory, for whoever tries things out. As long as its process lives it
//! keeps what a disk keeps, and it takes no more memory than it was given: beyond that it is full.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::{Disk, DiskFile, PAGE_SIZE};

const PAGE: u64 = PAGE_SIZE as u64;

#[derive(Clone)]
pub struct MemoryDisk {
    space: Arc<Space>,
    files: Arc<Mutex<BTreeMap<String, MemoryFile>>>,
}

/// A file lives as long as its name or somebody who has it open, as on any other disk.
#[derive(Clone)]
pub struct MemoryFile {
    inode: Arc<Inode>,
}

struct Space {
    size: u64,
    taken: AtomicU64,
}

struct Inode {
    space: Arc<Space>,
    content: RwLock<Content>,
}

#[derive(Default)]
struct Content {
    len: u64,
    /// None is a page of zeros that takes no memory. Pages beyond the last are zeros, too.
    pages: Vec<Option<Box<[u8; PAGE_SIZE]>>>,
    /// Pages below this one are paid for, also while nothing was written to them.
    reserved: usize,
}

impl MemoryDisk {
    /// An empty disk of so many bytes.
    pub fn new(size: u64) -> MemoryDisk {
        let space = Arc::new(Space { size, taken: AtomicU64::new(0) });
        MemoryDisk { space, files: Arc::default() }
    }

    /// A thread that panics ends the process: nobody who matters sees a poisoned lock.
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, MemoryFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk").field("size", &self.space.size).finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile").field("len", &self.inode.read().len).finish_non_exhaustive()
    }
}

impl Space {
    /// All of it, or nothing and an error.
    fn take(&self, pages: usize) -> io::Result<()> {
        let bytes = pages as u64 * PAGE;
        let more = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= self.size);
        match self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn give_back(&self, pages: usize) {
        let bytes = pages as u64 * PAGE;
        let before = self.taken.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes);
    }
}

impl Inode {
    fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        let content = self.content.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.space.give_back(content.pages_taken());
    }
}

impl Content {
    fn pages_taken(&self) -> usize {
        self.reserved + self.pages.iter().skip(self.reserved).flatten().count()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= self.len);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut rest = out;
        for (page, within, size) in pieces(offset, rest.len()) {
            let (piece, later) = rest.split_at_mut(size);
            match self.pages.get(page).and_then(Option::as_ref) {
                Some(bytes) => piece.copy_from_slice(&bytes[within..within + size]),
                None => piece.fill(0),
            }
            rest = later;
        }
        Ok(())
    }

    fn write(&mut self, space: &Space, offset: u64, data: &[u8]) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let end = offset.checked_add(data.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        let is_new =
            |page: &usize| *page >= self.reserved && self.pages.get(*page).is_none_or(Option::is_none);
        space.take(pieces(offset, data.len()).filter(|(page, ..)| is_new(page)).count())?;
        self.len = self.len.max(end);
        if self.pages.len() < page_count(end) {
            self.pages.resize_with(page_count(end), || None);
        }
        let mut rest = data;
        for (page, within, size) in pieces(offset, rest.len()) {
            let (piece, later) = rest.split_at(size);
            let bytes = self.pages[page].get_or_insert_with(|| Box::new([0; PAGE_SIZE]));
            bytes[within..within + size].copy_from_slice(piece);
            rest = later;
        }
        Ok(())
    }

    fn set_len(&mut self, space: &Space, size: u64) {
        let before = self.pages_taken();
        self.pages.truncate(page_count(size));
        self.reserved = self.reserved.min(page_count(size));
        let within = index(size % PAGE);
        if size < self.len
            && within > 0
            && let Some(Some(last)) = self.pages.get_mut(index(size / PAGE))
        {
            // Should it grow again, it grows by zeros.
            last[within..].fill(0);
        }
        self.len = size;
        space.give_back(before - self.pages_taken());
    }

    fn punch_hole(&mut self, space: &Space, offset: u64, size: u64) {
        let holes = pieces(offset, index(size.min(self.len.saturating_sub(offset))));
        let mut freed = 0;
        for (page, ..) in holes {
            let had = self.pages.get_mut(page).and_then(Option::take).is_some();
            freed += usize::from(had && page >= self.reserved);
        }
        space.give_back(freed);
    }
}

/// The pages of a range: their numbers, and where in each the range begins and how much of it is there.
fn pieces(offset: u64, size: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = index(at % PAGE);
        let step = (PAGE_SIZE - within).min(size - done);
        done += step;
        (step > 0).then_some((index(at / PAGE), within, step))
    })
}

fn page_count(size: u64) -> usize {
    index(size.div_ceil(PAGE))
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("what is in memory can be addressed")
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Option<MemoryFile>> {
        Ok(self.files().get(name).cloned())
    }

    fn reopen(&self, name: &str) -> io::Result<Option<MemoryFile>> {
        self.open(name)
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let mut files = self.files();
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Inode { space: Arc::clone(&self.space), content: RwLock::default() };
        let file = MemoryFile { inode: Arc::new(inode) };
        files.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.files().remove(name);
        drop(removed);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.space.size)
    }

    fn available(&self) -> io::Result<u64> {
        Ok(self.space.size - self.space.taken.load(Ordering::Relaxed))
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.read().len)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inode.read().read(offset, out)
    }

    fn read_direct_at(&self, offset: u64, size: usize) -> io::Result<Bytes> {
        let mut out = vec![0; size];
        self.read_at(offset, &mut out)?;
        Ok(out.into())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inode.write().write(&self.inode.space, offset, data)
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        self.inode.write().set_len(&self.inode.space, size);
        Ok(())
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let mut content = self.inode.write();
        content.set_len(&self.inode.space, 0);
        self.inode.space.take(page_count(size))?;
        (content.len, content.reserved) = (size, page_count(size));
        Ok(())
    }

    fn punch_hole(&self, offset: u64, size: u64) -> io::Result<()> {
        assert!(offset.is_multiple_of(PAGE) && size.is_multiple_of(PAGE), "holes are whole pages");
        self.inode.write().punch_hole(&self.inode.space, offset, size);
        Ok(())
    }

    /// There is nothing that could be lost before the process is.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK_SIZE: u64 = 64 * PAGE;

    fn bytes_taken(disk: &MemoryDisk) -> u64 {
        DISK_SIZE - disk.available().unwrap()
    }

    #[test]
    fn what_was_written_is_read_and_reads_past_the_end_fail() {
        let disk = MemoryDisk::new(DISK_SIZE);
        let file = disk.create("a").unwrap();
        file.write_at(PAGE - 2, b"hello").unwrap();
        let mut out = [9; 5];
        file.read_at(PAGE - 3, &mut out).unwrap();
        assert_eq!(&out, b"\0hell");
        assert_eq!(file.read_direct_at(PAGE, 3).unwrap(), &b"llo"[..]);
        assert_eq!(file.len().unwrap(), PAGE + 3);
        assert!(file.read_at(PAGE - 1, &mut out).is_err());
        assert!(disk.create("a").is_err());
        assert_eq!(disk.names().unwrap(), ["a"]);
    }

    #[test]
    fn a_cut_file_grows_again_by_zeros() {
        let disk = MemoryDisk::new(DISK_SIZE);
        let file = disk.create("a").unwrap();
        file.write_at(0, &[7; 3 * PAGE_SIZE]).unwrap();
        file.set_len(PAGE + 1).unwrap();
        assert_eq!(bytes_taken(&disk), 2 * PAGE);
        file.set_len(3 * PAGE).unwrap();
        let mut out = [9; 3];
        file.read_at(PAGE, &mut out).unwrap();
        assert_eq!(out, [7, 0, 0]);
        assert_eq!(bytes_taken(&disk), 2 * PAGE);
    }

    /// A disk in memory that took more than it was given would end the process, and others with it.
    #[test]
    fn beyond_its_size_a_disk_is_full_and_what_did_not_fit_changed_nothing() {
        let disk = MemoryDisk::new(DISK_SIZE);
        let log = disk.create("log").unwrap();
        log.allocate(32 * PAGE).unwrap();
        let file = disk.create("a").unwrap();
        file.write_at(0, &[7; 32 * PAGE_SIZE]).unwrap();
        assert_eq!(disk.available().unwrap(), 0);

        let full = file.write_at(31 * PAGE, &[8; 2 * PAGE_SIZE]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 32 * PAGE);
        assert_eq!(file.read_direct_at(31 * PAGE, 1).unwrap()[0], 7);
        let full = disk.create("b").unwrap().allocate(1).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);

        file.write_at(5, b"what is there already takes nothing anew").unwrap();
        log.write_at(0, b"and neither does what is reserved").unwrap();
        file.punch_hole(0, PAGE).unwrap();
        assert_eq!(disk.available().unwrap(), PAGE);
        assert_eq!(file.read_direct_at(0, 9).unwrap(), [0; 9][..]);
        log.punch_hole(0, PAGE).unwrap();
        assert_eq!(disk.available().unwrap(), PAGE, "what is reserved stays reserved");
    }

    #[test]
    fn a_removed_file_takes_its_space_until_nobody_has_it_open() {
        let disk = MemoryDisk::new(DISK_SIZE);
        let file = disk.create("a").unwrap();
        file.write_at(0, &[7; PAGE_SIZE]).unwrap();
        disk.remove("a").unwrap();
        assert!(disk.open("a").unwrap().is_none());
        assert_eq!(file.read_direct_at(0, 1).unwrap()[0], 7);
        assert_eq!(bytes_taken(&disk), PAGE);
        drop(file);
        assert_eq!(bytes_taken(&disk), 0);
    }

    /// The same calls at random places, against a plain vector of bytes.
    #[test]
    fn any_order_of_calls_leaves_the_bytes_of_a_plain_vector_and_the_space_of_its_pages() {
        let disk = MemoryDisk::new(DISK_SIZE);
        let file = disk.create("a").unwrap();
        let mut model: Vec<u8> = Vec::new();
        let mut state = 7u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        for round in 0..2_000 {
            let (offset, size) = (below(20 * PAGE), below(3 * PAGE));
            match below(4) {
                0 => {
                    file.set_len(offset).unwrap();
                    model.resize(index(offset), 0);
                }
                1 => {
                    let (offset, size) = (offset / PAGE * PAGE, size / PAGE * PAGE);
                    file.punch_hole(offset, size).unwrap();
                    let end = model.len().min(index(offset + size));
                    model[end.min(index(offset))..end].fill(0);
                }
                _ => {
                    let data = vec![u8::try_from(round % 251).unwrap(); index(size)];
                    file.write_at(offset, &data).unwrap();
                    if size > 0 {
                        model.resize(model.len().max(index(offset + size)), 0);
                        model[index(offset)..][..index(size)].copy_from_slice(&data);
                    }
                }
            }
            assert_eq!(file.len().unwrap(), model.len() as u64);
            assert_eq!(file.read_direct_at(0, model.len()).unwrap(), model, "after {round} calls");
            assert!(bytes_taken(&disk) <= model.len().next_multiple_of(PAGE_SIZE) as u64);
        }
        disk.remove("a").unwrap();
        drop(file);
        assert_eq!(bytes_taken(&disk), 0);
    }
}
