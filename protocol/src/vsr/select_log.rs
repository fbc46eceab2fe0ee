//! Which log a new view begins with: one pure function of the votes.
//!
//! What it must never do is drop an entry that was committed. The argument, by induction over views
//! ("the log of view `l` holds everything that was committed in views before `l`"):
//!
//! - An entry committed in view `u` was acknowledged by a replication quorum whose log view was `u`.
//!   That quorum shares a replica with every view-change quorum of *certain* ballots. The shared
//!   replica's ballot has a log view of at least `u`, and its log holds the entry: because it
//!   acknowledged it there, or because a later log that it installed holds it (induction).
//! - So the highest log view of the certain ballots is at least `u`, and the logs of that view hold
//!   the entry: the candidate is never too old and never too short.
//! - A ballot denies an entry only if its incarnation cannot have contributed to committing it (see
//!   `denies`). A committed entry lacks at most `n - replication` contributors, which is one less
//!   than a nack quorum, so it is never truncated.
//!
//! A replica that lost its disk forgets what it acknowledged and promised. Its later votes carry the
//! op of its `Rejoin` as their incarnation; whoever acknowledged that `Rejoin` says so in its vote,
//! and votes of the earlier disk are void. See `current`.

use std::collections::BTreeMap;

use crate::canary::{Canary, planted};
use crate::entry::EntryHeader;
use crate::message::{SlotState, Vote, VoteSlot};
use crate::quorums::Quorums;
use crate::types::{Incarnation, Op, REPLICAS_MAX, ReplicaId, View};

/// A stored vote and who cast it, with which disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ballot {
    pub replica: ReplicaId,
    pub incarnation: Incarnation,
    pub vote: Vote,
}

/// What the votes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Not enough votes, or not the right ones: another vote may settle it.
    Wait,
    /// Everybody has voted and it is still not settled: only an operator can decide.
    Unrecoverable(Unrecoverable),
    /// Two votes contradict each other in a way that no fault explains.
    Diverged(String),
    Chosen(ChosenLog),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrecoverable {
    /// Too few logs have a certain end.
    TooFewCertain,
    /// An entry that may have been committed has no body anywhere.
    BodyLost(Op),
    /// Somebody knows that this op was committed, and the newest log ends before it.
    CommittedLost(Op),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenLog {
    /// Ascending, contiguous, never empty; the last is the head. They reach down to the header at
    /// `commit` at least, and as far below as the ballots know them, up to `pipeline_max + 1` of them.
    pub headers: Vec<EntryHeader>,
    /// Known to be committed. The new log's head is never below it.
    pub commit: Op,
    /// The highest checkpoint among the voters.
    pub checkpoint: Op,
    /// Whether a tail was cut off because enough voters denied it.
    pub truncated: bool,
    /// Whose votes were void because their disk was replaced.
    pub stale: Vec<ReplicaId>,
    /// Merged over all votes. It may name a `Rejoin` that was not committed and is not in the chosen
    /// log: the incarnations that hold in the new view are those of the head's header.
    pub incarnations: [Incarnation; REPLICAS_MAX],
}

/// Total, deterministic, indifferent to the order of `ballots`. All of them must be votes for the
/// same view; a ballot that no replica could have cast (`well_formed`) is as good as not received.
///
/// # Whose log is the canonical one
///
/// The log of the highest log view among the *certain* ballots. An uncertain ballot may have a higher
/// one; it is neither followed nor waited for. Not followed, because it need not be: had anything
/// been committed in that view, a certain ballot would have it too (the argument above), and nothing
/// can be committed there any more, since the voters have left it. Following it would be safe only
/// as long as its damaged end is known to reach what its view inherited, a promise that this rule
/// does not need. Not waited for, because its damage may never heal.
///
/// In the canonical view itself the headers of uncertain ballots are as real as any: they may be the
/// only trace of an entry that is then kept for its body, or truncated by a quorum's denial.
pub fn select_log(quorums: &Quorums, pipeline_max: u64, ballots: &[Ballot]) -> Selection {
    let ballots = match distinct(quorums, ballots) {
        Ok(ballots) => ballots,
        Err(contradiction) => return Selection::Diverged(contradiction),
    };
    let incarnations = merge_incarnations(&ballots);
    let (counted, void): (Vec<&Ballot>, Vec<&Ballot>) =
        ballots.iter().partition(|ballot| current(ballot, &incarnations));

    // A replica whose ballot is stale can still vote with its new disk.
    let everybody_voted = counted.len() == quorums.replica_count;
    let unsettled = |why| if everybody_voted { Selection::Unrecoverable(why) } else { Selection::Wait };

    let certain = || counted.iter().filter(|ballot| ballot.vote.certain);
    let needed = quorums.view_change - usize::from(planted(Canary::ElectedByTooFew));
    if certain().count() < needed {
        return unsettled(Unrecoverable::TooFewCertain);
    }
    let log_view = canonical_view(certain().map(|ballot| &ballot.vote));
    let known = match canonical_headers(&counted, log_view) {
        Ok(known) => known,
        Err(contradiction) => return Selection::Diverged(contradiction),
    };
    let candidate = *known.keys().next_back().expect("a well-formed vote has a head");

    let commit = known_commit(&ballots, pipeline_max);
    if candidate < commit {
        // Somebody's fact is from a view later than the one voted for, or more was lost than is
        // ever lost. Either way this view must not start with less than what was committed.
        return unsettled(Unrecoverable::CommittedLost(commit));
    }
    let headers = newest_headers(&ballots, &known, candidate, pipeline_max);
    let head = match decide_head(quorums, &counted, &headers, commit, candidate) {
        Ok(head) => head,
        Err(undecided) => return unsettled(Unrecoverable::BodyLost(undecided)),
    };
    let lowest = head.minus(pipeline_max);
    let mut stale: Vec<ReplicaId> = void.iter().map(|ballot| ballot.replica).collect();
    stale.dedup();
    Selection::Chosen(ChosenLog {
        headers: headers.range(lowest..=head).map(|(_, header)| (*header).clone()).collect(),
        commit,
        checkpoint: ballots.iter().map(|ballot| ballot.vote.checkpoint).max().unwrap_or(Op::ZERO),
        truncated: head < candidate,
        stale,
        incarnations,
    })
}

fn canonical_view<'a>(certain: impl Iterator<Item = &'a Vote>) -> View {
    let rank = |vote: &&Vote| match planted(Canary::LongestLogWins) {
        false => (vote.log_view.get(), vote.head()),
        true => (0, vote.head()),
    };
    certain.max_by_key(rank).expect("a quorum is not empty").log_view
}

/// The ballots in a fixed order, each once: a vote is resent as it is, so copies are equal.
fn distinct<'a>(quorums: &Quorums, ballots: &'a [Ballot]) -> Result<Vec<&'a Ballot>, String> {
    let mut distinct: BTreeMap<(ReplicaId, Incarnation), &Ballot> = BTreeMap::new();
    for ballot in ballots.iter().filter(|ballot| well_formed(quorums, ballot)) {
        distinct.entry((ballot.replica, ballot.incarnation)).or_insert(ballot);
    }
    // Of several who contradict themselves the first by number is named, whoever came first.
    let contradicts = |ballot: &&Ballot| {
        well_formed(quorums, ballot) && distinct[&(ballot.replica, ballot.incarnation)].vote != ballot.vote
    };
    if let Some(liar) = ballots.iter().filter(contradicts).map(|ballot| ballot.replica).min() {
        return Err(format!("replica {liar} voted twice, differently, in one view"));
    }
    Ok(distinct.into_values().collect())
}

/// Whether a replica of this cluster can have said so: its headers must be a stretch of one log.
fn well_formed(quorums: &Quorums, ballot: &Ballot) -> bool {
    let contiguous = |pair: &[VoteSlot]| {
        pair[0].header.op.get().checked_add(1).is_some_and(|next| next == pair[1].header.op.get())
    };
    ballot.replica.index() < quorums.replica_count
        && !ballot.vote.slots.is_empty()
        && ballot.vote.slots.windows(2).all(contiguous)
}

/// What the ballots together know about replaced disks, those about to be dropped included: a
/// `Rejoin` that a replica acknowledged before it voted stays true when its own disk is replaced.
fn merge_incarnations(ballots: &[&Ballot]) -> [Incarnation; REPLICAS_MAX] {
    let mut merged = [Incarnation::ZERO; REPLICAS_MAX];
    for ballot in ballots {
        for (known, incarnation) in merged.iter_mut().zip(ballot.vote.incarnations) {
            *known = incarnation.max(*known);
        }
        // Who votes with a disk was readmitted with it.
        let own = &mut merged[ballot.replica.index()];
        *own = ballot.incarnation.max(*own);
    }
    merged
}

/// Whether the disk that cast the ballot still stands behind it. A stale ballot keeps its facts (what
/// is committed stays committed) but is no promise and no evidence: the bodies are gone, and what it
/// denies its successor may have acknowledged.
fn current(ballot: &Ballot, incarnations: &[Incarnation; REPLICAS_MAX]) -> bool {
    ballot.incarnation >= incarnations[ballot.replica.index()] || planted(Canary::VotesFromTheGrave)
}

/// The headers of all counted logs of one log view. Replicas of one view hold prefixes of one log.
fn canonical_headers<'a>(
    counted: &[&'a Ballot],
    log_view: View,
) -> Result<BTreeMap<Op, &'a EntryHeader>, String> {
    let mut known: BTreeMap<Op, &EntryHeader> = BTreeMap::new();
    for ballot in counted.iter().filter(|ballot| ballot.vote.log_view == log_view) {
        for slot in &ballot.vote.slots {
            let header = *known.entry(slot.header.op).or_insert(&slot.header);
            if *header != slot.header {
                return Err(format!("two entries at op {} in the log of view {log_view}", header.op));
            }
        }
    }
    for ((_, parent), (op, header)) in known.iter().zip(known.iter().skip(1)) {
        if op.since(parent.op) == 1 && !header.follows(parent) {
            return Err(format!("the log of view {log_view} is not a chain at op {op}"));
        }
    }
    Ok(known)
}

/// The highest op that anybody knows to be committed. A head tells as much as a commit number: when it
/// was prepared, everything `pipeline_max` below it was committed. (Its voter may have forgotten the
/// number in a crash, and its window may lie above the canonical head.)
fn known_commit(ballots: &[&Ballot], pipeline_max: u64) -> Op {
    let known = |ballot: &&Ballot| {
        let vote = &ballot.vote;
        vote.commit.max(vote.checkpoint).max(vote.head().minus(pipeline_max))
    };
    ballots.iter().map(known).max().unwrap_or(Op::ZERO)
}

/// The canonical headers from the candidate downwards, without a gap. Where the canonical ballots end
/// the parent's name goes on: a header of that name belongs to this log, whoever knows it.
fn newest_headers<'a>(
    ballots: &[&'a Ballot],
    known: &BTreeMap<Op, &'a EntryHeader>,
    candidate: Op,
    pipeline_max: u64,
) -> BTreeMap<Op, &'a EntryHeader> {
    let mut lowest = known[&candidate];
    let mut headers = BTreeMap::from([(candidate, lowest)]);
    // The head may end up `pipeline_max` below the candidate, and wants as many headers below it.
    let floor = candidate.minus(pipeline_max).minus(pipeline_max);
    while lowest.op > floor {
        let below = lowest.op.previous();
        let by_name = || {
            let mut slots = ballots.iter().flat_map(|ballot| &ballot.vote.slots);
            slots.find(|slot| slot.header.op == below && slot.header.name() == lowest.parent)
        };
        match known.get(&below).copied().or_else(|| by_name().map(|slot| &slot.header)) {
            Some(header) => lowest = header,
            None => break,
        }
        headers.insert(below, lowest);
    }
    headers
}

/// Where the new log ends: before the first uncommitted entry that nobody can produce and that a nack
/// quorum denies. The error is the first op about which the ballots do not say enough: an unproducible
/// body that too few deny, or (a window shorter than votes have) an entry without a name.
fn decide_head(
    quorums: &Quorums,
    counted: &[&Ballot],
    headers: &BTreeMap<Op, &EntryHeader>,
    commit: Op,
    candidate: Op,
) -> Result<Op, Op> {
    let mut head = commit;
    if !headers.contains_key(&head) {
        return Err(head);
    }
    while head < candidate {
        let op = head.next();
        let header = headers.get(&op).copied().ok_or(op)?;
        if !counted.iter().any(|ballot| holds(ballot, header)) {
            let denials = counted.iter().filter(|ballot| denies(ballot, header)).count();
            return if denials >= quorums.nack { Ok(head) } else { Err(op) };
        }
        head = op;
    }
    Ok(head)
}

fn slot_at(vote: &Vote, op: Op) -> Option<&VoteSlot> {
    let first = vote.slots.first()?.header.op;
    let index = op.get().checked_sub(first.get())?;
    vote.slots.get(usize::try_from(index).ok()?)
}

fn holds(ballot: &Ballot, header: &EntryHeader) -> bool {
    slot_at(&ballot.vote, header.op)
        .is_some_and(|slot| slot.state == SlotState::Present && slot.header == *header)
}

/// Whether the ballot proves that its replica never contributed to committing the entry.
///
/// Another entry in its place, or a log that ends before it, proves as much whatever the log views:
/// suppose the entry was committed in view `u` with this replica's help. Its log view is then at
/// least `u`, and the log it installed last holds the entry, which contradicts the ballot.
///
/// No proof is: a faulty slot (it may have been acknowledged), silence below the ballot's window, an
/// uncertain end, or a replaced disk's word about ops before its `Rejoin`, which the lost disk may
/// have acknowledged. Above the `Rejoin` the lost disk cannot have acknowledged anything that was
/// committed, for the `Rejoin` precedes it in the log and was prepared after the loss.
fn denies(ballot: &Ballot, header: &EntryHeader) -> bool {
    if !ballot.vote.certain {
        return false;
    }
    if ballot.incarnation > Incarnation::ZERO && header.op.get() <= ballot.incarnation.get() {
        return false;
    }
    match slot_at(&ballot.vote, header.op) {
        Some(slot) if slot.header != *header => true,
        Some(slot) => {
            slot.state == SlotState::Missing
                || (slot.state == SlotState::Faulty && planted(Canary::DamageIsDenial))
        }
        None => header.op > ballot.vote.head(),
    }
}

#[cfg(test)]
mod tests;
