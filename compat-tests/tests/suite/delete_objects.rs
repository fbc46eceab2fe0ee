//! Many keys in one request.

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use compat_tests::checksums::{Algorithm, content_md5};
use compat_tests::raw::Request;
use compat_tests::sdk::assert_refused;
use compat_tests::sign;

use crate::bucket::{Bucket, fresh_name};

fn identifiers<'a>(keys: impl IntoIterator<Item = &'a str>) -> Vec<ObjectIdentifier> {
    keys.into_iter().map(|key| ObjectIdentifier::builder().key(key).build().unwrap()).collect()
}

fn of(objects: Vec<ObjectIdentifier>, quiet: bool) -> Delete {
    Delete::builder().set_objects(Some(objects)).quiet(quiet).build().unwrap()
}

#[tokio::test]
async fn all_that_are_named_are_deleted_and_told_in_order() {
    let bucket = Bucket::fresh().await;
    bucket.put_all(&["a", "b", "c & <d>"]).await;
    let delete = of(identifiers(["c & <d>", "missing", "a"]), false);
    let done = bucket.client.delete_objects().bucket(&bucket.name).delete(delete).send().await.unwrap();
    let told: Vec<_> = done.deleted().iter().map(|deleted| deleted.key().unwrap()).collect();
    assert_eq!(told, ["c & <d>", "missing", "a"]);
    assert_eq!(done.errors().len(), 0);
    assert_eq!(bucket.keys().await, ["b"]);
}

#[tokio::test]
async fn a_quiet_request_is_told_of_failures_only() {
    let bucket = Bucket::fresh().await;
    bucket.put_all(&["a", "b"]).await;
    let delete = of(identifiers(["a", "b"]), true);
    let done = bucket.client.delete_objects().bucket(&bucket.name).delete(delete).send().await.unwrap();
    assert_eq!((done.deleted().len(), done.errors().len()), (0, 0));
    assert_eq!(bucket.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_thousand_keys_are_deleted_and_one_more_is_refused() {
    let bucket = Bucket::fresh().await;
    bucket.put_all(&["key-0000", "key-0999"]).await;
    let keys: Vec<String> = (0..1001).map(|index| format!("key-{index:04}")).collect();
    let delete = |count: usize| {
        let delete = of(identifiers(keys[..count].iter().map(String::as_str)), false);
        bucket.client.delete_objects().bucket(&bucket.name).delete(delete).send()
    };
    assert_refused(delete(1001).await, 400, "MalformedXML");
    assert_eq!(bucket.keys().await.len(), 2);
    assert_eq!(delete(1000).await.unwrap().deleted().len(), 1000);
    assert_eq!(bucket.keys().await, [""; 0]);
}

/// The longest keys make a request that does not fit one entry of a log.
#[tokio::test]
async fn a_thousand_of_the_longest_keys_are_deleted() {
    let bucket = Bucket::fresh().await;
    let keys: Vec<String> = (0..1000).map(|index| format!("{index:04}{}", "k".repeat(1020))).collect();
    bucket.put(&keys[0], "first").send().await.unwrap();
    bucket.put(&keys[999], "last").send().await.unwrap();
    let delete = of(identifiers(keys.iter().map(String::as_str)), true);
    let done = bucket.client.delete_objects().bucket(&bucket.name).delete(delete).send().await.unwrap();
    assert_eq!(done.errors().len(), 0);
    assert_eq!(bucket.keys().await, [""; 0]);
}

#[tokio::test]
async fn each_key_may_have_its_own_condition() {
    let bucket = Bucket::fresh().await;
    let first = bucket.put("a", "1").send().await.unwrap();
    bucket.put("b", "2").send().await.unwrap();
    let with = |key: &str, etag: &str| ObjectIdentifier::builder().key(key).e_tag(etag).build().unwrap();
    let delete =
        of(vec![with("a", first.e_tag().unwrap()), with("b", "\"00000000000000000000000000000000\"")], false);
    let done = bucket.client.delete_objects().bucket(&bucket.name).delete(delete).send().await.unwrap();
    assert_eq!(done.deleted().len(), 1);
    assert_eq!(done.deleted()[0].key(), Some("a"));
    assert_eq!(done.errors().len(), 1);
    assert_eq!((done.errors()[0].key(), done.errors()[0].code()), (Some("b"), Some("PreconditionFailed")));
    assert_eq!(bucket.keys().await, ["b"]);
}

#[tokio::test]
async fn a_key_named_twice_is_deleted_once_and_told_twice() {
    let bucket = Bucket::fresh().await;
    bucket.put_all(&["a"]).await;
    let delete = of(identifiers(["a", "a"]), false);
    let done = bucket.client.delete_objects().bucket(&bucket.name).delete(delete).send().await.unwrap();
    assert_eq!((done.deleted().len(), done.errors().len()), (2, 0));
    assert_eq!(bucket.keys().await, [""; 0]);
}

const BODY: &str = "<Delete><Object><Key>a</Key></Object></Delete>";

fn raw(bucket: &str) -> Request {
    Request::new("POST", format!("/{bucket}")).query("delete", "").body(BODY)
}

/// Older clients send an MD5, newer ones a checksum; a signed body speaks for itself.
#[tokio::test]
async fn any_digest_of_the_list_will_do() {
    let bucket = Bucket::fresh().await;
    let body = BODY.as_bytes();
    let ways = [
        raw(&bucket.name).header("content-md5", content_md5(body)).signed_as(sign::UNSIGNED),
        raw(&bucket.name).header("x-amz-checksum-crc32", Algorithm::Crc32.of(body)).signed_as(sign::UNSIGNED),
        raw(&bucket.name).header("x-amz-checksum-sha256", Algorithm::Sha256.of(body)).signed(),
        raw(&bucket.name).signed(),
    ];
    for request in ways {
        bucket.put("a", "value").send().await.unwrap();
        request.send().expect(200);
        assert!(!bucket.has("a").await);
    }
}

#[tokio::test]
async fn a_list_that_fails_its_digest_deletes_nothing() {
    let bucket = Bucket::fresh().await;
    bucket.put("a", "value").send().await.unwrap();
    raw(&bucket.name).header("content-md5", content_md5(b"x")).signed().send().refused(400, "BadDigest");
    let crc = Algorithm::Crc32.of(b"x");
    raw(&bucket.name).header("x-amz-checksum-crc32", crc).signed().send().refused(400, "BadDigest");
    assert!(bucket.has("a").await);
}

#[tokio::test]
async fn a_list_that_is_none_is_refused() {
    let bucket = Bucket::fresh().await;
    bucket.put("a", "value").send().await.unwrap();
    for body in [
        "",
        "x",
        "<Delete></Delete>",
        "<Delete><Object></Object></Delete>",
        "<Delete><Object><Key>a</Key></Object>",
        "<Other><Object><Key>a</Key></Object></Other>",
        "<Delete><Object><Key></Key></Object></Delete>",
    ] {
        let answer = raw(&bucket.name).body(body).signed().send();
        assert_eq!(answer.status, 400, "{body:?}: {}", answer.text());
    }
    assert!(bucket.has("a").await);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_has_nothing_to_delete() {
    raw(&fresh_name()).signed().send().refused(404, "NoSuchBucket");
}

/// Entities stand for what a document cannot hold as it is.
#[tokio::test]
async fn keys_in_the_list_are_read_as_xml_has_them() {
    let bucket = Bucket::fresh().await;
    let keys = ["a&b", "line\nfeed", "tab\tand \u{1}", " spaces "];
    bucket.put_all(&keys).await;
    let body = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
        <Object><Key>a&amp;b</Key></Object>\n  <Object><Key>line&#10;feed</Key></Object>\
        <Object><Key>tab&#x9;and &#1;</Key></Object><Object><Key> spaces </Key></Object></Delete>";
    let answer = raw(&bucket.name).body(body).signed().send().expect(200);
    assert_eq!(answer.elements("Deleted").len(), 4, "{}", answer.text());
    assert_eq!(bucket.keys().await, [""; 0]);
}
