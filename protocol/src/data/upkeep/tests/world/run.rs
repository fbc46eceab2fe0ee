//! Time, the network, and the judges: what every node does is carried out, late or never, and held
//! against the log.

use super::*;

/// What happens at a time.
#[derive(Debug)]
pub(super) enum Event {
    Call {
        from: usize,
        to: usize,
        call: u64,
        body: DataBody,
    },
    Answer {
        from: usize,
        to: usize,
        call: u64,
        body: DataBody,
    },
    Unreachable {
        from: usize,
        to: usize,
        call: u64,
    },
    Proposal {
        node: usize,
        proposal: Proposal,
        operation: Operation,
    },
    Proposed {
        node: usize,
        proposal: Proposal,
        reply: Option<Reply>,
    },
    /// A job of the upkeep.
    Job {
        node: usize,
        output: UpkeepOutput,
    },
    /// A job of the holder.
    HolderJob {
        node: usize,
        output: HolderOutput,
    },
}

impl World {
    pub(super) fn at(&mut self, delay_ms: u64, node: usize, event: Event) {
        self.last_event += 1;
        let start = self.nodes[node].start;
        self.events.insert((self.now.plus(delay_ms), self.last_event), (start, event));
    }

    pub(super) fn is_lost(&mut self) -> bool {
        self.losses > 0 && self.below(self.losses) == 0
    }

    pub(crate) fn run(&mut self, duration_ms: u64) {
        let end = self.now.plus(duration_ms);
        self.run_until(end, |_| false);
    }

    /// Runs until it is so, or for two minutes.
    pub(crate) fn settle(&mut self, what: &str, is_so: impl Fn(&World) -> bool) {
        let end = self.now.plus(120_000);
        assert!(self.run_until(end, is_so), "never: {what}");
    }

    pub(super) fn run_until(&mut self, end: Tick, is_so: impl Fn(&World) -> bool) -> bool {
        let mut look_at = self.now;
        loop {
            self.catch_up();
            for node in self.nodes.iter_mut().filter(|node| !node.down) {
                node.upkeep.on_tick(self.now);
            }
            let up: Vec<usize> = (0..self.nodes.len()).filter(|index| !self.nodes[*index].down).collect();
            for index in up {
                self.perform(index);
            }
            if self.now >= look_at {
                look_at = self.now.plus(20);
                if is_so(self) {
                    return true;
                }
            }
            let ticks =
                self.nodes.iter().filter(|node| !node.down).filter_map(|node| node.upkeep.next_tick());
            let next_tick = ticks.min().unwrap_or(end);
            assert!(next_tick > self.now, "a tick that changes nothing");
            let next_event = self.events.keys().next().map_or(end, |(at, _)| *at);
            let next = next_tick.min(next_event);
            if next >= end {
                self.now = end;
                return false;
            }
            self.now = next;
            let due = |key: &(Tick, u64)| key.0 <= next;
            while let Some(entry) = self.events.first_entry()
                && due(entry.key())
            {
                let (start, event) = entry.remove();
                self.happen(start, event);
            }
        }
    }

    /// Takes what a replica wants done.
    pub(super) fn perform(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].upkeep.next_output() {
            assert!(self.nodes[index].upkeep.figures().pull_bytes <= self.settings.pull_bytes_max);
            assert!(self.nodes[index].standing.ready, "{output:?} of a replica without a place");
            match output {
                UpkeepOutput::AskLocal { ask, query } => {
                    let node = &mut self.nodes[index];
                    assert_eq!(query.check(), Ok(()));
                    let answer = node.state.query(&query);
                    node.upkeep.on_local_answer(self.now, ask, Some(answer));
                }
                UpkeepOutput::Call { to, call, body } => self.send(index, to.index(), call, body),
                UpkeepOutput::Propose { proposal, operation } => {
                    self.judge_proposal(index, &operation);
                    let delay_ms = 1 + self.below(20);
                    self.at(delay_ms, index, Event::Proposal { node: index, proposal, operation });
                }
                UpkeepOutput::Mark(mark) => self.nodes[index].marks.push(mark),
                output => {
                    let delay_ms = 1 + self.below(5);
                    self.at(delay_ms, index, Event::Job { node: index, output });
                }
            }
        }
        while let Some(output) = self.nodes[index].holder.next_output() {
            match output {
                HolderOutput::Answer { to: Peer::Replica(to), call, mut body } => {
                    if let DataBody::Blocks { bytes, .. } = &mut body
                        && self.nodes[index].lies
                    {
                        let mut changed = bytes.to_vec();
                        changed[0] ^= 1;
                        *bytes = changed.into();
                    }
                    let (to, delay_ms) = (to.index(), 1 + self.below(10));
                    if !self.is_lost() {
                        self.at(delay_ms, to, Event::Answer { from: index, to, call, body });
                    }
                }
                HolderOutput::Answer { .. } => {}
                HolderOutput::Damage { chunk } => self.nodes[index].upkeep.on_damage(self.now, chunk),
                output => {
                    let delay_ms = 1 + self.below(5);
                    self.at(delay_ms, index, Event::HolderJob { node: index, output });
                }
            }
        }
    }

    pub(super) fn send(&mut self, from: usize, to: usize, call: u64, body: DataBody) {
        if let DataBody::GetBlocks { chunk, .. } = body {
            self.nodes[from].fetched.push(chunk);
        }
        let delay_ms = 1 + self.below(10);
        if self.nodes[to].down {
            self.at(delay_ms, from, Event::Unreachable { from, to, call });
        } else if !self.is_lost() {
            self.at(delay_ms, to, Event::Call { from, to, call, body });
        }
    }

    pub(super) fn happen(&mut self, start: u64, event: Event) {
        let now = self.now;
        let node = match &event {
            Event::Call { to, .. } | Event::Answer { to, .. } => *to,
            Event::Unreachable { from, .. } => *from,
            Event::Proposal { node, .. }
            | Event::Proposed { node, .. }
            | Event::Job { node, .. }
            | Event::HolderJob { node, .. } => *node,
        };
        let is_log = matches!(event, Event::Proposal { .. });
        if !is_log && (self.nodes[node].start != start || self.nodes[node].down) {
            return;
        }
        match event {
            Event::Call { from, to, call, body } => {
                self.nodes[to].holder.on_call(Peer::Replica(replica(from)), call, body);
            }
            Event::Answer { from, to, call, body } => {
                self.nodes[to].upkeep.on_answer(now, replica(from), call, body);
            }
            Event::Unreachable { from, to, call } => {
                self.nodes[from].upkeep.on_call_failed(now, replica(to), call);
            }
            Event::Proposal { node, proposal, operation } => {
                let mut reply = None;
                if !self.is_lost() {
                    reply = self.commit(Entry::Operation(SessionId::ZERO, Box::new(operation)));
                }
                let reply = if self.is_lost() { None } else { reply };
                if !self.nodes[node].down && self.nodes[node].start == start {
                    self.at(3, node, Event::Proposed { node, proposal, reply });
                }
            }
            Event::Proposed { node, proposal, reply } => {
                self.nodes[node].upkeep.on_proposed(now, proposal, reply);
            }
            Event::Job { node, output } => self.carry_out(node, output),
            Event::HolderJob { node, output } => self.nodes[node].carry_out_for_holder(output),
        }
    }

    pub(super) fn carry_out(&mut self, index: usize, output: UpkeepOutput) {
        self.judge_job(index, &output);
        let now = self.now;
        let Node { upkeep, store, deleted, .. } = &mut self.nodes[index];
        match output {
            UpkeepOutput::Find { job, chunks } => {
                upkeep.on_found(now, job, chunks.iter().map(|chunk| store.find(chunk)).collect());
            }
            UpkeepOutput::Scrub { job, chunk, root } => {
                upkeep.on_scrubbed(now, job, store.scrub(&chunk, root));
            }
            UpkeepOutput::Store { job, chunk, root, bytes } => {
                upkeep.on_stored(now, job, store.put(chunk, root, bytes));
            }
            UpkeepOutput::Quarantine { job, chunk, root } => {
                if store.scrub(&chunk, root).is_err()
                    && let Some(stored) = store.chunks.remove(&chunk)
                {
                    store.aside.insert(chunk, stored);
                }
                upkeep.on_done(now, job);
            }
            UpkeepOutput::Discard { job, chunk } => {
                store.aside.remove(&chunk);
                upkeep.on_done(now, job);
            }
            UpkeepOutput::Walk { job, after, limit } => upkeep.on_walked(now, job, store.walk(after, limit)),
            UpkeepOutput::Delete { job, chunks } => {
                for chunk in chunks {
                    store.chunks.remove(&chunk);
                    store.aside.remove(&chunk);
                    deleted.push(chunk);
                }
                upkeep.on_done(now, job);
            }
            other => panic!("{other:?}"),
        }
    }

    /// What is done to a disk must be right by the whole log, however late the replica is.
    pub(super) fn judge_job(&self, index: usize, output: &UpkeepOutput) {
        let store = &self.nodes[index].store;
        match output {
            UpkeepOutput::Delete { chunks, .. } => {
                for chunk in chunks {
                    assert_eq!(self.truth.verdict(*chunk), Verdict::Dead, "{index} deletes {chunk:?}");
                }
            }
            UpkeepOutput::Quarantine { chunk, .. } => {
                let root = self.contents[chunk].0;
                assert!(!store.is_sound(*chunk, root), "{index} sets a sound {chunk:?} aside");
            }
            UpkeepOutput::Discard { chunk, .. } => {
                let root = self.contents[chunk].0;
                assert!(store.is_sound(*chunk, root), "{index} discards the only {chunk:?}");
            }
            UpkeepOutput::Store { chunk, bytes, .. } => assert_eq!(self.contents[chunk].1, *bytes),
            _ => {}
        }
    }

    /// What is said in the log must be so on the disk.
    pub(super) fn judge_proposal(&self, index: usize, operation: &Operation) {
        match operation {
            Operation::Settle { node, bodies, .. } => {
                assert_eq!(*node, replica(index));
                assert!(bodies.len() <= 256);
                bodies.iter().for_each(|id| assert!(self.holds(index, *id), "{index} settles {id:?}"));
            }
            Operation::Rebuilt { .. } => {
                for named in self.nodes[index].state.bodies() {
                    let owed = self.truth.debts().iter().any(|debt| debt.id == named.id);
                    assert!(owed || self.holds(index, named.id), "{index} lacks {:?}", named.id);
                }
            }
            Operation::Collect { .. } => assert_eq!(index, 0, "the primary's chore"),
            other => panic!("{other:?}"),
        }
    }
}
