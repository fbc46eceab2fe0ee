//! From a directory to a core that is ready to start: the order in which a disk is opened.

use std::fmt;
use std::io;

use protocol::catalog::Catalog;
use protocol::config::Config;
use protocol::data::message::Past;
use protocol::entry::EntryHeader;
use protocol::state::State;
use protocol::superblock::Superblock;
use protocol::tables::{Checkpoint, RowSum};
use protocol::types::Nonce;
use protocol::vsr::Replica;

use crate::storage::disk::Disk;
use crate::storage::space::SpaceKeeper;
use crate::storage::superblock::{self, Opened, SuperblockStore};
use crate::storage::tables::{DiskTables, OpenError, TablesOptions};
use crate::storage::wal::{Wal, WalOptions};

pub type Core = Replica<Catalog, DiskTables>;

/// Everything that one replica has on its disk, open.
pub struct OpenReplica<D: Disk> {
    pub core: Core,
    pub wal: Wal<D>,
    pub superblocks: SuperblockStore<D>,
    /// Tells how much space is left.
    pub disk: D,
    pub space: SpaceKeeper,
}

/// Why a replica cannot start. Each says what helps.
#[derive(Debug)]
pub enum StartError {
    /// The directory is empty, and this replica was not told that its cluster is new.
    NotFormatted,
    /// The directory belongs to another replica or another cluster, or has another size.
    Foreign(String),
    /// The superblock cannot be believed: the disk has to be replaced.
    Unreadable(String),
    /// Another release wrote the directory. Nothing is wrong with it.
    OtherFormat(u32),
    Disk(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NotFormatted => f.write_str(
                "the directory holds no replica: if its disk was lost, `viewstone replace-disk` readmits it",
            ),
            StartError::Foreign(what) => write!(f, "the directory belongs to another replica: {what}"),
            StartError::Unreadable(reason) => write!(
                f,
                "the superblock cannot be read ({reason}): move the directory away and use `viewstone replace-disk`"
            ),
            StartError::OtherFormat(version) => write!(
                f,
                "another release of viewstone wrote this directory (format {version}; this one knows {}): start \
                 that release. The data is untouched",
                superblock::VERSION
            ),
            StartError::Disk(error) => write!(f, "the disk fails: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> StartError {
        StartError::Disk(error)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    pub segment_size: u64,
    pub tables: TablesOptions,
}

impl OpenOptions {
    pub const fn standard() -> OpenOptions {
        OpenOptions { segment_size: WalOptions::SEGMENT_SIZE, tables: TablesOptions::standard() }
    }
}

/// What the disk has been through. Refuses the disk of another replica.
///
/// A disk that takes the place of a lost one is not as good as new: its cluster runs already.
pub fn past<D: Disk>(disk: &D, config: &Config) -> Result<Past, StartError> {
    match SuperblockStore::open(disk)? {
        Opened::NeverFormatted => Ok(Past::Blank),
        Opened::OtherFormat(version) => Err(StartError::OtherFormat(version)),
        Opened::Unreadable(reason) => Err(StartError::Unreadable(reason)),
        Opened::Formatted(superblock, _) => {
            check_owner(&superblock, config)?;
            let has_run = superblock.boot_count > 0 || superblock.amnesiac.is_some();
            Ok(if has_run { Past::Started } else { Past::Formatted })
        }
    }
}

/// How many replicas the disk's cluster has. None if the disk does not tell; `past` says why.
pub fn cluster_size<D: Disk>(disk: &D) -> Result<Option<u8>, StartError> {
    match SuperblockStore::open(disk)? {
        Opened::Formatted(superblock, _) => Ok(Some(superblock.replica_count)),
        Opened::NeverFormatted | Opened::Unreadable(_) | Opened::OtherFormat(_) => Ok(None),
    }
}

/// Makes a blank disk that of a new cluster's replica. A disk that was formatted before is left alone.
pub fn format<D: Disk>(disk: &D, config: &Config) -> Result<(), StartError> {
    match SuperblockStore::open(disk)? {
        Opened::Formatted(superblock, _) => check_owner(&superblock, config),
        Opened::OtherFormat(version) => Err(StartError::OtherFormat(version)),
        Opened::Unreadable(reason) => Err(StartError::Unreadable(reason)),
        Opened::NeverFormatted => {
            let superblock =
                Superblock::format(config.cluster, config.epoch, config.replica, replica_count(config));
            SuperblockStore::format(disk, &superblock)?;
            Ok(())
        }
    }
}

/// Makes a blank disk that of a replica whose disk was lost. It asks to be readmitted when it starts.
pub fn format_replacement<D: Disk>(disk: &D, config: &Config, nonce: Nonce) -> Result<(), StartError> {
    match SuperblockStore::open(disk)? {
        Opened::Formatted(..) => Err(StartError::Foreign("it is not empty".into())),
        Opened::OtherFormat(version) => Err(StartError::OtherFormat(version)),
        Opened::Unreadable(reason) => Err(StartError::Unreadable(reason)),
        Opened::NeverFormatted => {
            let superblock = Superblock::replace(
                config.cluster,
                config.epoch,
                config.replica,
                replica_count(config),
                nonce,
            );
            SuperblockStore::format(disk, &superblock)?;
            Ok(())
        }
    }
}

fn replica_count(config: &Config) -> u8 {
    u8::try_from(config.quorums.replica_count).expect("there are at most seven replicas")
}

fn check_owner(superblock: &Superblock, config: &Config) -> Result<(), StartError> {
    let foreign = |what: String| Err(StartError::Foreign(what));
    if superblock.cluster != config.cluster {
        return foreign(format!("of cluster {:?}, not {:?}", superblock.cluster, config.cluster));
    }
    if superblock.replica != config.replica {
        return foreign(format!("of replica {}, not {}", superblock.replica, config.replica));
    }
    if superblock.replica_count != replica_count(config) {
        return foreign(format!(
            "of a cluster of {}, not {}",
            superblock.replica_count, config.quorums.replica_count
        ));
    }
    Ok(())
}

/// Opens superblock, log and tables. Tables that are damaged are forgotten here, durably noted as
/// lost first, and fetched from the peers once the core runs.
pub fn open<D: Disk>(
    disk: &D,
    config: &Config,
    catalog: Catalog,
    options: OpenOptions,
    seed: u64,
) -> Result<OpenReplica<D>, StartError> {
    let (mut superblock, mut superblocks) = match SuperblockStore::open(disk)? {
        Opened::Formatted(superblock, store) => (*superblock, store),
        Opened::NeverFormatted => return Err(StartError::NotFormatted),
        Opened::OtherFormat(version) => return Err(StartError::OtherFormat(version)),
        Opened::Unreadable(reason) => return Err(StartError::Unreadable(reason)),
    };
    check_owner(&superblock, config)?;
    // The count of boots is written only after the log was opened: zero says that it never was.
    let wal_options =
        WalOptions { segment_size: options.segment_size, never_used: superblock.boot_count == 0 };
    let (wal, scan) = Wal::open(disk, config.cluster, config.replica, wal_options)?;

    if superblock.tables_lost {
        DiskTables::destroy(disk)?;
    }
    let state = match open_state(disk, config, catalog, options.tables)? {
        Ok(state) => state,
        Err(reason) => {
            tracing::error!(reason, "the tables are damaged and will be fetched from the other replicas");
            superblock.tables_lost = true;
            superblocks.write(&superblock)?;
            DiskTables::destroy(disk)?;
            open_state(disk, config, catalog, options.tables)?.map_err(|reason| {
                StartError::Disk(io::Error::other(format!("new tables cannot be opened: {reason}")))
            })?
        }
    };
    let core = Replica::new(config.clone(), superblock, scan, state, seed);
    let space = SpaceKeeper::new(&config.limits, options.segment_size);
    Ok(OpenReplica { core, wal, superblocks, disk: disk.clone(), space })
}

/// The inner error says why the tables cannot be trusted.
fn open_state<D: Disk>(
    disk: &D,
    config: &Config,
    catalog: Catalog,
    options: TablesOptions,
) -> io::Result<Result<State<Catalog, DiskTables>, String>> {
    let genesis =
        Checkpoint { header: EntryHeader::genesis(config.cluster, config.epoch), root: RowSum::ZERO };
    match DiskTables::open(disk, &genesis, options) {
        Ok(tables) => Ok(State::new(catalog, tables, config.limits).map_err(|fault| fault.reason)),
        Err(OpenError::Damaged(reason)) => Ok(Err(reason)),
        Err(OpenError::Disk(error)) => Err(error),
    }
}
