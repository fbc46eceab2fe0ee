//! One file of the simulated disk: its visible bytes, and the medium's where they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::super::{SECTOR, SECTOR_SIZE, unreadable};
use super::Chance;

const PAGE_SIZE: usize = 4096;
pub(super) const PAGE: u64 = PAGE_SIZE as u64;
const SECTORS_PER_PAGE: usize = PAGE_SIZE / SECTOR_SIZE;
const _: () = assert!(SECTORS_PER_PAGE == 8, "a page's sectors are one byte of bits");

/// None is a page of zeros that takes no memory.
type Page = Option<Box<[u8; PAGE_SIZE]>>;

#[derive(Debug, Default)]
pub(super) struct SparseFile {
    len: u64,
    len_durable: u64,
    /// The length will fall back at the next crash: its sync had failed.
    len_doomed: bool,
    pages: Vec<Page>,
    /// Pages below this one take space even while they are holes.
    pages_reserved: u64,
    used_pages: u64,
    undo: BTreeMap<u64, Undo>,
    unreadable: BTreeSet<u64>,
    /// Memory for `undo`, as much as was ever needed at once: most writes need a page of it until the
    /// next sync.
    spare: Vec<Box<[u8; PAGE_SIZE]>>,
}

/// What the medium still holds of a page.
#[derive(Debug)]
struct Undo {
    old: Page,
    /// Sectors written since the last sync.
    pending: u8,
    /// Sectors whose write was lost although a sync has returned since.
    doomed: u8,
}

impl Undo {
    /// The medium has the page's visible bytes now, except in the doomed sectors.
    fn catch_up(&mut self, visible: Option<&[u8; PAGE_SIZE]>) {
        let old = self.old.get_or_insert_with(|| Box::new([0; PAGE_SIZE]));
        for sector in (0..SECTORS_PER_PAGE).filter(|sector| self.doomed & (1 << sector) == 0) {
            let range = sector * SECTOR_SIZE..(sector + 1) * SECTOR_SIZE;
            match visible {
                Some(visible) => old[range.clone()].copy_from_slice(&visible[range]),
                None => old[range].fill(0),
            }
        }
    }
}

impl SparseFile {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn used_bytes(&self) -> u64 {
        (self.used_pages + self.pages_reserved) * PAGE
    }

    /// Bytes that a write would newly take.
    pub(super) fn growth_of_write(&self, offset: u64, size: usize) -> u64 {
        let pages = offset / PAGE..(offset + size as u64).div_ceil(PAGE);
        let fresh = pages.filter(|page| *page >= self.pages_reserved && self.page(*page).is_none());
        fresh.count() as u64 * PAGE
    }

    pub(super) fn written_pages(&self) -> Vec<u64> {
        (0..).zip(&self.pages).filter(|(_, page)| page.is_some()).map(|(index, _)| index).collect()
    }

    pub(super) fn reserve(&mut self, size: u64) {
        self.pages_reserved = size.div_ceil(PAGE);
        self.count_used_pages();
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= self.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        if self.unreadable.range(offset / SECTOR..end.div_ceil(SECTOR)).next().is_some() {
            return Err(unreadable());
        }
        let mut done = 0;
        for (page, within, size) in pieces(offset, out.len()) {
            let piece = &mut out[done..done + size];
            match self.page(page) {
                Some(bytes) => piece.copy_from_slice(&bytes[within..within + size]),
                None => piece.fill(0),
            }
            done += size;
        }
        Ok(())
    }

    /// As a read around the page cache, which writes back first what the cache has of these bytes: it
    /// sees all but the writes that never reach the medium.
    pub(super) fn read_medium(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read(offset, out)?;
        let end = offset + out.len() as u64;
        for (page, undo) in self.undo.range(offset / PAGE..end.div_ceil(PAGE)) {
            for sector in (0..SECTORS_PER_PAGE).filter(|sector| undo.doomed & (1 << sector) != 0) {
                let start = page * PAGE + sector as u64 * SECTOR;
                for at in start.max(offset)..(start + SECTOR).min(end) {
                    let old = undo.old.as_ref().map_or(0, |old| old[index(at % PAGE)]);
                    out[index(at - offset)] = old;
                }
            }
        }
        Ok(())
    }

    /// Whole pages become holes. Not durable before a sync, like a write.
    pub(super) fn punch_hole(&mut self, offset: u64, size: u64) {
        let pages = offset / PAGE..(offset + size).min(self.len.next_multiple_of(PAGE)) / PAGE;
        for page in pages {
            if self.page(page).is_some() {
                self.undo_of(page).pending = u8::MAX;
                self.pages[index(page)] = None;
            }
            for sector in page * PAGE / SECTOR..(page + 1) * PAGE / SECTOR {
                self.unreadable.remove(&sector);
            }
        }
        self.count_used_pages();
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let end = offset + data.len() as u64;
        if end > self.len {
            self.set_len(end);
        }
        let mut done = 0;
        for (page, within, size) in pieces(offset, data.len()) {
            let sectors = sector_bits(within, size);
            let undo = self.undo_of(page);
            undo.pending |= sectors;
            undo.doomed &= !sectors;
            let bytes = self.page_mut(page);
            bytes[within..within + size].copy_from_slice(&data[done..done + size]);
            done += size;
        }
        if !self.unreadable.is_empty() {
            // A drive remaps a sector that is written as a whole.
            let whole: Vec<u64> = (offset.div_ceil(SECTOR)..end / SECTOR).collect();
            for sector in whole {
                self.unreadable.remove(&sector);
            }
        }
    }

    pub(super) fn set_len(&mut self, size: u64) {
        if size < self.len {
            let keep = size.div_ceil(PAGE);
            for page in keep..self.pages.len() as u64 {
                self.undo_of(page).pending = u8::MAX;
                self.pages[index(page)] = None;
            }
            let within = index(size % PAGE);
            if within > 0 && self.page(size / PAGE).is_some() {
                self.undo_of(size / PAGE).pending |= sector_bits(within, PAGE_SIZE - within);
                self.page_mut(size / PAGE)[within..].fill(0);
            }
            self.pages_reserved = self.pages_reserved.min(keep);
        }
        self.len = size;
        self.pages.resize_with(index(size.div_ceil(PAGE)), || None);
        self.count_used_pages();
    }

    pub(super) fn sync(&mut self) {
        let (pages, spare) = (&self.pages, &mut self.spare);
        self.undo.retain(|page, undo| {
            undo.pending = 0;
            if undo.doomed != 0 {
                undo.catch_up(pages.get(index(*page)).and_then(|page| page.as_deref()));
            } else {
                spare.extend(undo.old.take());
            }
            undo.doomed != 0
        });
        if !self.len_doomed {
            self.len_durable = self.len;
        }
    }

    /// What was written at this place will be gone after a crash, whatever is synced before.
    pub(super) fn doom(&mut self, offset: u64, size: usize) {
        for (page, within, size) in pieces(offset, size) {
            let sectors = sector_bits(within, size);
            let undo = self.undo_of(page);
            undo.doomed |= sectors;
            undo.pending &= !sectors;
        }
    }

    pub(super) fn doom_all(&mut self) {
        for undo in self.undo.values_mut() {
            undo.doomed |= undo.pending;
            undo.pending = 0;
        }
        self.len_doomed = self.len != self.len_durable;
    }

    pub(super) fn crash(&mut self, chance: &mut Chance, keep_percent: u64) {
        let len_kept = self.len == self.len_durable || (!self.len_doomed && chance.percent(keep_percent));
        let len = if len_kept { self.len } else { self.len_durable };
        let pages_before = (self.len / PAGE) + 1;
        if len > self.len {
            self.pages.resize_with(index(len.div_ceil(PAGE)), || None);
        }
        for (page, undo) in std::mem::take(&mut self.undo) {
            if page >= self.pages.len() as u64 {
                continue;
            }
            for sector in 0..SECTORS_PER_PAGE {
                let bit = 1 << sector;
                // A cut that did not last brings the old pages back as they were.
                let lost = undo.doomed & bit != 0 || (!len_kept && page >= pages_before);
                let survived = if lost {
                    0
                } else if undo.pending & bit == 0 || chance.percent(keep_percent) {
                    SECTOR_SIZE
                } else if chance.percent(5) {
                    index(chance.below(SECTOR))
                } else {
                    0
                };
                self.restore(page, sector, survived, &undo.old);
            }
        }
        self.len = self.len.max(len);
        self.set_len(len);
        self.undo.clear();
        self.len_durable = len;
        self.len_doomed = false;
    }

    /// Of a sector's new bytes, only the first `survived` reached the medium.
    fn restore(&mut self, page: u64, sector: usize, survived: usize, old: &Page) {
        if survived == SECTOR_SIZE || (old.is_none() && self.page(page).is_none()) {
            return;
        }
        let range = sector * SECTOR_SIZE + survived..(sector + 1) * SECTOR_SIZE;
        let bytes = self.page_mut(page);
        match old {
            Some(old) => bytes[range.clone()].copy_from_slice(&old[range]),
            None => bytes[range].fill(0),
        }
    }

    pub(super) fn rot(&mut self, offset: u64, bit: u8) {
        let within = index(offset % PAGE);
        self.page_mut(offset / PAGE)[within] ^= bit;
        if let Some(Undo { old: Some(old), .. }) = self.undo.get_mut(&(offset / PAGE)) {
            old[within] ^= bit;
        }
    }

    pub(super) fn make_unreadable(&mut self, sector: u64) {
        self.unreadable.insert(sector);
    }

    fn page(&self, page: u64) -> Option<&[u8; PAGE_SIZE]> {
        self.pages.get(index(page))?.as_deref()
    }

    fn page_mut(&mut self, page: u64) -> &mut [u8; PAGE_SIZE] {
        let reserved = page < self.pages_reserved;
        let slot = &mut self.pages[index(page)];
        if slot.is_none() && !reserved {
            self.used_pages += 1;
        }
        slot.get_or_insert_with(|| Box::new([0; PAGE_SIZE]))
    }

    fn undo_of(&mut self, page: u64) -> &mut Undo {
        let (pages, spare) = (&self.pages, &mut self.spare);
        self.undo.entry(page).or_insert_with(|| {
            let visible = pages.get(index(page)).and_then(|page| page.as_ref());
            let old = visible.map(|visible| match spare.pop() {
                Some(mut old) => {
                    old.copy_from_slice(visible.as_slice());
                    old
                }
                None => visible.clone(),
            });
            Undo { old, pending: 0, doomed: 0 }
        })
    }

    fn count_used_pages(&mut self) {
        let unreserved = self.pages.iter().skip(index(self.pages_reserved));
        self.used_pages = unreserved.filter(|page| page.is_some()).count() as u64;
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("simulated files fit in memory")
}

/// Splits a range of bytes at page borders: page, offset within it, size.
fn pieces(offset: u64, size: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = offset;
    let end = offset + size as u64;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let within = index(at % PAGE);
            let size = (PAGE_SIZE - within).min(index(end - at));
            let piece = (at / PAGE, within, size);
            at += size as u64;
            piece
        })
    })
}

fn sector_bits(within: usize, size: usize) -> u8 {
    let sectors = within / SECTOR_SIZE..(within + size).div_ceil(SECTOR_SIZE);
    sectors.fold(0, |bits, sector| bits | 1 << sector)
}
