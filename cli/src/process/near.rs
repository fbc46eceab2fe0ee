//! A client in the process of a replica: it reaches that one by function calls, and the others over the
//! network. Not a byte of a body is copied or encrypted on the short way.

use std::sync::Arc;
use std::time::Duration;

use gateway::cluster::{Cluster, ClusterOptions, Link, QuicLink, Unreachable};
use protocol::data::message::DataBody;
use protocol::message::Message;
use protocol::types::{ClientId, Peer, ReplicaId};
use tokio::sync::oneshot;
use transport::{Inbox, Transport};

use super::{Shared, calls};

pub(crate) struct NearLink {
    client: ClientId,
    replica: Arc<Shared>,
    far: QuicLink,
}

impl NearLink {
    /// A client beside `replica`. `transport` speaks in the client's name.
    pub(crate) fn join(
        replica: &Arc<Shared>,
        transport: Transport,
        inbox: Inbox,
        options: ClusterOptions,
    ) -> Cluster<NearLink> {
        let client = options.client;
        let link = NearLink { client, replica: Arc::clone(replica), far: QuicLink::new(transport) };
        let cluster = Cluster::start(link, options);
        cluster.receive(inbox);
        let weak = cluster.downgrade();
        let neighbour = move |message| {
            if let Some(cluster) = weak.upgrade() {
                cluster.deliver(message);
            }
        };
        replica.add_neighbour(client, Box::new(neighbour));
        cluster
    }

    fn is_near(&self, to: ReplicaId) -> bool {
        to == self.replica.seat.replica
    }
}

impl Drop for NearLink {
    fn drop(&mut self) {
        self.replica.remove_neighbour(self.client);
    }
}

impl Link for NearLink {
    fn send(&self, to: ReplicaId, message: Message) {
        if !self.is_near(to) {
            return self.far.send(to, message);
        }
        if let Some(core) = self.replica.core() {
            let bytes = message.size_hint();
            core.deliver(message, bytes);
        }
    }

    async fn call(&self, to: ReplicaId, body: DataBody, patience: Duration) -> Result<DataBody, Unreachable> {
        if !self.is_near(to) {
            return self.far.call(to, body, patience).await;
        }
        let (answered, answer) = oneshot::channel();
        // Whoever no longer waits needs no answer.
        let answered = Box::new(move |body| drop(answered.send(body)));
        calls::answer(&self.replica, Peer::Client(self.client), body, answered);
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Unreachable("the replica in this process has ended".into())),
            Err(_) => Err(Unreachable("no answer in time".into())),
        }
    }

    fn nearest(&self) -> Option<ReplicaId> {
        Some(self.replica.seat.replica)
    }
}
