//! The way of a body to its holders: chunks go to their owners, receipts come back, and when every
//! chunk is durable on enough disks there is something that the log may refer to. No I/O.
//!
//! In reading order: what it is told and what it tells (`settings`), one chunk and the replicas that
//! are to hold it (`chunk`), the machine (`machine`), and what replicas say to it (`answers`).

mod answers;
mod chunk;
mod machine;
mod settings;

#[cfg(test)]
mod tests;

pub use machine::Put;
pub use settings::{OfferError, PreparedChunk, PutFailure, PutOutput, PutSettings, StoredBody};
