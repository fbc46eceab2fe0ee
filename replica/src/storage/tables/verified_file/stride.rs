//! A block and its seal: 4096 bytes, and a sector that tells what they must be.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use crate::storage::disk::SECTOR_SIZE;

pub(super) const BLOCK_SIZE: usize = 4096;
pub(in super::super) const BLOCK: u64 = BLOCK_SIZE as u64;
pub(super) const STRIDE_SIZE: usize = BLOCK_SIZE + SECTOR_SIZE;
pub(in super::super) const STRIDE: u64 = STRIDE_SIZE as u64;
/// Distinguishes these blocks from everything else that is hashed like them.
const DOMAIN: &[u8; 16] = b"viewstone tables";
const CHECKSUM_SIZE: usize = 16;
/// What a seal says, without its checksum.
const SEALED_SIZE: usize = 40;

/// What a checksum covers besides its block.
///
/// ```text
/// ┌───────────┬───────────┬────────┬──────────────┬────────┬─────┐
/// │checksum 16│sequence 8 │place 8 │block count 8 │ map 16 │0…0  │
/// └───────────┴───────────┴────────┴──────────────┴────────┴─────┘
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal {
    /// The number of the sync that makes the block durable.
    pub(super) sequence: u64,
    /// Where in the file the block stands, in strides.
    pub(super) place: u64,
    /// For block 0: how many blocks there are. Zero for the others.
    pub(super) block_count: u64,
    /// For block 0: the digest of the map. Zero for the others.
    pub(super) map: u128,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stride {
    /// With the seal, and the checksum.
    Valid(Seal, u128),
    Blank,
    Damaged,
}

/// Appends block and seal to `out`; returns the checksum.
pub(super) fn encode(block: &[u8], seal: &Seal, out: &mut Vec<u8>) -> u128 {
    assert_eq!(block.len(), BLOCK_SIZE);
    let mut sealed = [0; SEALED_SIZE];
    sealed[..8].copy_from_slice(&seal.sequence.to_le_bytes());
    sealed[8..16].copy_from_slice(&seal.place.to_le_bytes());
    sealed[16..24].copy_from_slice(&seal.block_count.to_le_bytes());
    sealed[24..].copy_from_slice(&seal.map.to_le_bytes());
    let checksum = checksum_of(&sealed, block);
    let end = out.len() + STRIDE_SIZE;
    out.extend_from_slice(block);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&sealed);
    out.resize(end, 0);
    checksum
}

pub(super) fn decode(raw: &[u8], place: u64) -> Stride {
    let (block, trailer) = raw.split_at(BLOCK_SIZE);
    let (checksum, rest) = trailer.split_at(CHECKSUM_SIZE);
    if checksum.iter().all(|byte| *byte == 0) && raw.iter().all(|byte| *byte == 0) {
        return Stride::Blank;
    }
    let checksum = u128::from_le_bytes(checksum.try_into().expect("16 bytes"));
    let sealed = &rest[..SEALED_SIZE];
    let number = |at: usize| u64::from_le_bytes(sealed[at..at + 8].try_into().expect("8 bytes"));
    let map = u128::from_le_bytes(sealed[24..].try_into().expect("16 bytes"));
    let seal = Seal { sequence: number(0), place: number(8), block_count: number(16), map };
    if seal.place != place || checksum != checksum_of(sealed, block) {
        return Stride::Damaged;
    }
    Stride::Valid(seal, checksum)
}

/// XXH3, because this happens for each block that is written or read, and because nobody chooses what
/// a disk does to it: it need not withstand an adversary, as the names of entries and the roots of
/// chunks must. The seal enters as the seed, so that the block needs no copying.
fn checksum_of(sealed: &[u8], block: &[u8]) -> u128 {
    let mut head = [0; DOMAIN.len() + SEALED_SIZE];
    head[..DOMAIN.len()].copy_from_slice(DOMAIN);
    head[DOMAIN.len()..].copy_from_slice(sealed);
    xxh3_128_with_seed(block, xxh3_64(&head))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAL_END: usize = CHECKSUM_SIZE + SEALED_SIZE;

    #[test]
    fn every_flipped_bit_is_noticed_and_so_is_a_block_at_a_wrong_place() {
        let seal = Seal { sequence: 3, place: 5, block_count: 9, map: 11 };
        let mut raw = Vec::new();
        let checksum = encode(&[7; BLOCK_SIZE], &seal, &mut raw);
        assert_eq!(decode(&raw, 5), Stride::Valid(seal, checksum));
        assert_eq!(decode(&raw, 6), Stride::Damaged);
        for byte in (0..BLOCK_SIZE).step_by(97).chain(BLOCK_SIZE..BLOCK_SIZE + SEAL_END) {
            raw[byte] ^= 4;
            assert_eq!(decode(&raw, 5), Stride::Damaged, "byte {byte}");
            raw[byte] ^= 4;
        }
        assert_eq!(decode(&[0; STRIDE_SIZE], 5), Stride::Blank);
    }

    #[test]
    fn the_format_of_a_block_is_fixed() {
        let seal = Seal { sequence: 3, place: 5, block_count: 9, map: 11 };
        let mut raw = Vec::new();
        encode(&[7; BLOCK_SIZE], &seal, &mut raw);
        assert_eq!(raw.len(), 4608);
        let hex: String = raw[4096..4152].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "0bf28825d926065345fe3a197b0e297d\
             0300000000000000050000000000000009000000000000000b000000000000000000000000000000"
        );
        assert!(raw[4152..].iter().all(|byte| *byte == 0));
    }
}
