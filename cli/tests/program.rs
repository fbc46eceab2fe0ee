//! What the program says and how it ends, without a cluster.

use std::os::unix::fs::PermissionsExt;

use crate::harness::Cluster;

#[test]
fn a_new_key_is_for_its_owner_only_and_never_replaces_another() {
    let cluster = Cluster::of(1, "keygen");
    let path = cluster.key();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let key = std::fs::read_to_string(&path).unwrap();
    assert!(key.starts_with("vsk1-") && key.trim_end().len() == 78, "{key}");

    let again = cluster.program(&["keygen", "--out", path.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8(again.stderr).unwrap().contains("File exists"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), key);
}

#[test]
fn a_wrong_setting_is_named_with_its_origin_and_ends_the_program_at_once() {
    let cluster = Cluster::of(1, "settings");
    let key = cluster.key();
    let seat =
        ["replica", "--dir", "d", "--peers", "127.0.0.1:1", "--cluster-key-file", key.to_str().unwrap()];
    let fails = |more: &[&str]| {
        let output = cluster.program(&[&seat, more].concat());
        assert_eq!(output.status.code(), Some(64));
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(
        fails(&["--replica", "0", "--reserve", "much"]),
        "viewstone: reserve, from --reserve: \"much\" is not a size such as 500MB, 64M, 1GiB or 5%\n"
    );
    assert!(fails(&[]).contains("replica is missing: give --replica, VIEWSTONE_REPLICA"));
    assert!(fails(&["--replcia", "0"]).contains("--replica"), "clap suggests");

    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = fails(&["--replica", "0"]);
    assert!(
        open.contains("cluster-key-file, from --cluster-key-file: ") && open.contains("chmod 600"),
        "{open}"
    );
}

#[test]
fn the_only_replica_of_a_cluster_has_no_disk_to_be_replaced_from() {
    let cluster = Cluster::of(1, "only");
    let output = cluster.replace_disk(0);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("nobody else has what was on its disk"));
    assert!(!cluster.data(0).exists(), "nothing was touched");
}

#[test]
fn a_cluster_that_is_not_there_has_no_quorum() {
    let cluster = Cluster::of(3, "absent");
    let (code, text) = cluster.status(&[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("0 of 3 replicas healthy, no primary"), "{text}");
}
