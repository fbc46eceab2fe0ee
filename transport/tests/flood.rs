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

const PATIENCE: Duration = Duration::from_secs(10);
const REPLICA: ReplicaId = ReplicaId::new(0);
const CLIENT: ClientId = ClientId::new(9);

/// The first datagrams of a thousand handshakes, from addresses that never answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_half_open_handshakes_neither_stop_the_service_nor_fill_the_memory() {
    let key = ClusterKey::new([1; 32]);
    let settings = Settings {
        key: key.clone(),
        own: Peer::Replica(REPLICA),
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        replicas: BTreeMap::new(),
        limits: Limits::default(),
    };
    let (server, mut inbox) = Transport::start(settings.clone()).unwrap();
    let address = server.local_addresses().unwrap()[0];
    let first_datagrams = first_datagrams(1000).await;

    let before = resident_bytes();
    let sockets: Vec<_> = (0..50).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for (index, datagram) in first_datagrams.iter().enumerate() {
        sockets[index % sockets.len()].send_to(datagram, address).unwrap();
        if index % 50 == 0 {
            time::sleep(Duration::from_millis(1)).await;
        }
    }
    let asked = async {
        while server.counters().handshakes_retried < 500 {
            time::sleep(Duration::from_millis(1)).await;
        }
    };
    time::timeout(PATIENCE, asked).await.expect("they are asked to prove themselves");

    let place = BTreeMap::from([(REPLICA, address.to_string())]);
    let asking = Settings { own: Peer::Client(CLIENT), listen: vec![], replicas: place, ..settings };
    let (honest, _inbox) = Transport::start(asking).unwrap();
    let began = Instant::now();
    honest.send(Peer::Replica(REPLICA), question(&key));
    let received = time::timeout(PATIENCE, inbox.clients.recv()).await.expect("it is heard").unwrap();
    assert_eq!(received.message, question(&key));
    let (took, grown) = (began.elapsed(), resident_bytes().saturating_sub(before));
    println!("an honest client is heard after {took:?}; {grown} bytes more than before");
    // Less than it takes the flood's places to become free.
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert!(grown < 16 << 20, "{grown} bytes");
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
    let mut datagrams = Vec::new();
    let mut buffer = [0; 2048];
    while datagrams.len() < count {
        let connecting = endpoint.connect_with(config.clone(), nobody, "replica-0.viewstone").unwrap();
        let (size, _) = time::timeout(PATIENCE, sink.recv_from(&mut buffer)).await.unwrap().unwrap();
        datagrams.push(buffer[..size].to_vec());
        drop(connecting);
    }
    datagrams
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
