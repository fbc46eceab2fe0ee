//! `cargo run --release -p simulator -- --help`

use std::hash::{BuildHasher, Hasher};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use protocol::canary::Canary;
use simulator::options::{Mode, Stack};
use simulator::planted;
use simulator::run::{Wishes, describe, hunt_canaries, run_one, run_seeds};

/// A whole cluster in a world that is out to break it. Every run follows from its seed.
///
/// Without arguments: one random seed.
#[derive(Parser)]
struct Arguments {
    /// Live through this seed.
    #[arg(long, conflicts_with_all = ["seeds", "canaries"])]
    seed: Option<u64>,
    /// Live through so many seeds; with --canaries, at most so many for each bug.
    #[arg(long, value_name = "COUNT")]
    seeds: Option<u64>,
    /// The first of many seeds.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Plant each known bug in turn and count the seeds it takes to find it.
    #[arg(long)]
    canaries: bool,
    /// Plant this bug.
    #[arg(long, value_name = "NAME", value_parser = parse_canary, conflicts_with_all = ["seeds", "canaries"])]
    canary: Option<Canary>,
    /// What kind of world; by default it depends on the seed.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// How much of the system is in the world; by default it depends on the seed.
    #[arg(long, value_enum)]
    stack: Option<Stack>,
    /// Threads for many seeds; by default one for each core.
    #[arg(long)]
    jobs: Option<usize>,
    /// Print everything that happens.
    #[arg(short, long)]
    verbose: bool,
}

const CANARY_SEEDS_MAX: u64 = 1_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if (arguments.canaries || arguments.canary.is_some()) && !planted::AVAILABLE {
        eprintln!("built without planted bugs; use: cargo run --release -p simulator --features canaries");
        return ExitCode::FAILURE;
    }
    if arguments.canaries {
        canaries(&arguments)
    } else if let Some(count) = arguments.seeds {
        many(&arguments, count)
    } else {
        one(&arguments, arguments.seed.unwrap_or_else(random_seed))
    }
}

fn one(arguments: &Arguments, seed: u64) -> ExitCode {
    let options = wishes(arguments).options(seed);
    println!("seed {seed}");
    print!("{}", describe(&options));
    let begin = Instant::now();
    match run_one(&options, arguments.canary, arguments.verbose) {
        Ok(outcome) => {
            let cpu = begin.elapsed().as_secs_f64();
            print!("{}", outcome.coverage.report());
            let speed = std::time::Duration::from_micros(outcome.coverage.virtual_micros).as_secs_f64() / cpu;
            // Not part of the world: the output of two runs must not differ.
            eprintln!("{cpu:.3} s, {speed:.0} times as fast as the clock");
            println!("trace {:016x}", outcome.trace_hash);
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("seed {seed} failed {what}");
            println!("{}", reproduction(arguments, seed));
            ExitCode::FAILURE
        }
    }
}

fn many(arguments: &Arguments, count: u64) -> ExitCode {
    let begin = Instant::now();
    let tally = run_seeds(arguments.from, count, wishes(arguments), jobs(arguments), |seed, what| {
        println!("seed {seed} failed {what}");
    });
    print!("{}", tally.coverage.report());
    for ((stack, replica_count), speed) in &tally.speeds {
        println!("{stack}, {replica_count} replicas: {}", speed.report());
    }
    println!("{:.1} s", begin.elapsed().as_secs_f64());
    for (seed, _) in &tally.failed {
        println!("{}", reproduction(arguments, *seed));
    }
    println!("{} seeds passed, {} failed", tally.passed, tally.failed.len());
    if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn canaries(arguments: &Arguments) -> ExitCode {
    let seeds_max = arguments.seeds.unwrap_or(CANARY_SEEDS_MAX);
    let hunts = hunt_canaries(arguments.from, seeds_max, wishes(arguments), jobs(arguments), |hunt| {
        let name = format!("{:?}", hunt.canary);
        match &hunt.caught {
            Some(catch) => println!(
                "{name:<28} caught after {:>4} seeds, by seed {}: {}",
                catch.seeds, catch.seed, catch.what
            ),
            None => println!("{name:<28} SURVIVED {seeds_max} seeds"),
        }
    });
    let caught = hunts.iter().filter(|hunt| hunt.caught.is_some()).count();
    println!("{caught} of {} canaries caught", hunts.len());
    if caught == hunts.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn jobs(arguments: &Arguments) -> usize {
    arguments.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

fn wishes(arguments: &Arguments) -> Wishes {
    Wishes { mode: arguments.mode, stack: arguments.stack }
}

fn reproduction(arguments: &Arguments, seed: u64) -> String {
    let mut command = format!("cargo run --release -p simulator -- --seed {seed}");
    if let Some(mode) = arguments.mode {
        command.push_str(&format!(" --mode {}", format!("{mode:?}").to_lowercase()));
    }
    if let Some(stack) = arguments.stack {
        command.push_str(&format!(" --stack {}", format!("{stack:?}").to_lowercase()));
    }
    if let Some(canary) = arguments.canary {
        command.push_str(&format!(" --canary {canary:?}"));
    }
    command
}

/// Short enough to be typed again.
fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish() % 1_000_000_000
}

fn parse_canary(name: &str) -> Result<Canary, String> {
    let same = |canary: &Canary| format!("{canary:?}").eq_ignore_ascii_case(name);
    Canary::ALL.into_iter().find(same).ok_or_else(|| {
        let names: Vec<String> = Canary::ALL.iter().map(|canary| format!("{canary:?}")).collect();
        format!("the planted bugs are {}", names.join(", "))
    })
}
