//! Disks whose bytes somebody has changed: log, superblock and chunk store open, or say why not. Each
//! three bytes of the input replace one byte: which file, where, and by what.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol::entry::{Entry, EntryHeader};
use protocol::superblock::Superblock;
use protocol::types::{Checksum, ClusterId, Epoch, Op, ReplicaId, Timestamp, View};
use replica::storage::disk::{Disk, DiskFile, SimulatedDisk};
use replica::storage::superblock::SuperblockStore;
use replica::storage::wal::{Wal, WalOptions};

const SEGMENT_SIZE: u64 = 64 << 10;

fn entry(parent: &EntryHeader, bytes: usize) -> Entry {
    let body = Bytes::from(vec![7; bytes]);
    let header = EntryHeader {
        view: View::new(1),
        op: parent.op.next(),
        parent: parent.name(),
        timestamp: Timestamp::new(parent.op.get() + 1),
        body_size: u32::try_from(bytes).expect("small"),
        body_checksum: Checksum::of(&body),
        ..parent.clone()
    };
    Entry { name: header.name(), header, body }
}

fn open(disk: &SimulatedDisk, never_used: bool) -> std::io::Result<Wal<SimulatedDisk>> {
    let options = WalOptions { segment_size: SEGMENT_SIZE, never_used };
    Wal::open(disk, ClusterId::new(1), ReplicaId::ZERO, options).map(|(wal, _)| wal)
}

fn filled() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let superblock = Superblock::format(ClusterId::new(1), Epoch::new(1), ReplicaId::ZERO, 3);
    SuperblockStore::format(&disk, &superblock).expect("a sound disk");
    let mut wal = open(&disk, true).expect("a sound disk");
    let mut below = EntryHeader::genesis(ClusterId::new(1), Epoch::new(1));
    for bytes in [10, 700, 5_000, 40_000, 30_000, 1] {
        let next = entry(&below, bytes);
        wal.append(&next).expect("it fits");
        wal.commit_group().expect("a sound disk");
        below = next.header;
    }
    while wal.has_pending() {
        wal.commit_group().expect("a sound disk");
    }
    wal.reclaim(Op::new(1));
    disk
}

fuzz_target!(|bytes: &[u8]| {
    let disk = filled();
    let names = disk.names().expect("a sound disk");
    for change in bytes.chunks_exact(4) {
        let name = &names[usize::from(change[0]) % names.len()];
        let file = disk.open(name).expect("a sound disk").expect("it was listed");
        let length = file.len().expect("a sound disk").max(1);
        let place = u64::from(u16::from_le_bytes([change[1], change[2]])) % length;
        file.write_at(place, &change[3..]).expect("a sound disk");
    }
    let _ = SuperblockStore::open(&disk);
    if let Ok(mut wal) = open(&disk, false) {
        wal.reclaim(Op::new(3));
        let _ = wal.commit_group();
    }
});
