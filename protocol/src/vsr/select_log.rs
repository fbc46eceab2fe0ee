//! Which log a new view begins with: one pure function of the votes.

use crate::entry::EntryHeader;
use crate::message::Vote;
use crate::quorums::Quorums;
use crate::types::{Incarnation, Op, REPLICAS_MAX, ReplicaId};

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
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenLog {
    /// Ascending, contiguous, never empty; the last is the head.
    pub headers: Vec<EntryHeader>,
    /// Known to be committed. The new log's head is never below it.
    pub commit: Op,
    /// The highest checkpoint among the voters.
    pub checkpoint: Op,
    /// Whether a tail was cut off because enough voters denied it.
    pub truncated: bool,
    /// Whose votes were void because their disk was replaced.
    pub stale: Vec<ReplicaId>,
    /// Merged over all votes.
    pub incarnations: [Incarnation; REPLICAS_MAX],
}

/// Total, deterministic, indifferent to the order of `ballots`.
pub fn select_log(_quorums: &Quorums, _pipeline_max: u64, _ballots: &[Ballot]) -> Selection {
    todo!()
}
