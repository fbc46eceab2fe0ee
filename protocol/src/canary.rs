//! Planted bugs: each breaks one rule that the protocol depends on, on demand.
//!
//! They exist to test the tests. A simulator that cannot find a bug which we know to be there has no
//! say about the bugs that we do not know. Without the `canaries` feature all of this is constant
//! `false` and vanishes from the program.

/// One broken rule. P and a number are the trap's name in `docs/CORRECTNESS.md`, D and a number the
/// rule's place in the list that ends `docs/DATA.md`.
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
    /// P14: a replaced disk takes its place without being readmitted.
    BlankDiskVotes,
    /// P22: a log whose end is damaged counts as one that ends there.
    DamagedEndTrusted,
    /// P27: the elect begins its view with its own log.
    ElectKeepsOwnLog,
    /// P29: one vote less than a quorum elects.
    ElectedByTooFew,
    /// P45: what others are thought to have held in an earlier view counts as acknowledged in this one,
    /// P50: and an acknowledgement for whatever entry has its place now.
    AckOfAnotherLog,
    /// P51: a repaired entry becomes the head of the log.
    RepairMovesHead,
    /// P56: what an entry does depends on more than the log.
    ApplyDependsOnLife,
    /// P57: the primary stamps entries with its clock, whatever was stamped before.
    TimeRunsBack,
    /// P65: a request of a session that is gone is executed.
    EvictedSessionExecutes,
    /// P69: a request takes effect after its deadline.
    LateRequestExecuted,
    /// P78: a checkpoint is announced while it is being fetched.
    CheckpointPromisedEarly,
    /// P91: the stub of an entry may become durable before its body.
    StubBeforeBody,
    /// P93: an entry counts as repaired before the repair is durable.
    RepairedTooEarly,
    /// P95: what grows gets a place in the log, though there is no room for it.
    GrowsWithoutRoom,
    /// P100: a primary that hears nobody reigns on, and nobody suspects it.
    DeafPrimaryStays,
    /// P10: the names of new log segments are not made durable.
    NamesNotSynced,
    /// D1: a chunk is called missing because one of its holders cannot be reached.
    SilenceIsAbsence,
}

impl Canary {
    pub const ALL: [Canary; 41] = [
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
        Canary::BlankDiskVotes,
        Canary::DamagedEndTrusted,
        Canary::ElectKeepsOwnLog,
        Canary::ElectedByTooFew,
        Canary::AckOfAnotherLog,
        Canary::RepairMovesHead,
        Canary::ApplyDependsOnLife,
        Canary::TimeRunsBack,
        Canary::EvictedSessionExecutes,
        Canary::LateRequestExecuted,
        Canary::CheckpointPromisedEarly,
        Canary::StubBeforeBody,
        Canary::RepairedTooEarly,
        Canary::GrowsWithoutRoom,
        Canary::DeafPrimaryStays,
        Canary::NamesNotSynced,
        Canary::SilenceIsAbsence,
    ];
}

#[cfg(feature = "canaries")]
mod planted {
    use super::Canary;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Canary>> = const { Cell::new(None) };
        static WHIMS: Cell<u64> = const { Cell::new(0) };
    }

    /// Plants a bug in everything that runs on this thread, or removes it.
    pub fn plant(canary: Option<Canary>) {
        PLANTED.with(|planted| planted.set(canary));
        WHIMS.set(0);
    }

    /// What no log tells: a number that differs from call to call while `ApplyDependsOnLife` is planted,
    /// and is zero otherwise.
    pub fn whim() -> u64 {
        if planted(Canary::ApplyDependsOnLife) {
            WHIMS.set(WHIMS.get() + 1);
        }
        WHIMS.get()
    }

    pub fn planted(canary: Canary) -> bool {
        PLANTED.with(|planted| planted.get() == Some(canary))
    }
}

#[cfg(feature = "canaries")]
pub use planted::{plant, planted, whim};

/// Whether this bug is planted. Never, in a program that people run.
#[cfg(not(feature = "canaries"))]
#[inline(always)]
pub const fn planted(_canary: Canary) -> bool {
    false
}

/// What differs from one life to the next. Nothing does, in a program that people run.
#[cfg(not(feature = "canaries"))]
#[inline(always)]
pub const fn whim() -> u64 {
    0
}
