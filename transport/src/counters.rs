//! What happened so far, for metrics and for whoever wonders why a peer is silent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use protocol::message::Class;
use protocol::types::Peer;
use quinn::Connection;

use crate::limits::{CLASSES, CONNECTIONS_PER_PEER};

/// A snapshot. Counts begin with the process.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Somebody without a good certificate, or too many at once.
    pub handshakes_refused: u64,
    /// Handshakes whose address had to be proven first, because many were under way.
    pub handshakes_retried: u64,
    /// Messages to somebody who is not connected and never was dialled.
    pub messages_unroutable: u64,
    /// Every replica that we dial, and whoever is connected or has been under the same name.
    pub peers: Vec<(Peer, PeerCounters)>,
}

#[derive(Clone, Debug, Default)]
pub struct PeerCounters {
    pub connections: usize,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub datagrams_lost: u64,
    /// Of the connection that answers most quickly.
    pub rtt: Option<Duration>,
    /// The largest datagram that the path is known to carry.
    pub mtu: Option<u16>,
    pub messages_sent: PerClass,
    pub messages_received: PerClass,
    /// Not sent because too many were waiting.
    pub messages_dropped: PerClass,
    /// Not sent because the connection was lost, or could not be made.
    pub messages_lost: PerClass,
    /// Frames that say nothing that we understand.
    pub frames_bad: u64,
    /// Frames in the name of somebody else.
    pub frames_foreign: u64,
    pub calls_made: u64,
    /// Calls of ours that came to no answer.
    pub calls_failed: u64,
    pub calls_served: u64,
    /// Calls to us that found no room.
    pub calls_busy: u64,
}

/// One number for each class of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerClass {
    pub control: u64,
    pub log: u64,
    pub bulk: u64,
}

impl PerClass {
    pub fn of(&self, class: Class) -> u64 {
        match class {
            Class::Control => self.control,
            Class::Log => self.log,
            Class::Bulk => self.bulk,
        }
    }
}

/// Counts as they are being made.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: ClassTally,
    pub(crate) received: ClassTally,
    pub(crate) dropped: ClassTally,
    pub(crate) lost: ClassTally,
    pub(crate) frames_bad: Count,
    pub(crate) frames_foreign: Count,
    pub(crate) calls_made: Count,
    pub(crate) calls_failed: Count,
    pub(crate) calls_served: Count,
    pub(crate) calls_busy: Count,
}

#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct ClassTally([Count; CLASSES.len()]);

impl ClassTally {
    pub(crate) fn add(&self, class: Class, count: u64) {
        self.0[class as usize].add(count);
    }

    fn get(&self) -> PerClass {
        let of = |class: Class| self.0[class as usize].get();
        PerClass { control: of(Class::Control), log: of(Class::Log), bulk: of(Class::Bulk) }
    }
}

/// Who is connected, and what became of those who were.
#[derive(Debug, Default)]
pub(crate) struct Book {
    records: Mutex<BTreeMap<Peer, Record>>,
}

#[derive(Debug, Default)]
struct Record {
    tally: Arc<Tally>,
    live: Vec<Connection>,
    past: Traffic,
}

#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    sent: u64,
    received: u64,
    lost: u64,
}

impl Traffic {
    fn add(&mut self, connection: &Connection) {
        let stats = connection.stats();
        self.sent += stats.udp_tx.bytes;
        self.received += stats.udp_rx.bytes;
        self.lost += stats.path.lost_packets;
    }
}

impl Book {
    fn records(&self) -> MutexGuard<'_, BTreeMap<Peer, Record>> {
        self.records.lock().expect("nothing panics while it holds the book")
    }

    pub(crate) fn tally(&self, peer: Peer) -> Arc<Tally> {
        Arc::clone(&self.records().entry(peer).or_default().tally)
    }

    /// Returns the oldest connection that the peer opened to us if it now has too many: what is left
    /// of a process that was killed must not keep its successor out.
    pub(crate) fn opened(&self, peer: Peer, connection: &Connection) -> Option<Connection> {
        let mut records = self.records();
        let live = &mut records.entry(peer).or_default().live;
        live.push(connection.clone());
        let accepted = || live.iter().filter(|connection| connection.side().is_server());
        (accepted().count() > CONNECTIONS_PER_PEER).then(|| accepted().next().cloned()).flatten()
    }

    pub(crate) fn closed(&self, peer: Peer, connection: &Connection) {
        let mut records = self.records();
        let Some(record) = records.get_mut(&peer) else { return };
        record.live.retain(|live| live.stable_id() != connection.stable_id());
        record.past.add(connection);
        // A client that comes back has another name.
        if record.live.is_empty() && matches!(peer, Peer::Client(_)) {
            records.remove(&peer);
        }
    }

    pub(crate) fn snapshot(&self) -> Vec<(Peer, PeerCounters)> {
        self.records().iter().map(|(peer, record)| (*peer, record.snapshot())).collect()
    }
}

impl Record {
    fn snapshot(&self) -> PeerCounters {
        let mut traffic = self.past;
        self.live.iter().for_each(|connection| traffic.add(connection));
        // The connection for calls stays in the book until the next call finds it closed.
        let open = || self.live.iter().filter(|connection| connection.close_reason().is_none());
        let paths = || open().map(|connection| connection.stats().path);
        let tally = &self.tally;
        PeerCounters {
            connections: open().count(),
            bytes_sent: traffic.sent,
            bytes_received: traffic.received,
            datagrams_lost: traffic.lost,
            rtt: paths().map(|path| path.rtt).min(),
            mtu: paths().map(|path| path.current_mtu).max(),
            messages_sent: tally.sent.get(),
            messages_received: tally.received.get(),
            messages_dropped: tally.dropped.get(),
            messages_lost: tally.lost.get(),
            frames_bad: tally.frames_bad.get(),
            frames_foreign: tally.frames_foreign.get(),
            calls_made: tally.calls_made.get(),
            calls_failed: tally.calls_failed.get(),
            calls_served: tally.calls_served.get(),
            calls_busy: tally.calls_busy.get(),
        }
    }
}
