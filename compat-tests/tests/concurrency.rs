//! Many clients, several gateways, few keys, and replicas that die: every answer must be one that a
//! single copy of each object could have given.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::SdkError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use compat_tests::checksums::etag;
use compat_tests::cluster::Cluster;
use compat_tests::history::{Event, Operation, Swap, Value, check};
use tokio::task::JoinSet;

const BUCKET: &str = "shared";
const KEYS: [&str; 4] = ["a", "a/", "b", "c"];
const CLIENTS: usize = 8;
/// Every so many values, one is too large to travel with its record.
const LARGE_EVERY: Value = 5;
const LARGE_BYTES: usize = 40_000;

/// Each value has bytes of its own, so an ETag or a body tells which it is.
fn body(value: Value) -> Vec<u8> {
    let mut body = format!("value {value}\n").into_bytes();
    if value.is_multiple_of(LARGE_EVERY) {
        body.resize(LARGE_BYTES, b'.');
    }
    body
}

fn value_of(bytes: &[u8]) -> Value {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap();
    let value = std::str::from_utf8(line).unwrap().strip_prefix("value ").unwrap().parse().unwrap();
    assert!(bytes == body(value), "the bytes of value {value} are not what was put");
    value
}

/// What the clients share: what they saw, and which bytes an ETag stands for.
#[derive(Default)]
struct Record {
    events: Mutex<BTreeMap<&'static str, Vec<Event>>>,
    values: Mutex<BTreeMap<String, Value>>,
    next: AtomicU64,
    unanswered: AtomicU64,
}

impl Record {
    fn fresh(&self) -> Value {
        let value = self.next.fetch_add(1, Ordering::Relaxed);
        self.values.lock().unwrap().insert(etag(&body(value)), value);
        value
    }

    fn value_of_etag(&self, etag: &str) -> Value {
        *self.values.lock().unwrap().get(etag).unwrap_or_else(|| panic!("nobody wrote {etag}"))
    }

    fn add(&self, key: &'static str, event: Event) {
        self.events.lock().unwrap().entry(key).or_default().push(event);
    }
}

/// What became of a request.
enum Outcome<T> {
    Done(T),
    /// It was refused, with this status. Nothing was changed.
    Refused(u16),
    /// No answer, or one that leaves it open.
    Unknown,
}

fn outcome<T, E>(result: Result<T, SdkError<E, HttpResponse>>) -> Outcome<T> {
    match result {
        Ok(output) => Outcome::Done(output),
        Err(error) => match error.raw_response().map(|answer| answer.status().as_u16()) {
            Some(status @ (404 | 412 | 503)) => Outcome::Refused(status),
            Some(500) | None => Outcome::Unknown,
            Some(status) => panic!("answered with {status}"),
        },
    }
}

/// Small and quick: the same choices for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

struct Worker {
    gateways: Vec<Client>,
    random: Random,
    record: Arc<Record>,
    /// What this client last saw of each key: what it tries to replace.
    seen: BTreeMap<&'static str, Value>,
}

impl Worker {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let gateway = usize::try_from(self.random.below(self.gateways.len() as u64)).unwrap();
            let client = self.gateways[gateway].clone();
            let key = KEYS[usize::try_from(self.random.below(KEYS.len() as u64)).unwrap()];
            let called = Instant::now();
            let answered = match self.random.below(10) {
                0..3 => self.read(&client, key, called).await,
                3 => self.list(&client, called).await,
                4..6 => self.put(&client, key, called).await,
                6 => self.create(&client, key, called).await,
                7..9 => self.swap(&client, key, called).await,
                _ => self.delete(&client, key, called).await,
            };
            if !answered {
                self.record.unanswered.fetch_add(1, Ordering::Relaxed);
                // Whoever is down needs a moment.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn add(&self, key: &'static str, called: Instant, returned: Option<Instant>, operation: Operation) {
        self.record.add(key, Event { operation, called, returned });
    }

    /// A write, or what it was refused with.
    fn write<T>(
        &mut self,
        key: &'static str,
        called: Instant,
        outcome: &Outcome<T>,
        done: Operation,
        refused: impl Fn(u16) -> Operation,
    ) -> bool {
        let now = Instant::now();
        match outcome {
            Outcome::Done(_) => self.add(key, called, Some(now), done),
            // It says that nothing was changed: so nothing is to be explained, but if it lies, something is.
            Outcome::Refused(503) => return false,
            Outcome::Refused(status) => self.add(key, called, Some(now), refused(*status)),
            Outcome::Unknown => {
                self.add(key, called, None, done);
                return false;
            }
        }
        true
    }

    async fn put(&mut self, client: &Client, key: &'static str, called: Instant) -> bool {
        let value = self.record.fresh();
        let put = client.put_object().bucket(BUCKET).key(key).body(body(value).into()).send().await;
        let outcome = outcome(put);
        self.write(key, called, &outcome, Operation::Put(value), |status| {
            panic!("a put was refused: {status}")
        })
    }

    async fn create(&mut self, client: &Client, key: &'static str, called: Instant) -> bool {
        let value = self.record.fresh();
        let put = client.put_object().bucket(BUCKET).key(key).body(body(value).into()).if_none_match("*");
        let outcome = outcome(put.send().await);
        self.write(key, called, &outcome, Operation::Create(value, true), |status| {
            assert_eq!(status, 412);
            Operation::Create(value, false)
        })
    }

    async fn swap(&mut self, client: &Client, key: &'static str, called: Instant) -> bool {
        let Some(&expected) = self.seen.get(key) else { return true };
        let value = self.record.fresh();
        let put = client.put_object().bucket(BUCKET).key(key).body(body(value).into());
        let outcome = outcome(put.if_match(etag(&body(expected))).send().await);
        if matches!(outcome, Outcome::Done(_)) {
            self.seen.insert(key, value);
        }
        let swap = |outcome| Operation::Swap { expected, value, outcome };
        self.write(key, called, &outcome, swap(Swap::Done), |status| match status {
            404 => swap(Swap::Missing),
            _ => swap(Swap::Other),
        })
    }

    async fn delete(&mut self, client: &Client, key: &'static str, called: Instant) -> bool {
        let outcome = outcome(client.delete_object().bucket(BUCKET).key(key).send().await);
        self.write(key, called, &outcome, Operation::Delete, |status| {
            panic!("a delete was refused: {status}")
        })
    }

    async fn read(&mut self, client: &Client, key: &'static str, called: Instant) -> bool {
        let seen = match outcome(client.get_object().bucket(BUCKET).key(key).send().await) {
            Outcome::Done(got) => match got.body.collect().await {
                Ok(bytes) => Some(value_of(&bytes.to_vec())),
                // The answer broke off: it must not end like a whole one, and did not.
                Err(_) => return false,
            },
            Outcome::Refused(404) => None,
            Outcome::Refused(503) | Outcome::Unknown => return false,
            Outcome::Refused(status) => panic!("a read was refused: {status}"),
        };
        match seen {
            Some(value) => self.seen.insert(key, value),
            None => self.seen.remove(key),
        };
        self.add(key, called, Some(Instant::now()), Operation::Read(seen));
        true
    }

    /// One read of all keys.
    async fn list(&mut self, client: &Client, called: Instant) -> bool {
        let listed = match outcome(client.list_objects_v2().bucket(BUCKET).send().await) {
            Outcome::Done(listed) => listed,
            Outcome::Refused(503) | Outcome::Unknown => return false,
            Outcome::Refused(status) => panic!("a list was refused: {status}"),
        };
        let now = Instant::now();
        for key in KEYS {
            let entry = listed.contents().iter().find(|object| object.key() == Some(key));
            let seen = entry.map(|object| self.record.value_of_etag(object.e_tag().unwrap()));
            self.add(key, called, Some(now), Operation::Read(seen));
        }
        true
    }
}

fn clients(cluster: &Cluster, gateways: usize) -> Vec<Client> {
    // One request is one try: what the SDK would repeat by itself could happen twice.
    let timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_secs(10)).build();
    let config = |gateway| {
        cluster.config(gateway).retry_config(RetryConfig::disabled()).timeout_config(timeouts.clone())
    };
    (0..gateways).map(|gateway| Client::from_conf(config(gateway).build())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_each_object_is_as_if_there_were_one_copy_of_it() {
    let mut cluster = Cluster::start("concurrency", 3, 2);
    let gateways = clients(&cluster, 2);
    gateways[0].create_bucket().bucket(BUCKET).send().await.unwrap();

    let (record, stop) = (Arc::new(Record::default()), Arc::new(AtomicBool::new(false)));
    let mut workers = JoinSet::new();
    for seed in 1..=CLIENTS {
        let worker = Worker {
            // Each has connections of its own.
            gateways: clients(&cluster, 2),
            random: Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed as u64)),
            record: Arc::clone(&record),
            seen: BTreeMap::new(),
        };
        workers.spawn(worker.run(Arc::clone(&stop)));
    }

    // The primary, a backup and a gateway die under the load, and come back.
    let mut cluster = tokio::task::spawn_blocking(move || {
        let pause = || std::thread::sleep(Duration::from_millis(1200));
        pause();
        for is_primary in [true, false, true] {
            let primary = cluster.primary();
            let victim = if is_primary { primary } else { (primary + 1) % 3 };
            cluster.kill_replica(victim);
            pause();
            cluster.start_replica(victim);
            cluster.wait_until_ready();
            pause();
        }
        cluster.kill_gateway(1);
        pause();
        cluster.start_gateway(1);
        cluster.wait_until_ready();
        pause();
        cluster
    })
    .await
    .unwrap();
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }

    let events = std::mem::take(&mut *record.events.lock().unwrap());
    let total: usize = events.values().map(Vec::len).sum();
    let unanswered = record.unanswered.load(Ordering::Relaxed);
    println!("{total} answers about {} keys, {unanswered} requests without one", events.len());
    for (key, events) in &events {
        if let Err(why) = check(events) {
            panic!("{key:?}: {why}\n{}", cluster.logs());
        }
    }
    assert!(total > 200, "{total} answers are too few to say anything");
    cluster.kill_gateway(0);
}
