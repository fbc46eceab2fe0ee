use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use format::HEADER_COPIES;

#[test]
fn a_chunk_is_seen_only_when_it_is_durable_and_then_survives_every_crash() {
    for seed in 0..20 {
        let (mut disk, mut store) = new_store(seed);
        append(&mut store, 1, 3 * BLOCK + 5);
        let reader = store.reader();
        assert!(is_absent(&reader, 1) && reader.walk(None, 9).is_empty());
        assert_eq!(store.commit_group().unwrap(), [id(1)]);
        assert_eq!(reader.find(id(1)).unwrap().length, u32::try_from(3 * BLOCK + 5).unwrap());
        append(&mut store, 2, 100);

        for _ in 0..3 {
            let (store, report) = reopen(&mut disk);
            assert!(report.is_complete());
            assert!(is_whole(&store.reader(), 1, 3 * BLOCK + 5));
            assert!(is_absent(&store.reader(), 2) || is_whole(&store.reader(), 2, 100));
        }
    }
}

#[test]
fn any_run_of_blocks_is_read_and_fits_the_root() {
    let (_, mut store) = new_store(1);
    let bytes = content(5, 3 * BLOCK + 5);
    append_bytes(&mut store, id(5), &bytes).unwrap();
    store.commit_group().unwrap();
    let outline = Outline::of(&bytes);
    let read = |first, count| store.reader().read(id(5), &outline.root(), first, count);

    for (first, count, range) in [
        (0, 1, 0..BLOCK),
        (1, 2, BLOCK..3 * BLOCK),
        (3, 1, 3 * BLOCK..bytes.len()),
        (2, u32::MAX, 2 * BLOCK..bytes.len()),
    ] {
        let blocks = read(first, count).unwrap();
        assert_eq!(blocks.bytes, bytes[range]);
        assert_eq!(blocks.outline, outline);
    }
    assert!(matches!(read(4, 1), Err(ReadFault::Absent)));
    assert!(matches!(read(0, 0), Err(ReadFault::Absent)));
    assert!(matches!(read(u32::MAX, 1), Err(ReadFault::Absent)));
    let other = Outline::of(b"other").root();
    assert!(matches!(store.reader().read(id(5), &other, 0, 1), Err(ReadFault::Absent)));
}

#[test]
fn bytes_that_do_not_fit_their_root_never_reach_the_store() {
    let bytes = content(1, BLOCK + 1);
    let root = Outline::of(&bytes).root();
    let verify = |bytes: &[u8]| VerifiedChunk::new(id(1), root, Bytes::copy_from_slice(bytes));
    assert!(verify(&bytes).is_some());
    assert!(verify(&bytes[..BLOCK]).is_none());
    let mut other = bytes.clone();
    other[BLOCK] ^= 1;
    assert!(verify(&other).is_none());
    assert!(VerifiedChunk::new(id(1), Outline::of(&[]).root(), Bytes::new()).is_none());
    let too_long = Bytes::from(vec![0; CHUNK_BYTES_MAX as usize + 1]);
    assert!(VerifiedChunk::new(id(1), Outline::of(&too_long).root(), too_long).is_none());
}

/// Chunks of the largest size have a head of two pages, and may be larger than a segment.
#[test]
fn the_largest_chunk_is_stored_even_in_a_segment_that_is_smaller() {
    let (mut disk, mut store) = new_store(1);
    for (number, length) in [(1, 8 << 20), (2, (125 << 16) + 1), (3, 1)] {
        append(&mut store, number, length);
    }
    assert_eq!(store.commit_group().unwrap().len(), 3);
    let (store, _) = reopen(&mut disk);
    for (number, length) in [(1, 8 << 20), (2, (125 << 16) + 1), (3, 1)] {
        assert!(is_whole(&store.reader(), number, length));
        store.reader().scrub(id(number)).unwrap();
    }
}

#[test]
fn the_same_bytes_again_are_not_written_again_and_other_bytes_are_a_conflict() {
    let (disk, mut store) = new_store(1);
    append(&mut store, 1, 100);
    append(&mut store, 1, 100);
    let conflict = |store: &mut Store| match append_bytes(store, id(1), b"other") {
        Err(AppendError::Conflict(root)) => root == Outline::of(&content(1, 100)).root(),
        _ => false,
    };
    assert!(conflict(&mut store));
    assert_eq!(store.commit_group().unwrap(), [id(1)]);
    assert_eq!(store.commit_group().unwrap(), []);

    let used = disk.used_bytes();
    append(&mut store, 1, 100);
    assert!(conflict(&mut store));
    assert_eq!(store.commit_group().unwrap(), [id(1)], "whoever asked again gets an answer");
    assert_eq!(disk.used_bytes(), used);
}

/// A receipt for what the collector took away between the append and the sync would be a lie.
#[test]
fn a_chunk_that_is_deleted_before_the_group_ends_is_not_reported() {
    let (_, mut store) = new_store(1);
    store_all(&mut store, [1, 2, 3], 100);
    append(&mut store, 1, 100);
    append(&mut store, 2, 100);
    append(&mut store, 3, 100);
    store.delete(&[id(1)]).unwrap();
    let copy = store.reader().find(id(2)).unwrap().copy;
    assert!(store.quarantine(copy).unwrap());
    assert_eq!(store.commit_group().unwrap(), [id(3)]);
}

#[test]
fn a_group_that_fills_a_segment_goes_on_in_the_next_and_is_reported_whole() {
    let (mut disk, mut store) = new_store(1);
    store_all(&mut store, 0..30, 20_000);
    assert!(disk.names().unwrap().len() > 3);
    let (store, report) = reopen(&mut disk);
    assert_eq!(report, OpenReport::default());
    assert!((0..30).all(|number| is_whole(&store.reader(), number, 20_000)));
    assert_eq!(store.reader().chunk_count(), 30);
}

#[test]
fn a_group_costs_one_sync_and_an_empty_one_none() {
    let (disk, mut store) = new_store(1);
    store_all(&mut store, [1], 100);
    append(&mut store, 2, 100);
    append(&mut store, 3, 100);
    let before = disk.calls();
    store.commit_group().unwrap();
    assert_eq!(disk.calls() - before, 2, "one write of slots, one sync");
    store.commit_group().unwrap();
    assert_eq!(disk.calls() - before, 2);
}

#[test]
fn what_is_deleted_is_gone_and_its_space_is_given_back() {
    let (mut disk, mut store) = new_store(1);
    store_all(&mut store, 0..40, 20_000);
    let reader = store.reader();
    let (used, counted) = (disk.used_bytes(), reader.used_bytes());
    store.delete(&[id(1)]).unwrap();
    assert!(is_absent(&reader, 1) && is_whole(&reader, 2, 20_000));
    assert_eq!((used - disk.used_bytes(), counted - reader.used_bytes()), (6 * PAGE, 6 * PAGE));

    let all: Vec<ChunkId> = (0..40).map(id).collect();
    store.delete(&all).unwrap();
    assert_eq!((reader.chunk_count(), held(&reader)), (0, vec![]));
    assert_eq!(disk.names().unwrap().len(), 1, "only the segment that is being written is left");
    assert_eq!((disk.used_bytes(), reader.used_bytes()), (RECORDS, RECORDS));

    let (store, report) = reopen(&mut disk);
    assert_eq!(report, OpenReport::default());
    assert!((0..40).all(|number| is_absent(&store.reader(), number)));
}

#[test]
fn a_deleted_chunk_can_be_stored_anew_and_deleted_again() {
    let (mut disk, mut store) = new_store(1);
    for _ in 0..20 {
        store_all(&mut store, [1, 2], 9000);
        store.delete(&[id(1), id(2), id(3)]).unwrap();
    }
    store_all(&mut store, [2], 9000);
    let (store, _) = reopen(&mut disk);
    assert!(is_absent(&store.reader(), 1) && is_whole(&store.reader(), 2, 9000));
    assert!(disk.used_bytes() < SEGMENT);
}

/// The crash comes between the durable mark and the hole, or takes the hole back.
#[test]
fn space_that_a_crash_kept_from_being_given_back_is_given_back_at_the_next_start() {
    for seed in 0..30 {
        let (mut disk, mut store) = new_store(seed);
        store_all(&mut store, 0..4, 20_000);
        disk.fail_after(4 + seed % 3);
        let _ = store.delete(&[id(0), id(2)]);
        let (store, _) = reopen(&mut disk);
        drop(store);
        let (store, report) = open(&disk).unwrap();
        assert!(report.is_complete());
        assert!(is_whole(&store.reader(), 1, 20_000) && is_whole(&store.reader(), 3, 20_000));
        assert_eq!(disk.used_bytes(), store.reader().used_bytes());
    }
}

#[test]
fn a_damaged_copy_is_set_aside_kept_and_replaced_by_a_good_one() {
    let (mut disk, mut store) = new_store(1);
    store_all(&mut store, [1, 2], 2 * BLOCK);
    disk.rot_at(FIRST, RECORDS + PAGE + 70_000).unwrap();
    let reader = store.reader();
    let root = Outline::of(&content(1, 2 * BLOCK)).root();
    assert!(reader.read(id(1), &root, 0, 1).is_ok(), "the other block is sound");
    let copy = damaged_copy(reader.read(id(1), &root, 0, 2));
    assert_eq!(damaged_copy(reader.scrub(id(1))), copy);

    let used = reader.used_bytes();
    assert!(store.quarantine(copy).unwrap());
    assert!(!store.quarantine(copy).unwrap());
    assert!(is_absent(&reader, 1));
    assert_eq!(reader.used_bytes(), used, "it is kept");
    let expected = [
        Held { chunk: id(1), served: false, quarantined: true },
        Held { chunk: id(2), served: true, quarantined: false },
    ];
    assert_eq!(held(&reader), expected);

    let (mut store, report) = reopen(&mut disk);
    assert_eq!(report, OpenReport::default());
    assert_eq!(held(&store.reader()), expected);
    store_all(&mut store, [1], 2 * BLOCK);
    assert!(is_whole(&store.reader(), 1, 2 * BLOCK));
    assert!(!store.quarantine(copy).unwrap(), "a late report is about the copy that was damaged");

    store.delete_quarantined(&[id(1), id(2)]).unwrap();
    assert!(is_whole(&store.reader(), 1, 2 * BLOCK) && is_whole(&store.reader(), 2, 2 * BLOCK));
    assert_eq!(store.reader().quarantined_count(), 0);
    let (store, _) = reopen(&mut disk);
    assert!(held(&store.reader()).iter().all(|held| held.served && !held.quarantined));
}

/// The scrub must see what the page cache hides: a write that never reached the medium.
#[test]
fn the_scrub_sees_the_medium_while_reads_still_see_the_cache() {
    let (disk, mut store) = new_store(1);
    disk.lose_write(1 + u64::from(HEADER_COPIES) + 1);
    store_all(&mut store, [1], 5000);
    assert_eq!(disk.take_damages().len(), 1);
    assert!(is_whole(&store.reader(), 1, 5000));
    damaged_copy(store.reader().scrub(id(1)));
}

/// A crash may take the bytes of a group and leave its slots, or the other way round.
#[test]
fn a_group_torn_by_a_crash_is_served_whole_or_set_aside() {
    let (mut whole, mut aside, mut gone) = (0, 0, 0);
    for seed in 0..60 {
        let (mut disk, mut store) = new_store(seed);
        store_all(&mut store, [1], 100);
        (2..6).for_each(|number| append(&mut store, number, 9000));
        disk.fail_after(2);
        assert!(store.commit_group().is_err());
        assert!(store.commit_group().is_err(), "nothing is known any more");

        let (store, report) = reopen(&mut disk);
        assert!(report.is_complete());
        assert!(is_whole(&store.reader(), 1, 100));
        for number in 2..6 {
            match store.reader().find(id(number)) {
                Ok(_) if is_whole(&store.reader(), number, 9000) => whole += 1,
                Ok(_) => panic!("seed {seed}: chunk {number} is served and not whole"),
                Err(_) if report.suspects.contains(&id(number)) => aside += 1,
                Err(_) => gone += 1,
            }
        }
    }
    assert!(whole > 20 && aside > 20 && gone > 20, "{whole} {aside} {gone}");
}

#[test]
fn what_a_crash_left_is_never_written_over_and_never_comes_back() {
    for seed in 0..40 {
        let (mut disk, mut store) = new_store(seed);
        store_all(&mut store, [1], 100);
        append(&mut store, 2, 30_000);
        let (mut store, report) = reopen(&mut disk);
        let suspects = report.suspects.len();
        if report.suspects == [id(2)] {
            store.delete(&[id(2)]).unwrap();
        } else if !is_absent(&store.reader(), 2) {
            continue;
        }
        store_all(&mut store, [3], 20_000);
        for _ in 0..2 {
            let (store, report) = reopen(&mut disk);
            assert_eq!(report, OpenReport::default(), "seed {seed}, {suspects} suspects before");
            assert!(is_absent(&store.reader(), 2));
            assert!(is_whole(&store.reader(), 1, 100) && is_whole(&store.reader(), 3, 20_000));
        }
    }
}

#[test]
fn a_failed_sync_ends_the_store() {
    let (mut disk, mut store) = new_store(1);
    store_all(&mut store, [1], 100);
    append(&mut store, 2, 100);
    disk.fail_next_sync();
    assert!(store.commit_group().is_err());
    assert!(store.commit_group().is_err());
    assert!(matches!(append_bytes(&mut store, id(3), b"x"), Err(AppendError::Io(_))));
    assert!(store.delete(&[id(1)]).is_err());
    assert!(is_absent(&store.reader(), 2));

    let (store, _) = reopen(&mut disk);
    assert!(is_whole(&store.reader(), 1, 100) && is_absent(&store.reader(), 2));
}

#[test]
fn appending_stops_at_the_reserve_and_deleting_goes_on() {
    let disk = SimulatedDisk::new(1);
    disk.set_capacity(2 << 20);
    let options = ChunkOptions { reserve_bytes: 1 << 20, ..options(1) };
    let (mut store, _) = ChunkStore::open(&disk, CLUSTER, REPLICA, options).unwrap();
    let mut count = 0;
    while append_bytes(&mut store, id(count), &content(count, 50_000)).is_ok() {
        count += 1;
    }
    assert!(matches!(append_bytes(&mut store, id(count), &content(count, 50_000)), Err(AppendError::Full)));
    assert_eq!(store.commit_group().unwrap().len() as u64, count);
    assert!(disk.available().unwrap() >= 1 << 20);

    store.delete(&[id(0), id(1)]).unwrap();
    append(&mut store, 1, 50_000);
    store.commit_group().unwrap();
    assert!((1..count).all(|number| is_whole(&store.reader(), number, 50_000)));
}

/// Others have taken the reserve, too: not one byte is left.
#[test]
fn on_a_disk_without_a_byte_everything_can_be_deleted_and_set_aside_and_opened() {
    let (mut disk, mut store) = new_store(1);
    store_all(&mut store, 0..20, 9000);
    append(&mut store, 50, 9000);
    disk.set_capacity(disk.used_bytes());
    let full = append_bytes(&mut store, id(51), &content(51, 9000));
    assert!(matches!(full, Err(AppendError::Full)));
    assert_eq!(store.commit_group().unwrap(), [id(50)]);

    disk.set_capacity(disk.used_bytes());
    let copy = store.reader().find(id(0)).unwrap().copy;
    store.quarantine(copy).unwrap();
    store.delete(&[id(1), id(2)]).unwrap();
    disk.set_capacity(disk.used_bytes());
    let (mut store, report) = reopen(&mut disk);
    assert!(report.is_complete());
    let rest: Vec<ChunkId> = (0..51).map(id).collect();
    store.delete(&rest).unwrap();
    assert!(disk.used_bytes() <= 2 * RECORDS);
    append(&mut store, 1, 9000);
    store.commit_group().unwrap();
}

/// The check of the free space is a hint; here the disk fills up between the check and the write.
#[test]
fn a_write_that_finds_no_space_stores_nothing_and_breaks_nothing() {
    for room in 0..14 {
        let (mut disk, mut store) = new_store(room);
        store_all(&mut store, 0..3, 9000);
        let bytes = content(9, 40_000);
        let outline = Outline::of(&bytes);
        let new = VerifiedChunk::new(id(9), outline.root(), bytes.into()).unwrap();
        disk.set_capacity(disk.used_bytes() + room * PAGE);
        let written = store.write_record(&new, format::record_pages(outline.length));
        assert_eq!(written.is_ok(), room >= 11, "{room}");
        if written.is_ok() {
            continue;
        }
        disk.set_capacity(u64::MAX);
        store_all(&mut store, [4], 9000);
        let (store, report) = reopen(&mut disk);
        assert_eq!(report, OpenReport::default());
        assert!([0, 1, 2, 4].iter().all(|number| is_whole(&store.reader(), *number, 9000)));
    }
}

#[test]
fn a_segment_whose_creation_was_interrupted_leaves_nothing_behind() {
    for seed in 0..30 {
        let (mut disk, mut store) = new_store(seed);
        disk.fail_after(2 + seed % 6);
        let _ = append_bytes(&mut store, id(1), b"abc").and_then(|()| {
            store.commit_group().map_err(AppendError::Io)?;
            Ok(())
        });
        let (mut store, report) = reopen(&mut disk);
        assert!(report.is_complete(), "seed {seed}: {report:?}");
        store_all(&mut store, [2], 100);
        let (store, _) = reopen(&mut disk);
        assert!(is_whole(&store.reader(), 2, 100));
    }
}

/// What a reader sees of a chunk that is deleted under its hands looks like damage: pages become holes.
#[test]
fn readers_keep_their_answers_straight_while_chunks_come_and_go() {
    const CHUNKS: u64 = 8;
    const LENGTH: usize = 20_000;
    let (_, mut store) = new_store(1);
    store_all(&mut store, 0..CHUNKS, LENGTH);
    let reader = store.reader();
    // Reads everything once; says how many chunks were there.
    let pass = || {
        let served = (0..CHUNKS).filter(|number| match read_all(&reader, *number, LENGTH) {
            Ok(bytes) => {
                assert_eq!(bytes, content(*number, LENGTH), "chunk {number}");
                true
            }
            Err(ReadFault::Absent) => false,
            Err(fault) => panic!("chunk {number}: {fault:?}"),
        });
        served.count() as u64
    };

    // However the threads are scheduled, they meet: neither ends before the other has done its part.
    let rounds = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut passes = 0;
            while passes < 200 || rounds.load(Ordering::Relaxed) < 200 {
                pass();
                passes += 1;
            }
        });
        while !reading.is_finished() {
            let round = rounds.fetch_add(1, Ordering::Relaxed);
            let number = round % CHUNKS;
            store.delete(&[id(number)]).unwrap();
            store_all(&mut store, [number], LENGTH);
        }
    });
    assert_eq!(pass(), CHUNKS, "all of them came back");
}
