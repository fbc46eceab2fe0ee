//! Clients that write, read and delete until they are told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway::cluster::{Link, QuicLink};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::{Client, Store};
use crate::harness::Cluster;
use crate::history::Key;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) writers: Key,
    pub(crate) readers: u32,
    /// Each writer has keys of its own; readers read all of them.
    pub(crate) keys_per_writer: Key,
    pub(crate) large_bytes: u64,
    /// Every so many writes: a large one.
    pub(crate) large_every: u64,
    /// Between two operations of one client.
    pub(crate) pause: Duration,
}

impl Plan {
    /// Enough to have something under way at every moment, and little enough for a small machine.
    pub(crate) const STANDARD: Plan = Plan {
        writers: 4,
        readers: 3,
        keys_per_writer: 8,
        large_bytes: 300_000,
        large_every: 5,
        pause: Duration::from_millis(10),
    };

    pub(crate) fn keys(&self) -> std::ops::Range<Key> {
        0..self.writers * self.keys_per_writer
    }
}

/// A load under way. Its clients share one session.
pub(crate) struct Load<L = QuicLink> {
    pub(crate) client: Client<L>,
    plan: Plan,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(runtime: &Runtime, cluster: &Cluster, store: &Store, plan: Plan) -> Load {
        let client = runtime.block_on(async { Client::of(cluster, store) });
        Load::start_with(runtime, client, plan)
    }
}

impl<L: Link> Load<L> {
    pub(crate) fn start_with(runtime: &Runtime, client: Client<L>, plan: Plan) -> Load<L> {
        runtime.block_on(client.create_bucket());
        let stop = Arc::new(AtomicBool::new(false));
        let writers = (0..plan.writers).map(|writer| {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            runtime.spawn(async move { write(&client, plan, writer, &stop).await })
        });
        let readers = (0..plan.readers).map(|reader| {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            runtime.spawn(async move { read(&client, plan, reader, &stop).await })
        });
        let tasks = writers.chain(readers).collect();
        Load { client, plan, stop, tasks }
    }

    /// Lets what has begun end, and then reads everything once more.
    pub(crate) fn finish(self, runtime: &Runtime) {
        self.stop.store(true, Ordering::Relaxed);
        runtime.block_on(async {
            for task in self.tasks {
                // A client that found other bytes than there should be has panicked.
                task.await.unwrap();
            }
            for key in self.plan.keys() {
                self.client.get(key).await.unwrap();
            }
            self.client.close().await;
        });
    }
}

async fn write<L: Link>(client: &Client<L>, plan: Plan, writer: Key, stop: &AtomicBool) {
    let mut turn = u64::from(writer);
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let own = Key::try_from(turn % u64::from(plan.keys_per_writer)).unwrap();
        let key = writer * plan.keys_per_writer + own;
        // What becomes of it is in the record, and judged there.
        let _ = if turn % 7 == 0 {
            client.delete(key).await
        } else if turn % plan.large_every == 0 {
            client.put(key, plan.large_bytes + turn % 1_000).await
        } else {
            client.put(key, 100 + turn % 4_000).await
        };
        tokio::time::sleep(plan.pause).await;
    }
}

async fn read<L: Link>(client: &Client<L>, plan: Plan, reader: u32, stop: &AtomicBool) {
    let mut turn = reader;
    while !stop.load(Ordering::Relaxed) {
        // Steps that share no factor with the number of keys go through all of them.
        turn = turn.wrapping_add(reader * 2 + 1);
        let _ = client.get(turn % plan.keys().end).await;
        tokio::time::sleep(plan.pause).await;
    }
}
