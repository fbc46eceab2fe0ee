//! The thread that owns the data plane's machines: the holder, upkeep, and the client by which upkeep
//! speaks to the log.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::catalog::{BodyId, ChunkId, QueryReply, Reply};
use protocol::client::{Client, Failure, Output, Ticket};
use protocol::config::Config;
use protocol::data::holder::{Holder, HolderOutput};
use protocol::data::message::DataBody;
use protocol::data::placement::Layout;
use protocol::data::receipt::ReceiptKey;
use protocol::data::storage::{Found, Job, ReadBlocks, ReadFault, Standing, StoreFault};
use protocol::data::upkeep::{Ask, Mark, Proposal, Upkeep, UpkeepOutput};
use protocol::message::Message;
use protocol::types::{Incarnation, Peer, ReplicaId, Timestamp};
use protocol::vsr::StatusName;
use protocol::wire::Wire;

use super::store::{CheckTask, Queues, ScrubTask};
use super::vitals::{DataVitals, DataVitalsNow};
use super::{Answered, DataOptions, DataOutlets};
use crate::driver::{DriverHandle, Inbox, LocalAnswer, clock};
use crate::storage::chunks::OpenReport;

/// How often the standing of the core is looked at, and the machines are told the time.
const TICK: Duration = Duration::from_millis(20);

/// How often it is kept how far the scrub has come. At worst so much is read twice.
const KEEP_POSITION_EVERY: Duration = Duration::from_secs(180);

/// Until when an operation of upkeep may take effect. What it says stays true for as long as the disk
/// does that it names, so it needs no end; and one taken from a clock that is behind would lie in the
/// past, and nothing would ever be settled or collected.
const NO_DEADLINE: Timestamp = Timestamp::new(u64::MAX);

/// Whose job it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Holder,
    Upkeep,
}

/// What became of a job.
pub(super) enum Report {
    Stored(Result<(), StoreFault>),
    Found(Vec<Result<Found, ReadFault>>),
    Read(Result<ReadBlocks, ReadFault>),
    Scrubbed(Result<(), ReadFault>),
    Walked(Vec<ChunkId>),
    Done,
}

pub(super) enum Input {
    Call { from: Peer, body: DataBody, answered: Answered },
    ClientMessage(Message),
    Report(Owner, Job, Report),
    LocalAnswer { ask: Ask, answer: Option<QueryReply> },
    PeerAnswer { from: ReplicaId, call: u64, answer: Option<DataBody> },
    Space { available: u64, reserve: u64 },
    StorageFailed(io::Error),
    Stop,
}

pub(super) struct DataThread {
    me: ReplicaId,
    layout: Layout,
    holder: Holder,
    upkeep: Upkeep,
    client: Client,
    proposals: BTreeMap<Ticket, Proposal>,
    /// Calls that are not answered, by the number under which the holder knows them.
    calls: BTreeMap<u64, Answered>,
    calls_begun: u64,
    driver: DriverHandle,
    outlets: DataOutlets,
    inbox: Arc<Inbox<Input>>,
    queues: Queues,
    vitals: Arc<DataVitals>,
}

impl DataThread {
    #[expect(clippy::too_many_arguments, reason = "it is put together in one place, from parts of all kinds")]
    pub(super) fn new(
        config: &Config,
        key: ReceiptKey,
        layout: Layout,
        options: DataOptions,
        driver: DriverHandle,
        outlets: DataOutlets,
        inbox: Arc<Inbox<Input>>,
        queues: Queues,
        vitals: Arc<DataVitals>,
        report: OpenReport,
        scrub_from: Option<BodyId>,
    ) -> DataThread {
        let (me, now) = (config.replica, clock::now());
        // Until the core says otherwise, nobody's word counts here.
        let standing = Standing {
            incarnation: Incarnation::ZERO,
            ready: false,
            caught_up: false,
            primary: false,
            layout,
        };
        let mut upkeep = Upkeep::new(me, standing, scrub_from, options.upkeep, options.seed, now);
        for chunk in report.suspects {
            upkeep.on_damage(now, chunk);
        }
        DataThread {
            me,
            layout,
            holder: Holder::new(me, key, standing, options.holder),
            upkeep,
            client: options.client,
            proposals: BTreeMap::new(),
            calls: BTreeMap::new(),
            calls_begun: 0,
            driver,
            outlets,
            inbox,
            queues,
            vitals,
        }
    }

    /// Tells upkeep's client at the end.
    pub(super) fn run(mut self) -> Client {
        let mut inputs = Vec::new();
        let mut tick_at = Instant::now();
        let mut keep_at = Instant::now() + KEEP_POSITION_EVERY;
        let mut goes_on = true;
        while goes_on {
            goes_on = self.inbox.take(&mut inputs, Some(tick_at));
            for input in inputs.drain(..) {
                goes_on &= self.feed(input);
            }
            if Instant::now() >= tick_at {
                tick_at = Instant::now() + TICK;
                self.tick();
            }
            if Instant::now() >= keep_at {
                keep_at = Instant::now() + KEEP_POSITION_EVERY;
                self.queues.keep_position(self.upkeep.scrub_position());
            }
            self.perform();
        }
        self.queues.keep_position(self.upkeep.scrub_position());
        self.inbox.close();
        self.queues.close();
        self.client
    }

    /// False if this was the last.
    fn feed(&mut self, input: Input) -> bool {
        let now = clock::now();
        match input {
            Input::Call { from, body, answered } => {
                self.vitals.calls.add(1);
                self.calls_begun += 1;
                self.calls.insert(self.calls_begun, answered);
                self.holder.on_call(from, self.calls_begun, body);
            }
            Input::ClientMessage(message) => self.client.on_message(now, message),
            Input::Report(Owner::Holder, job, report) => match report {
                Report::Stored(outcome) => self.holder.on_stored(job, outcome),
                Report::Found(found) => {
                    let found = found.into_iter().next().unwrap_or(Err(ReadFault::Absent));
                    self.holder.on_found(job, found);
                }
                Report::Read(outcome) => self.holder.on_read(job, outcome),
                Report::Scrubbed(_) | Report::Walked(_) | Report::Done => {}
            },
            Input::Report(Owner::Upkeep, job, report) => match report {
                Report::Stored(outcome) => self.upkeep.on_stored(now, job, outcome),
                Report::Found(found) => self.upkeep.on_found(now, job, found),
                Report::Scrubbed(outcome) => self.upkeep.on_scrubbed(now, job, outcome),
                Report::Walked(chunks) => self.upkeep.on_walked(now, job, chunks),
                Report::Done => self.upkeep.on_done(now, job),
                Report::Read(_) => {}
            },
            Input::LocalAnswer { ask, answer } => {
                self.upkeep.on_local_answer(now, ask, answer.and_then(Result::ok));
            }
            Input::PeerAnswer { from, call, answer: Some(body) } => {
                self.upkeep.on_answer(now, from, call, body);
            }
            Input::PeerAnswer { from, call, answer: None } => self.upkeep.on_call_failed(now, from, call),
            Input::Space { available, reserve } => {
                // What the log and the tables need is not for chunks, however little is reserved.
                let reserve = reserve.max(self.driver.vitals().space_needed.get());
                self.holder.set_space(available, reserve);
                self.upkeep.set_space(now, available, reserve);
            }
            Input::StorageFailed(error) => {
                tracing::error!(%error, "the chunks' disk fails");
                self.driver.fail("chunks", error);
                return false;
            }
            Input::Stop => return false,
        }
        // Between two inputs, so that a burst of them does not pile up outputs.
        self.perform();
        true
    }

    fn tick(&mut self) {
        let now = clock::now();
        let Some(core) = self.driver.vitals().core() else { return };
        let has_place = !core.amnesiac && !matches!(core.status, StatusName::Rejoining | StatusName::Syncing);
        let standing = Standing {
            incarnation: core.incarnation,
            ready: has_place,
            caught_up: core.caught_up,
            primary: core.is_primary,
            layout: self.layout,
        };
        self.holder.set_standing(standing);
        self.upkeep.set_standing(now, standing);
        if self.upkeep.next_tick().is_some_and(|tick| tick <= now) {
            self.upkeep.on_tick(now);
        }
        // Upkeep reads nothing in its session and uploads nothing. If the session never said so, it
        // would hold back the collection of everything.
        self.client.set_watermarks(0, self.client.newest_op());
        if self.client.next_tick().is_some_and(|tick| tick <= now) {
            self.client.on_tick(now);
        }
        let figures = self.upkeep.figures();
        let unscrubbed_ms = now.since(figures.oldest_unscrubbed);
        self.vitals.calls_refused.set(self.inbox.refused());
        self.vitals.publish(DataVitalsNow { ready: standing.ready, figures, unscrubbed_ms });
    }

    /// Performs whatever the machines want. One of them may make another one want something.
    fn perform(&mut self) {
        loop {
            let mut idle = true;
            while let Some(output) = self.holder.next_output() {
                idle = false;
                self.perform_holder(output);
            }
            while let Some(output) = self.upkeep.next_output() {
                idle = false;
                self.perform_upkeep(output);
            }
            while let Some(output) = self.client.next_output() {
                idle = false;
                self.perform_client(output);
            }
            if idle {
                return;
            }
        }
    }

    fn perform_holder(&mut self, output: HolderOutput) {
        let owner = Owner::Holder;
        match output {
            HolderOutput::Answer { call, body, .. } => {
                if let Some(answered) = self.calls.remove(&call) {
                    answered(body);
                }
            }
            HolderOutput::Store { job, chunk, root, bytes } => {
                self.queues.check(CheckTask::Verify { owner, job, chunk, root, bytes });
            }
            HolderOutput::Find { job, chunk } => {
                self.queues.check(CheckTask::Find { owner, job, chunks: vec![chunk] });
            }
            HolderOutput::Read { job, chunk, root, first, count } => {
                self.queues.check(CheckTask::Read { owner, job, chunk, root, first, count });
            }
            HolderOutput::Damage { chunk } => self.upkeep.on_damage(clock::now(), chunk),
        }
    }

    fn perform_upkeep(&mut self, output: UpkeepOutput) {
        let owner = Owner::Upkeep;
        match output {
            UpkeepOutput::AskLocal { ask, query } => {
                let inbox = self.inbox.clone();
                let asked = Box::new(move |local: Option<LocalAnswer>| {
                    let answer = local.and_then(|local| local.answer.ok());
                    let answer = answer.and_then(|bytes| QueryReply::from_bytes(&bytes).ok());
                    inbox.complete(Input::LocalAnswer { ask, answer });
                });
                self.driver.ask(query.to_bytes(), asked);
            }
            UpkeepOutput::Call { to, call, body } if to == self.me => {
                let inbox = self.inbox.clone();
                self.calls_begun += 1;
                let answered = move |body| {
                    inbox.complete(Input::PeerAnswer { from: to, call, answer: Some(body) });
                };
                self.calls.insert(self.calls_begun, Box::new(answered));
                self.holder.on_call(Peer::Replica(to), self.calls_begun, body);
            }
            UpkeepOutput::Call { to, call, body } => {
                let inbox = self.inbox.clone();
                let answered = move |answer| {
                    inbox.complete(Input::PeerAnswer { from: to, call, answer });
                };
                (self.outlets.call_peer)(to, body, Box::new(answered));
            }
            UpkeepOutput::Propose { proposal, operation } => {
                match self.client.submit(clock::now(), operation.to_bytes(), NO_DEADLINE) {
                    Ok(ticket) => drop(self.proposals.insert(ticket, proposal)),
                    Err(_) => self.upkeep.on_proposed(clock::now(), proposal, None),
                }
            }
            UpkeepOutput::Find { job, chunks } => {
                self.queues.check(CheckTask::Find { owner, job, chunks });
            }
            UpkeepOutput::Scrub { job, chunk, root } => {
                self.queues.scrub(ScrubTask { owner, job, chunk, root });
            }
            UpkeepOutput::Store { job, chunk, root, bytes } => {
                self.queues.check(CheckTask::Verify { owner, job, chunk, root, bytes });
            }
            UpkeepOutput::Quarantine { job, chunk, root } => {
                self.queues.quarantine(owner, job, chunk, root);
            }
            UpkeepOutput::Discard { job, chunk } => self.queues.discard(owner, job, chunk),
            UpkeepOutput::Walk { job, after, limit } => {
                self.queues.check(CheckTask::Walk { owner, job, after, limit });
            }
            UpkeepOutput::Delete { job, chunks } => self.queues.delete(owner, job, chunks),
            UpkeepOutput::Mark(mark) => note(mark),
        }
    }

    fn perform_client(&mut self, output: Output) {
        let now = clock::now();
        match output {
            Output::Send { to, message } if to == self.me => {
                // What is refused is sent again.
                let _ = self.driver.deliver(message, 1 << 10);
            }
            Output::Send { to, message } => (self.outlets.send_as_client)(to, message),
            Output::Completed { ticket, reply, .. } => {
                if let Some(proposal) = self.proposals.remove(&ticket) {
                    self.upkeep.on_proposed(now, proposal, Reply::from_bytes(&reply).ok());
                }
            }
            Output::Failed { ticket, reason } => {
                if let Failure::Invalid(why) = &reason {
                    tracing::error!(why, "an operation of upkeep was refused");
                }
                if let Some(proposal) = self.proposals.remove(&ticket) {
                    self.upkeep.on_proposed(now, proposal, None);
                }
            }
            Output::SessionBegan { .. } | Output::Closed => {}
        }
    }
}

fn note(mark: Mark) {
    match mark {
        Mark::Damaged { chunk } => {
            tracing::warn!(?chunk, "a copy is damaged or gone: it is replaced from another replica");
        }
        Mark::NoSoundCopy { chunk } => tracing::error!(?chunk, "no replica has a sound copy"),
        Mark::Rebuilt => tracing::info!("this disk holds again everything that it should"),
        Mark::Scrubbed { bytes } => tracing::info!(bytes, "every chunk on this disk was read and verified"),
        Mark::Repaired { .. } | Mark::Settled { .. } | Mark::Collected { .. } => {
            tracing::debug!(?mark, "upkeep");
        }
    }
}
