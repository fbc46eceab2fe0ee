//! Every figure of a replica, for Prometheus. `docs/OPERATIONS.md` says what they mean to an operator.

use std::time::Duration;

use protocol::types::Peer;
use replica::data::DataVitals;
use replica::driver::{CoreVitals, Durations, Vitals};
use transport::counters::{Counters, PeerCounters, PerClass};

use super::exposition::{Exposition, Family};
use crate::process::Shared;
use crate::status::{CoreStatus, DataStatus, Health, ReplicaStatus};

/// What is told, as it was at one moment.
pub(super) struct Figures {
    pub(super) status: ReplicaStatus,
    /// None until the core has started.
    pub(super) driver: Option<DriverFigures>,
    /// None until the chunks are open.
    pub(super) data: Option<DataFigures>,
    pub(super) traffic: Counters,
}

/// Durations as they were collected.
pub(super) struct Distribution {
    pub(super) counts: [u64; Durations::BUCKETS],
    pub(super) total: Duration,
}

impl Distribution {
    fn of(durations: &Durations) -> Distribution {
        Distribution { counts: durations.counts(), total: durations.total() }
    }
}

pub(super) struct DriverFigures {
    pub(super) wal_sync: Distribution,
    pub(super) messages_in: u64,
    pub(super) messages_refused: u64,
    pub(super) inbox_depth: u64,
    /// By the events' own names.
    pub(super) events: Vec<(String, u64)>,
}

pub(super) struct DataFigures {
    pub(super) chunk_sync: Distribution,
    pub(super) stored_bytes: u64,
    pub(super) read_bytes: u64,
    pub(super) calls: u64,
    pub(super) calls_refused: u64,
    pub(super) quarantined: u64,
    pub(super) upkeep: protocol::data::upkeep::Figures,
}

impl Figures {
    pub(super) fn of(shared: &Shared) -> Figures {
        let driver = shared.core().map(|core| DriverFigures::of(core.vitals()));
        let data = shared.data().map(|data| DataFigures::of(data.vitals()));
        Figures { status: shared.status(), driver, data, traffic: shared.transport.counters() }
    }
}

impl DriverFigures {
    fn of(vitals: &Vitals) -> DriverFigures {
        let events = |core: CoreVitals| {
            core.events.iter().map(|(event, count)| (format!("{event:?}"), *count)).collect()
        };
        DriverFigures {
            wal_sync: Distribution::of(&vitals.wal_sync),
            messages_in: vitals.messages_in.get(),
            messages_refused: vitals.messages_refused.get(),
            inbox_depth: vitals.inbox_depth.get(),
            events: vitals.core().map(events).unwrap_or_default(),
        }
    }
}

impl DataFigures {
    fn of(vitals: &DataVitals) -> DataFigures {
        DataFigures {
            chunk_sync: Distribution::of(&vitals.chunk_sync),
            stored_bytes: vitals.bytes_stored.get(),
            read_bytes: vitals.bytes_read.get(),
            calls: vitals.calls.get(),
            calls_refused: vitals.calls_refused.get(),
            quarantined: vitals.quarantined.get(),
            upkeep: vitals.now().figures,
        }
    }
}

pub(super) fn render(figures: &Figures) -> String {
    let mut out = Exposition::default();
    process(&mut out, &figures.status);
    if let Some(core) = &figures.status.core {
        positions(&mut out, core);
        others(&mut out, core);
    }
    if let Some(driver) = &figures.driver {
        work(&mut out, driver);
    }
    space(&mut out, &figures.status);
    if let Some(data) = &figures.status.data {
        chunks(&mut out, data);
    }
    if let Some(data) = &figures.data {
        chunk_work(&mut out, data);
    }
    traffic(&mut out, &figures.traffic);
    out.finish()
}

fn process(out: &mut Exposition, status: &ReplicaStatus) {
    let (replica, version) = (status.replica.to_string(), status.version.as_str());
    out.gauge("viewstone_info", "Always 1. Which replica this is, and its release.")
        .labelled(&[("replica", &replica), ("version", version)], 1);
    out.gauge("viewstone_uptime_seconds", "For how long the process has been running.")
        .value(status.uptime_seconds);
    out.counter("viewstone_cpu_seconds_total", "CPU time that the process has taken.")
        .value(seconds(Duration::from_micros(status.cpu_micros)));
    out.gauge("viewstone_clock_seconds", "What this machine takes the time to be, since 1970.")
        .value(seconds(Duration::from_micros(status.clock_micros)));
    out.gauge("viewstone_ready", "1 if the replica takes part and is nearly up to date.")
        .value(u8::from(status.ready));
    let mut health = out.gauge("viewstone_health", "1 for what the replica is doing, 0 for what it is not.");
    for state in Health::ALL {
        let name = state.words().replace(' ', "_");
        health.labelled(&[("state", &name)], u8::from(status.health == state));
    }
    out.gauge("viewstone_founding_waiting", "Replicas that the first start waits for.")
        .value(status.waiting_for.len());
}

fn positions(out: &mut Exposition, core: &CoreStatus) {
    let gauges = [
        ("viewstone_primary", "1 if this replica is the primary.", u64::from(core.is_primary)),
        ("viewstone_view", "The view: how often the primary's role was given anew.", core.view),
        ("viewstone_log_view", "The view whose log this replica holds.", core.log_view),
        ("viewstone_head_op", "The newest entry of its log.", core.head),
        ("viewstone_durable_op", "Up to here its own disk has the log.", core.durable),
        ("viewstone_commit_op", "Up to here the log is known to be committed.", core.commit),
        ("viewstone_applied_op", "Up to here the tables reflect the log.", core.applied),
        ("viewstone_checkpoint_op", "Up to here the tables on its disk reflect the log.", core.checkpoint),
        ("viewstone_incarnation", "Which disk of this replica it is.", core.incarnation),
        ("viewstone_boot_count", "How often this disk was started.", core.boot_count),
        ("viewstone_sessions", "Clients with a session.", core.sessions),
        (
            "viewstone_table_rows_in_memory",
            "Rows that are not in a durable checkpoint yet.",
            core.rows_in_memory,
        ),
        (
            "viewstone_refuses_growth",
            "1 if the disk has no room for anything that grows.",
            u64::from(core.refuses_growth),
        ),
        ("viewstone_wal_bytes", "What the log takes of the disk.", core.wal_bytes),
    ];
    for (name, help, value) in gauges {
        out.gauge(name, help).value(value);
    }
}

fn others(out: &mut Exposition, core: &CoreStatus) {
    let names: Vec<String> = core.peers.iter().map(|peer| peer.replica.to_string()).collect();
    let peers = || core.peers.iter().zip(&names);
    let mut family = out.gauge(
        "viewstone_peer_silence_seconds",
        "How long nothing was heard of another replica. Absent: never anything.",
    );
    for (peer, name) in peers() {
        if let Some(millis) = peer.silent_ms {
            family.labelled(&[("peer", name)], seconds(Duration::from_millis(millis)));
        }
    }
    let mut family = out.gauge(
        "viewstone_peer_lag_ops",
        "Entries that another replica has not acknowledged. Only the primary knows.",
    );
    for (peer, name) in peers() {
        if let Some(acknowledged) = peer.acknowledged.filter(|_| core.is_primary) {
            family.labelled(&[("peer", name)], core.head.saturating_sub(acknowledged));
        }
    }
    let mut family = out.gauge("viewstone_peer_checkpoint_op", "The durable checkpoint of another replica.");
    for (peer, name) in peers() {
        family.labelled(&[("peer", name)], peer.checkpoint);
    }
    let mut family = out.gauge("viewstone_peer_incarnation", "Which disk of another replica is known.");
    for (peer, name) in peers() {
        family.labelled(&[("peer", name)], peer.incarnation);
    }
}

fn work(out: &mut Exposition, driver: &DriverFigures) {
    distribution(
        out.histogram(
            "viewstone_wal_sync_duration_seconds",
            "How long it takes to make a group of entries durable.",
        ),
        &driver.wal_sync,
    );
    out.counter("viewstone_core_messages_total", "Messages that the core has handled.")
        .value(driver.messages_in);
    out.counter("viewstone_core_messages_refused_total", "Messages for which the core had no room.")
        .value(driver.messages_refused);
    out.gauge("viewstone_core_inbox_depth", "What waited for the core when it last looked.")
        .value(driver.inbox_depth);
    let mut family = out.counter("viewstone_core_events_total", "What happened in the core, by kind.");
    for (event, count) in &driver.events {
        family.labelled(&[("event", &snake_case(event))], count);
    }
}

fn space(out: &mut Exposition, status: &ReplicaStatus) {
    let Some(disk) = status.disk else { return };
    out.gauge("viewstone_disk_size_bytes", "The size of the file system of the replica's directory.")
        .value(disk.size_bytes);
    out.gauge("viewstone_disk_available_bytes", "What is free of it.").value(disk.available_bytes);
    out.gauge("viewstone_disk_reserve_bytes", "What objects never take of it.").value(disk.reserve_bytes);
}

fn chunks(out: &mut Exposition, data: &DataStatus) {
    let gauges = [
        ("viewstone_data_ready", "1 if chunks are taken and served.", u64::from(data.ready)),
        ("viewstone_data_chunks", "Chunks on this disk.", data.chunks),
        ("viewstone_data_chunk_bytes", "Their size.", data.chunk_bytes),
        (
            "viewstone_data_debts",
            "Bodies of which this replica lacks chunks that it should have.",
            data.debts,
        ),
        ("viewstone_data_missing_chunks", "At most so many chunks that it should have.", data.chunks_missing),
        ("viewstone_data_rebuild_bytes", "What a new disk still has to fetch.", data.bytes_to_rebuild),
        (
            "viewstone_data_damaged_chunks",
            "Copies that have rotted or are gone and have not been replaced.",
            data.chunks_damaged,
        ),
        ("viewstone_data_lost_chunks", "Chunks of which no replica has a sound copy.", data.chunks_lost),
        (
            "viewstone_data_unscrubbed_seconds",
            "For how long some chunk has not been verified, as far as this process knows.",
            data.unscrubbed_seconds,
        ),
    ];
    for (name, help, value) in gauges {
        out.gauge(name, help).value(value);
    }
}

fn chunk_work(out: &mut Exposition, data: &DataFigures) {
    distribution(
        out.histogram(
            "viewstone_data_sync_duration_seconds",
            "How long it takes to make a group of chunks durable.",
        ),
        &data.chunk_sync,
    );
    out.gauge(
        "viewstone_data_quarantined_chunks",
        "Bad copies that were set aside and are still on the disk.",
    )
    .value(data.quarantined);
    out.gauge(
        "viewstone_data_pull_bytes",
        "What is being fetched from other replicas, or written after that.",
    )
    .value(data.upkeep.pull_bytes);
    let counters = [
        ("viewstone_data_stored_bytes_total", "Bytes of chunks that were stored.", data.stored_bytes),
        ("viewstone_data_read_bytes_total", "Bytes of chunks that were read.", data.read_bytes),
        ("viewstone_data_calls_total", "Calls for chunks.", data.calls),
        ("viewstone_data_calls_refused_total", "Those that found no room.", data.calls_refused),
        (
            "viewstone_data_repaired_chunks_total",
            "Chunks that were fetched from another replica.",
            data.upkeep.repaired_chunks,
        ),
        ("viewstone_data_repaired_bytes_total", "Their size.", data.upkeep.repaired_bytes),
        (
            "viewstone_data_collected_chunks_total",
            "Chunks that were deleted because nothing needs them.",
            data.upkeep.collected_chunks,
        ),
    ];
    for (name, help, value) in counters {
        out.counter(name, help).value(value);
    }
}

fn distribution(mut family: Family<'_>, of: &Distribution) {
    let limits = (0..Durations::BUCKETS - 1).map(Durations::limit_micros);
    let limits = limits.map(|micros| seconds(Duration::from_micros(micros)));
    family.distribution(limits.zip(of.counts), of.counts.iter().sum(), seconds(of.total));
}

/// How a figure of one peer is told.
type OfPeer = fn(&PeerCounters) -> u64;
type OfClass = fn(&PeerCounters) -> PerClass;
type OfMessages = fn(PerClass) -> u64;

fn traffic(out: &mut Exposition, counters: &Counters) {
    let totals = [
        (
            "viewstone_transport_handshakes_refused_total",
            "Connections without a good certificate, or too many.",
            counters.handshakes_refused,
        ),
        (
            "viewstone_transport_handshakes_retried_total",
            "Connections that had to prove their address first.",
            counters.handshakes_retried,
        ),
        (
            "viewstone_transport_messages_unroutable_total",
            "Messages to somebody who is not connected.",
            counters.messages_unroutable,
        ),
    ];
    for (name, help, value) in totals {
        out.counter(name, help).value(value);
    }
    // A client that leaves takes its counts along, and a counter must not fall: only replicas, whose
    // names stay, are counted one by one.
    let mut replicas = Vec::new();
    let mut from_clients = 0;
    for (peer, counters) in &counters.peers {
        match peer {
            Peer::Replica(id) => replicas.push((id.to_string(), counters)),
            Peer::Client(_) => from_clients += counters.connections,
        }
    }
    let mut family = out.gauge("viewstone_transport_connections", "Open connections.");
    for (name, counters) in &replicas {
        family.labelled(&[("peer", name)], counters.connections);
    }
    family.labelled(&[("peer", "clients")], from_clients);
    counts(out, &replicas);
    paths(out, &replicas);
}

/// Replicas by their numbers.
type Replicas<'a> = [(String, &'a PeerCounters)];

fn counts(out: &mut Exposition, replicas: &Replicas<'_>) {
    let counts: [(&str, &str, OfPeer); 9] = [
        ("viewstone_transport_sent_bytes_total", "Sent, headers and repetitions included.", |peer| {
            peer.bytes_sent
        }),
        ("viewstone_transport_received_bytes_total", "Received.", |peer| peer.bytes_received),
        ("viewstone_transport_datagrams_lost_total", "Datagrams that had to be sent again.", |peer| {
            peer.datagrams_lost
        }),
        ("viewstone_transport_frames_bad_total", "Messages that make no sense.", |peer| peer.frames_bad),
        ("viewstone_transport_frames_foreign_total", "Messages in the name of somebody else.", |peer| {
            peer.frames_foreign
        }),
        ("viewstone_transport_calls_made_total", "Calls of this replica to others.", |peer| peer.calls_made),
        ("viewstone_transport_calls_failed_total", "Those that came to no answer.", |peer| peer.calls_failed),
        ("viewstone_transport_calls_served_total", "Calls of others that were answered.", |peer| {
            peer.calls_served
        }),
        ("viewstone_transport_calls_busy_total", "Calls of others for which there was no room.", |peer| {
            peer.calls_busy
        }),
    ];
    for (name, help, of) in counts {
        let mut family = out.counter(name, help);
        for (peer, counters) in replicas {
            family.labelled(&[("peer", peer)], of(counters));
        }
    }
    let classes: [(&str, &str, OfClass); 4] = [
        ("viewstone_transport_messages_sent_total", "Messages sent.", |peer| peer.messages_sent),
        ("viewstone_transport_messages_received_total", "Messages received.", |peer| peer.messages_received),
        ("viewstone_transport_messages_dropped_total", "Messages for which there was no room.", |peer| {
            peer.messages_dropped
        }),
        ("viewstone_transport_messages_lost_total", "Messages that went with their connection.", |peer| {
            peer.messages_lost
        }),
    ];
    for (name, help, of) in classes {
        let mut family = out.counter(name, help);
        for (peer, counters) in replicas {
            let parts: [(&str, OfMessages); 3] = [
                ("control", |class| class.control),
                ("log", |class| class.log),
                ("bulk", |class| class.bulk),
            ];
            for (class, part) in parts {
                family.labelled(&[("peer", peer), ("class", class)], part(of(counters)));
            }
        }
    }
}

fn paths(out: &mut Exposition, replicas: &Replicas<'_>) {
    let mut family = out.gauge("viewstone_transport_rtt_seconds", "To another replica and back.");
    for (name, counters) in replicas {
        if let Some(rtt) = counters.rtt {
            family.labelled(&[("peer", name)], seconds(rtt));
        }
    }
    let mut family =
        out.gauge("viewstone_transport_mtu_bytes", "The largest datagram that the path is known to carry.");
    for (name, counters) in replicas {
        if let Some(mtu) = counters.mtu {
            family.labelled(&[("peer", name)], mtu);
        }
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}
