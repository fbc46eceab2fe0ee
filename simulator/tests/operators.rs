//! What people do to a cluster, in the right order and in the wrong one.

use protocol::types::Op;
use protocol::vsr::StatusName;
use simulator::operator;
use simulator::scenario::Cluster;

/// The usual way to a new release: one after the other, each when the one before is back.
#[test]
fn a_rolling_restart_costs_nobody_an_answer() {
    let mut cluster = Cluster::of(3);
    cluster.commits(10);
    for replica in 0..3 {
        operator::restart(&mut cluster.world, replica);
        cluster.until("it has ended", |cluster| !cluster.is_up(replica));
        cluster.commits(10);
        cluster.catches_up(replica);
    }
    assert!(cluster.marked("Resigned") > 0);
    cluster.ends_well();
}

#[test]
fn all_replicas_that_are_restarted_at_once_come_back_with_everything() {
    let mut cluster = Cluster::of(5);
    cluster.commits(20);
    let before = cluster.committed();
    for replica in 0..5 {
        operator::restart(&mut cluster.world, replica);
    }
    cluster.until("all have ended", |cluster| cluster.marked("crash") >= 5);
    cluster.commits(10);
    assert!(cluster.committed() >= before.plus(10));
    cluster.ends_well();
}

/// Nothing was wrong with the disk that was taken out: its place is given to another one all the same.
#[test]
fn a_healthy_disk_that_is_replaced_is_a_lost_one() {
    let mut cluster = Cluster::with_chunks(3, |_| {});
    cluster.commits(20);
    let victim = cluster.primary();
    cluster.wipe(victim);
    cluster.until("it has rejoined", |cluster| cluster.marked("RejoinFinished") == 1);
    cluster.catches_up(victim);
    cluster.ends_well();
}

/// As many as five replicas can lose, at the same time.
#[test]
fn two_of_five_disks_may_be_replaced_at_once() {
    let mut cluster = Cluster::of(5);
    cluster.commits(20);
    let before = cluster.committed();
    let primary = cluster.primary();
    for victim in [primary, (primary + 2) % 5] {
        cluster.wipe(victim);
    }
    cluster.until("both have rejoined", |cluster| cluster.marked("RejoinFinished") == 2);
    assert!(cluster.committed() >= before);
    cluster.ends_well();
}

/// Two of three are one too many: who is left cannot know what was committed. It says nothing rather than
/// something wrong, and the new disks get no place.
#[test]
fn two_of_three_disks_replaced_at_once_leave_a_cluster_that_answers_nobody() {
    let mut cluster = Cluster::of(3);
    cluster.commits(20);
    let survivor = cluster.primary();
    let victims: Vec<usize> = (0..3).filter(|victim| *victim != survivor).collect();
    for victim in &victims {
        cluster.crash(*victim);
    }
    let before = cluster.committed();
    for victim in victims {
        cluster.wipe(victim);
    }
    cluster.pass(20_000_000);
    assert_eq!(cluster.committed(), before);
    let rejoining = |replica: &usize| cluster.core(*replica).status() == StatusName::Rejoining;
    assert_eq!((0..3).filter(rejoining).count(), 2);
    assert_eq!(cluster.marked("RejoinFinished"), 0);
}

/// The disk that was replaced is found in a drawer and put back: it learns that its place is taken, and
/// has harmed nobody.
#[test]
fn a_replaced_disk_that_is_started_again_finds_its_place_taken() {
    let mut cluster = Cluster::of(3);
    cluster.commits(20);
    let victim = cluster.backup();
    cluster.wipe(victim);
    cluster.until("the new disk has rejoined", |cluster| cluster.marked("RejoinFinished") == 1);
    cluster.commits(20);

    cluster.crash(victim);
    cluster.world.machines[victim].swap_disks();
    cluster.restart(victim);
    cluster.reaches("old disk found itself replaced");

    operator::new_disk(&mut cluster.world, victim);
    cluster.catches_up(victim);
    assert!(cluster.core(victim).applied() > Op::new(20));
    cluster.ends_well();
}

/// The new disk never got so far as to take the place: the old one still has it.
#[test]
fn a_replaced_disk_that_comes_back_before_its_successor_has_rejoined_goes_on() {
    let mut cluster = Cluster::of(3);
    cluster.commits(20);
    let victim = cluster.backup();
    cluster.separate(victim);
    cluster.wipe(victim);
    cluster.crash(victim);
    cluster.world.machines[victim].swap_disks();
    cluster.heal();
    cluster.restart(victim);
    cluster.catches_up(victim);
    assert_eq!(cluster.marked("old disk found itself replaced"), 0);
    // What the operator does in the end decides; here the old disk stays.
    cluster.world.machines[victim].has_old_disk = false;
    cluster.ends_well();
}
