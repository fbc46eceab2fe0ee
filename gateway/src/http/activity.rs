//! Whether anything is asked on a connection that carries many requests. One of HTTP/2 has no clock for that:
//! it answers pings, and then it lives. Some thousands that ask nothing, from clients without any key, and
//! there would be no place for others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// What one connection has to do.
pub(super) struct Activity(Mutex<State>);

struct State {
    /// Requests that are not answered to their last byte.
    running: usize,
    /// When there was something to do for the last time.
    last: Instant,
    has_clock: bool,
}

/// Counts a request for as long as it lives.
pub(super) struct Running(Arc<Activity>);

impl Activity {
    pub(super) fn new() -> Arc<Activity> {
        Arc::new(Activity(Mutex::new(State { running: 0, last: Instant::now(), has_clock: false })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(self: &Arc<Activity>) -> Running {
        self.state().running += 1;
        Running(Arc::clone(self))
    }

    /// The protocol of this connection looks after that itself: it is never found idle here.
    pub(super) fn has_clock(&self) {
        self.state().has_clock = true;
    }

    /// Waits until nothing was to do for so long, from now on. May notice it later by as much again: nobody
    /// is woken by what happens meanwhile.
    pub(super) async fn idle(&self, patience: Duration) {
        let began = Instant::now();
        loop {
            let now = Instant::now();
            let since = match *self.state() {
                State { has_clock: false, running: 0, last } => last.max(began),
                _ => now,
            };
            if since + patience <= now {
                return;
            }
            sleep_until(since + patience).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running -= 1;
        state.last = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_when_nothing_ran_for_as_long_as_that() {
        let activity = Activity::new();
        let running = activity.begin();
        assert!(timeout(PATIENCE * 10, activity.idle(PATIENCE)).await.is_err());
        drop(running);
        let ended = Instant::now();
        // Something short, which nobody is woken by.
        sleep(PATIENCE / 2).await;
        drop(activity.begin());
        activity.idle(PATIENCE).await;
        assert!((PATIENCE..=PATIENCE * 3).contains(&ended.elapsed()), "{:?}", ended.elapsed());
        // Whoever waits again waits anew.
        let again = Instant::now();
        activity.idle(PATIENCE).await;
        assert_eq!(again.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_clock_of_its_own_is_left_to_it() {
        let activity = Activity::new();
        activity.has_clock();
        assert!(timeout(PATIENCE * 10, activity.idle(PATIENCE)).await.is_err());
    }
}
