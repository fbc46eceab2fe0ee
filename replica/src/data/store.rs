//! The threads that touch the chunks. Each takes work in order and reports it to the data thread.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::catalog::{BodyId, ChunkId};
use protocol::data::outline::ChunkRoot;
use protocol::data::storage::{Found, Job, ReadBlocks, ReadFault, StoreFault};

use super::thread::{Input, Owner, Report};
use super::vitals::DataVitals;
use crate::driver::Inbox;
use crate::storage::chunks::{self, AppendError, ChunkReader, ChunkStore, VerifiedChunk};
use crate::storage::disk::Disk;
use crate::storage::scrub_position::ScrubPosition;

/// Threads that hash and read. As many as it takes to keep a fast disk busy while one of them hashes.
const CHECK_THREADS: usize = 2;

/// How often the free space of the disk is looked at, at least.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What can be done side by side.
pub(super) enum CheckTask {
    /// Compare with the root, then have it written.
    Verify {
        owner: Owner,
        job: Job,
        chunk: ChunkId,
        root: ChunkRoot,
        bytes: Bytes,
    },
    Read {
        owner: Owner,
        job: Job,
        chunk: ChunkId,
        root: ChunkRoot,
        first: u32,
        count: u32,
    },
    Find {
        owner: Owner,
        job: Job,
        chunks: Vec<ChunkId>,
    },
    Walk {
        owner: Owner,
        job: Job,
        after: Option<ChunkId>,
        limit: usize,
    },
}

pub(super) struct ScrubTask {
    pub(super) owner: Owner,
    pub(super) job: Job,
    pub(super) chunk: ChunkId,
    pub(super) root: ChunkRoot,
}

/// What the one writer does.
enum WriteTask {
    Store {
        owner: Owner,
        job: Job,
        chunk: VerifiedChunk,
    },
    /// Unless the copy is sound after all.
    Quarantine {
        owner: Owner,
        job: Job,
        chunk: ChunkId,
        root: ChunkRoot,
    },
    Discard {
        owner: Owner,
        job: Job,
        chunk: ChunkId,
    },
    Delete {
        owner: Owner,
        job: Job,
        chunks: Vec<ChunkId>,
    },
    /// How far the scrub has come.
    KeepPosition(Option<BodyId>),
}

/// Bounded by what the holder and upkeep have under way.
#[derive(Clone)]
pub(super) struct Queues {
    check: mpsc::Sender<CheckTask>,
    scrub: mpsc::Sender<ScrubTask>,
    write: Arc<Inbox<WriteTask>>,
}

impl Queues {
    pub(super) fn check(&self, task: CheckTask) {
        // The threads end only after the data thread.
        let _ = self.check.send(task);
    }

    pub(super) fn scrub(&self, task: ScrubTask) {
        let _ = self.scrub.send(task);
    }

    pub(super) fn quarantine(&self, owner: Owner, job: Job, chunk: ChunkId, root: ChunkRoot) {
        self.write.complete(WriteTask::Quarantine { owner, job, chunk, root });
    }

    pub(super) fn discard(&self, owner: Owner, job: Job, chunk: ChunkId) {
        self.write.complete(WriteTask::Discard { owner, job, chunk });
    }

    pub(super) fn delete(&self, owner: Owner, job: Job, chunks: Vec<ChunkId>) {
        self.write.complete(WriteTask::Delete { owner, job, chunks });
    }

    pub(super) fn keep_position(&self, position: Option<BodyId>) {
        self.write.complete(WriteTask::KeepPosition(position));
    }

    pub(super) fn close(&self) {
        self.write.close();
    }
}

pub(super) fn spawn_all<D: Disk>(
    disk: D,
    chunks: ChunkStore<D>,
    position: ScrubPosition<D>,
    reserve_bytes: u64,
    data: &Arc<Inbox<Input>>,
    vitals: &Arc<DataVitals>,
) -> io::Result<(Queues, Vec<JoinHandle<()>>)> {
    let (check, check_queue) = mpsc::channel();
    let (scrub, scrub_queue) = mpsc::channel();
    let queues = Queues { check, scrub, write: Arc::new(Inbox::for_completions()) };
    let check_queue = Arc::new(Mutex::new(check_queue));
    let mut threads = Vec::new();
    for _ in 0..CHECK_THREADS {
        let checker = Checker {
            reader: chunks.reader(),
            write: queues.write.clone(),
            data: data.clone(),
            vitals: vitals.clone(),
        };
        let queue = check_queue.clone();
        threads.push(std::thread::Builder::new().name("chunk-check".to_owned()).spawn(move || {
            loop {
                let task = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(task) = task else { return };
                checker.run(task);
            }
        })?);
    }
    let (reader, inbox) = (chunks.reader(), data.clone());
    threads.push(std::thread::Builder::new().name("chunk-scrub".to_owned()).spawn(move || {
        while let Ok(ScrubTask { owner, job, chunk, root }) = scrub_queue.recv() {
            match scrub_one(&reader, chunk, root) {
                Ok(outcome) => inbox.complete(Input::Report(owner, job, Report::Scrubbed(outcome))),
                Err(error) => inbox.complete(Input::StorageFailed(error)),
            }
        }
    })?);
    let writer = Writer {
        disk,
        reader: chunks.reader(),
        chunks,
        position,
        kept: None,
        reserve_bytes,
        data: data.clone(),
        vitals: vitals.clone(),
    };
    let queue = queues.write.clone();
    threads
        .push(std::thread::Builder::new().name("chunk-write".to_owned()).spawn(move || writer.run(&queue))?);
    Ok((queues, threads))
}

/// The inner error is about the chunk, the outer one about the disk.
type Checked<T> = io::Result<Result<T, ReadFault>>;

fn judge<T>(outcome: Result<T, chunks::ReadFault>) -> Checked<T> {
    match outcome {
        Ok(value) => Ok(Ok(value)),
        Err(chunks::ReadFault::Absent) => Ok(Err(ReadFault::Absent)),
        Err(chunks::ReadFault::Damaged(_)) => Ok(Err(ReadFault::Damaged)),
        Err(chunks::ReadFault::Io(error)) => Err(error),
    }
}

fn scrub_one<D: Disk>(reader: &ChunkReader<D>, chunk: ChunkId, root: ChunkRoot) -> Checked<()> {
    let seen = judge(reader.scrub(chunk))?;
    // Sound, and yet not what the catalog means: no better than damaged.
    Ok(seen.and_then(|stored| if stored.root == root { Ok(()) } else { Err(ReadFault::Damaged) }))
}

struct Checker<D: Disk> {
    reader: ChunkReader<D>,
    write: Arc<Inbox<WriteTask>>,
    data: Arc<Inbox<Input>>,
    vitals: Arc<DataVitals>,
}

impl<D: Disk> Checker<D> {
    fn run(&self, task: CheckTask) {
        let (owner, job, report) = match task {
            CheckTask::Verify { owner, job, chunk, root, bytes } => {
                match VerifiedChunk::new(chunk, root, bytes) {
                    Some(chunk) => return self.write.complete(WriteTask::Store { owner, job, chunk }),
                    None => (owner, job, Ok(Report::Stored(Err(StoreFault::Damaged)))),
                }
            }
            CheckTask::Read { owner, job, chunk, root, first, count } => {
                let read = judge(self.reader.read(chunk, &root, first, count));
                if let Ok(Ok(blocks)) = &read {
                    self.vitals.bytes_read.add(blocks.bytes.len() as u64);
                }
                let blocks = |chunks::ReadBlocks { outline, bytes }| ReadBlocks { outline, bytes };
                (owner, job, read.map(|read| Report::Read(read.map(blocks))))
            }
            CheckTask::Find { owner, job, chunks } => (owner, job, self.find(chunks).map(Report::Found)),
            CheckTask::Walk { owner, job, after, limit } => {
                let held = self.reader.walk(after, limit);
                let names = held.into_iter().map(|held| held.chunk).collect();
                (owner, job, Ok(Report::Walked(names)))
            }
        };
        self.data.complete(match report {
            Ok(report) => Input::Report(owner, job, report),
            Err(error) => Input::StorageFailed(error),
        });
    }

    fn find(&self, chunks: Vec<ChunkId>) -> io::Result<Vec<Result<Found, ReadFault>>> {
        let look = |chunk| {
            let stored = judge(self.reader.find(chunk))?;
            Ok(stored.map(|stored| Found { root: stored.root, length: stored.length }))
        };
        chunks.into_iter().map(look).collect()
    }
}

/// What was appended, or why not.
type Stored = (Owner, Job, Result<(), StoreFault>);

struct Writer<D: Disk> {
    disk: D,
    reader: ChunkReader<D>,
    chunks: ChunkStore<D>,
    position: ScrubPosition<D>,
    /// The position that was written last by this process.
    kept: Option<Option<BodyId>>,
    reserve_bytes: u64,
    data: Arc<Inbox<Input>>,
    vitals: Arc<DataVitals>,
}

impl<D: Disk> Writer<D> {
    /// Whatever came while a group was being synced is the next group. Without work it looks around
    /// all the same: others use the disk, too, and while it is thought to be full no work comes.
    fn run(mut self, queue: &Inbox<WriteTask>) {
        let mut tasks = Vec::new();
        self.look_around();
        while queue.take(&mut tasks, Some(Instant::now() + LOOK_INTERVAL)) {
            if let Err(error) = self.group(&mut tasks) {
                queue.close();
                return self.data.complete(Input::StorageFailed(error));
            }
            self.look_around();
        }
    }

    /// In their order: what is stored before a chunk is deleted is reported before it is, and what is
    /// stored afterwards is there afterwards.
    fn group(&mut self, tasks: &mut Vec<WriteTask>) -> io::Result<()> {
        let mut stored = Vec::new();
        for task in tasks.drain(..) {
            match task {
                WriteTask::Store { owner, job, chunk } => {
                    let outcome = self.append(&chunk)?;
                    stored.push((owner, job, outcome));
                    continue;
                }
                WriteTask::Quarantine { owner, job, chunk, root } => {
                    self.commit(&mut stored)?;
                    if let Some(copy) = self.unsound(chunk, root)? {
                        self.chunks.quarantine(copy)?;
                    }
                    self.data.complete(Input::Report(owner, job, Report::Done));
                }
                WriteTask::Discard { owner, job, chunk } => {
                    self.commit(&mut stored)?;
                    self.chunks.delete_quarantined(&[chunk])?;
                    self.data.complete(Input::Report(owner, job, Report::Done));
                }
                WriteTask::Delete { owner, job, chunks } => {
                    self.commit(&mut stored)?;
                    self.chunks.delete(&chunks)?;
                    self.data.complete(Input::Report(owner, job, Report::Done));
                }
                WriteTask::KeepPosition(position) if self.kept == Some(position) => {}
                WriteTask::KeepPosition(position) => match self.position.keep(position) {
                    Ok(()) => self.kept = Some(position),
                    Err(error) => tracing::warn!(%error, "how far the scrub is could not be kept"),
                },
            }
        }
        self.commit(&mut stored)
    }

    fn append(&mut self, chunk: &VerifiedChunk) -> io::Result<Result<(), StoreFault>> {
        match self.chunks.append(chunk) {
            Ok(()) => {
                self.vitals.bytes_stored.add(chunk.bytes().len() as u64);
                Ok(Ok(()))
            }
            Err(AppendError::Full) => Ok(Err(StoreFault::Full)),
            Err(AppendError::Conflict(_)) => Ok(Err(StoreFault::Conflict)),
            Err(AppendError::Io(error)) => Err(error),
        }
    }

    /// Makes durable what was appended, and only then says so.
    fn commit(&mut self, stored: &mut Vec<Stored>) -> io::Result<()> {
        if stored.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        self.chunks.commit_group()?;
        self.vitals.chunk_sync.record(begun.elapsed());
        for (owner, job, outcome) in stored.drain(..) {
            self.data.complete(Input::Report(owner, job, Report::Stored(outcome)));
        }
        Ok(())
    }

    /// The copy that is served, if it is not what it should be. Read once more, which is rare: a better
    /// one may have come since somebody complained.
    fn unsound(&self, chunk: ChunkId, root: ChunkRoot) -> io::Result<Option<chunks::CopyId>> {
        match self.reader.scrub(chunk) {
            Ok(stored) => Ok((stored.root != root).then_some(stored.copy)),
            Err(chunks::ReadFault::Damaged(copy)) => Ok(Some(copy)),
            Err(chunks::ReadFault::Absent) => Ok(None),
            Err(chunks::ReadFault::Io(error)) => Err(error),
        }
    }

    /// What there is, and how much room is left.
    fn look_around(&self) {
        let available = self.disk.available().unwrap_or(0);
        self.vitals.chunks.set(self.reader.chunk_count());
        self.vitals.chunk_bytes.set(self.reader.used_bytes());
        self.vitals.quarantined.set(self.reader.quarantined_count());
        self.vitals.disk_available.set(available);
        self.data.complete(Input::Space { available, reserve: self.reserve_bytes });
    }
}
