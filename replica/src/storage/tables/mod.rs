//! The replicated state on disk: redb over a verified file, under writes kept in memory.
//!
//! ```text
//!  put, delete ─▶ active ──freeze──▶ frozen ──FlushJob──▶ redb, one durable transaction
//!  get, scan   ─▶ active, else frozen, else the snapshot of the last durable checkpoint
//! ```
//!
//! redb holds nothing but checkpoints: after a crash the tables are at the last one that was flushed.
//!
//! Memory: the rows written since the last durable checkpoint, at most twice what the ops between
//! two checkpoints can write; about 150 bytes for each range of 512 rows, for each of two snapshots;
//! redb's cache.

mod flush;
mod ledger;
mod overlay;
mod ranges;
mod receive;
mod row_key;
mod snapshot;
mod space;
#[cfg(test)]
mod tests;
mod verified_file;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use protocol::codec::{Decoder, Encoder};
use protocol::entry::{ENTRY_HEADER_SIZE, EntryHeader};
use protocol::tables::{
    Checkpoint, ManifestPage, RangeSummary, ReplicaTables, Row, RowPage, RowSum, Scan, TableFault, Tables,
};
use protocol::types::Op;
use redb::{Database, ReadableDatabase, ReadableTable, StorageError, TableDefinition, WriteTransaction};

use super::disk::{Disk, DiskFile};
use super::expected_panic;
use flush::Epoch;
pub use flush::{FlushJob, Flushed};
use ledger::Ledger;
use overlay::Overlay;
use ranges::{Range, Ranges};
use receive::Receiving;
use snapshot::Snapshot;
pub use space::{CountJob, CountedPages, TablesSpace};
use space::{Counted, Weight};
use verified_file::VerifiedFile;

pub const TABLES_NAME: &str = "tables";

type Bytewise = TableDefinition<'static, &'static [u8], &'static [u8]>;
const ROWS: Bytewise = TableDefinition::new("rows");
/// The start of a range -> its sum and its row count.
const RANGES: Bytewise = TableDefinition::new("ranges");
const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");
/// The keys of `META`. Both hold an entry header and a root.
const CHECKPOINT: &str = "checkpoint";
const SYNCING: &str = "syncing";

const REDB_MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

#[derive(Clone, Copy, Debug)]
pub struct TablesOptions {
    /// redb's cache. Half of it may hold pages of the flush under way.
    pub cache_bytes: usize,
    /// Read everything when opening, so that damage shows before the replica takes part rather than
    /// at the read that happens upon it.
    pub verify: bool,
}

impl TablesOptions {
    pub const fn standard() -> TablesOptions {
        TablesOptions { cache_bytes: 64 << 20, verify: true }
    }
}

#[derive(Debug)]
pub enum OpenError {
    /// The tables cannot be trusted. They must be destroyed and fetched from the peers.
    Damaged(String),
    /// The disk failed in a way that says nothing about the tables.
    Disk(io::Error),
}

impl Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Damaged(reason) => write!(f, "tables damaged: {reason}"),
            OpenError::Disk(error) => write!(f, "tables not opened: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                OpenError::Damaged(error.to_string())
            }
            _ => OpenError::Disk(error),
        }
    }
}

impl From<redb::Error> for OpenError {
    fn from(error: redb::Error) -> OpenError {
        match error {
            redb::Error::Io(error) => error.into(),
            other => OpenError::Damaged(other.to_string()),
        }
    }
}

pub struct DiskTables {
    active: Overlay,
    active_weight: Weight,
    frozen: Option<Frozen>,
    base: Snapshot,
    /// The checkpoint before, for peers that are still fetching it.
    previous: Option<Snapshot>,
    receiving: Option<Receiving>,
    epoch: Arc<AtomicU64>,
    ledger: Arc<Ledger>,
    counted: Counted,
    // Last: redb closes only after the snapshots have let go of it.
    database: Arc<Database>,
}

struct Frozen {
    header: EntryHeader,
    rows: Arc<Overlay>,
    weight: Weight,
    /// What the file took when the flush was still to begin.
    file_bytes: u64,
}

impl DiskTables {
    /// Opens the tables, or creates them in the state of `genesis`, an empty one. Whoever knows from
    /// the superblock that there was a later checkpoint must compare it with `durable`: tables that
    /// were lost altogether look like new ones.
    pub fn open<D: Disk>(
        disk: &D,
        genesis: &Checkpoint,
        options: TablesOptions,
    ) -> Result<DiskTables, OpenError> {
        // A block whose newest write never happened is old but whole. redb trusts its own structures
        // and panics on some of them before it can be asked to compare checksums.
        expected_panic::catch(|| DiskTables::open_trusting(disk, genesis, options))
            .unwrap_or_else(|| Err(OpenError::Damaged("redb cannot make sense of its file".to_owned())))
    }

    fn open_trusting<D: Disk>(
        disk: &D,
        genesis: &Checkpoint,
        options: TablesOptions,
    ) -> Result<DiskTables, OpenError> {
        let existing = match disk.open(TABLES_NAME)? {
            Some(file) => Some(VerifiedFile::open(file)?).filter(|file| file.begins_with(REDB_MAGIC)),
            None => None,
        };
        let backend = match existing {
            Some(backend) => backend,
            None => create_file(disk)?,
        };
        let ledger = backend.ledger();
        let mut database = redb::Builder::new()
            .set_cache_size(options.cache_bytes)
            .create_with_backend(backend)
            .map_err(redb::Error::from)?;
        if options.verify && !database.check_integrity().map_err(redb::Error::from)? {
            return Err(OpenError::Damaged("redb's checksums do not match".to_owned()));
        }
        let mut loaded = load(&database)?;
        if loaded.is_none() {
            initialize(&database, genesis)?;
            loaded = load(&database)?;
        }
        let Loaded { checkpoint, syncing, ranges } =
            loaded.ok_or_else(|| OpenError::Damaged("no checkpoint is recorded".to_owned()))?;
        if syncing.is_none() && ranges.root() != checkpoint.root {
            return Err(OpenError::Damaged("the ranges do not sum up to the checkpoint's root".to_owned()));
        }
        let receiving =
            syncing.map(|target| Receiving { target, ranges: ranges.clone(), bytes_not_durable: 0 });
        let base = Snapshot::take(&database, checkpoint, Arc::new(ranges))
            .map_err(|fault| OpenError::Damaged(fault.reason))?;
        Ok(DiskTables {
            active: Overlay::new(),
            active_weight: Weight::default(),
            frozen: None,
            base,
            previous: None,
            receiving,
            epoch: Arc::new(AtomicU64::new(0)),
            ledger,
            counted: Counted::NEVER,
            database: Arc::new(database),
        })
    }

    /// Removes the tables, durably.
    pub fn destroy<D: Disk>(disk: &D) -> io::Result<()> {
        disk.remove(TABLES_NAME)?;
        disk.sync_names()
    }

    /// The work that makes the frozen checkpoint durable. None if nothing is frozen.
    pub fn flush_job(&self) -> Option<FlushJob> {
        let frozen = self.frozen.as_ref()?;
        Some(FlushJob {
            database: self.database.clone(),
            header: frozen.header.clone(),
            rows: frozen.rows.clone(),
            ranges: self.base.ranges.clone(),
            epoch: Epoch { current: self.epoch.clone(), seen: self.epoch.load(Ordering::Acquire) },
            ledger: self.ledger.clone(),
        })
    }

    /// Takes over what the job has done. True if the frozen checkpoint is the durable one now;
    /// false if a sync has begun since, which gave it up.
    pub fn finish_flush(&mut self, flushed: Flushed) -> bool {
        let Some(frozen) = &self.frozen else { return false };
        let Some(snapshot) = flushed.0.filter(|flushed| flushed.checkpoint.header == frozen.header) else {
            return false;
        };
        self.counted.flushed(frozen.flush_bytes(self.file_bytes()));
        self.previous = Some(std::mem::replace(&mut self.base, snapshot));
        self.frozen = None;
        true
    }

    /// The first write to the tables' file that failed. Nothing can be read or written since.
    pub fn failure(&self) -> Option<io::Error> {
        self.ledger.failure()
    }

    /// Rows in memory, for metrics and for admission.
    pub fn rows_in_memory(&self) -> usize {
        self.active.len() + self.frozen.as_ref().map_or(0, |frozen| frozen.rows.len())
    }

    fn write(&mut self, key: &[u8], value: Option<Bytes>) {
        self.active_weight.add(key, value.as_deref());
        if let Some(before) = self.active.insert(key.into(), value) {
            self.active_weight.remove(key, before.as_deref());
        }
    }

    fn snapshot_at(&self, op: Op) -> Option<&Snapshot> {
        if self.receiving.is_some() {
            return None;
        }
        [Some(&self.base), self.previous.as_ref()].into_iter().flatten().find(|it| it.checkpoint.op() == op)
    }
}

impl Tables for DiskTables {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TableFault> {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.rows.get(key));
        match self.active.get(key).or_else(frozen) {
            Some(changed) => Ok(changed.clone()),
            None => self.base.get(key).map_err(|fault| self.ledger.judge(fault)),
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.write(key, Some(Bytes::copy_from_slice(value)));
    }

    fn delete(&mut self, key: &[u8]) {
        self.write(key, None);
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), TableFault> {
        let frozen = self.frozen.as_ref().map(|frozen| frozen.rows.as_ref());
        let scanned = overlay::scan(&self.active, frozen, &self.base.rows, (from, to), visit);
        scanned.map_err(|fault| self.ledger.judge(fault))
    }
}

impl ReplicaTables for DiskTables {
    fn durable(&self) -> &Checkpoint {
        &self.base.checkpoint
    }

    fn freeze(&mut self, header: &EntryHeader) {
        assert!(self.frozen.is_none());
        assert!(self.receiving.is_none());
        assert!(header.op > self.base.checkpoint.op());
        let rows = Arc::new(std::mem::take(&mut self.active));
        let weight = std::mem::take(&mut self.active_weight);
        let file_bytes = self.file_bytes();
        self.frozen = Some(Frozen { header: header.clone(), rows, weight, file_bytes });
    }

    fn frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// None while a sync is under way: the table is no checkpoint then.
    fn snapshots(&self) -> Vec<Checkpoint> {
        if self.receiving.is_some() {
            return Vec::new();
        }
        let kept = self.previous.iter().chain([&self.base]);
        kept.map(|snapshot| snapshot.checkpoint.clone()).collect()
    }

    fn manifest(
        &self,
        checkpoint: Op,
        after: Option<&[u8]>,
        range_count_max: usize,
    ) -> Result<Option<ManifestPage>, TableFault> {
        Ok(self.snapshot_at(checkpoint).map(|snapshot| snapshot.ranges.page(after, range_count_max)))
    }

    fn rows(
        &self,
        checkpoint: Op,
        start: &[u8],
        end: Option<&[u8]>,
        after: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Option<RowPage>, TableFault> {
        let snapshot = self.snapshot_at(checkpoint);
        let page = snapshot.map(|snapshot| snapshot.page(start, end, after, bytes_max)).transpose();
        page.map_err(|fault| self.ledger.judge(fault))
    }

    fn begin_sync(&mut self, target: &Checkpoint) -> Result<(), TableFault> {
        self.receive_begin(target).map_err(|fault| self.ledger.judge(fault))
    }

    fn syncing(&self) -> Option<&Checkpoint> {
        self.receiving.as_ref().map(|receiving| &receiving.target)
    }

    fn holds(&self, range: &RangeSummary, end: Option<&[u8]>) -> bool {
        self.receive_holds(range, end)
    }

    fn install(&mut self, start: &[u8], end: Option<&[u8]>, rows: &[Row]) -> Result<(), TableFault> {
        self.receive_install(start, end, rows).map_err(|fault| self.ledger.judge(fault))
    }

    fn finish_sync(&mut self) -> Result<bool, TableFault> {
        self.receive_finish().map_err(|fault| self.ledger.judge(fault))
    }
}

fn fault(error: impl Display) -> TableFault {
    TableFault::damage(error.to_string())
}

/// A new, empty file in place of nothing, or of one whose creation was interrupted.
fn create_file<D: Disk>(disk: &D) -> io::Result<VerifiedFile<D::File>> {
    disk.remove(TABLES_NAME)?;
    let file = disk.create(TABLES_NAME)?;
    file.sync()?;
    disk.sync_names()?;
    VerifiedFile::open(file)
}

struct Loaded {
    checkpoint: Checkpoint,
    syncing: Option<Checkpoint>,
    ranges: Ranges,
}

/// None if `initialize` has never completed.
fn load(database: &Database) -> Result<Option<Loaded>, redb::Error> {
    let transaction = database.begin_read()?;
    let meta = match transaction.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        other => other?,
    };
    let read = |key: &str| -> Result<Option<Checkpoint>, redb::Error> {
        meta.get(key)?.map(|value| decode_checkpoint(value.value())).transpose()
    };
    let Some(checkpoint) = read(CHECKPOINT)? else { return Ok(None) };
    let ranges = load_ranges(&transaction.open_table(RANGES)?)?;
    Ok(Some(Loaded { checkpoint, syncing: read(SYNCING)?, ranges }))
}

fn load_ranges(records: &impl ReadableTable<&'static [u8], &'static [u8]>) -> Result<Ranges, redb::Error> {
    let mut by_start = BTreeMap::new();
    for record in records.iter()? {
        let (start, range) = record?;
        let range = Range::from_bytes(range.value()).ok_or_else(|| corrupted("a range"))?;
        by_start.insert(start.value().into(), range);
    }
    Ok(Ranges::new(by_start))
}

fn initialize(database: &Database, genesis: &Checkpoint) -> Result<(), redb::Error> {
    assert_eq!(genesis.root, RowSum::ZERO);
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    create_tables(&transaction, genesis)?;
    Ok(transaction.commit()?)
}

fn create_tables(transaction: &WriteTransaction, genesis: &Checkpoint) -> Result<(), redb::Error> {
    transaction.open_table(ROWS)?;
    transaction.open_table(RANGES)?;
    transaction.open_table(META)?.insert(CHECKPOINT, encode_checkpoint(genesis).as_slice())?;
    Ok(())
}

fn encode_checkpoint(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut out = Encoder::with_capacity(ENTRY_HEADER_SIZE + 32);
    checkpoint.header.encode(&mut out);
    out.raw(&checkpoint.root.to_bytes());
    out.finish()
}

fn decode_checkpoint(bytes: &[u8]) -> Result<Checkpoint, redb::Error> {
    let (header, root) = bytes.split_last_chunk::<32>().ok_or_else(|| corrupted("a checkpoint"))?;
    let mut input = Decoder::copying(header);
    let header = EntryHeader::decode(&mut input).and_then(|header| input.finish().map(|()| header));
    let header = header.map_err(|_| corrupted("a checkpoint"))?;
    Ok(Checkpoint { header, root: RowSum::from_bytes(root) })
}

fn corrupted(what: &str) -> redb::Error {
    StorageError::Corrupted(format!("{what} does not decode")).into()
}
