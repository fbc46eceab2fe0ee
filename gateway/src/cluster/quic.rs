//! Replicas that are reached over the network.

use std::time::Duration;

use protocol::data::message::DataBody;
use protocol::message::Message;
use protocol::types::{Peer, ReplicaId};
use transport::{Inbox, Transport};

use super::{Cluster, ClusterOptions, Link, Unreachable};

#[derive(Clone)]
pub struct QuicLink {
    transport: Transport,
}

impl QuicLink {
    pub fn new(transport: Transport) -> QuicLink {
        QuicLink { transport }
    }

    pub fn transport(&self) -> &Transport {
        &self.transport
    }
}

impl Link for QuicLink {
    fn send(&self, to: ReplicaId, message: Message) {
        self.transport.send(Peer::Replica(to), message);
    }

    async fn call(&self, to: ReplicaId, body: DataBody, patience: Duration) -> Result<DataBody, Unreachable> {
        match tokio::time::timeout(patience, self.transport.call(to, body)).await {
            Ok(answer) => answer.map_err(|error| Unreachable(error.to_string())),
            Err(_) => Err(Unreachable("no answer in time".into())),
        }
    }

    fn nearest(&self) -> Option<ReplicaId> {
        None
    }
}

impl Cluster<QuicLink> {
    /// A client that reaches all replicas over the network. `inbox` is the transport's own.
    pub fn over(transport: Transport, inbox: Inbox, options: ClusterOptions) -> Cluster<QuicLink> {
        let cluster = Cluster::start(QuicLink::new(transport), options);
        cluster.receive(inbox);
        cluster
    }
}

impl<L: Link> Cluster<L> {
    /// Hands over what the network brings, for as long as this client lives. Nobody asks anything of a
    /// client: calls are dropped.
    pub fn receive(&self, mut inbox: Inbox) {
        let cluster = self.downgrade();
        tokio::spawn(async move {
            while let Some(received) = inbox.replicas.recv().await {
                let Some(cluster) = cluster.upgrade() else { return };
                cluster.deliver(received.message);
            }
        });
    }
}
