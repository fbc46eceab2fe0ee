//! Opening: the newest segment first, since each tells how much of the one before it counts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use protocol::catalog::ChunkId;
use protocol::types::{ClusterId, ReplicaId};

use super::files::{self, Files};
use super::format::{self, Address, PAGE, SegmentHeader, SlotState};
use super::reader::ChunkReader;
use super::scan::{self, Found, Headers, SegmentScan};
use super::table::{Shared, Table};
use super::{ChunkOptions, ChunkStore};
use crate::storage::disk::{Disk, DiskFile, PageBuffer};

/// What was not as it should be. What is listed by name can be looked after by name; anything else
/// means that this replica does not know what it owes, and has to compare all it should hold with
/// what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Records at the end that are not whole, and were set aside: torn by a crash before a receipt
    /// was given, or damaged since.
    pub suspects: Vec<ChunkId>,
    /// Records of which not even the name can be read.
    pub lost_records: u64,
    /// Segments that cannot be read at all. They are left as they are.
    pub unreadable_segments: Vec<u32>,
}

impl OpenReport {
    /// Whether everything that ever was durable here is here, or at least known by name.
    pub fn is_complete(&self) -> bool {
        self.lost_records == 0 && self.unreadable_segments.is_empty()
    }
}

impl<D: Disk> ChunkStore<D> {
    /// Reads the slots of all segments, and settles what a crash left at the end of the last.
    pub fn open(
        disk: &D,
        cluster: ClusterId,
        replica: ReplicaId,
        options: ChunkOptions,
    ) -> io::Result<(ChunkStore<D>, OpenReport)> {
        let numbers = files::numbers(&disk.names()?);
        let number_next = numbers.last().map_or(0, |last| last.saturating_add(1));
        let mut opening = Opening {
            disk,
            cluster,
            replica,
            files: Files::new(disk.clone(), options.open_files_max),
            table: Table::new(),
            report: OpenReport::default(),
            newest: None,
            following: None,
            removed: false,
        };
        for number in numbers.into_iter().rev() {
            opening.open_segment(number)?;
        }
        if opening.removed {
            disk.sync_names()?;
        }
        let Opening { files, table, mut report, newest, .. } = opening;
        report.unreadable_segments.reverse();
        let shared = Arc::new(Shared::new(cluster, replica, files, table));
        let store = ChunkStore {
            disk: disk.clone(),
            options,
            reader: ChunkReader::new(shared.clone()),
            shared,
            active: None,
            number_next,
            previous: newest,
            pending: Vec::new(),
            pending_names: BTreeMap::new(),
            owed: BTreeSet::new(),
            pages: PageBuffer::default(),
            failed: false,
        };
        Ok((store, report))
    }
}

struct Opening<'a, D: Disk> {
    disk: &'a D,
    cluster: ClusterId,
    replica: ReplicaId,
    files: Files<D>,
    table: Table,
    report: OpenReport,
    /// The newest segment that can be read, and how many of its slots are in use.
    newest: Option<(u32, u32)>,
    /// What the segment read last says of the one before it.
    following: Option<SegmentHeader>,
    removed: bool,
}

impl<D: Disk> Opening<'_, D> {
    fn open_segment(&mut self, number: u32) -> io::Result<()> {
        let Some(file) = self.files.open(number)? else { return Ok(()) };
        let address = Address { cluster: self.cluster, replica: self.replica, segment: number, salt: 0 };
        let headers = Headers::read(&file, address)?;
        let Some(header) = headers.header() else {
            // A segment is begun only when the one before it was created.
            let is_last = self.newest.is_none() && self.report.unreadable_segments.is_empty();
            if is_last && scan::never_used(&file)? {
                return self.remove(number);
            }
            self.report.unreadable_segments.push(number);
            return Ok(());
        };
        let following = self.following.replace(header).filter(|it| it.previous == number);
        let in_use = following.map(|following| following.previous_slots);
        let is_newest = self.newest.is_none();
        let address = Address { salt: header.salt, ..address };
        let scan = scan::scan(&file, address, &header, in_use, is_newest)?;

        if headers.heal(&file, address)? | heal_records(&file, address, &scan.slots)? {
            file.sync()?;
        }
        if is_newest {
            let in_use = u32::try_from(scan.slots.len()).expect("slots are counted by 16 bits");
            self.newest = Some((number, in_use));
        }
        self.report.lost_records += u64::from(scan.lost);
        let first_page = format::first_page(header.slot_count);
        self.table.add_segment(number, header.salt, first_page);
        let records = self.take_records(number, &scan);
        if records == 0 && !is_newest {
            self.table.remove_segment(number);
            return self.remove(number);
        }
        // Where something is lost, nobody can tell which pages are free.
        if scan.lost == 0 {
            return punch_gaps(&file, first_page, &scan.slots);
        }
        Ok(())
    }

    /// The newest first: it is the one that is served, should a chunk have two.
    fn take_records(&mut self, number: u32, scan: &SegmentScan) -> u32 {
        let mut count = 0;
        let slots: Vec<(u32, &Found)> = (0..).zip(&scan.slots).collect();
        for (index, found) in slots.into_iter().rev().filter(|(_, it)| it.slot.state != SlotState::Dead) {
            let copy = scan::copy_of(number, index, &found.slot);
            let served = found.slot.state == SlotState::Live && self.table.index.get(copy.chunk).is_none();
            match served {
                true => self.table.add(copy.chunk, copy.place),
                false => self.table.add_quarantined(copy.chunk, copy.place),
            }
            if found.suspect {
                self.report.suspects.push(copy.chunk);
            }
            count += 1;
        }
        count
    }

    fn remove(&mut self, number: u32) -> io::Result<()> {
        self.files.forget(number);
        self.disk.remove(&files::name(number))?;
        self.removed = true;
        Ok(())
    }
}

/// Writes what is missing of records that are known all the same.
fn heal_records<F: DiskFile>(file: &F, address: Address, slots: &[Found]) -> io::Result<bool> {
    let mut healed = false;
    for (index, found) in (0..).zip(slots) {
        if let Some(head) = &found.head {
            match file.write_at(u64::from(found.slot.page) * PAGE, head) {
                // The record can be read without it, and a full disk must be able to start.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
                outcome => outcome?,
            }
            healed = true;
        }
        if found.changed {
            file.write_at(format::slot_offset(index), &format::encode_slot(address, index, &found.slot))?;
            healed = true;
        }
    }
    Ok(healed)
}

/// A crash may have come between a deletion and its holes, or undone them.
fn punch_gaps<F: DiskFile>(file: &F, first_page: u32, slots: &[Found]) -> io::Result<()> {
    let mut gaps = scan::gaps(first_page, slots);
    let last = slots.iter().map(|found| found.slot.end()).fold(first_page, u32::max);
    let pages = u32::try_from(file.len()?.div_ceil(PAGE)).unwrap_or(u32::MAX);
    gaps.extend((last < pages).then_some((last, pages)));
    for (start, end) in gaps {
        file.punch_hole(u64::from(start) * PAGE, u64::from(end - start) * PAGE)?;
    }
    Ok(())
}
