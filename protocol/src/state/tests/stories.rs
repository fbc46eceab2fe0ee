use super::*;

const DONE_ONCE: Outcome = Outcome::Done(Bytes::from_static(&[1]));

fn sessions(state: &State<Counter, MemoryTables>) -> usize {
    state.sessions().count()
}

#[test]
fn a_session_is_named_by_where_it_was_registered() {
    let mut state = fresh();
    let replies = state.batch(0, &[register(7), register(8)]);
    assert_eq!(replies[0].session, SessionId::from_register(Op::new(1), 0));
    assert_eq!(replies[1].session, SessionId::from_register(Op::new(1), 1));
    assert_eq!(replies[1].outcome, Outcome::Registered { window: 4 });
}

#[test]
fn a_replayed_register_finds_the_live_session() {
    let mut state = fresh();
    let first = state.batch(0, &[register(7)]);
    assert_eq!(state.batch(0, &[register(7)]), first);
    assert_eq!(state.sessions().check(&register(7)), Admission::Answered(first[0].clone()));
    assert_eq!(sessions(&state), 1);
}

#[test]
fn a_retry_is_answered_and_not_executed() {
    let mut state = fresh();
    let session = state.registered(7);
    let first = state.batch(0, &[add(7, session, 1), add(7, session, 1)]);
    assert_eq!(first[0], first[1]);
    assert_eq!(state.batch(0, &[add(7, session, 1)])[0], first[0]);
    assert_eq!(state.sessions().check(&add(7, session, 1)), Admission::Answered(first[0].clone()));
    assert_eq!(state.count(session, 1), 1);
}

#[test]
fn requests_of_a_window_come_in_any_order() {
    let mut state = fresh();
    let session = state.registered(7);
    for number in [3, 1, 4, 2] {
        assert_eq!(state.one(&add(7, session, number)), DONE_ONCE);
    }
    assert_eq!(state.one(&add(7, session, 5)), Outcome::Refused(Refusal::OutsideWindow));
    assert_eq!(state.count(session, 5), 0);
}

#[test]
fn what_the_client_has_makes_room_and_is_forgotten() {
    let mut state = fresh();
    let session = state.registered(7);
    state.one(&add(7, session, 1));
    let later = Request { answered_below: RequestNumber::new(2), ..add(7, session, 5) };
    assert_eq!(state.one(&later), DONE_ONCE);
    assert_eq!(state.one(&add(7, session, 1)), Outcome::Refused(Refusal::OutsideWindow));
    assert_eq!(state.count(session, 1), 1);
}

/// A request that claims to be answered already must not slip out of its own window.
#[test]
fn a_request_cannot_be_answered_before_it_is_sent() {
    let mut state = fresh();
    let session = state.registered(7);
    let odd = Request { answered_below: RequestNumber::new(9), ..add(7, session, 2) };
    assert_eq!(state.one(&odd), DONE_ONCE);
    assert_eq!(state.one(&odd), DONE_ONCE);
    assert_eq!(state.one(&add(7, session, 0)), Outcome::Refused(Refusal::OutsideWindow));
}

#[test]
fn nobody_speaks_for_another_clients_session() {
    let mut state = fresh();
    let session = state.registered(7);
    state.registered(8);
    assert_eq!(state.one(&add(8, session, 1)), Outcome::Refused(Refusal::SessionGone));
    assert_eq!(state.count(session, 1), 0);
}

/// The gateway answered 503 long ago; a copy with a later deadline must not bring the write back.
#[test]
fn a_request_that_comes_too_late_never_takes_effect() {
    let mut state = fresh();
    let session = state.registered(7);
    let late = Request { deadline: Timestamp::new(100), ..add(7, session, 1) };
    let replies = state.batch(100, &[add(7, session, 2), late.clone()]);
    assert_eq!(replies[0].outcome, DONE_ONCE);
    assert_eq!(replies[1].outcome, Outcome::Refused(Refusal::DeadlinePassed), "the second is at 101");

    let copy = Request { deadline: Timestamp::new(900), ..late };
    assert_eq!(state.one(&copy), Outcome::Refused(Refusal::DeadlinePassed));
    assert_eq!(state.count(session, 1), 0);
}

#[test]
fn a_retry_that_comes_too_late_repeats_the_first_answer() {
    let mut state = fresh();
    let session = state.registered(7);
    let request = Request { deadline: Timestamp::new(100), ..add(7, session, 1) };
    assert_eq!(state.batch(100, std::slice::from_ref(&request))[0].outcome, DONE_ONCE);
    assert_eq!(state.batch(500, &[request])[0].outcome, DONE_ONCE);
}

#[test]
fn a_register_that_comes_too_late_leaves_no_session() {
    let mut state = fresh();
    let late = Request { deadline: Timestamp::new(10), ..register(7) };
    assert_eq!(state.batch(11, &[late])[0].outcome, Outcome::Refused(Refusal::DeadlinePassed));
    assert_eq!(sessions(&state), 0);
}

#[test]
fn a_closed_session_is_gone_for_ever() {
    let mut state = fresh();
    let session = state.registered(7);
    assert_eq!(state.one(&request(7, session, 1, Operation::Close)), Outcome::Acknowledged);
    assert_eq!(state.one(&add(7, session, 2)), Outcome::Refused(Refusal::SessionGone));
    assert_ne!(state.registered(7), session);
    assert_eq!(state.sessions().check(&add(7, session, 2)), Admission::SessionGone);
}

#[test]
fn a_full_table_evicts_who_was_heard_of_longest_ago() {
    let mut state = fresh();
    let named: Vec<SessionId> = (1..=3).map(|client| state.registered(client)).collect();
    state.one(&add(1, named[0], 1));
    state.registered(4);
    assert_eq!(sessions(&state), 3);
    assert_eq!(state.one(&add(2, named[1], 1)), Outcome::Refused(Refusal::SessionGone));
    assert_eq!(state.one(&add(1, named[0], 2)), DONE_ONCE);
}

#[test]
fn sessions_of_one_entry_are_evicted_in_their_order() {
    let mut state = fresh();
    let replies = state.batch(0, &[register(1), register(2), register(3)]);
    state.registered(4);
    assert!(state.sessions().session(replies[0].session).is_none());
    assert!(state.sessions().session(replies[1].session).is_some());
}

#[test]
fn idle_sessions_are_proposed_and_expire() {
    let mut state = fresh();
    let replies = state.batch(1, &[register(1), register(2)]);
    let (idle, busy) = (replies[0].session, replies[1].session);
    state.batch(900, &[add(2, busy, 1)]);
    assert_eq!(state.sessions().idle(Timestamp::new(1_000)), []);
    assert_eq!(state.sessions().idle(Timestamp::new(1_001)), [idle]);

    state.batch(1_001, &[by_primary(Operation::Expire { sessions: vec![idle, busy] })]);
    assert!(state.sessions().session(idle).is_none());
    assert!(state.sessions().session(busy).is_some());
}

/// The keepalive was prepared before the expiry that the primary had already decided upon.
#[test]
fn a_session_heard_of_in_time_survives_its_expiry() {
    let mut state = fresh();
    let session = state.batch(1, &[register(1)])[0].session;
    assert_eq!(state.sessions().idle(Timestamp::new(5_000)), [session]);
    let keepalive = Operation::Keepalive { oldest_live_upload: 0, oldest_read: Op::ZERO };
    let expire = by_primary(Operation::Expire { sessions: vec![session] });
    state.batch(5_000, &[request(1, session, 1, keepalive), expire]);
    assert!(state.sessions().session(session).is_some());
}

#[test]
fn watermarks_only_rise() {
    let mut state = fresh();
    let session = state.registered(1);
    let mut keepalive = |number, oldest_live_upload, oldest_read| {
        let operation = Operation::Keepalive { oldest_live_upload, oldest_read: Op::new(oldest_read) };
        assert_eq!(state.one(&request(1, session, number, operation)), Outcome::Acknowledged);
        state.sessions().session(session).unwrap()
    };
    assert_eq!(keepalive(1, 5, 2), SessionFacts { oldest_live_upload: 5, oldest_read: Op::new(2) });
    assert_eq!(keepalive(2, 3, 1), SessionFacts { oldest_live_upload: 5, oldest_read: Op::new(2) });
}

/// At op 2 nobody can know that reads below op 99 have ended, for none of them has begun.
#[test]
fn a_read_watermark_does_not_pass_the_present() {
    let mut state = fresh();
    let session = state.registered(1);
    let operation = Operation::Keepalive { oldest_live_upload: 0, oldest_read: Op::new(99) };
    state.one(&request(1, session, 1, operation));
    assert_eq!(state.sessions().oldest_read(), Some(Op::new(2)));
}

#[test]
fn the_oldest_read_is_that_of_any_live_session() {
    let mut state = fresh();
    assert_eq!(state.sessions().oldest_read(), None);
    let first = state.registered(1);
    state.registered(2);
    assert_eq!(state.sessions().oldest_read(), Some(Op::new(1)));
    state.one(&request(1, first, 1, Operation::Close));
    assert_eq!(state.sessions().oldest_read(), Some(Op::new(2)));

    let facts = |op| SessionFacts { oldest_live_upload: 0, oldest_read: Op::new(op) };
    let sessions = Sessions::with([(SessionId::new(1), facts(9)), (SessionId::new(2), facts(5))]);
    assert_eq!(sessions.oldest_read(), Some(Op::new(5)));
}

fn rejoin(replica: u8, nonce: u128) -> Request {
    by_primary(Operation::Rejoin { replica: ReplicaId::new(replica), nonce: Nonce::new(nonce) })
}

#[test]
fn a_rejoin_begins_an_incarnation() {
    let mut state = fresh();
    state.registered(1);
    state.one(&rejoin(2, 77));
    assert_eq!(state.incarnations()[2], Incarnation::new(2));
    assert_eq!(state.rejoined(Nonce::new(77)), Some((ReplicaId::new(2), Op::new(2))));
    assert_eq!(state.rejoined(Nonce::new(78)), None);
}

/// A second grant would void the votes of the disk that the first one readmitted.
#[test]
fn a_nonce_is_granted_once() {
    let mut state = fresh();
    state.one(&rejoin(2, 77));
    let duplicate = entry(state.applied(), 0, &[rejoin(2, 77)]);
    let header = EntryHeader { incarnations: state.incarnations(), ..duplicate.header };
    state.apply(&Entry::assemble(header, duplicate.body).unwrap()).unwrap();
    assert_eq!(state.incarnations()[2], Incarnation::new(1));
    assert_eq!(state.rejoined(Nonce::new(77)), Some((ReplicaId::new(2), Op::new(1))));
}

#[test]
fn the_last_four_rejoins_of_each_replica_are_remembered() {
    let mut state = fresh();
    state.one(&rejoin(1, 100));
    for nonce in 0..5 {
        state.one(&rejoin(2, nonce));
    }
    assert_eq!(state.rejoined(Nonce::new(0)), None);
    assert!((1..5).all(|nonce| state.rejoined(Nonce::new(nonce)).is_some()));
    assert!(state.rejoined(Nonce::new(100)).is_some());
}

#[test]
fn a_rejoin_of_a_replica_that_cannot_exist_has_no_effect() {
    let mut state = fresh();
    let odd = rejoin(200, 5);
    let mut body = Encoder::new();
    odd.encode(&mut body);
    let body = body.finish();
    let template = entry(state.applied(), 0, &[rejoin(0, 5)]);
    let header = EntryHeader {
        incarnations: genesis().incarnations,
        body_checksum: Checksum::of(&body),
        ..template.header
    };
    state.apply(&Entry::assemble(header, body.into()).unwrap()).unwrap();
    assert_eq!(state.rejoined(Nonce::new(5)), None);
}

#[test]
fn a_body_that_does_not_decode_has_no_effect() {
    let mut state = fresh();
    state.registered(1);
    let whole = entry(state.applied(), 0, &[register(2), register(3)]);
    let cut = whole.body.slice(..whole.body.len() - 1);
    let header = EntryHeader {
        body_size: u32::try_from(cut.len()).unwrap(),
        body_checksum: Checksum::of(&cut),
        ..whole.header
    };
    assert_eq!(state.apply(&Entry::assemble(header, cut).unwrap()).unwrap(), []);
    assert_eq!(state.applied().op, Op::new(2));
    assert_eq!(sessions(&state), 1);
}

#[test]
fn a_batch_too_large_to_name_its_requests_has_no_effect() {
    let mut state = fresh();
    let batch: Vec<Request> = (0..=SessionId::INDEX_COUNT).map(|client| register(client.into())).collect();
    assert_eq!(state.batch(0, &batch), []);
    assert_eq!(sessions(&state), 0);
}

#[test]
#[should_panic(expected = "follows")]
fn an_entry_that_does_not_follow_is_a_bug() {
    let mut state = fresh();
    state.registered(1);
    let _ = state.apply(&entry(&genesis(), 0, &[]));
}

#[test]
fn a_query_sees_what_was_applied() {
    let mut state = fresh();
    let session = state.registered(1);
    let key = Bytes::from(counter_key(session, &1_u64.to_be_bytes()));
    assert_eq!(state.query(&key).unwrap(), Err(Invalid("never executed")));
    state.one(&add(1, session, 1));
    assert_eq!(state.query(&key).unwrap(), Ok(Bytes::from_static(&[1])));
}
