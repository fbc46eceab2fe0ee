//! A client of the cluster, from outside it or beside a replica of this process.

use std::sync::Arc;

use gateway::cluster::{Cluster, ClusterOptions, QuicLink};
use protocol::client::ClientSettings;
use protocol::data::placement::Layout;
use protocol::types::{ClientId, Epoch, Peer};
use transport::{Inbox, Transport};

use super::{NearLink, Shared, cut_off, random};
use crate::commands::Failure;
use crate::settings;

/// A client, and what carries its messages: to be closed in this order.
pub(crate) struct Client<L> {
    pub(crate) cluster: Cluster<L>,
    transport: Transport,
}

impl<L: gateway::cluster::Link> Client<L> {
    /// Waits until nobody can be reached any more.
    pub(crate) async fn cut_off(&self) -> Failure {
        cut_off(&self.transport).await
    }

    pub(crate) async fn close(self) {
        self.cluster.close().await;
        self.transport.close().await;
    }
}

/// Reaches all replicas over the network.
pub(crate) fn from_outside(cluster: &settings::Cluster) -> Result<Client<QuicLink>, Failure> {
    let (id, transport, inbox) = start(cluster)?;
    let cluster = Cluster::over(transport.clone(), inbox, options(cluster, id));
    Ok(Client { cluster, transport })
}

/// Reaches the replica of this process by function calls, and the others over the network.
pub(crate) fn beside(shared: &Arc<Shared>) -> Result<Client<NearLink>, Failure> {
    let cluster = &shared.seat.cluster;
    let (id, transport, inbox) = start(cluster)?;
    let cluster = NearLink::join(shared, transport.clone(), inbox, options(cluster, id));
    Ok(Client { cluster, transport })
}

fn start(cluster: &settings::Cluster) -> Result<(ClientId, Transport, Inbox), Failure> {
    let id = ClientId::new(u128::from_le_bytes(random()));
    let settings = cluster.transport(Peer::Client(id), vec![]);
    let (transport, inbox) = Transport::start(settings).map_err(Failure::new)?;
    Ok((id, transport, inbox))
}

fn options(cluster: &settings::Cluster, client: ClientId) -> ClusterOptions {
    ClusterOptions {
        cluster: cluster.key.cluster(),
        epoch: Epoch::ZERO,
        layout: Layout::first(cluster.quorums()),
        client,
        seed: u64::from_le_bytes(random()),
        settings: ClientSettings::standard(),
    }
}
