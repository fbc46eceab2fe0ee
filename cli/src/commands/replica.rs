//! `viewstone replica`.

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::Failure;
use super::open_files::raise_limit;
use super::signals::stop_upon_signal;
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
    raise_limit();

    let runtime = tokio::runtime::Runtime::new().map_err(Failure::new)?;
    let ended = runtime.block_on(async {
        let stop = stop_upon_signal().map_err(Failure::new)?;
        process::run(seat, listening, stop, |_| {}).await
    });
    // What still blocks has nothing to add: whatever was promised is on the disk.
    runtime.shutdown_background();
    Ok(super::ended(ended))
}
