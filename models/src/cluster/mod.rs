//! The real core, three times, in every order of events.
//!
//! A state is three replicas, the messages that may still arrive, and what was ever committed. A step
//! is one input of one replica, all the way until its disk has nothing to do (or, with slow disks,
//! until the core has answered). What a replica does depends only on itself and on the input, and
//! there are far fewer different replicas than states: each pair is executed once and remembered.

mod judge;
mod mail;
mod moves;
mod node;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use protocol::entry::{Entry, Operation, Request};
use protocol::message::{Body, Message};
use protocol::types::{
    Checksum, ClientId, Incarnation, Nonce, Op, Peer, RELEASE, REPLICAS_MAX, ReplicaId, RequestNumber,
    SessionId, Timestamp, View,
};
use protocol::vsr::StatusName;

pub use judge::PROPERTIES;
use mail::{Kind, MailId, Post, is_dead};
pub use node::Disks;
use node::{CLUSTER, EPOCH, Input, Node, Outcome, REPLICA_COUNT};

/// The bounds of a model.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Clients with one operation each. Every primary may get it, whether another one had it or not.
    pub operations: u8,
    /// Entries that may be uncommitted. A vote and a `StartView` carry one header more than that.
    pub pipeline_max: u64,
    /// Views begin with 1, which everybody follows in the beginning.
    pub views: u8,
    /// Whose disks are lost and replaced, one after the other, each at any moment.
    pub wipes: &'static [u8],
    /// Whether processes crash and start again: at any moment, any number of times.
    pub crashes: bool,
    pub disks: Disks,
    /// What a lost disk is replaced with.
    pub replacement: Replacement,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// An empty disk that knows that it is one, and rejoins.
    Amnesiac,
    /// An empty disk that takes itself for that of a new cluster: the mistake that a `Rejoin` prevents.
    Blank,
}

/// A replica's number among all replicas ever seen; equal ones have one number.
type NodeId = u32;
/// The number of an entry, by name.
type EntryId = u8;

/// Entries known to be committed, by op from 1: the entry, and the view that committed it.
type Ledger = Vec<Option<(EntryId, View)>>;

#[derive(Clone, PartialEq, Eq)]
pub struct World {
    nodes: [NodeId; REPLICA_COUNT],
    /// Ascending.
    mail: Rc<[MailId]>,
    ledger: u32,
    wipes: u8,
    /// So many clients have spoken. They are alike: the next one is that of the next number.
    clients: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Deliver(MailId),
    Submit(u8),
    LeaveFor(u8),
    BeatTo(u8),
    Ask,
    Crash,
    Wipe,
    Appended,
    SuperblockWritten,
}

/// One step: to whom it happens, and which of its possible ends it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    replica: u8,
    what: What,
    end: u8,
    /// Which of the questions that were asked is answered, and how that ends. Zero: none.
    follow: u8,
    follow_end: u8,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Action { replica, what, end, follow, follow_end } = self;
        write!(f, "r{replica} {what:?} {end}.{follow}.{follow_end}")
    }
}

/// What properties and network ask about a replica, looked up once.
pub struct Facts {
    view: View,
    log_view: View,
    durable_view: View,
    durable_log_view: View,
    status: StatusName,
    is_primary: bool,
    amnesiac: bool,
    incarnation: u64,
    commit: Op,
    /// By op from 1: the entry, and whether its body is on the disk.
    log: Vec<(EntryId, bool)>,
    /// The same by name, as far as the bodies are on the disk without a gap.
    durable: Vec<Checksum>,
    acknowledged: Option<[Op; REPLICAS_MAX]>,
    asked_view: Option<Nonce>,
    awaits_grant: Option<Nonce>,
    challenges: Vec<(ReplicaId, Nonce, Nonce)>,
    appends_pending: bool,
    superblock_pending: bool,
}

/// An input as a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Asked {
    Mail(MailId),
    Submit(u8),
    LeaveFor(u8),
    Beat,
    Tick,
    Crash,
    Appended,
    SuperblockWritten,
}

/// An outcome in numbers.
struct End {
    node: NodeId,
    mail: Vec<MailId>,
    questions: Vec<MailId>,
    beats: Vec<MailId>,
    committed: Vec<(Op, EntryId, View)>,
    counted: Option<(View, Vec<(ReplicaId, u64)>)>,
    crashed: bool,
    wrong: Option<String>,
}

pub struct Cluster {
    bounds: Bounds,
    nodes: Vec<(Node, Facts)>,
    node_numbers: HashMap<u128, NodeId>,
    post: Post,
    entries: Vec<Entry>,
    entry_numbers: HashMap<Checksum, EntryId>,
    ledgers: Vec<Ledger>,
    ledger_numbers: HashMap<Ledger, u32>,
    steps: HashMap<(NodeId, Asked), Rc<[End]>>,
}

impl Cluster {
    pub fn new(bounds: Bounds) -> Cluster {
        Cluster {
            bounds,
            nodes: Vec::new(),
            node_numbers: HashMap::new(),
            post: Post::default(),
            entries: Vec::new(),
            entry_numbers: HashMap::new(),
            ledgers: Vec::new(),
            ledger_numbers: HashMap::new(),
            steps: HashMap::new(),
        }
    }

    /// How many different replicas were seen.
    pub fn replicas_seen(&self) -> usize {
        self.nodes.len()
    }

    /// Who was seen to vote again after its disk had been lost.
    pub fn readmitted(&self) -> BTreeSet<u8> {
        let back = |(node, facts): &(Node, Facts)| {
            let is_back = facts.incarnation > 0 && !facts.amnesiac;
            is_back.then(|| node.core().durable_superblock().replica.get())
        };
        self.nodes.iter().filter_map(back).collect()
    }

    fn facts(&self, node: NodeId) -> &Facts {
        &self.nodes[node as usize].1
    }

    fn node_number(&mut self, node: Node) -> NodeId {
        let key = xxhash_rust::xxh3::xxh3_128(&node.identity());
        if let Some(number) = self.node_numbers.get(&key) {
            return *number;
        }
        let facts = self.look_at(&node);
        let number = NodeId::try_from(self.nodes.len()).expect("far fewer than states");
        self.nodes.push((node, facts));
        self.node_numbers.insert(key, number);
        number
    }

    fn look_at(&mut self, node: &Node) -> Facts {
        let core = node.core();
        let inspection = core.inspect();
        let log = inspection.log.iter().map(|(op, name, durable)| {
            let held = *durable && node.holds(*op, *name);
            (self.entry_numbers[name], held)
        });
        let durable =
            inspection.log.iter().take_while(|(op, name, durable)| *durable && node.holds(*op, *name));
        let durable = durable.map(|(_, name, _)| *name);
        Facts {
            view: core.view(),
            log_view: core.log_view(),
            durable_view: core.durable_superblock().view,
            durable_log_view: core.durable_superblock().log_view,
            status: inspection.status,
            is_primary: inspection.is_primary,
            amnesiac: core.durable_superblock().amnesiac.is_some(),
            incarnation: core.durable_superblock().incarnation.get(),
            commit: core.commit(),
            log: log.collect(),
            durable: durable.collect(),
            acknowledged: inspection.acknowledged,
            asked_view: inspection.asked_view,
            awaits_grant: inspection.awaits_grant,
            challenges: inspection.challenges,
            appends_pending: node.appends_pending(),
            superblock_pending: node.superblock_pending(),
        }
    }

    fn know_entry(&mut self, entry: &Entry) {
        if !self.entry_numbers.contains_key(&entry.name) {
            let number = EntryId::try_from(self.entries.len()).expect("a small cluster has few entries");
            self.entries.push(entry.clone());
            self.entry_numbers.insert(entry.name, number);
        }
    }

    fn ledger_number(&mut self, ledger: Ledger) -> u32 {
        if let Some(number) = self.ledger_numbers.get(&ledger) {
            return *number;
        }
        let number = u32::try_from(self.ledgers.len()).expect("there are few ledgers");
        self.ledgers.push(ledger.clone());
        self.ledger_numbers.insert(ledger, number);
        number
    }

    fn number_end(&mut self, outcome: Outcome) -> End {
        for (_, message) in &outcome.sent {
            if let Body::Prepare { entry, .. } = &message.body {
                self.know_entry(entry);
            }
        }
        let mut end = End {
            node: 0,
            mail: Vec::new(),
            questions: Vec::new(),
            beats: Vec::new(),
            committed: Vec::new(),
            counted: outcome.counted,
            crashed: outcome.crashed,
            wrong: outcome.halt,
        };
        for (to, message) in outcome.sent {
            let Some(id) = self.post.number(to, message) else { continue };
            let list = match self.post.get(id).kind {
                Kind::Question => &mut end.questions,
                Kind::Beat => &mut end.beats,
                _ => &mut end.mail,
            };
            if !list.contains(&id) {
                list.push(id);
            }
        }
        for (op, name, view) in outcome.committed {
            end.committed.push((op, self.entry_numbers[&name], view));
        }
        end.node = self.node_number(outcome.node);
        end
    }

    /// All ends of an input to a replica.
    fn step(&mut self, number: NodeId, asked: Asked) -> Rc<[End]> {
        if let Some(ends) = self.steps.get(&(number, asked)) {
            return Rc::clone(ends);
        }
        let node = self.nodes[number as usize].0.clone();
        let message;
        let input = match asked {
            Asked::Mail(id) => {
                message = self.post.get(id).message.clone();
                Input::Message(&message)
            }
            Asked::Submit(client) => {
                message = register(client);
                Input::Message(&message)
            }
            Asked::LeaveFor(view) => Input::LeaveFor(View::new(u64::from(view))),
            Asked::Beat => Input::Beat,
            Asked::Tick => Input::Tick,
            Asked::Crash => Input::Crash,
            Asked::Appended => Input::Appended,
            Asked::SuperblockWritten => Input::SuperblockWritten,
        };
        let Bounds { disks, crashes, .. } = self.bounds;
        let stepped = catch_unwind(AssertUnwindSafe(|| node.step(&input, disks, crashes)));
        let mut ends: Vec<End> = Vec::new();
        match stepped {
            Ok(outcomes) => {
                for outcome in outcomes {
                    let end = self.number_end(outcome);
                    let again = |other: &End| {
                        (other.node, &other.mail, &other.questions, &other.committed)
                            == (end.node, &end.mail, &end.questions, &end.committed)
                    };
                    if !ends.iter().any(again) {
                        ends.push(end);
                    }
                }
            }
            Err(panic) => ends.push(End {
                node: number,
                mail: Vec::new(),
                questions: Vec::new(),
                beats: Vec::new(),
                committed: Vec::new(),
                counted: None,
                crashed: false,
                wrong: Some(format!("an assertion of the core failed: {}", panic_text(&panic))),
            }),
        }
        let ends: Rc<[End]> = ends.into();
        self.steps.insert((number, asked), Rc::clone(&ends));
        ends
    }

    /// The world after one end of an input to `replica`: what was sent is in the network, what can
    /// have no effect is not, and what was committed is on record.
    fn after(&mut self, world: &World, replica: usize, end: &End) -> Result<World, String> {
        if let Some(wrong) = &end.wrong {
            return Err(format!("r{replica} stopped: {wrong}"));
        }
        let mut after = world.clone();
        after.nodes[replica] = end.node;
        after.ledger = self.record(world.ledger, replica, &end.committed)?;
        if let Some((view, counted)) = &end.counted {
            self.judge_election(after.ledger, replica, *view, counted)?;
        }
        let mut mail = world.mail.to_vec();
        for id in &end.mail {
            if let Err(at) = mail.binary_search(id) {
                self.judge_vote(&mail, *id)?;
                mail.insert(at, *id);
            }
        }
        after.mail = mail.into();
        Ok(after)
    }

    fn bury_the_dead(&self, world: &mut World) {
        let alive = |id: &&MailId| {
            let mail = self.post.get(**id);
            let (to, from) = (self.facts(world.nodes[mail.to]), self.facts(world.nodes[mail.from]));
            let wipes_left = &self.bounds.wipes[usize::from(world.wipes)..];
            let settled = !to.amnesiac && !wipes_left.iter().any(|wiped| usize::from(*wiped) == mail.to);
            !is_dead(mail, to, from, settled)
        };
        if !world.mail.iter().all(|id| alive(&id)) {
            world.mail = world.mail.iter().filter(alive).copied().collect();
        }
    }
}

fn register(client: u8) -> Message {
    let client = ClientId::new(u128::from(client) + 1);
    let request = Request {
        client,
        session: SessionId::ZERO,
        number: RequestNumber::ZERO,
        answered_below: RequestNumber::ZERO,
        deadline: Timestamp::new(u64::MAX),
        operation: Operation::Register,
    };
    Message {
        cluster: CLUSTER,
        epoch: EPOCH,
        release: RELEASE,
        from: Peer::Client(client),
        view: View::ZERO,
        incarnation: Incarnation::ZERO,
        checkpoint: Op::ZERO,
        floor: Op::ZERO,
        body: Body::Request(request),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}
