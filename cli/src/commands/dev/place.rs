//! Where everything of `viewstone dev` is kept: one directory with the cluster's key and a disk for each
//! replica, or memory.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use protocol::data::message::Past;
use protocol::types::{Nonce, ReplicaId};
use replica::driver::{self, StartError};
use replica::storage::disk::{Disk, MemoryDisk, RealDisk};
use transport::ClusterKey;

use crate::commands::Failure;
use crate::process;
use crate::settings::{Cluster, Seat};

pub(super) const KEY_NAME: &str = "cluster-key";
pub(super) const REPLICAS_STANDARD: u8 = 3;
const REPLICAS_MAX: u8 = 7;

/// Below this the logs and what they need take all there is.
pub(super) const MEMORY_PER_REPLICA_MIN: u64 = 256 << 20;

pub(super) enum Disks {
    Real { disks: Vec<RealDisk>, _lock: RealDisk },
    Memory { disks: Vec<MemoryDisk>, size: u64 },
}

pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) key: ClusterKey,
    pub(super) disks: Disks,
}

impl Place {
    /// `replicas`: as many as somebody asked for. What is there already knows how many it has.
    pub(super) fn on_disk(dir: &Path, replicas: Option<u8>) -> Result<Place, Failure> {
        let lock = RealDisk::open(dir).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => Failure::new(format!(
                "{} is in use by another `viewstone dev`: stop that one, or choose another directory with --dir, \
                 and other ports with --listen and --port",
                dir.display()
            )),
            _ => in_directory(dir, &error),
        })?;
        let key = open_key(dir)?;
        let mut found = Vec::new();
        for id in 0..REPLICAS_MAX {
            let path = path_of(dir, id);
            if path.exists() {
                found.push((id, open(&path)?));
            }
        }
        let mut made_with = None;
        for (_, disk) in &found {
            made_with = made_with.or(driver::cluster_size(disk).map_err(Failure::new)?);
        }
        let replicas = match (made_with, replicas) {
            (Some(made_with), Some(asked)) if made_with != asked => {
                return Err(Failure::new(format!(
                    "{} was made with {made_with} replicas, not {asked}: leave out --replicas, or choose another \
                     directory with --dir",
                    dir.display()
                )));
            }
            (made_with, asked) => made_with.or(asked).unwrap_or(REPLICAS_STANDARD),
        };
        let mut disks = Vec::new();
        for id in 0..replicas {
            let opened = found.iter().find(|(found, _)| *found == id).map(|(_, disk)| disk.clone());
            disks.push(opened.map_or_else(|| open(&path_of(dir, id)), Ok)?);
        }
        let disks = Disks::Real { disks, _lock: lock };
        Ok(Place { dir: dir.to_owned(), key, disks })
    }

    /// The replicas share `size` bytes evenly.
    pub(super) fn in_memory(size: u64, replicas: u8) -> Result<Place, Failure> {
        let each = size / u64::from(replicas);
        if each < MEMORY_PER_REPLICA_MIN {
            let least = (MEMORY_PER_REPLICA_MIN >> 20) * u64::from(replicas);
            return Err(Failure::new(format!(
                "that is too little memory for {replicas} replicas: give them --memory={least}MiB or more"
            )));
        }
        let disks = (0..replicas).map(|_| MemoryDisk::new(each)).collect();
        let key = ClusterKey::generate().map_err(Failure::new)?;
        Ok(Place { dir: PathBuf::from("memory"), key, disks: Disks::Memory { disks, size } })
    }

    pub(super) fn replicas(&self) -> u8 {
        let count = match &self.disks {
            Disks::Real { disks, .. } => disks.len(),
            Disks::Memory { disks, .. } => disks.len(),
        };
        u8::try_from(count).expect("there are at most seven")
    }
}

fn in_directory(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

pub(super) fn path_of(dir: &Path, id: u8) -> PathBuf {
    dir.join(format!("replica-{id}"))
}

fn open(path: &Path) -> Result<RealDisk, Failure> {
    RealDisk::open(path).map_err(|error| in_directory(path, &error))
}

/// The same key as long as the directory lives: identities follow from it, and so does the cluster's name.
fn open_key(dir: &Path) -> Result<ClusterKey, Failure> {
    let path = dir.join(KEY_NAME);
    if !path.exists() {
        if path_of(dir, 0).exists() {
            return Err(Failure::new(format!(
                "{} is gone, and without it nobody can read what is in {}: bring it back, or choose another \
                 directory with --dir",
                path.display(),
                dir.display()
            )));
        }
        let key = ClusterKey::generate().map_err(Failure::new)?;
        key.write_new(&path).map_err(|error| in_directory(&path, &error))?;
    }
    ClusterKey::read(&path).map_err(Failure::new)
}

/// Gives replicas of which the directory is gone an empty disk each, to be filled by the others, if those
/// suffice. Returns their numbers.
///
/// A start that was cut off leaves blank disks, too, but then none has run.
pub(super) fn replace_lost<D: Disk>(
    dir: &Path,
    cluster: &Cluster,
    disks: &[D],
) -> Result<Vec<ReplicaId>, Failure> {
    let config = |id| {
        process::config_of(&Seat {
            dir: path_of(dir, id),
            replica: ReplicaId::new(id),
            cluster: cluster.clone(),
        })
    };
    let disks = || (0..).zip(disks).map(|(id, disk)| (config(id), disk));
    let mut pasts = Vec::new();
    for (config, disk) in disks() {
        let past = driver::past(disk, &config);
        pasts.push(past.map_err(|error| unusable(&path_of(dir, config.replica.get()), &error))?);
    }
    let blank = pasts.iter().filter(|past| **past == Past::Blank).count();
    if blank == 0 || !pasts.contains(&Past::Started) {
        return Ok(vec![]);
    }
    let quorums = cluster.quorums();
    if pasts.len() - blank < quorums.replication.max(quorums.view_change) {
        return Err(Failure::new(format!(
            "the data of {blank} of {} replicas is gone from {}, and the rest is too little to restore it from: \
             bring it back, or choose another directory with --dir",
            pasts.len(),
            dir.display()
        )));
    }
    let mut replaced = Vec::new();
    for ((config, disk), _) in disks().zip(&pasts).filter(|(_, past)| **past == Past::Blank) {
        let nonce = Nonce::new(u128::from_le_bytes(process::random()));
        driver::format_replacement(disk, &config, nonce).map_err(Failure::new)?;
        replaced.push(config.replica);
    }
    Ok(replaced)
}

fn unusable(path: &Path, error: &StartError) -> Failure {
    match error {
        StartError::Unreadable(reason) => Failure::new(format!(
            "the superblock in {path} cannot be read ({reason}): move that directory away and start again, and the \
             other replicas restore it",
            path = path.display()
        )),
        error => in_directory(path, error),
    }
}

/// Says so at once if a replica's port is taken: replicas would say it each for itself.
pub(super) fn check_ports(addresses: &[SocketAddr]) -> Result<(), Failure> {
    for address in addresses {
        if let Err(error) = UdpSocket::bind(address) {
            return Err(Failure::new(match error.kind() {
                ErrorKind::AddrInUse => format!(
                    "{address} (UDP) is taken by another program, and the replicas talk there: stop it, or choose \
                     the first of {} free ports in a row with --port",
                    addresses.len()
                ),
                _ => format!("cannot use {address} (UDP) for the replicas: {error}"),
            }));
        }
    }
    Ok(())
}
