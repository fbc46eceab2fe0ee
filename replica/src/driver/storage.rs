//! The threads that touch the disk for the core. Each takes work in order and reports its completion;
//! an error ends the replica.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use protocol::entry::Entry;
use protocol::superblock::Superblock;
use protocol::types::{Checksum, Op};

use super::core_thread::Input;
use super::inbox::Inbox;
use super::vitals::Vitals;
use crate::storage::disk::Disk;
use crate::storage::superblock::SuperblockStore;
use crate::storage::tables::{CountJob, FlushJob};
use crate::storage::wal::{Spare, SpareJob, Wal};

/// How often the free space is looked at. What is accepted in between must fit into what is kept.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the log's thread is asked for.
pub(super) enum WalTask<D: Disk> {
    Append(Entry),
    Read { op: Op, name: Checksum },
    Reclaim { through: Op },
    Install(Spare<D>),
}

/// What takes long and is waited for by nobody in particular.
pub(super) enum BackgroundTask<D: Disk> {
    Flush(FlushJob),
    Count(CountJob),
    Spare(SpareJob<D>),
}

/// The queues of the storage threads. Bounded by what the core has under way: entries by the
/// pipeline and the repair window, one superblock, one flush.
pub(super) struct Queues<D: Disk> {
    pub wal: Arc<Inbox<WalTask<D>>>,
    pub superblock: Arc<Inbox<Box<Superblock>>>,
    pub background: Arc<Inbox<BackgroundTask<D>>>,
    /// Carries nothing: the thread behind it looks at the disk by itself until this is closed.
    pub space: Arc<Inbox<()>>,
}

impl<D: Disk> Queues<D> {
    pub(super) fn new() -> Queues<D> {
        Queues {
            wal: Arc::new(Inbox::for_completions()),
            superblock: Arc::new(Inbox::for_completions()),
            background: Arc::new(Inbox::for_completions()),
            space: Arc::new(Inbox::for_completions()),
        }
    }

    pub(super) fn close(&self) {
        self.wal.close();
        self.superblock.close();
        self.background.close();
        self.space.close();
    }
}

impl<D: Disk> Clone for Queues<D> {
    fn clone(&self) -> Queues<D> {
        Queues {
            wal: self.wal.clone(),
            superblock: self.superblock.clone(),
            background: self.background.clone(),
            space: self.space.clone(),
        }
    }
}

/// Runs `work` until its queue is closed, or until it fails: then the core is told, and does nothing
/// more.
fn spawn<T: Send + 'static>(
    name: &'static str,
    queue: Arc<Inbox<T>>,
    core: Arc<Inbox<Input>>,
    mut work: impl FnMut(&mut Vec<T>) -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut tasks = Vec::new();
        while queue.take(&mut tasks, None) {
            if let Err(error) = work(&mut tasks) {
                queue.close();
                return core.complete(Input::StorageFailed { what: name, error });
            }
            tasks.clear();
        }
    })
}

pub(super) fn spawn_all<D: Disk>(
    queues: &Queues<D>,
    core: &Arc<Inbox<Input>>,
    wal: Wal<D>,
    superblocks: SuperblockStore<D>,
    disk: D,
    vitals: &Arc<Vitals>,
) -> io::Result<Vec<JoinHandle<()>>> {
    Ok(vec![
        spawn_wal(queues, core.clone(), wal, vitals.clone())?,
        spawn_superblock(queues, core.clone(), superblocks)?,
        spawn_background(queues, core.clone())?,
        spawn_space(queues, core.clone(), disk)?,
    ])
}

/// Whatever was appended while a group was being synced is the next group.
fn spawn_wal<D: Disk>(
    queues: &Queues<D>,
    core: Arc<Inbox<Input>>,
    mut wal: Wal<D>,
    vitals: Arc<Vitals>,
) -> io::Result<JoinHandle<()>> {
    vitals.wal_left_bytes.set(wal.space_left());
    let background = queues.background.clone();
    let queue = queues.wal.clone();
    let more = queue.clone();
    let completions = core.clone();
    spawn("wal", queue, core, move |tasks| {
        loop {
            for task in tasks.drain(..) {
                match task {
                    WalTask::Append(entry) => wal.append(&entry)?,
                    WalTask::Read { op, name } => {
                        let entry = wal.read(op, name)?;
                        completions.complete(Input::EntryRead { op, name, entry });
                    }
                    WalTask::Reclaim { through } => wal.reclaim(through),
                    WalTask::Install(spare) => wal.install_spare(spare),
                }
            }
            if !wal.has_pending() {
                vitals.wal_bytes.set(wal.used_bytes());
                vitals.wal_left_bytes.set(wal.space_left());
                return Ok(());
            }
            let begun = Instant::now();
            let durable = wal.commit_group()?;
            vitals.wal_sync.record(begun.elapsed());
            vitals.wal_left_bytes.set(wal.space_left());
            if !durable.is_empty() {
                completions.complete(Input::Appended(durable));
            }
            if let Some(job) = wal.order_spare() {
                background.complete(BackgroundTask::Spare(job));
            }
            // Without waiting: the stubs of this group are still to be written.
            if !more.take(tasks, Some(begun)) {
                return Ok(());
            }
        }
    })
}

fn spawn_superblock<D: Disk>(
    queues: &Queues<D>,
    core: Arc<Inbox<Input>>,
    mut superblocks: SuperblockStore<D>,
) -> io::Result<JoinHandle<()>> {
    let completions = core.clone();
    spawn("superblock", queues.superblock.clone(), core, move |tasks| {
        for superblock in tasks.drain(..) {
            superblocks.write(&superblock)?;
            completions.complete(Input::SuperblockWritten);
        }
        Ok(())
    })
}

fn spawn_background<D: Disk>(queues: &Queues<D>, core: Arc<Inbox<Input>>) -> io::Result<JoinHandle<()>> {
    let completions = core.clone();
    let wal = queues.wal.clone();
    spawn("flush", queues.background.clone(), core, move |tasks| {
        for task in tasks.drain(..) {
            match task {
                BackgroundTask::Flush(job) => {
                    let flushed = job.run()?;
                    completions.complete(Input::Flushed(Box::new(flushed)));
                }
                BackgroundTask::Count(job) => completions.complete(Input::Counted(job.run())),
                // A full disk has no room for a spare; the group that needs one will say so.
                BackgroundTask::Spare(job) => match job.run() {
                    Ok(spare) => wal.complete(WalTask::Install(spare)),
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                        tracing::warn!("no space for another segment of the log");
                    }
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(())
    })
}

/// Others write to the disk, too: looking at it once is not enough.
fn spawn_space<D: Disk>(queues: &Queues<D>, core: Arc<Inbox<Input>>, disk: D) -> io::Result<JoinHandle<()>> {
    let queue = queues.space.clone();
    std::thread::Builder::new().name("space".to_owned()).spawn(move || {
        let mut nothing = Vec::new();
        loop {
            // A file system that does not say is one that has no room, until a write proves it.
            core.complete(Input::Available(disk.available().unwrap_or(0)));
            if !queue.take(&mut nothing, Some(Instant::now() + LOOK_EVERY)) {
                return;
            }
        }
    })
}
