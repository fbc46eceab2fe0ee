//! What a seed's world is like. Swarm testing: each seed draws its own subset of faults and its own
//! limits, so that every bug meets a world in which nothing hides it.

use protocol::config::{Config, Limits, Timeouts};
use protocol::data::fence::READ_MS_MAX;
use protocol::quorums::Quorums;
use protocol::types::{ClusterId, Epoch, ReplicaId};

use crate::client::CATALOG_LIMITS;
use crate::network::NetworkOptions;
use crate::random::Random;
use crate::workload::WorkloadOptions;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// All kinds of faults, then healing, then convergence.
    Safety,
    /// The same, but only a random core is healed: the rest stays dead, and the core must live on.
    Liveness,
    /// No faults at all: for measuring speed, and for false alarms.
    Calm,
}

/// How much of the system is in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stack {
    /// The log and the catalog. Of chunks the log is told, but there are none.
    Core,
    /// The chunks, too: their stores, and all that moves and keeps them.
    Whole,
}

/// How often each kind of trouble strikes, as weights. Zero: not in this world.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub crash: u64,
    pub crash_in_io: u64,
    pub crash_all: u64,
    pub pause: u64,
    pub clock_step: u64,
    pub isolate: u64,
    pub split: u64,
    pub cut_one_way: u64,
    pub clog: u64,
    pub narrow: u64,
    pub mend: u64,
    pub slow_disk: u64,
    pub rot: u64,
    pub unreadable: u64,
    pub misdirect: u64,
    pub phantom: u64,
    pub sync_error: u64,
    pub full_disk: u64,
    pub wipe: u64,
    /// Messages of one kind are kept back, to arrive at the worst moment.
    pub hold: u64,
    /// Restarts that are asked for, and disks in the wrong place.
    pub operator: u64,
    /// A bit of a stored chunk changes, or a sector of it fails.
    pub chunk_rot: u64,
    /// What a holder sends is not what it should be.
    pub lie: u64,
    /// The mean time between two troubles, in microseconds.
    pub interval: u64,
}

impl Faults {
    pub fn total(&self) -> u64 {
        self.weights().iter().map(|(_, weight)| weight).sum()
    }

    pub fn weights(&self) -> [(&'static str, u64); 23] {
        [
            ("crash", self.crash),
            ("crash in I/O", self.crash_in_io),
            ("crash all", self.crash_all),
            ("pause", self.pause),
            ("clock step", self.clock_step),
            ("isolate", self.isolate),
            ("split", self.split),
            ("cut one way", self.cut_one_way),
            ("clog", self.clog),
            ("narrow", self.narrow),
            ("mend", self.mend),
            ("slow disk", self.slow_disk),
            ("rot", self.rot),
            ("unreadable", self.unreadable),
            ("misdirect", self.misdirect),
            ("phantom", self.phantom),
            ("sync error", self.sync_error),
            ("full disk", self.full_disk),
            ("wipe", self.wipe),
            ("operator", self.operator),
            ("hold", self.hold),
            ("chunk rot", self.chunk_rot),
            ("lie", self.lie),
        ]
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    pub mode: Mode,
    pub stack: Stack,
    pub config: Config,
    pub network: NetworkOptions,
    pub faults: Faults,
    pub client_count: usize,
    /// Writes and reads that each client keeps under way.
    pub client_window: usize,
    /// How long troubles last, in microseconds of virtual time.
    pub duration: u64,
    /// The mean pause between two requests of a client.
    pub think: u64,
    pub workload: WorkloadOptions,
    /// Chance per million that a client process dies with each of its steps.
    pub client_crash: u64,
    /// Chance per million that a client process is held up with each of its steps.
    pub client_freeze: u64,
    /// So many of a hundred readers stop in the middle.
    pub slow_reader_percent: u64,
    /// Each of their pauses is shorter than this.
    pub slow_reader_pause: u64,
    /// For how long nothing is collected that a read needs.
    pub read_ms_max: u64,
    /// The length of the chunk stores' segments.
    pub segment_size: u64,
}

impl Options {
    pub fn draw(seed: u64, mode: Mode, stack: Stack) -> Options {
        let mut random = Random::branch(seed, "options");
        let replica_count = match random.below(100) {
            0..40 => 3,
            40..75 => 5,
            75..81 => 1,
            81..87 => 2,
            87..92 => 4,
            92..95 => 6,
            _ => 7,
        };
        let config = Config {
            cluster: ClusterId::new(u128::from(random.word()) << 64 | u128::from(random.word())),
            epoch: Epoch::new(1),
            replica: ReplicaId::ZERO,
            quorums: Quorums::of(replica_count),
            limits: draw_limits(&mut random),
            timeouts: Timeouts::standard(),
        };
        let calm = mode == Mode::Calm;
        let options = Options {
            seed,
            mode,
            stack,
            config,
            network: draw_network(&mut random, calm),
            faults: if calm { Faults::default() } else { draw_faults(&mut random, replica_count) },
            client_count: usize::try_from(random.between(1, 6)).expect("small"),
            client_window: usize::try_from(random.between(1, 8)).expect("small"),
            duration: random.between(8, 24) * 1_000_000,
            think: *random.pick(&[2_000, 10_000, 40_000, 150_000]),
            workload: WorkloadOptions::draw(&mut Random::branch(seed, "workload options"), CATALOG_LIMITS),
            client_crash: if random.percent(30) { 2_000 } else { 0 },
            client_freeze: 0,
            slow_reader_percent: 15,
            slow_reader_pause: 3_000_000,
            read_ms_max: READ_MS_MAX,
            segment_size: 0,
        };
        match stack {
            Stack::Core => options,
            Stack::Whole => options.with_chunks(&mut Random::branch(seed, "whole stack")),
        }
    }

    /// Bodies take longer than operations, so there are fewer. Replicas are clients of their own log,
    /// and each of their lives is another one: there must be room for their sessions.
    fn with_chunks(mut self, random: &mut Random) -> Options {
        self.workload = self.workload.with_real_bodies(random);
        self.config.limits.sessions_max = usize::try_from(*random.pick(&[24, 64])).expect("small");
        self.think = *random.pick(&[10_000, 40_000, 150_000]);
        self.segment_size = *random.pick(&[16 << 10, 64 << 10, 512 << 10]);
        if self.mode != Mode::Calm {
            self.client_freeze = if random.percent(40) { 400 } else { 0 };
            self.faults.chunk_rot = if random.percent(50) { random.between(1, 8) } else { 0 };
            self.faults.lie = if random.percent(25) { random.between(1, 4) } else { 0 };
        }
        self
    }
}

fn draw_limits(random: &mut Random) -> Limits {
    let pipeline_max = random.between(1, 8);
    let checkpoint_interval_ops = pipeline_max + random.between(1, 40);
    Limits {
        pipeline_max,
        batch_requests_max: usize::try_from(*random.pick(&[1, 2, 8, 64])).expect("small"),
        batch_bytes_max: 64 << 10,
        operation_bytes_max: 32 << 10,
        checkpoint_interval_ops,
        wal_ops_max: 2 * checkpoint_interval_ops + pipeline_max + random.below(40),
        sessions_max: usize::try_from(*random.pick(&[2, 4, 16])).expect("small"),
        session_window: *random.pick(&[1, 4, 32]),
        session_timeout_micros: *random.pick(&[2_000_000, 20_000_000]),
        reply_bytes_max: 4 << 10,
    }
}

fn draw_network(random: &mut Random, calm: bool) -> NetworkOptions {
    let mut rate = |rates: &[u64]| if calm || random.percent(40) { 0 } else { *random.pick(rates) };
    NetworkOptions {
        loss: rate(&[1_000, 20_000, 100_000, 300_000]),
        duplication: rate(&[10_000, 100_000, 400_000]),
        late_copy: rate(&[1_000, 10_000]),
        late_copy_delay_max: 30_000_000,
        bit_flip: rate(&[1_000, 10_000]),
        narrow_bytes: 1_200,
        delay_mean: if calm { 200 } else { *random.pick(&[200, 1_000, 10_000]) },
    }
}

fn draw_faults(random: &mut Random, replica_count: usize) -> Faults {
    let mut weight =
        |percent: u64, most: u64| if random.percent(percent) { random.between(1, most) } else { 0 };
    let several = replica_count >= 3;
    Faults {
        crash: weight(70, 10),
        crash_in_io: weight(60, 10),
        crash_all: weight(30, 3),
        pause: weight(40, 5),
        clock_step: weight(30, 3),
        isolate: weight(50, 8),
        split: weight(40, 5),
        cut_one_way: weight(40, 8),
        clog: weight(30, 5),
        narrow: weight(25, 4),
        mend: weight(95, 20),
        slow_disk: weight(30, 4),
        rot: weight(50, 8),
        unreadable: weight(30, 4),
        misdirect: weight(30, 4),
        phantom: weight(30, 4),
        sync_error: weight(20, 3),
        full_disk: weight(15, 2),
        wipe: if several { weight(40, 5) } else { 0 },
        operator: weight(30, 4),
        hold: weight(30, 4),
        chunk_rot: 0,
        lie: 0,
        interval: *random.pick(&[150_000, 400_000, 1_500_000]),
    }
}
