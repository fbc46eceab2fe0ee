//! Sessions: which requests take effect, and until when a client counts as alive.

use std::collections::BTreeMap;

use protocol::config::Limits;
use protocol::entry::{Operation, Request};
use protocol::state::{Outcome, Refusal, Reply, SessionFacts};
use protocol::types::{ClientId, Op, RequestNumber, SessionId, Timestamp};

use super::Live;

struct Session {
    client: ClientId,
    registered: Op,
    /// The client has the replies to everything below.
    low: RequestNumber,
    replies: BTreeMap<RequestNumber, Reply>,
    active_op: Op,
    active_at: Timestamp,
    facts: SessionFacts,
}

pub(super) struct Sessions {
    limits: Limits,
    sessions: BTreeMap<SessionId, Session>,
    /// How many had to go because there was no room.
    evicted: u64,
}

/// What is to be done with a request.
pub(super) enum Heard {
    Execute,
    Answered(Reply),
}

impl Sessions {
    pub(super) fn new(limits: &Limits) -> Sessions {
        Sessions { limits: *limits, sessions: BTreeMap::new(), evicted: 0 }
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn live(&self) -> Live {
        self.sessions.iter().map(|(id, session)| (*id, session.facts)).collect()
    }

    /// A request is executed if it is new, in its window, of a live session, and in time. A
    /// registration is settled here: it concerns nothing else.
    pub(super) fn hear(&mut self, request: &Request, op: Op, index: usize, timestamp: Timestamp) -> Heard {
        let late = timestamp > request.deadline;
        match &request.operation {
            Operation::Register => {
                let known = self.sessions.iter().find(|(_, session)| session.client == request.client);
                match known.map(|(id, session)| (*id, session.registered)) {
                    Some((id, registered)) => Heard::Answered(self.registered(request, id, registered)),
                    None if late => Heard::Answered(refused(request, op, Refusal::DeadlinePassed)),
                    None => Heard::Answered(self.register(request, op, index, timestamp)),
                }
            }
            Operation::Expire { .. } | Operation::Rejoin { .. } => match late {
                true => Heard::Answered(refused(request, op, Refusal::DeadlinePassed)),
                false => Heard::Execute,
            },
            Operation::Keepalive { .. } | Operation::Close | Operation::Machine(_) => {
                self.hear_in_session(request, op, timestamp, late)
            }
        }
    }

    fn hear_in_session(&mut self, request: &Request, op: Op, timestamp: Timestamp, late: bool) -> Heard {
        let session = self.sessions.get_mut(&request.session);
        let Some(session) = session.filter(|session| session.client == request.client) else {
            return Heard::Answered(refused(request, op, Refusal::SessionGone));
        };
        if let Some(reply) = session.replies.get(&request.number) {
            return Heard::Answered(reply.clone());
        }
        let low = session.low.max(request.answered_below.min(request.number));
        if request.number < low || request.number.since(low) >= self.limits.session_window {
            return Heard::Answered(refused(request, op, Refusal::OutsideWindow));
        }
        session.low = low;
        session.replies.retain(|number, _| *number >= low);
        session.active_op = op;
        session.active_at = timestamp;
        if late {
            let reply = refused(request, op, Refusal::DeadlinePassed);
            session.replies.insert(request.number, reply.clone());
            return Heard::Answered(reply);
        }
        Heard::Execute
    }

    fn register(&mut self, request: &Request, op: Op, index: usize, timestamp: Timestamp) -> Reply {
        while self.sessions.len() >= self.limits.sessions_max {
            let idle_longest = self.sessions.iter().min_by_key(|(id, session)| (session.active_op, **id));
            let id = *idle_longest.expect("a full table has a session").0;
            self.sessions.remove(&id);
            self.evicted += 1;
        }
        let id = SessionId::from_register(op, index);
        let session = Session {
            client: request.client,
            registered: op,
            low: RequestNumber::new(1),
            replies: BTreeMap::new(),
            active_op: op,
            active_at: timestamp,
            facts: SessionFacts { oldest_live_upload: 0, oldest_read: op },
        };
        self.sessions.insert(id, session);
        self.registered(request, id, op)
    }

    fn registered(&self, request: &Request, id: SessionId, op: Op) -> Reply {
        let outcome = Outcome::Registered { window: self.limits.session_window };
        Reply { client: request.client, session: id, number: request.number, op, outcome }
    }

    /// The operations that concern sessions and nothing else.
    pub(super) fn manage(&mut self, own: SessionId, operation: &Operation, op: Op, timestamp: Timestamp) {
        match operation {
            Operation::Keepalive { oldest_live_upload, oldest_read } => {
                let facts = &mut self.sessions.get_mut(&own).expect("it was just heard of").facts;
                facts.oldest_live_upload = facts.oldest_live_upload.max(*oldest_live_upload);
                facts.oldest_read = facts.oldest_read.max((*oldest_read).min(op));
            }
            Operation::Close => drop(self.sessions.remove(&own)),
            Operation::Expire { sessions } => {
                let timeout = self.limits.session_timeout_micros;
                self.sessions.retain(|id, session| {
                    !sessions.contains(id) || timestamp.since(session.active_at) < timeout
                });
            }
            Operation::Register | Operation::Rejoin { .. } | Operation::Machine(_) => {}
        }
    }

    /// The reply, which the session keeps if it is still there.
    pub(super) fn answer(&mut self, request: &Request, op: Op, outcome: Outcome) -> Reply {
        let Request { client, session, number, .. } = *request;
        let reply = Reply { client, session, number, op, outcome };
        let kept = !matches!(request.operation, Operation::Expire { .. } | Operation::Rejoin { .. });
        if let Some(session) = self.sessions.get_mut(&session).filter(|_| kept) {
            session.replies.insert(number, reply.clone());
        }
        reply
    }
}

fn refused(request: &Request, op: Op, refusal: Refusal) -> Reply {
    let Request { client, session, number, .. } = *request;
    Reply { client, session, number, op, outcome: Outcome::Refused(refusal) }
}
