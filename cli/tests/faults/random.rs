//! Choices that differ from run to run, by a seed that is printed. They do not make a run of real
//! processes repeatable, but what was tried is known.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(story: &str) -> Random {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = since.as_secs() << 30 | u64::from(since.subsec_nanos()) | 1;
        println!("{story}: seed {seed}");
        Random(seed)
    }

    /// Xorshift, with its output scrambled.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).unwrap() % bound
    }

    pub(crate) fn sleep_ms(&mut self, least: u64, most: u64) {
        std::thread::sleep(Duration::from_millis(least + self.next() % (most - least + 1)));
    }
}
