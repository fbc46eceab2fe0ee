//! What it costs to move chunks: both ends in one process, over loopback, CPU of both together.
//!
//! `cargo bench -p viewstone-transport`, with `-- 4096` for four GiB in each direction.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::catalog::BodyId;
use protocol::data::message::DataBody;
use protocol::data::outline::{BLOCK_SIZE, Outline};
use protocol::data::receipt::{Proof, Receipt};
use protocol::types::{ClientId, Incarnation, Peer, ReplicaId, SessionId};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use transport::limits::Limits;
use transport::{ClusterKey, IncomingCall, Settings, Transport};

const CHUNK_SIZE: usize = 4 << 20;
const REPLICA: ReplicaId = ReplicaId::new(0);

fn main() {
    let mebibytes = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1024_usize);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads can be started");
    runtime.block_on(measure(mebibytes * (1 << 20) / CHUNK_SIZE));
}

async fn measure(chunks: usize) {
    let key = ClusterKey::new([1; 32]);
    let settings = |own, listen, replicas| Settings {
        key: key.clone(),
        own,
        listen,
        replicas,
        limits: Limits::default(),
        is_quiet: false,
    };
    let listen = vec!["127.0.0.1:0".parse().expect("an address")];
    let (server, inbox) =
        Transport::start(settings(Peer::Replica(REPLICA), listen, BTreeMap::new())).expect("it starts");
    let place = server.local_addresses().expect("it is bound")[0].to_string();
    let (client, _inbox) = Transport::start(settings(
        Peer::Client(ClientId::new(7)),
        vec![],
        BTreeMap::from([(REPLICA, place)]),
    ))
    .expect("it starts");
    tokio::spawn(answer(inbox.calls));

    // The first calls find out what the path carries.
    let bytes = Bytes::from(vec![7; CHUNK_SIZE]);
    let outline = Outline::of(&bytes);
    let chunk = BodyId { session: SessionId::new(1), upload: 1 }.chunk(0);
    let put = DataBody::PutChunk { chunk, layout: 1, root: outline.root(), bytes };
    let blocks = u32::try_from(CHUNK_SIZE).expect("4 MiB") / BLOCK_SIZE;
    let get = DataBody::GetBlocks { chunk, root: outline.root(), first: 0, count: blocks };
    let small = DataBody::GetBlocks { chunk, root: outline.root(), first: 0, count: 1 };
    run(&client, &put, 1, 64).await;

    for (name, body) in [("put", &put), ("get", &get)] {
        for parallel in [1, 4, 16] {
            let (time, cpu) = run(&client, body, parallel, chunks).await;
            let gibibytes = (chunks * CHUNK_SIZE) as f64 / f64::from(1 << 30);
            println!(
                "{name} 4 MiB, {parallel:>2} at once: {:>5.0} MiB/s, {:.2} CPU s/GiB",
                1024.0 * gibibytes / time.as_secs_f64(),
                cpu.as_secs_f64() / gibibytes
            );
        }
    }
    for parallel in [1, 32] {
        let (time, cpu) = run(&client, &small, parallel, 10_000).await;
        println!(
            "get 64 KiB, {parallel:>2} at once: {:.0}/s, {:.0} µs of CPU each",
            10_000.0 / time.as_secs_f64(),
            cpu.as_secs_f64() * 100.0
        );
    }
    for (peer, counters) in client.counters().peers {
        println!(
            "{peer:?}: mtu {:?}, rtt {:?}, {} datagrams lost",
            counters.mtu, counters.rtt, counters.datagrams_lost
        );
    }
    client.close().await;
}

async fn run(client: &Transport, body: &DataBody, parallel: usize, calls: usize) -> (Duration, Duration) {
    let (started, cpu) = (Instant::now(), cpu_time());
    let mut tasks = JoinSet::new();
    for _ in 0..parallel {
        let (client, body) = (client.clone(), body.clone());
        tasks.spawn(async move {
            for _ in 0..calls / parallel {
                client.call(REPLICA, body.clone()).await.expect("the replica answers");
            }
        });
    }
    tasks.join_all().await;
    (started.elapsed(), cpu_time() - cpu)
}

/// Answers at once: what a disk would do is measured elsewhere.
async fn answer(mut calls: mpsc::Receiver<IncomingCall>) {
    let bytes = Bytes::from(vec![9; CHUNK_SIZE]);
    let outline = Outline::of(&bytes);
    while let Some(call) = calls.recv().await {
        let body = match call.body {
            DataBody::GetBlocks { first, count, .. } => DataBody::Blocks {
                outline: outline.clone(),
                first,
                bytes: bytes.slice(..(count * BLOCK_SIZE) as usize),
            },
            _ => DataBody::Stored {
                receipt: Receipt {
                    chunk: 0,
                    node: REPLICA,
                    incarnation: Incarnation::new(1),
                    proof: Proof([0; 16]),
                },
            },
        };
        call.responder.answer(body);
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).expect("time is positive"),
        u32::try_from(time.tv_nsec).expect("less than a second"),
    )
}
