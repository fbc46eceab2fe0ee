//! Processes that are killed without a word, as a power cut does it.

use std::time::{Duration, Instant};

use crate::clients::{Client, Load, Plan, Store, runtime};
use crate::harness::Cluster;
use crate::random::Random;

#[test]
fn replicas_that_are_killed_and_restarted_cost_clients_nothing_but_time() {
    let runtime = runtime();
    let mut cluster = Cluster::of(3, "kills");
    cluster.start_all();
    cluster.wait_until_ready();
    let store = Store::default();
    let load = Load::start(&runtime, &cluster, &store, Plan::STANDARD);

    let mut random = Random::new("kills");
    let began = Instant::now();
    let mut kills = 0;
    while began.elapsed() < Duration::from_secs(15) {
        let first = random.below(3);
        // Now and then two at once: nothing can be agreed on until one is back.
        let count = if random.below(3) == 0 { 2 } else { 1 };
        let victims: Vec<usize> = (first..first + count).map(|id| id % 3).collect();
        for id in &victims {
            cluster.kill(*id);
        }
        kills += count;
        random.sleep_ms(50, 800);
        for id in victims {
            cluster.start(id);
        }
        // Sometimes before it has caught up, sometimes after.
        if random.below(2) == 0 {
            cluster.wait_until_ready();
        }
        random.sleep_ms(50, 400);
    }
    cluster.wait_until_ready();
    load.finish(&runtime);
    let tally = store.judge_without_errors();
    println!("{kills} kills: {tally}");
}

#[test]
fn a_cluster_that_is_killed_as_a_whole_comes_back_with_everything_it_had_acknowledged() {
    let runtime = runtime();
    let mut cluster = Cluster::of(3, "blackout");
    cluster.start_all();
    cluster.wait_until_ready();
    let store = Store::default();
    let load = Load::start(&runtime, &cluster, &store, Plan::STANDARD);

    let mut random = Random::new("blackout");
    for _ in 0..4 {
        random.sleep_ms(500, 2_000);
        for id in 0..3 {
            cluster.kill(id);
        }
        random.sleep_ms(0, 1_000);
        cluster.start_all();
        cluster.wait_until_ready();
    }
    load.finish(&runtime);
    println!("4 blackouts: {}", store.judge_without_errors());
}

#[test]
fn writes_go_on_soon_after_the_primary_is_killed() {
    const KILLS: usize = 10;
    let runtime = runtime();
    let mut cluster = Cluster::of(3, "failover");
    cluster.start_all();
    cluster.wait_until_ready();
    let store = Store::default();
    let load = Load::start(&runtime, &cluster, &store, Plan::STANDARD);
    let probe = runtime.block_on(async { Client::of(&cluster, &store) });
    let key = Plan::STANDARD.keys().end;
    runtime.block_on(probe.put(key, 100)).unwrap();

    let mut gaps = Vec::new();
    for _ in 0..KILLS {
        let primary = cluster.primary();
        cluster.kill(primary);
        let killed = Instant::now();
        runtime.block_on(probe.put(key, 100)).unwrap();
        gaps.push(killed.elapsed());
        cluster.start(primary);
        cluster.wait_until_ready();
    }
    gaps.sort();
    load.finish(&runtime);
    let tally = store.judge_without_errors();
    println!("writes went on after {gaps:.1?}, median {:.1?}: {tally}", gaps[KILLS / 2]);
    // How soon depends on the machine. Only what no busy machine explains is an error.
    assert!(gaps[KILLS / 2] < Duration::from_secs(15), "{gaps:?}");
}
