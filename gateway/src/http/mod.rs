//! Requests and answers.
//!
//! In reading order: what a request says before its body (`request`, `hoisted`), who may ask if everybody knows the
//! keys (`same_machine`), which operation that is (`route`),
//! from a request to its answer (`service`), how answers are made (`response`)
//! and what they may take (`answers`), whether the cluster
//! answers (`readiness`), what becomes of bytes that nobody wants (`leftover`) or takes (`untaken`), and the
//! connections that both travel on (`server`, `tls`, `greeting`, `patient`, `activity`).

mod activity;
pub(crate) mod answers;
mod authorise;
mod greeting;
mod hoisted;
mod leftover;
pub mod metrics;
mod patient;
mod readiness;
pub(crate) mod request;
pub(crate) mod response;
mod route;
mod same_machine;
mod server;
mod service;
mod tls;
mod untaken;

pub use request::{Head, Query, Target};
pub use route::Operation;
pub use server::{STOP_PATIENCE, serve};
pub use service::{Call, Gateway, Options};
pub use tls::{Tls, TlsFiles};

/// The most that the head of a request may hold: S3 has 8 KiB of headers, and a query beside them.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Which operation a request asks for, if any: for whoever feeds it nonsense.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn name_operation(head: &Head) {
    if let Ok(operation) = route::route(head) {
        let _ = operation.name();
    }
}
