//! Words for stories: a calm world in which only what the story says goes wrong.
//!
//! Clients write and read all the time, so a story waits for what must come of it rather than for a
//! time to pass. `ends_well` is the last sentence: everything heals, and the judges compare all that
//! was promised, answered and stored, as they do after every seed.

use protocol::catalog::{ChunkId, Verdict};
use protocol::quorums::Quorums;
use protocol::types::{Op, Peer, ReplicaId};
use replica::storage::disk::Disk as _;

use crate::node::Core;
use crate::options::{Mode, Options, Stack};
use crate::world::World;

/// How long a story waits for something before it counts as not happening.
const PATIENCE: u64 = 60_000_000;
const STEP: u64 = 5_000;

pub struct Cluster {
    pub world: World,
}

impl Cluster {
    /// So many replicas, formatted, started, and with a primary.
    pub fn of(replica_count: usize) -> Cluster {
        Cluster::with(replica_count, |_| {})
    }

    /// As `of`, with other options.
    pub fn with(replica_count: usize, tune: impl FnOnce(&mut Options)) -> Cluster {
        Cluster::of_stack(Stack::Core, replica_count, tune)
    }

    /// As `with`, and with chunks.
    pub fn with_chunks(replica_count: usize, tune: impl FnOnce(&mut Options)) -> Cluster {
        Cluster::of_stack(Stack::Whole, replica_count, tune)
    }

    fn of_stack(stack: Stack, replica_count: usize, tune: impl FnOnce(&mut Options)) -> Cluster {
        let mut options = Options::draw(1, Mode::Calm, stack);
        options.config.quorums = Quorums::of(replica_count);
        options.config.limits.pipeline_max = 4;
        options.config.limits.batch_requests_max = 8;
        options.config.limits.checkpoint_interval_ops = 16;
        options.config.limits.wal_ops_max = 40;
        options.config.limits.sessions_max = if stack == Stack::Whole { 32 } else { 8 };
        options.config.limits.session_window = 8;
        options.config.limits.session_timeout_micros = 60_000_000;
        options.client_count = 2;
        options.client_window = 2;
        options.think = 10_000;
        options.client_crash = 0;
        tune(&mut options);
        let mut cluster = Cluster { world: World::new(options, false) };
        cluster.primary();
        cluster
    }

    /// Time passes.
    pub fn pass(&mut self, micros: u64) {
        let until = self.world.now + micros;
        if let Err(failure) = self.world.run_until(until) {
            panic!("at {} us: {}", failure.at, failure.what);
        }
    }

    /// Waits until it is so.
    pub fn until(&mut self, what: &str, so: impl Fn(&Cluster) -> bool) {
        let deadline = self.world.now + PATIENCE;
        while !so(self) {
            assert!(self.world.now < deadline, "waited in vain until {what}");
            self.pass(STEP);
        }
    }

    /// Waits until so many more ops are committed.
    pub fn commits(&mut self, count: usize) {
        let goal = self.world.oracles.committed_count() + count;
        self.until("more is committed", |cluster| cluster.world.oracles.committed_count() >= goal);
    }

    /// Waits until the simulator or a core has left such a mark, after now.
    pub fn reaches(&mut self, mark: &str) {
        let before = self.marked(mark);
        self.until(mark, |cluster| cluster.marked(mark) > before);
    }

    /// How often this mark was left.
    pub fn marked(&self, mark: &str) -> u64 {
        self.world.coverage.count(mark)
    }

    pub fn committed(&self) -> Op {
        Op::new(self.world.oracles.committed_count() as u64)
    }

    /// The replica that reigns: waits for one if need be. Of two that think so, the later.
    pub fn primary(&mut self) -> usize {
        self.until("somebody is the primary", |cluster| cluster.reigning().is_some());
        self.reigning().expect("just waited for it")
    }

    fn reigning(&self) -> Option<usize> {
        let primaries =
            (0..self.count()).filter(|index| self.is_up(*index) && self.core(*index).is_primary());
        primaries.max_by_key(|index| self.core(*index).view())
    }

    /// Any replica but the primary.
    pub fn backup(&mut self) -> usize {
        let primary = self.primary();
        (primary + 1) % self.count()
    }

    /// Waits until another one than `old` reigns.
    pub fn new_primary(&mut self, old: usize) -> usize {
        self.until("there is a new primary", |cluster| cluster.reigning().is_some_and(|it| it != old));
        self.reigning().expect("just waited for it")
    }

    pub fn count(&self) -> usize {
        self.world.machines.len()
    }

    pub fn is_up(&self, replica: usize) -> bool {
        self.world.machines[replica].is_up()
    }

    pub fn core(&self, replica: usize) -> &Core {
        &self.world.machines[replica].process.as_ref().expect("the replica is up").core
    }

    /// Waits until this replica has applied everything that is committed now.
    pub fn catches_up(&mut self, replica: usize) {
        let committed = self.committed();
        self.until("the replica has caught up", |cluster| {
            cluster.is_up(replica) && cluster.core(replica).applied() >= committed
        });
    }

    /// The process dies, and what its disk had not synced may be gone.
    pub fn crash(&mut self, replica: usize) {
        self.world.kill(replica);
    }

    pub fn restart(&mut self, replica: usize) {
        self.world.start_soon(replica, 1);
        self.until("the replica is up", |cluster| cluster.is_up(replica));
    }

    /// Crashes at one of the next I/O calls, and comes back by itself.
    pub fn crash_in_io(&mut self, replica: usize, calls: u64) {
        self.world.machines[replica].disk.fail_after(calls);
    }

    /// Nobody hears this replica, nor does it hear anybody, clients included.
    pub fn isolate(&mut self, replica: usize) {
        self.deafen(replica);
        self.silence(replica);
    }

    /// It hears nobody.
    pub fn deafen(&mut self, replica: usize) {
        for other in self.others(replica) {
            self.world.network.cut(other, peer(replica));
        }
    }

    /// Nobody hears it.
    pub fn silence(&mut self, replica: usize) {
        for other in self.others(replica) {
            self.world.network.cut(peer(replica), other);
        }
    }

    /// Its peers no longer hear or reach it, its clients do.
    pub fn separate(&mut self, replica: usize) {
        for other in (0..self.count()).filter(|other| *other != replica) {
            self.world.network.cut(peer(replica), peer(other));
            self.world.network.cut(peer(other), peer(replica));
        }
    }

    /// What it sends arrives only if it is small.
    pub fn narrow(&mut self, replica: usize) {
        for other in self.others(replica) {
            self.world.network.narrow(peer(replica), other);
        }
    }

    pub fn heal(&mut self) {
        self.world.network.mend_all();
    }

    fn others(&self, replica: usize) -> Vec<Peer> {
        let replicas = (0..self.count()).filter(|other| *other != replica).map(peer);
        replicas.chain(self.world.clients.peers()).collect()
    }

    /// Keeps back what `from` says to `to` of this kind.
    pub fn hold(&mut self, kind: &'static str, from: usize, to: usize) {
        self.world.hold(peer(from), peer(to), Some(kind));
    }

    /// What was kept back arrives now.
    pub fn release(&mut self) {
        self.world.release();
    }

    /// Another, empty disk takes the place of this one, and the operator says so.
    pub fn wipe(&mut self, replica: usize) {
        self.world.nemesis.afflict(replica);
        if self.is_up(replica) {
            self.world.kill(replica);
        }
        let config = self.world.options.config.clone();
        self.world.machines[replica].replace_disk(&config);
        self.restart(replica);
    }

    /// Flips bits of files whose name begins so, of a replica that is down.
    pub fn rot(&mut self, replica: usize, prefix: &str, bits: usize) {
        assert!(!self.is_up(replica), "what is in memory hides what rots on disk");
        self.world.nemesis.afflict(replica);
        let disk = &self.world.machines[replica].disk;
        let names = disk.names().expect("the disk answers");
        let names: Vec<&String> = names.iter().filter(|name| name.starts_with(prefix)).collect();
        assert!(!names.is_empty(), "there is no file named {prefix}…");
        for bit in 0..bits {
            disk.rot(names[bit % names.len()]);
        }
    }

    /// The chunks that are stored at a replica, sound or not.
    pub fn chunks_held(&self, replica: usize) -> Vec<ChunkId> {
        let process = self.world.machines[replica].process.as_ref().expect("the replica is up");
        process.plane.as_ref().expect("the world has chunks").holdings()
    }

    /// Whether the log knows of something that the replica lacks.
    pub fn debts(&self, replica: usize) -> bool {
        let chunks = self.world.oracles.chunks.as_ref().expect("the world has chunks");
        chunks.owed_by(self.world.machines[replica].id).is_some()
    }

    /// Whether there is any chunk of which the log says this.
    pub fn any_chunk_is(&self, wanted: Verdict) -> bool {
        let chunks = self.world.oracles.chunks.as_ref().expect("the world has chunks");
        let held = (0..self.count()).filter(|replica| self.is_up(*replica));
        held.flat_map(|replica| self.chunks_held(replica)).any(|chunk| chunks.verdict(chunk) == wanted)
    }

    /// Flips so many bits in the chunk store of a replica that is up.
    pub fn rot_chunks(&mut self, replica: usize, bits: usize) {
        self.world.nemesis.afflict(replica);
        let disk = &self.world.machines[replica].disk;
        let names = disk.names().expect("the disk answers");
        let names: Vec<&String> = names.iter().filter(|name| name.starts_with("chunks-")).collect();
        assert!(!names.is_empty(), "the replica stores chunks");
        for bit in 0..bits {
            disk.rot(names[bit % names.len()]);
        }
    }

    /// From now on its holder changes what it sends.
    pub fn lies(&mut self, replica: usize) {
        self.world.nemesis.afflict(replica);
        self.world.machines[replica].lies = true;
    }

    /// The disk has room for so many bytes more, and no others.
    pub fn fill_disk(&mut self, replica: usize, more: u64) {
        let disk = &self.world.machines[replica].disk;
        disk.set_capacity(disk.used_bytes() + more);
    }

    /// How much free space the log and the tables of a replica want to see before anything grows again.
    pub fn disk_needs(&mut self, replica: usize) -> u64 {
        let machine = &mut self.world.machines[replica];
        let process = machine.process.as_mut().expect("the replica is up");
        process.judge_space(&machine.disk).needed_bytes
    }

    /// Client processes do nothing for so long, and what comes for them waits.
    pub fn freeze_clients(&mut self, micros: u64) {
        let until = self.world.now + micros;
        self.world.clients.freeze_all(until);
    }

    pub fn thaw_clients(&mut self) {
        self.world.clients.freeze_all(0);
    }

    /// Everything heals, every replica catches up, every request is answered, and nothing that was
    /// seen contradicts the log.
    pub fn ends_well(mut self) {
        if let Err(failure) = self.world.settle() {
            panic!("at {} us: {}", failure.at, failure.what);
        }
    }
}

fn peer(replica: usize) -> Peer {
    Peer::Replica(ReplicaId::new(u8::try_from(replica).expect("at most seven")))
}
