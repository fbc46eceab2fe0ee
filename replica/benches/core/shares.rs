//! The whole: what one replica of a working cluster spends on each small operation.
//!
//! Three real replicas work in one process, on one thread. Each meters its own time only, so what is
//! counted for one is what a machine of its own would have spent, apart from the caches that it shares
//! with the others here.

use std::collections::VecDeque;

use bytes::Bytes;
use protocol::entry::Request;
use protocol::message::{Body, Message};
use protocol::types::{Incarnation, Op, Peer, RELEASE, ReplicaId, Tick, Timestamp, View};

use crate::clients::{Clients, Keys};
use crate::meter::{Meter, Stage};
use crate::node::{CLUSTER, EPOCH, Node, REPLICA_COUNT};

/// A group of the log takes so long.
const STEP_MS: u64 = 2;
const TICK_MS: u64 = 10;

/// At least so many operations per CPU second of one replica.
const GOAL: f64 = 60_000.0;

struct Cluster {
    nodes: Vec<Node>,
    clients: Clients,
    mail: VecDeque<(ReplicaId, Bytes)>,
    now_ms: u64,
}

impl Cluster {
    /// With a primary, sessions and a bucket.
    fn new(keys: Keys) -> Cluster {
        let nodes = (0..REPLICA_COUNT).map(|id| Node::new(ReplicaId::new(id))).collect();
        let mut cluster = Cluster { nodes, clients: Clients::new(keys), mail: VecDeque::new(), now_ms: 0 };
        cluster.run_until(|cluster| cluster.nodes.iter().any(Node::is_primary));
        cluster.send(cluster.clients.registrations());
        cluster.run_until(|cluster| cluster.clients.registered());
        let create = cluster.clients.create_bucket();
        cluster.send(vec![create]);
        cluster.run_until(|cluster| cluster.clients.outstanding() == 0);
        cluster
    }

    fn primary(&self) -> usize {
        self.nodes.iter().position(Node::is_primary).expect("nothing happens that would end its view")
    }

    fn run_until(&mut self, done: impl Fn(&Cluster) -> bool) {
        let patience_ms = self.now_ms + 60_000;
        while !done(self) {
            assert!(self.now_ms < patience_ms, "the cluster stands still");
            self.step();
        }
    }

    /// All requests arrive while one group of the log is being written.
    fn send(&mut self, requests: Vec<Request>) {
        let primary = self.primary();
        self.nodes[primary].receive(requests.into_iter().map(frame).collect());
    }

    /// Every disk finishes a group, and everything that was said arrives.
    fn step(&mut self) {
        self.now_ms += STEP_MS;
        for node in &mut self.nodes {
            if self.now_ms.is_multiple_of(TICK_MS) {
                node.tick(Tick::new(self.now_ms), Timestamp::new(self.now_ms * 1_000));
            }
            node.write_group();
        }
        self.deliver();
    }

    fn deliver(&mut self) {
        loop {
            for node in &mut self.nodes {
                for (to, frame) in node.outbox.drain(..) {
                    match to {
                        Peer::Replica(id) => self.mail.push_back((id, frame)),
                        Peer::Client(_) => match Message::decode(frame).expect("it was just encoded").body {
                            Body::Reply(reply) => self.clients.on_reply(&reply),
                            other => panic!("a client was told {other:?}"),
                        },
                    }
                }
            }
            if self.mail.is_empty() {
                return;
            }
            for (index, node) in self.nodes.iter_mut().enumerate() {
                let (mine, others): (VecDeque<_>, _) =
                    self.mail.drain(..).partition(|(to, _)| to.index() == index);
                self.mail = others;
                if !mine.is_empty() {
                    node.receive(mine.into_iter().map(|(_, frame)| frame).collect());
                }
            }
        }
    }

    /// Puts `count` objects, `burst` of which arrive during each group of the log.
    fn put(&mut self, count: u64, burst: usize) {
        let target = self.clients.answered + count;
        while self.clients.answered < target {
            let requests = self.clients.puts(burst);
            self.send(requests);
            self.step();
        }
    }
}

fn frame(request: Request) -> Bytes {
    let message = Message {
        cluster: CLUSTER,
        epoch: EPOCH,
        release: RELEASE,
        from: Peer::Client(request.client),
        view: View::ZERO,
        incarnation: Incarnation::ZERO,
        checkpoint: Op::ZERO,
        floor: Op::ZERO,
        body: Body::Request(request),
    };
    message.encode()
}

/// One load.
struct Load {
    keys: Keys,
    burst: usize,
    /// Objects that are there before.
    before: u64,
    count: u64,
}

/// Measures every load, explains where the time goes, and says at the end what it comes to.
pub(crate) fn report(short: bool) {
    let divisor = if short { 64 } else { 1 };
    let load = |keys, burst, before: u64, count: u64| Load {
        keys,
        burst,
        before: before / divisor,
        count: count / divisor,
    };
    let loads = [
        load(Keys::Scattered, 256, 1 << 17, 1 << 17),
        load(Keys::Ascending, 256, 1 << 17, 1 << 17),
        load(Keys::Scattered, 32, 1 << 17, 1 << 17),
    ];
    let summaries: Vec<String> = loads.iter().map(measure).collect();
    println!("\nIn plain words (the goal is {GOAL:.0} for either):");
    summaries.iter().for_each(|summary| println!("{summary}"));
}

fn measure(load: &Load) -> String {
    let mut cluster = Cluster::new(load.keys);
    cluster.put(load.before, load.burst);

    let primary = cluster.primary();
    let backup = (primary + 1) % cluster.nodes.len();
    for node in &mut cluster.nodes {
        node.meter = Meter::default();
        node.checkpoints = 0;
    }
    let (answered, applied) = (cluster.clients.answered, cluster.nodes[primary].applied());
    cluster.put(load.count, load.burst);
    let count = cluster.clients.answered - answered;
    let batch = count as f64 / (cluster.nodes[primary].applied() - applied) as f64;

    println!(
        "\n{count} puts of 100 bytes, {:?} keys, {} of them in the tables before; {batch:.0} in a batch, \
         {} checkpoints.\nMicroseconds of CPU for each put:",
        load.keys, load.before, cluster.nodes[primary].checkpoints,
    );
    println!("  {:<20} {:>8} {:>8}", "", "primary", "backup");
    let micros = |spent: std::time::Duration| spent.as_secs_f64() * 1e6 / count as f64;
    let (primary, backup) = (&cluster.nodes[primary].meter, &cluster.nodes[backup].meter);
    for (stage, name) in Stage::ALL {
        println!("  {name:<20} {:>8.2} {:>8.2}", micros(primary.spent(stage)), micros(backup.spent(stage)));
    }
    println!("  {:<20} {:>8.2} {:>8.2}", "all", micros(primary.total()), micros(backup.total()));

    let per_second = |meter: &Meter| count as f64 / meter.total().as_secs_f64();
    format!(
        "{:?} keys, {batch:.0} operations in a batch: a backup does {:.0} operations per CPU second, \
         the primary {:.0}.",
        load.keys,
        per_second(backup),
        per_second(primary),
    )
}
