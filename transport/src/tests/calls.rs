//! Calls of the data plane.

use bytes::Bytes;
use protocol::catalog::{BodyId, ChunkId};
use protocol::data::message::{DataBody, DataMessage, DataRefusal};
use protocol::data::outline::Outline;
use protocol::data::receipt::{Proof, Receipt};
use protocol::types::SessionId;
use tokio::sync::mpsc;

use super::*;
use crate::{CallError, IncomingCall};

const ZERO: ReplicaId = ReplicaId::new(0);

fn chunk() -> ChunkId {
    BodyId { session: SessionId::new(1), upload: 1 }.chunk(0)
}

fn bytes(size: usize) -> Bytes {
    (0..=250_u8).cycle().take(size).collect()
}

fn put(size: usize) -> DataBody {
    let bytes = bytes(size);
    DataBody::PutChunk { chunk: chunk(), layout: 1, root: Outline::of(&bytes).root(), bytes }
}

fn get(count: u32) -> DataBody {
    DataBody::GetBlocks { chunk: chunk(), root: Outline::of(b"x").root(), first: 0, count }
}

fn stored() -> DataBody {
    let receipt = Receipt { chunk: 0, node: ZERO, incarnation: Incarnation::new(1), proof: Proof([3; 16]) };
    DataBody::Stored { receipt }
}

fn blocks(size: usize) -> DataBody {
    let bytes = bytes(size);
    DataBody::Blocks { outline: Outline::of(&bytes), first: 0, bytes }
}

async fn next(calls: &mut mpsc::Receiver<IncomingCall>) -> IncomingCall {
    time::timeout(PATIENCE, calls.recv()).await.unwrap().unwrap()
}

async fn pair(limits: Limits) -> (Transport, Inbox, Transport, SocketAddr) {
    let (server, inbox) = Member::new(replica(0)).listening("127.0.0.1:0").limits(limits).start();
    let address = server.local_addresses().unwrap()[0];
    let (asking, _) = Member::new(client(9)).knowing(0, address).start();
    (server, inbox, asking, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_goes_there_and_comes_back() {
    let (server, mut inbox, asking, _) = pair(Limits::default()).await;
    let answering = tokio::spawn(async move {
        let call = next(&mut inbox.calls).await;
        assert_eq!((call.from, &call.body), (client(9), &put(4 << 20)));
        call.responder.answer(stored());
        let call = next(&mut inbox.calls).await;
        assert_eq!(call.body, get(64));
        call.responder.answer(blocks(4 << 20));
        inbox
    });
    assert_eq!(asking.call(ZERO, put(4 << 20)).await, Ok(stored()));
    assert_eq!(asking.call(ZERO, get(64)).await, Ok(blocks(4 << 20)));
    answering.await.unwrap();
    assert_eq!(counters_of(&server, client(9)).calls_served, 2);
    let counters = counters_of(&asking, replica(0));
    assert_eq!((counters.calls_made, counters.calls_failed), (2, 0));
    assert_eq!(asking.call(ReplicaId::new(3), get(1)).await, Err(CallError::Unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_do_not_wait_for_each_other() {
    let (_server, mut inbox, asking, _) = pair(Limits::default()).await;
    let calls: Vec<_> = (1..=8)
        .map(|count| {
            let asking = asking.clone();
            tokio::spawn(async move { asking.call(ZERO, get(count)).await })
        })
        .collect();
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(next(&mut inbox.calls).await);
    }
    // The last is answered first.
    for call in waiting.into_iter().rev() {
        let DataBody::GetBlocks { count, .. } = call.body else { panic!() };
        call.responder.answer(blocks(count as usize));
    }
    for (call, count) in calls.into_iter().zip(1..) {
        assert_eq!(time::timeout(PATIENCE, call).await.unwrap().unwrap(), Ok(blocks(count)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_gives_up_takes_its_call_back() {
    let (_server, mut inbox, asking, _) = pair(Limits::default()).await;
    let caller = tokio::spawn({
        let asking = asking.clone();
        async move { asking.call(ZERO, get(1)).await }
    });
    let call = next(&mut inbox.calls).await;
    assert!(!call.responder.is_abandoned());
    caller.abort();
    becomes("abandoned", || call.responder.is_abandoned()).await;
    call.responder.answer(blocks(1));

    // The connection is as good as before.
    let answering = tokio::spawn(async move { next(&mut inbox.calls).await.responder.answer(stored()) });
    assert_eq!(asking.call(ZERO, put(1)).await, Ok(stored()));
    answering.await.unwrap();
}

/// What is put is held in memory until it is on a disk: when that takes long, somebody else is asked.
#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_room_are_answered_with_busy_and_are_not_read() {
    let wait = Duration::from_millis(100);
    let limits = Limits { call_bytes_total: 1, call_admission_wait: wait, ..Limits::default() };
    let (server, mut inbox, asking, _) = pair(limits).await;
    // For clients there is room for one of the largest calls, and therefore for two of half its size.
    let admitted: Vec<_> = (0..2)
        .map(|_| {
            let asking = asking.clone();
            tokio::spawn(async move { asking.call(ZERO, put(4 << 20)).await })
        })
        .collect();
    let held = [next(&mut inbox.calls).await, next(&mut inbox.calls).await];
    let busy = Ok(DataBody::Refused { why: DataRefusal::Busy });
    assert_eq!(asking.call(ZERO, put(4 << 20)).await, busy);
    assert_eq!(asking.call(ZERO, get(64)).await, busy);
    assert!(inbox.calls.try_recv().is_err());
    assert_eq!(counters_of(&server, client(9)).calls_busy, 2);

    for call in held {
        call.responder.answer(stored());
    }
    for call in admitted {
        assert_eq!(call.await.unwrap(), Ok(stored()));
    }
    let answering = tokio::spawn(async move { next(&mut inbox.calls).await.responder.answer(stored()) });
    // The room is free when the server knows that the answers have arrived.
    let room_again = async {
        loop {
            let answer = asking.call(ZERO, put(4 << 20)).await;
            if answer != busy {
                return answer;
            }
        }
    };
    assert_eq!(time::timeout(PATIENCE, room_again).await.expect("there is room again"), Ok(stored()));
    answering.await.unwrap();
}

/// Gateways that put and get as fast as they could took all the room: repair was told `Busy` until they
/// had done.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_take_all_the_room_they_can_get_leave_some_for_replicas() {
    let wait = Duration::from_millis(100);
    let limits = Limits { call_bytes_total: 1, call_admission_wait: wait, ..Limits::default() };
    let (_server, mut inbox, client, address) = pair(limits).await;
    let (other, _) = Member::new(replica(1)).knowing(0, address).start();
    let crowd: Vec<_> = (0..2)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(ZERO, put(4 << 20)).await })
        })
        .collect();
    let mut held = vec![next(&mut inbox.calls).await, next(&mut inbox.calls).await];
    let busy = Ok(DataBody::Refused { why: DataRefusal::Busy });
    assert_eq!(client.call(ZERO, put(4 << 20)).await, busy);

    let repair = tokio::spawn(async move { other.call(ZERO, put(8 << 20)).await });
    let call = next(&mut inbox.calls).await;
    assert_eq!(call.from, replica(1));
    held.push(call);
    for call in held {
        call.responder.answer(stored());
    }
    for call in crowd.into_iter().chain([repair]) {
        assert_eq!(call.await.unwrap(), Ok(stored()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_not_answered_fails_at_once() {
    let (_server, mut inbox, asking, _) = pair(Limits::default()).await;
    let dropping = tokio::spawn(async move { drop(next(&mut inbox.calls).await) });
    assert_eq!(asking.call(ZERO, put(1)).await, Err(CallError::Declined));
    dropping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_longer_than_what_was_asked_for_is_refused() {
    let (_server, mut inbox, asking, _) = pair(Limits::default()).await;
    let answering =
        tokio::spawn(async move { next(&mut inbox.calls).await.responder.answer(blocks(1 << 20)) });
    assert!(matches!(asking.call(ZERO, get(1)).await, Err(CallError::Nonsense(_))));
    answering.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_away_is_said_to_be_so_and_is_found_when_it_is_back() {
    let address = free_address();
    let (asking, _) = Member::new(client(9)).knowing(0, address).start();
    assert!(matches!(asking.call(ZERO, get(1)).await, Err(CallError::Unreachable(_))));

    let member = Member::new(replica(0)).listening(&address.to_string());
    for _ in 0..2 {
        let (server, mut inbox) = member.start();
        let answering = tokio::spawn(async move { next(&mut inbox.calls).await.responder.answer(stored()) });
        let answered = async {
            while asking.call(ZERO, put(1)).await != Ok(stored()) {
                time::sleep(Duration::from_millis(20)).await;
            }
        };
        time::timeout(PATIENCE, answered).await.expect("the replica is found");
        answering.await.unwrap();
        kill(server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_call_is_reset_and_harms_no_other() {
    let (server, mut inbox, asking, address) = pair(Limits::default()).await;
    let connection = bare(client(8), replica(0), address).await;
    let encoded = |cluster, body| {
        let (head, bytes) = DataMessage { cluster, call: 1, body }.encode();
        [head.as_slice(), &bytes].concat()
    };
    let good = encoded(key().cluster(), put(1000));
    let mut flipped = good.clone();
    flipped[40] ^= 1;
    let wrong = [
        b"GET / HTTP/1.1\r\n\r\n, and whatever else a browser would have to say to us".to_vec(),
        flipped,
        encoded(key().cluster(), stored()),
        encoded(ClusterKey::new([2; 32]).cluster(), get(1)),
    ];
    let count = wrong.len() as u64;
    for wrong in wrong {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&wrong).await.unwrap();
        assert!(receive.read_to_end(100).await.is_err());
    }
    assert_eq!(counters_of(&server, client(8)).frames_bad, count);
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&good[..good.len() - 1]).await.unwrap();
    send.finish().unwrap();
    assert!(receive.read_to_end(100).await.is_err());
    assert!(inbox.calls.try_recv().is_err());

    let answering = tokio::spawn(async move { next(&mut inbox.calls).await.responder.answer(stored()) });
    assert_eq!(asking.call(ZERO, put(1)).await, Ok(stored()));
    answering.await.unwrap();
}

/// An impatient caller must not break off the handshake that everybody waits for.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_comes_about_even_if_no_caller_waits_for_it() {
    let (_server, mut inbox, asking, _) = pair(Limits::default()).await;
    let impatient = time::timeout(Duration::from_nanos(1), asking.call(ZERO, get(1))).await;
    assert!(impatient.is_err());
    becomes("connected", || counters_of(&asking, replica(0)).connections == 2).await;
    assert!(inbox.calls.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transport_that_nobody_has_any_more_is_gone_for_its_peers_too() {
    let (server, mut inbox, asking, _) = pair(Limits::default()).await;
    let answering = tokio::spawn(async move { next(&mut inbox.calls).await.responder.answer(stored()) });
    assert_eq!(asking.call(ZERO, put(1)).await, Ok(stored()));
    answering.await.unwrap();
    becomes("both connections", || counters_of(&server, client(9)).connections == 2).await;
    drop(asking);
    becomes("gone", || server.counters().peers.is_empty()).await;
}
