//! `viewstone gateway`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, Command};

use super::Failure;
use super::open_files::raise_limit;
use super::signals::stop_upon_signal;
use crate::admin::{self, GatewaySite};
use crate::logging;
use crate::process::{client, s3};
use crate::settings::{Cluster, Logging, S3, Setting, Sources, table};

fn settings() -> Vec<&'static Setting> {
    [Cluster::SETTINGS, S3::SETTINGS, &[&table::ADMIN], Logging::SETTINGS].concat()
}

pub(super) fn command() -> Command {
    Command::new("gateway")
        .about("Serve S3 for a cluster")
        .args(settings().into_iter().map(Setting::argument))
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let sources = Sources::of_process(matches, &settings())?;
    let cluster = Cluster::from(&sources)?;
    let s3 = S3::from(&sources)?;
    let admin = S3::admin(&sources)?;
    logging::start(Logging::from(&sources)?);
    raise_limit();

    let runtime = tokio::runtime::Runtime::new().map_err(Failure::new)?;
    let ended = runtime.block_on(async {
        let stop = stop_upon_signal().map_err(Failure::new)?;
        let listeners = s3::listen(&s3.listen, "--s3-listen")?;
        let client = client::from_outside(&cluster)?;
        let gateway = s3::gateway(client.cluster.clone(), &cluster.key, &s3);
        if let Some(address) = admin {
            let site = Arc::new(GatewaySite(Arc::clone(&gateway)));
            tokio::spawn(admin::serve(admin::listen(address).await?, site));
        }
        let ended = tokio::select! {
            ended = s3::serve(gateway, s3, listeners, stop) => ended,
            failure = client.cut_off() => Err(failure),
        };
        client.close().await;
        ended
    });
    runtime.shutdown_background();
    Ok(super::ended(ended))
}
