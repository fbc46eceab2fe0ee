//! What the write-ahead log tells the core when a replica starts: a verdict for each entry it knows of.

use crate::entry::EntryHeader;
use crate::types::Checksum;

/// What the WAL found for one entry. There may be several entries of one op: the log is what the
/// superblock says, not what the WAL holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalRecord {
    pub header: EntryHeader,
    pub name: Checksum,
    /// The body is here and valid. If not, the entry was durable once and possibly acknowledged.
    pub present: bool,
}

/// The outcome of reading the whole WAL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalScan {
    /// Every entry known by a valid body, a valid stub or a header record, in no particular order.
    pub records: Vec<WalRecord>,
    /// False if a damaged place might hide an entry that was acknowledged: the log's end is then
    /// unknown, and absence proves nothing.
    pub certain: bool,
}
