//! Stories that need a network or a mount of their own: the test program runs itself again in
//! namespaces that vanish with it, so nothing of the machine is changed and nothing is left behind.

use std::process::Command;

/// Set in the process that tells the story.
const INSIDE: &str = "FAULTS_INSIDE";

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Mount,
    Network,
}

impl Kind {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Kind::Mount => &["--mount"],
            // Names of networks are files: they are ours alone with mounts of our own.
            Kind::Network => &["--mount", "--net"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Mount => "mount",
            Kind::Network => "network",
        }
    }
}

/// Tells `story`, which is the body of the test of this name, in namespaces of its own. If there can be
/// none, or the story says that it lacks something in them, that is printed and nothing is tested.
pub(crate) fn tell_inside(test: &str, kind: Kind, story: impl FnOnce() -> Result<(), String>) {
    let skipped = |reason: &str| println!("SKIPPED: no {} namespaces ({reason})", kind.name());
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == test) {
        if let Err(reason) = story() {
            skipped(&reason);
        }
        return;
    }
    if let Err(reason) = run("unshare", &[kind.flags(), &["true"]].concat()) {
        return skipped(&reason);
    }
    let program = std::env::current_exe().unwrap();
    let told = Command::new("unshare")
        .args(kind.flags())
        .arg(program)
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, test)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    print!("{}", text(&told.stdout));
    assert!(told.status.success(), "in its own namespaces:\n{}", text(&told.stderr));
    assert!(text(&told.stdout).contains("1 passed"), "{test} is not the name of a test");
}

/// The error is why it failed, for a person.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let words = || format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{}: {error}", words()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", words(), String::from_utf8_lossy(&output.stderr).trim()))
}
