//! CPU time, and what it was spent on.
//!
//! Time on the wall says little on a machine that does other things too. Everything measured here runs
//! on one thread, so the process's CPU time between two moments is that of the work between them.

use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use rustix::time::{ClockId, clock_gettime};

pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
    Duration::new(seconds, u32::try_from(time.tv_nsec).expect("below a second"))
}

/// Lets criterion measure CPU time, which it formats like any other.
pub(crate) struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        cpu_time()
    }

    fn end(&self, started: Duration) -> Duration {
        cpu_time().saturating_sub(started)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// What a replica does with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Decode,
    /// The core's own work, applying included.
    Decide,
    Encode,
    Log,
    Superblock,
    /// Flushing the tables, and letting go of what the flush has made superfluous.
    Checkpoint,
}

impl Stage {
    pub(crate) const ALL: [(Stage, &'static str); 6] = [
        (Stage::Decode, "decode frames"),
        (Stage::Decide, "decide and apply"),
        (Stage::Encode, "encode frames"),
        (Stage::Log, "write the log"),
        (Stage::Superblock, "write superblocks"),
        (Stage::Checkpoint, "flush the tables"),
    ];
}

/// Reading the clock costs about as much as an operation: it is read when the stage changes, and not
/// for every operation.
#[derive(Default)]
pub(crate) struct Meter {
    spent: [Duration; Stage::ALL.len()],
    current: Option<(Stage, Duration)>,
}

impl Meter {
    pub(crate) fn enter(&mut self, stage: Stage) {
        if self.current.is_none_or(|(current, _)| current != stage) {
            self.leave();
            self.current = Some((stage, cpu_time()));
        }
    }

    pub(crate) fn leave(&mut self) {
        if let Some((stage, since)) = self.current.take() {
            self.spent[stage as usize] += cpu_time().saturating_sub(since);
        }
    }

    pub(crate) fn spent(&self, stage: Stage) -> Duration {
        self.spent[stage as usize]
    }

    pub(crate) fn total(&self) -> Duration {
        self.spent.iter().sum()
    }
}
