//! The replicated state: tables, sessions, and who is who. One entry of the log at a time goes in,
//! one reply for each of its requests comes out, the same on every replica.
//!
//! The first byte of a key says whose row it is: `0x01` sessions, `0x02` membership, up to `0x0f`
//! reserved for more of the like; from `0x10` on everything belongs to the state machine.

mod membership;
mod reply;
mod session;
mod sessions;

use bytes::Bytes;

pub use reply::{Outcome, REASON_SIZE_MAX, Refusal, Reply};
pub(crate) use reply::{decode_reason, encode_reason};
pub(crate) use session::Session;
pub use sessions::{Admission, SessionFacts, Sessions};

use crate::canary::{Canary, planted, whim};
use crate::config::Limits;
use crate::entry::{Entry, EntryHeader, Operation, Request};
use crate::machine::{Context, Invalid, Machine, QueryContext};
use crate::tables::{ReplicaTables, TableFault};
use crate::types::{Checksum, Incarnation, Nonce, Op, REPLICAS_MAX, ReplicaId, SessionId, Timestamp};
use membership::Membership;

#[derive(Clone)]
pub struct State<M, T> {
    machine: M,
    tables: T,
    limits: Limits,
    /// The last entry whose requests have taken effect.
    applied: EntryHeader,
    applied_name: Checksum,
    sessions: Sessions,
    membership: Membership,
}

/// Where and when a request takes effect.
#[derive(Clone, Copy)]
struct Place {
    op: Op,
    index: usize,
    timestamp: Timestamp,
}

impl<M: Machine, T: ReplicaTables> State<M, T> {
    /// The state as the tables hold it durably. Tables in the middle of a sync hold no state at all:
    /// `reload` once they do.
    pub fn new(machine: M, tables: T, limits: Limits) -> Result<State<M, T>, TableFault> {
        let applied = tables.durable().header.clone();
        let applied_name = applied.name();
        let sessions = Sessions::new(&limits);
        let membership = Membership::default();
        let mut state = State { machine, tables, limits, applied, applied_name, sessions, membership };
        if state.tables.syncing().is_none() {
            state.reload()?;
        }
        Ok(state)
    }

    /// Forgets what memory holds for what the tables hold: after a sync has replaced them.
    pub fn reload(&mut self) -> Result<(), TableFault> {
        let applied = self.tables.durable().header.clone();
        self.membership = Membership::load(&self.tables, &applied)?;
        self.sessions = Sessions::load(&self.tables, &self.limits)?;
        self.applied_name = applied.name();
        self.applied = applied;
        Ok(())
    }

    pub fn applied(&self) -> &EntryHeader {
        &self.applied
    }

    pub fn applied_name(&self) -> Checksum {
        self.applied_name
    }

    pub fn machine(&self) -> &M {
        &self.machine
    }

    pub fn tables(&self) -> &T {
        &self.tables
    }

    pub fn tables_mut(&mut self) -> &mut T {
        &mut self.tables
    }

    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// As of the applied entry.
    pub fn incarnations(&self) -> [Incarnation; REPLICAS_MAX] {
        self.membership.incarnations
    }

    /// Whether the `Rejoin` with this nonce was applied: whose it was, and its op.
    pub fn rejoined(&self, nonce: Nonce) -> Option<(ReplicaId, Op)> {
        self.membership.rejoined(nonce)
    }

    /// Answers as of the applied entry.
    pub fn query(&self, query: &Bytes) -> Result<Result<Bytes, Invalid>, TableFault> {
        let context = QueryContext {
            applied: self.applied.op,
            sessions: &self.sessions,
            incarnations: &self.membership.incarnations,
        };
        self.machine.query(&self.tables, &context, query)
    }

    /// Gives the next committed entry its effect. The replies are in the order of its requests.
    pub fn apply(&mut self, entry: &Entry) -> Result<Vec<Reply>, TableFault> {
        let header = &entry.header;
        assert_eq!(header.op, self.applied.op.next(), "the entry follows the applied one");
        assert_eq!(header.parent, self.applied_name);
        assert!(header.timestamp > last_timestamp(&self.applied));
        let mut replies = Vec::new();
        for (request, index) in requests(entry).iter().zip(0_u32..) {
            let timestamp = header.timestamp.plus(u64::from(index) + whim());
            replies.push(
                self.apply_request(request, Place { op: header.op, index: index as usize, timestamp })?,
            );
        }
        assert_eq!(header.incarnations, self.membership.incarnations);
        self.applied = header.clone();
        self.applied_name = entry.name;
        Ok(replies)
    }

    /// Lets the tables freeze the state as of the applied entry.
    pub fn freeze(&mut self) {
        if !planted(Canary::SessionsForgotten) {
            self.sessions.save(&mut self.tables);
        }
        self.membership.save(&mut self.tables, &self.applied);
        self.tables.freeze(&self.applied);
    }

    /// The session is checked before the deadline: a retry that comes too late repeats the first
    /// answer, whatever that was. A deadline that has passed is an answer too, and is kept, so that
    /// no later copy of the request takes effect.
    fn apply_request(&mut self, request: &Request, place: Place) -> Result<Reply, TableFault> {
        match self.sessions.check(request) {
            Admission::New => {}
            _ if planted(Canary::RetryPreparedTwice)
                && matches!(request.operation, Operation::Machine(_)) => {}
            Admission::Answered(first) => return Ok(first),
            Admission::OutsideWindow => return Ok(refused(request, place, Refusal::OutsideWindow)),
            Admission::SessionGone => return Ok(refused(request, place, Refusal::SessionGone)),
        }
        let in_session = matches!(
            request.operation,
            Operation::Keepalive { .. } | Operation::Close | Operation::Machine(_)
        );
        if in_session {
            self.sessions.hear(request, place.op, place.timestamp);
        }
        let reply = match place.timestamp > request.deadline && !planted(Canary::LateRequestExecuted) {
            true => refused(request, place, Refusal::DeadlinePassed),
            false => self.execute(request, place)?,
        };
        if in_session {
            self.sessions.keep_reply(&reply);
        }
        Ok(reply)
    }

    /// Executes a request that is neither a retry nor too late.
    fn execute(&mut self, request: &Request, place: Place) -> Result<Reply, TableFault> {
        let outcome = match &request.operation {
            Operation::Register => {
                let id = SessionId::from_register(place.op, place.index);
                return Ok(self.sessions.register(request, id, place.timestamp));
            }
            Operation::Keepalive { oldest_live_upload, oldest_read } => {
                self.sessions.keepalive(request.session, *oldest_live_upload, *oldest_read, place.op);
                Outcome::Acknowledged
            }
            Operation::Close => {
                self.sessions.end(request.session);
                Outcome::Acknowledged
            }
            Operation::Expire { sessions } => {
                self.sessions.expire(sessions, place.timestamp);
                Outcome::Acknowledged
            }
            Operation::Rejoin { replica, nonce } => {
                self.membership.rejoin(*replica, *nonce, place.op);
                Outcome::Acknowledged
            }
            Operation::Machine(operation) => {
                let context = Context {
                    op: place.op,
                    index: place.index,
                    timestamp: place.timestamp,
                    session: request.session,
                    sessions: &self.sessions,
                    incarnations: &self.membership.incarnations,
                };
                let answer = self.machine.apply(&mut self.tables, &context, operation)?;
                assert!(answer.len() <= self.limits.reply_bytes_max);
                Outcome::Done(answer)
            }
        };
        Ok(reply(request, place.op, outcome))
    }
}

/// The batch of an entry. Only a bug can commit a body that does not decode or that holds more
/// requests than can be named; it then has no effect anywhere, which is better than no replica left.
fn requests(entry: &Entry) -> Vec<Request> {
    if u64::from(entry.header.request_count) > SessionId::INDEX_COUNT {
        return Vec::new();
    }
    entry.requests().unwrap_or_default()
}

/// The time of the last request of an entry.
fn last_timestamp(header: &EntryHeader) -> Timestamp {
    header.timestamp.plus(u64::from(header.request_count).saturating_sub(1))
}

fn reply(request: &Request, op: Op, outcome: Outcome) -> Reply {
    Reply { client: request.client, session: request.session, number: request.number, op, outcome }
}

fn refused(request: &Request, place: Place, refusal: Refusal) -> Reply {
    reply(request, place.op, Outcome::Refused(refusal))
}

#[cfg(test)]
mod tests;
