//! Calls of the data plane: a question with its bytes, and one answer. Each on a stream of its own, so
//! that no call waits for another, and all on a connection of their own, so that no vote does either.

mod caller;
mod server;
mod wire;

use std::fmt;

use protocol::data::message::DataBody;
use protocol::types::Peer;
use quinn::VarInt;
use tokio::sync::oneshot;

pub(crate) use caller::CallRoute;
pub(crate) use server::serve_call;

/// A call to us.
#[derive(Debug)]
pub struct IncomingCall {
    pub from: Peer,
    /// A question: `DataBody::is_call`.
    pub body: DataBody,
    pub responder: Responder,
}

/// Answers one call. Dropped without an answer, it tells the caller that there will be none.
#[derive(Debug)]
pub struct Responder(oneshot::Sender<DataBody>);

impl Responder {
    pub fn answer(self, body: DataBody) {
        // A caller that is gone needs no answer.
        let _ = self.0.send(body);
    }

    /// Whether the caller no longer waits: what it asked for need not be done.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

/// Why a call came to no answer. Whether the other end did what it was asked to is not known, except
/// that after `Unknown` and `Unreachable` it was not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// No such replica.
    Unknown,
    /// No connection, and no sense in trying again for a moment.
    Unreachable(String),
    /// The connection or the stream ended before the answer did.
    Lost(String),
    /// The replica took the call and gave no answer.
    Declined,
    /// The answer is not one.
    Nonsense(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Unknown => f.write_str("no such replica"),
            CallError::Unreachable(why) => write!(f, "unreachable: {why}"),
            CallError::Lost(why) => write!(f, "no answer: {why}"),
            CallError::Declined => f.write_str("the replica gave no answer"),
            CallError::Nonsense(what) => write!(f, "the answer is wrong: {what}"),
        }
    }
}

impl std::error::Error for CallError {}

/// Why a stream is ended early. The other end sees the number.
mod reset {
    use super::VarInt;

    /// The caller waits no longer.
    pub(super) const CANCELLED: VarInt = VarInt::from_u32(1);
    /// There will be no answer.
    pub(super) const DECLINED: VarInt = VarInt::from_u32(2);
    /// There is no room: ask again later, or somebody else.
    pub(super) const BUSY: VarInt = VarInt::from_u32(4);
    /// This is no call.
    pub(super) const GARBLED: VarInt = VarInt::from_u32(3);
}
