//! Failures are made smaller, and stay failures.

use protocol::canary::Canary;
use simulator::planted;
use simulator::run::{Wishes, run_seed};
use simulator::shrink::shrink;

#[test]
fn a_failing_world_becomes_smaller_and_still_fails() {
    if !planted::AVAILABLE {
        return;
    }
    let canary = Some(Canary::LateStartViewReplacesLog);
    let all = Wishes::default();
    let seed = (1..50).find(|seed| run_seed(&all.options(*seed), canary, false).is_err()).unwrap();
    let shrunk = shrink(seed, &all, canary, &|_| {}).expect("it fails");
    assert!(run_seed(&shrunk.wishes.options(seed), canary, false).is_err());

    let (before, after) = (all.options(seed), shrunk.wishes.options(seed));
    assert!(after.faults.total() <= before.faults.total());
    assert!(after.duration < before.duration || shrunk.wishes.without.len() > 5);
    assert_eq!(shrunk.wishes.arguments().matches("--without").count(), 1);
}

#[test]
fn a_world_that_does_not_fail_is_left_alone() {
    let calm = Wishes { seconds: Some(2), clients: Some(1), ..Wishes::default() };
    assert!(shrink(1, &calm, None, &|_| {}).is_none());
}
