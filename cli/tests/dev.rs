//! A whole cluster in one process.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::process::Process;
use crate::harness::{Cluster, PATIENCE, ports};

/// A directory, and ports that nobody has.
struct Scratch {
    cluster: Cluster,
    first: u16,
    s3: u16,
}

impl Scratch {
    fn new(name: &str) -> Scratch {
        let ports = ports::in_a_row(6);
        Scratch { cluster: Cluster::of(1, name), first: ports.start, s3: ports.end - 1 }
    }

    fn dir(&self) -> PathBuf {
        self.cluster.key().with_file_name("data")
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3)
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_viewstone"));
        let listen = format!("127.0.0.1:{}", self.s3);
        command.args(["dev", "--port", &self.first.to_string(), "--listen", &listen]).args(more);
        if !more.iter().any(|word| word.starts_with("--memory") || *word == "--dir") {
            command.arg("--dir").arg(self.dir());
        }
        command
    }

    /// Returns when it has greeted, with what it said.
    fn start(&self, more: &[&str]) -> (Process, String) {
        self.start_as(self.command(more))
    }

    fn start_as(&self, command: Command) -> (Process, String) {
        let process = Process::start(command, &self.cluster.key().with_file_name("dev.log"));
        let greeting = self.cluster.wait("a greeting", || {
            let log = process.log();
            log.contains("Ctrl-C stops it").then_some(log)
        });
        (process, greeting)
    }

    /// It ends by itself, with one line that says why.
    fn refusal(&self, more: &[&str]) -> String {
        let output = self.command(more).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    }

    /// The last line of `viewstone status` as the greeting has it, once it is healthy.
    fn status(&self, greeting: &str) -> String {
        let line = greeting.lines().find_map(|line| line.trim().strip_prefix("status ")).unwrap();
        self.cluster.wait("a healthy cluster", || {
            let output = Command::new("sh").args(["-c", line]).output().unwrap();
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            output.status.success().then(|| said.trim().lines().last().unwrap().to_owned())
        })
    }

    fn load(&self, more: &[&str]) -> Output {
        bench(&self.endpoint(), more)
    }
}

/// Asks it to stop as Ctrl-C does. What it said in the end is returned.
fn stop(process: Process) -> String {
    process.interrupt();
    let (code, log) = process.wait(PATIENCE);
    assert_eq!(code, Some(0), "{log}");
    log
}

/// What the README promises first: one command, and it is all there again after the next start.
#[test]
fn a_cluster_in_one_process_runs_and_is_there_again_after_the_next_start() {
    let scratch = Scratch::new("dev");
    for _ in 0..2 {
        let began = Instant::now();
        let (process, greeting) = scratch.start(&[]);
        assert!(began.elapsed() < Duration::from_secs(10), "that is no first impression");
        assert!(greeting.contains("3 replicas in "), "{greeting}");
        let status = scratch.status(&greeting);
        assert!(status.contains("3 of 3 replicas healthy") && status.contains("no debt"), "{status}");
        let log = stop(process);
        assert_eq!(log.strip_prefix(&greeting).map(str::trim), Some("Stopped."), "and nothing else: {log}");
    }
}

/// `put` leaves objects, `list` finds them in the same bucket.
fn keep(scratch: &Scratch, op: &str, size: &str) {
    let load = ["--op", op, "--size", size, "--count", "20", "--objects", "20"];
    let output = scratch.load(&load);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn it_is_calm_under_load_and_with_one_replica_or_five() {
    for count in ["1", "5"] {
        let scratch = Scratch::new(&format!("dev-{count}"));
        let (process, greeting) = scratch.start(&["--replicas", count]);
        keep(&scratch, "mixed", "20KiB");
        let status = scratch.status(&greeting);
        assert!(status.contains(&format!("{count} of {count} replicas healthy")), "{status}");
        let log = stop(process);
        assert_eq!(log.strip_prefix(&greeting).map(str::trim), Some("Stopped."), "and nothing else: {log}");

        let other = scratch.refusal(&["--replicas", "3"]);
        assert!(other.contains(&format!("was made with {count} replica")), "{other}");
        assert!(other.contains("leave out --replicas"), "{other}");
        let (process, greeting) = scratch.start(&[]);
        assert!(greeting.contains(&format!("Viewstone: {count} replica")), "{greeting}");
        stop(process);
    }
}

#[test]
fn a_second_start_is_told_what_is_in_its_way() {
    let scratch = Scratch::new("dev-second");
    let (process, _) = scratch.start(&[]);
    let said = scratch.refusal(&[]);
    assert!(said.contains("is in use by another `viewstone dev`") && said.contains("--dir"), "{said}");
    stop(process);

    let other = scratch.dir().with_file_name("other");
    let elsewhere = ["--dir", other.to_str().unwrap()];
    let taken = UdpSocket::bind(("127.0.0.1", scratch.first + 1)).unwrap();
    let said = scratch.refusal(&elsewhere);
    assert!(said.contains(&format!("127.0.0.1:{} (UDP) is taken", scratch.first + 1)), "{said}");
    assert!(said.contains("--port"), "{said}");
    drop(taken);

    let taken = TcpListener::bind(("127.0.0.1", scratch.s3)).unwrap();
    let said = scratch.refusal(&elsewhere);
    assert!(said.contains("is taken by another program") && said.contains("--listen"), "{said}");
    drop(taken);
}

#[test]
fn memory_is_bounded_and_is_forgotten() {
    let scratch = Scratch::new("dev-memory");
    let said = scratch.refusal(&["--memory=100MiB"]);
    assert!(said.contains("--memory=768MiB or more"), "{said}");

    // Most of it is set aside: filling all of it would take long.
    let (process, greeting) = scratch.start(&["--memory=256MiB", "--replicas=1", "--reserve=180MiB"]);
    assert!(greeting.contains("IT FORGETS EVERYTHING when it stops"), "{greeting}");
    keep(&scratch, "mixed", "20KiB");
    let output = scratch.load(&["--op", "put", "--size", "4MiB", "--count", "20", "--concurrency", "1"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it took all of it");
    assert!(said.contains("<Code>StorageFull</Code>"), "{said}");
    let log = stop(process);
    assert!(log.ends_with("Stopped, and forgotten.\n"), "{log}");
    assert!(!scratch.dir().exists());
}

/// Whoever deletes one replica's directory, to see what happens, sees it filled again.
#[test]
fn a_replica_whose_directory_is_gone_is_filled_from_the_others_and_two_are_not_made_up() {
    let scratch = Scratch::new("dev-lost");
    let (process, greeting) = scratch.start(&[]);
    keep(&scratch, "put", "1MiB");
    scratch.status(&greeting);
    stop(process);

    std::fs::remove_dir_all(scratch.dir().join("replica-0")).unwrap();
    let (process, greeting) = scratch.start(&[]);
    assert!(greeting.contains("The data of replica 0 was gone"), "{greeting}");
    let status = scratch.status(&greeting);
    assert!(status.contains("3 of 3 replicas healthy") && status.contains("no debt"), "{status}");
    stop(process);

    for lost in ["replica-1", "replica-2"] {
        std::fs::remove_dir_all(scratch.dir().join(lost)).unwrap();
    }
    let said = scratch.refusal(&[]);
    assert!(said.contains("the data of 2 of 3 replicas is gone"), "{said}");
    std::fs::remove_file(scratch.dir().join("cluster-key")).unwrap();
    let said = scratch.refusal(&[]);
    assert!(said.contains("cluster-key is gone"), "{said}");
}

/// A disk of another release is not a broken one: nobody must be told to move it away.
#[test]
fn a_directory_of_another_release_is_left_alone_and_said_to_be_one() {
    let scratch = Scratch::new("dev-format");
    let (process, _) = scratch.start(&["--replicas", "1"]);
    stop(process);
    let path = scratch.dir().join("replica-0/superblock");
    let old = std::fs::read(&path).unwrap();

    let mut newer = old.clone();
    const SLOT_SIZE: usize = 12 << 10;
    for copy in newer.chunks_mut(SLOT_SIZE) {
        copy[24..28].copy_from_slice(&9u32.to_le_bytes());
        let size = u32::from_le_bytes(copy[56..60].try_into().unwrap());
        let end = 64 + usize::try_from(size).unwrap();
        let sum = protocol::types::Checksum::of(&copy[16..end]).get();
        copy[..16].copy_from_slice(&sum.to_le_bytes());
    }
    std::fs::write(&path, &newer).unwrap();
    let said = scratch.refusal(&[]);
    assert!(said.contains("another release of viewstone wrote this directory (format 9;"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), newer);

    std::fs::write(&path, vec![7; old.len()]).unwrap();
    let said = scratch.refusal(&[]);
    assert!(said.contains("superblock") && said.contains("cannot be read"), "{said}");
}

#[test]
fn it_does_not_serve_other_machines_with_keys_that_everybody_knows() {
    let scratch = Scratch::new("dev-open");
    let refused = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("can be reached from other machines: set VIEWSTONE_ACCESS_KEY"), "{said}");
        assert!(!scratch.dir().exists());
    };
    let program = || Command::new(env!("CARGO_BIN_EXE_viewstone"));
    let dev = |command: &mut Command| {
        command.args(["dev", "--listen", &format!("0.0.0.0:{}", scratch.s3), "--dir"]).arg(scratch.dir());
    };
    let published = |command: &mut Command| {
        command.env("VIEWSTONE_ACCESS_KEY", "viewstone").env("VIEWSTONE_SECRET_KEY", "viewstone-secret");
    };
    let mut unset = program();
    dev(&mut unset);
    refused(&mut unset);
    // As after trying the lines of the README in the same shell.
    let mut in_the_environment = program();
    dev(&mut in_the_environment);
    published(&mut in_the_environment);
    refused(&mut in_the_environment);
    let mut gateway = program();
    gateway.args(["gateway", "--peers", "127.0.0.1:1", "--cluster-key-file"]).arg(scratch.cluster.key());
    published(&mut gateway);
    refused(&mut gateway);
}

/// What the server says to a request without a signature, with these headers.
fn says(scratch: &Scratch, headers: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", scratch.s3)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "PUT /demo HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: 0\r\n\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

/// A page that is open in a browser beside it can make the browser ask, and knows the keys.
#[test]
fn it_does_not_serve_web_pages_with_keys_that_everybody_knows() {
    let scratch = Scratch::new("dev-pages");
    let own_keys = [("VIEWSTONE_ACCESS_KEY", "mine"), ("VIEWSTONE_SECRET_KEY", "my-own-secret")];
    for (keys, are_known) in [(&[][..], true), (&own_keys[..], false)] {
        let mut command = scratch.command(&["--memory"]);
        command.envs(keys.iter().copied());
        let (process, _) = scratch.start_as(command);
        let refuses = |headers: &str| {
            let said = says(&scratch, headers);
            assert!(said.starts_with("HTTP/1.1 403") && said.contains("AccessDenied"), "{said}");
            said.contains("Start it with keys of your own")
        };
        assert!(!refuses("host: 127.0.0.1:9000\r\n"));
        assert!(!refuses("host: bucket.localhost\r\norigin: http://localhost:3000\r\n"));
        assert_eq!(refuses("host: elsewhere.example\r\n"), are_known);
        assert_eq!(refuses("host: localhost\r\norigin: https://elsewhere.example\r\n"), are_known);
        stop(process);
    }
}

/// For containers and scripts: the exit status alone tells.
#[test]
fn a_probe_succeeds_where_something_is_ready_and_fails_in_words_where_not() {
    let scratch = Scratch::new("probe");
    let probe = |url: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_viewstone")).args(["probe", url]).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), said)
    };
    let url = format!("{}/-/ready", scratch.endpoint());
    let (code, said) = probe(&url);
    assert!(code == Some(1) && said.contains("refused"), "{said}");

    let (process, _) = scratch.start(&["--memory"]);
    let (code, said) = probe(&url);
    assert_eq!(code, Some(0), "{said}");
    // An address that needs a signature is not one that says it is ready.
    let (code, said) = probe(&scratch.endpoint());
    assert!(code == Some(1) && said.contains("403"), "{said}");
    assert_eq!(probe("https://127.0.0.1:1/").0, Some(64));
    stop(process);

    let deaf = TcpListener::bind(("127.0.0.1", scratch.s3)).unwrap();
    let (code, said) = probe(&url);
    assert!(code == Some(1) && said.contains("no answer within 3 s"), "{said}");
    drop(deaf);
}

/// A replica that may open no more files ends, because it cannot know what it misses.
#[test]
fn clients_that_only_connect_do_not_take_the_files_of_the_replicas() {
    let scratch = Scratch::new("connections");
    let dev = scratch.command(&[]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 400; exec \"$0\" \"$@\""]).arg(dev.get_program()).args(dev.get_args());
    let process = Process::start(limited, &scratch.cluster.key().with_file_name("dev.log"));
    scratch.cluster.wait("a greeting", || process.log().contains("Ctrl-C stops it").then_some(()));
    let address = ("127.0.0.1", scratch.s3);
    let idle: Vec<TcpStream> = (0..500).map_while(|_| TcpStream::connect(address).ok()).collect();
    assert!(idle.len() > 200, "{}", idle.len());
    std::thread::sleep(Duration::from_millis(300));
    drop(idle);
    let load = bench(&scratch.endpoint(), &["--size", "2MiB", "--count", "40"]);
    assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
    stop(process);
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
    let scratch = Scratch::new("bench");
    let (process, _) = scratch.start(&[]);
    let endpoint = scratch.endpoint();

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
    stop(process);
}
