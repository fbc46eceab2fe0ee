//! Every setting there is. The file of one process may be shared by others, so it may hold any of
//! them; a command takes those that it needs.

use clap::Arg;

#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// What stands for the value in the help.
    value: &'static str,
    help: &'static str,
}

macro_rules! settings {
    ($($constant:ident: $name:literal $value:literal $help:literal;)*) => {
        $(pub(crate) const $constant: Setting = Setting { name: $name, value: $value, help: $help };)*
        pub(crate) const ALL: &[&Setting] = &[$(&$constant),*];
    };
}

settings! {
    CONFIG: "config" "FILE" "A TOML file with settings by the same names";
    DIR: "dir" "DIRECTORY" "Where the replica keeps its data: a directory for it alone";
    REPLICA: "replica" "NUMBER" "Which of the peers this one is, counted from zero";
    PEERS: "peers" "HOST:PORT,..." "All replicas in the order of their numbers, this one included";
    CLUSTER_KEY_FILE: "cluster-key-file" "FILE" "The cluster's key, as `viewstone keygen` wrote it; or put the key itself into VIEWSTONE_CLUSTER_KEY";
    LISTEN: "listen" "ADDRESS:PORT,..." "Where the other replicas and clients reach this one [default: all addresses, the port of its own entry in peers]";
    ADMIN: "admin" "ADDRESS:PORT" "Where health, metrics and status are served over HTTP; empty turns it off [default: 127.0.0.1:9100]";
    RESERVE: "reserve" "SIZE" "Free space that objects never take, as 1GiB or 5% [default: 5%]";
    LOG_FORMAT: "log-format" "FORMAT" "text or json [default: text]";
    LOG_LEVEL: "log-level" "LEVEL" "error, warn, info, debug or trace [default: info]";
}

/// The key itself, for those who keep secrets in the environment. Neither a flag, which everybody on
/// the machine can read, nor a key of the file, which is copied about.
pub(crate) const CLUSTER_KEY_VARIABLE: &str = "VIEWSTONE_CLUSTER_KEY";

impl Setting {
    /// Its name in the environment.
    pub(crate) fn variable(&self) -> String {
        format!("VIEWSTONE_{}", self.name.to_uppercase().replace('-', "_"))
    }

    pub(crate) fn argument(&self) -> Arg {
        Arg::new(self.name).long(self.name).value_name(self.value).allow_hyphen_values(true).help(format!(
            "{} [env: {}]",
            self.help,
            self.variable()
        ))
    }
}
