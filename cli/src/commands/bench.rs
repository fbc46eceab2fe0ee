//! `viewstone bench`: what a running cluster can do, beside what the machine can do alone.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use gateway::auth::Signer;
use tokio::sync::{oneshot, watch};

use super::open_files::raise_limit;
use super::{Failure, print};
use crate::bench::{self, Plan, Report, s3};
use crate::process::{self, client};
use crate::settings::{self, Listening, Seat, Setting, SettingError, Sources};

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
            "Put load on a running cluster and tell what it can do. Makes and removes a bucket of its own.\n\n\
             With --endpoint the load is that of S3 clients, on any server that speaks S3. With --direct it \
             goes through the client library, without a gateway; with --dir and --replica besides, this \
             process is that replica itself, and its load comes to it without a network",
        )
        .group(ArgGroup::new("way").args(["direct", "endpoint"]).required(true))
        .args(s3_arguments())
        .args(settings().into_iter().map(Setting::argument))
        .arg(
            Arg::new("direct")
                .long("direct")
                .action(ArgAction::SetTrue)
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

/// Of the load through S3.
fn s3_arguments() -> Vec<Arg> {
    let text = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    let count = |name: &'static str| text(name, "NUMBER").value_parser(value_parser!(usize));
    let loads = s3::Load::NAMES.map(|(name, _)| name);
    let all =
        vec![
            text("endpoint", "URL").help("Through S3: http://HOST:PORT or https://HOST:PORT"),
            text("access-key", "ID").help("Or VIEWSTONE_ACCESS_KEY"),
            text("ca-file", "FILE")
                .help("Whom to trust at the end of https, as PEM [default: SSL_CERT_FILE, or the system's]"),
            text("secret-key", "SECRET")
                .help("Or VIEWSTONE_SECRET_KEY, which other users of this machine cannot see"),
            text("region", "NAME").default_value("us-east-1").help("The region to sign for"),
            text("op", "OPERATION").default_value("mixed").value_parser(loads).help(
                "What is measured. mixed: of a hundred requests, 60 gets, 25 puts, 10 deletes and 5 lists",
            ),
            text("size", "BYTES")
                .default_value("4KiB")
                .value_parser(parse_size)
                .help("Of each object: 4096, 4KiB, 64MiB"),
            count("concurrency").default_value("16").help("Connections, each with one request at a time"),
            count("count").conflicts_with("duration").help("How many requests"),
            text("duration", "SECONDS")
                .default_value("10")
                .value_parser(value_parser!(u64))
                .help("Or for how long"),
            count("objects")
                .default_value("1000")
                .help("How many objects to put first, to be read, listed, deleted"),
            text("bucket", "NAME").help("The bucket, which must not exist [default: a name of its own]"),
            Arg::new("unsigned-payload")
                .long("unsigned-payload")
                .action(ArgAction::SetTrue)
                .help("Sign requests without their bodies, as SDKs do over TLS"),
            text("server-pid", "PID").value_parser(value_parser!(i32)).action(ArgAction::Append).help(
                "A process of the server on this machine, whose processor time is told. Can be repeated",
            ),
        ];
    let only_s3 = |argument: Arg| match argument.get_id().as_str() {
        "endpoint" => argument,
        _ => argument.conflicts_with("direct").help_heading("Through S3"),
    };
    all.into_iter().map(only_s3).collect()
}

/// A number of bytes, with or without a unit.
fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        unit => return Err(format!("{unit} is no unit: KiB, MiB and GiB are")),
    };
    let number: usize = digits.parse().map_err(|_| format!("{text} is no number of bytes"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text} is too large"))
}

fn s3_plan(url: &str, matches: &ArgMatches) -> Result<s3::Plan, Failure> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let number = |name: &str| *matches.get_one::<usize>(name).expect("it has a default");
    let credential = |name: &str, variable: &str| {
        let given = text(name).or_else(|| std::env::var(variable).ok());
        given.ok_or_else(|| SettingError::Together(format!("--{name} or {variable} is needed")))
    };
    let signer = Signer {
        access_key: credential("access-key", "VIEWSTONE_ACCESS_KEY")?,
        secret: credential("secret-key", "VIEWSTONE_SECRET_KEY")?,
        region: text("region").expect("it has a default"),
    };
    let load = text("op").expect("it has a default");
    let load = s3::Load::NAMES.into_iter().find(|(name, _)| *name == load);
    let seconds = *matches.get_one::<u64>("duration").expect("it has a default");
    let extent = match matches.get_one::<usize>("count") {
        Some(count) => s3::Extent::Requests(*count),
        None => s3::Extent::Time(Duration::from_secs(seconds)),
    };
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_err(Failure::new)?;
    let roots = text("ca-file").map(PathBuf::from);
    let own_bucket = || format!("viewstone-bench-{}-{}", std::process::id(), started.as_secs());
    Ok(s3::Plan {
        endpoint: s3::Endpoint::parse(url, roots.as_deref(), signer, !matches.get_flag("unsigned-payload"))?,
        load: load.expect("clap takes no other name").1,
        extent,
        size: number("size"),
        concurrency: number("concurrency").max(1),
        objects: number("objects"),
        bucket: text("bucket").unwrap_or_else(own_bucket),
        server_pids: matches.get_many::<i32>("server-pid").into_iter().flatten().copied().collect(),
    })
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let report = match matches.get_one::<String>("endpoint") {
        Some(url) => {
            let plan = s3_plan(url, matches)?;
            raise_limit();
            let runtime = tokio::runtime::Runtime::new().map_err(Failure::new)?;
            runtime.block_on(s3::run(plan))?
        }
        None => run_direct(matches)?,
    };
    print(&if matches.get_flag("json") { report.to_json() } else { report.draw() })?;
    Ok(ExitCode::SUCCESS)
}

fn run_direct(matches: &ArgMatches) -> Result<Report, Failure> {
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
    Ok(report)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_or_none() {
        for (text, size) in
            [("0", 0), ("4096", 4096), ("4KiB", 4096), ("4K", 4096), ("64MiB", 64 << 20), ("5B", 5)]
        {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in
            ["", "KiB", "-1", "4 KiB", "4kb", "1.5MiB", "99999999999999999999", "99999999999999999GiB"]
        {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_load_goes_through_s3_or_around_it() {
        let parse = |words: &[&str]| command().try_get_matches_from([&["bench"], words].concat()).is_ok();
        assert!(parse(&["--direct"]));
        assert!(parse(&[
            "--endpoint",
            "http://localhost:1",
            "--op",
            "get",
            "--size",
            "1MiB",
            "--count",
            "5"
        ]));
        assert!(parse(&["--endpoint", "http://localhost:1", "--server-pid", "1", "--server-pid", "2"]));
        assert!(!parse(&[]));
        assert!(!parse(&["--direct", "--endpoint", "http://localhost:1"]));
        assert!(!parse(&["--direct", "--op", "get"]));
        assert!(!parse(&["--endpoint", "http://localhost:1", "--op", "copy"]));
        assert!(!parse(&["--endpoint", "http://localhost:1", "--count", "5", "--duration", "5"]));
    }
}
