//! What replicas say to each other when nothing goes wrong: a storm of messages is a bug, though
//! everything else may be right.

use std::collections::BTreeMap;

use protocol::config::Config;
use protocol::message::{Body, Message};
use protocol::types::Peer;

/// An entry goes to a backup, which acknowledges it.
const PER_ENTRY: u64 = 2;
/// A heartbeat goes to a backup, which answers it and acknowledges its log once more.
const PER_BEAT: u64 = 3;
/// The timers of calm replicas beat a little faster than they are set.
const BEATS_PERCENT: u64 = 120;
/// The first election, the first connections, and the search for the primary.
const BEGINNING: u64 = 40;

#[derive(Default)]
pub struct Chatter {
    /// From replica to replica, by kind.
    sent: BTreeMap<&'static str, u64>,
    /// From clients. Each makes the primary ask its backups, at worst.
    queries: u64,
}

impl Chatter {
    pub fn on_send(&mut self, to: Peer, message: &Message) {
        match (message.from, to) {
            (Peer::Replica(_), Peer::Replica(_)) => {
                *self.sent.entry(message.body.kind()).or_default() += 1;
            }
            (Peer::Client(_), _) if matches!(message.body, Body::Query { .. }) => self.queries += 1,
            _ => {}
        }
    }

    /// Judges a life without troubles.
    pub fn judge(&self, config: &Config, committed: u64, micros: u64) -> Result<(), String> {
        let count = config.quorums.replica_count as u64;
        let backups = count - 1;
        let beats = micros * BEATS_PERCENT / 100 / (config.timeouts.heartbeat_ms * 1_000) + self.queries;
        // Everybody tells everybody its state at each checkpoint.
        let roots = count * (committed / config.limits.checkpoint_interval_ops);
        let allowed = backups * (PER_ENTRY * committed + PER_BEAT * beats + roots + BEGINNING);
        let sent: u64 = self.sent.values().sum();
        if sent <= allowed {
            return Ok(());
        }
        Err(format!("{sent} messages between replicas where {allowed} would do: {:?}", self.sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Mode, Options, Stack};

    /// Each message that follows from an entry or a heartbeat may be sent, and not all of them twice.
    #[test]
    fn what_calm_replicas_need_to_say_is_allowed_and_twice_as_much_is_not() {
        let config = Options::draw(1, Mode::Calm, Stack::Core).config;
        assert_eq!(config.quorums.replica_count, 3);
        let (committed, seconds) = (1_000, 10);
        let heartbeats = seconds * 1_000 / config.timeouts.heartbeat_ms;
        let roots = 3 * (committed / config.limits.checkpoint_interval_ops);
        let needed = 2 * (2 * committed + 3 * heartbeats + roots);
        let judged = |sent| {
            let chatter = Chatter { sent: BTreeMap::from([("Commit", sent)]), queries: 0 };
            chatter.judge(&config, committed, seconds * 1_000_000)
        };
        assert!(judged(needed).is_ok());
        assert!(judged(2 * needed).is_err());
    }
}
