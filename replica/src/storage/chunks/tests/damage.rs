//! What rot, unreadable sectors and writes that go astray can do.

use super::*;
use crate::storage::disk::DamageKind;

const COUNT: u64 = 12;
const LENGTH: usize = 9000;

/// Two segments: the first full, the second the newest.
fn filled(seed: u64) -> (SimulatedDisk, Store) {
    let (disk, mut store) = new_store(seed);
    store_all(&mut store, 0..10, LENGTH);
    store_all(&mut store, 10..COUNT, LENGTH);
    (disk, store)
}

fn slot_at(slot: u64) -> u64 {
    format::slot_offset(u32::try_from(slot).unwrap())
}

/// Four pages: a head, and three for the bytes.
fn head_at(record: u64) -> u64 {
    RECORDS + record * 4 * PAGE
}

fn all_whole(store: &Store) -> bool {
    (0..COUNT).all(|number| is_whole(&store.reader(), number, LENGTH))
}

#[test]
fn any_one_slot_can_be_lost_and_is_written_again() {
    for (segment, slot) in (0..8).map(|slot| (0, slot)).chain((0..4).map(|slot| (1, slot))) {
        let name = format!("chunks-{segment:08}");
        let (mut disk, _) = filled(slot);
        match slot % 2 {
            0 => disk.rot_at(&name, slot_at(slot) + 60).unwrap(),
            _ => disk.make_unreadable_at(&name, slot_at(slot)).unwrap(),
        };
        let (store, report) = reopen(&mut disk);
        assert_eq!(report, OpenReport::default());
        assert!(all_whole(&store), "segment {segment}, slot {slot}");

        // The other of the two words on the record may go now.
        disk.rot_at(&name, head_at(slot) + 60).unwrap();
        let (store, report) = reopen(&mut disk);
        assert_eq!(report, OpenReport::default());
        assert!(all_whole(&store), "segment {segment}, slot {slot}");
    }
}

#[test]
fn a_slot_that_was_never_written_is_found_by_its_head_even_as_the_last_of_all() {
    let (mut disk, mut store) = filled(1);
    append(&mut store, 20, LENGTH);
    append(&mut store, 21, LENGTH);
    disk.lose_next_write();
    assert_eq!(store.commit_group().unwrap().len(), 2);
    let (store, report) = reopen(&mut disk);
    assert_eq!(report, OpenReport::default());
    assert!(is_whole(&store.reader(), 20, LENGTH) && is_whole(&store.reader(), 21, LENGTH));
}

#[test]
fn a_head_can_be_lost_because_its_hashes_follow_from_the_bytes() {
    let (mut disk, _) = filled(1);
    for segment in ["chunks-00000000", "chunks-00000001"] {
        disk.rot_at(segment, head_at(1) + 90).unwrap();
        disk.make_unreadable_at(segment, head_at(2)).unwrap();
    }
    let (mut store, report) = reopen(&mut disk);
    assert_eq!(report, OpenReport::default());
    assert!(all_whole(&store));
    // It is served, but the scrub wants it whole.
    let copy = damaged_copy(store.reader().scrub(id(1)));
    assert!(store.quarantine(copy).unwrap());
    store_all(&mut store, [1], LENGTH);
    store.reader().scrub(id(1)).unwrap();
}

#[test]
fn a_record_that_lost_both_its_slot_and_its_head_is_counted() {
    let (mut disk, _) = filled(1);
    disk.rot_at(FIRST, slot_at(3) + 60).unwrap();
    disk.rot_at(FIRST, head_at(3) + 60).unwrap();
    for _ in 0..2 {
        let (store, report) = reopen(&mut disk);
        assert_eq!((report.lost_records, report.is_complete()), (1, false));
        let whole = (0..COUNT).filter(|number| is_whole(&store.reader(), *number, LENGTH));
        assert_eq!(whole.count() as u64, COUNT - 1);
    }
    // Once everything else of the segment is dead, it goes, and the loss with it.
    let (mut store, _) = reopen(&mut disk);
    store.delete(&(0..8).map(id).collect::<Vec<_>>()).unwrap();
    assert_eq!(reopen(&mut disk).1, OpenReport::default());
}

#[test]
fn either_header_of_a_segment_can_be_lost_and_both_make_it_unreadable_but_not_gone() {
    let (mut disk, _) = filled(1);
    for copy in [0, 1, 0] {
        disk.rot_at(FIRST, copy * PAGE + 5).unwrap();
        let (store, report) = reopen(&mut disk);
        assert_eq!(report, OpenReport::default());
        assert!(all_whole(&store));
    }
    disk.rot_at(FIRST, 5).unwrap();
    disk.make_unreadable_at(FIRST, PAGE).unwrap();
    let (mut store, report) = reopen(&mut disk);
    assert_eq!((report.unreadable_segments.as_slice(), report.is_complete()), (&[0][..], false));
    assert!(is_absent(&store.reader(), 0) && is_whole(&store.reader(), 11, LENGTH));

    store_all(&mut store, [0], LENGTH);
    let names = disk.names().unwrap();
    assert_eq!(names, ["chunks-00000000", "chunks-00000001", "chunks-00000002"]);
    assert!(is_whole(&reopen(&mut disk).0.reader(), 0, LENGTH));
}

#[test]
fn an_unreadable_block_is_damage_and_the_blocks_beside_it_are_served() {
    let (disk, mut store) = new_store(1);
    store_all(&mut store, [1], 3 * BLOCK);
    disk.make_unreadable_at(FIRST, RECORDS + PAGE + BLOCK as u64 + 600).unwrap();
    let root = Outline::of(&content(1, 3 * BLOCK)).root();
    let read = |first| store.reader().read(id(1), &root, first, 1);
    assert!(read(0).is_ok() && read(2).is_ok());
    let copy = damaged_copy(read(1));
    assert_eq!(damaged_copy(store.reader().scrub(id(1))), copy);
}

/// A crash undoes no deletion, but rot can: then the chunk is dead in the catalog and alive here,
/// like one whose deletion has not been asked for yet.
#[test]
fn a_deleted_chunk_that_rot_brings_back_is_deleted_like_any_other() {
    let (mut disk, mut store) = filled(1);
    store.delete(&[id(3)]).unwrap();
    store_all(&mut store, [3], LENGTH);
    disk.rot_at(FIRST, slot_at(3) + 60).unwrap();
    let (mut store, report) = reopen(&mut disk);
    assert_eq!(report.lost_records, 1, "the hole left no head to tell what it was");
    assert!(all_whole(&store));
    store.delete(&[id(3)]).unwrap();
    assert!(is_absent(&reopen(&mut disk).0.reader(), 3));
}

/// Of two copies of one chunk the newest is served, and deleting means both.
#[test]
fn a_deletion_that_never_reached_the_medium_leaves_an_old_copy_aside() {
    let (mut disk, mut store) = filled(1);
    disk.lose_next_write();
    store.delete(&[id(3)]).unwrap();
    store_all(&mut store, [3], LENGTH);
    let (mut store, report) = reopen(&mut disk);
    assert!(report.is_complete());
    assert!(all_whole(&store));
    assert_eq!(store.reader().quarantined_count(), 1);
    store.delete_quarantined(&[id(3)]).unwrap();
    assert!(all_whole(&reopen(&mut disk).0));
}

#[test]
fn a_file_that_is_lost_while_it_is_open_or_cut_is_damage_and_not_a_crash() {
    let (mut disk, store) = filled(1);
    disk.open(FIRST).unwrap().unwrap().set_len(head_at(2) + PAGE).unwrap();
    assert!(is_whole(&store.reader(), 1, LENGTH));
    damaged_copy(store.reader().scrub(id(2)));
    damaged_copy(read_all(&store.reader(), 3, LENGTH));
    let (store, _) = reopen(&mut disk);
    drop(store);
    disk.open(FIRST).unwrap().unwrap().set_len(100).unwrap();
    disk.open(FIRST).unwrap().unwrap().sync().unwrap();
    let (store, report) = reopen(&mut disk);
    assert!(!report.is_complete());
    assert!(is_whole(&store.reader(), 11, LENGTH));
}

/// Damage after everything was reported: a chunk is served with the right bytes, or known to be
/// damaged, or the store says that it does not know all. None silently disappears.
#[test]
fn no_single_damage_changes_a_byte_or_makes_a_chunk_disappear() {
    let mut damaged = 0;
    for seed in 0..200 {
        let (mut disk, mut store) = filled(seed);
        match seed % 4 {
            0 => disk.lose_write(1 + seed / 4 % 8),
            1 => disk.misdirect_next_write(),
            _ => {}
        }
        store_all(&mut store, COUNT..COUNT + 3, LENGTH);
        let name = format!("chunks-{:08}", seed / 4 % 2);
        match seed % 4 {
            2 => drop(disk.rot(&name).unwrap()),
            3 => drop(disk.make_unreadable(&name).unwrap()),
            _ => {}
        }
        let damages = disk.take_damages();
        let (store, report) = reopen(&mut disk);
        for number in 0..COUNT + 3 {
            match read_all(&store.reader(), number, LENGTH) {
                Ok(bytes) => assert_eq!(bytes, content(number, LENGTH), "seed {seed}"),
                Err(ReadFault::Damaged(_)) => damaged += 1,
                Err(ReadFault::Absent) => {
                    let known = report.suspects.contains(&id(number)) || !report.is_complete();
                    assert!(known, "seed {seed}: chunk {number} disappeared: {damages:?}");
                    damaged += 1;
                }
                Err(ReadFault::Io(error)) => panic!("seed {seed}: {error}"),
            }
        }
        let hit = damages.iter().any(|damage| damage.kind == DamageKind::Phantom);
        assert!(hit || seed % 4 > 0 || damages.is_empty());
    }
    assert!(damaged > 50, "{damaged}");
}
