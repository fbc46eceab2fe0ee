//! How much memory all reads together may take.
//!
//! A reader reads ahead, and whom it reads for may be slow, or not take anything at all. So a read pays for
//! what it may hold before it begins, and gives it back when it ends. The more is taken, the less reads that
//! begin read ahead: a few fast ones have all they can use, and hundreds of slow ones leave room for
//! another.

use std::sync::Arc;
use std::time::Duration;

use protocol::data::outline::BLOCK_SIZE;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::ClusterError;

const BYTES: u32 = 128 << 20;

/// What is shorter does not pay here: it is as long as one block at most, which never waits behind large
/// objects. Answers of that length pay where they leave.
pub(crate) const READ_BYTES_FREE: u64 = BLOCK_SIZE as u64;

/// The least that a read can do with: two blocks ahead, and one of them asked for twice.
const SHARE_MIN: u32 = 3 * BLOCK_SIZE;

/// What a read gets while less than so many quarters are taken.
const SHARES: [(u32, u32); 3] = [(1, 6 << 20), (2, 3 << 19), (4, SHARE_MIN)];

/// A read waits so long for room.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct ReadRoom {
    room: Arc<Semaphore>,
}

/// What one read may hold.
pub(super) struct ReadPlace {
    pub(super) bytes: usize,
    _permit: Option<OwnedSemaphorePermit>,
}

impl ReadRoom {
    pub(super) fn new() -> ReadRoom {
        ReadRoom { room: Arc::new(Semaphore::new(BYTES as usize)) }
    }

    /// For a read of so many bytes.
    pub(super) async fn take(&self, length: u64) -> Result<ReadPlace, ClusterError> {
        if length <= READ_BYTES_FREE {
            return Ok(ReadPlace { bytes: SHARE_MIN as usize, _permit: None });
        }
        let share = self.share(length);
        let taken = timeout(PATIENCE, self.room.clone().acquire_many_owned(share)).await;
        let permit = taken.map_err(|_| ClusterError::Busy("too many objects are being read"))?;
        let permit = permit.expect("the room is never closed");
        Ok(ReadPlace { bytes: share as usize, _permit: Some(permit) })
    }

    /// No more than all of it, and half as much for what is asked for twice.
    fn share(&self, length: u64) -> u32 {
        let free = u32::try_from(self.room.available_permits()).unwrap_or(BYTES);
        let taken = BYTES - free.min(BYTES);
        let share = SHARES
            .into_iter()
            .find(|(quarters, _)| u64::from(taken) * 4 < u64::from(BYTES) * u64::from(*quarters));
        let (_, share) = share.unwrap_or(SHARES[SHARES.len() - 1]);
        u32::try_from(length.saturating_add(length / 2)).unwrap_or(u32::MAX).clamp(SHARE_MIN, share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[tokio::test(start_paused = true)]
    async fn hundreds_of_slow_reads_leave_room_for_another_and_not_without_end() {
        let room = ReadRoom::new();
        let mut places = Vec::new();
        let refused = loop {
            match room.take(GIB).await {
                Ok(place) => places.push(place),
                Err(refused) => break refused,
            }
        };
        assert_eq!(places[0].bytes, 6 << 20);
        assert_eq!(places.last().unwrap().bytes, 192 << 10);
        assert!(places.len() > 300, "{}", places.len());
        let total: usize = places.iter().map(|place| place.bytes).sum();
        assert!(total <= BYTES as usize);
        assert!(matches!(refused, ClusterError::Busy(_)));

        assert!(room.take(16 << 10).await.is_ok(), "little never waits");
        places.pop();
        assert!(room.take(GIB).await.is_ok());
        places.clear();
        assert_eq!(room.take(GIB).await.unwrap().bytes, 6 << 20);
    }

    #[tokio::test]
    async fn a_read_pays_for_no_more_than_there_is() {
        let room = ReadRoom::new();
        assert_eq!(room.take(100 << 10).await.unwrap().bytes, SHARE_MIN as usize);
        assert_eq!(room.take(1 << 20).await.unwrap().bytes, 3 << 19);
        assert_eq!(room.take(u64::MAX).await.unwrap().bytes, 6 << 20);
    }
}
