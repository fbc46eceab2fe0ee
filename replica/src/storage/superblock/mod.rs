//! The superblock's four copies.
//!
//! ```text
//!  file `superblock`: copy 0 at 0, copy 1 at 12 KiB, copy 2 at 24 KiB, copy 3 at 36 KiB
//! ┌───────────┬─────────┬─────────┬──────┬─────────┬────────────┬─────────┬──────────────────┐
//! │checksum 16│ magic 8 │version 4│copy 4│ parent  │ sequence 8 │ size 4  │ the superblock,  │
//! │of the rest│         │         │      │ 16      │            │ zero 4  │ zeros to a sector│
//! └───────────┴─────────┴─────────┴──────┴─────────┴────────────┴─────────┴──────────────────┘
//! ```
//!
//! `parent` is the hash of the superblock that this one replaced.
//!
//! A write replaces copies 0 and 1, syncs, replaces copies 2 and 3, and syncs. Hence at most one pair
//! is ever in flight and the other is whole:
//!
//! * a crash leaves a whole pair of the old or of the new content, whichever copies it tears;
//! * a valid copy of the first pair is at least as new as the last completed write, and so is one of
//!   the second pair, for a completed write has replaced all four. The newest valid copy therefore
//!   never goes back behind a promise;
//! * only a copy whose write was acknowledged and never happened could. So the newest copy must be
//!   confirmed: by an equal one, or by one that holds its parent.

use bytes::Bytes;
use protocol::codec::{Decoder, Encoder};
use protocol::superblock::{SUPERBLOCK_SIZE_MAX, Superblock};
use protocol::types::Checksum;
use std::io;

use super::disk::{Disk, DiskFile, SECTOR_SIZE, is_unreadable};

pub const SUPERBLOCK_NAME: &str = "superblock";

const COPY_COUNT: usize = 4;
const MAGIC: &[u8; 8] = b"VIEWSUPR";
pub const VERSION: u32 = 1;
const HEADER_SIZE: usize = 64;
const SLOT_SIZE: usize = 12 << 10;
const _: () = assert!(HEADER_SIZE + SUPERBLOCK_SIZE_MAX <= SLOT_SIZE);
const _: () = assert!(SLOT_SIZE.is_multiple_of(4096));

/// What a disk says about its past.
pub enum Opened<D: Disk> {
    Formatted(Box<Superblock>, SuperblockStore<D>),
    /// The disk is provably blank: nothing was ever promised from it.
    NeverFormatted,
    /// There was a superblock, or may have been. Starting as if there had been none could vote twice.
    Unreadable(String),
    /// Written by a release that this one does not know. Nothing is wrong with it.
    OtherFormat(u32),
}

pub struct SuperblockStore<D: Disk> {
    file: D::File,
    sequence: u64,
    /// The hash of the current superblock's encoding.
    name: Checksum,
    failed: bool,
}

/// A copy whose checksum is right.
#[derive(Clone)]
struct Copy {
    sequence: u64,
    parent: Checksum,
    body: Bytes,
    name: Checksum,
}

enum Slot {
    Valid(Copy),
    /// All zeros: never written.
    Blank,
    Damaged,
    /// Written by a release that this one does not know.
    Foreign(u32),
}

impl<D: Disk> SuperblockStore<D> {
    pub fn open(disk: &D) -> io::Result<Opened<D>> {
        let Some(file) = disk.open(SUPERBLOCK_NAME)? else {
            return Ok(match disk.names()?.first() {
                None => Opened::NeverFormatted,
                Some(other) => Opened::Unreadable(format!("no superblock, but a file named {other}")),
            });
        };
        let slots = read_slots(&file)?;
        let newest = match judge(&slots) {
            Verdict::Newest(copy) => copy,
            Verdict::Blank => return Ok(Opened::NeverFormatted),
            Verdict::OtherFormat(version) => return Ok(Opened::OtherFormat(version)),
            Verdict::Unreadable(reason) => return Ok(Opened::Unreadable(reason)),
        };
        let mut input = Decoder::new(newest.body.clone());
        let superblock = match Superblock::decode(&mut input).and_then(|it| input.finish().map(|()| it)) {
            Ok(superblock) => superblock,
            Err(error) => return Ok(Opened::Unreadable(error.to_string())),
        };
        heal(&file, &slots, &newest)?;
        let store = SuperblockStore { file, sequence: newest.sequence, name: newest.name, failed: false };
        Ok(Opened::Formatted(Box::new(superblock), store))
    }

    /// Makes a blank disk a replica's. A crash on the way leaves the disk blank or formatted.
    pub fn format(disk: &D, superblock: &Superblock) -> io::Result<SuperblockStore<D>> {
        disk.remove(SUPERBLOCK_NAME)?;
        let file = disk.create(SUPERBLOCK_NAME)?;
        file.allocate((COPY_COUNT * SLOT_SIZE) as u64)?;
        file.sync()?;
        disk.sync_names()?;
        let mut store = SuperblockStore { file, sequence: 0, name: Checksum::ZERO, failed: false };
        store.write(superblock)?;
        Ok(store)
    }

    /// Durably replaces the superblock. After an error the disk holds the old or the new one, and
    /// only a restart can tell which.
    pub fn write(&mut self, superblock: &Superblock) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier superblock write failed"));
        }
        self.failed = true;
        let mut out = Encoder::new();
        superblock.encode(&mut out);
        let body = Bytes::from(out.finish());
        assert!(body.len() <= SUPERBLOCK_SIZE_MAX);

        let next = Copy { sequence: self.sequence + 1, parent: self.name, name: Checksum::of(&body), body };
        for pair in [[0, 1], [2, 3]] {
            for index in pair {
                write_copy(&self.file, index, &next)?;
            }
            self.file.sync()?;
        }
        (self.sequence, self.name) = (next.sequence, next.name);
        self.failed = false;
        Ok(())
    }
}

enum Verdict {
    Newest(Copy),
    Blank,
    OtherFormat(u32),
    Unreadable(String),
}

fn judge(slots: &[Slot]) -> Verdict {
    assert_eq!(slots.len(), COPY_COUNT);
    if let Some(version) = slots.iter().find_map(|slot| match slot {
        Slot::Foreign(version) => Some(version),
        _ => None,
    }) {
        return Verdict::OtherFormat(*version);
    }
    let valid = |slot: &Slot| if let Slot::Valid(copy) = slot { Some(copy.clone()) } else { None };
    let copies: Vec<Copy> = slots.iter().filter_map(valid).collect();
    let second_pair_blank = slots[2..].iter().all(|slot| matches!(slot, Slot::Blank));

    let Some(newest) = copies.iter().max_by_key(|copy| copy.sequence) else {
        return match second_pair_blank {
            // Formatting had not come to the second pair: it never completed.
            true => Verdict::Blank,
            false => Verdict::Unreadable("no copy of the superblock is valid".to_owned()),
        };
    };
    let equal = copies.iter().filter(|copy| copy.name == newest.name && copy.sequence == newest.sequence);
    let confirmed = equal.count() >= 2
        || copies.iter().any(|copy| copy.sequence + 1 == newest.sequence && copy.name == newest.parent)
        || (newest.sequence == 1 && second_pair_blank);
    if confirmed {
        Verdict::Newest(newest.clone())
    } else {
        Verdict::Unreadable(format!("only one copy of superblock {} is valid", newest.sequence))
    }
}

/// Brings all copies back to the newest, damaged ones first and one at a time, so that a crash in
/// between leaves at least the evidence that there was before. A damaged one is replaced to the end
/// of its slot: an unreadable sector behind a short superblock would outlive every write.
fn heal<F: DiskFile>(file: &F, slots: &[Slot], newest: &Copy) -> io::Result<()> {
    let is_newest = |slot: &Slot| matches!(slot, Slot::Valid(copy) if copy.name == newest.name && copy.sequence == newest.sequence);
    let is_stale = |slot: &Slot| matches!(slot, Slot::Valid(_)) && !is_newest(slot);
    let damaged = (0..COPY_COUNT).filter(|index| !matches!(slots[*index], Slot::Valid(_)));
    let stale = (0..COPY_COUNT).filter(|index| is_stale(&slots[*index]));
    for index in damaged {
        let mut raw = encode_copy(index, newest);
        raw.resize(SLOT_SIZE, 0);
        file.write_at((index * SLOT_SIZE) as u64, &raw)?;
        file.sync()?;
    }
    for index in stale {
        write_copy(file, index, newest)?;
        file.sync()?;
    }
    Ok(())
}

fn read_slots<F: DiskFile>(file: &F) -> io::Result<Vec<Slot>> {
    let len = file.len()?;
    let mut slots = Vec::with_capacity(COPY_COUNT);
    for index in 0..COPY_COUNT {
        let offset = (index * SLOT_SIZE) as u64;
        if offset + SLOT_SIZE as u64 > len {
            // The file is cut only while it is being formatted.
            slots.push(Slot::Blank);
            continue;
        }
        let mut raw = vec![0; SLOT_SIZE];
        slots.push(match file.read_at(offset, &mut raw) {
            Ok(()) => read_slot(index, Bytes::from(raw)),
            Err(error) if is_unreadable(&error) => Slot::Damaged,
            Err(error) => return Err(error),
        });
    }
    Ok(slots)
}

fn read_slot(index: usize, raw: Bytes) -> Slot {
    if raw.iter().all(|byte| *byte == 0) {
        return Slot::Blank;
    }
    decode_copy(index, raw).unwrap_or(Slot::Damaged)
}

fn decode_copy(index: usize, raw: Bytes) -> Option<Slot> {
    let mut input = Decoder::new(raw.clone());
    let checksum = Checksum::new(input.u128("checksum").ok()?);
    let magic = input.raw(8, "magic").ok()?;
    let version = input.u32("version").ok()?;
    let copy = input.u32("copy").ok()?;
    let parent = Checksum::new(input.u128("parent").ok()?);
    let sequence = input.u64("sequence").ok()?;
    let size = input.u32("size").ok()? as usize;
    input.u32("zero").ok()?;
    let end = HEADER_SIZE.checked_add(size).filter(|end| *end <= raw.len())?;
    if magic.as_ref() != MAGIC || checksum != Checksum::of(&raw[16..end]) || copy as usize != index {
        return None;
    }
    if version != VERSION {
        return Some(Slot::Foreign(version));
    }
    let body = raw.slice(HEADER_SIZE..end);
    Some(Slot::Valid(Copy { sequence, parent, name: Checksum::of(&body), body }))
}

fn encode_copy(index: usize, copy: &Copy) -> Vec<u8> {
    let mut rest = Encoder::with_capacity(HEADER_SIZE + copy.body.len());
    rest.raw(MAGIC);
    rest.u32(VERSION);
    rest.count(index);
    rest.u128(copy.parent.get());
    rest.u64(copy.sequence);
    rest.count(copy.body.len());
    rest.u32(0);
    rest.raw(&copy.body);
    let rest = rest.finish();

    let mut raw = Checksum::of(&rest).get().to_le_bytes().to_vec();
    raw.extend_from_slice(&rest);
    raw.resize(raw.len().next_multiple_of(SECTOR_SIZE), 0);
    raw
}

fn write_copy<F: DiskFile>(file: &F, index: usize, copy: &Copy) -> io::Result<()> {
    file.write_at((index * SLOT_SIZE) as u64, &encode_copy(index, copy))
}

#[cfg(test)]
mod tests;
