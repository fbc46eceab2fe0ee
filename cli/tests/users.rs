//! Users and their access keys, as an operator manages them.

use serde_json::{Value, json};

use crate::harness::Cluster;

/// Runs `viewstone user`, and returns its exit status and what it prints.
fn user(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String) {
    let (peers, key) = (cluster.peers(), cluster.key());
    let where_it_is = ["--peers", &peers, "--cluster-key-file", key.to_str().unwrap()];
    let output = cluster.program(&[&["user"], arguments, &where_it_is].concat());
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn user_as_json(cluster: &Cluster, arguments: &[&str]) -> Value {
    let (code, text) = user(cluster, &[arguments, &["--json"]].concat());
    assert_eq!(code, Some(0), "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_user_is_added_listed_disabled_and_removed() {
    let mut cluster = Cluster::of(1, "users");
    cluster.start_all();
    cluster.wait_until_ready();
    assert_eq!(user_as_json(&cluster, &["list"]), json!([]));

    let first = user_as_json(&cluster, &["add", "alice", "--display-name", "Alice"]);
    let scopes = ["add", "alice", "--read-only", "--bucket", "logs", "--bucket", "media/2026/"];
    let second = user_as_json(&cluster, &scopes);
    let (code, bob) = user(&cluster, &["add", "bob"]);
    assert!(
        code == Some(0) && bob.contains("bob has a new access key. The secret is shown this once."),
        "{bob}"
    );
    assert_eq!(first["secret"].as_str().unwrap().len(), 40);
    assert_eq!(first["owner"], second["owner"], "a user has one canonical id");
    assert_eq!(second["scopes"], json!(["logs", "media/2026/"]));

    let id = |key: &Value| key["access_key"].as_str().unwrap().to_owned();
    assert_eq!(
        user_as_json(&cluster, &["disable", "alice", "--key", &id(&first)]),
        json!({ "disabled": [id(&first)] })
    );
    let listed = user_as_json(&cluster, &["list"]);
    let brief: Vec<_> = listed.as_array().unwrap().iter().map(|key| (id(key), &key["disabled"])).collect();
    assert_eq!(brief[..2], [(id(&first), &json!(true)), (id(&second), &json!(false))]);
    assert_eq!((brief.len(), &listed[2]["user"]), (3, &json!("bob")));
    assert!(!listed.to_string().contains("secret"));
    let enabled = user_as_json(&cluster, &["enable", "alice"]);
    assert_eq!(enabled["enabled"].as_array().unwrap().len(), 2);

    assert_eq!(user_as_json(&cluster, &["remove", "alice"])["removed"].as_array().unwrap().len(), 2);
    let (code, again) = user(&cluster, &["remove", "alice"]);
    assert_eq!((code, &*again), (Some(1), "viewstone: there is no user \"alice\"\n"));
    let (_, table) = user(&cluster, &["list"]);
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.lines().last().unwrap().ends_with("read and write everything"), "{table}");
}

#[test]
fn a_given_secret_is_kept_and_not_printed_and_a_wrong_wish_is_explained() {
    let mut cluster = Cluster::of(1, "users-given");
    cluster.start_all();
    cluster.wait_until_ready();
    let file = cluster.key().with_file_name("secret");
    std::fs::write(&file, "a secret with spaces\n").unwrap();
    let given = ["add", "alice", "--secret-file", file.to_str().unwrap()];
    let (code, text) = user(&cluster, &given);
    assert!(code == Some(1) && text.contains("printable ASCII"), "{text}");
    std::fs::write(&file, "a-secret-without-spaces\n").unwrap();
    let (code, text) = user(&cluster, &given);
    assert!(code == Some(0) && !text.contains("without-spaces"), "{text}");

    for (wrong, why) in [
        (&["add", "root"][..], "whoever has the key of the gateways' configuration"),
        (&["add", "a/b"], "a user's name has"),
        (&["add", "bob", "--bucket", "No"], "cannot be a bucket"),
        (&["disable", "alice", "--key", "VSNONE"], "has no access key \"VSNONE\""),
    ] {
        let (code, text) = user(&cluster, wrong);
        assert!(code == Some(1) && text.contains(why), "{wrong:?}: {text}");
    }
}
