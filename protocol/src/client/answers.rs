//! What replicas say. Nothing is trusted to be new, to be in order, or to come from who leads.

use super::machine::{Client, Status};
use super::retry::{Retry, jittered};
use super::session::{Purpose, Session};
use super::{Failure, Output};
use crate::message::{Body, Message, QueryAnswer};
use crate::state::{Outcome, Refusal, Reply};
use crate::types::{Op, ReplicaId, RequestNumber, SessionId};

impl Client {
    pub(super) fn dispatch(&mut self, from: ReplicaId, message: Message) {
        let view = message.view;
        let primary = self.route.primary();
        match message.body {
            Body::Reply(reply) => {
                let settles = reply.client == self.id && self.on_reply(reply);
                if settles {
                    self.route.answered(from, view);
                }
            }
            Body::QueryReply { answer: QueryAnswer::Elsewhere, .. } => self.route.raise(view),
            Body::QueryReply { number, answer: QueryAnswer::Busy, .. } => self.on_query_busy(number),
            Body::QueryReply { number, applied, answer: QueryAnswer::Done(reply) } => {
                if let Some(query) = self.queries.pending.remove(&number) {
                    self.newest_op = self.newest_op.max(applied);
                    self.outputs.push_back(Output::Completed { ticket: query.ticket, op: applied, reply });
                    self.route.answered(from, view);
                }
            }
            Body::QueryReply { number, answer: QueryAnswer::Invalid(reason), .. } => {
                if let Some(query) = self.queries.pending.remove(&number) {
                    self.fail(query.ticket, Failure::Invalid(reason));
                    self.route.answered(from, view);
                }
            }
            Body::Located { replica_count, normal: true } => {
                self.route.resize(replica_count);
                self.route.raise(view);
            }
            _ => {}
        }
        if self.route.primary() != primary {
            self.redirect();
        }
    }

    /// True if the reply settles something.
    fn on_reply(&mut self, reply: Reply) -> bool {
        match reply.outcome {
            Outcome::Registered { window } => self.on_registered(reply.session, window),
            Outcome::Refused(Refusal::Busy) => {
                self.on_busy(reply.session, reply.number);
                false
            }
            Outcome::Refused(Refusal::SessionGone) => {
                self.on_session_gone(reply.session);
                false
            }
            outcome => self.on_outcome(reply.session, reply.number, reply.op, outcome),
        }
    }

    /// Sessions are named in the order in which they begin, and a client has one at a time. So a later
    /// one proves that the present one has ended, the same one proves that it lives, and an earlier
    /// one is an old message, or comes from a replica that lags behind.
    fn on_registered(&mut self, id: SessionId, window: u64) -> bool {
        let current = self.live_session().map(|session| session.id);
        let open = matches!(self.status, Status::Open(_));
        if matches!(self.status, Status::Closed) || current > Some(id) || (open && current == Some(id)) {
            return false;
        }
        let status = std::mem::replace(&mut self.status, Status::Closed);
        match status {
            Status::Registering { doubted: Some(mut session), .. } if session.id == id => {
                session.redirect(self.now);
                self.status = Status::Open(session);
            }
            Status::Registering { doubted: ended, .. } => self.begin(id, window, ended),
            Status::Open(ended) => self.begin(id, window, Some(ended)),
            Status::Closed => {}
        }
        true
    }

    /// What was sent in a session that has ended may have taken effect before.
    fn begin(&mut self, id: SessionId, window: u64, ended: Option<Session>) {
        let keepalive_at = self.now.plus(jittered(self.settings.keepalive_ms, &mut self.random));
        self.status = Status::Open(Session::new(id, self.id, window, keepalive_at));
        for sent in ended.into_iter().flat_map(|session| session.sent.into_values()) {
            if let Purpose::Submitted(ticket) = sent.purpose {
                self.fail(ticket, Failure::Unknown);
            }
        }
        self.outputs.push_back(Output::SessionBegan { session: id });
    }

    /// Nothing is settled yet: asking for a session tells whether this one still lives.
    fn on_session_gone(&mut self, id: SessionId) {
        match std::mem::replace(&mut self.status, Status::Closed) {
            // As was asked for: an earlier copy of the `Close` was executed, and its answer lost.
            Status::Open(session) if session.id == id && session.has_sent(Purpose::Close) => {}
            Status::Open(session) if session.id == id => {
                let mut retry = Retry::at_once(self.now);
                retry.back_off(self.now, &self.settings, &mut self.random);
                self.status = Status::Registering { retry, doubted: Some(session) };
            }
            other => self.status = other,
        }
    }

    fn on_busy(&mut self, id: SessionId, number: RequestNumber) {
        let retry = match &mut self.status {
            Status::Registering { retry, .. } if id == SessionId::ZERO => Some(retry),
            Status::Open(session) if session.id == id => {
                session.sent.get_mut(&number).map(|sent| &mut sent.retry)
            }
            _ => None,
        };
        if let Some(retry) = retry {
            retry.back_off(self.now, &self.settings, &mut self.random);
        }
    }

    fn on_outcome(&mut self, id: SessionId, number: RequestNumber, op: Op, outcome: Outcome) -> bool {
        let Some(session) = self.live_session_mut().filter(|session| session.id == id) else {
            return false;
        };
        let Some(purpose) = session.sent.get(&number).map(|sent| sent.purpose) else {
            return false;
        };
        match (purpose, outcome) {
            (Purpose::Submitted(ticket), Outcome::Done(reply)) => {
                self.newest_op = self.newest_op.max(op);
                self.outputs.push_back(Output::Completed { ticket, op, reply });
            }
            (Purpose::Submitted(ticket), Outcome::Refused(Refusal::Invalid(reason))) => {
                self.fail(ticket, Failure::Invalid(reason));
            }
            // Only the log's word is final. A primary that finds a copy too late has not looked
            // whether another copy was in time.
            (Purpose::Submitted(ticket), Outcome::Refused(Refusal::DeadlinePassed)) => {
                self.fail(ticket, if op == Op::ZERO { Failure::Unknown } else { Failure::Definite });
            }
            (Purpose::Submitted(ticket), Outcome::Refused(Refusal::Full)) => {
                self.fail(ticket, Failure::Full);
            }
            (Purpose::Keepalive | Purpose::Close, Outcome::Acknowledged) => {
                self.newest_op = self.newest_op.max(op);
            }
            (Purpose::Keepalive | Purpose::Close, Outcome::Refused(_)) => {}
            // Not an answer to this. `OutsideWindow` cannot be one either: the number is not below
            // what we called answered, and was not issued beyond the window.
            _ => return false,
        }
        if let Some(session) = self.live_session_mut() {
            session.sent.remove(&number);
        }
        if purpose == Purpose::Close {
            self.status = Status::Closed;
        }
        true
    }

    fn on_query_busy(&mut self, number: u64) {
        if let Some(query) = self.queries.pending.get_mut(&number) {
            query.retry.back_off(self.now, &self.settings, &mut self.random);
        }
    }

    /// The presumed primary is another one: what waits for an answer is asked there.
    fn redirect(&mut self) {
        let now = self.now;
        self.queries.redirect(now);
        match &mut self.status {
            Status::Registering { retry, .. } => retry.redirect(now),
            Status::Open(session) => session.redirect(now),
            Status::Closed => {}
        }
    }
}
