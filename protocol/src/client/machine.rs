//! The client as its driver sees it. Inputs change what is pending, in `answers`; then `settle` does
//! whatever has become due.

use std::collections::VecDeque;

use bytes::Bytes;
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::queries::Queries;
use super::retry::Retry;
use super::route::Route;
use super::session::Session;
use super::{ClientError, ClientSettings, Output, Ticket};
use crate::message::{Body, Message};
use crate::types::{ClientId, ClusterId, Epoch, Op, Peer, SessionId, Tick, Timestamp};

pub struct Client {
    pub(super) id: ClientId,
    pub(super) cluster: ClusterId,
    pub(super) epoch: Epoch,
    pub(super) settings: ClientSettings,
    pub(super) random: Xoshiro256PlusPlus,
    pub(super) now: Tick,
    pub(super) route: Route,
    pub(super) status: Status,
    /// `close` was called.
    pub(super) closing: bool,
    /// `Output::Closed` was given.
    pub(super) closed: bool,
    /// Accepted and never sent. They belong to no session yet.
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) queries: Queries,
    last_ticket: u64,
    /// What the next keepalive says: uploads and reads below have ended.
    pub(super) oldest_live_upload: u64,
    pub(super) oldest_read: Op,
    pub(super) newest_op: Op,
    pub(super) outputs: VecDeque<Output>,
}

pub(super) enum Status {
    Registering {
        retry: Retry,
        /// The session that somebody called gone. A replica that was primary once, and does not know
        /// better, may say so of a session that it has not heard of yet. Only a later session of
        /// this client proves it, because a client has one at a time; the same one disproves it.
        doubted: Option<Session>,
    },
    Open(Session),
    Closed,
}

pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    /// The only session in which it means anything.
    pub(super) only_in: Option<SessionId>,
    pub(super) operation: Bytes,
    pub(super) deadline: Timestamp,
    pub(super) give_up_at: Tick,
}

impl Client {
    /// `id` is random and new at every start of the process. Registers at once.
    pub fn new(
        id: ClientId,
        cluster: ClusterId,
        epoch: Epoch,
        replica_count: u8,
        settings: ClientSettings,
        seed: u64,
        now: Tick,
    ) -> Client {
        let mut client = Client {
            id,
            cluster,
            epoch,
            settings,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            now,
            route: Route::new(replica_count),
            status: Status::Registering { retry: Retry::at_once(now), doubted: None },
            closing: false,
            closed: false,
            waiting: VecDeque::new(),
            queries: Queries::default(),
            last_ticket: 0,
            oldest_live_upload: 0,
            oldest_read: Op::ZERO,
            newest_op: Op::ZERO,
            outputs: VecDeque::new(),
        };
        for replica in client.route.all() {
            client.send(replica, Body::Locate);
        }
        client.settle();
        client
    }

    pub fn id(&self) -> ClientId {
        self.id
    }

    /// The session in which requests are sent. None while there is none, or while it is in doubt.
    pub fn session(&self) -> Option<SessionId> {
        match &self.status {
            Status::Open(session) => Some(session.id),
            Status::Registering { .. } | Status::Closed => None,
        }
    }

    /// Accepts an operation of the state machine. After `deadline`, in cluster time, it can no longer
    /// take effect; after `timeout_ms` its caller is told what is known.
    pub fn submit(
        &mut self,
        now: Tick,
        operation: Bytes,
        deadline: Timestamp,
    ) -> Result<Ticket, ClientError> {
        self.accept(now, operation, deadline, None)
    }

    /// The same for an operation that means nothing in any other session, as what names an upload does:
    /// if this one ends before it is sent, it fails.
    pub fn submit_in(
        &mut self,
        now: Tick,
        session: SessionId,
        operation: Bytes,
        deadline: Timestamp,
    ) -> Result<Ticket, ClientError> {
        self.accept(now, operation, deadline, Some(session))
    }

    fn accept(
        &mut self,
        now: Tick,
        operation: Bytes,
        deadline: Timestamp,
        only_in: Option<SessionId>,
    ) -> Result<Ticket, ClientError> {
        let unanswered = self.waiting.len() + self.live_session().map_or(0, |session| session.sent.len());
        self.check_room(operation.len(), unanswered < self.settings.requests_max)?;
        self.advance(now);
        let ticket = self.next_ticket();
        let give_up_at = self.now.plus(self.settings.timeout_ms);
        self.waiting.push_back(Waiting { ticket, only_in, operation, deadline, give_up_at });
        self.settle();
        Ok(ticket)
    }

    /// Accepts a read.
    pub fn query(&mut self, now: Tick, query: Bytes) -> Result<Ticket, ClientError> {
        self.check_room(query.len(), self.queries.pending.len() < self.settings.queries_max)?;
        self.advance(now);
        let ticket = self.next_ticket();
        let give_up_at = self.now.plus(self.settings.timeout_ms);
        self.queries.ask(ticket, query, self.now, give_up_at);
        self.settle();
        Ok(ticket)
    }

    fn check_room(&self, size: usize, room: bool) -> Result<(), ClientError> {
        if self.closing {
            return Err(ClientError::Closed);
        }
        if size > self.settings.operation_bytes_max {
            return Err(ClientError::TooLarge);
        }
        if room { Ok(()) } else { Err(ClientError::Busy) }
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// The newest op that is known to be committed: whatever is asked from now on is answered as of it
    /// or of a later one. Rises while nobody asks anything, too, because keepalives are answered: an
    /// idle client must not hold back collection for ever.
    pub fn newest_op(&self) -> Op {
        self.newest_op
    }

    /// What the next keepalive says. Both only rise.
    pub fn set_watermarks(&mut self, oldest_live_upload: u64, oldest_read: Op) {
        self.oldest_live_upload = self.oldest_live_upload.max(oldest_live_upload);
        self.oldest_read = self.oldest_read.max(oldest_read);
    }

    /// Accepts nothing more, waits for what is under way, and ends the session. `Output::Closed`
    /// follows within about twice the timeout, whatever happens.
    pub fn close(&mut self, now: Tick) {
        self.advance(now);
        self.closing = true;
        self.fail_waiting();
        self.settle();
    }

    pub fn on_tick(&mut self, now: Tick) {
        self.advance(now);
        self.settle();
    }

    pub fn on_message(&mut self, now: Tick, message: Message) {
        self.advance(now);
        if let Peer::Replica(from) = message.from
            && (message.cluster, message.epoch) == (self.cluster, self.epoch)
        {
            self.dispatch(from, message);
            self.settle();
        }
    }

    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `on_tick` has something to do.
    pub fn next_tick(&self) -> Option<Tick> {
        let register = match &self.status {
            Status::Registering { retry, .. } => Some(retry.at),
            // Without room the keepalive waits for an answer, not for a time.
            Status::Open(session) => session.has_room().then_some(session.keepalive_at),
            Status::Closed => None,
        };
        // Of a session in doubt nothing is resent, but requests are given up all the same.
        let doubted = matches!(self.status, Status::Registering { .. });
        let sent = self.live_session().into_iter().flat_map(|session| session.sent.values());
        let sent =
            sent.map(|sent| if doubted { sent.give_up_at } else { sent.give_up_at.min(sent.retry.at) });
        let queries = self.queries.pending.values().map(|query| query.give_up_at.min(query.retry.at));
        let waiting = self.waiting.front().map(|waiting| waiting.give_up_at);
        sent.chain(queries).chain(waiting).chain(register).min()
    }

    fn advance(&mut self, now: Tick) {
        self.now = self.now.max(now);
    }

    /// The session that requests were sent in, in doubt or not.
    pub(super) fn live_session(&self) -> Option<&Session> {
        match &self.status {
            Status::Open(session) => Some(session),
            Status::Registering { doubted, .. } => doubted.as_ref(),
            Status::Closed => None,
        }
    }

    pub(super) fn live_session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.status {
            Status::Open(session) => Some(session),
            Status::Registering { doubted, .. } => doubted.as_mut(),
            Status::Closed => None,
        }
    }
}
