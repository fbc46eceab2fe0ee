//! The only source of chance: one tree of generators per seed, a branch for each concern, so that a
//! change in one does not reshuffle the others.

use rand_core::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

#[derive(Clone, Debug)]
pub struct Random {
    generator: Xoshiro256PlusPlus,
}

impl Random {
    /// The branch called `name` of the seed's tree.
    pub fn branch(seed: u64, name: &str) -> Random {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Random { generator: Xoshiro256PlusPlus::seed_from_u64(seed ^ hash) }
    }

    pub fn word(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// Uniform in `0..bound`; zero for an empty range.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.word() % bound }
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("it is below a usize")
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    /// True so many times in a million.
    pub fn per_million(&mut self, rate: u64) -> bool {
        rate > 0 && self.below(1_000_000) < rate
    }

    pub fn percent(&mut self, rate: u64) -> bool {
        self.below(100) < rate
    }

    /// Mostly near `mean`, sometimes far beyond.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        let zeros = u64::from(self.word().leading_zeros().min(10));
        mean / 4 + mean / 2 * zeros + self.below(mean / 2 + 1)
    }
}
