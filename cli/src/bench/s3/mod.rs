//! Load on any S3 endpoint, as applications put it there: workers with a connection each, every one with
//! keys of its own, so that each knows what is there and what must come back.
//!
//! In reading order: what is done (`Plan`, `run`), the workers (`worker`), and their requests (`client`, `tls`).

mod client;
mod tls;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::Method;
use tokio::task::JoinSet;

pub(crate) use client::Endpoint;
use client::{Body, Client};
use worker::Worker;

use super::cpu;
use super::loads::noise;
use super::report::{Line, Report};
use crate::commands::Failure;

/// Objects of this size are judged by what a GiB of them costs, smaller ones by what one of them does.
const LARGE_BYTES: usize = 1 << 20;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Put,
    Get,
    List,
    Delete,
    /// Of a hundred requests, 60 are reads, 25 are writes, 10 are deletions and 5 are pages of listings.
    Mixed,
}

impl Load {
    pub(crate) const NAMES: [(&str, Load); 5] = [
        ("put", Load::Put),
        ("get", Load::Get),
        ("list", Load::List),
        ("delete", Load::Delete),
        ("mixed", Load::Mixed),
    ];
}

/// When it is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    Requests(usize),
    Time(Duration),
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) endpoint: Endpoint,
    pub(crate) load: Load,
    pub(crate) extent: Extent,
    pub(crate) size: usize,
    pub(crate) concurrency: usize,
    /// What there is to read, to list or to delete.
    pub(crate) objects: usize,
    pub(crate) bucket: String,
    /// The servers' processes, if they run on this machine.
    pub(crate) server_pids: Vec<i32>,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Put,
    Get,
    List,
    Delete,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Put, Kind::Get, Kind::List, Kind::Delete];

    fn name(self) -> &'static str {
        match self {
            Kind::Put => "put",
            Kind::Get => "get",
            Kind::List => "list a page of up to 1000 keys",
            Kind::Delete => "delete",
        }
    }
}

/// What all workers of one measurement share.
struct Shared {
    load: Load,
    begun: Instant,
    extent: Extent,
    next: AtomicUsize,
    /// A worker has failed: the others need not go on.
    failed: AtomicBool,
    finished: AtomicU64,
    bytes: AtomicU64,
}

impl Shared {
    fn new(load: Load, extent: Extent) -> Arc<Shared> {
        Arc::new(Shared {
            load,
            begun: Instant::now(),
            extent,
            next: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            finished: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    /// Whether one more request is to be made.
    fn goes_on(&self) -> bool {
        match self.extent {
            _ if self.failed.load(Ordering::Relaxed) => false,
            Extent::Requests(count) => self.next.fetch_add(1, Ordering::Relaxed) < count,
            Extent::Time(time) => self.begun.elapsed() < time,
        }
    }
}

/// Runs everything in a bucket that it makes and removes again.
pub(crate) async fn run(plan: Plan) -> Result<Report, Failure> {
    let body = Body::new(noise(plan.size));
    let mut client = Client::new(plan.endpoint.clone());
    let bucket = format!("/{}", plan.bucket);
    // Whoever makes a bucket of its own again is told that it worked, and this one is removed in the end.
    if client.is_there(&bucket).await? {
        return Err(Failure::new(format!("the bucket {} exists: name one that does not", plan.bucket)));
    }
    client.ask(Method::PUT, &bucket, "", &Body::empty(), |_, _| true).await?;
    let mut workers: Vec<Worker> = (0..plan.concurrency)
        .map(|number| Worker::new(number, Client::new(plan.endpoint.clone()), &plan.bucket, body.clone()))
        .collect();
    let mut report = Report::default();
    let outcome = measure_all(&plan, &mut workers, &mut report).await;
    // Also after a failure: what was made is removed, and the first failure is the one to tell.
    let emptied = remove(&mut workers).await;
    let removed = client.ask(Method::DELETE, &bucket, "", &Body::empty(), |_, _| true).await;
    outcome?;
    emptied?;
    removed?;
    Ok(report)
}

async fn measure_all(plan: &Plan, workers: &mut Vec<Worker>, report: &mut Report) -> Result<(), Failure> {
    if plan.load != Load::Put && plan.objects > 0 {
        let filling = Shared::new(Load::Put, Extent::Requests(plan.objects));
        run_workers("fill", workers, &filling).await?;
        workers.iter_mut().for_each(|worker| drop(worker.take_times()));
    }
    let extent = match (plan.load, plan.extent) {
        // There is nothing left then.
        (Load::Delete, _) => Extent::Requests(plan.objects),
        (_, extent) => extent,
    };
    let spent = cpu::of_processes(&plan.server_pids)?;
    let shared = Shared::new(plan.load, extent);
    run_workers("load", workers, &shared).await?;
    let elapsed = shared.begun.elapsed();
    let cpu = cpu::of_processes(&plan.server_pids)?.saturating_sub(spent);
    let lines = tell(plan, workers, elapsed, cpu);
    lines.into_iter().for_each(|line| report.add(line));
    Ok(())
}

/// A line for each kind of request, and one for all if there are several.
fn tell(plan: &Plan, workers: &mut [Worker], elapsed: Duration, cpu: Duration) -> Vec<Line> {
    let times: Vec<(Kind, Duration)> = workers.iter_mut().flat_map(Worker::take_times).collect();
    let knows_cpu = !plan.server_pids.is_empty();
    let line = |name: &'static str, kinds: &[Kind]| {
        let chosen = times.iter().filter(|(kind, _)| kinds.contains(kind));
        let durations: Vec<Duration> = chosen.clone().map(|(_, time)| *time).collect();
        let whole = durations.len() == times.len();
        let bodies = chosen.filter(|(kind, _)| matches!(kind, Kind::Put | Kind::Get)).count() as u64;
        let line = Line::load(name, &durations, elapsed, cpu);
        let bytes = bodies * plan.size as u64;
        let line = match bytes {
            0 => line,
            _ if plan.size < LARGE_BYTES => line.with_small_bytes(bytes),
            _ => line.with_bytes(bytes),
        };
        if whole && knows_cpu { line } else { line.without_cpu() }
    };
    let is_there = |kind: &Kind| times.iter().any(|(there, _)| there == kind);
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(is_there).collect();
    let mut lines: Vec<Line> = kinds.iter().map(|kind| line(kind.name(), &[*kind])).collect();
    if kinds.len() != 1 {
        lines.push(line("all together", &kinds));
    }
    let retries: usize = workers.iter().map(Worker::retries).sum();
    if let Some(last) = lines.last_mut() {
        last.set_retries(retries);
    }
    lines
}

/// All of them at once. They come back with what they know.
async fn run_workers(
    name: &'static str,
    workers: &mut Vec<Worker>,
    shared: &Arc<Shared>,
) -> Result<(), Failure> {
    let mut running = JoinSet::new();
    for mut worker in workers.drain(..) {
        let shared = Arc::clone(shared);
        running.spawn(async move {
            let outcome = worker.run(&shared).await;
            (worker, outcome)
        });
    }
    let progress = tokio::spawn(show_progress(name, Arc::clone(shared)));
    let mut failed = None;
    while let Some(joined) = running.join_next().await {
        let (worker, outcome) = joined.map_err(Failure::new)?;
        workers.push(worker);
        if let Err(failure) = outcome {
            shared.failed.store(true, Ordering::Relaxed);
            failed.get_or_insert(failure);
        }
    }
    progress.abort();
    failed.map_or(Ok(()), Err)
}

async fn remove(workers: &mut Vec<Worker>) -> Result<(), Failure> {
    let left = workers.iter().map(Worker::object_count).sum();
    let shared = Shared::new(Load::Delete, Extent::Requests(left));
    run_workers("clean up", workers, &shared).await
}

async fn show_progress(name: &'static str, shared: Arc<Shared>) {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    let mut before = (0, 0);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = (shared.finished.load(Ordering::Relaxed), shared.bytes.load(Ordering::Relaxed));
        eprintln!(
            "{:>5.0} s  {name}: {} requests, {} and {:.1} MiB in the last second",
            shared.begun.elapsed().as_secs_f64(),
            now.0,
            now.0 - before.0,
            mib(now.1 - before.1),
        );
        before = now;
    }
}
