//! What can be switched off in a seed's world, by name: to find out what a failure needs.

use crate::options::Options;

/// How often something happens in a world. Zero: never.
pub struct Switch {
    pub name: &'static str,
    pub rate: fn(&mut Options) -> &mut u64,
}

macro_rules! switches {
    ($($name:literal: $($field:ident).+;)+) => {
        &[$(Switch { name: $name, rate: |options| &mut options.$($field).+ }),+]
    };
}

pub const ALL: &[Switch] = switches! {
    "crash": faults.crash;
    "crash-in-io": faults.crash_in_io;
    "crash-all": faults.crash_all;
    "pause": faults.pause;
    "clock-step": faults.clock_step;
    "isolate": faults.isolate;
    "split": faults.split;
    "cut-one-way": faults.cut_one_way;
    "clog": faults.clog;
    "narrow": faults.narrow;
    "mend": faults.mend;
    "slow-disk": faults.slow_disk;
    "rot": faults.rot;
    "unreadable": faults.unreadable;
    "misdirect": faults.misdirect;
    "phantom": faults.phantom;
    "sync-error": faults.sync_error;
    "full-disk": faults.full_disk;
    "wipe": faults.wipe;
    "operator": faults.operator;
    "hold": faults.hold;
    "chunk-rot": faults.chunk_rot;
    "lie": faults.lie;
    "loss": network.loss;
    "copies": network.duplication;
    "late-copies": network.late_copy;
    "bit-flips": network.bit_flip;
    "client-crash": client_crash;
    "client-freeze": client_freeze;
    "slow-readers": slow_reader_percent;
};

pub fn find(name: &str) -> Result<&'static Switch, String> {
    ALL.iter().find(|switch| switch.name == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|switch| switch.name).collect();
        format!("what can be switched off is {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Mode, Stack};

    /// A trouble without a switch could not be ruled out when a failure is made smaller.
    #[test]
    fn every_trouble_can_be_switched_off() {
        for seed in 1..50 {
            let mut options = Options::draw(seed, Mode::Safety, Stack::Whole);
            for switch in ALL {
                *(switch.rate)(&mut options) = 0;
            }
            assert_eq!(options.faults.total(), 0);
        }
    }
}
