//! The table of sessions: it makes a retried request harmless on every replica, and it knows which
//! clients may still be in the middle of something.
//!
//! It lives in memory and is written to the tables, changed sessions only, when they are frozen: a
//! crash returns to the frozen state anyway and applies the log from there.

use std::collections::{BTreeMap, BTreeSet};

use super::session::{Session, Standing};
use super::{Outcome, Reply, reply};
use crate::canary::{Canary, planted};
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::config::Limits;
use crate::entry::{Operation, Request};
use crate::tables::{Scan, TableFault, Tables};
use crate::types::{ClientId, Op, SessionId, Timestamp};

/// An `Expire` names at most so many sessions; the next one names the rest.
const EXPIRE_COUNT_MAX: usize = 64;

/// Keys of session rows: this byte, then the session in big-endian order.
const KEY_PREFIX: u8 = 0x01;

/// What a state machine may know of a live session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    /// Uploads below this number have ended. Only rises.
    pub oldest_live_upload: u64,
    /// Reads that began below this op have ended. Only rises.
    pub oldest_read: Op,
}

/// What the table says about a request before it is given a place in the log. For the primary this is
/// an answer only once it has applied all that it inherited; `apply` asks again in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    New,
    Answered(Reply),
    OutsideWindow,
    SessionGone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    sessions_max: usize,
    window: u64,
    timeout_micros: u64,
    live: BTreeMap<SessionId, Session>,
    by_client: BTreeMap<ClientId, SessionId>,
    /// The order of eviction and of expiry.
    by_activity: BTreeSet<(Op, SessionId)>,
    by_read: BTreeSet<(Op, SessionId)>,
    /// Changed or ended since they were last written to the tables.
    dirty: BTreeSet<SessionId>,
}

impl Sessions {
    pub(super) fn new(limits: &Limits) -> Sessions {
        Sessions {
            sessions_max: limits.sessions_max,
            window: limits.session_window,
            timeout_micros: limits.session_timeout_micros,
            live: BTreeMap::new(),
            by_client: BTreeMap::new(),
            by_activity: BTreeSet::new(),
            by_read: BTreeSet::new(),
            dirty: BTreeSet::new(),
        }
    }

    pub fn session(&self, id: SessionId) -> Option<SessionFacts> {
        self.live.get(&id).map(|session| session.facts)
    }

    /// The oldest read that any live session may still be in the middle of.
    pub fn oldest_read(&self) -> Option<Op> {
        self.by_read.first().map(|(op, _)| *op)
    }

    pub fn count(&self) -> usize {
        self.live.len()
    }

    /// Whether the request is new, and if not, what to say.
    pub fn check(&self, request: &Request) -> Admission {
        match request.operation {
            Operation::Register => match self.by_client.get(&request.client) {
                Some(id) => Admission::Answered(self.registered(request, *id)),
                None => Admission::New,
            },
            // Proposed by the primary itself; applying them twice changes nothing.
            Operation::Expire { .. } | Operation::Rejoin { .. } => Admission::New,
            Operation::Keepalive { .. } | Operation::Close | Operation::Machine(_) => {
                let session = self.live.get(&request.session);
                match session.filter(|session| session.client == request.client) {
                    None if planted(Canary::EvictedSessionExecutes) => Admission::New,
                    None => Admission::SessionGone,
                    Some(session) => match session.standing(request, self.window) {
                        Standing::New => Admission::New,
                        Standing::Answered(reply) => Admission::Answered(reply),
                        Standing::OutsideWindow => Admission::OutsideWindow,
                    },
                }
            }
        }
    }

    /// Sessions that an `Expire` at `now` would end, the longest idle first, not more than fit into one.
    pub fn idle(&self, now: Timestamp) -> Vec<SessionId> {
        let by_idleness = self.by_activity.iter().map(|(_, id)| *id);
        by_idleness.take_while(|id| self.is_idle(*id, now)).take(EXPIRE_COUNT_MAX).collect()
    }

    fn is_idle(&self, id: SessionId, now: Timestamp) -> bool {
        self.live.get(&id).is_some_and(|session| now.since(session.active_at) >= self.timeout_micros)
    }

    fn registered(&self, request: &Request, id: SessionId) -> Reply {
        let outcome = Outcome::Registered { window: self.window };
        Reply { session: id, ..reply(request, id.registered_at(), outcome) }
    }

    /// Begins the session `id` for the request's client, which has none. If there is no room, the
    /// session that was heard of longest ago ends: the same one on every replica.
    pub(super) fn register(&mut self, request: &Request, id: SessionId, timestamp: Timestamp) -> Reply {
        assert!(!self.by_client.contains_key(&request.client));
        while self.live.len() >= self.sessions_max {
            let (_, oldest) = *self.by_activity.first().expect("a full table has an oldest session");
            self.end(oldest);
        }
        self.insert(id, Session::begin(request.client, id.registered_at(), timestamp));
        self.dirty.insert(id);
        self.registered(request, id)
    }

    /// Takes note of a new request of a live session.
    pub(super) fn hear(&mut self, request: &Request, op: Op, timestamp: Timestamp) {
        self.change(request.session, |session| session.hear(request, op, timestamp));
    }

    /// Keeps the reply for retries, unless the request has ended its own session.
    pub(super) fn keep_reply(&mut self, reply: &Reply) {
        if self.live.contains_key(&reply.session) {
            self.change(reply.session, |session| session.keep_reply(reply));
        }
    }

    /// Raises the watermarks. Reads that a client begins from now on see at least the present op, so
    /// a watermark beyond it would promise too much.
    pub(super) fn keepalive(&mut self, id: SessionId, oldest_live_upload: u64, oldest_read: Op, now: Op) {
        self.change(id, |session| {
            let facts = &mut session.facts;
            facts.oldest_live_upload = facts.oldest_live_upload.max(oldest_live_upload);
            facts.oldest_read = facts.oldest_read.max(oldest_read.min(now));
        });
    }

    /// Ends a session. Its name never returns, so its requests stay refused for ever.
    pub(super) fn end(&mut self, id: SessionId) {
        if self.remove(id).is_some() {
            self.dirty.insert(id);
        }
    }

    /// Ends those of the named sessions that are still idle: some may have been heard of since the
    /// primary named them.
    pub(super) fn expire(&mut self, named: &[SessionId], now: Timestamp) {
        for id in named {
            if self.is_idle(*id, now) {
                self.end(*id);
            }
        }
    }

    fn change(&mut self, id: SessionId, change: impl FnOnce(&mut Session)) {
        let mut session = self.remove(id).expect("the caller has checked that the session lives");
        change(&mut session);
        self.insert(id, session);
        self.dirty.insert(id);
    }

    fn insert(&mut self, id: SessionId, session: Session) {
        self.by_client.insert(session.client, id);
        self.by_activity.insert((session.active_op, id));
        self.by_read.insert((session.facts.oldest_read, id));
        self.live.insert(id, session);
    }

    fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.live.remove(&id)?;
        self.by_client.remove(&session.client);
        self.by_activity.remove(&(session.active_op, id));
        self.by_read.remove(&(session.facts.oldest_read, id));
        Some(session)
    }

    /// Writes the sessions that changed since the last time.
    pub(super) fn save<T: Tables>(&mut self, tables: &mut T) {
        for id in std::mem::take(&mut self.dirty) {
            match self.live.get(&id) {
                None => tables.delete(&key(id)),
                Some(session) => {
                    let mut row = Encoder::new();
                    session.encode(&mut row);
                    tables.put(&key(id), &row.finish());
                }
            }
        }
    }

    pub(super) fn load<T: Tables>(tables: &T, limits: &Limits) -> Result<Sessions, TableFault> {
        let mut sessions = Sessions::new(limits);
        let mut fault = None;
        tables.scan(
            &[KEY_PREFIX],
            Some(&[KEY_PREFIX + 1]),
            &mut |key, value| match decode_row(key, value) {
                Ok((id, session)) if !sessions.by_client.contains_key(&session.client) => {
                    sessions.insert(id, session);
                    Scan::Continue
                }
                Ok((id, _)) => {
                    fault = Some(format!("the client of session {id} has another session"));
                    Scan::Stop
                }
                Err(error) => {
                    fault = Some(format!("a session row: {error}"));
                    Scan::Stop
                }
            },
        )?;
        match fault {
            None => Ok(sessions),
            Some(reason) => Err(TableFault::damage(reason)),
        }
    }
}

fn key(id: SessionId) -> [u8; 9] {
    let mut key = [KEY_PREFIX; 9];
    key[1..].copy_from_slice(&id.get().to_be_bytes());
    key
}

fn decode_row(key: &[u8], value: &[u8]) -> Result<(SessionId, Session), DecodeError> {
    let id = key.get(1..).and_then(|id| <[u8; 8]>::try_from(id).ok());
    let id = id.ok_or(DecodeError::Invalid("session.key"))?;
    let mut input = Decoder::copying(value);
    let session = Session::decode(&mut input)?;
    input.finish()?;
    Ok((SessionId::new(u64::from_be_bytes(id)), session))
}

#[cfg(test)]
impl Sessions {
    /// Live sessions with given facts, for the tests of state machines.
    pub(crate) fn with(live: impl IntoIterator<Item = (SessionId, SessionFacts)>) -> Sessions {
        let mut sessions = Sessions::new(&Limits::standard());
        for (id, facts) in live {
            let client = ClientId::new(u128::from(id.get()));
            let mut session = Session::begin(client, id.registered_at(), Timestamp::ZERO);
            session.facts = facts;
            sessions.insert(id, session);
        }
        sessions
    }
}
