//! What a thread still has to do: a queue with three lanes.
//!
//! Completions are never refused: there are as many as there is work under way, which somebody else
//! bounds. Messages are refused beyond a bound: the protocol lives with loss, and a queue that only
//! grows helps nobody. Those of peers have a lane and a bound of their own, so that a crowd in the
//! ordinary lane neither delays a vote nor has it refused.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub struct Inbox<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    /// Of each lane of messages.
    bounds: Bounds,
    /// How many ordinary messages are taken at once, at most.
    turn_max: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub messages_max: usize,
    pub bytes_max: usize,
}

/// Whose turn comes first among messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    Peers,
    Ordinary,
}

struct State<T> {
    completions: VecDeque<T>,
    peers: Messages<T>,
    ordinary: Messages<T>,
    refused: u64,
    closed: bool,
    /// Whether somebody waits: waking is a system call, and most of what arrives finds the thread at
    /// work.
    awaited: bool,
}

/// One lane, each message with what it takes of memory.
struct Messages<T> {
    queue: VecDeque<(T, usize)>,
    bytes: usize,
}

impl<T> Messages<T> {
    fn new() -> Messages<T> {
        Messages { queue: VecDeque::new(), bytes: 0 }
    }

    /// One message is accepted however large it is.
    fn has_room(&self, bytes: usize, bounds: Bounds) -> bool {
        let full = self.queue.len() >= bounds.messages_max || self.bytes + bytes > bounds.bytes_max;
        !full || self.queue.is_empty()
    }

    fn push(&mut self, what: T, bytes: usize) {
        self.bytes += bytes;
        self.queue.push_back((what, bytes));
    }

    fn take(&mut self, count_max: usize, out: &mut Vec<T>) {
        let count = self.queue.len().min(count_max);
        for (what, bytes) in self.queue.drain(..count) {
            self.bytes -= bytes;
            out.push(what);
        }
    }
}

impl<T> State<T> {
    fn is_empty(&self) -> bool {
        self.completions.is_empty() && self.peers.queue.is_empty() && self.ordinary.queue.is_empty()
    }
}

impl<T> Inbox<T> {
    pub fn new(messages_max: usize, bytes_max: usize) -> Inbox<T> {
        Inbox::with_turns(Bounds { messages_max, bytes_max }, usize::MAX)
    }

    /// The bounds hold for each lane. No more than `turn_max` ordinary messages are taken at once:
    /// whoever takes them looks after everything else in between.
    pub fn with_turns(bounds: Bounds, turn_max: usize) -> Inbox<T> {
        assert!(turn_max > 0);
        let state = State {
            completions: VecDeque::new(),
            peers: Messages::new(),
            ordinary: Messages::new(),
            refused: 0,
            closed: false,
            awaited: false,
        };
        Inbox { state: Mutex::new(state), arrived: Condvar::new(), bounds, turn_max }
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
        self.offer_in(Lane::Ordinary, what, bytes)
    }

    pub fn offer_in(&self, lane: Lane, what: T, bytes: usize) -> bool {
        self.try_offer_in(lane, what, bytes).is_ok()
    }

    /// Like `offer`, but what is refused comes back.
    pub fn try_offer(&self, what: T, bytes: usize) -> Result<(), T> {
        self.try_offer_in(Lane::Ordinary, what, bytes)
    }

    fn try_offer_in(&self, lane: Lane, what: T, bytes: usize) -> Result<(), T> {
        let mut state = self.lock();
        let closed = state.closed;
        let messages = match lane {
            Lane::Peers => &mut state.peers,
            Lane::Ordinary => &mut state.ordinary,
        };
        if closed || !messages.has_room(bytes, self.bounds) {
            state.refused += 1;
            return Err(what);
        }
        messages.push(what, bytes);
        self.wake(state);
        Ok(())
    }

    /// Takes what there is, completions first, then what peers say, then a turn's worth of the rest;
    /// waits until `deadline` if there is nothing. False once the inbox is closed and
    /// empty.
    pub fn take(&self, out: &mut Vec<T>, deadline: Option<Instant>) -> bool {
        let mut state = self.lock();
        while state.is_empty() && !state.closed {
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
        let drained = !state.is_empty();
        out.extend(state.completions.drain(..));
        state.peers.take(usize::MAX, out);
        state.ordinary.take(self.turn_max, out);
        drained || !state.closed
    }

    /// Nothing more is accepted. What is there is still taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    pub fn len(&self) -> usize {
        let state = self.lock();
        state.completions.len() + state.peers.queue.len() + state.ordinary.queue.len()
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
    fn a_crowd_of_clients_neither_delays_nor_displaces_a_peer() {
        let inbox = Inbox::with_turns(Bounds { messages_max: 3, bytes_max: 100 }, 2);
        for client in ["c1", "c2", "c3"] {
            assert!(inbox.offer(client, 30));
        }
        assert!(!inbox.offer("c4", 1));
        assert!(inbox.offer_in(Lane::Peers, "p1", 90));
        assert!(!inbox.offer_in(Lane::Peers, "p2", 20));
        assert_eq!(inbox.refused(), 2);

        let mut turn = Vec::new();
        assert!(inbox.take(&mut turn, None));
        assert_eq!(turn, ["p1", "c1", "c2"]);
        assert_eq!(inbox.len(), 1);

        assert!(inbox.offer_in(Lane::Peers, "p3", 1));
        inbox.complete("done");
        turn.clear();
        assert!(inbox.take(&mut turn, None));
        assert_eq!(turn, ["done", "p3", "c3"]);
    }

    /// What is left of a turn still takes its memory.
    #[test]
    fn what_was_not_taken_still_counts() {
        let inbox = Inbox::with_turns(Bounds { messages_max: 10, bytes_max: 100 }, 1);
        assert!(inbox.offer(1, 40));
        assert!(inbox.offer(2, 60));
        let mut turn = Vec::new();
        assert!(inbox.take(&mut turn, None));
        assert!(!inbox.offer(3, 41));
        assert!(inbox.offer(4, 40));
    }

    #[test]
    fn a_closed_inbox_is_emptied_turn_by_turn() {
        let inbox = Inbox::with_turns(Bounds { messages_max: 10, bytes_max: 100 }, 2);
        assert!((0..5).all(|index| inbox.offer(index, 1)));
        inbox.close();
        let mut all = Vec::new();
        while inbox.take(&mut all, None) {}
        assert_eq!(all, [0, 1, 2, 3, 4]);
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
