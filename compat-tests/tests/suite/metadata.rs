//! What is kept beside the bytes.

use aws_sdk_s3::types::StorageClass;
use compat_tests::raw::Request;
use compat_tests::sdk::assert_refused;

use crate::bucket::Bucket;

#[tokio::test]
async fn user_metadata_comes_back_with_get_and_head() {
    let bucket = Bucket::fresh().await;
    let put = bucket.put("key", "value").metadata("mtime", "1700000000.123456789").metadata("empty", "");
    put.send().await.unwrap();
    let head = bucket.head("key").send().await.unwrap();
    let metadata = head.metadata().unwrap();
    assert_eq!(metadata.get("mtime").map(String::as_str), Some("1700000000.123456789"));
    assert_eq!(metadata.get("empty").map(String::as_str), Some(""));
    assert_eq!(metadata.len(), 2);
    assert_eq!(bucket.get("key").send().await.unwrap().metadata(), Some(metadata));
}

/// Programs keep times, modes and digests there: not a byte of a value is changed.
#[tokio::test]
async fn user_metadata_is_kept_byte_by_byte() {
    let bucket = Bucket::fresh().await;
    let value = "a  b \"c\", d; e=%41+%2B <&> \\ 'f'";
    let put = Request::new("PUT", bucket.path("key")).header("x-amz-meta-odd", value).body("x");
    put.signed().send().expect(200);
    let head = Request::new("HEAD", bucket.path("key")).signed().send().expect(200);
    assert_eq!(head.header("x-amz-meta-odd"), Some(value));
}

#[tokio::test]
async fn names_of_user_metadata_are_told_in_lower_case() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").metadata("Mixed-Case", "Value").send().await.unwrap();
    let head = bucket.head("key").send().await.unwrap();
    assert_eq!(head.metadata().unwrap().get("mixed-case").map(String::as_str), Some("Value"));
}

#[tokio::test]
async fn user_metadata_of_two_kilobytes_is_kept_and_more_is_refused() {
    let bucket = Bucket::fresh().await;
    let put = |size: usize| bucket.put("key", "value").metadata("m", "v".repeat(size)).send();
    put(2047).await.unwrap();
    let head = bucket.head("key").send().await.unwrap();
    assert_eq!(head.metadata().unwrap()["m"].len(), 2047);
    assert_refused(put(2049).await, 400, "MetadataTooLarge");
}

#[tokio::test]
async fn content_headers_come_back_as_they_were_given() {
    let bucket = Bucket::fresh().await;
    let given = [
        ("content-type", "text/html; charset=\"utf-8\""),
        ("cache-control", "max-age=3600, no-transform"),
        ("content-disposition", "attachment; filename=\"a b.txt\""),
        ("content-encoding", "gzip"),
        ("content-language", "de-CH, en"),
        ("expires", "Thu, 01 Dec 2094 16:00:00 GMT"),
    ];
    let request = Request::new("PUT", bucket.path("key")).body("value");
    let put = given.iter().fold(request, |request, (name, value)| request.header(name, value));
    put.signed().send().expect(200);
    for method in ["GET", "HEAD"] {
        let answer = Request::new(method, bucket.path("key")).signed().send().expect(200);
        for (name, value) in given {
            assert_eq!(answer.header(name), Some(value), "{method}");
        }
    }
}

#[tokio::test]
async fn an_object_without_a_content_type_is_octets() {
    let bucket = Bucket::fresh().await;
    Request::new("PUT", bucket.path("key")).body("value").signed().send().expect(200);
    let head = bucket.head("key").send().await.unwrap();
    assert_eq!(head.content_type(), Some("binary/octet-stream"));
    assert_eq!(head.content_encoding(), None);
}

/// It says how the bytes travelled, not what they are. Clients append it or put it first.
#[tokio::test]
async fn aws_chunked_is_no_part_of_the_content_encoding() {
    let bucket = Bucket::fresh().await;
    for (given, kept) in [
        ("aws-chunked", None),
        ("gzip,aws-chunked", Some("gzip")),
        ("aws-chunked, gzip", Some("gzip")),
        ("aws-chunked,br,gzip", Some("br,gzip")),
    ] {
        let put = Request::new("PUT", bucket.path("key")).header("content-encoding", given).body("value");
        put.signed().send().expect(200);
        let head = Request::new("HEAD", bucket.path("key")).signed().send().expect(200);
        let found = head.header("content-encoding").map(|value| value.replace(' ', ""));
        assert_eq!(found.as_deref(), kept, "{given}");
    }
}

#[tokio::test]
async fn a_reader_may_ask_for_other_headers() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").content_type("text/plain").send().await.unwrap();
    let got = bucket
        .get("key")
        .response_content_type("application/json")
        .response_cache_control("no-cache")
        .response_content_disposition("attachment; filename=\"x\"")
        .response_content_encoding("identity")
        .response_content_language("fr")
        .send()
        .await
        .unwrap();
    assert_eq!(got.content_type(), Some("application/json"));
    assert_eq!(got.cache_control(), Some("no-cache"));
    assert_eq!(got.content_disposition(), Some("attachment; filename=\"x\""));
    assert_eq!(got.content_encoding(), Some("identity"));
    assert_eq!(got.content_language(), Some("fr"));
    let plain = bucket.get("key").send().await.unwrap();
    assert_eq!(plain.content_type(), Some("text/plain"));
}

#[tokio::test]
async fn a_reader_may_ask_for_another_expiry() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let expires = "Thu, 01 Dec 2094 16:00:00 GMT";
    for method in ["GET", "HEAD"] {
        let request = Request::new(method, bucket.path("key")).query("response-expires", expires);
        assert_eq!(request.signed().send().expect(200).header("expires"), Some(expires));
    }
}

/// What stands in the query reaches the headers of the answer: it must not become several of them.
#[tokio::test]
async fn an_override_cannot_add_headers_of_its_own() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let value = "text/plain\r\nset-cookie: a=b";
    let request = Request::new("GET", bucket.path("key")).query("response-content-type", value);
    let answer = request.signed().send();
    assert_eq!(answer.header("set-cookie"), None);
    assert!(answer.status == 400 || answer.status == 200, "{}", answer.status);
}

#[tokio::test]
async fn the_standard_storage_class_is_not_told_and_an_unknown_one_is_refused() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").storage_class(StorageClass::Standard).send().await.unwrap();
    assert_eq!(bucket.head("key").send().await.unwrap().storage_class(), None);
    let odd = Request::new("PUT", bucket.path("odd")).header("x-amz-storage-class", "PAPYRUS").body("value");
    odd.signed().send().refused(400, "InvalidStorageClass");
    assert!(!bucket.has("odd").await);
}

/// A class says what storage costs, and clients send one out of habit. What is told must be one that S3 has.
#[tokio::test]
async fn another_storage_class_is_accepted() {
    let bucket = Bucket::fresh().await;
    let put = bucket.put("key", "value").storage_class(StorageClass::StandardIa);
    put.send().await.unwrap();
    let list = bucket.list().send().await.unwrap();
    assert!(matches!(list.contents()[0].storage_class().unwrap().as_str(), "STANDARD" | "STANDARD_IA"));
    assert_eq!(bucket.bytes("key").await, b"value");
}

/// Not to do what a header asks for, and to say yes, is the worst answer.
#[tokio::test]
async fn headers_that_would_change_the_outcome_are_obeyed_or_refused() {
    let bucket = Bucket::fresh().await;
    for (name, value) in [
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-write-offset-bytes", "5"),
        ("x-amz-grant-full-control", "id=0123456789"),
    ] {
        let put = Request::new("PUT", bucket.path("key")).header(name, value).body("value");
        let answer = put.signed().send();
        assert!(answer.status >= 400 && answer.status != 500, "{name}: {}", answer.status);
        assert!(!bucket.has("key").await, "{name}");
    }
}

#[tokio::test]
async fn a_redirect_location_is_kept() {
    let bucket = Bucket::fresh().await;
    let put = bucket.put("key", "value").website_redirect_location("/elsewhere").send().await;
    match put {
        Err(error) => assert_refused(error, 501, "NotImplemented"),
        Ok(_) => {
            let head = bucket.head("key").send().await.unwrap();
            assert_eq!(head.website_redirect_location(), Some("/elsewhere"));
        }
    }
}
