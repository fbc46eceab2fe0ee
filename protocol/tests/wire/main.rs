//! The formats that leave a process: what is written can be read, stays as it is, and nothing that
//! arrives can hurt.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test, like the test itself")]

mod damage;
mod golden;
mod round_trip;
mod samples;
