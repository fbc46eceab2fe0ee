//! `viewstone replace-disk`.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use protocol::data::message::Past;
use protocol::types::Nonce;
use replica::driver;
use replica::storage::disk::RealDisk;

use super::{Failure, print};
use crate::process;
use crate::settings::{Seat, Sources};

pub(super) fn command() -> Command {
    Command::new("replace-disk")
        .about("Give a replica whose disk is gone a new one: a blank directory, to be filled by the others")
        .args(Seat::SETTINGS.iter().map(|setting| setting.argument()))
}

pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let seat = Seat::from(&Sources::of_process(matches, Seat::SETTINGS)?)?;
    let (dir, replica) = (seat.dir.display(), seat.replica);
    let others = seat.cluster.peers.len() - 1;
    if others == 0 {
        return Err(Failure::new(
            "this cluster has one replica: nobody else has what was on its disk, and nothing can be fetched",
        ));
    }
    let disk = RealDisk::open(&seat.dir).map_err(|error| Failure::new(format!("{dir}: {error}")))?;
    let config = process::config_of(&seat);
    match driver::past(&disk, &config) {
        Ok(Past::Blank) => {}
        Ok(Past::Formatted | Past::Started) => {
            return Err(Failure::new(format!(
                "{dir} is not blank: it is the disk of replica {replica}. Start it, or move the directory away \
                 if it has failed"
            )));
        }
        Err(error) => return Err(Failure::new(format!("{dir} is not blank: {error}"))),
    }
    let nonce = Nonce::new(u128::from_le_bytes(process::random()));
    driver::format_replacement(&disk, &config, nonce).map_err(Failure::new)?;
    let needed = config.quorums.view_change.max(config.quorums.replication);
    print(&format!(
        "{dir} is the new disk of replica {replica}.

Start the replica as always. {needed} of the {others} other replicas have to run: they readmit it, and it
fetches everything from them. Until then it has no vote. Watch it with `viewstone status`: first rejoining,
then normal. Never start the old disk again: what it would say is no longer true.
"
    ))?;
    Ok(ExitCode::SUCCESS)
}
