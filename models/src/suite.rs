//! Which models there are, and what is expected of each.

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
    /// The search finds a violation: the mistake is known to be there.
    Violated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Ends within seconds. Part of the gate.
    Small,
    /// For a night, with a bound.
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
    views: 3,
    wipes: &[],
    crashes: true,
    disks: Disks::AtOnce,
    replacement: Replacement::Amnesiac,
};

const PAPER: paper::Bounds = paper::Bounds { operations: 1, views: 2, wipes: &[], truncating_transfer: false };

const fn holds(name: &'static str, about: &'static str, size: Size, bounds: Bounds) -> Case {
    Case { name, about, subject: Subject::Core(bounds), expectation: Expectation::Holds, size }
}

const fn planted(name: &'static str, about: &'static str, canary: Canary, bounds: Bounds) -> Case {
    let subject = Subject::Planted(canary, bounds);
    Case { name, about, subject, expectation: Expectation::Violated, size: Size::Small }
}

pub const SUITE: &[Case] = &[
    holds("crashes", "one operation, three views, any number of crashes", Size::Small, BASE),
    Case {
        name: "paper-view-change",
        about: "the paper's rules without recovery and state transfer",
        subject: Subject::Paper(PAPER),
        expectation: Expectation::Holds,
        size: Size::Small,
    },
    Case {
        name: "paper-recovery",
        about: "P13: the paper's recovery forgets promises",
        subject: Subject::Paper(paper::Bounds { views: 1, wipes: &[1, 2], ..PAPER }),
        expectation: Expectation::Violated,
        size: Size::Small,
    },
    Case {
        name: "paper-transfer",
        about: "P74: the paper's state transfer truncates first",
        subject: Subject::Paper(paper::Bounds { operations: 2, views: 2, truncating_transfer: true, ..PAPER }),
        expectation: Expectation::Violated,
        size: Size::Small,
    },
    planted("newer-view-adopted", "P74 in our core", Canary::NewerViewAdopted, BASE),
];

impl Case {
    /// Searches, and says how many different replicas were executed.
    pub fn run(&self, budget: Budget) -> (Report, Option<usize>) {
        let cluster = |bounds| {
            let mut cluster = Cluster::new(bounds);
            let report = search(&mut cluster, budget);
            (report, Some(cluster.replicas_seen()))
        };
        match self.subject {
            Subject::Core(bounds) => cluster(bounds),
            Subject::Planted(canary, bounds) => {
                plant(Some(canary));
                let outcome = cluster(bounds);
                plant(None);
                outcome
            }
            Subject::Paper(bounds) => (search(&mut Paper::new(bounds), budget), None),
        }
    }

    /// Whether the search ended as expected. A large one may be cut short.
    pub fn is_met_by(&self, end: &End) -> bool {
        match (self.expectation, end) {
            (Expectation::Holds, End::Exhausted) | (Expectation::Violated, End::Violation { .. }) => true,
            (Expectation::Holds, End::Bound(_)) => self.size == Size::Large,
            _ => false,
        }
    }
}
