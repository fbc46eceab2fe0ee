//! `viewstone replace-disk`.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use protocol::data::message::Past;
use protocol::quorums::Quorums;
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
    let config = process::config_of(&seat);
    let whom = whom_it_takes(&config.quorums).map_err(Failure::new)?;
    let disk = RealDisk::open(&seat.dir).map_err(|error| Failure::new(format!("{dir}: {error}")))?;
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
    print(&format!(
        "{dir} is the new disk of replica {replica}.

Start the replica as always. {whom} have to run: they readmit it, and it fetches everything from them.
Until then it has no vote. Watch it with `viewstone status`: first rejoining, then normal, with a debt that
falls to zero. Never start the old disk again: what it would say is no longer true.
"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Who must run so that a replica without a vote is readmitted. Or why nobody can.
fn whom_it_takes(quorums: &Quorums) -> Result<String, &'static str> {
    let others = quorums.replica_count - 1;
    let needed = quorums.replication.max(quorums.view_change);
    match others {
        0 => {
            Err("this is the only replica: nobody else has what was on its disk, and nothing can be fetched")
        }
        _ if needed > others => Err(
            "the other replica cannot readmit it alone: the log of a cluster of two needs both. What the \
                 other one has must be copied into a new cluster",
        ),
        _ if needed == others => Ok(format!("All {others} other replicas")),
        _ => Ok(format!("{needed} of the {others} other replicas")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_only_replaced_where_the_others_can_readmit_it() {
        let takes = |count| whom_it_takes(&Quorums::of(count));
        assert!(takes(1).unwrap_err().contains("nothing can be fetched"));
        assert!(takes(2).unwrap_err().contains("copied into a new cluster"));
        assert_eq!(takes(3).unwrap(), "All 2 other replicas");
        assert_eq!(takes(5).unwrap(), "3 of the 4 other replicas");
        assert_eq!(takes(7).unwrap(), "4 of the 6 other replicas");
    }
}
