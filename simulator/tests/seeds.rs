//! Seeds that once found something. The world of a seed changes whenever what is drawn changes, so
//! each has its story elsewhere, too; here they are cheap to keep.

use simulator::options::{Mode, Options, Stack};
use simulator::run::{mode_of, run_seed};

/// Whatever differs between two runs of one seed makes every failure a rumour.
#[test]
fn the_same_seed_lives_through_the_same_world_twice() {
    let worlds = [
        (1, Mode::Calm, Stack::Core),
        (2, Mode::Safety, Stack::Core),
        (3, Mode::Safety, Stack::Whole),
        (4, Mode::Liveness, Stack::Core),
        (5, Mode::Safety, Stack::Whole),
        (8, Mode::Liveness, Stack::Whole),
    ];
    for (seed, mode, stack) in worlds {
        let options = Options::draw(seed, mode, stack);
        let end = || run_seed(&options, None, false).map(|outcome| outcome.trace_hash);
        assert_eq!(end(), end(), "seed {seed}");
    }
}

/// Without troubles replicas must say no more to each other than the work takes: entries, heartbeats,
/// reads and checkpoints are counted, and a storm is a failure.
#[test]
fn calm_worlds_are_quiet() {
    for seed in 1..=12 {
        if let Err(what) = run_seed(&Options::draw(seed, Mode::Calm, Stack::Core), None, false) {
            panic!("seed {seed}: {what}");
        }
    }
}

fn passes(seed: u64, stack: Stack, why: &str) {
    if let Err(what) = run_seed(&Options::draw(seed, mode_of(seed), stack), None, false) {
        panic!("seed {seed} ({why}): {what}");
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
        passes(seed, Stack::Core, why);
    }
}

/// Each of these lost something that a disk had kept, for the reason that stands beside it.
#[test]
fn seeds_that_broke_a_promise_of_a_disk_do_not() {
    let seeds = [(177, "an unreadable sector behind a short superblock outlived every write of it")];
    for (seed, why) in seeds {
        passes(seed, Stack::Core, why);
    }
}

/// Each of these once kept its chunks from becoming whole, for the reason that stands beside it.
#[test]
fn seeds_whose_debts_were_never_paid_pay_them() {
    let seeds = [
        (20, "operations of a replica whose clock was behind were too late before they were sent"),
        (57, "operations of replicas whose clocks were behind filled the log, and none had an effect"),
    ];
    for (seed, why) in seeds {
        passes(seed, Stack::Whole, why);
    }
}

/// Each of these accused a cluster that was right, for the reason that stands beside it.
#[test]
fn seeds_that_were_false_alarms_are_none() {
    let seeds = [
        (270, Stack::Whole, "a disk that was replaced before its replica had rejoined passed for an old one"),
        (647, Stack::Whole, "a receipt was given for a chunk that the log had given up"),
        (1979, Stack::Whole, "a receipt was given for a chunk that the log had given up"),
        (
            3052,
            Stack::Whole,
            "a primary outside the core was heard late by one, while upkeep and clients went on",
        ),
        (9044, Stack::Core, "a primary outside the core was heard four seconds late, and clients went on"),
        (
            15002,
            Stack::Core,
            "what was acknowledged was decided against, and forgotten for a checkpoint of that",
        ),
    ];
    for (seed, stack, why) in seeds {
        passes(seed, stack, why);
    }
}
