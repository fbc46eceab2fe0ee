//! Digests and checksums: verified on the way in, told on the way out.

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, ChecksumType};
use compat_tests::checksums::{Algorithm, content_md5};
use compat_tests::raw::Request;
use compat_tests::sdk::{assert_refused, assert_status};

use crate::bucket::{Bucket, bytes};

#[tokio::test]
async fn each_checksum_in_a_header_is_kept_and_told_when_asked_for() {
    let bucket = Bucket::fresh().await;
    let body = bytes(70_000);
    for algorithm in Algorithm::ALL {
        let value = algorithm.of(&body);
        let put = Request::new("PUT", bucket.path("key")).header(&algorithm.header(), &value).body(&body);
        let put = put.signed().send().expect(200);
        assert_eq!(put.header(&algorithm.header()), Some(value.as_str()), "{algorithm:?}");
        for method in ["GET", "HEAD"] {
            let asking = Request::new(method, bucket.path("key")).header("x-amz-checksum-mode", "ENABLED");
            let told = asking.signed().send().expect(200);
            assert_eq!(told.header(&algorithm.header()), Some(value.as_str()), "{method} {algorithm:?}");
            assert_eq!(told.header("x-amz-checksum-type"), Some("FULL_OBJECT"), "{method} {algorithm:?}");
            let silent = Request::new(method, bucket.path("key")).signed().send().expect(200);
            assert_eq!(silent.header(&algorithm.header()), None, "{method} {algorithm:?}");
        }
    }
}

#[tokio::test]
async fn each_checksum_in_a_trailer_is_kept() {
    let bucket = Bucket::fresh().await;
    let body = bytes(200_000);
    let pieces: Vec<&[u8]> = body.chunks(65_536).collect();
    for algorithm in Algorithm::ALL {
        let (name, value) = (algorithm.header(), algorithm.of(&body));
        let request = Request::new("PUT", bucket.path("key"));
        let ways = [
            request.clone().unsigned_chunks_with_trailer(&pieces, &[(&name, &value)]),
            request.chunked_with_trailer(&pieces, &[(&name, &value)]),
        ];
        for put in ways {
            put.send().expect(200);
            let asking = Request::new("GET", bucket.path("key")).header("x-amz-checksum-mode", "ENABLED");
            let told = asking.signed().send().expect(200);
            assert_eq!(told.header(&name), Some(value.as_str()), "{algorithm:?}");
            assert!(told.body == body, "{algorithm:?}");
            bucket.delete("key").send().await.unwrap();
        }
    }
}

/// What the SDK adds by itself is what it checks by itself when it reads.
#[tokio::test]
async fn the_checksums_of_the_sdk_go_both_ways() {
    let bucket = Bucket::fresh().await;
    for algorithm in [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ] {
        for size in [0, 10, 1 << 20] {
            let body = bytes(size);
            let put = bucket.put("key", body.clone()).checksum_algorithm(algorithm.clone());
            put.send().await.unwrap();
            let got = bucket.get("key").checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
            assert_eq!(got.checksum_type(), Some(&ChecksumType::FullObject));
            // Collecting fails if the bytes do not fit the checksum.
            assert!(got.body.collect().await.unwrap().to_vec() == body, "{algorithm:?} {size}");
        }
    }
}

#[tokio::test]
async fn a_body_that_fails_its_checksum_is_refused_and_stores_nothing() {
    let bucket = Bucket::fresh().await;
    // One that travels with its record, and one that is stored before.
    for body in [bytes(100), bytes(5 << 20)] {
        for algorithm in Algorithm::ALL {
            let wrong = algorithm.of(b"something else");
            let put = Request::new("PUT", bucket.path("key")).header(&algorithm.header(), wrong).body(&body);
            put.signed().send().refused(400, "BadDigest");
            assert!(!bucket.has("key").await, "{algorithm:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_fails_the_checksum_of_its_trailer_stores_nothing() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "before").send().await.unwrap();
    let body = bytes(100_000);
    for algorithm in Algorithm::ALL {
        let (name, wrong) = (algorithm.header(), algorithm.of(b"something else"));
        let request = Request::new("PUT", bucket.path("key"));
        let put = request.clone().unsigned_chunks_with_trailer(&[&body], &[(&name, &wrong)]);
        put.send().refused(400, "BadDigest");
        let put = request.chunked_with_trailer(&[&body], &[(&name, &wrong)]);
        put.send().refused(400, "BadDigest");
    }
    assert_eq!(bucket.bytes("key").await, b"before");
}

#[tokio::test]
async fn a_body_that_fits_its_md5_is_kept_and_another_is_refused() {
    let bucket = Bucket::fresh().await;
    let body = bytes(30_000);
    let put = Request::new("PUT", bucket.path("key")).header("content-md5", content_md5(&body)).body(&body);
    put.signed().send().expect(200);
    let other = content_md5(b"something else");
    let put = Request::new("PUT", bucket.path("other")).header("content-md5", other).body(&body);
    put.signed().send().refused(400, "BadDigest");
    assert_eq!(bucket.keys().await, ["key"]);
}

#[tokio::test]
async fn an_md5_that_is_none_is_refused() {
    let bucket = Bucket::fresh().await;
    for value in ["", "x", "rL0Y20zC+Fzt72VPzMSk", "not base64 at all!", "YWJj"] {
        let put = Request::new("PUT", bucket.path("key")).header("content-md5", value).body("value");
        put.signed().send().refused(400, "InvalidDigest");
    }
    assert!(!bucket.has("key").await);
}

#[tokio::test]
async fn a_checksum_that_is_none_is_refused() {
    let bucket = Bucket::fresh().await;
    for algorithm in Algorithm::ALL {
        for value in ["x", "AAAA", "not base64!"] {
            let put = Request::new("PUT", bucket.path("key")).header(&algorithm.header(), value).body("v");
            put.signed().send().refused(400, "InvalidRequest");
        }
    }
    assert!(!bucket.has("key").await);
}

/// Programs that set the MD5 themselves get a checksum from their SDK as well.
#[tokio::test]
async fn an_md5_and_a_checksum_are_both_looked_at() {
    let bucket = Bucket::fresh().await;
    let (md5, crc) = (content_md5(b"value"), Algorithm::Crc32.of(b"value"));
    let put = |md5: &str, crc: &str| {
        let request = Request::new("PUT", bucket.path("key")).header("content-md5", md5);
        request.header("x-amz-checksum-crc32", crc).body("value").signed().send()
    };
    put(&md5, &crc).expect(200);
    put(&content_md5(b"x"), &crc).refused(400, "BadDigest");
    put(&md5, &Algorithm::Crc32.of(b"x")).refused(400, "BadDigest");
}

#[tokio::test]
async fn two_checksums_at_once_are_refused() {
    let bucket = Bucket::fresh().await;
    let put = Request::new("PUT", bucket.path("key"))
        .header("x-amz-checksum-crc32", Algorithm::Crc32.of(b"value"))
        .header("x-amz-checksum-sha256", Algorithm::Sha256.of(b"value"))
        .body("value");
    put.signed().send().refused(400, "InvalidRequest");
}

#[tokio::test]
async fn an_algorithm_that_is_none_is_refused() {
    let bucket = Bucket::fresh().await;
    let put = Request::new("PUT", bucket.path("key")).header("x-amz-sdk-checksum-algorithm", "MD4");
    put.body("value").signed().send().refused(400, "InvalidRequest");
}

#[tokio::test]
async fn the_digest_that_was_signed_must_fit_the_body() {
    let bucket = Bucket::fresh().await;
    for body in [bytes(100), bytes(5 << 20)] {
        let mut put = Request::new("PUT", bucket.path("key")).body(&body).signed();
        put.body[50] ^= 1;
        put.send().refused(400, "XAmzContentSHA256Mismatch");
        assert!(!bucket.has("key").await);
    }
}

/// A checksum of the whole is there whether or not the client sent one.
#[tokio::test]
async fn an_object_put_without_a_checksum_has_one() {
    let bucket = Bucket::fresh().await;
    Request::new("PUT", bucket.path("key")).body("value").signed().send().expect(200);
    let head = bucket.head("key").checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
    assert_eq!(head.checksum_crc64_nvme(), Some(Algorithm::Crc64Nvme.of(b"value").as_str()));
}

#[tokio::test]
async fn a_refused_replacement_leaves_the_object_as_it_was() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "before").send().await.unwrap();
    let put = bucket.put("key", "after").content_md5(content_md5(b"something else")).send().await;
    assert_refused(put, 400, "BadDigest");
    assert_eq!(bucket.bytes("key").await, b"before");
}

#[tokio::test]
async fn the_list_names_the_algorithm_of_each_object() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").checksum_algorithm(ChecksumAlgorithm::Sha256).send().await.unwrap();
    let list = bucket.list().send().await.unwrap();
    assert_eq!(list.contents()[0].checksum_algorithm(), [ChecksumAlgorithm::Sha256]);
    assert_eq!(list.contents()[0].checksum_type(), Some(&ChecksumType::FullObject));
    assert_status(bucket.head("missing").checksum_mode(ChecksumMode::Enabled).send().await, 404);
}
