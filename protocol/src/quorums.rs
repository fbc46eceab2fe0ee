//! Quorum sizes: the only place where a majority is computed.

use crate::types::REPLICAS_MAX;

/// The quorums of a configuration of `n` voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorums {
    pub replica_count: usize,
    /// So many durable copies commit an entry.
    pub replication: usize,
    /// So many votes start a view. Every such set meets every replication quorum.
    pub view_change: usize,
    /// So many replicas that never acknowledged an entry prove that it was never committed.
    pub nack: usize,
    /// So many checkpoints of an op allow its log entry to be forgotten.
    pub checkpoint: usize,
    /// So many replicas (the primary among them) that have not promised a later view
    /// prove that no later view had committed anything.
    pub confirmation: usize,
}

impl Quorums {
    pub const fn of(replica_count: usize) -> Quorums {
        assert!(replica_count >= 1);
        assert!(replica_count <= REPLICAS_MAX);
        let replication = replica_count / 2 + 1;
        let replication = if replica_count.is_multiple_of(2) && replica_count > 2 {
            replica_count / 2
        } else {
            replication
        };
        let view_change = replica_count - replication + 1;
        let view_change = if view_change > replication { view_change } else { replication };
        let quorums = Quorums {
            replica_count,
            replication,
            view_change,
            nack: replica_count - replication + 1,
            checkpoint: replication,
            confirmation: replica_count - view_change + 1,
        };
        assert!(quorums.replication + quorums.view_change > replica_count);
        assert!(quorums.nack + quorums.replication > replica_count);
        assert!(quorums.confirmation + quorums.view_change > replica_count);
        quorums
    }

    /// How many disks may be lost at once without losing anything acknowledged.
    pub const fn failures_max(&self) -> usize {
        self.replication - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_are_those_of_the_table() {
        let sizes = |n| {
            let quorums = Quorums::of(n);
            (quorums.replication, quorums.view_change, quorums.nack)
        };
        assert_eq!(sizes(1), (1, 1, 1));
        assert_eq!(sizes(2), (2, 2, 1));
        assert_eq!(sizes(3), (2, 2, 2));
        assert_eq!(sizes(4), (2, 3, 3));
        assert_eq!(sizes(5), (3, 3, 3));
        assert_eq!(sizes(6), (3, 4, 4));
        assert_eq!(sizes(7), (4, 4, 4));
    }
}
