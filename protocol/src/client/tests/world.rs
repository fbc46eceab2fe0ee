//! One client and a cluster that is a fake in all but its promises: one log, executed once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::client::{Client, ClientSettings, Failure, Output, Ticket};
use crate::entry::{Operation, Request};
use crate::message::{Body, Message, QueryAnswer};
use crate::state::{Outcome, Refusal, Reply};
use crate::types::{
    ClientId, ClusterId, Epoch, Incarnation, Op, Peer, RELEASE, ReplicaId, RequestNumber, SessionId, Tick,
    Timestamp, View,
};

pub(super) const CLUSTER: ClusterId = ClusterId::new(1);
pub(super) const EPOCH: Epoch = Epoch::new(1);
pub(super) const CLIENT: ClientId = ClientId::new(2);
pub(super) const NEVER: Timestamp = Timestamp::new(u64::MAX);
pub(super) const WINDOW: u64 = 8;
pub(super) const WINDOW_COUNT: usize = 8;

/// The cluster's log and what it does to sessions.
#[derive(Clone, Default)]
pub(super) struct Log {
    op: u64,
    live: Option<(SessionId, Replies)>,
    /// Every effect that any request ever had, in order.
    pub(super) effects: Vec<(SessionId, RequestNumber, Bytes)>,
    pub(super) keepalives: Vec<(u64, Op)>,
    pub(super) sessions_begun: usize,
}

#[derive(Clone, Default)]
struct Replies {
    low: u64,
    kept: BTreeMap<u64, (Op, Outcome)>,
}

impl Log {
    pub(super) fn end_session(&mut self) {
        self.live = None;
    }

    pub(super) fn has_session(&self) -> bool {
        self.live.is_some()
    }

    pub(super) fn effects_of(&self, content: &Bytes) -> usize {
        self.effects.iter().filter(|(_, _, bytes)| bytes == content).count()
    }

    /// What a replica can say without a place in the log.
    fn known(&self, request: &Request) -> Option<Reply> {
        let known = |session, op, outcome| {
            Some(Reply { client: request.client, session, number: request.number, op, outcome })
        };
        match (&request.operation, &self.live) {
            (Operation::Register, None) => None,
            (Operation::Register, Some((session, _))) => {
                known(*session, Op::new(1), Outcome::Registered { window: WINDOW })
            }
            (_, Some((session, replies))) if *session == request.session => {
                let (op, outcome) = replies.kept.get(&request.number.get())?;
                known(*session, *op, outcome.clone())
            }
            _ => known(request.session, Op::ZERO, Outcome::Refused(Refusal::SessionGone)),
        }
    }

    fn execute(&mut self, request: &Request, clock: Timestamp) -> Reply {
        if let Some(known) = self.known(request) {
            return known;
        }
        self.op += 1;
        let op = Op::new(self.op);
        let mut reply = Reply {
            client: request.client,
            session: request.session,
            number: request.number,
            op,
            outcome: Outcome::Acknowledged,
        };
        if request.operation == Operation::Register {
            reply.session = SessionId::from_register(op, 0);
            reply.outcome = Outcome::Registered { window: WINDOW };
            self.sessions_begun += 1;
            self.live = Some((reply.session, Replies { low: 1, kept: BTreeMap::new() }));
            return reply;
        }
        let (_, replies) = self.live.as_mut().expect("`known` answers for sessions that are gone");
        let low = replies.low.max(request.answered_below.get());
        let number = request.number.get();
        if number < low || number - low >= WINDOW {
            reply.outcome = Outcome::Refused(Refusal::OutsideWindow);
            return reply;
        }
        replies.low = low;
        replies.kept = replies.kept.split_off(&low);
        reply.outcome = match &request.operation {
            _ if clock > request.deadline => Outcome::Refused(Refusal::DeadlinePassed),
            Operation::Machine(bytes) => {
                self.effects.push((request.session, request.number, bytes.clone()));
                Outcome::Done(bytes.clone())
            }
            Operation::Keepalive { oldest_live_upload, oldest_read } => {
                self.keepalives.push((*oldest_live_upload, *oldest_read));
                Outcome::Acknowledged
            }
            _ => Outcome::Acknowledged,
        };
        replies.kept.insert(number, (op, reply.outcome.clone()));
        if request.operation == Operation::Close {
            self.live = None;
        }
        reply
    }
}

/// Why the primary answers nothing sensible.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mood {
    Fine,
    Busy,
    /// Refuses operations for want of room.
    Full,
    /// Executes, and its answers are lost.
    Mute,
    /// Refuses whatever is late, without a look at the log.
    Hasty,
}

pub(super) struct World {
    pub(super) client: Client,
    pub(super) log: Log,
    /// The view that is in office.
    pub(super) view: View,
    pub(super) mood: Mood,
    pub(super) down: BTreeSet<ReplicaId>,
    /// A replica that believes to be the primary of an earlier view, and what it knows.
    pub(super) deposed: Option<(ReplicaId, View, Log)>,
    pub(super) loss_percent: u64,
    pub(super) duplicate_percent: u64,
    pub(super) delay_ms: u64,
    pub(super) now: Tick,
    random: Xoshiro256PlusPlus,
    network: BTreeMap<(Tick, u64), (Option<ReplicaId>, Message)>,
    packets: u64,
    /// Everything that the client ever sent.
    pub(super) sent: Vec<(Tick, ReplicaId, Body)>,
    pub(super) done: BTreeMap<Ticket, (Op, Bytes)>,
    pub(super) failed: BTreeMap<Ticket, Failure>,
    pub(super) closed: bool,
}

pub(super) fn settings() -> ClientSettings {
    ClientSettings {
        resend_ms: 100,
        resend_max_ms: 800,
        timeout_ms: 10_000,
        keepalive_ms: 3_000,
        requests_max: 64,
        queries_max: 16,
        operation_bytes_max: 1_000,
    }
}

pub(super) fn operation(number: u64) -> Bytes {
    Bytes::from(format!("operation {number}"))
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        World {
            client: Client::new(CLIENT, CLUSTER, EPOCH, 3, settings(), seed, Tick::ZERO),
            log: Log::default(),
            view: View::ZERO,
            mood: Mood::Fine,
            down: BTreeSet::new(),
            deposed: None,
            loss_percent: 0,
            duplicate_percent: 0,
            delay_ms: 1,
            now: Tick::ZERO,
            random: Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x5eed),
            network: BTreeMap::new(),
            packets: 0,
            sent: Vec::new(),
            done: BTreeMap::new(),
            failed: BTreeMap::new(),
            closed: false,
        }
    }

    /// A world whose client has its session.
    pub(super) fn registered(seed: u64) -> World {
        let mut world = World::new(seed);
        world.run(50);
        assert!(world.client.session().is_some());
        world
    }

    pub(super) fn primary(&self) -> ReplicaId {
        ReplicaId::new(u8::try_from(self.view.get() % 3).unwrap())
    }

    pub(super) fn all_down(&mut self) {
        self.down = (0..3).map(ReplicaId::new).collect();
    }

    pub(super) fn clock(&self) -> Timestamp {
        Timestamp::new(1_000_000 + self.now.get() * 1_000)
    }

    pub(super) fn submit(&mut self, number: u64) -> Ticket {
        self.submit_until(number, NEVER)
    }

    pub(super) fn submit_until(&mut self, number: u64, deadline: Timestamp) -> Ticket {
        let ticket = self.client.submit(self.now, operation(number), deadline).unwrap();
        self.collect();
        ticket
    }

    pub(super) fn query(&mut self) -> Ticket {
        let ticket = self.client.query(self.now, Bytes::from_static(b"how many?")).unwrap();
        self.collect();
        ticket
    }

    pub(super) fn close(&mut self) {
        self.client.close(self.now);
        self.collect();
    }

    pub(super) fn hear(&mut self, message: Message) {
        self.client.on_message(self.now, message);
        self.collect();
    }

    /// A copy that the network kept until now reaches the primary.
    pub(super) fn replay(&mut self, body: Body) {
        self.lead(body);
    }

    /// Everything that happens in the next so many milliseconds. The client is woken only when it
    /// asked for it.
    pub(super) fn run(&mut self, duration_ms: u64) {
        let end = self.now.plus(duration_ms);
        self.collect();
        loop {
            let packet = self.network.first_key_value().map(|((at, _), _)| *at);
            let tick = self.client.next_tick();
            let Some(next) = packet.into_iter().chain(tick).min().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if packet == Some(next) {
                let (_, (to, message)) = self.network.pop_first().expect("it was just seen");
                self.deliver(to, message);
            } else {
                self.client.on_tick(self.now);
                assert!(self.client.next_tick().is_none_or(|tick| tick > self.now), "a tick changes nothing");
            }
            self.collect();
        }
    }

    pub(super) fn run_until(&mut self, what: &str, condition: impl Fn(&World) -> bool) {
        for _ in 0..4_000 {
            if condition(self) {
                return;
            }
            self.run(10);
        }
        panic!("{what} does not happen");
    }

    pub(super) fn is_settled(&self, ticket: Ticket) -> bool {
        self.done.contains_key(&ticket) || self.failed.contains_key(&ticket)
    }

    pub(super) fn failure(&self, ticket: Ticket) -> Option<&Failure> {
        self.failed.get(&ticket)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.next_u64() % 100 < percent
    }

    /// Takes what the client has to say. No ticket is settled twice.
    fn collect(&mut self) {
        while let Some(output) = self.client.next_output() {
            assert!(!self.closed, "{output:?} after the end");
            match output {
                Output::Send { to, message } => {
                    assert_eq!(Message::decode(message.encode()), Ok(message.clone()));
                    self.sent.push((self.now, to, message.body.clone()));
                    self.post(Some(to), message);
                }
                Output::Completed { ticket, op, reply } => {
                    assert!(!self.is_settled(ticket));
                    self.done.insert(ticket, (op, reply));
                }
                Output::Failed { ticket, reason } => {
                    assert!(!self.is_settled(ticket));
                    self.failed.insert(ticket, reason);
                }
                Output::SessionBegan { session } => assert_eq!(self.client.session(), Some(session)),
                Output::Closed => self.closed = true,
            }
        }
    }

    fn post(&mut self, to: Option<ReplicaId>, message: Message) {
        if self.chance(self.loss_percent) {
            return;
        }
        let copies = if self.chance(self.duplicate_percent) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = 1 + self.random.next_u64() % self.delay_ms;
            self.packets += 1;
            self.network.insert((self.now.plus(delay), self.packets), (to, message.clone()));
        }
    }

    fn deliver(&mut self, to: Option<ReplicaId>, message: Message) {
        let Some(replica) = to else { return self.client.on_message(self.now, message) };
        if self.down.contains(&replica) {
            return;
        }
        let deposed = self.deposed.as_ref().filter(|(who, _, _)| *who == replica);
        let (view, answer) = match (deposed, message.body) {
            (Some((_, view, log)), Body::Request(request)) => (*view, log.known(&request).map(Body::Reply)),
            // It waits for a confirmation that never comes.
            (Some(_), _) => return,
            (None, body) if replica == self.primary() => (self.view, self.lead(body)),
            (None, Body::Query { number, .. }) => {
                let answer = QueryAnswer::Elsewhere;
                (self.view, Some(Body::QueryReply { number, applied: Op::ZERO, answer }))
            }
            (None, _) => (self.view, Some(Body::Located { replica_count: 3, normal: true })),
        };
        if let Some(body) = answer {
            self.post(None, from_replica(replica, view, body));
        }
    }

    /// What the primary answers.
    fn lead(&mut self, body: Body) -> Option<Body> {
        let answer = match body {
            Body::Request(request) if self.mood == Mood::Busy => {
                Body::Reply(refusal(&request, Refusal::Busy))
            }
            Body::Request(request)
                if self.mood == Mood::Full && matches!(request.operation, Operation::Machine(_)) =>
            {
                Body::Reply(refusal(&request, Refusal::Full))
            }
            Body::Request(request) if self.mood == Mood::Hasty && self.clock() > request.deadline => {
                Body::Reply(refusal(&request, Refusal::DeadlinePassed))
            }
            Body::Request(request) => Body::Reply(self.log.execute(&request, self.clock())),
            Body::Query { number, .. } => {
                let count = Bytes::from(self.log.effects.len().to_string());
                let answer = match self.mood {
                    Mood::Busy => QueryAnswer::Busy,
                    _ => QueryAnswer::Done(count),
                };
                Body::QueryReply { number, applied: Op::new(self.log.op), answer }
            }
            _ => Body::Located { replica_count: 3, normal: true },
        };
        (self.mood != Mood::Mute).then_some(answer)
    }
}

fn refusal(request: &Request, refusal: Refusal) -> Reply {
    Reply {
        client: request.client,
        session: request.session,
        number: request.number,
        op: Op::ZERO,
        outcome: Outcome::Refused(refusal),
    }
}

pub(super) fn from_replica(replica: ReplicaId, view: View, body: Body) -> Message {
    Message {
        cluster: CLUSTER,
        epoch: EPOCH,
        release: RELEASE,
        from: Peer::Replica(replica),
        view,
        incarnation: Incarnation::ZERO,
        checkpoint: Op::ZERO,
        floor: Op::ZERO,
        body,
    }
}
