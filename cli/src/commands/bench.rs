//! `viewstone bench`: what a running cluster can do, beside what the machine can do alone.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use tokio::sync::{oneshot, watch};

use super::open_files::raise_limit;
use super::{Failure, print};
use crate::bench::{self, Plan, Report};
use crate::process::{self, client};
use crate::settings::{self, Listening, Seat, Setting, Sources};

/// With a directory, the process runs a replica itself.
fn settings() -> Vec<&'static Setting> {
    [Seat::SETTINGS, Listening::SETTINGS].concat()
}

pub(super) fn command() -> Command {
    let number = |name: &'static str, default: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("NUMBER")
            .default_value(default)
            .value_parser(value_parser!(usize))
    };
    Command::new("bench")
        .about("Put load on a running cluster and tell what it can do. Makes and removes a bucket of its own")
        .long_about(
            "Put load on a running cluster and tell what it can do. Makes and removes a bucket of its own. \
             With --dir and --replica this process is that replica itself, and its load comes to it without \
             a network",
        )
        .args(settings().into_iter().map(Setting::argument))
        .arg(
            Arg::new("direct")
                .long("direct")
                .action(ArgAction::SetTrue)
                .required(true)
                .help("Through the client library, without a gateway"),
        )
        .arg(number("bulk-count", "16").help("Large bodies"))
        .arg(number("bulk-mib", "64").help("The size of each, in MiB"))
        .arg(number("bulk-parallel", "4").help("How many of them at once"))
        .arg(number("small-count", "100000").help("Small bodies"))
        .arg(number("small-bytes", "4096").help("The size of each"))
        .arg(number("small-parallel", "64").help("How many of them at once"))
        .arg(number("single-count", "500").help("Small bodies, one after another"))
        .arg(
            Arg::new("baseline-dir")
                .long("baseline-dir")
                .value_name("DIRECTORY")
                .default_value(".")
                .value_parser(value_parser!(PathBuf))
                .help("Where the disk alone is measured: on the one that the replicas use"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the figures as JSON"))
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let sources = Sources::of_process(matches, &settings())?;
    let cluster = settings::Cluster::from(&sources)?;
    let number = |name: &str| *matches.get_one::<usize>(name).expect("it has a default");
    let plan = Plan {
        bulk_count: number("bulk-count"),
        bulk_bytes: number("bulk-mib") << 20,
        bulk_parallel: number("bulk-parallel"),
        small_bytes: number("small-bytes"),
        small_parallel: number("small-parallel"),
        small_count: number("small-count"),
        single_count: number("single-count"),
        baseline_dir: matches.get_one::<PathBuf>("baseline-dir").expect("it has a default").clone(),
    };
    if plan.small_bytes > plan.bulk_bytes.min(16 << 10) || plan.bulk_bytes == 0 {
        return Err(Failure::new("small bodies have at most 16 KiB, and large ones are larger"));
    }
    raise_limit();
    let seat = matches.contains_id("dir").then(|| Seat::from(&sources)).transpose()?;
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::new)?;
    let report = runtime.block_on(async {
        match seat {
            None => from_outside(&cluster, plan).await,
            Some(seat) => from_within(seat, &sources, plan).await,
        }
    })?;
    runtime.shutdown_background();
    print(&if matches.get_flag("json") { report.to_json() } else { report.draw() })?;
    Ok(ExitCode::SUCCESS)
}

async fn from_outside(cluster: &settings::Cluster, plan: Plan) -> Result<Report, Failure> {
    let client = client::from_outside(cluster)?;
    let report = bench::run(client.cluster.clone(), plan).await?;
    client.close().await;
    Ok(report)
}

/// Runs a replica in this process, and the load beside it.
async fn from_within(seat: Seat, sources: &Sources, plan: Plan) -> Result<Report, Failure> {
    let listening = Listening { admin: None, ..Listening::from(sources, &seat)? };
    let (end, ends) = watch::channel(false);
    let (tell, told) = oneshot::channel();
    let replica = tokio::spawn(process::run(seat, listening, ends, move |shared| {
        let _ = tell.send(Arc::clone(shared));
    }));
    let ready = async {
        let Ok(shared) = told.await else { return None };
        while !shared.status().ready {
            if replica.is_finished() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(shared)
    };
    let Some(shared) = ready.await else {
        return Err(replica.await.map_err(Failure::new)?.err().unwrap_or_else(|| Failure::new("ended")));
    };
    let client = client::beside(&shared)?;
    let report = bench::run(client.cluster.clone(), plan).await?;
    client.close().await;
    end.send_replace(true);
    replica.await.map_err(Failure::new)??;
    Ok(report)
}
