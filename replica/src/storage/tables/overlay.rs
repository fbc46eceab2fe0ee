//! Writes in memory over a table on disk, seen as one.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::tables::{Scan, TableFault};
use redb::ReadOnlyTable;

use super::fault;
use super::ranges::bounds;
use super::row_key::RowKey;

/// Rows written; None is a row deleted.
pub(super) type Overlay = BTreeMap<RowKey, Option<Bytes>>;
pub(super) type BaseRows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Visits the rows of `base` as `frozen` and then `active` have changed them.
pub(super) fn scan(
    active: &Overlay,
    frozen: Option<&Overlay>,
    base: &BaseRows,
    (from, to): (&[u8], Option<&[u8]>),
    visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
) -> Result<(), TableFault> {
    if to.is_some_and(|to| to <= from) {
        return Ok(());
    }
    let mut changes = Changes::new(active, frozen, from, to);
    let mut base = base.range::<&[u8]>(bounds(from, to)).map_err(fault)?;
    let mut row = base.next().transpose().map_err(fault)?;
    loop {
        let order = match (&row, changes.key()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((key, _)), Some(changed)) => key.value().cmp(changed),
        };
        let wanted = match order {
            Ordering::Less => row.as_ref().map(|(key, value)| visit(key.value(), value.value())),
            _ => changes.take().and_then(|(key, value)| value.map(|value| visit(key, value))),
        };
        if wanted == Some(Scan::Stop) {
            return Ok(());
        }
        if order != Ordering::Greater {
            row = base.next().transpose().map_err(fault)?;
        }
    }
}

type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// The changes of both overlays in key order; the active one hides the frozen one.
struct Changes<'a> {
    active: Box<dyn Iterator<Item = Change<'a>> + 'a>,
    frozen: Box<dyn Iterator<Item = Change<'a>> + 'a>,
    active_next: Option<Change<'a>>,
    frozen_next: Option<Change<'a>>,
}

impl<'a> Changes<'a> {
    fn new(
        active: &'a Overlay,
        frozen: Option<&'a Overlay>,
        from: &'a [u8],
        to: Option<&'a [u8]>,
    ) -> Changes<'a> {
        let between = move |overlay: &'a Overlay| {
            let rows = overlay.range::<[u8], _>(bounds(from, to));
            rows.map(|(key, value)| (key.as_ref(), value.as_deref()))
        };
        let mut active = Box::new(between(active));
        let mut frozen = Box::new(frozen.into_iter().flat_map(between));
        let (active_next, frozen_next) = (active.next(), frozen.next());
        Changes { active, frozen, active_next, frozen_next }
    }

    fn key(&self) -> Option<&'a [u8]> {
        match (self.active_next, self.frozen_next) {
            (Some((active, _)), Some((frozen, _))) => Some(active.min(frozen)),
            (active, frozen) => active.or(frozen).map(|(key, _)| key),
        }
    }

    fn take(&mut self) -> Option<Change<'a>> {
        let key = self.key()?;
        let mut taken = None;
        if self.frozen_next.is_some_and(|(frozen, _)| frozen == key) {
            taken = std::mem::replace(&mut self.frozen_next, self.frozen.next());
        }
        if self.active_next.is_some_and(|(active, _)| active == key) {
            taken = std::mem::replace(&mut self.active_next, self.active.next());
        }
        taken
    }
}
