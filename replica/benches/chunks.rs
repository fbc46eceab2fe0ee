//! What the chunk store adds to the disk: bytes per second and CPU seconds per GiB, beside a plain
//! file that gets the same bytes with as many syncs; and how long a start takes.
//!
//! ```sh
//! cargo bench -p viewstone-replica --bench chunks                  # 1 GiB through everything
//! cargo bench -p viewstone-replica --bench chunks -- open 1000000  # a start with a million chunks; needs 9 GB
//! ```
//!
//! Not criterion's kind of work: one pass over a gigabyte says more than many over what is cached.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::catalog::{BodyId, ChunkId};
use protocol::data::outline::{BLOCK_SIZE, ChunkRoot, Outline};
use protocol::types::{ClusterId, ReplicaId, SessionId};
use replica::storage::chunks::{ChunkOptions, ChunkStore, OpenReport, VerifiedChunk};
use replica::storage::disk::{Disk, DiskFile, RealDisk};
use rustix::time::{ClockId, clock_gettime};

const CHUNK_SIZE: usize = 4 << 20;
const BLOCKS: u32 = (4 << 20) / BLOCK_SIZE;
const CHUNKS: u32 = 256;
/// What an open store gathers while it syncs.
const GROUP: u32 = 8;
const GIB: f64 = (1_u64 << 30) as f64;

fn main() {
    // Without `--bench`, which cargo passes, this is a test that everything runs.
    if !std::env::args().any(|argument| argument == "--bench") {
        return time_of_a_start(&Directory::new().0, 100);
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let directory = Directory::new();
    match words.first().map(String::as_str) {
        Some("open") => {
            let count = words.get(1).map_or(100_000, |word| word.parse().expect("how many chunks"));
            time_of_a_start(&directory.0, count);
        }
        _ => one_gigabyte(&directory.0),
    }
}

/// Removed when the run is over.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let path = std::env::temp_dir().join(format!("viewstone-bench-chunks-{}", std::process::id()));
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left in a temporary directory is nobody's loss.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn chunk(number: u32) -> ChunkId {
    BodyId { session: SessionId::new(7), upload: u64::from(number / 64) }.chunk(number % 64)
}

fn open(disk: &RealDisk, segment_size: u64) -> (ChunkStore<RealDisk>, OpenReport) {
    let options = ChunkOptions {
        segment_size,
        reserve_bytes: 1 << 30,
        open_files_max: ChunkOptions::OPEN_FILES_MAX,
        salt: 1,
    };
    ChunkStore::open(disk, ClusterId::new(1), ReplicaId::new(0), options).expect("the chunks open")
}

fn one_gigabyte(directory: &Path) {
    let disk = RealDisk::open(directory).expect("the directory opens");
    let bytes = Bytes::from(blake3_stream(CHUNK_SIZE));
    let root = Outline::of(&bytes).root();

    let file = disk.create("plain").expect("a file");
    let plain = measure(|| {
        for number in 0..CHUNKS {
            file.write_at(u64::from(number) * CHUNK_SIZE as u64, &bytes).expect("a write");
            if (number + 1) % GROUP == 0 {
                file.sync().expect("a sync");
            }
        }
    });
    plain.print("plain file, write and sync");
    disk.remove("plain").expect("it is removed");

    let mut verified = Vec::new();
    let verify = || {
        let all = (0..CHUNKS).map(|number| VerifiedChunk::new(chunk(number), root, bytes.clone()));
        verified.extend(all.flatten());
    };
    measure(verify).print("verify");
    let (mut store, _) = open(&disk, ChunkOptions::SEGMENT_SIZE);
    let append = measure(|| {
        for group in verified.chunks(GROUP as usize) {
            group.iter().for_each(|chunk| store.append(chunk).expect("an append"));
            assert_eq!(store.commit_group().expect("a group").len(), group.len());
        }
    });
    append.print("append and commit");

    let reader = store.reader();
    let read = |count: u32| {
        for number in 0..CHUNKS {
            for first in (0..BLOCKS).step_by(count as usize) {
                reader.read(chunk(number), &root, first, count).expect("a read");
            }
        }
    };
    measure(|| read(BLOCKS)).print("read and verify, 4 MiB at once");
    measure(|| read(16)).print("read and verify, 1 MiB at once");
    measure(|| read(1)).print("read and verify, 64 KiB at once");
    let scrub = || {
        for number in 0..CHUNKS {
            assert_eq!(reader.scrub(chunk(number)).expect("a scrub").root, root);
        }
    };
    measure(scrub).print("scrub, from the medium");
    let names: Vec<ChunkId> = (0..CHUNKS).map(chunk).collect();
    measure(|| store.delete(&names).expect("a deletion")).print("delete all");
}

/// Segments of as many chunks as if they were of 4 MiB, but each chunk is a byte.
fn time_of_a_start(directory: &Path, count: u32) {
    const PER_SEGMENT: u64 = 64;
    let disk = RealDisk::open(directory).expect("the directory opens");
    let (mut store, _) = open(&disk, PER_SEGMENT * (64 << 10));
    let bytes = Bytes::from_static(b"x");
    let root: ChunkRoot = Outline::of(&bytes).root();
    for number in 0..count {
        let verified = VerifiedChunk::new(chunk(number), root, bytes.clone()).expect("it fits");
        store.append(&verified).expect("an append");
        if number % 1024 == 1023 {
            store.commit_group().expect("a group");
        }
    }
    store.commit_group().expect("a group");
    drop(store);
    for round in ["first start", "second start"] {
        let mut opened = None;
        let (wall, cpu) = measured(|| opened = Some(open(&disk, ChunkOptions::SEGMENT_SIZE)));
        let (store, report) = opened.expect("it was opened just now");
        assert!(report.is_complete() && store.reader().chunk_count() == u64::from(count));
        let (wall, cpu) = (wall.as_secs_f64(), cpu.as_secs_f64());
        println!("{round:32} {count} chunks: {wall:.2} s, {cpu:.2} CPU s");
    }
}

struct Pass {
    wall: Duration,
    cpu: Duration,
}

impl Pass {
    fn print(&self, name: &str) {
        let gib = f64::from(CHUNKS) * CHUNK_SIZE as f64 / GIB;
        let (wall, cpu) = (self.wall.as_secs_f64(), self.cpu.as_secs_f64());
        println!("{name:32} {:7.0} MiB/s  {:.3} CPU s/GiB", gib * 1024.0 / wall, cpu / gib);
    }
}

fn measure(work: impl FnOnce()) -> Pass {
    let (wall, cpu) = measured(work);
    Pass { wall, cpu }
}

fn measured(work: impl FnOnce()) -> (Duration, Duration) {
    let (begun, cpu_before) = (Instant::now(), cpu_time());
    work();
    (begun.elapsed(), cpu_time() - cpu_before)
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let nanos = u32::try_from(time.tv_nsec).expect("below a second");
    Duration::new(u64::try_from(time.tv_sec).expect("never negative"), nanos)
}

/// Bytes that no disk can compress.
fn blake3_stream(size: usize) -> Vec<u8> {
    let mut out = vec![0; size];
    blake3::Hasher::new().update(b"chunks").finalize_xof().fill(&mut out);
    out
}
