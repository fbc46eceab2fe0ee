//! The replicated state: tables, sessions, and who is who. One entry of the log at a time goes in,
//! one reply for each of its requests comes out, the same on every replica.

mod sessions;

use bytes::Bytes;

pub use sessions::{SessionFacts, Sessions};

use crate::types::{ClientId, Op, RequestNumber, SessionId};

/// What became of a request, as the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub client: ClientId,
    pub session: SessionId,
    pub number: RequestNumber,
    /// The op at which the request took effect; zero if it was refused before.
    pub op: Op,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer to `Register`: the session is in `Reply::session`.
    Registered {
        window: u64,
    },
    /// The state machine's own reply.
    Done(Bytes),
    /// The answer to `Keepalive` and `Close`.
    Acknowledged,
    Refused(Refusal),
}

/// Why a request had no effect, now or ever after, under this number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Decided in the log: the session was closed, expired or evicted, or never was.
    SessionGone,
    /// Decided in the log: the number lies outside the session's window.
    OutsideWindow,
    /// Decided in the log: prepared or applied after the deadline.
    DeadlinePassed,
    /// The operation is malformed. Said by the primary, before the log.
    Invalid(String),
    /// The primary has no room. The request may be sent again.
    Busy,
}
