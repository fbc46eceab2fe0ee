//! The table at one durable checkpoint, readable for as long as it is kept.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use protocol::tables::{Checkpoint, RowPage, TableFault};
use redb::{Database, ReadableDatabase};

use super::overlay::BaseRows;
use super::ranges::Ranges;
use super::{ROWS, fault};

pub(super) struct Snapshot {
    pub(super) checkpoint: Checkpoint,
    /// Keeps the pages of its transaction from being used anew.
    pub(super) rows: BaseRows,
    pub(super) ranges: Arc<Ranges>,
}

impl Snapshot {
    /// The state of the last commit, which is that of `checkpoint`.
    pub(super) fn take(
        database: &Database,
        checkpoint: Checkpoint,
        ranges: Arc<Ranges>,
    ) -> Result<Snapshot, TableFault> {
        let rows = database.begin_read().map_err(fault)?.open_table(ROWS).map_err(fault)?;
        Ok(Snapshot { checkpoint, rows, ranges })
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TableFault> {
        let value = self.rows.get(key).map_err(fault)?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    pub(super) fn page(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        after: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<RowPage, TableFault> {
        let mut page = RowPage { rows: Vec::new(), last: true };
        let from = match after {
            Some(after) if after >= start => Bound::Excluded(after),
            _ => Bound::Included(start),
        };
        let (Bound::Included(first) | Bound::Excluded(first)) = from else { return Ok(page) };
        // What a peer asks for may make no sense.
        if end.is_some_and(|end| end <= first) {
            return Ok(page);
        }
        let to = end.map_or(Bound::Unbounded, Bound::Excluded);
        let mut size = 0;
        for row in self.rows.range::<&[u8]>((from, to)).map_err(fault)? {
            let (key, value) = row.map_err(fault)?;
            let (key, value) = (key.value(), value.value());
            size += key.len() + value.len();
            if size > bytes_max && !page.rows.is_empty() {
                page.last = false;
                break;
            }
            page.rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        }
        Ok(page)
    }
}
