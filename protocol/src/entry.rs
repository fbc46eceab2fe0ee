//! The log's entries: a header that names, a body that carries a batch of requests.
//!
//! ```text
//!  header, 152 bytes, little endian                          body
//! ┌─────────┬───────┬─────────┬──────┬────┬────────┬───────┐ ┌────────────────────────────────┐
//! │cluster16│epoch 4│release 4│view 8│op 8│parent16│time 8 │ │ request, request, …            │
//! ├─────────┴────┬──┴─────────┴─┬────┴────┴───┬────┴───────┤ │ each: see `Request::encode`    │
//! │incarnations  │request count │ body size   │ body       │ └────────────────────────────────┘
//! │7 × 8 = 56    │4             │ 4           │ checksum 16│
//! └──────────────┴──────────────┴─────────────┴────────────┘  (+ 8 reserved, zero)
//! ```
//!
//! An entry's *name* is the checksum of its encoded header. The header holds the name of its parent,
//! so a name stands for the whole log up to and including its entry. Votes are cast by name.

use bytes::Bytes;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::types::{
    Checksum, ClientId, ClusterId, Epoch, Incarnation, Nonce, Op, REPLICAS_MAX, Release, ReplicaId,
    RequestNumber, SessionId, Timestamp, View,
};

pub const ENTRY_HEADER_SIZE: usize = 152;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    pub cluster: ClusterId,
    pub epoch: Epoch,
    pub release: Release,
    /// The view in which this entry was first prepared; it keeps it through later views.
    pub view: View,
    pub op: Op,
    /// The name of the entry before.
    pub parent: Checksum,
    /// Cluster time of the first request; request `i` happens at `timestamp + i`.
    pub timestamp: Timestamp,
    /// The incarnation of every replica as of this entry, `Rejoin`s in its own body included:
    /// whoever holds the header knows whose votes are void.
    pub incarnations: [Incarnation; REPLICAS_MAX],
    pub request_count: u32,
    pub body_size: u32,
    pub body_checksum: Checksum,
}

impl EntryHeader {
    /// The empty log: op 0 of every cluster, never written, never repaired.
    pub fn genesis(cluster: ClusterId, epoch: Epoch) -> EntryHeader {
        EntryHeader {
            cluster,
            epoch,
            release: Release::ZERO,
            view: View::ZERO,
            op: Op::ZERO,
            parent: Checksum::ZERO,
            timestamp: Timestamp::ZERO,
            incarnations: [Incarnation::ZERO; REPLICAS_MAX],
            request_count: 0,
            body_size: 0,
            body_checksum: Checksum::of(&[]),
        }
    }

    pub fn name(&self) -> Checksum {
        Checksum::of(&self.to_bytes())
    }

    /// Whether `self` directly follows `parent` in one log.
    pub fn follows(&self, parent: &EntryHeader) -> bool {
        self.op == parent.op.next() && self.parent == parent.name()
    }

    pub fn to_bytes(&self) -> [u8; ENTRY_HEADER_SIZE] {
        let mut encoder = Encoder::with_capacity(ENTRY_HEADER_SIZE);
        self.encode(&mut encoder);
        <[u8; ENTRY_HEADER_SIZE]>::try_from(encoder.finish()).expect("the header has a fixed size")
    }

    pub fn encode(&self, out: &mut Encoder) {
        out.u128(self.cluster.get());
        out.u32(self.epoch.get());
        out.u32(self.release.get());
        out.u64(self.view.get());
        out.u64(self.op.get());
        out.u128(self.parent.get());
        out.u64(self.timestamp.get());
        for incarnation in self.incarnations {
            out.u64(incarnation.get());
        }
        out.u32(self.request_count);
        out.u32(self.body_size);
        out.u128(self.body_checksum.get());
        out.u64(0);
    }

    pub fn decode(input: &mut Decoder) -> Result<EntryHeader, DecodeError> {
        let header = EntryHeader {
            cluster: ClusterId::new(input.u128("entry.cluster")?),
            epoch: Epoch::new(input.u32("entry.epoch")?),
            release: Release::new(input.u32("entry.release")?),
            view: input.view("entry.view")?,
            op: input.op("entry.op")?,
            parent: Checksum::new(input.u128("entry.parent")?),
            timestamp: Timestamp::new(input.u64("entry.timestamp")?),
            incarnations: {
                let mut all = [Incarnation::ZERO; REPLICAS_MAX];
                for slot in &mut all {
                    *slot = input.incarnation("entry.incarnations")?;
                }
                all
            },
            request_count: input.u32("entry.request_count")?,
            body_size: input.u32("entry.body_size")?,
            body_checksum: Checksum::new(input.u128("entry.body_checksum")?),
        };
        if input.u64("entry.reserved")? != 0 {
            return Err(DecodeError::Invalid("entry.reserved"));
        }
        Ok(header)
    }
}

/// A header with its body. `name` is computed once, when the entry is made or decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub header: EntryHeader,
    pub name: Checksum,
    pub body: Bytes,
}

impl Entry {
    /// Puts a header and a body together, if the body is the one that the header names.
    pub fn assemble(header: EntryHeader, body: Bytes) -> Result<Entry, DecodeError> {
        if header.body_size as usize != body.len() {
            return Err(DecodeError::Invalid("entry.body_size"));
        }
        if header.body_checksum != Checksum::of(&body) {
            return Err(DecodeError::Invalid("entry.body_checksum"));
        }
        let name = header.name();
        Ok(Entry { header, name, body })
    }

    pub fn op(&self) -> Op {
        self.header.op
    }

    /// The requests of the batch. Only a bug can commit a body that does not decode.
    pub fn requests(&self) -> Result<Vec<Request>, DecodeError> {
        let mut input = Decoder::new(self.body.clone());
        let requests = (0..self.header.request_count)
            .map(|_| Request::decode(&mut input))
            .collect::<Result<Vec<_>, _>>()?;
        input.finish()?;
        Ok(requests)
    }

    pub fn encode(&self, out: &mut Encoder) {
        self.header.encode(out);
        out.raw(&self.body);
    }

    pub fn decode(input: &mut Decoder) -> Result<Entry, DecodeError> {
        let header = EntryHeader::decode(input)?;
        let body = input.raw(header.body_size as usize, "entry.body")?;
        Entry::assemble(header, body)
    }

    pub fn encoded_size(&self) -> usize {
        ENTRY_HEADER_SIZE + self.body.len()
    }
}

/// The part of an entry that a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub client: ClientId,
    /// Zero for `Register` and for what the primary itself proposes.
    pub session: SessionId,
    pub number: RequestNumber,
    /// The client has the replies to all its requests below this number.
    pub answered_below: RequestNumber,
    /// In cluster time. A request that is prepared or applied later has no effect.
    pub deadline: Timestamp,
    pub operation: Operation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Begins a session, or finds the live one of the same client.
    Register,
    /// Keeps a session alive and moves its watermarks: uploads and reads below them have ended.
    Keepalive { oldest_live_upload: u64, oldest_read: Op },
    /// Ends a session.
    Close,
    /// The primary names sessions that have been idle for too long.
    Expire { sessions: Vec<SessionId> },
    /// Readmits a replica whose disk was lost.
    Rejoin { replica: ReplicaId, nonce: Nonce },
    /// An operation of the replicated state machine.
    Machine(Bytes),
}

impl Operation {
    const REGISTER: u8 = 1;
    const KEEPALIVE: u8 = 2;
    const CLOSE: u8 = 3;
    const EXPIRE: u8 = 4;
    const REJOIN: u8 = 5;
    const MACHINE: u8 = 6;

    /// Whether a client may ask for it. The others are the primary's own proposals.
    pub fn is_for_clients(&self) -> bool {
        match self {
            Operation::Register | Operation::Keepalive { .. } | Operation::Close | Operation::Machine(_) => {
                true
            }
            Operation::Expire { .. } | Operation::Rejoin { .. } => false,
        }
    }

    fn encode(&self, out: &mut Encoder) {
        match self {
            Operation::Register => out.u8(Operation::REGISTER),
            Operation::Keepalive { oldest_live_upload, oldest_read } => {
                out.u8(Operation::KEEPALIVE);
                out.u64(*oldest_live_upload);
                out.u64(oldest_read.get());
            }
            Operation::Close => out.u8(Operation::CLOSE),
            Operation::Expire { sessions } => {
                out.u8(Operation::EXPIRE);
                out.count(sessions.len());
                for session in sessions {
                    out.u64(session.get());
                }
            }
            Operation::Rejoin { replica, nonce } => {
                out.u8(Operation::REJOIN);
                out.u8(replica.get());
                out.u128(nonce.get());
            }
            Operation::Machine(bytes) => {
                out.u8(Operation::MACHINE);
                out.bytes(bytes);
            }
        }
    }

    fn decode(input: &mut Decoder) -> Result<Operation, DecodeError> {
        Ok(match input.u8("operation.kind")? {
            Operation::REGISTER => Operation::Register,
            Operation::KEEPALIVE => Operation::Keepalive {
                oldest_live_upload: input.u64("keepalive.oldest_live_upload")?,
                oldest_read: input.op("keepalive.oldest_read")?,
            },
            Operation::CLOSE => Operation::Close,
            Operation::EXPIRE => Operation::Expire {
                sessions: input
                    .list(8, "expire.sessions", |input| Ok(SessionId::new(input.u64("expire.session")?)))?,
            },
            Operation::REJOIN => Operation::Rejoin {
                replica: input.replica("rejoin.replica")?,
                nonce: Nonce::new(input.u128("rejoin.nonce")?),
            },
            Operation::MACHINE => Operation::Machine(input.bytes("operation.bytes")?),
            _ => return Err(DecodeError::Invalid("operation.kind")),
        })
    }
}

impl Request {
    pub fn encode(&self, out: &mut Encoder) {
        out.u128(self.client.get());
        out.u64(self.session.get());
        out.u64(self.number.get());
        out.u64(self.answered_below.get());
        out.u64(self.deadline.get());
        self.operation.encode(out);
    }

    pub fn decode(input: &mut Decoder) -> Result<Request, DecodeError> {
        Ok(Request {
            client: ClientId::new(input.u128("request.client")?),
            session: SessionId::new(input.u64("request.session")?),
            number: input.request_number("request.number")?,
            answered_below: input.request_number("request.answered_below")?,
            deadline: Timestamp::new(input.u64("request.deadline")?),
            operation: Operation::decode(input)?,
        })
    }

    /// An upper bound of the encoded size.
    pub fn encoded_size_max(&self) -> usize {
        64 + match &self.operation {
            Operation::Machine(bytes) => bytes.len(),
            Operation::Expire { sessions } => 8 * sessions.len(),
            _ => 32,
        }
    }
}
