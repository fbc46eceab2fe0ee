//! Whatever a log goes through, as long as it is only power cuts: at any call, also while it is
//! being opened after the last one, it knows its end and keeps what it reported.

use super::*;

/// Some seeds, each with a script of its own.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A disk, and what its log has ever been given and has reported.
struct Machine {
    disk: SimulatedDisk,
    random: Random,
    given: BTreeMap<Checksum, Entry>,
    /// Reported and not reclaimed.
    durable: BTreeSet<(Op, Checksum)>,
    reclaimed: u64,
    last: u64,
    ever_opened: bool,
}

impl Machine {
    fn new(seed: u64) -> Machine {
        Machine {
            disk: SimulatedDisk::new(seed),
            random: Random(seed),
            given: BTreeMap::new(),
            durable: BTreeSet::new(),
            reclaimed: 0,
            last: 0,
            ever_opened: false,
        }
    }

    fn open(&mut self) -> io::Result<(Wal<SimulatedDisk>, WalScan)> {
        let options = WalOptions { segment_size: SEGMENT, never_used: !self.ever_opened };
        let opened = Wal::open(&self.disk, CLUSTER, REPLICA, options)?;
        self.ever_opened = true;
        Ok(opened)
    }

    /// Opens again and again, the power failing at the first call, then at the second, and so on
    /// until it lasts. In between, the power sometimes stays for once.
    fn restart(&mut self, story: &str) -> Wal<SimulatedDisk> {
        for call in 1.. {
            self.disk.crash();
            if self.random.percent(20) {
                let opened = self.open().unwrap();
                self.check(opened, story);
                self.disk.crash();
            }
            self.disk.fail_after(call);
            if let Ok(opened) = self.open() {
                self.disk.fail_after(u64::MAX);
                return self.check(opened, story);
            }
        }
        unreachable!("an open makes a few hundred calls")
    }

    fn check(&mut self, opened: (Wal<SimulatedDisk>, WalScan), story: &str) -> Wal<SimulatedDisk> {
        let (mut wal, scan) = opened;
        assert!(scan.certain, "{story}: {}", found(&scan));
        for record in &scan.records {
            let op = record.header.op;
            assert!(self.given.contains_key(&record.name), "{story}: op {op} was never given");
            assert!(record.present || op.get() <= self.reclaimed, "{story}: op {op} is lost");
            // What is called present is promised like what was reported.
            if op.get() > self.reclaimed {
                self.durable.insert((op, record.name));
            }
        }
        for (op, name) in &self.durable {
            let read = wal.read(*op, *name).unwrap();
            assert_eq!(read.as_ref(), self.given.get(name), "{story}: op {op}");
            let told = scan.records.iter().any(|record| record.name == *name && record.present);
            assert!(told, "{story}: op {op} is not reported");
        }
        wal
    }

    /// Appends, reclaims and allocates until the power fails.
    fn live(&mut self, wal: &mut Wal<SimulatedDisk>) -> io::Result<()> {
        for _ in 0..8 {
            let group = [0, 1, 1, 2, 4, 7, 12][usize::try_from(self.random.below(7)).unwrap()];
            for _ in 0..group {
                self.append(wal)?;
            }
            self.durable.extend(wal.commit_group()?);
            if self.random.percent(30)
                && let Some(job) = wal.order_spare()
            {
                wal.install_spare(job.run()?);
            }
            if self.random.percent(20) {
                self.reclaimed = self.last.saturating_sub(20).max(self.reclaimed);
                wal.reclaim(Op::new(self.reclaimed));
                self.durable.retain(|(op, _)| op.get() > self.reclaimed);
            }
        }
        Ok(())
    }

    /// Mostly the next op; sometimes another view's, or an old one once more.
    fn append(&mut self, wal: &mut Wal<SimulatedDisk>) -> io::Result<()> {
        let op = match self.random.percent(90) {
            true => self.last + 1,
            false => self.last.max(self.reclaimed + 1),
        };
        self.last = self.last.max(op);
        let size = [0, 200, 700, 1500][usize::try_from(self.random.below(4)).unwrap()];
        let entry = entry(op, 1 + self.random.below(2), size);
        self.given.insert(entry.name, entry.clone());
        wal.append(&entry)
    }
}

#[test]
fn power_cuts_at_every_call_of_every_life_leave_the_end_known_and_everything_reported() {
    for seed in 0..40 {
        let mut machine = Machine::new(seed);
        let mut wal = machine.open().unwrap().0;
        for life in 0..6 {
            machine.disk.fail_after(1 + machine.random.below(40));
            let died = machine.live(&mut wal).is_err();
            wal = machine.restart(&format!("seed {seed} life {life} died {died}"));
        }
    }
}
