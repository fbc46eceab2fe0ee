//! What must hold for all keys, and for all sequences of operations.

use std::collections::BTreeMap;

use aws_sdk_s3::types::{Delete, EncodingType, ObjectIdentifier};
use compat_tests::raw::Request;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::bucket::Bucket;

/// Runs a property against a bucket, over one connection pool.
fn check<T: std::fmt::Debug>(
    cases: u32,
    strategy: impl Strategy<Value = T>,
    property: impl AsyncFn(&Bucket, T),
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&strategy, |value| {
        // What a case leaves behind that fails is not in the way of the smaller ones.
        let bucket = runtime.block_on(Bucket::fresh());
        runtime.block_on(property(&bucket, value));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// Pieces that stores have stumbled over, and any characters between them.
fn key() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/".to_owned()),
        Just("//".to_owned()),
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just("%2F".to_owned()),
        Just("%".to_owned()),
        Just("+".to_owned()),
        Just(" ".to_owned()),
        Just("?".to_owned()),
        Just("&".to_owned()),
        Just("\u{1}".to_owned()),
        Just("\n".to_owned()),
        Just("\u{7f}".to_owned()),
        Just("\u{10ffff}".to_owned()),
        Just("\u{ffff}".to_owned()),
        "[a-z]{1,3}",
        any::<char>().prop_filter("another test has it", |char| *char != '\0').prop_map(String::from),
    ];
    let short = proptest::collection::vec(piece.clone(), 1..12).prop_map(|pieces| pieces.concat());
    // As long as may be: filled up with what is one byte.
    let long = proptest::collection::vec(piece, 1..40).prop_map(|pieces| {
        let mut key = pieces.concat();
        let missing = 1024 - key.len().min(1024);
        key.push_str(&"k".repeat(missing));
        key
    });
    // The SDK takes what is nothing but white space for a missing key.
    prop_oneof![4 => short, 1 => long].prop_filter("white space", |key| !key.trim().is_empty())
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

#[test]
fn any_key_survives_every_way_it_travels() {
    check(60, key(), async |bucket: &Bucket, key: String| {
        bucket.put(&key, key.as_bytes()).send().await.unwrap();
        assert_eq!(bucket.bytes(&key).await, key.as_bytes());
        assert!(bucket.has(&key).await);

        let list = bucket.list().encoding_type(EncodingType::Url).prefix(&key).send().await.unwrap();
        assert_eq!(decoded(list.contents()[0].key().unwrap()), key);
        let list = bucket.list_v1().encoding_type(EncodingType::Url).prefix(&key).send().await.unwrap();
        assert_eq!(decoded(list.contents()[0].key().unwrap()), key);
        let after = bucket.list().encoding_type(EncodingType::Url).start_after(&key).send().await.unwrap();
        assert!(after.contents().iter().all(|object| decoded(object.key().unwrap()) > key));

        let presigned = Request::new("GET", bucket.path(&key)).presigned("60").send();
        assert_eq!(presigned.expect(200).body, key.as_bytes());

        // A copy to where it is read back, by another operation each time.
        let copy = format!("{}!", &key[..key.char_indices().nth(key.chars().count() - 1).unwrap().0]);
        if copy != key {
            bucket.copy(&key, &copy).send().await.unwrap();
            assert_eq!(bucket.bytes(&copy).await, key.as_bytes());
            bucket.delete(&copy).send().await.unwrap();
        }
        bucket.delete(&key).send().await.unwrap();
        assert!(!bucket.has(&key).await);
    });
}

/// A document can name what XML 1.0 can hold.
#[test]
fn any_key_that_xml_can_hold_is_deleted_by_a_list() {
    let key = key().prop_map(|key| {
        let holds =
            |char: &char| *char >= ' ' && !matches!(char, '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}');
        format!("k{}", key.chars().filter(holds).collect::<String>())
    });
    let key = key.prop_filter("too long", |key| key.len() <= 1024);
    check(20, proptest::collection::btree_set(key, 1..6), async |bucket: &Bucket, keys| {
        for key in &keys {
            bucket.put(key, "x").send().await.unwrap();
        }
        let objects = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build().unwrap()).collect();
        let delete = Delete::builder().set_objects(Some(objects)).build().unwrap();
        let done = bucket.client.delete_objects().bucket(&bucket.name).delete(delete).send().await.unwrap();
        let mut told: Vec<&str> = done.deleted().iter().map(|deleted| deleted.key().unwrap()).collect();
        told.sort_unstable();
        assert!(told.iter().eq(keys.iter()), "{told:?} {keys:?}");
        assert_eq!(bucket.keys().await, [""; 0]);
    });
}

#[derive(Clone, Debug)]
enum Step {
    Put { key: String, size: usize, fill: u8 },
    PutIfNew { key: String, fill: u8 },
    Delete { key: String },
    Copy { from: String, to: String },
    Get { key: String, range: Option<(usize, usize)> },
    List { prefix: String, delimiter: Option<String>, after: String, size: usize },
}

/// Few, and close to each other.
fn model_key() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("/"), Just("-")], 1..5)
        .prop_map(|pieces| pieces.concat())
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![8 => 0_usize..2000, 1 => 16_000_usize..17_000, 1 => 60_000_usize..300_000];
    let delimiter =
        proptest::option::of(prop_oneof![Just("/".to_owned()), Just("-".to_owned()), Just("a/".to_owned())]);
    let range = proptest::option::of((0_usize..2500, 0_usize..3000));
    prop_oneof![
        4 => (model_key(), size, any::<u8>()).prop_map(|(key, size, fill)| Step::Put { key, size, fill }),
        1 => (model_key(), any::<u8>()).prop_map(|(key, fill)| Step::PutIfNew { key, fill }),
        2 => model_key().prop_map(|key| Step::Delete { key }),
        1 => (model_key(), model_key()).prop_map(|(from, to)| Step::Copy { from, to }),
        2 => (model_key(), range).prop_map(|(key, range)| Step::Get { key, range }),
        3 => ("|a|b|/|a/|ab|-", delimiter, "|a|a/|b|ab/", 1_usize..5)
            .prop_map(|(prefix, delimiter, after, size)| Step::List { prefix, delimiter, after, size }),
    ]
}

type Model = BTreeMap<String, Vec<u8>>;

/// What a listing of the model gives, over all pages: keys and common prefixes in order.
fn listed(model: &Model, prefix: &str, delimiter: Option<&str>, after: &str) -> Vec<String> {
    let mut entries = Vec::new();
    for key in model.keys().filter(|key| key.starts_with(prefix) && key.as_str() > after) {
        let rest = &key[prefix.len()..];
        let rolled = delimiter.and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()));
        let entry = match rolled {
            Some(end) => format!("{prefix}{}", &rest[..end]),
            None => key.clone(),
        };
        // To begin after a common prefix is to pass over all of it.
        if entry != after && entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    entries
}

async fn run(bucket: &Bucket, model: &mut Model, step: Step) {
    match step {
        Step::Put { key, size, fill } => {
            bucket.put(&key, vec![fill; size]).send().await.unwrap();
            model.insert(key, vec![fill; size]);
        }
        Step::PutIfNew { key, fill } => {
            let put = bucket.put(&key, vec![fill; 10]).if_none_match("*").send().await;
            assert_eq!(put.is_err(), model.contains_key(&key), "{put:?}");
            model.entry(key).or_insert(vec![fill; 10]);
        }
        Step::Delete { key } => {
            bucket.delete(&key).send().await.unwrap();
            model.remove(&key);
        }
        Step::Copy { from, to } => {
            let copy = bucket.copy(&from, &to).send().await;
            assert_eq!(copy.is_ok(), model.contains_key(&from) && from != to, "{copy:?}");
            if copy.is_ok() {
                let body = model[&from].clone();
                model.insert(to, body);
            }
        }
        Step::Get { key, range } => get(bucket, model, &key, range).await,
        Step::List { prefix, delimiter, after, size } => {
            let mut found = Vec::new();
            let mut token = None;
            loop {
                let list = bucket.list().prefix(&prefix).set_delimiter(delimiter.clone());
                let list = list.start_after(&after).max_keys(i32::try_from(size).unwrap());
                let page = list.set_continuation_token(token).send().await.unwrap();
                let keys = page.contents().iter().map(|object| object.key().unwrap().to_owned());
                let prefixes = page.common_prefixes().iter().map(|found| found.prefix().unwrap().to_owned());
                let mut entries: Vec<String> = keys.chain(prefixes).collect();
                entries.sort();
                found.extend(entries);
                token = page.next_continuation_token().map(str::to_owned);
                if token.is_none() {
                    break;
                }
            }
            assert_eq!(found, listed(model, &prefix, delimiter.as_deref(), &after));
        }
    }
}

async fn get(bucket: &Bucket, model: &Model, key: &str, range: Option<(usize, usize)>) {
    let header = range.map(|(first, length)| format!("bytes={first}-{}", first + length));
    let got = bucket.get(key).set_range(header).send().await;
    match (model.get(key), range) {
        (None, _) => assert!(got.is_err()),
        (Some(body), Some((first, _))) if first >= body.len() => {
            compat_tests::sdk::assert_refused(got, 416, "InvalidRange");
        }
        (Some(body), range) => {
            let (first, end) = match range {
                Some((first, length)) => (first, body.len().min(first + length + 1)),
                None => (0, body.len()),
            };
            assert_eq!(got.unwrap().body.collect().await.unwrap().to_vec(), body[first..end]);
        }
    }
}

#[test]
fn any_sequence_of_operations_is_answered_as_a_map_in_memory_would() {
    check(8, proptest::collection::vec(step(), 10..60), async |bucket: &Bucket, steps: Vec<Step>| {
        let mut model = Model::new();
        for step in steps {
            run(bucket, &mut model, step).await;
        }
        assert_eq!(bucket.keys().await, model.keys().cloned().collect::<Vec<_>>());
        for (key, body) in &model {
            assert!(bucket.bytes(key).await == *body, "{key}");
            bucket.delete(key).send().await.unwrap();
        }
    });
}
