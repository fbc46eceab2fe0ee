//! The clients: each has a workload, a client machine, and a memory of what it was told.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::catalog::{
    BucketRef, Catalog, CatalogLimits, Conditions, ETag, NewBody, Operation, Query, Wire,
};
use protocol::entry::{Entry, Operation as LogOperation, Request};
use protocol::message::{Body, Message, QueryAnswer};
use protocol::state::{Outcome, Refusal, Reply};
use protocol::types::{
    ClientId, Incarnation, Op, Peer, RELEASE, ReplicaId, RequestNumber, SessionId, Timestamp, View,
};

use crate::coverage::Coverage;
use crate::options::Options;
use crate::random::Random;

pub fn catalog() -> Catalog {
    Catalog::new(CatalogLimits { part_bytes_min: 8, ..CatalogLimits::standard() })
}

struct Pending {
    request: Request,
    resend_at: u64,
    floor: Op,
}

struct PendingRead {
    query: Bytes,
    resend_at: u64,
    floor: Op,
}

struct One {
    id: ClientId,
    session: Option<SessionId>,
    next: u64,
    window: u64,
    pending: BTreeMap<u64, Pending>,
    reads: BTreeMap<u64, PendingRead>,
    next_read: u64,
    random: Random,
    hint: u64,
    register_at: u64,
}

pub struct Clients {
    options: Options,
    all: Vec<One>,
    calm: bool,
    answers: Vec<(Bytes, Op, QueryAnswer)>,
    /// The highest op that anybody was told has taken effect, or has read.
    told: Op,
    counter: u64,
}

impl Clients {
    pub fn new(options: &Options) -> Clients {
        let all = (0..options.client_count)
            .map(|index| {
                let mut random = Random::branch(options.seed, &format!("client {index}"));
                One {
                    id: ClientId::new(u128::from(random.word()) + 1),
                    session: None,
                    next: 1,
                    window: 1,
                    pending: BTreeMap::new(),
                    reads: BTreeMap::new(),
                    next_read: 1,
                    random,
                    hint: 0,
                    register_at: 0,
                }
            })
            .collect();
        Clients {
            options: options.clone(),
            all,
            calm: false,
            answers: Vec::new(),
            told: Op::ZERO,
            counter: 0,
        }
    }

    pub fn peers(&self) -> impl Iterator<Item = Peer> + use<> {
        self.all.iter().map(|one| Peer::Client(one.id)).collect::<Vec<_>>().into_iter()
    }

    pub fn pace(&self) -> u64 {
        self.options.think.max(1_000)
    }

    fn message(&self, id: ClientId, body: Body) -> Message {
        Message {
            cluster: self.options.config.cluster,
            epoch: self.options.config.epoch,
            release: RELEASE,
            from: Peer::Client(id),
            view: View::ZERO,
            incarnation: Incarnation::ZERO,
            checkpoint: Op::ZERO,
            floor: Op::ZERO,
            body,
        }
    }

    pub fn step(&mut self, client: usize, now: u64, coverage: &mut Coverage) -> Vec<(Peer, Message)> {
        let count = self.options.config.quorums.replica_count as u64;
        let (calm, told) = (self.calm, self.told);
        let clock = 1_700_000_000_000_000 + now;
        let one = &mut self.all[client];
        let mut bodies = Vec::new();
        if one.session.is_none() {
            if now >= one.register_at && !(calm && one.pending.is_empty() && one.reads.is_empty()) {
                one.register_at = now + 300_000;
                bodies.push(Body::Request(Request {
                    client: one.id,
                    session: SessionId::ZERO,
                    number: RequestNumber::ZERO,
                    answered_below: RequestNumber::ZERO,
                    deadline: Timestamp::new(clock + 5_000_000),
                    operation: LogOperation::Register,
                }));
            }
        } else if !calm && (one.pending.len() as u64) < one.window.min(self.options.client_window as u64) {
            self.counter += 1;
            let one = &mut self.all[client];
            let bucket = BucketRef::named(Bytes::from_static(b"bucket"));
            let number = one.next;
            one.next += 1;
            let operation = if one.random.percent(5) {
                Operation::CreateBucket {
                    name: Bytes::from_static(b"bucket"),
                    owner: Bytes::from_static(b"me"),
                    tags: vec![],
                }
            } else {
                Operation::PutObject {
                    bucket,
                    key: Bytes::from(format!("key{}", one.random.below(20))),
                    conditions: Conditions::none(),
                    etag: ETag::simple(u128::from(self.counter).to_le_bytes()),
                    headers: vec![],
                    checksums: vec![],
                    tags: vec![],
                    body: NewBody::inline(format!("value {}", self.counter)),
                }
            };
            coverage.operations += 1;
            let lowest = one.pending.keys().next().copied().unwrap_or(number);
            one.pending.insert(
                number,
                Pending {
                    request: Request {
                        client: one.id,
                        session: one.session.expect("checked"),
                        number: RequestNumber::new(number),
                        answered_below: RequestNumber::new(lowest),
                        deadline: Timestamp::new(clock + 20_000_000),
                        operation: LogOperation::Machine(operation.to_bytes()),
                    },
                    resend_at: 0,
                    floor: told,
                },
            );
        }
        let one = &mut self.all[client];
        if !calm && one.reads.len() < 2 && one.random.percent(30) {
            let query = Query::GetObject {
                bucket: BucketRef::named(Bytes::from_static(b"bucket")),
                key: Bytes::from(format!("key{}", one.random.below(20))),
                pieces: None,
            };
            one.reads
                .insert(one.next_read, PendingRead { query: query.to_bytes(), resend_at: 0, floor: told });
            one.next_read += 1;
        }
        for pending in one.pending.values_mut() {
            if now >= pending.resend_at {
                pending.resend_at = now + 200_000;
                bodies.push(Body::Request(pending.request.clone()));
            }
        }
        for (number, read) in &mut one.reads {
            if now >= read.resend_at {
                read.resend_at = now + 200_000;
                bodies.push(Body::Query { number: *number, query: read.query.clone() });
            }
        }
        let mut sends = Vec::new();
        let id = self.all[client].id;
        for body in bodies {
            let one = &mut self.all[client];
            let (all, hint) = (one.random.percent(15), one.hint);
            for replica in 0..count {
                if all || replica == hint % count || hint == 0 {
                    let message = self.message(id, body.clone());
                    let to = Peer::Replica(ReplicaId::new(u8::try_from(replica).expect("small")));
                    sends.push((to, message));
                }
            }
        }
        sends
    }

    #[expect(clippy::type_complexity, reason = "two answers at once")]
    pub fn on_message(
        &mut self,
        id: ClientId,
        _now: u64,
        message: Message,
        _coverage: &mut Coverage,
    ) -> (Vec<(Peer, Message)>, Result<(), String>) {
        let Some(one) = self.all.iter_mut().find(|one| one.id == id) else { return (vec![], Ok(())) };
        one.hint = one.hint.max(message.view.get());
        let mut result = Ok(());
        match message.body {
            Body::Reply(reply) => match &reply.outcome {
                Outcome::Registered { window } => {
                    if one.session.is_none() {
                        one.session = Some(reply.session);
                        one.window = *window;
                        one.next = 1;
                    }
                }
                Outcome::Refused(Refusal::SessionGone) if one.session == Some(reply.session) => {
                    one.session = None;
                    one.pending.clear();
                }
                Outcome::Refused(Refusal::Busy) => {}
                _ if one.session == Some(reply.session) => {
                    if let Some(pending) = one.pending.remove(&reply.number.get())
                        && reply.op != Op::ZERO
                    {
                        if reply.op <= pending.floor {
                            result = Err(format!(
                                "a request sent after op {} took effect at {}",
                                pending.floor, reply.op
                            ));
                        }
                        self.told = self.told.max(reply.op);
                    }
                }
                _ => {}
            },
            Body::QueryReply { number, applied, answer: answer @ QueryAnswer::Done(_) } => {
                if let Some(read) = one.reads.remove(&number) {
                    if applied < read.floor {
                        result = Err(format!("a read as of op {applied} missed op {}", read.floor));
                    }
                    self.told = self.told.max(applied);
                    self.answers.push((read.query, applied, answer));
                }
            }
            _ => {}
        }
        (vec![], result)
    }

    pub fn take_answers(&mut self) -> Vec<(Bytes, Op, QueryAnswer)> {
        std::mem::take(&mut self.answers)
    }

    pub fn witness(&mut self, _entry: &Entry, _replies: &[Reply]) -> Result<(), String> {
        Ok(())
    }

    pub fn judge(&mut self, _coverage: &mut Coverage) -> Result<(), String> {
        Ok(())
    }

    pub fn calm(&mut self) {
        self.calm = true;
    }

    pub fn waiting(&self) -> Option<String> {
        let count: usize = self.all.iter().map(|one| one.pending.len() + one.reads.len()).sum();
        (count > 0).then(|| format!("{count} requests wait"))
    }
}
