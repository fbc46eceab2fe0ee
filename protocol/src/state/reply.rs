//! What a client is told about its request.

use bytes::Bytes;

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::types::{ClientId, Op, RequestNumber, SessionId};

/// The longest text that explains a refusal. Longer ones are cut.
pub const REASON_SIZE_MAX: usize = 256;

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
    /// The operation grows, and a disk is full. Said by the primary, before the log; another copy of
    /// the request may still find room, or have found it.
    Full,
}

impl Reply {
    pub fn encode(&self, out: &mut Encoder) {
        out.u128(self.client.get());
        out.u64(self.session.get());
        out.u64(self.number.get());
        out.u64(self.op.get());
        self.outcome.encode(out);
    }

    pub fn decode(input: &mut Decoder) -> Result<Reply, DecodeError> {
        Ok(Reply {
            client: ClientId::new(input.u128("reply.client")?),
            session: SessionId::new(input.u64("reply.session")?),
            number: input.request_number("reply.number")?,
            op: input.op("reply.op")?,
            outcome: Outcome::decode(input)?,
        })
    }
}

impl Outcome {
    const REGISTERED: u8 = 1;
    const DONE: u8 = 2;
    const ACKNOWLEDGED: u8 = 3;
    const REFUSED: u8 = 4;

    pub fn encode(&self, out: &mut Encoder) {
        match self {
            Outcome::Registered { window } => {
                out.u8(Outcome::REGISTERED);
                out.u64(*window);
            }
            Outcome::Done(bytes) => {
                out.u8(Outcome::DONE);
                out.bytes(bytes);
            }
            Outcome::Acknowledged => out.u8(Outcome::ACKNOWLEDGED),
            Outcome::Refused(refusal) => {
                out.u8(Outcome::REFUSED);
                refusal.encode(out);
            }
        }
    }

    pub fn decode(input: &mut Decoder) -> Result<Outcome, DecodeError> {
        Ok(match input.u8("outcome.kind")? {
            Outcome::REGISTERED => Outcome::Registered { window: input.u64("registered.window")? },
            Outcome::DONE => Outcome::Done(input.bytes("outcome.bytes")?),
            Outcome::ACKNOWLEDGED => Outcome::Acknowledged,
            Outcome::REFUSED => Outcome::Refused(Refusal::decode(input)?),
            _ => return Err(DecodeError::Invalid("outcome.kind")),
        })
    }
}

impl Refusal {
    const SESSION_GONE: u8 = 1;
    const OUTSIDE_WINDOW: u8 = 2;
    const DEADLINE_PASSED: u8 = 3;
    const INVALID: u8 = 4;
    const BUSY: u8 = 5;
    const FULL: u8 = 6;

    fn encode(&self, out: &mut Encoder) {
        match self {
            Refusal::SessionGone => out.u8(Refusal::SESSION_GONE),
            Refusal::OutsideWindow => out.u8(Refusal::OUTSIDE_WINDOW),
            Refusal::DeadlinePassed => out.u8(Refusal::DEADLINE_PASSED),
            Refusal::Invalid(reason) => {
                out.u8(Refusal::INVALID);
                encode_reason(reason, out);
            }
            Refusal::Busy => out.u8(Refusal::BUSY),
            Refusal::Full => out.u8(Refusal::FULL),
        }
    }

    fn decode(input: &mut Decoder) -> Result<Refusal, DecodeError> {
        Ok(match input.u8("refusal.kind")? {
            Refusal::SESSION_GONE => Refusal::SessionGone,
            Refusal::OUTSIDE_WINDOW => Refusal::OutsideWindow,
            Refusal::DEADLINE_PASSED => Refusal::DeadlinePassed,
            Refusal::INVALID => Refusal::Invalid(decode_reason(input, "refusal.reason")?),
            Refusal::BUSY => Refusal::Busy,
            Refusal::FULL => Refusal::Full,
            _ => return Err(DecodeError::Invalid("refusal.kind")),
        })
    }
}

/// A text is for people: a machine with much to say must not make a message grow, nor fail.
pub(crate) fn encode_reason(reason: &str, out: &mut Encoder) {
    let end = reason.floor_char_boundary(REASON_SIZE_MAX);
    out.bytes(&reason.as_bytes()[..end]);
}

pub(crate) fn decode_reason(input: &mut Decoder, field: &'static str) -> Result<String, DecodeError> {
    let bytes = input.bytes(field)?;
    if bytes.len() > REASON_SIZE_MAX {
        return Err(DecodeError::Invalid(field));
    }
    match std::str::from_utf8(&bytes) {
        Ok(reason) => Ok(reason.to_owned()),
        Err(_) => Err(DecodeError::Invalid(field)),
    }
}
