//! Keys that come and go, and a cluster that does too. Time is the test's own.

use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use protocol::catalog::AccessKey;
use protocol::types::Timestamp;
use tokio::time::{advance, sleep};
use transport::ClusterKey;

use super::*;
use crate::auth::keys::vault::Secret;
use crate::cluster::ClusterError;

/// What the cluster does when it is asked for a key.
#[derive(Clone)]
enum Mood {
    Answers(Option<AccessKey>),
    Refuses,
    IsSilent,
}

struct Source {
    mood: StdMutex<Mood>,
    asked: AtomicUsize,
}

impl KeySource for Arc<Source> {
    async fn access_key(&self, _id: &str) -> Result<Option<AccessKey>, ClusterError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        // As a read of the catalog takes a while.
        sleep(Duration::from_millis(2)).await;
        let mood = self.mood.lock().unwrap().clone();
        match mood {
            Mood::Answers(row) => Ok(row),
            Mood::Refuses => Err(ClusterError::Unavailable("no quorum")),
            Mood::IsSilent => std::future::pending().await,
        }
    }
}

struct World {
    source: Arc<Source>,
    cache: Cache<Arc<Source>>,
}

impl World {
    fn new() -> World {
        let source =
            Arc::new(Source { mood: StdMutex::new(Mood::Answers(None)), asked: AtomicUsize::new(0) });
        World { cache: Cache::new(vault(), Arc::clone(&source)), source }
    }

    fn turns(&self, mood: Mood) {
        *self.source.mood.lock().unwrap() = mood;
    }

    fn has(&self, flags: u32) {
        let secret = vault().seal("AK", &Secret("secret".into())).unwrap();
        self.turns(Mood::Answers(Some(AccessKey {
            secret,
            user: "alice".into(),
            owner: "id".into(),
            display_name: Bytes::new(),
            flags,
            scopes: Vec::new(),
            created: Timestamp::new(1),
        })));
    }

    fn asked(&self) -> usize {
        self.source.asked.load(Ordering::Relaxed)
    }

    /// Whether the key may be used.
    async fn get(&self) -> Result<bool, ErrorCode> {
        self.cache.get("AK").await.map(|identity| identity.is_some()).map_err(|error| error.code)
    }
}

fn vault() -> Vault {
    Vault::new(&ClusterKey::new([1; 32]))
}

#[tokio::test(start_paused = true)]
async fn a_key_is_remembered_for_five_seconds_and_asked_for_again() {
    let world = World::new();
    world.has(0);
    for _ in 0..3 {
        assert_eq!(world.get().await, Ok(true));
    }
    assert_eq!(world.asked(), 1);
    world.turns(Mood::Answers(None));
    advance(Duration::from_secs(4)).await;
    assert_eq!(world.get().await, Ok(true));
    advance(Duration::from_secs(1)).await;
    assert_eq!(world.get().await, Ok(false));
    assert_eq!(world.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn that_there_is_no_key_is_remembered_as_long() {
    let world = World::new();
    assert_eq!(world.get().await, Ok(false));
    world.has(0);
    assert_eq!(world.get().await, Ok(false));
    assert_eq!(world.asked(), 1);
    advance(FRESH).await;
    assert_eq!(world.get().await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn a_disabled_key_is_no_key() {
    let world = World::new();
    world.has(0);
    assert_eq!(world.get().await, Ok(true));
    world.has(super::super::identity::DISABLED);
    advance(FRESH).await;
    assert_eq!(world.get().await, Ok(false));
}

/// A removed key must not work longer because the question was slow.
#[tokio::test(start_paused = true)]
async fn the_age_of_an_answer_counts_from_the_question() {
    let world = World::new();
    world.has(0);
    let began = Instant::now();
    assert_eq!(world.get().await, Ok(true));
    assert_eq!(began.elapsed(), Duration::from_millis(2));
    advance(FRESH - Duration::from_millis(2)).await;
    world.get().await.unwrap();
    assert_eq!(world.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_requests_share_one_question() {
    let world = Arc::new(World::new());
    world.has(0);
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.get().await })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), Ok(true));
    }
    assert_eq!(world.asked(), 1);
}

/// A client that hangs up while its key is looked up must not leave the others waiting.
#[tokio::test(start_paused = true)]
async fn a_question_whose_request_went_away_is_asked_by_the_next() {
    let world = Arc::new(World::new());
    world.turns(Mood::IsSilent);
    let other = Arc::clone(&world);
    let first = tokio::spawn(async move { other.get().await });
    sleep(Duration::from_secs(1)).await;
    first.abort();
    world.has(0);
    assert_eq!(world.get().await, Ok(true));
    assert_eq!(world.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_cluster_a_known_key_works_for_a_minute_more() {
    let world = World::new();
    world.has(0);
    assert_eq!(world.get().await, Ok(true));
    for mood in [Mood::Refuses, Mood::IsSilent] {
        world.turns(mood);
        advance(Duration::from_secs(25)).await;
        let began = Instant::now();
        assert_eq!(world.get().await, Ok(true));
        assert!(began.elapsed() <= PATIENCE_STALE + Duration::from_millis(1));
        assert_eq!(world.get().await, Ok(true), "and is not asked for again at once");
    }
    assert_eq!(world.asked(), 3);
    advance(Duration::from_secs(20)).await;
    assert_eq!(world.get().await, Err(ErrorCode::ServiceUnavailable));
    world.has(0);
    advance(RETRY).await;
    assert_eq!(world.get().await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn without_a_cluster_an_unknown_key_is_neither_good_nor_bad() {
    let world = World::new();
    world.turns(Mood::Refuses);
    assert_eq!(world.get().await, Err(ErrorCode::ServiceUnavailable));

    // Nor does its absence count for longer than it has to.
    world.turns(Mood::Answers(None));
    advance(RETRY).await;
    assert_eq!(world.get().await, Ok(false));
    world.turns(Mood::Refuses);
    advance(FRESH).await;
    assert_eq!(world.get().await, Err(ErrorCode::ServiceUnavailable));
}

/// All requests that waited for an answer learn together that there is none: each of them waiting in
/// turn would take for ever.
#[tokio::test(start_paused = true)]
async fn a_silence_is_shared_like_an_answer() {
    let world = Arc::new(World::new());
    world.turns(Mood::IsSilent);
    let began = Instant::now();
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.get().await })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), Err(ErrorCode::ServiceUnavailable));
    }
    assert_eq!(began.elapsed(), PATIENCE);
    assert_eq!(world.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn made_up_ids_do_not_fill_the_memory_nor_push_out_what_is_used() {
    let world = World::new();
    world.has(0);
    assert_eq!(world.get().await, Ok(true));
    for number in 0..3 * GENERATION {
        drop(world.cache.slots.lock().unwrap().slot(&format!("made up {number}")));
        if number % 1000 == 0 {
            drop(world.cache.slots.lock().unwrap().slot("AK"));
        }
    }
    let slots = world.cache.slots.lock().unwrap();
    assert!(slots.young.len() + slots.old.len() <= 2 * GENERATION);
    let slot = slots.young.get("AK").or_else(|| slots.old.get("AK")).expect("it was used all the time");
    assert!(slot.try_lock().unwrap().answer.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_an_id_is_not_asked_for() {
    let world = World::new();
    world.has(0);
    for id in ["", &"A".repeat(ACCESS_KEY_ID_BYTES_MAX + 1)] {
        assert!(world.cache.get(id).await.unwrap().is_none());
    }
    assert_eq!(world.asked(), 0);
}
