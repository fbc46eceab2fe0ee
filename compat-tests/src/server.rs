//! The server under test: the one that `S3_ENDPOINT` names, or our own, started once per test process.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a start may take. Far more than it does.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct Server {
    /// `host:port`
    pub address: String,
    pub access_key: String,
    pub secret_key: String,
    /// Started here, so what we promise beyond S3 may be asked of it.
    pub is_ours: bool,
}

pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| match std::env::var("S3_ENDPOINT") {
        Ok(endpoint) => named(&endpoint),
        Err(_) => start(),
    })
}

fn named(endpoint: &str) -> Server {
    let key = |name| std::env::var(name).unwrap_or_else(|_| panic!("S3_ENDPOINT is set, {name} is not"));
    let address = endpoint.strip_prefix("http://").unwrap_or_else(|| {
        panic!("S3_ENDPOINT must begin with http://: the requests are written without TLS: {endpoint}")
    });
    Server {
        address: address.trim_end_matches('/').to_owned(),
        access_key: key("S3_ACCESS_KEY"),
        secret_key: key("S3_SECRET_KEY"),
        is_ours: false,
    }
}

/// A whole cluster in one process.
fn start() -> Server {
    let (access_key, secret_key) = ("compat-tests", "compat-tests-secret");
    let mut log = String::new();
    // A port that was free a moment ago may be taken by now.
    for _ in 0..3 {
        let directory = temporary("suite");
        let address = format!("127.0.0.1:{}", free_tcp_ports(1)[0]);
        let mut command = program();
        command
            .args(["dev", "--replicas", "3", "--listen", &address, "--dir"])
            .arg(directory.join("data"))
            .args(["--port", &free_udp_ports_in_a_row(3).to_string()])
            .env("VIEWSTONE_ACCESS_KEY", access_key)
            .env("VIEWSTONE_SECRET_KEY", secret_key);
        match keep(&command, &directory, &address) {
            Ok(()) => {
                return Server {
                    address,
                    access_key: access_key.to_owned(),
                    secret_key: secret_key.to_owned(),
                    is_ours: true,
                };
            }
            Err(said) => log = said,
        }
    }
    panic!("viewstone dev does not start:\n{log}");
}

/// Runs a program for as long as this process lives. When this one ends, in whatever manner, the pipe
/// to the shell that watches over the other closes: nothing static is dropped at a program's end, and
/// nothing at all when it is killed.
///
/// The error is what the program said instead of getting ready.
fn keep(command: &Command, directory: &Path, address: &str) -> Result<(), String> {
    const WATCH: &str = r#"
        directory=$1; shift
        "$@" </dev/null >"$directory/log" 2>&1 & process=$!
        read -r _
        kill $process 2>/dev/null; wait $process
        rm -rf "$directory"
    "#;
    let mut shell = Command::new("sh");
    shell.args(["-c", WATCH, "keeper"]).arg(directory).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    // An interrupt from the terminal is for the tests: the pipe tells the rest.
    shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut keeper = shell.spawn().expect("there is a shell");
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if is_ready(address) {
            // Its pipe is held until this process ends, and it outlives it for a moment.
            std::mem::forget(keeper);
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
    drop(keeper.stdin.take());
    let _ = keeper.wait();
    Err(log)
}

/// Whether a gateway is of use.
pub fn is_ready(address: &str) -> bool {
    ask(address, "/-/ready").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
}

/// The whole answer to a plain GET.
pub(crate) fn ask(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A directory for a cluster. `name` tells it from those of other tests.
pub fn temporary(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("viewstone-compat-{name}-{}-{count}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("a temporary directory can be made");
    directory
}

/// The program, with none of this process's settings.
pub fn program() -> Command {
    let mut command = Command::new(path_of_program());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VIEWSTONE_") {
            command.env_remove(name);
        }
    }
    command
}

/// `VIEWSTONE_BIN`, or what stands in the directory that this test was built into. It is not built from
/// here: the tests of a whole workspace have built it, with the same features, and a build of its own
/// would replace it.
fn path_of_program() -> PathBuf {
    if let Some(path) = std::env::var_os("VIEWSTONE_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("the test knows its own path");
    // target/PROFILE/deps/TEST
    let profile = test.ancestors().nth(2).expect("a test lies in the target directory");
    let program = profile.join("viewstone");
    let release = if profile.ends_with("release") { " --release" } else { "" };
    let remedy = format!(
        "build it with `cargo build{release} -p viewstone`, or name one by VIEWSTONE_BIN, or name another \
         server by S3_ENDPOINT, S3_ACCESS_KEY and S3_SECRET_KEY"
    );
    assert!(program.exists(), "{} is not there: {remedy}", program.display());
    if let Some(source) = newer_source(&program) {
        panic!("{} is older than {source}: {remedy}", program.display());
    }
    program
}

/// What the program was built from and has changed since, by the list that cargo leaves beside it.
fn newer_source(program: &Path) -> Option<String> {
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let built = changed(program)?;
    let list = std::fs::read_to_string(program.with_extension("d")).ok()?;
    let sources = list.split_once(": ")?.1.split_whitespace().map(str::to_owned);
    sources.into_iter().find(|source| changed(Path::new(source)).is_some_and(|time| time > built))
}

/// They are free when they are given out, and all held until the last is chosen, so none is given twice.
pub fn free_tcp_ports(count: usize) -> Vec<u16> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there are free ports");
    let sockets: Vec<TcpListener> = (0..count).map(bind).collect();
    sockets.iter().map(|socket| socket.local_addr().expect("it is bound").port()).collect()
}

pub fn free_udp_ports(count: usize) -> Vec<u16> {
    let bind = |_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("there are free ports");
    let sockets: Vec<UdpSocket> = (0..count).map(bind).collect();
    sockets.iter().map(|socket| socket.local_addr().expect("it is bound").port()).collect()
}

/// The first of so many.
fn free_udp_ports_in_a_row(count: u16) -> u16 {
    for _ in 0..100 {
        let first = free_udp_ports(1)[0];
        let bind = |port: u16| UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
        let ports = (0..count).filter_map(|index| first.checked_add(index));
        if ports.map(bind).filter(Result::is_ok).count() == usize::from(count) {
            return first;
        }
    }
    panic!("there are no {count} free ports in a row");
}
