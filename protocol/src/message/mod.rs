//! What replicas and clients say to each other.

mod codec;

use bytes::Bytes;

pub(crate) use codec::decode_headers;
pub use codec::{FRAME_HEADER_SIZE, FRAME_PREFIX_SIZE, MESSAGE_SIZE_MAX};

use crate::entry::{Entry, EntryHeader, Request};
use crate::state::Reply;
use crate::tables::{Checkpoint, RangeSummary, Row};
use crate::types::{
    Checksum, ClusterId, Epoch, Incarnation, Nonce, Op, Peer, REPLICAS_MAX, Release, Room, Timestamp, View,
};

/// The most slots of a vote: `pipeline_max` is at most eight.
pub const VOTE_SLOTS_MAX: usize = 9;

/// The most headers in a `Headers` or a `StartView`. Whoever needs more asks again.
pub const HEADERS_COUNT_MAX: usize = 1024;

/// A message as it travels: the sender's standing, then what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub cluster: ClusterId,
    pub epoch: Epoch,
    pub release: Release,
    pub from: Peer,
    /// The sender's durable view. Clients send the newest view they know, as a hint.
    pub view: View,
    pub incarnation: Incarnation,
    /// The sender's durable checkpoint. Zero from clients.
    pub checkpoint: Op,
    /// The sender has the log's entries above this op. Zero from clients.
    pub floor: Op,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    // Clients and replicas.
    /// To the primary; after a timeout to everybody. A backup remembers it and suspects a primary
    /// that does not prepare it.
    Request(Request),
    Reply(Reply),
    /// A read. `number` only pairs the answer with the question.
    Query {
        number: u64,
        query: Bytes,
    },
    QueryReply {
        number: u64,
        applied: Op,
        answer: QueryAnswer,
    },
    /// Who is the primary?
    Locate,
    Located {
        replica_count: u8,
        normal: bool,
    },

    // Normal operation.
    /// From the primary to all: the next entry, and how far the log is committed.
    Prepare {
        entry: Entry,
        commit: Op,
    },
    /// To the primary of the view: everything up to and including the named entry is durable here.
    PrepareOk {
        op: Op,
        name: Checksum,
    },
    /// The primary's heartbeat.
    Commit {
        commit: Op,
        name: Checksum,
        head: Op,
        head_name: Checksum,
        sequence: u64,
        /// Of the fullest disk that the primary knows of: what is refused for it is no reason to
        /// suspect the primary.
        room: Room,
    },
    /// "I have promised nothing later than this view": answers a `Commit` by its sequence, and tells
    /// the sender's wall clock, and what its disk has room for.
    CommitOk {
        sequence: u64,
        clock: Timestamp,
        room: Room,
    },

    // View change.
    /// An intention, not a promise: nothing is durable.
    StartViewChange {
        candidate: View,
    },
    DoViewChange(Vote),
    StartView(StartView),
    /// Asks the primary of the view for a `StartView`, which will carry the nonce.
    GetView {
        nonce: Nonce,
    },

    // Repair, by name.
    /// Headers from `low` to `high`, the last of which has the given name.
    GetHeaders {
        low: Op,
        high: Op,
        name: Checksum,
    },
    /// Ascending, contiguous; the last is the one that was asked for.
    Headers {
        headers: Vec<EntryHeader>,
    },
    GetEntry {
        op: Op,
        name: Checksum,
    },
    /// An answer to `GetEntry`: unlike a `Prepare` it never extends the log.
    RepairedEntry {
        entry: Entry,
    },

    // Checkpoints and the sync of a replica far behind.
    /// The state root at a durable checkpoint, compared by everyone.
    CheckpointRoot {
        checkpoint: Checkpoint,
    },
    /// Ranges after `after` of the checkpoint at `op`; op zero asks for the newest.
    GetManifest {
        op: Op,
        after: Option<Bytes>,
    },
    Manifest {
        checkpoint: Checkpoint,
        after: Option<Bytes>,
        ranges: Vec<RangeSummary>,
        last: bool,
    },
    GetRows {
        op: Op,
        start: Bytes,
        end: Option<Bytes>,
        after: Option<Bytes>,
    },
    Rows {
        op: Op,
        start: Bytes,
        after: Option<Bytes>,
        rows: Vec<Row>,
        last: bool,
    },
    /// The snapshot asked for is gone.
    SnapshotGone {
        op: Op,
    },

    // A replica whose disk was lost.
    RejoinAsk {
        nonce: Nonce,
    },
    RejoinChallenge {
        nonce: Nonce,
        challenge: Nonce,
    },
    RejoinAnswer {
        nonce: Nonce,
        challenge: Nonce,
    },
    /// The `Rejoin` with this nonce is committed, at this op.
    RejoinGranted {
        nonce: Nonce,
        op: Op,
    },
}

/// What became of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryAnswer {
    Done(Bytes),
    Invalid(String),
    /// Not the primary, or no longer: ask again, the view in the message says whom.
    Elsewhere,
    Busy,
}

/// What a voter can say about one entry of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotState {
    /// The body is durable here.
    Present,
    /// It may have been acknowledged, but the body cannot be produced.
    Faulty,
    /// The header is known, and this incarnation certainly never acknowledged the entry.
    Missing,
}

/// One header of a vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteSlot {
    pub header: EntryHeader,
    pub state: SlotState,
}

/// The body of a `DoViewChange`: computed once, made durable with the promise, resent as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The view that is voted for.
    pub view: View,
    pub log_view: View,
    pub commit: Op,
    pub checkpoint: Op,
    /// False if the log's end is unknown: the vote then supplies headers and bodies, but counts for
    /// no quorum and denies nothing.
    pub certain: bool,
    /// The newest `pipeline_max + 1` headers of the log, ascending and contiguous, never empty. The
    /// last is the head. The first may be the checkpoint's (or genesis), which counts as present.
    pub slots: Vec<VoteSlot>,
    /// The incarnations as of the head.
    pub incarnations: [Incarnation; REPLICAS_MAX],
}

impl Vote {
    pub fn head(&self) -> Op {
        self.slots.last().map_or(Op::ZERO, |slot| slot.header.op)
    }
}

/// The log with which a view begins, or continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartView {
    pub commit: Op,
    /// The newest headers, ascending and contiguous: at least down to `head - pipeline_max`, or to
    /// the checkpoint.
    pub headers: Vec<EntryHeader>,
    /// Set in the answer to a `GetView`.
    pub nonce: Option<Nonce>,
}

/// How urgent a message is. Each class has its own queue in the transport, so that a heartbeat never
/// waits behind a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Control,
    Log,
    Bulk,
}

impl Body {
    pub fn class(&self) -> Class {
        match self {
            Body::Request(_) | Body::Reply(_) | Body::Query { .. } | Body::QueryReply { .. } => Class::Log,
            Body::Prepare { .. } | Body::PrepareOk { .. } => Class::Log,
            Body::RepairedEntry { .. } | Body::Manifest { .. } | Body::Rows { .. } | Body::Headers { .. } => {
                Class::Bulk
            }
            _ => Class::Control,
        }
    }

    /// The name of the message in traces and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Body::Request(_) => "Request",
            Body::Reply(_) => "Reply",
            Body::Query { .. } => "Query",
            Body::QueryReply { .. } => "QueryReply",
            Body::Locate => "Locate",
            Body::Located { .. } => "Located",
            Body::Prepare { .. } => "Prepare",
            Body::PrepareOk { .. } => "PrepareOk",
            Body::Commit { .. } => "Commit",
            Body::CommitOk { .. } => "CommitOk",
            Body::StartViewChange { .. } => "StartViewChange",
            Body::DoViewChange(_) => "DoViewChange",
            Body::StartView(_) => "StartView",
            Body::GetView { .. } => "GetView",
            Body::GetHeaders { .. } => "GetHeaders",
            Body::Headers { .. } => "Headers",
            Body::GetEntry { .. } => "GetEntry",
            Body::RepairedEntry { .. } => "RepairedEntry",
            Body::CheckpointRoot { .. } => "CheckpointRoot",
            Body::GetManifest { .. } => "GetManifest",
            Body::Manifest { .. } => "Manifest",
            Body::GetRows { .. } => "GetRows",
            Body::Rows { .. } => "Rows",
            Body::SnapshotGone { .. } => "SnapshotGone",
            Body::RejoinAsk { .. } => "RejoinAsk",
            Body::RejoinChallenge { .. } => "RejoinChallenge",
            Body::RejoinAnswer { .. } => "RejoinAnswer",
            Body::RejoinGranted { .. } => "RejoinGranted",
        }
    }
}
