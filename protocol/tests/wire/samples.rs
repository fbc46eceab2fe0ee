//! At least one message of every kind and every variant.

use bytes::Bytes;
use protocol::codec::Encoder;
use protocol::entry::{Entry, EntryHeader, Operation, Request};
use protocol::message::{Body, Message, QueryAnswer, SlotState, StartView, Vote, VoteSlot};
use protocol::state::{Outcome, Refusal, Reply};
use protocol::superblock::Superblock;
use protocol::tables::{Checkpoint, RangeSummary, RowSum};
use protocol::types::{
    Checksum, ClientId, ClusterId, Epoch, Incarnation, Nonce, Op, Peer, REPLICAS_MAX, Release, ReplicaId,
    RequestNumber, Room, SessionId, Timestamp, View,
};

pub(crate) const CLUSTER: ClusterId = ClusterId::new(0xc105_7e50_0000_0000_0000_0000_0000_0001);
pub(crate) const CLIENT: ClientId = ClientId::new(0xc11e_4700_0000_0000_0000_0000_0000_0002);

fn incarnations() -> [Incarnation; REPLICAS_MAX] {
    let mut all = [Incarnation::ZERO; REPLICAS_MAX];
    all[2] = Incarnation::from_rejoin(Op::new(40));
    all
}

pub(crate) fn requests() -> Vec<Request> {
    let operations = [
        Operation::Register,
        Operation::Keepalive { oldest_live_upload: 12, oldest_read: Op::new(90) },
        Operation::Close,
        Operation::Expire { sessions: vec![SessionId::new(5), SessionId::new(6)] },
        Operation::Rejoin { replica: ReplicaId::new(2), nonce: Nonce::new(77) },
        Operation::Machine(Bytes::from_static(b"put a key")),
    ];
    let request = |operation| Request {
        client: CLIENT,
        session: SessionId::new(4096),
        number: RequestNumber::new(17),
        answered_below: RequestNumber::new(11),
        deadline: Timestamp::new(1_700_000_000_000_000),
        operation,
    };
    operations.into_iter().map(request).collect()
}

fn header(op: u64, parent: Checksum, request_count: u32, body: &[u8]) -> EntryHeader {
    EntryHeader {
        cluster: CLUSTER,
        epoch: Epoch::new(1),
        release: Release::new(1),
        view: View::new(6),
        op: Op::new(op),
        parent,
        timestamp: Timestamp::new(1_700_000_000_000_000 + op),
        incarnations: incarnations(),
        request_count,
        body_size: u32::try_from(body.len()).unwrap(),
        body_checksum: Checksum::of(body),
    }
}

/// An entry with one request of every operation.
pub(crate) fn entry() -> Entry {
    let requests = requests();
    let mut out = Encoder::new();
    requests.iter().for_each(|request| request.encode(&mut out));
    let body = Bytes::from(out.finish());
    let count = u32::try_from(requests.len()).unwrap();
    Entry::assemble(header(101, Checksum::new(0xabcd), count, &body), body).unwrap()
}

/// Headers of a log from op `first`, each following the one before.
pub(crate) fn chain(first: u64, count: u64) -> Vec<EntryHeader> {
    let mut parent = Checksum::new(0x1234);
    let link = |op| {
        let header = header(op, parent, 0, &[]);
        parent = header.name();
        header
    };
    (first..first + count).map(link).collect()
}

pub(crate) fn vote() -> Vote {
    let states = [SlotState::Present, SlotState::Faulty, SlotState::Missing];
    let slots = chain(97, 5).into_iter().enumerate();
    Vote {
        view: View::new(9),
        log_view: View::new(6),
        commit: Op::new(98),
        checkpoint: Op::new(64),
        certain: true,
        slots: slots.map(|(i, header)| VoteSlot { header, state: states[i % 3] }).collect(),
        incarnations: incarnations(),
    }
}

pub(crate) fn checkpoint() -> Checkpoint {
    Checkpoint { header: chain(64, 1).remove(0), root: RowSum([1, 2, 3, u64::MAX]) }
}

pub(crate) fn superblock() -> Superblock {
    Superblock {
        incarnation: Incarnation::from_rejoin(Op::new(40)),
        boot_count: 3,
        view: View::new(9),
        log_view: View::new(6),
        suffix: chain(97, 5),
        vote: Some(vote()),
        checkpoint: checkpoint(),
        tables_lost: true,
        ..Superblock::replace(CLUSTER, Epoch::new(1), ReplicaId::new(2), 3, Nonce::new(99))
    }
}

pub(crate) fn from_client(body: Body) -> Message {
    Message {
        cluster: CLUSTER,
        epoch: Epoch::new(1),
        release: Release::new(1),
        from: Peer::Client(CLIENT),
        view: View::new(8),
        incarnation: Incarnation::ZERO,
        checkpoint: Op::ZERO,
        floor: Op::ZERO,
        body,
    }
}

pub(crate) fn from_replica(body: Body) -> Message {
    Message {
        from: Peer::Replica(ReplicaId::new(2)),
        incarnation: Incarnation::from_rejoin(Op::new(40)),
        checkpoint: Op::new(64),
        floor: Op::new(32),
        ..from_client(body)
    }
}

fn from_clients() -> Vec<Message> {
    let requests = requests().into_iter().filter(|request| request.operation.is_for_clients());
    let mut bodies: Vec<Body> = requests.map(Body::Request).collect();
    bodies.push(Body::Query { number: 5, query: Bytes::from_static(b"get a key") });
    bodies.push(Body::Locate);
    bodies.into_iter().map(from_client).collect()
}

fn to_clients() -> Vec<Body> {
    let outcomes = [
        Outcome::Registered { window: 256 },
        Outcome::Done(Bytes::from_static(b"stored")),
        Outcome::Acknowledged,
        Outcome::Refused(Refusal::SessionGone),
        Outcome::Refused(Refusal::OutsideWindow),
        Outcome::Refused(Refusal::DeadlinePassed),
        Outcome::Refused(Refusal::Invalid("ключ too long".to_owned())),
        Outcome::Refused(Refusal::Busy),
        Outcome::Refused(Refusal::Full),
    ];
    let reply = |outcome| Reply {
        client: CLIENT,
        session: SessionId::new(4096),
        number: RequestNumber::new(17),
        op: Op::new(101),
        outcome,
    };
    let answers = [
        QueryAnswer::Done(Bytes::from_static(b"a value")),
        QueryAnswer::Invalid("no such query".to_owned()),
        QueryAnswer::Elsewhere,
        QueryAnswer::Busy,
    ];
    let query_reply = |answer| Body::QueryReply { number: 5, applied: Op::new(100), answer };
    let mut bodies: Vec<Body> = outcomes.map(reply).map(Body::Reply).into();
    bodies.extend(answers.map(query_reply));
    bodies.push(Body::Located { replica_count: 3, normal: true });
    bodies
}

fn between_replicas() -> Vec<Body> {
    let (op, name) = (Op::new(101), Checksum::new(0xfeed));
    let (nonce, challenge) = (Nonce::new(7), Nonce::new(8));
    let start_view = |nonce| StartView { commit: Op::new(98), headers: chain(97, 5), nonce };
    let head_name = Checksum::new(0xbeef);
    let commit = |room| Body::Commit { commit: op, name, head: op.next(), head_name, sequence: 55, room };
    let clock = Timestamp::new(1_700_000_000_000_000);
    let commit_ok = |room| Body::CommitOk { sequence: 55, clock, room };
    vec![
        Body::Prepare { entry: entry(), commit: Op::new(99) },
        Body::PrepareOk { op, name },
        commit(Room::Ample),
        commit(Room::Pressed),
        commit(Room::Scarce),
        commit_ok(Room::Ample),
        commit_ok(Room::Spent),
        Body::StartViewChange { candidate: View::new(9) },
        Body::DoViewChange(vote()),
        Body::StartView(start_view(None)),
        Body::StartView(start_view(Some(nonce))),
        Body::GetView { nonce },
        Body::GetHeaders { low: Op::new(97), high: op, name },
        Body::Headers { headers: chain(97, 5) },
        Body::GetEntry { op, name },
        Body::RepairedEntry { entry: entry() },
        Body::RejoinAsk { nonce },
        Body::RejoinChallenge { nonce, challenge },
        Body::RejoinAnswer { nonce, challenge },
        Body::RejoinGranted { nonce, op },
    ]
}

fn sync() -> Vec<Body> {
    let op = Op::new(64);
    let key = Bytes::from_static;
    let range = |start| RangeSummary { start: key(start), sum: RowSum([9, 8, 7, 6]), row_count: 500 };
    let rows = vec![(key(b"b"), key(b"1")), (key(b"c"), key(b""))];
    vec![
        Body::CheckpointRoot { checkpoint: checkpoint() },
        Body::GetManifest { op: Op::ZERO, after: None },
        Body::GetManifest { op, after: Some(key(b"b")) },
        Body::Manifest {
            checkpoint: checkpoint(),
            after: None,
            ranges: vec![range(b""), range(b"k")],
            last: false,
        },
        Body::Manifest { checkpoint: checkpoint(), after: Some(key(b"k")), ranges: vec![], last: true },
        Body::GetRows { op, start: key(b""), end: None, after: None },
        Body::GetRows { op, start: key(b"a"), end: Some(key(b"k")), after: Some(key(b"c")) },
        Body::Rows { op, start: key(b"a"), after: None, rows: rows.clone(), last: false },
        Body::Rows { op, start: key(b"a"), after: Some(key(b"a")), rows, last: true },
        Body::SnapshotGone { op },
    ]
}

pub(crate) fn messages() -> Vec<Message> {
    let replicas = to_clients().into_iter().chain(between_replicas()).chain(sync());
    from_clients().into_iter().chain(replicas.map(from_replica)).collect()
}
