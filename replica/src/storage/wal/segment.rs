//! Segment files: naming, allocation, reading whole.

use std::io;

use bytes::Bytes;
use protocol::canary::{Canary, planted};
use protocol::types::Op;

use super::format::Layout;
use crate::storage::disk::{Disk, DiskFile, SECTOR_SIZE, is_unreadable};
use crate::storage::numbered;

const PREFIX: &str = "wal-";

pub(super) fn name(number: u32) -> String {
    numbered::name(PREFIX, number)
}

/// The segments among the names, ascending.
pub(super) fn numbers(names: &[String]) -> Vec<u32> {
    numbered::numbers(PREFIX, names)
}

pub(super) struct Segment<F> {
    pub(super) file: F,
    pub(super) size: u64,
    /// How often it was put to use.
    pub(super) generation: u32,
    /// The highest op in it; None while it is free.
    pub(super) used_through: Option<Op>,
    /// They mean nothing once the segment is free, and are wiped before it is used again.
    pub(super) damaged_stubs: Vec<u32>,
}

impl<F: DiskFile> Segment<F> {
    pub(super) fn unused(file: F, size: u64) -> Segment<F> {
        Segment { file, size, generation: 0, used_through: None, damaged_stubs: Vec::new() }
    }

    /// Puts a free segment to use. Nothing in it is needed any more, so a crash may leave anything
    /// of the old contents.
    pub(super) fn begin_generation(&mut self, layout: Layout) -> io::Result<()> {
        assert!(self.used_through.is_none());
        if self.size != layout.size {
            self.file.allocate(layout.size)?;
            self.file.sync()?;
            self.size = layout.size;
        } else if !self.damaged_stubs.is_empty() {
            for stub in &self.damaged_stubs {
                self.file.write_at(layout.stub_offset(*stub), &[0; SECTOR_SIZE])?;
            }
            self.file.sync()?;
        }
        self.damaged_stubs.clear();
        self.generation += 1;
        self.used_through = Some(Op::ZERO);
        Ok(())
    }
}

/// The whole file. Sectors that the medium cannot return are filled with bytes that no checksum
/// accepts and that are not blank.
pub(super) fn read_all<F: DiskFile>(file: &F, size: u64) -> io::Result<Bytes> {
    const STEP: usize = 256 << 10;
    const UNREADABLE: u8 = 0xee;
    let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    for (step, piece) in bytes.chunks_mut(STEP).enumerate() {
        let start = (step * STEP) as u64;
        match file.read_at(start, piece) {
            Ok(()) => continue,
            Err(error) if is_unreadable(&error) => {}
            Err(error) => return Err(error),
        }
        for (index, sector) in piece.chunks_mut(SECTOR_SIZE).enumerate() {
            match file.read_at(start + (index * SECTOR_SIZE) as u64, sector) {
                Ok(()) => {}
                Err(error) if is_unreadable(&error) => sector.fill(UNREADABLE),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(bytes.into())
}

/// Allocates a segment: a matter of milliseconds that nobody should wait for.
#[derive(Debug)]
pub struct SpareJob<D: Disk> {
    disk: D,
    number: u32,
    size: u64,
}

/// An allocated segment, to be handed back to the WAL.
pub struct Spare<D: Disk> {
    pub(super) number: u32,
    pub(super) file: D::File,
    pub(super) size: u64,
}

impl<D: Disk> SpareJob<D> {
    pub(super) fn new(disk: &D, number: u32, size: u64) -> SpareJob<D> {
        SpareJob { disk: disk.clone(), number, size }
    }

    /// The segment's zeros, its length and its name are durable before anything is written to it:
    /// otherwise a power failure could take the name away from synced entries.
    pub fn run(self) -> io::Result<Spare<D>> {
        let name = name(self.number);
        self.disk.remove(&name)?;
        let file = self.disk.create(&name)?;
        let allocated = file.allocate(self.size).and_then(|()| file.sync());
        if let Err(error) = allocated {
            // Half a segment would take the space that something else needs.
            self.disk.remove(&name)?;
            return Err(error);
        }
        if !planted(Canary::NamesNotSynced) {
            self.disk.sync_names()?;
        }
        Ok(Spare { number: self.number, file, size: self.size })
    }
}
