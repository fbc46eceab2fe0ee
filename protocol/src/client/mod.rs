//! The client side: find the primary, hold a session, number requests, resend, and tell for each
//! request what became of it, or honestly that nobody knows. No I/O.
//!
//! In reading order: what it is told (`settings`), where it sends (`route`), when it sends again
//! (`retry`), what it sent (`session`, `queries`), and the machine that puts them together (`machine`,
//! `answers`, `settle`).

mod answers;
mod machine;
mod queries;
mod retry;
mod route;
mod session;
mod settings;
mod settle;

#[cfg(test)]
mod tests;

pub use machine::Client;
pub(crate) use retry::jittered;
pub use settings::{ClientError, ClientSettings, Failure, Output, Ticket};
