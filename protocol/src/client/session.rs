//! One session: the numbers, the window, and what was sent and not yet answered.

use std::collections::BTreeMap;

use super::Ticket;
use super::retry::Retry;
use crate::entry::{Operation, Request};
use crate::types::{ClientId, RequestNumber, SessionId, Tick, Timestamp};

/// So many of the oldest unanswered requests are sent to others than the primary. They are enough to
/// find it or to have it suspected; a whole window to everybody would bury those who must recover.
pub(super) const PROBE_COUNT: usize = 8;

/// Whose request it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Submitted(Ticket),
    Keepalive,
    Close,
}

#[derive(Debug)]
pub(super) struct Sent {
    pub(super) purpose: Purpose,
    /// Resent as it is: a number never stands for anything else.
    pub(super) request: Request,
    pub(super) retry: Retry,
    pub(super) give_up_at: Tick,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    client: ClientId,
    window: u64,
    next_number: RequestNumber,
    pub(super) sent: BTreeMap<RequestNumber, Sent>,
    pub(super) keepalive_at: Tick,
}

impl Session {
    pub(super) fn new(id: SessionId, client: ClientId, window: u64, keepalive_at: Tick) -> Session {
        // A window of zero would be a mistake of the cluster's, and the end of this client.
        let window = window.max(1);
        let next_number = RequestNumber::new(1);
        Session { id, client, window, next_number, sent: BTreeMap::new(), keepalive_at }
    }

    /// All requests below are answered, or given up: the cluster may forget the replies, and refuses
    /// whatever copies are still under way.
    fn answered_below(&self) -> RequestNumber {
        self.sent.first_key_value().map_or(self.next_number, |(oldest, _)| *oldest)
    }

    pub(super) fn has_room(&self) -> bool {
        self.next_number.since(self.answered_below()) < self.window
    }

    pub(super) fn has_sent(&self, purpose: Purpose) -> bool {
        self.sent.values().any(|sent| sent.purpose == purpose)
    }

    /// Something is under way that must be answered before the session may be closed, or that closes it.
    pub(super) fn awaits_end(&self) -> bool {
        self.sent.values().any(|sent| sent.purpose != Purpose::Keepalive)
    }

    /// Gives the operation the next number. It is due at once.
    pub(super) fn issue(
        &mut self,
        purpose: Purpose,
        operation: Operation,
        deadline: Timestamp,
        now: Tick,
        give_up_at: Tick,
    ) {
        assert!(self.has_room());
        let number = self.next_number;
        let request = Request {
            client: self.client,
            session: self.id,
            number,
            answered_below: self.answered_below(),
            deadline,
            operation,
        };
        self.next_number = number.next();
        self.sent.insert(number, Sent { purpose, request, retry: Retry::at_once(now), give_up_at });
    }

    /// What has waited too long is forgotten here; its outcome is unknown.
    pub(super) fn give_up(&mut self, now: Tick) -> Vec<Purpose> {
        let late = self.sent.extract_if(.., |_, sent| sent.give_up_at <= now);
        late.map(|(_, sent)| sent.purpose).collect()
    }

    pub(super) fn redirect(&mut self, now: Tick) {
        for sent in self.sent.values_mut() {
            sent.retry.redirect(now);
        }
    }
}
