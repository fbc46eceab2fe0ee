//! Users and their access keys, as an operator manages them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use gateway::auth::{Signer, ToSign};
use hyper::HeaderMap;
use hyper::http::Method;
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
    assert!(code == Some(64) && text.contains("printable ASCII"), "{text}");
    std::fs::write(&file, "a-secret-without-spaces\n").unwrap();
    let (code, text) = user(&cluster, &given);
    assert!(code == Some(0) && !text.contains("without-spaces"), "{text}");

    for (wrong, status, why) in [
        (&["add", "root"][..], 64, "whoever has the key of the gateways' configuration"),
        (&["add", "a/b"], 64, "a user's name has"),
        (&["add", "bob", "--bucket", "No"], 64, "cannot be a bucket"),
        (&["disable", "alice", "--key", "VSNONE"], 1, "has no access key \"VSNONE\""),
    ] {
        let (code, text) = user(&cluster, wrong);
        assert!(code == Some(status) && text.contains(why), "{wrong:?}: {text}");
    }
}

const ROOT_SECRET: &str = "the-secret-of-the-root-key";

/// The S3 side of a cluster, in a process of its own.
struct Gateway {
    process: Child,
    address: String,
}

impl Gateway {
    fn start(cluster: &Cluster) -> Gateway {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let (peers, key) = (cluster.peers(), cluster.key());
        let process = Command::new(env!("CARGO_BIN_EXE_viewstone"))
            .args(["gateway", "--peers", &peers, "--cluster-key-file", key.to_str().unwrap()])
            .args(["--s3-listen", &address, "--access-key", "ROOT", "--admin", ""])
            .env("VIEWSTONE_SECRET_KEY", ROOT_SECRET)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let gateway = Gateway { process, address };
        cluster.wait("the gateway to be ready", || {
            gateway.send("GET /-/ready HTTP/1.1", "").is_some_and(|(code, _)| code == 200).then_some(())
        });
        gateway
    }

    /// The status and the body of the answer. None if there is none.
    fn send(&self, line: &str, headers: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let rest = format!("host: {}\r\nconnection: close\r\n{headers}\r\n", self.address);
        stream.write_all(format!("{line}\r\n{rest}").as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// What the gateway says of a request, which is signed: S3's code word if it is an error.
    fn says(&self, who: &Signer, method: Method, path: &str, query: &str) -> String {
        let mut headers = HeaderMap::new();
        let what = ToSign { method: &method, host: &self.address, raw_path: path, raw_query: query };
        who.sign(what, &mut headers, "UNSIGNED-PAYLOAD", SystemTime::now()).unwrap();
        let headers: String =
            headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
        let line = format!("{method} {path}?{query} HTTP/1.1");
        let (code, body) = self.send(&line, &format!("{headers}content-length: 0\r\n")).unwrap();
        let word = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        word.map_or_else(|| code.to_string(), |(word, _)| word.to_owned())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn signer(access_key: &str, secret: &str) -> Signer {
    Signer { access_key: access_key.into(), secret: secret.into(), region: "anywhere".into() }
}

fn add(cluster: &Cluster, arguments: &[&str]) -> Signer {
    let key = user_as_json(cluster, &[&["add"], arguments].concat());
    signer(key["access_key"].as_str().unwrap(), key["secret"].as_str().unwrap())
}

/// From the command that makes a key to the gateway that refuses it.
#[test]
fn a_gateway_lets_users_do_what_they_may_until_they_are_disabled() {
    let mut cluster = Cluster::of(1, "users-s3");
    cluster.start_all();
    cluster.wait_until_ready();
    let gateway = Gateway::start(&cluster);
    let is_denied = |who: &Signer, method: Method, path: &str, query: &str| {
        let word = gateway.says(who, method, path, query);
        assert!(!word.contains("Signature") && word != "InvalidAccessKeyId", "{word}");
        word == "AccessDenied"
    };
    let root = signer("ROOT", ROOT_SECRET);
    let app = add(&cluster, &["app", "--bucket", "media/app/"]);
    let audit = add(&cluster, &["audit", "--read-only"]);

    assert!(!is_denied(&root, Method::PUT, "/media", ""));
    assert!(!is_denied(&root, Method::PUT, "/media/any%20key", ""));
    assert!(is_denied(&app, Method::PUT, "/media", ""));
    assert!(!is_denied(&app, Method::PUT, "/media/app/key", ""));
    assert!(!is_denied(&app, Method::GET, "/media/app/key", ""));
    assert!(is_denied(&app, Method::GET, "/media/other/key", ""));
    assert!(is_denied(&app, Method::GET, "/elsewhere/app/key", ""));
    assert!(!is_denied(&app, Method::GET, "/media", "list-type=2&prefix=app%2F"));
    assert!(is_denied(&app, Method::GET, "/media", "list-type=2"));
    assert!(!is_denied(&audit, Method::GET, "/media/other/key", ""));
    assert!(is_denied(&audit, Method::PUT, "/media/other/key", ""));
    assert!(is_denied(&audit, Method::DELETE, "/media/other/key", ""));
    // Before anything is read of the list, and there is none.
    assert!(is_denied(&audit, Method::POST, "/media", "delete"));

    let forged = signer(&app.access_key, ROOT_SECRET);
    assert_eq!(gateway.says(&forged, Method::GET, "/media/app/key", ""), "SignatureDoesNotMatch");
    assert_eq!(gateway.says(&signer("VSNOBODY", "x"), Method::GET, "/", ""), "InvalidAccessKeyId");

    user_as_json(&cluster, &["disable", "app"]);
    let began = Instant::now();
    cluster.wait("the disabled key to be refused", || {
        let word = gateway.says(&app, Method::GET, "/media/app/key", "");
        (word == "InvalidAccessKeyId").then_some(())
    });
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    assert!(!is_denied(&audit, Method::GET, "/media/other/key", ""));
}

/// The bucket that a load is run in is removed at the end: so it must be the load's own.
#[test]
fn a_load_does_not_take_a_bucket_that_is_somebodys() {
    let mut cluster = Cluster::of(1, "bench-bucket");
    cluster.start_all();
    cluster.wait_until_ready();
    let gateway = Gateway::start(&cluster);
    let root = signer("ROOT", ROOT_SECRET);
    assert_eq!(gateway.says(&root, Method::PUT, "/mine", ""), "200");
    let load = Command::new(env!("CARGO_BIN_EXE_viewstone"))
        .args(["bench", "--endpoint", &format!("http://{}", gateway.address), "--bucket", "mine"])
        .args(["--count", "1", "--objects", "1"])
        .env("VIEWSTONE_ACCESS_KEY", "ROOT")
        .env("VIEWSTONE_SECRET_KEY", ROOT_SECRET)
        .output()
        .unwrap();
    let said = String::from_utf8(load.stderr).unwrap();
    assert!(load.status.code() == Some(1) && said.contains("the bucket mine exists"), "{said}");
    assert_eq!(gateway.says(&root, Method::HEAD, "/mine", ""), "200");
}
