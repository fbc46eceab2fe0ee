//! Where log lines go: to the standard error, one event and its fields in each.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::fmt;

use crate::settings::{LogFormat, Logging};

pub(crate) fn start(logging: Logging) {
    let lines = fmt().with_writer(stderr).with_max_level(logging.level).with_target(false);
    match logging.format {
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).init(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
        }
    }
}
