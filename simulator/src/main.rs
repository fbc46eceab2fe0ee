//! `cargo run --release -p simulator -- --help`

use std::hash::{BuildHasher, Hasher};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use protocol::canary::Canary;
use simulator::options::{Mode, Stack};
use simulator::run::{Wishes, describe, hunt_canaries, run_one, run_seeds};
use simulator::shrink::shrink;
use simulator::{nightly, planted, switches};

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
    /// Plant this bug; with --canaries, look for this one only.
    #[arg(long, value_name = "NAME", value_parser = parse_canary)]
    canary: Option<Canary>,
    /// Make the failing seed's world as small as possible, as long as it fails.
    #[arg(long, conflicts_with_all = ["seeds", "canaries", "nightly"])]
    shrink: bool,
    /// Every planted bug, then seeds that nobody has seen before until the time is up, then a look at
    /// what they have reached.
    #[arg(long, conflicts_with_all = ["seed", "seeds", "canary", "canaries"])]
    nightly: bool,
    /// How long the seeds of a nightly run may take.
    #[arg(long, default_value_t = 480, requires = "nightly")]
    minutes: u64,
    /// Without these kinds of trouble, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_switch)]
    without: Vec<&'static str>,
    /// So many replicas.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=7))]
    replicas: Option<u8>,
    /// So many clients.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=20))]
    clients: Option<u8>,
    /// So many seconds of trouble.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: Option<u64>,
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
    if arguments.canary.is_some() && arguments.seeds.is_some() && !arguments.canaries {
        eprintln!("a planted bug is looked for with --canaries, or lives in one seed");
        return ExitCode::FAILURE;
    }
    if arguments.nightly {
        night(&arguments)
    } else if arguments.canaries {
        canaries(&arguments)
    } else if arguments.shrink {
        smaller(&arguments, arguments.seed)
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

/// Without a seed: the first one that fails.
fn smaller(arguments: &Arguments, seed: Option<u64>) -> ExitCode {
    let wishes = wishes(arguments);
    let fails = |seed: &u64| run_one(&wishes.options(*seed), arguments.canary, false).is_err();
    let seed = seed.or_else(|| (arguments.from..arguments.from + CANARY_SEEDS_MAX).find(fails));
    let shrunk = seed.and_then(|seed| {
        println!("seed {seed}");
        let shrunk = shrink(seed, &wishes, arguments.canary, &|what| println!("  smaller: {what}"))?;
        Some((seed, shrunk))
    });
    let Some((seed, shrunk)) = shrunk else {
        println!("nothing fails");
        return ExitCode::SUCCESS;
    };
    println!("seed {seed} failed {} (after {} tries)", shrunk.what, shrunk.tries);
    println!("{}", command(seed, &shrunk.wishes, arguments.canary));
    ExitCode::FAILURE
}

fn night(arguments: &Arguments) -> ExitCode {
    let planted = if planted::AVAILABLE { canaries(arguments) } else { ExitCode::SUCCESS };
    let from = if arguments.from > 1 { arguments.from } else { random_seed() };
    let duration = std::time::Duration::from_secs(60 * arguments.minutes);
    println!("seeds from {from} on, for {} minutes", arguments.minutes);
    let wishes = wishes(arguments);
    let tally = nightly::run(from, duration, &wishes, jobs(arguments), |seed, what| {
        println!("seed {seed} failed {what}");
        println!("{}", command(seed, &wishes, None));
    });
    print!("{}", tally.coverage.report());
    print!("{}", nightly::report(&tally.coverage));
    let missing = nightly::missing(&tally.coverage);
    for expected in &missing {
        println!("never reached: {}", expected.mark);
    }
    println!(
        "{} seeds passed, {} failed, {} marks never reached",
        tally.passed,
        tally.failed.len(),
        missing.len()
    );
    let good = planted == ExitCode::SUCCESS && tally.failed.is_empty() && missing.is_empty();
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(arguments: &Arguments, count: u64) -> ExitCode {
    let begin = Instant::now();
    let tally = run_seeds(arguments.from, count, &wishes(arguments), jobs(arguments), |seed, what| {
        println!("seed {seed} failed {what}");
    });
    print!("{}", tally.coverage.report());
    print!("{}", nightly::report(&tally.coverage));
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
    let wanted: Vec<Canary> = arguments.canary.map_or_else(|| Canary::ALL.to_vec(), |canary| vec![canary]);
    let wishes = wishes(arguments);
    let hunts = hunt_canaries(&wanted, arguments.from, seeds_max, &wishes, jobs(arguments), |hunt| {
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
    Wishes {
        mode: arguments.mode,
        stack: arguments.stack,
        without: arguments.without.iter().copied().collect(),
        replicas: arguments.replicas.map(usize::from),
        clients: arguments.clients.map(usize::from),
        seconds: arguments.seconds,
    }
}

fn reproduction(arguments: &Arguments, seed: u64) -> String {
    command(seed, &wishes(arguments), arguments.canary)
}

fn command(seed: u64, wishes: &Wishes, canary: Option<Canary>) -> String {
    let canary = canary.map_or_else(String::new, |canary| format!(" --canary {canary:?}"));
    format!("cargo run --release -p simulator -- --seed {seed}{}{canary}", wishes.arguments())
}

/// Short enough to be typed again.
fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish() % 1_000_000_000
}

fn parse_switch(name: &str) -> Result<&'static str, String> {
    switches::find(name).map(|switch| switch.name)
}

fn parse_canary(name: &str) -> Result<Canary, String> {
    let same = |canary: &Canary| format!("{canary:?}").eq_ignore_ascii_case(name);
    Canary::ALL.into_iter().find(same).ok_or_else(|| {
        let names: Vec<String> = Canary::ALL.iter().map(|canary| format!("{canary:?}")).collect();
        format!("the planted bugs are {}", names.join(", "))
    })
}
