//! Which models there are, and what is expected of each.

use std::collections::BTreeSet;

use protocol::canary::{Canary, plant};

use crate::cluster::{Bounds, Cluster, Disks, Replacement};
use crate::paper::{self, Paper};
use crate::search::{Budget, End, Report, search};

/// What is searched.
#[derive(Clone, Copy)]
pub enum Subject {
    Core(Bounds),
    /// The core with a planted bug.
    Planted(Canary, Bounds),
    Paper(paper::Bounds),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// No violation, and the search comes to its end.
    Holds,
    /// The search finds a violation: a mistake is known to be there.
    Violated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Comes to its end within a minute. Part of the gate.
    Small,
    /// For a night. May end at a bound.
    Large,
}

pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    pub subject: Subject,
    pub expectation: Expectation,
    pub size: Size,
}

const BASE: Bounds = Bounds {
    operations: 1,
    pipeline_max: 8,
    views: 3,
    wipes: &[],
    crashes: false,
    disks: Disks::AtOnce,
    replacement: Replacement::Amnesiac,
};
const CRASHES: Bounds = Bounds { crashes: true, ..BASE };
const CRASHES_TWO_VIEWS: Bounds = Bounds { views: 2, ..CRASHES };
const TWO_OPERATIONS: Bounds = Bounds { operations: 2, views: 2, ..CRASHES };
const SHORT_SUFFIX: Bounds = Bounds { pipeline_max: 1, ..TWO_OPERATIONS };
const SLOW_DISKS: Bounds = Bounds { disks: Disks::Later, ..CRASHES_TWO_VIEWS };
const TWO_VIEWS: Bounds = Bounds { views: 2, ..BASE };
const BLANK_DISK: Bounds = Bounds { wipes: &[2], replacement: Replacement::Blank, ..CRASHES_TWO_VIEWS };

const PAPER: paper::Bounds =
    paper::Bounds { operations: 1, views: 2, wipes: &[], truncating_transfer: false };
const PAPER_RECOVERY: paper::Bounds = paper::Bounds { views: 1, wipes: &[1, 2], ..PAPER };
const PAPER_TRANSFER: paper::Bounds = paper::Bounds { operations: 2, truncating_transfer: true, ..PAPER };

const fn wiped(wipes: &'static [u8], bounds: Bounds) -> Bounds {
    Bounds { wipes, ..bounds }
}

const fn holds(name: &'static str, about: &'static str, bounds: Bounds) -> Case {
    let subject = Subject::Core(bounds);
    Case { name, about, subject, expectation: Expectation::Holds, size: Size::Small }
}

const fn large(name: &'static str, about: &'static str, bounds: Bounds) -> Case {
    Case { size: Size::Large, ..holds(name, about, bounds) }
}

const fn mistake(name: &'static str, about: &'static str, subject: Subject) -> Case {
    Case { name, about, subject, expectation: Expectation::Violated, size: Size::Small }
}

const fn planted(name: &'static str, about: &'static str, canary: Canary, bounds: Bounds) -> Case {
    mistake(name, about, Subject::Planted(canary, bounds))
}

pub const SUITE: &[Case] = &[
    // The core as it is.
    holds("three-views", "1 operation, 3 views, crashes", CRASHES),
    holds("two-operations", "2 operations, 2 views, crashes", TWO_OPERATIONS),
    holds("slow-disks", "1 operation, 2 views, crashes, writes under way", SLOW_DISKS),
    holds("short-suffix", "2 operations, 2 views, crashes, 1 entry in the pipeline", SHORT_SUFFIX),
    holds("lost-disk-0", "1 operation, 2 views, crashes, r0 rejoins", wiped(&[0], CRASHES_TWO_VIEWS)),
    holds("lost-disk-1", "1 operation, 2 views, crashes, r1 rejoins", wiped(&[1], CRASHES_TWO_VIEWS)),
    holds("lost-disk-2", "1 operation, 2 views, crashes, r2 rejoins", wiped(&[2], CRASHES_TWO_VIEWS)),
    holds("two-lost-disks-22", "1 operation, 2 views, r2 rejoins twice", wiped(&[2, 2], TWO_VIEWS)),
    holds("two-lost-disks-02", "1 operation, 2 views, r0 rejoins, then r2", wiped(&[0, 2], TWO_VIEWS)),
    // The paper, without and with the rules that are known to be wrong.
    Case {
        name: "paper",
        about: "the paper without its recovery and state transfer: 1 operation, 3 views",
        subject: Subject::Paper(PAPER),
        expectation: Expectation::Holds,
        size: Size::Small,
    },
    mistake("paper-recovery", "P13: the paper's recovery forgets promises", Subject::Paper(PAPER_RECOVERY)),
    mistake("paper-transfer", "P74: the paper's state transfer cuts first", Subject::Paper(PAPER_TRANSFER)),
    // The core with mistakes.
    mistake("blank-disk", "P14: a lost disk is replaced by a blank one", Subject::Core(BLANK_DISK)),
    planted("early-acknowledgement", "P1", Canary::AckBeforeDurable, CRASHES),
    planted("early-log-view", "P2", Canary::AckBeforeLogView, SLOW_DISKS),
    planted("early-vote", "P3", Canary::VoteBeforeDurable, CRASHES),
    planted("second-vote", "P4", Canary::VoteComputedTwice, CRASHES),
    planted("primary-goes-on", "P11", Canary::PrimaryContinues, TWO_OPERATIONS),
    planted("grave", "P21, and with it P13", Canary::VotesFromTheGrave, wiped(&[2], BASE)),
    planted("longest-log", "P26", Canary::LongestLogWins, BASE),
    planted("late-start-view", "P36, P39", Canary::LateStartViewReplacesLog, TWO_OPERATIONS),
    planted("hole", "P49", Canary::AckOverHole, TWO_OPERATIONS),
    planted("newer-view", "P74", Canary::NewerViewAdopted, CRASHES),
    // The core as it is, for a night.
    large("two-operations-three-views", "2 operations, 3 views", Bounds { operations: 2, ..BASE }),
    large("two-operations-crashes", "2 operations, 3 views, crashes", Bounds { operations: 2, ..CRASHES }),
    large("three-views-slow-disks", "1 operation, 3 views, crashes, writes under way", {
        Bounds { disks: Disks::Later, ..CRASHES }
    }),
    large("three-views-lost-disk-0", "1 operation, 3 views, r0 rejoins", wiped(&[0], BASE)),
    large("three-views-lost-disk-1", "1 operation, 3 views, r1 rejoins", wiped(&[1], BASE)),
    large("three-views-lost-disk-2", "1 operation, 3 views, r2 rejoins", wiped(&[2], BASE)),
    large("two-lost-disks-12", "1 operation, 3 views, r1 rejoins, then r2", wiped(&[1, 2], BASE)),
    large("two-lost-disks-20", "1 operation, 3 views, r2 rejoins, then r0", wiped(&[2, 0], BASE)),
    large("two-lost-disks-00", "1 operation, 3 views, r0 rejoins twice", wiped(&[0, 0], BASE)),
    large("lost-disk-short-suffix", "2 operations, 2 views, 1 entry in the pipeline, r2 rejoins", {
        Bounds { pipeline_max: 1, operations: 2, ..wiped(&[2], TWO_VIEWS) }
    }),
    large("lost-disk-two-operations", "2 operations, 3 views, crashes, r2 rejoins", {
        Bounds { operations: 2, ..wiped(&[2], CRASHES) }
    }),
    large("lost-disk-slow-disks", "1 operation, 2 views, crashes, writes under way, r2 rejoins", {
        wiped(&[2], SLOW_DISKS)
    }),
];

/// What a search has come by.
#[derive(Default)]
pub struct Evidence {
    /// Different replicas that were executed: far fewer than states.
    pub replicas: usize,
    /// Who was seen to vote again after its disk had been lost.
    pub readmitted: BTreeSet<u8>,
}

impl Case {
    /// Whose readmission a search to the end must have seen: it has proven nothing about it otherwise.
    pub fn never_readmitted(&self, end: &End, evidence: &Evidence) -> Vec<u8> {
        let (Subject::Core(bounds), End::Exhausted) = (self.subject, end) else { return Vec::new() };
        bounds.wipes.iter().copied().filter(|wiped| !evidence.readmitted.contains(wiped)).collect()
    }

    /// Searches.
    pub fn run(&self, budget: Budget) -> (Report, Evidence) {
        let cluster = |bounds| {
            let mut cluster = Cluster::new(bounds);
            let report = search(&mut cluster, budget);
            let evidence = Evidence { replicas: cluster.replicas_seen(), readmitted: cluster.readmitted() };
            (report, evidence)
        };
        match self.subject {
            Subject::Core(bounds) => cluster(bounds),
            Subject::Planted(canary, bounds) => {
                plant(Some(canary));
                let outcome = cluster(bounds);
                plant(None);
                outcome
            }
            Subject::Paper(bounds) => (search(&mut Paper::new(bounds), budget), Evidence::default()),
        }
    }

    /// Whether the search ended as it should. A large one may be cut short.
    pub fn is_met_by(&self, end: &End) -> bool {
        match (self.expectation, end) {
            (Expectation::Holds, End::Exhausted) | (Expectation::Violated, End::Violation { .. }) => true,
            (Expectation::Holds, End::Bound(_)) => self.size == Size::Large,
            _ => false,
        }
    }
}
