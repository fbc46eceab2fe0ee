//! Who asks, and what they may do.
//!
//! In reading order: keys and signatures of Signature Version 4 (`signature`).

pub mod signature;
