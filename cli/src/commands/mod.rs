//! The commands, and what their ends mean: 0 is success, 1 a failure, 64 a wrong flag or setting.
//! `status` has an answer of its own.

mod bench;
mod dev;
mod gateway;
mod keygen;
mod node;
mod open_files;
mod probe;
mod replace_disk;
mod replica;
mod signals;
mod status;
mod user;

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::error::ErrorKind as ClapKind;
use clap::{ArgMatches, Command};

use crate::settings::SettingError;

const FAILED: u8 = 1;
/// As `sysexits.h` has it. Apart from what `status` tells of a cluster.
const WRONG_USE: u8 = 64;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    Settings(SettingError),
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Settings(error) => error.fmt(f),
            Failure::Other(what) => f.write_str(what),
        }
    }
}

impl From<SettingError> for Failure {
    fn from(error: SettingError) -> Failure {
        Failure::Settings(error)
    }
}

impl Failure {
    pub(crate) fn new(what: impl fmt::Display) -> Failure {
        Failure::Other(what.to_string())
    }
}

fn program() -> Command {
    Command::new("viewstone")
        .version(env!("CARGO_PKG_VERSION"))
        .about("An S3-compatible object store that cannot lie about what it stored")
        .after_help("Without a command: dev")
        .subcommand(keygen::command())
        .subcommand(dev::command())
        .subcommand(replica::command())
        .subcommand(gateway::command())
        .subcommand(node::command())
        .subcommand(replace_disk::command())
        .subcommand(status::command())
        .subcommand(probe::command())
        .subcommand(user::command())
        .subcommand(bench::command())
}

pub(crate) fn run() -> ExitCode {
    let matches = match program().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Nobody reads what cannot be printed.
            let _ = error.print();
            let asked = matches!(error.kind(), ClapKind::DisplayHelp | ClapKind::DisplayVersion);
            return ExitCode::from(if asked { 0 } else { WRONG_USE });
        }
    };
    match dispatch(&matches) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("viewstone: {failure}");
            let wrong_use = matches!(failure, Failure::Settings(_));
            ExitCode::from(if wrong_use { WRONG_USE } else { FAILED })
        }
    }
}

fn dispatch(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    match matches.subcommand() {
        Some(("dev", matches)) => dev::run(matches),
        Some(("keygen", matches)) => keygen::run(matches),
        Some(("replica", matches)) => replica::run(matches),
        Some(("gateway", matches)) => gateway::run(matches),
        Some(("node", matches)) => node::run(matches),
        Some(("replace-disk", matches)) => replace_disk::run(matches),
        Some(("status", matches)) => status::run(matches),
        Some(("probe", matches)) => probe::run(matches),
        Some(("user", matches)) => user::run(matches),
        Some(("bench", matches)) => bench::run(matches),
        _ => {
            let words = ["viewstone", "dev"];
            let matches = program().try_get_matches_from(words).expect("dev needs no arguments");
            dev::run(matches.subcommand_matches("dev").expect("it was given"))
        }
    }
}

/// The end of a command that logs: why it ended stands there, in the form that was asked for, and once.
fn ended(ended: Result<(), Failure>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!(reason = %failure, "ended");
            ExitCode::from(FAILED)
        }
    }
}

/// Why an address could not be taken, and what chooses another.
pub(crate) fn cannot_listen(
    address: SocketAddr,
    purpose: &str,
    error: &std::io::Error,
    choice: &str,
) -> Failure {
    Failure::new(match error.kind() {
        ErrorKind::AddrInUse => {
            format!(
                "{address}, for {purpose}, is taken by another program: stop it, or choose another with {choice}"
            )
        }
        _ => format!("cannot listen on {address} for {purpose}: {error} (it is chosen by {choice})"),
    })
}

/// Prints for whoever reads: a reader that left early is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(()),
    }
}
