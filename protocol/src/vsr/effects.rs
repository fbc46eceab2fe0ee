//! What the core wants done. The driver performs effects in the order in which they were emitted;
//! whatever depends on a completion is emitted only after that completion.

use crate::entry::Entry;
use crate::message::Message;
use crate::superblock::Superblock;
use crate::types::{Checksum, Op, Peer};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Send {
        to: Peer,
        message: Message,
    },
    /// Make the entry durable in the WAL, body first, then its stub; then call `on_appended` with
    /// its op and name. Appends complete in order.
    Append {
        entry: Entry,
    },
    /// Replace the superblock; then call `on_superblock_written`. At most one is under way.
    WriteSuperblock(Box<Superblock>),
    /// Read an entry from the WAL; then call `on_entry_read`.
    ReadEntry {
        op: Op,
        name: Checksum,
    },
    /// The WAL may forget everything up to and including this op.
    Reclaim {
        through: Op,
    },
    /// The tables were frozen: flush them in the background; then call `on_checkpoint_flushed`.
    FlushCheckpoint,
    /// There is more to do than is done in one go: call `go_on`, after the time was told if that is due
    /// and after what has come meanwhile. At most one is under way.
    GoOn,
    /// End the process. Nothing may be performed after this.
    Halt(Halt),
    /// Something worth counting or tracing happened. No duty.
    Event(Event),
}

/// Why a replica stops itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The tables cannot be read. The superblock says so already: the next start fetches them anew.
    TablesLost(String),
    /// The disk does not take what has to be written. The next start reads what is there.
    DiskFailed(String),
    /// Two replicas hold different truths. Only an operator can tell why.
    Diverged(String),
}

/// The core's own marks. Each is a fact that a trace shows, a metric counts and the simulator
/// requires to have been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    BecameCandidate,
    ViewChangeStarted,
    ViewChangeElected,
    ViewStartedAsPrimary,
    ViewStartedAsBackup,
    SuspectedSilentPrimary,
    SuspectedStarvingPrimary,
    SuspectedStuckCommit,
    AbdicatedUnheard,
    AbdicatedForLaterView,
    Resigned,
    NackQuorumTruncated,
    SelectionWaited,
    SelectionUnrecoverable,
    UncertainHead,
    HeadLearned,
    SuffixReplaced,
    EntryRepaired,
    HeadersRepaired,
    RepairUnanswerable,
    CheckpointStarted,
    CheckpointDurable,
    CheckpointWaited,
    WalReclaimed,
    WalFull,
    PipelineFull,
    Throttled,
    SyncStarted,
    SyncRetargeted,
    SyncRangeSkipped,
    SyncRangeInstalled,
    SyncFinished,
    RejoinAsked,
    RejoinChallenged,
    RejoinPrepared,
    RejoinFinished,
    StaleIncarnationDropped,
    RequestDuplicateAnswered,
    RequestDuplicateInPipeline,
    /// A request that grows was refused: a disk is full.
    GrowthRefused,
    /// A request that grows has to wait until the tables have been written: a disk may be full.
    GrowthDelayed,
    /// Even what frees space has to wait until the tables have been written.
    FreeingDelayed,
    /// The log is carried on to the next checkpoint, to give back what was freed.
    CarriedOn,
    SessionsExpired,
    ReadIndexConfirmed,
    ReadWaitedForApply,
    TablesLostAtStart,
}
