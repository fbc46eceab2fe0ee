//! Room for bytes, taken before they are read and given back when they are done with.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of bytes that may be in use at once. Whoever waits first gets room first.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
}

/// Bytes in use: dropping it gives them back.
pub(crate) type Room = OwnedSemaphorePermit;

impl Budget {
    pub(crate) fn of(bytes: usize) -> Budget {
        Budget { free: Arc::new(Semaphore::new(bytes)) }
    }

    /// `bytes` is at most the budget: else this would wait for ever.
    pub(crate) async fn take(&self, bytes: u32) -> Room {
        let free = Arc::clone(&self.free);
        free.acquire_many_owned(bytes).await.expect("no budget is ever closed")
    }
}
