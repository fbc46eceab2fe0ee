//! How much of everything there may be. Nothing in this crate waits or grows without a bound.
//!
//! What one connection can hold in memory: `CONNECTION_WINDOW` bytes that arrived and are not read,
//! the frames that are read and not yet taken by the core (`ClassLimits::unhandled_bytes`), the frames
//! that wait to be sent (`ClassLimits::queued_bytes`), and the calls that `Limits::call_bytes_per_peer`
//! admits. Bytes that were sent and are not acknowledged share the memory of what they belong to.

use std::time::Duration;

use protocol::config;
use protocol::data::outline::CHUNK_BYTES_MAX;
use protocol::entry::ENTRY_HEADER_SIZE;
use protocol::message::{Class, FRAME_HEADER_SIZE, HEADERS_COUNT_MAX, MESSAGE_SIZE_MAX};
use protocol::types::REPLICAS_MAX;

/// What an operator may want to change.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that clients opened to us. More are refused. Those of replicas have room of their own.
    pub client_connections_max: usize,
    /// Bytes of calls being served at once: what is put, and what is read to be sent. A part of it is for
    /// replicas only.
    pub call_bytes_total: u32,
    /// The same, for each peer's connection.
    pub call_bytes_per_peer: u32,
    /// A call that finds no room within this time is answered with `Busy`.
    pub call_admission_wait: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            client_connections_max: CLIENT_CONNECTIONS_STANDARD,
            call_bytes_total: 256 << 20,
            call_bytes_per_peer: 64 << 20,
            call_admission_wait: Duration::from_millis(500),
        }
    }
}

/// What each class of messages may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClassLimits {
    /// Bytes that wait to be sent to one peer.
    pub(crate) queued_bytes: usize,
    /// Bytes from one connection that the core has not taken yet.
    pub(crate) unhandled_bytes: usize,
    /// Larger frames are not of this class.
    pub(crate) frame_bytes: usize,
}

pub(crate) const CLASSES: [Class; 3] = [Class::Control, Class::Log, Class::Bulk];

pub(crate) const fn class_limits(class: Class) -> ClassLimits {
    match class {
        // The largest is a `StartView` with a thousand headers.
        Class::Control => {
            ClassLimits { queued_bytes: 1 << 20, unhandled_bytes: 1 << 20, frame_bytes: 256 << 10 }
        }
        // A few whole pipelines of the log.
        Class::Log => {
            ClassLimits { queued_bytes: 16 << 20, unhandled_bytes: 8 << 20, frame_bytes: MESSAGE_SIZE_MAX }
        }
        Class::Bulk => {
            ClassLimits { queued_bytes: 8 << 20, unhandled_bytes: 4 << 20, frame_bytes: MESSAGE_SIZE_MAX }
        }
    }
}

/// A message counts for at least so many bytes: small ones take more memory than their frames.
pub(crate) const MESSAGE_BYTES_MIN: usize = 1 << 10;

const _: () = {
    // The largest message of the most urgent class: a `StartView` or the headers of a log.
    let start_view = FRAME_HEADER_SIZE + 64 + HEADERS_COUNT_MAX * ENTRY_HEADER_SIZE;
    assert!(start_view <= class_limits(Class::Control).frame_bytes);
    let mut index = 0;
    while index < CLASSES.len() {
        let limits = class_limits(CLASSES[index]);
        assert!(limits.frame_bytes <= limits.unhandled_bytes);
        assert!(limits.frame_bytes <= limits.queued_bytes);
        assert!(limits.unhandled_bytes <= u32::MAX as usize);
        index += 1;
    }
};

/// What one stream may send ahead of its reader.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
/// Calls at once on one connection; the next waits with its caller.
pub(crate) const CALLS_PER_CONNECTION: u32 = 32;
/// One stream for each class.
pub(crate) const MESSAGE_STREAMS: u32 = 3;
/// Room for all streams at once: however many of them nobody reads, the others still get through.
pub(crate) const CONNECTION_WINDOW: u32 = STREAM_WINDOW * (CALLS_PER_CONNECTION + MESSAGE_STREAMS + 1);
/// The other direction, for the same reason.
pub(crate) const SEND_WINDOW: u64 = CONNECTION_WINDOW as u64;

const _: () = assert!(CALL_BYTES_MAX <= Limits::CALL_BYTES_MIN);
/// The most that one call moves.
pub(crate) const CALL_BYTES_MAX: u32 = CHUNK_BYTES_MAX;
/// A call counts for at least this, for its task and its streams.
pub(crate) const CALL_BYTES_MIN: u32 = 16 << 10;

impl Limits {
    /// Less would admit no large call at all.
    pub const CALL_BYTES_MIN: u32 = CHUNK_BYTES_MAX;

    /// How much of `call_bytes_total` clients may take: a quarter is kept for the copies and the repair
    /// between replicas, which a crowd of clients must not keep from what it has made necessary.
    pub(crate) fn call_bytes_of_clients(&self) -> u32 {
        self.call_bytes_total - (self.call_bytes_total / 4).max(Limits::CALL_BYTES_MIN)
    }

    /// The limits as they can be kept: too small ones are raised.
    pub(crate) fn usable(self) -> Limits {
        Limits {
            call_bytes_total: self.call_bytes_total.max(2 * Limits::CALL_BYTES_MIN),
            call_bytes_per_peer: self.call_bytes_per_peer.max(Limits::CALL_BYTES_MIN),
            ..self
        }
    }
}

/// Messages that the core has not taken, whoever sent them.
pub(crate) const INBOX_MESSAGES: usize = 1024;
/// Calls that the handler has not taken.
pub(crate) const INBOX_CALLS: usize = 64;

/// A peer uses so many connections: one for messages, one for calls.
pub(crate) const CONNECTIONS_IN_USE: usize = 2;
/// One peer may have so many connections to us: those that it uses, and as many of before its restart.
pub(crate) const CONNECTIONS_PER_PEER: usize = 2 * CONNECTIONS_IN_USE;
/// Room for all connections that replicas may have, and for one more of each: the newest is let in
/// before the oldest goes.
pub(crate) const REPLICA_CONNECTIONS_MAX: usize = REPLICAS_MAX * (CONNECTIONS_PER_PEER + 1);
const CLIENT_CONNECTIONS_STANDARD: usize = 1024;
/// Every client with a session gets in, and so does every replica's upkeep, which is one more client.
const _: () = {
    let clients_max = config::Limits::standard().sessions_max + REPLICAS_MAX;
    assert!(CLIENT_CONNECTIONS_STANDARD >= CONNECTIONS_IN_USE * clients_max);
};

/// Beyond so many handshakes under way, whoever begins another must first show that it can be
/// answered: a stateless retry costs us nothing to remember.
pub(crate) const HANDSHAKES_UNPROVEN_MAX: usize = 16;
/// Beyond so many, even they are refused.
pub(crate) const HANDSHAKES_MAX: usize = 256;
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection without a sign of life is over after this. The keep-alive makes three of them.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(1250);
const _: () = assert!(KEEP_ALIVE_INTERVAL.as_millis() * 3 < IDLE_TIMEOUT.as_millis());

/// Between two attempts to reach a peer.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(50);
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How long the other end of a call may take to send what it began, or to take what it asked for.
pub(crate) const CALL_TRANSFER_TIMEOUT: Duration = Duration::from_secs(30);
