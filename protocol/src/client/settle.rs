//! What becomes due: giving up, numbering, sending, closing.

use super::machine::{Client, Status, Waiting};
use super::retry::{Reach, jittered};
use super::session::{PROBE_COUNT, Purpose};
use super::{Failure, Output, Ticket};
use crate::entry::{Operation, Request};
use crate::message::{Body, Message};
use crate::types::{Incarnation, Op, Peer, RELEASE, ReplicaId, RequestNumber, SessionId, Timestamp};

/// A session may be registered, kept alive or closed at any time.
const NO_DEADLINE: Timestamp = Timestamp::new(u64::MAX);

impl Client {
    pub(super) fn settle(&mut self) {
        self.give_up();
        self.issue();
        self.send_register();
        self.send_requests();
        self.send_queries();
        self.finish_closing();
    }

    fn give_up(&mut self) {
        let now = self.now;
        // All wait equally long, so the first one is given up first.
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.give_up_at <= now) {
            self.fail(waiting.ticket, Failure::Definite);
        }
        for ticket in self.queries.give_up(now) {
            self.fail(ticket, Failure::Definite);
        }
        let given_up = self.live_session_mut().map(|session| session.give_up(now));
        for purpose in given_up.into_iter().flatten() {
            self.fail_unknown(purpose);
        }
    }

    /// What was never sent never takes effect.
    pub(super) fn fail_waiting(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            self.fail(waiting.ticket, Failure::Definite);
        }
    }

    pub(super) fn fail_unknown(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Submitted(ticket) => self.fail(ticket, Failure::Unknown),
            Purpose::Keepalive => {}
            // An abandoned session expires by itself.
            Purpose::Close => self.status = Status::Closed,
        }
    }

    pub(super) fn fail(&mut self, ticket: Ticket, reason: Failure) {
        self.outputs.push_back(Output::Failed { ticket, reason });
    }

    /// Gives numbers to what waits, as far as the window allows. A keepalive goes first: without it
    /// there will soon be no session.
    fn issue(&mut self) {
        let Status::Open(session) = &mut self.status else { return };
        let now = self.now;
        let give_up_at = now.plus(self.settings.timeout_ms);
        if session.keepalive_at <= now && session.has_room() {
            session.keepalive_at = now.plus(jittered(self.settings.keepalive_ms, &mut self.random));
            // One at a time, so that the watermarks arrive in order.
            if !session.has_sent(Purpose::Keepalive) && !session.has_sent(Purpose::Close) {
                let Client { oldest_live_upload, oldest_read, .. } = *self;
                let operation = Operation::Keepalive { oldest_live_upload, oldest_read };
                session.issue(Purpose::Keepalive, operation, NO_DEADLINE, now, give_up_at);
            }
        }
        while session.has_room()
            && let Some(waiting) = self.waiting.pop_front()
        {
            let Waiting { ticket, only_in, operation, deadline, give_up_at } = waiting;
            if only_in.is_some_and(|only| only != session.id) {
                self.outputs.push_back(Output::Failed { ticket, reason: Failure::SessionOver });
                continue;
            }
            let operation = Operation::Machine(operation);
            session.issue(Purpose::Submitted(ticket), operation, deadline, now, give_up_at);
        }
        if self.closing && session.has_room() && !session.awaits_end() {
            session.issue(Purpose::Close, Operation::Close, NO_DEADLINE, now, give_up_at);
        }
    }

    fn send_register(&mut self) {
        let Status::Registering { retry, .. } = &mut self.status else { return };
        if !retry.is_due(self.now) {
            return;
        }
        let reach = retry.send(self.now, &self.settings, &mut self.random);
        let request = Request {
            client: self.id,
            session: SessionId::ZERO,
            number: RequestNumber::new(1),
            answered_below: RequestNumber::new(1),
            deadline: NO_DEADLINE,
            operation: Operation::Register,
        };
        self.send_to(reach, &Body::Request(request));
    }

    fn send_requests(&mut self) {
        let Status::Open(session) = &mut self.status else { return };
        let mut sends = Vec::new();
        for (index, sent) in session.sent.values_mut().enumerate() {
            if sent.retry.is_due(self.now) {
                let reach = sent.retry.send(self.now, &self.settings, &mut self.random);
                let reach = if index < PROBE_COUNT { reach } else { Reach::Primary };
                sends.push((reach, Body::Request(sent.request.clone())));
            }
        }
        for (reach, body) in sends {
            self.send_to(reach, &body);
        }
    }

    fn send_queries(&mut self) {
        let mut sends = Vec::new();
        for (index, (number, query)) in self.queries.pending.iter_mut().enumerate() {
            if query.retry.is_due(self.now) {
                let reach = query.retry.send(self.now, &self.settings, &mut self.random);
                let reach = if index < PROBE_COUNT { reach } else { Reach::Primary };
                sends.push((reach, Body::Query { number: *number, query: query.query.clone() }));
            }
        }
        for (reach, body) in sends {
            self.send_to(reach, &body);
        }
    }

    fn send_to(&mut self, reach: Reach, body: &Body) {
        for replica in self.route.targets(reach, &mut self.random) {
            self.send(replica, body.clone());
        }
    }

    pub(super) fn send(&mut self, to: ReplicaId, body: Body) {
        let message = Message {
            cluster: self.cluster,
            epoch: self.epoch,
            release: RELEASE,
            from: Peer::Client(self.id),
            view: self.route.view(),
            incarnation: Incarnation::ZERO,
            checkpoint: Op::ZERO,
            floor: Op::ZERO,
            body,
        };
        self.outputs.push_back(Output::Send { to, message });
    }

    /// A session that was never begun, or that is in doubt with nothing to learn from it, is left to
    /// expire.
    fn finish_closing(&mut self) {
        if !self.closing || self.closed {
            return;
        }
        if let Status::Registering { doubted, .. } = &self.status
            && doubted.as_ref().is_none_or(|session| session.sent.is_empty())
        {
            self.status = Status::Closed;
        }
        if matches!(self.status, Status::Closed) && self.queries.pending.is_empty() {
            self.closed = true;
            self.outputs.push_back(Output::Closed);
        }
    }
}
