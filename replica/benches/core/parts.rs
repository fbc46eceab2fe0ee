//! The parts alone.

use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use protocol::codec::Encoder;
use protocol::config::Limits;
use protocol::entry::{Entry, EntryHeader, Request};
use protocol::machine::Machine;
use protocol::message::{Body, Message, SlotState, Vote, VoteSlot};
use protocol::quorums::Quorums;
use protocol::state::State;
use protocol::tables::{ReplicaTables, Tables};
use protocol::types::{Checksum, Incarnation, Op, Peer, RELEASE, ReplicaId, View};
use protocol::vsr::select_log::{Ballot, Selection, select_log};
use replica::storage::disk::SimulatedDisk;
use replica::storage::tables::DiskTables;

use crate::clients::{Clients, Keys, operation_of};
use crate::meter::{CpuTime, cpu_time};
use crate::node::{CLUSTER, EPOCH, catalog, genesis, open_tables, open_wal};

const BATCH: usize = 256;

type Group<'a> = BenchmarkGroup<'a, CpuTime>;

/// Makes entries as a primary would.
struct Chain {
    head: EntryHeader,
}

impl Chain {
    fn new() -> Chain {
        Chain { head: genesis() }
    }

    fn entry(&mut self, requests: &[Request]) -> Entry {
        let mut body = Encoder::new();
        requests.iter().for_each(|request| request.encode(&mut body));
        let body = Bytes::from(body.finish());
        let header = EntryHeader {
            release: RELEASE,
            view: View::new(1),
            op: self.head.op.next(),
            parent: self.head.name(),
            timestamp: self.head.timestamp.plus(u64::from(self.head.request_count).max(1)),
            request_count: u32::try_from(requests.len()).expect("a batch is small"),
            body_size: u32::try_from(body.len()).expect("a batch is small"),
            body_checksum: Checksum::of(&body),
            ..self.head.clone()
        };
        self.head = header.clone();
        Entry::assemble(header, body).expect("header and body belong together")
    }
}

pub(crate) fn all(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("one replica");
    messages(&mut group);
    apply(&mut group);
    write_log(&mut group);
    flush(&mut group);
    selection(&mut group);
    group.finish();
}

fn message(from: Peer, body: Body) -> Message {
    Message {
        cluster: CLUSTER,
        epoch: EPOCH,
        release: RELEASE,
        from,
        view: View::ZERO,
        incarnation: Incarnation::ZERO,
        checkpoint: Op::ZERO,
        floor: Op::ZERO,
        body,
    }
}

fn messages(group: &mut Group<'_>) {
    let requests = Clients::new(Keys::Scattered).puts(BATCH);
    let entry = Chain::new().entry(&requests);
    let prepare = Body::Prepare { entry: entry.clone(), commit: Op::ZERO };
    let prepare = message(Peer::Replica(ReplicaId::new(1)), prepare);
    let prepare_frame = prepare.encode();
    let request = message(Peer::Client(requests[0].client), Body::Request(requests[0].clone()));
    let request_frame = request.encode();

    group.throughput(Throughput::Elements(1));
    group.bench_function("decode a Request", |bench| bench.iter(|| Message::decode(request_frame.clone())));
    let catalog = catalog();
    let (session, operation) = (requests[0].session, operation_of(&requests[0]));
    group.bench_function("validate a put", |bench| bench.iter(|| catalog.validate(session, operation)));

    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("encode a Prepare", |bench| bench.iter(|| prepare.encode()));
    group.bench_function("decode a Prepare", |bench| bench.iter(|| Message::decode(prepare_frame.clone())));
    group.bench_function("decode a batch", |bench| bench.iter(|| entry.requests()));
}

/// A state that applies puts for ever, and is flushed aside now and then.
struct Applier {
    clients: Clients,
    chain: Chain,
    state: State<protocol::catalog::Catalog, DiskTables>,
}

impl Applier {
    fn new() -> Applier {
        let tables = open_tables(&SimulatedDisk::new(1));
        let state = State::new(catalog(), tables, Limits::standard()).expect("the disk has no faults");
        let mut applier = Applier { clients: Clients::new(Keys::Scattered), chain: Chain::new(), state };
        let registrations = applier.clients.registrations();
        applier.apply(&registrations);
        let create = applier.clients.create_bucket();
        applier.apply(&[create]);
        applier
    }

    fn apply(&mut self, requests: &[Request]) -> Duration {
        let entry = self.chain.entry(requests);
        let started = cpu_time();
        let replies = self.state.apply(&entry).expect("the disk has no faults");
        let spent = cpu_time() - started;
        replies.iter().for_each(|reply| self.clients.on_reply(reply));
        if entry.op().get().is_multiple_of(Limits::standard().checkpoint_interval_ops) {
            self.state.freeze();
            flush_frozen(self.state.tables_mut());
        }
        spent
    }
}

fn apply(group: &mut Group<'_>) {
    let mut applier = Applier::new();
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("apply a batch", |bench| {
        bench.iter_custom(|count| {
            let mut apply = || {
                let requests = applier.clients.puts(BATCH);
                applier.apply(&requests)
            };
            (0..count).map(|_| apply()).sum()
        });
    });
}

fn write_log(group: &mut Group<'_>) {
    let requests = Clients::new(Keys::Scattered).puts(BATCH);
    let mut chain = Chain::new();
    let disk = SimulatedDisk::new(1);
    let (mut wal, _) = open_wal(&disk, ReplicaId::new(1));
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("write a group of one batch to the log", |bench| {
        bench.iter_custom(|count| {
            let mut write = || {
                let entry = chain.entry(&requests);
                wal.reclaim(entry.op().minus(512));
                let started = cpu_time();
                wal.append(&entry).expect("the disk has no faults");
                wal.commit_group().expect("the disk has no faults");
                cpu_time() - started
            };
            (0..count).map(|_| write()).sum()
        });
    });
}

fn flush_frozen(tables: &mut DiskTables) -> Duration {
    let started = cpu_time();
    let job = tables.flush_job().expect("they were frozen");
    let flushed = job.run().expect("the disk has no faults");
    assert!(tables.finish_flush(flushed));
    cpu_time() - started
}

/// Rows like those of puts, scattered over tables that grow to a million rows.
fn flush(group: &mut Group<'_>) {
    const ROWS: u64 = 16 << 10;
    const ROWS_MAX: u64 = 1 << 20;
    let mut tables = open_tables(&SimulatedDisk::new(1));
    let mut header = genesis();
    let mut row = 0_u64;
    group.throughput(Throughput::Elements(ROWS));
    group.sample_size(20);
    group.bench_function("flush rows", |bench| {
        bench.iter_custom(|count| {
            let mut flush = || {
                if row == ROWS_MAX {
                    tables = open_tables(&SimulatedDisk::new(1));
                    (header, row) = (genesis(), 0);
                }
                for _ in 0..ROWS {
                    row += 1;
                    let hash = blake3::hash(&row.to_le_bytes());
                    let key = [&[0x20, 0, 0, 0, 0, 0, 0, 0, 1], hash.as_bytes().as_slice()].concat();
                    tables.put(&key, &[7; 200]);
                }
                header.op = header.op.next();
                tables.freeze(&header);
                flush_frozen(&mut tables)
            };
            (0..count).map(|_| flush()).sum()
        });
    });
}

fn selection(group: &mut Group<'_>) {
    let limits = Limits::standard();
    let mut chain = Chain::new();
    let requests = Clients::new(Keys::Ascending).puts(1);
    let headers: Vec<EntryHeader> =
        (0..=limits.pipeline_max).map(|_| chain.entry(&requests).header).collect();
    let ballot = |replica: u8| Ballot {
        replica: ReplicaId::new(replica),
        incarnation: Incarnation::ZERO,
        vote: Vote {
            view: View::new(2),
            log_view: View::new(1),
            commit: headers[0].op,
            checkpoint: Op::ZERO,
            certain: true,
            slots: headers
                .iter()
                .map(|header| VoteSlot { header: header.clone(), state: SlotState::Present })
                .collect(),
            incarnations: headers[0].incarnations,
        },
    };
    let ballots = [ballot(0), ballot(1), ballot(2)];
    let quorums = Quorums::of(3);
    let chosen = select_log(&quorums, limits.pipeline_max, &ballots);
    assert!(matches!(chosen, Selection::Chosen(_)), "{chosen:?}");
    group.throughput(Throughput::Elements(1));
    group.sample_size(50);
    group.bench_function("select a log", |bench| {
        bench.iter(|| select_log(&quorums, limits.pipeline_max, &ballots));
    });
}
