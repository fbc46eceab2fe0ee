//! One replica on a disk in memory: the driver's work, done at once and metered.

use std::collections::VecDeque;

use bytes::Bytes;
use protocol::catalog::{Catalog, CatalogLimits};
use protocol::config::{Config, Limits, Timeouts};
use protocol::data::placement::Layout;
use protocol::data::receipt::ReceiptKey;
use protocol::entry::EntryHeader;
use protocol::message::Message;
use protocol::quorums::Quorums;
use protocol::state::State;
use protocol::superblock::Superblock;
use protocol::tables::{Checkpoint, RowSum};
use protocol::types::{ClusterId, Epoch, Peer, ReplicaId, Tick, Timestamp};
use protocol::vsr::{Effect, Replica};
use replica::storage::disk::SimulatedDisk;
use replica::storage::superblock::SuperblockStore;
use replica::storage::tables::{DiskTables, Flushed, TablesOptions};
use replica::storage::wal::{Wal, WalOptions};

use crate::meter::{Meter, Stage};

pub(crate) const REPLICA_COUNT: u8 = 3;
pub(crate) const CLUSTER: ClusterId = ClusterId::new(1);
pub(crate) const EPOCH: Epoch = Epoch::new(1);

/// A flush takes as long as so many groups of the log: meanwhile reads go through frozen rows.
const FLUSH_GROUPS: u32 = 32;

type Core = Replica<Catalog, DiskTables>;

pub(crate) struct Node {
    core: Core,
    wal: Wal<SimulatedDisk>,
    superblocks: SuperblockStore<SimulatedDisk>,
    flushed: Option<(Flushed, u32)>,
    pub(crate) outbox: Vec<(Peer, Bytes)>,
    pub(crate) meter: Meter,
    pub(crate) checkpoints: u64,
}

pub(crate) fn catalog() -> Catalog {
    let layout = Layout::first(Quorums::of(usize::from(REPLICA_COUNT)));
    Catalog::new(CatalogLimits::standard(), layout, ReceiptKey::new([7; 32]))
}

pub(crate) fn genesis() -> EntryHeader {
    EntryHeader::genesis(CLUSTER, EPOCH)
}

pub(crate) fn open_wal(disk: &SimulatedDisk, id: ReplicaId) -> (Wal<SimulatedDisk>, protocol::wal::WalScan) {
    let options = WalOptions { segment_size: WalOptions::SEGMENT_SIZE, never_used: true };
    Wal::open(disk, CLUSTER, id, options).expect("the disk has no faults")
}

pub(crate) fn open_tables(disk: &SimulatedDisk) -> DiskTables {
    let genesis = Checkpoint { header: genesis(), root: RowSum::ZERO };
    DiskTables::open(disk, &genesis, TablesOptions::standard()).expect("the disk has no faults")
}

impl Node {
    pub(crate) fn new(id: ReplicaId) -> Node {
        let disk = SimulatedDisk::new(u64::from(id.get()));
        let superblock = Superblock::format(CLUSTER, EPOCH, id, REPLICA_COUNT);
        let superblocks = SuperblockStore::format(&disk, &superblock).expect("the disk has no faults");
        let (wal, scan) = open_wal(&disk, id);
        let limits = Limits::standard();
        let state = State::new(catalog(), open_tables(&disk), limits).expect("the disk has no faults");
        let config = Config {
            cluster: CLUSTER,
            epoch: EPOCH,
            replica: id,
            quorums: Quorums::of(usize::from(REPLICA_COUNT)),
            limits,
            timeouts: Timeouts::standard(),
        };
        let mut core = Replica::new(config, superblock, scan, state, u64::from(id.get()));
        let mut effects = Vec::new();
        core.start(Tick::ZERO, Timestamp::new(1), &mut effects);
        let mut node = Node {
            core,
            wal,
            superblocks,
            flushed: None,
            outbox: Vec::new(),
            meter: Meter::default(),
            checkpoints: 0,
        };
        node.perform(effects);
        node
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.core.is_primary()
    }

    pub(crate) fn applied(&self) -> u64 {
        self.core.applied().get()
    }

    pub(crate) fn receive(&mut self, frames: Vec<Bytes>) {
        self.meter.enter(Stage::Decode);
        let decode = |frame| Message::decode(frame).expect("nothing is lost or damaged on the way");
        let messages: Vec<Message> = frames.into_iter().map(decode).collect();
        self.meter.enter(Stage::Decide);
        let mut effects = Vec::new();
        for message in messages {
            self.core.on_message(message, &mut effects);
        }
        self.perform(effects);
    }

    pub(crate) fn tick(&mut self, tick: Tick, clock: Timestamp) {
        self.meter.enter(Stage::Decide);
        let mut effects = Vec::new();
        self.core.on_tick(tick, clock, &mut effects);
        self.perform(effects);
    }

    /// Writes what was appended, and tells the core what is durable now.
    pub(crate) fn write_group(&mut self) {
        self.finish_flush();
        if !self.wal.has_pending() {
            return;
        }
        self.meter.enter(Stage::Log);
        if let Some(job) = self.wal.order_spare() {
            self.wal.install_spare(job.run().expect("the disk has no faults"));
        }
        let durable = self.wal.commit_group().expect("the disk has no faults");
        self.meter.enter(Stage::Decide);
        let mut effects = Vec::new();
        for (op, name) in durable {
            self.core.on_appended(op, name, &mut effects);
        }
        self.perform(effects);
    }

    fn finish_flush(&mut self) {
        let Some((_, groups)) = &mut self.flushed else { return };
        *groups -= 1;
        if *groups > 0 {
            return;
        }
        let (flushed, _) = self.flushed.take().expect("it was just seen");
        self.meter.enter(Stage::Checkpoint);
        assert!(self.core.state_mut().tables_mut().finish_flush(flushed));
        self.checkpoints += 1;
        self.meter.enter(Stage::Decide);
        let mut effects = Vec::new();
        self.core.on_checkpoint_flushed(&mut effects);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Send { to, message } => {
                    self.meter.enter(Stage::Encode);
                    self.outbox.push((to, message.encode()));
                }
                Effect::Append { entry } => {
                    self.meter.enter(Stage::Log);
                    self.wal.append(&entry).expect("the disk has no faults");
                }
                Effect::WriteSuperblock(superblock) => {
                    self.meter.enter(Stage::Superblock);
                    self.superblocks.write(&superblock).expect("the disk has no faults");
                    self.meter.enter(Stage::Decide);
                    let mut more = Vec::new();
                    self.core.on_superblock_written(&mut more);
                    queue.extend(more);
                }
                Effect::ReadEntry { op, name } => {
                    self.meter.enter(Stage::Log);
                    let entry = self.wal.read(op, name).expect("the disk has no faults");
                    self.meter.enter(Stage::Decide);
                    let mut more = Vec::new();
                    self.core.on_entry_read(op, name, entry, &mut more);
                    queue.extend(more);
                }
                Effect::GoOn => {
                    self.meter.enter(Stage::Decide);
                    let mut more = Vec::new();
                    self.core.go_on(&mut more);
                    queue.extend(more);
                }
                Effect::Reclaim { through } => {
                    self.meter.enter(Stage::Log);
                    self.wal.reclaim(through);
                }
                Effect::FlushCheckpoint => {
                    self.meter.enter(Stage::Checkpoint);
                    let job = self.core.state().tables().flush_job().expect("the core has frozen them");
                    self.flushed = Some((job.run().expect("the disk has no faults"), FLUSH_GROUPS));
                }
                Effect::Halt(why) => panic!("a replica stopped itself: {why:?}"),
                Effect::Event(_) => {}
            }
        }
        self.meter.leave();
    }
}
