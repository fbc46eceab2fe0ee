use std::ops::Bound;

use protocol::tables::{FaultCause, begins_range};
use protocol::types::{ClusterId, Epoch as ClusterEpoch};

use super::*;
use crate::storage::disk::SimulatedDisk;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

const OPTIONS: TablesOptions = TablesOptions { cache_bytes: 1 << 20, verify: true };

fn header(op: u64) -> EntryHeader {
    let mut header = EntryHeader::genesis(ClusterId::new(1), ClusterEpoch::ZERO);
    header.op = Op::new(op);
    header
}

fn genesis() -> Checkpoint {
    Checkpoint { header: header(0), root: RowSum::ZERO }
}

fn open(disk: &SimulatedDisk) -> Result<DiskTables, OpenError> {
    DiskTables::open(disk, &genesis(), OPTIONS)
}

/// A small generator of its own: these tests need variety, not quality.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn key(number: u64) -> Vec<u8> {
    format!("key {number:06}").into_bytes()
}

/// Keys that begin ranges, so that small tables have many ranges.
fn beginning_keys(count: usize) -> Vec<Vec<u8>> {
    (0..).map(key).filter(|key| begins_range(key)).take(count).collect()
}

/// Puts and deletes among ordinary keys and keys that begin ranges.
fn write(tables: &mut DiskTables, model: &mut Model, random: &mut Random, count: usize) {
    let beginnings = beginning_keys(12);
    for _ in 0..count {
        let key = match random.below(4) {
            0 => beginnings[usize::try_from(random.below(12)).unwrap()].clone(),
            1 if random.below(20) == 0 => Vec::new(),
            _ => key(random.below(6000)),
        };
        if random.below(3) == 0 {
            tables.delete(&key);
            model.remove(&key);
        } else {
            let value =
                vec![u8::try_from(random.below(256)).unwrap(); usize::try_from(random.below(40)).unwrap()];
            tables.put(&key, &value);
            model.insert(key, value);
        }
    }
}

fn root_of(model: &Model) -> RowSum {
    let mut root = RowSum::ZERO;
    model.iter().for_each(|(key, value)| root.add(RowSum::of_row(key, value)));
    root
}

/// What the manifest must say, computed from nothing but the rows.
fn ranges_of(model: &Model) -> Vec<RangeSummary> {
    let mut ranges = vec![RangeSummary { start: Bytes::new(), sum: RowSum::ZERO, row_count: 0 }];
    for (key, value) in model {
        if begins_range(key) && !key.is_empty() {
            let start = Bytes::copy_from_slice(key);
            ranges.push(RangeSummary { start, sum: RowSum::ZERO, row_count: 0 });
        }
        let range = ranges.last_mut().unwrap();
        range.sum.add(RowSum::of_row(key, value));
        range.row_count += 1;
    }
    ranges
}

fn content(tables: &DiskTables) -> Model {
    let mut rows = Model::new();
    tables
        .scan(&[], None, &mut |key, value| {
            assert!(rows.insert(key.to_vec(), value.to_vec()).is_none());
            Scan::Continue
        })
        .unwrap();
    rows
}

fn manifest(tables: &DiskTables, op: u64) -> Vec<RangeSummary> {
    let mut ranges: Vec<RangeSummary> = Vec::new();
    loop {
        let after = ranges.last().map(|range| range.start.clone());
        let page = tables.manifest(Op::new(op), after.as_deref(), 3).unwrap().unwrap();
        ranges.extend(page.ranges);
        if page.last {
            return ranges;
        }
    }
}

fn checkpoint(tables: &mut DiskTables, op: u64) {
    tables.freeze(&header(op));
    let flushed = tables.flush_job().unwrap().run().unwrap();
    assert!(tables.finish_flush(flushed));
}

/// Tables with some hundred rows in about a dozen ranges, durable at op 10.
fn filled(disk: &SimulatedDisk, seed: u64) -> (DiskTables, Model) {
    let mut tables = open(disk).unwrap();
    let mut model = Model::new();
    write(&mut tables, &mut model, &mut Random(seed), 600);
    checkpoint(&mut tables, 10);
    (tables, model)
}

#[test]
fn reads_see_every_write_before_during_and_after_a_flush() {
    let disk = SimulatedDisk::new(1);
    let mut tables = open(&disk).unwrap();
    let (mut model, mut random) = (Model::new(), Random(7));
    for round in 1..=6 {
        write(&mut tables, &mut model, &mut random, 400);
        let at_freeze = model.clone();
        tables.freeze(&header(round));
        let job = tables.flush_job().unwrap();
        write(&mut tables, &mut model, &mut random, 100);
        assert_eq!(content(&tables), model);
        let flushed = job.run().unwrap();
        write(&mut tables, &mut model, &mut random, 100);
        assert_eq!(content(&tables), model);
        assert_eq!(tables.durable().op(), Op::new(round - 1));

        assert!(tables.frozen() && tables.finish_flush(flushed) && !tables.frozen());
        assert_eq!(content(&tables), model);
        for _ in 0..50 {
            let key = key(random.below(6000));
            assert_eq!(tables.get(&key).unwrap().as_deref(), model.get(&key).map(Vec::as_slice));
        }
        assert_eq!(tables.durable(), &Checkpoint { header: header(round), root: root_of(&at_freeze) });
        assert_eq!(manifest(&tables, round), ranges_of(&at_freeze));
    }
}

#[test]
fn a_scan_keeps_to_its_borders_and_stops_when_told() {
    let disk = SimulatedDisk::new(1);
    let (mut tables, mut model) = filled(&disk, 3);
    let mut random = Random(5);
    write(&mut tables, &mut model, &mut random, 200);
    tables.freeze(&header(20));
    write(&mut tables, &mut model, &mut random, 200);
    for _ in 0..200 {
        let (from, to, limit) = (key(random.below(6100)), key(random.below(6100)), random.below(30));
        let to = (limit % 5 != 0).then_some(to);
        let mut seen = Vec::new();
        tables
            .scan(&from, to.as_deref(), &mut |key, value| {
                seen.push((key.to_vec(), value.to_vec()));
                if seen.len() as u64 > limit { Scan::Stop } else { Scan::Continue }
            })
            .unwrap();
        let bounds = (Bound::Included(from.clone()), to.clone().map_or(Bound::Unbounded, Bound::Excluded));
        let expected: Vec<_> = match &to {
            Some(to) if *to <= from => Vec::new(),
            _ => model.range(bounds).take(usize::try_from(limit).unwrap() + 1).collect(),
        };
        assert!(seen.iter().map(|(key, value)| (key, value)).eq(expected));
    }
}

#[test]
fn what_is_reopened_is_the_last_flushed_checkpoint_after_a_clean_end_and_after_a_crash() {
    for crash in [false, true] {
        let mut disk = SimulatedDisk::new(1);
        let (mut tables, model) = filled(&disk, 3);
        tables.put(b"not frozen", b"");
        if crash {
            disk.crash();
        }
        drop(tables);
        let tables = open(&disk).unwrap();
        assert_eq!(content(&tables), model);
        assert_eq!(tables.durable(), &Checkpoint { header: header(10), root: root_of(&model) });
        assert_eq!(tables.snapshots(), [tables.durable().clone()]);
        assert_eq!(manifest(&tables, 10), ranges_of(&model));
    }
}

#[test]
fn a_crash_at_any_call_of_a_creation_leaves_tables_that_open_as_new() {
    let disk = SimulatedDisk::new(1);
    drop(open(&disk).unwrap());
    for call in 1..=disk.calls() {
        for seed in 0..3 {
            let mut disk = SimulatedDisk::new(seed);
            disk.fail_after(call);
            drop(open(&disk));
            disk.crash();
            let tables = open(&disk).unwrap_or_else(|error| panic!("call {call} seed {seed}: {error}"));
            assert_eq!(tables.durable(), &genesis());
            assert!(content(&tables).is_empty());
        }
    }
}

#[test]
fn a_crash_at_any_call_of_a_flush_leaves_the_old_or_the_new_checkpoint_whole() {
    let run = |seed: u64, call: Option<u64>| {
        let mut disk = SimulatedDisk::new(seed);
        let (mut tables, old) = filled(&disk, 3);
        let mut new = old.clone();
        write(&mut tables, &mut new, &mut Random(9), 300);
        let before = disk.calls();
        if let Some(call) = call {
            disk.fail_after(call);
        }
        tables.freeze(&header(20));
        let flushed = tables.flush_job().unwrap().run();
        let calls = disk.calls() - before;
        assert_eq!(flushed.is_err(), call.is_some());
        disk.crash();
        drop(tables);
        (disk, old, new, calls)
    };
    let (.., calls) = run(1, None);
    let mut outcomes = [0, 0];
    for call in 1..=calls {
        let (mut disk, old, new, _) = run(call, Some(call));
        // Killed again while it recovers.
        disk.fail_after(1 + call % 13);
        drop(open(&disk));
        disk.crash();
        let tables = open(&disk).unwrap_or_else(|error| panic!("call {call}: {error}"));
        let (model, op) = if tables.durable().op() == Op::new(20) { (new, 20) } else { (old, 10) };
        assert_eq!(content(&tables), model, "call {call}");
        assert_eq!(manifest(&tables, op), ranges_of(&model), "call {call}");
        outcomes[usize::from(op == 20)] += 1;
    }
    assert!(outcomes[0] > 0 && outcomes[1] > 0, "{outcomes:?}");
}

/// Rot anywhere: the tables open whole, or as an older checkpoint, or say that they are damaged.
/// They never show a row that was not there.
#[test]
fn rot_is_reported_and_never_read_as_rows() {
    let (mut whole, mut damaged) = (0, 0);
    for seed in 0..60 {
        let mut disk = SimulatedDisk::new(seed);
        let (mut tables, old) = filled(&disk, 3);
        let mut new = old.clone();
        write(&mut tables, &mut new, &mut Random(9), 300);
        checkpoint(&mut tables, 20);
        disk.crash();
        drop(tables);
        match seed % 2 {
            0 => disk.rot(TABLES_NAME).unwrap(),
            _ => disk.make_unreadable(TABLES_NAME).unwrap(),
        };
        match open(&disk) {
            Err(OpenError::Damaged(_)) => damaged += 1,
            Err(OpenError::Disk(error)) => panic!("seed {seed}: {error}"),
            Ok(tables) => {
                whole += 1;
                let model = if tables.durable().op() == Op::new(20) { &new } else { &old };
                assert_eq!(content(&tables), *model);
            }
        }
    }
    assert!(whole > 5 && damaged > 5, "whole {whole}, damaged {damaged}");
}

#[test]
fn a_write_that_never_happened_or_landed_elsewhere_is_noticed_when_opening() {
    let mut damaged = 0;
    for seed in 0..60 {
        let mut disk = SimulatedDisk::new(seed);
        let (mut tables, old) = filled(&disk, 3);
        let mut new = old.clone();
        write(&mut tables, &mut new, &mut Random(9), 300);
        if seed % 2 == 0 {
            disk.lose_next_write();
        } else {
            disk.misdirect_next_write();
        }
        checkpoint(&mut tables, 20);
        disk.crash();
        drop(tables);
        match open(&disk) {
            Err(OpenError::Damaged(_)) => damaged += 1,
            Err(OpenError::Disk(error)) => panic!("seed {seed}: {error}"),
            Ok(tables) => {
                let model = if tables.durable().op() == Op::new(20) { &new } else { &old };
                assert_eq!(content(&tables), *model, "seed {seed}");
            }
        }
    }
    assert!(damaged > 5, "{damaged}");
}

/// One page of a tree is old and whole. redb took such a page for its allocator state and panicked,
/// before anything was verified; so would a running replica have.
#[test]
fn whichever_write_of_a_flush_never_happened_nothing_panics_and_no_old_row_is_read() {
    let (mut damaged, mut faults, mut struck) = (0, 0, 0);
    for verify in [true, false] {
        for write_number in 1.. {
            let mut disk = SimulatedDisk::new(write_number);
            let (mut tables, mut old) = filled(&disk, 3);
            let mut random = Random(9);
            // Pages are used anew, and what stood there before is a page of the same kind.
            for op in 11..15 {
                write(&mut tables, &mut old, &mut random, 30);
                checkpoint(&mut tables, op);
            }
            let mut new = old.clone();
            write(&mut tables, &mut new, &mut random, 30);
            disk.take_damages();
            disk.lose_write(write_number);
            checkpoint(&mut tables, 20);
            if disk.take_damages().is_empty() {
                break;
            }
            struck += 1;
            disk.crash();
            drop(tables);
            match DiskTables::open(&disk, &genesis(), TablesOptions { verify, ..OPTIONS }) {
                Err(OpenError::Damaged(_)) => damaged += 1,
                Err(OpenError::Disk(error)) => panic!("write {write_number}: {error}"),
                Ok(mut tables) => {
                    let model = if tables.durable().op() == Op::new(20) { &mut new } else { &mut old };
                    match tables.scan(&[], None, &mut |_, _| Scan::Continue) {
                        Ok(()) => assert!(content(&tables) == *model, "write {write_number}"),
                        Err(_) => faults += 1,
                    }
                    write(&mut tables, model, &mut random, 100);
                    tables.freeze(&header(30));
                    drop(tables.flush_job().unwrap().run());
                }
            }
        }
    }
    assert!(struck > 10 && damaged + faults > struck / 2, "{struck}: {damaged} damaged, {faults} faults");
}

#[test]
fn damage_under_running_tables_is_a_fault_of_the_read() {
    let mut disk = SimulatedDisk::new(1);
    let (tables, model) = filled(&disk, 3);
    disk.crash();
    drop(tables);
    // Without a cache and without the check at the start, reads come from the disk.
    let options = TablesOptions { cache_bytes: 0, verify: false };
    let tables = DiskTables::open(&disk, &genesis(), options).unwrap();
    let size = disk.open(TABLES_NAME).unwrap().unwrap();
    for block in 2..size.len().unwrap() / 4608 {
        disk.rot_at(TABLES_NAME, block * 4608 + 50);
    }
    let some_key = model.keys().next().unwrap();
    assert!(tables.get(some_key).is_err());
    assert!(tables.scan(&[], None, &mut |_, _| Scan::Continue).is_err());
    assert!(tables.rows(Op::new(10), &[], None, None, 100).is_err());
}

#[test]
fn a_full_disk_fails_the_flush_and_leaves_the_checkpoint_before() {
    let mut disk = SimulatedDisk::new(1);
    let (mut tables, model) = filled(&disk, 3);
    disk.set_capacity(disk.used_bytes() + (8 << 10));
    for number in 0..400 {
        tables.put(&key(number), &[1; 1000]);
    }
    tables.freeze(&header(20));
    assert!(tables.flush_job().unwrap().run().is_err());
    disk.crash();
    drop(tables);
    disk.set_capacity(u64::MAX);
    let tables = open(&disk).unwrap();
    assert_eq!((content(&tables), tables.durable().op()), (model, Op::new(10)));
}

/// redb refuses reads, too, once a write has failed. That was taken for damage: every replica whose disk
/// was full forgot its tables.
#[test]
fn tables_that_cannot_be_written_are_not_called_damaged() {
    let disk = SimulatedDisk::new(1);
    let (tables, model) = filled(&disk, 3);
    drop(tables);
    let options = TablesOptions { cache_bytes: 0, verify: false };
    let mut tables = DiskTables::open(&disk, &genesis(), options).unwrap();
    disk.set_capacity(disk.used_bytes());
    for number in 0..400 {
        tables.put(&key(number), &[1; 1000]);
    }
    tables.freeze(&header(20));
    let Err(error) = tables.flush_job().unwrap().run() else { panic!("there is no room for it") };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(tables.failure().unwrap().kind(), io::ErrorKind::StorageFull);
    let unwritten = model.keys().find(|it| tables.get(it).is_err()).expect("redb reads nothing any more");
    assert_eq!(tables.get(unwritten).unwrap_err().cause, FaultCause::Disk);
    assert_eq!(tables.scan(&[], None, &mut |_, _| Scan::Continue).unwrap_err().cause, FaultCause::Disk);
}

#[test]
fn what_was_deleted_can_be_used_anew_after_three_checkpoints() {
    let disk = SimulatedDisk::new(1);
    let mut tables = open(&disk).unwrap();
    let row = [7; 3_000];
    (0..500).for_each(|number| tables.put(&key(number), &row));
    let owed = tables.space().flush_bytes;
    let before = tables.space().file_bytes;
    checkpoint(&mut tables, 10);
    let taken = tables.space().file_bytes - before;
    assert!((1_500_000..=owed).contains(&taken), "{taken} of {owed}");

    (0..450).for_each(|number| tables.delete(&key(number)));
    let mut reusable = Vec::new();
    for op in [20, 30, 40] {
        checkpoint(&mut tables, op);
        assert!(tables.space().is_uncounted);
        let counted = tables.count_job().run();
        tables.finish_count(counted);
        assert!(!tables.space().is_uncounted);
        reusable.push(tables.space().reusable_bytes);
    }
    // Half of what is free is counted.
    assert!(reusable[0] < 200_000, "{reusable:?}");
    assert!(reusable[2] > 800_000 || tables.space().file_bytes < 600_000, "{reusable:?}");

    // What waits for a flush does not take it twice.
    let file = tables.space().file_bytes;
    (0..200).for_each(|number| tables.put(&key(1_000 + number), &row));
    checkpoint(&mut tables, 50);
    assert!(tables.space().file_bytes < file + 300_000);
    assert!(tables.space().reusable_bytes < reusable[2]);
}

#[test]
fn rows_are_weighed_once_however_often_they_are_written() {
    let disk = SimulatedDisk::new(1);
    let mut tables = open(&disk).unwrap();
    assert_eq!(tables.space().flush_bytes, 0);
    tables.put(b"a", &[1; 4_000]);
    let once = tables.space().flush_bytes;
    tables.put(b"a", &[1; 40_000]);
    tables.put(b"a", &[2; 4_000]);
    assert_eq!(tables.space().flush_bytes, once);
    tables.delete(b"a");
    assert!(tables.space().flush_bytes < once);
    tables.freeze(&header(10));
    tables.put(b"b", &[1; 4_000]);
    assert!(tables.space().flush_bytes > once);
}

#[test]
fn a_donor_offers_the_durable_checkpoint_and_the_one_before_in_pages() {
    let disk = SimulatedDisk::new(1);
    let (mut tables, old) = filled(&disk, 3);
    let mut new = old.clone();
    write(&mut tables, &mut new, &mut Random(9), 300);
    checkpoint(&mut tables, 20);
    tables.put(b"later", b"");

    let offered: Vec<u64> = tables.snapshots().iter().map(|it| it.op().get()).collect();
    assert_eq!(offered, [10, 20]);
    assert_eq!(tables.manifest(Op::new(7), None, 5).unwrap(), None);
    assert_eq!(tables.rows(Op::new(7), &[], None, None, 5).unwrap(), None);
    for (op, model) in [(10, &old), (20, &new)] {
        let ranges = manifest(&tables, op);
        assert_eq!(ranges, ranges_of(model));
        let mut rows = Model::new();
        for (index, range) in ranges.iter().enumerate() {
            let end = ranges.get(index + 1).map(|next| next.start.as_ref());
            for (key, value) in fetch(&tables, op, &range.start, end) {
                rows.insert(key.to_vec(), value.to_vec());
            }
        }
        assert_eq!(rows, *model);
    }

    checkpoint(&mut tables, 30);
    assert_eq!(tables.manifest(Op::new(10), None, 5).unwrap(), None);
    // What makes no sense gets nothing.
    let empty = RowPage { rows: Vec::new(), last: true };
    assert_eq!(tables.rows(Op::new(30), b"b", Some(b"a"), Some(b"c"), 5).unwrap(), Some(empty));
}

fn fetch(donor: &DiskTables, op: u64, start: &[u8], end: Option<&[u8]>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after = rows.last().map(|(key, _)| key.clone());
        let page = donor.rows(Op::new(op), start, end, after.as_deref(), 200).unwrap().unwrap();
        rows.extend(page.rows);
        if page.last {
            return rows;
        }
    }
}

/// Fetches from the donor whatever the receiver does not hold; says how many ranges that were.
fn receive(tables: &mut DiskTables, donor: &DiskTables, op: u64) -> Result<usize, TableFault> {
    let ranges = manifest(donor, op);
    let mut installed = 0;
    for (index, range) in ranges.iter().enumerate() {
        let end = ranges.get(index + 1).map(|next| next.start.as_ref());
        if !tables.holds(range, end) {
            tables.install(&range.start, end, &fetch(donor, op, &range.start, end))?;
            installed += 1;
        }
    }
    Ok(installed)
}

#[test]
fn a_receiver_becomes_the_donor_and_fetches_only_what_differs() {
    let (donor_disk, disk) = (SimulatedDisk::new(1), SimulatedDisk::new(2));
    let (mut donor, mut theirs) = filled(&donor_disk, 3);
    let (mut tables, _) = filled(&disk, 3);
    // Two changes: one in a range, one that begins a range of its own.
    let fresh = (7000..).map(key).find(|key| begins_range(key)).unwrap();
    for changed in [key(3), fresh] {
        donor.put(&changed, b"changed");
        theirs.insert(changed, b"changed".to_vec());
    }
    checkpoint(&mut donor, 50);
    for number in 0..60 {
        tables.put(&key(number * 100), b"dropped");
    }
    tables.freeze(&header(20));
    tables.put(b"dropped too", b"");
    let late = tables.flush_job().unwrap();

    let target = donor.durable().clone();
    tables.begin_sync(&target).unwrap();
    assert_eq!((tables.syncing(), tables.frozen()), (Some(&target), false));
    assert!(tables.snapshots().is_empty());
    assert!(!tables.finish_sync().unwrap());
    let late = late.run().unwrap();
    assert!(!tables.finish_flush(late), "the sync has overtaken the flush");

    let installed = receive(&mut tables, &donor, 50).unwrap();
    assert!((2..=3).contains(&installed), "{installed}");
    assert_eq!(receive(&mut tables, &donor, 50).unwrap(), 0);
    assert!(tables.finish_sync().unwrap());
    assert_eq!((tables.syncing(), tables.durable()), (None, &target));
    assert_eq!(content(&tables), theirs);
    assert_eq!(manifest(&tables, 50), ranges_of(&theirs));
}

#[test]
fn a_flush_that_committed_just_before_a_sync_began_does_not_disturb_it() {
    let (donor_disk, disk) = (SimulatedDisk::new(1), SimulatedDisk::new(2));
    let (donor, theirs) = filled(&donor_disk, 4);
    let (mut tables, mut model) = filled(&disk, 3);
    write(&mut tables, &mut model, &mut Random(1), 300);
    tables.freeze(&header(15));
    let flushed = tables.flush_job().unwrap().run().unwrap();
    tables.begin_sync(donor.durable()).unwrap();
    assert!(!tables.finish_flush(flushed));
    receive(&mut tables, &donor, 10).unwrap();
    assert!(tables.finish_sync().unwrap());
    assert_eq!(content(&tables), theirs);
}

#[test]
fn a_sync_survives_any_crash_and_a_change_of_its_target() {
    let donor_disk = SimulatedDisk::new(1);
    let (mut donor, mut theirs) = filled(&donor_disk, 4);
    let first = donor.durable().clone();
    write(&mut donor, &mut theirs, &mut Random(2), 200);
    checkpoint(&mut donor, 20);
    let second = donor.durable().clone();

    // All of it: half of the first target, then the second one to the end.
    let run = |tables: &mut DiskTables| -> Result<(), TableFault> {
        tables.begin_sync(&first)?;
        for range in manifest(&donor, 10).windows(2).step_by(2) {
            let (start, end) = (&range[0].start, Some(range[1].start.as_ref()));
            tables.install(start, end, &fetch(&donor, 10, start, end))?;
        }
        tables.begin_sync(&second)?;
        receive(tables, &donor, 20)?;
        assert!(tables.finish_sync()?);
        Ok(())
    };
    let disk = SimulatedDisk::new(2);
    let (mut tables, _) = filled(&disk, 3);
    let before = disk.calls();
    run(&mut tables).unwrap();
    for call in (1..=disk.calls() - before).step_by(3) {
        let mut disk = SimulatedDisk::new(call);
        let (mut tables, ours) = filled(&disk, 3);
        disk.fail_after(call);
        assert!(run(&mut tables).is_err(), "call {call}");
        disk.crash();
        drop(tables);

        let mut tables = open(&disk).unwrap();
        match tables.syncing() {
            None if tables.durable() == &second => {}
            None => assert_eq!(content(&tables), ours),
            Some(target) => {
                assert!(*target == first || *target == second);
                tables.begin_sync(&second).unwrap();
                receive(&mut tables, &donor, 20).unwrap();
                assert!(tables.finish_sync().unwrap(), "call {call}");
                assert_eq!(content(&tables), theirs);
                assert_eq!(manifest(&tables, 20), ranges_of(&theirs), "call {call}");
            }
        }
    }
}

#[test]
fn a_donor_that_sends_other_rows_than_it_promised_is_found_out() {
    let (donor_disk, disk) = (SimulatedDisk::new(1), SimulatedDisk::new(2));
    let (donor, _) = filled(&donor_disk, 4);
    let mut tables = open(&disk).unwrap();
    tables.begin_sync(donor.durable()).unwrap();
    receive(&mut tables, &donor, 10).unwrap();
    let row = (Bytes::from_static(b"key 9"), Bytes::new());
    let stray = (Bytes::from_static(b"stray"), Bytes::new());
    tables.install(b"key 9", Some(b"key 91"), &[row.clone(), row, stray]).unwrap();
    assert_eq!(tables.get(b"stray").unwrap(), None);
    assert!(!tables.finish_sync().unwrap());
    assert!(tables.syncing().is_some());

    tables.install(b"key 9", Some(b"key 91"), &[]).unwrap();
    assert!(tables.finish_sync().unwrap());
    assert_eq!(manifest(&tables, 10), manifest(&donor, 10));
}

#[test]
fn destroyed_tables_begin_anew() {
    let mut disk = SimulatedDisk::new(1);
    drop(filled(&disk, 3));
    DiskTables::destroy(&disk).unwrap();
    disk.crash();
    let tables = open(&disk).unwrap();
    assert_eq!(tables.durable(), &genesis());
    assert!(content(&tables).is_empty());
}

#[test]
fn a_flush_may_run_on_another_thread() {
    let disk = SimulatedDisk::new(1);
    let (mut tables, mut model) = filled(&disk, 3);
    write(&mut tables, &mut model, &mut Random(4), 200);
    tables.freeze(&header(20));
    let job = tables.flush_job().unwrap();
    let flushing = std::thread::spawn(move || job.run());
    assert_eq!(content(&tables), model);
    assert!(tables.finish_flush(flushing.join().unwrap().unwrap()));
    assert_eq!(content(&tables), model);
}
