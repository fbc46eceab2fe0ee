//! What the clients of a world like to do.

use protocol::catalog::CatalogLimits;

use crate::random::Random;

/// Everything a client can do. Some of it is bound to fail, which is as good a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    PutInline,
    PutChunked,
    /// With an upload number that was used or given up before.
    PutLate,
    PutIfAbsent,
    PutIfMatch,
    PutUnlessMatch,
    Delete,
    DeleteIfMatch,
    DeleteMany,
    PutTags,
    Copy,
    CopyIf,
    /// An object onto itself, with other headers.
    CopySelf,
    CreateUpload,
    PutPart,
    CopyPart,
    Complete,
    /// Once more, as a client does that missed the answer.
    CompleteAgain,
    Abort,
    CreateBucket,
    DeleteBucket,
    /// Lists a bucket in order to delete all that is in it, and then the bucket.
    ClearBucket,
    PutBucketTags,
    PutAccessKey,
    DeleteAccessKey,
    /// Asks what can be collected, and collects it.
    Collect,
    /// In a replica's name: it holds what it owed.
    Settle,
    /// In a replica's name: its new disk holds all that the old one held.
    Rebuilt,

    Get,
    Head,
    GetPieces,
    GetBucket,
    List,
    ListBuckets,
    ListUploads,
    ListParts,
    ListObjectParts,
    GetAccessKey,
    ListAccessKeys,
    Verdicts,
    ListBodies,
    ListDebts,
    GetBodies,
    Rebuilding,

    Keepalive,
    Pause,
}

impl Kind {
    /// With how often each is done where it is done at all.
    const WEIGHTS: [(Kind, u64); 46] = [
        (Kind::PutInline, 20),
        (Kind::PutChunked, 12),
        (Kind::PutLate, 2),
        (Kind::PutIfAbsent, 8),
        (Kind::PutIfMatch, 8),
        (Kind::PutUnlessMatch, 4),
        (Kind::Delete, 10),
        (Kind::DeleteIfMatch, 4),
        (Kind::DeleteMany, 3),
        (Kind::PutTags, 3),
        (Kind::Copy, 8),
        (Kind::CopyIf, 4),
        (Kind::CopySelf, 3),
        (Kind::CreateUpload, 4),
        (Kind::PutPart, 24),
        (Kind::CopyPart, 6),
        (Kind::Complete, 7),
        (Kind::CompleteAgain, 5),
        (Kind::Abort, 1),
        (Kind::CreateBucket, 1),
        (Kind::DeleteBucket, 1),
        (Kind::ClearBucket, 2),
        (Kind::PutBucketTags, 1),
        (Kind::PutAccessKey, 1),
        (Kind::DeleteAccessKey, 1),
        (Kind::Collect, 3),
        (Kind::Settle, 2),
        (Kind::Rebuilt, 1),
        (Kind::Get, 20),
        (Kind::Head, 8),
        (Kind::GetPieces, 3),
        (Kind::GetBucket, 1),
        (Kind::List, 12),
        (Kind::ListBuckets, 1),
        (Kind::ListUploads, 2),
        (Kind::ListParts, 3),
        (Kind::ListObjectParts, 2),
        (Kind::GetAccessKey, 1),
        (Kind::ListAccessKeys, 1),
        (Kind::Verdicts, 3),
        (Kind::ListBodies, 1),
        (Kind::ListDebts, 4),
        (Kind::GetBodies, 1),
        (Kind::Rebuilding, 2),
        (Kind::Keepalive, 5),
        (Kind::Pause, 1),
    ];
}

/// How the keys of a world look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyShape {
    Flat,
    /// With slashes, and with keys that are also the directories of others.
    Nested,
    /// Any bytes: prefixes of each other, zeros, and bytes that are no UTF-8.
    Raw,
}

#[derive(Clone, Debug)]
pub struct WorkloadOptions {
    pub limits: CatalogLimits,
    pub bucket_count: u64,
    pub key_count: u64,
    pub key_shape: KeyShape,
    /// So many of a hundred operations go to the first few keys.
    pub hot_percent: u64,
    /// So many of a hundred inline bodies lie next to the limit; the others are small.
    pub large_inline_percent: u64,
    /// The size of the chunks of most bodies.
    pub chunk_size: u32,
    /// So many of a hundred operations name the bucket by its id too.
    pub exact_bucket_percent: u64,
    pub pause_micros_max: u64,
    /// Bodies are stored for real, and replicas speak for themselves: whoever carries an operation out
    /// stores what it brings and puts the receipts in.
    pub real_bodies: bool,
    pub weights: Vec<(Kind, u64)>,
}

impl WorkloadOptions {
    /// Swarm: every kind of action is left out of some worlds, and what remains is done more.
    /// Writing and reading are never left out, or there would be nothing to judge.
    pub fn draw(random: &mut Random, limits: CatalogLimits) -> WorkloadOptions {
        let presence = random.between(30, 100);
        let mut weights = Vec::new();
        for (kind, weight) in Kind::WEIGHTS {
            let always = matches!(kind, Kind::PutInline | Kind::Get | Kind::List);
            if always || random.percent(presence) {
                weights.push((kind, weight * random.between(1, 4)));
            }
        }
        WorkloadOptions {
            limits,
            bucket_count: random.between(1, 4),
            key_count: *random.pick(&[1, 2, 5, 12, 40, 200]),
            key_shape: *random.pick(&[KeyShape::Flat, KeyShape::Nested, KeyShape::Raw]),
            hot_percent: *random.pick(&[0, 50, 90]),
            large_inline_percent: *random.pick(&[0, 5, 30]),
            chunk_size: *random.pick(&[1, 4 << 10, 4 << 20]),
            exact_bucket_percent: *random.pick(&[0, 20]),
            pause_micros_max: *random.pick(&[10_000, 1_000_000, 5_000_000]),
            real_bodies: false,
            weights,
        }
    }

    /// The same for clients that store what they say they store: bodies are many and mostly small, and
    /// nobody speaks in a replica's name.
    pub fn with_real_bodies(mut self, random: &mut Random) -> WorkloadOptions {
        self.real_bodies = true;
        self.chunk_size = *random.pick(&[300, 1_500, 5_000, 5_000, 20_000, 70_000]);
        let in_a_name = |kind: &Kind| matches!(kind, Kind::Settle | Kind::Rebuilt | Kind::PutLate);
        self.weights.retain(|(kind, _)| !in_a_name(kind) && !matches!(kind, Kind::PutChunked | Kind::Get));
        self.weights.push((Kind::PutChunked, 12 * random.between(2, 8)));
        self.weights.push((Kind::Get, 20 * random.between(1, 4)));
        self
    }

    /// Everything, in proportion.
    pub fn everything(limits: CatalogLimits) -> WorkloadOptions {
        WorkloadOptions {
            limits,
            bucket_count: 2,
            key_count: 12,
            key_shape: KeyShape::Nested,
            hot_percent: 50,
            large_inline_percent: 5,
            chunk_size: 4 << 20,
            exact_bucket_percent: 20,
            pause_micros_max: 100_000,
            real_bodies: false,
            weights: Kind::WEIGHTS.to_vec(),
        }
    }

    pub(super) fn draw_kind(&self, random: &mut Random) -> Kind {
        let total = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut left = random.below(total);
        for (kind, weight) in &self.weights {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *kind,
            }
        }
        Kind::Get
    }

    /// The key of this number. No two numbers have the same key.
    pub fn key(&self, number: u64) -> Vec<u8> {
        match self.key_shape {
            KeyShape::Flat => format!("key-{number:04}").into_bytes(),
            KeyShape::Nested => digits(number, b"d/ek"),
            KeyShape::Raw => digits(number, b"a\0\xff/"),
        }
    }
}

/// Counts with `digits` for digits, without a zero: short numbers are prefixes of long ones.
fn digits(number: u64, digits: &[u8]) -> Vec<u8> {
    let base = digits.len() as u64;
    let mut places = Vec::new();
    let mut rest = number + 1;
    while rest > 0 {
        let digit = usize::try_from((rest - 1) % base).expect("a digit is small");
        places.push(digits[digit]);
        rest = (rest - 1) / base;
    }
    places.reverse();
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_numbers_have_the_same_key() {
        let limits = CatalogLimits::standard();
        for key_shape in [KeyShape::Flat, KeyShape::Nested, KeyShape::Raw] {
            let options = WorkloadOptions { key_shape, ..WorkloadOptions::everything(limits) };
            let keys: BTreeSet<Vec<u8>> = (0..200).map(|number| options.key(number)).collect();
            assert_eq!(keys.len(), 200, "{key_shape:?}");
            assert!(keys.iter().all(|key| protocol::catalog::check_key(key).is_ok()));
        }
    }

    #[test]
    fn every_world_writes_and_reads_and_some_leave_something_out() {
        let mut least = usize::MAX;
        for seed in 0..50 {
            let mut random = Random::branch(seed, "workload options");
            let options = WorkloadOptions::draw(&mut random, CatalogLimits::standard());
            let does = |kind| options.weights.iter().any(|(known, weight)| *known == kind && *weight > 0);
            assert!(does(Kind::PutInline) && does(Kind::Get) && does(Kind::List));
            least = least.min(options.weights.len());
        }
        assert!(least < 25, "{least}");
    }
}
