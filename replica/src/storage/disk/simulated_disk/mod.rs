//! A disk in memory that loses, tears and damages what real disks lose, tear and damage.
//!
//! Every file has two sides: what the process sees (the page cache) and what a crash leaves (the
//! medium). They differ only in pages written since the last sync, for which the medium's old bytes
//! are kept aside; a crash decides for each sector which side survives. All chance comes from one
//! seed, so the same calls always end in the same bytes.

mod sparse_file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::{Disk, DiskFile, SECTOR, unreadable};
use sparse_file::{PAGE, SparseFile};

/// One process's view of the disk: after `crash`, the views taken before return only errors, as the
/// process that held them is gone.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
    generation: u64,
}

#[derive(Clone, Debug)]
pub struct SimulatedFile {
    disk: SimulatedDisk,
    inode: u64,
}

/// What was damaged, precisely enough for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub kind: DamageKind,
    pub file: String,
    pub offset: u64,
    pub size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// One bit changed at rest.
    Rot,
    /// A sector whose reads fail until it is written again.
    Unreadable,
    /// The bytes of a write meant for elsewhere landed here.
    Misdirected,
    /// This write was acknowledged and never reached the medium.
    Phantom,
    /// A sync failed once; what it should have made durable is gone after a crash, although reads
    /// see it and later syncs succeed.
    SyncFailed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Armed {
    Misdirected,
    Phantom,
    SyncFailed,
}

#[derive(Debug)]
struct World {
    generation: u64,
    chance: Chance,
    files: BTreeMap<u64, SparseFile>,
    inode_next: u64,
    names: BTreeMap<String, u64>,
    names_durable: BTreeMap<String, u64>,
    calls: u64,
    /// The process dies at the call that finds zero here.
    calls_left: Option<u64>,
    dead: bool,
    capacity: u64,
    armed: Vec<Armed>,
    /// So many writes pass before an armed fault strikes one.
    writes_spared: u64,
    damages: Vec<Damage>,
}

/// SplitMix64: small, seedable from any number, and nothing here needs better.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0);
        self.next() % bound
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

impl SimulatedDisk {
    /// An empty disk without a capacity limit.
    pub fn new(seed: u64) -> SimulatedDisk {
        let world = World {
            generation: 0,
            chance: Chance(seed),
            files: BTreeMap::new(),
            inode_next: 0,
            names: BTreeMap::new(),
            names_durable: BTreeMap::new(),
            calls: 0,
            calls_left: None,
            dead: false,
            capacity: u64::MAX,
            armed: Vec::new(),
            writes_spared: 0,
            damages: Vec::new(),
        };
        SimulatedDisk { world: Arc::new(Mutex::new(world)), generation: 0 }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no call panics while it holds the lock")
    }

    /// Ends the process: what was not synced survives or not, sector by sector and name by name.
    /// All other views of this disk are dead from now on; this one is the restarted machine's.
    pub fn crash(&mut self) {
        let mut world = self.world();
        world.crash();
        let generation = world.generation;
        drop(world);
        self.generation = generation;
    }

    /// The `count`-th call from now (the first is 1), and every one after it, fails: the process is
    /// killed inside that call. A write or a removal that is hit may still have happened.
    pub fn fail_after(&self, count: u64) {
        assert!(count > 0);
        self.world().calls_left = Some(count - 1);
    }

    /// Calls so far, to know where `fail_after` can hit.
    pub fn calls(&self) -> u64 {
        self.world().calls
    }

    /// Whether `fail_after` has struck.
    pub fn is_dead(&self) -> bool {
        self.world().dead
    }

    /// Lets a judge read what a process would read, without leaving a trace: its calls are not
    /// counted, and no process dies in them.
    pub fn unobserved<T>(&self, look: impl FnOnce() -> T) -> T {
        let (calls, calls_left) = {
            let mut world = self.world();
            (world.calls, world.calls_left.take())
        };
        let seen = look();
        let mut world = self.world();
        world.calls = calls;
        world.calls_left = calls_left;
        seen
    }

    pub fn set_capacity(&self, bytes: u64) {
        self.world().capacity = bytes;
    }

    pub fn used_bytes(&self) -> u64 {
        self.world().used_bytes()
    }

    /// The next sync of a file fails once.
    pub fn fail_next_sync(&self) {
        self.world().armed.push(Armed::SyncFailed);
    }

    /// The next write to a file lands at another place of some file, and not where it should.
    pub fn misdirect_next_write(&self) {
        self.world().armed.push(Armed::Misdirected);
    }

    /// The next write to a file never reaches the medium.
    pub fn lose_next_write(&self) {
        self.lose_write(1);
    }

    /// The `count`-th write to a file from now, the first being 1, never reaches the medium.
    pub fn lose_write(&self, count: u64) {
        assert!(count > 0);
        let mut world = self.world();
        world.armed.push(Armed::Phantom);
        world.writes_spared = count - 1;
    }

    /// What the armed faults have done since the last call.
    pub fn take_damages(&self) -> Vec<Damage> {
        std::mem::take(&mut self.world().damages)
    }

    /// Flips one random bit of a byte that is not part of a hole. None if the file has no such byte.
    pub fn rot(&self, name: &str) -> Option<Damage> {
        let mut world = self.world();
        let offset = world.random_written_offset(name)?;
        world.rot_at(name, offset)
    }

    /// Flips one random bit of the byte at `offset`.
    pub fn rot_at(&self, name: &str, offset: u64) -> Option<Damage> {
        self.world().rot_at(name, offset)
    }

    /// Makes a random written sector unreadable.
    pub fn make_unreadable(&self, name: &str) -> Option<Damage> {
        let mut world = self.world();
        let offset = world.random_written_offset(name)?;
        world.make_unreadable_at(name, offset)
    }

    /// Makes the sector that holds `offset` unreadable.
    pub fn make_unreadable_at(&self, name: &str, offset: u64) -> Option<Damage> {
        self.world().make_unreadable_at(name, offset)
    }

    /// Removes everything, durably: a new disk in the old place.
    pub fn wipe(&self) {
        let mut world = self.world();
        world.names.clear();
        world.names_durable.clear();
        world.files.clear();
    }

    /// Loses one whole file, durably.
    pub fn lose_file(&self, name: &str) {
        let mut world = self.world();
        world.names.remove(name);
        world.names_durable.remove(name);
        world.drop_unnamed_files();
    }

    /// Begins a call of this view; an error if the process is dead, or dies here.
    fn call(&self) -> io::Result<MutexGuard<'_, World>> {
        let (world, alive) = self.call_or_last_breath()?;
        if alive { Ok(world) } else { Err(killed()) }
    }

    /// As `call`, but a call that is being killed gets the world too: its effect may still happen.
    fn call_or_last_breath(&self) -> io::Result<(MutexGuard<'_, World>, bool)> {
        let mut world = self.world();
        if world.dead || world.generation != self.generation {
            return Err(killed());
        }
        world.calls += 1;
        match &mut world.calls_left {
            None => Ok((world, true)),
            Some(0) => {
                world.dead = true;
                Ok((world, false))
            }
            Some(left) => {
                *left -= 1;
                Ok((world, true))
            }
        }
    }
}

fn killed() -> io::Error {
    io::Error::other("the simulated process was killed")
}

fn alive_or_killed(alive: bool) -> io::Result<()> {
    if alive { Ok(()) } else { Err(killed()) }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.call()?.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Option<SimulatedFile>> {
        let inode = self.call()?.names.get(name).copied();
        Ok(inode.map(|inode| SimulatedFile { disk: self.clone(), inode }))
    }

    fn reopen(&self, name: &str) -> io::Result<Option<SimulatedFile>> {
        self.open(name)
    }

    fn create(&self, name: &str) -> io::Result<SimulatedFile> {
        let (mut world, alive) = self.call_or_last_breath()?;
        if world.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = world.inode_next;
        world.inode_next += 1;
        world.files.insert(inode, SparseFile::default());
        world.names.insert(name.to_owned(), inode);
        alive_or_killed(alive)?;
        Ok(SimulatedFile { disk: self.clone(), inode })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (mut world, alive) = self.call_or_last_breath()?;
        world.names.remove(name);
        world.drop_unnamed_files();
        alive_or_killed(alive)
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut world = self.call()?;
        world.names_durable = world.names.clone();
        world.drop_unnamed_files();
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.call()?.capacity)
    }

    fn available(&self) -> io::Result<u64> {
        let world = self.call()?;
        match world.capacity {
            u64::MAX => Ok(u64::MAX),
            capacity => Ok(capacity.saturating_sub(world.used_bytes())),
        }
    }
}

impl SimulatedFile {
    fn named<'a>(&self, world: &'a mut World) -> io::Result<&'a mut SparseFile> {
        world.files.get_mut(&self.inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl DiskFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.named(&mut *self.disk.call()?)?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.named(&mut *self.disk.call()?)?.read(offset, out)
    }

    fn read_direct_at(&self, offset: u64, size: usize) -> io::Result<Bytes> {
        assert!(offset.is_multiple_of(PAGE), "direct I/O is aligned");
        let mut out = vec![0; size];
        self.named(&mut *self.disk.call()?)?.read_medium(offset, &mut out)?;
        Ok(out.into())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut world, alive) = self.disk.call_or_last_breath()?;
        let file = self.named(&mut world)?;
        let more = file.growth_of_write(offset, data.len());
        world.check_space(more)?;
        match world.take_armed_for_write() {
            Some(Armed::Misdirected) => world.misdirect(self.inode, offset, data),
            Some(_) => {
                let file = self.named(&mut world)?;
                file.write(offset, data);
                file.doom(offset, data.len());
                world.record(DamageKind::Phantom, self.inode, offset, data.len() as u64);
            }
            None => self.named(&mut world)?.write(offset, data),
        }
        alive_or_killed(alive)
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        let (mut world, alive) = self.disk.call_or_last_breath()?;
        self.named(&mut world)?.set_len(size);
        alive_or_killed(alive)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let (mut world, alive) = self.disk.call_or_last_breath()?;
        let file = self.named(&mut world)?;
        let more = size.next_multiple_of(PAGE).saturating_sub(file.used_bytes());
        world.check_space(more)?;
        let file = self.named(&mut world)?;
        file.set_len(0);
        file.set_len(size);
        file.reserve(size);
        alive_or_killed(alive)
    }

    fn punch_hole(&self, offset: u64, size: u64) -> io::Result<()> {
        assert!(offset.is_multiple_of(PAGE) && size.is_multiple_of(PAGE), "holes are whole pages");
        let (mut world, alive) = self.disk.call_or_last_breath()?;
        self.named(&mut world)?.punch_hole(offset, size);
        alive_or_killed(alive)
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.call()?;
        if world.take_armed(|armed| armed == Armed::SyncFailed).is_some() {
            let file = self.named(&mut world)?;
            file.doom_all();
            let size = file.len();
            world.record(DamageKind::SyncFailed, self.inode, 0, size);
            return Err(unreadable());
        }
        self.named(&mut world)?.sync();
        Ok(())
    }
}

impl World {
    fn crash(&mut self) {
        // Some crashes lose all that was in flight, some keep it all, most mix.
        let keep_percent = [0, 10, 50, 90, 100][usize::try_from(self.chance.below(5)).expect("below 5")];
        let mut names: Vec<String> = self.names.keys().chain(self.names_durable.keys()).cloned().collect();
        names.sort();
        names.dedup();
        for name in names {
            if self.names.get(&name) == self.names_durable.get(&name) {
                continue;
            }
            let kept = if self.chance.percent(keep_percent) { &self.names } else { &self.names_durable };
            match kept.get(&name).copied() {
                Some(inode) => self.names_durable.insert(name, inode),
                None => self.names_durable.remove(&name),
            };
        }
        self.names = self.names_durable.clone();
        self.drop_unnamed_files();
        for file in self.files.values_mut() {
            file.crash(&mut self.chance, keep_percent);
        }
        self.generation += 1;
        self.calls_left = None;
        self.dead = false;
        self.armed.clear();
        self.writes_spared = 0;
    }

    fn drop_unnamed_files(&mut self) {
        let (names, durable) = (&self.names, &self.names_durable);
        self.files.retain(|inode, _| {
            names.values().any(|it| it == inode) || durable.values().any(|it| it == inode)
        });
    }

    fn used_bytes(&self) -> u64 {
        self.files.values().map(SparseFile::used_bytes).sum()
    }

    fn check_space(&self, more: u64) -> io::Result<()> {
        if more > 0 && self.capacity != u64::MAX && self.used_bytes() + more > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn take_armed(&mut self, matches: impl Fn(Armed) -> bool) -> Option<Armed> {
        let index = self.armed.iter().position(|armed| matches(*armed))?;
        Some(self.armed.remove(index))
    }

    fn take_armed_for_write(&mut self) -> Option<Armed> {
        if self.writes_spared > 0 {
            self.writes_spared -= 1;
            return None;
        }
        self.take_armed(|armed| armed != Armed::SyncFailed)
    }

    /// Lands the write at a random aligned place inside a random file that is long enough.
    fn misdirect(&mut self, inode: u64, offset: u64, data: &[u8]) {
        let size = data.len() as u64;
        let candidates: Vec<(u64, u64)> = self
            .files
            .iter()
            .map(|(inode, file)| (*inode, file.len()))
            .filter(|(_, len)| *len >= size + SECTOR)
            .collect();
        let landed = match candidates.len() as u64 {
            0 => None,
            count => {
                let pick = usize::try_from(self.chance.below(count)).expect("an index of a vector");
                let (target, len) = candidates[pick];
                let place = self.chance.below((len - size) / SECTOR + 1) * SECTOR;
                let place = match (target, place) == (inode, offset) {
                    true if place >= SECTOR => place - SECTOR,
                    true => place + SECTOR,
                    false => place,
                };
                Some((target, place))
            }
        };
        if let Some((target, place)) = landed
            && let Some(file) = self.files.get_mut(&target)
        {
            file.write(place, data);
            self.record(DamageKind::Misdirected, target, place, size);
        }
        // The writer itself sees its bytes until its cache is gone.
        if let Some(file) = self.files.get_mut(&inode) {
            file.write(offset, data);
            file.doom(offset, data.len());
        }
        self.record(DamageKind::Phantom, inode, offset, size);
    }

    fn record(&mut self, kind: DamageKind, inode: u64, offset: u64, size: u64) -> Damage {
        let file = self.names.iter().find(|(_, it)| **it == inode).map(|(name, _)| name.clone());
        let damage = Damage { kind, file: file.unwrap_or_default(), offset, size };
        self.damages.push(damage.clone());
        damage
    }

    fn random_written_offset(&mut self, name: &str) -> Option<u64> {
        let file = self.files.get(self.names.get(name)?)?;
        let pages = file.written_pages();
        if pages.is_empty() {
            return None;
        }
        let page = pages[usize::try_from(self.chance.below(pages.len() as u64)).expect("an index")];
        let offset = page * PAGE + self.chance.below(PAGE);
        Some(offset.min(file.len().saturating_sub(1)))
    }

    fn rot_at(&mut self, name: &str, offset: u64) -> Option<Damage> {
        let inode = *self.names.get(name)?;
        let bit = 1 << self.chance.below(8);
        let file = self.files.get_mut(&inode)?;
        if offset >= file.len() {
            return None;
        }
        file.rot(offset, bit);
        Some(self.at_rest(DamageKind::Rot, name, offset, 1))
    }

    fn make_unreadable_at(&mut self, name: &str, offset: u64) -> Option<Damage> {
        let inode = *self.names.get(name)?;
        let file = self.files.get_mut(&inode)?;
        if offset >= file.len() {
            return None;
        }
        file.make_unreadable(offset / SECTOR);
        Some(self.at_rest(DamageKind::Unreadable, name, offset / SECTOR * SECTOR, SECTOR))
    }

    fn at_rest(&self, kind: DamageKind, name: &str, offset: u64, size: u64) -> Damage {
        Damage { kind, file: name.to_owned(), offset, size }
    }
}
