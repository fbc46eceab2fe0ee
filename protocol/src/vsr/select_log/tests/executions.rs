//! Executions of a small cluster, and in each of their states what every set of votes would choose.
//!
//! The model is a sequence of reigns. In a reign a primary extends the log it was elected with,
//! replicas install it, repair it, append and acknowledge, all of it as far as the choices say. What
//! happened in which order inside a reign is not modelled, for a vote shows only how far its caster
//! got in the end; who voted early is frozen from then on. Disks rot between reigns, and are lost and
//! replaced within them while votes of the lost disk are still on their way.

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use SlotState::{Faulty, Missing, Present};

/// Answers of "which of so many?": all combinations one after another, or those of a script.
struct Choices {
    script: Vec<usize>,
    taken: Vec<(usize, usize)>,
}

impl Choices {
    fn scripted(script: Vec<usize>) -> Choices {
        Choices { script, taken: Vec::new() }
    }

    fn choose(&mut self, options: usize) -> usize {
        let choice = self.script.get(self.taken.len()).map_or(0, |choice| choice % options);
        self.taken.push((choice, options));
        choice
    }

    fn flip(&mut self) -> bool {
        self.choose(2) == 1
    }
}

/// Runs once for each combination of answers; returns how many there were.
fn every_choice(mut run: impl FnMut(&mut Choices)) -> usize {
    let mut script = Vec::new();
    for count in 1.. {
        let mut choices = Choices::scripted(script);
        run(&mut choices);
        while choices.taken.last().is_some_and(|(choice, options)| choice + 1 == *options) {
            choices.taken.pop();
        }
        let Some((last, _)) = choices.taken.last_mut() else { return count };
        *last += 1;
        script = choices.taken.into_iter().map(|(choice, _)| choice).collect();
    }
    unreachable!("counting does not end before the combinations do")
}

/// An entry as the model knows it: a view prepares one entry at an op, so with the entries before it
/// this names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    view: u64,
    /// The replica that this entry readmits.
    rejoin: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    /// False while the disk is lost and its successor not yet readmitted.
    member: bool,
    incarnation: u64,
    promised: u64,
    log_view: u64,
    log: Vec<Step>,
    states: Vec<SlotState>,
    /// How much of the log it has acknowledged in `log_view`.
    acked: usize,
    /// How long the log was when it was installed: so much of it the superblock remembers.
    installed: usize,
    commit: usize,
    certain: bool,
}

/// A vote on its way, with the log behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cast {
    replica: usize,
    node: Node,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    /// The last view that was elected or given up.
    view: u64,
    nodes: Vec<Node>,
    /// The longest log that was ever committed.
    committed: Vec<Step>,
    /// Early votes by view.
    held: BTreeMap<u64, BTreeSet<Cast>>,
    /// Whether anything was damaged or lost so far.
    faults: usize,
}

/// What a model is bounded by.
#[derive(Clone, Copy)]
struct Bounds {
    ops: usize,
    /// Of rot and lost disks together.
    faults: usize,
    /// Rounds of progress per reign, between which votes are cast early and disks are lost.
    rounds: usize,
}

struct Model {
    quorums: Quorums,
    pipeline_max: usize,
    bounds: Bounds,
    headers: RefCell<BTreeMap<Vec<Step>, EntryHeader>>,
}

impl Model {
    fn new(replica_count: usize, pipeline_max: usize, bounds: Bounds) -> Model {
        let headers = RefCell::new(BTreeMap::from([(Vec::new(), genesis())]));
        Model { quorums: Quorums::of(replica_count), pipeline_max, bounds, headers }
    }

    fn start(&self) -> State {
        let node = Node {
            member: true,
            incarnation: 0,
            promised: 0,
            log_view: 0,
            log: Vec::new(),
            states: Vec::new(),
            acked: 0,
            installed: 0,
            commit: 0,
            certain: true,
        };
        State {
            view: 0,
            nodes: vec![node; self.quorums.replica_count],
            committed: Vec::new(),
            held: BTreeMap::new(),
            faults: 0,
        }
    }

    /// The header of the last entry of `log`.
    fn header(&self, log: &[Step]) -> EntryHeader {
        if let Some(header) = self.headers.borrow().get(log) {
            return header.clone();
        }
        let (last, before) = log.split_last().expect("the empty log has a header");
        let mut header = child(&self.header(before), last.view);
        if let Some(replica) = last.rejoin {
            header.incarnations[replica] = Incarnation::from_rejoin(header.op);
        }
        self.headers.borrow_mut().insert(log.to_vec(), header.clone());
        header
    }

    fn ballot(&self, view: u64, cast: &Cast) -> Ballot {
        let node = &cast.node;
        let slot = |length: usize| VoteSlot {
            header: self.header(&node.log[..length]),
            state: length.checked_sub(1).map_or(Present, |index| node.states[index]),
        };
        let first = node.log.len().saturating_sub(self.pipeline_max);
        Ballot {
            replica: ReplicaId::new(u8::try_from(cast.replica).unwrap()),
            incarnation: Incarnation::new(node.incarnation),
            vote: Vote {
                view: View::new(view),
                log_view: View::new(node.log_view),
                commit: Op::new(node.commit as u64),
                checkpoint: Op::ZERO,
                certain: node.certain,
                slots: (first..=node.log.len()).map(slot).collect(),
                incarnations: self.header(&node.log).incarnations,
            },
        }
    }

    /// All votes for the view that could be received: those held back, and one of everybody else.
    fn casts(&self, state: &State, view: u64) -> Vec<Cast> {
        let held = state.held.get(&view).into_iter().flatten().cloned();
        let fresh = state.nodes.iter().enumerate().filter(|(_, node)| node.member && node.promised < view);
        held.chain(fresh.map(|(replica, node)| Cast { replica, node: node.clone() })).collect()
    }

    /// What the ballots choose, after checking that no committed entry gets lost by it.
    fn choose(&self, state: &State, casts: &[Cast], ballots: &[Ballot]) -> Option<(Vec<Step>, usize)> {
        let selection = select_log(&self.quorums, self.pipeline_max as u64, ballots);
        let mut rotated = ballots.to_vec();
        rotated.rotate_left(1);
        assert_eq!(select_log(&self.quorums, self.pipeline_max as u64, &rotated), selection);

        let everybody = casts.iter().map(|cast| cast.replica).collect::<BTreeSet<_>>().len()
            == self.quorums.replica_count;
        match selection {
            Selection::Chosen(chosen) => {
                let head = chosen.headers.last().unwrap();
                let length = usize::try_from(head.op.get()).unwrap();
                let log = casts
                    .iter()
                    .filter_map(|cast| cast.node.log.get(..length))
                    .find(|log| self.header(log) == *head)
                    .expect("the chosen log is somebody's");
                assert!(log.starts_with(&state.committed), "{log:?} lost some of {:?}", state.committed);
                let commit = usize::try_from(chosen.commit.get()).unwrap();
                assert!(commit <= state.committed.len(), "op {commit} was not committed");
                Some((log.to_vec(), commit))
            }
            Selection::Diverged(why) => panic!("{why} in {ballots:#?}"),
            Selection::Unrecoverable(why) => {
                assert!(everybody);
                assert!(state.faults > 0, "{why:?} without a fault");
                None
            }
            Selection::Wait => {
                let stale =
                    casts.iter().any(|cast| cast.node.incarnation < state.nodes[cast.replica].incarnation)
                        || state.nodes.iter().any(|node| !node.member);
                assert!(stale || !everybody, "all have voted, yet more votes are awaited");
                assert!(
                    state.faults > 0 || casts.len() < self.quorums.view_change,
                    "a quorum waits without a fault"
                );
                None
            }
        }
    }

    /// Checks every set of votes for the next view; returns the different outcomes.
    fn elect(&self, state: &State, view: u64) -> BTreeSet<Option<(Vec<Step>, usize)>> {
        let casts = self.casts(state, view);
        let ballots: Vec<Ballot> = casts.iter().map(|cast| self.ballot(view, cast)).collect();
        let pick = |set: usize| (0..casts.len()).filter(move |index| set & (1 << index) != 0);
        (0..1_usize << casts.len())
            .filter(|set| pick(*set).count() >= self.quorums.view_change)
            .map(|set| {
                let casts: Vec<Cast> = pick(set).map(|index| casts[index].clone()).collect();
                let ballots: Vec<Ballot> = pick(set).map(|index| ballots[index].clone()).collect();
                self.choose(state, &casts, &ballots)
            })
            .collect()
    }

    fn install(&self, node: &mut Node, view: u64, log: &[Step], commit: usize) {
        let same = node.log.iter().zip(log).take_while(|(mine, new)| mine == new).count();
        node.states.truncate(same);
        // Whose log's end was damaged may have acknowledged what it does not remember.
        node.states.resize(log.len(), if node.certain { Missing } else { Faulty });
        node.log = log.to_vec();
        node.acked = 0;
        node.installed = log.len();
        node.commit = node.commit.max(commit);
        node.certain = true;
        node.promised = view;
        node.log_view = view;
    }

    /// One view from its election until the next one's.
    fn reign(&self, state: &mut State, view: u64, base: &[Step], commit: usize, choices: &mut Choices) {
        let primary = usize::try_from(view).unwrap() % self.quorums.replica_count;
        if !state.nodes[primary].member || state.nodes[primary].promised > view {
            return;
        }
        self.install(&mut state.nodes[primary], view, base, commit);
        let mut log = base.to_vec();
        let mut acks: BTreeMap<usize, usize> = BTreeMap::new();
        for round in 0..self.bounds.rounds {
            if round > 0 {
                self.lose_a_disk(state, view, choices);
            }
            self.progress(state, view, base, &mut log, choices);
            self.acknowledge(state, view, &log, &mut acks, choices);
            self.readmit(state, view, base.len(), &log, &mut acks, choices);
        }
    }

    /// The others install, the primary prepares, and everybody makes durable what they can.
    fn progress(
        &self,
        state: &mut State,
        view: u64,
        base: &[Step],
        log: &mut Vec<Step>,
        choices: &mut Choices,
    ) {
        let primary = usize::try_from(view).unwrap() % self.quorums.replica_count;
        for node in &mut state.nodes {
            if node.member && node.promised <= view && node.log_view < view && choices.flip() {
                self.install(node, view, base, 0);
            }
        }
        let leads = state.nodes[primary].member && state.nodes[primary].promised == view;
        let room = (state.committed.len() + self.pipeline_max).min(self.bounds.ops);
        if leads && state.nodes[primary].log_view == view && self.holdable(state, view, base) == base.len() {
            for _ in 0..choices.choose(room.saturating_sub(log.len()) + 1) {
                let lost: Vec<usize> = (0..state.nodes.len())
                    .filter(|replica| !state.nodes[*replica].member)
                    .filter(|replica| !log.iter().any(|step| step.rejoin == Some(*replica)))
                    .collect();
                let which = choices.choose(lost.len() + 1);
                log.push(Step { view, rejoin: lost.get(which).copied() });
            }
            let node = &mut state.nodes[primary];
            node.states.resize(log.len(), Missing);
            node.log.clone_from(log);
        }
        let holdable = self.holdable(state, view, log);
        for (replica, node) in state.nodes.iter_mut().enumerate() {
            let normal = node.member && node.certain && node.log_view == view && node.promised == view;
            if normal && node.acked < holdable {
                node.acked += choices.choose(holdable - node.acked + 1);
                let length = if replica == primary { log.len() } else { node.acked.max(node.log.len()) };
                node.log = log[..length].to_vec();
                node.states.resize(length, Missing);
                node.states[..node.acked].fill(Present);
            }
        }
    }

    /// How much of the log can be had: each body is on a disk, or fresh from the primary.
    fn holdable(&self, state: &State, view: u64, log: &[Step]) -> usize {
        let held = |length: usize| {
            log[length - 1].view == view
                || state.nodes.iter().any(|node| {
                    node.member
                        && node.states.get(length - 1) == Some(&Present)
                        && node.log[..length] == log[..length]
                })
        };
        (1..=log.len()).take_while(|length| held(*length)).count()
    }

    /// Commits what a quorum acknowledged, those included who lost it since, and lets some learn of it.
    fn acknowledge(
        &self,
        state: &mut State,
        view: u64,
        log: &[Step],
        acks: &mut BTreeMap<usize, usize>,
        choices: &mut Choices,
    ) {
        for (replica, node) in state.nodes.iter().enumerate() {
            if node.member && node.log_view == view {
                let ack = acks.entry(replica).or_default();
                *ack = node.acked.max(*ack);
            }
        }
        let mut counts: Vec<usize> = acks.values().copied().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let commit = counts.get(self.quorums.replication - 1).copied().unwrap_or(0);
        if commit > state.committed.len() {
            assert!(log[..commit].starts_with(&state.committed));
            state.committed = log[..commit].to_vec();
        }
        let everybody_learns = choices.flip();
        for node in &mut state.nodes {
            if everybody_learns && node.member && node.log_view == view && node.promised == view {
                node.commit = node.commit.max(commit);
            }
        }
    }

    /// A replica may vote for a later view, and it may then lose its disk.
    fn lose_a_disk(&self, state: &mut State, view: u64, choices: &mut Choices) {
        if state.faults >= self.bounds.faults {
            return;
        }
        let replica = choices.choose(state.nodes.len() + 1);
        if replica == state.nodes.len() || !state.nodes[replica].member {
            return;
        }
        let ahead = choices.choose(3) as u64;
        let later = view + ahead;
        if ahead > 0 && state.nodes[replica].promised < later {
            let cast = Cast { replica, node: state.nodes[replica].clone() };
            state.held.entry(later).or_default().insert(cast);
            state.nodes[replica].promised = later;
        }
        if choices.flip() {
            state.faults += 1;
            let node = &mut state.nodes[replica];
            *node = Node { incarnation: node.incarnation, ..self.start().nodes.remove(0) };
            node.member = false;
        }
    }

    /// Replacements whose `Rejoin` is committed fetch the log and become members again.
    fn readmit(
        &self,
        state: &mut State,
        view: u64,
        base: usize,
        log: &[Step],
        acks: &mut BTreeMap<usize, usize>,
        choices: &mut Choices,
    ) {
        for replica in 0..state.nodes.len() {
            let is_rejoin = |step: &Step| step.rejoin == Some(replica);
            let Some(index) = state.committed.iter().rposition(is_rejoin) else { continue };
            let known = log.starts_with(&state.committed);
            let holdable = self.holdable(state, view, log);
            let least = (index + 1).max(base);
            let node = &mut state.nodes[replica];
            let granted = index as u64 + 1 > node.incarnation;
            if node.member || !granted || !known || holdable < least || !choices.flip() {
                continue;
            }
            let length = least + choices.choose(holdable - least + 1);
            *node = Node {
                member: true,
                incarnation: index as u64 + 1,
                promised: view,
                log_view: view,
                log: log[..length].to_vec(),
                states: vec![Present; length],
                acked: length,
                installed: base,
                commit: index + 1,
                certain: true,
            };
            acks.insert(replica, length);
        }
    }

    /// A body rots, or a log's end becomes doubtful.
    fn rot(&self, state: &mut State, choices: &mut Choices) {
        if state.faults >= self.bounds.faults {
            return;
        }
        let replica = choices.choose(state.nodes.len() + 1);
        if replica == state.nodes.len() || !state.nodes[replica].member {
            return;
        }
        state.faults += 1;
        let node = &mut state.nodes[replica];
        let kind = choices.choose(node.log.len() + 1);
        if kind < node.log.len() {
            if node.states[kind] == Present {
                node.states[kind] = Faulty;
            }
            return;
        }
        node.certain = false;
        let cut = choices.choose(node.log.len() - node.installed.min(node.log.len()) + 1);
        node.log.truncate(node.log.len() - cut);
        node.states.truncate(node.log.len());
        node.acked = node.acked.min(node.log.len());
    }

    /// The states in which the next reign may end, one per run of the choices.
    fn next(&self, state: &State, outcomes: &[Option<(Vec<Step>, usize)>], choices: &mut Choices) -> State {
        let mut next = state.clone();
        next.view += 1;
        let view = next.view;
        if let Some((log, commit)) = &outcomes[choices.choose(outcomes.len())] {
            self.reign(&mut next, view, log, *commit, choices);
        }
        self.rot(&mut next, choices);
        // Votes for this view no longer matter, nor do the casters' promises of it.
        next.held.remove(&view);
        next
    }

    fn outcomes(&self, state: &State) -> Vec<Option<(Vec<Step>, usize)>> {
        let mut outcomes = self.elect(state, state.view + 1);
        outcomes.insert(None);
        outcomes.into_iter().collect()
    }

    /// Checks every state that so many reigns can lead to; returns how many there are.
    fn explore(&self, reigns: usize) -> Vec<usize> {
        let mut counts = Vec::new();
        let mut states = BTreeSet::from([self.start()]);
        for _ in 0..reigns {
            let mut next = BTreeSet::new();
            for state in &states {
                let outcomes = self.outcomes(state);
                every_choice(|choices| {
                    next.insert(self.next(state, &outcomes, choices));
                });
            }
            counts.push(next.len());
            states = next;
        }
        for state in &states {
            self.elect(state, state.view + 1);
        }
        counts
    }
}

/// Three ops, three views (two that reign, a third to elect), no faults: 141 + 37,789 runs.
#[test]
fn three_replicas_lose_nothing_over_three_views() {
    let bounds = Bounds { ops: 3, faults: 0, rounds: 1 };
    assert_eq!(Model::new(3, 2, bounds).explore(2), [105, 5840]);
}

/// Two ops and four views: an entry may be dropped, rediscovered and dropped again. 461,321 runs.
#[test]
fn three_replicas_lose_nothing_over_four_views() {
    let bounds = Bounds { ops: 2, faults: 0, rounds: 1 };
    assert_eq!(Model::new(3, 2, bounds).explore(3), [105, 2715, 19770]);
}

/// A pipeline of one makes the bound below the candidate matter.
#[test]
fn three_replicas_with_a_short_pipeline_lose_nothing() {
    let bounds = Bounds { ops: 3, faults: 0, rounds: 1 };
    assert_eq!(Model::new(3, 1, bounds).explore(2).len(), 2);
}

/// One body rots or one log's end becomes doubtful, anywhere, at any time: 303,127 runs.
#[test]
fn three_replicas_survive_one_damaged_disk() {
    let bounds = Bounds { ops: 2, faults: 1, rounds: 1 };
    assert_eq!(Model::new(3, 2, bounds).explore(2), [884, 26079]);
}

/// One disk is lost in mid-reign, with or without a vote of it still on its way, and is readmitted in
/// the same reign: 386,128 runs.
#[test]
fn three_replicas_survive_one_lost_disk() {
    let bounds = Bounds { ops: 2, faults: 1, rounds: 2 };
    assert_eq!(Model::new(3, 2, bounds).explore(1), [13975]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whole executions with rot, doubtful ends, lost disks and held-back votes; after each reign
    /// every set of votes that could elect the next is tried.
    #[test]
    fn no_execution_of_five_replicas_loses_a_committed_entry(
        script in prop::collection::vec(0..60_usize, 0..200),
        faults in 0..5_usize,
        replica_count in prop::sample::select(vec![2, 3, 4, 5, 5, 5]),
        pipeline_max in 1..4_usize,
    ) {
        let model = Model::new(replica_count, pipeline_max, Bounds { ops: 6, faults, rounds: 3 });
        let mut choices = Choices::scripted(script);
        let mut state = model.start();
        for _ in 0..4 {
            state = model.next(&state, &model.outcomes(&state), &mut choices);
        }
        model.outcomes(&state);
    }
}
