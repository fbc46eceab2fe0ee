//! A whole cluster in one process.

use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::process::Process;
use crate::harness::{Cluster, PATIENCE, ports};

/// What the README promises first: one command, and it is all there again after the next start.
#[test]
fn a_cluster_in_one_process_runs_and_is_there_again_after_the_next_start() {
    let scratch = Cluster::of(1, "dev");
    let (dir, mut ports) = (scratch.key().with_file_name("data"), ports::in_a_row(4));
    let first = ports.start.to_string();
    let listen = format!("127.0.0.1:{}", ports.next_back().unwrap());
    let peers = ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    let log = scratch.key().with_file_name("dev.log");
    for _ in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_viewstone"));
        command.args(["dev", "--dir", dir.to_str().unwrap(), "--port", &first, "--listen", &listen]);
        let process = Process::start(command, &log);
        let key = dir.join("cluster-key");
        scratch.wait("a healthy cluster", || {
            let question = ["status", "--peers", &peers, "--cluster-key-file", key.to_str().unwrap()];
            let status = Command::new(env!("CARGO_BIN_EXE_viewstone")).args(question).output().unwrap();
            status.status.success().then_some(())
        });
        process.interrupt();
        let (code, log) = process.wait(PATIENCE);
        assert_eq!(code, Some(0), "{log}");
    }
}

fn bench(endpoint: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_viewstone"));
    command.args(["bench", "--endpoint", endpoint, "--json"]).args(more);
    command.env("VIEWSTONE_ACCESS_KEY", "viewstone").env("VIEWSTONE_SECRET_KEY", "viewstone-secret");
    command.output().unwrap()
}

/// It ends well only if what it reads is what it wrote, and if its bucket is empty at the end.
#[test]
fn the_load_over_s3_verifies_what_it_reads_and_leaves_nothing() {
    let scratch = Cluster::of(1, "bench");
    let (dir, ports) = (scratch.key().with_file_name("data"), ports::in_a_row(4));
    let (first, listen) = (ports.start.to_string(), format!("127.0.0.1:{}", ports.end - 1));
    let mut command = Command::new(env!("CARGO_BIN_EXE_viewstone"));
    command.args(["dev", "--dir", dir.to_str().unwrap(), "--port", &first, "--listen", &listen]);
    let process = Process::start(command, &scratch.key().with_file_name("dev.log"));
    let endpoint = format!("http://{listen}");
    scratch.wait("S3", || bench(&endpoint, &["--op", "put", "--count", "1"]).status.success().then_some(()));

    let pid = process.pid().to_string();
    let load = ["--op", "mixed", "--size", "20KiB", "--count", "80", "--objects", "20", "--server-pid", &pid];
    for signing in [&[][..], &["--unsigned-payload"]] {
        let output = bench(&endpoint, &[&load[..], signing].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = report["lines"].as_array().unwrap().last().unwrap();
        assert_eq!((&all["name"], &all["count"]), (&Value::from("all together"), &Value::from(80)));
        assert!(all["cpu_micros_each"].as_f64().is_some());
    }

    let wrong = bench(&endpoint, &["--access-key", "nobody", "--count", "1"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("InvalidAccessKeyId"));
    process.interrupt();
    let (code, log) = process.wait(PATIENCE);
    assert_eq!(code, Some(0), "{log}");
}
