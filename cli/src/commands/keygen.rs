//! `viewstone keygen`.

use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use transport::ClusterKey;

use super::{Failure, print};

pub(super) fn command() -> Command {
    let out = Arg::new("out").long("out").value_name("FILE").default_value("cluster.key");
    Command::new("keygen")
        .about("Make the key of a new cluster")
        .arg(out.help("Where to put it: a new file, never one that exists"))
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let path = Path::new(matches.get_one::<String>("out").expect("it has a default"));
    let key = ClusterKey::generate().map_err(Failure::new)?;
    key.write_new(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    let path = path.display();
    print(&format!(
        "{path} holds the key of a new cluster, for its owner to read only.

Whoever has it is a member: it is all that replicas, gateways and `viewstone status` need to be let in.
  1. Copy it to every machine of the cluster, with the same mode (0600).
  2. Start each replica with --cluster-key-file {path}
  3. Keep a copy where the cluster's disks are not. Without it the data cannot be served again.
"
    ))?;
    Ok(ExitCode::SUCCESS)
}
