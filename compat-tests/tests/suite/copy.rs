//! Copies on the server.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, MetadataDirective, TaggingDirective};
use aws_smithy_types::DateTime;
use compat_tests::checksums::{Algorithm, etag};
use compat_tests::raw::Request;
use compat_tests::sdk::assert_refused;

use crate::bucket::{Bucket, bytes};

const OTHER: &str = "\"00000000000000000000000000000000\"";

#[tokio::test]
async fn a_copy_has_the_bytes_and_the_etag_of_its_source() {
    let bucket = Bucket::fresh().await;
    for size in [0, 10, 100_000, 9 << 20] {
        let body = bytes(size);
        bucket.put("from", body.clone()).send().await.unwrap();
        let copied = bucket.copy("from", "to").send().await.unwrap();
        let result = copied.copy_object_result().unwrap();
        assert_eq!(result.e_tag(), Some(etag(&body).as_str()), "{size}");
        assert!(result.last_modified().is_some());
        assert!(bucket.bytes("to").await == body, "{size}");
    }
}

#[tokio::test]
async fn a_copy_outlives_its_source() {
    let bucket = Bucket::fresh().await;
    for size in [100, 5 << 20] {
        bucket.put("from", bytes(size)).send().await.unwrap();
        bucket.copy("from", "to").send().await.unwrap();
        bucket.delete("from").send().await.unwrap();
        assert!(bucket.bytes("to").await == bytes(size));
        bucket.put("from", "other").send().await.unwrap();
        assert!(bucket.bytes("to").await == bytes(size));
    }
}

#[tokio::test]
async fn a_copy_may_go_to_another_bucket() {
    let (from, to) = (Bucket::fresh().await, Bucket::fresh().await);
    from.put("key", "value").send().await.unwrap();
    let copy = to.client.copy_object().bucket(&to.name).key("key").copy_source(from.source("key"));
    copy.send().await.unwrap();
    assert_eq!(to.bytes("key").await, b"value");
}

#[tokio::test]
async fn a_copy_takes_the_metadata_along() {
    let bucket = Bucket::fresh().await;
    let put =
        bucket.put("from", "value").metadata("a", "1").content_type("text/plain").cache_control("no-store");
    put.tagging("tag=kept").send().await.unwrap();
    bucket.copy("from", "to").send().await.unwrap();
    let head = bucket.head("to").send().await.unwrap();
    assert_eq!(head.metadata().unwrap()["a"], "1");
    assert_eq!(head.content_type(), Some("text/plain"));
    assert_eq!(head.cache_control(), Some("no-store"));
    let tags = bucket.client.get_object_tagging().bucket(&bucket.name).key("to").send().await.unwrap();
    assert_eq!((tags.tag_set()[0].key(), tags.tag_set()[0].value()), ("tag", "kept"));
}

/// What is sent beside a copy counts only if it is to replace.
#[tokio::test]
async fn metadata_sent_with_a_copy_is_passed_over_unless_it_replaces() {
    let bucket = Bucket::fresh().await;
    bucket.put("from", "value").metadata("a", "1").send().await.unwrap();
    bucket.copy("from", "to").metadata("b", "2").send().await.unwrap();
    let kept = bucket.head("to").send().await.unwrap();
    assert_eq!(kept.metadata().unwrap().get("a").map(String::as_str), Some("1"));
    assert_eq!(kept.metadata().unwrap().len(), 1);

    let copy = bucket.copy("from", "to").metadata("b", "2").content_type("text/css");
    copy.metadata_directive(MetadataDirective::Replace).send().await.unwrap();
    let replaced = bucket.head("to").send().await.unwrap();
    assert_eq!(replaced.metadata().unwrap().get("b").map(String::as_str), Some("2"));
    assert_eq!(replaced.metadata().unwrap().len(), 1);
    assert_eq!(replaced.content_type(), Some("text/css"));
}

#[tokio::test]
async fn tags_of_a_copy_are_kept_or_replaced() {
    let bucket = Bucket::fresh().await;
    bucket.put("from", "value").tagging("a=1").send().await.unwrap();
    let copy = bucket.copy("from", "to").tagging("b=2").tagging_directive(TaggingDirective::Replace);
    copy.send().await.unwrap();
    let tags = bucket.client.get_object_tagging().bucket(&bucket.name).key("to").send().await.unwrap();
    let tags: Vec<_> = tags.tag_set().iter().map(|tag| (tag.key(), tag.value())).collect();
    assert_eq!(tags, [("b", "2")]);
}

#[tokio::test]
async fn an_object_copied_onto_itself_unchanged_is_refused() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    assert_refused(bucket.copy("key", "key").send().await, 400, "InvalidRequest");
}

/// The way to set a time, a mode or a type.
#[tokio::test]
async fn an_object_copied_onto_itself_changes_its_metadata() {
    let bucket = Bucket::fresh().await;
    for size in [100, 9 << 20] {
        bucket.put("key", bytes(size)).metadata("a", "1").send().await.unwrap();
        let copy = bucket.copy("key", "key").metadata("b", "2");
        copy.metadata_directive(MetadataDirective::Replace).send().await.unwrap();
        let head = bucket.head("key").send().await.unwrap();
        assert_eq!(head.metadata().unwrap().get("b").map(String::as_str), Some("2"));
        assert_eq!(head.e_tag(), Some(etag(&bytes(size)).as_str()));
        assert!(bucket.bytes("key").await == bytes(size));
    }
}

#[tokio::test]
async fn conditions_on_the_source_are_looked_at() {
    let bucket = Bucket::fresh().await;
    let put = bucket.put("from", "value").send().await.unwrap();
    let etag = put.e_tag().unwrap();
    let copy = || bucket.copy("from", "to");
    let (past, future) =
        (SystemTime::now() - Duration::from_secs(3600), SystemTime::now() + Duration::from_secs(3600));
    let (past, future) = (DateTime::from(past), DateTime::from(future));

    assert_refused(copy().copy_source_if_match(OTHER).send().await, 412, "PreconditionFailed");
    assert_refused(copy().copy_source_if_none_match(etag).send().await, 412, "PreconditionFailed");
    assert_refused(copy().copy_source_if_unmodified_since(past).send().await, 412, "PreconditionFailed");
    let now = DateTime::from(SystemTime::now());
    assert_refused(copy().copy_source_if_modified_since(now).send().await, 412, "PreconditionFailed");
    assert!(!bucket.has("to").await);

    copy().copy_source_if_match(etag).send().await.unwrap();
    copy().copy_source_if_none_match(OTHER).send().await.unwrap();
    copy().copy_source_if_unmodified_since(future).send().await.unwrap();
    copy().copy_source_if_modified_since(past).send().await.unwrap();
    copy().copy_source_if_match(etag).copy_source_if_unmodified_since(past).send().await.unwrap();
}

#[tokio::test]
async fn conditions_on_the_destination_are_looked_at() {
    let bucket = Bucket::fresh().await;
    bucket.put("from", "value").send().await.unwrap();
    bucket.copy("from", "to").if_none_match("*").send().await.unwrap();
    let again = bucket.copy("from", "to").if_none_match("*").send().await;
    assert_refused(again, 412, "PreconditionFailed");
    let other = bucket.put("to", "other").send().await.unwrap();
    assert_refused(bucket.copy("from", "to").if_match(OTHER).send().await, 412, "PreconditionFailed");
    assert_eq!(bucket.bytes("to").await, b"other");
    bucket.copy("from", "to").if_match(other.e_tag().unwrap()).send().await.unwrap();
    assert_eq!(bucket.bytes("to").await, b"value");
}

#[tokio::test]
async fn what_is_not_there_cannot_be_copied() {
    let bucket = Bucket::fresh().await;
    assert_refused(bucket.copy("missing", "to").send().await, 404, "NoSuchKey");
    let copy = bucket.client.copy_object().bucket(&bucket.name).key("to");
    let elsewhere = copy.copy_source("compat-no-such-bucket/key").send().await;
    assert_refused(elsewhere, 404, "NoSuchBucket");
}

#[tokio::test]
async fn a_copy_into_a_bucket_that_is_not_there_is_refused() {
    let bucket = Bucket::fresh().await;
    bucket.put("from", "value").send().await.unwrap();
    let copy = bucket.client.copy_object().bucket("compat-no-such-bucket").key("to");
    assert_refused(copy.copy_source(bucket.source("from")).send().await, 404, "NoSuchBucket");
}

/// With or without a leading slash, and with the version that everything has.
#[tokio::test]
async fn the_source_may_be_spelled_in_several_ways() {
    let bucket = Bucket::fresh().await;
    let odd = "with space/ünïcode+plus%25?";
    bucket.put(odd, "value").send().await.unwrap();
    let source = bucket.source(odd);
    for source in [source.clone(), format!("/{source}"), format!("{source}?versionId=null")] {
        let copy = bucket.client.copy_object().bucket(&bucket.name).key("to").copy_source(&source);
        copy.send().await.unwrap_or_else(|error| panic!("{source}: {error:?}"));
        assert_eq!(bucket.bytes("to").await, b"value");
        bucket.delete("to").send().await.unwrap();
    }
}

#[tokio::test]
async fn a_source_that_is_none_is_refused() {
    let bucket = Bucket::fresh().await;
    for source in ["", "/", "only-a-bucket", "bucket/", "%ff%fe"] {
        let copy = Request::new("PUT", bucket.path("to")).header("x-amz-copy-source", source);
        let answer = copy.signed().send();
        assert_eq!(answer.status, 400, "{source:?}: {}", answer.text());
    }
    let other = Request::new("PUT", bucket.path("to"))
        .header("x-amz-copy-source", bucket.source("x"))
        .header("x-amz-metadata-directive", "SHRED");
    other.signed().send().refused(400, "InvalidArgument");
}

#[tokio::test]
async fn a_copy_keeps_the_checksum_or_gets_the_one_asked_for() {
    let bucket = Bucket::fresh().await;
    let body = bytes(100_000);
    let put = bucket.put("from", body.clone()).checksum_algorithm(ChecksumAlgorithm::Sha256);
    put.send().await.unwrap();
    bucket.copy("from", "to").send().await.unwrap();
    let head = bucket.head("to").checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    assert_eq!(head.checksum_sha256(), Some(Algorithm::Sha256.of(&body).as_str()));

    match bucket.copy("from", "to").checksum_algorithm(ChecksumAlgorithm::Crc32C).send().await {
        Err(error) => assert_refused(error, 501, "NotImplemented"),
        Ok(_) => {
            let head = bucket.head("to").checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
            assert_eq!(head.checksum_crc32_c(), Some(Algorithm::Crc32c.of(&body).as_str()));
        }
    }
}

#[tokio::test]
async fn an_object_of_parts_is_copied_with_its_bytes() {
    let bucket = Bucket::fresh().await;
    let parts = [bytes(5 << 20), bytes(1000)];
    crate::multipart::upload(&bucket, "from", &parts).await;
    bucket.copy("from", "to").send().await.unwrap();
    assert!(bucket.bytes("to").await == parts.concat());
    bucket.delete("from").send().await.unwrap();
    assert!(bucket.bytes("to").await == parts.concat());
}
