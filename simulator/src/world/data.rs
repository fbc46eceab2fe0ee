//! The data plane's part of the world: frames on the network, jobs of the chunk stores, and what the
//! judge of chunks has to be told.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::catalog::Verdict;
use protocol::data::message::{DataBody, DataMessage};
use protocol::data::upkeep::Mark;
use protocol::types::{ClientId, Peer, ReplicaId, Tick};

use super::{Happening, World};
use crate::client::Sends;
use crate::node::{Core, Job};
use crate::oracles::Life;
use crate::plane::{Checked, Plane, Want, WriteTask, Written};

/// Calls of a replica carry its boot in these bits: an answer finds the process that asked, or nobody,
/// as streams do.
const BOOT_SHIFT: u32 = 40;

/// What a message takes that goes from a process to itself, in microseconds.
const AT_HOME: u64 = 50;

impl World {
    /// The machine on which this peer is a process, if it is one of theirs.
    pub(super) fn host(&self, peer: Peer) -> Option<usize> {
        match peer {
            Peer::Replica(id) => Some(id.index()),
            Peer::Client(id) => self.upkeep_clients.get(&id).copied(),
        }
    }

    /// Who the network takes a peer for: what upkeep says as a client goes over its machine's links.
    pub(super) fn link(&self, peer: Peer) -> Peer {
        self.host(peer).map_or(peer, |machine| Peer::Replica(self.machines[machine].id))
    }

    /// Until when what comes for this peer has to wait, if it must.
    pub(super) fn held_up(&self, peer: Peer) -> Option<u64> {
        match (self.host(peer), peer) {
            (Some(machine), _) => Some(self.machines[machine].paused_until).filter(|until| *until > self.now),
            (None, Peer::Client(id)) => self.clients.frozen_until(id, self.now),
            (None, Peer::Replica(_)) => None,
        }
    }

    pub(super) fn send_all(&mut self, from: Peer, sends: Sends) {
        for (to, message) in sends.messages {
            self.send(to, &message);
        }
        for (to, message) in sends.frames {
            self.send_data(from, Peer::Replica(to), &message);
        }
        if let Some(what) = self.clients.take_broken() {
            self.failure.get_or_insert(what);
        }
        for missing in self.clients.take_missing() {
            self.coverage.mark("read found nothing");
            let Some(chunks) = &self.oracles.chunks else { continue };
            if let Err(what) = chunks.on_missing(missing.chunk, missing.session, missing.record) {
                self.failure.get_or_insert(what);
            }
        }
    }

    fn send_data(&mut self, from: Peer, to: Peer, message: &DataMessage) {
        let (head, bytes) = message.encode();
        let head = Bytes::from(head);
        self.trace.data(self.now, from, to, message);
        for delivery in self.network.deliver(from, to, head.len() + bytes.len()) {
            // Transport encryption notices, and the call is lost.
            if delivery.flipped {
                self.coverage.mark("data frame lost to a flipped bit");
                continue;
            }
            let (head, bytes) = (head.clone(), bytes.clone());
            self.schedule(delivery.delay, Happening::Data { from, to, head, bytes });
        }
    }

    pub(super) fn deliver_data(&mut self, from: Peer, to: Peer, head: &Bytes, bytes: Bytes) {
        let message = match DataMessage::decode(head, bytes) {
            Ok(message) => message,
            Err(error) => {
                self.failure.get_or_insert(format!("a data frame cannot be read: {error}"));
                return;
            }
        };
        let DataMessage { call, body, .. } = message;
        match (to, from) {
            (Peer::Replica(id), from) if body.is_call() => {
                let machine = id.index();
                let boot = self.machines[machine].boot;
                if self.machines[machine].is_up() {
                    self.with_plane(machine, boot, |plane, _, _| plane.on_call(from, call, body));
                } else if self.random.percent(50) {
                    // Nobody listens there, and the caller is told; otherwise it waits in vain.
                    self.coverage.mark("data call refused by a dead machine");
                    self.schedule(1_000, Happening::DataLost { to: from, from: id, call });
                }
            }
            (to, Peer::Replica(from)) => self.answered(to, from, call, Some(body)),
            (_, Peer::Client(_)) => {}
        }
    }

    /// What was asked of a replica is answered, or never will be.
    pub(super) fn answered(&mut self, to: Peer, from: ReplicaId, call: u64, answer: Option<DataBody>) {
        match to {
            Peer::Replica(id) => {
                let (boot, call) = (call >> BOOT_SHIFT, call & ((1 << BOOT_SHIFT) - 1));
                self.with_plane(id.index(), boot, |plane, now, _| match answer {
                    Some(body) => plane.on_answer(now, from, call, body),
                    None => plane.on_call_failed(now, from, call),
                });
            }
            Peer::Client(id) => {
                let sends = self.clients.on_data(id, self.now, from, call, answer, &mut self.coverage);
                self.send_all(to, sends);
            }
        }
    }

    /// A message for the client that a replica's upkeep is. False if it is for nobody of that kind.
    pub(super) fn deliver_to_upkeep(&mut self, id: ClientId, message: &protocol::message::Message) -> bool {
        let Some(machine) = self.upkeep_clients.get(&id).copied() else { return false };
        let boot = self.machines[machine].boot;
        self.with_plane(machine, boot, |plane, now, _| {
            if plane.client_id() == id {
                plane.on_message(now, message.clone());
            }
        });
        true
    }

    /// A process has started: its upkeep can be reached, and its disk is asked whether it has kept its
    /// word.
    pub(super) fn plane_started(&mut self, machine: usize) {
        let host = &self.machines[machine];
        let Some(plane) = host.process.as_ref().and_then(|process| process.plane.as_ref()) else { return };
        self.upkeep_clients.insert(plane.client_id(), machine);
        let life = self.life(machine);
        if let Some(chunks) = &mut self.oracles.chunks {
            // Some of it may have become durable in the moment of the crash.
            for (chunk, root) in plane.found() {
                let sound = chunks.has_promised(life, chunk) || plane.has_sound(chunk, root);
                if let Err(what) = chunks.on_found(life, chunk, root, sound) {
                    self.failure.get_or_insert(what);
                }
            }
        }
        if let Some(chunks) = self.oracles.chunks.as_mut().filter(|_| !self.nemesis.is_afflicted(machine)) {
            let lost =
                chunks.promises(life).into_iter().find(|(chunk, root)| !plane.has_sound(*chunk, *root));
            if let Some((chunk, _)) = lost {
                self.failure.get_or_insert(format!("{life:?} has lost {chunk:?}, which it called durable"));
            }
        }
        let boot = host.boot;
        self.with_plane(machine, boot, |plane, now, _| plane.look_around(now));
    }

    pub(super) fn life(&self, machine: usize) -> Life {
        (self.machines[machine].id, self.machines[machine].incarnation)
    }

    pub(super) fn tick_plane(&mut self, machine: usize, boot: u64) {
        self.with_plane(machine, boot, Plane::on_tick);
    }

    /// Feeds the machines of a process, if it is still there, and performs what they want.
    fn with_plane(&mut self, machine: usize, boot: u64, feed: impl FnOnce(&mut Plane, Tick, &Core)) {
        let now = self.now;
        let host = &mut self.machines[machine];
        let tick = host.tick_at(now);
        let Some(process) = host.process.as_mut().filter(|_| host.boot == boot) else { return };
        let Some(plane) = &mut process.plane else { return };
        feed(plane, tick, &process.core);
        let wants = plane.settle(tick, &process.core);
        for want in wants {
            self.grant(machine, boot, want);
        }
    }

    fn grant(&mut self, machine: usize, boot: u64, want: Want) {
        let me = Peer::Replica(self.machines[machine].id);
        match want {
            Want::Answer { to, call, about, body } => {
                if let (DataBody::Stored { receipt }, Some((chunk, root)), Some(chunks)) =
                    (&body, about, &self.oracles.chunks)
                {
                    let life = (receipt.node, receipt.incarnation);
                    if let Err(what) = chunks.on_receipt(life, chunk, root) {
                        self.failure.get_or_insert(what);
                    }
                }
                let body = if self.machines[machine].lies { self.lie(body) } else { body };
                let cluster = self.options.config.cluster;
                self.send_data(me, to, &DataMessage { cluster, call, body });
            }
            Want::Call { to, call, body } => {
                assert!(call < 1 << BOOT_SHIFT, "a process does not live so long");
                let (cluster, call) = (self.options.config.cluster, boot << BOOT_SHIFT | call);
                self.send_data(me, Peer::Replica(to), &DataMessage { cluster, call, body });
            }
            Want::Say { to, message } if self.machines[machine].id == to => {
                let to = Peer::Replica(to);
                self.trace.message(self.now, &message, to);
                self.schedule(AT_HOME, Happening::Deliver { to, frame: message.encode() });
            }
            Want::Say { to, message } => self.send(Peer::Replica(to), &message),
            Want::Check(task) => self.begin_job(machine, Job::Check(Box::new(task))),
            Want::Write(task) => self.write(machine, task),
            Want::Mark(mark) => self.upkeep_mark(machine, mark),
        }
    }

    /// Half of the time a bit of the bytes is another one.
    fn lie(&mut self, body: DataBody) -> DataBody {
        match body {
            DataBody::Blocks { outline, first, bytes } if self.random.percent(50) => {
                self.coverage.mark("holder lied");
                DataBody::Blocks { outline, first, bytes: self.flip(&bytes) }
            }
            honest => honest,
        }
    }

    fn upkeep_mark(&mut self, machine: usize, mark: Mark) {
        let text = match mark {
            Mark::Damaged { .. } => "chunk found damaged",
            Mark::NoSoundCopy { .. } => "no sound copy found",
            Mark::Repaired { .. } => "chunk repaired",
            Mark::Settled { .. } => "debt settled by upkeep",
            Mark::Rebuilt => "disk rebuilt by upkeep",
            Mark::Collected { .. } => "chunks collected",
            Mark::Scrubbed { .. } => return self.coverage.mark("scrub pass"),
        };
        self.coverage.mark(text);
        self.trace.note(self.now, Some(machine), text);
    }

    fn write(&mut self, machine: usize, task: WriteTask) {
        if let (WriteTask::Delete { chunks: dead, .. }, Some(chunks)) = (&task, &self.oracles.chunks) {
            let id = self.machines[machine].id;
            if let Some(what) = dead.iter().find_map(|chunk| chunks.on_delete(id, *chunk).err()) {
                self.failure.get_or_insert(what);
            }
        }
        let process = self.machines[machine].process.as_mut().expect("only processes write");
        process.plane.as_mut().expect("only a data plane writes chunks").writes.push(task);
        self.begin_chunks(machine);
    }

    /// Starts the next group of writes, if none is under way and something waits.
    fn begin_chunks(&mut self, machine: usize) {
        let process = self.machines[machine].process.as_mut();
        let Some(plane) = process.and_then(|process| process.plane.as_mut()) else { return };
        if plane.writing || plane.writes.is_empty() {
            return;
        }
        plane.writing = true;
        let tasks = std::mem::take(&mut plane.writes);
        self.begin_job(machine, Job::Chunks(tasks));
    }

    pub(super) fn checked(&mut self, machine: usize, boot: u64, checked: Checked) {
        match checked {
            Checked::Write(task) => self.write(machine, task),
            Checked::Report(owner, job, report) => {
                self.with_plane(machine, boot, |plane, now, _| plane.on_report(now, owner, job, report));
            }
        }
    }

    pub(super) fn chunks_written(&mut self, machine: usize, boot: u64, written: Written) {
        let life = self.life(machine);
        if let Some(chunks) = &mut self.oracles.chunks {
            for (chunk, root) in written.durable {
                if let Err(what) = chunks.on_durable(life, chunk, root) {
                    self.failure.get_or_insert(what);
                }
            }
        }
        self.with_plane(machine, boot, |plane, now, _| {
            for (owner, job, report) in written.reports {
                plane.on_report(now, owner, job, report);
            }
            plane.look_around(now);
            plane.writing = false;
        });
        self.begin_chunks(machine);
    }

    /// Whether nothing that was entrusted to this machine's disk suffers from what was done to it: what
    /// may yet be committed is here, and of everything else there are copies enough.
    pub fn chunks_are_whole(&mut self, machine: usize) -> bool {
        let life = self.life(machine);
        let afflicted: Vec<usize> = self.nemesis.afflicted().filter(|other| *other != machine).collect();
        let sound: Vec<Life> = (0..self.machines.len())
            .filter(|other| *other != machine && !afflicted.contains(other))
            .map(|other| self.life(other))
            .collect();
        let process = self.machines[machine].process.as_ref();
        let Some(plane) = process.and_then(|process| process.plane.as_ref()) else { return true };
        let Some(chunks) = &mut self.oracles.chunks else { return true };
        let needed = chunks.layout().copies_min().saturating_sub(afflicted.len());
        let mut held = BTreeMap::new();
        for (chunk, root, verdict) in chunks.living() {
            let here = plane.has_sound(chunk, root);
            if here {
                held.insert(chunk, root);
            }
            let others = sound.iter().filter(|life| chunks.has_promised(**life, chunk)).count();
            let lacks = match verdict {
                // Nobody could miss it, and yet a receipt may be asked for.
                Verdict::Pending => !here && (chunks.has_promised(life, chunk) || plane.knows(chunk)),
                _ => others + usize::from(here) < needed,
            };
            if lacks {
                return false;
            }
        }
        chunks.set_promises(life, held);
        true
    }
<<<<<<< HEAD

    /// What the healed machines still lack, owe, or should have forgotten. None: nothing.
    pub(super) fn what_chunks_lack(&self) -> Option<String> {
        let chunks = self.oracles.chunks.as_ref()?;
        let up = |machine: &usize| !self.nemesis.keeps_down(*machine);
        let planes: Vec<(usize, &Plane)> = (0..self.machines.len())
            .filter(up)
            .filter_map(|machine| {
                Some((machine, &**self.machines[machine].process.as_ref()?.plane.as_ref()?))
            })
            .collect();
        for (machine, plane) in &planes {
            if let Some(owed) = chunks.owed_by(self.machines[*machine].id) {
                return Some(format!("replica {machine} owes {owed}; "));
            }
            let dead = plane.holdings().into_iter().find(|it| chunks.verdict(*it) == Verdict::Dead);
            if let Some(dead) = dead {
                return Some(format!("replica {machine} keeps {dead:?}, which is dead; "));
            }
        }
        let layout = chunks.layout();
        for named in chunks.referenced() {
            for (index, root) in (0..).zip(&named.body.roots) {
                let chunk = named.id.chunk(index);
                for (machine, plane) in &planes {
                    let owns = layout.owns(self.machines[*machine].id, chunk);
                    if owns && !plane.has_sound(chunk, *root) {
                        return Some(format!("replica {machine} lacks {chunk:?}; "));
                    }
                }
            }
        }
        None
    }

    /// The power goes everywhere, once more: what was called durable must be there afterwards.
    pub(super) fn last_power_cut(&mut self) {
        if self.oracles.chunks.is_none() {
            return;
        }
        for machine in 0..self.machines.len() {
            if !self.nemesis.keeps_down(machine) && self.machines[machine].is_up() {
                self.kill(machine);
                self.start(machine);
            }
        }
    }
=======
>>>>>>> whole
}
