//! Every setting there is. The file of one process may be shared by others, so it may hold any of
//! them; a command takes those that it needs.

use clap::Arg;

#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// What stands for the value in the help. Empty if it is a switch, whose value is true or false.
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
    ADMIN: "admin" "ADDRESS:PORT" "Where health, metrics and status are served over HTTP; empty turns it off [default: 127.0.0.1:9100; a gateway's 127.0.0.1:9101]";
    RESERVE: "reserve" "SIZE" "Free space that objects never take, as 1GiB or 5% [default: 5%; dev's 512MiB]";
    S3_LISTEN: "s3-listen" "ADDRESS:PORT,..." "Where S3 clients are served [default: port 9000 of all addresses]";
    ACCESS_KEY: "access-key" "ID" "The root user's access key: 3 to 128 characters";
    SECRET_KEY_FILE: "secret-key-file" "FILE" "The secret of the root user's access key, at least 8 characters; or put the secret itself into VIEWSTONE_SECRET_KEY";
    REGION: "region" "NAME" "What the store calls its region; requests signed for another one are served as well [default: us-east-1]";
    DOMAINS: "domains" "NAME,..." "Host names of which a subdomain is a bucket";
    TLS_CERTIFICATES: "tls-certificates" "FILE" "The S3 side's certificate and those that vouch for it, as PEM. Read again when it changes";
    TLS_KEY: "tls-key" "FILE" "The key of the S3 side's certificate, as PEM";
    NEW_CLUSTER: "new-cluster" "" "A blank directory is that of a new cluster, for its first start; without it, it is taken for a lost disk [default: false]";
    LOG_FORMAT: "log-format" "FORMAT" "text or json [default: text]";
    LOG_LEVEL: "log-level" "LEVEL" "error, warn, info, debug or trace [default: info]";
}

/// The key itself, for those who keep secrets in the environment. Neither a flag, which everybody on
/// the machine can read, nor a key of the file, which is copied about.
pub(crate) const CLUSTER_KEY_VARIABLE: &str = "VIEWSTONE_CLUSTER_KEY";

/// The same for the root user's secret.
pub(crate) const SECRET_KEY_VARIABLE: &str = "VIEWSTONE_SECRET_KEY";

impl Setting {
    /// Its name in the environment.
    pub(crate) fn variable(&self) -> String {
        format!("VIEWSTONE_{}", self.name.to_uppercase().replace('-', "_"))
    }

    pub(super) fn is_switch(&self) -> bool {
        self.value.is_empty()
    }

    pub(crate) fn argument(&self) -> Arg {
        let argument = Arg::new(self.name).long(self.name);
        let argument = if self.is_switch() {
            // The flag alone means yes. `=false` takes back what the environment or the file says.
            argument
                .value_name("true|false")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
        } else {
            argument.value_name(self.value).allow_hyphen_values(true)
        };
        argument.help(format!("{} [env: {}]", self.help, self.variable()))
    }
}
