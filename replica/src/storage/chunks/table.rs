//! What the writer and the readers share: where everything is.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard};

use protocol::catalog::ChunkId;
use protocol::types::{ClusterId, ReplicaId};

use super::CopyId;
use super::files::Files;
use super::format::{Address, PAGE};
use super::index::{ChunkIndex, Place};
use crate::storage::disk::Disk;

#[derive(Debug)]
pub(super) struct Shared<D: Disk> {
    pub(super) cluster: ClusterId,
    pub(super) replica: ReplicaId,
    pub(super) files: Files<D>,
    table: Mutex<Table>,
}

/// Everything durable, and nothing else.
#[derive(Debug)]
pub(super) struct Table {
    /// Of each chunk the one copy that is served.
    pub(super) index: ChunkIndex,
    /// Copies set aside. There are few.
    pub(super) quarantined: BTreeMap<ChunkId, Vec<Place>>,
    pub(super) segments: BTreeMap<u32, Segment>,
    pages: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) salt: u128,
    /// Pages before the records.
    pub(super) fixed_pages: u32,
    /// That are not dead.
    pub(super) records: u32,
}

/// A copy that can be looked at.
pub(super) struct Located<F> {
    pub(super) copy: CopyId,
    pub(super) address: Address,
    pub(super) file: F,
}

impl<D: Disk> Shared<D> {
    pub(super) fn new(cluster: ClusterId, replica: ReplicaId, files: Files<D>, table: Table) -> Shared<D> {
        Shared { cluster, replica, files, table: Mutex::new(table) }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no call panics while it holds the lock")
    }

    pub(super) fn address(&self, segment: u32, salt: u128) -> Address {
        Address { cluster: self.cluster, replica: self.replica, segment, salt }
    }

    /// None if its segment is gone.
    pub(super) fn open_copy(&self, copy: CopyId) -> io::Result<Option<Located<D::File>>> {
        let number = copy.place.segment;
        let Some(salt) = self.table().segments.get(&number).map(|segment| segment.salt) else {
            return Ok(None);
        };
        let file = self.files.get(number)?;
        Ok(file.map(|file| Located { copy, address: self.address(number, salt), file }))
    }
}

impl Table {
    pub(super) fn new() -> Table {
        Table { index: ChunkIndex::new(), quarantined: BTreeMap::new(), segments: BTreeMap::new(), pages: 0 }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.pages * PAGE
    }

    pub(super) fn add_segment(&mut self, number: u32, salt: u128, fixed_pages: u32) {
        self.pages += u64::from(fixed_pages);
        self.segments.insert(number, Segment { salt, fixed_pages, records: 0 });
    }

    pub(super) fn remove_segment(&mut self, number: u32) {
        if let Some(segment) = self.segments.remove(&number) {
            assert_eq!(segment.records, 0);
            self.pages -= u64::from(segment.fixed_pages);
        }
    }

    /// Takes in a copy that is to be served from now on. One that was served until now is set aside:
    /// the one written last is the one that was asked for last.
    pub(super) fn add(&mut self, chunk: ChunkId, place: Place) {
        self.count(place);
        if let Some(before) = self.index.insert(chunk, place) {
            self.quarantined.entry(chunk).or_default().push(before);
        }
    }

    pub(super) fn add_quarantined(&mut self, chunk: ChunkId, place: Place) {
        self.count(place);
        self.quarantined.entry(chunk).or_default().push(place);
    }

    pub(super) fn quarantine(&mut self, copy: CopyId) {
        self.index.remove(copy.chunk);
        self.quarantined.entry(copy.chunk).or_default().push(copy.place);
    }

    /// Forgets a copy, of whichever kind.
    pub(super) fn remove(&mut self, copy: CopyId) {
        if self.index.get(copy.chunk) == Some(copy.place) {
            self.index.remove(copy.chunk);
        } else if let Some(places) = self.quarantined.get_mut(&copy.chunk) {
            places.retain(|place| *place != copy.place);
            if places.is_empty() {
                self.quarantined.remove(&copy.chunk);
            }
        }
        let segment = self.segments.get_mut(&copy.place.segment).expect("copies lie in known segments");
        segment.records -= 1;
        self.pages -= u64::from(copy.place.pages);
    }

    fn count(&mut self, place: Place) {
        let segment = self.segments.get_mut(&place.segment).expect("copies lie in known segments");
        segment.records += 1;
        self.pages += u64::from(place.pages);
    }
}
