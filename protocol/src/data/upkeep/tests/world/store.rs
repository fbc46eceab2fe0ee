//! A store of chunks in memory, which can rot and be full.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::HEAD;
use crate::catalog::ChunkId;
use crate::data::outline::{BLOCK_SIZE, ChunkRoot, Outline};
use crate::data::storage::{Found, ReadBlocks, ReadFault, StoreFault};

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) root: ChunkRoot,
    pub(crate) outline: Outline,
    pub(crate) bytes: Bytes,
    /// Blocks that have rotted.
    pub(crate) rotten: BTreeSet<u32>,
}

/// What a replica has on its disk.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) chunks: BTreeMap<ChunkId, Stored>,
    pub(crate) aside: BTreeMap<ChunkId, Stored>,
    pub(crate) full: bool,
}

impl Store {
    pub(crate) fn find(&self, chunk: &ChunkId) -> Result<Found, ReadFault> {
        let stored = self.chunks.get(chunk).ok_or(ReadFault::Absent)?;
        if stored.rotten.contains(&HEAD) {
            return Err(ReadFault::Damaged);
        }
        Ok(Found { root: stored.root, length: u32::try_from(stored.bytes.len()).unwrap() })
    }

    pub(crate) fn read(
        &self,
        chunk: ChunkId,
        root: ChunkRoot,
        first: u32,
        count: u32,
    ) -> Result<ReadBlocks, ReadFault> {
        let stored = self.chunks.get(&chunk).filter(|stored| stored.root == root).ok_or(ReadFault::Absent)?;
        let outline = stored.outline.clone();
        let blocks = u32::try_from(outline.blocks.len()).unwrap();
        if first >= blocks {
            return Err(ReadFault::Absent);
        }
        let end = blocks.min(first.saturating_add(count));
        if stored.rotten.contains(&HEAD) || stored.rotten.range(first..end).next().is_some() {
            return Err(ReadFault::Damaged);
        }
        let at = |block: u32| (block as usize * BLOCK_SIZE as usize).min(stored.bytes.len());
        Ok(ReadBlocks { outline, bytes: stored.bytes.slice(at(first)..at(end)) })
    }

    pub(crate) fn scrub(&self, chunk: &ChunkId, root: ChunkRoot) -> Result<(), ReadFault> {
        match self.chunks.get(chunk) {
            None => Err(ReadFault::Absent),
            Some(stored) if stored.root != root || !stored.rotten.is_empty() => Err(ReadFault::Damaged),
            Some(_) => Ok(()),
        }
    }

    pub(crate) fn put(&mut self, chunk: ChunkId, root: ChunkRoot, bytes: Bytes) -> Result<(), StoreFault> {
        let outline = Outline::of(&bytes);
        if outline.root() != root {
            return Err(StoreFault::Damaged);
        }
        match self.chunks.get(&chunk) {
            Some(stored) if stored.root == root => Ok(()),
            Some(_) => Err(StoreFault::Conflict),
            None if self.full => Err(StoreFault::Full),
            None => {
                self.chunks.insert(chunk, Stored { root, outline, bytes, rotten: BTreeSet::new() });
                Ok(())
            }
        }
    }

    pub(crate) fn walk(&self, after: Option<ChunkId>, limit: usize) -> Vec<ChunkId> {
        let names: BTreeSet<ChunkId> = self.chunks.keys().chain(self.aside.keys()).copied().collect();
        names.into_iter().filter(|chunk| after.is_none_or(|after| *chunk > after)).take(limit).collect()
    }

    pub(crate) fn is_sound(&self, chunk: ChunkId, root: ChunkRoot) -> bool {
        self.scrub(&chunk, root).is_ok()
    }
}
