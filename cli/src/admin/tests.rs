use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::data::upkeep::Figures as UpkeepFigures;
use protocol::types::{ClientId, Peer, ReplicaId};
use transport::counters::{Counters, PeerCounters, PerClass};

use super::metrics::{DataFigures, Distribution, DriverFigures, Figures, render};
use crate::status::{CoreStatus, DataStatus, DiskStatus, Health, PeerStatus, ReplicaStatus};

fn figures() -> Figures {
    let peer = |replica, silent_ms, acknowledged| PeerStatus {
        replica,
        silent_ms,
        incarnation: 0,
        checkpoint: 512,
        acknowledged,
    };
    let core = CoreStatus {
        is_primary: true,
        view: 3,
        log_view: 3,
        head: 1_000,
        durable: 999,
        commit: 998,
        applied: 998,
        caught_up: true,
        checkpoint: 768,
        incarnation: 0,
        boot_count: 2,
        sessions: 4,
        rows_in_memory: 77,
        refuses_growth: false,
        wal_bytes: 1 << 20,
        peers: vec![peer(0, Some(20), Some(998)), peer(2, None, Some(0))],
    };
    let status = ReplicaStatus {
        replica: 1,
        replicas: 3,
        version: "0.1.0".into(),
        uptime_seconds: 5,
        clock_micros: 1_800_000_000_500_000,
        cpu_micros: 1_500_000,
        health: Health::Normal,
        waiting_for: vec![],
        ready: true,
        core: Some(core),
        disk: Some(DiskStatus { size_bytes: 1_000, available_bytes: 600, reserve_bytes: 50 }),
        data: Some(DataStatus {
            ready: true,
            chunks: 10,
            chunk_bytes: 11,
            debts: 1,
            chunks_missing: 2,
            bytes_to_rebuild: 3,
            chunks_damaged: 4,
            chunks_lost: 5,
            unscrubbed_seconds: 6,
        }),
    };
    let mut wal_sync_counts = [0; 17];
    (wal_sync_counts[0], wal_sync_counts[3], wal_sync_counts[16]) = (10, 5, 1);
    let driver = DriverFigures {
        wal_sync: Distribution { counts: wal_sync_counts, total: Duration::from_millis(1_500) },
        messages_in: 100,
        messages_refused: 1,
        inbox_depth: 2,
        events: vec![("ViewStartedAsPrimary".into(), 1), ("Resigned".into(), 2)],
    };
    let data = DataFigures {
        chunk_sync: Distribution { counts: [1; 17], total: Duration::from_secs(4) },
        stored_bytes: 20,
        read_bytes: 21,
        calls: 22,
        calls_refused: 23,
        quarantined: 24,
        upkeep: UpkeepFigures { collected_chunks: 25, ..UpkeepFigures::default() },
    };
    let to_replica = PeerCounters {
        connections: 2,
        bytes_sent: 5_000,
        rtt: Some(Duration::from_micros(250)),
        mtu: Some(6_500),
        messages_sent: PerClass { control: 7, log: 8, bulk: 9 },
        ..PeerCounters::default()
    };
    let client = |number| {
        (Peer::Client(ClientId::new(number)), PeerCounters { connections: 1, ..PeerCounters::default() })
    };
    let peers = vec![(Peer::Replica(ReplicaId::new(0)), to_replica), client(1), client(2)];
    Figures {
        status,
        driver: Some(driver),
        data: Some(data),
        traffic: Counters { peers, ..Counters::default() },
    }
}

/// A line without a `#`: the name with its labels, and the value.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let (name, labels) = match series.split_once('{') {
        None => (series, ""),
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("open: {line}"))),
    };
    let labels = labels.split(',').filter(|label| !label.is_empty()).map(|label| {
        let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("no label: {line}"));
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        (name.to_owned(), value.unwrap_or_else(|| panic!("no quotes: {line}")).to_owned())
    });
    (name.to_owned(), labels.collect(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
}

/// The text line by line: every sample under the heading of its metric, no metric and no series twice.
fn parse(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let mut samples = BTreeMap::new();
    let mut headings = BTreeSet::new();
    let mut helped = String::new();
    let mut current = (String::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.ends_with('.'), "{line}");
            assert!(headings.insert(name.to_owned()), "{name} is there twice");
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, helped);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            current = (name.to_owned(), kind.to_owned());
        } else {
            let (name, _, value) = sample(line);
            let (family, kind) = &current;
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(
                suffixes.iter().any(|suffix| name == format!("{family}{suffix}")),
                "{line} under {family}"
            );
            assert!(name.starts_with("viewstone_"), "{line}");
            assert!(name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'), "{line}");
            let series = line.rsplit_once(' ').unwrap().0.to_owned();
            assert!(samples.insert(series, value).is_none(), "{line} is there twice");
        }
    }
    samples
}

#[test]
fn every_line_can_be_read_and_says_what_it_should() {
    let samples = parse(&render(&figures()));
    let expected = [
        (r#"viewstone_info{replica="1",version="0.1.0"}"#, 1.0),
        (r#"viewstone_health{state="normal"}"#, 1.0),
        (r#"viewstone_health{state="view_change"}"#, 0.0),
        ("viewstone_primary", 1.0),
        ("viewstone_cpu_seconds_total", 1.5),
        ("viewstone_commit_op", 998.0),
        ("viewstone_clock_seconds", 1_800_000_000.5),
        (r#"viewstone_peer_silence_seconds{peer="0"}"#, 0.02),
        (r#"viewstone_peer_lag_ops{peer="2"}"#, 1_000.0),
        (r#"viewstone_core_events_total{event="view_started_as_primary"}"#, 1.0),
        ("viewstone_disk_available_bytes", 600.0),
        ("viewstone_data_lost_chunks", 5.0),
        ("viewstone_data_collected_chunks_total", 25.0),
        (r#"viewstone_transport_messages_sent_total{peer="0",class="bulk"}"#, 9.0),
        (r#"viewstone_transport_rtt_seconds{peer="0"}"#, 0.000_25),
        (r#"viewstone_transport_connections{peer="clients"}"#, 2.0),
    ];
    for (series, value) in expected {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
    assert!(!samples.contains_key(r#"viewstone_peer_silence_seconds{peer="2"}"#), "nothing was heard of it");
}

#[test]
fn a_histogram_adds_up() {
    let text = render(&figures());
    let samples = parse(&text);
    let name = "viewstone_wal_sync_duration_seconds";
    let buckets: Vec<(f64, f64)> = text
        .lines()
        .filter(|line| line.starts_with(&format!("{name}_bucket")))
        .map(|line| {
            let (_, labels, value) = sample(line);
            (labels["le"].replace("+Inf", "inf").parse().unwrap(), value)
        })
        .collect();
    assert_eq!(buckets.len(), 17);
    assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
    assert_eq!((buckets[0], buckets[3].1), ((0.000_064, 10.0), 15.0));
    assert_eq!((buckets[15].1, buckets[16].1), (15.0, 16.0));
    assert_eq!((samples[&format!("{name}_count")], samples[&format!("{name}_sum")]), (16.0, 1.5));
}

#[test]
fn what_is_not_known_is_left_out() {
    let mut figures = figures();
    (figures.driver, figures.data) = (None, None);
    (figures.status.core, figures.status.disk, figures.status.data) = (None, None, None);
    let samples = parse(&render(&figures));
    assert!(samples.contains_key("viewstone_ready"));
    assert!(!samples.keys().any(|series| series.contains("_op") || series.contains("_data_")));
}

/// An operator looks there for what a figure means.
#[test]
fn every_metric_is_in_the_operators_handbook() {
    let handbook = include_str!("../../../docs/OPERATIONS.md");
    let text = render(&figures());
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let missing: Vec<&str> = names.filter(|name| !handbook.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "not in docs/OPERATIONS.md: {missing:?}");
}
