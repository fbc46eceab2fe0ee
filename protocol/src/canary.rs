//! Planted bugs: each breaks one rule that the protocol depends on, on demand.
//!
//! They exist to test the tests. A simulator that cannot find a bug which we know to be there has no
//! say about the bugs that we do not know. Without the `canaries` feature all of this is constant
//! `false` and vanishes from the program.

/// One broken rule. P and a number are the trap's name in `docs/VSR.md`, D and a number the rule's place
/// in the list that ends `docs/DATA.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Canary {
    /// P1: an entry is acknowledged before it is durable.
    AckBeforeDurable,
    /// P2: an entry is acknowledged before the view's installation is durable.
    AckBeforeLogView,
    /// P3: a vote leaves before its promise is durable.
    VoteBeforeDurable,
    /// P4: a restarted replica computes its vote anew.
    VoteComputedTwice,
    /// P11: a restarted primary goes on in its old view.
    PrimaryContinues,
    /// P26: the longest log wins, whichever view installed it.
    LongestLogWins,
    /// P31: a damaged entry counts as one that never was.
    DamageIsDenial,
    /// P36: a commit number may move the log back, through a late `StartView` (P39).
    LateStartViewReplacesLog,
    /// P49: an entry is acknowledged although one below it is missing.
    AckOverHole,
    /// P64: sessions are not part of the checkpoint.
    SessionsForgotten,
    /// P67: a retried request is prepared again.
    RetryPreparedTwice,
    /// P74: a replica that hears of a newer view joins it with the log it has.
    NewerViewAdopted,
    /// P77: the WAL forgets what only this replica has in a checkpoint.
    ReclaimAlone,
    /// P21: votes of a lost disk are counted.
    VotesFromTheGrave,
    /// P89: the WAL ends at the first bad record.
    WalEndsAtFirstBadRecord,
    /// P9: the WAL reports durability without a sync.
    WalSyncSkipped,
    /// P110: a primary answers reads without asking whether it still is one.
    UnconfirmedReads,
    /// P112: a new primary answers reads before it has applied what it inherited.
    ReadsBeforeInheritance,
    /// D3: receipts of replaced disks are counted.
    StaleReceipts,
    /// D1: the chunk store reports a chunk durable without a sync.
    ReceiptBeforeSync,
    /// D5: whatever the own catalog does not know to be referenced is deleted.
    DeleteByIgnorance,
    /// D7: a chunk is dead as soon as nothing refers to it, whoever may be reading it.
    ReaderFenceOff,
    /// D6: upkeep calls a body whole without having looked for its chunks.
    DebtsDenied,
    /// D8: a reader believes the bytes that it is sent.
    UnverifiedBytes,
}

impl Canary {
    pub const ALL: [Canary; 24] = [
        Canary::AckBeforeDurable,
        Canary::AckBeforeLogView,
        Canary::VoteBeforeDurable,
        Canary::VoteComputedTwice,
        Canary::PrimaryContinues,
        Canary::LongestLogWins,
        Canary::DamageIsDenial,
        Canary::LateStartViewReplacesLog,
        Canary::AckOverHole,
        Canary::SessionsForgotten,
        Canary::RetryPreparedTwice,
        Canary::NewerViewAdopted,
        Canary::ReclaimAlone,
        Canary::VotesFromTheGrave,
        Canary::WalEndsAtFirstBadRecord,
        Canary::WalSyncSkipped,
        Canary::UnconfirmedReads,
        Canary::ReadsBeforeInheritance,
        Canary::StaleReceipts,
        Canary::ReceiptBeforeSync,
        Canary::DeleteByIgnorance,
        Canary::ReaderFenceOff,
        Canary::DebtsDenied,
        Canary::UnverifiedBytes,
    ];
}

#[cfg(feature = "canaries")]
mod planted {
    use super::Canary;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Canary>> = const { Cell::new(None) };
    }

    /// Plants a bug in everything that runs on this thread, or removes it.
    pub fn plant(canary: Option<Canary>) {
        PLANTED.with(|planted| planted.set(canary));
    }

    pub fn planted(canary: Canary) -> bool {
        PLANTED.with(|planted| planted.get() == Some(canary))
    }
}

#[cfg(feature = "canaries")]
pub use planted::{plant, planted};

/// Whether this bug is planted. Never, in a program that people run.
#[cfg(not(feature = "canaries"))]
#[inline(always)]
pub const fn planted(_canary: Canary) -> bool {
    false
}
