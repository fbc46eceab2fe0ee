//! The only place where time enters.

use protocol::types::{Tick, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// Milliseconds that also pass while the machine is suspended: whoever slept must know that its
/// knowledge of the others is old.
pub fn now() -> Tick {
    let time = clock_gettime(ClockId::Boottime);
    let millis = i128::from(time.tv_sec) * 1_000 + i128::from(time.tv_nsec) / 1_000_000;
    Tick::new(u64::try_from(millis).expect("the boot time clock starts at zero"))
}

/// What the machine believes the date to be, in microseconds since 1970. A clock before that is
/// taken for 1970.
pub fn wall() -> Timestamp {
    let time = clock_gettime(ClockId::Realtime);
    let micros = i128::from(time.tv_sec) * 1_000_000 + i128::from(time.tv_nsec) / 1_000;
    Timestamp::new(u64::try_from(micros).unwrap_or(0))
}
