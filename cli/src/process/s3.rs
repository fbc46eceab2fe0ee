//! The S3 side of a process: a gateway over a client of the cluster, of whichever kind.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use gateway::auth::{Authenticator, RootKey};
use gateway::cluster::{Cluster, Link};
use gateway::http::{Gateway, Options, Tls};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use transport::ClusterKey;

use super::random;
use crate::commands::{Failure, cannot_listen};
use crate::settings::S3;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;

/// Takes the addresses, before anything else is begun that would have to be stopped again.
/// `choice` is the flag that chooses them.
pub(crate) fn listen(addresses: &[SocketAddr], choice: &str) -> Result<Vec<TcpListener>, Failure> {
    let listen = |address: &SocketAddr| {
        listen_on(*address).map_err(|error| cannot_listen(*address, "S3", &error, choice))
    };
    addresses.iter().map(listen).collect()
}

/// An IPv6 address means only that: IPv4 is listened to by its own.
fn listen_on(address: SocketAddr) -> std::io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // A gateway that starts again must not wait until the connections of the last one are forgotten.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(StdListener::from(socket))
}

/// `key`: the cluster's, under which the secrets of users are sealed.
pub(crate) fn gateway<L: Link>(cluster: Cluster<L>, key: &ClusterKey, s3: &S3) -> Arc<Gateway<L>> {
    let root = RootKey { access_key: s3.access_key.clone(), secret: s3.secret_key.clone() };
    let authenticator = Authenticator::new(key, Some(root), cluster.clone());
    let options = Options {
        region: s3.region.clone(),
        domains: s3.domains.clone(),
        memory_bytes: gateway::body::MEMORY_BYTES,
        known_keys: s3.known_keys,
    };
    Gateway::new(cluster, authenticator, options, u64::from_le_bytes(random()))
}

/// Serves until `stop` becomes true, and the requests that run have ended.
pub(crate) async fn serve<L: Link>(
    gateway: Arc<Gateway<L>>,
    s3: S3,
    listeners: Vec<TcpListener>,
    stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let tls = s3.tls.map(Tls::start).transpose().map_err(Failure::new)?;
    tracing::info!(listen = ?s3.listen, tls = tls.is_some(), "serving S3");
    gateway::http::serve(gateway, listeners, tls, stop).await;
    Ok(())
}
