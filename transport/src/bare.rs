//! Connections with a good certificate and nothing else of ours, for tests of what a member makes of
//! another that sends whatever it likes.

use std::net::SocketAddr;

use protocol::types::Peer;
use quinn::{Connection, Endpoint};

use crate::endpoint::{self, Quic};
use crate::identity::name_of;
use crate::{ClusterKey, StartError};

/// Dials in the name of `own`.
pub struct Bare {
    endpoint: Endpoint,
}

impl Bare {
    pub fn new(key: &ClusterKey, own: Peer) -> Result<Bare, StartError> {
        let dialler = Quic::new(key, own, endpoint::now)?.dial().map_err(StartError::Dial)?;
        let endpoint = dialler.endpoints().next().expect("a dialler has a socket").clone();
        Ok(Bare { endpoint })
    }

    /// None if the handshake fails.
    pub async fn connect(&self, to: Peer, address: SocketAddr) -> Option<Connection> {
        self.endpoint.connect(address, &name_of(to)).ok()?.await.ok()
    }

    /// Says hello and leaves it at that: whoever is at `address` gets the first datagram of a
    /// handshake, again and again for a while.
    pub fn begin(&self, to: Peer, address: SocketAddr) -> Option<quinn::Connecting> {
        self.endpoint.connect(address, &name_of(to)).ok()
    }
}
