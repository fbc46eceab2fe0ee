//! Reads that wait for their answers. They have no session: asking twice changes nothing.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Ticket;
use super::retry::Retry;
use crate::types::Tick;

#[derive(Debug)]
pub(super) struct PendingQuery {
    pub(super) ticket: Ticket,
    pub(super) query: Bytes,
    pub(super) retry: Retry,
    pub(super) give_up_at: Tick,
}

#[derive(Debug, Default)]
pub(super) struct Queries {
    /// The last number that was given. Numbers are never used again, so a late answer to another
    /// question is never taken for the answer to this one.
    last: u64,
    pub(super) pending: BTreeMap<u64, PendingQuery>,
}

impl Queries {
    pub(super) fn ask(&mut self, ticket: Ticket, query: Bytes, now: Tick, give_up_at: Tick) {
        self.last += 1;
        let retry = Retry::at_once(now);
        self.pending.insert(self.last, PendingQuery { ticket, query, retry, give_up_at });
    }

    pub(super) fn give_up(&mut self, now: Tick) -> Vec<Ticket> {
        let late = self.pending.extract_if(.., |_, query| query.give_up_at <= now);
        late.map(|(_, query)| query.ticket).collect()
    }

    pub(super) fn redirect(&mut self, now: Tick) {
        for query in self.pending.values_mut() {
            query.retry.redirect(now);
        }
    }
}
