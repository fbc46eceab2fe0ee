//! What must be known of the tables' file while redb has it: what it takes, and whether it has failed.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::tables::{FaultCause, TableFault};

/// Shared by the file and by whoever opened it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Blocks that were ever written and have not been cut off: they take space on the disk, whether
    /// redb still needs them or not.
    written_blocks: AtomicU64,
    /// The first write or sync that failed. redb refuses everything afterwards, reads as well.
    failure: OnceLock<(io::ErrorKind, String)>,
}

impl Ledger {
    pub(super) fn set_written_blocks(&self, count: u64) {
        self.written_blocks.store(count, Ordering::Relaxed);
    }

    pub(super) fn written_blocks(&self) -> u64 {
        self.written_blocks.load(Ordering::Relaxed)
    }

    /// Notes an error of a write, and passes it on.
    pub(super) fn note<T>(&self, written: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &written {
            // Only the first says why: those after it follow from it.
            let _ = self.failure.set((error.kind(), error.to_string()));
        }
        written
    }

    /// What redb reports is a fault of the rows only if no write has failed before.
    pub(super) fn judge(&self, fault: TableFault) -> TableFault {
        match self.failure.get() {
            Some((_, reason)) => TableFault { reason: reason.clone(), cause: FaultCause::Disk },
            None => fault,
        }
    }

    /// The first write that failed.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure.get().map(|(kind, reason)| io::Error::new(*kind, reason.clone()))
    }

    /// The error that a failed write ends the process with.
    pub(super) fn error(&self, fault: &TableFault) -> io::Error {
        self.failure().unwrap_or_else(|| io::Error::other(fault.to_string()))
    }
}
