//! What waits to be sent to one peer. Putting something in never waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use protocol::message::{Class, Message};
use tokio::sync::Notify;

use crate::counters::Tally;
use crate::limits::{CLASSES, MESSAGE_BYTES_MIN, class_limits};

/// A message on its way. It is encoded by whoever writes it, and not by the thread that decides.
pub(crate) struct Outgoing {
    message: Message,
    class: Class,
    size: usize,
}

impl Outgoing {
    pub(crate) fn new(message: Message) -> Outgoing {
        let size = message.size_hint().max(MESSAGE_BYTES_MIN);
        Outgoing { class: message.body.class(), size, message }
    }

    pub(crate) fn frame(&self) -> Bytes {
        self.message.encode()
    }
}

/// A queue for each class.
pub(crate) struct Outbox {
    /// Of the peer to whom it goes.
    pub(super) tally: Arc<Tally>,
    queues: [Queue; CLASSES.len()],
}

struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Outgoing>,
    bytes: usize,
}

impl Waiting {
    fn pop(&mut self) -> Option<Outgoing> {
        let oldest = self.messages.pop_front()?;
        self.bytes -= oldest.size;
        Some(oldest)
    }
}

impl Outbox {
    pub(crate) fn new(tally: Arc<Tally>) -> Arc<Outbox> {
        let queue = |_| Queue { waiting: Mutex::default(), filled: Notify::new() };
        Arc::new(Outbox { tally, queues: CLASSES.map(queue) })
    }

    /// Whoever writes the messages is not told yet: see `wake`.
    ///
    /// When there is no room: a newer control message says more than an older one, so the oldest go.
    /// Of the log and of what is bulk, the older is what the peer needs first, so the new one goes.
    pub(crate) fn push(&self, message: Outgoing) {
        let class = message.class;
        let queue = &self.queues[class as usize];
        let room = class_limits(class).queued_bytes;
        let mut waiting = queue.waiting();
        let mut dropped = 0;
        if class == Class::Control {
            while waiting.bytes + message.size > room && waiting.pop().is_some() {
                dropped += 1;
            }
        }
        if waiting.bytes + message.size > room {
            dropped += 1;
        } else {
            waiting.bytes += message.size;
            waiting.messages.push_back(message);
        }
        drop(waiting);
        self.tally.dropped.add(class, dropped);
    }

    /// After something was pushed: once for all that is sent together, so that it leaves together.
    pub(crate) fn wake(&self, class: Class) {
        self.queues[class as usize].filled.notify_one();
    }

    /// Waits for messages of the class, and takes those that are there, in their order, about
    /// `bytes_max` of them. Only one may wait for a class.
    pub(crate) async fn next_batch(&self, class: Class, bytes_max: usize) -> Vec<Outgoing> {
        let queue = &self.queues[class as usize];
        loop {
            let batch = queue.take(bytes_max);
            if !batch.is_empty() {
                return batch;
            }
            queue.filled.notified().await;
        }
    }

    /// What waited for a connection that is gone is old news by the time of the next one.
    pub(crate) fn clear(&self) {
        for class in CLASSES {
            let cleared = self.queues[class as usize].take(usize::MAX).len();
            self.tally.lost.add(class, cleared as u64);
        }
    }
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics while it holds a queue")
    }

    fn take(&self, bytes_max: usize) -> Vec<Outgoing> {
        let mut waiting = self.waiting();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some(message) = waiting.pop() else { break };
            bytes += message.size;
            batch.push(message);
        }
        batch
    }
}
