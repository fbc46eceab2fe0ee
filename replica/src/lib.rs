//! Carries out what the protocol decides.
//!
//! In reading order: what is on the disk (`storage`), and the threads that drive the core (`driver`)
//! and the data plane (`data`).

pub mod data;
pub mod driver;
pub mod storage;
