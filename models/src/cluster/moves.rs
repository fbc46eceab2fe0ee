//! What may happen next.

use std::fmt::Write as _;

use protocol::message::{Body, Message};
use protocol::superblock::Superblock;
use protocol::types::{Incarnation, Nonce, Op, Peer, RELEASE, ReplicaId, View};
use protocol::vsr::StatusName;

use super::mail::MailId;
use super::node::{CLUSTER, EPOCH, Node, REPLICA_COUNT};
use super::{Action, Asked, Cluster, Disks, Replacement, What, World};
use crate::search::{Model, Visit};

impl Model for Cluster {
    type State = World;
    type Action = Action;

    /// Everybody follows the first view, nothing has been asked for, and the network is empty.
    fn initial(&mut self) -> World {
        let mut nodes = [0; REPLICA_COUNT];
        for (slot, id) in nodes.iter_mut().zip(0_u8..) {
            let superblock = Superblock::format(CLUSTER, EPOCH, ReplicaId::new(id), 3);
            *slot = self.number_end(Node::on(superblock, self.bounds.pipeline_max)).node;
        }
        let ledger = self.ledger_number(Vec::new());
        let mut world = World { nodes, mail: [].into(), ledger, wipes: 0, clients: 0 };
        for replica in [0, 1] {
            world = self.runs_smoothly(world, replica, Asked::LeaveFor(1));
        }
        while let Some(id) = world.mail.first().copied() {
            world.mail = world.mail.iter().skip(1).copied().collect();
            let to = self.post.get(id).to;
            world = self.runs_smoothly(world, to, Asked::Mail(id));
        }
        assert!(world.nodes.iter().all(|node| self.facts(*node).status == StatusName::Normal));
        world
    }

    fn fingerprint(&self, world: &World) -> u64 {
        let mut bytes = Vec::with_capacity(20 + 2 * world.mail.len());
        for node in world.nodes {
            bytes.extend_from_slice(&node.to_le_bytes());
        }
        bytes.extend_from_slice(&world.ledger.to_le_bytes());
        bytes.extend_from_slice(&[world.wipes, world.clients]);
        for id in world.mail.iter() {
            bytes.extend_from_slice(&id.to_le_bytes());
        }
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }

    fn successors(&mut self, world: &World, visit: &mut Visit<'_, Cluster>) {
        for at in 0..world.mail.len() {
            let id = world.mail[at];
            self.branch(world, self.post.get(id).to, What::Deliver(id), Asked::Mail(id), visit);
        }
        for replica in 0..REPLICA_COUNT {
            self.own_moves(world, replica, visit);
        }
    }

    fn violation(&self, world: &World) -> Option<String> {
        self.judge_logs(world)
    }

    fn tell(&self, before: &World, action: Action, after: &World) -> String {
        let mut line = format!("{:<52}", self.action_text(before, action));
        for node in after.nodes {
            let facts = self.facts(node);
            let letter = match facts.status {
                StatusName::Normal if facts.is_primary => 'P',
                StatusName::Normal => 'B',
                StatusName::ViewChange => 'V',
                StatusName::Recovering => 'R',
                StatusName::Syncing => 'S',
                StatusName::Rejoining => 'J',
            };
            let log: Vec<String> = facts.log.iter().map(|(entry, _)| self.entry_text(*entry)).collect();
            let text = format!(
                "{letter} v{}/{} i{} c{} [{}]",
                facts.view,
                facts.log_view,
                facts.incarnation,
                facts.commit,
                log.join(" ")
            );
            let _ = write!(line, " │ {text:<30}");
        }
        line.trim_end().to_string()
    }
}

impl Cluster {
    /// The end without a crash or a loss, for the beginning.
    fn runs_smoothly(&mut self, world: World, replica: usize, asked: Asked) -> World {
        let ends = self.step(world.nodes[replica], asked);
        let after = self.after(&world, replica, &ends[0]).expect("nothing goes wrong in the beginning");
        match self.facts(after.nodes[replica]).superblock_pending {
            true => self.runs_smoothly(after, replica, Asked::SuperblockWritten),
            false => after,
        }
    }

    fn own_moves(&mut self, world: &World, replica: usize, visit: &mut Visit<'_, Cluster>) {
        let number = world.nodes[replica];
        let facts = self.facts(number);
        let (is_primary, view) = (facts.is_primary, facts.view);
        let (appends, superblock) = (facts.appends_pending, facts.superblock_pending);
        let may_leave = facts.status != StatusName::Rejoining && facts.status != StatusName::Syncing;
        if is_primary {
            self.submissions(world, replica, visit);
            for to in (0..REPLICA_COUNT).filter(|to| *to != replica) {
                self.beat(world, replica, to, visit);
            }
        }
        if may_leave {
            for later in (1..=self.bounds.views).filter(|later| u64::from(*later) > view.get()) {
                self.branch(world, replica, What::LeaveFor(later), Asked::LeaveFor(later), visit);
            }
        }
        self.branch(world, replica, What::Ask, Asked::Tick, visit);
        if self.bounds.disks == Disks::Later {
            if appends {
                self.branch(world, replica, What::Appended, Asked::Appended, visit);
            }
            if superblock {
                self.branch(world, replica, What::SuperblockWritten, Asked::SuperblockWritten, visit);
            }
        }
        if self.bounds.crashes {
            self.branch(world, replica, What::Crash, Asked::Crash, visit);
        }
        self.wipe(world, replica, visit);
    }

    fn submissions(&mut self, world: &World, replica: usize, visit: &mut Visit<'_, Cluster>) {
        let number = world.nodes[replica];
        for client in 0..self.bounds.operations.min(world.clients + 1) {
            let ends = self.step(number, Asked::Submit(client));
            let prepared = self.facts(ends[0].node).log.len() > self.facts(number).log.len();
            if prepared || ends[0].wrong.is_some() {
                let mut asked = world.clone();
                asked.clients = asked.clients.max(client + 1);
                self.branch(&asked, replica, What::Submit(client), Asked::Submit(client), visit);
            }
        }
    }

    /// A heartbeat that arrives at once. One that is lost has no effect, and one that is late tells what
    /// a `Prepare` of its time tells, too.
    fn beat(&mut self, world: &World, from: usize, to: usize, visit: &mut Visit<'_, Cluster>) {
        let ends = self.step(world.nodes[from], Asked::Beat);
        let beat = ends[0].beats.iter().copied().find(|id| self.post.get(*id).to == to);
        if let Some(id) = beat {
            let what = What::BeatTo(u8::try_from(to).expect("three replicas"));
            self.branch_from(world, to, from, what, Asked::Mail(id), visit);
        }
    }

    /// One disk may be lost at a time, and is replaced at once: what is down and what hears nothing
    /// are the same.
    fn wipe(&mut self, world: &World, replica: usize, visit: &mut Visit<'_, Cluster>) {
        let others = (0..REPLICA_COUNT).filter(|other| *other != replica);
        let mut others = others.map(|other| self.facts(world.nodes[other]));
        let next = self.bounds.wipes.get(usize::from(world.wipes));
        if next.is_none_or(|next| usize::from(*next) != replica) || others.any(|facts| facts.amnesiac) {
            return;
        }
        let id = ReplicaId::new(u8::try_from(replica).expect("three replicas"));
        let nonce = Nonce::new(u128::from(world.wipes) + 1_000);
        let superblock = match self.bounds.replacement {
            Replacement::Amnesiac => Superblock::replace(CLUSTER, EPOCH, id, 3, nonce),
            Replacement::Blank => Superblock::format(CLUSTER, EPOCH, id, 3),
        };
        let end = self.number_end(Node::on(superblock, self.bounds.pipeline_max));
        let action = Action { replica: id.get(), what: What::Wipe, end: 0, follow: 0, follow_end: 0 };
        match self.after(world, replica, &end) {
            Ok(mut after) => {
                after.wipes += 1;
                self.bury_the_dead(&mut after);
                visit(action, Ok(after));
            }
            Err(wrong) => visit(action, Err(wrong)),
        }
    }

    fn branch(
        &mut self,
        world: &World,
        replica: usize,
        what: What,
        asked: Asked,
        visit: &mut Visit<'_, Cluster>,
    ) {
        self.branch_from(world, replica, replica, what, asked, visit);
    }

    /// Visits all worlds that an input to `replica` may lead to. `actor` is who is named for it.
    fn branch_from(
        &mut self,
        world: &World,
        replica: usize,
        actor: usize,
        what: What,
        asked: Asked,
        visit: &mut Visit<'_, Cluster>,
    ) {
        let ends = self.step(world.nodes[replica], asked);
        let actor = u8::try_from(actor).expect("three replicas");
        for (number, end) in ends.iter().enumerate() {
            let number = u8::try_from(number).expect("few things can happen in one step");
            let mut action = Action { replica: actor, what, end: number, follow: 0, follow_end: 0 };
            let after = self.after(world, replica, end).and_then(|after| {
                if let Asked::Mail(id) = asked
                    && after.nodes[replica] != world.nodes[replica]
                    && !end.crashed
                {
                    self.judge_effect(world, id)?;
                }
                Ok(after)
            });
            let after = match after {
                Ok(after) => after,
                Err(wrong) => {
                    visit(action, Err(wrong));
                    continue;
                }
            };
            self.arrive(world, action, after.clone(), visit);
            if end.crashed {
                continue;
            }
            for (question, follow) in end.questions.iter().zip(1_u8..) {
                action.follow = follow;
                self.answer(world, &after, *question, action, visit);
            }
        }
    }

    fn arrive(&self, before: &World, action: Action, mut after: World, visit: &mut Visit<'_, Cluster>) {
        self.bury_the_dead(&mut after);
        if after != *before {
            visit(action, Ok(after));
        }
    }

    /// A question is answered at once. One that comes late might as well have been asked late, for it
    /// is asked again and again; its answer may be under way for ever.
    fn answer(
        &mut self,
        before: &World,
        asked: &World,
        question: MailId,
        mut action: Action,
        visit: &mut Visit<'_, Cluster>,
    ) {
        let (to, from) = (self.post.get(question).to, self.post.get(question).from);
        let (replica, ends) = match self.repair(question) {
            Some(answer) => (from, self.step(asked.nodes[from], Asked::Mail(answer))),
            None if matches!(
                self.post.get(question).message.body,
                Body::GetEntry { .. } | Body::GetHeaders { .. }
            ) =>
            {
                return;
            }
            None => (to, self.step(asked.nodes[to], Asked::Mail(question))),
        };
        for (number, end) in ends.iter().enumerate() {
            action.follow_end = u8::try_from(number).expect("few things can happen in one step");
            match self.after(asked, replica, end) {
                Ok(after) => self.arrive(before, action, after, visit),
                Err(wrong) => visit(action, Err(wrong)),
            }
        }
    }

    /// The answer to a question for headers or a body: by name there is only one, and anybody may
    /// have sent it at any time, even a disk that is lost by now.
    fn repair(&mut self, question: MailId) -> Option<MailId> {
        let mail = self.post.get(question);
        let asker = Peer::Replica(ReplicaId::new(u8::try_from(mail.from).expect("three replicas")));
        let donor = Peer::Replica(ReplicaId::new(u8::try_from(mail.to).expect("three replicas")));
        let body = match &mail.message.body {
            Body::GetEntry { name, .. } => {
                let entry = self.entries[usize::from(*self.entry_numbers.get(name)?)].clone();
                Body::RepairedEntry { entry }
            }
            Body::GetHeaders { low, name, .. } => {
                let mut headers = Vec::new();
                let mut name = *name;
                while let Some(entry) = self.entry_numbers.get(&name) {
                    let header = self.entries[usize::from(*entry)].header.clone();
                    if header.op < *low {
                        break;
                    }
                    name = header.parent;
                    headers.insert(0, header);
                }
                Body::Headers { headers }
            }
            _ => return None,
        };
        let message = Message {
            cluster: CLUSTER,
            epoch: EPOCH,
            release: RELEASE,
            from: donor,
            view: View::ZERO,
            incarnation: Incarnation::new(u64::MAX),
            checkpoint: Op::ZERO,
            floor: Op::ZERO,
            body,
        };
        self.post.number(asker, message)
    }

    fn action_text(&self, before: &World, action: Action) -> String {
        let Action { replica, what, end, follow, .. } = action;
        let mut text = match what {
            What::Deliver(id) => {
                let mail = self.post.get(id);
                let detail = match &mail.message.body {
                    Body::Prepare { entry, .. } => {
                        format!(" {}", self.entry_text(self.entry_numbers[&entry.name]))
                    }
                    Body::PrepareOk { op, .. } => format!(" op {op}"),
                    Body::DoViewChange(vote) => format!(" v{}", vote.view),
                    _ => String::new(),
                };
                let kind = mail.message.body.kind();
                let incarnation = mail.message.incarnation;
                format!(
                    "r{} gets {kind}{detail} of r{} (v{} i{incarnation})",
                    mail.to, mail.from, mail.message.view
                )
            }
            What::Submit(client) => format!("r{replica} gets request {}", char::from(b'A' + client)),
            What::LeaveFor(view) => format!("r{replica} leaves for view {view}"),
            What::BeatTo(to) => format!("r{replica} beats, r{to} hears it"),
            What::Ask => format!("r{replica} asks for what it lacks"),
            What::Crash => format!("r{replica} crashes and starts"),
            What::Wipe => format!("r{replica} loses its disk"),
            What::Appended => format!("r{replica} has an entry on disk"),
            What::SuperblockWritten => format!("r{replica} has its superblock on disk"),
        };
        let asked = match what {
            What::Deliver(id) => Some((self.post.get(id).to, Asked::Mail(id))),
            What::Submit(client) => Some((usize::from(replica), Asked::Submit(client))),
            What::LeaveFor(view) => Some((usize::from(replica), Asked::LeaveFor(view))),
            _ => None,
        };
        let ends = asked.and_then(|(replica, asked)| self.steps.get(&(before.nodes[replica], asked)));
        if ends.is_some_and(|ends| ends.get(usize::from(end)).is_some_and(|end| end.crashed)) {
            text.push_str(", crashes");
        }
        if follow > 0 {
            text.push_str(", is answered");
        }
        text
    }
}
