//! Storage: plain synchronous Rust over one small `Disk` trait. No threads, no clock: whoever calls
//! decides when and where. Formats are drawn in `docs/STORAGE.md`.
//!
//! Any error of a write or a sync ends the process: the caller must not call again, but restart and
//! read what is truly there. Damage found while reading is reported, not an error of this kind.

pub mod chunks;
pub mod disk;
pub mod expected_panic;
mod numbered;
pub mod scrub_position;
pub mod space;
pub mod superblock;
pub mod tables;
pub mod wal;
