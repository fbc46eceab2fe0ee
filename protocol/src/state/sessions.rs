//! Sessions.

use std::collections::BTreeMap;

use crate::types::{Op, SessionId};

/// What a state machine may know of a live session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    /// Uploads below this number have ended.
    pub oldest_live_upload: u64,
    /// Reads that began below this op have ended.
    pub oldest_read: Op,
}

#[derive(Default)]
pub struct Sessions {
    live: BTreeMap<SessionId, SessionFacts>,
}

impl Sessions {
    pub fn session(&self, id: SessionId) -> Option<SessionFacts> {
        self.live.get(&id).copied()
    }

    /// The oldest read of any live session.
    pub fn oldest_read(&self) -> Option<Op> {
        self.live.values().map(|facts| facts.oldest_read).min()
    }

    #[cfg(test)]
    pub(crate) fn with(live: impl IntoIterator<Item = (SessionId, SessionFacts)>) -> Sessions {
        Sessions { live: live.into_iter().collect() }
    }
}
