use bytes::Bytes;
use protocol::entry::EntryHeader;
use protocol::types::{Epoch, Timestamp, View};

use super::format::RECORD_PREFIX_SIZE;
use super::*;
use crate::storage::disk::SimulatedDisk;

mod damage;
mod power_cuts;

const CLUSTER: ClusterId = ClusterId::new(0xc1);
const REPLICA: ReplicaId = ReplicaId::new(2);
const SEGMENT: u64 = 32 << 10;
const BODY_END: u64 = SEGMENT / 8 * 7;
/// A segment that a test fills after a few entries.
const BODY_SIZE: usize = 700;
const RECORD: u64 = 1024;

type Names = Vec<(Op, Checksum)>;

fn entry(op: u64, view: u64, body_size: usize) -> Entry {
    let body = Bytes::from(vec![u8::try_from(op % 251).unwrap(); body_size]);
    let mut header = EntryHeader::genesis(CLUSTER, Epoch::ZERO);
    header.op = Op::new(op);
    header.view = View::new(view);
    header.timestamp = Timestamp::new(op);
    header.body_size = u32::try_from(body_size).unwrap();
    header.body_checksum = Checksum::of(&body);
    Entry::assemble(header, body).unwrap()
}

fn simple(op: u64) -> Entry {
    entry(op, 1, BODY_SIZE)
}

fn open_with(disk: &SimulatedDisk, never_used: bool) -> (Wal<SimulatedDisk>, WalScan) {
    let options = WalOptions { segment_size: SEGMENT, never_used };
    Wal::open(disk, CLUSTER, REPLICA, options).unwrap()
}

fn new_wal(seed: u64) -> (SimulatedDisk, Wal<SimulatedDisk>) {
    let disk = SimulatedDisk::new(seed);
    let (wal, scan) = open_with(&disk, true);
    assert!(scan.certain && scan.records.is_empty());
    (disk, wal)
}

fn reopen(disk: &mut SimulatedDisk) -> (Wal<SimulatedDisk>, WalScan) {
    disk.crash();
    open_with(disk, false)
}

fn append(wal: &mut Wal<SimulatedDisk>, ops: impl IntoIterator<Item = u64>) {
    for op in ops {
        wal.append(&simple(op)).unwrap();
    }
}

fn settle(wal: &mut Wal<SimulatedDisk>) -> Names {
    let mut done = Vec::new();
    while wal.has_pending() {
        done.extend(wal.commit_group().unwrap());
    }
    done
}

/// The ops found, marked with `!` when only known by their stub.
fn found(scan: &WalScan) -> String {
    let mut ops: Vec<(u64, bool)> = scan.records.iter().map(|it| (it.header.op.get(), it.present)).collect();
    ops.sort_unstable();
    let name = |(op, present): &(u64, bool)| format!("{op}{}", if *present { "" } else { "!" });
    ops.iter().map(name).collect::<Vec<_>>().join(" ")
}

/// One group of five: records at 0, 1024, …, stubs 0 (three entries) and 1 (two entries), and a mark
/// behind the last record.
fn five() -> (SimulatedDisk, Wal<SimulatedDisk>) {
    let (disk, mut wal) = new_wal(1);
    append(&mut wal, 1..=5);
    assert_eq!(settle(&mut wal).len(), 5);
    (disk, wal)
}

fn rot_body(disk: &SimulatedDisk, op: u64) {
    disk.rot_at("wal-00000000", (op - 1) * RECORD + 600).unwrap();
}

fn rot_stub(disk: &SimulatedDisk, stub: u64) {
    disk.rot_at("wal-00000000", BODY_END + stub * SECTOR + 100).unwrap();
}

/// Undoes the writing of a sector as if a crash had prevented it.
fn blank(disk: &SimulatedDisk, offset: u64) {
    let file = disk.open("wal-00000000").unwrap().unwrap();
    file.write_at(offset, &[0; 512]).unwrap();
    file.sync().unwrap();
}

fn blank_stub(disk: &SimulatedDisk, stub: u64) {
    blank(disk, BODY_END + stub * SECTOR);
}

/// A group of five whose stubs and mark a crash prevented, and of whose bodies it tore some.
fn torn(ops: impl IntoIterator<Item = u64>) -> SimulatedDisk {
    let (disk, _) = five();
    for stub in [0, 1] {
        blank_stub(&disk, stub);
    }
    blank(&disk, 5 * RECORD);
    for op in ops {
        rot_body(&disk, op);
    }
    disk
}

#[test]
fn under_load_each_group_costs_one_sync_and_reports_the_one_before() {
    let (_, mut wal) = new_wal(1);
    append(&mut wal, [1, 2]);
    assert_eq!(wal.commit_group().unwrap(), []);
    append(&mut wal, [3]);
    assert_eq!(wal.commit_group().unwrap(), [(Op::new(1), simple(1).name), (Op::new(2), simple(2).name)]);
    assert!(wal.has_pending());
    assert_eq!(wal.commit_group().unwrap(), [(Op::new(3), simple(3).name)]);
    assert!(!wal.has_pending());
}

#[test]
fn entries_are_read_back_before_and_after_they_are_durable_and_after_a_restart() {
    let (mut disk, mut wal) = new_wal(1);
    let entries: Vec<Entry> = [0, 1, 327, 328, 329, 5000].map(|size| entry(size as u64 + 1, 1, size)).into();
    for entry in &entries {
        wal.append(entry).unwrap();
        assert_eq!(wal.read(entry.op(), entry.name).unwrap().as_ref(), Some(entry));
    }
    settle(&mut wal);
    let (mut wal, scan) = reopen(&mut disk);
    assert!(scan.certain);
    for entry in &entries {
        assert!(wal.contains(entry.op(), entry.name));
        assert_eq!(wal.read(entry.op(), entry.name).unwrap().as_ref(), Some(entry));
    }
    assert_eq!(wal.read(Op::new(1), Checksum::ZERO).unwrap(), None);
}

#[test]
fn two_entries_of_one_op_are_kept_apart_by_name() {
    let (mut disk, mut wal) = new_wal(1);
    for view in [1, 2] {
        wal.append(&entry(1, view, 10)).unwrap();
        settle(&mut wal);
    }
    let (mut wal, scan) = reopen(&mut disk);
    assert_eq!(found(&scan), "1 1");
    let second = entry(1, 2, 10);
    assert_eq!(wal.read(Op::new(1), second.name).unwrap(), Some(second));
}

#[test]
fn an_entry_that_fits_in_no_segment_is_refused() {
    let (_, mut wal) = new_wal(1);
    assert!(wal.append(&entry(1, 1, usize::try_from(BODY_END).unwrap())).is_err());
    assert!(!wal.has_pending());
}

#[test]
fn verdict_valid_body_and_valid_stub_is_present() {
    let (mut disk, _) = five();
    let (_, scan) = reopen(&mut disk);
    assert_eq!((found(&scan).as_str(), scan.certain), ("1 2 3 4 5", true));
}

#[test]
fn verdict_valid_bodies_without_stub_are_present_and_get_their_stub_back() {
    let (mut disk, _) = five();
    blank_stub(&disk, 0);
    let (_, scan) = reopen(&mut disk);
    assert_eq!((found(&scan).as_str(), scan.certain), ("1 2 3 4 5", true));

    // The stub is durable before anybody hears of the entries: now rot cannot hide them.
    rot_body(&disk, 2);
    let (_, scan) = reopen(&mut disk);
    assert_eq!((found(&scan).as_str(), scan.certain), ("1 2! 3 4 5", true));
}

#[test]
fn verdict_valid_bodies_with_a_damaged_stub_are_present_and_all_that_it_listed() {
    let (mut disk, _) = five();
    rot_stub(&disk, 0);
    disk.make_unreadable_at("wal-00000000", BODY_END + SECTOR).unwrap();
    let (_, scan) = reopen(&mut disk);
    assert_eq!((found(&scan).as_str(), scan.certain), ("1 2 3 4 5", true));

    rot_body(&disk, 1);
    rot_body(&disk, 5);
    let (_, scan) = reopen(&mut disk);
    assert_eq!((found(&scan).as_str(), scan.certain), ("1! 2 3 4 5!", true));
}

#[test]
fn verdict_invalid_body_with_a_valid_stub_is_lost_and_does_not_end_the_scan() {
    let (mut disk, _) = five();
    rot_body(&disk, 2);
    disk.make_unreadable_at("wal-00000000", 3 * RECORD).unwrap();
    let (mut wal, scan) = reopen(&mut disk);
    assert_eq!((found(&scan).as_str(), scan.certain), ("1 2! 3 4! 5", true));
    assert!(!wal.contains(Op::new(2), simple(2).name));
    assert_eq!(wal.read(Op::new(2), simple(2).name).unwrap(), None);

    // Repair is an append; the damaged record no longer matters.
    append(&mut wal, [2]);
    settle(&mut wal);
    let (mut wal, scan) = reopen(&mut disk);
    assert_eq!((found(&scan).as_str(), scan.certain), ("1 2 3 4! 5", true));
    assert_eq!(wal.read(Op::new(2), simple(2).name).unwrap(), Some(simple(2)));
}

#[test]
fn verdict_invalid_body_without_stub_was_torn_with_all_that_was_written_with_it() {
    for (bad, expected) in [(5, "1 2 3"), (3, ""), (2, "")] {
        let mut disk = torn([bad]);
        for _ in 0..3 {
            let (_, scan) = reopen(&mut disk);
            assert_eq!((found(&scan).as_str(), scan.certain), (expected, true));
        }
    }
}

/// The first records of a group were torn and the last were not. Once those got a stub, the next
/// start missed the stubs below it and took the torn records for lost ones.
#[test]
fn the_last_records_of_a_torn_group_make_nothing_uncertain() {
    let mut disk = torn([1, 2, 3]);
    for _ in 0..3 {
        let (_, scan) = reopen(&mut disk);
        assert_eq!((found(&scan).as_str(), scan.certain), ("", true));
    }
}

#[test]
fn verdict_invalid_body_without_stub_that_was_written_on_makes_the_end_uncertain() {
    let (mut disk, _) = five();
    blank_stub(&disk, 1);
    rot_body(&disk, 5);
    let (_, scan) = reopen(&mut disk);
    assert_eq!((found(&scan).as_str(), scan.certain), ("1 2 3 4", false));

    // The records of a later group tell as much as a mark.
    let (mut disk, mut wal) = new_wal(1);
    append(&mut wal, 1..=5);
    wal.commit_group().unwrap();
    append(&mut wal, [6]);
    wal.commit_group().unwrap();
    blank_stub(&disk, 0);
    rot_body(&disk, 2);
    blank_stub(&disk, 1);
    let (_, scan) = reopen(&mut disk);
    assert_eq!((found(&scan).as_str(), scan.certain), ("1 3 4 5 6", false));
}

/// The crash came after the stubs and before the mark.
#[test]
fn a_start_completes_the_mark_that_a_crash_prevented() {
    let (mut disk, _) = five();
    blank(&disk, 5 * RECORD);
    assert!(reopen(&mut disk).1.certain);
    blank_stub(&disk, 1);
    rot_body(&disk, 5);
    assert!(!reopen(&mut disk).1.certain);
}

#[test]
fn verdict_invalid_body_with_a_damaged_stub_makes_the_end_uncertain_until_the_log_moved_on() {
    let (mut disk, _) = five();
    rot_stub(&disk, 1);
    rot_body(&disk, 5);
    let (_, scan) = reopen(&mut disk);
    assert_eq!((found(&scan).as_str(), scan.certain), ("1 2 3 4", false));

    // Another restart must not have forgotten it.
    let (mut wal, scan) = reopen(&mut disk);
    assert!(!scan.certain);
    append(&mut wal, 5..=9);
    settle(&mut wal);
    wal.reclaim(Op::new(3));
    assert!(!reopen(&mut disk).1.certain);

    let (mut wal, _) = reopen(&mut disk);
    append(&mut wal, [10]);
    settle(&mut wal);
    wal.reclaim(Op::new(10));
    append(&mut wal, 11..=80);
    settle(&mut wal);
    assert!(reopen(&mut disk).1.certain);
}

#[test]
fn a_stub_that_is_missing_below_a_valid_one_was_not_prevented_by_a_crash() {
    let (mut disk, _) = five();
    blank_stub(&disk, 0);
    rot_body(&disk, 2);
    let (_, scan) = reopen(&mut disk);
    assert_eq!((found(&scan).as_str(), scan.certain), ("1 3 4 5", false));
    assert!(!reopen(&mut disk).1.certain);
}

/// Where the next stub belongs, one may have been. Further on, those before it would be missing, too.
#[test]
fn a_damaged_sector_among_blank_stubs_hides_nothing_unless_it_is_the_next_stub() {
    let (mut disk, _) = five();
    rot_stub(&disk, 3);
    assert!(reopen(&mut disk).1.certain);
    rot_stub(&disk, 2);
    assert!(!reopen(&mut disk).1.certain);
}

/// The sector is wiped before the segment is used anew: it must not be taken for the next stub then.
#[test]
fn a_damaged_sector_among_blank_stubs_hides_nothing_in_the_next_use_of_the_segment() {
    let (mut disk, _) = five();
    rot_stub(&disk, 3);
    let (mut wal, _) = reopen(&mut disk);
    wal.reclaim(Op::new(5));
    append(&mut wal, 6..=14);
    settle(&mut wal);
    assert!(reopen(&mut disk).1.certain);
}

#[test]
fn rot_under_a_running_wal_is_noticed_when_the_entry_is_read() {
    let (disk, mut wal) = five();
    rot_body(&disk, 3);
    disk.make_unreadable_at("wal-00000000", RECORD).unwrap();
    for op in [2, 3] {
        assert_eq!(wal.read(Op::new(op), simple(op).name).unwrap(), None);
        assert!(!wal.contains(Op::new(op), simple(op).name));
    }
    assert!(wal.read(Op::new(4), simple(4).name).unwrap().is_some());
}

#[test]
fn a_crash_at_any_call_loses_nothing_that_was_reported_and_knows_its_end() {
    let script = |wal: &mut Wal<SimulatedDisk>, reported: &mut Names| -> io::Result<()> {
        for group in [1..=3, 4..=4, 5..=9, 10..=30, 31..=32, 33..=60] {
            for op in group {
                wal.append(&simple(op))?;
            }
            reported.extend(wal.commit_group()?);
        }
        reported.extend(wal.commit_group()?);
        Ok(())
    };
    let (disk, mut wal) = new_wal(1);
    let before = disk.calls();
    script(&mut wal, &mut Vec::new()).unwrap();
    let calls = disk.calls() - before;

    for call in 1..=calls {
        for seed in 0..8 {
            let (mut disk, mut wal) = new_wal(seed);
            disk.fail_after(call);
            let mut reported = Vec::new();
            assert!(script(&mut wal, &mut reported).is_err());
            assert!(wal.commit_group().is_err());

            // The restart may be killed as well.
            disk.crash();
            disk.fail_after(1 + seed);
            let options = WalOptions { segment_size: SEGMENT, never_used: false };
            let _ = Wal::open(&disk, CLUSTER, REPLICA, options);
            let (mut wal, scan) = reopen(&mut disk);
            assert!(scan.certain, "call {call} seed {seed}");
            assert!(scan.records.iter().all(|record| record.present), "call {call} seed {seed}");
            for (op, name) in &reported {
                assert!(wal.read(*op, *name).unwrap().is_some(), "call {call} seed {seed} op {op}");
            }
            // What was found is durable, and what comes next does not disturb it.
            let present = scan.records.len();
            append(&mut wal, [100]);
            settle(&mut wal);
            assert_eq!(reopen(&mut disk).1.records.len(), present + 1);
        }
    }
}

#[test]
fn a_lost_segment_makes_the_end_uncertain_until_the_log_moved_on() {
    let (mut disk, mut wal) = new_wal(1);
    for op in 1..=60 {
        append(&mut wal, [op]);
        wal.commit_group().unwrap();
    }
    settle(&mut wal);
    disk.lose_file("wal-00000001");
    assert!(!reopen(&mut disk).1.certain);
    let (mut wal, scan) = reopen(&mut disk);
    assert!(!scan.certain);

    wal.reclaim(Op::new(60));
    for op in 61..=200 {
        append(&mut wal, [op]);
        wal.commit_group().unwrap();
    }
    settle(&mut wal);
    assert!(reopen(&mut disk).1.certain);

    disk.wipe();
    assert!(!reopen(&mut disk).1.certain, "a used disk is not blank");
}

#[test]
fn reclaimed_segments_are_used_anew_and_their_old_contents_stay_dead() {
    let (mut disk, mut wal) = new_wal(3);
    for op in 1..=400 {
        append(&mut wal, [op]);
        wal.commit_group().unwrap();
        if op % 20 == 0 {
            wal.reclaim(Op::new(op - 10));
        }
    }
    settle(&mut wal);
    assert!(wal.used_bytes() <= 4 * SEGMENT, "{}", wal.used_bytes());
    assert!(disk.used_bytes() <= 5 * SEGMENT);
    assert!(wal.read(Op::new(391), simple(391).name).unwrap().is_some());
    assert!(!wal.contains(Op::new(300), simple(300).name));

    let (_, scan) = reopen(&mut disk);
    assert!(scan.certain);
    for op in 391..=400 {
        assert!(scan.records.iter().any(|record| record.present && record.header.op == Op::new(op)));
    }
    let oldest = scan.records.iter().map(|record| record.header.op).min().unwrap();
    assert!(oldest > Op::new(300), "{oldest}");
}

#[test]
fn a_crash_in_a_segment_used_anew_is_as_certain_as_in_a_new_one() {
    for seed in 0..60 {
        let (mut disk, mut wal) = new_wal(seed);
        append(&mut wal, 1..=25);
        settle(&mut wal);
        append(&mut wal, 26..=30);
        settle(&mut wal);
        wal.reclaim(Op::new(25));
        append(&mut wal, 31..=45);
        let reported = settle(&mut wal);
        append(&mut wal, 46..=60);
        disk.fail_after(1 + seed % 4);
        while wal.has_pending() && wal.commit_group().is_ok() {}

        let (mut wal, scan) = reopen(&mut disk);
        assert!(scan.certain);
        for (op, name) in reported {
            assert!(wal.read(op, name).unwrap().is_some());
        }
        assert!(scan.records.iter().all(|it| it.present || it.header.op <= Op::new(25)));
    }
}

#[test]
fn a_full_disk_fails_the_append_that_needs_a_segment_and_a_restart_can_reclaim() {
    let (mut disk, mut wal) = new_wal(1);
    disk.set_capacity(2 * SEGMENT + (8 << 10));
    let mut last = 0;
    let error = loop {
        append(&mut wal, [last + 1]);
        match wal.commit_group() {
            Ok(_) => last += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(wal.commit_group().is_err());

    let (mut wal, scan) = reopen(&mut disk);
    assert!(scan.certain);
    assert_eq!((wal.free_segments(), wal.space_left()), (0, 0));
    wal.reclaim(Op::new(last));
    assert!(wal.space_left() > BODY_END);
    append(&mut wal, [last + 1]);
    assert_eq!(settle(&mut wal).len(), 1);
}

/// The first start leaves a segment behind, or fails: the second one would take it for lost.
#[test]
fn a_disk_that_is_full_from_the_beginning_fails_the_first_start() {
    let mut disk = SimulatedDisk::new(1);
    disk.set_capacity(4 << 10);
    let options = WalOptions { segment_size: SEGMENT, never_used: true };
    let error = Wal::open(&disk, CLUSTER, REPLICA, options).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    disk.set_capacity(u64::MAX);
    assert!(open_with(&disk, true).1.certain);
    assert!(reopen(&mut disk).1.certain);
}

#[test]
fn a_spare_is_ordered_once_and_saves_the_group_from_allocating() {
    let (disk, mut wal) = new_wal(1);
    assert!(wal.order_spare().is_none(), "opening has left one");
    append(&mut wal, [1]);
    settle(&mut wal);
    let job = wal.order_spare().unwrap();
    assert!(wal.order_spare().is_none());
    wal.install_spare(job.run().unwrap());
    assert_eq!(wal.free_segments(), 1);

    let files = disk.names().unwrap().len();
    append(&mut wal, 2..=30);
    settle(&mut wal);
    assert_eq!(disk.names().unwrap().len(), files);
}

#[test]
fn a_record_a_stub_or_a_mark_is_valid_only_at_its_own_place() {
    let address = Address { cluster: CLUSTER, replica: REPLICA, segment: 7 };
    let place = StubPlace { stub: 3, index: 1, count: 2, earlier: 1 };
    let mut record = Vec::new();
    format::encode_record(address, 512, 9, place, &simple(5), &mut record);
    let record = Bytes::from(record);
    let stub = Stub {
        generation: 9,
        segments: 8,
        entries: vec![StubEntry { header: simple(5).header, offset: 512 }],
    };
    let sector = format::encode_stub(address, 1024, &stub);
    let mark = Mark { generation: 9, segments: 8, stubs: 7 };
    let marked = format::encode_mark(address, 1024, mark);
    assert_eq!(format::decode_mark(address, 1024, &marked), Some(mark));
    assert!(format::decode_record(address, 512, &record).is_some());
    assert_eq!(format::decode_stub(address, 1024, &sector), format::StubSlot::Valid(stub));

    let others = [
        (Address { cluster: ClusterId::new(1), ..address }, 0),
        (Address { replica: ReplicaId::new(1), ..address }, 0),
        (Address { segment: 6, ..address }, 0),
        (address, 512),
    ];
    for (other, shift) in others {
        assert!(format::decode_record(other, 512 + shift, &record).is_none());
        assert_eq!(format::decode_stub(other, 1024 + shift, &sector), format::StubSlot::Damaged);
        assert_eq!(format::decode_mark(other, 1024 + shift, &marked), None);
    }
    // Every bit counts, except in the padding behind the body.
    for index in 0..RECORD_PREFIX_SIZE + simple(5).encoded_size() {
        let mut bad = record.to_vec();
        bad[index] ^= 1;
        assert!(format::decode_record(address, 512, &bad.into()).is_none(), "byte {index}");
    }
    for index in 0..sector.len() {
        let mut bad = sector.clone();
        bad[index] ^= 0x80;
        assert_eq!(format::decode_stub(address, 1024, &bad), format::StubSlot::Damaged, "byte {index}");
        let mut bad = marked.clone();
        bad[index] ^= 0x80;
        assert_eq!(format::decode_mark(address, 1024, &bad), None, "byte {index}");
    }
}

#[test]
fn the_formats_of_a_record_a_stub_and_a_mark_are_fixed() {
    let address = Address { cluster: CLUSTER, replica: REPLICA, segment: 7 };
    let entry = entry(5, 1, 4);
    let mut record = Vec::new();
    format::encode_record(
        address,
        512,
        9,
        StubPlace { stub: 3, index: 1, count: 2, earlier: 1 },
        &entry,
        &mut record,
    );
    assert_eq!(record.len(), 512);
    assert_eq!(hex(&record[..32]), "44c7bd7759001e09ad488f3d6100937856575232090000000300000001020100");
    assert_eq!(record[32..184], entry.header.to_bytes());
    assert_eq!(record[184..190], [5, 5, 5, 5, 0, 0]);

    let stub = Stub {
        generation: 9,
        segments: 8,
        entries: vec![StubEntry { header: entry.header.clone(), offset: 1536 }],
    };
    let sector = format::encode_stub(address, 1024, &stub);
    assert_eq!(hex(&sector[..32]), "7e21d8bfe0c06bf84d4dcfb69572ebb756575331090000000800000001000000");
    assert_eq!(sector[32..184], entry.header.to_bytes());
    assert_eq!(sector[184..193], [3, 0, 0, 0, 0, 0, 0, 0, 0]);

    let mark = format::encode_mark(address, 1024, Mark { generation: 9, segments: 8, stubs: 7 });
    assert_eq!(mark.len(), 512);
    assert_eq!(hex(&mark[..32]), "5e141c0fcbc6a3a3add7832b5f4ae2e856574d31090000000800000007000000");
    assert!(mark[32..].iter().all(|byte| *byte == 0));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
