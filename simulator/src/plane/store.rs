//! What the machines want of the chunk store, and what comes of it.

use std::io;

use bytes::Bytes;
use protocol::catalog::ChunkId;
use protocol::data::outline::ChunkRoot;
use protocol::data::storage::{Found, Job as DataJob, ReadBlocks, ReadFault, StoreFault};
use replica::storage::chunks::{self, AppendError, ChunkReader, CopyId, VerifiedChunk};
use replica::storage::disk::SimulatedDisk;

use super::Plane;

/// Whose job it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Holder,
    Upkeep,
}

/// What became of a job.
pub enum Report {
    Stored(Result<(), StoreFault>),
    Found(Vec<Result<Found, ReadFault>>),
    Read(Result<ReadBlocks, ReadFault>),
    Scrubbed(Result<(), ReadFault>),
    Walked(Vec<ChunkId>),
    Done,
}

/// What needs no writer.
pub enum CheckTask {
    Verify { owner: Owner, job: DataJob, chunk: ChunkId, root: ChunkRoot, bytes: Bytes },
    Read { owner: Owner, job: DataJob, chunk: ChunkId, root: ChunkRoot, first: u32, count: u32 },
    Find { owner: Owner, job: DataJob, chunks: Vec<ChunkId> },
    Scrub { owner: Owner, job: DataJob, chunk: ChunkId, root: ChunkRoot },
    Walk { owner: Owner, job: DataJob, after: Option<ChunkId>, limit: usize },
}

/// What the one writer does.
pub enum WriteTask {
    Store { owner: Owner, job: DataJob, chunk: ChunkId, root: ChunkRoot, verified: VerifiedChunk },
    Quarantine { owner: Owner, job: DataJob, chunk: ChunkId, root: ChunkRoot },
    Discard { owner: Owner, job: DataJob, chunk: ChunkId },
    Delete { owner: Owner, job: DataJob, chunks: Vec<ChunkId> },
}

/// A check has an end, or leads to something that must be written.
pub enum Checked {
    Report(Owner, DataJob, Report),
    Write(WriteTask),
}

/// What a group has come to.
pub struct Written {
    pub reports: Vec<(Owner, DataJob, Report)>,
    /// What is on the medium now, as the store says.
    pub durable: Vec<(ChunkId, ChunkRoot)>,
}

/// The inner error is about the chunk, the outer one about the disk.
type Judged<T> = io::Result<Result<T, ReadFault>>;

fn judge<T>(outcome: Result<T, chunks::ReadFault>) -> Judged<T> {
    match outcome {
        Ok(value) => Ok(Ok(value)),
        Err(chunks::ReadFault::Absent) => Ok(Err(ReadFault::Absent)),
        Err(chunks::ReadFault::Damaged(_)) => Ok(Err(ReadFault::Damaged)),
        Err(chunks::ReadFault::Io(error)) => Err(error),
    }
}

/// The copy that is served, if it is not what it should be.
fn unsound(
    reader: &ChunkReader<SimulatedDisk>,
    chunk: ChunkId,
    root: ChunkRoot,
) -> io::Result<Option<CopyId>> {
    match reader.scrub(chunk) {
        Ok(stored) => Ok((stored.root != root).then_some(stored.copy)),
        Err(chunks::ReadFault::Damaged(copy)) => Ok(Some(copy)),
        Err(chunks::ReadFault::Absent) => Ok(None),
        Err(chunks::ReadFault::Io(error)) => Err(error),
    }
}

impl Plane {
    pub fn check(&self, task: CheckTask) -> io::Result<Checked> {
        let (owner, job, report) = match task {
            CheckTask::Verify { owner, job, chunk, root, bytes } => {
                match VerifiedChunk::new(chunk, root, bytes) {
                    Some(verified) => {
                        return Ok(Checked::Write(WriteTask::Store { owner, job, chunk, root, verified }));
                    }
                    None => (owner, job, Report::Stored(Err(StoreFault::Damaged))),
                }
            }
            CheckTask::Read { owner, job, chunk, root, first, count } => {
                let read = judge(self.reader.read(chunk, &root, first, count))?;
                let blocks = |chunks::ReadBlocks { outline, bytes }| ReadBlocks { outline, bytes };
                (owner, job, Report::Read(read.map(blocks)))
            }
            CheckTask::Find { owner, job, chunks } => {
                let look = |chunk| {
                    let stored = judge(self.reader.find(chunk))?;
                    Ok(stored.map(|stored| Found { root: stored.root, length: stored.length }))
                };
                let found = chunks.into_iter().map(look).collect::<io::Result<_>>()?;
                (owner, job, Report::Found(found))
            }
            CheckTask::Scrub { owner, job, chunk, root } => {
                let seen = judge(self.reader.scrub(chunk))?;
                let sound = seen
                    .and_then(|stored| if stored.root == root { Ok(()) } else { Err(ReadFault::Damaged) });
                (owner, job, Report::Scrubbed(sound))
            }
            CheckTask::Walk { owner, job, after, limit } => {
                let names = self.reader.walk(after, limit).into_iter().map(|held| held.chunk).collect();
                (owner, job, Report::Walked(names))
            }
        };
        Ok(Checked::Report(owner, job, report))
    }

    /// All tasks in order, with a sync for what was stored before anything is set aside or deleted.
    pub fn write(&mut self, tasks: Vec<WriteTask>) -> io::Result<Written> {
        let mut written = Written { reports: Vec::new(), durable: Vec::new() };
        let mut stored = Vec::new();
        for task in tasks {
            let (owner, job) = match task {
                WriteTask::Store { owner, job, chunk, root, verified } => {
                    let outcome = match self.store.append(&verified) {
                        Ok(()) => Ok(()),
                        Err(AppendError::Full) => Err(StoreFault::Full),
                        Err(AppendError::Conflict(_)) => Err(StoreFault::Conflict),
                        Err(AppendError::Io(error)) => return Err(error),
                    };
                    written.durable.extend(outcome.is_ok().then_some((chunk, root)));
                    stored.push((owner, job, Report::Stored(outcome)));
                    continue;
                }
                WriteTask::Quarantine { owner, job, chunk, root } => {
                    self.commit(&mut stored, &mut written)?;
                    if let Some(copy) = unsound(&self.reader, chunk, root)? {
                        self.store.quarantine(copy)?;
                    }
                    (owner, job)
                }
                WriteTask::Discard { owner, job, chunk } => {
                    self.commit(&mut stored, &mut written)?;
                    self.store.delete_quarantined(&[chunk])?;
                    (owner, job)
                }
                WriteTask::Delete { owner, job, chunks } => {
                    self.commit(&mut stored, &mut written)?;
                    self.store.delete(&chunks)?;
                    (owner, job)
                }
            };
            written.reports.push((owner, job, Report::Done));
        }
        self.commit(&mut stored, &mut written)?;
        Ok(written)
    }

    fn commit(
        &mut self,
        stored: &mut Vec<(Owner, DataJob, Report)>,
        written: &mut Written,
    ) -> io::Result<()> {
        if !stored.is_empty() {
            self.store.commit_group()?;
            written.reports.append(stored);
        }
        Ok(())
    }

    /// Whether a whole, sound copy with this root is on the medium. A look from outside: nobody
    /// notices it.
    pub fn has_sound(&self, chunk: ChunkId, root: ChunkRoot) -> bool {
        let seen = self.disk.unobserved(|| self.reader.scrub(chunk));
        seen.is_ok_and(|stored| stored.root == root)
    }

    /// Whether a copy is served, sound or not.
    pub fn knows(&self, chunk: ChunkId) -> bool {
        self.disk.unobserved(|| self.reader.find(chunk)).is_ok()
    }

    /// What the index says is here, and the name says what it is. A look from outside, too.
    pub fn found(&self) -> Vec<(ChunkId, ChunkRoot)> {
        let find = |chunk: ChunkId| {
            let found = self.disk.unobserved(|| self.reader.find(chunk));
            found.ok().map(|stored| (chunk, stored.root))
        };
        self.holdings().into_iter().filter_map(find).collect()
    }

    /// Everything that is here, set aside or not.
    pub fn holdings(&self) -> Vec<ChunkId> {
        self.reader.walk(None, usize::MAX).into_iter().map(|held| held.chunk).collect()
    }
}
