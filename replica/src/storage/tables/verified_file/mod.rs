//! The file under redb: what redb reads is what it wrote last, or an error.
//!
//! redb checks its own checksums only when it repairs; otherwise it trusts its pages, and a page that
//! is damaged, or old, can make it panic. Here each block carries a checksum bound to its place, and
//! a map remembers the checksum of each block, which tells an old one from the one that should be
//! there.
//!
//! ```text
//!  file `tables`, in strides of 4608 bytes: a block of 4096 and its seal, a sector
//! ┌──────────────┬─────────────┬─────────────┬─────────────┬─────────┬─ ─ ─┬───────────┬─ ─
//! │ block 0, even│ block 0, odd│ map 0,      │ map 0,      │ block 1 │     │ block 512 │ map 1
//! │ sequences    │ sequences   │ first copy  │ second copy │         │     │           │
//! └──────────────┴─────────────┴─────────────┴─────────────┴─────────┴─ ─ ─┴───────────┴─ ─
//! ```
//!
//! redb writes a page only where the durable tree has none, so that a torn one is never read. Block 0
//! is the exception: it holds the root and is overwritten in place. Here it has two copies. It is
//! written only by a sync, each time with the next sequence and over the older copy, and seals the
//! map and the number of blocks as they are then. If a crash interrupts that sync, some of this is
//! missing or does not fit: then the copy of the sync before counts, with its map and its blocks.
//!
//! Strides are whole sectors: writing a block never touches a durable one.

mod block_map;
mod stride;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use super::ledger::Ledger;
use crate::storage::disk::{DiskFile, is_unreadable};
use block_map::{BlockMap, GROUP_BLOCKS, Tag, group_of, place_of, read_stride, strides_for};
pub(super) use stride::{BLOCK, STRIDE};
use stride::{BLOCK_SIZE, STRIDE_SIZE, Seal, Stride};

#[derive(Debug)]
pub(super) struct VerifiedFile<F: DiskFile> {
    file: F,
    state: Mutex<State>,
    ledger: Arc<Ledger>,
}

#[derive(Debug)]
struct State {
    /// The sequence of the newest durable block 0.
    sequence: u64,
    /// Block 0 included.
    block_count: u64,
    /// How many blocks the two newest durable copies of block 0 count.
    block_count_durable: u64,
    block_count_before: u64,
    root: Box<[u8; BLOCK_SIZE]>,
    map: BlockMap,
    /// Whether something was written since the last sync.
    changed: bool,
    /// A sync has failed: which copies are durable is unknown, and none may be overwritten.
    failed: bool,
}

impl<F: DiskFile> VerifiedFile<F> {
    pub(super) fn open(file: F) -> io::Result<VerifiedFile<F>> {
        let copies = match file.len()? / STRIDE {
            0 | 1 => [RootCopy::Blank, RootCopy::Blank],
            _ => [read_root_copy(&file, 0)?, read_root_copy(&file, 1)?],
        };
        let blank = copies.iter().any(|copy| matches!(copy, RootCopy::Blank));
        let mut valid: Vec<_> = copies.into_iter().filter_map(RootCopy::valid).collect();
        valid.sort_by_key(|(seal, _)| std::cmp::Reverse(seal.sequence));
        let older = valid.last().map_or(0, |(seal, _)| seal.block_count);
        for (seal, root) in valid {
            if let Some(map) = BlockMap::load(&file, &seal)? {
                let state = State {
                    sequence: seal.sequence,
                    block_count: seal.block_count,
                    block_count_durable: seal.block_count,
                    block_count_before: older,
                    root,
                    map,
                    changed: false,
                    failed: false,
                };
                return Ok(VerifiedFile::new(file, state));
            }
        }
        // Both copies have been written before anything was stored.
        if blank {
            return Ok(VerifiedFile::new(file, State::empty()));
        }
        Err(damaged("neither copy of the root block is whole, with its map".to_owned()))
    }

    fn new(file: F, state: State) -> VerifiedFile<F> {
        let ledger = Ledger::default();
        ledger.set_written_blocks(state.map.written());
        VerifiedFile { file, state: Mutex::new(state), ledger: Arc::new(ledger) }
    }

    pub(super) fn ledger(&self) -> Arc<Ledger> {
        self.ledger.clone()
    }

    /// The first bytes of block 0.
    pub(super) fn begins_with(&self, magic: &[u8]) -> bool {
        self.state().root.starts_with(magic)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no call panics while it holds the lock")
    }

    /// Fills `out` with whole blocks, of which block 0 is not one. Those that were never written are
    /// zeros, if they are allowed.
    fn read_blocks(&self, first: u64, out: &mut [u8], blank_allowed: bool) -> io::Result<()> {
        let mut out = out.chunks_exact_mut(BLOCK_SIZE);
        for (first, count) in runs(first, out.len() as u64) {
            let place = place_of(first);
            let mut raw = vec![0; index(count) * STRIDE_SIZE];
            self.file.read_at(place * STRIDE, &mut raw).map_err(|error| match is_unreadable(&error) {
                true => damaged(format!("block {first} or one of the {count} from it on is unreadable")),
                false => error,
            })?;
            for ((offset, raw), out) in (0..).zip(raw.chunks_exact(STRIDE_SIZE)).zip(&mut out) {
                let tag = self.state().map.tag(first + offset);
                match tag {
                    Tag::NEVER_WRITTEN if blank_allowed => out.fill(0),
                    tag => out.copy_from_slice(verify(raw, first + offset, place + offset, tag)?),
                }
            }
        }
        Ok(())
    }

    fn write_blocks(&self, first: u64, data: &[u8]) -> io::Result<()> {
        let mut data = data.chunks_exact(BLOCK_SIZE);
        for (first, count) in runs(first, data.len() as u64) {
            let sequence = self.state().sequence + 1;
            let mut raw = Vec::with_capacity(index(count) * STRIDE_SIZE);
            let mut tags = Vec::with_capacity(index(count));
            for (place, block) in (place_of(first)..).zip(data.by_ref().take(index(count))) {
                let seal = Seal { sequence, place, ..Seal::default() };
                tags.push(Tag::of(stride::encode(block, &seal, &mut raw)));
            }
            self.ledger.note(self.file.write_at(place_of(first) * STRIDE, &raw))?;
            let mut state = self.state();
            state.changed = true;
            for (block, tag) in (first..).zip(tags) {
                state.map.set_tag(block, tag);
            }
            self.ledger.set_written_blocks(state.map.written());
        }
        Ok(())
    }

    fn check_range(&self, offset: u64, size: usize) -> io::Result<()> {
        let end = offset.checked_add(size as u64);
        if end.is_none_or(|end| end > self.state().block_count * BLOCK) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl State {
    fn empty() -> State {
        State {
            sequence: 0,
            block_count: 0,
            block_count_durable: 0,
            block_count_before: 0,
            root: Box::new([0; BLOCK_SIZE]),
            map: BlockMap::empty(),
            changed: false,
            failed: false,
        }
    }

    /// What the next sync must write besides the blocks: places and strides. Nothing if nothing has
    /// changed.
    fn seal(&mut self) -> Vec<(u64, Vec<u8>)> {
        if !std::mem::take(&mut self.changed) {
            return Vec::new();
        }
        let sequence = self.sequence + 1;
        let mut writes = self.map.take_changed(sequence);
        let place = sequence % 2;
        let seal = Seal { sequence, place, block_count: self.block_count, map: self.map.digest() };
        let mut raw = Vec::with_capacity(STRIDE_SIZE);
        stride::encode(self.root.as_slice(), &seal, &mut raw);
        writes.push((place, raw));
        writes
    }

    /// Takes note that what `seal` returned is durable.
    fn sealed(&mut self, block_count: u64) {
        self.sequence += 1;
        self.block_count_before = std::mem::replace(&mut self.block_count_durable, block_count);
    }

    /// The strides that belong to the file, or to a copy of block 0 that may yet be needed.
    fn strides_needed(&self) -> u64 {
        strides_for(self.block_count.max(self.block_count_durable).max(self.block_count_before))
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
        if out.is_empty() {
            return Ok(());
        }
        if span.is_whole(out.len()) {
            return self.read_blocks(span.first, out, false);
        }
        let mut blocks = vec![0; index(span.count) * BLOCK_SIZE];
        self.read_blocks(span.first, &mut blocks, false)?;
        out.copy_from_slice(&blocks[span.within..span.within + out.len()]);
        Ok(())
    }

    /// The new length is durable with the next block 0, like everything else. The file becomes
    /// shorter only later, when no copy of block 0 counts the blocks that go.
    fn set_len(&self, len: u64) -> io::Result<()> {
        let block_count = len.div_ceil(BLOCK);
        let size = strides_for(block_count) * STRIDE;
        if self.file.len()? < size {
            self.ledger.note(self.file.set_len(size))?;
        }
        let mut state = self.state();
        let before = std::mem::replace(&mut state.block_count, block_count);
        state.map.resize(before, block_count);
        state.changed |= before != block_count;
        self.ledger.set_written_blocks(state.map.written());
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let (writes, block_count) = {
            let mut state = self.state();
            if std::mem::replace(&mut state.failed, true) {
                return Err(io::Error::other("an earlier sync of the tables failed"));
            }
            (state.seal(), state.block_count)
        };
        for (place, raw) in &writes {
            self.ledger.note(self.file.write_at(place * STRIDE, raw))?;
        }
        self.ledger.note(self.file.sync())?;
        let size_needed = {
            let mut state = self.state();
            state.failed = false;
            if !writes.is_empty() {
                state.sealed(block_count);
            }
            state.strides_needed() * STRIDE
        };
        if self.file.len()? > size_needed {
            self.ledger.note(self.file.set_len(size_needed))?;
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
                state.changed = true;
                &data[size..]
            }
        };
        if data.is_empty() {
            return Ok(());
        }
        if span.is_whole(data.len()) {
            return self.write_blocks(span.first, data);
        }
        let mut blocks = vec![0; index(span.count) * BLOCK_SIZE];
        self.read_blocks(span.first, &mut blocks, true)?;
        blocks[span.within..span.within + data.len()].copy_from_slice(data);
        self.write_blocks(span.first, &blocks)
    }
}

/// A range of bytes: how many lie in block 0, and which blocks hold the others.
struct Span {
    in_root: usize,
    first: u64,
    count: u64,
    /// Where the range begins in the first of these blocks.
    within: usize,
}

impl Span {
    fn of(offset: u64, size: usize) -> Span {
        let in_root = index(BLOCK.saturating_sub(offset)).min(size);
        let start = offset + in_root as u64;
        let end = offset + size as u64;
        let first = start / BLOCK;
        let count = if end > start { end.div_ceil(BLOCK) - first } else { 0 };
        Span { in_root, first, count, within: index(start % BLOCK) }
    }

    /// Whether so many bytes after those in block 0 are whole blocks.
    fn is_whole(&self, size: usize) -> bool {
        self.within == 0 && size.is_multiple_of(BLOCK_SIZE)
    }
}

/// Cuts a range of blocks, first and count, where a page of the map stands between two of them.
fn runs(first: u64, count: u64) -> impl Iterator<Item = (u64, u64)> {
    let (mut next, end) = (first, first + count);
    std::iter::from_fn(move || {
        if next >= end {
            return None;
        }
        let start = next;
        let (_, within) = group_of(start);
        next = end.min(start + GROUP_BLOCKS - within);
        Some((start, next - start))
    })
}

fn verify(raw: &[u8], block: u64, place: u64, tag: Tag) -> io::Result<&[u8]> {
    if tag == Tag::NEVER_WRITTEN {
        return Err(damaged(format!("block {block} was never written")));
    }
    match stride::decode(raw, place) {
        Stride::Valid(_, checksum) if Tag::of(checksum) == tag => Ok(&raw[..BLOCK_SIZE]),
        Stride::Valid(..) | Stride::Blank => {
            Err(damaged(format!("block {block} is not the one that was written last")))
        }
        Stride::Damaged => Err(damaged(format!("block {block} failed its checksum"))),
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a part of what lies in memory")
}

fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

enum RootCopy {
    Valid(Seal, Box<[u8; BLOCK_SIZE]>),
    Blank,
    Damaged,
}

impl RootCopy {
    fn valid(self) -> Option<(Seal, Box<[u8; BLOCK_SIZE]>)> {
        if let RootCopy::Valid(seal, root) = self { Some((seal, root)) } else { None }
    }
}

fn read_root_copy<F: DiskFile>(file: &F, place: u64) -> io::Result<RootCopy> {
    let Some(raw) = read_stride(file, place)? else { return Ok(RootCopy::Damaged) };
    Ok(match stride::decode(&raw, place) {
        Stride::Blank => RootCopy::Blank,
        Stride::Valid(seal, _) if seal.sequence % 2 == place => {
            let root = raw[..BLOCK_SIZE].try_into().expect("a stride begins with a block");
            RootCopy::Valid(seal, Box::new(root))
        }
        Stride::Valid(..) | Stride::Damaged => RootCopy::Damaged,
    })
}
