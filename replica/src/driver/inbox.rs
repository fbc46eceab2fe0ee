//! What a thread still has to do: a queue with two lanes.
//!
//! Completions are never refused: there are as many as there is work under way, which somebody else
//! bounds. Messages are refused beyond a bound: the protocol lives with loss, and a queue that only
//! grows helps nobody.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub struct Inbox<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    messages_max: usize,
    bytes_max: usize,
}

struct State<T> {
    completions: VecDeque<T>,
    messages: VecDeque<(T, usize)>,
    bytes: usize,
    refused: u64,
    closed: bool,
    /// Whether somebody waits: waking is a system call, and most of what arrives finds the thread at
    /// work.
    awaited: bool,
}

impl<T> Inbox<T> {
    pub fn new(messages_max: usize, bytes_max: usize) -> Inbox<T> {
        let state = State {
            completions: VecDeque::new(),
            messages: VecDeque::new(),
            bytes: 0,
            refused: 0,
            closed: false,
            awaited: false,
        };
        Inbox { state: Mutex::new(state), arrived: Condvar::new(), messages_max, bytes_max }
    }

    /// For a thread that is given work by one other, which knows how much is under way.
    pub fn for_completions() -> Inbox<T> {
        Inbox::new(0, 0)
    }

    /// A thread that panics ends the process; a poisoned lock is never seen by anybody who matters.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that was under way has ended.
    pub fn complete(&self, what: T) {
        let mut state = self.lock();
        if !state.closed {
            state.completions.push_back(what);
            self.wake(state);
        }
    }

    /// After something was put in. Whoever waits does not wait for the lock as well.
    fn wake(&self, mut state: MutexGuard<'_, State<T>>) {
        if std::mem::take(&mut state.awaited) {
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Something arrived that takes about `bytes` of memory. False if there is no room for it.
    pub fn offer(&self, what: T, bytes: usize) -> bool {
        self.try_offer(what, bytes).is_ok()
    }

    /// Like `offer`, but what is refused comes back.
    pub fn try_offer(&self, what: T, bytes: usize) -> Result<(), T> {
        let mut state = self.lock();
        let full = state.messages.len() >= self.messages_max || state.bytes + bytes > self.bytes_max;
        if state.closed || (full && !state.messages.is_empty()) {
            state.refused += 1;
            return Err(what);
        }
        state.bytes += bytes;
        state.messages.push_back((what, bytes));
        self.wake(state);
        Ok(())
    }

    /// Takes everything there is, completions first; waits until `deadline` if there is nothing.
    /// False once the inbox is closed and empty.
    pub fn take(&self, out: &mut Vec<T>, deadline: Option<Instant>) -> bool {
        let mut state = self.lock();
        while state.completions.is_empty() && state.messages.is_empty() && !state.closed {
            match deadline {
                None => {
                    state.awaited = true;
                    state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some(deadline) => {
                    let patience = deadline.saturating_duration_since(Instant::now());
                    if patience == Duration::ZERO {
                        return true;
                    }
                    state.awaited = true;
                    let waited = self.arrived.wait_timeout(state, patience);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        state.awaited = false;
        let drained = !state.completions.is_empty() || !state.messages.is_empty();
        state.bytes = 0;
        out.extend(state.completions.drain(..));
        out.extend(state.messages.drain(..).map(|(what, _)| what));
        drained || !state.closed
    }

    /// Nothing more is accepted. What is there is still taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    pub fn len(&self) -> usize {
        let state = self.lock();
        state.completions.len() + state.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often something was refused since the beginning.
    pub fn refused(&self) -> u64 {
        self.lock().refused
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn completions_come_first_and_are_never_refused() {
        let inbox = Inbox::new(2, 100);
        assert!(inbox.offer("m1", 10));
        assert!(inbox.offer("m2", 10));
        assert!(!inbox.offer("m3", 10));
        inbox.complete("c1");
        inbox.complete("c2");

        let mut all = Vec::new();
        assert!(inbox.take(&mut all, None));
        assert_eq!(all, ["c1", "c2", "m1", "m2"]);
        assert_eq!(inbox.refused(), 1);
        assert!(inbox.offer("m4", 10));
    }

    #[test]
    fn one_message_is_accepted_however_large() {
        let inbox = Inbox::new(10, 100);
        assert!(inbox.offer(1, 1000));
        assert!(!inbox.offer(2, 1));
    }

    #[test]
    fn whoever_waits_is_woken_and_told_of_the_end() {
        let inbox = Arc::new(Inbox::new(10, 100));
        let waiter = {
            let inbox = inbox.clone();
            std::thread::spawn(move || {
                let mut all = Vec::new();
                while inbox.take(&mut all, None) {}
                all
            })
        };
        assert!(inbox.offer(1, 1));
        inbox.complete(2);
        inbox.close();
        inbox.complete(3);
        let mut all = waiter.join().unwrap();
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
    }

    #[test]
    fn nothing_to_do_until_the_deadline_is_no_end() {
        let inbox: Inbox<u8> = Inbox::new(1, 1);
        let mut all = Vec::new();
        assert!(inbox.take(&mut all, Some(Instant::now() + Duration::from_millis(5))));
        assert!(all.is_empty());
    }
}
