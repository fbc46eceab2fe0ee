//! Stories of one put.

mod storms;
mod world;

use std::collections::BTreeSet;

use bytes::Bytes;
use world::{CHUNK, World, settings};

use super::{OfferError, PreparedChunk, Put, PutFailure, PutSettings};
use crate::catalog::{CHUNK_COUNT_MAX, Encoding};
use crate::data::cluster::{Arrival, BODY, Cluster, Mood, bytes};
use crate::data::message::{DataBody, DataRefusal};
use crate::types::{ReplicaId, Tick};

fn took_ms(world: &World) -> u64 {
    world.ready[0].0.get()
}

fn nodes(world: &World, index: u32) -> Vec<ReplicaId> {
    let receipts = world.stored().receipts.iter().filter(|receipt| receipt.chunk == index);
    receipts.map(|receipt| receipt.node).collect()
}

#[test]
fn in_a_healthy_cluster_every_owner_has_every_chunk_and_nobody_else_does() {
    for replica_count in 1..=7 {
        let mut world = World::new(replica_count, 5 * CHUNK + 1, 1);
        world.run_to_the_end();
        let copies = world.cluster.layout.copies();
        for index in 0..6 {
            assert_eq!(nodes(&world, index), world.cluster.order(index)[..copies]);
            assert_eq!(world.copies_of(index), copies);
        }
        assert_eq!(world.sent.len(), 6 * copies);
        let extents = &world.stored().body.extents;
        assert_eq!(extents.len(), 1);
        assert_eq!(extents[0].encoding, Encoding::Copies { count: u8::try_from(copies).unwrap() });
        assert!(took_ms(&world) < settings().grace_ms, "{} ms", took_ms(&world));
    }
}

#[test]
fn a_slow_owner_is_replaced_by_a_stand_in() {
    let mut world = World::new(5, CHUNK, 2);
    let order = world.cluster.order(0);
    world.cluster.mood(order[1], Mood::Silent);
    world.run_to_the_end();
    assert_eq!(nodes(&world, 0), [order[0], order[2], order[3]]);
    let (at, ..) = world.sent.iter().find(|(_, to, _)| *to == order[3]).unwrap();
    assert_eq!(at.get(), settings().stand_in_after_ms);
    assert_eq!(world.sent_to(order[4]), 0);
}

#[test]
fn an_owner_that_refuses_or_cannot_be_reached_is_replaced_at_once() {
    let refusals = [DataRefusal::Full, DataRefusal::NotReady, DataRefusal::Conflict, DataRefusal::Damaged];
    let moods = refusals.map(Mood::Refuses).into_iter().chain([Mood::Down, Mood::Confused]);
    for mood in moods {
        let mut world = World::new(5, CHUNK, 3);
        let order = world.cluster.order(0);
        world.cluster.mood(order[0], mood);
        world.run_to_the_end();
        assert_eq!(nodes(&world, 0), [order[1], order[2], order[3]], "{mood:?}");
        assert!(took_ms(&world) <= settings().grace_ms, "{mood:?}");
    }
}

/// It works, and others may be as busy: if all clients went elsewhere at once, everybody would be busy.
#[test]
fn a_busy_owner_is_asked_again_before_anybody_stands_in() {
    let mut world = World::new(5, CHUNK, 4);
    let order = world.cluster.order(0);
    world.cluster.mood(order[2], Mood::Refuses(DataRefusal::Busy));
    world.run(settings().stand_in_after_ms / 2);
    assert!(world.sent_to(order[2]) > 2);
    assert_eq!(world.sent_to(order[3]), 0);
    world.cluster.mood(order[2], Mood::Fine);
    world.run_to_the_end();
    assert_eq!(nodes(&world, 0), order[..3]);
}

#[test]
fn one_silent_owner_delays_the_first_chunks_and_not_all_of_them() {
    let mut world = World::new(5, 100 * CHUNK, 5);
    let order = world.cluster.order(0);
    world.cluster.mood(order[0], Mood::Silent);
    world.run_to_the_end();
    assert!(took_ms(&world) < 3 * settings().stand_in_after_ms, "{} ms", took_ms(&world));
}

/// Who stood in for an owner, by chunk.
fn stand_ins(world: &World) -> BTreeSet<u32> {
    let stand_in = |(_, to, body): &(Tick, ReplicaId, DataBody)| match body {
        DataBody::PutChunk { chunk, .. } if !world.cluster.layout.owns(*to, *chunk) => Some(chunk.index),
        _ => None,
    };
    world.sent.iter().filter_map(stand_in).collect()
}

#[test]
fn an_owner_that_answers_again_is_relied_on_again() {
    let mut world = World::new(5, 120 * CHUNK, 20);
    world.cluster.mood(ReplicaId::new(0), Mood::Silent);
    world.run(settings().stand_in_after_ms + 5);
    world.cluster.mood(ReplicaId::new(0), Mood::Fine);
    world.run_to_the_end();
    let stand_ins = stand_ins(&world);
    assert!(!stand_ins.is_empty());
    assert!(stand_ins.iter().all(|index| *index < 60), "{stand_ins:?}");
}

/// Chunks had enough receipts before it answered, and were let go for the next ones: so it never had
/// the time to answer, and was never waited for again.
#[test]
fn an_owner_that_works_again_is_relied_on_again_even_if_others_are_quicker() {
    let mut world = World::new(3, 900 * CHUNK, 24);
    world.cluster.resets = true;
    let forgiving = PutSettings { silence_ms: 300, ..settings() };
    let chunk_size = u32::try_from(CHUNK).unwrap();
    world.put = Put::new(world.cluster.layout, BODY, chunk_size, forgiving, 24, Tick::ZERO);
    world.put.silent.insert(ReplicaId::new(0), Tick::ZERO.plus(forgiving.silence_ms));
    world.cluster.mood(ReplicaId::new(0), Mood::Slow(settings().grace_ms / 2));
    world.run_to_the_end();
    let debts = (0..900).filter(|index| nodes(&world, *index).len() < 3).collect::<Vec<_>>();
    assert!(debts.len() > 100, "{} debts", debts.len());
    assert!(debts.iter().all(|index| *index < 800), "{debts:?}");
}

/// With two of three the body is as durable as its record. What the third lacks is debt.
#[test]
fn one_replica_of_three_may_be_missing_and_costs_no_more_than_the_grace() {
    for (mood, most) in [(Mood::Down, settings().grace_ms), (Mood::Silent, 2 * settings().grace_ms)] {
        let mut world = World::new(3, CHUNK, 6);
        let order = world.cluster.order(0);
        world.cluster.mood(order[0], mood);
        world.run_to_the_end();
        assert_eq!(nodes(&world, 0), [order[1], order[2]]);
        assert!(took_ms(&world) <= most, "{mood:?}: {} ms", took_ms(&world));
    }
}

#[test]
fn an_owner_that_comes_after_the_grace_still_counts() {
    let mut world = World::new(3, CHUNK, 7);
    let order = world.cluster.order(0);
    world.cluster.mood(order[0], Mood::Slow(300));
    world.run_to_the_end();
    assert_eq!(nodes(&world, 0).len(), 2);
    assert!(world.put.bytes_held() > 0);
    world.run(300);
    assert_eq!(world.put.stored().unwrap().receipts.len(), 3);
    assert_eq!(world.put.bytes_held(), 0);
    assert_eq!(world.put.next_tick(), None);
}

#[test]
fn bytes_are_not_kept_for_ever_for_an_owner_that_does_not_come() {
    let mut world = World::new(3, CHUNK, 8);
    let order = world.cluster.order(0);
    world.cluster.mood(order[0], Mood::Silent);
    world.run_to_the_end();
    world.run(settings().linger_ms);
    assert_eq!(world.put.bytes_held(), 0);
    assert_eq!(world.put.next_tick(), None);
}

/// Two chunks of three are kept for an owner that is late. The client has more to send.
#[test]
fn bytes_that_are_kept_for_late_owners_make_room_for_new_ones() {
    let mut world = World::new(3, 30 * CHUNK, 9);
    world.cluster.mood(ReplicaId::new(1), Mood::Slow(100_000));
    world.run_to_the_end();
    assert!(took_ms(&world) < 15 * settings().grace_ms, "{} ms", took_ms(&world));
}

/// They are held by somebody who has to share memory with others.
#[test]
fn bytes_that_are_kept_for_late_owners_are_let_go_when_memory_is_short() {
    let mut world = World::new(3, 3 * CHUNK, 23);
    let order = world.cluster.order(0);
    world.cluster.mood(order[0], Mood::Silent);
    world.run_to_the_end();
    assert!(world.put.bytes_held() > 0);
    world.put.let_late_holders_go(world.cluster.now);
    assert_eq!(world.put.bytes_held(), 0);
    assert_eq!(world.put.next_tick(), None);
    assert!(world.is_committed(world.stored()));
}

#[test]
fn without_a_quorum_a_put_fails_when_its_time_is_over() {
    for mood in [Mood::Silent, Mood::Down, Mood::Mute, Mood::Refuses(DataRefusal::Busy)] {
        let mut world = World::new(3, 3 * CHUNK, 10);
        world.cluster.mood(ReplicaId::new(0), mood);
        world.cluster.mood(ReplicaId::new(2), mood);
        world.run_to_the_end();
        assert_eq!(world.failed, Some(PutFailure::NoQuorum));
        assert_eq!(world.put.bytes_held(), 0);
        assert_eq!(world.put.next_tick(), None);
        assert!(!world.put.wants_more());
        assert!(world.cluster.now.get() <= settings().timeout_ms + 50);
    }
}

#[test]
fn when_everybody_has_refused_for_good_a_put_says_why_at_once() {
    for (why, failure) in [
        (DataRefusal::Full, PutFailure::Full),
        (DataRefusal::Conflict, PutFailure::Conflict),
        (DataRefusal::WrongLayout, PutFailure::WrongLayout),
    ] {
        let mut world = World::new(5, CHUNK, 11);
        world.cluster.everybody(Mood::Refuses(why));
        world.cluster.mood(ReplicaId::new(1), Mood::Fine);
        world.run_to_the_end();
        assert_eq!(world.failed, Some(failure));
        assert!(world.cluster.now.get() < 100);
    }
}

#[test]
fn a_put_goes_on_when_the_cluster_comes_back_in_time() {
    let mut world = World::new(3, 10 * CHUNK, 12);
    world.cluster.everybody(Mood::Silent);
    world.run(settings().timeout_ms / 2);
    world.cluster.everybody(Mood::Fine);
    world.run_to_the_end();
    assert_eq!(world.failed, None);
    assert!(world.is_committed(world.stored()));
    // Whoever answered again is relied on again.
    assert_eq!(nodes(&world, 9).len(), 3);
}

/// The disk gave its word and was replaced before the commit: the log does not count it.
#[test]
fn after_too_few_copies_the_holders_are_asked_and_what_is_held_is_sent_again() {
    let mut world = World::new(3, CHUNK, 13);
    let order = world.cluster.order(0);
    world.cluster.mood(order[2], Mood::Silent);
    world.run_to_the_end();
    world.cluster.replace_disk(order[0]);
    assert!(!world.is_committed(world.stored()));

    let before = world.sent.len();
    world.on_too_few_copies();
    world.run_to_the_end();
    assert_eq!(world.ready.len(), 2);
    assert!(world.is_committed(world.stored()));
    let asked: Vec<_> = world.sent[before..].iter().map(|(_, to, body)| (*to, body.kind())).collect();
    for replica in &order {
        assert!(asked.contains(&(*replica, "Confirm")));
    }
    assert!(asked.contains(&(order[0], "PutChunk")));
    assert!(!asked.contains(&(order[1], "PutChunk")));
}

#[test]
fn everybody_is_asked_to_confirm_whether_it_was_sent_the_chunk_or_not() {
    let mut world = World::new(7, CHUNK, 22);
    world.run_to_the_end();
    world.run(settings().linger_ms);
    assert_eq!(world.copies_of(0), 4);
    let before = world.sent.len();
    world.on_too_few_copies();
    assert_eq!(world.sent.len() - before, 7);
    world.run_to_the_end();
    assert_eq!(world.stored().receipts.len(), 4);
}

#[test]
fn confirmations_are_enough_when_the_bytes_are_gone() {
    let mut world = World::new(3, 50 * CHUNK, 14);
    world.run_to_the_end();
    world.run(settings().linger_ms);
    assert_eq!(world.put.bytes_held(), 0);
    world.cluster.replace_disk(ReplicaId::new(0));
    let before = world.sent.len();
    world.on_too_few_copies();
    world.run_to_the_end();
    assert!(world.is_committed(world.stored()));
    assert!(world.sent[before..].iter().all(|(_, _, body)| body.kind() == "Confirm"));
    assert_eq!(world.stored().receipts.len(), 100);
}

#[test]
fn what_nobody_can_confirm_or_send_again_is_no_quorum() {
    let mut world = World::new(3, 2 * CHUNK, 15);
    world.run_to_the_end();
    world.run(settings().linger_ms);
    world.cluster.replace_disk(ReplicaId::new(0));
    world.cluster.replace_disk(ReplicaId::new(1));
    world.on_too_few_copies();
    world.run_to_the_end();
    assert_eq!(world.failed, Some(PutFailure::NoQuorum));
}

#[test]
fn confirmation_is_not_asked_for_without_end() {
    let mut world = World::new(3, CHUNK, 16);
    world.run_to_the_end();
    for _ in 0..settings().confirm_rounds_max {
        world.on_too_few_copies();
        world.run_to_the_end();
        assert_eq!(world.failed, None);
    }
    world.on_too_few_copies();
    assert_eq!(world.failed, Some(PutFailure::NoQuorum));
}

#[test]
fn what_is_not_the_next_chunk_is_refused_and_changes_nothing() {
    let cluster = Cluster::of(3, 17);
    let now = Tick::ZERO;
    let new = || Put::new(cluster.layout, BODY, 100, settings(), 17, now);
    let chunk = |length| PreparedChunk::of(bytes(length, 1));
    let mut put = new();
    assert_eq!(put.finish(now), Err(OfferError::Empty));
    assert_eq!(put.offer(now, PreparedChunk::of(Bytes::new())), Err(OfferError::WrongSize));
    assert_eq!(put.offer(now, chunk(101)), Err(OfferError::WrongSize));
    assert_eq!(put.next_output(), None);
    for _ in 0..settings().chunks_held_max {
        assert!(put.wants_more());
        assert_eq!(put.offer(now, chunk(100)), Ok(()));
    }
    assert!(!put.wants_more());
    assert_eq!(put.offer(now, chunk(100)), Err(OfferError::NoRoom));

    let mut put = new();
    assert_eq!(put.offer(now, chunk(99)), Ok(()));
    assert!(!put.wants_more());
    assert_eq!(put.offer(now, chunk(100)), Err(OfferError::WrongSize));
    assert_eq!(put.finish(now), Ok(()));
    assert_eq!(put.finish(now), Err(OfferError::Over));
    assert_eq!(put.offer(now, chunk(100)), Err(OfferError::Over));
}

/// The put numbers its calls from one, so the chunks are stored by calls 1 and 2.
#[test]
fn an_answer_from_somebody_else_or_of_another_chunk_gives_no_receipt() {
    let mut world = World::new(1, 2 * CHUNK, 18);
    world.feed();
    assert_eq!(world.sent.len(), 2);
    let other = receipt_of(&mut world, 2);
    for (from, call) in [(0, 1), (4, 1), (4, 2), (0, 99)] {
        let answer = Arrival::Answer { from: ReplicaId::new(from), call, body: other.clone() };
        world.hear(answer);
    }
    world.put.on_call_failed(world.cluster.now, ReplicaId::new(3), 2);
    assert!(world.ready.is_empty());
    assert_eq!(world.put.stored(), None);
    world.hear(Arrival::Answer { from: ReplicaId::new(0), call: 2, body: other });
    world.run_to_the_end();
    assert_eq!(world.stored().receipts.len(), 2);
}

#[test]
fn a_receipt_that_another_replica_gave_is_nobodys() {
    let mut world = World::new(2, CHUNK, 23);
    let order = world.cluster.order(0);
    world.feed();
    let [mut first, mut second] = [1, 2].map(|call| (order[call - 1], call as u64));
    let receipt = receipt_of(&mut world, first.1);
    std::mem::swap(&mut first.0, &mut second.0);
    for (from, call) in [first, second] {
        world.hear(Arrival::Answer { from, call, body: receipt.clone() });
    }
    world.hear(Arrival::Answer { from: order[1], call: 2, body: receipt.clone() });
    world.hear(Arrival::Answer { from: order[0], call: 1, body: receipt });
    world.feed();
    assert!(world.ready.is_empty());
    world.run_to_the_end();
    assert_eq!(nodes(&world, 0), order);
}

/// The receipt that answers the call, kept from the put.
fn receipt_of(world: &mut World, number: u64) -> DataBody {
    for _ in 0..20 {
        world.cluster.now = world.cluster.now.plus(1);
        while let Some(arrival) = world.cluster.arrival() {
            if let Arrival::Answer { call, body, .. } = arrival
                && call == number
            {
                return body;
            }
        }
    }
    panic!("call {number} is not answered");
}

#[test]
fn a_body_has_no_more_chunks_than_a_record_can_name() {
    let mut world = World::new(1, (CHUNK_COUNT_MAX + 1) * CHUNK, 19);
    world.run(1_000 * settings().grace_ms);
    assert_eq!(world.sent.len(), CHUNK_COUNT_MAX);
    let chunk = PreparedChunk::of(bytes(CHUNK, 1));
    assert_eq!(world.put.offer(world.cluster.now, chunk), Err(OfferError::TooManyChunks));
}
