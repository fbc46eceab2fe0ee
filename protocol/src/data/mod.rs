//! The data plane: where the bytes of large objects are, and how they get there and back. No I/O.
//!
//! The log carries names, roots and receipts; the bytes go straight to the replicas that hold them.
//! `docs/DATA.md` draws the whole.
//!
//! In reading order: what a chunk is (`outline`), where it belongs (`placement`), what a replica says
//! when it holds one (`receipt`), what the two ends say to each other (`message`), and the client's
//! three machines: how a body gets to its holders (`put`), how it comes back (`get`), and what a session
//! says of its reads and uploads so that nothing is collected under them (`fence`).

pub mod fence;
pub mod get;
pub mod message;
pub mod outline;
pub mod placement;
pub mod put;
pub mod receipt;

#[cfg(test)]
mod cluster;
