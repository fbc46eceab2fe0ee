//! Whole clusters of real processes, from their first start to a lost disk.

use std::path::Path;

use crate::harness::Cluster;

#[test]
fn three_blank_replicas_become_a_cluster_and_outlive_a_restart_of_everything() {
    let mut cluster = Cluster::of(3, "founding");
    cluster.start(0);
    cluster.start(1);
    // Two of three could agree, but could not know what the third has promised.
    cluster.wait("the first start to wait for the third", || {
        let waiting = |id| {
            cluster.document(id).is_some_and(|document| document["waiting_for"] == serde_json::json!([2]))
        };
        (waiting(0) && waiting(1)).then_some(())
    });
    assert!(!cluster.is_ready(0));
    assert_eq!(cluster.get(0, "/healthz").unwrap().0, 200);
    assert!(cluster.process(0).log().contains("waiting_for="), "{}", cluster.process(0).log());
    cluster.wait("the status to say so", || {
        let (code, text) = cluster.status(&[]);
        assert_eq!(code, Some(2), "{text}");
        text.contains("0 waits for 2").then_some(())
    });

    cluster.start(2);
    cluster.wait_until_ready();
    let primary = cluster.primary();
    cluster.wait("a healthy cluster", || {
        let (code, text) = cluster.status(&[]);
        (code == Some(0) && text.contains(&format!("3 of 3 replicas healthy, primary {primary}, no debt")))
            .then_some(())
    });

    for id in 0..3 {
        cluster.kill(id);
    }
    cluster.start_all();
    cluster.wait_until_ready();
    assert_eq!(cluster.document(1).unwrap()["core"]["boot_count"], 2);
}

/// How often a replica has noticed by itself that its primary says nothing any more.
fn suspicions(cluster: &Cluster, id: usize) -> u64 {
    let metrics = cluster.get(id, "/metrics").unwrap().1;
    let line = metrics.lines().find(|line| line.contains("suspected_silent_primary"));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Nobody has to notice that it is gone. On a machine that has no time for a primary for half a second
/// somebody does, whatever the primary meant to do: so it may try a few times.
#[test]
fn a_primary_that_is_asked_to_stop_hands_its_role_over_first() {
    let mut cluster = Cluster::of(3, "handover");
    cluster.start_all();
    let mut logs = Vec::new();
    let handed_over = (0..5).any(|_| {
        cluster.wait_until_ready();
        let old = cluster.primary();
        let others: Vec<usize> = (0..3).filter(|id| *id != old).collect();
        let suspicions = |cluster: &Cluster| others.iter().map(|id| suspicions(cluster, *id)).sum::<u64>();
        let before = suspicions(&cluster);
        let (code, log) = cluster.stop(old);
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopped"), "{log}");
        assert_ne!(cluster.primary(), old);
        cluster.wait("the others to be all that is left", || {
            let (code, text) = cluster.status(&[]);
            let seen = text.contains("2 of 3 replicas healthy") && text.contains("unreachable");
            (code == Some(1) && seen).then_some(())
        });
        let unnoticed = suspicions(&cluster) == before;
        cluster.start(old);
        let handed_over = unnoticed && log.contains("another replica is primary now");
        logs.push(log);
        handed_over
    });
    assert!(handed_over, "{}", logs.join("\n"));
    cluster.wait_until_ready();
}

#[test]
fn a_primary_that_stands_still_is_replaced_and_follows_when_it_moves_again() {
    let mut cluster = Cluster::of(3, "paused");
    cluster.start_all();
    cluster.wait_until_ready();
    let old = cluster.primary();
    let others: Vec<usize> = (0..3).filter(|id| *id != old).collect();
    cluster.process(old).pause();
    cluster.wait("another primary", || {
        let leads = |id: &&usize| {
            cluster.document(**id).is_some_and(|document| document["core"]["is_primary"] == true)
        };
        others.iter().find(leads).map(|_| ())
    });
    cluster.process(old).resume();
    cluster.wait("the old primary to follow", || {
        let document = cluster.document(old)?;
        (document["core"]["is_primary"] == false && document["ready"] == true).then_some(())
    });
    cluster.wait_until_ready();
}

#[test]
fn a_replica_whose_disk_is_gone_is_not_started_as_new_and_comes_back_with_replace_disk() {
    let mut cluster = Cluster::of(3, "wiped");
    cluster.start_all();
    cluster.wait_until_ready();
    let lost = (cluster.primary() + 1) % 3;
    cluster.kill(lost);
    let too_early = cluster.replace_disk(lost);
    let said = String::from_utf8(too_early.stderr).unwrap();
    assert_eq!(too_early.status.code(), Some(1));
    assert!(said.contains("is not blank: it is the disk of replica"), "{said}");

    cluster.wipe(lost);
    cluster.start(lost);
    let (code, log) = cluster.wait_for_end(lost);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("viewstone replace-disk"), "{log}");
    // It left the directory as blank as it was, so the next command is the right one.
    let replaced = cluster.replace_disk(lost);
    assert!(replaced.status.success(), "{replaced:?}");
    assert!(String::from_utf8(replaced.stdout).unwrap().contains("viewstone status"));
    assert!(!cluster.replace_disk(lost).status.success());

    cluster.start(lost);
    cluster.wait_until_ready();
    let document = cluster.document(lost).unwrap();
    assert!(document["core"]["incarnation"].as_u64() > Some(0), "{document}");
    cluster.wait("a healthy cluster", || (cluster.status(&[]).0 == Some(0)).then_some(()));
}

/// Power came back and the data was not mounted yet. The replicas agreed that all of them were blank,
/// founded a cluster of the same name, and met their old disks at the next start.
#[test]
fn a_cluster_whose_data_is_not_mounted_is_not_founded_again() {
    let mut cluster = Cluster::of(3, "unmounted");
    cluster.start_all();
    cluster.wait_until_ready();
    let aside = |path: &Path| path.with_extension("aside");
    for id in 0..3 {
        cluster.kill(id);
        std::fs::rename(cluster.data(id), aside(&cluster.data(id))).unwrap();
    }
    cluster.start_all();
    for id in 0..3 {
        let (code, log) = cluster.wait_for_end(id);
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("--new-cluster") && log.contains("viewstone replace-disk"), "{log}");
        cluster.wipe(id);
        std::fs::rename(aside(&cluster.data(id)), cluster.data(id)).unwrap();
    }
    cluster.start_all();
    cluster.wait_until_ready();
    assert_eq!(cluster.document(0).unwrap()["core"]["boot_count"], 2);
}

/// Rot in what can be fetched again costs neither the process nor its place in the cluster.
#[test]
fn a_replica_whose_tables_have_rotted_fetches_them_from_the_others() {
    let mut cluster = Cluster::of(3, "rotten");
    cluster.start_all();
    cluster.wait_until_ready();
    cluster.stop(2);
    let path = cluster.data(2).join("tables");
    let mut bytes = std::fs::read(&path).unwrap();
    let sound = bytes.clone();
    for byte in bytes.iter_mut().skip(512).step_by(97) {
        *byte ^= 0x55;
    }
    assert_ne!(bytes, sound);
    std::fs::write(&path, bytes).unwrap();

    cluster.start(2);
    cluster.wait_until_ready();
    let log = cluster.process(2).log();
    assert!(log.contains("the tables are damaged"), "{log}");
    cluster.wait("a healthy cluster", || (cluster.status(&[]).0 == Some(0)).then_some(()));
}

#[test]
fn one_replica_is_a_cluster_and_keeps_its_directory_to_itself() {
    let mut cluster = Cluster::of(1, "single");
    cluster.start_with(0, &["--log-format", "json"]);
    cluster.wait_until_ready();
    let log = cluster.wait("the line that says so", || {
        let log = cluster.process(0).log();
        log.contains(r#""message":"ready""#).then_some(log)
    });
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }

    let data = cluster.data(0);
    let key = cluster.key();
    let again = cluster.program(&[
        "replica",
        "--dir",
        data.to_str().unwrap(),
        "--replica",
        "0",
        "--peers",
        &cluster.peers(),
        "--cluster-key-file",
        key.to_str().unwrap(),
    ]);
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(said.contains("is in use by another process"), "{said}");

    let (code, json) = cluster.status(&["--json"]);
    let document: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &document["condition"]), (Some(0), &"healthy".into()), "{json}");
    assert_eq!(document["replicas"][0]["status"]["health"], "normal");

    assert_eq!(cluster.get(0, "/nothing").unwrap().0, 404);
    let (code, metrics) = cluster.get(0, "/metrics").unwrap();
    assert!(code == 200 && metrics.contains("\nviewstone_ready 1\n"), "{metrics}");
    let (code, log) = cluster.stop(0);
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("nobody took over"), "there is nobody to hand over to:\n{log}");
}

/// Hundreds of segments are open at once, and a system that allows 1024 files at first would run out.
#[test]
fn a_replica_may_open_as_many_files_as_the_system_allows_it_at_most() {
    let mut cluster = Cluster::of(1, "files");
    cluster.launch_by(&["sh", "-c", "ulimit -S -n 256 && exec \"$0\" \"$@\""]);
    cluster.start_with(0, &["--log-level", "debug"]);
    cluster.wait_until_ready();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", cluster.process(0).pid())).unwrap();
    let limit = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [now, most] = limit.split_whitespace().skip(3).take(2).collect::<Vec<_>>()[..] else {
        panic!("{limit}");
    };
    assert_eq!(now, most);
    let log = cluster.process(0).log();
    assert!(log.contains("open files") && log.contains("before=Some(256)"), "{log}");
}

#[test]
fn a_directory_of_another_cluster_is_refused() {
    let mut cluster = Cluster::of(1, "foreign");
    cluster.start(0);
    cluster.wait_until_ready();
    cluster.stop(0);
    std::fs::remove_file(cluster.key()).unwrap();
    assert!(cluster.program(&["keygen", "--out", cluster.key().to_str().unwrap()]).status.success());
    cluster.start(0);
    let (code, log) = cluster.wait_for_end(0);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("the directory belongs to another replica: of cluster"), "{log}");
}
