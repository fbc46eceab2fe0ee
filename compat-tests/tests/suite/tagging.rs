//! Tags of objects.

use aws_sdk_s3::types::{Tag, Tagging};
use compat_tests::raw::Request;
use compat_tests::sdk::{assert_refused, assert_status};

use crate::bucket::Bucket;

fn tags(of: &[(&str, &str)]) -> Tagging {
    let tag = |&(key, value): &(&str, &str)| Tag::builder().key(key).value(value).build().unwrap();
    Tagging::builder().set_tag_set(Some(of.iter().map(tag).collect())).build().unwrap()
}

async fn tags_of(bucket: &Bucket, key: &str) -> Vec<(String, String)> {
    let found = bucket.client.get_object_tagging().bucket(&bucket.name).key(key).send().await.unwrap();
    let mut found: Vec<(String, String)> =
        found.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect();
    found.sort();
    found
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Large copies between buckets read them: no tags is no error.
#[tokio::test]
async fn an_object_without_tags_has_an_empty_set() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    assert_eq!(tags_of(&bucket, "key").await, []);
    assert_eq!(bucket.get("key").send().await.unwrap().tag_count(), None);
}

#[tokio::test]
async fn tags_are_set_replaced_and_removed() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").metadata("kept", "yes").send().await.unwrap();
    let before = bucket.head("key").send().await.unwrap();
    let put =
        |of: Tagging| bucket.client.put_object_tagging().bucket(&bucket.name).key("key").tagging(of).send();
    put(tags(&[("a", "1"), ("b + c:d", "ü = x/y@z_.-"), ("empty", "")])).await.unwrap();
    assert_eq!(
        tags_of(&bucket, "key").await,
        owned(&[("a", "1"), ("b + c:d", "ü = x/y@z_.-"), ("empty", "")])
    );
    assert_eq!(bucket.get("key").send().await.unwrap().tag_count(), Some(3));
    put(tags(&[("z", "26")])).await.unwrap();
    assert_eq!(tags_of(&bucket, "key").await, owned(&[("z", "26")]));
    bucket.client.delete_object_tagging().bucket(&bucket.name).key("key").send().await.unwrap();
    assert_eq!(tags_of(&bucket, "key").await, []);

    let after = bucket.head("key").send().await.unwrap();
    assert_eq!(after.e_tag(), before.e_tag());
    assert_eq!(after.last_modified(), before.last_modified());
    assert_eq!(after.metadata().unwrap()["kept"], "yes");
    assert_eq!(bucket.bytes("key").await, b"value");
}

#[tokio::test]
async fn tags_may_come_with_the_object() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").tagging("a=1&b%20c=%C3%BC%2B&d=e+f&bare").send().await.unwrap();
    let expected = owned(&[("a", "1"), ("b c", "ü+"), ("bare", ""), ("d", "e f")]);
    assert_eq!(tags_of(&bucket, "key").await, expected);
    assert_eq!(bucket.head("key").send().await.unwrap().tag_count(), Some(4));
}

#[tokio::test]
async fn a_new_object_has_none_of_the_tags_of_the_old_one() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "1").tagging("a=1").send().await.unwrap();
    bucket.put("key", "2").send().await.unwrap();
    assert_eq!(tags_of(&bucket, "key").await, []);
}

#[tokio::test]
async fn tags_that_break_a_rule_are_refused_and_change_nothing() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").tagging("old=1").send().await.unwrap();
    let (long_key, long_value) = ("k".repeat(129), "v".repeat(257));
    let wrong: [&[(&str, &str)]; 5] = [
        &[("a", "1"), ("a", "2")],
        &[(&long_key, "1")],
        &[("a", &long_value)],
        &[("", "1")],
        &[("aws:reserved", "1")],
    ];
    for pairs in wrong {
        let put = bucket.client.put_object_tagging().bucket(&bucket.name).key("key").tagging(tags(pairs));
        assert_refused(put.send().await, 400, "InvalidTag");
    }
    assert_eq!(tags_of(&bucket, "key").await, owned(&[("old", "1")]));
}

#[tokio::test]
async fn ten_tags_are_kept_and_eleven_are_refused() {
    let bucket = Bucket::fresh().await;
    let keys: Vec<String> = (0..11).map(|index| format!("key-{index:02}")).collect();
    let query =
        |count: usize| keys[..count].iter().map(|key| format!("{key}=v")).collect::<Vec<_>>().join("&");
    bucket.put("key", "value").tagging(query(10)).send().await.unwrap();
    assert_eq!(tags_of(&bucket, "key").await.len(), 10);
    assert_status(bucket.put("other", "value").tagging(query(11)).send().await, 400);
    assert!(!bucket.has("other").await);
    let pairs: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();
    let put = bucket.client.put_object_tagging().bucket(&bucket.name).key("key").tagging(tags(&pairs));
    assert_status(put.send().await, 400);
}

/// Lengths are those of characters, not of bytes.
#[tokio::test]
async fn the_longest_tag_is_kept() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let (key, value) = ("ü".repeat(128), "ß".repeat(256));
    let put = bucket.client.put_object_tagging().bucket(&bucket.name).key("key");
    put.tagging(tags(&[(&key, &value)])).send().await.unwrap();
    assert_eq!(tags_of(&bucket, "key").await, [(key, value)]);
}

#[tokio::test]
async fn what_is_not_there_has_no_tags() {
    let bucket = Bucket::fresh().await;
    let (client, name) = (&bucket.client, &bucket.name);
    let get = client.get_object_tagging().bucket(name).key("missing").send().await;
    assert_refused(get, 404, "NoSuchKey");
    let put = client.put_object_tagging().bucket(name).key("missing").tagging(tags(&[("a", "1")]));
    assert_refused(put.send().await, 404, "NoSuchKey");
    let delete = client.delete_object_tagging().bucket(name).key("missing").send().await;
    assert_refused(delete, 404, "NoSuchKey");
}

#[tokio::test]
async fn tags_that_are_no_document_are_refused() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    for body in ["", "tags", "<Tagging>", "<Tagging></Tagging>", "<Other><TagSet/></Other>"] {
        let put = Request::new("PUT", bucket.path("key")).query("tagging", "").body(body);
        let answer = put.signed().send();
        assert_eq!(answer.status, 400, "{body:?}: {}", answer.text());
        let code = answer.element("Code").unwrap();
        assert!(matches!(code.as_str(), "MalformedXML" | "MissingRequestBodyError"), "{body:?}: {code}");
    }
}
