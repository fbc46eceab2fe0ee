//! The file under redb: every block carries a checksum bound to its place, because redb checks its
//! own only when it repairs.
//!
//! ```text
//!  file `tables`, in strides of 4608 bytes: a block of 4096 and a trailer of one sector
//! ┌───────────────┬───────────────┬─────────┬─────────┬─ ─ ─     trailer
//! │ block 0, even │ block 0, odd  │ block 1 │ block 2 │          ┌───────────┬───────────┬──────┬─────┐
//! │ sequences     │ sequences     │         │         │          │checksum 16│sequence 8 │place8│0…0  │
//! └───────────────┴───────────────┴─────────┴─────────┴─ ─ ─     └───────────┴───────────┴──────┴─────┘
//! ```
//!
//! redb writes a page only where the durable tree has none, so that a torn one is never read. Block 0
//! is the exception: it holds the root and is overwritten in place. Here it has two copies. It is
//! written only by a sync, each time with the next sequence and over the older copy: if that write
//! is torn, the copy of the sync before is intact, and so is the tree that it names.
//!
//! Every other block is stamped with the sequence that the next block 0 will have. If the newest
//! block 0 rots and the one before is taken, a block that was reused since then is one too new, and
//! is refused rather than taken for a page of the older tree.
//!
//! Strides are whole sectors: writing a block never touches a durable one.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use protocol::types::Checksum;
use redb::StorageBackend;

use crate::storage::disk::{DiskFile, SECTOR_SIZE, is_unreadable};

const BLOCK_SIZE: usize = 4096;
const BLOCK: u64 = BLOCK_SIZE as u64;
const STRIDE_SIZE: usize = BLOCK_SIZE + SECTOR_SIZE;
const STRIDE: u64 = STRIDE_SIZE as u64;
const TRAILER_USED: usize = 32;
/// Distinguishes these blocks from everything else that is hashed like them.
const DOMAIN: &[u8; 16] = b"viewstone tables";

#[derive(Debug)]
pub(super) struct VerifiedFile<F: DiskFile> {
    file: F,
    /// The sequence of the newest durable block 0.
    sequence: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Logical blocks, block 0 included.
    block_count: u64,
    root: Box<[u8; BLOCK_SIZE]>,
    root_changed: bool,
}

impl<F: DiskFile> VerifiedFile<F> {
    pub(super) fn open(file: F) -> io::Result<VerifiedFile<F>> {
        let strides = file.len()? / STRIDE;
        let copies = match strides {
            0 | 1 => [RootCopy::Blank, RootCopy::Blank],
            _ => [read_root_copy(&file, 0)?, read_root_copy(&file, 1)?],
        };
        let blank = copies.iter().any(|copy| matches!(copy, RootCopy::Blank));
        let newest = copies.into_iter().filter_map(RootCopy::valid).max_by_key(|(sequence, _)| *sequence);
        let (sequence, root) = match newest {
            Some(newest) => newest,
            // Both copies have been written before anything was stored.
            None if blank => (0, Box::new([0; BLOCK_SIZE])),
            None => return Err(damaged("both copies of the root block failed their checksum".to_owned())),
        };
        Ok(VerifiedFile {
            file,
            sequence: AtomicU64::new(sequence),
            state: Mutex::new(State { block_count: strides.saturating_sub(1), root, root_changed: false }),
        })
    }

    /// The first bytes of block 0.
    pub(super) fn begins_with(&self, magic: &[u8]) -> bool {
        self.state().root.starts_with(magic)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no call panics while it holds the lock")
    }

    /// The sequence that blocks written now belong to.
    fn sequence_next(&self) -> u64 {
        self.sequence.load(Ordering::Acquire) + 1
    }

    /// Reads whole blocks, of which block 0 is not one.
    fn read_blocks(&self, first: u64, count: usize, blank_allowed: bool) -> io::Result<Vec<u8>> {
        assert!(first > 0);
        let mut raw = vec![0; count * STRIDE_SIZE];
        self.file.read_at((first + 1) * STRIDE, &mut raw).map_err(|error| match is_unreadable(&error) {
            true => damaged(format!("block {first} or one of the {count} from it on is unreadable")),
            false => error,
        })?;
        let newest = self.sequence_next();
        for index in 0..count {
            let stride = &raw[index * STRIDE_SIZE..(index + 1) * STRIDE_SIZE];
            let block = first + index as u64;
            match decode_stride(stride, block + 1) {
                Stride::Valid(sequence) if sequence <= newest => {}
                Stride::Valid(_) => return Err(damaged(format!("block {block} is of a later tree"))),
                Stride::Blank if blank_allowed => {}
                Stride::Blank => return Err(damaged(format!("block {block} was never written"))),
                Stride::Damaged => return Err(damaged(format!("block {block} failed its checksum"))),
            }
            raw.copy_within(index * STRIDE_SIZE..index * STRIDE_SIZE + BLOCK_SIZE, index * BLOCK_SIZE);
        }
        raw.truncate(count * BLOCK_SIZE);
        Ok(raw)
    }

    fn write_blocks(&self, first: u64, data: &[u8]) -> io::Result<()> {
        assert!(first > 0);
        let sequence = self.sequence_next();
        let mut raw = Vec::with_capacity(data.len() / BLOCK_SIZE * STRIDE_SIZE);
        for (place, block) in (first + 1..).zip(data.chunks_exact(BLOCK_SIZE)) {
            encode_stride(block, sequence, place, &mut raw);
        }
        self.file.write_at((first + 1) * STRIDE, &raw)
    }

    fn check_range(&self, offset: u64, size: usize) -> io::Result<()> {
        let end = offset.checked_add(size as u64);
        if end.is_none_or(|end| end > self.state().block_count * BLOCK) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl<F: DiskFile> StorageBackend for VerifiedFile<F> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().block_count * BLOCK)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check_range(offset, out.len())?;
        let span = Span::of(offset, out.len());
        let out = match span.in_root {
            0 => out,
            size => {
                let start = index(offset);
                out[..size].copy_from_slice(&self.state().root[start..start + size]);
                &mut out[size..]
            }
        };
        if !out.is_empty() {
            let blocks = self.read_blocks(span.first, span.count, false)?;
            out.copy_from_slice(&blocks[span.within..span.within + out.len()]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let block_count = len.div_ceil(BLOCK);
        self.file.set_len(if block_count == 0 { 0 } else { (block_count + 1) * STRIDE })?;
        self.state().block_count = block_count;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let changed = {
            let mut state = self.state();
            std::mem::take(&mut state.root_changed).then(|| state.root.clone())
        };
        let sequence = self.sequence_next();
        if let Some(root) = &changed {
            let place = sequence % 2;
            let mut raw = Vec::with_capacity(STRIDE_SIZE);
            encode_stride(root.as_slice(), sequence, place, &mut raw);
            self.file.write_at(place * STRIDE, &raw)?;
        }
        self.file.sync()?;
        if changed.is_some() {
            self.sequence.store(sequence, Ordering::Release);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_range(offset, data.len())?;
        let span = Span::of(offset, data.len());
        let data = match span.in_root {
            0 => data,
            size => {
                let mut state = self.state();
                let start = index(offset);
                state.root[start..start + size].copy_from_slice(&data[..size]);
                state.root_changed = true;
                &data[size..]
            }
        };
        if data.is_empty() {
            return Ok(());
        }
        if span.within == 0 && data.len().is_multiple_of(BLOCK_SIZE) {
            return self.write_blocks(span.first, data);
        }
        let mut blocks = self.read_blocks(span.first, span.count, true)?;
        blocks[span.within..span.within + data.len()].copy_from_slice(data);
        self.write_blocks(span.first, &blocks)
    }
}

/// A range of bytes: how many lie in block 0, and which blocks hold the others.
struct Span {
    in_root: usize,
    first: u64,
    count: usize,
    /// Where the range begins in the first of these blocks.
    within: usize,
}

impl Span {
    fn of(offset: u64, size: usize) -> Span {
        let in_root = index(BLOCK.saturating_sub(offset)).min(size);
        let start = offset + in_root as u64;
        let end = offset + size as u64;
        let first = start / BLOCK;
        let count = if end > start { index(end.div_ceil(BLOCK) - first) } else { 0 };
        Span { in_root, first, count, within: index(start % BLOCK) }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a part of what lies in memory")
}

fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

enum RootCopy {
    Valid(u64, Box<[u8; BLOCK_SIZE]>),
    Blank,
    Damaged,
}

impl RootCopy {
    fn valid(self) -> Option<(u64, Box<[u8; BLOCK_SIZE]>)> {
        if let RootCopy::Valid(sequence, root) = self { Some((sequence, root)) } else { None }
    }
}

fn read_root_copy<F: DiskFile>(file: &F, place: u64) -> io::Result<RootCopy> {
    let mut raw = vec![0; STRIDE_SIZE];
    match file.read_at(place * STRIDE, &mut raw) {
        Ok(()) => {}
        Err(error) if is_unreadable(&error) => return Ok(RootCopy::Damaged),
        Err(error) => return Err(error),
    }
    Ok(match decode_stride(&raw, place) {
        Stride::Blank => RootCopy::Blank,
        Stride::Valid(sequence) if sequence % 2 == place => {
            let root = raw[..BLOCK_SIZE].try_into().expect("a stride begins with a block");
            RootCopy::Valid(sequence, Box::new(root))
        }
        Stride::Valid(_) | Stride::Damaged => RootCopy::Damaged,
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Stride {
    Valid(u64),
    Blank,
    Damaged,
}

fn encode_stride(block: &[u8], sequence: u64, place: u64, out: &mut Vec<u8>) {
    let (sequence, place) = (sequence.to_le_bytes(), place.to_le_bytes());
    let checksum = Checksum::of_parts(&[DOMAIN, &sequence, &place, block]);
    let end = out.len() + STRIDE_SIZE;
    out.extend_from_slice(block);
    out.extend_from_slice(&checksum.get().to_le_bytes());
    out.extend_from_slice(&sequence);
    out.extend_from_slice(&place);
    out.resize(end, 0);
}

fn decode_stride(raw: &[u8], place: u64) -> Stride {
    let (block, trailer) = raw.split_at(BLOCK_SIZE);
    let checksum = &trailer[..16];
    if checksum.iter().all(|byte| *byte == 0) && raw.iter().all(|byte| *byte == 0) {
        return Stride::Blank;
    }
    let covered = Checksum::of_parts(&[DOMAIN, &trailer[16..TRAILER_USED], block]);
    if checksum != covered.get().to_le_bytes() || trailer[24..TRAILER_USED] != place.to_le_bytes() {
        return Stride::Damaged;
    }
    Stride::Valid(u64::from_le_bytes(trailer[16..24].try_into().expect("8 bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::{Disk, SimulatedDisk};

    fn open(disk: &SimulatedDisk) -> io::Result<VerifiedFile<<SimulatedDisk as Disk>::File>> {
        let file = match disk.open("tables")? {
            Some(file) => file,
            None => disk.create("tables")?,
        };
        disk.sync_names()?;
        VerifiedFile::open(file)
    }

    fn read(file: &impl StorageBackend, offset: u64, size: usize) -> Vec<u8> {
        let mut out = vec![0xff; size];
        file.read(offset, &mut out).unwrap();
        out
    }

    #[test]
    fn any_range_that_was_written_is_read_back() {
        let disk = SimulatedDisk::new(1);
        let file = open(&disk).unwrap();
        file.set_len(10 * BLOCK).unwrap();
        let mut model = vec![0; 10 * BLOCK_SIZE];
        file.write(0, &model).unwrap();
        for (step, (offset, size)) in
            [(0, 320), (4090, 10), (5000, 9000), (4096, 8192), (0, 40960), (40959, 1), (100, 0)]
                .iter()
                .enumerate()
        {
            let data = vec![u8::try_from(step + 1).unwrap(); *size];
            file.write(*offset, &data).unwrap();
            let start = index(*offset);
            model[start..start + size].copy_from_slice(&data);
            assert_eq!(read(&file, 0, 40960), model);
            assert_eq!(read(&file, 4000, 5000), model[4000..9000]);
        }
        file.sync_data().unwrap();
        assert_eq!(read(&open(&disk).unwrap(), 0, 40960), model);
        assert!(file.read(40959, &mut [0; 2]).is_err());
        assert!(file.write(40960, &[0]).is_err());
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_so_is_a_block_at_a_wrong_place() {
        let mut raw = Vec::new();
        encode_stride(&[7; BLOCK_SIZE], 3, 5, &mut raw);
        assert_eq!(decode_stride(&raw, 5), Stride::Valid(3));
        assert_eq!(decode_stride(&raw, 6), Stride::Damaged);
        for byte in (0..BLOCK_SIZE).step_by(97).chain(BLOCK_SIZE..BLOCK_SIZE + TRAILER_USED) {
            raw[byte] ^= 4;
            assert_eq!(decode_stride(&raw, 5), Stride::Damaged, "byte {byte}");
            raw[byte] ^= 4;
        }
    }

    #[test]
    fn the_format_of_a_block_is_fixed() {
        let mut raw = Vec::new();
        encode_stride(&[7; BLOCK_SIZE], 3, 5, &mut raw);
        assert_eq!(raw.len(), 4608);
        let hex: String = raw[4096..4128].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "8c8c73b6f39fa870e2912e5128b4ca9b03000000000000000500000000000000");
        assert!(raw[4128..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_block_that_should_have_been_written_and_is_blank_is_not_zeros() {
        let disk = SimulatedDisk::new(1);
        let file = open(&disk).unwrap();
        file.set_len(3 * BLOCK).unwrap();
        assert!(file.read(BLOCK, &mut [0; 10]).is_err());
        assert_eq!(read(&file, 0, 10), [0; 10]);
    }

    #[test]
    fn a_crash_in_a_sync_leaves_block_0_as_it_was_at_the_last_or_at_this_sync() {
        let (mut old, mut new) = (0, 0);
        for seed in 0..100 {
            let mut disk = SimulatedDisk::new(seed);
            let file = open(&disk).unwrap();
            file.set_len(2 * BLOCK).unwrap();
            for round in 1..=3 + u8::try_from(seed % 2).unwrap() {
                file.write(0, &[round; 320]).unwrap();
                file.sync_data().unwrap();
            }
            let last = 3 + u8::try_from(seed % 2).unwrap();
            file.write(0, &[99; 320]).unwrap();
            disk.fail_after(1 + seed % 2);
            assert!(file.sync_data().is_err());
            disk.crash();
            let root = read(&open(&disk).unwrap(), 0, 320);
            assert!(root == [last; 320] || root == [99; 320]);
            if root[0] == 99 { new += 1 } else { old += 1 }
        }
        assert!(old > 10 && new > 10);
    }

    #[test]
    fn when_the_newest_block_0_rots_blocks_written_since_the_older_one_are_refused() {
        let mut disk = SimulatedDisk::new(1);
        let file = open(&disk).unwrap();
        file.set_len(3 * BLOCK).unwrap();
        file.write(0, &[1; 320]).unwrap();
        file.write(BLOCK, &[1; BLOCK_SIZE]).unwrap();
        file.sync_data().unwrap();
        file.write(0, &[2; 320]).unwrap();
        file.sync_data().unwrap();
        // As if the page had been freed by the second root and reused on the way to a third.
        file.write(BLOCK, &[3; BLOCK_SIZE]).unwrap();
        file.sync_data().unwrap();
        disk.crash();

        let file = open(&disk).unwrap();
        assert_eq!((read(&file, 0, 1)[0], read(&file, BLOCK, 1)[0]), (2, 3));
        disk.rot_at("tables", 5).unwrap();
        let file = open(&disk).unwrap();
        assert_eq!(read(&file, 0, 1), [1]);
        assert!(file.read(BLOCK, &mut [0; 8]).is_err());

        disk.rot_at("tables", STRIDE + 5).unwrap();
        assert_eq!(open(&disk).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
