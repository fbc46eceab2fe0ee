//! As many seeds as fit into the time, and whether they have been everywhere.

use std::time::{Duration, Instant};

use crate::coverage::Coverage;
use crate::run::{Tally, Wishes, run_seeds_until};

/// What the seeds must reach.
pub struct Expected {
    pub mark: &'static str,
    /// One seed in so many reaches it, at least. Measured rates are several times as high.
    pub one_in: u64,
    /// The test that brings it about on purpose. None: only chance does.
    pub story: Option<&'static str>,
}

const fn mark(mark: &'static str, one_in: u64, story: &'static str) -> Expected {
    Expected { mark, one_in, story: Some(story) }
}

const fn chance(mark: &'static str, one_in: u64) -> Expected {
    Expected { mark, one_in, story: None }
}

/// So many seeds are expected to reach something before their absence says that the simulator has lost
/// its way there.
const EXPECTED_SEEDS: u64 = 8;

mod expected;
pub use expected::EXPECTED;

/// What should have been reached by so many seeds, and was not.
pub fn missing(coverage: &Coverage) -> Vec<&'static Expected> {
    let due = |expected: &&Expected| coverage.seeds >= expected.one_in * EXPECTED_SEEDS;
    EXPECTED.iter().filter(due).filter(|expected| coverage.seeds_with(expected.mark) == 0).collect()
}

/// In how many of a thousand seeds each expected mark was reached.
pub fn report(coverage: &Coverage) -> String {
    let mut text = format!("reached, in so many of 1,000 seeds ({} lived):\n", coverage.seeds);
    for expected in EXPECTED {
        let rate = coverage.seeds_with(expected.mark) as f64 * 1_000.0 / coverage.seeds.max(1) as f64;
        text.push_str(&format!("  {:<44}{rate:>8.1}  {}\n", expected.mark, expected.story.unwrap_or("")));
    }
    text
}

/// Lives through seeds from `from` on until the time is up.
pub fn run(
    from: u64,
    duration: Duration,
    wishes: &Wishes,
    jobs: usize,
    tell: impl Fn(u64, &str) + Sync,
) -> Tally {
    run_seeds_until(from, u64::MAX, Some(Instant::now() + duration), wishes, jobs, tell)
}
