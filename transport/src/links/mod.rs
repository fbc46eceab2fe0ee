//! Messages of the log, between replicas and from clients to replicas and back.
//!
//! Whoever wants to say something dials: there is one connection for each ordered pair of replicas, on
//! which only the dialler sends. Two replicas that dial each other at once want both connections, so
//! nothing has to be decided and nothing is closed. A client is not dialled: it gets its replies on the
//! connection on which it asked.
//!
//! Each class of messages has its own stream, in the order of urgency, its own queue at the sender and
//! its own room at the receiver. A message may be lost at any time, and nobody is told: whoever needs
//! it says it again.

mod queue;
mod read;
mod write;

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::message::{Class, Message};
use protocol::types::{Peer, ReplicaId};
use quinn::{Connection, VarInt};
use tokio::task::JoinSet;
use tokio::time;

use crate::budget::{Budget, Room};
use crate::counters::Tally;
use crate::dial::Backoff;
use crate::limits::{CLASSES, class_limits};
use crate::transport::Shared;

pub(crate) use queue::{Outbox, Outgoing};
pub(crate) use read::read_messages;
pub(crate) use write::write_messages;

/// The first bytes of every stream of messages: whose stream it is, and of which class.
const PREFACE: [u8; 4] = *b"VSMS";
const PREFACE_SIZE: usize = 5;

fn preface(class: Class) -> [u8; PREFACE_SIZE] {
    let [a, b, c, d] = PREFACE;
    [a, b, c, d, class_number(class)]
}

fn class_of_preface(preface: [u8; PREFACE_SIZE]) -> Option<Class> {
    CLASSES.into_iter().find(|class| self::preface(*class) == preface)
}

fn class_number(class: Class) -> u8 {
    match class {
        Class::Control => 1,
        Class::Log => 2,
        Class::Bulk => 3,
    }
}

/// A message from somebody who is who it says it is.
///
/// Keeping it keeps its peer from sending more than a few megabytes ahead: take the message out and let
/// go of the rest.
#[derive(Debug)]
pub struct Received {
    pub from: Peer,
    pub message: Message,
    _room: Room,
}

/// The room that one connection's messages have, by class, and where they are counted.
#[derive(Clone, Debug)]
pub(crate) struct Rooms {
    tally: Arc<Tally>,
    budgets: [Budget; CLASSES.len()],
}

impl Rooms {
    pub(crate) fn new(tally: Arc<Tally>) -> Rooms {
        let budget = |class| Budget::of(class_limits(class).unhandled_bytes);
        Rooms { tally, budgets: CLASSES.map(budget) }
    }

    fn of(&self, class: Class) -> &Budget {
        &self.budgets[class as usize]
    }
}

/// A connection that lasted for less was no success, and the next attempt waits longer.
const LASTING: Duration = Duration::from_secs(1);

/// Keeps a connection to a replica for as long as the process lives.
pub(crate) async fn keep_link(shared: Arc<Shared>, to: ReplicaId, place: String, outbox: Arc<Outbox>) {
    let peer = Peer::Replica(to);
    let mut backoff = Backoff::new();
    let mut reachable = true;
    let replica = to.get();
    loop {
        match shared.dialler.connect(peer, &place).await {
            Ok(connection) => {
                let since = Instant::now();
                if !shared.is_quiet {
                    tracing::info!(replica, address = %connection.remote_address(), "connected to a replica");
                }
                reachable = true;
                let why = run_link(&shared, peer, &connection, &outbox).await;
                if !shared.is_quiet {
                    tracing::info!(replica, %why, "lost the connection to a replica");
                }
                if since.elapsed() >= LASTING {
                    backoff.reset();
                }
            }
            Err(error) => {
                // Once, and not with every attempt: a peer may be away for days.
                if std::mem::replace(&mut reachable, false) && !shared.is_quiet {
                    tracing::info!(replica, place, %error, "a replica cannot be reached: will try again and again");
                }
            }
        }
        outbox.clear();
        time::sleep(backoff.next()).await;
    }
}

async fn run_link(
    shared: &Arc<Shared>,
    peer: Peer,
    connection: &Connection,
    outbox: &Arc<Outbox>,
) -> quinn::ConnectionError {
    shared.book.opened(peer, connection);
    let rooms = Rooms::new(Arc::clone(&outbox.tally));
    let mut tasks = JoinSet::new();
    spawn_writers(&mut tasks, connection, outbox);
    let why = loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => {
                    let (shared, connection, rooms) = (Arc::clone(shared), connection.clone(), rooms.clone());
                    tasks.spawn(read_messages(shared, connection, peer, stream, rooms));
                }
                Err(why) => break why,
            },
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    };
    shared.book.closed(peer, connection);
    why
}

/// Sends what is in the outbox on this connection, until it closes.
pub(crate) fn spawn_writers(tasks: &mut JoinSet<()>, connection: &Connection, outbox: &Arc<Outbox>) {
    for class in CLASSES {
        let (connection, outbox) = (connection.clone(), Arc::clone(outbox));
        tasks.spawn(write_messages(connection, class, outbox));
    }
}

/// Why a connection is closed by us. The other end sees the number.
pub(crate) mod close {
    use super::VarInt;

    /// The process ends.
    pub(crate) const GOING: VarInt = VarInt::from_u32(1);
    /// A stream carries something that is none of ours.
    pub(crate) const GARBLED: VarInt = VarInt::from_u32(2);
    /// A newer connection of the same peer took its place, or there are too many of all.
    pub(crate) const CROWDED: VarInt = VarInt::from_u32(3);
    /// The streams cannot be written to any more.
    pub(crate) const BROKEN: VarInt = VarInt::from_u32(4);
}
