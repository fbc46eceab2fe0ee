//! One process's part in the cluster's traffic.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use protocol::data::message::DataBody;
use protocol::message::{Class, Message};
use protocol::types::{ClientId, ClusterId, Peer, ReplicaId};
use quinn::Endpoint;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time;

use crate::accept::{Doors, accept, watch_over};
use crate::budget::Budget;
use crate::buffers::Buffers;
use crate::calls::{CallError, CallRoute, IncomingCall};
use crate::counters::{Book, Count, Counters};
use crate::endpoint::{self, Dialler, Quic};
use crate::identity::Clock;
use crate::key::ClusterKey;
use crate::limits::{INBOX_CALLS, INBOX_MESSAGES, Limits};
use crate::links::{Outbox, Outgoing, Received, close, keep_link};

/// Who this process is, and where the replicas are.
#[derive(Clone, Debug)]
pub struct Settings {
    pub key: ClusterKey,
    pub own: Peer,
    /// Where to be dialled. Nothing for a client.
    pub listen: Vec<SocketAddr>,
    /// Host and port of each replica. A replica's own place is ignored.
    pub replicas: BTreeMap<ReplicaId, String>,
    pub limits: Limits,
    /// What becomes of its connections is no news: somebody else in this process tells of the same peers.
    pub is_quiet: bool,
}

/// What comes in. Messages of replicas and of clients apart, so that a crowd of clients cannot delay a
/// vote.
pub struct Inbox {
    pub replicas: mpsc::Receiver<Received>,
    pub clients: mpsc::Receiver<Received>,
    pub calls: mpsc::Receiver<IncomingCall>,
}

/// Sends and receives for one process. Clones are the same transport; when the last is gone, so are its
/// connections.
#[derive(Clone)]
pub struct Transport {
    pub(crate) shared: Arc<Shared>,
    /// Held for its end: that ends the tasks.
    _tasks: Arc<JoinSet<()>>,
}

/// What every task of a transport needs.
pub(crate) struct Shared {
    pub(crate) cluster: ClusterId,
    pub(crate) limits: Limits,
    pub(crate) is_quiet: bool,
    pub(crate) dialler: Dialler,
    pub(crate) doors: Doors,
    pub(crate) book: Book,
    /// Of all callers.
    pub(crate) calls_room: Budget,
    /// What clients may take of it.
    pub(crate) client_calls_room: Budget,
    pub(crate) buffers: Buffers,
    pub(crate) calls_count: AtomicU64,
    pub(crate) handshakes_refused: Count,
    pub(crate) handshakes_retried: Count,
    listeners: Vec<Endpoint>,
    /// This process has closed its endpoints itself.
    is_closing: AtomicBool,
    is_cut_off: watch::Sender<bool>,
    replicas: BTreeMap<ReplicaId, Route>,
    clients: Mutex<HashMap<ClientId, Arc<Outbox>>>,
    messages_unroutable: Count,
    from_replicas: mpsc::Sender<Received>,
    from_clients: mpsc::Sender<Received>,
    pub(crate) from_callers: mpsc::Sender<IncomingCall>,
}

/// The ways to one replica.
struct Route {
    outbox: Arc<Outbox>,
    calls: CallRoute,
}

impl Shared {
    pub(crate) fn clients(&self) -> MutexGuard<'_, HashMap<ClientId, Arc<Outbox>>> {
        self.clients.lock().expect("nothing panics while it holds the clients")
    }

    pub(crate) fn inbox_for(&self, from: Peer) -> &mpsc::Sender<Received> {
        match from {
            Peer::Replica(_) => &self.from_replicas,
            Peer::Client(_) => &self.from_clients,
        }
    }

    fn outbox(&self, to: Peer) -> Option<Arc<Outbox>> {
        match to {
            Peer::Replica(replica) => Some(Arc::clone(&self.replicas.get(&replica)?.outbox)),
            Peer::Client(client) => self.clients().get(&client).cloned(),
        }
    }

    fn send(&self, messages: impl IntoIterator<Item = (Peer, Message)>) {
        let mut filled: Vec<(Arc<Outbox>, Class)> = Vec::new();
        for (to, message) in messages {
            let Some(outbox) = self.outbox(to) else {
                self.messages_unroutable.add(1);
                continue;
            };
            let class = message.body.class();
            outbox.push(Outgoing::new(message));
            if !filled.iter().any(|(other, of)| Arc::ptr_eq(other, &outbox) && *of == class) {
                filled.push((outbox, class));
            }
        }
        filled.into_iter().for_each(|(outbox, class)| outbox.wake(class));
    }

    /// Nothing comes or goes through an endpoint any more.
    pub(crate) fn endpoint_ended(&self) {
        if !self.is_closing.load(Ordering::Relaxed) {
            self.is_cut_off.send_replace(true);
        }
    }

    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.listeners.iter().chain(self.dialler.endpoints())
    }
}

/// How long the others get to hear that this process ends.
const FAREWELL: Duration = Duration::from_millis(500);

impl Transport {
    /// Binds the sockets and starts to reach the replicas. Needs a tokio runtime, now and later.
    ///
    /// A panic in one of its tasks is a broken invariant of ours, and silences a peer: a process that
    /// runs a transport should end on any panic.
    pub fn start(settings: Settings) -> Result<(Transport, Inbox), StartError> {
        Transport::start_at(settings, endpoint::now)
    }

    /// With another clock for the certificates.
    pub(crate) fn start_at(settings: Settings, clock: Clock) -> Result<(Transport, Inbox), StartError> {
        let Settings { key, own, listen, replicas, limits, is_quiet } = settings;
        let limits = limits.usable();
        let quic = Quic::new(&key, own, clock)?;
        let bind = |address| quic.listen(address).map_err(|error| StartError::Bind(address, error));
        let listeners = listen.into_iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        let dialler = quic.dial().map_err(StartError::Dial)?;

        let places: Vec<_> = replicas.into_iter().filter(|(id, _)| Peer::Replica(*id) != own).collect();
        let book = Book::default();
        let route = |(id, place): &(ReplicaId, String)| {
            let tally = book.tally(Peer::Replica(*id));
            let calls = CallRoute::new(*id, place.clone(), Arc::clone(&tally));
            (*id, Route { outbox: Outbox::new(tally), calls })
        };
        let routes = places.iter().map(route).collect();
        let (from_replicas, replicas) = mpsc::channel(INBOX_MESSAGES);
        let (from_clients, clients) = mpsc::channel(INBOX_MESSAGES);
        let (from_callers, calls) = mpsc::channel(INBOX_CALLS);
        let shared = Arc::new(Shared {
            cluster: key.cluster(),
            limits,
            is_quiet,
            dialler,
            doors: Doors::new(limits.client_connections_max),
            book,
            buffers: Buffers::default(),
            calls_room: Budget::of(limits.call_bytes_total as usize),
            client_calls_room: Budget::of(limits.call_bytes_of_clients() as usize),
            calls_count: AtomicU64::new(0),
            handshakes_refused: Count::default(),
            handshakes_retried: Count::default(),
            listeners,
            is_closing: AtomicBool::new(false),
            is_cut_off: watch::Sender::new(false),
            replicas: routes,
            clients: Mutex::default(),
            messages_unroutable: Count::default(),
            from_replicas,
            from_clients,
            from_callers,
        });

        let mut tasks = JoinSet::new();
        for endpoint in &shared.listeners {
            tasks.spawn(accept(Arc::clone(&shared), endpoint.clone()));
        }
        for endpoint in shared.dialler.endpoints() {
            tasks.spawn(watch_over(Arc::clone(&shared), endpoint.clone()));
        }
        for (id, place) in places {
            let outbox = Arc::clone(&shared.replicas[&id].outbox);
            tasks.spawn(keep_link(Arc::clone(&shared), id, place, outbox));
        }
        Ok((Transport { shared, _tasks: Arc::new(tasks) }, Inbox { replicas, clients, calls }))
    }

    /// Where this process listens, in the order of the settings; port 0 has become the one it got.
    pub fn local_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.shared.listeners.iter().map(Endpoint::local_addr).collect()
    }

    /// Queues a message. Returns at once, from any thread; the message may get lost.
    pub fn send(&self, to: Peer, message: Message) {
        self.send_batch([(to, message)]);
    }

    /// Queues messages that are to leave together: few datagrams, and one awakening for each peer.
    pub fn send_batch(&self, messages: impl IntoIterator<Item = (Peer, Message)>) {
        self.shared.send(messages);
    }

    /// Asks a replica for something of the data plane. How long to wait is the caller's decision:
    /// dropping the future takes the call back.
    pub async fn call(&self, to: ReplicaId, body: DataBody) -> Result<DataBody, CallError> {
        let route = self.shared.replicas.get(&to).ok_or(CallError::Unknown)?;
        route.calls.call(&self.shared, body).await
    }

    /// Waits until a socket has failed by itself: for ever, mostly. There is no way back, and a process
    /// that lingers on deaf is worse than one that is started again.
    pub async fn cut_off(&self) {
        let mut is_cut_off = self.shared.is_cut_off.subscribe();
        is_cut_off.wait_for(|is_cut_off| *is_cut_off).await.expect("its sender lives as long as this");
    }

    pub fn counters(&self) -> Counters {
        Counters {
            handshakes_refused: self.shared.handshakes_refused.get(),
            handshakes_retried: self.shared.handshakes_retried.get(),
            messages_unroutable: self.shared.messages_unroutable.get(),
            peers: self.shared.book.snapshot(),
        }
    }

    /// Tells everybody that this process is going. Without it they would notice after a timeout.
    pub async fn close(&self) {
        self.shared.is_closing.store(true, Ordering::Relaxed);
        for endpoint in self.shared.endpoints() {
            endpoint.close(close::GOING, b"");
        }
        let said = async {
            for endpoint in self.shared.endpoints() {
                endpoint.wait_idle().await;
            }
        };
        // Whoever does not acknowledge will find out by itself.
        let _ = time::timeout(FAREWELL, said).await;
    }
}

/// Why a transport cannot start.
#[derive(Debug)]
pub enum StartError {
    Bind(SocketAddr, io::Error),
    Dial(io::Error),
    Certificate(String),
}

impl StartError {
    pub(crate) fn certificate(error: impl fmt::Display) -> StartError {
        StartError::Certificate(error.to_string())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            StartError::Dial(error) => write!(f, "no socket to dial from: {error}"),
            StartError::Certificate(error) => write!(f, "cannot make a certificate: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
