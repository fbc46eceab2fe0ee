//! The loads, one after another, each on what the one before has stored.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway::cluster::{Cluster, ClusterError, Link, chunk_size_for};
use protocol::catalog::{BucketRef, Conditions, Delete, ETag, Error, NewBody, Operation, PieceStart};
use tokio::task::JoinSet;

use super::baseline;
use super::cpu::Spent;
use super::report::{Line, Report};
use crate::commands::Failure;

/// What is to be measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) bulk_count: usize,
    pub(crate) bulk_bytes: usize,
    pub(crate) bulk_parallel: usize,
    pub(crate) small_bytes: usize,
    pub(crate) small_parallel: usize,
    pub(crate) small_count: usize,
    pub(crate) single_count: usize,
    /// Where the machine alone is measured: on the disk that the replicas use.
    pub(crate) baseline_dir: PathBuf,
}

const BUCKET: &[u8] = b"viewstone-bench";

struct Load<L> {
    cluster: Cluster<L>,
    plan: Plan,
    /// Incompressible, and the same for every body.
    bulk: Bytes,
}

/// Runs everything, and cleans up.
pub(crate) async fn run<L: Link>(cluster: Cluster<L>, plan: Plan) -> Result<Report, Failure> {
    let bulk = noise(plan.bulk_bytes);
    let load = Arc::new(Load { cluster, plan, bulk });
    let mut report = Report::default();
    load.create_bucket().await?;
    load.baselines(&mut report)?;
    load.bulk_puts(&mut report).await?;
    load.bulk_gets(&mut report).await?;
    load.small_puts(&mut report).await?;
    load.small_gets(&mut report).await?;
    load.single_puts(&mut report).await?;
    load.clean_up().await?;
    Ok(report)
}

/// Bytes that nothing can make shorter, from a generator that anybody can repeat.
pub(super) fn noise(count: usize) -> Bytes {
    let mut bytes = vec![0; count];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for piece in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        piece.copy_from_slice(&state.to_le_bytes()[..piece.len()]);
    }
    Bytes::from(bytes)
}

fn bucket() -> BucketRef {
    BucketRef::named(BUCKET)
}

fn put(key: Bytes, body: NewBody) -> Operation {
    Operation::PutObject {
        bucket: bucket(),
        key,
        conditions: Conditions::none(),
        etag: ETag::simple([0x5a; 16]),
        headers: vec![],
        checksums: vec![],
        tags: vec![],
        body,
    }
}

impl<L: Link> Load<L> {
    async fn create_bucket(&self) -> Result<(), Failure> {
        let owner = Bytes::from_static(b"bench");
        let name = Bytes::from_static(BUCKET);
        let create = Operation::CreateBucket { name, owner, tags: vec![] };
        match self.cluster.submit(&create).await.map_err(Failure::new)?.1 {
            Ok(_) | Err(Error::BucketAlreadyOwnedByYou) => Ok(()),
            Err(error) => Err(Failure::new(error)),
        }
    }

    fn baselines(&self, report: &mut Report) -> Result<(), Failure> {
        let plan = &self.plan;
        let pieces = plan.bulk_count.clamp(1, 8);
        let rate =
            baseline::append_rate(&plan.baseline_dir, plan.bulk_bytes, pieces).map_err(Failure::new)?;
        report.add(Line::rate("append to a file, one sync for each body", rate));
        let syncs = baseline::sync_times(&plan.baseline_dir, 200).map_err(Failure::new)?;
        report.add(Line::latencies("write 4 KiB and sync", &syncs));
        Ok(())
    }

    async fn bulk_puts(self: &Arc<Self>, report: &mut Report) -> Result<(), Failure> {
        let plan = &self.plan;
        let line = self
            .measure("put large bodies", plan.bulk_count, plan.bulk_parallel, |load, index| async move {
                load.put_bulk(index).await
            })
            .await?;
        report.add(line.with_bytes(plan.bulk_count as u64 * plan.bulk_bytes as u64));
        Ok(())
    }

    async fn put_bulk(&self, index: usize) -> Result<(), ClusterError> {
        let chunk_size = chunk_size_for(self.bulk.len() as u64)
            .ok_or_else(|| ClusterError::Invalid("the body is too large".into()))?;
        let mut upload = self.cluster.upload(chunk_size, index as u64).await?;
        for piece in self.bulk.chunks(256 << 10) {
            upload.write(self.bulk.slice_ref(piece)).await?;
        }
        let key = bulk_key(index);
        done(upload.commit(move |body| put(key.clone(), body)).await?.1)
    }

    async fn bulk_gets(self: &Arc<Self>, report: &mut Report) -> Result<(), Failure> {
        let plan = &self.plan;
        let line = self
            .measure("get large bodies", plan.bulk_count, plan.bulk_parallel, |load, index| async move {
                load.get(bulk_key(index), load.bulk.len() as u64).await
            })
            .await?;
        report.add(line.with_bytes(plan.bulk_count as u64 * plan.bulk_bytes as u64));
        Ok(())
    }

    async fn get(&self, key: Bytes, length: u64) -> Result<(), ClusterError> {
        let start = PieceStart::Offset { offset: 0 };
        let record = self.cluster.open(bucket(), key, start).await?;
        let record = record.map_err(|error| ClusterError::Invalid(error.to_string()))?;
        let mut reader = record.read(0..length, 1).await?;
        let mut count = 0;
        while let Some(bytes) = reader.next().await? {
            count += bytes.len() as u64;
        }
        match count == length {
            true => Ok(()),
            false => Err(ClusterError::Lost(format!("{} bytes of a body", length - count))),
        }
    }

    async fn small_puts(self: &Arc<Self>, report: &mut Report) -> Result<(), Failure> {
        let plan = &self.plan;
        let name = "put small bodies, many at once";
        let line = self
            .measure(name, plan.small_count, plan.small_parallel, |load, index| async move {
                load.put_small(index).await
            })
            .await?;
        report.add(line);
        Ok(())
    }

    async fn put_small(&self, index: usize) -> Result<(), ClusterError> {
        let body = NewBody::inline(self.bulk.slice(..self.plan.small_bytes));
        done(self.cluster.submit(&put(small_key(index), body)).await?.1)
    }

    async fn single_puts(self: &Arc<Self>, report: &mut Report) -> Result<(), Failure> {
        let line = self
            .measure("put small bodies, one at a time", self.plan.single_count, 1, |load, index| async move {
                load.put_small(index).await
            })
            .await?;
        report.add(line);
        Ok(())
    }

    async fn small_gets(self: &Arc<Self>, report: &mut Report) -> Result<(), Failure> {
        let plan = &self.plan;
        let name = "get small bodies, many at once";
        let line = self
            .measure(name, plan.small_count, plan.small_parallel, |load, index| async move {
                load.get(small_key(index), load.plan.small_bytes as u64).await
            })
            .await?;
        report.add(line);
        Ok(())
    }

    /// Does `count` things, `parallel` at a time, with a line of progress on standard error.
    async fn measure<F, Fut>(
        self: &Arc<Self>,
        name: &'static str,
        count: usize,
        parallel: usize,
        one: F,
    ) -> Result<Line, Failure>
    where
        F: Fn(Arc<Self>, usize) -> Fut + Copy + Send + 'static,
        Fut: Future<Output = Result<(), ClusterError>> + Send,
    {
        let next = Arc::new(AtomicUsize::new(0));
        let finished = Arc::new(AtomicU64::new(0));
        let spent = Spent::now(&self.cluster).await;
        let begun = Instant::now();
        let mut workers = JoinSet::new();
        for _ in 0..parallel {
            let (load, next, finished) = (self.clone(), next.clone(), finished.clone());
            workers.spawn(async move {
                let mut times = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return Ok::<_, ClusterError>(times);
                    }
                    let begun = Instant::now();
                    one(load.clone(), index).await?;
                    times.push(begun.elapsed());
                    finished.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let progress = tokio::spawn(show_progress(name, finished, count));
        let mut times = Vec::with_capacity(count);
        while let Some(worker) = workers.join_next().await {
            let outcome = worker.map_err(Failure::new)?;
            times.extend(outcome.map_err(|error| Failure::new(format!("{name}: {error}")))?);
        }
        let elapsed = begun.elapsed();
        progress.abort();
        let cpu = Spent::now(&self.cluster).await.since(&spent);
        Ok(Line::load(name, &times, elapsed, cpu))
    }

    async fn clean_up(&self) -> Result<(), Failure> {
        let small = (0..self.plan.small_count.max(self.plan.single_count)).map(small_key);
        let keys: Vec<Bytes> = (0..self.plan.bulk_count).map(bulk_key).chain(small).collect();
        for keys in keys.chunks(500) {
            let delete = |key: &Bytes| Delete { key: key.clone(), conditions: Conditions::none() };
            let deletes = keys.iter().map(delete).collect();
            let operation = Operation::DeleteObjects { bucket: bucket(), deletes };
            done(self.cluster.submit(&operation).await.map_err(Failure::new)?.1).map_err(Failure::new)?;
        }
        let operation = Operation::DeleteBucket { bucket: bucket() };
        done(self.cluster.submit(&operation).await.map_err(Failure::new)?.1).map_err(Failure::new)
    }
}

async fn show_progress(name: &'static str, finished: Arc<AtomicU64>, count: usize) {
    let begun = Instant::now();
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = finished.load(Ordering::Relaxed);
        eprintln!(
            "{:>5.0} s  {name}: {now} of {count}, {} in the last second",
            begun.elapsed().as_secs_f64(),
            now - before
        );
        before = now;
    }
}

fn done(reply: protocol::catalog::Reply) -> Result<(), ClusterError> {
    reply.map(drop).map_err(|error| ClusterError::Invalid(error.to_string()))
}

fn bulk_key(index: usize) -> Bytes {
    Bytes::from(format!("bulk/{index:06}"))
}

/// Scattered, as keys of real applications are.
fn small_key(index: usize) -> Bytes {
    let scattered = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Bytes::from(format!("small/{scattered:016x}"))
}
