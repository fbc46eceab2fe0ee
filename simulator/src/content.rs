//! What clients store: bytes that follow from who stored them and where they are, so that any byte
//! can be checked wherever it turns up.

use bytes::Bytes;

/// Names a value: its client and which of that client's values it is.
pub type Name = [u8; 16];

/// Neighbouring words have nothing to do with each other: SplitMix64, read at any place.
fn word(name: Name, index: u64) -> [u8; 8] {
    let [low, high] = [&name[..8], &name[8..]].map(|half| {
        let half = half.try_into().expect("half of sixteen bytes are eight");
        u64::from_le_bytes(half)
    });
    let mut mixed = low ^ high.rotate_left(32) ^ index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).to_le_bytes()
}

/// Bytes of the value from `offset` on.
pub fn bytes(name: Name, offset: u64, length: usize) -> Bytes {
    let skip = usize::try_from(offset % 8).expect("less than eight");
    let mut bytes = Vec::with_capacity(length + 16);
    let mut index = offset / 8;
    while bytes.len() < skip + length {
        bytes.extend_from_slice(&word(name, index));
        index += 1;
    }
    Bytes::from(bytes).slice(skip..skip + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_content_is_the_same_whoever_begins_where() {
        let name = *b"client 1 value 7";
        let whole = bytes(name, 0, 1_000);
        for offset in [0, 1, 7, 8, 9, 500] {
            let part = bytes(name, offset as u64, 1_000 - offset);
            assert_eq!(part, whole.slice(offset..), "from {offset}");
        }
        assert_ne!(whole, bytes(*b"client 1 value 8", 0, 1_000));
        assert_ne!(whole.slice(..496), whole.slice(504..));
    }
}
