//! What a chunk's bytes must be, block by block.
//!
//! The catalog holds one root for each chunk. The hashes of the chunk's blocks follow from it, and
//! from each of them the bytes of one block: so a reader trusts whatever bytes fit, wherever they
//! come from, and need not wait for the whole chunk.

use crate::wire::{wire_bytes, wire_struct};

/// The bytes that are verified together. The last block of a chunk may be shorter.
pub const BLOCK_SIZE: u32 = 64 << 10;

/// A chunk may be read and verified by several readers at once, and each holds it in memory.
pub const CHUNK_BYTES_MAX: u32 = 8 << 20;

wire_bytes!(
    /// The BLAKE3 hash of a block's bytes.
    BlockHash, 32
);

wire_bytes!(
    /// The hash over a chunk's length and the hashes of its blocks: what the catalog holds of it.
    ChunkRoot, 32
);

impl BlockHash {
    pub fn of(block: &[u8]) -> BlockHash {
        BlockHash(*blake3::hash(block).as_bytes())
    }
}

wire_struct! {
    /// The hashes of a chunk's blocks. Comes with the bytes; believed once it fits the root.
    pub struct Outline {
        pub length: u32,
        pub blocks: Vec<BlockHash>,
    }
}

impl Outline {
    pub fn of(chunk: &[u8]) -> Outline {
        let blocks = chunk.chunks(BLOCK_SIZE as usize).map(BlockHash::of).collect();
        let length = u32::try_from(chunk.len()).expect("a chunk is at most a few megabytes");
        Outline { length, blocks }
    }

    /// Another domain than the blocks' hashes: no block can pass for a list of hashes.
    pub fn root(&self) -> ChunkRoot {
        let mut hasher = blake3::Hasher::new_derive_key("viewstone 1 root of a chunk");
        hasher.update(&self.length.to_le_bytes());
        for block in &self.blocks {
            hasher.update(&block.0);
        }
        ChunkRoot(*hasher.finalize().as_bytes())
    }

    /// Whether there is a hash for each block, no more and no fewer.
    pub fn is_sound(&self) -> bool {
        self.length > 0
            && self.length <= CHUNK_BYTES_MAX
            && self.blocks.len() == self.length.div_ceil(BLOCK_SIZE) as usize
    }

    /// Whether this is the outline of the chunk that the catalog means.
    pub fn fits(&self, root: &ChunkRoot, length: u32) -> bool {
        self.length == length && self.is_sound() && self.root() == *root
    }

    /// How long block `index` is. None beyond the end.
    pub fn block_length(&self, index: u32) -> Option<u32> {
        let start = index.checked_mul(BLOCK_SIZE)?;
        let rest = self.length.checked_sub(start).filter(|rest| *rest > 0)?;
        Some(rest.min(BLOCK_SIZE))
    }

    /// Whether `bytes` are whole blocks from block `first` on, each with its hash. Never true of
    /// nothing.
    pub fn verifies(&self, first: u32, bytes: &[u8]) -> bool {
        for (index, block) in (first..=u32::MAX).zip(bytes.chunks(BLOCK_SIZE as usize)) {
            let whole = self.block_length(index).is_some_and(|length| length as usize == block.len());
            if !whole || self.blocks.get(index as usize) != Some(&BlockHash::of(block)) {
                return false;
            }
        }
        !bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(length: usize) -> Vec<u8> {
        (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect()
    }

    #[test]
    fn any_run_of_whole_blocks_is_verified_alone() {
        let bytes = chunk(3 * BLOCK_SIZE as usize + 5);
        let outline = Outline::of(&bytes);
        let block = BLOCK_SIZE as usize;
        assert!(outline.fits(&outline.root(), outline.length));
        assert_eq!(outline.blocks.len(), 4);
        assert!(outline.verifies(0, &bytes));
        assert!(outline.verifies(1, &bytes[block..3 * block]));
        assert!(outline.verifies(3, &bytes[3 * block..]));

        assert!(!outline.verifies(0, &bytes[block..2 * block]));
        assert!(!outline.verifies(0, &bytes[..block - 1]));
        assert!(!outline.verifies(3, &bytes[3 * block..3 * block + 4]));
        assert!(!outline.verifies(4, &[]));
        assert!(!outline.verifies(u32::MAX, &bytes[..block]));
    }

    #[test]
    fn one_changed_bit_anywhere_is_noticed() {
        let bytes = chunk(2 * BLOCK_SIZE as usize);
        let outline = Outline::of(&bytes);
        for index in [0, 1, BLOCK_SIZE as usize, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert!(!outline.verifies(0, &changed));
            assert_ne!(Outline::of(&changed).root(), outline.root());
        }
    }

    #[test]
    fn an_outline_with_a_hash_too_many_or_too_few_fits_no_root() {
        let mut outline = Outline::of(&chunk(BLOCK_SIZE as usize + 1));
        outline.blocks.push(BlockHash([0; 32]));
        assert!(!outline.fits(&outline.root(), outline.length));
        outline.blocks.truncate(1);
        assert!(!outline.fits(&outline.root(), outline.length));
        let empty = Outline { length: 0, blocks: vec![] };
        assert!(!empty.fits(&empty.root(), 0));
    }

    /// Roots are in the catalog of every cluster: they can never change.
    #[test]
    fn the_root_of_a_known_chunk_stays_what_it_was() {
        let root = Outline::of(&chunk(100_000)).root();
        assert_eq!(format!("{root:?}"), GOLDEN_ROOT);
    }

    const GOLDEN_ROOT: &str = "2a8bd1bec7919fe11c3d59863332b06b06d5d01e9536197cc22e9caa1b78f06b";
}
