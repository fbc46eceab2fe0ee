//! Everything at once, from a seed: no byte is wrong, memory is bounded, and every get ends.

use super::patchwork;
use super::world::{BLOCK, World};
use crate::data::cluster::{Cluster, Mood, replica};
use crate::data::get::GetFailure;
use crate::data::message::DataRefusal;

/// Faults of one holder. Those at the end are no lies, and pass or can be noticed.
fn mood(cluster: &mut Cluster) -> Mood {
    match cluster.below(12) {
        0 => Mood::Slow(100 + cluster.below(500)),
        1 => Mood::Silent,
        2 => Mood::Down,
        3 => Mood::Mute,
        4 => Mood::Rotten,
        5 => Mood::Lies,
        6 => Mood::Short(1 + u32::try_from(cluster.below(3)).unwrap()),
        7 => Mood::Refuses(DataRefusal::Busy),
        8 => Mood::Refuses(DataRefusal::Damaged),
        9 => Mood::Confused,
        _ => Mood::Fine,
    }
}

fn storm(seed: u64) -> World {
    let replica_count = usize::try_from(seed % 7).unwrap() + 1;
    let mut cluster = Cluster::of(replica_count, seed);
    cluster.loss_percent = cluster.below(20);
    cluster.duplicate_percent = cluster.below(40);
    cluster.stray_percent = cluster.below(20);
    cluster.delay_ms = 1 + cluster.below(50);
    let object = patchwork(&mut cluster);
    let length = object.content.len();
    let start = usize::try_from(cluster.below(length as u64)).unwrap();
    let me = cluster.below(2) == 0;
    let me = me.then(|| replica(usize::try_from(seed).unwrap() % replica_count));
    World::near(cluster, object, start..length, me, seed)
}

/// Reads as a client does that is sometimes quick and sometimes not.
fn read(world: &mut World, mut between: impl FnMut(&mut World)) {
    world.appetite = 0;
    for _ in 0..10_000 {
        if world.finished || world.failed.is_some() {
            return;
        }
        between(world);
        if world.cluster.below(2) == 0 {
            world.appetite += usize::try_from(world.cluster.below(3 * BLOCK as u64)).unwrap();
        }
        world.run(20);
    }
    panic!("the get never ends");
}

#[test]
fn in_every_storm_no_byte_is_wrong_and_every_get_ends() {
    let (mut finished, mut failed) = (0, 0);
    for seed in 0..84 {
        let mut world = storm(seed);
        let often = 1 + world.cluster.below(30);
        read(&mut world, |world| {
            if world.cluster.below(often) == 0 {
                let whom =
                    replica(usize::try_from(world.cluster.below(7)).unwrap() % world.cluster.holders.len());
                let mood = mood(&mut world.cluster);
                world.cluster.mood(whom, mood);
            }
        });
        if world.finished {
            finished += 1;
        } else {
            failed += 1;
        }
        assert_eq!(world.get.next_tick(), None, "seed {seed}");
        assert_eq!(world.get.bytes_ahead(), 0, "seed {seed}");
    }
    // Storms that nothing survives, or that everything survives, would prove nothing.
    assert!(finished > 25, "{finished} finished");
    assert!(failed > 4, "{failed} failed");
}

/// As long as one owner of each chunk is sound and can be reached, whatever the others do.
#[test]
fn while_every_chunk_has_one_sound_copy_every_get_succeeds() {
    for seed in 0..84 {
        let mut world = storm(seed);
        // So many replicas cannot be all the owners of a chunk.
        for index in 0..world.cluster.layout.copies() - 1 {
            let mood = mood(&mut world.cluster);
            world.cluster.mood(replica(index), mood);
        }
        read(&mut world, |_| {});
        assert_eq!(world.failed, None, "seed {seed}");
        assert_eq!(world.delivered, world.wanted, "seed {seed}");
        world.check_damage(|mood| matches!(mood, Mood::Rotten | Mood::Lies | Mood::Confused));
    }
}

/// If somebody has a sound copy and tells no lies, nothing is called missing.
#[test]
fn what_is_called_missing_is_missing() {
    let mut missing = 0;
    for seed in 0..84 {
        let mut world = storm(seed);
        for holder in &mut world.cluster.holders {
            let lost = holder.chunks.keys().copied().filter(|chunk| (seed >> (chunk.index % 3)) & 1 == 0);
            for chunk in lost.collect::<Vec<_>>() {
                holder.chunks.remove(&chunk);
            }
        }
        read(&mut world, |_| {});
        match world.failed {
            Some(GetFailure::Missing { chunk }) => {
                missing += 1;
                let has = |holder: &crate::data::cluster::Holder| holder.chunks.contains_key(&chunk);
                assert!(!world.cluster.holders.iter().any(has), "seed {seed}");
            }
            Some(GetFailure::Unavailable) => panic!("seed {seed}: everybody can be asked"),
            None => assert_eq!(world.delivered, world.wanted, "seed {seed}"),
        }
    }
    assert!(missing > 20, "{missing} missing");
}

#[test]
fn a_seed_gives_the_same_run_every_time() {
    let run = |seed| {
        let mut world = storm(seed);
        for index in 0..world.cluster.holders.len() {
            let mood = mood(&mut world.cluster);
            world.cluster.mood(replica(index), mood);
        }
        read(&mut world, |_| {});
        world.result()
    };
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed));
    }
}
