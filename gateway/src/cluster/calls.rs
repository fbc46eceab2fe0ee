//! The calls that one upload or one read has under way.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::data::message::DataBody;
use protocol::types::ReplicaId;
use tokio::task::{AbortHandle, JoinSet};

use super::{Cluster, Link, Unreachable};

/// A machine gives a call up long before this; it only bounds what nobody awaits any more.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Answered {
    pub(super) from: ReplicaId,
    pub(super) call: u64,
    pub(super) answer: Result<DataBody, Unreachable>,
}

/// Dropping it ends them all.
pub(super) struct Calls<L> {
    cluster: Cluster<L>,
    tasks: JoinSet<Answered>,
    handles: BTreeMap<u64, AbortHandle>,
}

impl<L: Link> Calls<L> {
    pub(super) fn new(cluster: Cluster<L>) -> Calls<L> {
        Calls { cluster, tasks: JoinSet::new(), handles: BTreeMap::new() }
    }

    pub(super) fn make(&mut self, to: ReplicaId, call: u64, body: DataBody) {
        let cluster = self.cluster.clone();
        let handle = self.tasks.spawn(async move {
            let answer = cluster.link().call(to, body, PATIENCE).await;
            Answered { from: to, call, answer }
        });
        self.handles.insert(call, handle);
    }

    pub(super) fn abandon(&mut self, call: u64) {
        if let Some(handle) = self.handles.remove(&call) {
            handle.abort();
        }
    }

    /// The next answer, if it is there.
    pub(super) fn try_next(&mut self) -> Option<Answered> {
        loop {
            let answered = self.tasks.try_join_next()?;
            if let Ok(answered) = answered {
                self.handles.remove(&answered.call);
                return Some(answered);
            }
        }
    }

    /// The next answer. Waits for ever if nothing is under way.
    pub(super) async fn next(&mut self) -> Answered {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(answered)) => {
                    self.handles.remove(&answered.call);
                    return answered;
                }
                // Abandoned.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}
