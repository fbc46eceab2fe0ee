//! The processor time of everybody who takes part: this process, and the replicas as they say themselves.

use std::time::Duration;

use gateway::cluster::{Cluster, Link};
use protocol::data::message::DataBody;
use rustix::time::{ClockId, clock_gettime};

use crate::status::ReplicaStatus;

const PATIENCE: Duration = Duration::from_secs(5);

/// Processor time since the process began.
pub(crate) fn own() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
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
