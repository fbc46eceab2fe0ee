//! One chunk on its way, and each replica that may hold it.

use bytes::Bytes;

use super::{PutFailure, PutSettings};
use crate::catalog::ChunkId;
use crate::data::message::{DataBody, DataRefusal};
use crate::data::outline::ChunkRoot;
use crate::data::placement::Layout;
use crate::data::receipt::Receipt;
use crate::types::{ReplicaId, Tick};

pub(super) const NEVER: Tick = Tick::new(u64::MAX);

#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) root: ChunkRoot,
    pub(super) length: u32,
    /// None once nobody is to be sent them any more.
    pub(super) bytes: Option<Bytes>,
    /// In the order of the layout: owners first.
    pub(super) holders: Vec<Holder>,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its turn to be confirmed comes when others have had theirs.
    Queued,
    /// There are too few receipts.
    Short { give_up_at: Tick },
    /// There are enough. Those that may come soon are waited for.
    Enough { until: Tick },
    /// Counts as stored. The owners that have not answered are still welcome.
    Lingering { until: Tick },
    /// Nothing more is done for it.
    Done,
}

#[derive(Debug)]
pub(super) struct Holder {
    pub(super) replica: ReplicaId,
    pub(super) ask: Ask,
    pub(super) attempt: Attempt,
    /// From then on it is not relied on, whatever it may still do.
    pub(super) doubt_at: Tick,
    /// How often it was told to wait.
    pub(super) pauses: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Store,
    /// It may have the chunk already.
    Confirm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Untried,
    Called {
        call: u64,
        silent_at: Tick,
    },
    Paused {
        until: Tick,
    },
    Stored {
        receipt: Receipt,
    },
    /// It will not hold the chunk.
    PassedOver {
        why: Option<DataRefusal>,
    },
}

impl Holder {
    pub(super) fn new(replica: ReplicaId) -> Holder {
        Holder { replica, ask: Ask::Store, attempt: Attempt::Untried, doubt_at: NEVER, pauses: 0 }
    }

    pub(super) fn call(&self) -> Option<u64> {
        match self.attempt {
            Attempt::Called { call, .. } => Some(call),
            _ => None,
        }
    }

    fn is_stored(&self) -> bool {
        matches!(self.attempt, Attempt::Stored { .. })
    }

    fn is_under_way(&self) -> bool {
        matches!(self.attempt, Attempt::Called { .. } | Attempt::Paused { .. })
    }

    /// A receipt is expected of it soon.
    fn is_hopeful(&self, now: Tick) -> bool {
        self.is_under_way() && self.doubt_at > now
    }

    /// Nobody knows whether it answers at all.
    pub(super) fn is_silent(&self, now: Tick) -> bool {
        self.call().is_some() && self.doubt_at <= now
    }

    pub(super) fn pass_over(&mut self, why: Option<DataRefusal>) {
        self.attempt = Attempt::PassedOver { why };
    }

    /// When something has to be done about it.
    fn next_tick(&self, now: Tick) -> Option<Tick> {
        let at = match self.attempt {
            Attempt::Called { silent_at, .. } => silent_at,
            Attempt::Paused { until } => until,
            _ => return None,
        };
        Some(if self.doubt_at > now { at.min(self.doubt_at) } else { at })
    }
}

impl Chunk {
    pub(super) fn new(
        id: ChunkId,
        root: ChunkRoot,
        length: u32,
        bytes: Bytes,
        layout: &Layout,
        give_up_at: Tick,
    ) -> Chunk {
        let holders = layout.order(id).map(Holder::new).collect();
        Chunk { root, length, bytes: Some(bytes), holders, stage: Stage::Short { give_up_at } }
    }

    pub(super) fn is_short(&self) -> bool {
        matches!(self.stage, Stage::Queued | Stage::Short { .. } | Stage::Enough { .. })
    }

    pub(super) fn is_being_asked(&self) -> bool {
        matches!(self.stage, Stage::Short { .. } | Stage::Enough { .. })
    }

    pub(super) fn receipts(&self) -> impl Iterator<Item = Receipt> {
        self.holders.iter().filter_map(|holder| match holder.attempt {
            Attempt::Stored { receipt } => Some(receipt),
            _ => None,
        })
    }

    /// Moves on as far as the receipts and the time allow.
    pub(super) fn advance(
        &mut self,
        now: Tick,
        layout: &Layout,
        settings: &PutSettings,
    ) -> Result<(), PutFailure> {
        let receipts = self.receipts().count();
        if let Stage::Short { give_up_at } = self.stage {
            if receipts >= layout.copies_min() {
                self.stage = Stage::Enough { until: now.plus(settings.grace_ms) };
            } else if give_up_at <= now || self.is_hopeless() {
                return Err(self.failure());
            }
        }
        if let Stage::Enough { until } = self.stage
            && (until <= now || !self.is_more_expected(now, layout))
        {
            self.stage = Stage::Lingering { until: now.plus(settings.linger_ms) };
        }
        if let Stage::Lingering { until } = self.stage {
            let owners = &self.holders[..layout.copies()];
            if until <= now || !owners.iter().any(Holder::is_under_way) {
                self.stage = Stage::Done;
            }
        }
        Ok(())
    }

    /// Everybody has answered for good, and it was not enough.
    fn is_hopeless(&self) -> bool {
        let final_word =
            |holder: &Holder| matches!(holder.attempt, Attempt::Stored { .. } | Attempt::PassedOver { .. });
        self.holders.iter().all(final_word)
    }

    fn is_more_expected(&self, now: Tick, layout: &Layout) -> bool {
        self.holders.iter().any(|holder| holder.is_hopeful(now)) || !self.untried(now, layout).is_empty()
    }

    /// What those said that will not hold it; the gravest counts.
    fn failure(&self) -> PutFailure {
        let failure = |holder: &Holder| match holder.attempt {
            Attempt::PassedOver { why: Some(DataRefusal::Full) } => PutFailure::Full,
            Attempt::PassedOver { why: Some(DataRefusal::Conflict) } => PutFailure::Conflict,
            Attempt::PassedOver { why: Some(DataRefusal::WrongLayout) } => PutFailure::WrongLayout,
            _ => PutFailure::NoQuorum,
        };
        self.holders.iter().map(failure).max().unwrap_or(PutFailure::NoQuorum)
    }

    /// The places of those that are to be called now.
    pub(super) fn due(&self, now: Tick, layout: &Layout) -> Vec<usize> {
        if matches!(self.stage, Stage::Queued | Stage::Done) {
            return Vec::new();
        }
        let again = |holder: &Holder| matches!(holder.attempt, Attempt::Paused { until } if until <= now);
        let mut due: Vec<usize> =
            (0..self.holders.len()).filter(|index| again(&self.holders[*index])).collect();
        if self.is_being_asked() {
            due.extend(self.untried(now, layout));
        }
        due
    }

    /// Those that come next: everybody whose word is enough, and as many of those that need the bytes
    /// as there are owners that cannot be relied on.
    fn untried(&self, now: Tick, layout: &Layout) -> Vec<usize> {
        let hopeful = |holder: &&Holder| holder.is_stored() || holder.is_hopeful(now);
        let mut relied_on = self.holders.iter().filter(hopeful).count();
        let mut next = Vec::new();
        for (index, holder) in self.holders.iter().enumerate() {
            if holder.attempt != Attempt::Untried {
                continue;
            }
            if holder.ask == Ask::Confirm || relied_on < layout.copies() {
                relied_on += 1;
                next.push(index);
            }
        }
        next
    }

    pub(super) fn message(&self, chunk: ChunkId, layout: u32, ask: Ask) -> DataBody {
        let Chunk { root, length, .. } = *self;
        match ask {
            Ask::Store => {
                let bytes = self.bytes.clone();
                let bytes = bytes.expect("the bytes are held for as long as anybody is to store them");
                DataBody::PutChunk { chunk, layout, root, bytes }
            }
            Ask::Confirm => DataBody::Confirm { chunk, layout, root, length },
        }
    }

    /// Forgets all receipts: those who gave them, and everybody who may have the chunk, are asked anew.
    pub(super) fn doubt_all(&mut self) {
        self.stage = Stage::Queued;
        for holder in &mut self.holders {
            let knows_nothing = holder.attempt == Attempt::Untried && self.bytes.is_some();
            let ask = if knows_nothing { Ask::Store } else { Ask::Confirm };
            *holder = Holder { ask, ..Holder::new(holder.replica) };
        }
    }

    pub(super) fn next_tick(&self, now: Tick) -> Option<Tick> {
        let stage = match self.stage {
            Stage::Queued | Stage::Done => return None,
            Stage::Short { give_up_at: at }
            | Stage::Enough { until: at }
            | Stage::Lingering { until: at } => at,
        };
        let holders = self.holders.iter().filter_map(|holder| holder.next_tick(now));
        Some(holders.fold(stage, Tick::min))
    }
}
