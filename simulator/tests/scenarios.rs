//! Stories in which one thing goes wrong at a time. Seeds find what nobody thought of; these say
//! what somebody did think of, and stay true when the seeds' worlds are drawn differently.

use protocol::types::{Peer, ReplicaId};
use protocol::vsr::StatusName;
use simulator::history::{End, Outcome};
use simulator::scenario::Cluster;

#[test]
fn when_the_primary_dies_another_takes_over() {
    let mut cluster = Cluster::of(3);
    cluster.commits(5);
    let old = cluster.primary();
    cluster.crash(old);
    cluster.new_primary(old);
    cluster.commits(5);
    cluster.ends_well();
}

/// The old primary keeps its clients but has lost its peers: it must not answer them.
#[test]
fn an_isolated_primary_stops_committing_and_the_others_move_on() {
    let mut cluster = Cluster::of(3);
    cluster.commits(5);
    let old = cluster.primary();
    cluster.separate(old);
    cluster.pass(300_000);
    let commit = cluster.core(old).commit();
    let new = cluster.new_primary(old);
    cluster.commits(10);
    assert_ne!(new, old);
    assert_eq!(cluster.core(old).commit(), commit);
    cluster.heal();
    cluster.catches_up(old);
    cluster.ends_well();
}

/// Heartbeats leave it, so nobody would ever suspect it: it must notice by itself.
#[test]
fn a_deaf_primary_gives_up() {
    let mut cluster = Cluster::of(3);
    cluster.commits(5);
    let old = cluster.primary();
    cluster.deafen(old);
    cluster.new_primary(old);
    cluster.commits(5);
    assert!(cluster.marked("AbdicatedUnheard") + cluster.marked("SuspectedStarvingPrimary") > 0);
    cluster.ends_well();
}

#[test]
fn a_mute_primary_is_replaced() {
    let mut cluster = Cluster::of(5);
    cluster.commits(5);
    let old = cluster.primary();
    cluster.silence(old);
    cluster.new_primary(old);
    cluster.commits(5);
    cluster.ends_well();
}

/// Heartbeats are small and pass, batches are large and do not.
#[test]
fn a_primary_whose_prepares_get_lost_is_replaced() {
    let mut cluster = Cluster::with(3, |options| options.network.narrow_bytes = 400);
    cluster.commits(5);
    let old = cluster.primary();
    cluster.narrow(old);
    cluster.new_primary(old);
    cluster.commits(5);
    cluster.ends_well();
}

#[test]
fn a_power_cut_everywhere_loses_nothing() {
    for count in [1, 2, 3, 5] {
        let mut cluster = Cluster::of(count);
        for _ in 0..3 {
            cluster.commits(7);
            (0..count).for_each(|replica| cluster.crash(replica));
            (0..count).for_each(|replica| cluster.restart(replica));
        }
        cluster.commits(5);
        cluster.ends_well();
    }
}

/// Everybody dies in the middle of writing the same entries. Nobody can produce them, and nobody may
/// mistake them for entries that were acknowledged.
#[test]
fn torn_tails_everywhere_do_not_stop_the_restart() {
    let mut cluster = Cluster::of(3);
    for calls in [1, 2, 3, 4, 5, 6, 9] {
        cluster.commits(4);
        (0..3).for_each(|replica| cluster.crash_in_io(replica, calls));
        cluster.until("all have died", |cluster| cluster.marked("crash") >= 3);
        cluster.pass(100_000);
    }
    cluster.commits(5);
    cluster.ends_well();
}

#[test]
fn a_replica_with_a_rotten_log_is_repaired_by_its_peers() {
    let mut cluster = Cluster::of(3);
    cluster.commits(30);
    let victim = cluster.backup();
    cluster.crash(victim);
    cluster.rot(victim, "wal", 40);
    cluster.restart(victim);
    cluster.commits(5);
    cluster.catches_up(victim);
    assert_eq!(cluster.core(victim).status(), StatusName::Normal);
    cluster.ends_well();
}

/// Its log may be missing the end: it must not lead or vote until it has learned what it is.
#[test]
fn the_former_primary_with_a_rotten_log_does_not_lead_the_others_astray() {
    let mut cluster = Cluster::of(3);
    cluster.commits(20);
    let old = cluster.primary();
    cluster.crash(old);
    cluster.rot(old, "wal", 60);
    cluster.restart(old);
    cluster.commits(20);
    cluster.catches_up(old);
    cluster.ends_well();
}

#[test]
fn a_replica_with_rotten_tables_fetches_them_again() {
    let mut cluster = Cluster::of(3);
    cluster.commits(60);
    let victim = cluster.backup();
    cluster.crash(victim);
    cluster.rot(victim, "tables", 30);
    cluster.restart(victim);
    cluster.until("it has synced", |cluster| cluster.marked("SyncFinished") > 0);
    cluster.catches_up(victim);
    cluster.ends_well();
}

#[test]
fn a_replica_that_slept_through_everything_syncs() {
    let mut cluster = Cluster::of(3);
    cluster.commits(5);
    let sleeper = cluster.backup();
    cluster.crash(sleeper);
    cluster.commits(150);
    cluster.restart(sleeper);
    cluster.catches_up(sleeper);
    assert!(cluster.marked("SyncFinished") > 0);
    cluster.ends_well();
}

/// Its own disk names nothing that was committed while it was away. A backup that hears nobody has the
/// status of one that follows, and must not take what it has for all there is.
#[test]
fn a_replica_that_begins_alone_does_not_say_that_it_has_caught_up() {
    for commits in [20, 150] {
        let mut cluster = Cluster::of(3);
        cluster.commits(5);
        let sleeper = cluster.backup();
        cluster.crash(sleeper);
        cluster.commits(commits);
        cluster.isolate(sleeper);
        let before = cluster.committed();
        cluster.restart(sleeper);
        cluster.pass(1_000_000);
        assert!(!cluster.core(sleeper).has_caught_up());

        cluster.heal();
        cluster.until("it has caught up", |cluster| cluster.core(sleeper).has_caught_up());
        assert!(cluster.core(sleeper).applied() >= before);
        cluster.ends_well();
    }
}

/// A replica that is gone must not keep the others from forgetting their logs, or they fill up.
#[test]
fn a_dead_replica_does_not_stop_the_others() {
    let mut cluster = Cluster::of(3);
    let dead = cluster.backup();
    cluster.crash(dead);
    cluster.commits(200);
    cluster.ends_well();
}

#[test]
fn a_wiped_disk_is_readmitted() {
    let mut cluster = Cluster::of(3);
    cluster.commits(40);
    let victim = cluster.backup();
    cluster.wipe(victim);
    cluster.until("it has rejoined", |cluster| cluster.marked("RejoinFinished") == 1);
    cluster.catches_up(victim);
    assert!(cluster.core(victim).durable_superblock().incarnation.get() > 0);
    cluster.ends_well();
}

/// What was stored on the old disk is not on the new one: clients that still come with its receipts are
/// told so and ask again, and the new disk owes everything until it says otherwise.
#[test]
fn a_disk_that_was_replaced_holds_nothing_until_it_is_rebuilt() {
    use simulator::workload::{Kind, WorkloadOptions};

    let mut cluster = Cluster::with(3, |options| {
        options.workload = WorkloadOptions {
            weights: vec![
                (Kind::CreateBucket, 5),
                (Kind::PutChunked, 20),
                (Kind::ListDebts, 5),
                (Kind::Rebuilding, 5),
            ],
            ..WorkloadOptions::everything(simulator::client::CATALOG_LIMITS)
        };
    });
    cluster.commits(40);
    assert_eq!(cluster.marked("disks to rebuild"), 0);
    let victim = cluster.backup();
    cluster.wipe(victim);
    cluster.reaches("disks to rebuild");
    cluster.until("it is rebuilt", |cluster| cluster.marked("disk rebuilt") > 0);
    cluster.until("it has rejoined", |cluster| cluster.marked("RejoinFinished") == 1);
    cluster.reaches("debts listed");
    cluster.reaches("debts settled");
    cluster.commits(20);
    cluster.ends_well();
}

#[test]
fn every_disk_may_be_lost_one_after_another() {
    let mut cluster = Cluster::of(3);
    cluster.commits(10);
    for victim in 0..3 {
        cluster.wipe(victim);
        cluster.until("it has rejoined", |cluster| cluster.marked("RejoinFinished") > victim as u64);
        cluster.catches_up(victim);
        cluster.commits(10);
    }
    cluster.ends_well();
}

/// The votes of a disk that is gone speak of a log that is gone, too.
#[test]
fn votes_of_a_lost_disk_are_void_when_they_arrive_after_its_successor_has_rejoined() {
    let mut cluster = Cluster::of(5);
    cluster.commits(10);
    let old = cluster.primary();
    let (next, victim) = ((old + 1) % 5, (old + 2) % 5);
    cluster.hold("DoViewChange", victim, next);
    cluster.crash(old);
    cluster.new_primary(old);
    cluster.restart(old);
    cluster.wipe(victim);
    cluster.until("it has rejoined", |cluster| cluster.marked("RejoinFinished") == 1);
    cluster.release();
    cluster.until("the dead are refused", |cluster| cluster.marked("StaleIncarnationDropped") > 0);
    cluster.commits(20);
    cluster.ends_well();
}

/// There are fewer places than clients: they take turns, and no request takes effect twice.
#[test]
fn clients_beyond_the_number_of_sessions_evict_each_other() {
    let mut cluster = Cluster::with(3, |options| {
        options.config.limits.sessions_max = 2;
        options.client_count = 4;
    });
    cluster.commits(60);
    assert!(cluster.marked("client told that its session is gone") > 0);
    cluster.ends_well();
}

#[test]
fn a_silent_clients_session_expires() {
    let mut cluster = Cluster::with(3, |options| options.config.limits.session_timeout_micros = 1_000_000);
    cluster.commits(10);
    let client = cluster.world.clients.peers().next().expect("there are clients");
    for replica in 0..3 {
        let replica = Peer::Replica(ReplicaId::new(replica));
        cluster.world.network.cut(client, replica);
    }
    cluster.until("it has expired", |cluster| cluster.marked("SessionsExpired") > 0);
    cluster.heal();
    cluster.commits(10);
    cluster.ends_well();
}

/// Retries and copies of a `Register` must find the session that the first one began.
#[test]
fn a_network_that_repeats_everything_does_nothing_twice() {
    let mut cluster = Cluster::with(3, |options| options.network.duplication = 500_000);
    cluster.commits(50);
    assert!(cluster.marked("RequestDuplicateInPipeline") + cluster.marked("RequestDuplicateAnswered") > 0);
    assert_eq!(cluster.marked("client told that its session is gone"), 0);
    cluster.ends_well();
}

#[test]
fn damaged_frames_are_refused_and_sent_again() {
    let mut cluster = Cluster::with(3, |options| options.network.bit_flip = 100_000);
    cluster.commits(30);
    assert!(cluster.marked("bit flipped in flight") > 0);
    assert!(cluster.marked("damaged frame refused") > 0);
    cluster.ends_well();
}

/// Cluster time never runs back, whatever the new primary's clock says.
#[test]
fn a_primary_whose_clock_is_an_hour_late_goes_on() {
    let mut cluster = Cluster::of(3);
    cluster.commits(5);
    let old = cluster.primary();
    for machine in &mut cluster.world.machines {
        machine.clock_offset = -3_600_000_000;
    }
    cluster.crash(old);
    cluster.new_primary(old);
    cluster.commits(20);
    cluster.ends_well();
}

#[test]
fn a_primary_that_sleeps_longer_than_all_patience_wakes_up_deposed() {
    let mut cluster = Cluster::of(3);
    cluster.commits(5);
    let old = cluster.primary();
    cluster.world.machines[old].paused_until = cluster.world.now + 20_000_000;
    cluster.new_primary(old);
    cluster.commits(10);
    cluster.until("it wakes up", |cluster| {
        cluster.world.machines[old].paused_until < cluster.world.now && !cluster.core(old).is_primary()
    });
    cluster.catches_up(old);
    cluster.ends_well();
}

#[test]
fn a_slow_disk_among_three_slows_nobody() {
    let mut cluster = Cluster::of(3);
    let slow = cluster.backup();
    cluster.world.machines[slow].slowness = 100;
    cluster.commits(50);
    cluster.ends_well();
}

/// The primary slows down for a backup that would fall out of the log, but it never stops for it.
#[test]
fn a_backup_that_cannot_keep_up_is_waited_for_and_does_not_have_to_sync() {
    let mut cluster = Cluster::with(3, |options| {
        options.config.limits.batch_requests_max = 1;
        options.client_count = 4;
        options.think = 1_000;
    });
    let slow = cluster.backup();
    cluster.world.machines[slow].slowness = 60;
    cluster.reaches("Throttled");
    cluster.commits(30);
    assert!(cluster.core(slow).durable_through() < cluster.committed());
    cluster.world.machines[slow].slowness = 1;
    cluster.catches_up(slow);
    assert_eq!(cluster.marked("SyncStarted"), 0);
    cluster.ends_well();
}

/// The reply to its `Register` is lost again and again, and meanwhile the primary, too.
#[test]
fn a_client_that_registers_again_and_again_has_one_session() {
    let mut cluster = Cluster::with(3, |options| options.client_count = 1);
    let client = cluster.world.clients.peers().next().expect("there is a client");
    for replica in 0..3 {
        cluster.world.hold(Peer::Replica(ReplicaId::new(replica)), client, Some("Reply"));
    }
    cluster.reaches("RequestDuplicateAnswered");
    let old = cluster.primary();
    cluster.crash(old);
    let new = cluster.new_primary(old);
    cluster.reaches("RequestDuplicateAnswered");
    assert_eq!(cluster.marked("session began"), 0);
    assert_eq!(cluster.core(new).state().sessions().count(), 1);

    cluster.restart(old);
    cluster.release();
    cluster.commits(10);
    assert_eq!(cluster.marked("session began"), 1);
    assert_eq!(cluster.core(new).state().sessions().count(), 1);
    cluster.ends_well();
}

/// The patience of some writes ends while there is no quorum. When one is back they are refused:
/// whoever gave up must be able to rely on it.
#[test]
fn a_write_whose_deadline_passed_without_a_quorum_has_no_effect() {
    let mut cluster = Cluster::of(3);
    cluster.commits(20);
    let dead = [cluster.primary(), cluster.backup()];
    for replica in dead {
        cluster.crash(replica);
    }
    let begin = cluster.world.now;
    cluster.pass(6_000_000);
    let end = cluster.world.now;
    let (committed, refused) = (cluster.committed(), cluster.marked("outcome: no effect"));
    for replica in dead {
        cluster.restart(replica);
    }
    cluster.until("a write is refused", |cluster| cluster.marked("outcome: no effect") > refused);
    assert!(cluster.committed() > committed);
    let calls = cluster.world.clients.history.calls();
    let in_vain = calls.iter().filter(|call| {
        (begin..end).contains(&call.invoked)
            && matches!(&call.end, End::At { responded, outcome: Outcome::NoEffect } if *responded > end)
    });
    assert!(in_vain.count() > 0);
    // The judges know of every write what it claims to have done, and that these did nothing.
    cluster.ends_well();
}
