//! Processes that stand still, as on a machine that swaps or is migrated, and then go on as if nothing
//! had been.

use std::time::Duration;

use crate::clients::{Load, Plan, Store, runtime};
use crate::harness::Cluster;
use crate::random::Random;

#[test]
fn replicas_that_stand_still_and_go_on_never_answer_from_the_past() {
    let runtime = runtime();
    let mut cluster = Cluster::of(3, "pauses");
    cluster.start_all();
    cluster.wait_until_ready();
    let store = Store::default();
    let load = Load::start(&runtime, &cluster, &store, Plan::STANDARD);

    let mut random = Random::new("pauses");
    for round in 0..8 {
        let primary = cluster.primary();
        let victim = if round % 2 == 0 { primary } else { (primary + 1 + random.below(2)) % 3 };
        cluster.process(victim).pause();
        // From less than anybody notices to more than connections survive.
        match round / 2 {
            0 => random.sleep_ms(50, 300),
            1 => random.sleep_ms(500, 1_500),
            2 => random.sleep_ms(2_000, 3_000),
            _ => random.sleep_ms(6_000, 7_000),
        }
        cluster.process(victim).resume();
        std::thread::sleep(Duration::from_millis(300));
    }
    cluster.wait_until_ready();
    load.finish(&runtime);
    println!("8 pauses: {}", store.judge_without_errors());
}
