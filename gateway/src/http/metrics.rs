//! What a gateway counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;

/// Until the head of the answer. Each bucket holds what fell between its limit and the one before.
pub const LATENCY_SECONDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0];

#[derive(Debug, Default)]
pub struct Metrics {
    answers: Mutex<BTreeMap<(&'static str, u16), Answers>>,
    running: AtomicU64,
    turned_away: AtomicU64,
}

/// The answers to one operation with one status.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pub count: u64,
    pub seconds: f64,
    pub buckets: [u64; LATENCY_SECONDS.len()],
}

impl Metrics {
    pub(super) fn on_answer(&self, operation: &'static str, status: StatusCode, took: Duration) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = answers.entry((operation, status.as_u16())).or_default();
        let seconds = took.as_secs_f64();
        answers.count += 1;
        answers.seconds += seconds;
        if let Some(bucket) = LATENCY_SECONDS.iter().position(|limit| seconds <= *limit) {
            answers.buckets[bucket] += 1;
        }
    }

    pub(super) fn on_turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request for as long as what is returned lives.
    pub(super) fn begin(&self) -> Running<'_> {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(&self.running)
    }

    /// By operation and status.
    pub fn answers(&self) -> BTreeMap<(&'static str, u16), Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }

    /// Requests that were told to come again because there were too many.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }
}

pub(super) struct Running<'a>(&'a AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
