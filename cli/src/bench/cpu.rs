//! The processor time of everybody who takes part: this process, and the replicas as they say themselves.

use std::time::Duration;

use gateway::cluster::{Cluster, Link};
use protocol::data::message::DataBody;
use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

use crate::commands::Failure;
use crate::status::ReplicaStatus;

const PATIENCE: Duration = Duration::from_secs(5);

/// Processor time since the process began.
pub(crate) fn own() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Of these processes of this machine together, since they began.
pub(super) fn of_processes(pids: &[i32]) -> Result<Duration, Failure> {
    pids.iter().map(|pid| of_process(*pid)).sum()
}

fn of_process(pid: i32) -> Result<Duration, Failure> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).map_err(|error| Failure::new(format!("{path}: {error}")))?;
    let ticks = ticks_of(&stat).ok_or_else(|| Failure::new(format!("{path} is not what it should be")))?;
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(clock_ticks_per_second().max(1));
    Ok(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

/// The time for the process itself and the kernel's for it: the 14th and 15th fields. The second one is a
/// name in parentheses, in which anything may stand.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    next()?.checked_add(next()?)
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    own: Duration,
    replicas: Duration,
}

impl Spent {
    /// Replicas that share this process are counted once, with it.
    pub(super) async fn now<L: Link>(cluster: &Cluster<L>) -> Spent {
        let nearest = cluster.link().nearest();
        let mut replicas = Duration::ZERO;
        for id in cluster.replicas().filter(|id| Some(*id) != nearest) {
            if let Ok(DataBody::Status { json }) =
                cluster.link().call(id, DataBody::GetStatus, PATIENCE).await
                && let Ok(status) = serde_json::from_slice::<ReplicaStatus>(&json)
            {
                replicas += Duration::from_micros(status.cpu_micros);
            }
        }
        Spent { own: own(), replicas }
    }

    pub(super) fn since(&self, earlier: &Spent) -> Duration {
        self.own.saturating_sub(earlier.own) + self.replicas.saturating_sub(earlier.replicas)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_process_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 150 3 4 20 0 9 0 12345 1 2";
        assert_eq!(ticks_of(stat), Some(400));
        assert_eq!(ticks_of("7 (a) S 1"), None);
        assert_eq!(ticks_of(""), None);
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(of_processes(&[pid, pid]).is_ok());
        let failure = of_processes(&[pid, i32::MAX]).unwrap_err();
        assert!(failure.to_string().contains("/proc/2147483647"), "{failure}");
    }
}
