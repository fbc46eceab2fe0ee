//! A cluster of real processes: the program itself, on loopback with free ports, in a directory of its
//! own. Processes are started, stopped, killed and robbed of their disks; nothing is waited for
//! without an end.

mod http;
pub(crate) mod ports;
pub(crate) mod process;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use process::Process;

/// How long anything is waited for. Far more than it takes on a machine that does nothing else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where a replica is reached, and how its process comes to be there.
pub(crate) struct Place {
    pub(crate) peer: String,
    pub(crate) admin: String,
    /// What stands before the program on the command line: empty, or what puts it elsewhere.
    pub(crate) launcher: Vec<String>,
}

pub(crate) struct Cluster {
    directory: PathBuf,
    peers: Vec<String>,
    admins: Vec<String>,
    launchers: Vec<Vec<String>>,
    processes: Vec<Option<Process>>,
    /// Which replicas were told that the cluster is new: each, when it is started first and never again.
    founded: Vec<bool>,
}

impl Cluster {
    /// Has a key and places, and no process yet. `name` tells its directory from those of other tests.
    pub(crate) fn of(count: usize, name: &str) -> Cluster {
        let at_loopback = |port: u16| format!("127.0.0.1:{port}");
        let place = |port| Place { peer: at_loopback(port), admin: at_loopback(port), launcher: Vec::new() };
        Cluster::at(name, ports::in_a_row(u16::try_from(count).unwrap()).map(place).collect())
    }

    pub(crate) fn at(name: &str, places: Vec<Place>) -> Cluster {
        let directory = std::env::temp_dir().join(format!("viewstone-cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let cluster = Cluster {
            peers: places.iter().map(|place| place.peer.clone()).collect(),
            admins: places.iter().map(|place| place.admin.clone()).collect(),
            processes: places.iter().map(|_| None).collect(),
            founded: vec![false; places.len()],
            launchers: places.into_iter().map(|place| place.launcher).collect(),
            directory,
        };
        let made = cluster.program(&["keygen", "--out", cluster.key().to_str().unwrap()]);
        assert!(made.status.success(), "{made:?}");
        cluster
    }

    /// What stands before the program on the command line of every replica from now on.
    pub(crate) fn launch_by(&mut self, launcher: &[&str]) {
        self.launchers.fill(launcher.iter().map(|word| (*word).to_owned()).collect());
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.directory.join("cluster.key")
    }

    /// The data directory of a replica.
    pub(crate) fn data(&self, id: usize) -> PathBuf {
        self.directory.join(format!("replica-{id}"))
    }

    pub(crate) fn peers(&self) -> String {
        self.peers.join(",")
    }

    /// Runs the program to its end.
    pub(crate) fn program(&self, arguments: &[&str]) -> Output {
        command().args(arguments).current_dir(&self.directory).output().unwrap()
    }

    /// What `replica` and `replace-disk` are told.
    fn seat(&self, id: usize) -> Vec<String> {
        let (dir, key) = (self.data(id), self.key());
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        [
            "--dir",
            &text(&dir),
            "--replica",
            &id.to_string(),
            "--peers",
            &self.peers(),
            "--cluster-key-file",
            &text(&key),
        ]
        .map(str::to_owned)
        .to_vec()
    }

    pub(crate) fn start(&mut self, id: usize) {
        self.start_with(id, &[]);
    }

    pub(crate) fn start_with(&mut self, id: usize, arguments: &[&str]) {
        assert!(self.processes[id].is_none(), "replica {id} runs already");
        let mut command = command_by(&self.launchers[id]);
        command.arg("replica").args(self.seat(id)).args(["--admin", &self.admins[id]]).args(arguments);
        if !std::mem::replace(&mut self.founded[id], true) {
            command.arg("--new-cluster");
        }
        let log = self.directory.join(format!("replica-{id}.log"));
        self.processes[id] = Some(Process::start(command, &log));
    }

    pub(crate) fn start_all(&mut self) {
        (0..self.peers.len()).for_each(|id| self.start(id));
    }

    /// Asks a replica to stop, and returns its exit status and what it logged since its start.
    pub(crate) fn stop(&mut self, id: usize) -> (Option<i32>, String) {
        let process = self.processes[id].take().expect("it runs");
        process.terminate();
        process.wait(PATIENCE)
    }

    /// As a power cut would, except that the machine stays.
    pub(crate) fn kill(&mut self, id: usize) {
        self.processes[id].take().expect("it runs").kill();
    }

    /// Waits until a replica ends by itself.
    pub(crate) fn wait_for_end(&mut self, id: usize) -> (Option<i32>, String) {
        self.processes[id].take().expect("it runs").wait(PATIENCE)
    }

    /// A replica that runs, to be stopped and continued, or signalled otherwise.
    pub(crate) fn process(&self, id: usize) -> &Process {
        self.processes[id].as_ref().expect("it runs")
    }

    /// The disk is gone. The replica must not run.
    pub(crate) fn wipe(&self, id: usize) {
        assert!(self.processes[id].is_none(), "replica {id} runs");
        std::fs::remove_dir_all(self.data(id)).unwrap();
    }

    pub(crate) fn replace_disk(&self, id: usize) -> Output {
        let mut arguments = vec!["replace-disk".to_owned()];
        arguments.extend(self.seat(id));
        self.program(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What `viewstone status` prints, and its exit status.
    pub(crate) fn status(&self, more: &[&str]) -> (Option<i32>, String) {
        let (peers, key) = (self.peers(), self.key());
        let told = ["status", "--peers", &peers, "--cluster-key-file", key.to_str().unwrap()];
        let output = self.program(&[&told, more].concat());
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// The answer of a replica's admin endpoint: the status code and the body. None if there is none.
    pub(crate) fn get(&self, id: usize, path: &str) -> Option<(u16, String)> {
        http::get(&self.admins[id], path)
    }

    /// The replica's own document. None while it does not answer.
    pub(crate) fn document(&self, id: usize) -> Option<Value> {
        let (code, body) = self.get(id, "/status")?;
        assert_eq!(code, 200, "{body}");
        Some(serde_json::from_str(&body).unwrap())
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.processes.len()).filter(|id| self.processes[*id].is_some())
    }

    pub(crate) fn is_ready(&self, id: usize) -> bool {
        self.get(id, "/readyz").is_some_and(|(code, _)| code == 200)
    }

    /// Every replica that runs is of use.
    pub(crate) fn wait_until_ready(&self) {
        self.wait("every replica to be ready", || self.running().all(|id| self.is_ready(id)).then_some(()));
    }

    /// The primary that the newest view has.
    pub(crate) fn primary(&self) -> usize {
        self.wait("a primary", || {
            let documents = self.running().filter_map(|id| Some((id, self.document(id)?)));
            let primaries = documents.filter(|(_, document)| {
                document["core"]["is_primary"] == true && document["health"] == "normal"
            });
            primaries.max_by_key(|(_, document)| document["core"]["view"].as_u64()).map(|(id, _)| id)
        })
    }

    /// Looks again and again until there is something. What the replicas logged is shown if it never is.
    pub(crate) fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(found) = look() {
                return found;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let logs: Vec<String> =
            self.running().map(|id| format!("replica {id}:\n{}", self.process(id).log())).collect();
        panic!("waited in vain for {what}\n{}", logs.join("\n"));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Those that still run are killed with their handles.
        self.processes.clear();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// The program under test. Nothing of this process's settings leaks into it.
fn command() -> Command {
    command_by(&[])
}

fn command_by(launcher: &[String]) -> Command {
    let program = env!("CARGO_BIN_EXE_viewstone");
    let mut command = match launcher {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("VIEWSTONE_"))
    {
        command.env_remove(name);
    }
    command
}
