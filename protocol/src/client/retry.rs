//! When to send again, and how widely.

use rand_core::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::ClientSettings;
use crate::types::Tick;

/// To whom something is sent. Unanswered, it climbs: a backup that learns of the request suspects a
/// primary that does not prepare it, and whoever leads by now hears of it at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Primary,
    PrimaryAndOther,
    Everybody,
}

#[derive(Clone, Debug)]
pub(super) struct Retry {
    /// When it is due. At first at once.
    pub(super) at: Tick,
    /// How often it was sent to where the primary is now believed to be.
    sends: u32,
    /// How often the pause was doubled.
    doublings: u32,
}

/// `resend_ms` doubled so often exceeds every sensible maximum.
const DOUBLINGS_MAX: u32 = 16;

impl Retry {
    pub(super) fn at_once(now: Tick) -> Retry {
        Retry { at: now, sends: 0, doublings: 0 }
    }

    pub(super) fn is_due(&self, now: Tick) -> bool {
        self.at <= now
    }

    /// How widely to send now; the next time is set.
    pub(super) fn send(
        &mut self,
        now: Tick,
        settings: &ClientSettings,
        random: &mut Xoshiro256PlusPlus,
    ) -> Reach {
        let reach = match self.sends {
            0 => Reach::Primary,
            1 => Reach::PrimaryAndOther,
            _ => Reach::Everybody,
        };
        self.sends = self.sends.saturating_add(1);
        self.wait(now, settings, random);
        reach
    }

    /// The primary has no room: ask the same one again, later.
    pub(super) fn back_off(&mut self, now: Tick, settings: &ClientSettings, random: &mut Xoshiro256PlusPlus) {
        self.sends = 0;
        self.wait(now, settings, random);
    }

    /// The primary is somewhere else: ask there now.
    pub(super) fn redirect(&mut self, now: Tick) {
        *self = Retry::at_once(now);
    }

    /// Half of the pause is certain, the rest is chance, so that clients do not march in step.
    fn wait(&mut self, now: Tick, settings: &ClientSettings, random: &mut Xoshiro256PlusPlus) {
        let doubled = settings.resend_ms.saturating_mul(1 << self.doublings);
        self.at = now.plus(jittered(doubled.min(settings.resend_max_ms), random));
        self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
    }
}

/// Between one half and three halves of the duration, at least one.
pub(crate) fn jittered(duration_ms: u64, random: &mut Xoshiro256PlusPlus) -> u64 {
    let half = duration_ms / 2;
    half.saturating_add(random.next_u64() % duration_ms.max(1)).max(1)
}
