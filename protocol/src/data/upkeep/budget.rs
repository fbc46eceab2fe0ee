//! How much may be moved by now.

use crate::types::Tick;

/// Bytes accrue with time. Something that takes more than has accrued may begin, and is paid off before
/// the next: so large things move at the same rate as small ones.
#[derive(Debug)]
pub(super) struct Budget {
    /// Thousandths of bytes. Below zero: what was taken in advance.
    balance: i128,
    at: Tick,
}

/// So much can be saved up.
const BURST_MS: u64 = 250;

impl Budget {
    pub(super) fn new(now: Tick) -> Budget {
        Budget { balance: 0, at: now }
    }

    /// Brings the account up to date. What has passed until now is counted at this rate.
    pub(super) fn accrue(&mut self, now: Tick, bytes_per_second: u64) {
        let rate = i128::from(bytes_per_second);
        self.balance += rate * i128::from(now.since(self.at));
        self.balance = self.balance.min(rate * i128::from(BURST_MS));
        self.at = self.at.max(now);
    }

    /// False if nothing may begin yet.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let may = self.balance >= 0;
        if may {
            self.balance -= i128::from(bytes) * 1_000;
        }
        may
    }

    /// When something may begin, at this rate.
    pub(super) fn ready_at(&self, bytes_per_second: u64) -> Tick {
        let owed = u128::try_from(-self.balance).unwrap_or(0);
        let wait = owed.div_ceil(u128::from(bytes_per_second.max(1)));
        self.at.plus(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_no_more_is_taken_than_accrues() {
        for size in [1, 1_000, 100_000] {
            let mut budget = Budget::new(Tick::ZERO);
            let mut taken = 0;
            for now in 0..10_000 {
                budget.accrue(Tick::new(now), 50_000);
                while budget.take(size) {
                    taken += size;
                }
            }
            assert!((490_000..=600_000).contains(&taken), "{taken} of {size}");
        }
    }

    #[test]
    fn it_is_ready_when_it_says() {
        let mut budget = Budget::new(Tick::ZERO);
        assert!(budget.take(1_001));
        assert!(!budget.take(1));
        let ready = budget.ready_at(1_000);
        assert_eq!(ready, Tick::new(1_001));
        budget.accrue(ready.minus(1), 1_000);
        assert!(!budget.take(1));
        budget.accrue(ready, 1_000);
        assert!(budget.take(1));
    }
}
