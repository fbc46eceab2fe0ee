//! What happens to the core, in words for whoever reads the log. The names of the events are those that are
//! counted.

use protocol::vsr::Event;

/// None for what happens all the time.
pub(super) const fn words(event: Event) -> Option<&'static str> {
    Some(match event {
        Event::SuspectedSilentPrimary => "the primary has fallen silent",
        Event::SuspectedStarvingPrimary => "the primary is heard, but does not take what it is asked",
        Event::SuspectedStuckCommit => "the primary is heard, but nothing is committed",
        Event::BecameCandidate => "asks the others to agree on a primary",
        Event::ViewChangeStarted => "enough replicas want a primary: they compare their logs",
        Event::ViewChangeElected => "is to be the next primary, and completes its log",
        Event::ViewStartedAsPrimary => "is the primary",
        Event::ViewStartedAsBackup => "follows the primary",
        Event::AbdicatedUnheard => "is primary and not heard by enough others: gives the role away",
        Event::AbdicatedForLaterView => "cannot complete its log: leaves the role to the next",
        Event::Resigned => "gives the primary's role away",
        Event::NackQuorumTruncated => "the end of the log was acknowledged to nobody, and is cut off",
        Event::SelectionWaited => "waits for more replicas before it takes a log for the right one",
        Event::SelectionUnrecoverable => "cannot tell which log is the right one: too many disks are damaged",
        Event::UncertainHead => "the end of the log on this disk is damaged: asks the others where it ends",
        Event::HeadLearned => "knows from the others where the log ends",
        Event::SuffixReplaced => "takes the end of the log as the others have agreed on it",
        Event::RepairUnanswerable => "was asked for an entry of the log that it does not have",
        Event::WalFull => "the log on this disk is full until the next checkpoint",
        Event::SyncStarted => "is too far behind for the log: fetches the tables from the others",
        Event::SyncRetargeted => "fetches newer tables instead: the others have gone on",
        Event::SyncFinished => "has fetched the tables",
        Event::RejoinAsked => "has a new disk: asks to be readmitted",
        Event::RejoinChallenged => "a replica with a new disk asks to be readmitted",
        Event::RejoinPrepared => "writes into the log that a replica has a new disk",
        Event::RejoinFinished => "is readmitted with its new disk",
        Event::StaleIncarnationDropped => "heard an old disk of a replica that has a new one: ignores it",
        Event::SessionsExpired => "clients that were not heard for long are forgotten",
        Event::TablesLostAtStart => "the tables on this disk are lost: they are fetched from the others",
        Event::EntryRepaired
        | Event::HeadersRepaired
        | Event::CheckpointStarted
        | Event::CheckpointDurable
        | Event::CheckpointWaited
        | Event::WalReclaimed
        | Event::PipelineFull
        | Event::Throttled
        | Event::SyncRangeSkipped
        | Event::SyncRangeInstalled
        | Event::RequestDuplicateAnswered
        | Event::RequestDuplicateInPipeline
        | Event::GrowthRefused
        | Event::GrowthDelayed
        | Event::FreeingDelayed
        | Event::CarriedOn
        | Event::ReadIndexConfirmed
        | Event::ReadWaitedForApply => return None,
    })
}
