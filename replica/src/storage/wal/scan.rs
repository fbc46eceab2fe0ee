//! What one segment's bytes say about the entries that were appended to it.
//!
//! The order of writing is: body, sync, stub, sync, report. Hence, entry by entry:
//!
//! | body    | stub                     | verdict                                                    |
//! |---------|--------------------------|------------------------------------------------------------|
//! | valid   | any                      | present; perhaps never reported, still usable              |
//! | invalid | valid                    | lost: it was durable once and perhaps acknowledged         |
//! | invalid | blank, older generation  | torn by a crash: never reported, as if never appended      |
//! | invalid | damaged, or missing      | unknown: something acknowledged may be missing             |
//! |         | below a valid one        |                                                            |
//!
//! A crash tears a stub only when all its bodies are durable, so a power failure alone never ends in
//! the last row, however many replicas it hits.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::canary::{Canary, planted};
use protocol::entry::EntryHeader;
use protocol::types::{Checksum, Op};

use super::format::{self, Address, Layout, Record, Stub, StubEntry, StubSlot};
use crate::storage::disk::SECTOR_SIZE;

#[derive(Debug, Default)]
pub(super) struct SegmentScan {
    /// The current use of the segment; zero if it was never used.
    pub(super) generation: u32,
    /// The most segments that a stub knows of.
    pub(super) segments: u32,
    pub(super) present: Vec<Found>,
    /// Their stub is valid and their body is not.
    pub(super) lost: Vec<EntryHeader>,
    /// Stubs that a crash prevented, or that can be rebuilt from all of their records.
    pub(super) missing_stubs: BTreeMap<u32, Vec<StubEntry>>,
    /// Damaged or vanished stubs whose entries are not all known.
    pub(super) damaged_stubs: Vec<u32>,
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
        self.generation == 0 && self.damaged_stubs.is_empty()
    }

    pub(super) fn op_max(&self) -> Op {
        let present = self.present.iter().map(|found| found.header.op);
        present.chain(self.lost.iter().map(|header| header.op)).max().unwrap_or(Op::ZERO)
    }
}

pub(super) fn scan(address: Address, layout: Layout, bytes: &Bytes) -> SegmentScan {
    let records = walk_records(address, layout, bytes);
    let mut stubs = read_stubs(address, layout, bytes);
    if planted(Canary::WalEndsAtFirstBadRecord) {
        let end = records
            .last_key_value()
            .map_or(0, |(offset, record)| offset + format::record_size(&record.entry));
        let within = |stub: &Stub| stub.entries.iter().all(|listed| listed.offset < end);
        stubs.retain(|_, stub| stub.as_ref().is_some_and(within));
    }
    let stub_generations = stubs.values().filter_map(|stub| stub.as_ref().map(|stub| stub.generation));
    let record_generations = records.values().map(|record| record.generation);
    let generation = stub_generations.chain(record_generations).max().unwrap_or(0);

    let mut scan = SegmentScan {
        generation,
        segments: stubs.values().flatten().map(|stub| stub.segments).max().unwrap_or(0),
        ..SegmentScan::default()
    };
    judge_stubs(&mut scan, &records, &stubs);
    judge_records(&mut scan, records, &stubs);
    scan
}

/// Every whole record by its offset. A bad one does not end the walk: behind one rotten sector may
/// stand everything that was acknowledged since.
fn walk_records(address: Address, layout: Layout, bytes: &Bytes) -> BTreeMap<u64, Record> {
    let end = usize::try_from(layout.body_end).expect("the segment was read into memory");
    let mut records = BTreeMap::new();
    let mut offset = 0;
    while offset < end {
        let record = match format::looks_like_record(&bytes[offset..end]) {
            true => format::decode_record(address, offset as u64, &bytes.slice(offset..end)),
            false => None,
        };
        offset += match record {
            Some(record) => {
                let size = format::record_size(&record.entry);
                records.insert(offset as u64, record);
                usize::try_from(size).expect("the record lies in memory")
            }
            None if planted(Canary::WalEndsAtFirstBadRecord) => break,
            None => SECTOR_SIZE,
        };
    }
    records
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

/// Takes the records of the current generation and judges the stubs that do not list them.
fn judge_records(
    scan: &mut SegmentScan,
    records: BTreeMap<u64, Record>,
    stubs: &BTreeMap<u32, Option<Stub>>,
) {
    let mut by_stub: BTreeMap<u32, BTreeMap<u8, (u8, StubEntry)>> = BTreeMap::new();
    for (offset, record) in records {
        if record.generation != scan.generation {
            continue;
        }
        let header = record.entry.header.clone();
        let listed = StubEntry { header: header.clone(), offset };
        let place = record.place;
        by_stub.entry(place.stub).or_default().insert(place.index, (place.count, listed));
        let size = format::record_size(&record.entry);
        scan.present.push(Found { header, name: record.entry.name, offset, size });
    }
    let is_current = |number: &u32| {
        let stub = stubs.get(number).and_then(Option::as_ref);
        stub.is_some_and(|stub| stub.generation == scan.generation)
    };
    // Later stubs are written only after the sync of earlier ones: below a valid stub none can be
    // missing because of a crash, unless its bodies are all here.
    let written_through = stubs.keys().copied().filter(is_current).max();
    let mut damaged: BTreeSet<u32> =
        stubs.iter().filter(|(_, stub)| stub.is_none()).map(|(number, _)| *number).collect();
    damaged.extend((0..written_through.unwrap_or(0)).filter(|number| !is_current(number)));
    for (number, entries) in by_stub {
        let complete = entries.values().all(|(count, _)| usize::from(*count) == entries.len());
        if is_current(&number) || (damaged.contains(&number) && !complete) {
            continue;
        }
        damaged.remove(&number);
        scan.missing_stubs.insert(number, entries.into_values().map(|(_, listed)| listed).collect());
    }
    scan.damaged_stubs = damaged.into_iter().collect();
}
