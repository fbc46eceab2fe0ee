//! Disks that are lost, that rot, and that fill.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use gateway::cluster::ClusterError;

use crate::clients::{Client, Load, Plan, Store, runtime};
use crate::figures::{is_alive, metric, wait_for_no_debt};
use crate::harness::Cluster;
use crate::history::Key;
use crate::namespaces::{Kind, run, tell_inside};
use crate::random::Random;
use protocol::types::Op;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Bodies that stay as they are while everything around them is written again and again.
const STAYING: Range<Key> = 1_000..1_012;

#[test]
fn a_disk_that_is_replaced_under_load_gets_everything_back() {
    let runtime = runtime();
    let mut cluster = Cluster::of(3, "replaced");
    cluster.start_all();
    cluster.wait_until_ready();
    let store = Store::default();
    let load = Load::start(&runtime, &cluster, &store, Plan::STANDARD);
    put_staying(&runtime, &load.client, 9_000_001);

    let lost = (cluster.primary() + 1) % 3;
    cluster.kill(lost);
    cluster.wipe(lost);
    let replaced = cluster.replace_disk(lost);
    assert!(replaced.status.success(), "{replaced:?}");
    cluster.start(lost);
    let began = Instant::now();
    cluster.wait_until_ready();
    let ready_after = began.elapsed();
    // Under load something is always owed for a moment. What the disk lacked at first is another figure.
    cluster.wait("the new disk to be filled", || {
        let document = cluster.document(lost)?;
        let fetched = metric(&cluster, lost, "viewstone_data_repaired_chunks_total")?;
        (fetched > 0.0 && document["data"]["bytes_to_rebuild"] == 0).then_some(())
    });
    let filled_after = began.elapsed();
    load.finish(&runtime);
    wait_for_no_debt(&cluster);
    println!(
        "ready after {ready_after:.1?}, filled after {filled_after:.1?}, {} chunks fetched",
        metric(&cluster, lost, "viewstone_data_repaired_chunks_total").unwrap()
    );
    read_from_few(&runtime, &mut cluster, &store, lost);
    println!("a replaced disk: {}", store.judge_without_errors());
}

#[test]
fn rot_anywhere_on_a_disk_is_found_and_repaired_while_reads_stay_right() {
    let runtime = runtime();
    let mut cluster = Cluster::of(3, "rot");
    cluster.start_all();
    cluster.wait_until_ready();
    let store = Store::default();
    let load = Load::start(&runtime, &cluster, &store, Plan::STANDARD);
    put_staying(&runtime, &load.client, 3_000_001);
    std::thread::sleep(Duration::from_secs(2));
    load.finish(&runtime);
    wait_for_no_debt(&cluster);

    let rotten = (cluster.primary() + 1) % 3;
    let other = (rotten + 1) % 3;
    cluster.stop(rotten);
    let mut random = Random::new("rot");
    let flipped = flip_bytes(&cluster.data(rotten), &mut random);
    println!("flipped {flipped:?}");
    for kind in ["wal", "tables", "chunks"] {
        assert!(
            flipped.iter().any(|(name, count)| name.starts_with(kind) && *count > 0),
            "{kind}: {flipped:?}"
        );
    }
    cluster.start(rotten);
    cluster.wait_until_ready();
    println!("{}", interesting(&cluster.process(rotten).log()));

    // Two replicas are left, and one of them has a rotten disk.
    cluster.stop(other);
    let load = Load::start(&runtime, &cluster, &store, Plan::STANDARD);
    read_staying(&runtime, &load.client);
    std::thread::sleep(Duration::from_secs(1));
    load.finish(&runtime);
    cluster.start(other);
    cluster.wait_until_ready();

    // The scrub takes its time. What is read is found at once, and now nobody else can be asked instead.
    let client = runtime.block_on(async { Client::of(&cluster, &store) });
    let mut sound = Vec::new();
    while sound.last() != Some(&STAYING.count()) {
        assert!(sound.len() < 5, "what was found is not repaired: {sound:?}");
        sound.push(read_from_one(&runtime, &mut cluster, &client, rotten, Duration::from_secs(5)));
        cluster.wait("everything that was found to be repaired", || {
            let repaired = metric(&cluster, rotten, "viewstone_data_repaired_chunks_total")?;
            let damaged = metric(&cluster, rotten, "viewstone_data_damaged_chunks")?;
            (repaired > 0.0 && damaged == 0.0).then_some(())
        });
    }
    runtime.block_on(client.close());
    println!("bodies with sound copies, of {}, each time that they were read: {sound:?}", STAYING.count());
    wait_for_no_debt(&cluster);
    println!("{} chunks repaired", metric(&cluster, rotten, "viewstone_data_repaired_chunks_total").unwrap());
    read_from_few(&runtime, &mut cluster, &store, rotten);
    println!("a rotten disk: {}", store.judge_without_errors());
}

#[test]
fn full_disks_refuse_objects_and_take_them_again_when_some_were_deleted() {
    let name = "disks::full_disks_refuse_objects_and_take_them_again_when_some_were_deleted";
    tell_inside(name, Kind::Mount, || {
        let cluster = Cluster::of(3, "full");
        for id in 0..3 {
            std::fs::create_dir_all(cluster.data(id)).unwrap();
            let path = cluster.data(id);
            run("mount", &["-t", "tmpfs", "-o", "size=192m", "tmpfs", path.to_str().unwrap()])?;
        }
        fill_and_empty(cluster);
        Ok(())
    });
}

fn fill_and_empty(mut cluster: Cluster) {
    const SIZE: u64 = 1 << 20;
    let runtime = runtime();
    for id in 0..3 {
        cluster.start_with(id, &["--reserve", "64MiB"]);
    }
    cluster.wait_until_ready();
    let store = Store::default();
    let client = runtime.block_on(async { Client::of(&cluster, &store) });
    runtime.block_on(client.create_bucket());

    // Far more than there is room for.
    let full = |key: &Key| match runtime.block_on(client.put(*key, SIZE)) {
        Ok(_) => false,
        Err(ClusterError::Full) => true,
        Err(other) => panic!("{other}"),
    };
    let stored = (0..400).find(full).expect("the disks are full at some point");
    let began = Instant::now();
    assert!(full(&stored), "once full, full until something is deleted");
    println!("full after {stored} MiB; refused in {:.1?}", began.elapsed());
    let available: Vec<f64> =
        (0..3).map(|id| metric(&cluster, id, "viewstone_disk_available_bytes").unwrap()).collect();
    println!("left: {available:?}");

    // What is small lives in the log and in the tables, for which the reserve is there.
    for key in 500..520 {
        runtime.block_on(client.put(key, 1_000)).unwrap();
    }
    for key in 0..stored {
        runtime.block_on(client.get(key)).unwrap();
    }
    for key in 0..stored / 2 {
        runtime.block_on(client.delete(key)).unwrap();
    }
    let began = Instant::now();
    cluster.wait("room for another object", || (!full(&stored)).then_some(()));
    println!("room again after {:.1?}", began.elapsed());
    for key in 0..=stored {
        runtime.block_on(client.get(key)).unwrap();
    }
    assert!((0..3).all(|id| is_alive(&cluster, id)));
    runtime.block_on(client.close());
    println!("full disks: {}", store.judge());
}

/// Objects so small that they live in the log and in the tables. There was nothing that refused them: they
/// took what is kept for the log, no flush found room any more, and every replica ended, again and again.
#[test]
fn disks_that_small_objects_have_filled_refuse_more_until_some_are_deleted() {
    let name = "disks::disks_that_small_objects_have_filled_refuse_more_until_some_are_deleted";
    tell_inside(name, Kind::Mount, || {
        let cluster = Cluster::of(3, "small");
        for (id, size) in [(0, "size=320m"), (1, "size=256m"), (2, "size=288m")] {
            std::fs::create_dir_all(cluster.data(id)).unwrap();
            let path = cluster.data(id);
            run("mount", &["-t", "tmpfs", "-o", size, "tmpfs", path.to_str().unwrap()])?;
        }
        fill_with_small_objects(cluster);
        Ok(())
    });
}

fn fill_with_small_objects(mut cluster: Cluster) {
    const SIZE: u64 = 4_000;
    const AT_ONCE: Key = 64;
    let runtime = runtime();
    cluster.start_all();
    cluster.wait_until_ready();
    let store = Store::default();
    let client = runtime.block_on(async { Client::of(&cluster, &store) });
    runtime.block_on(client.create_bucket());

    // True if one of these was refused.
    let put_some = |first: Key| {
        let put = |client: Client, key| async move { client.put(key, SIZE).await };
        let refused = |outcome: &Result<Op, ClusterError>| match outcome {
            Ok(_) => false,
            Err(ClusterError::Full) => true,
            Err(other) => panic!("{other}"),
        };
        at_once(&runtime, &client, first..first + AT_ONCE, put).iter().any(refused)
    };
    let began = Instant::now();
    let stored =
        (0..4_000).map(|round| round * AT_ONCE).find(|first| put_some(*first)).expect("full at some point");
    println!("refused after {stored} objects and {:.1?}", began.elapsed());
    let available: Vec<f64> =
        (0..3).map(|id| metric(&cluster, id, "viewstone_disk_available_bytes").unwrap()).collect();
    println!("left: {available:?}");
    assert!((0..3).all(|id| is_alive(&cluster, id)));

    // A full disk can be opened.
    (0..3).for_each(|id| cluster.kill(id));
    cluster.start_all();
    cluster.wait_until_ready();
    for first in (0..stored / 10 * 9).step_by(AT_ONCE as usize) {
        for deleted in at_once(&runtime, &client, first..first + AT_ONCE, delete_from_full) {
            deleted.unwrap();
        }
    }
    let began = Instant::now();
    cluster.wait("room for other objects", || (!put_some(stored)).then_some(()));
    println!("room again after {:.1?}", began.elapsed());
    let again =
        (1..4_000).map(|round| stored + round * AT_ONCE).find(|first| put_some(*first)).unwrap() - stored;
    println!("{again} objects took the place of {}", stored / 10 * 9);
    assert!(again > 0, "room for a handful is no room");

    for key in (0..stored).step_by(37) {
        runtime.block_on(client.get(key)).unwrap();
    }
    assert!((0..3).all(|id| is_alive(&cluster, id)));
    runtime.block_on(client.close());
    println!("small objects: {}", store.judge());
}

/// A deletion may have to wait for a flush that gives back what was freed before. It is never refused.
async fn delete_from_full(client: Client, key: Key) -> Result<Op, ClusterError> {
    for _ in 0..3 {
        match client.delete(key).await {
            Err(ClusterError::Unknown | ClusterError::Unavailable(_)) => {}
            answered => return answered,
        }
    }
    client.delete(key).await
}

/// Does something with several keys at the same time.
fn at_once<F: Future<Output: Send + 'static> + Send + 'static>(
    runtime: &Runtime,
    client: &Client,
    keys: Range<Key>,
    work: impl Fn(Client, Key) -> F,
) -> Vec<F::Output> {
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        keys.for_each(|key| drop(tasks.spawn(work(client.clone(), key))));
        tasks.join_all().await
    })
}

fn put_staying(runtime: &Runtime, client: &Client, largest: u64) {
    for key in STAYING {
        let size = if key == STAYING.start { largest } else { 100_000 + u64::from(key) };
        runtime.block_on(client.put(key, size)).unwrap();
    }
}

fn read_staying(runtime: &Runtime, client: &Client) {
    for key in STAYING {
        runtime.block_on(client.get(key)).unwrap();
    }
}

/// Reads everything while one of the others is away, then while another one is, and then the bytes of
/// what stays from `whole` alone.
fn read_from_few(runtime: &Runtime, cluster: &mut Cluster, store: &Store, whole: usize) {
    let client = runtime.block_on(async { Client::of(cluster, store) });
    let others: Vec<usize> = (0..3).filter(|id| *id != whole).collect();
    for away in &others {
        cluster.stop(*away);
        read_staying(runtime, &client);
        for key in Plan::STANDARD.keys() {
            runtime.block_on(client.get(key)).unwrap();
        }
        cluster.start(*away);
        cluster.wait_until_ready();
    }
    let came = read_from_one(runtime, cluster, &client, whole, Duration::from_secs(20));
    assert_eq!(came, STAYING.count(), "what replica {whole} lacks:\n{}", cluster.process(whole).log());
    runtime.block_on(client.close());
}

/// Reads the bytes of what stays from one replica, and returns how many bodies it has. What they are is
/// asked before, because it takes two to tell.
fn read_from_one(
    runtime: &Runtime,
    cluster: &mut Cluster,
    client: &Client,
    whole: usize,
    patience: Duration,
) -> usize {
    let others: Vec<usize> = (0..3).filter(|id| *id != whole).collect();
    let kill = || others.iter().for_each(|id| cluster.kill(*id));
    let came = runtime.block_on(client.get_around(STAYING, kill, patience));
    others.iter().for_each(|id| cluster.start(*id));
    cluster.wait_until_ready();
    came
}

/// Changes about one byte in each 4 KiB of everything but the superblock, where there is anything.
fn flip_bytes(directory: &Path, random: &mut Random) -> Vec<(String, usize)> {
    let mut flipped = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.contains("superblock") || !entry.file_type().unwrap().is_file() {
            continue;
        }
        let mut bytes = std::fs::read(entry.path()).unwrap();
        let mut count = 0;
        for page in bytes.chunks_mut(4096) {
            let at = random.below(page.len());
            if page[at] != 0 {
                page[at] ^= 1 << random.below(8);
                count += 1;
            }
        }
        std::fs::write(entry.path(), bytes).unwrap();
        flipped.push((name, count));
    }
    flipped
}

/// The lines of a log that somebody should read.
fn interesting(log: &str) -> String {
    let worth = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ") || line.contains("damaged");
    log.lines().filter(worth).take(20).collect::<Vec<_>>().join("\n")
}
