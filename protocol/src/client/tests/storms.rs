//! Everything at once, from a seed: the promises hold in every run, and calm brings answers.

use std::collections::BTreeMap;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::world::{Mood, NEVER, World, operation, settings};
use crate::client::{ClientError, Failure, Ticket};
use crate::entry::Operation;
use crate::message::Body;
use crate::types::{ReplicaId, View};

fn storm(seed: u64) -> (World, BTreeMap<Ticket, u64>) {
    let mut world = World::new(seed);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    world.loss_percent = random.next_u64() % 40;
    world.duplicate_percent = random.next_u64() % 50;
    world.delay_ms = 1 + random.next_u64() % 200;
    let mut submitted = BTreeMap::new();
    for number in 0..200 {
        match random.next_u64() % 24 {
            0 => {
                // The old primary does not know that it was deposed.
                world.deposed = Some((world.primary(), world.view, world.log.clone()));
                world.view = world.view.next();
            }
            1 => world.view = View::new(world.view.get() + random.next_u64() % 3),
            2 => world.deposed = None,
            3 => world.log.end_session(),
            4 => world.mood = Mood::Busy,
            5 => world.mood = Mood::Mute,
            6 => world.mood = Mood::Hasty,
            7 => world.down = [ReplicaId::new(u8::try_from(random.next_u64() % 3).unwrap())].into(),
            8 => world.down.clear(),
            9 => world.mood = Mood::Full,
            10..=13 => world.mood = Mood::Fine,
            _ => {}
        }
        let deadline = if random.next_u64() % 4 == 0 {
            world.clock().plus(random.next_u64() % 2_000_000)
        } else {
            NEVER
        };
        match world.client.submit(world.now, operation(number), deadline) {
            Ok(ticket) => drop(submitted.insert(ticket, number)),
            Err(error) => assert_eq!(error, ClientError::Busy),
        }
        world.run(random.next_u64() % 300);
    }
    (world, submitted)
}

fn calm(world: &mut World) {
    world.loss_percent = 0;
    world.duplicate_percent = 0;
    world.mood = Mood::Fine;
    world.deposed = None;
    world.down.clear();
}

/// Whatever was sent under one number of one session was always the same.
fn assert_numbers_are_not_reused(world: &World) {
    let mut contents = BTreeMap::new();
    for (_, _, body) in &world.sent {
        if let Body::Request(request) = body
            && request.operation != Operation::Register
        {
            let first = contents.entry((request.session, request.number)).or_insert(request);
            assert_eq!(*first, request);
        }
    }
}

#[test]
fn in_every_storm_answers_are_true_and_effects_are_single() {
    for seed in 0..60 {
        let (mut world, submitted) = storm(seed);
        calm(&mut world);
        world.run(settings().timeout_ms + 1_000);
        assert_numbers_are_not_reused(&world);
        for (ticket, number) in submitted {
            let content = operation(number);
            let effects = world.log.effects_of(&content);
            assert!(effects <= 1, "seed {seed}: operation {number} took effect {effects} times");
            match (world.done.get(&ticket), world.failure(ticket)) {
                (Some((_, reply)), None) => {
                    assert_eq!(*reply, content, "seed {seed}");
                    assert_eq!(effects, 1, "seed {seed}");
                }
                (None, Some(Failure::Definite)) => assert_eq!(effects, 0, "seed {seed}: operation {number}"),
                (None, Some(Failure::Unknown | Failure::Full)) => {}
                outcome => panic!("seed {seed}: operation {number} ended as {outcome:?}"),
            }
        }
    }
}

#[test]
fn after_every_storm_everything_is_answered_soon() {
    for seed in 0..60 {
        let (mut world, _) = storm(seed);
        calm(&mut world);
        world.run(4_000);
        let (request, read) = (world.submit(1_000), world.query());
        world.run(3_000);
        assert!(world.done.contains_key(&request), "seed {seed}");
        assert!(world.done.contains_key(&read), "seed {seed}");
        world.close();
        world.run(settings().timeout_ms);
        assert!(world.closed, "seed {seed}");
        assert!(!world.log.has_session(), "seed {seed}");
    }
}
