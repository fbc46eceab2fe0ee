//! The network: directed links that delay, lose, repeat, reorder, damage and hold back.

use std::collections::{BTreeMap, BTreeSet};

use protocol::types::Peer;

use crate::random::Random;

/// Rates are per million messages; delays in microseconds.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    pub delay_mean: u64,
    pub loss: u64,
    pub duplication: u64,
    /// A copy that arrives after seconds or minutes.
    pub late_copy: u64,
    pub late_copy_delay_max: u64,
    pub bit_flip: u64,
    /// Messages larger than this many bytes are lost on links that are narrow.
    pub narrow_bytes: usize,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub delay: u64,
    pub flipped: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    cut: bool,
    narrow: bool,
    /// Added to every delay.
    clog: u64,
}

pub struct Network {
    options: NetworkOptions,
    links: BTreeMap<(Peer, Peer), Link>,
    random: Random,
    /// Since the troubles ended: whose links still lose, repeat and damage. Before: everybody's.
    noisy: Option<BTreeSet<Peer>>,
}

impl Network {
    pub fn new(options: NetworkOptions, random: Random) -> Network {
        Network { options, links: BTreeMap::new(), random, noisy: None }
    }

    /// When, if at all, the copies of a message arrive.
    pub fn deliver(&mut self, from: Peer, to: Peer, size: usize) -> Vec<Delivery> {
        let link = self.links.get(&(from, to)).copied().unwrap_or_default();
        if link.cut || (link.narrow && size > self.options.narrow_bytes) {
            return Vec::new();
        }
        let mut copies = Vec::new();
        if !self.is_noisy(from, to) {
            copies.push(Delivery { delay: self.delay(link.clog), flipped: false });
            return copies;
        }
        if !self.random.per_million(self.options.loss) {
            copies.push(self.one(link.clog));
        }
        if self.random.per_million(self.options.duplication) {
            copies.push(self.one(link.clog));
        }
        if self.random.per_million(self.options.late_copy) {
            let delay = self.random.below(self.options.late_copy_delay_max);
            copies.push(Delivery { delay, flipped: false });
        }
        copies
    }

    fn delay(&mut self, clog: u64) -> u64 {
        clog + self.random.exponential(self.options.delay_mean).max(1)
    }

    fn one(&mut self, clog: u64) -> Delivery {
        let delay = self.delay(clog);
        Delivery { delay, flipped: self.random.per_million(self.options.bit_flip) }
    }

    fn link(&mut self, from: Peer, to: Peer) -> &mut Link {
        self.links.entry((from, to)).or_default()
    }

    pub fn cut(&mut self, from: Peer, to: Peer) {
        self.link(from, to).cut = true;
    }

    pub fn mend(&mut self, from: Peer, to: Peer) {
        self.links.remove(&(from, to));
    }

    pub fn clog(&mut self, from: Peer, to: Peer, delay: u64) {
        self.link(from, to).clog = delay;
    }

    pub fn narrow(&mut self, from: Peer, to: Peer) {
        self.link(from, to).narrow = true;
    }

    pub fn is_cut(&self, from: Peer, to: Peer) -> bool {
        self.links.get(&(from, to)).is_some_and(|link| link.cut)
    }

    /// Whether the link carries nothing, or not everything.
    pub fn is_damaged(&self, from: Peer, to: Peer) -> bool {
        self.links.get(&(from, to)).is_some_and(|link| link.cut || link.narrow)
    }

    /// Whether what the link carries arrives late.
    pub fn is_slow(&self, from: Peer, to: Peer) -> bool {
        self.links.get(&(from, to)).is_some_and(|link| link.clog > 0)
    }

    pub fn mend_all(&mut self) {
        self.links.clear();
    }

    /// From now on links do nothing to what they carry, and are whole: but for the links of these, which
    /// stay as they are.
    pub fn calm(&mut self, but: &BTreeSet<Peer>) {
        self.links.retain(|(from, to), _| but.contains(from) || but.contains(to));
        self.noisy = Some(but.clone());
    }

    fn is_noisy(&self, from: Peer, to: Peer) -> bool {
        self.noisy.as_ref().is_none_or(|noisy| noisy.contains(&from) || noisy.contains(&to))
    }
}
