//! The search itself, and the smallest models: what the gate relies on, in seconds.

use std::fmt;
use std::time::Duration;

use models::search::{Budget, End, Model, Visit, search};
use models::suite::{Case, Expectation, SUITE};

const AMPLE: Budget = Budget { time: Duration::from_secs(600), memory: u64::MAX };

/// Two counters that rise one at a time, up to a bound.
struct Counters {
    bound: u8,
    forbidden: Option<(u8, u8)>,
}

#[derive(Clone, Copy)]
struct Raise(usize);

impl fmt::Display for Raise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "raise {}", self.0)
    }
}

impl Model for Counters {
    type State = [u8; 2];
    type Action = Raise;

    fn initial(&mut self) -> [u8; 2] {
        [0, 0]
    }

    fn fingerprint(&self, state: &[u8; 2]) -> u64 {
        u64::from(state[0]) << 8 | u64::from(state[1])
    }

    fn successors(&mut self, state: &[u8; 2], visit: &mut Visit<'_, Counters>) {
        for which in [0, 1] {
            let mut after = *state;
            after[which] += 1;
            if after[which] <= self.bound {
                visit(Raise(which), Ok(after));
            }
        }
    }

    fn violation(&self, state: &[u8; 2]) -> Option<String> {
        (self.forbidden == Some((state[0], state[1]))).then(|| "forbidden".to_string())
    }

    fn tell(&self, _: &[u8; 2], action: Raise, after: &[u8; 2]) -> String {
        format!("{action}: {after:?}")
    }
}

#[test]
fn every_state_is_visited_once() {
    let report = search(&mut Counters { bound: 9, forbidden: None }, AMPLE);
    assert_eq!(report.end, End::Exhausted);
    assert_eq!(report.states, 100);
    assert_eq!(report.transitions, 2 * 9 * 10);
}

#[test]
fn a_violation_is_told_from_the_beginning_in_the_fewest_steps() {
    let report = search(&mut Counters { bound: 9, forbidden: Some((2, 1)) }, AMPLE);
    let End::Violation { what, story } = report.end else { panic!("{:?}", report.end) };
    assert_eq!(what, "forbidden");
    assert_eq!(story.len(), 3);
    assert!(story[2].ends_with("[2, 1]"), "{story:?}");
}

#[test]
fn a_search_without_time_ends_at_its_bound() {
    let none = Budget { time: Duration::ZERO, memory: u64::MAX };
    let report = search(&mut Counters { bound: 255, forbidden: None }, none);
    assert_eq!(report.end, End::Bound("time"));
}

fn case(name: &str) -> &'static Case {
    SUITE.iter().find(|case| case.name == name).expect("the suite names it")
}

fn finds(name: &str) -> (String, Vec<String>) {
    let (report, _) = case(name).run(AMPLE);
    match report.end {
        End::Violation { what, story } => (what, story),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn names_are_unique() {
    for case in SUITE {
        assert_eq!(SUITE.iter().filter(|other| other.name == case.name).count(), 1, "{}", case.name);
    }
}

/// A vote of a lost disk arrives after its successor was readmitted.
#[test]
fn a_vote_from_the_grave_is_found_if_it_is_counted() {
    let (what, story) = finds("grave");
    assert!(what.contains("which was replaced by op"), "{what}");
    assert!(story.iter().any(|step| step.starts_with("r2 loses its disk")), "{story:?}");
}

#[test]
fn the_state_transfer_of_the_paper_is_found_to_lose_what_was_committed() {
    let (what, story) = finds("paper-transfer");
    assert!(what.contains("was committed in view 0"), "{what}");
    assert!(story.iter().any(|step| step.contains("gets Prepare { view: 1")), "{story:?}");
}

#[test]
fn an_early_acknowledgement_is_found_by_a_crash_after_it() {
    let (_, story) = finds("early-acknowledgement");
    assert!(story.iter().any(|step| step.contains("crashes")), "{story:?}");
}

/// What is taken out of the network must never be able to matter again, and what is not taken out makes
/// states that are none: either way the number of states changes.
#[test]
fn the_smallest_rejoin_holds_and_its_states_are_those_counted_in_the_documentation() {
    let (report, _) = case("lost-disk-1").run(AMPLE);
    assert_eq!(report.end, End::Exhausted);
    assert_eq!((report.states, report.transitions), (163_390, 1_433_427));
}

#[test]
fn what_must_hold_is_not_met_by_a_bound_in_the_gate() {
    let small = case("three-views");
    assert_eq!(small.expectation, Expectation::Holds);
    assert!(!small.is_met_by(&End::Bound("time")));
    assert!(small.is_met_by(&End::Exhausted));
    assert!(case("two-lost-disks-12").is_met_by(&End::Bound("time")));
    assert!(!case("grave").is_met_by(&End::Exhausted));
}
