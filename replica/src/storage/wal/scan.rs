//! What one segment's bytes say about the entries that were appended to it.
//!
//! The order of writing is: body, sync, stub, sync, report. Hence, entry by entry:
//!
//! | body    | stub    | written on after its sync | verdict                                        |
//! |---------|---------|---------------------------|------------------------------------------------|
//! | valid   | valid   | any                       | present                                        |
//! | invalid | valid   | any                       | lost: it was durable and perhaps acknowledged  |
//! | valid   | invalid | any                       | present, if all others of the stub are, too    |
//! | invalid | invalid | yes                       | unknown: something acknowledged may be missing |
//! | invalid | none    | no                        | torn by a crash: as if never appended          |
//!
//! That a group was synced is told by whatever was written later: its stub, also if it is damaged, a
//! whole stub further on, the records of the next group, or a mark. A damaged sector beyond blank
//! stubs tells nothing: all of those would have been written before it.
//!
//! What is torn stays as it is, and takes with it all that was written at the same time. If the stub
//! of a torn group were completed from the records that are left, the next crash could tear it, and
//! then it would look like the damaged stub of records that were once whole. So a stub is only ever
//! written when all its records are durable, and a power failure alone never ends in the last row
//! but one, however many replicas it hits and however often.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::canary::{Canary, planted};
use protocol::entry::EntryHeader;
use protocol::types::{Checksum, Op};

use super::format::{self, Address, Layout, Mark, Record, Stub, StubEntry, StubPlace, StubSlot};
use crate::storage::disk::{SECTOR, SECTOR_SIZE};

#[derive(Debug, Default)]
pub(super) struct SegmentScan {
    /// The current use of the segment; zero if it was never used.
    pub(super) generation: u32,
    /// The most segments that a stub or a mark knows of.
    pub(super) segments: u32,
    pub(super) present: Vec<Found>,
    /// Their stub is valid and their body is not.
    pub(super) lost: Vec<EntryHeader>,
    /// Stubs that a crash prevented or that are damaged, and whose records are all here.
    pub(super) missing_stubs: BTreeMap<u32, Vec<StubEntry>>,
    /// Where a mark belongs that a crash prevented, and how many stubs it is for.
    pub(super) missing_mark: Option<(u64, u32)>,
    /// Sectors of stubs with something in them that must not be there when the segment is used anew.
    pub(super) damaged_stubs: Vec<u32>,
    /// Some stub is damaged or has vanished, and its entries are not all known.
    pub(super) is_uncertain: bool,
}

#[derive(Debug)]
pub(super) struct Found {
    pub(super) header: EntryHeader,
    pub(super) name: Checksum,
    pub(super) offset: u64,
    pub(super) size: u64,
}

impl SegmentScan {
    /// Nothing was ever appended, as far as one can know.
    pub(super) fn is_blank(&self) -> bool {
        self.generation == 0 && !self.is_uncertain
    }

    pub(super) fn op_max(&self) -> Op {
        let present = self.present.iter().map(|found| found.header.op);
        present.chain(self.lost.iter().map(|header| header.op)).max().unwrap_or(Op::ZERO)
    }
}

pub(super) fn scan(address: Address, layout: Layout, bytes: &Bytes) -> SegmentScan {
    let (records, marks) = walk_bodies(address, layout, bytes);
    let mut stubs = read_stubs(address, layout, bytes);
    if planted(Canary::WalEndsAtFirstBadRecord) {
        let end = records
            .last_key_value()
            .map_or(0, |(offset, record)| offset + format::record_size(&record.entry.header));
        let within = |stub: &Stub| stub.entries.iter().all(|listed| listed.offset < end);
        stubs.retain(|_, stub| stub.as_ref().is_some_and(within));
    }
    let whole_stubs = || stubs.values().flatten();
    let generations = whole_stubs().map(|stub| stub.generation);
    let generations = generations.chain(records.values().map(|record| record.generation));
    let generation = generations.chain(marks.iter().map(|mark| mark.generation)).max().unwrap_or(0);
    let segments = whole_stubs().map(|stub| stub.segments).chain(marks.iter().map(|mark| mark.segments));

    let mut scan =
        SegmentScan { generation, segments: segments.max().unwrap_or(0), ..SegmentScan::default() };
    judge_stubs(&mut scan, &records, &stubs);
    judge_records(&mut scan, layout, records, &marks, &stubs);
    scan
}

/// Every whole record by its offset, and every mark. A bad one does not end the walk: behind one
/// rotten sector may stand everything that was acknowledged since.
fn walk_bodies(address: Address, layout: Layout, bytes: &Bytes) -> (BTreeMap<u64, Record>, Vec<Mark>) {
    let end = usize::try_from(layout.body_end).expect("the segment was read into memory");
    let (mut records, mut marks) = (BTreeMap::new(), Vec::new());
    let mut offset = 0;
    while offset < end {
        let sector = &bytes[offset..offset + SECTOR_SIZE];
        if let Some(mark) = format::decode_mark(address, offset as u64, sector) {
            marks.push(mark);
            offset += SECTOR_SIZE;
            continue;
        }
        let record = match format::looks_like_record(&bytes[offset..end]) {
            true => format::decode_record(address, offset as u64, &bytes.slice(offset..end)),
            false => None,
        };
        offset += match record {
            Some(record) => {
                let size = format::record_size(&record.entry.header);
                records.insert(offset as u64, record);
                usize::try_from(size).expect("the record lies in memory")
            }
            None if planted(Canary::WalEndsAtFirstBadRecord) => break,
            None => SECTOR_SIZE,
        };
    }
    (records, marks)
}

/// The stubs that are not blank by their number; None is a damaged one.
fn read_stubs(address: Address, layout: Layout, bytes: &Bytes) -> BTreeMap<u32, Option<Stub>> {
    let mut stubs = BTreeMap::new();
    for number in 0..layout.stub_count {
        let offset = layout.stub_offset(number);
        let start = usize::try_from(offset).expect("the segment was read into memory");
        match format::decode_stub(address, offset, &bytes[start..start + SECTOR_SIZE]) {
            StubSlot::Blank => {}
            StubSlot::Valid(stub) => drop(stubs.insert(number, Some(stub))),
            StubSlot::Damaged => drop(stubs.insert(number, None)),
        }
    }
    stubs
}

/// Finds the entries whose stub is valid and whose body is not.
fn judge_stubs(scan: &mut SegmentScan, records: &BTreeMap<u64, Record>, stubs: &BTreeMap<u32, Option<Stub>>) {
    for stub in stubs.values().flatten().filter(|stub| stub.generation == scan.generation) {
        for listed in &stub.entries {
            let here = records.get(&listed.offset).filter(|record| record.generation == scan.generation);
            if here.is_none_or(|record| record.entry.header != listed.header) {
                scan.lost.push(listed.header.clone());
            }
        }
    }
}

/// The records that claim a place in one stub, in the order of their offsets.
#[derive(Default)]
struct Claims(Vec<(StubPlace, Found)>);

impl Claims {
    fn are_complete(&self) -> bool {
        let mut places = self.0.iter().map(|(place, _)| (usize::from(place.index), usize::from(place.count)));
        !self.0.is_empty() && (0..self.0.len()).all(|index| places.next() == Some((index, self.0.len())))
    }

    fn listed(&self) -> Vec<StubEntry> {
        let entry = |found: &Found| StubEntry { header: found.header.clone(), offset: found.offset };
        self.0.iter().map(|(_, found)| entry(found)).collect()
    }
}

/// Takes the records of the current generation and judges the stubs that do not list them.
fn judge_records(
    scan: &mut SegmentScan,
    layout: Layout,
    records: BTreeMap<u64, Record>,
    marks: &[Mark],
    stubs: &BTreeMap<u32, Option<Stub>>,
) {
    let mut claims: BTreeMap<u32, Claims> = BTreeMap::new();
    // The bodies of all stubs below were synced before something that is here was written.
    let marks = marks.iter().filter(|mark| mark.generation == scan.generation);
    let mut synced_below = marks.map(|mark| mark.stubs).max().unwrap_or(0);
    for (offset, record) in records.into_iter().filter(|(_, record)| record.generation == scan.generation) {
        synced_below = synced_below.max(record.place.synced_below());
        let size = format::record_size(&record.entry.header);
        let found = Found { header: record.entry.header, name: record.entry.name, offset, size };
        claims.entry(record.place.stub).or_default().0.push((record.place, found));
    }
    let is_whole = |number: &u32| match stubs.get(number) {
        Some(Some(stub)) => stub.generation == scan.generation,
        _ => false,
    };
    let is_damaged = |number: &u32| stubs.get(number).is_some_and(Option::is_none);
    let written_below = stubs.keys().filter(|number| is_whole(number)).max().map_or(0, |number| number + 1);

    let (mut missing, mut unknown) = (BTreeMap::new(), Vec::new());
    let mut number = 0;
    loop {
        let claims = claims.remove(&number).unwrap_or_default();
        if !is_whole(&number) {
            if number < layout.stub_count && claims.are_complete() {
                missing.insert(number, claims.listed());
            } else if number < synced_below.max(written_below) || is_damaged(&number) {
                unknown.push(number);
            } else {
                // Torn, and with it all that claims later stubs.
                break;
            }
        }
        scan.present.extend(claims.0.into_iter().map(|(_, found)| found));
        number += 1;
    }
    if unknown.is_empty() && synced_below < number {
        let whole = stubs.iter().filter(|(number, _)| is_whole(number));
        let listed = whole.filter_map(|(_, stub)| stub.as_ref()).flat_map(|stub| &stub.entries);
        let ends = listed
            .chain(missing.values().flatten())
            .map(|listed| listed.offset + format::record_size(&listed.header));
        let end = ends.max().filter(|end| end + SECTOR <= layout.body_end);
        scan.missing_mark = end.map(|end| (end, number));
    }
    scan.is_uncertain = !unknown.is_empty();
    scan.damaged_stubs =
        stubs.keys().copied().filter(|number| is_damaged(number) && !missing.contains_key(number)).collect();
    scan.missing_stubs = missing;
}
