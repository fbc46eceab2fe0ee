//! Stories of one get.

mod storms;
mod world;

use bytes::Bytes;
use world::{BLOCK, CHUNK, Object, World, settings};

use super::{BadPieces, Get, GetFailure, GetOutput, GetSettings};
use crate::catalog::{BodyId, Encoding, PieceSource};
use crate::data::cluster::{BODY, Cluster, Mood};
use crate::data::message::{DataBody, DataRefusal};
use crate::data::outline::Outline;
use crate::types::{ReplicaId, Tick};

/// A read of a whole object of so many bytes.
fn whole(replica_count: usize, length: usize, seed: u64) -> World {
    let mut cluster = Cluster::of(replica_count, seed);
    let object = Object::of(&mut cluster, length);
    World::new(cluster, object, 0..length, seed)
}

fn finish(world: &mut World) {
    world.run_to_the_end();
    assert_eq!(world.failed, None);
    assert_eq!(world.delivered, world.wanted);
}

#[test]
fn what_was_stored_is_delivered() {
    for replica_count in 1..=7 {
        for length in [1, BLOCK, BLOCK + 1, CHUNK, CHUNK + 1, 5 * CHUNK - 1] {
            let mut world = whole(replica_count, length, 1);
            finish(&mut world);
            assert!(world.damage.is_empty());
        }
    }
}

#[test]
fn a_range_reads_only_the_blocks_it_needs() {
    let mut cluster = Cluster::of(3, 2);
    let object = Object::of(&mut cluster, 10 * CHUNK);
    // The last byte of block 1 of chunk 3, all of block 2, and the first byte of block 3.
    let start = 3 * CHUNK + 2 * BLOCK - 1;
    let mut world = World::new(cluster, object, start..start + BLOCK + 2, 2);
    finish(&mut world);
    assert_eq!(world.asked(), [(3, 1, 1), (3, 2, 2)]);
}

#[test]
fn every_range_of_every_object_is_delivered() {
    for seed in 0..60 {
        let mut cluster = Cluster::of(3, seed);
        let object = patchwork(&mut cluster);
        let length = object.content.len();
        let start = usize::try_from(cluster.below(length as u64)).unwrap();
        let end = start + usize::try_from(cluster.below((length - start) as u64 + 1)).unwrap();
        finish(&mut World::new(cluster, object, start..end, seed));
    }
}

/// Some parts inline, some in bodies of their own, some copied out of the middle of a body.
fn patchwork(cluster: &mut Cluster) -> Object {
    let mut object = Object::empty();
    for upload in 1..8 {
        let id = BodyId { upload, ..BODY };
        let length = 1 + usize::try_from(cluster.below(2 * CHUNK as u64)).unwrap();
        let from = usize::try_from(cluster.below(length as u64)).unwrap();
        match cluster.below(3) {
            0 => object.add_inline(length % 5_000 + 1),
            1 => object.add_chunked(cluster, id, length, 0..length),
            _ => object.add_chunked(cluster, id, length, from..length),
        }
    }
    object
}

#[test]
fn an_empty_range_asks_for_nothing() {
    let mut cluster = Cluster::of(3, 3);
    let object = Object::of(&mut cluster, CHUNK);
    let mut world = World::new(cluster, object, 7..7, 3);
    world.collect();
    assert!(world.finished);
    assert!(world.sent.is_empty());
    assert_eq!(world.get.next_tick(), None);
}

#[test]
fn the_first_byte_waits_for_one_small_answer_and_the_rest_is_asked_for_meanwhile() {
    let mut world = whole(3, 3 * CHUNK, 4);
    world.collect();
    assert_eq!(world.asked()[..3], [(0, 0, 1), (0, 1, 3), (0, 4, 1)]);
    assert!(world.sent.iter().all(|(at, _, _)| *at == Tick::ZERO));
    finish(&mut world);
    assert_eq!(world.first_byte_at, Some(Tick::new(2)));
}

#[test]
fn a_reader_that_does_not_read_is_not_read_ahead_for_without_bound() {
    let mut world = whole(3, 20 * CHUNK, 5);
    world.appetite = 0;
    world.run(5_000);
    let blocks: u32 = world.asked().iter().map(|(_, _, count)| count).sum();
    assert!(blocks as usize * BLOCK <= settings().read_ahead_bytes + BLOCK, "{blocks} blocks");
    assert!(blocks as usize * BLOCK > settings().read_ahead_bytes / 2, "{blocks} blocks");
    // Nothing is late, although nothing happens.
    world.run(2 * settings().timeout_ms);
    assert_eq!(world.failed, None);
    world.appetite = 3 * BLOCK;
    world.run(1_000);
    assert!(world.delivered.len() < 6 * BLOCK);
    world.appetite = usize::MAX;
    finish(&mut world);
}

#[test]
fn a_replica_on_this_machine_is_asked_first_for_what_it_owns() {
    for index in 0..5 {
        let me = ReplicaId::new(index);
        let mut cluster = Cluster::of(5, 6);
        let object = Object::of(&mut cluster, 5 * CHUNK);
        let mut world = World::near(cluster, object, 0..5 * CHUNK, Some(me), 6);
        finish(&mut world);
        for (_, to, body) in &world.sent {
            let DataBody::GetBlocks { chunk, .. } = body else { panic!("{}", body.kind()) };
            let first = world.cluster.layout.owners(*chunk).next().unwrap();
            let best = if world.cluster.layout.owns(me, *chunk) { me } else { first };
            assert_eq!(*to, best);
        }
    }
}

#[test]
fn a_damaged_block_is_fetched_elsewhere_in_mid_stream() {
    for mood in [Mood::Rotten, Mood::Lies] {
        let mut world = whole(3, 4 * CHUNK, 7);
        world.appetite = BLOCK;
        world.run(50);
        assert!(!world.delivered.is_empty());
        // Of what has not been asked for yet, somebody's copy goes bad.
        let first = world.cluster.order(3)[0];
        world.cluster.mood(first, mood);
        world.appetite = usize::MAX;
        finish(&mut world);
        assert_eq!(world.damage, [(first, BODY.chunk(3))]);
    }
}

#[test]
fn with_one_sound_copy_among_rotten_ones_every_byte_is_right() {
    for (seed, mood) in
        [Mood::Rotten, Mood::Lies, Mood::Refuses(DataRefusal::Damaged)].into_iter().enumerate()
    {
        let mut world = whole(3, 5 * CHUNK, seed as u64);
        world.cluster.everybody(mood);
        world.cluster.mood(ReplicaId::new(1), Mood::Fine);
        finish(&mut world);
        world.check_damage(|other| other == mood);
    }
}

#[test]
fn a_stand_in_is_found_behind_owners_that_lack_the_chunk() {
    let mut world = whole(5, CHUNK, 9);
    let order = world.cluster.order(0);
    let bytes = world.cluster.holders[order[0].index()].chunks[&BODY.chunk(0)].clone();
    for owner in &order[..3] {
        world.cluster.replace_disk(*owner);
    }
    world.cluster.store(order[4], BODY.chunk(0), bytes);
    finish(&mut world);
    assert!(world.cluster.now < Tick::new(settings().retry_ms));
}

#[test]
fn what_nobody_has_is_missing() {
    for mood in [Mood::Fine, Mood::Rotten] {
        let mut world = whole(5, 3 * CHUNK, 10);
        world.appetite = 0;
        for index in 0..5 {
            if mood == Mood::Fine {
                world.cluster.holders[index].chunks.remove(&BODY.chunk(1));
            }
        }
        world.cluster.everybody(mood);
        world.run_to_the_end();
        let chunk = if mood == Mood::Fine { BODY.chunk(1) } else { BODY.chunk(0) };
        assert_eq!(world.failed, Some(GetFailure::Missing { chunk }));
        assert_eq!(world.get.bytes_ahead(), 0);
        assert_eq!(world.get.next_tick(), None);
        assert_eq!(world.get.take(world.cluster.now), None);
    }
}

/// A reader was told of a loss that was none: the first holder that it asked was being repaired, and
/// when it came to the last one, that one's copy had just been set aside.
#[test]
fn a_chunk_that_somebody_got_while_the_others_were_asked_is_found() {
    for mood in [Mood::Fine, Mood::Rotten, Mood::Lies] {
        let mut world = whole(3, BLOCK, 25);
        let order = world.cluster.order(0);
        let bytes = world.cluster.holders[order[0].index()].chunks[&BODY.chunk(0)].clone();
        for holder in &order {
            world.cluster.mood(*holder, mood);
            if mood == Mood::Fine {
                world.cluster.replace_disk(*holder);
            }
        }
        world.run(settings().look_again_ms / 2 - 1);
        assert_eq!(world.sent.len(), 3, "all were asked, and nothing is asked again at once");
        world.cluster.mood(order[0], Mood::Fine);
        world.cluster.store(order[0], BODY.chunk(0), bytes);
        finish(&mut world);
        assert_eq!(world.sent.len(), 4);
        world.check_damage(|_| mood != Mood::Fine);
    }
}

#[test]
fn before_a_chunk_is_called_missing_everybody_has_been_asked_twice() {
    let mut world = whole(3, BLOCK, 26);
    for index in 0..3 {
        world.cluster.replace_disk(ReplicaId::new(index));
    }
    world.run_to_the_end();
    assert_eq!(world.failed, Some(GetFailure::Missing { chunk: BODY.chunk(0) }));
    assert!((0..3).all(|index| world.asked_of(ReplicaId::new(index)) == 2));
}

/// The one that cannot be asked may have it.
#[test]
fn nothing_is_missing_while_somebody_has_not_been_asked() {
    for mood in
        [Mood::Down, Mood::Silent, Mood::Refuses(DataRefusal::Busy), Mood::Refuses(DataRefusal::NotReady)]
    {
        let mut world = whole(3, CHUNK, 11);
        for index in 0..3 {
            world.cluster.replace_disk(ReplicaId::new(index));
        }
        world.cluster.mood(ReplicaId::new(2), mood);
        world.run_to_the_end();
        assert_eq!(world.failed, Some(GetFailure::Unavailable));
        assert!(world.cluster.now.get() >= settings().timeout_ms);
    }
}

#[test]
fn a_slow_holder_is_hedged_and_then_asked_last() {
    let mut world = whole(3, 30 * CHUNK, 12);
    world.cluster.mood(ReplicaId::new(0), Mood::Slow(3_000));
    finish(&mut world);
    let took = world.cluster.now.get();
    assert!(took < 700, "{took} ms");
    let asked = world.asked_of(ReplicaId::new(0));
    assert!(asked < 20, "the slow one was asked {asked} times");
}

/// If everybody is slow, nobody is late: the usual time is learned.
#[test]
fn a_cluster_that_is_slow_as_a_whole_is_not_asked_everything_twice() {
    let mut world = whole(3, 40 * CHUNK, 13);
    world.cluster.everybody(Mood::Slow(150));
    finish(&mut world);
    let blocks: u32 = world.asked().iter().map(|(_, _, count)| count).sum();
    let needed = 40 * 5;
    assert!(blocks < needed * 3 / 2, "{blocks} blocks asked for, {needed} needed");
}

#[test]
fn when_the_others_are_gone_one_holder_is_enough() {
    for mood in [Mood::Down, Mood::Silent, Mood::Refuses(DataRefusal::Busy), Mood::Confused] {
        let mut world = whole(3, 8 * CHUNK, 14);
        world.cluster.everybody(mood);
        world.cluster.mood(ReplicaId::new(2), Mood::Fine);
        finish(&mut world);
    }
}

#[test]
fn a_get_goes_on_when_the_cluster_comes_back_in_time() {
    for mood in [Mood::Down, Mood::Silent, Mood::Refuses(DataRefusal::NotReady)] {
        let mut world = whole(3, 8 * CHUNK, 15);
        world.appetite = BLOCK;
        world.run(20);
        world.cluster.everybody(mood);
        world.appetite = usize::MAX;
        world.run(settings().timeout_ms / 2);
        assert_eq!(world.failed, None);
        world.cluster.everybody(Mood::Fine);
        finish(&mut world);
    }
}

#[test]
fn a_short_answer_is_followed_by_the_rest() {
    let mut world = whole(3, 4 * CHUNK, 16);
    world.cluster.everybody(Mood::Short(1));
    finish(&mut world);
    assert!(world.damage.is_empty());
    assert!(world.cluster.now < Tick::new(100));
}

/// Three blocks, one at a time, each of them nearly as late as may be.
#[test]
fn as_long_as_something_comes_nothing_is_given_up() {
    let slow = GetSettings { timeout_ms: 1_000, hedge_max_ms: 10_000, hedge_min_ms: 10_000, ..settings() };
    let mut world = World::with(slow, Cluster::of(1, 21), 4 * BLOCK);
    world.cluster.mood(ReplicaId::new(0), Mood::Short(1));
    world.cluster.delay_ms = 450;
    finish(&mut world);
    assert!(world.cluster.now > Tick::new(1_000));
}

#[test]
fn who_lacks_a_chunk_is_asked_for_it_once() {
    let one_at_a_time = GetSettings { read_ahead_bytes: 1, ..settings() };
    for mood in [Mood::Fine, Mood::Rotten] {
        let mut world = World::with(one_at_a_time, Cluster::of(3, 22), 2 * CHUNK);
        for index in 0..2 {
            let first = world.cluster.order(index)[0];
            world.cluster.mood(first, mood);
            if mood == Mood::Fine {
                world.cluster.replace_disk(first);
            }
        }
        finish(&mut world);
        let spans = 5;
        assert!(world.sent.len() <= spans + 4, "{:?}", world.asked());
    }
}

#[test]
fn the_pause_before_a_replica_is_asked_again_is_short_again_once_it_has_answered() {
    let mut world = whole(1, 20 * CHUNK, 23);
    let only = ReplicaId::new(0);
    world.cluster.mood(only, Mood::Refuses(DataRefusal::Busy));
    world.run(3_000);
    world.cluster.mood(only, Mood::Fine);
    world.appetite = BLOCK;
    world.run(1_000);
    let before = world.sent.len();
    world.cluster.mood(only, Mood::Refuses(DataRefusal::Busy));
    world.appetite = 4 * BLOCK;
    world.run(10);
    let asked = world.sent.len();
    assert!(asked > before, "it should be asked, and say that it is busy");
    world.cluster.mood(only, Mood::Fine);
    world.run(4 * settings().retry_ms);
    assert!(world.sent.len() > asked);
}

/// They fit the chunk, but not the memory that was set aside for them, or not the place.
#[test]
fn sound_blocks_that_were_not_asked_for_are_not_taken() {
    for (first, end) in [(2, CHUNK), (1, 2 * BLOCK), (3, 4 * BLOCK), (1, 3 * BLOCK)] {
        let mut cluster = Cluster::of(2, 24);
        let object = Object::of(&mut cluster, CHUNK);
        let mut world = World::new(cluster, object, 2 * BLOCK..3 * BLOCK, 24);
        let Some(GetOutput::Send { to, call, body }) = world.get.next_output() else {
            panic!("nothing asked")
        };
        assert!(matches!(body, DataBody::GetBlocks { first: 2, count: 1, .. }));
        let stored = world.cluster.holders[0].chunks[&BODY.chunk(0)].clone();
        let bytes = stored.slice(first as usize * BLOCK..end);
        let answer = DataBody::Blocks { outline: Outline::of(&stored), first, bytes };
        world.get.on_answer(Tick::ZERO, to, call, answer);
        assert_eq!(world.get.take(Tick::ZERO), None, "blocks from {first} to byte {end}");
        finish(&mut world);
        assert_eq!(world.damage, [(to, BODY.chunk(0))]);
    }
}

#[test]
fn pieces_that_are_not_the_next_ones_are_refused_and_change_nothing() {
    let mut cluster = Cluster::of(3, 17);
    let mut object = Object::of(&mut cluster, 2 * CHUNK);
    object.add_inline(50);
    let (first, second) = (object.pieces[0].clone(), object.pieces[1].clone());
    let now = Tick::ZERO;
    let new = |piece, range| Get::new(cluster.layout, vec![piece], range, None, settings(), 17, now);
    let refused = |piece, start| new(piece, start..start + 1).err();
    assert_eq!(refused(second.clone(), 3), Some(BadPieces("the pieces do not follow each other")));

    let broken = |change: &dyn Fn(&mut crate::catalog::ChunkedBody)| {
        let mut piece = first.clone();
        let PieceSource::Chunked { body, .. } = &mut piece.source else { panic!("it is inline") };
        change(body);
        piece
    };
    assert!(refused(broken(&|body| body.roots.clear()), 0).is_some());
    assert!(refused(broken(&|body| body.chunk_size = 0), 0).is_some());
    assert!(refused(broken(&|body| body.length -= 1), 0).is_some());
    let coded = Encoding::ErasureCoded { data: 2, parity: 1 };
    assert!(refused(broken(&|body| body.extents[0].encoding = coded), 0).is_some());
    let mut far = first.clone();
    far.length = u64::MAX;
    assert!(refused(far, 0).is_some());
    let mut inline = second.clone();
    inline.offset = 0;
    inline.length += 1;
    assert!(refused(inline, 0).is_some());

    let mut get = new(first.clone(), 0..object.content.len() as u64).unwrap();
    assert!(get.wants_pieces());
    assert!(get.add_pieces(now, vec![second.clone(), first]).is_err());
    assert!(get.add_pieces(now, vec![second]).is_ok());
    assert!(!get.wants_pieces());
}

#[test]
fn answers_that_nobody_waits_for_are_ignored() {
    let mut world = whole(3, BLOCK, 18);
    let Some(GetOutput::Send { to, call, body }) = world.get.next_output() else { panic!("nothing asked") };
    let other = ReplicaId::new((to.get() + 1) % 3);
    for (from, call) in [(other, call), (ReplicaId::new(200), call), (to, call + 1), (to, 0)] {
        world.get.on_answer(Tick::ZERO, from, call, DataBody::NotHere);
        world.get.on_call_failed(Tick::ZERO, from, call);
    }
    assert_eq!(world.get.next_output(), None);
    world.cluster.send(to, call, body);
    finish(&mut world);
}

/// The room that inline bytes took was never given back, so that in the end nothing was read ahead.
#[test]
fn inline_bytes_that_were_taken_leave_room_for_others() {
    let mut cluster = Cluster::of(3, 20);
    let mut object = Object::empty();
    for _ in 0..20 {
        object.add_inline(BLOCK);
    }
    let body = BodyId { upload: 20, ..BODY };
    object.add_chunked(&mut cluster, body, 2 * CHUNK, 0..2 * CHUNK);
    let length = object.content.len();
    let mut world = World::new(cluster, object, 0..length, 20);
    world.collect();
    assert!(world.asked().len() > 2, "{:?}", world.asked());
    finish(&mut world);
    assert_eq!(world.get.bytes_ahead(), 0);
}

#[test]
fn inline_bytes_need_no_holder() {
    let mut object = Object::empty();
    object.add_inline(500);
    object.add_inline(70);
    let mut world = World::new(Cluster::of(1, 19), object, 499..501, 19);
    world.collect();
    assert!(world.finished);
    assert_eq!(Bytes::from(world.delivered), Bytes::from(world.wanted));
}
