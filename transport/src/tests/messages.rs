//! Messages of the log.

use bytes::Bytes;
use protocol::message::{Class, QueryAnswer};
use quinn::ConnectionError;

use super::*;
use crate::counters::{Book, PerClass};
use crate::limits::class_limits;
use crate::links::{Outbox, Outgoing};

fn log(from: Peer, number: u64) -> Message {
    let answer = QueryAnswer::Done(Bytes::from(vec![7; 100 << 10]));
    message(from, Body::QueryReply { number, applied: Op::new(9), answer })
}

fn bulk(from: Peer, number: u64) -> Message {
    let row = (Bytes::from_static(b"key"), Bytes::from(vec![7; 1 << 20]));
    let body =
        Body::Rows { op: Op::new(number), start: Bytes::new(), after: None, rows: vec![row], last: true };
    message(from, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_dial_each_other_at_once_exchange_messages_of_every_class() {
    let addresses = [free_address(), free_address()];
    let start = |number: u8| {
        let member = Member::new(replica(number)).listening(&addresses[usize::from(number)].to_string());
        member.knowing(0, addresses[0]).knowing(1, addresses[1]).start()
    };
    let (zero, mut zero_inbox) = start(0);
    let (one, mut one_inbox) = start(1);
    for body in [heartbeat, log, bulk] {
        delivered(&zero, replica(1), &body(replica(0), 1), &mut one_inbox).await;
        delivered(&one, replica(0), &body(replica(1), 2), &mut zero_inbox).await;
    }
    let counters = counters_of(&zero, replica(1));
    // Whoever dialled first, each has its own.
    assert_eq!(counters.connections, 2);
    for counts in [counters.messages_sent, counters.messages_received] {
        assert!(counts.control > 0 && counts.log > 0 && counts.bulk > 0, "{counts:?}");
    }
    assert!(counters.bytes_sent > 1 << 20 && counters.bytes_received > 1 << 20);
    assert!(counters.rtt.is_some() && counters.mtu >= Some(1200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_its_replies_on_the_connection_on_which_it_asked() {
    let (server, mut inbox, address) = listening(0);
    let (asking, mut answers) = Member::new(client(9)).knowing(0, address).start();
    let query = message(client(9), Body::Query { number: 4, query: Bytes::from_static(b"?") });
    delivered(&asking, replica(0), &query, &mut inbox).await;
    assert!(inbox.replicas.try_recv().is_err());

    let reply = log(replica(0), 4);
    server.send_batch([client(9), client(10)].map(|to| (to, reply.clone())));
    let received = time::timeout(PATIENCE, answers.replicas.recv()).await.unwrap().unwrap();
    assert_eq!((received.from, received.message), (replica(0), reply.clone()));
    assert_eq!(server.counters().messages_unroutable, 1);

    // When it is gone, there is nowhere to send, and nothing of it is kept.
    asking.close().await;
    drop(asking);
    becomes("forgotten", || {
        server.send(client(9), reply.clone());
        server.counters().messages_unroutable > 1
    })
    .await;
    becomes("out of the book", || server.counters().peers.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_messages_arrive_in_their_order() {
    let (_server, mut inbox, address) = listening(0);
    let (other, _) = Member::new(replica(1)).knowing(0, address).start();
    delivered(&other, replica(0), &heartbeat(replica(1), 0), &mut inbox).await;
    for sequence in 1..=500 {
        other.send(replica(0), heartbeat(replica(1), sequence));
    }
    let mut expected = 1;
    while expected <= 500 {
        let received = time::timeout(PATIENCE, inbox.replicas.recv()).await.unwrap().unwrap();
        let Body::CommitOk { sequence, .. } = received.message.body else { panic!() };
        // The first may have been sent twice.
        if sequence > 0 {
            assert_eq!(sequence, expected);
            expected += 1;
        }
    }
}

/// A core that is busy with a snapshot would otherwise not hear that its primary lives.
#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_does_not_wait_behind_bulk_that_nobody_takes() {
    let (_server, mut inbox, address) = listening(0);
    let (other, _) = Member::new(replica(1)).knowing(0, address).start();
    delivered(&other, replica(0), &bulk(replica(1), 0), &mut inbox).await;
    for number in 1..=20 {
        other.send(replica(0), bulk(replica(1), number));
    }
    // As many as there is room for, and the rest stays with the sender.
    let room = class_limits(Class::Bulk).unhandled_bytes / bulk(replica(1), 1).encode().len();
    let mut held = Vec::new();
    while held.len() < room {
        held.push(time::timeout(PATIENCE, inbox.replicas.recv()).await.unwrap().unwrap());
    }
    assert!(time::timeout(Duration::from_millis(300), inbox.replicas.recv()).await.is_err());
    assert!(counters_of(&other, replica(0)).messages_dropped.bulk > 0);

    other.send(replica(0), heartbeat(replica(1), 77));
    let received = time::timeout(PATIENCE, inbox.replicas.recv()).await.unwrap().unwrap();
    assert_eq!(received.message, heartbeat(replica(1), 77));

    drop(held);
    let received = time::timeout(PATIENCE, inbox.replicas.recv()).await.unwrap().unwrap();
    assert_eq!(received.message.body.class(), Class::Bulk);
}

/// A process that was killed says nothing. Its successor, which answers at the same address, does: nobody
/// waits until a connection has been silent for too long.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_restarts_is_found_again_at_once() {
    let address = free_address();
    let member = Member::new(replica(0)).listening(&address.to_string());
    let (first, mut inbox) = member.start();
    let (other, _) = Member::new(replica(1)).knowing(0, address).start();
    delivered(&other, replica(0), &heartbeat(replica(1), 1), &mut inbox).await;
    let connection = bare(replica(2), replica(0), address).await;

    kill(first).await;
    let (_second, mut inbox) = member.start();
    delivered(&other, replica(0), &heartbeat(replica(1), 2), &mut inbox).await;
    let why = time::timeout(PATIENCE, connection.closed()).await.unwrap();
    assert!(matches!(why, ConnectionError::Reset), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_starts_late_is_reached_and_gets_no_old_news() {
    let address = free_address();
    let (other, _) = Member::new(replica(1)).knowing(0, address).start();
    for sequence in 0..100 {
        other.send(replica(0), heartbeat(replica(1), sequence));
    }
    becomes("given up", || counters_of(&other, replica(0)).messages_lost.control == 100).await;
    let (_server, mut inbox) = Member::new(replica(0)).listening(&address.to_string()).start();
    delivered(&other, replica(0), &heartbeat(replica(1), 100), &mut inbox).await;
}

#[test]
fn a_full_queue_forgets_old_heartbeats_but_keeps_the_log_that_came_first() {
    let book = Book::default();
    let outbox = Outbox::new(book.tally(replica(0)));
    let push = |message: Message| outbox.push(Outgoing::new(message));
    let small = class_limits(Class::Control).queued_bytes as u64 / 1024;
    for sequence in 0..small + 10 {
        push(heartbeat(replica(1), sequence));
    }
    let large = class_limits(Class::Bulk).queued_bytes / bulk(replica(1), 0).size_hint();
    for number in 0..large as u64 + 3 {
        push(bulk(replica(1), number));
    }
    let dropped = book.snapshot()[0].1.messages_dropped;
    assert_eq!(dropped, PerClass { control: 10, log: 0, bulk: 3 });

    let take = |class| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let batch = runtime.block_on(outbox.next_batch(class, usize::MAX));
        batch.iter().map(|message| Message::decode(message.frame()).unwrap()).collect::<Vec<_>>()
    };
    let heartbeats = take(Class::Control);
    assert_eq!(heartbeats.first(), Some(&heartbeat(replica(1), 10)));
    assert_eq!(heartbeats.len() as u64, small);
    let rows = take(Class::Bulk);
    assert_eq!(rows.last(), Some(&bulk(replica(1), large as u64 - 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_to_nobody_is_counted_and_harmless() {
    let (server, _inbox, _address) = listening(0);
    for to in [replica(0), replica(6), client(1)] {
        server.send(to, heartbeat(replica(0), 1));
    }
    assert_eq!(server.counters().messages_unroutable, 3);
}
