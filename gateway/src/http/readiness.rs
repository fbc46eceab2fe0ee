//! Whether the cluster answers, for whoever asks without a key. Each question is a read that needs a quorum,
//! and there is room for a thousand reads: so all who ask within a second share one.

use std::future::Future;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// For the cluster to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// So old may an answer be.
const AGE_MAX: Duration = Duration::from_secs(1);

/// The last answer, and when it came. Whoever holds the lock asks; the others wait for what it hears.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, bool)>>);

impl Readiness {
    /// `ask`: whether the cluster answers. Called only if nobody has asked of late.
    pub(super) async fn learn<F: Future<Output = bool>>(&self, ask: impl FnOnce() -> F) -> bool {
        let mut last = self.0.lock().await;
        if let Some((_, is_ready)) = last.filter(|(at, _)| at.elapsed() < AGE_MAX) {
            return is_ready;
        }
        let is_ready = timeout(PATIENCE, ask()).await.unwrap_or(false);
        *last = Some((Instant::now(), is_ready));
        is_ready
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{advance, sleep};

    use super::*;

    /// Nobody needs a key to ask, and each question took one of the places of those who have one.
    #[tokio::test(start_paused = true)]
    async fn thousands_who_ask_at_once_ask_the_cluster_once_a_second() {
        let (readiness, asked) = (Readiness::default(), AtomicUsize::new(0));
        let ask = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(10)).await;
            true
        };
        let both = || async { tokio::join!(readiness.learn(ask), readiness.learn(ask)) };
        for expected in 1..4 {
            for _ in 0..1000 {
                assert_eq!(both().await, (true, true));
            }
            assert_eq!(asked.load(Ordering::Relaxed), expected);
            advance(AGE_MAX).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_says_nothing_is_not_ready_until_it_answers() {
        let readiness = Readiness::default();
        let began = Instant::now();
        assert!(!readiness.learn(std::future::pending).await);
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(!readiness.learn(|| async { true }).await, "this was asked a moment ago");
        advance(AGE_MAX).await;
        assert!(readiness.learn(|| async { true }).await);
    }
}
