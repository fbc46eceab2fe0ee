//! Whole transports over loopback.

mod calls;
mod hostile;
mod membership;
mod messages;

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use protocol::message::{Body, Message};
use protocol::types::{ClientId, Epoch, Incarnation, Op, Peer, Release, ReplicaId, View};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Connection, UdpPoller};
use tokio::time;

use crate::counters::PeerCounters;
use crate::endpoint::{self, Quic};
use crate::identity::Clock;
use crate::limits::Limits;
use crate::{ClusterKey, Inbox, Settings, StartError, Transport};

/// Only what hangs takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn key() -> ClusterKey {
    ClusterKey::new([1; 32])
}

fn replica(number: u8) -> Peer {
    Peer::Replica(ReplicaId::new(number))
}

fn client(number: u128) -> Peer {
    Peer::Client(ClientId::new(number))
}

/// A process that is about to start.
struct Member {
    settings: Settings,
    clock: Clock,
}

impl Member {
    fn new(own: Peer) -> Member {
        let settings = Settings {
            key: key(),
            own,
            listen: vec![],
            replicas: BTreeMap::new(),
            limits: Limits::default(),
            is_quiet: false,
        };
        Member { settings, clock: endpoint::now }
    }

    fn key(mut self, key: ClusterKey) -> Member {
        self.settings.key = key;
        self
    }

    fn clock(mut self, clock: Clock) -> Member {
        self.clock = clock;
        self
    }

    fn limits(mut self, limits: Limits) -> Member {
        self.settings.limits = limits;
        self
    }

    fn listening(mut self, address: &str) -> Member {
        self.settings.listen.push(address.parse().unwrap());
        self
    }

    fn knowing(mut self, number: u8, place: impl ToString) -> Member {
        self.settings.replicas.insert(ReplicaId::new(number), place.to_string());
        self
    }

    fn try_start(&self) -> Result<(Transport, Inbox), StartError> {
        Transport::start_at(self.settings.clone(), self.clock)
    }

    fn start(&self) -> (Transport, Inbox) {
        self.try_start().unwrap()
    }
}

/// A replica that others dial.
fn listening(number: u8) -> (Transport, Inbox, SocketAddr) {
    let (transport, inbox) = Member::new(replica(number)).listening("127.0.0.1:0").start();
    let address = transport.local_addresses().unwrap()[0];
    (transport, inbox, address)
}

/// An address at which nobody listens, yet. It stays free for whoever got it: other tests have another
/// host, and those whom the kernel gives a port get a higher one.
fn free_address() -> SocketAddr {
    static GIVEN: AtomicU8 = AtomicU8::new(1);
    let [.., process_high, process_low] = std::process::id().to_be_bytes();
    let host = [127, process_high | 0x80, process_low, GIVEN.fetch_add(1, Ordering::Relaxed)];
    SocketAddr::from((host, 7400))
}

fn message(from: Peer, body: Body) -> Message {
    Message {
        cluster: key().cluster(),
        epoch: Epoch::ZERO,
        release: Release::new(1),
        from,
        view: View::new(3),
        incarnation: Incarnation::ZERO,
        checkpoint: Op::ZERO,
        floor: Op::ZERO,
        body,
    }
}

fn heartbeat(from: Peer, sequence: u64) -> Message {
    message(
        from,
        Body::CommitOk {
            sequence,
            clock: protocol::types::Timestamp::new(1),
            room: protocol::types::Room::Ample,
        },
    )
}

/// Sends until it arrives, as the protocol would.
async fn delivered(transport: &Transport, to: Peer, sent: &Message, inbox: &mut Inbox) {
    let receiver = match sent.from {
        Peer::Replica(_) => &mut inbox.replicas,
        Peer::Client(_) => &mut inbox.clients,
    };
    let arrival = async {
        loop {
            transport.send(to, sent.clone());
            if let Ok(Some(received)) = time::timeout(Duration::from_millis(100), receiver.recv()).await
                && received.message == *sent
            {
                assert_eq!(received.from, sent.from);
                return;
            }
        }
    };
    time::timeout(PATIENCE, arrival).await.expect("the message arrives");
}

/// Ends a process as if it were killed: nothing is said to anybody.
async fn kill(transport: Transport) {
    let addresses = transport.local_addresses().unwrap();
    // Farewells leave from a socket that nobody knows.
    for endpoint in transport.shared.endpoints() {
        endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    }
    drop(transport);
    let free = || addresses.iter().all(|address| std::net::UdpSocket::bind(address).is_ok());
    becomes("the sockets are free", free).await;
}

/// Of which every read fails, as if somebody had pulled out the network card.
#[derive(Debug)]
struct BrokenSocket;

impl AsyncUdpSocket for BrokenSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(BrokenSocket)
    }

    fn try_send(&self, _: &Transmit<'_>) -> io::Result<()> {
        Err(io::Error::other("broken"))
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::Error::other("broken")))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
    }
}

impl UdpPoller for BrokenSocket {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn becomes(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            time::sleep(Duration::from_millis(5)).await;
        }
    };
    time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn counters_of(transport: &Transport, peer: Peer) -> PeerCounters {
    let peers = transport.counters().peers;
    peers.into_iter().find(|(other, _)| *other == peer).map(|(_, counters)| counters).unwrap_or_default()
}

/// A member that does not keep to our format: a bare connection, with a good certificate.
async fn bare(own: Peer, to: Peer, address: SocketAddr) -> Connection {
    let dialler = Quic::new(&key(), own, endpoint::now).unwrap().dial().unwrap();
    dialler.connect(to, &address.to_string()).await.unwrap()
}
