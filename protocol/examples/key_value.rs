//! A replicated key-value map, in one file: three replicas, a network and disks that are vectors in
//! memory, and the same core that replicates the catalog.
//!
//! ```text
//! cargo run --release -p viewstone-protocol --example key_value
//! ```

use std::collections::VecDeque;

use bytes::Bytes;
use protocol::config::{Config, Limits, Timeouts};
use protocol::entry::{Entry, EntryHeader, Operation, Request};
use protocol::machine::{Context, Invalid, Machine, QueryContext};
use protocol::message::{Body, Message, QueryAnswer};
use protocol::quorums::Quorums;
use protocol::state::{Outcome, Reply, State};
use protocol::superblock::Superblock;
use protocol::tables::{MemoryTables, TableFault, Tables};
use protocol::types::{
    ClientId, ClusterId, Epoch, Incarnation, Op, Peer, RELEASE, ReplicaId, RequestNumber, SessionId, Tick,
    Timestamp, View,
};
use protocol::vsr::{Effect, Replica};
use protocol::wal::{WalRecord, WalScan};

/// The state machine: `key=value` sets a key and answers with what was there before.
struct KeyValue;

impl Machine for KeyValue {
    fn validate(&self, _: SessionId, operation: &Bytes) -> Result<(), Invalid> {
        if operation.contains(&b'=') { Ok(()) } else { Err(Invalid("expected key=value")) }
    }

    fn grows(&self, _: &Bytes) -> bool {
        true
    }

    fn apply<T: Tables>(
        &self,
        tables: &mut T,
        _: &Context<'_>,
        operation: &Bytes,
    ) -> Result<Bytes, TableFault> {
        let Some(split) = operation.iter().position(|byte| *byte == b'=') else { return Ok(Bytes::new()) };
        let key = [&[0x10], &operation[..split]].concat();
        let before = tables.get(&key)?;
        tables.put(&key, &operation[split + 1..]);
        Ok(before.unwrap_or_default())
    }

    fn query<T: Tables>(
        &self,
        tables: &T,
        _: &QueryContext<'_>,
        key: &Bytes,
    ) -> Result<Result<Bytes, Invalid>, TableFault> {
        let value = tables.get(&[&[0x10], key.as_ref()].concat())?;
        Ok(Ok(value.unwrap_or_default()))
    }
}

const CLUSTER: ClusterId = ClusterId::new(0x5107);
const CLIENT: ClientId = ClientId::new(0xc11e);

/// One replica and what survives its crash: a superblock and a list of entries.
struct Node {
    core: Option<Replica<KeyValue, MemoryTables>>,
    superblock: Superblock,
    wal: Vec<Entry>,
}

/// Everything, on one clock.
struct World {
    nodes: Vec<Node>,
    mail: VecDeque<(Peer, Message)>,
    inbox: VecDeque<Message>,
    now: u64,
}

impl World {
    fn new(count: u8) -> World {
        let nodes = (0..count).map(|id| Node {
            core: None,
            superblock: Superblock::format(CLUSTER, Epoch::new(1), ReplicaId::new(id), count),
            wal: Vec::new(),
        });
        let mut world =
            World { nodes: nodes.collect(), mail: VecDeque::new(), inbox: VecDeque::new(), now: 0 };
        for index in 0..usize::from(count) {
            world.start(index);
        }
        world
    }

    /// Starts a replica from what its disk holds.
    fn start(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let genesis = EntryHeader::genesis(CLUSTER, Epoch::new(1));
        let limits = Limits::standard();
        let state = State::new(KeyValue, MemoryTables::new(genesis), limits).expect("memory does not rot");
        let config = Config {
            cluster: CLUSTER,
            epoch: Epoch::new(1),
            replica: node.superblock.replica,
            quorums: Quorums::of(usize::from(node.superblock.replica_count)),
            limits,
            timeouts: Timeouts::standard(),
        };
        let record =
            |entry: &Entry| WalRecord { header: entry.header.clone(), name: entry.name, present: true };
        let scan = WalScan { records: node.wal.iter().map(record).collect(), certain: true };
        let mut core = Replica::new(config, node.superblock.clone(), scan, state, index as u64);
        let mut effects = Vec::new();
        core.start(Tick::new(self.now), Timestamp::new(self.now * 1_000), &mut effects);
        node.core = Some(core);
        self.perform(index, effects);
    }

    /// Does what a core wants. Disks here are instant, so completions follow at once.
    fn perform(&mut self, index: usize, effects: Vec<Effect>) {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            let node = &mut self.nodes[index];
            let Some(core) = node.core.as_mut() else { return };
            let mut more = Vec::new();
            match effect {
                Effect::Send { to: Peer::Client(_), message } => self.inbox.push_back(message),
                Effect::Send { to, message } => self.mail.push_back((to, message)),
                Effect::Append { entry } => {
                    let (op, name) = (entry.op(), entry.name);
                    node.wal.push(entry);
                    core.on_appended(op, name, &mut more);
                }
                Effect::WriteSuperblock(superblock) => {
                    node.superblock = *superblock;
                    core.on_superblock_written(&mut more);
                }
                Effect::ReadEntry { op, name } => {
                    let entry = node.wal.iter().find(|entry| entry.name == name).cloned();
                    core.on_entry_read(op, name, entry, &mut more);
                }
                Effect::GoOn => core.go_on(&mut more),
                // These tables vanish with the process, so the log must stay whole.
                Effect::Reclaim { .. } | Effect::FlushCheckpoint | Effect::Event(_) => {}
                Effect::Halt(why) => panic!("replica {index} stopped itself: {why:?}"),
            }
            queue.extend(more);
        }
    }

    /// Lets ten milliseconds pass.
    fn step(&mut self) {
        self.now += 10;
        let (tick, clock) = (Tick::new(self.now), Timestamp::new(self.now * 1_000));
        for index in 0..self.nodes.len() {
            let mut effects = Vec::new();
            if let Some(core) = self.nodes[index].core.as_mut() {
                core.on_tick(tick, clock, &mut effects);
            }
            self.perform(index, effects);
        }
        while let Some((to, message)) = self.mail.pop_front() {
            let Peer::Replica(id) = to else { continue };
            let mut effects = Vec::new();
            if let Some(core) = self.nodes[id.index()].core.as_mut() {
                core.on_message(message, &mut effects);
            }
            self.perform(id.index(), effects);
        }
    }

    fn primary(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.core.as_ref().is_some_and(Replica::is_primary))
    }

    /// Sends to whoever leads, again and again, until an answer comes.
    fn ask(&mut self, body: &Body, mut answer: impl FnMut(&Body) -> bool) {
        for round in 0..10_000 {
            if round % 20 == 0
                && let Some(primary) = self.primary()
            {
                let message = Message {
                    cluster: CLUSTER,
                    epoch: Epoch::new(1),
                    release: RELEASE,
                    from: Peer::Client(CLIENT),
                    view: View::ZERO,
                    incarnation: Incarnation::ZERO,
                    checkpoint: Op::ZERO,
                    floor: Op::ZERO,
                    body: body.clone(),
                };
                let id = ReplicaId::new(u8::try_from(primary).expect("three replicas"));
                self.mail.push_back((Peer::Replica(id), message));
            }
            self.step();
            while let Some(message) = self.inbox.pop_front() {
                if answer(&message.body) {
                    return;
                }
            }
        }
        panic!("no answer in {} ms", self.now);
    }

    fn request(&mut self, session: SessionId, number: u64, operation: Operation) -> Reply {
        let body = Body::Request(Request {
            client: CLIENT,
            session,
            number: RequestNumber::new(number),
            answered_below: RequestNumber::new(number),
            deadline: Timestamp::new(u64::MAX),
            operation,
        });
        let mut result = None;
        self.ask(&body, |body| match body {
            Body::Reply(reply) if reply.number.get() == number => {
                result = Some(reply.clone());
                true
            }
            _ => false,
        });
        result.expect("ask returns with an answer")
    }

    fn read(&mut self, key: &'static str) -> Bytes {
        let query = Body::Query { number: 1, query: Bytes::from_static(key.as_bytes()) };
        let mut result = None;
        self.ask(&query, |body| match body {
            Body::QueryReply { answer: QueryAnswer::Done(value), .. } => {
                result = Some(value.clone());
                true
            }
            _ => false,
        });
        result.expect("ask returns with an answer")
    }
}

fn main() {
    let mut world = World::new(3);
    let reply = world.request(SessionId::ZERO, 0, Operation::Register);
    assert!(matches!(reply.outcome, Outcome::Registered { .. }));
    let session = reply.session;
    println!("registered: session {session}, primary {:?}", world.primary());

    for number in 1..=50 {
        let operation = Operation::Machine(format!("answer={number}").into());
        let reply = world.request(session, number, operation);
        assert!(matches!(reply.outcome, Outcome::Done(_)), "{reply:?}");
    }
    println!("50 writes: answer = {:?}", world.read("answer"));

    let old = world.primary().expect("somebody leads");
    world.nodes[old].core = None;
    println!("replica {old} is dead");
    let reply = world.request(session, 51, Operation::Machine("answer=51".into()));
    println!("replica {:?} leads; the write replaced {:?}", world.primary(), reply.outcome);

    world.start(old);
    for other in 0..3 {
        if other != old {
            world.nodes[other].core = None;
            world.start(other);
        }
    }
    assert_eq!(world.read("answer"), Bytes::from_static(b"51"));
    println!("everybody restarted: answer = {:?}", world.read("answer"));
}
