//! The replicated state: tables, sessions, and who is who. One entry of the log at a time goes in,
//! one reply for each of its requests comes out, the same on every replica.

mod reply;
mod sessions;

pub use reply::{Outcome, REASON_SIZE_MAX, Refusal, Reply};
pub(crate) use reply::{decode_reason, encode_reason};
pub use sessions::Sessions;
