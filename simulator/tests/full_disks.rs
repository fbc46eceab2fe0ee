//! Stories of disks that fill: what takes space is refused before it is logged, and nobody dies.

use protocol::catalog::Operation;
use protocol::types::Room;
use simulator::history::{Call, End, Outcome};
use simulator::options::Options;
use simulator::scenario::Cluster;
use simulator::workload::{Action, Kind};

/// Writes that ended well after `since`, and of which it is so.
fn successes(cluster: &Cluster, since: u64, wanted: impl Fn(&Operation) -> bool) -> usize {
    let succeeded = |call: &&Call| match (&call.action, &call.end) {
        (Action::Write { operation, .. }, End::At { outcome: Outcome::Reply(Ok(_)), .. }) => {
            call.invoked > since && wanted(operation)
        }
        _ => false,
    };
    cluster.world.clients.history.calls().iter().filter(succeeded).count()
}

/// Objects come and go, and live in the log and in the tables alone.
fn small_objects(options: &mut Options) {
    let kinds = [Kind::PutInline, Kind::Delete, Kind::Get, Kind::List, Kind::CreateBucket];
    options.workload.weights = kinds.into_iter().zip([30, 20, 10, 10, 2]).collect();
    options.workload.key_count = 200;
    options.workload.hot_percent = 0;
    options.workload.large_inline_percent = 30;
}

fn room(cluster: &Cluster, replica: usize) -> Room {
    cluster.core(replica).room()
}

/// The disk of a backup is as good as full. It cannot refuse what the primary prepares, and would die of
/// it: the primary has to know.
#[test]
fn one_full_disk_refuses_what_grows_and_lets_through_what_frees() {
    for is_primary in [true, false] {
        let mut cluster = Cluster::with(3, small_objects);
        cluster.commits(40);
        let victim = if is_primary { cluster.primary() } else { cluster.backup() };
        let needed = cluster.disk_needs(victim);
        cluster.fill_disk(victim, needed * 3 / 4);
        cluster.reaches("GrowthRefused");
        let full_at = cluster.world.now;
        cluster.until("something is deleted", |cluster| {
            let frees = |it: &Operation| {
                matches!(it, Operation::DeleteObjects { .. } | Operation::DeleteBucket { .. })
            };
            successes(cluster, full_at, frees) > 0
        });
        assert_eq!(successes(&cluster, full_at, Operation::grows), 0);
        assert_eq!(room(&cluster, victim), Room::Scarce);

        cluster.fill_disk(victim, 64 << 20);
        cluster
            .until("something is stored again", |cluster| successes(cluster, full_at, Operation::grows) > 3);
        assert_eq!(cluster.marked("crash"), 0);
        cluster.ends_well();
    }
}

/// There is room for what is owed, and hardly for anything else. Even deletions wait, and nothing is
/// lost by it.
#[test]
fn a_disk_without_any_room_delays_what_frees() {
    let mut cluster = Cluster::with(3, small_objects);
    cluster.commits(40);
    let victim = cluster.backup();
    let needed = cluster.disk_needs(victim);
    cluster.fill_disk(victim, needed / 16);
    cluster.reaches("FreeingDelayed");
    assert_eq!(room(&cluster, victim), Room::Spent);
    cluster.fill_disk(victim, 64 << 20);
    let roomy_at = cluster.world.now;
    cluster.until("something is stored again", |cluster| successes(cluster, roomy_at, Operation::grows) > 3);
    assert_eq!(cluster.marked("crash"), 0);
    cluster.ends_well();
}

/// What was freed is free only when later checkpoints have let go of the pages, and a cluster that
/// refuses nearly everything would never get there by itself.
#[test]
fn a_full_cluster_carries_its_log_on_to_the_checkpoints_that_free_space() {
    let mut cluster = Cluster::with(3, small_objects);
    cluster.commits(40);
    let victim = cluster.backup();
    let needed = cluster.disk_needs(victim);
    cluster.fill_disk(victim, needed * 3 / 4);
    cluster.reaches("GrowthRefused");
    cluster.freeze_clients(200_000_000);
    let interval = cluster.world.options.config.limits.checkpoint_interval_ops;
    // The checkpoint that holds the last change is the first of three. It may have been reached already.
    let before = cluster.core(victim).checkpoint().op();
    cluster.until("three checkpoints have passed", |cluster| {
        cluster.core(victim).checkpoint().op() >= before.plus(2 * interval)
    });
    // Then there is nothing more to be had, and the log rests.
    cluster.pass(1_000_000);
    let head = cluster.core(victim).head();
    cluster.pass(1_000_000);
    assert_eq!(cluster.core(victim).head(), head);
    cluster.thaw_clients();
    cluster.fill_disk(victim, 64 << 20);
    cluster.ends_well();
}

/// Who cannot be heard cannot be waited for: an operator ends a replica with too small a disk, and the
/// others go on.
#[test]
fn a_full_disk_that_is_away_holds_nobody_up() {
    let mut cluster = Cluster::with(3, small_objects);
    cluster.commits(40);
    let victim = cluster.backup();
    let needed = cluster.disk_needs(victim);
    cluster.fill_disk(victim, needed * 3 / 4);
    cluster.reaches("GrowthRefused");
    cluster.crash(victim);
    let away_at = cluster.world.now;
    cluster.until("something is stored again", |cluster| successes(cluster, away_at, Operation::grows) > 3);
    cluster.fill_disk(victim, 64 << 20);
    cluster.restart(victim);
    cluster.ends_well();
}

/// Refusing is no reason for anybody to suspect the primary: its clients ask the others as well.
#[test]
fn a_primary_that_refuses_for_want_of_room_stays_the_primary() {
    let mut cluster = Cluster::with(3, |options| {
        small_objects(options);
        options.network.loss = 100_000;
    });
    cluster.commits(40);
    let primary = cluster.primary();
    let view = cluster.core(primary).view();
    let needed = cluster.disk_needs(primary);
    cluster.fill_disk(primary, needed * 3 / 4);
    cluster.reaches("GrowthRefused");
    cluster.pass(20_000_000);
    assert_eq!(cluster.core(primary).view(), view);
    cluster.fill_disk(primary, 64 << 20);
    cluster.ends_well();
}

/// Objects that live in the tables alone: what is free in their file counts as room.
#[test]
fn disks_that_small_objects_have_filled_take_more_when_some_were_deleted() {
    let mut cluster = Cluster::with(3, |options| {
        small_objects(options);
        options.workload.weights.push((Kind::DeleteMany, 40));
        options.think = 2_000;
    });
    cluster.commits(40);
    for replica in 0..3 {
        let needed = cluster.disk_needs(replica);
        cluster.fill_disk(replica, needed + (512 << 10));
    }
    cluster.reaches("GrowthRefused");
    let full_at = cluster.world.now;
    cluster.until("something is stored again", |cluster| successes(cluster, full_at, Operation::grows) > 5);
    assert_eq!(cluster.marked("crash"), 0);
    cluster.ends_well();
}

/// What waits for its flush is taken for the most that it can be. A disk that is half empty must not be
/// called full for that: what grows waits for the flush, and is not refused.
#[test]
fn what_is_not_flushed_yet_makes_growth_wait_rather_than_fail() {
    let mut cluster = Cluster::with(3, |options| {
        small_objects(options);
        options.workload.large_inline_percent = 100;
        options.config.limits.checkpoint_interval_ops = 200;
        options.config.limits.wal_ops_max = 500;
        options.client_window = 8;
        options.think = 1_000;
    });
    cluster.commits(150);
    let victim = cluster.backup();
    let needed = cluster.disk_needs(victim);
    cluster.fill_disk(victim, needed * 3 / 4);
    cluster.reaches("GrowthDelayed");
    assert_eq!(room(&cluster, victim), Room::Pressed);
    assert_eq!(cluster.marked("GrowthRefused"), 0);
    cluster.fill_disk(victim, 64 << 20);
    let roomy_at = cluster.world.now;
    cluster.until("something is stored again", |cluster| successes(cluster, roomy_at, Operation::grows) > 3);
    assert_eq!(cluster.marked("outcome: full"), 0);
    assert_eq!(cluster.marked("crash"), 0);
    cluster.ends_well();
}
