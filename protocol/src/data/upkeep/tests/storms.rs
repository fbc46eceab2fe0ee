//! Seeds: everything at once, then peace, and then everything must be whole.

use super::world::{Entry, HEAD, World};
use crate::catalog::{BodyId, Verdict};
use crate::types::{Op, SessionId};

#[test]
fn whatever_happens_everything_becomes_whole() {
    for seed in 0..20 {
        storm(seed);
    }
}

fn storm(seed: u64) {
    let replica_count = [1, 2, 3, 3, 4, 5, 7][usize::try_from(seed % 7).unwrap()];
    let mut world = World::of(replica_count, seed);
    world.losses = [0, 4, 20][usize::try_from(world.below(3)).unwrap()];
    let mut bodies = Vec::new();
    for _ in 0..60 {
        disturb(&mut world, &mut bodies);
        let duration_ms = world.below(400);
        world.run(duration_ms);
    }
    world.losses = 0;
    for index in 0..replica_count {
        world.set_down(index, false);
        world.nodes[index].frozen = false;
    }
    world.set_marks(world.next_upload());
    world.settle("everything is whole", World::is_whole);
    world.settle("what is dead is gone", |world| {
        let chunks = world.nodes.iter().flat_map(|node| node.store.chunks.keys());
        chunks.into_iter().all(|chunk| world.truth.verdict(*chunk) == Verdict::Referenced)
    });
}

fn disturb(world: &mut World, bodies: &mut Vec<BodyId>) {
    let count = world.nodes.len();
    let node = usize::try_from(world.below(count as u64)).unwrap();
    match world.below(12) {
        0..=3 => put(world, bodies),
        4 if !bodies.is_empty() => {
            let index = usize::try_from(world.below(bodies.len() as u64)).unwrap();
            let id = bodies.swap_remove(index);
            world.delete(id);
        }
        5 => world.set_marks(world.next_upload()),
        6 => world.restart(node),
        7 => {
            let down = world.nodes.iter().filter(|node| node.down).count();
            let down = !world.nodes[node].down && down < world.layout.quorums.failures_max();
            world.set_down(node, down);
        }
        8 => world.nodes[node].frozen = !world.nodes[node].frozen,
        9 => rot(world, node),
        10 => replace(world, node),
        11 => {
            let session = world.session;
            world.commit(Entry::End(session));
            world.commit(Entry::Begin);
            world.session = SessionId::from_register(Op::new(world.log.len() as u64), 0);
        }
        _ => {}
    }
}

/// Enough replicas have the body and say so, and some more may have it, now or later.
fn put(world: &mut World, bodies: &mut Vec<BodyId>) {
    let up: Vec<usize> = (0..world.nodes.len()).filter(|index| !world.nodes[*index].down).collect();
    let start = usize::try_from(world.below(up.len() as u64)).unwrap();
    let copies_min = world.layout.copies_min();
    if up.len() < copies_min {
        return;
    }
    let extra = usize::try_from(world.below(3)).unwrap();
    let chosen: Vec<usize> = up.iter().cycle().skip(start).take(up.len()).copied().collect();
    let stored: Vec<usize> = chosen.iter().take(copies_min + extra).copied().collect();
    let chunk_count = u32::try_from(1 + world.below(3)).unwrap();
    let id = world.store(chunk_count, &stored);
    if world.below(5) > 0 && world.commit_body(id, &stored[..copies_min]).is_ok() {
        bodies.push(id);
    }
}

/// Rot within what copies are for: another replica has a sound copy of the chunk, on its present disk.
fn rot(world: &mut World, node: usize) {
    let chunks: Vec<_> = world.nodes[node].store.chunks.keys().copied().collect();
    if chunks.is_empty() {
        return;
    }
    let chunk = chunks[usize::try_from(world.below(chunks.len() as u64)).unwrap()];
    if sound_copies(world, chunk) >= 2 {
        let block = [0, 1, 2, HEAD][usize::try_from(world.below(4)).unwrap()];
        world.rot(node, chunk, block);
    }
}

fn sound_copies(world: &World, chunk: crate::catalog::ChunkId) -> usize {
    let stores = world.nodes.iter().map(|node| &node.store);
    let sound = |stored: &super::world::Stored| stored.rotten.is_empty();
    stores.filter(|store| store.chunks.get(&chunk).is_some_and(sound)).count()
}

/// A disk is replaced only if nothing is lost with it.
fn replace(world: &mut World, node: usize) {
    let all = world.truth.bodies();
    let mut needed = all.iter().flat_map(|named| {
        let count = u32::try_from(named.body.roots.len()).unwrap();
        (0..count).map(|index| named.id.chunk(index))
    });
    let others = |world: &World, chunk| {
        let here = world.nodes[node].store.chunks.get(&chunk);
        let mine = here.is_some_and(|stored| stored.rotten.is_empty());
        sound_copies(world, chunk) - usize::from(mine)
    };
    if world.nodes.len() > 1 && !world.nodes[node].down && needed.all(|chunk| others(world, chunk) > 0) {
        world.replace_disk(node);
    }
}
