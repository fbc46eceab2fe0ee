//! Whoever dials us.

use std::sync::Arc;

use protocol::types::Peer;
use quinn::{Connection, Endpoint, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time;

use crate::budget::Budget;
use crate::calls::serve_call;
use crate::counters::Tally;
use crate::limits::{HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, HANDSHAKES_UNPROVEN_MAX, REPLICA_CONNECTIONS_MAX};
use crate::links::{Outbox, Rooms, close, read_messages, spawn_writers};
use crate::tls::peer_of_connection;
use crate::transport::Shared;

/// Who may be let in at once.
#[derive(Debug)]
pub(crate) struct Doors {
    /// Handshakes of addresses that may be forged.
    unproven: Arc<Semaphore>,
    /// Handshakes of addresses that answered.
    proven: Arc<Semaphore>,
    /// Apart from those of clients: however many of these there are, the replicas reach each other.
    replica_connections: Arc<Semaphore>,
    client_connections: Arc<Semaphore>,
}

impl Doors {
    pub(crate) fn new(client_connections_max: usize) -> Doors {
        Doors {
            unproven: Arc::new(Semaphore::new(HANDSHAKES_UNPROVEN_MAX)),
            proven: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            replica_connections: Arc::new(Semaphore::new(REPLICA_CONNECTIONS_MAX)),
            client_connections: Arc::new(Semaphore::new(client_connections_max)),
        }
    }

    fn for_connections_of(&self, peer: Peer) -> &Arc<Semaphore> {
        match peer {
            Peer::Replica(_) => &self.replica_connections,
            Peer::Client(_) => &self.client_connections,
        }
    }
}

fn enter(door: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(door).try_acquire_owned().ok()
}

/// Lets members in, for as long as the endpoint is open.
pub(crate) async fn accept(shared: Arc<Shared>, endpoint: Endpoint) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => admit(&shared, incoming, &mut tasks),
                None => return shared.endpoint_ended(),
            },
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

/// Waits for the end of an endpoint that only dials. Nobody gets in there: it has no certificate to show.
pub(crate) async fn watch_over(shared: Arc<Shared>, endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        incoming.ignore();
    }
    shared.endpoint_ended();
}

/// A flood of handshakes from forged addresses gets the few places of the unproven, and gives them back
/// when they time out. Everybody else is asked to show that it can be answered, which costs one round
/// trip and, here, no memory.
fn admit(shared: &Arc<Shared>, incoming: Incoming, tasks: &mut JoinSet<()>) {
    let proven = incoming.remote_address_validated();
    let door = if proven { &shared.doors.proven } else { &shared.doors.unproven };
    match enter(door) {
        Some(place) => {
            tasks.spawn(greet(Arc::clone(shared), incoming, place));
        }
        None if proven => {
            shared.handshakes_refused.add(1);
            incoming.refuse();
        }
        None => {
            shared.handshakes_retried.add(1);
            // An address that is not proven may always be asked.
            if let Err(refused) = incoming.retry() {
                refused.into_incoming().ignore();
            }
        }
    }
}

/// From the handshake to the end of the connection.
async fn greet(shared: Arc<Shared>, incoming: Incoming, place: OwnedSemaphorePermit) {
    let address = incoming.remote_address();
    let handshake = async { incoming.accept()?.await };
    let connection = match time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "handshake refused");
            return shared.handshakes_refused.add(1);
        }
        Err(_) => return shared.handshakes_refused.add(1),
    };
    drop(place);
    let entered = peer_of_connection(&connection)
        .and_then(|peer| Some((peer, enter(shared.doors.for_connections_of(peer))?)));
    let Some((peer, place)) = entered else {
        shared.handshakes_refused.add(1);
        return connection.close(close::CROWDED, b"");
    };
    tracing::debug!(?peer, %address, "accepted");
    let tally = shared.book.tally(peer);
    if let Some(oldest) = shared.book.opened(peer, &connection) {
        oldest.close(close::CROWDED, b"");
    }
    serve(&shared, peer, &connection, &tally).await;
    // Whoever sees that the connection is gone can have its place.
    drop(place);
    shared.book.closed(peer, &connection);
}

/// Takes what the peer sends until the connection ends.
async fn serve(shared: &Arc<Shared>, peer: Peer, connection: &Connection, tally: &Arc<Tally>) {
    let rooms = Rooms::new(Arc::clone(tally));
    let calls = Budget::of(shared.limits.call_bytes_per_peer as usize);
    let mut outbox = None;
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_uni() => {
                let Ok(stream) = stream else { break };
                // A client's first message makes this the connection of its replies.
                if let (Peer::Client(client), None) = (peer, &outbox) {
                    let replies = outbox.insert(Outbox::new(Arc::clone(tally)));
                    spawn_writers(&mut tasks, connection, replies);
                    shared.clients().insert(client, Arc::clone(replies));
                }
                let (shared, connection, rooms) = (Arc::clone(shared), connection.clone(), rooms.clone());
                tasks.spawn(read_messages(shared, connection, peer, stream, rooms));
            }
            streams = connection.accept_bi() => {
                let Ok((answer, call)) = streams else { break };
                tasks.spawn(serve_call(Arc::clone(shared), peer, Arc::clone(tally), calls.clone(), call, answer));
            }
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
    if let (Peer::Client(client), Some(outbox)) = (peer, outbox) {
        let mut clients = shared.clients();
        // Perhaps it has a newer connection.
        if clients.get(&client).is_some_and(|current| Arc::ptr_eq(current, &outbox)) {
            clients.remove(&client);
        }
    }
}
