//! Any log: retries in any order, checkpoints and crashes at any time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// One request of a random log. Sessions are given by their place in the order of registration.
#[derive(Clone, Debug)]
enum Ask {
    Register { client: u8 },
    Add { session: usize, number: u64, answered_below: u64, deadline: u64 },
    Keepalive { session: usize, number: u64, oldest_read: u64 },
    Close { session: usize, number: u64 },
    Expire,
    Rejoin { replica: u8, nonce: u8 },
}

fn any_ask() -> impl Strategy<Value = Ask> {
    let session = 0..6_usize;
    prop_oneof![
        2 => (1..6_u8).prop_map(|client| Ask::Register { client }),
        8 => (session.clone(), 0..9_u64, 0..9_u64, 0..4_000_u64).prop_map(
            |(session, number, answered_below, deadline)| Ask::Add { session, number, answered_below, deadline }
        ),
        1 => (session.clone(), 0..9_u64, 0..40_u64)
            .prop_map(|(session, number, oldest_read)| Ask::Keepalive { session, number, oldest_read }),
        1 => (session, 0..9_u64).prop_map(|(session, number)| Ask::Close { session, number }),
        1 => Just(Ask::Expire),
        1 => (0..3_u8, 0..6_u8).prop_map(|(replica, nonce)| Ask::Rejoin { replica, nonce }),
    ]
}

/// A log as one primary prepares it, with the state as it went along.
fn prepare(batches: &[Vec<Ask>]) -> (Vec<Entry>, State<Counter, MemoryTables>, Vec<Vec<Reply>>) {
    let mut state = fresh();
    let mut registered: Vec<(u128, SessionId)> = Vec::new();
    let (mut log, mut replies) = (Vec::new(), Vec::new());
    for batch in batches {
        let clock = last_timestamp(state.applied()).plus(100);
        let of = |session: usize| *registered.get(session).unwrap_or(&(1, SessionId::ZERO));
        let requests: Vec<Request> = batch
            .iter()
            .filter_map(|ask| {
                Some(match *ask {
                    Ask::Register { client } => register(u128::from(client)),
                    Ask::Add { session, number, answered_below, deadline } => {
                        let (client, session) = of(session);
                        let answered_below = RequestNumber::new(answered_below);
                        let deadline = Timestamp::new(deadline);
                        Request { answered_below, deadline, ..add(client, session, number) }
                    }
                    Ask::Keepalive { session, number, oldest_read } => {
                        let (client, session) = of(session);
                        let oldest_read = Op::new(oldest_read);
                        let operation = Operation::Keepalive { oldest_live_upload: number, oldest_read };
                        request(client, session, number, operation)
                    }
                    Ask::Close { session, number } => {
                        let (client, session) = of(session);
                        request(client, session, number, Operation::Close)
                    }
                    Ask::Expire => by_primary(Operation::Expire { sessions: state.sessions().idle(clock) }),
                    Ask::Rejoin { replica, nonce } => {
                        let nonce = Nonce::new(u128::from(nonce));
                        if state.rejoined(nonce).is_some() || batch.len() > 1 {
                            return None;
                        }
                        by_primary(Operation::Rejoin { replica: ReplicaId::new(replica), nonce })
                    }
                })
            })
            .collect();
        let entry = entry(state.applied(), clock.get(), &requests);
        let answers = state.apply(&entry).unwrap();
        assert_eq!(answers.len(), requests.len());
        for answer in &answers {
            let named = (answer.client.get(), answer.session);
            if matches!(answer.outcome, Outcome::Registered { .. }) && !registered.contains(&named) {
                registered.push(named);
            }
        }
        log.push(entry);
        replies.push(answers);
    }
    (log, state, replies)
}

fn batches() -> impl Strategy<Value = Vec<Vec<Ask>>> {
    prop::collection::vec(prop::collection::vec(any_ask(), 1..6), 1..30)
}

proptest! {
    #[test]
    fn a_request_is_executed_at_most_once_however_it_is_retried(batches in batches()) {
        let (log, state, replies) = prepare(&batches);
        let mut done: BTreeMap<(SessionId, RequestNumber), Reply> = BTreeMap::new();
        let answered = log.iter().zip(&replies).flat_map(|(entry, replies)| {
            entry.requests().unwrap().into_iter().zip(replies.clone())
        });
        for (request, reply) in answered {
            let in_window = !matches!(
                reply.outcome,
                Outcome::Refused(Refusal::OutsideWindow | Refusal::SessionGone) | Outcome::Registered { .. }
            );
            if request.session == SessionId::ZERO || !in_window {
                continue;
            }
            if let Operation::Machine(_) = request.operation {
                let count = state.count(request.session, request.number.get());
                prop_assert!(count <= 1);
            }
            let first = done.entry((request.session, request.number)).or_insert_with(|| reply.clone());
            prop_assert_eq!(&*first, &reply, "one number, one answer");
        }
    }

    #[test]
    fn bounds_hold_after_every_log(batches in batches()) {
        let (_, state, _) = prepare(&batches);
        prop_assert!(state.sessions().count() <= limits().sessions_max);
        prop_assert!(state.sessions().idle(Timestamp::new(u64::MAX)).len() <= state.sessions().count());
    }

    /// One applies and freezes once; the other freezes often, crashes and applies again from there.
    #[test]
    fn replicas_fed_the_same_log_have_equal_roots(
        batches in batches(),
        freezes in prop::collection::vec(any::<bool>(), 30),
        crashes in prop::collection::vec(prop::bool::weighted(0.2), 30),
    ) {
        let (log, mut steady, _) = prepare(&batches);
        let mut eventful = fresh();
        for (index, (freeze, crash)) in freezes.iter().zip(&crashes).enumerate().take(log.len()) {
            while eventful.applied().op.get() <= index as u64 {
                let next = usize::try_from(eventful.applied().op.get()).unwrap();
                eventful.apply(&log[next]).unwrap();
            }
            if *freeze {
                eventful.checkpoint();
            }
            if *crash {
                eventful = eventful.restarted();
            }
        }
        while eventful.applied() != steady.applied() {
            let next = usize::try_from(eventful.applied().op.get()).unwrap();
            eventful.apply(&log[next]).unwrap();
        }
        prop_assert_eq!(steady.checkpoint(), eventful.checkpoint());
        prop_assert_eq!(steady.sessions(), eventful.sessions());
    }

    #[test]
    fn what_was_saved_is_what_is_loaded(batches in batches()) {
        let (_, mut state, _) = prepare(&batches);
        state.checkpoint();
        let before = (state.sessions, state.membership.clone(), state.applied.clone());
        let state = State::new(Counter, state.tables, limits()).unwrap();
        prop_assert_eq!((state.sessions, state.membership, state.applied), before);
    }
}
