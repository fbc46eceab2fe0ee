//! `viewstone node`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, Command};
use tokio::sync::{oneshot, watch};

use super::Failure;
use super::open_files::raise_limit;
use super::signals::stop_upon_signal;
use crate::admin::{self, NodeSite};
use crate::process::{Shared, client, s3};
use crate::settings::{Listening, Logging, S3, Seat, Setting, Sources};
use crate::{logging, process};

fn settings() -> Vec<&'static Setting> {
    [Seat::SETTINGS, Listening::SETTINGS, S3::SETTINGS, Logging::SETTINGS].concat()
}

pub(super) fn command() -> Command {
    Command::new("node")
        .about("Run one replica, and serve S3 beside it")
        .args(settings().into_iter().map(Setting::argument))
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let sources = Sources::of_process(matches, &settings())?;
    let seat = Seat::from(&sources)?;
    let mut listening = Listening::from(&sources, &seat)?;
    // One address tells of both.
    let admin = listening.admin.take();
    let s3 = S3::from(&sources)?;
    logging::start(Logging::from(&sources)?);
    raise_limit();

    let runtime = tokio::runtime::Runtime::new().map_err(Failure::new)?;
    let ended = runtime.block_on(async {
        let stop = stop_upon_signal().map_err(Failure::new)?;
        let listeners = s3::listen(&s3.listen, "--s3-listen")?;
        let (tell, told) = oneshot::channel();
        let (end, ends) = watch::channel(false);
        let replica = tokio::spawn(process::run(seat, listening, ends, move |shared| {
            let _ = tell.send(Arc::clone(shared));
        }));
        let mut served = tokio::spawn(serve(told, s3, admin, listeners, stop));
        tokio::pin!(replica);
        // Requests that run need the replica: it stops after them. If it ends by itself, so does the process.
        tokio::select! {
            served = &mut served => {
                end.send_replace(true);
                let ended = replica.await.map_err(Failure::new)?;
                served.map_err(Failure::new)?.and(ended)
            }
            ended = &mut replica => ended.map_err(Failure::new)?,
        }
    });
    runtime.shutdown_background();
    Ok(super::ended(ended))
}

async fn serve(
    replica: oneshot::Receiver<Arc<Shared>>,
    s3: S3,
    admin: Option<SocketAddr>,
    listeners: Vec<tokio::net::TcpListener>,
    stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    // A replica that did not come so far says why itself.
    let Ok(shared) = replica.await else { return Ok(()) };
    let client = client::beside(&shared)?;
    let gateway = s3::gateway(client.cluster.clone(), &shared.seat.cluster.key, &s3);
    if let Some(address) = admin {
        let site = NodeSite { replica: shared, gateway: Arc::clone(&gateway) };
        tokio::spawn(admin::serve(admin::listen(address).await?, Arc::new(site)));
    }
    let ended = tokio::select! {
        ended = s3::serve(gateway, s3, listeners, stop) => ended,
        failure = client.cut_off() => Err(failure),
    };
    client.close().await;
    ended
}
