mod executions;
mod stories;

use super::*;
use crate::types::{Checksum, ClusterId, Epoch};

/// Every order of `items`.
fn orders<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in 0..items.len() {
        let mut rest = items.to_vec();
        let item = rest.remove(first);
        for mut order in orders(&rest) {
            order.insert(0, item.clone());
            all.push(order);
        }
    }
    all
}

fn genesis() -> EntryHeader {
    EntryHeader::genesis(ClusterId::new(1), Epoch::ZERO)
}

/// The entry that the primary of `view` prepares upon `parent`.
fn child(parent: &EntryHeader, view: u64) -> EntryHeader {
    EntryHeader {
        view: View::new(view),
        op: parent.op.next(),
        parent: parent.name(),
        body_checksum: Checksum::of(&view.to_le_bytes()),
        ..parent.clone()
    }
}
