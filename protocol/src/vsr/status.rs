//! What a replica is doing. What only one status needs lives inside that status and dies with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::select_log::Ballot;
use super::sync::Sync;
use crate::entry::{Entry, Operation, Request};
use crate::types::{ClientId, Nonce, Op, REPLICAS_MAX, ReplicaId, RequestNumber, SessionId, Tick, View};

#[derive(Clone)]
pub(super) enum Status {
    Primary(Primary),
    Backup(Backup),
    ViewChange(ViewChange),
    /// Restarted, and not fit for its old place: the head is unknown, or it was the primary. Waits
    /// for a view to begin, or for its primary to tell the head.
    Recovering(Recovering),
    /// The state comes from a peer's checkpoint. No vote of any kind until it is complete.
    Syncing(Sync),
    /// The disk is new. No vote of any kind until a `Rejoin` is committed and caught up with.
    Rejoining(Rejoining),
}

/// The statuses by name, for traces, metrics and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusName {
    Normal,
    ViewChange,
    Recovering,
    Syncing,
    Rejoining,
}

impl Status {
    pub(super) fn name(&self) -> StatusName {
        match self {
            Status::Primary(_) | Status::Backup(_) => StatusName::Normal,
            Status::ViewChange(_) => StatusName::ViewChange,
            Status::Recovering(_) => StatusName::Recovering,
            Status::Syncing(_) => StatusName::Syncing,
            Status::Rejoining(_) => StatusName::Rejoining,
        }
    }
}

/// How a request is recognised while it has no place in the table yet. A `Register` has no session
/// and is recognised by its client.
pub(super) type RequestKey = (SessionId, RequestNumber, ClientId);

pub(super) fn request_key(request: &Request) -> RequestKey {
    let session = if request.operation == Operation::Register { SessionId::ZERO } else { request.session };
    (session, request.number, request.client)
}

#[derive(Clone)]
pub(super) struct Primary {
    /// The head of the log that this view began with. Reads and requests wait until it is applied.
    pub inherited: Op,
    /// The newest entry that may have changed what the tables hold for the state machine.
    pub changed_at: Op,
    /// Up to where each replica has acknowledged the log in this view, with its present disk.
    pub acknowledged: [Op; REPLICAS_MAX],
    pub queue: VecDeque<Request>,
    pub queue_bytes: usize,
    /// Requests queued or prepared, and not yet applied.
    pub admitted: BTreeSet<RequestKey>,
    /// The heartbeat's number. Confirms reads, too.
    pub sequence: u64,
    /// The newest heartbeat that each replica has answered.
    pub answered: [u64; REPLICAS_MAX],
    /// The newest heartbeat that enough replicas have answered.
    pub confirmed: u64,
    pub heartbeat_at: Tick,
    /// When enough replicas last confirmed this view.
    pub confirmed_at: Tick,
    /// When the commit number last moved, or there was nothing to commit.
    pub progress_at: Tick,
    /// No prepare before this moment: a reachable backup lags.
    pub throttled_until: Tick,
    pub expire_at: Tick,
    pub reads: VecDeque<PendingRead>,
    pub reads_bytes: usize,
    pub challenges: BTreeMap<ReplicaId, (Nonce, Nonce)>,
    pub rejoins: VecDeque<(ReplicaId, Nonce)>,
}

/// What waits for the confirmation that this replica still is the primary.
#[derive(Clone)]
pub(super) enum Question {
    Query {
        client: ClientId,
        number: u64,
        query: Bytes,
    },
    /// A request that the table would refuse: a deposed primary's table may be wrong about it.
    Standing(Request),
}

#[derive(Clone)]
pub(super) struct PendingRead {
    pub question: Question,
    /// The answer must reflect everything up to here.
    pub index: Op,
    /// The answer may leave once a heartbeat with at least this number is confirmed.
    pub sequence: u64,
}

#[derive(Clone)]
pub(super) struct Backup {
    /// The newest heartbeat of this view. Duplicates of older ones keep nobody alive.
    pub heartbeat: u64,
    pub suspect_at: Tick,
    /// Prepares above the head, until what is missing between has come.
    pub early: BTreeMap<Op, Entry>,
    /// Requests that clients sent here, for the primary failed to answer; with the time.
    pub starving: BTreeMap<RequestKey, (Request, Tick)>,
    /// Up to where this replica has acknowledged in this view.
    pub acknowledged: Op,
}

#[derive(Clone)]
pub(super) struct ViewChange {
    /// Received votes for this view: one per replica, by identity and disk.
    pub ballots: BTreeMap<ReplicaId, Ballot>,
    /// Elected: the chosen log is installed, bodies are being fetched.
    pub elected: bool,
    pub waited: bool,
    pub resend_at: Tick,
    pub escalate_at: Tick,
    /// What the elect still needs is counted to tell progress from standstill.
    pub durable_through: Op,
}

#[derive(Clone)]
pub(super) struct Recovering {
    pub escalate_at: Tick,
}

#[derive(Clone)]
pub(super) struct Rejoining {
    pub nonce: Nonce,
    pub ask_at: Tick,
    /// The committed `Rejoin`, and the view in which it was known.
    pub granted: Option<(Op, View)>,
    pub sync: Option<Sync>,
    /// The log was learned from a primary of this view.
    pub learned: Option<View>,
}
