//! A bound on what is under way: in all, and for each peer, so that one of them cannot take it all.

use std::collections::BTreeMap;

use crate::types::Peer;

#[derive(Debug)]
pub(super) struct Room {
    total_max: u64,
    per_peer_max: u64,
    total: u64,
    /// Only peers with something under way.
    by_peer: BTreeMap<Peer, u64>,
}

impl Room {
    pub(super) fn new(total_max: u64, per_peer_max: u64) -> Room {
        Room { total_max, per_peer_max, total: 0, by_peer: BTreeMap::new() }
    }

    pub(super) fn used(&self) -> u64 {
        self.total
    }

    pub(super) fn has(&self, peer: Peer, amount: u64) -> bool {
        let used = self.by_peer.get(&peer).copied().unwrap_or(0);
        self.total.saturating_add(amount) <= self.total_max
            && used.saturating_add(amount) <= self.per_peer_max
    }

    /// False if there is not so much room; then nothing was taken.
    pub(super) fn take(&mut self, peer: Peer, amount: u64) -> bool {
        let fits = self.has(peer, amount);
        if fits {
            self.total += amount;
            *self.by_peer.entry(peer).or_insert(0) += amount;
        }
        fits
    }

    pub(super) fn give_back(&mut self, peer: Peer, amount: u64) {
        let used = self.by_peer.get_mut(&peer).expect("what is given back was taken");
        *used -= amount;
        self.total -= amount;
        if *used == 0 {
            self.by_peer.remove(&peer);
        }
    }
}
