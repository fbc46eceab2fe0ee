//! The data plane of one process: the real machines, joined as `replica` joins them, but without
//! threads. What they want of the disk becomes jobs, what they say becomes frames.

mod store;

use std::collections::BTreeMap;

use protocol::catalog::{ChunkId, QueryReply, Reply};
use protocol::client::{Client, ClientSettings, Output, Ticket};
use protocol::config::Config;
use protocol::data::holder::{Holder, HolderOutput, HolderSettings};
use protocol::data::message::DataBody;
use protocol::data::outline::ChunkRoot;
use protocol::data::placement::Layout;
use protocol::data::storage::{Job as DataJob, ReadFault, Standing};
use protocol::data::upkeep::{Mark, Proposal, Upkeep, UpkeepOutput, UpkeepSettings};
use protocol::message::Message;
use protocol::tables::ReplicaTables as _;
use protocol::types::{ClientId, Incarnation, Peer, ReplicaId, Tick, Timestamp};
use protocol::vsr::StatusName;
use protocol::wire::Wire;
use replica::storage::chunks::{ChunkOptions, ChunkReader, ChunkStore};
use replica::storage::disk::SimulatedDisk;

use crate::client::RECEIPT_KEY;
use crate::node::Core;
use crate::random::Random;
pub use store::{CheckTask, Checked, Owner, Report, WriteTask, Written};

/// Space that is kept free of chunks. As in practice it is more than what the log needs, so that a disk
/// may be too full for the one and not for the other.
const RESERVE_BYTES: u64 = 8 << 20;

/// How often the space of the disk is looked at.
const LOOK_MS: u64 = 1_000;

/// As in `replica`: what upkeep says stays true, and its own clock may be wrong.
const NO_DEADLINE: Timestamp = Timestamp::new(u64::MAX);

/// In a hurry: what takes minutes and weeks elsewhere has to happen within a world's life.
pub const UPKEEP: UpkeepSettings = UpkeepSettings {
    pull_bytes_per_second: 4 << 20,
    call_timeout_ms: 1_500,
    retry_ms: 600,
    debt_interval_ms: 300,
    debt_patience_ms: 700,
    survey_interval_ms: 1_500,
    scrub_period_ms: 8_000,
    scrub_bytes_per_second_min: 64 << 10,
    collection_interval_ms: 1_200,
    collection_interval_full_ms: 400,
    chores_interval_ms: 500,
    ..UpkeepSettings::standard()
};

/// Who waits for an answer of the holder.
enum Caller {
    Peer {
        to: Peer,
        call: u64,
        about: Option<(ChunkId, ChunkRoot)>,
    },
    /// Upkeep asked the holder beside it.
    Own {
        call: u64,
    },
}

/// What must leave the machines.
pub enum Want {
    Answer { to: Peer, call: u64, about: Option<(ChunkId, ChunkRoot)>, body: DataBody },
    Call { to: ReplicaId, call: u64, body: DataBody },
    Say { to: ReplicaId, message: Message },
    Check(CheckTask),
    Write(WriteTask),
    Mark(Mark),
}

pub struct Plane {
    me: ReplicaId,
    layout: Layout,
    holder: Holder,
    upkeep: Upkeep,
    client: Client,
    pub store: ChunkStore<SimulatedDisk>,
    pub reader: ChunkReader<SimulatedDisk>,
    disk: SimulatedDisk,
    proposals: BTreeMap<Ticket, Proposal>,
    calls: BTreeMap<u64, Caller>,
    calls_begun: u64,
    look_at: Tick,
    /// What the log and the tables need of the disk.
    pub log_needs: u64,
    /// What waits for the group under way to end.
    pub writes: Vec<WriteTask>,
    pub writing: bool,
}

impl Plane {
    /// Opens the chunks on the disk, as a process does that starts.
    pub fn open(
        disk: &SimulatedDisk,
        config: &Config,
        segment_size: u64,
        random: &mut Random,
        now: Tick,
    ) -> std::io::Result<Plane> {
        let mut wide = || u128::from(random.word()) << 64 | u128::from(random.word());
        let options =
            ChunkOptions { segment_size, reserve_bytes: RESERVE_BYTES, open_files_max: 4, salt: wide() };
        let client = ClientId::new(wide());
        let (store, report) = ChunkStore::open(disk, config.cluster, config.replica, options)?;
        let layout = Layout::first(config.quorums);
        let standing = Standing {
            incarnation: Incarnation::ZERO,
            ready: false,
            caught_up: false,
            primary: false,
            layout,
        };
        let mut upkeep = Upkeep::new(config.replica, standing, None, UPKEEP, random.word(), now);
        for chunk in report.suspects {
            upkeep.on_damage(now, chunk);
        }
        let settings = ClientSettings {
            keepalive_ms: 1_000,
            timeout_ms: 10_000,
            operation_bytes_max: config.limits.operation_bytes_max,
            ..ClientSettings::standard()
        };
        let count = u8::try_from(config.quorums.replica_count).expect("at most seven");
        let client = Client::new(client, config.cluster, config.epoch, count, settings, random.word(), now);
        Ok(Plane {
            me: config.replica,
            layout,
            holder: Holder::new(config.replica, RECEIPT_KEY, standing, HolderSettings::standard()),
            upkeep,
            client,
            reader: store.reader(),
            store,
            disk: disk.clone(),
            proposals: BTreeMap::new(),
            calls: BTreeMap::new(),
            calls_begun: 0,
            log_needs: 0,
            look_at: now,
            writes: Vec::new(),
            writing: false,
        })
    }

    pub fn client_id(&self) -> ClientId {
        self.client.id()
    }

    pub fn on_call(&mut self, from: Peer, call: u64, body: DataBody) {
        let about = match &body {
            DataBody::PutChunk { chunk, root, .. } | DataBody::Confirm { chunk, root, .. } => {
                Some((*chunk, *root))
            }
            _ => None,
        };
        self.calls_begun += 1;
        self.calls.insert(self.calls_begun, Caller::Peer { to: from, call, about });
        self.holder.on_call(from, self.calls_begun, body);
    }

    pub fn on_answer(&mut self, now: Tick, from: ReplicaId, call: u64, body: DataBody) {
        self.upkeep.on_answer(now, from, call, body);
    }

    pub fn on_call_failed(&mut self, now: Tick, from: ReplicaId, call: u64) {
        self.upkeep.on_call_failed(now, from, call);
    }

    pub fn on_message(&mut self, now: Tick, message: Message) {
        self.client.on_message(now, message);
    }

    pub fn on_report(&mut self, now: Tick, owner: Owner, job: DataJob, report: Report) {
        match (owner, report) {
            (Owner::Holder, Report::Stored(outcome)) => self.holder.on_stored(job, outcome),
            (Owner::Holder, Report::Found(found)) => {
                self.holder.on_found(job, found.into_iter().next().unwrap_or(Err(ReadFault::Absent)));
            }
            (Owner::Holder, Report::Read(outcome)) => self.holder.on_read(job, outcome),
            (Owner::Upkeep, Report::Stored(outcome)) => self.upkeep.on_stored(now, job, outcome),
            (Owner::Upkeep, Report::Found(found)) => self.upkeep.on_found(now, job, found),
            (Owner::Upkeep, Report::Scrubbed(outcome)) => self.upkeep.on_scrubbed(now, job, outcome),
            (Owner::Upkeep, Report::Walked(chunks)) => self.upkeep.on_walked(now, job, chunks),
            (Owner::Upkeep, Report::Done) => self.upkeep.on_done(now, job),
            (Owner::Holder, Report::Scrubbed(_) | Report::Walked(_) | Report::Done)
            | (Owner::Upkeep, Report::Read(_)) => {}
        }
    }

    /// How much room is left.
    pub fn look_around(&mut self, now: Tick) {
        let available = self.disk.unobserved(|| replica::storage::disk::Disk::available(&self.disk));
        let available = available.unwrap_or(0);
        self.look_at = now.plus(LOOK_MS);
        let reserve = RESERVE_BYTES.max(self.log_needs);
        self.holder.set_space(available, reserve);
        self.upkeep.set_space(now, available, reserve);
    }

    /// The machines hear of the core, and what time it is.
    pub fn on_tick(&mut self, now: Tick, core: &Core) {
        let status = core.status();
        let superblock = core.durable_superblock();
        let standing = Standing {
            incarnation: superblock.incarnation,
            ready: superblock.amnesiac.is_none()
                && !matches!(status, StatusName::Rejoining | StatusName::Syncing),
            caught_up: core.has_caught_up(),
            primary: core.is_primary(),
            layout: self.layout,
        };
        self.holder.set_standing(standing);
        self.upkeep.set_standing(now, standing);
        if self.look_at <= now {
            self.look_around(now);
        }
        if self.upkeep.next_tick().is_some_and(|tick| tick <= now) {
            self.upkeep.on_tick(now);
        }
        // It reads nothing in its session and uploads nothing.
        self.client.set_watermarks(0, self.client.newest_op());
        if self.client.next_tick().is_some_and(|tick| tick <= now) {
            self.client.on_tick(now);
        }
    }

    /// What the machines want. One of them may make another one want something.
    pub fn settle(&mut self, now: Tick, core: &Core) -> Vec<Want> {
        let mut wants = Vec::new();
        loop {
            let mut idle = true;
            while let Some(output) = self.holder.next_output() {
                idle = false;
                self.perform_holder(now, output, &mut wants);
            }
            while let Some(output) = self.upkeep.next_output() {
                idle = false;
                self.perform_upkeep(now, core, output, &mut wants);
            }
            while let Some(output) = self.client.next_output() {
                idle = false;
                self.perform_client(now, output, &mut wants);
            }
            if idle {
                return wants;
            }
        }
    }

    fn perform_holder(&mut self, now: Tick, output: HolderOutput, wants: &mut Vec<Want>) {
        let owner = Owner::Holder;
        match output {
            HolderOutput::Answer { call, body, .. } => match self.calls.remove(&call) {
                Some(Caller::Peer { to, call, about }) => wants.push(Want::Answer { to, call, about, body }),
                Some(Caller::Own { call }) => self.upkeep.on_answer(now, self.me, call, body),
                None => {}
            },
            HolderOutput::Store { job, chunk, root, bytes } => {
                wants.push(Want::Check(CheckTask::Verify { owner, job, chunk, root, bytes }));
            }
            HolderOutput::Find { job, chunk } => {
                wants.push(Want::Check(CheckTask::Find { owner, job, chunks: vec![chunk] }));
            }
            HolderOutput::Read { job, chunk, root, first, count } => {
                wants.push(Want::Check(CheckTask::Read { owner, job, chunk, root, first, count }));
            }
            HolderOutput::Damage { chunk } => self.upkeep.on_damage(now, chunk),
        }
    }

    fn perform_upkeep(&mut self, now: Tick, core: &Core, output: UpkeepOutput, wants: &mut Vec<Want>) {
        let owner = Owner::Upkeep;
        match output {
            UpkeepOutput::AskLocal { ask, query } => {
                let answer = match core.state().tables().syncing() {
                    Some(_) => None,
                    None => core.state().query(&query.to_bytes()).ok().and_then(Result::ok),
                };
                let answer = answer.and_then(|bytes| QueryReply::from_bytes(&bytes).ok());
                self.upkeep.on_local_answer(now, ask, answer.and_then(Result::ok));
            }
            UpkeepOutput::Call { to, call, body } if to == self.me => {
                self.calls_begun += 1;
                self.calls.insert(self.calls_begun, Caller::Own { call });
                self.holder.on_call(Peer::Replica(to), self.calls_begun, body);
            }
            UpkeepOutput::Call { to, call, body } => wants.push(Want::Call { to, call, body }),
            UpkeepOutput::Propose { proposal, operation } => {
                match self.client.submit(now, operation.to_bytes(), NO_DEADLINE) {
                    Ok(ticket) => drop(self.proposals.insert(ticket, proposal)),
                    Err(_) => self.upkeep.on_proposed(now, proposal, None),
                }
            }
            UpkeepOutput::Find { job, chunks } => {
                wants.push(Want::Check(CheckTask::Find { owner, job, chunks }));
            }
            UpkeepOutput::Scrub { job, chunk, root } => {
                wants.push(Want::Check(CheckTask::Scrub { owner, job, chunk, root }));
            }
            UpkeepOutput::Store { job, chunk, root, bytes } => {
                wants.push(Want::Check(CheckTask::Verify { owner, job, chunk, root, bytes }));
            }
            UpkeepOutput::Quarantine { job, chunk, root } => {
                wants.push(Want::Write(WriteTask::Quarantine { owner, job, chunk, root }));
            }
            UpkeepOutput::Discard { job, chunk } => {
                wants.push(Want::Write(WriteTask::Discard { owner, job, chunk }));
            }
            UpkeepOutput::Walk { job, after, limit } => {
                wants.push(Want::Check(CheckTask::Walk { owner, job, after, limit }));
            }
            UpkeepOutput::Delete { job, chunks } => {
                wants.push(Want::Write(WriteTask::Delete { owner, job, chunks }));
            }
            UpkeepOutput::Mark(mark) => wants.push(Want::Mark(mark)),
        }
    }

    fn perform_client(&mut self, now: Tick, output: Output, wants: &mut Vec<Want>) {
        match output {
            Output::Send { to, message } => wants.push(Want::Say { to, message }),
            Output::Completed { ticket, reply, .. } => {
                if let Some(proposal) = self.proposals.remove(&ticket) {
                    self.upkeep.on_proposed(now, proposal, Reply::from_bytes(&reply).ok());
                }
            }
            Output::Failed { ticket, .. } => {
                if let Some(proposal) = self.proposals.remove(&ticket) {
                    self.upkeep.on_proposed(now, proposal, None);
                }
            }
            Output::SessionBegan { .. } | Output::Closed => {}
        }
    }
}
