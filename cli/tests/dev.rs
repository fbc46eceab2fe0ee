//! A whole cluster in one process.

use std::process::Command;

use crate::harness::process::Process;
use crate::harness::{Cluster, PATIENCE, ports};

/// What the README promises first: one command, and it is all there again after the next start.
#[test]
fn a_cluster_in_one_process_runs_and_is_there_again_after_the_next_start() {
    let scratch = Cluster::of(1, "dev");
    let (dir, ports) = (scratch.key().with_file_name("data"), ports::in_a_row(3));
    let first = ports.start.to_string();
    let peers = ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    let log = scratch.key().with_file_name("dev.log");
    for _ in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_viewstone"));
        command.args(["dev", "--dir", dir.to_str().unwrap(), "--port", &first]);
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
