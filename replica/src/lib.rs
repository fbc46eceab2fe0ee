//! Carries out what the protocol decides.
//!
//! In reading order: what is on the disk (`storage`), and the threads that drive the core (`driver`).

pub mod driver;
pub mod storage;
