//! What can be seen of a running replica from outside: figures that its threads leave here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::types::{Incarnation, Op, ReplicaId, Room, View};
use protocol::vsr::{Event, PeerStanding, StatusName};

/// A number that one thread sets and others read.
#[derive(Default, Debug)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn add(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something took, in buckets that each double: from 64 µs to about two seconds.
#[derive(Default, Debug)]
pub struct Durations {
    buckets: [AtomicU64; Durations::BUCKETS],
    micros: AtomicU64,
}

impl Durations {
    pub const BUCKETS: usize = 17;
    const FIRST_MICROS: u64 = 64;

    pub fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = (0..Durations::BUCKETS - 1)
            .find(|bucket| micros <= Durations::limit_micros(*bucket))
            .unwrap_or(Durations::BUCKETS - 1);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The upper end of a bucket. The last has none.
    pub const fn limit_micros(bucket: usize) -> u64 {
        Durations::FIRST_MICROS << bucket
    }

    pub fn counts(&self) -> [u64; Durations::BUCKETS] {
        std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed))
    }

    pub fn count(&self) -> u64 {
        self.counts().iter().sum()
    }

    pub fn total(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

/// The core as it was a moment ago.
#[derive(Clone, Debug)]
pub struct CoreVitals {
    pub replica: ReplicaId,
    pub status: StatusName,
    pub is_primary: bool,
    pub view: View,
    pub log_view: View,
    pub head: Op,
    pub durable: Op,
    pub commit: Op,
    pub applied: Op,
    /// Whether all that had been committed when this replica began is applied.
    pub caught_up: bool,
    pub checkpoint: Op,
    pub incarnation: Incarnation,
    pub boot_count: u64,
    /// The incarnations that the applied table knows.
    pub sessions: usize,
    pub rows_in_memory: usize,
    pub amnesiac: bool,
    /// What the disk has room for.
    pub room: Room,
    pub peers: Vec<(ReplicaId, PeerStanding)>,
    pub events: BTreeMap<Event, u64>,
}

impl CoreVitals {
    /// Whether this replica takes part and has applied what is known to be committed, or nearly so. A
    /// backup that has just begun knows of nothing that its own disk does not name: that is not enough.
    pub fn is_ready(&self) -> bool {
        const LAG_OPS_MAX: u64 = 64;
        self.status == StatusName::Normal && self.caught_up && self.commit.since(self.applied) <= LAG_OPS_MAX
    }
}

#[derive(Default, Debug)]
pub struct Vitals {
    core: Mutex<Option<CoreVitals>>,
    pub wal_sync: Durations,
    pub wal_bytes: Gauge,
    /// What the log can take without another segment.
    pub wal_left_bytes: Gauge,
    /// So much free space is not for chunks: the log and the tables need it.
    pub space_needed: Gauge,
    pub messages_in: Gauge,
    pub messages_refused: Gauge,
    pub inbox_depth: Gauge,
}

impl Vitals {
    /// None until the core has started.
    pub fn core(&self) -> Option<CoreVitals> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn publish(&self, core: CoreVitals) {
        *self.core.lock().unwrap_or_else(PoisonError::into_inner) = Some(core);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_falls_into_one_bucket() {
        let durations = Durations::default();
        for micros in [0, 64, 65, 1_000, 5_000_000, 50_000_000] {
            durations.record(Duration::from_micros(micros));
        }
        let counts = durations.counts();
        assert_eq!(durations.count(), 6);
        assert_eq!((counts[0], counts[1], counts[4], counts[16]), (2, 1, 1, 2));
        assert_eq!(durations.total(), Duration::from_micros(55_001_129));
    }
}
