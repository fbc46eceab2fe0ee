//! A flood of handshakes. A process of its own, because it weighs its memory.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test, too")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::message::{Body, Message};
use protocol::types::{ClientId, Epoch, Incarnation, Op, Peer, Release, ReplicaId, View};
use quinn::crypto::rustls::QuicClientConfig;
use tokio::time;
use transport::limits::Limits;
use transport::{ClusterKey, Settings, Transport};

const PATIENCE: Duration = Duration::from_secs(60);
const REPLICA: ReplicaId = ReplicaId::new(0);
const CLIENT: ClientId = ClientId::new(9);

/// The first datagrams of a thousand handshakes, from addresses that never answer.
///
/// They hold all places of those who have not shown that they can be answered, until these time out.
/// Nobody else has to wait for that: none of them may have timed out when an honest client is heard. On
/// a machine that stood still for so long in between nothing can be said, and the flood begins anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_half_open_handshakes_neither_stop_the_service_nor_fill_the_memory() {
    let first_datagrams = first_datagrams(1000).await;
    // Memory that the attempt before gave back would make the next one's hard to tell.
    let mut kept = Vec::new();
    for attempt in 1..=5 {
        let (refused, took) = flood(&first_datagrams, &mut kept).await;
        println!("attempt {attempt}: heard after {took:?}, and {refused} of the flood had timed out");
        if refused == 0 {
            return;
        }
    }
    panic!("an honest client is not heard before the flood is over");
}

/// How many handshakes had failed when an honest client was heard, and how long that took.
async fn flood(first_datagrams: &[Vec<u8>], kept: &mut Vec<Transport>) -> (u64, Duration) {
    let key = ClusterKey::new([1; 32]);
    let settings = Settings {
        key: key.clone(),
        own: Peer::Replica(REPLICA),
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        replicas: BTreeMap::new(),
        limits: Limits::default(),
        is_quiet: false,
    };
    let (server, mut inbox) = Transport::start(settings.clone()).unwrap();
    let address = server.local_addresses().unwrap()[0];

    let before = resident_bytes();
    let sockets: Vec<_> = (0..50).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let flooding = async {
        // More than there are for what the kernel has no room for.
        for (index, datagram) in first_datagrams.iter().cycle().enumerate() {
            if index >= first_datagrams.len() && server.counters().handshakes_retried >= 500 {
                return;
            }
            sockets[index % sockets.len()].send_to(datagram, address).unwrap();
            if index % 50 == 0 {
                time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    time::timeout(PATIENCE, flooding).await.expect("they are asked to prove themselves");

    let place = BTreeMap::from([(REPLICA, address.to_string())]);
    let asking = Settings { own: Peer::Client(CLIENT), listen: vec![], replicas: place, ..settings };
    let (honest, _inbox) = Transport::start(asking).unwrap();
    let began = Instant::now();
    let heard = async {
        loop {
            honest.send(Peer::Replica(REPLICA), question(&key));
            if let Ok(received) = time::timeout(Duration::from_secs(1), inbox.clients.recv()).await {
                return received.unwrap();
            }
        }
    };
    let received = time::timeout(PATIENCE, heard).await.expect("it is heard");
    assert_eq!(received.message, question(&key));
    let (refused, took) = (server.counters().handshakes_refused, began.elapsed());
    let grown = resident_bytes().saturating_sub(before);
    println!("{grown} bytes more than before");
    assert!(grown < 16 << 20, "{grown} bytes");
    kept.extend([server, honest]);
    (refused, took)
}

fn question(key: &ClusterKey) -> Message {
    Message {
        cluster: key.cluster(),
        epoch: Epoch::ZERO,
        release: Release::new(1),
        from: Peer::Client(CLIENT),
        view: View::ZERO,
        incarnation: Incarnation::ZERO,
        checkpoint: Op::ZERO,
        floor: Op::ZERO,
        body: Body::Query { number: 1, query: Bytes::from_static(b"?") },
    }
}

/// Each is a genuine beginning of a handshake, caught on its way to nobody.
async fn first_datagrams(count: usize) -> Vec<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"viewstone/1".to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));

    let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let nobody: SocketAddr = sink.local_addr().unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut datagrams = BTreeMap::new();
    let mut buffer = [0; 2048];
    while datagrams.len() < count {
        let connecting = endpoint.connect_with(config.clone(), nobody, "replica-0.viewstone").unwrap();
        // What those before say of their end is not the first in their name.
        let before = datagrams.len();
        while datagrams.len() == before {
            let (size, _) = time::timeout(PATIENCE, sink.recv_from(&mut buffer)).await.unwrap().unwrap();
            let datagram = &buffer[..size];
            datagrams.entry(connection_id(datagram).to_vec()).or_insert_with(|| datagram.to_vec());
        }
        drop(connecting);
    }
    datagrams.into_values().collect()
}

/// The name that whoever dials has chosen for the other end, in a long header of QUIC.
fn connection_id(datagram: &[u8]) -> &[u8] {
    let length = usize::from(datagram[5]);
    &datagram[6..6 + length]
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
