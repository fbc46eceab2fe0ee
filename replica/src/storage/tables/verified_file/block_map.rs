//! What each block was when it was last written: without it, a write that never happened would go
//! unnoticed, as the block before it is whole.
//!
//! The map has a page for each group of 512 blocks, holding a tag for each: 8 bytes of the checksum
//! of what was written last. A page has two copies. A sync writes the pages that have changed, each
//! over the copy that no longer counts; block 0 seals them all by the exclusive or of their
//! checksums. So the copies that the block 0 before refers to stay until the next one is durable.

use std::io;

use super::stride::{self, BLOCK_SIZE, STRIDE, STRIDE_SIZE, Seal, Stride};
use crate::storage::disk::{DiskFile, is_unreadable};

/// The blocks whose tags fill a page.
pub(super) const GROUP_BLOCKS: u64 = GROUP_SIZE as u64;
const GROUP_SIZE: usize = BLOCK_SIZE / TAG_SIZE;
const TAG_SIZE: usize = 8;
/// The two copies of block 0 stand before all groups.
const GROUPS_START: u64 = 2;
/// The two copies of the map's page stand before the blocks of the group.
const GROUP_STRIDES: u64 = GROUP_BLOCKS + 2;

/// Part of a checksum. Zero: never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u64);

impl Tag {
    pub(super) const NEVER_WRITTEN: Tag = Tag(0);

    pub(super) fn of(checksum: u128) -> Tag {
        let bytes = checksum.to_le_bytes();
        let (half, _) = bytes.split_first_chunk().expect("16 bytes");
        Tag(u64::from_le_bytes(*half).max(1))
    }
}

/// Where block `block` stands, in strides. Block 0 stands elsewhere.
pub(super) fn place_of(block: u64) -> u64 {
    let (group, index) = group_of(block);
    GROUPS_START + group * GROUP_STRIDES + 2 + index
}

/// The group of a block, and its place among the 512.
pub(super) fn group_of(block: u64) -> (u64, u64) {
    assert!(block > 0);
    ((block - 1) / GROUP_BLOCKS, (block - 1) % GROUP_BLOCKS)
}

/// How many strides hold so many blocks.
pub(super) fn strides_for(block_count: u64) -> u64 {
    match block_count {
        0 => 0,
        1 => GROUPS_START,
        _ => place_of(block_count - 1) + 1,
    }
}

fn group_count(block_count: u64) -> u64 {
    block_count.saturating_sub(1).div_ceil(GROUP_BLOCKS)
}

fn place_of_page(group: u64, copy: u64) -> u64 {
    GROUPS_START + group * GROUP_STRIDES + copy
}

#[derive(Debug)]
pub(super) struct BlockMap {
    /// Groups that were cut off stay: their copies on the disk may count until the next sync.
    groups: Vec<Group>,
    /// The groups that are not cut off.
    group_count: usize,
    /// Blocks that were ever written, and not cut off since.
    written: u64,
}

#[derive(Debug)]
struct Group {
    tags: Box<[Tag; GROUP_SIZE]>,
    /// Which of the two copies counts, 0 or 1, and its checksum.
    copy: u64,
    checksum: u128,
    changed: bool,
}

impl Group {
    /// Counts as changed: at its place on the disk may stand one that was cut off before the last
    /// start, and must not be taken for this one.
    fn new() -> Group {
        Group { tags: Box::new([Tag::NEVER_WRITTEN; GROUP_SIZE]), copy: 1, checksum: 0, changed: true }
    }

    /// The newest copy that the sync `sequence` can have referred to. None if there is no such copy:
    /// each group was written by the first sync that had it.
    fn load<F: DiskFile>(file: &F, group: u64, sequence: u64) -> io::Result<Option<Group>> {
        let mut newest: Option<(u64, Group)> = None;
        let mut later = false;
        for copy in 0..2 {
            let place = place_of_page(group, copy);
            let Some(raw) = read_stride(file, place)? else { continue };
            let Stride::Valid(seal, checksum) = stride::decode(&raw, place) else { continue };
            if seal.sequence > sequence {
                later = true;
            } else if newest.as_ref().is_none_or(|(newest, _)| *newest < seal.sequence) {
                let tags = decode_tags(&raw[..BLOCK_SIZE]);
                newest = Some((seal.sequence, Group { tags, copy, checksum, changed: false }));
            }
        }
        // A later copy comes from a sync that a crash interrupted. The next sync takes its place,
        // before it could be taken for part of one that was completed.
        Ok(newest.map(|(_, group)| Group { changed: later, ..group }))
    }
}

impl BlockMap {
    pub(super) fn empty() -> BlockMap {
        BlockMap { groups: Vec::new(), group_count: 0, written: 0 }
    }

    /// The map that `root` seals; None if it is not there.
    pub(super) fn load<F: DiskFile>(file: &F, root: &Seal) -> io::Result<Option<BlockMap>> {
        if file.len()? / STRIDE < strides_for(root.block_count) {
            return Ok(None);
        }
        let mut groups = Vec::new();
        for group in 0..group_count(root.block_count) {
            match Group::load(file, group, root.sequence)? {
                Some(group) => groups.push(group),
                None => return Ok(None),
            }
        }
        let tags = groups.iter().flat_map(|group| group.tags.iter());
        let written = tags.filter(|tag| **tag != Tag::NEVER_WRITTEN).count() as u64;
        let map = BlockMap { group_count: groups.len(), groups, written };
        Ok((map.digest() == root.map).then_some(map))
    }

    pub(super) fn digest(&self) -> u128 {
        self.groups[..self.group_count].iter().fold(0, |digest, group| digest ^ group.checksum)
    }

    pub(super) fn tag(&self, block: u64) -> Tag {
        let (group, index) = group_of(block);
        self.groups[usize::try_from(group).expect("in memory")].tags
            [usize::try_from(index).expect("below 512")]
    }

    pub(super) fn set_tag(&mut self, block: u64, tag: Tag) {
        let (group, index) = group_of(block);
        let group = &mut self.groups[usize::try_from(group).expect("in memory")];
        let before = std::mem::replace(&mut group.tags[usize::try_from(index).expect("below 512")], tag);
        group.changed = true;
        self.written += u64::from(tag != Tag::NEVER_WRITTEN);
        self.written -= u64::from(before != Tag::NEVER_WRITTEN);
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Blocks that are cut off have never been written, should they come back.
    pub(super) fn resize(&mut self, from: u64, to: u64) {
        (to.max(1)..from).for_each(|block| self.set_tag(block, Tag::NEVER_WRITTEN));
        self.group_count = usize::try_from(group_count(to)).expect("a map that fits in memory");
        if self.groups.len() < self.group_count {
            self.groups.resize_with(self.group_count, Group::new);
        }
    }

    /// Encodes the pages that have changed, each for the place of its older copy, which counts from
    /// now on.
    pub(super) fn take_changed(&mut self, sequence: u64) -> Vec<(u64, Vec<u8>)> {
        let mut writes = Vec::new();
        for (number, group) in (0..).zip(&mut self.groups[..self.group_count]) {
            if !std::mem::take(&mut group.changed) {
                continue;
            }
            group.copy = 1 - group.copy;
            let place = place_of_page(number, group.copy);
            let tags: Vec<u8> = group.tags.iter().flat_map(|tag| tag.0.to_le_bytes()).collect();
            let mut raw = Vec::with_capacity(STRIDE_SIZE);
            let seal = Seal { sequence, place, ..Seal::default() };
            group.checksum = stride::encode(&tags, &seal, &mut raw);
            writes.push((place, raw));
        }
        writes
    }
}

fn decode_tags(block: &[u8]) -> Box<[Tag; GROUP_SIZE]> {
    let mut tags = Box::new([Tag::NEVER_WRITTEN; GROUP_SIZE]);
    for (tag, bytes) in tags.iter_mut().zip(block.as_chunks::<TAG_SIZE>().0) {
        *tag = Tag(u64::from_le_bytes(*bytes));
    }
    tags
}

/// None if the medium cannot return it.
pub(super) fn read_stride<F: DiskFile>(file: &F, place: u64) -> io::Result<Option<Vec<u8>>> {
    let mut raw = vec![0; STRIDE_SIZE];
    match file.read_at(place * STRIDE, &mut raw) {
        Ok(()) => Ok(Some(raw)),
        Err(error) if is_unreadable(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
