//! A worker: one connection, and keys that nobody else touches.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gateway::auth::Signer;
use hyper::Method;

use super::client::{Body, Client};
use super::{Kind, Load, Shared};
use crate::commands::Failure;

pub(super) struct Worker {
    client: Client,
    bucket: String,
    body: Body,
    /// The objects that are there, by number.
    objects: Vec<u64>,
    next_object: u64,
    random: u64,
    times: Vec<(Kind, Duration)>,
}

impl Worker {
    pub(super) fn new(number: usize, client: Client, bucket: &str, body: Body) -> Worker {
        let number = number as u64 + 1;
        Worker {
            client,
            bucket: bucket.to_owned(),
            body,
            objects: Vec::new(),
            // So many objects does no worker make.
            next_object: number << 40,
            random: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            times: Vec::new(),
        }
    }

    pub(super) fn take_times(&mut self) -> Vec<(Kind, Duration)> {
        std::mem::take(&mut self.times)
    }

    pub(super) fn retries(&self) -> usize {
        self.client.retries
    }

    pub(super) fn object_count(&self) -> usize {
        self.objects.len()
    }

    pub(super) async fn run(&mut self, shared: &Shared) -> Result<(), Failure> {
        let can_go_on = |worker: &Worker| shared.load != Load::Delete || !worker.objects.is_empty();
        while can_go_on(self) && shared.goes_on() {
            let kind = self.choose(shared.load);
            let begun = Instant::now();
            let bytes = self.perform(kind).await?;
            self.times.push((kind, begun.elapsed()));
            shared.finished.fetch_add(1, Ordering::Relaxed);
            shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What is there can be read and deleted; if nothing is, something has to be put there first.
    fn choose(&mut self, load: Load) -> Kind {
        let kind = match load {
            Load::Put => Kind::Put,
            Load::Get => Kind::Get,
            Load::List => Kind::List,
            Load::Delete => Kind::Delete,
            Load::Mixed => match self.below(100) {
                0..60 => Kind::Get,
                60..85 => Kind::Put,
                85..95 => Kind::Delete,
                _ => Kind::List,
            },
        };
        if matches!(kind, Kind::Get | Kind::Delete) && self.objects.is_empty() { Kind::Put } else { kind }
    }

    /// Tells how many bytes of objects went over the wire.
    async fn perform(&mut self, kind: Kind) -> Result<usize, Failure> {
        match kind {
            Kind::Put => self.put().await,
            Kind::Get => self.get().await,
            Kind::Delete => self.delete().await,
            Kind::List => self.list().await,
        }
    }

    async fn put(&mut self) -> Result<usize, Failure> {
        let object = self.next_object;
        self.next_object += 1;
        // Before it is there: it may be there although no answer comes.
        self.objects.push(object);
        let path = self.path(object);
        self.client.ask(Method::PUT, &path, "", &self.body, |_, _| true).await?;
        Ok(self.body.bytes.len())
    }

    async fn get(&mut self) -> Result<usize, Failure> {
        let index = self.index();
        let path = self.path(self.objects[index]);
        let expected = self.body.bytes.clone();
        let is_right =
            |offset: usize, bytes: &[u8]| expected.get(offset..offset + bytes.len()) == Some(bytes);
        let length = self.client.ask(Method::GET, &path, "", &Body::empty(), is_right).await?;
        if length == expected.len() {
            Ok(length)
        } else {
            Err(Failure::new(format!("GET {path}: {length} bytes came of {}", expected.len())))
        }
    }

    async fn delete(&mut self) -> Result<usize, Failure> {
        let index = self.index();
        let path = self.path(self.objects[index]);
        self.client.ask(Method::DELETE, &path, "", &Body::empty(), |_, _| true).await?;
        self.objects.swap_remove(index);
        Ok(0)
    }

    /// A page that begins anywhere in the first half of the bucket.
    async fn list(&mut self) -> Result<usize, Failure> {
        let start = self.below(u64::MAX / 2);
        let query = format!("list-type=2&max-keys=1000&start-after=bench%2F{start:016x}");
        let mut page = Vec::new();
        let path = format!("/{}", self.bucket);
        let take = |_: usize, bytes: &[u8]| {
            page.extend_from_slice(bytes);
            true
        };
        self.client.ask(Method::GET, &path, &query, &Body::empty(), take).await?;
        let is_page = page.windows(KEY_COUNT.len()).any(|window| window == KEY_COUNT);
        if is_page {
            Ok(0)
        } else {
            Err(Failure::new(format!("GET {path}?{query}: the answer is no listing")))
        }
    }

    /// Scattered, as keys of real applications are.
    fn path(&self, object: u64) -> String {
        let scattered = object.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Signer::path(&self.bucket, format!("bench/{scattered:016x}"))
    }

    fn index(&mut self) -> usize {
        let below = self.below(self.objects.len() as u64);
        usize::try_from(below).expect("an index of a vector")
    }

    /// A number less than `bound`, which is not zero.
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }
}

/// In every answer to a listing of the second version.
const KEY_COUNT: &[u8] = b"<KeyCount>";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;

    use super::*;
    use crate::bench::s3::Endpoint;

    fn worker(number: usize) -> Worker {
        let signer = Signer { access_key: "A".into(), secret: "S".into(), region: "us-east-1".into() };
        let endpoint = Endpoint::parse("http://127.0.0.1:1", None, signer, true).unwrap();
        Worker::new(number, Client::new(endpoint), "b", Body::new(Bytes::from_static(b"x")))
    }

    #[test]
    fn workers_do_not_share_keys() {
        let paths = |number: usize| {
            let worker = worker(number);
            (0..1000).map(|object| worker.path(worker.next_object + object)).collect::<Vec<_>>()
        };
        let all: BTreeSet<String> = (0..8).flat_map(paths).collect();
        assert_eq!(all.len(), 8000);
        assert!(all.iter().all(|path| path.starts_with("/b/bench/") && path.len() == 25));
    }

    #[test]
    fn nothing_is_read_or_deleted_that_is_not_there() {
        let mut worker = worker(0);
        for load in [Load::Get, Load::Delete] {
            assert_eq!(worker.choose(load), Kind::Put);
        }
        worker.objects.push(7);
        assert_eq!((worker.choose(Load::Get), worker.choose(Load::Delete)), (Kind::Get, Kind::Delete));
        let kinds: BTreeSet<Kind> = (0..1000).map(|_| worker.choose(Load::Mixed)).collect();
        assert_eq!(kinds.len(), 4);
    }
}
