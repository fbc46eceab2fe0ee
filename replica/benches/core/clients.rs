//! Clients that put small objects under distinct keys.

use bytes::Bytes;
use protocol::catalog::{BucketRef, Conditions, ETag, NewBody, Operation as Put, headers};
use protocol::entry::{Operation, Request};
use protocol::state::{Outcome, Reply};
use protocol::types::{ClientId, RequestNumber, SessionId, Timestamp};
use protocol::wire::Wire;

const BUCKET: &[u8] = b"benchmark";
const BODY_SIZE: usize = 100;
const SESSION_COUNT: u32 = 8;

/// In which order the keys come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// As of a client that counts or dates its objects: the tables grow at one end.
    Ascending,
    /// As of a client that names objects by hashes: the tables grow everywhere.
    Scattered,
}

struct Session {
    client: ClientId,
    id: SessionId,
    next: u64,
    answered_below: u64,
}

pub(crate) struct Clients {
    keys: Keys,
    sessions: Vec<Session>,
    /// Puts so far.
    count: u64,
    pub(crate) answered: u64,
}

impl Clients {
    pub(crate) fn new(keys: Keys) -> Clients {
        let session = |index: u32| Session {
            client: ClientId::new(u128::from(index) + 1),
            id: SessionId::ZERO,
            next: 1,
            answered_below: 1,
        };
        Clients { keys, sessions: (0..SESSION_COUNT).map(session).collect(), count: 0, answered: 0 }
    }

    /// What has to be done once: sessions, and then a bucket.
    pub(crate) fn registrations(&self) -> Vec<Request> {
        let register = |session: &Session| request(session, 0, Operation::Register);
        self.sessions.iter().map(register).collect()
    }

    pub(crate) fn create_bucket(&mut self) -> Request {
        let create = Put::CreateBucket { name: BUCKET.into(), owner: "owner".into(), tags: Vec::new() };
        self.next(0, create)
    }

    pub(crate) fn puts(&mut self, count: usize) -> Vec<Request> {
        (0..count).map(|_| self.put()).collect()
    }

    fn put(&mut self) -> Request {
        self.count += 1;
        let digest = scatter(self.count);
        let name = match self.keys {
            Keys::Ascending => format!("photos/2026/{:012}.jpg", self.count),
            Keys::Scattered => format!("objects/{digest:032x}"),
        };
        let put = Put::PutObject {
            bucket: BucketRef::named(BUCKET),
            key: name.into(),
            conditions: Conditions::none(),
            etag: ETag::simple(digest.to_le_bytes()),
            headers: headers([("content-type", "application/octet-stream")]),
            checksums: Vec::new(),
            tags: Vec::new(),
            body: NewBody::inline(vec![b'x'; BODY_SIZE]),
        };
        let index = usize::try_from(self.count).expect("a count of what was done") % self.sessions.len();
        self.next(index, put)
    }

    fn next(&mut self, index: usize, operation: Put) -> Request {
        let session = &mut self.sessions[index];
        let number = session.next;
        session.next += 1;
        request(session, number, Operation::Machine(operation.to_bytes()))
    }

    /// Everything is to succeed, and in order.
    pub(crate) fn on_reply(&mut self, reply: &Reply) {
        let session = self.sessions.iter_mut().find(|it| it.client == reply.client).expect("one of ours");
        match &reply.outcome {
            Outcome::Registered { .. } => session.id = reply.session,
            Outcome::Done(answer) => {
                assert_eq!(answer.first(), Some(&1), "refused by the catalog");
                assert_eq!(reply.number.get(), session.answered_below);
                session.answered_below += 1;
                self.answered += 1;
            }
            other => panic!("not done: {other:?}"),
        }
    }

    pub(crate) fn registered(&self) -> bool {
        self.sessions.iter().all(|session| session.id != SessionId::ZERO)
    }

    /// Puts and the like that wait for their reply.
    pub(crate) fn outstanding(&self) -> u64 {
        self.sessions.iter().map(|session| session.next - session.answered_below).sum()
    }
}

fn request(session: &Session, number: u64, operation: Operation) -> Request {
    Request {
        client: session.client,
        session: session.id,
        number: RequestNumber::new(number),
        answered_below: RequestNumber::new(session.answered_below),
        deadline: Timestamp::new(u64::MAX),
        operation,
    }
}

fn scatter(number: u64) -> u128 {
    let hash = blake3::hash(&number.to_le_bytes());
    u128::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

/// A put as it travels inside a request.
pub(crate) fn operation_of(request: &Request) -> &Bytes {
    let Operation::Machine(operation) = &request.operation else { panic!("puts are of the machine") };
    operation
}
