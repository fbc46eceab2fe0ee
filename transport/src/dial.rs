//! Reaching a peer by name.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::types::Peer;
use quinn::{Connection, ConnectionError, Endpoint};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::task::JoinSet;
use tokio::time;

use crate::endpoint::Dialler;
use crate::identity::name_of;
use crate::limits::{BACKOFF_MAX, BACKOFF_MIN, HANDSHAKE_TIMEOUT};
use crate::tls::peer_of_connection;

/// A name may stand for several addresses, of which some do not answer: the next is tried while the
/// one before is still being waited for.
const STAGGER: Duration = Duration::from_millis(150);
const ADDRESSES_MAX: usize = 8;

impl Dialler {
    /// Connects to `peer` at `place`, a host and a port. The name is looked up each time: a peer that
    /// moved is found again.
    pub(crate) async fn connect(&self, peer: Peer, place: &str) -> Result<Connection, DialError> {
        let addresses = match place.parse::<SocketAddr>() {
            Ok(address) => vec![address],
            Err(_) => {
                let found = tokio::net::lookup_host(place)
                    .await
                    .map_err(|error| DialError::Name(error.to_string()))?;
                found.take(ADDRESSES_MAX).collect()
            }
        };
        let mut attempts = JoinSet::new();
        for (address, turn) in addresses.into_iter().zip(0_u32..) {
            if let Some(endpoint) = self.endpoint_for(address).cloned() {
                attempts.spawn(async move {
                    time::sleep(STAGGER * turn).await;
                    handshake(&endpoint, address, peer).await
                });
            }
        }
        let mut failure = DialError::Address(format!("{place} has no address that this machine can reach"));
        while let Some(attempt) = attempts.join_next().await {
            match attempt {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failure = error,
                Err(panic) => failure = DialError::Address(panic.to_string()),
            }
        }
        Err(failure)
    }
}

async fn handshake(endpoint: &Endpoint, address: SocketAddr, peer: Peer) -> Result<Connection, DialError> {
    let connecting = endpoint
        .connect(address, &name_of(peer))
        .map_err(|error| DialError::Address(format!("{address}: {error}")))?;
    let connection = time::timeout(HANDSHAKE_TIMEOUT, connecting)
        .await
        .map_err(|_| DialError::Handshake(ConnectionError::TimedOut))?
        .map_err(DialError::Handshake)?;
    if peer_of_connection(&connection) != Some(peer) {
        return Err(DialError::SomebodyElse);
    }
    Ok(connection)
}

/// Why a peer cannot be reached.
#[derive(Clone, Debug)]
pub(crate) enum DialError {
    Name(String),
    Address(String),
    Handshake(ConnectionError),
    SomebodyElse,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Name(error) => write!(f, "no address: {error}"),
            DialError::Address(error) => write!(f, "cannot dial: {error}"),
            DialError::Handshake(error) => write!(f, "handshake failed: {error}"),
            DialError::SomebodyElse => f.write_str("somebody else answered"),
        }
    }
}

/// How long to wait before the next attempt: longer each time, and never in step with others who lost
/// the same peer at the same moment.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    random: SystemRandom,
}

impl Backoff {
    pub(crate) fn new() -> Backoff {
        Backoff { next: BACKOFF_MIN, random: SystemRandom::new() }
    }

    pub(crate) fn reset(&mut self) {
        self.next = BACKOFF_MIN;
    }

    /// Between half of the time and all of it.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(BACKOFF_MAX);
        let mut byte = [0];
        // Without randomness the full time is as good.
        let share = self.random.fill(&mut byte).map_or(u32::from(u8::MAX), |()| u32::from(byte[0]));
        whole / 2 + whole / 2 * share / u32::from(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_to_a_bound_and_is_never_the_same_twice() {
        let waits = |mut backoff: Backoff| (0..20).map(|_| backoff.next()).collect::<Vec<_>>();
        let (one, other) = (waits(Backoff::new()), waits(Backoff::new()));
        assert_ne!(one, other);
        assert!(one.iter().all(|wait| (BACKOFF_MIN / 2..=BACKOFF_MAX).contains(wait)));
        assert!(one[10..].iter().all(|wait| *wait >= BACKOFF_MAX / 2));

        let mut backoff = Backoff::new();
        for _ in 0..20 {
            backoff.next();
        }
        backoff.reset();
        assert!(backoff.next() <= BACKOFF_MIN);
    }
}
