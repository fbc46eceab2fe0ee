//! One replica's machine: a disk that outlives crashes, and a process that does not.

use std::collections::BTreeMap;

use protocol::catalog::Catalog;
use protocol::config::Config;
use protocol::entry::{Entry, EntryHeader};
use protocol::state::State;
use protocol::superblock::Superblock;
use protocol::tables::{Checkpoint, RowSum};
use protocol::types::{Checksum, Incarnation, Nonce, Op, ReplicaId, Tick, Timestamp};
use protocol::vsr::{Effect, Replica};
use replica::storage::disk::{Disk as _, SimulatedDisk};
use replica::storage::space::{Judgement, SpaceKeeper, SpaceNow};
use replica::storage::superblock::{Opened, SuperblockStore};
use replica::storage::tables::{
    CountJob, CountedPages, DiskTables, FlushJob, Flushed, OpenError, TablesOptions,
};
use replica::storage::wal::{Wal, WalOptions};

use crate::plane::{CheckTask, Checked, Plane, WriteTask, Written};
use crate::random::Random;

pub type Core = Replica<Catalog, DiskTables>;

/// Small, so that logs span several segments; large enough for the largest entry.
const SEGMENT_SIZE: u64 = 128 << 10;

/// What runs while the machine is up.
pub struct Process {
    pub core: Core,
    pub wal: Wal<SimulatedDisk>,
    pub superblocks: SuperblockStore<SimulatedDisk>,
    space: SpaceKeeper,
    /// Entries that wait for the group under way to end.
    pub appends: Vec<Entry>,
    pub group_under_way: bool,
    /// None where there are no chunks.
    pub plane: Option<Box<Plane>>,
    /// What is under way, by the number under which its end is expected.
    jobs: BTreeMap<u64, Job>,
    jobs_begun: u64,
}

/// I/O under way. It touches the disk when its time is up, or when the process dies before.
pub enum Job {
    Group(Vec<Entry>),
    Superblock(Box<Superblock>),
    Flush(FlushJob),
    Count(CountJob),
    Check(Box<CheckTask>),
    Chunks(Vec<WriteTask>),
}

/// What a job has brought about.
pub enum Done {
    Group(Vec<(Op, Checksum)>),
    Superblock,
    Flush(Box<Flushed>),
    Counted(CountedPages),
    Checked(Box<Checked>),
    Chunks(Written),
}

impl Job {
    pub fn name(&self) -> &'static str {
        match self {
            Job::Group(_) => "group",
            Job::Superblock(_) => "superblock",
            Job::Flush(_) => "flush",
            Job::Count(_) => "count",
            Job::Check(_) => "look at chunks",
            Job::Chunks(_) => "chunks",
        }
    }

    /// How long it usually takes, in microseconds.
    pub fn micros(&self) -> u64 {
        match self {
            Job::Group(_) => 800,
            Job::Superblock(_) => 600,
            Job::Flush(_) => 3_000,
            Job::Count(_) => 500,
            Job::Check(_) => 200,
            Job::Chunks(_) => 1_000,
        }
    }
}

/// A virtual machine in a rack.
pub struct Machine {
    pub id: ReplicaId,
    pub disk: SimulatedDisk,
    /// The disk that was in use before this one.
    pub shelved: Option<SimulatedDisk>,
    /// Somebody has put the disk back that was replaced.
    pub has_old_disk: bool,
    /// The replica has not rejoined with the disk that it has.
    pub is_blank: bool,
    pub process: Option<Process>,
    /// Completions of an earlier boot must not reach this one.
    pub boot: u64,
    pub paused_until: u64,
    /// Added to true time, in microseconds.
    pub clock_offset: i64,
    /// Every disk operation takes so many times as long.
    pub slowness: u64,
    pub random: Random,
    /// The newest durable incarnation, which names the life of the disk for the ledgers.
    pub incarnation: Incarnation,
    /// Its holder sends bytes that are not what they should be.
    pub lies: bool,
    /// What the WAL said of itself at the last start: whether its end is known.
    pub wal_certain: bool,
}

/// Why a machine did not come up.
#[derive(Debug)]
pub enum StartFailure {
    /// An I/O call failed because the machine crashed again.
    Crashed,
    /// The disk holds nothing or nothing readable: only the operator's command helps.
    NoSuperblock(String),
    /// The tables are damaged, and the superblock knows it now.
    TablesLost,
}

impl From<std::io::Error> for StartFailure {
    fn from(_: std::io::Error) -> StartFailure {
        StartFailure::Crashed
    }
}

impl Machine {
    pub fn new(id: ReplicaId, seed: u64) -> Machine {
        Machine {
            id,
            disk: SimulatedDisk::new(seed),
            shelved: None,
            has_old_disk: false,
            is_blank: false,
            process: None,
            boot: 0,
            paused_until: 0,
            clock_offset: 0,
            slowness: 1,
            random: Random::branch(seed, "machine"),
            incarnation: Incarnation::ZERO,
            lies: false,
            wal_certain: true,
        }
    }

    /// What `viewstone replica` does with an empty directory in a new cluster.
    pub fn format(&mut self, config: &Config) {
        let count = u8::try_from(config.quorums.replica_count).expect("at most seven");
        let superblock = Superblock::format(config.cluster, config.epoch, self.id, count);
        SuperblockStore::format(&self.disk, &superblock).expect("no faults are planted yet");
    }

    /// What `viewstone replace-disk` does: a new, empty disk, marked as such.
    pub fn replace_disk(&mut self, config: &Config) {
        let new = SimulatedDisk::new(self.random.word());
        let old = std::mem::replace(&mut self.disk, new);
        // One that was never in use is no old disk: put back, it would rejoin, and rightly so.
        if !std::mem::replace(&mut self.is_blank, true) {
            self.shelved = Some(old);
        }
        let count = u8::try_from(config.quorums.replica_count).expect("at most seven");
        let nonce = Nonce::new(u128::from(self.random.word()) << 64 | u128::from(self.random.word()));
        let superblock = Superblock::replace(config.cluster, config.epoch, self.id, count, nonce);
        SuperblockStore::format(&self.disk, &superblock).expect("the new disk has no faults yet");
    }

    /// The disk in use and the one that was in use before it change places.
    pub fn swap_disks(&mut self) {
        if let Some(shelved) = &mut self.shelved {
            std::mem::swap(shelved, &mut self.disk);
            self.has_old_disk = !self.has_old_disk;
            // Of the new one its replica says it when it starts.
            self.is_blank = !self.has_old_disk;
        }
    }

    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// The monotonic clock, in the process's own ticks.
    pub fn tick_at(&self, now: u64) -> Tick {
        Tick::new(now / 1_000)
    }

    /// The wall clock, as wrong as it may be.
    pub fn clock_at(&self, now: u64) -> Timestamp {
        const EPOCH: i64 = 1_700_000_000_000_000;
        let micros = EPOCH.saturating_add_unsigned(now).saturating_add(self.clock_offset);
        Timestamp::new(u64::try_from(micros).unwrap_or(0))
    }

    /// Opens everything from the disk and starts the core.
    ///
    /// With the size of its segments, the chunk store is opened too.
    pub fn start(
        &mut self,
        config: &Config,
        machine: Catalog,
        segment_size: Option<u64>,
        now: u64,
    ) -> Result<Vec<Effect>, StartFailure> {
        assert!(self.process.is_none());
        self.boot += 1;
        let (superblock, mut superblocks) = match SuperblockStore::open(&self.disk)? {
            Opened::Formatted(superblock, store) => (*superblock, store),
            Opened::NeverFormatted => return Err(StartFailure::NoSuperblock("the disk is blank".into())),
            Opened::Unreadable(reason) => return Err(StartFailure::NoSuperblock(reason)),
            Opened::OtherFormat(version) => {
                return Err(StartFailure::NoSuperblock(format!("nobody wrote format {version}")));
            }
        };
        self.incarnation = superblock.incarnation;
        let config = Config { replica: self.id, ..config.clone() };
        let options = WalOptions { segment_size: SEGMENT_SIZE, never_used: superblock.boot_count == 0 };
        let (wal, scan) = Wal::open(&self.disk, config.cluster, config.replica, options)?;
        self.wal_certain = scan.certain;
        if superblock.tables_lost {
            DiskTables::destroy(&self.disk)?;
        }
        let genesis =
            Checkpoint { header: EntryHeader::genesis(config.cluster, config.epoch), root: RowSum::ZERO };
        let options = TablesOptions { cache_bytes: 256 << 10, verify: true };
        let opened = match DiskTables::open(&self.disk, &genesis, options) {
            Ok(tables) => State::new(machine, tables, config.limits).map_err(|fault| fault.to_string()),
            Err(OpenError::Damaged(reason)) => Err(reason),
            Err(OpenError::Disk(error)) => return Err(error.into()),
        };
        let state = match opened {
            Ok(state) => state,
            Err(_) if self.disk.is_dead() => return Err(StartFailure::Crashed),
            Err(_) => {
                // Remember it, and begin anew with empty tables: the core will fetch them.
                superblocks.write(&Superblock { tables_lost: true, ..superblock })?;
                return Err(StartFailure::TablesLost);
            }
        };
        let now_tick = self.tick_at(now);
        let plane =
            segment_size.map(|size| Plane::open(&self.disk, &config, size, &mut self.random, now_tick));
        let plane = plane.transpose()?.map(Box::new);
        let space = SpaceKeeper::new(&config.limits, SEGMENT_SIZE);
        let mut core = Replica::new(config, superblock, scan, state, self.random.word());
        let mut effects = Vec::new();
        core.start(self.tick_at(now), self.clock_at(now), &mut effects);
        self.process = Some(Process {
            core,
            wal,
            superblocks,
            space,
            appends: Vec::new(),
            group_under_way: false,
            plane,
            jobs: BTreeMap::new(),
            jobs_begun: 0,
        });
        Ok(effects)
    }

    /// Power off: memory is gone, and of what was not synced the disk keeps what it likes. What was
    /// under way had not begun, or was somewhere in the middle, or was done and nobody was told.
    pub fn crash(&mut self) {
        if let Some(mut process) = self.process.take() {
            for job in std::mem::take(&mut process.jobs).into_values() {
                match self.random.below(3) {
                    0 => continue,
                    1 => self.disk.fail_after(1 + self.random.below(12)),
                    _ => {}
                }
                // Whether it succeeds: there is nobody left to be told.
                drop(process.run(job));
            }
        }
        self.boot += 1;
        self.lies = false;
        self.disk.crash();
    }
}

impl Process {
    /// Notes what is under way. Its number is told when its time is up.
    pub fn begin(&mut self, job: Job) -> u64 {
        self.jobs_begun += 1;
        self.jobs.insert(self.jobs_begun, job);
        self.jobs_begun
    }

    pub fn end(&mut self, number: u64) -> Job {
        self.jobs.remove(&number).expect("a job ends once, in the process that began it")
    }

    pub fn run(&mut self, job: Job) -> std::io::Result<Done> {
        match job {
            Job::Group(entries) => {
                for entry in entries {
                    self.wal.append(&entry)?;
                }
                self.wal.commit_group().map(Done::Group)
            }
            Job::Superblock(superblock) => self.superblocks.write(&superblock).map(|()| Done::Superblock),
            Job::Check(task) => self.plane().check(*task).map(|checked| Done::Checked(Box::new(checked))),
            Job::Chunks(tasks) => self.plane().write(tasks).map(Done::Chunks),
            Job::Count(count) => Ok(Done::Counted(count.run())),
            Job::Flush(flush) => flush.run().map(|done| Done::Flush(Box::new(done))),
        }
    }

    /// What the disk has room for, as the driver finds out.
    pub fn judge_space(&mut self, disk: &SimulatedDisk) -> Judgement {
        let now = SpaceNow {
            available_bytes: disk.unobserved(|| disk.available()).unwrap_or(0),
            log_left_bytes: self.wal.space_left(),
            tables: self.core.state().tables().space(),
        };
        self.space.judge(&now)
    }

    fn plane(&mut self) -> &mut Plane {
        self.plane.as_mut().expect("only a data plane begins such jobs")
    }

    pub fn has_group_to_write(&self) -> bool {
        !self.appends.is_empty() || self.wal.has_pending()
    }

    pub fn flush_job(&self) -> Option<FlushJob> {
        self.core.state().tables().flush_job()
    }
}
