//! `viewstone`: the one program people run.
//!
//! In reading order: the commands (`commands`), what they are told (`settings`), a running replica
//! (`process`), what can be seen of it (`status`, `admin`), and what it can do (`bench`).

mod admin;
mod bench;
mod commands;
mod logging;
mod panic;
mod process;
mod settings;
mod status;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    panic::end_the_process_upon_any();
    commands::run()
}
