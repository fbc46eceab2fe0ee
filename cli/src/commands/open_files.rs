//! How many files a process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to the most that is allowed. A replica keeps hundreds of segments open, each up to
/// twice, and many systems begin with 1024 files for the sake of programs that use `select`.
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(before = ?current, now = ?maximum, "open files"),
        // Perhaps those that there are suffice. If not, whoever opens one too many says so.
        Err(error) => tracing::warn!(limit = ?current, %error, "the limit of open files stays"),
    }
}
