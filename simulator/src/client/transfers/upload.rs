//! One body on its way to its holders.

use protocol::catalog::{BodyId, NewBody, Operation};
use protocol::data::message::DataBody;
use protocol::data::placement::Layout;
use protocol::data::put::{PreparedChunk, Put, PutFailure, PutOutput, PutSettings};
use protocol::types::{ReplicaId, Tick};

use super::tick;
use crate::content::{self, Name};
use crate::random::Random;

/// In a hurry, as everything in these worlds.
const SETTINGS: PutSettings = PutSettings {
    chunks_held_max: 3,
    stand_in_after_ms: 300,
    grace_ms: 60,
    linger_ms: 600,
    silence_ms: 1_500,
    timeout_ms: 6_000,
    ..PutSettings::standard()
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Sending,
    /// All chunks are stored; the client takes its time.
    Ready,
    Submitted,
    /// Decided. Late owners are still welcome.
    Lingering,
}

pub(super) enum Step {
    Waits,
    Commit(Box<Operation>),
    Failed(&'static str),
    /// The client has lost interest.
    Abandoned,
    Over,
}

pub(super) struct Upload {
    pub(super) put: Put,
    body: BodyId,
    name: Name,
    operation: Operation,
    chunk_size: u32,
    length: u64,
    offered: u64,
    finished: bool,
    stage: Stage,
    pause_until: u64,
    /// How long the client waits before it commits, and whether it ever does.
    stall: u64,
    abandons: bool,
    calls: Vec<(ReplicaId, u64, DataBody)>,
}

impl Upload {
    #[expect(clippy::too_many_arguments, reason = "an upload is made in one place")]
    pub(super) fn new(
        layout: Layout,
        body: BodyId,
        operation: Operation,
        chunk_size: u32,
        length: u64,
        name: Name,
        now: u64,
        random: &mut Random,
    ) -> Upload {
        let stall = match random.below(100) {
            0..3 => random.between(2_000_000, 8_000_000),
            3..15 => random.below(400_000),
            _ => 0,
        };
        Upload {
            put: Put::new(layout, body, chunk_size, SETTINGS, random.word(), tick(now)),
            body,
            name,
            operation,
            chunk_size,
            length,
            offered: 0,
            finished: false,
            stage: Stage::Sending,
            pause_until: 0,
            stall,
            abandons: random.percent(3),
            calls: Vec::new(),
        }
    }

    pub(super) fn body(&self) -> BodyId {
        self.body
    }

    pub(super) fn into_operation(self) -> Operation {
        self.operation
    }

    pub(super) fn is_lingering(&self) -> bool {
        self.stage == Stage::Lingering
    }

    pub(super) fn is_submitted(&self) -> bool {
        self.stage == Stage::Submitted
    }

    pub(super) fn on_submitted(&mut self) {
        self.stage = Stage::Submitted;
    }

    pub(super) fn on_decided(&mut self) {
        self.stage = Stage::Lingering;
    }

    /// The put says `Ready` again, or that it has failed.
    pub(super) fn on_too_few_copies(&mut self, now: Tick) {
        self.stage = Stage::Sending;
        self.put.on_too_few_copies(now);
    }

    pub(super) fn take_calls(&mut self) -> Vec<(ReplicaId, u64, DataBody)> {
        std::mem::take(&mut self.calls)
    }

    pub(super) fn step(&mut self, now: u64, calm: bool, random: &mut Random) -> Step {
        if self.put.next_tick().is_some_and(|due| due <= tick(now)) {
            self.put.on_tick(tick(now));
        }
        if calm || self.pause_until <= now {
            self.offer(now);
            if random.percent(5) {
                self.pause_until = now + random.below(200_000);
            }
        }
        let mut failed = None;
        while let Some(output) = self.put.next_output() {
            match output {
                PutOutput::Send { to, call, body } => self.calls.push((to, call, body)),
                PutOutput::Abandon { call } => self.calls.retain(|(_, made, _)| *made != call),
                PutOutput::Ready(_) => {
                    self.stage = Stage::Ready;
                    self.pause_until = now + std::mem::take(&mut self.stall);
                }
                PutOutput::Failed(failure) => failed = Some(failure),
            }
        }
        match self.stage {
            Stage::Lingering if self.put.next_tick().is_none() || failed.is_some() => Step::Over,
            Stage::Ready | Stage::Sending if failed.is_some() => Step::Failed(match failed {
                Some(PutFailure::Full) => "upload failed: full",
                Some(PutFailure::Conflict) => "upload failed: conflict",
                Some(PutFailure::WrongLayout) => "upload failed: layout",
                Some(PutFailure::NoQuorum) | None => "upload failed: no quorum",
            }),
            Stage::Ready if calm || self.pause_until <= now => self.commit(),
            _ => Step::Waits,
        }
    }

    fn offer(&mut self, now: u64) {
        while self.put.wants_more() && self.offered < self.length {
            let length = (self.length - self.offered).min(u64::from(self.chunk_size));
            let size = usize::try_from(length).expect("a chunk fits in memory");
            let chunk = PreparedChunk::of(content::bytes(self.name, self.offered, size));
            self.put.offer(tick(now), chunk).expect("the put has asked for another chunk");
            self.offered += length;
        }
        if self.offered == self.length && !self.finished && self.stage == Stage::Sending {
            self.finished = self.put.finish(tick(now)).is_ok();
        }
    }

    fn commit(&mut self) -> Step {
        if self.abandons {
            return Step::Abandoned;
        }
        let Some(stored) = self.put.stored() else { return Step::Waits };
        let stored = NewBody::from(stored);
        let mut operation = self.operation.clone();
        if let Operation::PutObject { body, .. } | Operation::PutPart { body, .. } = &mut operation {
            *body = stored;
        }
        Step::Commit(Box::new(operation))
    }
}
