//! Stories about the bytes of large objects: how they get through what happens to disks, to clients and
//! to readers. Every read in them compares every byte with what was stored.

use protocol::catalog::Verdict;
use simulator::options::Options;
use simulator::scenario::Cluster;
use simulator::workload::Kind;

/// Bodies of several chunks, put and read all the time.
fn busy(options: &mut Options) {
    options.workload.chunk_size = 1_500;
    options.workload.bucket_count = 1;
    options.workload.key_count = 12;
    options.workload.hot_percent = 0;
    options.segment_size = 64 << 10;
    options.workload.weights =
        vec![(Kind::PutChunked, 8), (Kind::Get, 8), (Kind::Copy, 1), (Kind::Delete, 1), (Kind::List, 1)];
}

#[test]
fn a_replaced_disk_is_rebuilt_while_clients_go_on_and_nothing_is_owed_in_the_end() {
    let mut cluster = Cluster::with_chunks(3, busy);
    cluster.commits(150);
    let victim = cluster.backup();
    let held = cluster.chunks_held(victim).len();
    assert!(held > 5, "there is something to lose: {held}");
    cluster.wipe(victim);
    cluster.reaches("disk rebuilt by upkeep");
    assert!(cluster.marked("chunk repaired") > 0);
    cluster.commits(50);
    cluster.ends_well();
}

/// With five replicas a chunk has three owners, and the others stand in for those that are away.
#[test]
fn what_an_owner_missed_while_it_was_down_it_fetches_when_it_is_back() {
    let mut cluster = Cluster::with_chunks(5, busy);
    cluster.commits(20);
    let victim = cluster.backup();
    cluster.crash(victim);
    cluster.commits(150);
    assert!(cluster.debts(victim));
    cluster.restart(victim);
    cluster.reaches("chunk repaired");
    cluster.ends_well();
}

/// Nobody reads, so nobody but the scrub can find it. What is stored stays long enough for it to come by.
#[test]
fn rot_that_nobody_reads_is_found_by_the_scrub_and_repaired() {
    let mut cluster = Cluster::with_chunks(3, |options| {
        busy(options);
        options.workload.key_count = 500;
        options.think = 50_000;
        options.workload.weights.retain(|(kind, _)| !matches!(kind, Kind::Get | Kind::Delete));
    });
    cluster.commits(150);
    let victim = cluster.backup();
    cluster.rot_chunks(victim, 30);
    cluster.reaches("chunk found damaged");
    cluster.reaches("chunk repaired");
    cluster.ends_well();
}

/// The damage is done to whoever is asked first for some of the chunks: its answers fit no root.
#[test]
fn readers_pass_over_a_holder_that_lies() {
    let mut cluster = Cluster::with_chunks(3, busy);
    cluster.commits(50);
    let victim = cluster.backup();
    cluster.lies(victim);
    cluster.until("many reads were lied to", |cluster| cluster.marked("holder lied") > 20);
    assert!(cluster.marked("object read and compared") > 0);
    assert_eq!(cluster.marked("read found nothing"), 0);
    cluster.ends_well();
}

/// Its chunks are stored, its session has ended, the chunks are gone: then it goes on as if nothing had
/// happened. The commit must be refused, for its receipts are of another session.
#[test]
fn a_client_that_returns_from_a_long_stall_cannot_commit_what_was_collected() {
    let mut cluster = Cluster::with_chunks(3, |options| {
        busy(options);
        options.config.limits.session_timeout_micros = 2_000_000;
    });
    cluster.commits(20);
    for _ in 0..20 {
        cluster.until("a body waits for its commit", |cluster| cluster.any_chunk_is(Verdict::Pending));
        cluster.freeze_clients(60_000_000);
        cluster.until("it is collected", |cluster| !cluster.any_chunk_is(Verdict::Pending));
        cluster.thaw_clients();
        cluster.commits(10);
        if cluster.marked("outcome: invalid") > 0 {
            return cluster.ends_well();
        }
    }
    panic!("no client tried to commit what was collected");
}

/// One key that is written over and over, and readers that stop in the middle: what they read has lost
/// its last reference long before they are done with it.
#[test]
fn collection_waits_for_slow_readers() {
    let mut cluster = Cluster::with_chunks(3, |options| {
        busy(options);
        options.client_count = 4;
        options.workload.key_count = 1;
        options.slow_reader_percent = 100;
    });
    cluster
        .until("something is read that is written over", |cluster| cluster.any_chunk_is(Verdict::Retiring));
    cluster.until("much was collected", |cluster| cluster.marked("chunks collected") > 15);
    cluster.until("much was read", |cluster| cluster.marked("object read and compared") > 40);
    assert_eq!(cluster.marked("read found nothing"), 0);
    cluster.ends_well();
}

/// A few readers that stop for ever held back collection for all: the disks filled with what everybody
/// had deleted.
#[test]
fn a_reader_that_never_ends_does_not_stop_collection() {
    let mut cluster = Cluster::with_chunks(3, |options| {
        busy(options);
        options.client_count = 4;
        options.client_window = 8;
        options.workload.key_count = 1;
        options.workload.weights = vec![(Kind::PutChunked, 19), (Kind::Get, 1)];
        options.slow_reader_percent = 100;
        options.slow_reader_pause = 1_000_000_000_000;
        options.read_ms_max = 3_000;
    });
    cluster.commits(100);
    cluster.until("what was dropped is collected", |cluster| !cluster.any_chunk_is(Verdict::Retiring));
    assert_eq!(cluster.marked("read found nothing"), 0);
    cluster.ends_well();
}

/// Chunks of clients that died have no owner but the log, which says that they are dead.
#[test]
fn what_dead_clients_left_behind_is_collected() {
    let mut cluster = Cluster::with_chunks(3, |options| {
        busy(options);
        options.config.limits.session_timeout_micros = 2_000_000;
        options.client_crash = 20_000;
    });
    cluster.until("many have died", |cluster| cluster.marked("client crash") > 10);
    cluster.until("their chunks are collected", |cluster| cluster.marked("chunks collected") > 5);
    // Nothing that is dead may be left anywhere.
    cluster.ends_well();
}

#[test]
fn a_full_disk_refuses_chunks_and_takes_them_again_when_there_is_room() {
    let mut cluster = Cluster::with_chunks(3, busy);
    cluster.commits(50);
    let victim = cluster.backup();
    // Too little for chunks, enough for the log.
    cluster.fill_disk(victim, 7 << 20);
    cluster.commits(50);
    assert!(cluster.debts(victim));
    cluster.fill_disk(victim, 64 << 20);
    cluster.until("it has fetched what it refused", |cluster| cluster.marked("chunk repaired") > 0);
    cluster.ends_well();
}
