//! Runs seeds: one with its trace, or many on all cores, and the hunt for planted bugs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use protocol::canary::Canary;
use protocol::quorums::Quorums;
use rustix::time::{ClockId, clock_gettime};

use crate::coverage::Coverage;
use crate::options::{Mode, Options, Stack};
use crate::planted;
use crate::switches;
use crate::world::{Outcome, World};

/// The mode of a seed for which none was asked: mostly safety, every fourth liveness.
pub fn mode_of(seed: u64) -> Mode {
    if seed.is_multiple_of(4) { Mode::Liveness } else { Mode::Safety }
}

/// What is in the world of a seed for which nothing was asked: every third one has chunks.
pub fn stack_of(seed: u64) -> Stack {
    if seed.is_multiple_of(3) { Stack::Whole } else { Stack::Core }
}

/// What is asked for instead of what depends on the seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    pub mode: Option<Mode>,
    pub stack: Option<Stack>,
    /// Kinds of trouble that are not to happen, by the names of `switches`.
    pub without: BTreeSet<&'static str>,
    pub replicas: Option<usize>,
    pub clients: Option<usize>,
    /// How long the troubles last.
    pub seconds: Option<u64>,
}

impl Wishes {
    pub fn options(&self, seed: u64) -> Options {
        let mode = self.mode.unwrap_or_else(|| mode_of(seed));
        let mut options = Options::draw(seed, mode, self.stack.unwrap_or_else(|| stack_of(seed)));
        for switch in switches::ALL.iter().filter(|switch| self.without.contains(switch.name)) {
            *(switch.rate)(&mut options) = 0;
        }
        if let Some(count) = self.replicas {
            options.config.quorums = Quorums::of(count);
        }
        options.client_count = self.clients.unwrap_or(options.client_count);
        options.duration = self.seconds.map_or(options.duration, |seconds| seconds * 1_000_000);
        options
    }

    /// The arguments that ask for this.
    pub fn arguments(&self) -> String {
        let mut text = String::new();
        if let Some(mode) = self.mode {
            text.push_str(&format!(" --mode {}", format!("{mode:?}").to_lowercase()));
        }
        if let Some(stack) = self.stack {
            text.push_str(&format!(" --stack {}", format!("{stack:?}").to_lowercase()));
        }
        if !self.without.is_empty() {
            let names: Vec<&str> = self.without.iter().copied().collect();
            text.push_str(&format!(" --without {}", names.join(",")));
        }
        let numbers = [
            ("replicas", self.replicas.map(|count| count as u64)),
            ("clients", self.clients.map(|count| count as u64)),
            ("seconds", self.seconds),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                text.push_str(&format!(" --{name} {number}"));
            }
        }
        text
    }
}

/// Lives through one seed. A panic anywhere inside is a failure like any other.
pub fn run_seed(options: &Options, canary: Option<Canary>, verbose: bool) -> Result<Outcome, String> {
    catch_panics_quietly();
    PANIC.with_borrow_mut(Option::take);
    let life = || planted::with(canary, || World::new(options.clone(), verbose).run());
    match catch_unwind(AssertUnwindSafe(life)) {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(failure)) => {
            Err(format!("at {}.{:06} s: {}", failure.at / 1_000_000, failure.at % 1_000_000, failure.what))
        }
        Err(_) => Err(PANIC.with_borrow_mut(Option::take).unwrap_or_else(|| "panic".into())),
    }
}

thread_local! {
    /// What the last panic of this thread said.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics are expected here, sometimes by the thousand: their words are kept, not printed.
fn catch_panics_quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let outer = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANIC.set(Some(info.to_string().replace('\n', " ")));
            // The panics of others are for others to read, and who watches one seed may see them all.
            let ours = std::thread::current().name().is_some_and(|name| name.starts_with(WORKER));
            if !ours {
                outer(info);
            }
        }));
    });
}

/// How the threads that run seeds are named.
const WORKER: &str = "seeds";

/// Lives through one seed on a thread of its own. If it is watched, panics are printed, too.
pub fn run_one(options: &Options, canary: Option<Canary>, verbose: bool) -> Result<Outcome, String> {
    std::thread::scope(|scope| {
        let named = std::thread::Builder::new().name(if verbose { "watched" } else { WORKER }.into());
        let thread = named
            .spawn_scoped(scope, || run_seed(options, canary, verbose))
            .expect("the machine has room for a thread");
        thread.join().expect("a seed's panics are caught")
    })
}

/// What was drawn for a seed, in a few lines.
pub fn describe(options: &Options) -> String {
    let faults: Vec<String> = options
        .faults
        .weights()
        .iter()
        .filter(|(_, weight)| *weight > 0)
        .map(|(name, weight)| format!("{name} {weight}"))
        .collect();
    format!(
        "{:?}, {:?} stack: {} replicas, {} clients, {} s of trouble\n{:?}\n{:?}\ntroubles: {}\n",
        options.mode,
        options.stack,
        options.config.quorums.replica_count,
        options.client_count,
        options.duration / 1_000_000,
        options.config.limits,
        options.network,
        if faults.is_empty() { "none".into() } else { faults.join(", ") },
    )
}

/// What became of many seeds.
#[derive(Default)]
pub struct Tally {
    pub passed: u64,
    /// Ascending.
    pub failed: Vec<(u64, String)>,
    pub coverage: Coverage,
    /// Of the seeds that passed, by what is in their worlds and how many replicas they have.
    pub speeds: BTreeMap<(&'static str, usize), Speed>,
}

/// How much virtual time went by, and the CPU time of the one thread that it took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Speed {
    pub seeds: u64,
    pub virtual_time: Duration,
    pub cpu_time: Duration,
}

impl Speed {
    pub fn report(&self) -> String {
        let (lived, spent) = (self.virtual_time.as_secs_f64(), self.cpu_time.as_secs_f64());
        let times = lived / spent;
        format!(
            "{} seeds, {lived:.0} s in {spent:.1} s of CPU: {times:.0} times as fast as the clock",
            self.seeds
        )
    }
}

/// The CPU time of this thread: other threads, and other programs, do not count.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
    Duration::new(seconds, u32::try_from(time.tv_nsec).expect("below a second"))
}

/// Runs `count` seeds from `from` on. Every failure is told at once.
pub fn run_seeds(
    from: u64,
    count: u64,
    wishes: &Wishes,
    jobs: usize,
    tell: impl Fn(u64, &str) + Sync,
) -> Tally {
    run_seeds_until(from, count, None, wishes, jobs, tell)
}

/// As `run_seeds`, but begins no seed after a moment.
pub fn run_seeds_until(
    from: u64,
    count: u64,
    end: Option<Instant>,
    wishes: &Wishes,
    jobs: usize,
    tell: impl Fn(u64, &str) + Sync,
) -> Tally {
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::default());
    on_workers(jobs, || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count || end.is_some_and(|end| Instant::now() >= end) {
                return;
            }
            let seed = from + index;
            let options = wishes.options(seed);
            let begin = cpu_time();
            let result = run_seed(&options, None, false);
            let cpu_time = cpu_time().saturating_sub(begin);
            let mut tally = tally.lock().expect("nothing panics while it holds the tally");
            match result {
                Ok(outcome) => {
                    tally.passed += 1;
                    let stack = match options.stack {
                        Stack::Core => "core",
                        Stack::Whole => "whole",
                    };
                    let world = (stack, options.config.quorums.replica_count);
                    let speed = tally.speeds.entry(world).or_default();
                    speed.seeds += 1;
                    speed.virtual_time += Duration::from_micros(outcome.coverage.virtual_micros);
                    speed.cpu_time += cpu_time;
                    tally.coverage.add(&outcome.coverage);
                }
                Err(what) => {
                    tell(seed, &what);
                    tally.failed.push((seed, what));
                }
            }
        }
    });
    let mut tally = tally.into_inner().expect("nothing panics while it holds the tally");
    tally.failed.sort();
    tally
}

/// A planted bug, and what found it: how many seeds it took, the last of them, and what it said.
pub struct Hunt {
    pub canary: Canary,
    pub caught: Option<Catch>,
}

pub struct Catch {
    pub seeds: u64,
    pub seed: u64,
    pub what: String,
}

/// Looks for planted bugs, each with seeds from `from` on until one fails that passes without
/// the bug, at most `seeds_max`.
pub fn hunt_canaries(
    wanted: &[Canary],
    from: u64,
    seeds_max: u64,
    wishes: &Wishes,
    jobs: usize,
    tell: impl Fn(&Hunt) + Sync,
) -> Vec<Hunt> {
    let next = AtomicUsize::new(0);
    let hunts = Mutex::new(Vec::new());
    on_workers(jobs, || {
        while let Some(canary) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let hunt = Hunt { canary: *canary, caught: hunt(*canary, from, seeds_max, wishes) };
            let mut hunts = hunts.lock().expect("nothing panics while it holds the hunts");
            tell(&hunt);
            hunts.push(hunt);
        }
    });
    hunts.into_inner().expect("nothing panics while it holds the hunts")
}

fn hunt(canary: Canary, from: u64, seeds_max: u64, wishes: &Wishes) -> Option<Catch> {
    (from..from + seeds_max).find_map(|seed| {
        let options = wishes.options(seed);
        let what = run_seed(&options, Some(canary), false).err()?;
        run_seed(&options, None, false).ok()?;
        Some(Catch { seeds: seed - from + 1, seed, what })
    })
}

fn on_workers(jobs: usize, work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for index in 0..jobs.max(1) {
            std::thread::Builder::new()
                .name(format!("{WORKER} {index}"))
                .spawn_scoped(scope, &work)
                .expect("the machine has room for a few threads");
        }
    });
}
