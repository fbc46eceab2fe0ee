//! Requests and answers.
//!
//! In reading order: what a request says before its body (`request`), which operation that is (`route`),
//! from a request to its answer (`service`), and how answers are made (`response`).

pub(crate) mod request;
pub(crate) mod response;
mod route;
mod service;

pub use request::{Head, Query, Target};
pub use route::Operation;
pub use service::{Call, Gateway, Options};
