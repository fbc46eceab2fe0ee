//! Peers that are broken or mean harm: with the cluster's key and without it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway::cluster::{Link, QuicLink, Unreachable};
use protocol::data::message::DataBody;
use protocol::message::{MESSAGE_SIZE_MAX, Message};
use protocol::types::{ClientId, Peer, ReplicaId};
use quinn::{Connection, VarInt};
use transport::ClusterKey;
use transport::bare::Bare;

use crate::clients::{Client, Load, Plan, Store, runtime};
use crate::figures::{is_alive, metric, resident_bytes};
use crate::harness::Cluster;
use crate::random::Random;

/// What a bad peer may cost. Documented bounds of its connections and calls, with room for an allocator.
const GROWTH_MAX: u64 = 256 << 20;

#[test]
fn bad_peers_cost_a_replica_neither_its_life_nor_its_memory_nor_its_clients() {
    let runtime = runtime();
    let mut cluster = Cluster::of(3, "hostile");
    cluster.start_all();
    cluster.wait_until_ready();
    let store = Store::default();
    // One client whose network says everything several times, and long afterwards again.
    let said = Said::default();
    let stutters = runtime.block_on(async {
        Client::over(&cluster, &store, |transport| Stuttering {
            link: QuicLink::new(transport),
            said: Said::clone(&said),
        })
    });
    let honest = Load::start(&runtime, &cluster, &store, Plan::STANDARD);
    std::thread::sleep(Duration::from_secs(2));
    let memory_before = resident_bytes(&cluster, 0);

    let key = ClusterKey::read(&cluster.key()).unwrap();
    let target: SocketAddr = cluster.peers().split(',').next().unwrap().parse().unwrap();
    let mut random = Random::new("hostile");
    runtime.block_on(async {
        for round in 0..20 {
            stutters.put(round, 2_000).await.unwrap();
            stutters.get(round).await.unwrap();
        }
        stutters.put(0, 300_000).await.unwrap();
        let overheard = said.lock().unwrap().clone();
        for own in [Peer::Client(ClientId::new(66)), Peer::Replica(ReplicaId::new(2))] {
            attack(&key, own, target, &overheard, &mut random).await;
        }
    });
    let bad = metric(&cluster, 0, "viewstone_transport_frames_bad_total").unwrap();
    let foreign = metric(&cluster, 0, "viewstone_transport_frames_foreign_total").unwrap();
    let memory_attacked = resident_bytes(&cluster, 0);

    let refused = || metric(&cluster, 0, "viewstone_transport_handshakes_refused_total").unwrap();
    let refused_before = refused();
    let stranger = ClusterKey::generate().unwrap();
    runtime.block_on(async {
        for _ in 0..20 {
            let bare = Bare::new(&stranger, Peer::Client(ClientId::new(67))).unwrap();
            let let_in = bare.connect(Peer::Replica(ReplicaId::new(0)), target).await;
            assert!(let_in.is_none(), "another key is no key");
        }
    });
    let strangers = refused() - refused_before;

    let begun = runtime.block_on(half_open(&key, target, 1_000));
    let memory_flooded = resident_bytes(&cluster, 0);
    runtime.block_on(stutters.put(1, 2_000)).unwrap();

    assert!((0..3).all(|id| is_alive(&cluster, id)));
    assert!((0..3).all(|id| !cluster.process(id).log().contains("panicked")));
    cluster.wait_until_ready();
    runtime.block_on(stutters.close());
    honest.finish(&runtime);
    let mebibytes = [memory_before, memory_attacked, memory_flooded].map(|bytes| bytes >> 20);
    println!(
        "{bad} bad frames, {foreign} in another's name, {strangers} strangers refused, {begun} handshakes \
         begun; resident MiB before, after the frames, after the handshakes: {mebibytes:?}"
    );
    assert!(bad > 0.0 && foreign > 0.0);
    assert!(memory_attacked.max(memory_flooded) < memory_before + GROWTH_MAX, "{mebibytes:?}");
    println!("bad peers: {}", store.judge_without_errors());
}

type Said = Arc<Mutex<Vec<(ReplicaId, Message)>>>;

/// A network that repeats what was said: at once, to others, and long afterwards.
struct Stuttering {
    link: QuicLink,
    said: Said,
}

impl Link for Stuttering {
    fn send(&self, to: ReplicaId, message: Message) {
        let old = {
            let mut said = self.said.lock().unwrap();
            said.push((to, message.clone()));
            // Any of the old ones.
            let scattered = said.len().wrapping_mul(0x9e37_79b9) >> 7;
            said[scattered % said.len()].clone()
        };
        for _ in 0..3 {
            self.link.send(to, message.clone());
        }
        self.link.send(ReplicaId::new((to.get() + 1) % 3), message);
        self.link.send(old.0, old.1);
    }

    async fn call(&self, to: ReplicaId, body: DataBody, patience: Duration) -> Result<DataBody, Unreachable> {
        let _ = self.link.call(to, body.clone(), patience).await?;
        self.link.call(to, body, patience).await
    }

    fn nearest(&self) -> Option<ReplicaId> {
        None
    }
}

/// Everything that a member can get wrong, in the name of `own`.
async fn attack(
    key: &ClusterKey,
    own: Peer,
    target: SocketAddr,
    overheard: &[(ReplicaId, Message)],
    random: &mut Random,
) {
    let bare = Bare::new(key, own).unwrap();
    let connect = async || {
        let connection = bare.connect(Peer::Replica(ReplicaId::new(0)), target).await;
        connection.expect("the certificate is good")
    };
    let frames: Vec<Vec<u8>> = overheard.iter().map(|(_, message)| message.encode().to_vec()).collect();
    let longest = frames.iter().max_by_key(|frame| frame.len()).unwrap();

    // Frames of others, word for word, and as if they were one's own.
    let connection = connect().await;
    let own_words =
        overheard.iter().map(|(_, message)| Message { from: own, ..message.clone() }.encode().to_vec());
    write(&connection, &stream_of(2, frames.iter().cloned().chain(own_words))).await;
    // Flipped bits, in the header, in the body, anywhere.
    let flipped = (0..500).map(|_| {
        let mut frame = frames[random.below(frames.len())].clone();
        let at = 12 + random.below(frame.len() - 12);
        frame[at] ^= 1 << random.below(8);
        frame
    });
    write(&connect().await, &stream_of(2, flipped)).await;

    // What has no form at all, and what claims to be longer than anything.
    let mut noise = vec![0; 100_000];
    noise.fill_with(|| u8::try_from(random.below(256)).unwrap());
    let sized = |size: usize| {
        let mut frame = longest.clone();
        frame[8..12].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
        stream_of(1, [frame])
    };
    let garbage = [
        noise.clone(),
        stream_of(1, [noise.clone()]),
        stream_of(9, []),
        sized(0),
        sized(u32::MAX as usize),
        sized(MESSAGE_SIZE_MAX + 1),
    ];
    for bytes in &garbage {
        write(&connect().await, bytes).await;
        ask(&connect().await, bytes).await;
    }
    // Frames that end too early: politely, and because somebody dies.
    for end in [1, 5, 6, 20, longest.len()] {
        let part = &stream_of(2, [longest.clone()])[..end];
        write(&connect().await, part).await;
        ask(&connect().await, &longest[..end]).await;
        let connection = connect().await;
        if let Ok(mut stream) = connection.open_uni().await {
            let _ = stream.write_all(part).await;
        }
        connection.close(VarInt::from_u32(0), b"");
    }
}

/// A stream of messages of this class.
fn stream_of(class: u8, frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes = b"VSMS".to_vec();
    bytes.push(class);
    frames.into_iter().for_each(|frame| bytes.extend(frame));
    bytes
}

/// The other side may hang up at any point.
async fn write(connection: &Connection, bytes: &[u8]) {
    let written = async {
        let mut stream = connection.open_uni().await.ok()?;
        stream.write_all(bytes).await.ok()?;
        stream.finish().ok()?;
        stream.stopped().await.ok()
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), written).await;
}

/// As a call. Whatever is answered, it ends.
async fn ask(connection: &Connection, bytes: &[u8]) {
    let asked = async {
        let (mut stream, mut answer) = connection.open_bi().await.ok()?;
        stream.write_all(bytes).await.ok()?;
        stream.finish().ok()?;
        answer.read_to_end(1 << 20).await.ok()
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), asked).await;
}

/// Begins handshakes that nobody goes on with: their first datagrams are made for somebody who never
/// answers, and handed to the target from elsewhere. Returns how many.
async fn half_open(key: &ClusterKey, target: SocketAddr, count: usize) -> usize {
    let bare = Bare::new(key, Peer::Client(ClientId::new(68))).unwrap();
    let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = sink.local_addr().unwrap();
    let senders: Vec<UdpSocket> = (0..50).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let mut handed = 0;
    let mut datagram = vec![0; 2_000];
    while handed < count {
        let begun = bare.begin(Peer::Replica(ReplicaId::new(0)), address).unwrap();
        let arrival = tokio::time::timeout(Duration::from_secs(5), sink.recv(&mut datagram));
        let size = arrival.await.expect("a handshake begins with a datagram").unwrap();
        senders[handed % senders.len()].send_to(&datagram[..size], target).unwrap();
        handed += 1;
        drop(begun);
        // What this says of its end is not for the target.
        while sink.try_recv(&mut datagram).is_ok() {}
    }
    handed
}
