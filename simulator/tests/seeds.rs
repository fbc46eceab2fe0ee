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

/// Each of these did not settle once, for the reason that stands beside it.
#[test]
fn seeds_that_were_not_live_are() {
    let seeds = [
        (11, "headers fetched ahead were never connected, and a laggard's floor vetoed the sync"),
        (78, "the log began above the checkpoint, and the durable prefix could not grow"),
        (1413, "the primary of a view that was over was asked again and again, and no other"),
        (1945, "tables that were lost twice in a row never ended the process"),
        (2260, "messages that were held back stayed so for ever"),
        (2489, "a WAL whose end was uncertain counted as healed"),
        (4391, "an answer slower than the next question never counted"),
        (5246, "a head above the canonical one proved nothing about what was committed"),
    ];
    for (seed, why) in seeds {
        let mode = simulator::run::mode_of(seed);
        if let Err(what) = run_seed(seed, mode, None, false) {
            panic!("seed {seed} ({why}): {what}");
        }
    }
}
