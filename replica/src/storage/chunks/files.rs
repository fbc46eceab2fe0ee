//! Segment files: names, creation, and a bounded number of open ones.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard};

use super::format::{self, Address, HEADER_COPIES, PAGE, SegmentHeader};
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::numbered;

const PREFIX: &str = "chunks-";

pub(super) fn name(number: u32) -> String {
    numbered::name(PREFIX, number)
}

/// The segments among the names, ascending.
pub(super) fn numbers(names: &[String]) -> Vec<u32> {
    numbered::numbers(PREFIX, names)
}

/// Creates a segment. Its header, the space of its slots and its name are durable before anything
/// is stored in it: a slot can then always be overwritten, also on a disk that is full.
pub(super) fn create<D: Disk>(disk: &D, address: Address, header: &SegmentHeader) -> io::Result<D::File> {
    let name = name(address.segment);
    let file = disk.create(&name)?;
    let fill = || {
        file.allocate(u64::from(format::first_page(header.slot_count)) * PAGE)?;
        for copy in 0..HEADER_COPIES {
            file.write_at(u64::from(copy) * PAGE, &format::encode_header(address, copy, header))?;
        }
        file.sync()
    };
    if let Err(error) = fill() {
        // Half a segment would take the space that something else needs.
        disk.remove(&name)?;
        return Err(error);
    }
    disk.sync_names()?;
    Ok(file)
}

/// Open files, of which a process may have only so many. The segment that is being written stays
/// open: a file closed before its sync would take an error of writing back with it.
#[derive(Debug)]
pub(super) struct Files<D: Disk> {
    disk: D,
    open_max: usize,
    state: Mutex<State<D::File>>,
}

#[derive(Debug)]
struct State<F> {
    written: Option<(u32, F)>,
    /// With the turn of its last use.
    open: BTreeMap<u32, (u64, F)>,
    turn: u64,
}

impl<D: Disk> Files<D> {
    pub(super) fn new(disk: D, open_max: usize) -> Files<D> {
        let state = State { written: None, open: BTreeMap::new(), turn: 0 };
        Files { disk, open_max: open_max.max(1), state: Mutex::new(state) }
    }

    /// For the first time. None if there is no such file.
    pub(super) fn open(&self, number: u32) -> io::Result<Option<D::File>> {
        let file = self.disk.open(&name(number))?;
        if let Some(file) = &file {
            self.state().keep(number, file.clone(), self.open_max);
        }
        Ok(file)
    }

    /// A file that was opened or created before. None if there is no such file.
    pub(super) fn get(&self, number: u32) -> io::Result<Option<D::File>> {
        if let Some(file) = self.state().find(number) {
            return Ok(Some(file));
        }
        // Opening may take a while, and others find theirs meanwhile. Two handles do no harm.
        let file = self.disk.reopen(&name(number))?;
        if let Some(file) = &file {
            self.state().keep(number, file.clone(), self.open_max);
        }
        Ok(file)
    }

    pub(super) fn set_written(&self, number: u32, file: D::File) {
        let mut state = self.state();
        if let Some((before, file)) = state.written.replace((number, file)) {
            state.keep(before, file, self.open_max);
        }
    }

    pub(super) fn forget(&self, number: u32) {
        self.state().open.remove(&number);
    }

    fn state(&self) -> MutexGuard<'_, State<D::File>> {
        self.state.lock().expect("no call panics while it holds the lock")
    }
}

impl<F: DiskFile> State<F> {
    fn find(&mut self, number: u32) -> Option<F> {
        if let Some((_, file)) = self.written.as_ref().filter(|(written, _)| *written == number) {
            return Some(file.clone());
        }
        self.turn += 1;
        let (used, file) = self.open.get_mut(&number)?;
        *used = self.turn;
        Some(file.clone())
    }

    fn keep(&mut self, number: u32, file: F, open_max: usize) {
        if self.open.len() >= open_max
            && let Some(oldest) = self.open.iter().min_by_key(|(_, (used, _))| *used).map(|(it, _)| *it)
        {
            self.open.remove(&oldest);
        }
        self.turn += 1;
        self.open.insert(number, (self.turn, file));
    }
}
