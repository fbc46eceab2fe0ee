//! The program itself, as its users run it.
#![expect(clippy::unwrap_used, reason = "all of this is tests, also what is not marked as one")]

mod dev;
mod harness;
mod map;
mod program;
mod replica;
mod users;
