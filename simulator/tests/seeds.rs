//! Seeds that once found something. The world of a seed changes whenever what is drawn changes, so
//! each has its story elsewhere, too; here they are cheap to keep.

use simulator::options::Mode;
use simulator::run::run_seed;

/// Whatever differs between two runs of one seed makes every failure a rumour.
#[test]
fn the_same_seed_lives_through_the_same_world_twice() {
    for (seed, mode) in [(1, Mode::Calm), (2, Mode::Safety), (3, Mode::Safety), (4, Mode::Liveness)] {
        let end = || run_seed(seed, mode, None, false).map(|outcome| outcome.trace_hash);
        assert_eq!(end(), end(), "seed {seed}");
    }
}
