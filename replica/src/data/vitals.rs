//! What can be seen of a replica's data plane from outside.

use std::sync::{Mutex, PoisonError};

use protocol::data::upkeep::Figures;

use crate::driver::{Durations, Gauge};

#[derive(Default, Debug)]
pub struct DataVitals {
    now: Mutex<DataVitalsNow>,
    pub chunk_sync: Durations,
    pub bytes_stored: Gauge,
    pub bytes_read: Gauge,
    pub chunks: Gauge,
    pub chunk_bytes: Gauge,
    pub quarantined: Gauge,
    pub disk_available: Gauge,
    pub calls: Gauge,
    pub calls_refused: Gauge,
}

#[derive(Clone, Debug, Default)]
pub struct DataVitalsNow {
    /// Whether receipts are given and upkeep works.
    pub ready: bool,
    pub figures: Figures,
    /// For how long nothing that should be here has gone without verification. None before anything
    /// was.
    pub unscrubbed_ms: u64,
}

impl DataVitals {
    pub fn now(&self) -> DataVitalsNow {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn publish(&self, now: DataVitalsNow) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}
