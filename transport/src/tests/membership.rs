//! Who gets in.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quinn::ConnectionError;

use super::*;

/// Its task ended without a word, and the process went on, deaf.
#[tokio::test(flavor = "multi_thread")]
async fn a_transport_whose_socket_fails_says_so_and_one_that_is_closed_does_not() {
    let (closed, _inbox, _) = listening(0);
    let count = closed.shared.endpoints().count();
    assert!(count >= 2, "one to listen, one to dial");
    closed.close().await;
    assert!(time::timeout(Duration::from_millis(200), closed.cut_off()).await.is_err());

    for nth in 0..count {
        let (transport, _inbox, _) = listening(0);
        let endpoint = transport.shared.endpoints().nth(nth).unwrap();
        endpoint.rebind_abstract(Arc::new(BrokenSocket)).unwrap();
        time::timeout(PATIENCE, transport.cut_off()).await.expect("somebody notices");
    }
}
use crate::dial::DialError;
use crate::identity::{Authority, OwnCertificate};
use crate::tls;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn an_expired_past() -> SystemTime {
    SystemTime::now() - 24 * 7 * HOUR - HOUR
}

fn tomorrow() -> SystemTime {
    SystemTime::now() + 23 * HOUR
}

fn yesterday() -> SystemTime {
    SystemTime::now() - 23 * HOUR
}

fn next_week() -> SystemTime {
    SystemTime::now() + 25 * HOUR
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_clusters_key_nobody_gets_in_and_nobody_is_trusted() {
    let (server, mut inbox, address) = listening(0);
    let stranger = Member::new(replica(1)).key(ClusterKey::new([2; 32])).knowing(0, address);
    let (stranger, _) = stranger.start();
    for sequence in 0..5 {
        stranger.send(replica(0), heartbeat(replica(1), sequence));
        time::sleep(Duration::from_millis(50)).await;
    }
    // The stranger's own check already fails: it finds somebody whose certificate leads nowhere.
    let dialler = Quic::new(&ClusterKey::new([2; 32]), replica(1), endpoint::now).unwrap().dial().unwrap();
    let error = dialler.connect(replica(0), &address.to_string()).await.unwrap_err();
    assert!(matches!(error, DialError::Handshake(ConnectionError::TransportError(_))), "{error}");
    becomes("refused", || server.counters().handshakes_refused > 0).await;
    assert!(inbox.replicas.try_recv().is_err());
}

/// It trusts the cluster, perhaps because it stole a connection to it: that is not enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_refuses_a_certificate_that_another_cluster_signed() {
    let (server, mut inbox, address) = listening(0);
    let provider = tls::provider();
    let authority = |byte| Authority::new(&ClusterKey::new([byte; 32]), Arc::clone(&provider)).unwrap();
    let own = OwnCertificate::new(authority(2), replica(1), endpoint::now).unwrap();
    let roots = authority(1).roots().unwrap();
    let config = tls::client_config(Arc::new(own), roots, Arc::clone(&provider)).unwrap();
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();

    let stranger = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(config));
    let connecting = stranger.connect_with(config, address, "replica-0.viewstone").unwrap();
    // In TLS 1.3 whoever dials is done before it is judged.
    if let Ok(connection) = connecting.await {
        let why = time::timeout(PATIENCE, connection.closed()).await.unwrap();
        assert!(matches!(why, ConnectionError::ConnectionClosed(_)), "{why}");
    }
    becomes("refused", || server.counters().handshakes_refused == 1).await;
    assert!(inbox.replicas.try_recv().is_err());
    assert_eq!(server.counters().peers.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_refuses_an_expired_certificate() {
    let (server, mut inbox, address) = listening(0);
    let (late, _) = Member::new(replica(1)).clock(an_expired_past).knowing(0, address).start();
    becomes("refused", || {
        late.send(replica(0), heartbeat(replica(1), 1));
        server.counters().handshakes_refused > 1
    })
    .await;
    assert!(inbox.replicas.try_recv().is_err());
    assert_eq!(counters_of(&server, replica(1)).connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialler_refuses_an_expired_certificate_and_one_from_the_future() {
    for clock in [an_expired_past as Clock, next_week] {
        let (server, _inbox) = Member::new(replica(0)).clock(clock).listening("127.0.0.1:0").start();
        let address = server.local_addresses().unwrap()[0];
        let dialler = Quic::new(&key(), replica(1), endpoint::now).unwrap().dial().unwrap();
        let error = dialler.connect(replica(0), &address.to_string()).await.unwrap_err();
        assert!(matches!(error, DialError::Handshake(ConnectionError::TransportError(_))), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_by_less_than_a_day_do_not_matter() {
    let (_server, mut inbox, address) = listening(0);
    for clock in [yesterday as Clock, tomorrow] {
        let (other, _) = Member::new(replica(1)).clock(clock).knowing(0, address).start();
        delivered(&other, replica(0), &heartbeat(replica(1), 1), &mut inbox).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_in_the_place_of_another_is_not_taken_for_it() {
    let (server, _inbox, address) = listening(1);
    let dialler = Quic::new(&key(), replica(0), endpoint::now).unwrap().dial().unwrap();
    dialler.connect(replica(1), &address.to_string()).await.unwrap();
    let error = dialler.connect(replica(2), &address.to_string()).await.unwrap_err();
    assert!(matches!(error, DialError::Handshake(ConnectionError::TransportError(_))), "{error}");
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_pass_for_somebody_to_dial() {
    let (client, _inbox) = Member::new(client(9)).listening("127.0.0.1:0").start();
    let address = client.local_addresses().unwrap()[0];
    let dialler = Quic::new(&key(), replica(0), endpoint::now).unwrap().dial().unwrap();
    let error = dialler.connect(super::client(9), &address.to_string()).await.unwrap_err();
    assert!(matches!(error, DialError::Handshake(ConnectionError::TransportError(_))), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_in_the_name_of_another_or_in_another_cluster_is_dropped() {
    let (server, mut inbox, address) = listening(0);
    let connection = bare(replica(1), replica(0), address).await;
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(b"VSMS\x01").await.unwrap();
    let mut elsewhere = heartbeat(replica(1), 3);
    elsewhere.cluster = ClusterKey::new([2; 32]).cluster();
    let honest = heartbeat(replica(1), 4);
    for message in [&heartbeat(replica(2), 1), &heartbeat(client(1), 2), &elsewhere, &honest] {
        stream.write_all(&message.encode()).await.unwrap();
    }
    let received = time::timeout(PATIENCE, inbox.replicas.recv()).await.unwrap().unwrap();
    assert_eq!((received.from, received.message), (replica(1), honest));
    let counters = counters_of(&server, replica(1));
    // A client that sends what only replicas send is refused before it is asked who it is.
    assert_eq!((counters.frames_foreign, counters.frames_bad), (2, 1));
    assert!(inbox.replicas.try_recv().is_err());
    assert!(inbox.clients.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_found_over_ipv6_and_by_name() {
    let Ok((server, mut inbox)) =
        Member::new(replica(0)).listening("127.0.0.1:0").listening("[::1]:0").try_start()
    else {
        return eprintln!("this machine has no IPv6");
    };
    let addresses = server.local_addresses().unwrap();
    let places = [format!("localhost:{}", addresses[0].port()), addresses[1].to_string()];
    for place in places {
        let (other, _) = Member::new(replica(1)).knowing(0, &place).start();
        delivered(&other, replica(0), &heartbeat(replica(1), 1), &mut inbox).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_an_error_and_not_a_panic() {
    let (_server, _inbox, address) = listening(0);
    let again = Member::new(replica(1)).listening(&address.to_string()).try_start();
    assert!(matches!(again, Err(StartError::Bind(taken, _)) if taken == address));
}

/// Clients once took their places from the same room as replicas: enough of them, and a replica that
/// restarted could not come back to its cluster.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_clients_does_not_keep_a_replica_out() {
    let limits = Limits { client_connections_max: 1, ..Limits::default() };
    let (server, mut inbox) = Member::new(replica(0)).limits(limits).listening("127.0.0.1:0").start();
    let address = server.local_addresses().unwrap()[0];
    let _first = bare(client(1), replica(0), address).await;
    becomes("the only place is taken", || counters_of(&server, client(1)).connections == 1).await;
    let second = bare(client(2), replica(0), address).await;
    let why = time::timeout(PATIENCE, second.closed()).await.unwrap();
    assert!(matches!(why, ConnectionError::ApplicationClosed(_)), "{why}");
    assert_eq!(server.counters().handshakes_refused, 1);

    let (other, _) = Member::new(replica(1)).knowing(0, address).start();
    delivered(&other, replica(0), &heartbeat(replica(1), 1), &mut inbox).await;
    assert_eq!(counters_of(&server, client(1)).connections, 1, "nobody had to go");
}
