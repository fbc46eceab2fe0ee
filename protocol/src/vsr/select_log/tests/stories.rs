//! Single situations, and every vote set of a small size whether or not it can arise.

use proptest::prelude::*;

use super::*;
use SlotState::{Faulty, Missing, Present};

const PIPELINE_MAX: usize = 2;

/// The log that views `views[0]`, `views[1]`, … prepared, genesis included.
fn log(views: &[u64]) -> Vec<EntryHeader> {
    let mut headers = vec![genesis()];
    for view in views {
        let next = child(headers.last().unwrap(), *view);
        headers.push(next);
    }
    headers
}

/// A certain vote for view 9 whose window holds the newest headers, in the given states.
fn ballot(replica: u8, log_view: u64, headers: &[EntryHeader], states: &[SlotState]) -> Ballot {
    let first = headers.len().saturating_sub(PIPELINE_MAX + 1);
    let state = |index: usize| {
        let from_top = headers.len() - 1 - index;
        states.len().checked_sub(from_top + 1).map_or(Present, |index| states[index])
    };
    let slots = (first..headers.len())
        .map(|index| VoteSlot { header: headers[index].clone(), state: state(index) })
        .collect();
    Ballot {
        replica: ReplicaId::new(replica),
        incarnation: Incarnation::ZERO,
        vote: Vote {
            view: View::new(9),
            log_view: View::new(log_view),
            commit: Op::ZERO,
            checkpoint: Op::ZERO,
            certain: true,
            slots,
            incarnations: headers.last().unwrap().incarnations,
        },
    }
}

fn uncertain(mut ballot: Ballot) -> Ballot {
    ballot.vote.certain = false;
    ballot
}

fn knowing_commit(mut ballot: Ballot, commit: u64) -> Ballot {
    ballot.vote.commit = Op::new(commit);
    ballot
}

fn select(ballots: &[Ballot]) -> Selection {
    select_log(&Quorums::of(3), PIPELINE_MAX as u64, ballots)
}

#[track_caller]
fn chosen(ballots: &[Ballot]) -> ChosenLog {
    match select(ballots) {
        Selection::Chosen(chosen) => chosen,
        other => panic!("not chosen: {other:?}"),
    }
}

fn head(chosen: &ChosenLog) -> EntryHeader {
    chosen.headers.last().unwrap().clone()
}

#[test]
fn a_fresh_cluster_chooses_genesis() {
    let chosen = chosen(&[ballot(0, 0, &log(&[]), &[]), ballot(2, 0, &log(&[]), &[])]);
    assert_eq!(chosen.headers, vec![genesis()]);
    assert!(!chosen.truncated);
}

#[test]
fn one_vote_of_three_waits() {
    assert_eq!(select(&[ballot(0, 0, &log(&[]), &[])]), Selection::Wait);
}

#[test]
fn a_vote_resent_counts_once() {
    let vote = ballot(0, 0, &log(&[]), &[]);
    assert_eq!(select(&[vote.clone(), vote.clone(), vote]), Selection::Wait);
}

#[test]
fn two_different_votes_of_one_replica_are_a_contradiction() {
    let selection = select(&[ballot(0, 0, &log(&[]), &[]), ballot(0, 0, &log(&[0]), &[])]);
    assert!(matches!(selection, Selection::Diverged(_)));
}

#[test]
fn a_vote_of_a_stranger_or_without_headers_is_not_a_vote() {
    let real = ballot(0, 0, &log(&[]), &[]);
    let stranger = ballot(3, 0, &log(&[]), &[]);
    let mut empty = ballot(1, 0, &log(&[]), &[]);
    empty.vote.slots.clear();
    assert_eq!(select(&[real, stranger, empty]), Selection::Wait);
}

/// The longer log was extended by a deposed primary; the shorter one was installed later.
#[test]
fn the_newer_log_view_beats_the_longer_log() {
    let chosen = chosen(&[ballot(0, 0, &log(&[0, 0]), &[]), ballot(1, 1, &log(&[1]), &[])]);
    assert_eq!(head(&chosen), log(&[1])[1]);
}

#[test]
fn an_entry_held_by_one_voter_is_kept() {
    let chosen = chosen(&[ballot(0, 0, &log(&[0, 0]), &[]), ballot(1, 0, &log(&[0]), &[])]);
    assert_eq!(head(&chosen).op, Op::new(2));
    assert!(!chosen.truncated);
}

/// Both know of the entry, neither ever acknowledged it.
#[test]
fn an_entry_that_a_nack_quorum_denies_is_truncated() {
    let chosen = chosen(&[ballot(0, 1, &log(&[0, 0]), &[Present, Missing]), ballot(1, 0, &log(&[0]), &[])]);
    assert_eq!(head(&chosen).op, Op::new(1));
    assert!(chosen.truncated);
}

/// The faulty slot may have been acknowledged together with the third replica.
#[test]
fn a_faulty_body_waits_for_the_third_vote() {
    let damaged = ballot(0, 0, &log(&[0, 0]), &[Present, Faulty]);
    let short = ballot(1, 0, &log(&[0]), &[]);
    assert_eq!(select(&[damaged.clone(), short.clone()]), Selection::Wait);

    let holder = ballot(2, 0, &log(&[0, 0]), &[]);
    assert_eq!(head(&chosen(&[damaged.clone(), short.clone(), holder])).op, Op::new(2));

    let denier = ballot(2, 0, &log(&[0]), &[]);
    assert_eq!(head(&chosen(&[damaged, short, denier])).op, Op::new(1));
}

#[test]
fn a_body_lost_everywhere_is_reported_once_everybody_has_voted() {
    let damaged = |replica| ballot(replica, 0, &log(&[0]), &[Faulty]);
    let selection = select(&[damaged(0), damaged(1), ballot(2, 0, &log(&[]), &[])]);
    assert_eq!(selection, Selection::Unrecoverable(Unrecoverable::BodyLost(Op::new(1))));
}

#[test]
fn uncertain_ends_count_for_no_quorum() {
    let certain = ballot(0, 0, &log(&[]), &[]);
    let doubtful = |replica| uncertain(ballot(replica, 0, &log(&[]), &[]));
    assert_eq!(select(&[certain.clone(), doubtful(1)]), Selection::Wait);
    assert_eq!(
        select(&[certain, doubtful(1), doubtful(2)]),
        Selection::Unrecoverable(Unrecoverable::TooFewCertain)
    );
}

/// Nothing was committed in view 2, for neither of the certain voters was there.
#[test]
fn an_uncertain_vote_of_a_later_view_is_not_followed() {
    let chosen = chosen(&[
        ballot(0, 1, &log(&[0, 1]), &[]),
        ballot(1, 1, &log(&[0, 1]), &[]),
        uncertain(ballot(2, 2, &log(&[0, 2]), &[])),
    ]);
    assert_eq!(head(&chosen), log(&[0, 1])[2]);
}

#[test]
fn a_body_on_an_uncertain_replica_is_a_body() {
    let headers_only = |replica| ballot(replica, 0, &log(&[0]), &[Missing]);
    let holder = uncertain(ballot(2, 0, &log(&[0]), &[]));
    assert_eq!(head(&chosen(&[headers_only(0), headers_only(1), holder])).op, Op::new(1));
    assert_eq!(head(&chosen(&[headers_only(0), headers_only(1)])).op, Op::ZERO);
}

/// The heartbeat with the commit number reached only the replica with the older log.
#[test]
fn what_anybody_knows_to_be_committed_is_not_truncated() {
    let votes =
        [ballot(0, 1, &log(&[0, 0]), &[Present, Missing]), knowing_commit(ballot(1, 0, &log(&[0]), &[]), 2)];
    let chosen = chosen(&votes);
    assert_eq!(head(&chosen).op, Op::new(2));
    assert_eq!(chosen.commit, Op::new(2));
}

#[test]
fn a_log_that_ends_before_what_is_committed_does_not_start() {
    let short = |replica| ballot(replica, 0, &log(&[0]), &[]);
    let informed = knowing_commit(short(0), 2);
    assert_eq!(select(&[informed.clone(), short(1)]), Selection::Wait);
    assert_eq!(
        select(&[informed, short(1), short(2)]),
        Selection::Unrecoverable(Unrecoverable::CommittedLost(Op::new(2)))
    );
}

#[test]
fn two_entries_at_one_op_of_one_view_are_a_contradiction() {
    let selection = select(&[ballot(0, 1, &log(&[0]), &[]), ballot(1, 1, &log(&[1]), &[])]);
    assert!(matches!(selection, Selection::Diverged(_)));
}

/// Two replicas contradict themselves: which of them is named does not depend on who was heard first.
#[test]
fn of_two_contradictions_the_same_one_is_always_named() {
    let both = |replica| [ballot(replica, 1, &log(&[0]), &[]), ballot(replica, 1, &log(&[1]), &[])];
    let ([a, b], [c, d]) = (both(0), both(2));
    let ballots = [a, b, c, d];
    check_any(&Quorums::of(3), &ballots);
    assert!(matches!(select(&ballots), Selection::Diverged(why) if why.contains("replica 0")));
}

/// Only votes of the highest log view define the log, so only a break among them is one.
#[test]
fn a_log_that_is_no_chain_is_a_contradiction() {
    let (mut broken, whole) = (log(&[0, 1]), log(&[0, 0]));
    broken[2].parent = Checksum::of(b"somebody else");
    let selection = select(&[ballot(0, 1, &broken, &[]), ballot(1, 0, &whole, &[])]);
    assert!(matches!(selection, Selection::Diverged(_)));
    assert_eq!(head(&chosen(&[ballot(0, 0, &broken, &[]), ballot(1, 1, &whole, &[])])), whole[2]);
}

/// After a truncation the window would be short; a vote that starts lower knows the headers below.
#[test]
fn headers_below_the_canonical_window_are_found_by_name() {
    let long = log(&[0, 0, 0, 0]);
    let chosen = chosen(&[
        ballot(0, 1, &long, &[Present, Missing, Missing]),
        ballot(1, 0, &long[..4], &[Present, Missing]),
    ]);
    assert!(chosen.truncated);
    assert_eq!(chosen.headers, long[1..=2].to_vec());
}

/// Replica 2 acknowledged op 1, lost its disk and was readmitted; its old vote was held back.
#[test]
fn a_vote_from_the_grave_keeps_only_its_facts() {
    let mut with_rejoin = log(&[0, 0]);
    with_rejoin[2].incarnations[2] = Incarnation::new(2);
    let mut informed = ballot(0, 0, &with_rejoin, &[]);
    informed.vote.commit = Op::new(1);
    let grave = knowing_commit(ballot(2, 0, &log(&[0]), &[]), 1);
    assert_eq!(select(&[informed.clone(), grave.clone()]), Selection::Wait);

    let chosen = chosen(&[informed, grave, ballot(1, 0, &with_rejoin, &[])]);
    assert_eq!(chosen.stale, vec![ReplicaId::new(2)]);
    assert_eq!(chosen.incarnations[2], Incarnation::new(2));
}

/// The knowledge of a `Rejoin` outlives the disk of the replica that acknowledged it.
#[test]
fn a_void_vote_still_voids_others() {
    let mut knows_of_two = log(&[0, 0]);
    knows_of_two[2].incarnations[2] = Incarnation::new(2);
    let mut knows_of_one = log(&[0, 0]);
    knows_of_one[2].incarnations[1] = Incarnation::new(1);
    let ballots = [
        ballot(0, 0, &log(&[]), &[]),
        ballot(1, 1, &knows_of_two, &[]),
        ballot(2, 1, &log(&[0]), &[]),
        ballot(3, 1, &knows_of_one, &[]),
        ballot(4, 0, &log(&[]), &[]),
    ];
    assert_eq!(select_log(&Quorums::of(5), PIPELINE_MAX as u64, &ballots[..4]), Selection::Wait);
    let Selection::Chosen(chosen) = select_log(&Quorums::of(5), PIPELINE_MAX as u64, &ballots) else {
        panic!("three current votes of five decide");
    };
    assert_eq!(chosen.stale, vec![ReplicaId::new(1), ReplicaId::new(2)]);
}

/// The lost disk may have acknowledged op 1; the new one cannot know.
#[test]
fn a_replaced_disk_denies_nothing_from_before_its_return() {
    let mut reborn = ballot(1, 0, &log(&[0, 0]), &[Missing, Present]);
    reborn.incarnation = Incarnation::new(1);
    let header_only = ballot(0, 0, &log(&[0, 0]), &[Missing, Missing]);
    assert_eq!(select(&[header_only.clone(), reborn.clone()]), Selection::Wait);

    reborn.incarnation = Incarnation::ZERO;
    assert_eq!(head(&chosen(&[header_only, reborn])).op, Op::ZERO);
}

/// Its window starts above op 1, about which it therefore says nothing.
#[test]
fn silence_below_a_window_denies_nothing() {
    let header_only = ballot(0, 1, &log(&[1]), &[Missing]);
    assert_eq!(select(&[header_only.clone(), ballot(1, 0, &log(&[0, 0, 0, 0]), &[])]), Selection::Wait);
    assert_eq!(head(&chosen(&[header_only, ballot(1, 0, &log(&[0, 0]), &[])])).op, Op::ZERO);
}

/// Peers can send any number; none of them may stop us.
#[test]
fn extreme_numbers_are_survived() {
    let mut header = genesis();
    header.op = Op::new(u64::MAX);
    let mut extreme = ballot(0, u64::MAX, &[header.clone()], &[]);
    extreme.vote.commit = Op::new(u64::MAX);
    extreme.vote.checkpoint = Op::new(u64::MAX);
    let mut other = extreme.clone();
    other.replica = ReplicaId::new(1);
    other.incarnation = Incarnation::new(u64::MAX);
    assert_eq!(head(&chosen(&[extreme.clone(), other])), header);
    assert_eq!(head(&chosen(&[extreme, ballot(2, 0, &log(&[0]), &[])])), header);
}

/// What is said of any set of votes: the answer does not depend on their order, and a chosen log
/// hangs together.
fn check_any(quorums: &Quorums, ballots: &[Ballot]) {
    let selection = select_log(quorums, PIPELINE_MAX as u64, ballots);
    for order in orders(ballots) {
        assert_eq!(select_log(quorums, PIPELINE_MAX as u64, &order), selection, "{order:#?}");
    }
    if let Selection::Chosen(chosen) = selection {
        assert!(chosen.headers.len() <= PIPELINE_MAX + 1);
        assert!(chosen.headers.windows(2).all(|pair| pair[1].follows(&pair[0])));
        assert!(head(&chosen).op >= chosen.commit);
        assert!(chosen.headers[0].op <= chosen.commit);
    }
}

/// Every vote of a log of at most two ops, two alternatives for each, and a log view of 0 to 2, in
/// states that may or may not arise: 78 of them.
fn every_small_vote(replica: u8) -> Vec<Ballot> {
    let mut votes = Vec::new();
    for headers in [log(&[]), log(&[0]), log(&[1]), log(&[0, 0]), log(&[0, 1])] {
        let states: &[&[SlotState]] = match headers.len() {
            1 => &[&[]],
            2 => &[&[Present], &[Faulty], &[Missing]],
            _ => &[&[Present, Present], &[Faulty, Missing], &[Missing, Faulty]],
        };
        for states in states {
            for log_view in 0..3 {
                let vote = ballot(replica, log_view, &headers, states);
                votes.extend([vote.clone(), uncertain(vote)]);
            }
        }
    }
    votes
}

/// 3,081 pairs and 82,160 triples: all of them up to renaming the replicas.
#[test]
fn any_small_votes_have_one_answer_in_every_order() {
    let votes = [every_small_vote(0), every_small_vote(1), every_small_vote(2)];
    let count = votes[0].len();
    assert_eq!(count, 78);
    for a in 0..count {
        for b in a..count {
            check_any(&Quorums::of(3), &[votes[0][a].clone(), votes[1][b].clone()]);
            for c in b..count {
                let ballots = [votes[0][a].clone(), votes[1][b].clone(), votes[2][c].clone()];
                check_any(&Quorums::of(3), &ballots);
            }
        }
    }
}

/// Votes that no execution need explain, with disks replaced and facts that do not fit.
fn any_ballot() -> impl Strategy<Value = Ballot> {
    let headers = prop::collection::vec(0..3_u64, 0..5).prop_map(|views| log(&views));
    let states = prop::collection::vec(prop::sample::select(vec![Present, Faulty, Missing]), 3);
    let numbers = (0..6_u8, 0..4_u64, 0..5_u64, 0..5_u64);
    let replaced = (0..4_u64, 0..7_usize, 0..4_u64);
    (headers, states, numbers, replaced, any::<bool>(), 0..3_usize).prop_map(
        |(headers, states, (replica, log_view, commit, checkpoint), replaced, certain, cut)| {
            let mut ballot = ballot(replica, log_view, &headers, &states);
            ballot.incarnation = Incarnation::new(replaced.0);
            ballot.vote.commit = Op::new(commit);
            ballot.vote.checkpoint = Op::new(checkpoint);
            ballot.vote.certain = certain;
            ballot.vote.incarnations[replaced.1] = Incarnation::new(replaced.2);
            ballot.vote.slots.drain(..cut.min(ballot.vote.slots.len()));
            ballot
        },
    )
}

proptest! {
    #[test]
    fn any_votes_have_one_answer_in_every_order(ballots in prop::collection::vec(any_ballot(), 0..5)) {
        check_any(&Quorums::of(3), &ballots);
        check_any(&Quorums::of(2), &ballots);
        check_any(&Quorums::of(5), &ballots);
    }
}
