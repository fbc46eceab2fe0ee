//! Makes a failing world smaller, as long as it fails: fewer kinds of trouble, fewer replicas, fewer
//! clients, less time. Anything that changes makes another world of the seed, so every step is tried.

use protocol::canary::Canary;

use crate::options::Options;
use crate::run::{Wishes, run_seed};
use crate::switches::{self, Switch};

/// The smallest world that was found, and how it fails.
pub struct Shrunk {
    pub wishes: Wishes,
    pub what: String,
    pub tries: u32,
}

struct Search<'a> {
    seed: u64,
    canary: Option<Canary>,
    /// What the failure is not allowed to turn into.
    vacuous: bool,
    tell: &'a dyn Fn(&str),
    best: Shrunk,
}

/// None: this world does not fail.
pub fn shrink(seed: u64, wishes: &Wishes, canary: Option<Canary>, tell: &dyn Fn(&str)) -> Option<Shrunk> {
    let what = run_seed(&wishes.options(seed), canary, false).err()?;
    let best = Shrunk { wishes: wishes.clone(), what, tries: 1 };
    let vacuous = is_vacuous(&best.what);
    let mut search = Search { seed, canary, vacuous, tell, best };
    while search.round() {}
    Some(search.best)
}

/// Without enough troubles, or time, nothing is left to judge: that is another failure.
fn is_vacuous(what: &str) -> bool {
    what.contains("nothing was compared")
}

impl Search<'_> {
    /// Tries everything once. True if something helped.
    fn round(&mut self) -> bool {
        let before = self.best.wishes.clone();
        let present = self.options();
        let on: Vec<&Switch> =
            switches::ALL.iter().filter(|it| *(it.rate)(&mut present.clone()) > 0).collect();
        // Halves first: mostly few kinds of trouble are needed.
        let mut size = on.len();
        while size > 0 {
            for group in on.chunks(size) {
                self.attempt(|wishes| wishes.without.extend(group.iter().map(|switch| switch.name)));
            }
            size /= 2;
        }
        let replicas = self.options().config.quorums.replica_count;
        for count in [1, 3, 2, 5, 4].into_iter().filter(|count| *count < replicas) {
            if self.attempt(|wishes| wishes.replicas = Some(count)) {
                break;
            }
        }
        let clients = self.options().client_count;
        for count in 1..clients {
            if self.attempt(|wishes| wishes.clients = Some(count)) {
                break;
            }
        }
        let seconds = self.options().duration / 1_000_000;
        for fewer in [1, 2, 3, 4, 6, 8, 12, 16].into_iter().filter(|fewer| *fewer < seconds) {
            if self.attempt(|wishes| wishes.seconds = Some(fewer)) {
                break;
            }
        }
        self.best.wishes != before
    }

    fn options(&self) -> Options {
        self.best.wishes.options(self.seed)
    }

    fn attempt(&mut self, change: impl FnOnce(&mut Wishes)) -> bool {
        let mut wishes = self.best.wishes.clone();
        change(&mut wishes);
        if wishes == self.best.wishes {
            return false;
        }
        self.best.tries += 1;
        let Err(what) = run_seed(&wishes.options(self.seed), self.canary, false) else { return false };
        if is_vacuous(&what) && !self.vacuous {
            return false;
        }
        (self.tell)(&what);
        self.best = Shrunk { wishes, what, tries: self.best.tries };
        true
    }
}
