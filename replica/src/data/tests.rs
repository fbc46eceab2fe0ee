//! Data planes on a real directory, under the core of a cluster of one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::catalog::{BucketRef, Catalog, CatalogLimits, Operation, Query, QueryReply};
use protocol::client::ClientSettings;
use protocol::config::{Limits, Timeouts};
use protocol::message::Message;
use protocol::quorums::Quorums;
use protocol::types::{ClientId, ClusterId, Epoch, Timestamp};
use protocol::wire::Wire;

use super::*;
use crate::driver::{Driver, Ended, LocalAnswer, OpenOptions, clock, format, open};
use crate::storage::disk::RealDisk;

const PATIENCE: Duration = Duration::from_secs(60);

fn config() -> Config {
    Config {
        cluster: ClusterId::new(7),
        epoch: Epoch::ZERO,
        replica: ReplicaId::new(0),
        quorums: Quorums::of(1),
        limits: Limits::standard(),
        timeouts: Timeouts::standard(),
    }
}

fn key() -> ReceiptKey {
    ReceiptKey::new([1; 32])
}

struct Replica {
    directory: PathBuf,
    disk: RealDisk,
    driver: Option<Driver>,
    /// The data plane that runs at present.
    data: Arc<Mutex<Option<DataHandle>>>,
}

impl Replica {
    fn start(name: &str) -> Replica {
        let directory = std::env::temp_dir().join(format!("viewstone-data-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let disk = RealDisk::open(&directory).unwrap();
        format(&disk, &config()).unwrap();
        let catalog = Catalog::new(CatalogLimits::standard(), Layout::first(Quorums::of(1)), key());
        let options = OpenOptions { segment_size: 2 << 20, ..OpenOptions::standard() };
        let open = open(&disk, &config(), catalog, options, 1).unwrap();
        let data = Arc::new(Mutex::new(None::<DataHandle>));
        let listening = Arc::clone(&data);
        let post = move |messages: &mut Vec<(Peer, Message)>| {
            let data = listening.lock().unwrap();
            for (_, message) in messages.drain(..) {
                if let Some(data) = data.as_ref() {
                    data.deliver(message);
                }
            }
        };
        let driver = Driver::start(open, Box::new(post)).unwrap();
        Replica { directory, disk, driver: Some(driver), data }
    }

    fn handle(&self) -> DriverHandle {
        self.driver.as_ref().unwrap().handle()
    }

    fn sessions(&self) -> usize {
        self.handle().vitals().core().map_or(0, |core| core.sessions)
    }

    fn has_bucket(&self, name: &'static str) -> bool {
        let (answer, answered) = mpsc::channel();
        let query = Query::GetBucket { bucket: BucketRef::named(name) };
        let asked = move |local: Option<LocalAnswer>| answer.send(local.unwrap().answer.unwrap()).unwrap();
        self.handle().ask(query.to_bytes(), Box::new(asked));
        QueryReply::from_bytes(&answered.recv_timeout(PATIENCE).unwrap()).unwrap().is_ok()
    }

    /// Runs a data plane until it has come to this.
    fn run(&self, client: Client, what: &str, seen: impl Fn(&Replica) -> bool) -> Client {
        let options = DataOptions {
            chunks: ChunkOptions { segment_size: 1 << 20, reserve_bytes: 0, open_files_max: 3, salt: 1 },
            holder: HolderSettings::standard(),
            upkeep: UpkeepSettings::standard(),
            client,
            seed: 1,
        };
        let outlets = DataOutlets {
            call_peer: Box::new(|_, _, _| panic!("there is no peer")),
            send_as_client: Box::new(|_, _| panic!("there is no other replica")),
        };
        let plane = DataPlane::start(&self.disk, &config(), key(), options, self.handle(), outlets).unwrap();
        *self.data.lock().unwrap() = Some(plane.handle());
        let began = Instant::now();
        while !seen(self) {
            assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
        plane.handle().stop();
        let client = plane.join().unwrap();
        *self.data.lock().unwrap() = None;
        client
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.handle().stop();
        let ended = self.driver.take().unwrap().join();
        if !std::thread::panicking() {
            assert_eq!(ended, Ended::Stopped);
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Each time that the tables had to be fetched anew, upkeep came back under another name. The sessions
/// that it left behind held the collection of everything back until they expired.
#[test]
fn a_data_plane_that_is_opened_again_goes_on_in_the_session_of_the_one_before() {
    let replica = Replica::start("session");
    let settings = ClientSettings::standard();
    let client = Client::new(ClientId::new(9), ClusterId::new(7), Epoch::ZERO, 1, settings, 1, clock::now());
    let mut client = replica.run(client, "a session", |replica| replica.sessions() == 1);
    let session = client.session().expect("it is told of its session before anybody can see it");

    for bucket in ["one", "two"] {
        let (name, owner) = (Bytes::from(bucket), Bytes::from_static(b"me"));
        let create = Operation::CreateBucket { name, owner, tags: vec![] };
        client.submit(clock::now(), create.to_bytes(), Timestamp::new(u64::MAX)).unwrap();
        client = replica.run(client, "another bucket", |replica| replica.has_bucket(bucket));
        assert_eq!(client.session(), Some(session));
    }
    assert_eq!(replica.sessions(), 1);
}
