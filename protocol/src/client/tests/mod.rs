//! Stories of one client.

mod storms;
mod world;

use bytes::Bytes;
use world::{CLIENT, Mood, NEVER, WINDOW, WINDOW_COUNT, World, from_replica, operation, settings};

use super::session::PROBE_COUNT;
use super::{ClientError, Failure};
use crate::entry::Operation;
use crate::message::{Body, QueryAnswer};
use crate::state::{Outcome, Reply};
use crate::types::{ClusterId, Op, ReplicaId, RequestNumber, SessionId, Tick, Timestamp, View};

/// To whom the operation went, and when, in order.
fn sends_of(world: &World, number: u64) -> Vec<(Tick, ReplicaId)> {
    let content = Operation::Machine(operation(number));
    let sends = world.sent.iter();
    let sends =
        sends.filter(|(_, _, body)| matches!(body, Body::Request(request) if request.operation == content));
    sends.map(|(at, to, _)| (*at, *to)).collect()
}

#[test]
fn a_request_takes_effect_once_and_is_answered() {
    let mut world = World::new(1);
    let ticket = world.submit(1);
    world.run(100);
    assert_eq!(world.done[&ticket].1, operation(1));
    assert_eq!(world.log.effects_of(&operation(1)), 1);
    assert_eq!(world.log.sessions_begun, 1);
}

#[test]
fn a_read_is_answered_without_a_session() {
    let mut world = World::new(2);
    world.mood = Mood::Busy;
    world.run(10);
    assert_eq!(world.client.session(), None);
    world.mood = Mood::Fine;
    let ticket = world.query();
    world.run(3);
    assert_eq!(world.done[&ticket].1, Bytes::from_static(b"0"));
}

#[test]
fn the_primary_is_found_without_waiting_for_a_timeout() {
    for view in [1, 2, 1_000] {
        let mut world = World::new(view);
        world.view = View::new(view);
        let ticket = world.submit(1);
        world.run(20);
        assert!(world.done.contains_key(&ticket), "view {view}");
    }
}

/// A backup that knows the request suspects a primary that does not prepare it: a client that talks
/// only to the primary would keep a deaf one in office for ever.
#[test]
fn an_unanswered_request_goes_to_the_primary_then_to_one_more_then_to_all() {
    let mut world = World::registered(3);
    world.all_down();
    world.submit(1);
    world.run(5_000);
    let sends = sends_of(&world, 1);
    let mut rounds: Vec<(Tick, Vec<u8>)> = Vec::new();
    for (at, to) in sends {
        match rounds.last_mut() {
            Some((last, whom)) if *last == at => whom.push(to.get()),
            _ => rounds.push((at, vec![to.get()])),
        }
    }
    assert_eq!(rounds[0].1, [0]);
    assert_eq!(rounds[1].1[0], 0);
    assert_eq!(rounds[1].1.len(), 2);
    for (_, whom) in &rounds[2..] {
        assert_eq!(whom, &[0, 1, 2]);
    }
    let pauses: Vec<u64> = rounds.windows(2).map(|pair| pair[1].0.since(pair[0].0)).collect();
    for (pause, doubled) in pauses.iter().zip([100, 200, 400, 800, 800, 800]) {
        assert!((doubled / 2..doubled * 3 / 2).contains(pause), "{pauses:?}");
    }
}

#[test]
fn only_the_oldest_requests_are_sent_to_everybody() {
    let mut world = World::registered(4);
    // The window is as wide as the number of probes, so the reads show it.
    assert_eq!(WINDOW_COUNT, PROBE_COUNT);
    world.all_down();
    for _ in 0..12 {
        world.query();
    }
    world.run(3_000);
    for (_, to, body) in &world.sent {
        if let Body::Query { number, .. } = body {
            assert!(*to == ReplicaId::new(0) || *number <= PROBE_COUNT as u64);
        }
    }
}

#[test]
fn a_client_finds_the_next_primary_when_the_old_one_is_gone() {
    let mut world = World::registered(5);
    world.down.insert(ReplicaId::new(0));
    world.view = View::new(1);
    let tickets: Vec<_> = (1..=30).map(|number| world.submit(number)).collect();
    let read = world.query();
    world.run(2_000);
    assert!(tickets.iter().chain([&read]).all(|ticket| world.done.contains_key(ticket)));
    // Having found it, the client asks nobody else.
    let before = world.sent.len();
    world.submit(31);
    world.run(20);
    let after: Vec<_> = world.sent[before..].iter().map(|(_, to, _)| *to).collect();
    assert_eq!(after, [ReplicaId::new(1)]);
}

/// A replica that was cut off while it tried to be elected names a view that never came into office.
#[test]
fn a_view_that_nobody_leads_is_no_obstacle() {
    let mut world = World::registered(6);
    let lost = QueryAnswer::Elsewhere;
    let lost = Body::QueryReply { number: 99, applied: Op::ZERO, answer: lost };
    world.hear(from_replica(ReplicaId::new(2), View::new(1_001), lost));
    world.down.insert(ReplicaId::new(2));
    let ticket = world.submit(1);
    world.run(1_000);
    assert!(world.done.contains_key(&ticket));
    // The answer came from the primary of view 0, so that is where the next request goes.
    world.submit(2);
    assert_eq!(sends_of(&world, 2), [(world.now, ReplicaId::new(0))]);
}

#[test]
fn a_lost_answer_is_repeated_and_the_effect_is_not() {
    let mut world = World::registered(7);
    world.mood = Mood::Mute;
    let ticket = world.submit(1);
    world.run(300);
    assert_eq!(world.log.effects_of(&operation(1)), 1);
    assert!(!world.is_settled(ticket));
    world.mood = Mood::Fine;
    world.run(1_000);
    assert_eq!(world.done[&ticket].1, operation(1));
    assert_eq!(world.log.effects_of(&operation(1)), 1);
}

#[test]
fn a_busy_primary_is_asked_again_under_the_same_number_and_nobody_else_is() {
    let mut world = World::registered(8);
    world.mood = Mood::Busy;
    let (ticket, read) = (world.submit(1), world.query());
    world.run(2_000);
    world.mood = Mood::Fine;
    world.run(2_000);
    assert!(world.done.contains_key(&ticket));
    assert!(world.done.contains_key(&read));
    let sends = sends_of(&world, 1);
    assert!(sends.len() > 3);
    assert!(sends.len() < 12);
    assert!(sends.iter().all(|(_, to)| *to == ReplicaId::new(0)));
    assert_eq!(world.log.effects[0].1, RequestNumber::new(1));
}

/// Asking again would not help, and whoever waits could have deleted something in the meantime.
#[test]
fn a_request_that_finds_no_room_fails_at_once_and_the_session_goes_on() {
    let mut world = World::registered(11);
    world.mood = Mood::Full;
    let ticket = world.submit(1);
    world.run(100);
    assert_eq!(world.failure(ticket), Some(&Failure::Full));
    assert_eq!(sends_of(&world, 1).len(), 1);
    world.mood = Mood::Fine;
    let next = world.submit(2);
    world.run(100);
    assert_eq!(world.done[&next].1, operation(2));
    assert_eq!(world.log.effects_of(&operation(1)), 0);
    assert_eq!(world.log.sessions_begun, 1);
}

#[test]
fn requests_beyond_the_window_wait_for_answers() {
    let mut world = World::registered(9);
    world.mood = Mood::Mute;
    let tickets: Vec<_> = (1..=20).map(|number| world.submit(number)).collect();
    world.run(1_000);
    assert_eq!(world.log.effects.len(), WINDOW_COUNT);
    world.mood = Mood::Fine;
    world.run(5_000);
    assert!(tickets.iter().all(|ticket| world.done.contains_key(ticket)));
}

#[test]
fn too_much_is_refused_before_anything_is_sent() {
    let mut world = World::registered(10);
    world.all_down();
    for number in 0..settings().requests_max as u64 {
        world.submit(number);
    }
    assert_eq!(world.client.submit(world.now, operation(99), NEVER), Err(ClientError::Busy));
    for _ in 0..settings().queries_max {
        world.query();
    }
    assert_eq!(world.client.query(world.now, Bytes::new()), Err(ClientError::Busy));

    let mut world = World::registered(11);
    let large = Bytes::from(vec![0; settings().operation_bytes_max + 1]);
    assert_eq!(world.client.submit(world.now, large.clone(), NEVER), Err(ClientError::TooLarge));
    assert_eq!(world.client.query(world.now, large), Err(ClientError::TooLarge));
}

#[test]
fn a_request_that_found_nobody_is_unknown_if_it_was_sent_and_nothing_if_it_was_not() {
    let mut world = World::registered(12);
    world.all_down();
    let tickets: Vec<_> = (1..=10).map(|number| world.submit(number)).collect();
    let read = world.query();
    world.run(settings().timeout_ms + 1);
    let (sent, waiting) = tickets.split_at(WINDOW_COUNT);
    assert!(sent.iter().all(|ticket| world.failure(*ticket) == Some(&Failure::Unknown)));
    // The window opened when the first eight were given up, at the time when these were, too.
    assert!(waiting.iter().all(|ticket| world.failure(*ticket) == Some(&Failure::Definite)));
    assert_eq!(world.failure(read), Some(&Failure::Definite));
}

/// The caller was told "unknown" and may have tried again: a copy that turns up now must not write
/// over that.
#[test]
fn a_request_that_was_given_up_is_fenced_by_the_next_one() {
    let mut world = World::registered(13);
    world.all_down();
    world.submit(1);
    world.run(settings().timeout_ms + 1);
    let (_, _, ghost) = world.sent.iter().find(|(_, _, body)| matches!(body, Body::Request(r) if r.operation == Operation::Machine(operation(1)))).cloned().unwrap();
    world.down.clear();
    let next = world.submit(2);
    world.run(2_000);
    assert!(world.done.contains_key(&next));
    world.replay(ghost);
    assert_eq!(world.log.effects_of(&operation(1)), 0);
}

#[test]
fn only_the_log_can_say_that_a_request_was_too_late() {
    let mut world = World::registered(14);
    let late = world.submit_until(1, Timestamp::new(1));
    world.run(100);
    assert_eq!(world.failure(late), Some(&Failure::Definite));
    assert_eq!(world.log.effects_of(&operation(1)), 0);

    // The first copy is executed and its answer is lost. The second comes after the deadline.
    world.mood = Mood::Mute;
    let deadline = world.clock().plus(50_000);
    let ticket = world.submit_until(2, deadline);
    world.run(20);
    world.mood = Mood::Hasty;
    world.run(1_000);
    assert_eq!(world.log.effects_of(&operation(2)), 1);
    assert_eq!(world.failure(ticket), Some(&Failure::Unknown));
}

#[test]
fn when_a_session_ends_what_was_sent_is_unknown_and_what_waited_goes_on() {
    let mut world = World::registered(15);
    let first = world.client.session();
    world.all_down();
    let tickets: Vec<_> = (1..=20).map(|number| world.submit(number)).collect();
    world.log.end_session();
    world.down.clear();
    world.run(3_000);
    let (sent, waiting) = tickets.split_at(WINDOW_COUNT);
    assert!(sent.iter().all(|ticket| world.failure(*ticket) == Some(&Failure::Unknown)));
    assert!(waiting.iter().all(|ticket| world.done.contains_key(ticket)));
    assert!(world.client.session() > first);
    assert_eq!(world.log.sessions_begun, 2);
    assert_eq!(world.log.effects[0].1, RequestNumber::new(1));
}

/// The deposed primary has never heard of the session. If the client believed it, it would register
/// again, be given its old session, and number new requests with numbers that are taken: the table
/// would answer them with old replies.
/// A commit that waited through the end of its session was sent in the next one, where its receipts prove
/// nothing: the client of the store was told that something is broken.
#[test]
fn what_means_something_in_one_session_only_is_not_sent_in_the_next() {
    let mut world = World::registered(24);
    let first = world.client.session().unwrap();
    world.all_down();
    for number in 1..=WINDOW {
        world.submit(number);
    }
    let commit = world.client.submit_in(world.now, first, operation(9), NEVER).unwrap();
    let other = world.submit(10);
    world.log.end_session();
    world.down.clear();
    world.run(3_000);
    assert_eq!(world.failure(commit), Some(&Failure::SessionOver));
    assert_eq!(world.log.effects_of(&operation(9)), 0);
    assert!(world.done.contains_key(&other));

    let second = world.client.session().unwrap();
    assert!(second > first);
    let commit = world.client.submit_in(world.now, second, operation(11), NEVER).unwrap();
    world.run(1_000);
    assert!(world.done.contains_key(&commit));
}

#[test]
fn a_deposed_primary_cannot_end_a_session_that_began_after_it() {
    let mut world = World::new(16);
    world.deposed = Some((ReplicaId::new(0), View::ZERO, world.log.clone()));
    world.view = View::new(1);
    world.run(1_000);
    let session = world.client.session();
    assert!(session.is_some());
    let before: Vec<_> = (1..=3).map(|number| world.submit(number)).collect();
    world.run(100);
    assert!(before.iter().all(|ticket| world.done.contains_key(ticket)));

    // The new primary falls silent, so the client asks the old one as well.
    world.down.insert(ReplicaId::new(1));
    let ticket = world.submit(4);
    world.run(1_500);
    assert_eq!(world.client.session(), None, "the session should be in doubt");
    assert!(!world.is_settled(ticket));
    world.down.clear();
    world.run(3_000);
    assert_eq!(world.client.session(), session);
    assert_eq!(world.done[&ticket].1, operation(4));
    let numbers: Vec<_> = world.log.effects.iter().map(|(_, number, _)| number.get()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn a_late_answer_to_an_earlier_registration_changes_nothing() {
    let mut world = World::registered(17);
    let first = world.client.session().unwrap();
    world.log.end_session();
    world.submit(1);
    world.run(1_000);
    let second = world.client.session().unwrap();
    assert!(second > first);
    let registered = |session| {
        let outcome = Outcome::Registered { window: WINDOW };
        let reply = Reply { client: CLIENT, session, number: RequestNumber::new(1), op: Op::new(1), outcome };
        from_replica(ReplicaId::new(0), View::ZERO, Body::Reply(reply))
    };
    world.hear(registered(first));
    assert_eq!(world.client.session(), Some(second));

    // The same session twice: nothing is sent again.
    world.mood = Mood::Mute;
    world.submit(2);
    let before = world.sent.len();
    world.hear(registered(second));
    assert_eq!(world.sent.len(), before);
}

#[test]
fn an_idle_client_keeps_its_session_and_its_watermarks_travel() {
    let mut world = World::registered(18);
    world.client.set_watermarks(7, Op::new(3));
    world.client.set_watermarks(5, Op::new(2));
    world.run(10 * settings().keepalive_ms);
    assert!(world.log.keepalives.len() >= 6);
    assert!(world.log.keepalives.len() <= 20);
    assert!(world.log.keepalives.iter().all(|watermarks| *watermarks == (7, Op::new(3))));
}

/// Otherwise a gateway that nobody asks anything would hold back the collection of what others delete.
#[test]
fn an_idle_client_learns_from_its_keepalives_how_far_the_log_is() {
    let mut world = World::registered(18);
    world.run(2 * settings().keepalive_ms);
    let before = world.client.newest_op();
    assert!(before > Op::ZERO);
    world.run(2 * settings().keepalive_ms);
    assert!(world.client.newest_op() > before);
}

#[test]
fn keepalives_do_not_pile_up() {
    let mut world = World::registered(19);
    world.all_down();
    world.run(settings().timeout_ms - 1_000);
    let is_keepalive = |body: &&Body| matches!(body, Body::Request(request) if matches!(request.operation, Operation::Keepalive { .. }));
    let sends = world.sent.iter().map(|(_, _, body)| body).filter(is_keepalive);
    let numbers: std::collections::BTreeSet<_> = sends
        .map(|body| if let Body::Request(request) = body { request.number } else { unreachable!() })
        .collect();
    assert_eq!(numbers.len(), 1);
}

#[test]
fn closing_waits_for_what_is_under_way_and_ends_the_session() {
    let mut world = World::registered(20);
    world.mood = Mood::Mute;
    let tickets: Vec<_> = (1..=10).map(|number| world.submit(number)).collect();
    let read = world.query();
    world.run(10);
    world.close();
    assert_eq!(world.client.submit(world.now, operation(11), NEVER), Err(ClientError::Closed));
    assert_eq!(world.failure(tickets[9]), Some(&Failure::Definite));
    world.mood = Mood::Fine;
    world.run_until("the end", |world| world.closed);
    assert!(tickets[..WINDOW_COUNT].iter().chain([&read]).all(|ticket| world.done.contains_key(ticket)));
    assert!(!world.log.has_session());
    assert_eq!(world.client.next_tick(), None);
    world.run(100_000);
}

#[test]
fn closing_comes_to_an_end_when_nobody_answers() {
    let mut world = World::registered(21);
    world.all_down();
    let ticket = world.submit(1);
    world.close();
    world.run(2 * settings().timeout_ms + 2);
    assert!(world.closed);
    assert_eq!(world.failure(ticket), Some(&Failure::Unknown));

    // Nor does a client that never had a session wait for one.
    let mut world = World::new(22);
    world.all_down();
    let ticket = world.submit(1);
    world.close();
    assert!(world.closed);
    assert_eq!(world.failure(ticket), Some(&Failure::Definite));
}

#[test]
fn messages_from_another_cluster_or_to_another_client_are_not_heard() {
    let mut world = World::registered(23);
    let session = world.client.session().unwrap();
    world.all_down();
    let ticket = world.submit(1);
    let done = |client| {
        let outcome = Outcome::Done(Bytes::from_static(b"forged"));
        let number = RequestNumber::new(1);
        let reply = Reply { client, session, number, op: Op::new(9), outcome };
        from_replica(ReplicaId::new(0), View::ZERO, Body::Reply(reply))
    };
    let mut foreign = done(CLIENT);
    foreign.cluster = ClusterId::new(666);
    world.hear(foreign);
    let mut foreign = done(CLIENT);
    foreign.epoch = foreign.epoch.next();
    world.hear(foreign);
    world.hear(done(crate::types::ClientId::new(666)));
    let mut other_session = done(CLIENT);
    if let Body::Reply(reply) = &mut other_session.body {
        reply.session = SessionId::new(session.get() - 1);
    }
    world.hear(other_session);
    assert!(!world.is_settled(ticket));
    world.hear(done(CLIENT));
    assert!(world.done.contains_key(&ticket));
}
