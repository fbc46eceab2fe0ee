//! Everything at once, from a seed: what is ready is true, memory is bounded, and every put ends.

use super::world::{CHUNK, World, settings};
use crate::data::cluster::{Mood, replica};
use crate::data::message::DataRefusal;

fn change(world: &mut World) {
    let count = world.cluster.holders.len();
    let whom = replica(usize::try_from(world.cluster.below(count as u64)).unwrap());
    let mood = match world.cluster.below(14) {
        0 => Mood::Slow(100 + 10 * whom.index() as u64),
        1 => Mood::Silent,
        2 => Mood::Down,
        3 => Mood::Mute,
        4 => Mood::Confused,
        5 => Mood::Refuses(DataRefusal::Busy),
        6 => Mood::Refuses(DataRefusal::NotReady),
        7 => Mood::Refuses(DataRefusal::Full),
        8 => Mood::Refuses(DataRefusal::Damaged),
        9 => return world.cluster.replace_disk(whom),
        _ => Mood::Fine,
    };
    world.cluster.mood(whom, mood);
}

/// Commits as the log would, until it is accepted or the put has failed.
fn commit(world: &mut World, mut between: impl FnMut(&mut World)) -> bool {
    loop {
        let before = world.ready.len();
        for _ in 0..10_000 {
            if world.ready.len() > before || world.failed.is_some() {
                break;
            }
            between(world);
            world.run(10);
        }
        if world.failed.is_some() {
            return false;
        }
        assert!(world.ready.len() > before, "the put never ends");
        if world.is_committed(world.stored()) {
            return true;
        }
        world.on_too_few_copies();
    }
}

fn storm(seed: u64) -> World {
    let replica_count = usize::try_from(seed % 7).unwrap() + 1;
    let mut world = World::new(replica_count, 1, seed);
    let chunks = 1 + world.cluster.below(40);
    let length = usize::try_from(chunks * 1_000 - world.cluster.below(1_000)).unwrap();
    world = World::new(replica_count, length, seed);
    world.cluster.loss_percent = world.cluster.below(30);
    world.cluster.duplicate_percent = world.cluster.below(50);
    world.cluster.stray_percent = world.cluster.below(20);
    world.cluster.delay_ms = 1 + world.cluster.below(100);
    world
}

#[test]
fn in_every_storm_what_is_ready_is_true_and_every_put_ends() {
    let (mut committed, mut failed) = (0, 0);
    for seed in 0..140 {
        let mut world = storm(seed);
        let often = 1 + world.cluster.below(40);
        let done = commit(&mut world, |world| {
            if world.cluster.below(often) == 0 {
                change(world);
            }
        });
        if done {
            committed += 1;
        } else {
            failed += 1;
        }
        world.run(settings().linger_ms);
        assert_eq!(world.put.bytes_held(), 0, "seed {seed}");
        assert_eq!(world.put.next_tick(), None, "seed {seed}");
    }
    // Storms that nothing survives, or that everything survives, would prove nothing.
    assert!(committed > 40, "{committed} committed");
    assert!(failed > 15, "{failed} failed");
}

/// A minority that is down, or says what it likes, stops nothing.
#[test]
fn while_a_quorum_works_every_put_succeeds() {
    for seed in 0..84 {
        let mut world = storm(seed);
        world.cluster.loss_percent /= 2;
        let layout = world.cluster.layout;
        let failures = layout.quorums.replica_count - layout.copies_min();
        let moods = [Mood::Silent, Mood::Down, Mood::Mute, Mood::Confused, Mood::Refuses(DataRefusal::Full)];
        for index in 0..failures {
            let mood = moods[usize::try_from(world.cluster.below(5)).unwrap()];
            world.cluster.mood(replica(index), mood);
        }
        assert!(commit(&mut world, |_| {}), "seed {seed}: {:?}", world.failed);
        assert_eq!(world.ready.len(), 1, "seed {seed}");
        let copies = world.content.len().div_ceil(CHUNK) * world.cluster.layout.copies_min();
        assert!(world.stored().receipts.len() >= copies, "seed {seed}");
    }
}

#[test]
fn a_seed_gives_the_same_run_every_time() {
    let run = |seed| {
        let mut world = storm(seed);
        commit(&mut world, |world| {
            if world.cluster.below(5) == 0 {
                change(world);
            }
        });
        (world.sent, world.ready, world.failed)
    };
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed));
    }
}
