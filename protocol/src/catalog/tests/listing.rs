//! Listings, against a model that looks at every key.

use bytes::Bytes;
use proptest::prelude::*;

use super::world::*;
use crate::catalog::*;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Key(Vec<u8>),
    Prefix(Vec<u8>),
}

fn page(
    world: &World,
    prefix: &[u8],
    delimiter: &[u8],
    after: ListPosition,
    limit: u32,
) -> (Vec<Entry>, Option<ListPosition>) {
    let (prefix, delimiter) = (Bytes::copy_from_slice(prefix), Bytes::copy_from_slice(delimiter));
    match world.query(Query::ListObjects { bucket: bucket(), prefix, delimiter, after, limit }) {
        Answer::Objects { entries, next } => {
            let entries = entries.into_iter().map(|entry| match entry {
                ListEntry::Object { key, .. } => Entry::Key(key.to_vec()),
                ListEntry::Prefix { prefix } => Entry::Prefix(prefix.to_vec()),
            });
            (entries.collect(), next)
        }
        other => panic!("{other:?}"),
    }
}

/// All pages in a row. Every page that has a next one is full.
fn pages(world: &World, prefix: &[u8], delimiter: &[u8], after: ListPosition, limit: u32) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut after = Some(after);
    while let Some(position) = after.take() {
        let (entries, next) = page(world, prefix, delimiter, position, limit);
        assert!(entries.len() <= limit as usize);
        assert!(next.is_none() || entries.len() == limit as usize);
        all.extend(entries);
        after = next;
    }
    all
}

/// What a listing is, said without any cleverness.
fn model(mut keys: Vec<Vec<u8>>, prefix: &[u8], delimiter: &[u8], after: &ListPosition) -> Vec<Entry> {
    keys.sort();
    keys.dedup();
    keys.retain(|key| {
        key.starts_with(prefix)
            && match after {
                ListPosition::AfterKey { key: after } => key[..] > after[..],
                ListPosition::AfterPrefix { prefix: after } => key[..] > after[..] && !key.starts_with(after),
                _ => true,
            }
    });
    let mut entries: Vec<Entry> = keys
        .into_iter()
        .map(|key| {
            let cut = (prefix.len()..key.len())
                .find(|at| !delimiter.is_empty() && key[*at..].starts_with(delimiter));
            match cut {
                Some(at) => Entry::Prefix(key[..at + delimiter.len()].to_vec()),
                None => Entry::Key(key),
            }
        })
        .collect();
    entries.dedup();
    entries
}

/// Few different bytes, so that keys share prefixes and delimiters are common.
fn bytes(size: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'/'), Just(b'a'), Just(b'b'), Just(0u8), Just(0xff)];
    proptest::collection::vec(byte, size)
}

fn position() -> impl Strategy<Value = ListPosition> {
    prop_oneof![
        Just(ListPosition::Start),
        bytes(0..4).prop_map(|key| ListPosition::AfterKey { key: key.into() }),
        bytes(0..4).prop_map(|prefix| ListPosition::AfterPrefix { prefix: prefix.into() }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_listing_is_what_the_model_says_however_it_is_paged(
        keys in proptest::collection::vec(bytes(1..6), 0..40),
        prefix in bytes(0..3),
        delimiter in bytes(0..3),
        after in position(),
        limit in 1u32..8,
    ) {
        let mut world = World::new();
        for key in &keys {
            world.put(key, "v");
        }
        let listed = pages(&world, &prefix, &delimiter, after.clone(), limit);
        prop_assert_eq!(listed, model(keys, &prefix, &delimiter, &after));
    }
}

#[test]
fn a_page_jumps_over_what_a_common_prefix_stands_for() {
    let mut world = World::new();
    for directory in 0..20 {
        for file in 0..50 {
            world.put(format!("d{directory:02}/f{file:02}").as_bytes(), "v");
        }
    }
    world.put(b"z", "v");
    world.tables.forget_counts();
    let (entries, next) = page(&world, b"", b"/", ListPosition::Start, 10);
    assert_eq!(entries.len(), 10);
    assert_eq!(entries[9], Entry::Prefix(b"d09/".to_vec()));
    assert_eq!(next, Some(ListPosition::AfterPrefix { prefix: "d09/".into() }));
    assert_eq!(world.tables.visits.get(), 11, "one row for each entry, and one to see that there are more");

    world.tables.forget_counts();
    let (entries, next) = page(&world, b"", b"/", next.unwrap(), 1000);
    assert_eq!((entries.len(), next), (11, None));
    assert_eq!(world.tables.visits.get(), 11);
}

#[test]
fn a_full_page_that_is_the_last_says_so() {
    let mut world = World::new();
    for key in ["a", "b/1", "b/2"] {
        world.put(key.as_bytes(), "v");
    }
    assert_eq!(page(&world, b"", b"/", ListPosition::Start, 2).1, None);
    assert_eq!(page(&world, b"", b"", ListPosition::Start, 3).1, None);
    let after_b1 = Some(ListPosition::AfterKey { key: "b/1".into() });
    assert_eq!(page(&world, b"", b"", ListPosition::Start, 2).1, after_b1);
}

/// A mount asks for no keys to see whether it may ask at all.
#[test]
fn a_page_of_no_entries_is_empty_and_the_last() {
    let mut world = World::new();
    world.put(b"a", "v");
    assert_eq!(page(&world, b"", b"", ListPosition::Start, 0), (Vec::new(), None));
}

/// A listing reads only the beginning of a row, which must be enough for the longest summary.
#[test]
fn an_object_is_listed_with_as_many_checksums_as_it_may_have() {
    let mut world = World::new();
    let checksum = |kind| ObjectChecksum { kind, value: vec![kind; CHECKSUM_BYTES_MAX].into() };
    let all: Checksums = (0..8).map(checksum).collect();
    let etag = ETag::simple([1; 16]);
    let mut operation = put("bucket", b"k", Conditions::none(), etag, NewBody::inline("v"));
    if let Operation::PutObject { checksums, .. } = &mut operation {
        *checksums = all.clone();
    }
    let object = written(world.apply(operation));
    assert_eq!(object.checksums, all);
    let (prefix, delimiter) = (Bytes::new(), Bytes::new());
    let after = ListPosition::Start;
    let list = Query::ListObjects { bucket: bucket(), prefix, delimiter, after, limit: 9 };
    let entries = vec![ListEntry::Object { key: "k".into(), object }];
    assert_eq!(world.query(list), Answer::Objects { entries, next: None });
}

#[test]
fn other_buckets_are_not_listed() {
    let mut world = World::new();
    world.create_bucket("bucket2");
    let etag = ETag::simple([1; 16]);
    world.apply(put("bucket2", b"b", Conditions::none(), etag, NewBody::inline("v"))).unwrap();
    world.put(b"a", "v");
    assert_eq!(pages(&world, b"", b"", ListPosition::Start, 10), vec![Entry::Key(b"a".to_vec())]);
}

#[test]
fn a_page_ends_early_when_it_has_become_large() {
    let mut world = World::new();
    world.catalog.limits.page_bytes_max = 2000;
    for number in 0..10u8 {
        world.put(&[number; 1000], "v");
    }
    let (entries, next) = page(&world, b"", b"", ListPosition::Start, 1000);
    assert_eq!((entries.len(), next), (2, Some(ListPosition::AfterKey { key: vec![1; 1000].into() })));
}

#[test]
fn uploads_are_listed_by_key_and_then_by_age() {
    let mut world = World::new();
    let first = world.create_upload(b"b");
    let second = world.create_upload(b"b");
    let other = world.create_upload(b"a/x");
    world.create_upload(b"a/y");
    let list = |delimiter: &'static str, after, limit| {
        let query = Query::ListUploads {
            bucket: bucket(),
            prefix: "".into(),
            delimiter: delimiter.into(),
            after,
            limit,
        };
        match world.query(query) {
            Answer::Uploads { entries, next } => {
                let entries = entries.into_iter().map(|entry| match entry {
                    UploadEntry::Upload { id, .. } => Ok(id),
                    UploadEntry::Prefix { prefix } => Err(prefix),
                });
                (entries.collect::<Vec<_>>(), next)
            }
            other => panic!("{other:?}"),
        }
    };
    let (entries, next) = list("/", ListPosition::Start, 2);
    assert_eq!(entries, [Err(Bytes::from("a/")), Ok(first)]);
    assert_eq!(next, Some(ListPosition::AfterUpload { key: "b".into(), upload: first }));
    assert_eq!(list("/", next.unwrap(), 2), (vec![Ok(second)], None));
    assert_eq!(list("", ListPosition::AfterKey { key: "b".into() }, 2), (vec![], None));
    assert_eq!(list("", ListPosition::Start, 1).0, [Ok(other)]);
}
