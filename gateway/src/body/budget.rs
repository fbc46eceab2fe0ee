//! How much memory the bodies of all requests together may take.
//!
//! ```text
//!              ┌─── small, documents ────┐
//!  client ────▶│ whole, then in the log  │──────────────▶ operation
//!        │     └─────────────────────────┘
//!        │     ┌──────── filling ────────┐   ┌─────── sending ───────┐
//!        └────▶│ one chunk of each upload│──▶│ chunks on their way   │──▶ replicas
//!              └─────────────────────────┘   └───────────────────────┘
//! ```
//!
//! The memory is in four parts, because what is in them is let go by others:
//!
//! - **Filling** waits for clients, who may take as long as they like. So an upload pays for the one chunk
//!   that it fills before it begins, and keeps that place for all of its chunks. Whoever has begun never
//!   waits for other clients, and however many of them are slow, they hold one chunk each. The more of this
//!   part is taken, the smaller are the chunks of uploads that begin; so a few uploads have large chunks,
//!   which are cheaper, and a hundred slow ones still leave room for another. Those that need large chunks,
//!   because they are long or do not say how long they are, have half of this part at most: ten of them would
//!   keep everybody else out.
//! - **Sending** waits for replicas only, which store a chunk within seconds or fail. A chunk pays with its
//!   bytes from when it is full to when the last of those who send it has let go of it: the permit is
//!   part of the buffer. Who waits gets his turn in order, and what he waits for never waits for a place that
//!   he holds: chunks that are sent need none. This also bounds what slow replicas are asked to store at once,
//!   so that a chunk is not given up only because all others were sent beside it. A body of one chunk takes
//!   its place in the first part with it instead, and need not wait behind large ones.
//! - **Small** bodies travel in the log and never wait behind large ones.
//! - **Documents** say what to delete, or what an upload consists of. They wait for no bodies: to delete and to
//!   complete uploads is what helps when there are too many.
//!
//! Chunks that are stored are kept a while for replicas that are late (a replica that is down is always
//! late). That is the first thing to go when somebody waits: `shortage` is notified.
//!
//! Nobody waits for ever: in the end a request is refused with `SlowDown`, which clients take for what it is.
//! Who has not begun is refused soon. Who has sent a part of its body waits for longer than a chunk on its way
//! may take, because what it has sent would have to be sent again.
//!
//! Not counted: what a connection has read ahead, which hyper bounds, and what the transport has copied and
//! not sent yet, which it bounds for each replica.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::catalog::CHUNK_COUNT_MAX;
use protocol::data::outline::CHUNK_BYTES_MAX;
use protocol::data::put::PutSettings;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::document::DOCUMENT_BYTES_MAX;
use crate::s3::{ErrorCode, S3Error, S3Result};

/// What a gateway takes if nobody says otherwise.
pub const MEMORY_BYTES: usize = 176 << 20;

/// With less, two of the longest documents could not be read at once.
pub const MEMORY_BYTES_MIN: usize = 88 << 20;

/// A request waits so long for memory before it begins.
const PATIENCE: Duration = Duration::from_secs(10);

/// And so long for each chunk when it has begun. Those before it are stored or have failed by then.
const SENDING_PATIENCE: Duration = Duration::from_secs(60);
const _: () = assert!(SENDING_PATIENCE.as_millis() > PutSettings::standard().timeout_ms as u128);

/// So often whoever waits says that memory is short.
const SHORTAGE_INTERVAL: Duration = Duration::from_millis(100);

/// The sizes that chunks have, while less than so many quarters of the memory for filling are taken.
const CHUNK_SIZES: [(usize, u32); 3] = [(2, 4 << 20), (3, 1 << 20), (4, 256 << 10)];

/// Of what is larger there may be only so much.
const CHUNK_SIZE_MODEST: u32 = 1 << 20;

/// A chunk has to be named and receipted in the log, so there are not more of them than need be.
const CHUNK_COUNT: u64 = CHUNK_COUNT_MAX as u64 / 2;

pub struct MemoryBudget {
    small: Arc<Semaphore>,
    documents: Arc<Semaphore>,
    filling: Arc<Semaphore>,
    filling_bytes: usize,
    /// What chunks that are not modest may take of `filling`.
    large: Arc<Semaphore>,
    sending: Arc<Semaphore>,
    bytes: usize,
    shortage: Arc<Notify>,
    patience: Duration,
    sending_patience: Duration,
}

/// An upload's place: it may fill a chunk of this size at a time.
pub(super) struct Place {
    pub(super) chunk_size: u32,
    paid: Paid,
}

/// Of `filling`, and of its large half if that was needed.
struct Paid {
    _permit: OwnedSemaphorePermit,
    _large: Option<OwnedSemaphorePermit>,
}

impl MemoryBudget {
    /// At least `MEMORY_BYTES_MIN`.
    pub fn new(bytes: usize) -> MemoryBudget {
        let bytes = bytes.max(MEMORY_BYTES_MIN);
        let (small, documents, filling) = (bytes / 11, bytes / 11, bytes / 11 * 5);
        let sending = bytes - small - documents - filling;
        assert!(documents >= DOCUMENT_BYTES_MAX);
        assert!(filling / 2 >= CHUNK_BYTES_MAX as usize);
        assert!(sending >= CHUNK_BYTES_MAX as usize);
        MemoryBudget {
            small: Arc::new(Semaphore::new(small)),
            documents: Arc::new(Semaphore::new(documents)),
            filling: Arc::new(Semaphore::new(filling)),
            filling_bytes: filling,
            large: Arc::new(Semaphore::new(filling / 2)),
            sending: Arc::new(Semaphore::new(sending)),
            bytes,
            shortage: Arc::new(Notify::new()),
            patience: PATIENCE,
            sending_patience: SENDING_PATIENCE,
        }
    }

    /// How much is taken now, and how much may be.
    pub fn usage(&self) -> (usize, usize) {
        let parts = [&self.small, &self.documents, &self.filling, &self.sending];
        let free: usize = parts.iter().map(|part| part.available_permits()).sum();
        (self.bytes - free, self.bytes)
    }

    /// Notified while somebody waits for memory.
    pub(super) fn shortage(&self) -> Arc<Notify> {
        self.shortage.clone()
    }

    /// For a body that travels in the log.
    pub(super) async fn small(&self, bytes: usize) -> S3Result<OwnedSemaphorePermit> {
        self.acquire(&self.small, bytes, self.patience).await
    }

    pub(super) async fn document(&self, bytes: usize) -> S3Result<OwnedSemaphorePermit> {
        self.acquire(&self.documents, bytes, self.patience).await
    }

    /// A place for an upload of so many bytes, or of nobody knows how many.
    pub(super) async fn place(&self, length: Option<u64>) -> S3Result<Place> {
        let chunk_size = self.chunk_size(length);
        let large = if chunk_size > CHUNK_SIZE_MODEST {
            Some(self.acquire(&self.large, chunk_size as usize, self.patience).await?)
        } else {
            None
        };
        let permit = self.acquire(&self.filling, chunk_size as usize, self.patience).await?;
        Ok(Place { chunk_size, paid: Paid { _permit: permit, _large: large } })
    }

    /// A chunk that is full and goes on its way: its bytes count until the last copy of the handle is gone.
    pub(super) async fn send(&self, buffer: Vec<u8>) -> S3Result<Bytes> {
        let permit = self.acquire(&self.sending, buffer.len(), self.sending_patience).await?;
        Ok(Bytes::from_owner(Charged { buffer, _paid: permit }))
    }

    fn chunk_size(&self, length: Option<u64>) -> u32 {
        // Whatever its length, it must fit.
        let Some(length) = length else { return CHUNK_BYTES_MAX };
        let taken = self.filling_bytes - self.filling.available_permits();
        let wanted = CHUNK_SIZES.into_iter().find(|(quarters, _)| taken * 4 < self.filling_bytes * quarters);
        let (_, wanted) = wanted.unwrap_or(CHUNK_SIZES[CHUNK_SIZES.len() - 1]);
        let has_room = self.large.available_permits() >= wanted as usize;
        let wanted = if has_room { wanted } else { wanted.min(CHUNK_SIZE_MODEST) };
        let least = length.div_ceil(CHUNK_COUNT).next_power_of_two();
        let chunk_size = u64::from(wanted).max(least).min(length.max(1));
        u32::try_from(chunk_size).unwrap_or(u32::MAX).min(CHUNK_BYTES_MAX)
    }

    async fn acquire(
        &self,
        part: &Arc<Semaphore>,
        bytes: usize,
        patience: Duration,
    ) -> S3Result<OwnedSemaphorePermit> {
        let count = u32::try_from(bytes).expect("no chunk is larger than 8 MiB");
        if let Ok(permit) = part.clone().try_acquire_many_owned(count) {
            return Ok(permit);
        }
        let permit = part.clone().acquire_many_owned(count);
        let shortage = async {
            loop {
                self.shortage.notify_waiters();
                tokio::time::sleep(SHORTAGE_INTERVAL).await;
            }
        };
        tokio::select! {
            permit = permit => Ok(permit.expect("the parts are never closed")),
            () = shortage => unreachable!("it goes on for ever"),
            () = tokio::time::sleep(patience) => Err(S3Error::with(
                ErrorCode::SlowDown,
                "Too many bodies are being uploaded at the moment. Please reduce the rate.",
            )),
        }
    }
}

impl Place {
    /// The only chunk of the upload, which takes the place with it.
    pub(super) fn send_whole(self, buffer: Vec<u8>) -> Bytes {
        assert!(buffer.len() <= self.chunk_size as usize);
        Bytes::from_owner(Charged { buffer, _paid: self.paid })
    }
}

/// Bytes and what was paid for them.
struct Charged<P> {
    buffer: Vec<u8>,
    _paid: P,
}

impl<P> AsRef<[u8]> for Charged<P> {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

#[cfg(test)]
mod tests;
