//! Bodies that are being made whole: look for each chunk, fetch what is not here.

use std::collections::{BTreeMap, BTreeSet};

use super::machine::{Begun, Upkeep};
use super::{Mark, UpkeepOutput};
use crate::canary::{Canary, planted};
use crate::catalog::{BodyId, ChunkedBody};
use crate::data::storage::{Found, ReadFault};

/// So many chunks does one look go for.
const FIND_COUNT_MAX: usize = 256;

/// Why a body is looked at. What comes first is served first among equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    Finding,
    Debt,
    Survey,
}

impl Cause {
    /// So many bodies may be in work at once: none of the duties can take all of the room.
    pub(super) const fn count_max(self) -> usize {
        match self {
            Cause::Finding => 16,
            Cause::Debt => 32,
            Cause::Survey => 32,
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mended {
    /// Every chunk that was looked for is here.
    Whole,
    /// At least one is not, and was not to be fetched, or could not be at present.
    Lacking,
    /// At least one is nowhere.
    Lost,
}

#[derive(Debug)]
pub(super) struct Mend {
    pub(super) cause: Cause,
    /// How many sound copies the poorest of its chunks is believed to have.
    pub(super) copies: u8,
    pub(super) may_pull: bool,
    pub(super) body: ChunkedBody,
    /// Chunks to look for, the last one first.
    unseen: Vec<u32>,
    /// Chunks that were looked at one by one: the findings that this mend is about.
    examined: Vec<u32>,
    looking: bool,
    /// Chunks to fetch. True: a bad copy is here.
    pub(super) lacking: BTreeMap<u32, bool>,
    pub(super) pulling: BTreeSet<u32>,
    pub(super) ended: Mended,
}

/// Bounded by `Cause::count_max`: at most a few megabytes of roots.
#[derive(Debug, Default)]
pub(super) struct Mends {
    pub(super) by_body: BTreeMap<BodyId, Mend>,
    ended: u64,
}

impl Mends {
    /// A body is mended for one cause at a time: the others wait for their turn.
    pub(super) fn has_room(&self, cause: Cause) -> bool {
        self.by_body.values().filter(|mend| mend.cause == cause).count() < cause.count_max()
    }

    pub(super) fn room(&self, cause: Cause) -> usize {
        let count = self.by_body.values().filter(|mend| mend.cause == cause).count();
        cause.count_max().saturating_sub(count)
    }

    pub(super) fn contains(&self, id: BodyId) -> bool {
        self.by_body.contains_key(&id)
    }

    /// How many have come to an end.
    pub(super) fn ended(&self) -> u64 {
        self.ended
    }

    /// Whether any body is in work for this cause.
    pub(super) fn serves(&self, cause: Cause) -> bool {
        self.by_body.values().any(|mend| mend.cause == cause)
    }
}

impl Upkeep {
    /// The chunks of the body that this replica should hold.
    pub(super) fn owned(&self, id: BodyId, body: &ChunkedBody) -> Vec<u32> {
        let count = u32::try_from(body.roots.len()).unwrap_or(u32::MAX);
        (0..count).filter(|index| self.standing.layout.owns(self.me, id.chunk(*index))).collect()
    }

    /// Begins to look for these chunks of the body. It must not be in work already.
    pub(super) fn mend(
        &mut self,
        id: BodyId,
        body: ChunkedBody,
        chunks: Vec<u32>,
        cause: Cause,
        copies: u8,
        may_pull: bool,
    ) {
        let mend = Mend {
            cause,
            copies,
            may_pull,
            body,
            unseen: chunks,
            examined: Vec::new(),
            looking: false,
            lacking: BTreeMap::new(),
            pulling: BTreeSet::new(),
            ended: Mended::Whole,
        };
        let before = self.mends.by_body.insert(id, mend);
        assert!(before.is_none());
    }

    pub(super) fn settle_mends(&mut self) {
        let ids: Vec<BodyId> = self.mends.by_body.keys().copied().collect();
        for id in ids {
            self.settle_mend(id);
        }
    }

    fn settle_mend(&mut self, id: BodyId) {
        let Some(mend) = self.mends.by_body.get_mut(&id) else { return };
        if mend.looking {
            return;
        }
        if !mend.unseen.is_empty() {
            return self.look(id);
        }
        if !mend.may_pull && !mend.lacking.is_empty() {
            mend.lacking.clear();
            mend.ended = Mended::Lacking;
        }
        if mend.lacking.is_empty() && mend.pulling.is_empty() {
            self.finish_mend(id);
        }
    }

    /// The index is believed about what is here, except where somebody said that it is not sound.
    fn look(&mut self, id: BodyId) {
        let Some(mend) = self.mends.by_body.get_mut(&id) else { return };
        mend.looking = true;
        if mend.cause == Cause::Finding {
            let index = mend.unseen.pop().expect("the caller has checked that there are some");
            let Some(root) = mend.body.roots.get(index as usize).copied() else {
                mend.looking = false;
                return;
            };
            let chunk = id.chunk(index);
            return self.begin(Begun::Examine(id, index), |job| UpkeepOutput::Scrub { job, chunk, root });
        }
        let rest = mend.unseen.len().saturating_sub(FIND_COUNT_MAX);
        let indexes = mend.unseen.split_off(rest);
        let chunks = indexes.iter().map(|index| id.chunk(*index)).collect();
        self.begin(Begun::Find(id, indexes), |job| UpkeepOutput::Find { job, chunks });
    }

    /// A copy with another root than the catalog's is no copy. What the store said nothing of is
    /// taken for absent.
    pub(super) fn on_looked(&mut self, id: BodyId, indexes: &[u32], found: &[Result<Found, ReadFault>]) {
        let Some(mend) = self.mends.by_body.get_mut(&id) else { return };
        mend.looking = false;
        for (position, index) in indexes.iter().enumerate() {
            let root = mend.body.roots.get(*index as usize);
            let bad = match found.get(position) {
                Some(Ok(found)) if Some(&found.root) == root => continue,
                _ if planted(Canary::DebtsDenied) => continue,
                Some(Ok(_) | Err(ReadFault::Damaged)) => true,
                Some(Err(ReadFault::Absent)) | None => false,
            };
            mend.lacking.insert(*index, bad);
        }
    }

    pub(super) fn on_examined(&mut self, id: BodyId, index: u32, outcome: Result<(), ReadFault>) {
        let chunk = id.chunk(index);
        let owned = self.standing.layout.owns(self.me, chunk);
        let Some(mend) = self.mends.by_body.get_mut(&id) else { return };
        mend.looking = false;
        mend.examined.push(index);
        match outcome {
            Ok(()) => {}
            // Nobody misses a copy that stood in for another one.
            Err(ReadFault::Absent) if !owned => {}
            Err(fault) => {
                mend.lacking.insert(index, fault == ReadFault::Damaged);
                if self.findings.confirm(chunk) {
                    self.mark(Mark::Damaged { chunk });
                }
            }
        }
    }

    fn finish_mend(&mut self, id: BodyId) {
        let Some(mend) = self.mends.by_body.remove(&id) else { return };
        self.mends.ended += 1;
        match mend.cause {
            Cause::Finding => self.on_finding_mended(id, &mend.examined, mend.ended),
            Cause::Debt => self.on_debt_mended(id, mend.ended),
            Cause::Survey => self.on_survey_mended(id, &mend.body, mend.ended),
        }
    }
}
