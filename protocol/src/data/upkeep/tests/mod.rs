//! Stories of replicas that keep themselves whole.

mod storms;
mod world;

use world::{World, replica, settings};

use super::{Mark, UpkeepSettings};
use crate::catalog::{BodyId, Verdict};
use crate::data::outline::CHUNK_BYTES_MAX;
use crate::types::SessionId;
use world::{CHUNK_SIZE, Entry, HEAD};

/// The third receipt came after the commit: the log thinks that a copy is missing.
#[test]
fn a_late_receipt_is_settled_without_moving_a_byte() {
    let mut world = World::of(3, 1);
    let early = world.put(2, &[0, 1, 2], &[0, 1]);
    let late = world.put(2, &[0, 1], &[0, 1]);
    assert_eq!(world.truth.debts().len(), 2);
    world.run(200);
    world.deliver(2, late.chunk(0));
    world.deliver(2, late.chunk(1));
    world.settle("no debts", |world| world.truth.debts().is_empty());
    assert!(world.holds(2, early) && world.holds(2, late));
    assert!(world.nodes.iter().all(|node| node.fetched.is_empty()));
}

#[test]
fn what_never_came_is_fetched_from_those_that_have_it() {
    for replica_count in [2, 3, 5, 7] {
        let mut world = World::of(replica_count, 2);
        let id = world.store(3, &[0, 1, 2, 3][..replica_count.div_ceil(2).max(2)]);
        let some: Vec<usize> = (0..replica_count.div_ceil(2).max(2)).collect();
        world.commit_body(id, &some).unwrap();
        world.settle("everything is whole", World::is_whole);
        assert_eq!(world.truth.bodies().len(), 1);
    }
}

#[test]
fn one_holder_after_another_is_asked_until_one_answers() {
    let mut world = World::of(5, 3);
    world.losses = 3;
    let ids: Vec<BodyId> = (0..4).map(|_| world.put(3, &[0, 1, 2], &[0, 1, 2])).collect();
    world.set_down(1, true);
    let others = [0, 2, 3, 4];
    world.settle("all but one are whole", |world| {
        ids.iter().all(|id| others.iter().all(|index| world.holds_soundly(*index, *id)))
    });
    world.set_down(1, false);
    world.settle("everything is whole", World::is_whole);
}

/// A memory, a cable or a program at the other end is broken.
#[test]
fn a_holder_that_sends_other_bytes_is_passed_over() {
    let mut world = World::of(3, 25);
    world.nodes[0].lies = true;
    let ids: Vec<BodyId> = (0..10).map(|_| world.put(2, &[0, 1], &[0, 1])).collect();
    world.settle("everything is whole", World::is_whole);
    assert!(ids.iter().all(|id| world.holds_soundly(2, *id)));
}

#[test]
fn a_replaced_disk_is_rebuilt_and_says_so() {
    let mut world = World::of(3, 4);
    let ids: Vec<BodyId> = (0..20).map(|_| world.put(2, &[0, 1, 2], &[0, 1, 2])).collect();
    world.run(1_000);
    world.replace_disk(1);
    assert_eq!(world.truth.rebuilding().len(), 1);
    assert!(!world.holds(1, ids[0]));
    world.run(10);
    let left = world.nodes[1].upkeep.figures().bytes_to_rebuild;
    assert_eq!(left, 40 * u64::from(CHUNK_SIZE));

    world.settle("the disk is rebuilt", |world| world.truth.rebuilding().is_empty());
    assert!(ids.iter().all(|id| world.holds_soundly(1, *id)));
    assert_eq!(world.nodes[1].upkeep.figures().bytes_to_rebuild, 0);
    world.run(10);
    assert!(world.marks(1, |mark| *mark == Mark::Rebuilt) >= 1);
}

/// Whatever is committed while a disk is rebuilt has its receipts from the new disk, or is a debt.
#[test]
fn what_is_committed_during_a_rebuild_is_not_forgotten() {
    let settings = UpkeepSettings {
        pull_bytes_per_second: u64::from(CHUNK_SIZE) * 10,
        pull_bytes_max: u64::from(CHUNK_BYTES_MAX),
        ..settings()
    };
    let mut world = World::with(3, 5, settings);
    for _ in 0..30 {
        world.put(1, &[0, 1, 2], &[0, 1, 2]);
    }
    world.replace_disk(2);
    for _ in 0..10 {
        world.run(50);
        world.put(1, &[0, 1], &[0, 1]);
    }
    world.settle("everything is whole", World::is_whole);
}

/// The process of a replica ends in the middle of its rebuild: the walk begins anew, and what is here
/// already is not fetched a second time.
#[test]
fn a_rebuild_that_is_interrupted_goes_on() {
    let settings = UpkeepSettings { pull_bytes_per_second: u64::from(CHUNK_SIZE) * 10, ..settings() };
    let mut world = World::with(3, 6, settings);
    for _ in 0..30 {
        world.put(1, &[0, 1, 2], &[0, 1, 2]);
    }
    world.replace_disk(2);
    world.settle("half is here", |world| world.nodes[2].store.chunks.len() >= 15);
    world.restart(2);
    world.settle("everything is whole", World::is_whole);
    assert!(world.nodes[2].fetched.len() <= 60, "{}", world.nodes[2].fetched.len());
}

#[test]
fn a_rotten_copy_is_replaced_before_it_is_deleted() {
    let mut world = World::of(3, 7);
    let id = world.put(1, &[0, 1, 2], &[0, 1, 2]);
    world.run(100);
    world.rot(1, id.chunk(0), 1);
    world.settle("the copy is sound again", |world| world.holds_soundly(1, id));
    world.settle("nothing is set aside", World::is_whole);
    assert_eq!(world.marks(1, |mark| matches!(mark, Mark::Damaged { .. })), 1);
    assert_eq!(world.marks(1, |mark| matches!(mark, Mark::Repaired { .. })), 1);
}

/// The scrub finds one chunk of a body after another, while the first is being replaced.
#[test]
fn what_is_found_while_something_is_mended_is_not_forgotten() {
    let settings = UpkeepSettings { scrub_period_ms: 1 << 40, ..settings() };
    let mut world = World::with(3, 26, settings);
    let id = world.put(4, &[0, 1, 2], &[0, 1, 2]);
    world.settle("the first pass is over", |world| {
        world.marks(1, |mark| matches!(mark, Mark::Scrubbed { .. })) > 0
    });
    for index in 0..4 {
        world.rot(1, id.chunk(index), 1);
        let now = world.now;
        world.nodes[1].upkeep.on_damage(now, id.chunk(index));
        world.run(3);
    }
    world.run(2_000);
    assert!(world.holds_soundly(1, id));
}

/// The index cannot say any more what is here: for a debt, for a rebuild, for a start it is no copy.
#[test]
fn a_copy_whose_head_is_rotten_is_replaced() {
    let mut world = World::of(3, 24);
    let id = world.put(2, &[0, 1, 2], &[0, 1]);
    world.rot(2, id.chunk(1), HEAD);
    world.settle("everything is whole", World::is_whole);
    assert_eq!(world.marks(2, |mark| matches!(mark, Mark::Repaired { .. })), 1);
}

#[test]
fn a_copy_that_vanished_from_the_index_is_found_missing() {
    let mut world = World::of(3, 8);
    let id = world.put(2, &[0, 1, 2], &[0, 1, 2]);
    world.run(100);
    world.nodes[2].store.chunks.remove(&id.chunk(1));
    world.settle("the scrub notices", |world| world.holds_soundly(2, id));
    world.nodes[2].store.chunks.remove(&id.chunk(0));
    world.restart(2);
    world.run(1_000);
    assert!(world.holds_soundly(2, id), "a start looks whether everything is here");
}

/// It is the last one: what is left of it is kept, and somebody is told.
#[test]
fn the_last_copy_is_kept_however_bad_it_is() {
    let mut world = World::of(3, 9);
    let id = world.put(1, &[0, 1, 2], &[0, 1, 2]);
    world.run(100);
    for node in 0..3 {
        world.rot(node, id.chunk(0), 1);
    }
    world.run(60_000);
    for node in 0..3 {
        assert!(world.nodes[node].store.chunks.contains_key(&id.chunk(0)));
        let figures = world.nodes[node].upkeep.figures();
        assert_eq!((figures.damaged, figures.lost), (1, 1));
        assert!(world.marks(node, |mark| matches!(mark, Mark::NoSoundCopy { .. })) > 0);
    }
    // Somebody finds a copy in a drawer.
    world.nodes[0].store.chunks.get_mut(&id.chunk(0)).unwrap().rotten.clear();
    world.settle("everything is whole", World::is_whole);
}

/// Every copy has a bad block, and every block has a good copy.
#[test]
fn a_chunk_is_put_together_from_the_good_blocks_of_bad_copies() {
    let mut world = World::of(3, 10);
    let id = world.put(1, &[0, 1, 2], &[0, 1, 2]);
    world.run(100);
    for (node, block) in [(0, 0), (1, 1), (2, 2)] {
        world.rot(node, id.chunk(0), block);
    }
    world.settle("everything is whole", World::is_whole);
}

/// A reader says that a copy is bad. It is not: the reader had the wrong idea of it.
#[test]
fn a_rumour_alone_changes_nothing() {
    let mut world = World::of(3, 11);
    let id = world.put(2, &[0, 1, 2], &[0, 1, 2]);
    let pending = world.store(1, &[0, 1, 2]);
    world.run(100);
    let now = world.now;
    let unknown = BodyId { session: SessionId::new(77), upload: 3 };
    for chunk in [id.chunk(0), id.chunk(9), pending.chunk(0), unknown.chunk(0)] {
        world.nodes[1].upkeep.on_damage(now, chunk);
    }
    world.run(1_000);
    assert_eq!(world.nodes[1].upkeep.figures().damaged, 0);
    assert!(world.nodes[1].fetched.is_empty());
    assert_eq!(world.nodes[1].upkeep.findings_due_at(), None, "the rumours are forgotten");
}

#[test]
fn a_read_that_meets_rot_has_it_repaired_long_before_the_scrub_comes_by() {
    let settings = UpkeepSettings { scrub_period_ms: 1 << 40, ..settings() };
    let mut world = World::with(3, 12, settings);
    let id = world.put(1, &[0, 1, 2], &[0, 1, 2]);
    world.settle("the first pass is over", |world| {
        world.marks(1, |mark| matches!(mark, Mark::Scrubbed { .. })) > 0
    });
    world.rot(1, id.chunk(0), 0);
    let now = world.now;
    world.nodes[1].upkeep.on_damage(now, id.chunk(0));
    world.run(500);
    assert!(world.holds_soundly(1, id));
}

/// The third replica stopped applying the log before the session began whose chunks it was given.
#[test]
fn nothing_is_deleted_by_a_replica_that_is_behind() {
    let mut world = World::of(3, 13);
    world.run(100);
    world.nodes[2].frozen = true;
    world.commit(Entry::Begin);
    world.session = SessionId::from_register(crate::types::Op::new(world.log.len() as u64), 0);
    let committed = world.put(1, &[0, 1, 2], &[0, 1, 2]);
    let under_way = world.store(1, &[2]);
    world.run(20_000);
    assert!(world.nodes[2].deleted.is_empty());
    world.nodes[2].frozen = false;
    world.run(20_000);
    assert!(world.nodes[2].store.chunks.contains_key(&committed.chunk(0)));
    assert!(world.nodes[2].store.chunks.contains_key(&under_way.chunk(0)));
}

#[test]
fn a_replica_without_a_place_deletes_nothing() {
    let mut world = World::of(3, 14);
    let id = world.put(1, &[0, 1, 2], &[0, 1, 2]);
    world.run(100);
    // Its tables are gone and its chunks are not: an empty catalog knows of no session.
    let chunks = std::mem::take(&mut world.nodes[1].store.chunks);
    world.nodes[1].frozen = true;
    world.replace_disk(1);
    world.nodes[1].store.chunks = chunks;
    world.run(20_000);
    assert!(world.nodes[1].store.chunks.contains_key(&id.chunk(0)));
    assert_eq!(world.nodes[1].upkeep.next_tick(), None);
}

#[test]
fn a_chunk_of_an_upload_under_way_is_kept() {
    let mut world = World::of(3, 15);
    let id = world.store(2, &[0, 1]);
    world.run(20_000);
    assert_eq!(world.truth.verdict(id.chunk(0)), Verdict::Pending);
    assert!(world.nodes[0].store.chunks.contains_key(&id.chunk(0)));
    world.commit_body(id, &[0, 1]).unwrap();
    world.settle("everything is whole", World::is_whole);

    let abandoned = world.store(1, &[0, 1]);
    let session = world.session;
    world.commit(Entry::End(session));
    world.settle("what nobody can commit is gone", |world| {
        world.nodes.iter().all(|node| !node.store.chunks.contains_key(&abandoned.chunk(0)))
    });
    assert!(world.is_whole());
}

#[test]
fn what_was_deleted_is_collected_once_nobody_can_be_reading_it() {
    let mut world = World::of(3, 16);
    let kept = world.put(1, &[0, 1, 2], &[0, 1, 2]);
    let gone = world.put(3, &[0, 1, 2], &[0, 1, 2]);
    world.delete(gone);
    world.run(10_000);
    assert_eq!(world.truth.verdict(gone.chunk(0)), Verdict::Retiring);
    assert!(world.nodes.iter().all(|node| node.store.chunks.len() == 4));

    world.set_marks(world.next_upload());
    world.settle("only the other is left", |world| {
        world.nodes.iter().all(|node| node.store.chunks.keys().eq([&kept.chunk(0)]))
    });
    world.settle("the log has forgotten it", |world| {
        let query = crate::catalog::Query::Collectable { after: None, limit: 10 };
        matches!(
            world.truth.query(&query),
            crate::catalog::Answer::Collectable { retired, condemned, .. }
                if retired.is_empty() && condemned.is_empty()
        )
    });
    assert_eq!(world.nodes[1].upkeep.figures().collected_chunks, 3);
}

#[test]
fn the_poorest_bodies_are_repaired_first() {
    let settings = UpkeepSettings {
        pull_bytes_max: u64::from(CHUNK_BYTES_MAX),
        pull_bytes_per_second: u64::from(CHUNK_SIZE),
        urgency: 1,
        debt_patience_ms: 0,
        ..settings()
    };
    let mut world = World::with(7, 17, settings);
    let mut poor = Vec::new();
    let mut rich = Vec::new();
    // Replica 6 owes a chunk of each. All others, or just enough, have one.
    while poor.len() < 20 || rich.len() < 20 {
        let is_rich = rich.len() < poor.len() + 1 && rich.len() < 20;
        let holders: &[usize] = if is_rich { &[0, 1, 2, 3, 4, 5] } else { &[0, 1, 2, 3] };
        let id = world.store(1, holders);
        if !world.layout.owns(replica(6), id.chunk(0)) {
            continue;
        }
        world.commit_body(id, holders).unwrap();
        if is_rich { rich.push(id) } else { poor.push(id) }
    }
    world.settle("all the poor are whole", |world| poor.iter().all(|id| world.holds(6, *id)));
    let done = rich.iter().filter(|id| world.holds(6, **id)).count();
    assert!(done <= 1, "{done} of those that could wait did not");
    world.settle("all are whole", |world| rich.iter().all(|id| world.holds(6, *id)));
}

#[test]
fn repair_keeps_to_its_rate_and_hurries_when_copies_are_few() {
    let rate = u64::from(CHUNK_SIZE) * 10;
    let rebuilt_in = |urgency| {
        let settings = UpkeepSettings { pull_bytes_per_second: rate, urgency, ..settings() };
        let mut world = World::with(3, 18, settings);
        for _ in 0..60 {
            world.put(1, &[0, 1, 2], &[0, 1, 2]);
        }
        world.replace_disk(1);
        let began = world.now;
        world.settle("everything is whole", World::is_whole);
        world.now.since(began)
    };
    let (slow, quick) = (rebuilt_in(1), rebuilt_in(4));
    assert!((5_000..12_000).contains(&slow), "{slow} ms");
    assert!((1_000..3_500).contains(&quick), "{quick} ms");
}

/// The reserve of a disk is for deletions: repair waits, and what is on the disk is settled all the same.
#[test]
fn a_full_disk_stops_repair_and_nothing_else() {
    let mut world = World::of(3, 19);
    let now = world.now;
    world.nodes[2].upkeep.set_space(now, 1_000, 1_000);
    let here = world.put(1, &[0, 1, 2], &[0, 1]);
    let absent: Vec<BodyId> = (0..40).map(|_| world.put(1, &[0, 1], &[0, 1])).collect();
    world.run(5_000);
    assert!(world.nodes[2].fetched.is_empty());
    assert!(world.truth.debts().iter().all(|debt| debt.id != here));
    assert_eq!(world.truth.debts().len(), absent.len());
    let now = world.now;
    world.nodes[2].upkeep.set_space(now, 1 << 30, 0);
    world.settle("everything is whole", World::is_whole);
}

/// Whoever is refused for want of room deletes something, and waits.
#[test]
fn a_full_disk_is_searched_for_what_is_dead_at_once() {
    let settings = UpkeepSettings { collection_interval_ms: 600_000, ..settings() };
    let mut world = World::with(3, 24, settings);
    let id = world.put(1, &[0, 1, 2], &[0, 1, 2]);
    world.run(5_000);
    world.delete(id);
    world.set_marks(world.next_upload());
    world.run(60_000);
    assert!((0..3).all(|node| world.holds(node, id)), "there is no hurry");
    let now = world.now;
    world.nodes[1].upkeep.set_space(now, 1_000, 1_000);
    world.run(2_000);
    assert!(!world.holds(1, id));
    assert!(world.holds(0, id));
}

/// The store is fuller than it was said to be.
#[test]
fn a_store_that_refuses_is_tried_again() {
    let mut world = World::of(3, 20);
    world.nodes[2].store.full = true;
    let id = world.put(2, &[0, 1], &[0, 1]);
    world.run(5_000);
    assert!(!world.holds(2, id));
    world.nodes[2].store.full = false;
    world.settle("everything is whole", World::is_whole);
}

/// Somebody put other bytes under a name before the body was committed.
#[test]
fn other_bytes_under_the_name_of_a_chunk_make_room_for_the_right_ones() {
    let mut world = World::of(3, 21);
    let id = world.put(1, &[0, 1], &[0, 1]);
    let rubbish = bytes::Bytes::from_static(b"rubbish");
    let root = crate::data::outline::Outline::of(&rubbish).root();
    world.nodes[2].store.put(id.chunk(0), root, rubbish).unwrap();
    world.settle("everything is whole", World::is_whole);
}

/// The scrub has found rot and nobody can help; then the process ends. After the restart it goes on
/// before the rot, not after it.
#[test]
fn the_scrub_goes_on_where_work_was_left() {
    let mut world = World::of(3, 22);
    let ids: Vec<BodyId> = (0..5).map(|_| world.put(1, &[0, 1, 2], &[0, 1, 2])).collect();
    world.run(100);
    world.rot(1, ids[2].chunk(0), 0);
    world.set_down(0, true);
    world.set_down(2, true);
    world.settle("the rot is found", |world| world.nodes[1].upkeep.figures().damaged == 1);
    let position = world.nodes[1].upkeep.scrub_position();
    assert!(position < Some(ids[2]), "{position:?}");
    world.restart(1);
    world.settle("it is found again", |world| world.nodes[1].upkeep.figures().damaged == 1);
    world.set_down(0, false);
    world.settle("the copy is sound", |world| world.holds_soundly(1, ids[2]));
}

/// The catalog of a start is that of the last checkpoint. A scrub that looked there found nothing to be
/// verified, was done, and came again after a week.
#[test]
fn nothing_is_looked_at_before_the_catalog_has_caught_up() {
    let settings = UpkeepSettings { scrub_period_ms: 1 << 40, ..settings() };
    let mut world = World::with(3, 27, settings);
    let id = world.put(2, &[0, 1, 2], &[0, 1, 2]);
    world.restart_behind(1);
    world.rot(1, id.chunk(1), 0);
    world.run(60_000);
    assert_eq!(world.marks(1, |_| true), 0);

    world.nodes[1].frozen = false;
    world.settle("everything was verified", |world| {
        world.marks(1, |mark| matches!(mark, Mark::Scrubbed { bytes } if *bytes > 0)) > 0
    });
    world.settle("the copy is sound again", |world| world.holds_soundly(1, id));
}

/// A chunk was lost for good. The replica that owes it never became whole, and so it never verified
/// anything again: the rest rotted unseen.
#[test]
fn what_can_never_be_whole_does_not_keep_the_rest_from_being_verified() {
    let mut world = World::of(3, 27);
    let kept = world.put(1, &[0, 1, 2], &[0, 1, 2]);
    let lost = world.put(1, &[0, 1], &[0, 1]);
    world.set_down(0, true);
    world.set_down(1, true);
    world.restart(2);
    world.rot(2, kept.chunk(0), 0);
    world.settle("the rot is found", |world| world.nodes[2].upkeep.figures().damaged == 1);
    assert!(!world.holds(2, lost));
    world.set_down(0, false);
    world.set_down(1, false);
    world.settle("everything is whole", World::is_whole);
}

#[test]
fn everything_is_verified_once_in_a_period() {
    let mut world = World::of(3, 23);
    for _ in 0..10 {
        world.put(3, &[0, 1, 2], &[0, 1, 2]);
    }
    world.run(65_000);
    let bytes = 30 * u64::from(CHUNK_SIZE);
    for node in 0..3 {
        let passes = world.marks(node, |mark| *mark == Mark::Scrubbed { bytes });
        assert!((5..=7).contains(&passes), "{passes} passes in 65 seconds");
        let age = world.now.since(world.nodes[node].upkeep.figures().oldest_unscrubbed);
        assert!(age <= 21_000, "{age}");
    }
}
