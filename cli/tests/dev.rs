//! A whole cluster in one process.

use std::net::UdpSocket;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::Cluster;

/// The first of three ports in a row that nobody uses.
fn three_ports() -> u16 {
    let is_free = |port: u16| UdpSocket::bind(("127.0.0.1", port)).is_ok();
    let start = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    (start..).step_by(3).find(|first| (*first..first + 3).all(is_free)).unwrap()
}

/// What the README promises first: one command, and it is all there again after the next start.
#[test]
fn a_cluster_in_one_process_runs_and_is_there_again_after_the_next_start() {
    let scratch = Cluster::of(1, "dev");
    let (dir, first) = (scratch.key().with_file_name("data"), three_ports());
    let peers = [0, 1, 2].map(|id| format!("127.0.0.1:{}", first + id)).join(",");
    for _ in 0..2 {
        let mut process = Command::new(env!("CARGO_BIN_EXE_viewstone"))
            .args(["dev", "--dir", dir.to_str().unwrap(), "--port", &first.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let key = dir.join("cluster-key");
        scratch.wait("a healthy cluster", || {
            let question = ["status", "--peers", &peers, "--cluster-key-file", key.to_str().unwrap()];
            let status = Command::new(env!("CARGO_BIN_EXE_viewstone")).args(question).output().unwrap();
            status.status.success().then_some(())
        });
        kill_process(Pid::from_child(&process), Signal::INT).unwrap();
        assert!(process.wait().unwrap().success());
    }
}
