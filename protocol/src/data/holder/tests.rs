//! Stories of one holder.

use super::*;
use crate::catalog::BodyId;
use crate::data::outline::Outline;
use crate::data::placement::Layout;
use crate::quorums::Quorums;
use crate::types::{ClientId, Incarnation, SessionId};

const ALICE: Peer = Peer::Client(ClientId::new(1));
const BOB: Peer = Peer::Client(ClientId::new(2));
const KEY: ReceiptKey = ReceiptKey::new([7; 32]);

fn standing() -> Standing {
    Standing {
        incarnation: Incarnation::new(5),
        ready: true,
        caught_up: true,
        primary: false,
        layout: Layout::first(Quorums::of(3)),
    }
}

fn holder_with(settings: HolderSettings) -> Holder {
    let mut holder = Holder::new(ReplicaId::new(1), KEY, standing(), settings);
    holder.set_space(1 << 30, 1 << 20);
    holder
}

fn holder() -> Holder {
    holder_with(HolderSettings::standard())
}

fn chunk(upload: u64) -> ChunkId {
    BodyId { session: SessionId::new(4096), upload }.chunk(0)
}

fn content(length: usize) -> (Bytes, Outline) {
    let bytes = Bytes::from(vec![9; length]);
    let outline = Outline::of(&bytes);
    (bytes, outline)
}

fn put(upload: u64, length: usize) -> DataBody {
    let (bytes, outline) = content(length);
    DataBody::PutChunk { chunk: chunk(upload), layout: 1, root: outline.root(), bytes }
}

fn confirm(upload: u64, length: u32) -> DataBody {
    let (_, outline) = content(length as usize);
    DataBody::Confirm { chunk: chunk(upload), layout: 1, root: outline.root(), length }
}

fn get(first: u32, count: u32) -> DataBody {
    DataBody::GetBlocks { chunk: chunk(1), root: content(100).1.root(), first, count }
}

fn outputs(holder: &mut Holder) -> Vec<HolderOutput> {
    std::iter::from_fn(|| holder.next_output()).collect()
}

/// The only answer.
fn answer(holder: &mut Holder) -> DataBody {
    match &outputs(holder)[..] {
        [HolderOutput::Answer { body, .. }] => body.clone(),
        other => panic!("{other:?}"),
    }
}

fn refused(why: DataRefusal) -> DataBody {
    DataBody::Refused { why }
}

/// The job of the only output.
fn job(holder: &mut Holder) -> Job {
    match &outputs(holder)[..] {
        [
            HolderOutput::Store { job, .. } | HolderOutput::Find { job, .. } | HolderOutput::Read { job, .. },
        ] => *job,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_receipt_follows_the_sync_and_vouches_for_what_was_stored() {
    let mut holder = holder();
    holder.on_call(ALICE, 3, put(1, 100));
    let job = job(&mut holder);
    assert_eq!(holder.store_bytes(), 100);

    holder.on_stored(job, Ok(()));
    let holding = Holding {
        chunk: chunk(1),
        root: content(100).1.root(),
        length: 100,
        layout: 1,
        node: ReplicaId::new(1),
        incarnation: Incarnation::new(5),
    };
    let receipt = KEY.receipt(&holding);
    let answer = HolderOutput::Answer { to: ALICE, call: 3, body: DataBody::Stored { receipt } };
    assert_eq!(outputs(&mut holder), [answer]);
    assert_eq!(holder.store_bytes(), 0);
}

/// The receipt of a disk that is gone would count for the disk that came after it.
#[test]
fn a_disk_that_is_replaced_while_it_writes_gives_no_receipt() {
    for (incarnation, ready) in [(6, true), (5, false)] {
        let mut holder = holder();
        holder.on_call(ALICE, 1, put(1, 100));
        let job = job(&mut holder);
        holder.set_standing(Standing { incarnation: Incarnation::new(incarnation), ready, ..standing() });
        holder.on_stored(job, Ok(()));
        assert_eq!(answer(&mut holder), refused(DataRefusal::NotReady));
    }
}

#[test]
fn a_replica_without_a_place_vouches_for_nothing_and_serves_what_it_has() {
    let mut holder = holder();
    holder.set_standing(Standing { ready: false, ..standing() });
    for call in [put(1, 100), confirm(1, 100)] {
        holder.on_call(ALICE, 1, call);
        assert_eq!(answer(&mut holder), refused(DataRefusal::NotReady));
    }
    holder.on_call(BOB, 1, get(0, 1));
    assert!(matches!(&outputs(&mut holder)[..], [HolderOutput::Read { .. }]));
}

#[test]
fn what_cannot_be_a_chunk_never_reaches_the_disk() {
    let mut holder = holder();
    for length in [0, CHUNK_BYTES_MAX as usize + 1] {
        let root = ChunkRoot([0; 32]);
        let bytes = Bytes::from(vec![0; length]);
        holder.on_call(ALICE, 1, DataBody::PutChunk { chunk: chunk(1), layout: 1, root, bytes });
        assert_eq!(answer(&mut holder), refused(DataRefusal::Damaged));
    }
    let (bytes, outline) = content(10);
    let call = DataBody::PutChunk { chunk: chunk(1), layout: 2, root: outline.root(), bytes };
    holder.on_call(ALICE, 1, call);
    assert_eq!(answer(&mut holder), refused(DataRefusal::WrongLayout));
}

#[test]
fn the_last_space_of_a_disk_is_not_for_chunks() {
    let mut holder = holder();
    holder.set_space(1_150, 1_000);
    holder.on_call(ALICE, 1, put(1, 100));
    let first = job(&mut holder);
    // What waits for the disk has its place already.
    holder.on_call(ALICE, 2, put(2, 100));
    assert_eq!(answer(&mut holder), refused(DataRefusal::Full));
    holder.on_stored(first, Ok(()));
    outputs(&mut holder);
    holder.on_call(ALICE, 3, put(3, 100));
    assert_eq!(answer(&mut holder), refused(DataRefusal::Full));
    holder.on_call(ALICE, 4, put(3, 50));
    assert!(matches!(&outputs(&mut holder)[..], [HolderOutput::Store { .. }]));
}

#[test]
fn a_peer_that_sends_too_much_is_told_to_wait_and_the_others_are_not() {
    let max = u64::from(CHUNK_BYTES_MAX);
    let settings = HolderSettings {
        store_bytes_max: 3 * max,
        store_bytes_per_peer_max: 2 * max,
        ..HolderSettings::standard()
    };
    let mut holder = holder_with(settings);
    let length = CHUNK_BYTES_MAX as usize;
    for upload in 1..=2 {
        holder.on_call(ALICE, upload, put(upload, length));
        job(&mut holder);
    }
    holder.on_call(ALICE, 3, put(3, length));
    assert_eq!(answer(&mut holder), refused(DataRefusal::Busy));
    holder.on_call(BOB, 1, put(4, length));
    let bobs = job(&mut holder);
    holder.on_call(BOB, 2, put(5, 1));
    assert_eq!(answer(&mut holder), refused(DataRefusal::Busy));

    holder.on_stored(bobs, Ok(()));
    outputs(&mut holder);
    holder.on_call(BOB, 3, put(5, 1));
    assert!(matches!(&outputs(&mut holder)[..], [HolderOutput::Store { .. }]));
}

#[test]
fn calls_without_bytes_are_bounded_too() {
    let settings = HolderSettings { calls_per_peer_max: 2, ..HolderSettings::standard() };
    let mut holder = holder_with(settings);
    for call in 1..=2 {
        holder.on_call(ALICE, call, confirm(call, 100));
        job(&mut holder);
    }
    holder.on_call(ALICE, 3, confirm(3, 100));
    assert_eq!(answer(&mut holder), refused(DataRefusal::Busy));
    holder.on_call(ALICE, 4, get(0, 1));
    assert_eq!(answer(&mut holder), refused(DataRefusal::Busy));
}

#[test]
fn a_chunk_that_is_sent_twice_is_written_once() {
    let mut holder = holder();
    holder.on_call(ALICE, 1, put(1, 100));
    let first = job(&mut holder);
    holder.on_call(ALICE, 2, put(1, 100));
    assert_eq!(outputs(&mut holder), []);
    holder.on_stored(first, Ok(()));
    let calls: Vec<u64> = outputs(&mut holder)
        .iter()
        .map(|output| match output {
            HolderOutput::Answer { call, body: DataBody::Stored { .. }, .. } => *call,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(calls, [1, 2]);
}

/// Somebody sends rubbish under a name and root just before the owner of the name sends the bytes.
#[test]
fn the_bad_bytes_of_one_are_not_the_fault_of_another() {
    let mut holder = holder();
    holder.on_call(BOB, 1, put(1, 100));
    let first = job(&mut holder);
    holder.on_call(ALICE, 2, put(1, 100));
    holder.on_stored(first, Err(StoreFault::Damaged));
    let expected = [(BOB, 1, DataRefusal::Damaged), (ALICE, 2, DataRefusal::Busy)];
    let expected = expected.map(|(to, call, why)| HolderOutput::Answer { to, call, body: refused(why) });
    assert_eq!(outputs(&mut holder), expected);
    holder.on_call(ALICE, 3, put(1, 100));
    assert!(matches!(&outputs(&mut holder)[..], [HolderOutput::Store { .. }]));
}

#[test]
fn only_what_is_durable_under_this_root_and_length_is_confirmed() {
    let found = |length: u32| Ok(Found { root: content(length as usize).1.root(), length });
    let mut holder = holder();
    for (found, here) in [(found(100), true), (found(99), false), (Err(ReadFault::Absent), false)] {
        holder.on_call(ALICE, 1, confirm(1, 100));
        let job = job(&mut holder);
        holder.on_found(job, found);
        let answer = answer(&mut holder);
        assert_eq!(matches!(answer, DataBody::Stored { .. }), here, "{answer:?}");
        assert_eq!(answer == DataBody::NotHere, !here);
    }
}

#[test]
fn an_answer_has_a_bounded_number_of_blocks() {
    let mut holder = holder();
    holder.on_call(ALICE, 1, get(3, u32::MAX));
    match &outputs(&mut holder)[..] {
        [HolderOutput::Read { first: 3, count, .. }] => assert_eq!(*count, SPAN_BLOCKS_MAX),
        other => panic!("{other:?}"),
    }
    for (first, count) in [(0, 0), (u32::MAX, 1), (CHUNK_BYTES_MAX / BLOCK_SIZE, 1)] {
        holder.on_call(ALICE, 1, get(first, count));
        assert_eq!(answer(&mut holder), DataBody::NotHere);
    }
}

#[test]
fn a_copy_that_does_not_read_well_is_reported_and_its_good_blocks_are_given() {
    let (bytes, outline) = content(2 * BLOCK_SIZE as usize);
    let whole = ReadBlocks { outline: outline.clone(), bytes: bytes.clone() };
    let short = ReadBlocks { outline, bytes: bytes.slice(..BLOCK_SIZE as usize) };
    let outcomes = [
        (Ok(whole), false),
        (Ok(short), true),
        (Err(ReadFault::Damaged), true),
        (Err(ReadFault::Absent), false),
    ];
    for (outcome, damaged) in outcomes {
        let mut holder = holder();
        holder.on_call(ALICE, 1, get(0, 16));
        let job = job(&mut holder);
        holder.on_read(job, outcome.clone());
        let outputs = outputs(&mut holder);
        assert_eq!(outputs.contains(&HolderOutput::Damage { chunk: chunk(1) }), damaged, "{outcome:?}");
        let blocks = |output: &HolderOutput| {
            matches!(output, HolderOutput::Answer { body: DataBody::Blocks { .. }, .. })
        };
        assert_eq!(outputs.iter().any(blocks), outcome.is_ok());
    }
}

#[test]
fn reports_of_other_jobs_change_nothing() {
    let mut holder = holder();
    holder.on_call(ALICE, 1, confirm(1, 100));
    let find = job(&mut holder);
    holder.on_stored(find, Ok(()));
    holder.on_read(find, Err(ReadFault::Absent));
    holder.on_found(Job::new(99), Err(ReadFault::Absent));
    assert_eq!(outputs(&mut holder), []);
    holder.on_found(find, Err(ReadFault::Damaged));
    assert_eq!(holder.next_output(), Some(HolderOutput::Damage { chunk: chunk(1) }));
    assert_eq!(answer(&mut holder), DataBody::NotHere);
    holder.on_found(find, Err(ReadFault::Absent));
    holder.on_call(ALICE, 1, DataBody::NotHere);
    assert_eq!(outputs(&mut holder), []);
}
