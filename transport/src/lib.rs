//! Carries what replicas and clients say to each other: QUIC with mutual TLS. Decides nothing.
//!
//! Whoever has the cluster's key may take part, as the replica or client that its certificate names;
//! nobody else completes a handshake. `docs/TRANSPORT.md` draws the whole.
//!
//! In reading order: the key and what follows from it (`key`, `identity`, `tls`), how a connection
//! comes about (`limits`, `endpoint`, `dial`, `accept`), what travels on it (`links` for messages of
//! the log, `calls` for the bytes of chunks), and what can be counted.

mod key;

mod identity;
mod tls;

mod accept;
mod dial;
mod endpoint;
pub mod limits;

mod budget;
mod buffers;
mod links;
mod read;

mod calls;

pub mod counters;

mod transport;

#[cfg(feature = "bare")]
pub mod bare;

pub use calls::{CallError, IncomingCall, Responder};
pub use key::{ClusterKey, KeyError};
pub use links::Received;
pub use transport::{Inbox, Settings, StartError, Transport};

#[cfg(test)]
mod tests;
