//! Who asks, and what they may do.
//!
//! In reading order: keys and signatures of Signature Version 4 (`signature`), and whose request it is
//! (`caller`).

mod caller;
pub mod signature;

pub use caller::Caller;
