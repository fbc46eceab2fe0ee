//! Those who mean harm, or are broken.

use protocol::message::MESSAGE_SIZE_MAX;
use quinn::ConnectionError;

use super::*;
use crate::links::close;

/// A frame of a peer whose memory flips bits is worth nothing; the next one may be good again.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_frames_are_dropped_and_the_next_are_heard() {
    let (server, mut inbox, address) = listening(0);
    let connection = bare(replica(1), replica(0), address).await;
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(b"VSMS\x01").await.unwrap();
    let good = heartbeat(replica(1), 5).encode();
    for at in 12..good.len() {
        let mut damaged = good.to_vec();
        damaged[at] ^= 0x10;
        stream.write_all(&damaged).await.unwrap();
    }
    // The same twice is as good as once: the protocol expects it.
    stream.write_all(&good).await.unwrap();
    stream.write_all(&good).await.unwrap();
    for _ in 0..2 {
        let received = time::timeout(PATIENCE, inbox.replicas.recv()).await.unwrap().unwrap();
        assert_eq!(received.message, heartbeat(replica(1), 5));
    }
    let counters = counters_of(&server, replica(1));
    assert_eq!(counters.frames_bad, good.len() as u64 - 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_something_else_closes_its_connection_and_no_other() {
    let (server, mut inbox, address) = listening(0);
    let (honest, _) = Member::new(replica(2)).knowing(0, address).start();
    delivered(&honest, replica(0), &heartbeat(replica(2), 1), &mut inbox).await;

    let prefix = heartbeat(replica(1), 1).encode();
    let sized = |size: usize| {
        let mut frame = prefix.to_vec();
        frame[8..12].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
        [b"VSMS\x01".as_slice(), &frame].concat()
    };
    let streams = [
        vec![0; 4096],
        b"VSMS\x09".to_vec(),
        [b"VSMS\x01".as_slice(), &[0xff; 4096]].concat(),
        sized(0),
        sized(u32::MAX as usize),
        // As large as a frame may be, but not on the stream of votes.
        sized(MESSAGE_SIZE_MAX),
    ];
    for (index, garbage) in streams.into_iter().enumerate() {
        let connection = bare(replica(1), replica(0), address).await;
        let mut stream = connection.open_uni().await.unwrap();
        // It may be closed before everything is written.
        let _ = stream.write_all(&garbage).await;
        let why = time::timeout(PATIENCE, connection.closed()).await.unwrap();
        let ConnectionError::ApplicationClosed(why) = why else { panic!("{index}: {why}") };
        assert_eq!(why.error_code, close::GARBLED);
    }
    assert_eq!(counters_of(&server, replica(1)).frames_bad, 6);

    // A stream that ends in the middle of a frame is a peer that died.
    let connection = bare(replica(1), replica(0), address).await;
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(b"VSMS\x01").await.unwrap();
    stream.write_all(&prefix[..100]).await.unwrap();
    stream.finish().unwrap();
    time::timeout(PATIENCE, stream.stopped()).await.unwrap().unwrap();
    delivered(&honest, replica(0), &heartbeat(replica(2), 2), &mut inbox).await;
    assert_eq!(counters_of(&server, replica(1)).frames_bad, 6);
}

/// What a peer leaves behind when it is killed, over and over, must not fill the house.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_few_connections_and_the_newest_wins() {
    let (server, mut inbox, address) = listening(0);
    let mut connections = Vec::new();
    for number in 0..10 {
        let connection = bare(replica(1), replica(0), address).await;
        // Whoever dials is done first. What is heard came over a connection that is in the book.
        let mut stream = connection.open_uni().await.unwrap();
        let hello = heartbeat(replica(1), number).encode();
        stream.write_all(&[b"VSMS\x01".as_slice(), &hello].concat()).await.unwrap();
        let received = time::timeout(PATIENCE, inbox.replicas.recv()).await.unwrap().unwrap();
        assert_eq!(received.message, heartbeat(replica(1), number));
        connections.push((connection, stream));
    }
    becomes("the oldest are closed", || {
        connections[..6].iter().all(|(connection, _)| connection.close_reason().is_some())
    })
    .await;
    let (_, stream) = connections.last_mut().unwrap();
    stream.write_all(&heartbeat(replica(1), 77).encode()).await.unwrap();
    time::timeout(PATIENCE, inbox.replicas.recv()).await.unwrap().unwrap();
    becomes("forgotten", || counters_of(&server, replica(1)).connections == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_most_connections_newcomers_are_sent_away() {
    let limits = Limits { client_connections_max: 3, ..Limits::default() };
    let (server, _inbox) = Member::new(replica(0)).listening("127.0.0.1:0").limits(limits).start();
    let address = server.local_addresses().unwrap()[0];
    let mut inside = Vec::new();
    for name in 0..3 {
        inside.push(bare(client(name), replica(0), address).await);
    }
    becomes("all places are taken", || server.counters().peers.len() == 3).await;
    let outside = bare(client(3), replica(0), address).await;
    time::timeout(PATIENCE, outside.closed()).await.unwrap();
    assert!(inside.iter().all(|connection| connection.close_reason().is_none()));

    inside.pop().unwrap().close(close::GOING, b"");
    becomes("a place is free", || server.counters().peers.len() == 2).await;
    let next = bare(client(4), replica(0), address).await;
    becomes("let in", || server.counters().peers.len() == 3).await;
    assert_eq!(next.close_reason(), None);
}
