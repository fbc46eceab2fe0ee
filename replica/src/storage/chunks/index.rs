//! Where each chunk is: an ordered map that takes little more than its entries.
//!
//! Leaves of up to `LEAF_ENTRIES_MAX` entries, found through a tree of their first keys. A leaf that
//! overflows at its end stays full and the next begins with one entry: chunks come in the order of
//! their uploads, and a leaf that was cut in the middle would stay half empty for ever. Room is
//! reserved in small steps. Hence about 36 bytes for each chunk, whatever the order.

use std::collections::BTreeMap;

use protocol::catalog::{BodyId, ChunkId};
use protocol::types::SessionId;

const LEAF_ENTRIES_MAX: usize = 128;
const ROOM_STEP: usize = 8;
const KEY_SIZE: usize = 20;

/// Big endian: compared as bytes, keys have the order of the chunks.
type Key = [u8; KEY_SIZE];

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) page: u32,
    pub(super) slot: u16,
    pub(super) pages: u16,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    place: Place,
}

const _: () = assert!(size_of::<Entry>() == 32);

#[derive(Debug)]
pub(super) struct ChunkIndex {
    /// By the least key that belongs into the leaf. There is always one for the least key of all.
    leaves: BTreeMap<Key, Vec<Entry>>,
    len: u64,
}

impl ChunkIndex {
    pub(super) fn new() -> ChunkIndex {
        ChunkIndex { leaves: BTreeMap::from([([0; KEY_SIZE], Vec::new())]), len: 0 }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn get(&self, chunk: ChunkId) -> Option<Place> {
        let key = key_of(chunk);
        let (_, leaf) = self.leaves.range(..=key).next_back()?;
        let index = leaf.binary_search_by_key(&key, |entry| entry.key).ok()?;
        Some(leaf[index].place)
    }

    /// Returns where the chunk was before.
    pub(super) fn insert(&mut self, chunk: ChunkId, place: Place) -> Option<Place> {
        let entry = Entry { key: key_of(chunk), place };
        let leaf = self.leaf_mut(&entry.key);
        let index = match leaf.binary_search_by_key(&entry.key, |entry| entry.key) {
            Ok(index) => return Some(std::mem::replace(&mut leaf[index].place, place)),
            Err(index) => index,
        };
        if leaf.len() == leaf.capacity() {
            leaf.reserve_exact(ROOM_STEP);
        }
        leaf.insert(index, entry);
        if leaf.len() > LEAF_ENTRIES_MAX {
            let at_end = index + 1 == leaf.len();
            let upper = leaf.split_off(if at_end { index } else { leaf.len() / 2 });
            leaf.shrink_to_fit();
            self.leaves.insert(upper[0].key, upper);
        }
        self.len += 1;
        None
    }

    pub(super) fn remove(&mut self, chunk: ChunkId) -> Option<Place> {
        let key = key_of(chunk);
        let leaf = self.leaf_mut(&key);
        let index = leaf.binary_search_by_key(&key, |entry| entry.key).ok()?;
        let removed = leaf.remove(index).place;
        if leaf.capacity() - leaf.len() > 2 * ROOM_STEP {
            leaf.shrink_to(leaf.len() + ROOM_STEP);
        }
        self.len -= 1;
        self.merge_around(&key);
        Some(removed)
    }

    /// The chunks after this one, in their order.
    pub(super) fn after(&self, after: Option<ChunkId>) -> impl Iterator<Item = (ChunkId, Place)> {
        let after = after.map(key_of);
        let start =
            after.and_then(|key| self.leaves.range(..=key).next_back()).map_or([0; KEY_SIZE], |it| *it.0);
        let entries = self.leaves.range(start..).flat_map(|(_, leaf)| leaf);
        entries
            .skip_while(move |entry| after.is_some_and(|after| entry.key <= after))
            .map(|entry| (chunk_of(&entry.key), entry.place))
    }

    fn leaf_mut(&mut self, key: &Key) -> &mut Vec<Entry> {
        let leaf = self.leaves.range_mut(..=*key).next_back();
        leaf.expect("there is a leaf for the least of all keys").1
    }

    /// Puts a leaf that has become small together with the next one.
    fn merge_around(&mut self, key: &Key) {
        let start = *self.leaves.range(..=*key).next_back().expect("there is a first leaf").0;
        let Some(next) = self.leaves.range(start..).nth(1).map(|(key, _)| *key) else { return };
        let len = self.leaves[&start].len() + self.leaves[&next].len();
        if len <= LEAF_ENTRIES_MAX / 2 {
            let upper = self.leaves.remove(&next).expect("it was found just now");
            let lower = self.leaf_mut(&start);
            lower.reserve_exact(upper.len());
            lower.extend(upper);
        }
    }
}

fn key_of(chunk: ChunkId) -> Key {
    let mut key = [0; KEY_SIZE];
    key[..8].copy_from_slice(&chunk.body.session.get().to_be_bytes());
    key[8..16].copy_from_slice(&chunk.body.upload.to_be_bytes());
    key[16..].copy_from_slice(&chunk.index.to_be_bytes());
    key
}

fn chunk_of(key: &Key) -> ChunkId {
    let (numbers, index) = key.as_chunks::<8>();
    let body = BodyId {
        session: SessionId::new(u64::from_be_bytes(numbers[0])),
        upload: u64::from_be_bytes(numbers[1]),
    };
    body.chunk(u32::from_be_bytes(*index.first_chunk().expect("four bytes are left")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(session: u64, upload: u64, index: u32) -> ChunkId {
        BodyId { session: SessionId::new(session), upload }.chunk(index)
    }

    fn place(number: u32) -> Place {
        Place { segment: number, page: number ^ 7, slot: 3, pages: 4 }
    }

    /// Entries and leaves: what the index takes, but for the allocator's own.
    fn bytes_per_chunk(index: &ChunkIndex) -> u64 {
        let leaf = (KEY_SIZE + size_of::<Vec<Entry>>()) * 2;
        let entries = |leaf: &Vec<Entry>| leaf.capacity() * size_of::<Entry>();
        let bytes: usize = index.leaves.values().map(|it| leaf + entries(it)).sum();
        bytes as u64 / index.len()
    }

    #[test]
    fn a_chunk_takes_less_than_forty_bytes_whether_uploads_alternate_or_come_in_any_order() {
        let mut alternating = ChunkIndex::new();
        for upload in 0..400 {
            for session in 0..100 {
                alternating.insert(chunk(session, upload, 0), place(1));
            }
        }
        assert!(bytes_per_chunk(&alternating) < 40, "{}", bytes_per_chunk(&alternating));

        let mut random = ChunkIndex::new();
        for number in 0..40_000_u64 {
            random.insert(chunk(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0, 0), place(1));
        }
        assert!(bytes_per_chunk(&random) < 40, "{}", bytes_per_chunk(&random));

        for number in (0..40_000_u64).filter(|number| number % 16 != 0) {
            random.remove(chunk(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0, 0)).unwrap();
        }
        assert!(bytes_per_chunk(&random) < 64, "{}", bytes_per_chunk(&random));
    }

    proptest! {
        #[test]
        fn the_index_does_what_an_ordered_map_does(
            steps in prop::collection::vec((any::<bool>(), 0_u64..4, 0_u64..8, 0_u32..40), 0..1500),
        ) {
            let (mut index, mut model) = (ChunkIndex::new(), BTreeMap::new());
            for (number, (keep, session, upload, part)) in (0..).zip(steps) {
                let chunk = chunk(session, upload << 40, part);
                if keep || part % 3 == 0 {
                    prop_assert_eq!(index.insert(chunk, place(number)), model.insert(chunk, place(number)));
                } else {
                    prop_assert_eq!(index.remove(chunk), model.remove(&chunk));
                }
                prop_assert_eq!(index.get(chunk), model.get(&chunk).copied());
            }
            prop_assert_eq!(index.len(), model.len() as u64);
            let all: Vec<_> = model.into_iter().collect();
            prop_assert_eq!(index.after(None).collect::<Vec<_>>(), all.clone());
            for (position, (chunk, _)) in all.iter().enumerate().step_by(17) {
                let rest: Vec<_> = index.after(Some(*chunk)).collect();
                prop_assert_eq!(&rest[..], &all[position + 1..]);
            }
        }
    }
}
