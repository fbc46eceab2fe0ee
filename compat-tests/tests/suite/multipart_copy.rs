//! Parts that are copied on the server.

use aws_sdk_s3::operation::upload_part_copy::builders::UploadPartCopyFluentBuilder;
use compat_tests::checksums::etag;
use compat_tests::sdk::{assert_refused, assert_status};

use crate::bucket::{Bucket, bytes};
use crate::multipart::{PART, Upload, part};

const OTHER: &str = "\"00000000000000000000000000000000\"";

fn copy(bucket: &Bucket, upload: &Upload<'_>, number: i32, from: &str) -> UploadPartCopyFluentBuilder {
    let copy = bucket.client.upload_part_copy().bucket(&bucket.name).key(&upload.key);
    copy.upload_id(&upload.id).part_number(number).copy_source(bucket.source(from))
}

#[tokio::test]
async fn a_part_may_be_a_whole_object() {
    let bucket = Bucket::fresh().await;
    let body = bytes(PART + 3);
    bucket.put("from", body.clone()).send().await.unwrap();
    let upload = Upload::begin(&bucket, "key").await;
    let copied = copy(&bucket, &upload, 1, "from").send().await.unwrap();
    let result = copied.copy_part_result().unwrap();
    assert_eq!(result.e_tag(), Some(etag(&body).as_str()));
    assert!(result.last_modified().is_some());
    let parts = [part(1, result.e_tag().unwrap()), upload.put(2, "end").await];
    upload.complete(&parts).send().await.unwrap();
    assert!(bucket.bytes("key").await == [body, b"end".to_vec()].concat());
}

/// The way to change the middle of a large object.
#[tokio::test]
async fn a_part_may_be_a_range_of_an_object() {
    let bucket = Bucket::fresh().await;
    let body = bytes(12 << 20);
    bucket.put("from", body.clone()).send().await.unwrap();
    let upload = Upload::begin(&bucket, "from").await;
    let mut parts = Vec::new();
    for (number, first, last) in [(1, 0, PART - 1), (3, PART + 4, (12 << 20) - 1)] {
        let copied = copy(&bucket, &upload, number, "from");
        let copied = copied.copy_source_range(format!("bytes={first}-{last}")).send().await.unwrap();
        // Not the MD5 of the bytes if nobody had to read them: only what completing asks for.
        let copied = copied.copy_part_result().unwrap().e_tag().unwrap().to_owned();
        parts.push(part(number, &copied));
    }
    upload.complete(&parts).send().await.unwrap();
    assert!(bucket.bytes("from").await == [&body[..PART], &body[PART + 4..]].concat());
}

#[tokio::test]
async fn a_range_across_the_parts_of_the_source_is_copied() {
    let bucket = Bucket::fresh().await;
    let bodies = [bytes(PART), bytes(PART + 1), bytes(50)];
    crate::multipart::upload(&bucket, "from", &bodies).await;
    let whole = bodies.concat();
    let upload = Upload::begin(&bucket, "key").await;
    let (first, last) = (PART - 10, 2 * PART + 20);
    let copied = copy(&bucket, &upload, 1, "from").copy_source_range(format!("bytes={first}-{last}"));
    let copied = copied.send().await.unwrap();
    let copied = copied.copy_part_result().unwrap().e_tag().unwrap().to_owned();
    assert_eq!(copied, etag(&whole[first..=last]));
    upload.complete(&[part(1, &copied)]).send().await.unwrap();
    assert!(bucket.bytes("key").await == whole[first..=last]);
}

#[tokio::test]
async fn a_copied_part_outlives_its_source() {
    let bucket = Bucket::fresh().await;
    bucket.put("from", bytes(PART)).send().await.unwrap();
    let upload = Upload::begin(&bucket, "key").await;
    let copied = copy(&bucket, &upload, 1, "from").send().await.unwrap();
    bucket.delete("from").send().await.unwrap();
    let copied = part(1, copied.copy_part_result().unwrap().e_tag().unwrap());
    upload.complete(&[copied]).send().await.unwrap();
    assert!(bucket.bytes("key").await == bytes(PART));
}

#[tokio::test]
async fn a_range_that_the_source_has_not_is_refused() {
    let bucket = Bucket::fresh().await;
    bucket.put("from", bytes(1000)).send().await.unwrap();
    let upload = Upload::begin(&bucket, "key").await;
    for range in ["bytes=0-1000", "bytes=1000-1001", "bytes=9-5", "bytes=5-", "bytes=-5", "0-5", "bytes=a-b"]
    {
        let copied = copy(&bucket, &upload, 1, "from").copy_source_range(range).send().await;
        let (status, code) = compat_tests::sdk::Refusal::refusal(copied);
        let proper = matches!((status, code.as_str()), (400, "InvalidArgument") | (416, "InvalidRange"));
        assert!(proper, "{range}: {status} {code}");
    }
}

#[tokio::test]
async fn conditions_on_the_source_are_looked_at() {
    let bucket = Bucket::fresh().await;
    let put = bucket.put("from", "value").send().await.unwrap();
    let etag = put.e_tag().unwrap();
    let upload = Upload::begin(&bucket, "key").await;
    let copy = || copy(&bucket, &upload, 1, "from");
    assert_refused(copy().copy_source_if_match(OTHER).send().await, 412, "PreconditionFailed");
    assert_refused(copy().copy_source_if_none_match(etag).send().await, 412, "PreconditionFailed");
    copy().copy_source_if_match(etag).send().await.unwrap();
}

#[tokio::test]
async fn a_part_of_what_is_not_there_is_refused() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    assert_refused(copy(&bucket, &upload, 1, "missing").send().await, 404, "NoSuchKey");
    bucket.put("from", "value").send().await.unwrap();
    let unknown = Upload::begin(&bucket, "other").await;
    let wrong = copy(&bucket, &unknown, 1, "from").upload_id("unknown").send().await;
    assert_refused(wrong, 404, "NoSuchUpload");
    assert_status(copy(&bucket, &upload, 10_001, "from").send().await, 400);
}
