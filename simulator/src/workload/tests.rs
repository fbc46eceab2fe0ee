//! Workloads before a store that is always there.

use protocol::catalog::{CatalogLimits, Success};
use protocol::quorums::Quorums;
use protocol::state::SessionFacts;
use protocol::types::{Op, Timestamp};

use super::*;
use crate::model::{CatalogModel, Live, Moment, Place};

const SESSION: SessionId = SessionId::new(9);

fn limits() -> CatalogLimits {
    CatalogLimits { inline_bytes_max: 64, part_bytes_min: 5, ..CatalogLimits::standard() }
}

fn layout() -> Layout {
    Layout::first(Quorums::of(5))
}

/// What the clients did and were told, one thing after the other.
fn run(options: &WorkloadOptions, seed: u64, clients: usize, steps: u64) -> Vec<(Action, Option<Outcome>)> {
    let mut store = CatalogModel::new(limits(), layout());
    let disks = [Incarnation::ZERO; REPLICAS_MAX];
    let mut workloads: Vec<Workload> =
        (0..clients).map(|client| Workload::new(options.clone(), layout(), seed, client)).collect();
    workloads.iter_mut().for_each(|workload| workload.set_session(SESSION));
    let mut facts = SessionFacts { oldest_live_upload: 0, oldest_read: Op::ZERO };
    let mut told = Vec::new();
    for (op, client) in (1..=steps).zip((0..clients).cycle()) {
        let live = Live::from([(SESSION, facts)]);
        let op = Op::new(op);
        let workload = &mut workloads[client];
        let action = workload.next();
        let outcome = match &action {
            Action::Write { operation } => {
                let timestamp = Timestamp::new(op.get() * 1_000_000);
                let place = Place { op, index: 0, timestamp, session: SESSION, live: &live, disks: &disks };
                assert_eq!(operation.check(&limits()), Ok(()), "{operation:?}");
                Some(Outcome::Reply(store.apply(&place, operation)))
            }
            Action::Read { query } => {
                assert_eq!(query.check(), Ok(()), "{query:?}");
                let moment = Moment { applied: op, live: &live, disks: &disks };
                Some(Outcome::Answer(store.answer(&moment, query)))
            }
            Action::Keepalive => {
                if clients == 1 {
                    facts.oldest_live_upload = workload.oldest_live_upload();
                    facts.oldest_read = op;
                }
                None
            }
            Action::Pause { micros } => {
                assert!(*micros > 0 && *micros <= options.pause_micros_max);
                None
            }
        };
        if let Some(outcome) = &outcome {
            workload.learned(&action, outcome);
        }
        told.push((action, outcome));
    }
    told
}

fn everything() -> WorkloadOptions {
    WorkloadOptions::everything(limits())
}

#[test]
fn the_same_seed_wants_the_same_things() {
    assert_eq!(run(&everything(), 5, 2, 400), run(&everything(), 5, 2, 400));
    assert_ne!(run(&everything(), 5, 2, 400), run(&everything(), 6, 2, 400));
}

#[test]
fn no_value_is_written_twice() {
    let mut seen = BTreeSet::new();
    for (action, outcome) in run(&everything(), 1, 3, 3_000) {
        // What is refused for lack of copies is tried again.
        if outcome == Some(Outcome::Reply(Err(Error::TooFewCopies))) {
            continue;
        }
        let digest = match action {
            Action::Write { operation: Operation::PutObject { etag, .. } } => etag.digest,
            Action::Write { operation: Operation::PutPart { digest, .. } } => digest,
            _ => continue,
        };
        assert!(seen.insert(digest), "{digest:?}");
    }
    assert!(seen.len() > 500);
}

/// Alone in its world, a client gets all the way through: it clears buckets and makes them anew,
/// completes uploads and repeats that, and collects what it left behind.
#[test]
fn a_client_carries_out_its_plans() {
    let (mut deleted, mut made, mut completed, mut collected, mut pages) = (0, 0, 0, 0, 0);
    for (action, outcome) in run(&everything(), 2, 1, 6_000) {
        match (action, outcome) {
            (Action::Write { operation }, Some(Outcome::Reply(Ok(success)))) => match (operation, success) {
                (Operation::DeleteBucket { .. }, _) => deleted += 1,
                (Operation::CreateBucket { .. }, _) => made += 1,
                (Operation::CompleteUpload { .. }, _) => completed += 1,
                (_, Success::Collected { retired, parts }) => collected += retired + parts,
                _ => {}
            },
            (Action::Read { query: Query::ListObjects { after, .. } }, _) => {
                pages += u32::from(after != ListPosition::Start);
            }
            _ => {}
        }
    }
    assert!(deleted > 3 && made > deleted, "{deleted} deleted, {made} made");
    assert!(completed > 20, "{completed} completed");
    assert!(collected > 20, "{collected} collected");
    assert!(pages > 20, "{pages} pages");
}

#[test]
fn an_upload_number_is_live_until_it_is_answered() {
    let only_chunks = WorkloadOptions { weights: vec![(Kind::PutChunked, 1)], ..everything() };
    let mut workload = Workload::new(only_chunks, layout(), 1, 0);
    workload.set_session(SESSION);
    assert_eq!(workload.oldest_live_upload(), 1);

    let actions: Vec<Action> = (0..3).map(|_| workload.next()).collect();
    assert_eq!(workload.oldest_live_upload(), 1);
    let refused = Outcome::Reply(Err(Error::PreconditionFailed));
    workload.learned(&actions[1], &refused);
    assert_eq!(workload.oldest_live_upload(), 1);
    workload.learned(&actions[0], &Outcome::NoEffect);
    assert_eq!(workload.oldest_live_upload(), 3);
    workload.learned(&actions[2], &refused);
    assert_eq!(workload.oldest_live_upload(), 4);

    workload.set_session(SessionId::new(10));
    assert_eq!(workload.oldest_live_upload(), 1);
}

#[test]
fn worlds_of_every_kind_ask_for_what_can_be_asked() {
    for seed in 0..40 {
        let options = WorkloadOptions::draw(&mut Random::branch(seed, "draw"), limits());
        let told = run(&options, seed, 2, 200);
        let wrote = |outcome: &Option<Outcome>| {
            matches!(outcome, Some(Outcome::Reply(Ok(Success::ObjectWritten { .. }))))
        };
        assert!(told.iter().any(|(_, outcome)| wrote(outcome)), "seed {seed} writes nothing");
    }
}
