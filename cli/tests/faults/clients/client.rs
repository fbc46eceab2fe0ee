//! One client, which keeps a record of what it does and sees.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway::cluster::{CHUNK_SIZE, Cluster, ClusterError, ClusterOptions, Link, QuicLink, Record};
use protocol::catalog::{
    BucketRef, Conditions, Delete, Error, NewBody, Operation, PieceStart, Reply, Success,
};
use protocol::client::ClientSettings;
use protocol::data::placement::Layout;
use protocol::quorums::Quorums;
use protocol::types::{ClientId, Epoch, Op, Peer, ReplicaId};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use transport::{ClusterKey, Inbox, Settings, Transport};

use super::Value;
use crate::harness;
use crate::history::{Event, Key, Outcome, Tally, What, judge};

const BUCKET: &[u8] = b"faults";

/// Larger values are stored as chunks.
const INLINE_BYTES_MAX: u64 = 4 << 10;

/// The clients' own threads. Replicas are other processes.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// What the clients of one test have in common.
#[derive(Clone, Default)]
pub(crate) struct Store {
    events: Arc<Mutex<Vec<Event>>>,
    values: Arc<AtomicU64>,
}

impl Store {
    pub(crate) fn new_value(&self, size: u64) -> Value {
        Value { number: self.values.fetch_add(1, Ordering::Relaxed), size }
    }

    fn record(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// Fails the test if no single copy of the data could have given these answers.
    pub(crate) fn judge(&self) -> Tally {
        judge(&self.events()).unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same, where no client may have been told of any fault.
    pub(crate) fn judge_without_errors(&self) -> Tally {
        let tally = self.judge();
        let events = self.events();
        let errors: Vec<&Event> = events.iter().filter(|event| event.error().is_some()).collect();
        assert!(errors.is_empty(), "{} of {} were not answered: {errors:#?}", errors.len(), events.len());
        tally
    }
}

pub(crate) struct Client<L = QuicLink> {
    cluster: Cluster<L>,
    store: Store,
}

impl<L> Clone for Client<L> {
    fn clone(&self) -> Client<L> {
        Client { cluster: self.cluster.clone(), store: self.store.clone() }
    }
}

impl Client {
    /// Must be called in a runtime.
    pub(crate) fn of(cluster: &harness::Cluster, store: &Store) -> Client {
        Client::over(cluster, store, QuicLink::new)
    }
}

impl<L: Link> Client<L> {
    /// A client that reaches the replicas by another way than the usual.
    pub(crate) fn over(
        cluster: &harness::Cluster,
        store: &Store,
        link: impl FnOnce(Transport) -> L,
    ) -> Client<L> {
        let key = ClusterKey::read(&cluster.key()).unwrap();
        let random = ClusterKey::generate().unwrap().cluster().get();
        let client = ClientId::new(random);
        let (transport, inbox) = transport(cluster, &key, client);
        let options = ClusterOptions {
            cluster: key.cluster(),
            epoch: Epoch::ZERO,
            layout: Layout::first(Quorums::of(cluster.peers().split(',').count())),
            client,
            seed: u64::try_from(random >> 64).unwrap(),
            settings: ClientSettings::standard(),
        };
        let cluster = Cluster::start(link(transport), options);
        cluster.receive(inbox);
        Client { cluster, store: store.clone() }
    }

    /// Waits until there is a cluster to make it in.
    pub(crate) async fn create_bucket(&self) {
        let name = Bytes::from_static(BUCKET);
        let create = Operation::CreateBucket { name, owner: Bytes::from_static(b"faults"), tags: vec![] };
        let (_, reply) = self.cluster.submit(&create).await.unwrap();
        assert!(matches!(reply, Ok(_) | Err(Error::BucketAlreadyOwnedByYou)), "{reply:?}");
    }

    /// Stores a new value. Whether that succeeded is also in the record.
    pub(crate) async fn put(&self, key: Key, size: u64) -> Result<Op, ClusterError> {
        let value = self.store.new_value(size);
        let began = Instant::now();
        let outcome = ended("a put", self.try_put(key, value)).await;
        let ended = Instant::now();
        let done = outcome.clone().map(|(op, _)| op);
        let outcome = outcome.map_or_else(Outcome::of_error, Outcome::Done);
        self.store.record(Event { key, began, ended, what: What::Put { value, outcome } });
        done
    }

    async fn try_put(&self, key: Key, value: Value) -> Result<(Op, u64), ClusterError> {
        let bytes = value.bytes();
        let (op, reply) = if value.size <= INLINE_BYTES_MAX {
            self.cluster.submit(&put(key, value, NewBody::inline(bytes))).await?
        } else {
            let mut upload = self.cluster.upload(CHUNK_SIZE, value.number).await?;
            upload.write(bytes).await?;
            upload.commit(move |body| put(key, value, body)).await?
        };
        match reply {
            Ok(Success::ObjectWritten { object }) => Ok((op, object.version)),
            other => panic!("a put that nothing speaks against was answered with {other:?}"),
        }
    }

    pub(crate) async fn delete(&self, key: Key) -> Result<Op, ClusterError> {
        let began = Instant::now();
        let delete = Delete { key: name(key), conditions: Conditions::none() };
        let operation = Operation::DeleteObjects { bucket: bucket(), deletes: vec![delete] };
        let outcome = ended("a delete", self.cluster.submit(&operation)).await;
        let ended = Instant::now();
        let done = outcome.map(|(op, reply)| {
            assert!(nothing_refused(&reply), "{reply:?}");
            op
        });
        let outcome = done.clone().map_or_else(Outcome::of_error, Outcome::Done);
        self.store.record(Event { key, began, ended, what: What::Delete { outcome } });
        done
    }

    /// Reads a value whole and compares every byte.
    pub(crate) async fn get(&self, key: Key) -> Result<(), ClusterError> {
        let began = Instant::now();
        let read = ended("a get", self.try_get(key)).await;
        let ended = Instant::now();
        let done = read.clone().map(drop);
        let what = match read {
            Ok((op, seen)) => What::Read { op, seen },
            Err(error) => What::ReadFailed { error },
        };
        self.store.record(Event { key, began, ended, what });
        done
    }

    async fn try_get(&self, key: Key) -> Result<(Op, Option<(Value, u64)>), ClusterError> {
        match self.open(key).await? {
            Some(record) => {
                let (op, version) = (record.op, record.object.summary.version);
                Ok((op, Some((read_all(record).await?, version))))
            }
            // Absence has a place in the log, too; only a query of its own says which.
            None => self.read_absence(key).await,
        }
    }

    /// What is known of an object, before its bytes are asked for. None if there is none.
    async fn open(&self, key: Key) -> Result<Option<Record<L>>, ClusterError> {
        match self.cluster.open(bucket(), name(key), PieceStart::Offset { offset: 0 }).await? {
            Ok(record) => Ok(Some(record)),
            Err(Error::NoSuchKey) => Ok(None),
            Err(other) => panic!("a get that nothing speaks against was answered with {other:?}"),
        }
    }

    /// Begins to read these objects, then does `between`, and then asks for their bytes, of all at once.
    /// Whatever has not come within `patience` is given up: the number of objects that came.
    pub(crate) async fn get_around(
        &self,
        keys: impl Iterator<Item = Key>,
        between: impl FnOnce(),
        patience: Duration,
    ) -> usize {
        let mut records = Vec::new();
        for key in keys {
            records.push(self.open(key).await.unwrap().expect("it was put"));
        }
        tokio::task::block_in_place(between);
        let mut reads = JoinSet::new();
        for record in records {
            reads.spawn(tokio::time::timeout(patience, read_all(record)));
        }
        let came = reads.join_all().await;
        came.into_iter().filter(|read| matches!(read, Ok(Ok(_)))).count()
    }

    async fn read_absence(&self, key: Key) -> Result<(Op, Option<(Value, u64)>), ClusterError> {
        use protocol::catalog::{Answer, Query};
        let query = Query::GetObject { bucket: bucket(), key: name(key), pieces: None };
        match self.cluster.read(&query).await? {
            (op, Err(Error::NoSuchKey)) => Ok((op, None)),
            (op, Ok(Answer::Object { object, .. })) => {
                Ok((op, Some((Value::of_etag(object.summary.etag), object.summary.version))))
            }
            (_, other) => panic!("a query that nothing speaks against was answered with {other:?}"),
        }
    }

    pub(crate) async fn close(self) {
        ended("closing a client", self.cluster.close()).await;
    }
}

/// Whatever becomes of a request, the caller hears of it: the library's own timeouts together are
/// shorter than this.
const PATIENCE: Duration = Duration::from_secs(80);

async fn ended<T>(what: &str, request: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(PATIENCE, request).await;
    outcome.unwrap_or_else(|_| panic!("{what} has no end"))
}

/// What a client needs to be heard, whichever key it has.
pub(crate) fn transport(
    cluster: &harness::Cluster,
    key: &ClusterKey,
    client: ClientId,
) -> (Transport, Inbox) {
    Transport::start(Settings {
        key: key.clone(),
        own: Peer::Client(client),
        listen: vec![],
        replicas: (0..).map(ReplicaId::new).zip(cluster.peers().split(',').map(str::to_owned)).collect(),
        limits: transport::limits::Limits::default(),
        is_quiet: false,
    })
    .unwrap()
}

/// Every byte, compared with what it must be.
async fn read_all<L: Link>(record: Record<L>) -> Result<Value, ClusterError> {
    let value = Value::of_etag(record.object.summary.etag);
    assert_eq!(record.object.summary.size, value.size, "the size of {value:?}");
    let expected = value.bytes();
    let mut reader = record.read(0..value.size, value.number).await?;
    let mut offset = 0;
    while let Some(bytes) = reader.next().await? {
        let end = offset + bytes.len();
        assert!(expected.get(offset..end) == Some(&bytes[..]), "{value:?} has other bytes at {offset}");
        offset = end;
    }
    assert_eq!(offset, expected.len(), "{value:?} ends too early");
    Ok(value)
}

fn bucket() -> BucketRef {
    BucketRef::named(BUCKET)
}

fn name(key: Key) -> Bytes {
    Bytes::from(format!("key-{key}"))
}

fn put(key: Key, value: Value, body: NewBody) -> Operation {
    Operation::PutObject {
        bucket: bucket(),
        key: name(key),
        conditions: Conditions::none(),
        etag: value.etag(),
        headers: vec![],
        checksums: vec![],
        tags: vec![],
        body,
    }
}

fn nothing_refused(reply: &Reply) -> bool {
    matches!(reply, Ok(Success::ObjectsDeleted { outcomes }) if outcomes.iter().all(Option::is_none))
}
