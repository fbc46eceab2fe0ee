//! "Viewstamped Replication Revisited", by the letter: three replicas that keep everything in memory.
//!
//! Not our protocol, but a test of the search: two of the paper's rules are known to lose what was
//! acknowledged, and a search that does not find both would prove nothing about other rules.
//!
//! - Recovery (section 4.3) restores a replica's log from its peers, but not what it had promised
//!   before: P13, found by Michael, Ports, Sharma and Szekeres (DISC 2017).
//! - State transfer (section 5.2) to a newer view cuts off what is not known to be committed, and takes
//!   the newer view's number before the log of that view has come: P74, found by Vanlightly (2022).

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use crate::search::{Model, Visit};

const REPLICA_COUNT: u8 = 3;
/// Failures that are tolerated: the paper's f.
const FAILURES_MAX: usize = 1;

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub operations: u8,
    /// The last view; they begin with 0.
    pub views: u8,
    /// Who loses its memory and recovers, one after the other, each at any moment.
    pub wipes: &'static [u8],
    /// Whether a replica that hears of a newer view from a `Prepare` transfers the state as the paper
    /// has it. Otherwise it waits to be told the log.
    pub truncating_transfer: bool,
}

/// An operation, and the view that gave it its place.
type Entry = (u8, u8);
type Log = Vec<Entry>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Status {
    Normal,
    ViewChange,
    Recovering,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Replica {
    status: Status,
    view: u8,
    log: Log,
    /// The last view in which it was normal.
    normal_view: u8,
    commit: u8,
    /// Whose `StartViewChange` for the present view came.
    heard: BTreeSet<u8>,
    votes: BTreeSet<Vote>,
    acknowledged: [u8; REPLICA_COUNT as usize],
    nonce: u8,
    responses: BTreeSet<Response>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Vote {
    normal_view: u8,
    log: Log,
    commit: u8,
    from: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Response {
    view: u8,
    from: u8,
    /// Only the primary of the view tells.
    state: Option<(Log, u8)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Body {
    Prepare { view: u8, op: u8, entry: Entry, commit: u8 },
    PrepareOk { view: u8, op: u8, from: u8 },
    StartViewChange { view: u8, from: u8 },
    DoViewChange { view: u8, vote: Vote },
    StartView { view: u8, log: Log, commit: u8 },
    Recovery { nonce: u8, from: u8 },
    RecoveryResponse { nonce: u8, response: Response },
    GetState { view: u8, after: u8, from: u8 },
    NewState { view: u8, after: u8, log: Log, commit: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Message {
    to: u8,
    body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    replicas: [Rc<Replica>; REPLICA_COUNT as usize],
    mail: BTreeSet<Rc<Message>>,
    /// By op from 1: what was committed, and in which view.
    committed: Vec<(Entry, u8)>,
    wipes: u8,
}

#[derive(Clone, Copy, Debug)]
pub enum Action {
    Submit(u8, u8),
    Suspect(u8),
    Wipe(u8),
    /// The message of this place in the network.
    Deliver(u16),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

pub struct Paper {
    bounds: Bounds,
}

impl Paper {
    pub fn new(bounds: Bounds) -> Paper {
        Paper { bounds }
    }
}

impl Model for Paper {
    type State = World;
    type Action = Action;

    fn initial(&mut self) -> World {
        let replica = || Rc::new(Replica::normal_in(0, Log::new(), 0));
        World {
            replicas: [replica(), replica(), replica()],
            mail: BTreeSet::new(),
            committed: Vec::new(),
            wipes: 0,
        }
    }

    fn fingerprint(&self, world: &World) -> u64 {
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        hasher.finish()
    }

    fn successors(&mut self, world: &World, visit: &mut Visit<'_, Paper>) {
        let mut try_one = |action: Action, step: &dyn Fn(&mut World)| {
            let mut after = world.clone();
            step(&mut after);
            let outcome = after.note_commits().map(|()| after.without_dead_mail());
            if outcome.as_ref() != Ok(world) {
                visit(action, outcome);
            }
        };
        for id in 0..REPLICA_COUNT {
            let replica = &world.replicas[usize::from(id)];
            for operation in 0..self.bounds.operations {
                try_one(Action::Submit(id, operation), &|world| world.submit(id, operation));
            }
            if replica.view < self.bounds.views && replica.status != Status::Recovering {
                try_one(Action::Suspect(id), &|world| world.leave(id, replica.view + 1));
            }
            let recovering = world.replicas.iter().any(|other| other.status == Status::Recovering);
            let next = self.bounds.wipes.get(usize::from(world.wipes));
            if next == Some(&id) && !recovering {
                try_one(Action::Wipe(id), &|world| world.wipe(id));
            }
        }
        for (place, message) in (0_u16..).zip(&world.mail) {
            let rules = self.bounds;
            try_one(Action::Deliver(place), &|world| world.deliver(Message::clone(message), rules));
        }
    }

    fn violation(&self, world: &World) -> Option<String> {
        for (index, (entry, view)) in world.committed.iter().enumerate() {
            for (id, replica) in world.replicas.iter().enumerate() {
                let lost = replica.log.get(index) != Some(entry);
                // A backup may lag in its own view; the primary of a later one begins with everything.
                let leads = primary_of(replica.view) == u8::try_from(id).expect("three replicas");
                if replica.status == Status::Normal && replica.view > *view && leads && lost {
                    return Some(format!(
                        "operation {} was committed in view {view}, and r{id} leads view {} without it",
                        entry.0, replica.view
                    ));
                }
            }
        }
        None
    }

    fn tell(&self, before: &World, action: Action, after: &World) -> String {
        let text = match action {
            Action::Submit(id, operation) => format!("r{id} gets request {operation}"),
            Action::Suspect(id) => format!("r{id} suspects its primary"),
            Action::Wipe(id) => format!("r{id} loses its memory, and recovers"),
            Action::Deliver(place) => {
                let message = before.mail.iter().nth(usize::from(place));
                message.map_or(String::new(), |message| format!("r{} gets {:?}", message.to, message.body))
            }
        };
        let mut line = format!("{text:<110}");
        for replica in &after.replicas {
            let Replica { status, view, log, commit, .. } = &**replica;
            line.push_str(&format!(" │ {status:?} v{view} c{commit} {log:?}"));
        }
        line
    }
}

fn primary_of(view: u8) -> u8 {
    view % REPLICA_COUNT
}

fn length(log: &Log) -> u8 {
    u8::try_from(log.len()).expect("logs are short")
}

impl Replica {
    fn normal_in(view: u8, log: Log, commit: u8) -> Replica {
        Replica {
            status: Status::Normal,
            view,
            log,
            normal_view: view,
            commit,
            heard: BTreeSet::new(),
            votes: BTreeSet::new(),
            acknowledged: [0; REPLICA_COUNT as usize],
            nonce: 0,
            responses: BTreeSet::new(),
        }
    }
}

impl World {
    /// Without questions and answers of a recovery that is over: nobody minds them any more.
    fn without_dead_mail(mut self) -> World {
        let replicas = &self.replicas;
        let asks = |id: u8, nonce| {
            let replica = &replicas[usize::from(id)];
            replica.status == Status::Recovering && replica.nonce == nonce
        };
        self.mail.retain(|message| match &message.body {
            Body::Recovery { nonce, from } => asks(*from, *nonce),
            Body::RecoveryResponse { nonce, .. } => asks(message.to, *nonce),
            _ => true,
        });
        self
    }

    fn send(&mut self, to: u8, body: Body) {
        self.mail.insert(Rc::new(Message { to, body }));
    }

    fn send_others(&mut self, from: u8, body: &Body) {
        for to in (0..REPLICA_COUNT).filter(|to| *to != from) {
            self.send(to, body.clone());
        }
    }

    fn at(&mut self, id: u8) -> &mut Replica {
        Rc::make_mut(&mut self.replicas[usize::from(id)])
    }

    fn leads(&self, id: u8) -> bool {
        let replica = &self.replicas[usize::from(id)];
        replica.status == Status::Normal && primary_of(replica.view) == id
    }

    /// What primaries know to be committed goes on record.
    fn note_commits(&mut self) -> Result<(), String> {
        for id in 0..REPLICA_COUNT {
            if !self.leads(id) {
                continue;
            }
            let replica = &self.replicas[usize::from(id)];
            for op in 0..usize::from(replica.commit) {
                let Some(entry) = replica.log.get(op).copied() else { continue };
                match self.committed.get(op) {
                    Some((other, _)) if *other == entry => {}
                    Some((other, view)) => {
                        return Err(format!(
                            "r{id} committed {entry:?} at op {}, where {other:?} was committed in view {view}",
                            op + 1
                        ));
                    }
                    None => self.committed.push((entry, replica.view)),
                }
            }
        }
        Ok(())
    }

    fn submit(&mut self, id: u8, operation: u8) {
        if !self.leads(id) {
            return;
        }
        let replica = self.at(id);
        if replica.log.iter().any(|(known, _)| *known == operation) {
            return;
        }
        let (view, commit) = (replica.view, replica.commit);
        replica.log.push((operation, view));
        let op = length(&replica.log);
        self.send_others(id, &Body::Prepare { view, op, entry: (operation, view), commit });
    }

    fn wipe(&mut self, id: u8) {
        self.wipes += 1;
        let nonce = self.wipes;
        *self.at(id) = Replica { status: Status::Recovering, nonce, ..Replica::normal_in(0, Log::new(), 0) };
        self.send_others(id, &Body::Recovery { nonce, from: id });
    }

    /// Section 4.2: advances the view and says so.
    fn leave(&mut self, id: u8, view: u8) {
        let replica = self.at(id);
        replica.view = view;
        replica.status = Status::ViewChange;
        replica.heard.clear();
        replica.votes.clear();
        self.send_others(id, &Body::StartViewChange { view, from: id });
    }

    fn deliver(&mut self, Message { to, body }: Message, rules: Bounds) {
        let recovering = self.replicas[usize::from(to)].status == Status::Recovering;
        match body {
            Body::RecoveryResponse { nonce, response } => {
                if recovering && self.at(to).nonce == nonce {
                    self.on_recovery_response(to, response);
                }
            }
            // Section 4.3: while it recovers, it takes part in nothing else.
            _ if recovering => {}
            Body::Prepare { view, op, entry, commit } => {
                self.on_prepare(to, view, (op, entry), commit, rules);
            }
            Body::PrepareOk { view, op, from } => self.on_prepare_ok(to, view, op, from),
            Body::StartViewChange { view, from } => self.on_start_view_change(to, view, from),
            Body::DoViewChange { view, vote } => self.on_do_view_change(to, view, vote),
            Body::StartView { view, log, commit } => self.on_start_view(to, view, log, commit),
            Body::Recovery { nonce, from } => self.on_recovery(to, nonce, from),
            Body::GetState { view, after, from } => {
                let replica = self.at(to);
                if replica.status == Status::Normal && replica.view == view {
                    let log = replica.log.get(usize::from(after)..).unwrap_or_default().to_vec();
                    let commit = replica.commit;
                    self.send(from, Body::NewState { view, after, log, commit });
                }
            }
            Body::NewState { view, after, log, commit } => {
                let replica = self.at(to);
                let fits =
                    replica.status == Status::Normal && replica.view == view && length(&replica.log) == after;
                if fits {
                    replica.log.extend(log);
                    replica.commit = replica.commit.max(commit);
                    self.acknowledge(to);
                }
            }
        }
    }

    fn acknowledge(&mut self, id: u8) {
        let replica = self.at(id);
        let (view, op) = (replica.view, length(&replica.log));
        if primary_of(view) != id && op > 0 {
            self.send(primary_of(view), Body::PrepareOk { view, op, from: id });
        }
    }

    fn on_prepare(&mut self, id: u8, view: u8, (op, entry): (u8, Entry), commit: u8, rules: Bounds) {
        let replica = self.at(id);
        if replica.status != Status::Normal || view < replica.view {
            return;
        }
        if view > replica.view {
            if rules.truncating_transfer {
                // Section 5.2: op-number becomes commit-number, all after it is removed.
                let commit = replica.commit;
                replica.log.truncate(usize::from(commit));
                replica.view = view;
                replica.normal_view = view;
                replica.acknowledged = [0; REPLICA_COUNT as usize];
                self.send(primary_of(view), Body::GetState { view, after: commit, from: id });
            }
            return;
        }
        if op == length(&replica.log) + 1 {
            replica.log.push(entry);
            replica.commit = replica.commit.max(commit);
            self.acknowledge(id);
        }
    }

    fn on_prepare_ok(&mut self, id: u8, view: u8, op: u8, from: u8) {
        if !self.leads(id) || self.at(id).view != view {
            return;
        }
        let replica = self.at(id);
        let known = &mut replica.acknowledged[usize::from(from)];
        *known = op.max(*known);
        let mut acknowledged = replica.acknowledged;
        acknowledged.sort_unstable_by(|a, b| b.cmp(a));
        let committed = acknowledged[FAILURES_MAX - 1].min(length(&replica.log));
        replica.commit = replica.commit.max(committed);
    }

    fn on_start_view_change(&mut self, id: u8, view: u8, from: u8) {
        if view > self.at(id).view {
            self.leave(id, view);
        }
        let replica = self.at(id);
        if view != replica.view || replica.status != Status::ViewChange {
            return;
        }
        replica.heard.insert(from);
        if replica.heard.len() >= FAILURES_MAX {
            let Replica { normal_view, log, commit, .. } = replica.clone();
            let vote = Vote { normal_view, log, commit, from: id };
            if primary_of(view) == id {
                self.on_do_view_change(id, view, vote);
            } else {
                self.send(primary_of(view), Body::DoViewChange { view, vote });
            }
        }
    }

    fn on_do_view_change(&mut self, id: u8, view: u8, vote: Vote) {
        if view > self.at(id).view {
            self.leave(id, view);
        }
        let replica = self.at(id);
        if view != replica.view || replica.status != Status::ViewChange || primary_of(view) != id {
            return;
        }
        replica.votes.insert(vote);
        let voters: BTreeSet<u8> = replica.votes.iter().map(|vote| vote.from).collect();
        if voters.len() > FAILURES_MAX && voters.contains(&id) {
            let best = replica.votes.iter().max_by_key(|vote| (vote.normal_view, vote.log.len()));
            let log = best.expect("there is a quorum").log.clone();
            let commit = replica.votes.iter().map(|vote| vote.commit).max().unwrap_or(0);
            *replica = Replica::normal_in(view, log.clone(), commit);
            self.send_others(id, &Body::StartView { view, log, commit });
        }
    }

    fn on_start_view(&mut self, id: u8, view: u8, log: Log, commit: u8) {
        let replica = self.at(id);
        let news = view > replica.view || (view == replica.view && replica.status == Status::ViewChange);
        if news && primary_of(view) != id {
            *replica = Replica::normal_in(view, log, commit);
            self.acknowledge(id);
        }
    }

    fn on_recovery(&mut self, id: u8, nonce: u8, from: u8) {
        let replica = self.at(id);
        if replica.status != Status::Normal {
            return;
        }
        let view = replica.view;
        let state = (primary_of(view) == id).then(|| (replica.log.clone(), replica.commit));
        let response = Response { view, from: id, state };
        self.send(from, Body::RecoveryResponse { nonce, response });
    }

    fn on_recovery_response(&mut self, id: u8, response: Response) {
        let replica = self.at(id);
        replica.responses.insert(response);
        let responders: BTreeSet<u8> = replica.responses.iter().map(|response| response.from).collect();
        let newest = replica.responses.iter().map(|response| response.view).max().unwrap_or(0);
        let told = replica.responses.iter().find(|told| told.view == newest && told.state.is_some());
        if responders.len() > FAILURES_MAX
            && let Some(Response { state: Some((log, commit)), .. }) = told
        {
            *replica = Replica::normal_in(newest, log.clone(), *commit);
        }
    }
}
