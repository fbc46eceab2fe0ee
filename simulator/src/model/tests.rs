//! The model against the real thing: where they disagree, at least one of them is wrong.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::catalog::{
    Answer, Catalog, CatalogLimits, Error, Operation, Query, QueryReply, Reply, Success,
};
use protocol::codec::Encoder;
use protocol::config::Limits;
use protocol::data::placement::Layout;
use protocol::entry::{self, Entry, EntryHeader, Request};
use protocol::quorums::Quorums;
use protocol::state::{self, State};
use protocol::tables::MemoryTables;
use protocol::types::{
    Checksum, ClientId, ClusterId, Epoch, Incarnation, Nonce, Op, RELEASE, ReplicaId, RequestNumber,
    SessionId, Timestamp, View,
};
use protocol::wire::Wire;

use super::Model;
use crate::client::RECEIPT_KEY;
use crate::history::Outcome;
use crate::random::Random;
use crate::workload::{Action, Workload, WorkloadOptions};

/// One client of the pair: a workload and what it needs to speak to a log.
struct Client {
    id: ClientId,
    workload: Workload,
    session: SessionId,
    next: RequestNumber,
    oldest_read: Op,
}

/// The real state and the model, fed with the same log.
struct Pair {
    random: Random,
    state: State<Catalog, MemoryTables>,
    model: Model,
    head: EntryHeader,
    clients: Vec<Client>,
    /// Requests that were made before: some come again.
    past: Vec<Request>,
    rejoins: u128,
    seen: Seen,
    /// Pages may end before their limit, because they have become large.
    pages_end_early: bool,
    short_pages: u64,
}

/// How often each outcome was seen, so that a test can tell whether it looked at anything.
#[derive(Default)]
struct Seen {
    counts: BTreeMap<String, u64>,
}

impl Seen {
    fn note(&mut self, what: impl std::fmt::Debug) {
        let what = format!("{what:?}").replace('"', "");
        let name = what.split([' ', '{', '(']).next().unwrap_or_default().to_owned();
        *self.counts.entry(name).or_default() += 1;
    }

    fn of(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }
}

impl Pair {
    fn new(seed: u64, limits: Limits, options: &WorkloadOptions, client_count: usize) -> Pair {
        let genesis = EntryHeader::genesis(ClusterId::new(1), Epoch::new(1));
        let tables = MemoryTables::new(genesis.clone());
        let mut random = Random::branch(seed, "pair");
        let layout = Layout::first(Quorums::of(*random.pick(&[1, 2, 3, 5, 5, 7])));
        let catalog = Catalog::new(options.limits, layout, RECEIPT_KEY);
        let client = |index: usize| Client {
            id: ClientId::new(index as u128 + 1),
            workload: Workload::new(options.clone(), layout, seed, index),
            session: SessionId::ZERO,
            next: RequestNumber::new(1),
            oldest_read: Op::ZERO,
        };
        Pair {
            random,
            state: State::new(catalog, tables, limits).unwrap(),
            model: Model::new(&limits, options.limits, layout),
            head: genesis,
            clients: (0..client_count).map(client).collect(),
            past: Vec::new(),
            rejoins: 0,
            seen: Seen::default(),
            pages_end_early: options.limits.page_bytes_max < 10_000,
            short_pages: 0,
        }
    }

    /// Applies the next entry to both and returns its replies.
    fn entry(&mut self, requests: &[Request]) -> Vec<state::Reply> {
        let mut body = Encoder::new();
        requests.iter().for_each(|request| request.encode(&mut body));
        let body = Bytes::from(body.finish());
        let mut incarnations = self.head.incarnations;
        for request in requests {
            if let entry::Operation::Rejoin { replica, .. } = request.operation {
                incarnations[replica.index()] = Incarnation::from_rejoin(self.head.op.next());
            }
        }
        let pause = *self.random.pick(&[10, 1_000, 600_000, 3_000_000]);
        let header = EntryHeader {
            cluster: self.head.cluster,
            epoch: self.head.epoch,
            release: RELEASE,
            view: View::new(1),
            op: self.head.op.next(),
            parent: self.head.name(),
            timestamp: self.head.timestamp.plus(u64::from(self.head.request_count) + pause),
            incarnations,
            request_count: u32::try_from(requests.len()).unwrap(),
            body_size: u32::try_from(body.len()).unwrap(),
            body_checksum: Checksum::of(&body),
        };
        self.head = header.clone();
        let entry = Entry::assemble(header, body).unwrap();
        let replies = self.state.apply(&entry).unwrap();
        let expected = self.model.execute(&entry).unwrap();
        for ((reply, expected), request) in replies.iter().zip(&expected).zip(requests) {
            assert_eq!(shown(reply), shown(expected), "{}", describe(request));
            assert_eq!(reply, expected);
        }
        assert_eq!(replies.len(), expected.len());
        replies
    }

    fn request(&mut self, client: usize, operation: entry::Operation) -> Request {
        let deadline = match self.random.percent(2) {
            true => self.head.timestamp,
            false => Timestamp::new(u64::MAX),
        };
        let client = &mut self.clients[client];
        let number = client.next;
        client.next = number.next();
        let answered_below = number.minus(self.random.below(3)).max(RequestNumber::new(1));
        Request { client: client.id, session: client.session, number, answered_below, deadline, operation }
    }

    /// A few requests of different clients in one entry, retries among them.
    fn step(&mut self) {
        let mut batch: Vec<(Request, Option<(usize, Action)>)> = Vec::new();
        let size = self.random.between(1, 5);
        for _ in 0..size {
            let client = self.random.index(self.clients.len());
            if self.clients[client].session == SessionId::ZERO {
                let request = self.request(client, entry::Operation::Register);
                batch.push((Request { session: SessionId::ZERO, ..request }, None));
                continue;
            }
            match self.clients[client].workload.next() {
                Action::Pause { .. } => {}
                Action::Keepalive => {
                    let oldest_live_upload = self.clients[client].workload.oldest_live_upload();
                    let oldest_read = self.clients[client].oldest_read;
                    let operation = entry::Operation::Keepalive { oldest_live_upload, oldest_read };
                    batch.push((self.request(client, operation), None));
                }
                Action::Read { query } => self.query(client, &Action::Read { query: query.clone() }, &query),
                Action::Write { operation } => {
                    let machine = entry::Operation::Machine(operation.to_bytes());
                    batch.push((self.request(client, machine), Some((client, Action::Write { operation }))));
                }
            }
            if let Some(again) = self.retry() {
                batch.push((again, None));
            }
        }
        if self.random.percent(2) {
            let at = self.random.index(batch.len() + 1);
            batch.insert(at, (self.rejoin(), None));
        }
        if batch.is_empty() {
            return;
        }
        let requests: Vec<Request> = batch.iter().map(|(request, _)| request.clone()).collect();
        let replies = self.entry(&requests);
        let disks = self.head.incarnations;
        self.clients.iter_mut().for_each(|client| client.workload.hear_of_disks(&disks));
        for ((request, action), reply) in batch.into_iter().zip(replies) {
            self.learn(&request, action, &reply);
            if matches!(request.operation, entry::Operation::Rejoin { .. }) {
                continue;
            }
            if self.past.len() > 40 {
                let forgotten = self.random.index(self.past.len());
                self.past.swap_remove(forgotten);
            }
            self.past.push(request);
        }
    }

    fn learn(&mut self, request: &Request, action: Option<(usize, Action)>, reply: &state::Reply) {
        let client = self.clients.iter_mut().find(|client| client.id == request.client);
        let Some(client) = client else { return };
        match &reply.outcome {
            state::Outcome::Registered { .. } => {
                if client.session != reply.session {
                    client.session = reply.session;
                    client.next = RequestNumber::new(1);
                    client.workload.set_session(reply.session);
                }
            }
            state::Outcome::Refused(state::Refusal::SessionGone) => {
                self.seen.note("SessionGone");
                if client.session == reply.session {
                    client.session = SessionId::ZERO;
                }
            }
            state::Outcome::Refused(refusal) => {
                self.seen.note(refusal);
                if let Some((_, action)) = action {
                    client.workload.learned(&action, &Outcome::NoEffect);
                }
            }
            state::Outcome::Done(bytes) => {
                let reply = Reply::from_bytes(bytes).unwrap();
                match &reply {
                    Ok(success) => self.seen.note(success),
                    Err(error) => self.seen.note(error),
                }
                if let (Some((_, Action::Write { operation })), Ok(success)) = (&action, &reply) {
                    self.seen.note(operation);
                    match (operation, success) {
                        (Operation::CompleteUpload { .. }, Success::ObjectWritten { object })
                            if object.last_modified < self.head.timestamp =>
                        {
                            self.seen.note("CompletedBefore");
                        }
                        _ => {}
                    }
                }
                if let Ok(Success::Collected { retired: 1.., .. }) = reply {
                    self.seen.note("Forgotten");
                }
                if let Ok(Success::Collected { parts: 1.., .. }) = reply {
                    self.seen.note("TakenApart");
                }
                if let Ok(Success::Settled { bodies: 1.. }) = reply {
                    self.seen.note("SettledSome");
                }
                if let Some((_, action)) = action {
                    client.workload.learned(&action, &Outcome::Reply(reply));
                }
            }
            state::Outcome::Acknowledged => self.seen.note("Acknowledged"),
        }
    }

    /// Something that was asked for before, perhaps long ago; or the end of some sessions.
    fn retry(&mut self) -> Option<Request> {
        if self.random.percent(1) {
            let sessions = self.clients.iter().map(|client| client.session).collect();
            let operation = match self.random.percent(30) {
                true => entry::Operation::Close,
                false => entry::Operation::Expire { sessions },
            };
            let client = self.random.index(self.clients.len());
            return Some(self.request(client, operation));
        }
        (!self.past.is_empty() && self.random.percent(10)).then(|| self.random.pick(&self.past).clone())
    }

    /// Somebody's disk is replaced, as the primary would have it.
    fn rejoin(&mut self) -> Request {
        self.rejoins += 1;
        let replica = ReplicaId::new(u8::try_from(self.random.below(7)).unwrap());
        Request {
            client: ClientId::new(1_000),
            session: SessionId::ZERO,
            number: RequestNumber::ZERO,
            answered_below: RequestNumber::ZERO,
            deadline: Timestamp::new(u64::MAX),
            operation: entry::Operation::Rejoin { replica, nonce: Nonce::new(self.rejoins) },
        }
    }

    fn query(&mut self, client: usize, action: &Action, query: &Query) {
        let bytes = self.state.query(&query.to_bytes()).unwrap().unwrap();
        let answer = QueryReply::from_bytes(&bytes).unwrap();
        let expected = self.model.answer(query);
        if answer != expected && self.pages_end_early {
            self.short_pages += 1;
            self.model.agrees(query, &answer).unwrap();
        } else {
            assert_eq!(answer, expected, "{query:?}");
        }
        match &answer {
            Ok(answer) => self.seen.note(answer),
            Err(error) => self.seen.note(error),
        }
        if let Ok(Answer::Verdicts { verdicts, .. }) = &answer {
            verdicts.iter().for_each(|verdict| self.seen.note(verdict));
        }
        match &answer {
            Ok(Answer::Debts { debts, .. }) if !debts.is_empty() => self.seen.note("SomeDebts"),
            Ok(Answer::Bodies { bodies, .. })
                if !bodies.is_empty() && matches!(query, Query::GetBodies { .. }) =>
            {
                self.seen.note("BodiesByName");
            }
            Ok(Answer::Rebuilding { disks }) if !disks.is_empty() => self.seen.note("SomeDisks"),
            _ => {}
        }
        let read_to = self.head.op;
        let client = &mut self.clients[client];
        client.workload.learned(action, &Outcome::Answer(answer));
        // A client that reads one thing after the other has finished with the earlier ones.
        if self.random.percent(30) {
            client.oldest_read = read_to;
        }
    }
}

fn shown(reply: &state::Reply) -> String {
    match &reply.outcome {
        state::Outcome::Done(bytes) => format!("{:?}", Reply::from_bytes(bytes)),
        outcome => format!("{outcome:?}"),
    }
}

fn describe(request: &Request) -> String {
    match &request.operation {
        entry::Operation::Machine(bytes) => format!("{:?}", Operation::from_bytes(bytes)),
        operation => format!("{operation:?}"),
    }
}

fn small() -> CatalogLimits {
    CatalogLimits {
        inline_bytes_max: 64,
        part_bytes_min: 5,
        page_entries_max: 50,
        collect_parts_max: 3,
        ..CatalogLimits::standard()
    }
}

fn limits(sessions_max: usize) -> Limits {
    Limits { sessions_max, session_timeout_micros: 20_000_000, ..Limits::standard() }
}

#[test]
fn the_model_and_the_catalog_tell_the_same_story() {
    let options = WorkloadOptions::everything(small());
    let mut pair = Pair::new(1, limits(16), &options, 4);
    for _ in 0..5_000 {
        pair.step();
    }
    // Whatever a client can see must have been seen, or the story says nothing about it.
    for name in [
        "Done",
        "BucketCreated",
        "ObjectWritten",
        "ObjectsDeleted",
        "UploadCreated",
        "PartWritten",
        "Forgotten",
        "TakenApart",
        "NoSuchBucket",
        "BucketAlreadyExists",
        "BucketAlreadyOwnedByYou",
        "BucketNotEmpty",
        "NoSuchKey",
        "PreconditionFailed",
        "NoSuchUpload",
        "InvalidPart",
        "InvalidPartOrder",
        "EntityTooSmall",
        "SizeMismatch",
        "InvalidRange",
        "CopyNeedsData",
        "InvalidPartNumber",
        "NoSuchAccessKey",
        "UploadFenced",
        "UploadSpent",
        "TooFewCopies",
        "WrongLayout",
        "DiskReplaced",
        "SettledSome",
        "Rebuilt",
        "SomeDebts",
        "SomeDisks",
        "BodiesByName",
        "Bucket",
        "Buckets",
        "Object",
        "Pieces",
        "Objects",
        "Parts",
        "Uploads",
        "AccessKey",
        "AccessKeys",
        "Verdicts",
        "Collectable",
        "Bodies",
        "Referenced",
        "Retiring",
        "Pending",
        "Dead",
        "DeadlinePassed",
        "OutsideWindow",
    ] {
        assert!(pair.seen.of(name) > 0, "{name} was never seen: {:?}", pair.seen.counts);
    }
}

#[test]
fn they_agree_in_worlds_of_every_kind() {
    let mut short_pages = 0;
    for seed in 0..30 {
        let mut random = Random::branch(seed, "worlds");
        let limits =
            Limits { session_window: *random.pick(&[1, 4, 32]), ..limits(*random.pick(&[2, 3, 16])) };
        let catalog = CatalogLimits {
            inline_bytes_max: *random.pick(&[1, 64]),
            part_bytes_min: *random.pick(&[0, 1, 5, 1_000]),
            page_entries_max: *random.pick(&[1, 3, 50]),
            page_bytes_max: *random.pick(&[300, 1 << 20]),
            collect_parts_max: *random.pick(&[1, 3]),
        };
        let options = WorkloadOptions::draw(&mut random, catalog);
        let mut pair = Pair::new(seed, limits, &options, random.index(5) + 1);
        for _ in 0..150 {
            pair.step();
        }
        short_pages += pair.short_pages;
    }
    assert!(short_pages > 0);
}

#[test]
fn they_agree_with_the_limits_of_a_real_cluster() {
    let options = WorkloadOptions { key_count: 40, ..WorkloadOptions::everything(CatalogLimits::standard()) };
    let mut pair = Pair::new(7, limits(16), &options, 3);
    for _ in 0..500 {
        pair.step();
    }
    assert!(pair.seen.of("ObjectWritten") > 100);
}

/// A store that ends its pages early is right as long as it says so, and wrong if it drops an entry.
#[test]
fn a_short_page_is_right_and_a_page_with_a_hole_is_wrong() {
    let options = WorkloadOptions::everything(small());
    let mut pair = Pair::new(3, limits(16), &options, 1);
    let put = |key: &'static str| Operation::PutObject {
        bucket: protocol::catalog::BucketRef::named("bucket-0"),
        key: key.into(),
        conditions: Default::default(),
        etag: protocol::catalog::ETag::simple([key.as_bytes()[0]; 16]),
        headers: Vec::new(),
        checksums: Vec::new(),
        tags: Vec::new(),
        body: protocol::catalog::NewBody::inline(key),
    };
    let register = pair.request(0, entry::Operation::Register);
    let replies = pair.entry(&[register]);
    pair.clients[0].session = replies[0].session;
    let create = Operation::CreateBucket { name: "bucket-0".into(), owner: "alice".into(), tags: Vec::new() };
    for operation in [create, put("a"), put("b"), put("c")] {
        let deadline = Timestamp::new(u64::MAX);
        let request = pair.request(0, entry::Operation::Machine(operation.to_bytes()));
        pair.entry(&[Request { deadline, ..request }]);
    }

    let list = |limit| Query::ListObjects {
        bucket: protocol::catalog::BucketRef::named("bucket-0"),
        prefix: Bytes::new(),
        delimiter: Bytes::new(),
        after: protocol::catalog::ListPosition::Start,
        limit,
    };
    let page = |limit| pair.model.answer(&list(limit));
    assert_eq!(pair.model.agrees(&list(3), &page(3)), Ok(()));
    assert_eq!(pair.model.agrees(&list(3), &page(2)), Ok(()));
    pair.model.agrees(&list(2), &page(3)).unwrap_err();

    let Ok(Answer::Objects { mut entries, next }) = page(3) else { panic!() };
    entries.remove(1);
    let hole = Ok(Answer::Objects { entries: entries.clone(), next });
    pair.model.agrees(&list(3), &hole).unwrap_err();
    let cut_silently = Ok(Answer::Objects { entries: entries[..1].to_vec(), next: None });
    pair.model.agrees(&list(3), &cut_silently).unwrap_err();
    pair.model.agrees(&list(3), &Err(Error::NoSuchBucket)).unwrap_err();
}
