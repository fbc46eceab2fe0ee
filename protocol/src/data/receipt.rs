//! What a replica says when a chunk is durable on its disk.

use std::fmt;

use super::outline::ChunkRoot;
use crate::catalog::ChunkId;
use crate::types::{Incarnation, ReplicaId};
use crate::wire::{wire_bytes, wire_struct};

wire_bytes!(
    /// Only whoever knows the cluster's receipt key can have made it, for this chunk and this disk.
    Proof, 16
);

wire_struct! {
    /// "This chunk of the body is durable on my disk": a replica's word, given after the sync.
    ///
    /// It is good for as long as the disk is the one that gave it: whoever counts it compares the
    /// incarnation with the table's.
    #[derive(Copy)]
    pub struct Receipt {
        /// The chunk's index in the body. The body is the commit's own.
        pub chunk: u32,
        pub node: ReplicaId,
        pub incarnation: Incarnation,
        pub proof: Proof,
    }
}

/// Everything that a receipt vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    pub chunk: ChunkId,
    pub root: ChunkRoot,
    pub length: u32,
    pub layout: u32,
    pub node: ReplicaId,
    pub incarnation: Incarnation,
}

/// Follows from the cluster's key. Replicas make and check receipts with it; nobody else needs it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReceiptKey([u8; 32]);

impl ReceiptKey {
    pub const fn new(key: [u8; 32]) -> ReceiptKey {
        ReceiptKey(key)
    }

    pub fn receipt(&self, holding: &Holding) -> Receipt {
        Receipt {
            chunk: holding.chunk.index,
            node: holding.node,
            incarnation: holding.incarnation,
            proof: self.proof(holding),
        }
    }

    /// Whether the replica that is named in `holding` gave this proof of it. Takes as long for every
    /// wrong proof: whoever tries some must not learn how much of one was right.
    pub fn is_proved(&self, holding: &Holding, proof: &Proof) -> bool {
        let Proof(right) = self.proof(holding);
        right.iter().zip(proof.0).fold(0, |wrong, (right, byte)| wrong | (right ^ byte)) == 0
    }

    pub fn proof(&self, holding: &Holding) -> Proof {
        let Holding { chunk, root, length, layout, node, incarnation } = holding;
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&chunk.body.session.get().to_le_bytes());
        hasher.update(&chunk.body.upload.to_le_bytes());
        hasher.update(&chunk.index.to_le_bytes());
        hasher.update(&root.0);
        hasher.update(&length.to_le_bytes());
        hasher.update(&layout.to_le_bytes());
        hasher.update(&[node.get()]);
        hasher.update(&incarnation.get().to_le_bytes());
        let mut proof = [0; 16];
        proof.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Proof(proof)
    }
}

/// A key is a secret: it is not printed.
impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiptKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::BodyId;
    use crate::types::SessionId;

    #[test]
    fn a_proof_is_good_for_exactly_what_it_was_given_for() {
        let key = ReceiptKey::new([7; 32]);
        let body = BodyId { session: SessionId::new(9), upload: 4 };
        let holding = Holding {
            chunk: body.chunk(2),
            root: ChunkRoot([1; 32]),
            length: 10,
            layout: 1,
            node: ReplicaId::new(1),
            incarnation: Incarnation::new(5),
        };
        let others = [
            Holding { chunk: body.chunk(3), ..holding },
            Holding { chunk: BodyId { upload: 5, ..body }.chunk(2), ..holding },
            Holding { root: ChunkRoot([2; 32]), ..holding },
            Holding { length: 11, ..holding },
            Holding { layout: 2, ..holding },
            Holding { node: ReplicaId::new(2), ..holding },
            Holding { incarnation: Incarnation::new(6), ..holding },
        ];
        assert_eq!(key.proof(&holding), key.receipt(&holding).proof);
        assert!(others.iter().all(|other| key.proof(other) != key.proof(&holding)));
        let Proof(mut bytes) = key.proof(&holding);
        assert!(key.is_proved(&holding, &Proof(bytes)));
        bytes[15] ^= 1;
        assert!(!key.is_proved(&holding, &Proof(bytes)));
        assert_ne!(ReceiptKey::new([8; 32]).proof(&holding), key.proof(&holding));
    }
}
