//! What a replica promises across crashes, in one record that is replaced atomically.

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::entry::EntryHeader;
use crate::message::{Vote, decode_headers};
use crate::tables::{Checkpoint, RowSum};
use crate::types::{ClusterId, Epoch, Incarnation, Nonce, REPLICAS_MAX, Release, ReplicaId, View};

/// The largest encoding: a suffix and a vote of nine headers each, with room to spare.
pub const SUPERBLOCK_SIZE_MAX: usize = 8 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    pub cluster: ClusterId,
    pub replica: ReplicaId,
    pub replica_count: u8,
    pub release: Release,
    pub incarnation: Incarnation,
    /// How often this disk was started.
    pub boot_count: u64,
    pub epoch: Epoch,
    /// Nothing older is accepted.
    pub view: View,
    /// The view whose log this replica holds. Votes are compared by it.
    pub log_view: View,
    /// The newest headers of the log as it was when `log_view` was installed. An entry of the WAL
    /// belongs to the log only if it is one of these, is an ancestor of the first of them, or was
    /// prepared above them in `log_view`.
    pub suffix: Vec<EntryHeader>,
    /// The vote for `view`, while `log_view < view`: resent as it is, never computed again.
    pub vote: Option<Vote>,
    pub checkpoint: Checkpoint,
    /// The disk was lost: no vote until a `Rejoin` with this nonce has been committed.
    pub amnesiac: Option<Nonce>,
    /// The tables were found unreadable and must be fetched from the peers.
    pub tables_lost: bool,
}

impl Superblock {
    /// A new cluster's replica.
    pub fn format(cluster: ClusterId, epoch: Epoch, replica: ReplicaId, replica_count: u8) -> Superblock {
        let genesis = EntryHeader::genesis(cluster, epoch);
        Superblock {
            cluster,
            replica,
            replica_count,
            release: crate::types::RELEASE,
            incarnation: Incarnation::ZERO,
            boot_count: 0,
            epoch,
            view: View::ZERO,
            log_view: View::ZERO,
            suffix: vec![genesis.clone()],
            vote: None,
            checkpoint: Checkpoint { header: genesis, root: RowSum::ZERO },
            amnesiac: None,
            tables_lost: false,
        }
    }

    /// An existing cluster's replica whose disk was lost.
    pub fn replace(
        cluster: ClusterId,
        epoch: Epoch,
        replica: ReplicaId,
        replica_count: u8,
        nonce: Nonce,
    ) -> Superblock {
        Superblock { amnesiac: Some(nonce), ..Superblock::format(cluster, epoch, replica, replica_count) }
    }

    pub fn encode(&self, out: &mut Encoder) {
        out.u128(self.cluster.get());
        out.u8(self.replica.get());
        out.u8(self.replica_count);
        out.u32(self.release.get());
        out.u64(self.incarnation.get());
        out.u64(self.boot_count);
        out.u32(self.epoch.get());
        out.u64(self.view.get());
        out.u64(self.log_view.get());
        out.count(self.suffix.len());
        for header in &self.suffix {
            header.encode(out);
        }
        out.option(self.vote.as_ref(), |out, vote| vote.encode(out));
        self.checkpoint.header.encode(out);
        out.raw(&self.checkpoint.root.to_bytes());
        out.option(self.amnesiac, |out, nonce| out.u128(nonce.get()));
        out.bool(self.tables_lost);
    }

    pub fn decode(input: &mut Decoder) -> Result<Superblock, DecodeError> {
        let superblock = Superblock {
            cluster: ClusterId::new(input.u128("superblock.cluster")?),
            replica: input.replica("superblock.replica")?,
            replica_count: input.u8("superblock.replica_count")?,
            release: Release::new(input.u32("superblock.release")?),
            incarnation: input.incarnation("superblock.incarnation")?,
            boot_count: input.u64("superblock.boot_count")?,
            epoch: Epoch::new(input.u32("superblock.epoch")?),
            view: input.view("superblock.view")?,
            log_view: input.view("superblock.log_view")?,
            suffix: decode_headers(input, "superblock.suffix")?,
            vote: input.option("superblock.vote", Vote::decode)?,
            checkpoint: Checkpoint {
                header: EntryHeader::decode(input)?,
                root: decode_row_sum(input, "superblock.root")?,
            },
            amnesiac: input
                .option("superblock.amnesiac", |input| Ok(Nonce::new(input.u128("superblock.nonce")?)))?,
            tables_lost: input.bool("superblock.tables_lost")?,
        };
        let replica_count = usize::from(superblock.replica_count);
        if replica_count > REPLICAS_MAX || superblock.replica.index() >= replica_count {
            return Err(DecodeError::Invalid("superblock.replica_count"));
        }
        if superblock.log_view > superblock.view {
            return Err(DecodeError::Invalid("superblock.log_view"));
        }
        Ok(superblock)
    }
}

pub(crate) fn decode_row_sum(input: &mut Decoder, field: &'static str) -> Result<RowSum, DecodeError> {
    let raw = input.raw(32, field)?;
    Ok(RowSum::from_bytes(raw.as_ref().try_into().expect("raw returns 32 bytes")))
}
