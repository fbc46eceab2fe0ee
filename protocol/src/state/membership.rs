//! Whose disk is which: the incarnations, and the `Rejoin`s that made them.

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::entry::EntryHeader;
use crate::tables::{TableFault, Tables};
use crate::types::{Incarnation, Nonce, Op, REPLICAS_MAX, ReplicaId};

/// A replica's last few `Rejoin`s are remembered: a copy of one of them that was delayed for so long
/// that this many others came between would have to pass the primary's challenge as well.
const REJOINS_KEPT: usize = 4;

/// The key of the only membership row.
const KEY: [u8; 1] = [0x02];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) incarnations: [Incarnation; REPLICAS_MAX],
    /// By replica, the oldest first.
    rejoins: [Vec<(Nonce, Op)>; REPLICAS_MAX],
}

impl Membership {
    const VERSION: u8 = 1;

    /// A nonce is granted once: its second `Rejoin` would void the votes of the disk that the first
    /// one readmitted. Names of replicas that cannot exist have no effect.
    pub(super) fn rejoin(&mut self, replica: ReplicaId, nonce: Nonce, op: Op) {
        if replica.index() >= REPLICAS_MAX || self.rejoined(nonce).is_some() {
            return;
        }
        self.incarnations[replica.index()] = Incarnation::from_rejoin(op);
        let kept = &mut self.rejoins[replica.index()];
        if kept.len() == REJOINS_KEPT {
            kept.remove(0);
        }
        kept.push((nonce, op));
    }

    /// Who was readmitted with the nonce, and where in the log.
    pub(super) fn rejoined(&self, nonce: Nonce) -> Option<(ReplicaId, Op)> {
        (0_u8..).zip(&self.rejoins).find_map(|(replica, kept)| {
            let (_, op) = kept.iter().find(|(known, _)| *known == nonce)?;
            Some((ReplicaId::new(replica), *op))
        })
    }

    /// The row names the entry after which it was written: rows and log cannot be mixed up.
    pub(super) fn save<T: Tables>(&self, tables: &mut T, applied: &EntryHeader) {
        let mut row = Encoder::new();
        row.u8(Membership::VERSION);
        applied.encode(&mut row);
        for kept in &self.rejoins {
            row.count(kept.len());
            for (nonce, op) in kept {
                row.u128(nonce.get());
                row.u64(op.get());
            }
        }
        tables.put(&KEY, &row.finish());
    }

    pub(super) fn load<T: Tables>(tables: &T, applied: &EntryHeader) -> Result<Membership, TableFault> {
        let fault = |reason: String| TableFault::damage(format!("the membership row: {reason}"));
        match tables.get(&KEY)? {
            None if applied.op == Op::ZERO => Ok(Membership::default()),
            None => Err(fault("missing".into())),
            Some(row) => {
                Membership::decode(&mut Decoder::new(row), applied).map_err(|error| fault(error.to_string()))
            }
        }
    }

    fn decode(input: &mut Decoder, applied: &EntryHeader) -> Result<Membership, DecodeError> {
        if input.u8("membership.version")? != Membership::VERSION {
            return Err(DecodeError::Invalid("membership.version"));
        }
        if EntryHeader::decode(input)? != *applied {
            return Err(DecodeError::Invalid("membership.applied"));
        }
        let mut membership = Membership { incarnations: applied.incarnations, ..Membership::default() };
        for kept in &mut membership.rejoins {
            *kept = input.list(24, "membership.rejoins", |input| {
                Ok((Nonce::new(input.u128("rejoin.nonce")?), input.op("rejoin.op")?))
            })?;
        }
        if input.remaining() > 0 {
            return Err(DecodeError::TrailingBytes);
        }
        Ok(membership)
    }
}
