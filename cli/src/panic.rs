//! A panic is a bug, and a process that goes on after a bug may promise what it does not know. It ends,
//! and the next start reads what is truly there.

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;

use replica::storage::expected_panic;

pub(crate) fn end_the_process_upon_any() {
    std::panic::set_hook(Box::new(|panic| {
        if expected_panic::is_expected() {
            tracing::debug!(place = place(panic), "a panic that is caught");
            return;
        }
        let what = what(panic);
        tracing::error!(what, place = place(panic), thread = thread(), "panic");
        // Also in words of its own: the log may not be set up yet, or may be what panicked.
        eprintln!("panic in {}: {what} at {}\n{}", thread(), place(panic), Backtrace::force_capture());
        std::process::abort();
    }));
}

fn what<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    panic.payload_as_str().unwrap_or("no words")
}

fn place(panic: &PanicHookInfo<'_>) -> String {
    panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string)
}

fn thread() -> String {
    std::thread::current().name().unwrap_or("a thread without a name").to_owned()
}
