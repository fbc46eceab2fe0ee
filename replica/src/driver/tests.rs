//! Whole replicas on real directories, joined by function calls instead of a network.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::catalog::{BucketRef, Catalog, CatalogLimits, Conditions, ETag, NewBody, Operation, Query};
use protocol::client::{Client, ClientSettings, Output, Ticket};
use protocol::config::{Config, Limits, Timeouts};
use protocol::data::message::Past;
use protocol::data::placement::Layout;
use protocol::data::receipt::ReceiptKey;
use protocol::message::Message;
use protocol::quorums::Quorums;
use protocol::tables::TableFault;
use protocol::types::{ClientId, ClusterId, Epoch, Nonce, Peer, ReplicaId, Timestamp};
use protocol::vsr::{Effect, Halt, StatusName};
use protocol::wire::Wire;

use super::*;
use crate::storage::disk::RealDisk;

fn catalog() -> Catalog {
    let layout = Layout::first(Quorums::of(3));
    Catalog::new(CatalogLimits::standard(), layout, ReceiptKey::new([1; 32]))
}

/// Only what hangs takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who can be reached: replicas by their inbox, the client by its channel.
#[derive(Default)]
struct Switch {
    replicas: Mutex<BTreeMap<ReplicaId, DriverHandle>>,
    clients: Mutex<BTreeMap<ClientId, mpsc::Sender<Message>>>,
}

impl Switch {
    fn send(&self, to: Peer, message: Message) {
        match to {
            Peer::Replica(id) => {
                if let Some(handle) = self.replicas.lock().unwrap().get(&id) {
                    handle.deliver(message, 1_000);
                }
            }
            Peer::Client(id) => {
                if let Some(client) = self.clients.lock().unwrap().get(&id) {
                    let _ = client.send(message);
                }
            }
        }
    }
}

struct Cluster {
    directory: PathBuf,
    count: u8,
    switch: Arc<Switch>,
    running: BTreeMap<ReplicaId, Driver>,
}

impl Cluster {
    fn of(count: u8, name: &str) -> Cluster {
        let directory = std::env::temp_dir().join(format!("viewstone-driver-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let mut cluster = Cluster { directory, count, switch: Arc::default(), running: BTreeMap::new() };
        for id in 0..count {
            let config = cluster.config(ReplicaId::new(id));
            format(&cluster.disk(ReplicaId::new(id)), &config).unwrap();
            cluster.start(ReplicaId::new(id));
        }
        cluster
    }

    fn config(&self, replica: ReplicaId) -> Config {
        Config {
            cluster: ClusterId::new(7),
            epoch: Epoch::ZERO,
            replica,
            quorums: Quorums::of(usize::from(self.count)),
            limits: Limits { checkpoint_interval_ops: 16, wal_ops_max: 64, ..Limits::standard() },
            timeouts: Timeouts::standard(),
        }
    }

    fn path(&self, replica: ReplicaId) -> PathBuf {
        self.directory.join(replica.get().to_string())
    }

    fn disk(&self, replica: ReplicaId) -> RealDisk {
        RealDisk::open(&self.path(replica)).unwrap()
    }

    fn start(&mut self, replica: ReplicaId) {
        let options = OpenOptions { segment_size: 2 << 20, ..OpenOptions::standard() };
        let catalog = catalog();
        let seed = u64::from(replica.get());
        let open = open(&self.disk(replica), &self.config(replica), catalog, options, seed).unwrap();
        let switch = self.switch.clone();
        let post = move |messages: &mut Vec<(Peer, Message)>| {
            messages.drain(..).for_each(|(to, message)| switch.send(to, message));
        };
        let driver = Driver::start(open, Box::new(post)).unwrap();
        self.switch.replicas.lock().unwrap().insert(replica, driver.handle());
        self.running.insert(replica, driver);
    }

    fn stop(&mut self, replica: ReplicaId) -> Ended {
        let driver = self.running.remove(&replica).unwrap();
        self.switch.replicas.lock().unwrap().remove(&replica);
        driver.handle().stop();
        driver.join()
    }

    fn primary(&self) -> ReplicaId {
        self.wait_for("a primary", |all| all.iter().find(|core| core.is_primary).map(|core| core.replica))
    }

    fn wait_for<T>(&self, what: &str, mut seen: impl FnMut(&[CoreVitals]) -> Option<T>) -> T {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let all: Vec<CoreVitals> =
                self.running.values().filter_map(|driver| driver.handle().vitals().core()).collect();
            if let Some(found) = seen(&all) {
                return found;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("waited in vain for {what}");
    }

    /// Everybody takes part, and has applied whatever anybody knows to be committed.
    fn waits_until_all_agree(&self) {
        self.wait_for("agreement", |all| {
            let commit = all.iter().map(|core| core.commit).max()?;
            let agreed = |core: &CoreVitals| core.status == StatusName::Normal && core.applied == commit;
            (all.len() == self.running.len() && all.iter().all(agreed)).then_some(())
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for id in self.running.keys().copied().collect::<Vec<_>>() {
            self.stop(id);
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

struct TestClient {
    machine: Client,
    inbox: mpsc::Receiver<Message>,
    switch: Arc<Switch>,
    done: BTreeMap<Ticket, Bytes>,
}

impl TestClient {
    fn of(cluster: &Cluster) -> TestClient {
        let id = ClientId::new(99);
        let (sender, inbox) = mpsc::channel();
        cluster.switch.clients.lock().unwrap().insert(id, sender);
        let settings = ClientSettings::standard();
        let machine =
            Client::new(id, ClusterId::new(7), Epoch::ZERO, cluster.count, settings, 1, clock::now());
        TestClient { machine, inbox, switch: cluster.switch.clone(), done: BTreeMap::new() }
    }

    fn step(&mut self) {
        while let Some(output) = self.machine.next_output() {
            match output {
                Output::Send { to, message } => self.switch.send(Peer::Replica(to), message),
                Output::Completed { ticket, reply, .. } => drop(self.done.insert(ticket, reply)),
                Output::Failed { reason, .. } => panic!("a request failed: {reason:?}"),
                Output::SessionBegan { .. } | Output::Closed => {}
            }
        }
        if let Ok(message) = self.inbox.recv_timeout(Duration::from_millis(2)) {
            self.machine.on_message(clock::now(), message);
        }
        self.machine.on_tick(clock::now());
    }

    fn wait(&mut self, ticket: Ticket) -> Bytes {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(reply) = self.done.remove(&ticket) {
                return reply;
            }
            self.step();
        }
        panic!("waited in vain for an answer");
    }

    fn submit(&mut self, operation: &Operation) -> protocol::catalog::Reply {
        let deadline = Timestamp::new(u64::MAX);
        let ticket = self.machine.submit(clock::now(), operation.to_bytes(), deadline).unwrap();
        protocol::catalog::Reply::from_bytes(&self.wait(ticket)).unwrap()
    }

    fn create_bucket(&mut self) {
        let name = Bytes::from_static(b"bucket");
        let owner = Bytes::from_static(b"me");
        self.submit(&Operation::CreateBucket { name, owner, tags: vec![] }).unwrap();
    }

    fn put(&mut self, key: &str) {
        let operation = Operation::PutObject {
            bucket: BucketRef::named("bucket"),
            key: Bytes::copy_from_slice(key.as_bytes()),
            conditions: Conditions::none(),
            etag: ETag::simple([3; 16]),
            headers: vec![],
            checksums: vec![],
            tags: vec![],
            body: NewBody::inline(key.to_owned()),
        };
        self.submit(&operation).unwrap();
    }

    fn holds(&mut self, key: &str) -> bool {
        let bucket = BucketRef::named("bucket");
        let key = Bytes::copy_from_slice(key.as_bytes());
        let query = Query::GetObject { bucket, key, pieces: None };
        let ticket = self.machine.query(clock::now(), query.to_bytes()).unwrap();
        protocol::catalog::QueryReply::from_bytes(&self.wait(ticket)).unwrap().is_ok()
    }
}

#[test]
fn what_was_acknowledged_is_there_after_everybody_was_stopped() {
    let mut cluster = Cluster::of(3, "restart");
    let mut client = TestClient::of(&cluster);
    client.create_bucket();
    for index in 0..60 {
        client.put(&format!("key-{index}"));
    }
    for id in 0..3 {
        assert_eq!(cluster.stop(ReplicaId::new(id)), Ended::Stopped);
    }
    for id in 0..3 {
        cluster.start(ReplicaId::new(id));
    }
    assert!((0..60).all(|index| client.holds(&format!("key-{index}"))));
    assert!(!client.holds("key-60"));
    cluster.waits_until_all_agree();
}

#[test]
fn a_stopped_primary_is_replaced_and_catches_up_when_it_returns() {
    let mut cluster = Cluster::of(3, "failover");
    let mut client = TestClient::of(&cluster);
    client.create_bucket();
    let old = cluster.primary();
    cluster.stop(old);
    for index in 0..40 {
        client.put(&format!("key-{index}"));
    }
    assert_ne!(cluster.primary(), old);
    cluster.start(old);
    cluster.waits_until_all_agree();
}

/// On a machine that has no time for a primary for half a second somebody suspects it, whatever it
/// meant to do: so it may try a few times.
#[test]
fn a_primary_that_resigns_is_followed_before_anybody_suspects_it() {
    use protocol::vsr::Event::{AbdicatedUnheard, SuspectedSilentPrimary};
    let cluster = Cluster::of(3, "resign");
    let mut client = TestClient::of(&cluster);
    client.create_bucket();
    let suspicions = || {
        let of = |core: &CoreVitals| {
            let counts = [SuspectedSilentPrimary, AbdicatedUnheard].map(|event| core.events.get(&event));
            counts.into_iter().flatten().sum::<u64>()
        };
        cluster.wait_for("events", |all| Some(all.iter().map(of).sum::<u64>()))
    };
    let unsuspected = (0..5).any(|attempt| {
        let (before, old) = (suspicions(), cluster.primary());
        cluster.running[&old].handle().resign();
        let next = cluster.wait_for("the next view", |all| {
            let old_has_left = all.iter().any(|core| core.replica == old && !core.is_primary);
            all.iter().find(|core| core.is_primary && old_has_left).cloned()
        });
        assert_ne!(next.replica, old);
        client.put(&format!("afterwards-{attempt}"));
        suspicions() == before
    });
    assert!(unsuspected, "it is always noticed by its silence");
}

#[test]
fn a_replica_with_a_new_disk_is_readmitted_and_holds_everything() {
    let mut cluster = Cluster::of(3, "replace");
    let mut client = TestClient::of(&cluster);
    client.create_bucket();
    for index in 0..50 {
        client.put(&format!("key-{index}"));
    }
    let lost = ReplicaId::new(2);
    cluster.stop(lost);
    std::fs::remove_dir_all(cluster.path(lost)).unwrap();
    assert!(matches!(
        open(&cluster.disk(lost), &cluster.config(lost), catalog(), OpenOptions::standard(), 1),
        Err(StartError::NotFormatted)
    ));
    format_replacement(&cluster.disk(lost), &cluster.config(lost), Nonce::new(77)).unwrap();
    cluster.start(lost);
    cluster.wait_for("readmission", |all| {
        all.iter()
            .any(|core| core.replica == lost && !core.amnesiac && core.incarnation.get() > 0)
            .then_some(())
    });
    client.put("afterwards");
    cluster.waits_until_all_agree();
}

#[test]
fn a_disk_tells_what_it_has_been_through() {
    let mut cluster = Cluster::of(1, "past");
    let id = ReplicaId::new(0);
    let config = cluster.config(id);
    cluster.primary();
    cluster.stop(id);
    assert_eq!(past(&cluster.disk(id), &config).unwrap(), Past::Started);

    std::fs::remove_dir_all(cluster.path(id)).unwrap();
    assert_eq!(past(&cluster.disk(id), &config).unwrap(), Past::Blank);
    format(&cluster.disk(id), &config).unwrap();
    assert_eq!(past(&cluster.disk(id), &config).unwrap(), Past::Formatted);
    let other = Config { cluster: ClusterId::new(8), ..config.clone() };
    assert!(matches!(past(&cluster.disk(id), &other), Err(StartError::Foreign(_))));

    std::fs::remove_dir_all(cluster.path(id)).unwrap();
    format_replacement(&cluster.disk(id), &config, Nonce::new(77)).unwrap();
    assert_eq!(past(&cluster.disk(id), &config).unwrap(), Past::Started);
}

/// A question of the data plane met damage in a row that no request reads. The replica stayed, and so
/// did the damage.
#[test]
fn a_core_that_is_told_of_damage_remembers_it_and_ends() {
    let mut cluster = Cluster::of(3, "told");
    let id = ReplicaId::new(1);
    cluster.stop(id);
    let options = OpenOptions::standard();
    let OpenReplica { mut core, .. } =
        open(&cluster.disk(id), &cluster.config(id), catalog(), options, 1).unwrap();
    let mut effects = Vec::new();
    core.start(clock::now(), clock::wall(), &mut effects);
    core.tables_cannot_be_read(&TableFault::damage("a block is rotten"), &mut effects);

    let (mut remembered, mut halt) = (false, None);
    for _ in 0..10 {
        for effect in std::mem::take(&mut effects) {
            match effect {
                Effect::WriteSuperblock(superblock) => {
                    remembered = superblock.tables_lost;
                    core.on_superblock_written(&mut effects);
                }
                Effect::Halt(why) => halt = Some(why),
                _ => {}
            }
        }
    }
    assert!(remembered, "the next start has to know");
    assert_eq!(halt, Some(Halt::TablesLost("table unreadable: a block is rotten".to_owned())));
}

#[test]
fn a_directory_is_only_opened_by_the_replica_that_it_belongs_to() {
    let mut cluster = Cluster::of(3, "foreign");
    cluster.stop(ReplicaId::new(1));
    let disk = cluster.disk(ReplicaId::new(1));
    let others = [
        cluster.config(ReplicaId::new(2)),
        Config { cluster: ClusterId::new(8), ..cluster.config(ReplicaId::new(1)) },
        Config { quorums: Quorums::of(5), ..cluster.config(ReplicaId::new(1)) },
    ];
    for config in others {
        assert!(matches!(format(&disk, &config), Err(StartError::Foreign(_))));
    }
    format(&disk, &cluster.config(ReplicaId::new(1))).unwrap();
}
