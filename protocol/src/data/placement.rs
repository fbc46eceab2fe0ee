//! Which replicas should hold a chunk: one function of the chunk and the layout.

use crate::catalog::ChunkId;
use crate::quorums::Quorums;
use crate::types::ReplicaId;

/// How chunks are spread over the replicas. Receipts name its version, so that a later layout can be
/// closed to receipts of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub version: u32,
    pub quorums: Quorums,
}

impl Layout {
    pub const fn first(quorums: Quorums) -> Layout {
        Layout { version: 1, quorums }
    }

    /// So many different disks must hold a chunk before anything may refer to it: as many as commit
    /// an entry of the log, so that the bytes survive whatever their record survives.
    pub const fn copies_min(&self) -> usize {
        self.quorums.replication
    }

    /// So many should hold it. Three where there are three, so that any one can be read while
    /// another is repaired.
    pub const fn copies(&self) -> usize {
        let wanted = if self.quorums.replication > 3 { self.quorums.replication } else { 3 };
        if wanted < self.quorums.replica_count { wanted } else { self.quorums.replica_count }
    }

    /// All replicas, each once: first those that should hold the chunk, then those that stand in for
    /// them. Which comes first differs from chunk to chunk, so that reads are spread.
    pub fn order(&self, chunk: ChunkId) -> impl Iterator<Item = ReplicaId> + Clone + use<> {
        let count = self.quorums.replica_count as u64;
        let start = spread(chunk) % count;
        (0..count).map(move |step| {
            let index = u8::try_from((start + step) % count).expect("there are at most seven replicas");
            ReplicaId::new(index)
        })
    }

    /// Those that should hold the chunk.
    pub fn owners(&self, chunk: ChunkId) -> impl Iterator<Item = ReplicaId> + Clone + use<> {
        self.order(chunk).take(self.copies())
    }

    pub fn owns(&self, replica: ReplicaId, chunk: ChunkId) -> bool {
        self.owners(chunk).any(|owner| owner == replica)
    }
}

/// Neighbouring chunks begin at neighbouring replicas, different bodies anywhere.
fn spread(chunk: ChunkId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&chunk.body.session.get().to_le_bytes());
    hasher.update(&chunk.body.upload.to_le_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(first) >> 1) + u64::from(chunk.index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::BodyId;
    use crate::types::SessionId;

    fn chunk(upload: u64, index: u32) -> ChunkId {
        BodyId { session: SessionId::new(4096), upload }.chunk(index)
    }

    #[test]
    fn everybody_is_in_the_order_once_and_owners_come_first() {
        for replica_count in 1..=7 {
            let layout = Layout::first(Quorums::of(replica_count));
            for upload in 1..50 {
                let order: Vec<ReplicaId> = layout.order(chunk(upload, 3)).collect();
                let mut sorted = order.clone();
                sorted.sort();
                sorted.dedup();
                assert_eq!(sorted.len(), replica_count);
                let owners: Vec<ReplicaId> = layout.owners(chunk(upload, 3)).collect();
                assert_eq!(owners, order[..layout.copies()]);
            }
        }
    }

    #[test]
    fn a_chunk_survives_whatever_the_log_survives() {
        for replica_count in 1..=7 {
            let layout = Layout::first(Quorums::of(replica_count));
            assert!(layout.copies_min() > layout.quorums.failures_max());
            assert!(layout.copies_min() <= layout.copies());
            assert!(layout.copies() <= replica_count);
        }
        let copies = |n| Layout::first(Quorums::of(n)).copies();
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(copies), [1, 2, 3, 3, 3, 3, 4]);
    }

    #[test]
    fn chunks_are_spread_evenly() {
        let layout = Layout::first(Quorums::of(5));
        let mut owned = [0; 5];
        for upload in 1..=1000 {
            for owner in layout.owners(chunk(upload, 0)) {
                owned[owner.index()] += 1;
            }
        }
        assert!(owned.iter().all(|count| (500..=700).contains(count)), "{owned:?}");
    }
}
