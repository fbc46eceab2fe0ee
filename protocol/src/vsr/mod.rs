//! Viewstamped Replication without I/O: messages, time and completions go in, effects come out.

mod effects;
pub mod select_log;

pub use effects::{Effect, Event, Halt};
