//! The program itself, as its users run it.

mod harness;
mod program;
mod replica;
