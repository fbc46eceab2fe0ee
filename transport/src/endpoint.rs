//! Sockets and the settings of QUIC.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use protocol::types::Peer;
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, ClientConfig, Endpoint, EndpointConfig, MtuDiscoveryConfig, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use socket2::{Domain, Protocol, Socket, Type};

use crate::identity::{Authority, Clock, OwnCertificate};
use crate::key::ClusterKey;
use crate::limits::{
    CALLS_PER_CONNECTION, CONNECTION_WINDOW, HANDSHAKES_MAX, IDLE_TIMEOUT, KEEP_ALIVE_INTERVAL,
    MESSAGE_STREAMS, SEND_WINDOW, STREAM_WINDOW,
};
use crate::tls;
use crate::transport::StartError;

/// Paths that carry larger datagrams are found out, up to here. Beyond it quinn's bursts of ten
/// datagrams no longer fit into one system call: sending fails, and the path is taken for a bad one.
const DATAGRAM_SIZE_MAX: u16 = 6500;

/// What the kernel should hold for us in each direction. Its default drops datagrams of a burst.
const SOCKET_BUFFER_SIZE: usize = 8 << 20;

/// Before a path is known. Between the machines of a cluster a third of a second, which is meant for
/// the whole internet, would make every lost first datagram a second of silence.
const RTT_EXPECTED: std::time::Duration = std::time::Duration::from_millis(50);

/// A small network's buffers take this much at once.
const INITIAL_WINDOW: u64 = 128 << 10;

/// How this process speaks QUIC, whichever socket it uses.
pub(crate) struct Quic {
    endpoint: EndpointConfig,
    server: ServerConfig,
    client: ClientConfig,
}

impl Quic {
    pub(crate) fn new(key: &ClusterKey, own: Peer, clock: Clock) -> Result<Quic, StartError> {
        let provider = tls::provider();
        let authority = Authority::new(key, Arc::clone(&provider)).map_err(StartError::certificate)?;
        let roots = authority.roots().map_err(StartError::certificate)?;
        let certificate = OwnCertificate::new(authority, own, clock).map_err(StartError::certificate)?;
        let certificate = Arc::new(certificate);

        let server = tls::server_config(Arc::clone(&certificate), Arc::clone(&roots), Arc::clone(&provider))
            .map_err(StartError::certificate)?;
        let server = QuicServerConfig::try_from(server).map_err(StartError::certificate)?;
        let client = tls::client_config(certificate, roots, provider).map_err(StartError::certificate)?;
        let client = QuicClientConfig::try_from(client).map_err(StartError::certificate)?;

        let transport = transport_config();
        // Whoever dials asks, whoever is dialled answers.
        let mut asking = transport_config();
        asking.max_concurrent_bidi_streams(VarInt::from_u32(0));
        let mut server = ServerConfig::with_crypto(Arc::new(server));
        server
            .transport_config(Arc::new(transport))
            // Members do not wander about: a new address is a new connection.
            .migration(false)
            .max_incoming(HANDSHAKES_MAX)
            .incoming_buffer_size(64 << 10)
            .incoming_buffer_size_total(4 << 20);
        server.validation_token.sent(0);
        let mut client = ClientConfig::new(Arc::new(client));
        client.transport_config(Arc::new(asking));
        Ok(Quic { endpoint: endpoint_config(key, own), server, client })
    }

    /// A socket that others can dial.
    pub(crate) fn listen(&self, address: SocketAddr) -> io::Result<Endpoint> {
        let mut endpoint = self.bind(address, Some(self.server.clone()))?;
        endpoint.set_default_client_config(self.client.clone());
        Ok(endpoint)
    }

    /// Sockets to dial from, one of each family that this machine has.
    pub(crate) fn dial(&self) -> io::Result<Dialler> {
        let bind = |address: SocketAddr| {
            let mut endpoint = self.bind(address, None)?;
            endpoint.set_default_client_config(self.client.clone());
            Ok(endpoint)
        };
        let v4: io::Result<Endpoint> = bind((Ipv4Addr::UNSPECIFIED, 0).into());
        let v6: io::Result<Endpoint> = bind((Ipv6Addr::UNSPECIFIED, 0).into());
        match (v4, v6) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(Dialler { v4: v4.ok(), v6: v6.ok() }),
        }
    }

    fn bind(&self, address: SocketAddr, server: Option<ServerConfig>) -> io::Result<Endpoint> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // As much as the machine allows: it silently gives less, which costs speed and nothing else.
        for raised in
            [socket.set_recv_buffer_size(SOCKET_BUFFER_SIZE), socket.set_send_buffer_size(SOCKET_BUFFER_SIZE)]
        {
            if let Err(error) = raised {
                tracing::debug!(%error, "socket buffers stay as they are");
            }
        }
        socket.bind(&address.into())?;
        Endpoint::new(self.endpoint.clone(), server, socket.into(), Arc::new(TokioRuntime))
    }
}

/// The endpoints that dial. Apart from the listening ones: those may be bound to an address from which
/// the peer cannot be reached.
pub(crate) struct Dialler {
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

impl Dialler {
    pub(crate) fn endpoint_for(&self, address: SocketAddr) -> Option<&Endpoint> {
        if address.is_ipv4() { self.v4.as_ref() } else { self.v6.as_ref() }
    }

    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.v4.iter().chain(&self.v6)
    }
}

pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// The keys are derived, so that a process that restarts still knows the connection ids of the one
/// before and can reset what is left of its connections, at once instead of after a timeout.
fn endpoint_config(key: &ClusterKey, own: Peer) -> EndpointConfig {
    let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key.reset_seed(own));
    let id_seed = key.connection_id_seed(own);
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config
        .max_udp_payload_size(DATAGRAM_SIZE_MAX)
        .expect("the size is between 1200 and 65527")
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_seed)));
    config
}

fn transport_config() -> TransportConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(DATAGRAM_SIZE_MAX);
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.ack_eliciting_threshold(VarInt::from_u32(10));
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW);

    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(CALLS_PER_CONNECTION))
        .max_concurrent_uni_streams(VarInt::from_u32(MESSAGE_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(SEND_WINDOW)
        .max_idle_timeout(Some(IDLE_TIMEOUT.try_into().expect("seconds fit into an idle timeout")))
        .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL))
        .initial_rtt(RTT_EXPECTED)
        .mtu_discovery_config(Some(discovery))
        .ack_frequency_config(Some(acknowledgements))
        .congestion_controller_factory(Arc::new(congestion))
        .datagram_receive_buffer_size(None)
        .enable_segmentation_offload(true);
    config
}
