//! A cluster of processes with gateways before it: to be killed, started again and robbed of disks.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::Builder;
use serde_json::Value;

use crate::server::{Server, free_tcp_ports, free_udp_ports, is_ready, program, temporary};
use crate::{sdk, server};

const ACCESS_KEY: &str = "compat-tests";
const SECRET_KEY: &str = "compat-tests-secret";
/// How long anything is waited for. Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Cluster {
    directory: PathBuf,
    peers: Vec<String>,
    admins: Vec<String>,
    gateways: Vec<String>,
    gateway_admins: Vec<String>,
    replicas: Vec<Option<Process>>,
    fronts: Vec<Option<Process>>,
    /// Told that the cluster is new: once, at the first start.
    founded: Vec<bool>,
}

struct Process(Child);

impl Process {
    fn start(mut command: Command, log: PathBuf) -> Process {
        let log = File::options().create(true).append(true).open(log).expect("a log can be written");
        let other = log.try_clone().expect("an open file");
        command.stdin(Stdio::null()).stdout(other).stderr(log);
        Process(command.spawn().expect("the program can be started"))
    }
}

/// As if its power had failed. A test that fails leaves nothing running.
impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Cluster {
    /// All of it runs and is of use. `name` tells its directory from those of other tests.
    pub fn start(name: &str, replicas: usize, gateways: usize) -> Cluster {
        let at_loopback = |port: u16| format!("127.0.0.1:{port}");
        let mut tcp = free_tcp_ports(replicas + 2 * gateways).into_iter().map(at_loopback);
        let mut cluster = Cluster {
            directory: temporary(name),
            peers: free_udp_ports(replicas).into_iter().map(at_loopback).collect(),
            admins: tcp.by_ref().take(replicas).collect(),
            gateways: tcp.by_ref().take(gateways).collect(),
            gateway_admins: tcp.collect(),
            replicas: (0..replicas).map(|_| None).collect(),
            fronts: (0..gateways).map(|_| None).collect(),
            founded: vec![false; replicas],
        };
        let key = cluster.key();
        let made = program().args(["keygen", "--out"]).arg(key).output().expect("the program can be started");
        assert!(made.status.success(), "{made:?}");
        (0..replicas).for_each(|id| cluster.start_replica(id));
        (0..gateways).for_each(|id| cluster.start_gateway(id));
        cluster.wait_until_ready();
        cluster
    }

    fn key(&self) -> PathBuf {
        self.directory.join("cluster.key")
    }

    fn data(&self, id: usize) -> PathBuf {
        self.directory.join(format!("replica-{id}"))
    }

    /// A command about one of the replicas.
    fn about(&self, command: &str, id: usize) -> Command {
        let mut program = program();
        program.arg(command).arg("--dir").arg(self.data(id)).args(["--replica", &id.to_string()]);
        program.args(["--peers", &self.peers.join(",")]).arg("--cluster-key-file").arg(self.key());
        program
    }

    pub fn start_replica(&mut self, id: usize) {
        let mut command = self.about("replica", id);
        command.args(["--listen", &self.peers[id], "--admin", &self.admins[id]]);
        // A machine whose disk is nearly full can still run tests.
        command.args(["--reserve", "64MiB"]);
        if !std::mem::replace(&mut self.founded[id], true) {
            command.arg("--new-cluster");
        }
        self.replicas[id] = Some(Process::start(command, self.directory.join(format!("replica-{id}.log"))));
    }

    pub fn kill_replica(&mut self, id: usize) {
        assert!(self.replicas[id].take().is_some(), "replica {id} does not run");
    }

    /// Its disk is gone, and it is told that it has a new one.
    pub fn replace_disk(&mut self, id: usize) {
        assert!(self.replicas[id].is_none(), "replica {id} runs");
        std::fs::remove_dir_all(self.data(id)).expect("its directory is there");
        let replaced = self.about("replace-disk", id).output().expect("the program can be started");
        assert!(replaced.status.success(), "{replaced:?}");
    }

    pub fn start_gateway(&mut self, id: usize) {
        let mut command = program();
        command.args(["gateway", "--admin", &self.gateway_admins[id]]);
        command.args(["--s3-listen", &self.gateways[id], "--peers", &self.peers.join(",")]);
        command.arg("--cluster-key-file").arg(self.key());
        command.env("VIEWSTONE_ACCESS_KEY", ACCESS_KEY).env("VIEWSTONE_SECRET_KEY", SECRET_KEY);
        self.fronts[id] = Some(Process::start(command, self.directory.join(format!("gateway-{id}.log"))));
    }

    pub fn kill_gateway(&mut self, id: usize) {
        assert!(self.fronts[id].take().is_some(), "gateway {id} does not run");
    }

    /// One of the gateways, for requests that no SDK makes.
    pub fn server(&self, gateway: usize) -> Server {
        Server {
            address: self.gateways[gateway].clone(),
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            is_ours: true,
        }
    }

    /// Chunks on the disks of all replicas that run.
    pub fn chunk_count(&self) -> u64 {
        let count = |id| Some(self.document(id)?["data"]["chunks"].as_u64().expect("a count"));
        self.wait("all that run to say what they hold", || self.running().map(count).sum())
    }

    /// Requests that a gateway is working on.
    pub fn requests_running(&self, gateway: usize) -> u64 {
        self.wait("a gateway's metrics", || {
            let metrics = server::ask(&self.gateway_admins[gateway], "/metrics").ok()?;
            let line = metrics.lines().find_map(|line| line.strip_prefix("viewstone_s3_requests_running "));
            Some(line?.trim().parse().expect("a number"))
        })
    }

    /// For the SDK, by one of the gateways.
    pub fn config(&self, gateway: usize) -> Builder {
        sdk::config_for(&self.gateways[gateway], ACCESS_KEY, SECRET_KEY)
    }

    /// What a replica says of itself. None while it does not answer.
    fn document(&self, id: usize) -> Option<Value> {
        let answer = server::ask(&self.admins[id], "/status").ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.replicas.len()).filter(|id| self.replicas[*id].is_some())
    }

    /// The one that the newest view has.
    pub fn primary(&self) -> usize {
        self.wait("a primary", || {
            let documents = self.running().filter_map(|id| Some((id, self.document(id)?)));
            let primaries = documents.filter(|(_, document)| {
                document["core"]["is_primary"] == true && document["health"] == "normal"
            });
            primaries.max_by_key(|(_, document)| document["core"]["view"].as_u64()).map(|(id, _)| id)
        })
    }

    /// Whatever runs is of use.
    pub fn wait_until_ready(&self) {
        self.wait("all that run to be ready", || {
            let answers = |address: &str| {
                server::ask(address, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
            };
            let replicas = self.running().all(|id| answers(&self.admins[id]));
            let mut fronts = self.gateways.iter().zip(&self.fronts).filter(|(_, front)| front.is_some());
            (replicas && fronts.all(|(address, _)| is_ready(address))).then_some(())
        });
    }

    /// Every object is where it should be, as far as `status` knows.
    pub fn wait_until_whole(&self) {
        self.wait("the cluster to owe nothing", || {
            let mut status = program();
            status
                .args(["status", "--peers", &self.peers.join(",")])
                .arg("--cluster-key-file")
                .arg(self.key());
            status.output().expect("the program can be started").status.success().then_some(())
        });
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(found) = look() {
                return found;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("waited in vain for {what}\n{}", self.logs());
    }

    /// The ends of what all processes logged.
    pub fn logs(&self) -> String {
        let replicas = (0..self.replicas.len()).map(|id| format!("replica-{id}.log"));
        let names = replicas.chain((0..self.fronts.len()).map(|id| format!("gateway-{id}.log")));
        let tail = |name: String| {
            let log = std::fs::read_to_string(self.directory.join(&name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(20).collect();
            format!("{name}:\n{}\n", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
        };
        names.map(tail).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.fronts.clear();
        self.replicas.clear();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
