use protocol::entry::EntryHeader;
use protocol::types::{ClusterId, Epoch, ReplicaId, View};

use super::*;
use crate::storage::disk::SimulatedDisk;

fn superblock(view: u64) -> Superblock {
    let mut superblock = Superblock::format(ClusterId::new(7), Epoch::ZERO, ReplicaId::new(1), 3);
    superblock.view = View::new(view);
    // Grows and shrinks, so that copies of different sizes overlay each other.
    for _ in 0..view % 5 {
        let parent = superblock.suffix.last().unwrap();
        let child = EntryHeader { op: parent.op.next(), parent: parent.name(), ..parent.clone() };
        superblock.suffix.push(child);
    }
    superblock
}

fn formatted(seed: u64) -> (SimulatedDisk, SuperblockStore<SimulatedDisk>) {
    let disk = SimulatedDisk::new(seed);
    let store = SuperblockStore::format(&disk, &superblock(0)).unwrap();
    (disk, store)
}

fn view_of(disk: &SimulatedDisk) -> Result<u64, &'static str> {
    match SuperblockStore::open(disk).unwrap() {
        Opened::Formatted(superblock, _) => Ok(superblock.view.get()),
        Opened::NeverFormatted => Err("never formatted"),
        Opened::OtherFormat(_) => Err("of another release"),
        Opened::Unreadable(_) => Err("unreadable"),
    }
}

fn rot_copy(disk: &SimulatedDisk, index: usize) {
    disk.rot_at(SUPERBLOCK_NAME, (index * SLOT_SIZE + 70) as u64).unwrap();
}

#[test]
fn a_blank_disk_was_never_formatted_and_a_lost_superblock_is_not_a_blank_disk() {
    let disk = SimulatedDisk::new(1);
    assert_eq!(view_of(&disk), Err("never formatted"));

    disk.create("wal-0").unwrap();
    assert_eq!(view_of(&disk), Err("unreadable"));
}

#[test]
fn what_was_written_last_is_read_back() {
    let (disk, mut store) = formatted(1);
    assert_eq!(view_of(&disk), Ok(0));
    for view in 1..12 {
        store.write(&superblock(view)).unwrap();
        match SuperblockStore::open(&disk).unwrap() {
            Opened::Formatted(found, _) => assert_eq!(*found, superblock(view)),
            _ => panic!("the superblock is gone"),
        }
    }
}

/// Opening replaced only what the copy filled. The sector behind it stayed unreadable, so that the
/// copy was as good as lost for ever, and after a crash in the other pair only one of four was left.
#[test]
fn an_unreadable_sector_anywhere_in_a_copy_is_healed_by_opening() {
    let (mut disk, _) = formatted(1);
    for sector in 0..SLOT_SIZE / SECTOR_SIZE {
        for index in 0..COPY_COUNT {
            let offset = (index * SLOT_SIZE + sector * SECTOR_SIZE) as u64;
            disk.make_unreadable_at(SUPERBLOCK_NAME, offset).unwrap();
            assert_eq!(view_of(&disk), Ok(0));
            disk.crash();
            let file = disk.open(SUPERBLOCK_NAME).unwrap().unwrap();
            assert!(read_slots(&file).unwrap().iter().all(|slot| matches!(slot, Slot::Valid(_))));
        }
    }
}

#[test]
fn a_crash_at_any_call_of_a_format_leaves_a_blank_or_a_formatted_disk() {
    let calls = {
        let (disk, _) = formatted(1);
        disk.calls()
    };
    for call in 1..=calls {
        for seed in 0..20 {
            let mut disk = SimulatedDisk::new(seed);
            disk.fail_after(call);
            assert!(SuperblockStore::format(&disk, &superblock(3)).is_err());
            disk.crash();
            match view_of(&disk) {
                Ok(3) | Err("never formatted") => {}
                other => panic!("call {call} seed {seed}: {other:?}"),
            }
            SuperblockStore::format(&disk, &superblock(4)).unwrap();
            assert_eq!(view_of(&disk), Ok(4));
        }
    }
}

#[test]
fn a_crash_at_any_call_of_a_write_leaves_the_old_or_the_new_superblock_for_ever() {
    let calls = {
        let (disk, mut store) = formatted(1);
        let before = disk.calls();
        store.write(&superblock(1)).unwrap();
        disk.calls() - before
    };
    let mut outcomes = [0, 0];
    for call in 1..=calls {
        for seed in 0..40 {
            let (mut disk, mut store) = formatted(seed);
            store.write(&superblock(4)).unwrap();
            disk.fail_after(call);
            assert!(store.write(&superblock(5)).is_err());
            disk.crash();

            // A crash while opening must not change the answer once it was given.
            disk.fail_after(1 + seed % 9);
            let first = SuperblockStore::open(&disk);
            disk.crash();
            let view = view_of(&disk).unwrap();
            assert!(view == 4 || view == 5, "call {call} seed {seed}: view {view}");
            if let Ok(Opened::Formatted(first, _)) = first {
                assert_eq!(first.view.get(), view);
            }
            disk.crash();
            assert_eq!(view_of(&disk), Ok(view));
            outcomes[usize::from(view == 5)] += 1;
        }
    }
    assert!(outcomes[0] > 0 && outcomes[1] > 0);
}

#[test]
fn any_two_copies_may_rot_and_the_last_one_alone_is_not_believed() {
    for first in 0..COPY_COUNT {
        for second in 0..COPY_COUNT {
            let (disk, mut store) = formatted(1);
            store.write(&superblock(9)).unwrap();
            rot_copy(&disk, first);
            if second != first {
                disk.make_unreadable_at(SUPERBLOCK_NAME, (second * SLOT_SIZE) as u64).unwrap();
            }
            assert_eq!(view_of(&disk), Ok(9));

            // Opening has healed them: three others may rot now, but not all but one.
            let healthy: Vec<usize> = (0..COPY_COUNT).filter(|it| *it != first).collect();
            rot_copy(&disk, healthy[0]);
            rot_copy(&disk, healthy[1]);
            rot_copy(&disk, healthy[2]);
            assert_eq!(view_of(&disk), Err("unreadable"));
        }
    }
}

#[test]
fn a_superblock_whose_copies_are_all_rotten_is_unreadable() {
    let (disk, _) = formatted(1);
    (0..COPY_COUNT).for_each(|index| rot_copy(&disk, index));
    assert_eq!(view_of(&disk), Err("unreadable"));
}

#[test]
fn a_copy_that_missed_its_write_or_landed_in_anothers_place_does_not_win() {
    for seed in 0..40 {
        let (mut disk, mut store) = formatted(seed);
        store.write(&superblock(1)).unwrap();
        if seed % 2 == 0 {
            disk.lose_next_write();
        } else {
            disk.misdirect_next_write();
        }
        store.write(&superblock(2)).unwrap();
        disk.crash();
        assert_eq!(view_of(&disk), Ok(2), "seed {seed}");
    }
}

#[test]
fn after_a_failed_sync_the_store_refuses_to_go_on() {
    let (mut disk, mut store) = formatted(1);
    disk.fail_next_sync();
    assert!(store.write(&superblock(1)).is_err());
    assert!(store.write(&superblock(2)).is_err());
    disk.crash();
    assert_eq!(view_of(&disk), Ok(0));
}

#[test]
fn the_format_of_a_copy_is_fixed() {
    let body = Bytes::from_static(b"the superblock");
    let copy =
        Copy { sequence: 5, parent: Checksum::new(0x11), name: Checksum::of(&body), body: body.clone() };
    let raw = encode_copy(2, &copy);
    assert_eq!(raw.len(), 512);
    let hex: String = raw[..80].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        concat!(
            "13180a42f38b7579e10b0ca4b493413056494557535550520100000002000000",
            "1100000000000000000000000000000005000000000000000e00000000000000",
            "746865207375706572626c6f636b0000",
        )
    );

    match decode_copy(2, Bytes::from(raw.clone())) {
        Some(Slot::Valid(read)) => {
            assert_eq!((read.sequence, read.parent, read.body), (5, Checksum::new(0x11), body));
        }
        _ => panic!("the copy is not valid"),
    }
    assert!(decode_copy(1, Bytes::from(raw)).is_none());
}
