//! A directory of the file system, owned by one process.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Disk, DiskFile, PAGE_SIZE, PageBuffer};

const LOCK_NAME: &str = "lock";

#[derive(Clone, Debug)]
pub struct RealDisk {
    directory: Arc<Directory>,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    handle: File,
    /// Locked for as long as the process lives: two processes writing one WAL would destroy it.
    _lock: File,
}

impl RealDisk {
    /// Opens a directory, creating it if needed. Fails if another process has it open.
    pub fn open(path: &Path) -> io::Result<RealDisk> {
        std::fs::create_dir_all(path)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK_NAME))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            io::Error::new(io::Error::from(error).kind(), "it is in use by another process")
        })?;
        let handle = File::open(path)?;
        // The page cache may show what a killed process never synced. For all files at once: syncing
        // one costs milliseconds even if it has nothing to sync, and there may be many thousands.
        rustix::fs::syncfs(&handle)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            // The directory's own name must survive a power failure too.
            File::open(parent)?.sync_all()?;
        }
        Ok(RealDisk { directory: Arc::new(Directory { path: path.to_owned(), handle, _lock: lock }) })
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.directory.path.join(name)
    }
}

impl Disk for RealDisk {
    type File = RealFile;

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in std::fs::read_dir(&self.directory.path)? {
            let item = item?;
            // A name that is not UTF-8 is not one of ours, nor is a directory: the root of a file system
            // has its `lost+found`.
            if let Ok(name) = item.file_name().into_string()
                && name != LOCK_NAME
                && item.file_type()?.is_file()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Option<RealFile>> {
        let file = self.reopen(name)?;
        if let Some(file) = &file {
            // The page cache may show what a failed sync left behind, which syncing again does not
            // write: forget it, and read the medium.
            rustix::fs::fadvise(&*file.file, 0, None, Advice::DontNeed)?;
        }
        Ok(file)
    }

    fn reopen(&self, name: &str) -> io::Result<Option<RealFile>> {
        match OpenOptions::new().read(true).write(true).open(self.path_of(name)) {
            Ok(file) => Ok(Some(RealFile::new(file, self.path_of(name)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str) -> io::Result<RealFile> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path_of(name))?;
        Ok(RealFile::new(file, self.path_of(name)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path_of(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_names(&self) -> io::Result<()> {
        self.directory.handle.sync_all()
    }

    fn size(&self) -> io::Result<u64> {
        let space = rustix::fs::fstatvfs(&self.directory.handle)?;
        Ok(space.f_blocks.saturating_mul(space.f_frsize))
    }

    fn available(&self) -> io::Result<u64> {
        let space = rustix::fs::fstatvfs(&self.directory.handle)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

#[derive(Clone, Debug)]
pub struct RealFile {
    file: Arc<File>,
    around_cache: Arc<AroundCache>,
}

/// A second handle of the file, which bypasses the page cache.
#[derive(Debug)]
struct AroundCache {
    path: PathBuf,
    /// Opened when first needed. None where the file system has no such reads.
    handle: OnceLock<Option<File>>,
}

impl RealFile {
    fn new(file: File, path: PathBuf) -> RealFile {
        RealFile {
            file: Arc::new(file),
            around_cache: Arc::new(AroundCache { path, handle: OnceLock::new() }),
        }
    }

    /// Not every file system can read around its cache: there, what is clean is forgotten first.
    fn read_uncached(&self, offset: u64, size: usize) -> io::Result<Bytes> {
        let length = std::num::NonZero::new(size as u64);
        rustix::fs::fadvise(&*self.file, offset, length, Advice::DontNeed)?;
        let mut out = vec![0; size];
        self.file.read_exact_at(&mut out, offset)?;
        Ok(out.into())
    }
}

impl AroundCache {
    fn handle(&self) -> Option<&File> {
        let open = || {
            let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
            rustix::fs::open(&self.path, flags, Mode::empty()).map(File::from)
        };
        self.handle.get_or_init(|| open().ok()).as_ref()
    }
}

/// None if this file cannot be read so.
fn read_around_cache(file: &File, offset: u64, size: usize) -> io::Result<Option<Bytes>> {
    let span = size.next_multiple_of(PAGE_SIZE);
    let mut buffer = vec![0; span + PAGE_SIZE];
    let start = buffer.as_ptr().align_offset(PAGE_SIZE);
    let mut done = 0;
    while done < size {
        match file.read_at(&mut buffer[start + done..start + span], offset + done as u64) {
            // The file may end within the last page, never before what was asked for.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => done += count,
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(Bytes::from(buffer).slice(start..start + size)))
}

/// False if this file cannot be written so; then nothing was.
fn write_around_cache(file: &File, offset: u64, pages: &[u8]) -> io::Result<bool> {
    let mut done = 0;
    while done < pages.len() {
        match file.write_at(&pages[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if done == 0 && error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                return Ok(false);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn read_vec_at(&self, offset: u64, size: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(size);
        while out.len() < size {
            let at = offset + out.len() as u64;
            match rustix::io::pread(&*self.file, spare_capacity(&mut out), at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // There may have been more room than was asked for.
        out.truncate(size);
        Ok(out)
    }

    fn read_direct_at(&self, offset: u64, size: usize) -> io::Result<Bytes> {
        if let Some(file) = self.around_cache.handle()
            && let Some(bytes) = read_around_cache(file, offset, size)?
        {
            return Ok(bytes);
        }
        self.read_uncached(offset, size)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn write_direct_at(&self, offset: u64, pages: &PageBuffer) -> io::Result<()> {
        let around_cache = self.around_cache.handle();
        match around_cache.map(|file| write_around_cache(file, offset, pages.bytes())).transpose()? {
            Some(true) => Ok(()),
            Some(false) | None => self.write_at(offset, pages.bytes()),
        }
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    /// Writes the zeros instead of reserving extents: the first write to a reserved extent changes
    /// metadata, and every sync of the WAL would pay for that.
    fn allocate(&self, size: u64) -> io::Result<()> {
        const STEP: usize = 1 << 20;
        self.file.set_len(0)?;
        let zeros = vec![0; STEP];
        let mut offset = 0;
        while offset < size {
            let step = usize::try_from(size - offset).unwrap_or(STEP).min(STEP);
            self.file.write_all_at(&zeros[..step], offset)?;
            offset += step as u64;
        }
        Ok(())
    }

    fn punch_hole(&self, offset: u64, size: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&*self.file, flags, offset, size) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("viewstone-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_directory_belongs_to_one_owner_at_a_time() {
        let path = directory("lock");
        let first = RealDisk::open(&path).unwrap();
        assert!(RealDisk::open(&path).is_err());

        drop(first);
        assert!(RealDisk::open(&path).is_ok());
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn pages_written_around_the_cache_are_read_like_any_others() {
        let path = directory("direct-writes");
        let disk = RealDisk::open(&path).unwrap();
        let file = disk.create("a").unwrap();
        file.write_at(0, &[7; 3 * PAGE_SIZE]).unwrap();
        let mut pages = PageBuffer::default();
        for size in [1, PAGE_SIZE, 3 * PAGE_SIZE + 1] {
            pages.begin(PAGE_SIZE + size);
            pages.push_pages(&[1]);
            pages.push_pages(&vec![2; size]);
            file.write_direct_at(PAGE_SIZE as u64, &pages).unwrap();
            file.sync().unwrap();

            let mut out = vec![9; PAGE_SIZE + pages.bytes().len()];
            file.read_at(0, &mut out).unwrap();
            assert_eq!(file.read_vec_at(3, out.len() - 3).unwrap(), out[3..]);
            assert_eq!(out[..PAGE_SIZE], [7; PAGE_SIZE]);
            assert_eq!(out[PAGE_SIZE..][..2], [1, 0]);
            assert_eq!(out[2 * PAGE_SIZE..][..size], vec![2; size]);
            assert!(out[2 * PAGE_SIZE + size..].iter().all(|byte| *byte == 0));
        }
        std::fs::remove_dir_all(&path).unwrap();
    }

    /// Such a directory has one from the beginning, and was refused as a disk that is not new.
    #[test]
    fn the_root_of_a_file_system_is_as_empty_as_any_other_directory() {
        let path = directory("lost-and-found");
        std::fs::create_dir_all(path.join("lost+found")).unwrap();
        let disk = RealDisk::open(&path).unwrap();
        assert!(disk.names().unwrap().is_empty());
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_file_keeps_what_was_written_and_reads_past_its_end_fail() {
        let path = directory("file");
        let disk = RealDisk::open(&path).unwrap();
        let file = disk.create("a").unwrap();
        file.allocate(3 << 20).unwrap();
        file.write_at(5, b"hello").unwrap();
        file.sync().unwrap();
        disk.sync_names().unwrap();

        let mut out = [9; 7];
        disk.open("a").unwrap().unwrap().read_at(4, &mut out).unwrap();
        assert_eq!(&out, b"\0hello\0");
        assert_eq!(file.len().unwrap(), 3 << 20);
        assert!(file.read_at((3 << 20) - 1, &mut out).is_err());
        assert_eq!(disk.names().unwrap(), ["a"]);
        assert!(disk.create("a").is_err());

        disk.remove("a").unwrap();
        disk.remove("a").unwrap();
        assert!(disk.open("a").unwrap().is_none());
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn direct_reads_return_what_was_written_whatever_its_length_and_fail_past_the_end() {
        let path = directory("direct-reads");
        let disk = RealDisk::open(&path).unwrap();
        let file = disk.create("a").unwrap();
        let bytes: Vec<u8> = (0..10_000).map(|index| u8::try_from(index % 251).unwrap()).collect();
        file.write_at(0, &bytes).unwrap();

        assert_eq!(file.read_direct_at(0, 10_000).unwrap(), bytes);
        assert_eq!(file.read_direct_at(4096, 5).unwrap(), bytes[4096..4101]);
        assert_eq!(file.read_uncached(8192, 1808).unwrap(), bytes[8192..]);
        assert!(file.read_direct_at(8192, 1809).is_err());
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_punched_hole_reads_as_zeros_and_takes_no_space() {
        use std::os::unix::fs::MetadataExt;
        let path = directory("hole");
        let disk = RealDisk::open(&path).unwrap();
        assert!(disk.available().unwrap() > 0);
        let file = disk.create("a").unwrap();
        file.write_at(0, &vec![7; 1 << 20]).unwrap();
        file.sync().unwrap();
        let blocks_before = file.file.metadata().unwrap().blocks();

        file.punch_hole(4096, (1 << 20) - 8192).unwrap();
        let mut out = [9; 8];
        file.read_at(4092, &mut out).unwrap();
        assert_eq!(file.len().unwrap(), 1 << 20);
        if file.file.metadata().unwrap().blocks() < blocks_before {
            assert_eq!(out, [7, 7, 7, 7, 0, 0, 0, 0]);
        } else {
            assert_eq!(out, [7; 8], "no holes here, and nothing lost");
        }
        std::fs::remove_dir_all(&path).unwrap();
    }
}
