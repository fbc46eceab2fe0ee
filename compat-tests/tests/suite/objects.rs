//! Objects: to put, to get, to look at and to delete.

use compat_tests::checksums::etag;
use compat_tests::raw::Request;
use compat_tests::sdk::{assert_refused, assert_status, client};

use crate::bucket::{Bucket, bytes, fresh_name};

/// Sizes around those at which a store may change how it keeps bytes.
#[tokio::test]
async fn what_was_put_is_what_is_got_whatever_its_size() {
    let bucket = Bucket::fresh().await;
    let mut sizes = vec![0, 1, 2, 255, 4096, 65_536, 1 << 20];
    for edge in [16 << 10, 64 << 10, 256 << 10, 4 << 20, 8 << 20] {
        sizes.extend([edge - 1, edge, edge + 1]);
    }
    for size in sizes {
        let body = bytes(size);
        let put = bucket.put("key", body.clone()).send().await.unwrap();
        assert_eq!(put.e_tag(), Some(etag(&body).as_str()), "{size}");
        let got = bucket.get("key").send().await.unwrap();
        assert_eq!(got.content_length(), i64::try_from(size).ok(), "{size}");
        assert_eq!(got.e_tag(), Some(etag(&body).as_str()), "{size}");
        assert!(got.body.collect().await.unwrap().to_vec() == body, "{size}");
    }
}

#[tokio::test]
async fn the_head_of_an_object_says_what_getting_it_says() {
    let bucket = Bucket::fresh().await;
    let body = bytes(100_000);
    bucket.put("key", body.clone()).content_type("text/plain").send().await.unwrap();
    let (head, got) = (bucket.head("key").send().await.unwrap(), bucket.get("key").send().await.unwrap());
    assert_eq!(head.content_length(), Some(100_000));
    assert_eq!(head.content_length(), got.content_length());
    assert_eq!(head.e_tag(), got.e_tag());
    assert_eq!(head.last_modified(), got.last_modified());
    assert_eq!(head.content_type(), Some("text/plain"));
    assert_eq!(head.accept_ranges(), Some("bytes"));
    assert_eq!(got.accept_ranges(), Some("bytes"));
}

#[tokio::test]
async fn an_object_was_last_modified_when_it_was_put() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let modified = bucket.head("key").send().await.unwrap().last_modified().unwrap().secs();
    let now = jiff::Timestamp::now().as_second();
    assert!((now - 120..=now + 120).contains(&modified), "{modified} {now}");
}

/// The digits of an MD5 in quotes: some clients decode it.
#[tokio::test]
async fn the_etag_of_an_object_is_its_md5() {
    let bucket = Bucket::fresh().await;
    let put = bucket.put("key", "The quick brown fox jumps over the lazy dog").send().await.unwrap();
    assert_eq!(put.e_tag(), Some("\"9e107d9d372bb6826bd81d3542a419d6\""));
}

#[tokio::test]
async fn a_later_put_replaces_all_of_an_earlier_one() {
    let bucket = Bucket::fresh().await;
    let first = bucket.put("key", bytes(100_000)).metadata("a", "1").content_type("text/plain");
    first.send().await.unwrap();
    bucket.put("key", "short").send().await.unwrap();
    let got = bucket.get("key").send().await.unwrap();
    assert_eq!(got.metadata().map(|metadata| metadata.len()), Some(0));
    assert_ne!(got.content_type(), Some("text/plain"));
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"short");
    assert_eq!(bucket.keys().await, ["key"]);
}

#[tokio::test]
async fn what_was_never_put_cannot_be_got() {
    let bucket = Bucket::fresh().await;
    let missing = bucket.get("key").send().await;
    assert!(missing.as_ref().is_err_and(|error| error.as_service_error().unwrap().is_no_such_key()));
    assert_refused(missing, 404, "NoSuchKey");
    assert_status(bucket.head("key").send().await, 404);
}

#[tokio::test]
async fn without_a_bucket_there_is_no_object() {
    let (client, name) = (client(), fresh_name());
    let get = client.get_object().bucket(&name).key("key").send().await;
    assert_refused(get, 404, "NoSuchBucket");
    let put = client.put_object().bucket(&name).key("key").body(b"value".to_vec().into()).send().await;
    assert_refused(put, 404, "NoSuchBucket");
    let delete = client.delete_object().bucket(&name).key("key").send().await;
    assert_refused(delete, 404, "NoSuchBucket");
    assert_status(client.head_object().bucket(&name).key("key").send().await, 404);
}

#[tokio::test]
async fn a_deleted_object_is_gone() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    bucket.delete("key").send().await.unwrap();
    assert_refused(bucket.get("key").send().await, 404, "NoSuchKey");
    assert_eq!(bucket.keys().await, [""; 0]);
}

#[tokio::test]
async fn to_delete_what_is_not_there_succeeds() {
    let bucket = Bucket::fresh().await;
    bucket.delete("key").send().await.unwrap();
    let answer = Request::new("DELETE", bucket.path("key")).signed().send();
    assert_eq!(answer.expect(204).body, b"");
}

/// Nothing is a directory: these are four objects.
#[tokio::test]
async fn keys_that_differ_by_a_slash_are_different_objects() {
    let bucket = Bucket::fresh().await;
    let keys = ["a", "a/", "a//b", "a/b"];
    bucket.put_all(&keys).await;
    for key in keys {
        assert_eq!(bucket.bytes(key).await, key.as_bytes());
    }
    bucket.delete("a").send().await.unwrap();
    assert_eq!(bucket.keys().await, ["a/", "a//b", "a/b"]);
}

#[tokio::test]
async fn an_object_of_no_bytes_is_an_object() {
    let bucket = Bucket::fresh().await;
    let put = bucket.put("empty", "").send().await.unwrap();
    assert_eq!(put.e_tag(), Some("\"d41d8cd98f00b204e9800998ecf8427e\""));
    let got = bucket.get("empty").send().await.unwrap();
    assert_eq!(got.content_length(), Some(0));
    assert_eq!(bucket.keys().await, ["empty"]);
}

#[tokio::test]
async fn a_key_of_1024_bytes_is_kept_and_one_more_byte_is_refused() {
    let bucket = Bucket::fresh().await;
    let longest = "k".repeat(1024);
    bucket.put(&longest, "value").send().await.unwrap();
    assert_eq!(bucket.bytes(&longest).await, b"value");
    // Bytes count, not characters.
    for key in ["k".repeat(1025), "ü".repeat(513)] {
        assert_refused(bucket.put(&key, "value").send().await, 400, "KeyTooLongError");
    }
    assert_eq!(bucket.keys().await, [longest]);
}

/// Each answer can be found in the logs of the server.
#[tokio::test]
async fn every_answer_has_a_request_id_and_no_two_have_the_same() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let ids: Vec<String> = ["key", "key", "missing"]
        .map(|key| Request::new("GET", bucket.path(key)).signed().send())
        .map(|answer| answer.header("x-amz-request-id").unwrap().to_owned())
        .to_vec();
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids.iter().all(|id| !id.is_empty()), "{ids:?}");
}

/// A store that is asked for a version it cannot have must not answer with another one.
#[tokio::test]
async fn the_version_null_is_the_object_and_others_are_not_there() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let got = bucket.get("key").version_id("null").send().await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"value");
    bucket.head("key").version_id("null").send().await.unwrap();
    let other = bucket.get("key").version_id("3HL4kqCxf3vjVBH40Nrjfkd").send().await;
    let (status, code) = compat_tests::sdk::Refusal::refusal(other);
    assert!(matches!((status, code.as_str()), (404, "NoSuchVersion") | (400, "InvalidArgument")), "{code}");
    bucket.delete("key").version_id("null").send().await.unwrap();
    assert!(!bucket.has("key").await);
}

/// Tools send it with every request, to say which operation they mean.
#[tokio::test]
async fn the_name_of_the_operation_in_the_query_is_passed_over() {
    let bucket = Bucket::fresh().await;
    let put = Request::new("PUT", bucket.path("key")).query("x-id", "PutObject").body("value");
    put.signed().send().expect(200);
    let get = Request::new("GET", bucket.path("key")).query("x-id", "GetObject");
    assert_eq!(get.signed().send().expect(200).body, b"value");
}

#[tokio::test]
async fn many_objects_can_be_put_at_the_same_time() {
    let bucket = Bucket::fresh().await;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..32 {
        let put = bucket.put(&format!("key-{index:02}"), bytes(20_000 + index));
        tasks.spawn(async move { put.send().await.unwrap() });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    for index in 0..32 {
        assert!(bucket.bytes(&format!("key-{index:02}")).await == bytes(20_000 + index));
    }
}

/// One of them wins as a whole.
#[tokio::test]
async fn puts_of_one_key_at_the_same_time_are_not_mixed() {
    let bucket = Bucket::fresh().await;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..8_u8 {
        let put = bucket.put("key", vec![index; 300_000]);
        tasks.spawn(async move { put.send().await.unwrap() });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let got = bucket.bytes("key").await;
    assert_eq!(got.len(), 300_000);
    assert!(got.iter().all(|byte| *byte == got[0]));
}
