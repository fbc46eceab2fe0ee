//! Links that carry nothing, in one direction or in both. Every replica has a network of its own, with
//! one cable to a router, and the router is told what to lose.
//!
//! ```text
//!   replica 0 ── v0 ┐
//!   replica 1 ── v1 ┼─ router: the clients are here
//!   replica 2 ── v2 ┘
//! ```

use std::time::{Duration, Instant};

use crate::clients::{Client, Load, Plan, Store, runtime};
use crate::harness::{Cluster, Place};
use crate::namespaces::{Kind, run, tell_inside};

#[test]
fn no_partition_that_leaves_two_replicas_together_stops_writes() {
    let name = "partitions::no_partition_that_leaves_two_replicas_together_stops_writes";
    tell_inside(name, Kind::Network, || {
        let mut network = Network::of(3)?;
        tell(&mut network);
        Ok(())
    });
}

fn tell(network: &mut Network) {
    let runtime = runtime();
    let mut cluster = Cluster::at("partitions", network.places());
    cluster.start_all();
    cluster.wait_until_ready();
    let store = Store::default();
    let load = Load::start(&runtime, &cluster, &store, Plan::STANDARD);
    let probe = runtime.block_on(async { Client::of(&cluster, &store) });
    let key = Plan::STANDARD.keys().end;
    let mut gaps = Vec::new();

    type Cut = fn(&mut Network, usize, [usize; 2]);
    let cuts: [(&str, Cut); 6] = [
        ("the primary is cut off from both backups", |network, primary, [a, b]| {
            for other in [a, b] {
                network.cut(primary, other);
                network.cut(other, primary);
            }
        }),
        ("the primary hears nothing of the backups", |network, primary, [a, b]| {
            network.cut(a, primary);
            network.cut(b, primary);
        }),
        ("the backups hear nothing of the primary", |network, primary, [a, b]| {
            network.cut(primary, a);
            network.cut(primary, b);
        }),
        ("one backup and the primary do not hear each other", |network, primary, [a, _]| {
            network.cut(primary, a);
            network.cut(a, primary);
        }),
        ("one backup does not hear the primary", |network, primary, [a, _]| network.cut(primary, a)),
        (
            "nobody but one backup hears the primary, and it hears only the other",
            |network, primary, [a, b]| {
                network.cut(primary, a);
                network.cut(b, primary);
                network.cut_clients_off(primary);
            },
        ),
    ];
    for (what, cut) in cuts {
        let primary = cluster.primary();
        let others = [(primary + 1) % 3, (primary + 2) % 3];
        cut(network, primary, others);
        let began = Instant::now();
        runtime.block_on(probe.put(key, 100)).unwrap_or_else(|error| panic!("{what}: {error}"));
        gaps.push(began.elapsed());
        // The fault stays until everybody has noticed whatever there is to notice.
        std::thread::sleep(Duration::from_millis(2_500));
        runtime.block_on(probe.put(key, 100)).unwrap_or_else(|error| panic!("still {what}: {error}"));
        runtime.block_on(probe.get(key)).unwrap_or_else(|error| panic!("still {what}: {error}"));
        network.heal();
        cluster.wait_until_ready();
        println!("{what}: a write took {:.1?}", gaps[gaps.len() - 1]);
    }

    // Every replica hears one other only: whether two can agree, nobody has to say. But it heals.
    for id in 0..3 {
        network.cut(id, (id + 1) % 3);
    }
    std::thread::sleep(Duration::from_secs(4));
    network.heal();
    cluster.wait_until_ready();
    load.finish(&runtime);
    println!("{} partitions: {}", gaps.len() + 1, store.judge_without_errors());
}

struct Network {
    count: usize,
    /// The rules by which packets are lost.
    rules: Vec<Vec<String>>,
}

impl Network {
    const CLIENTS: &str = "10.1.0.254";

    fn address(id: usize) -> String {
        format!("10.1.0.{}", id + 1)
    }

    /// The error is what this machine cannot do.
    fn of(count: usize) -> Result<Network, String> {
        let ip = |line: &str| run("ip", &line.split(' ').collect::<Vec<_>>());
        run("mount", &["-t", "tmpfs", "tmpfs", "/run"])?;
        ip("link set lo up")?;
        for id in 0..count {
            let (address, clients) = (Network::address(id), Network::CLIENTS);
            ip(&format!("netns add r{id}"))?;
            ip(&format!("link add v{id} type veth peer name eth0 netns r{id}"))?;
            ip(&format!("addr add {clients}/32 dev v{id}"))?;
            ip(&format!("link set v{id} up"))?;
            ip(&format!("route add {address} dev v{id}"))?;
            ip(&format!("-n r{id} addr add {address}/32 dev eth0"))?;
            ip(&format!("-n r{id} link set lo up"))?;
            ip(&format!("-n r{id} link set eth0 up"))?;
            ip(&format!("-n r{id} route add {clients} dev eth0"))?;
            ip(&format!("-n r{id} route add default via {clients}"))?;
        }
        let forward = std::fs::write("/proc/sys/net/ipv4/ip_forward", "1");
        forward.map_err(|error| format!("ip_forward: {error}"))?;
        let mut network = Network { count, rules: vec![] };
        // Better to know now whether anything can be lost at all.
        network.try_lose(&["iif", "v0", "to", &Network::address(0)])?;
        network.heal();
        Ok(network)
    }

    fn places(&self) -> Vec<Place> {
        let launcher = |id: usize| ["ip", "netns", "exec", &format!("r{id}")].map(str::to_owned).to_vec();
        let place = |id: usize| Place {
            peer: format!("{}:7400", Network::address(id)),
            admin: format!("{}:9100", Network::address(id)),
            launcher: launcher(id),
        };
        (0..self.count).map(place).collect()
    }

    /// Nothing that `from` sends reaches `to` any more.
    fn cut(&mut self, from: usize, to: usize) {
        self.try_lose(&["iif", &format!("v{from}"), "to", &Network::address(to)]).unwrap();
    }

    /// Nothing that clients send reaches the replica any more. The harness is such a client, too.
    fn cut_clients_off(&mut self, to: usize) {
        self.try_lose(&["iif", "lo", "to", &Network::address(to)]).unwrap();
    }

    fn try_lose(&mut self, packets: &[&str]) -> Result<(), String> {
        let rule: Vec<&str> = [packets, &["blackhole"]].concat();
        run("ip", &[&["rule", "add"], &rule[..]].concat())?;
        self.rules.push(rule.into_iter().map(str::to_owned).collect());
        Ok(())
    }

    fn heal(&mut self) {
        for rule in self.rules.drain(..) {
            let rule: Vec<&str> = rule.iter().map(String::as_str).collect();
            run("ip", &[&["rule", "del"], &rule[..]].concat()).unwrap();
        }
    }
}
