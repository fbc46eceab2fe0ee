//! What a client is told, and what it answers.

use bytes::Bytes;

use crate::message::Message;
use crate::types::{Op, ReplicaId, SessionId};

/// All durations are in milliseconds of local time, and jittered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// What is not answered for so long is sent again; doubled each time, up to the maximum.
    pub resend_ms: u64,
    pub resend_max_ms: u64,
    /// What is not answered for so long is given up.
    pub timeout_ms: u64,
    /// So often the session is kept alive and its watermarks travel. A small part of the time after
    /// which the cluster expires a session.
    pub keepalive_ms: u64,
    /// Requests that are not answered yet, sent or waiting for room in the session's window.
    pub requests_max: usize,
    /// Queries that are not answered yet.
    pub queries_max: usize,
    /// The largest operation or query. As in the cluster's limits.
    pub operation_bytes_max: usize,
}

impl ClientSettings {
    pub const fn standard() -> ClientSettings {
        ClientSettings {
            resend_ms: 200,
            resend_max_ms: 2_000,
            timeout_ms: 20_000,
            keepalive_ms: 5_000,
            requests_max: 1_024,
            queries_max: 1_024,
            operation_bytes_max: 256 << 10,
        }
    }
}

/// Pairs a request or a query with its outcome. Unique in the client's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// Why nothing was accepted. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// Too much is waiting for answers.
    Busy,
    TooLarge,
    /// `close` was called.
    Closed,
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ClientError::Busy => "too many requests wait for answers",
            ClientError::TooLarge => "the operation is too large",
            ClientError::Closed => "the client is closed",
        })
    }
}

impl std::error::Error for ClientError {}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The request may have taken effect, and may still until its deadline.
    Unknown,
    /// The request never took effect and never will. Every query that gets no answer ends so.
    Definite,
    /// The session ended in which alone the operation meant something: it never took effect and never
    /// will.
    SessionOver,
    /// The operation takes space, and a disk is full: retrying at once does not help, deleting does.
    /// It has most likely not taken effect; but as with `Unknown`, a copy of it that was sent before
    /// may have, and may still until its deadline.
    Full,
    /// The operation or the query is malformed: it never took effect and never will.
    Invalid(String),
}

/// What the client wants done, or has to tell. For every ticket there is exactly one `Completed` or
/// `Failed`.
#[expect(clippy::large_enum_variant, reason = "nearly all outputs are messages, and each is moved once")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Send {
        to: ReplicaId,
        message: Message,
    },
    /// `op`: where the request took effect, or the op as of which the query was answered.
    Completed {
        ticket: Ticket,
        op: Op,
        reply: Bytes,
    },
    Failed {
        ticket: Ticket,
        reason: Failure,
    },
    /// Requests are sent in this session from now on. An earlier one has ended for good.
    SessionBegan {
        session: SessionId,
    },
    /// After `close`: nothing follows.
    Closed,
}
