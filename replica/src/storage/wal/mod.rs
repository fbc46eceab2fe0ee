//! The write-ahead log: preallocated segments that are only ever appended to.
//!
//! An entry is reported durable when its body was synced *and then* its stub was. The stubs of one
//! group share the sync of the next group's bodies: one sync per group under load, two when idle.
//! With a stub comes a third witness, that its bodies were durable: the records of the next group,
//! or a mark where none follow. Nothing that was synced is overwritten until its segment is used
//! anew, save the remains of a torn group, and everything starts at a sector, so that a crash can
//! only hurt what was never reported.
//!
//! Memory: an index entry of about a hundred bytes for each entry in the segments, the entries
//! buffered and written since the last two groups, and one whole segment while opening.

mod format;
mod scan;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use protocol::canary::{Canary, planted};
use protocol::entry::Entry;
use protocol::types::{Checksum, ClusterId, Op, ReplicaId};
use protocol::wal::{WalRecord, WalScan};

use super::disk::{Disk, DiskFile, SECTOR, is_unreadable};
use format::{Address, Layout, Mark, STUB_ENTRIES_MAX, Stub, StubEntry, StubPlace};
use scan::SegmentScan;
use segment::Segment;
pub use segment::{Spare, SpareJob};

#[derive(Clone, Copy, Debug)]
pub struct WalOptions {
    /// A multiple of 4 KiB. Seven eighths of a segment must hold the largest entry.
    pub segment_size: u64,
    /// Nothing was ever appended on this disk: it is the first start since it was formatted, and no
    /// superblock has been written since. Otherwise, finding no segments at all means a loss.
    pub never_used: bool,
}

impl WalOptions {
    pub const SEGMENT_SIZE: u64 = 16 << 20;
}

pub struct Wal<D: Disk> {
    disk: D,
    cluster: ClusterId,
    replica: ReplicaId,
    layout: Layout,
    /// By number. Never removed, only used anew.
    segments: BTreeMap<u32, Segment<D::File>>,
    /// A number handed out to a `SpareJob` that has not come back.
    spare_ordered: Option<u32>,
    /// Lost segments may be replaced, which hides that they were lost.
    gaps_forgiven: bool,
    active: Option<Tail>,
    index: BTreeMap<(Op, Checksum), Location>,
    /// Appended, not yet written.
    buffered: Vec<Entry>,
    /// Written and synced, their stubs not yet written.
    stubless: Vec<Run>,
    failed: bool,
}

/// Where the next record and its stub go.
#[derive(Clone, Copy, Debug)]
struct Tail {
    segment: u32,
    offset: u64,
    stub: u32,
}

#[derive(Clone, Copy, Debug)]
struct Location {
    segment: u32,
    offset: u64,
    size: u64,
}

/// Neighbours in one segment, written at once, with stubs of their own.
struct Run {
    segment: u32,
    offset: u64,
    stub: u32,
    entries: Vec<Entry>,
}

impl Run {
    fn stub_count(&self) -> u32 {
        stubs_for(self.entries.len())
    }

    fn end(&self) -> u64 {
        self.offset + self.entries.iter().map(|entry| format::record_size(&entry.header)).sum::<u64>()
    }
}

fn stubs_for(entry_count: usize) -> u32 {
    u32::try_from(entry_count.div_ceil(STUB_ENTRIES_MAX)).expect("a group is small")
}

impl<D: Disk> Wal<D> {
    /// Reads everything, and completes the stubs and marks that a crash prevented: all that is
    /// reported present is durable like any other entry.
    pub fn open(
        disk: &D,
        cluster: ClusterId,
        replica: ReplicaId,
        options: WalOptions,
    ) -> io::Result<(Wal<D>, WalScan)> {
        let layout = Layout::of(options.segment_size)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no segment can have this size"))?;
        let mut wal = Wal {
            disk: disk.clone(),
            cluster,
            replica,
            layout,
            segments: BTreeMap::new(),
            spare_ordered: None,
            gaps_forgiven: options.never_used,
            active: None,
            index: BTreeMap::new(),
            buffered: Vec::new(),
            stubless: Vec::new(),
            failed: false,
        };
        let mut outcome = WalScan { records: Vec::new(), certain: true };
        let (mut records, mut uncertain) = (BTreeMap::new(), Vec::new());
        let mut segments_expected = u32::from(!options.never_used);
        for number in segment::numbers(&disk.names()?) {
            let scan = wal.open_segment(number)?;
            segments_expected = segments_expected.max(scan.segments);
            if scan.is_uncertain {
                uncertain.push(number);
            }
            collect_records(&mut records, &scan);
        }
        let lost = |number: &u32| !wal.segments.contains_key(number);
        outcome.certain = uncertain.is_empty() && !(0..segments_expected).any(|number| lost(&number));
        outcome.records = records.into_values().collect();

        wal.keep_evidence(&uncertain);
        if wal.free_segments() == 0 {
            let number = wal.next_number();
            match SpareJob::new(disk, number, layout.size).run() {
                Ok(spare) => wal.install_spare(spare),
                // A full disk must be able to start, or nothing could ever be reclaimed. Without any
                // segment there is nothing to reclaim, and the next start would miss the first one.
                Err(error) if error.kind() == io::ErrorKind::StorageFull && !wal.segments.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        Ok((wal, outcome))
    }

    fn open_segment(&mut self, number: u32) -> io::Result<SegmentScan> {
        let Some(file) = self.disk.open(&segment::name(number))? else {
            return Ok(SegmentScan::default());
        };
        let size = file.len()?;
        let Some(layout) = Layout::of(size) else {
            // Its allocation was interrupted: it was never used.
            self.segments.insert(number, Segment::unused(file, 0));
            return Ok(SegmentScan::default());
        };
        let address = self.address(number);
        let bytes = segment::read_all(&file, size)?;
        let scan = scan::scan(address, layout, &bytes);
        for (stub, entries) in &scan.missing_stubs {
            let offset = layout.stub_offset(*stub);
            let (generation, segments) = (scan.generation, scan.segments);
            let stub = Stub { generation, segments, entries: entries.clone() };
            file.write_at(offset, &format::encode_stub(address, offset, &stub))?;
            // In order, even through a crash: a gap before a valid stub means damage.
            file.sync()?;
        }
        if let Some((offset, stubs)) = scan.missing_mark {
            let mark = Mark { generation: scan.generation, segments: scan.segments, stubs };
            file.write_at(offset, &format::encode_mark(address, offset, mark))?;
            file.sync()?;
        }
        for found in &scan.present {
            let location = Location { segment: number, offset: found.offset, size: found.size };
            self.index.insert((found.header.op, found.name), location);
        }
        let segment = Segment {
            file,
            size,
            generation: scan.generation,
            used_through: (!scan.is_blank()).then(|| scan.op_max()),
            damaged_stubs: scan.damaged_stubs.clone(),
        };
        self.segments.insert(number, segment);
        Ok(scan)
    }

    /// A segment whose stubs are not all known may hide any op. It tells that something is missing
    /// until the log was trimmed beyond everything that this scan saw: by then the replica knows its
    /// log again.
    fn keep_evidence(&mut self, uncertain: &[u32]) {
        let newest = self.segments.values().filter_map(|segment| segment.used_through).max();
        for number in uncertain {
            self.segments.get_mut(number).expect("it was just scanned").used_through = newest;
        }
    }

    /// Takes an entry into the next group. An entry that is already there may be appended again.
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        if format::record_size(&entry.header) + SECTOR > self.layout.body_end {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the entry is larger than a segment"));
        }
        self.buffered.push(entry.clone());
        Ok(())
    }

    /// Whether another `commit_group` is needed before everything appended has been reported.
    pub fn has_pending(&self) -> bool {
        !self.buffered.is_empty() || !self.stubless.is_empty()
    }

    /// Writes what was appended since the last call, and the stubs of what that call wrote; syncs;
    /// returns what is now fully durable, in the order of appending.
    ///
    /// After an error nothing more can be known about the disk without reading it again: the process
    /// must end, and further calls fail.
    pub fn commit_group(&mut self) -> io::Result<Vec<(Op, Checksum)>> {
        if self.failed {
            return Err(io::Error::other("an earlier write of the WAL failed"));
        }
        self.failed = true;
        let mut touched = BTreeSet::new();
        let finished = std::mem::take(&mut self.stubless);
        for run in &finished {
            self.write_stubs(run)?;
            touched.insert(run.segment);
        }
        let runs = self.place_buffered()?;
        for run in &finished {
            if !runs.iter().any(|next| next.segment == run.segment) {
                self.write_mark(run)?;
            }
        }
        for run in runs {
            self.write_run(&run)?;
            if planted(Canary::StubBeforeBody) {
                self.write_stubs(&run)?;
            }
            touched.insert(run.segment);
            self.stubless.push(run);
        }
        for number in touched {
            if !planted(Canary::WalSyncSkipped) {
                self.file(number).sync()?;
            }
        }
        self.failed = false;
        Ok(finished.iter().flat_map(|run| &run.entries).map(|entry| (entry.op(), entry.name)).collect())
    }

    /// The entry, verified; None if it is not here, or no longer readable.
    pub fn read(&mut self, op: Op, name: Checksum) -> io::Result<Option<Entry>> {
        if let Some(entry) = self.buffered.iter().find(|entry| entry.name == name) {
            return Ok(Some(entry.clone()));
        }
        let Some(location) = self.index.get(&(op, name)).copied() else {
            return Ok(None);
        };
        let mut bytes = vec![0; usize::try_from(location.size).expect("a record fits in memory")];
        let record = match self.file(location.segment).read_at(location.offset, &mut bytes) {
            Ok(()) => format::decode_record(self.address(location.segment), location.offset, &bytes.into()),
            Err(error) if is_unreadable(&error) => None,
            Err(error) => return Err(error),
        };
        let entry = record.map(|record| record.entry).filter(|entry| entry.name == name);
        if entry.is_none() {
            self.index.remove(&(op, name));
        }
        Ok(entry)
    }

    /// Whether `read` would look for the entry on the disk or in the buffer.
    pub fn contains(&self, op: Op, name: Checksum) -> bool {
        self.index.contains_key(&(op, name)) || self.buffered.iter().any(|entry| entry.name == name)
    }

    /// Gives up the segments that hold nothing above `through`. They stay allocated and are used
    /// anew under the next generation, which tells their old contents from new ones.
    ///
    /// The caller must have made the checkpoint durable that makes these entries superfluous.
    pub fn reclaim(&mut self, through: Op) {
        let busy: BTreeSet<u32> =
            self.stubless.iter().map(|run| run.segment).chain(self.active.map(|tail| tail.segment)).collect();
        let mut freed = BTreeSet::new();
        for (number, segment) in &mut self.segments {
            if !busy.contains(number) && segment.used_through.is_some_and(|op| op <= through) {
                segment.used_through = None;
                freed.insert(*number);
            }
        }
        if !freed.is_empty() {
            self.index.retain(|_, location| !freed.contains(&location.segment));
        }
        self.gaps_forgiven = true;
    }

    /// The bytes of the segments in use.
    pub fn used_bytes(&self) -> u64 {
        let used = self.segments.values().filter(|segment| segment.used_through.is_some());
        used.map(|segment| segment.size).sum()
    }

    pub fn free_segments(&self) -> usize {
        self.segments.values().filter(|segment| segment.used_through.is_none()).count()
    }

    /// The bytes that can be appended without allocating another segment.
    pub fn space_left(&self) -> u64 {
        let end = self.layout.body_end - SECTOR;
        let active = self.active.map_or(0, |tail| end.saturating_sub(tail.offset));
        active + self.free_segments() as u64 * end
    }

    /// Work for another thread, if the next segment is not allocated yet. Without it, the group that
    /// needs the segment has to wait for its allocation.
    pub fn order_spare(&mut self) -> Option<SpareJob<D>> {
        if self.free_segments() > 0 || self.spare_ordered.is_some() {
            return None;
        }
        let number = self.next_number();
        self.spare_ordered = Some(number);
        Some(SpareJob::new(&self.disk, number, self.layout.size))
    }

    pub fn install_spare(&mut self, spare: Spare<D>) {
        self.spare_ordered.take_if(|number| *number == spare.number);
        self.segments.insert(spare.number, Segment::unused(spare.file, spare.size));
    }

    /// The lowest number that no segment has; while a lost segment is still evidence, the one above
    /// all others.
    fn next_number(&self) -> u32 {
        let taken = |number: &u32| self.segments.contains_key(number) || self.spare_ordered == Some(*number);
        let start = match self.gaps_forgiven {
            true => 0,
            false => self.segments.keys().next_back().map_or(1, |last| last + 1),
        };
        (start..).find(|number| !taken(number)).expect("there are not 2^32 segments")
    }

    /// How many segments, counted from zero without a gap, there are.
    fn segments_contiguous(&self) -> u32 {
        (0..).find(|number| !self.segments.contains_key(number)).expect("there are not 2^32 segments")
    }

    fn place_buffered(&mut self) -> io::Result<Vec<Run>> {
        let mut runs: Vec<Run> = Vec::new();
        for entry in std::mem::take(&mut self.buffered) {
            let size = format::record_size(&entry.header);
            let tail = match self.active {
                Some(tail) if self.has_room(tail, size, runs.last()) => tail,
                _ => self.begin_segment()?,
            };
            self.active = Some(Tail { offset: tail.offset + size, ..tail });
            match runs.last_mut() {
                Some(run) if run.segment == tail.segment => run.entries.push(entry),
                _ => runs.push(Run {
                    segment: tail.segment,
                    offset: tail.offset,
                    stub: tail.stub,
                    entries: vec![entry],
                }),
            }
        }
        if let (Some(tail), Some(run)) = (&mut self.active, runs.last()) {
            tail.stub = run.stub + run.stub_count();
        }
        Ok(runs)
    }

    fn has_room(&self, tail: Tail, size: u64, run: Option<&Run>) -> bool {
        let entry_count = run.filter(|run| run.segment == tail.segment).map_or(0, |run| run.entries.len());
        let stub_count = stubs_for(entry_count + 1);
        // A mark must find room behind the last record.
        tail.offset + size + SECTOR <= self.layout.body_end
            && tail.stub + stub_count <= self.layout.stub_count
            && stub_count <= u32::from(u16::MAX)
    }

    fn begin_segment(&mut self) -> io::Result<Tail> {
        let free = self.segments.iter().find(|(_, segment)| segment.used_through.is_none());
        let number = match free.map(|(number, _)| *number) {
            Some(number) => number,
            None => {
                let number = self.next_number();
                let spare = SpareJob::new(&self.disk, number, self.layout.size).run()?;
                self.install_spare(spare);
                number
            }
        };
        let segment = self.segments.get_mut(&number).expect("it was found or installed above");
        segment.begin_generation(self.layout)?;
        let tail = Tail { segment: number, offset: 0, stub: 0 };
        self.active = Some(tail);
        Ok(tail)
    }

    fn write_run(&mut self, run: &Run) -> io::Result<()> {
        let address = self.address(run.segment);
        let segment = self.segments.get_mut(&run.segment).expect("runs lie in known segments");
        let size = usize::try_from(run.end() - run.offset).expect("a run fits in memory");
        let mut bytes = Vec::with_capacity(size);
        for (index, entry) in run.entries.iter().enumerate() {
            let first = index / STUB_ENTRIES_MAX * STUB_ENTRIES_MAX;
            let count = (run.entries.len() - first).min(STUB_ENTRIES_MAX);
            let place = StubPlace {
                stub: run.stub + stubs_for(first),
                index: u8::try_from(index - first).expect("below three"),
                count: u8::try_from(count).expect("at most three"),
                earlier: u16::try_from(stubs_for(first)).expect("longer runs have no room"),
            };
            let offset = run.offset + bytes.len() as u64;
            format::encode_record(address, offset, segment.generation, place, entry, &mut bytes);
            let size = run.offset + bytes.len() as u64 - offset;
            let location = Location { segment: run.segment, offset, size };
            self.index.insert((entry.op(), entry.name), location);
            segment.used_through = segment.used_through.max(Some(entry.op()));
        }
        segment.file.write_at(run.offset, &bytes)
    }

    fn write_stubs(&self, run: &Run) -> io::Result<()> {
        let address = self.address(run.segment);
        let segment = &self.segments[&run.segment];
        let segments = self.segments_contiguous();
        let start = self.layout.stub_offset(run.stub);
        let mut offset = run.offset;
        let mut bytes = Vec::new();
        for entries in run.entries.chunks(STUB_ENTRIES_MAX) {
            let mut listed = Vec::with_capacity(entries.len());
            for entry in entries {
                listed.push(StubEntry { header: entry.header.clone(), offset });
                offset += format::record_size(&entry.header);
            }
            let stub = Stub { generation: segment.generation, segments, entries: listed };
            bytes.extend(format::encode_stub(address, start + bytes.len() as u64, &stub));
        }
        assert_eq!(bytes.len() as u64, u64::from(run.stub_count()) * SECTOR);
        segment.file.write_at(start, &bytes)
    }

    /// Behind a run in whose segment no record follows now: its bodies are durable, and if its stub
    /// and a body should be damaged, this tells that they are missing.
    fn write_mark(&mut self, run: &Run) -> io::Result<()> {
        let offset = run.end();
        if let Some(tail) = self.active.as_mut().filter(|tail| tail.segment == run.segment) {
            assert_eq!(tail.offset, offset);
            tail.offset += SECTOR;
        }
        let segment = &self.segments[&run.segment];
        let mark = Mark {
            generation: segment.generation,
            segments: self.segments_contiguous(),
            stubs: run.stub + run.stub_count(),
        };
        segment.file.write_at(offset, &format::encode_mark(self.address(run.segment), offset, mark))
    }

    fn address(&self, segment: u32) -> Address {
        Address { cluster: self.cluster, replica: self.replica, segment }
    }

    fn file(&self, number: u32) -> &D::File {
        &self.segments[&number].file
    }
}

/// One record for each name: a body found anywhere outweighs one lost elsewhere.
fn collect_records(records: &mut BTreeMap<(Op, Checksum), WalRecord>, scan: &SegmentScan) {
    for found in &scan.present {
        let record = WalRecord { header: found.header.clone(), name: found.name, present: true };
        records.insert((found.header.op, found.name), record);
    }
    for header in &scan.lost {
        let name = header.name();
        records.entry((header.op, name)).or_insert_with(|| WalRecord {
            header: header.clone(),
            name,
            present: false,
        });
    }
}
