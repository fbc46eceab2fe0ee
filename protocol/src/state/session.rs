//! One session: what its client was answered, and how long it is kept.
//!
//! ```text
//!        forgotten, for the client     kept replies and free numbers           not yet
//!        has these replies             ┌───────── window ─────────┐
//! ───────────────────────────────────▶│low                       │low + window ─────▶
//! ```

use std::collections::BTreeMap;

use super::{Outcome, Reply, SessionFacts, reply};
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::config::Limits;
use crate::entry::Request;
use crate::types::{ClientId, Op, RequestNumber, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(super) client: ClientId,
    /// The client has the replies to all requests below: they are forgotten, and no request so old
    /// is ever executed.
    low: RequestNumber,
    /// Replies from `low` on, for retries.
    replies: BTreeMap<RequestNumber, KeptReply>,
    /// Where in the log, and when, the session was last heard of.
    pub(super) active_op: Op,
    pub(super) active_at: Timestamp,
    pub(super) facts: SessionFacts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct KeptReply {
    op: Op,
    outcome: Outcome,
}

/// What a session's window says about a request.
pub(super) enum Standing {
    New,
    Answered(Reply),
    OutsideWindow,
}

impl Session {
    const VERSION: u8 = 1;

    /// An object read by this session cannot have been forgotten before the session began.
    pub(super) fn begin(client: ClientId, op: Op, timestamp: Timestamp) -> Session {
        Session {
            client,
            low: RequestNumber::new(1),
            replies: BTreeMap::new(),
            active_op: op,
            active_at: timestamp,
            facts: SessionFacts { oldest_live_upload: 0, oldest_read: op },
        }
    }

    /// Where the window begins once the request has said what its client has. A request cannot say
    /// that it was itself answered.
    fn low_after(&self, request: &Request) -> RequestNumber {
        self.low.max(request.answered_below.min(request.number))
    }

    pub(super) fn standing(&self, request: &Request, window: u64) -> Standing {
        if let Some(kept) = self.replies.get(&request.number) {
            return Standing::Answered(reply(request, kept.op, kept.outcome.clone()));
        }
        let low = self.low_after(request);
        if request.number < low || request.number.since(low) >= window {
            return Standing::OutsideWindow;
        }
        Standing::New
    }

    /// Takes note of a new request: what its client has, and that it is alive.
    pub(super) fn hear(&mut self, request: &Request, op: Op, timestamp: Timestamp) {
        self.low = self.low_after(request);
        self.replies = self.replies.split_off(&self.low);
        self.active_op = op;
        self.active_at = timestamp;
    }

    pub(super) fn keep_reply(&mut self, reply: &Reply) {
        let kept = KeptReply { op: reply.op, outcome: reply.outcome.clone() };
        let before = self.replies.insert(reply.number, kept);
        assert!(before.is_none(), "a request is executed once");
    }

    /// The size of the largest row. A donor sends a row in one message.
    pub(crate) const fn row_size_max(limits: &Limits) -> u64 {
        let reply_size_max = 8 + 8 + 1 + 4 + limits.reply_bytes_max as u64;
        1 + 16 + 5 * 8 + 4 + limits.session_window.saturating_mul(reply_size_max)
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u8(Session::VERSION);
        out.u128(self.client.get());
        out.u64(self.low.get());
        out.u64(self.active_op.get());
        out.u64(self.active_at.get());
        out.u64(self.facts.oldest_live_upload);
        out.u64(self.facts.oldest_read.get());
        out.count(self.replies.len());
        for (number, reply) in &self.replies {
            out.u64(number.get());
            out.u64(reply.op.get());
            reply.outcome.encode(out);
        }
    }

    pub(super) fn decode(input: &mut Decoder) -> Result<Session, DecodeError> {
        if input.u8("session.version")? != Session::VERSION {
            return Err(DecodeError::Invalid("session.version"));
        }
        let mut session = Session {
            client: ClientId::new(input.u128("session.client")?),
            low: input.request_number("session.low")?,
            replies: BTreeMap::new(),
            active_op: input.op("session.active_op")?,
            active_at: Timestamp::new(input.u64("session.active_at")?),
            facts: SessionFacts {
                oldest_live_upload: input.u64("session.oldest_live_upload")?,
                oldest_read: input.op("session.oldest_read")?,
            },
        };
        for _ in 0..input.count(17, "session.replies")? {
            let number = input.request_number("session.number")?;
            let reply = KeptReply { op: input.op("session.reply_op")?, outcome: Outcome::decode(input)? };
            let ascending = session.replies.last_key_value().is_none_or(|(last, _)| *last < number);
            if number < session.low || !ascending {
                return Err(DecodeError::Invalid("session.number"));
            }
            session.replies.insert(number, reply);
        }
        Ok(session)
    }
}
