//! `viewstone replica`.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::Failure;
use crate::settings::{Listening, Logging, Seat, Setting, Sources};
use crate::{logging, process};

fn settings() -> Vec<&'static Setting> {
    [Seat::SETTINGS, Listening::SETTINGS, Logging::SETTINGS].concat()
}

pub(super) fn command() -> Command {
    Command::new("replica").about("Run one replica").args(settings().into_iter().map(Setting::argument))
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let sources = Sources::of_process(matches, &settings())?;
    let seat = Seat::from(&sources)?;
    let listening = Listening::from(&sources, &seat)?;
    logging::start(Logging::from(&sources)?);

    let runtime = tokio::runtime::Runtime::new().map_err(Failure::new)?;
    let ended = runtime.block_on(async {
        let stop = stop_upon_signal().map_err(Failure::new)?;
        process::run(seat, listening, stop).await
    });
    // What still blocks has nothing to add: whatever was promised is on the disk.
    runtime.shutdown_background();
    match ended {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(failure) => {
            tracing::error!(reason = %failure, "ended");
            Err(failure)
        }
    }
}

/// Becomes true with the first signal to end. The second ends the process where it stands.
fn stop_upon_signal() -> std::io::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (asked, stop) = watch::channel(false);
    tokio::spawn(async move {
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "asked to stop");
        // Whoever listened may have ended by itself.
        let _ = asked.send(true);
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "asked again: ending at once");
        std::process::exit(i32::from(super::FAILED));
    });
    Ok(stop)
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
