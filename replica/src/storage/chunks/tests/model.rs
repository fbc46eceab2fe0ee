//! The store against what it promised, with a crash at every call.

use std::collections::BTreeMap;

use super::*;

/// What is known of a chunk from the answers of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    served: Certainty,
    quarantined: Certainty,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Certainty {
    #[default]
    No,
    /// A crash hit what would have changed it.
    Maybe,
    Yes,
}

use Certainty::{Maybe, No, Yes};

impl Certainty {
    fn allows(self, fact: bool) -> bool {
        self == Maybe || fact == (self == Yes)
    }

    fn of(fact: bool) -> Certainty {
        if fact { Yes } else { No }
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

const NAMES: u64 = 24;

fn length_of(number: u64) -> usize {
    [1, 700, 4096, 9000, 300, 66_000][usize::try_from(number % 6).unwrap()]
}

struct World {
    disk: SimulatedDisk,
    store: Store,
    chance: Chance,
    known: BTreeMap<u64, Known>,
    pending: BTreeSet<u64>,
}

impl World {
    fn new(seed: u64) -> World {
        let (disk, store) = new_store(seed);
        World { disk, store, chance: Chance(seed), known: BTreeMap::new(), pending: BTreeSet::new() }
    }

    fn known(&mut self, number: u64) -> &mut Known {
        self.known.entry(number).or_default()
    }

    /// One random call. An error is the end of the process, and leaves the model unsure of exactly
    /// what that call was about.
    fn step(&mut self) -> io::Result<()> {
        let number = self.chance.below(NAMES);
        match self.chance.below(20) {
            0..8 => self.append(number),
            8..13 => self.commit(),
            13..16 => self.delete(number),
            16..18 => self.quarantine(number),
            18 => self.delete_quarantined(number),
            _ => {
                self.check_reads(number);
                Ok(())
            }
        }
    }

    fn append(&mut self, number: u64) -> io::Result<()> {
        let before = *self.known(number);
        if before.served != Yes {
            self.known(number).served = Maybe;
            // It may be found torn, and be set aside.
            let quarantined = &mut self.known(number).quarantined;
            *quarantined = if *quarantined == Yes { Yes } else { Maybe };
        }
        match append_bytes(&mut self.store, id(number), &content(number, length_of(number))) {
            Ok(()) => {
                self.pending.insert(number);
                Ok(())
            }
            Err(AppendError::Io(error)) => Err(error),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn commit(&mut self) -> io::Result<()> {
        let durable: BTreeSet<ChunkId> = self.store.commit_group()?.into_iter().collect();
        for number in std::mem::take(&mut self.pending) {
            let is_served = !is_absent(&self.store.reader(), number);
            assert_eq!(durable.contains(&id(number)), is_served);
            self.known(number).served = Certainty::of(is_served);
            self.learn_quarantined(number);
        }
        Ok(())
    }

    fn delete(&mut self, number: u64) -> io::Result<()> {
        let numbers = [number, (number + 5) % NAMES];
        let before = numbers.map(|number| *self.known(number));
        for (number, known) in numbers.iter().zip(before) {
            let unsure = |certainty| if certainty == No { No } else { Maybe };
            let (served, quarantined) = (unsure(known.served), unsure(known.quarantined));
            *self.known(*number) = Known { served, quarantined };
        }
        self.store.delete(&numbers.map(id))?;
        for number in numbers {
            assert!(is_absent(&self.store.reader(), number));
            // What is pending is not here yet, and may still come.
            let served = if self.pending.contains(&number) { Maybe } else { No };
            *self.known(number) = Known { served, quarantined: served };
        }
        Ok(())
    }

    fn quarantine(&mut self, number: u64) -> io::Result<()> {
        let Ok(stored) = self.store.reader().find(id(number)) else { return Ok(()) };
        let before = *self.known(number);
        let quarantined = if before.quarantined == Yes { Yes } else { Maybe };
        *self.known(number) = Known { served: Maybe, quarantined };
        assert!(self.store.quarantine(stored.copy)?);
        *self.known(number) = Known { served: No, quarantined: Yes };
        Ok(())
    }

    fn delete_quarantined(&mut self, number: u64) -> io::Result<()> {
        if self.known(number).quarantined != No {
            self.known(number).quarantined = Maybe;
        }
        self.store.delete_quarantined(&[id(number)])?;
        self.known(number).quarantined = if self.pending.contains(&number) { Maybe } else { No };
        Ok(())
    }

    fn check_reads(&mut self, number: u64) {
        let reader = self.store.reader();
        match read_all(&reader, number, length_of(number)) {
            Ok(bytes) => assert_eq!(bytes, content(number, length_of(number))),
            Err(ReadFault::Absent) => assert_ne!(self.known(number).served, Yes),
            // The process is dying; nothing was promised.
            Err(ReadFault::Io(_)) if self.disk.is_dead() => {}
            Err(fault) => panic!("{fault:?}"),
        }
    }

    /// The machine starts again, perhaps not at the first attempt.
    fn crash(&mut self) {
        for _ in 0..self.chance.below(3) {
            self.disk.crash();
            self.disk.fail_after(1 + self.chance.below(60));
            let _ = open(&self.disk);
        }
        let (store, report) = reopen(&mut self.disk);
        assert!(report.is_complete(), "{report:?}");
        self.store = store;
        self.pending.clear();
        self.check_all();
    }

    /// Everything that was promised is here and whole; everything that was deleted is not.
    fn check_all(&mut self) {
        let reader = self.store.reader();
        let found: BTreeMap<ChunkId, Held> = held(&reader).into_iter().map(|it| (it.chunk, it)).collect();
        for number in 0..NAMES {
            let held = found.get(&id(number)).copied();
            let served = held.is_some_and(|held| held.served);
            let quarantined = held.is_some_and(|held| held.quarantined);
            let known = *self.known(number);
            assert!(known.served.allows(served), "chunk {number}: {known:?}, {held:?}");
            assert!(known.quarantined.allows(quarantined), "chunk {number}: {known:?}, {held:?}");
            assert_eq!(served, is_whole(&reader, number, length_of(number)));
            if served {
                reader.scrub(id(number)).unwrap();
            }
            *self.known(number) =
                Known { served: Certainty::of(served), quarantined: Certainty::of(quarantined) };
        }
        assert_eq!(reader.chunk_count(), found.values().filter(|held| held.served).count() as u64);
        // Less, if a crash has taken pages of what was set aside.
        assert!(self.disk.used_bytes() <= reader.used_bytes(), "nothing leaks");
    }

    fn learn_quarantined(&mut self, number: u64) {
        let held = self.store.reader().walk(None, usize::MAX);
        let quarantined = held.iter().any(|held| held.chunk == id(number) && held.quarantined);
        let known = self.known(number);
        assert!(known.quarantined.allows(quarantined));
        known.quarantined = Certainty::of(quarantined);
    }
}

#[test]
fn a_store_that_crashes_again_and_again_keeps_all_that_it_promised() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        for _ in 0..6 {
            let lifetime = 1 + world.chance.below(90);
            world.disk.fail_after(lifetime);
            while world.step().is_ok() {}
            world.crash();
        }
    }
}

#[test]
fn a_store_that_is_killed_at_any_call_of_a_script_keeps_all_that_it_promised() {
    let script = |world: &mut World| -> io::Result<()> {
        for round in 0..2 {
            (round * 6..round * 6 + 6).try_for_each(|number| world.append(number))?;
            world.commit()?;
            world.quarantine(round * 6 + 1)?;
            world.delete(round * 6)?;
            world.append(round * 6 + 1)?;
            world.commit()?;
            world.delete_quarantined(round * 6 + 1)?;
        }
        (0..NAMES).try_for_each(|number| world.delete(number))
    };
    let mut whole = World::new(0);
    script(&mut whole).unwrap();
    let calls = whole.disk.calls();
    assert!(calls > 100, "{calls}");
    for call in 1..=calls {
        let mut world = World::new(call);
        world.disk.fail_after(call);
        let _ = script(&mut world);
        world.crash();
        world.crash();
    }
}

#[test]
fn a_store_that_is_closed_and_opened_without_a_crash_is_the_same() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        for _ in 0..60 {
            world.step().unwrap();
        }
        world.commit().unwrap();
        let before = (held(&world.store.reader()), world.store.reader().used_bytes());
        let (store, report) = open(&world.disk).unwrap();
        assert_eq!(report, OpenReport::default());
        assert_eq!((held(&store.reader()), store.reader().used_bytes()), before);
    }
}
