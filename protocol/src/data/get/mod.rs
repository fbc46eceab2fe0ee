//! The way of bytes back from their holders: asked for ahead of the reader, verified block by block,
//! given out in order. No I/O.
//!
//! In reading order: what it is told and what it tells (`settings`), which blocks are needed in which
//! order (`plan`), what is asked for and has come (`span`), whom to ask (`holders`), the machine
//! (`machine`), what replicas say to it (`answers`), and what becomes due (`settle`).

mod answers;
mod holders;
mod machine;
mod plan;
mod settings;
mod settle;
mod span;

#[cfg(test)]
mod tests;

pub use machine::Get;
pub use plan::BadPieces;
pub use settings::{GetFailure, GetOutput, GetSettings};
