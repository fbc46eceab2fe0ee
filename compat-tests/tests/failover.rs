//! The SDK as programs use it, with its own retries, while processes die: it may be told that something
//! failed, and is never told what is not so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use compat_tests::cluster::Cluster;
use tokio::task::{JoinHandle, JoinSet};

const BUCKET: &str = "load";
const WORKERS: usize = 6;

/// Bytes that tell which they are.
fn body(worker: usize, number: usize) -> Vec<u8> {
    let size = [100, 20_000, 300_000][number % 3];
    let mut body = format!("{worker}/{number}/").into_bytes().repeat(size / 5);
    body.truncate(size);
    body
}

/// What a key of one worker holds. Nobody else writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Number(usize),
    Absent,
    /// A write of it was not answered well: it is left alone, for it may happen late.
    Unknown,
}

struct Worker {
    id: usize,
    gateways: Vec<Client>,
    keys: BTreeMap<String, State>,
    number: usize,
    done: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

impl Worker {
    fn new(
        id: usize,
        cluster: &Cluster,
        gateways: usize,
        counts: &(Arc<AtomicUsize>, Arc<AtomicUsize>),
    ) -> Worker {
        let client = |gateway| Client::from_conf(cluster.config(gateway).build());
        Worker {
            id,
            gateways: (0..gateways).map(client).collect(),
            keys: BTreeMap::new(),
            number: 0,
            done: Arc::clone(&counts.0),
            failed: Arc::clone(&counts.1),
        }
    }

    /// The one that answered last stands first.
    fn client(&self) -> Client {
        self.gateways[0].clone()
    }

    async fn run(mut self, stop: Arc<AtomicBool>) -> Worker {
        while !stop.load(Ordering::Relaxed) {
            let answered = match self.number % 7 {
                0 | 1 | 2 => self.put().await,
                3 => self.read().await,
                4 => self.delete().await,
                5 => self.list().await,
                _ => self.multipart().await,
            };
            self.number += 1;
            if answered {
                self.done.fetch_add(1, Ordering::Relaxed);
            } else {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.gateways.rotate_left(1);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        self
    }

    fn key(&self) -> String {
        format!("worker-{}/key-{:03}", self.id, self.number * 5 % 23)
    }

    /// Notes what a write has left behind.
    fn wrote(&mut self, key: String, answered: bool, state: State) -> bool {
        self.keys.insert(key, if answered { state } else { State::Unknown });
        answered
    }

    async fn put(&mut self) -> bool {
        let key = self.key();
        if self.keys.get(&key) == Some(&State::Unknown) {
            return true;
        }
        let put = self.client().put_object().bucket(BUCKET).key(&key).body(body(self.id, self.number).into());
        let answered = put.send().await.is_ok();
        self.wrote(key, answered, State::Number(self.number))
    }

    async fn multipart(&mut self) -> bool {
        let key = self.key();
        if self.keys.get(&key) == Some(&State::Unknown) {
            return true;
        }
        let answered = self.upload(&key).await.is_some();
        self.wrote(key, answered, State::Number(self.number))
    }

    /// None: some step of it was not answered.
    async fn upload(&self, key: &str) -> Option<()> {
        let client = self.client();
        let begun = client.create_multipart_upload().bucket(BUCKET).key(key).send().await.ok()?;
        let id = begun.upload_id().unwrap();
        let part = client.upload_part().bucket(BUCKET).key(key).upload_id(id).part_number(1);
        let put = part.body(body(self.id, self.number).into()).send().await.ok()?;
        let part = CompletedPart::builder().part_number(1).e_tag(put.e_tag().unwrap()).build();
        let parts = CompletedMultipartUpload::builder().parts(part).build();
        let complete = client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(id);
        complete.multipart_upload(parts).send().await.ok().map(drop)
    }

    async fn delete(&mut self) -> bool {
        let key = self.key();
        if self.keys.get(&key) == Some(&State::Unknown) {
            return true;
        }
        let answered = self.client().delete_object().bucket(BUCKET).key(&key).send().await.is_ok();
        self.wrote(key, answered, State::Absent)
    }

    async fn read(&mut self) -> bool {
        let known: Vec<(&String, &State)> =
            self.keys.iter().filter(|(_, state)| **state != State::Unknown).collect();
        let Some((key, state)) = known.get(self.number % known.len().max(1)) else { return true };
        self.compare(&self.client(), key, state).await
    }

    /// False: no answer. A wrong one ends the test.
    async fn compare(&self, client: &Client, key: &str, state: &State) -> bool {
        match client.get_object().bucket(BUCKET).key(key).send().await {
            Ok(got) => {
                let Ok(bytes) = got.body.collect().await else { return false };
                let State::Number(number) = state else { panic!("{key} was deleted and can be read") };
                assert!(bytes.to_vec() == body(self.id, *number), "{key} does not hold {number}");
                true
            }
            Err(error) => match error.as_service_error().is_some_and(|error| error.is_no_such_key()) {
                true => {
                    assert_eq!(*state, State::Absent, "{key} is lost");
                    true
                }
                false => false,
            },
        }
    }

    async fn list(&mut self) -> bool {
        let prefix = format!("worker-{}/", self.id);
        let list = self.client().list_objects_v2().bucket(BUCKET).prefix(&prefix).send().await;
        let Ok(list) = list else { return false };
        let found: Vec<&str> = list.contents().iter().map(|object| object.key().unwrap()).collect();
        for (key, state) in &self.keys {
            match state {
                State::Number(_) => assert!(found.contains(&key.as_str()), "{key} is not listed"),
                State::Absent => assert!(!found.contains(&key.as_str()), "{key} is listed"),
                State::Unknown => {}
            }
        }
        true
    }

    /// All of it, with nothing in the way.
    async fn verify(&self) {
        for (key, state) in self.keys.iter().filter(|(_, state)| **state != State::Unknown) {
            let mut answered = false;
            for gateway in self.gateways.iter().cycle().take(6) {
                answered = answered || self.compare(gateway, key, state).await;
            }
            assert!(answered, "{key} cannot be read");
        }
    }
}

struct Load {
    stop: Arc<AtomicBool>,
    workers: JoinSet<Worker>,
    done: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

impl Load {
    async fn start(cluster: &Cluster, gateways: usize) -> Load {
        let client = Client::from_conf(cluster.config(0).build());
        client.create_bucket().bucket(BUCKET).send().await.unwrap();
        let counts = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = JoinSet::new();
        for id in 0..WORKERS {
            workers.spawn(Worker::new(id, cluster, gateways, &counts).run(Arc::clone(&stop)));
        }
        Load { stop, workers, done: counts.0, failed: counts.1 }
    }

    /// Until so many more requests have been answered well.
    async fn goes_on(&self) {
        let enough = self.done.load(Ordering::Relaxed) + 60;
        for _ in 0..600 {
            if self.done.load(Ordering::Relaxed) >= enough {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("clients get no further: {} failed", self.failed.load(Ordering::Relaxed));
    }

    async fn finish(mut self) -> Vec<Worker> {
        self.stop.store(true, Ordering::Relaxed);
        let mut workers = Vec::new();
        while let Some(worker) = self.workers.join_next().await {
            workers.push(worker.unwrap());
        }
        let (done, failed) = (self.done.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        println!("{done} answered well, {failed} not");
        workers
    }
}

async fn verify(workers: &[Worker]) {
    for worker in workers {
        worker.verify().await;
    }
}

/// Processes are waited for with blocking calls, beside the clients.
fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(work)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_go_on_when_the_primary_dies() {
    let mut cluster = Cluster::start("primary", 3, 1);
    let load = Load::start(&cluster, 1).await;
    load.goes_on().await;
    let (mut cluster, dead) = beside(move || {
        let primary = cluster.primary();
        cluster.kill_replica(primary);
        (cluster, primary)
    })
    .await
    .unwrap();
    load.goes_on().await;
    cluster.start_replica(dead);
    let cluster = beside(move || {
        cluster.wait_until_ready();
        cluster
    })
    .await
    .unwrap();
    load.goes_on().await;
    verify(&load.finish().await).await;
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_go_on_by_another_gateway_when_theirs_dies() {
    let mut cluster = Cluster::start("gateway", 3, 2);
    let load = Load::start(&cluster, 2).await;
    load.goes_on().await;
    cluster.kill_gateway(0);
    load.goes_on().await;
    let cluster = beside(move || {
        cluster.start_gateway(0);
        cluster.wait_until_ready();
        cluster.kill_gateway(1);
        cluster
    })
    .await
    .unwrap();
    load.goes_on().await;
    verify(&load.finish().await).await;
    drop(cluster);
}

/// After it has got everything back, what it holds is needed: another one is taken away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_go_on_when_a_disk_is_lost_and_the_new_one_serves_in_its_place() {
    let mut cluster = Cluster::start("disk", 3, 1);
    let load = Load::start(&cluster, 1).await;
    load.goes_on().await;
    let (cluster, lost) = beside(move || {
        let lost = (cluster.primary() + 1) % 3;
        cluster.kill_replica(lost);
        cluster.replace_disk(lost);
        cluster.start_replica(lost);
        cluster.wait_until_ready();
        (cluster, lost)
    })
    .await
    .unwrap();
    load.goes_on().await;
    let workers = load.finish().await;
    let cluster = beside(move || {
        cluster.wait_until_whole();
        let mut cluster = cluster;
        cluster.kill_replica((lost + 1) % 3);
        cluster
    })
    .await
    .unwrap();
    verify(&workers).await;
    drop(cluster);
}
