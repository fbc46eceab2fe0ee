//! The data plane: where the bytes of large objects are, and how they get there and back. No I/O.
//!
//! The log carries names, roots and receipts; the bytes go straight to the replicas that hold them.
//! `docs/DATA.md` draws the whole.
//!
//! In reading order: what a chunk is (`outline`), where it belongs (`placement`), what a replica says
//! when it holds one (`receipt`), and what the two ends say to each other (`message`). The client's
//! three machines: how a body gets to its holders (`put`), how it comes back (`get`), and what a session
//! says of its reads and uploads so that nothing is collected under them (`fence`). The replica's end:
//! what its machines ask of the disk (`storage`), how it answers (`holder`), and how it keeps itself
//! whole (`upkeep`).

pub mod message;
pub mod outline;
pub mod placement;
pub mod receipt;

pub mod fence;
pub mod get;
pub mod put;

pub mod holder;
pub mod storage;
pub mod upkeep;

#[cfg(test)]
mod cluster;
