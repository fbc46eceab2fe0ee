//! The numbers that all replicas of a cluster must agree on.

/// Fixed when a cluster is formatted: the outcome of an operation depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogLimits {
    /// Bodies up to this size ride in the log and live in their row.
    pub inline_bytes_max: usize,
    /// Every part of an upload but the last is at least so large.
    pub part_bytes_min: u64,
    /// The most entries of one page of a listing.
    pub page_entries_max: usize,
    /// A page ends early when it has become this large. It always has one entry.
    pub page_bytes_max: usize,
    /// So many parts of deleted objects does one `Collect` take apart: a deletion of 10,000 parts
    /// must not hold up everybody else's operations.
    pub collect_parts_max: u32,
}

impl CatalogLimits {
    pub const fn standard() -> CatalogLimits {
        CatalogLimits {
            inline_bytes_max: 16 << 10,
            part_bytes_min: 5 << 20,
            page_entries_max: 1000,
            page_bytes_max: 1 << 20,
            collect_parts_max: 500,
        }
    }
}
