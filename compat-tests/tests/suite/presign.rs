//! Requests that carry their signature in the query.

use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use compat_tests::checksums::Algorithm;
use compat_tests::raw::{Request, signer};
use compat_tests::sign::Signer;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::bucket::{Bucket, bytes};

/// As a browser would send what the SDK has signed.
fn open(request: &aws_sdk_s3::presigning::PresignedRequest, body: &[u8]) -> compat_tests::raw::Answer {
    let target = request.uri().splitn(4, '/').nth(3).unwrap();
    let mut raw = Request::new(request.method(), "/").spelled(format!("/{target}")).body(body);
    for (name, value) in request.headers().filter(|(name, _)| *name != "host") {
        raw = raw.header(name, value);
    }
    raw.send()
}

fn hour() -> PresigningConfig {
    PresigningConfig::expires_in(Duration::from_secs(3600)).unwrap()
}

#[tokio::test]
async fn what_the_sdk_presigns_is_answered() {
    let bucket = Bucket::fresh().await;
    let key = "dir/ünï cödé+%.txt";
    let put = bucket.client.put_object().bucket(&bucket.name).key(key).presigned(hour()).await.unwrap();
    open(&put, b"value").expect(200);
    assert_eq!(bucket.bytes(key).await, b"value");
    let get = bucket.get(key).presigned(hour()).await.unwrap();
    assert_eq!(open(&get, b"").expect(200).body, b"value");
    let head = bucket.head(key).presigned(hour()).await.unwrap();
    assert_eq!(open(&head, b"").expect(200).header("content-length"), Some("5"));
    let delete = bucket.delete(key).presigned(hour()).await.unwrap();
    open(&delete, b"").expect(204);
    assert!(!bucket.has(key).await);
}

#[tokio::test]
async fn presigned_overrides_of_headers_are_signed_along() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let get = bucket.get("key").response_content_disposition("attachment; filename=\"x y\"");
    let get = get.presigned(hour()).await.unwrap();
    let answer = open(&get, b"").expect(200);
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"x y\""));
    let other = get.uri().replace("x%20y", "z");
    let target = other.splitn(4, '/').nth(3).unwrap();
    let answer = Request::new("GET", "/").spelled(format!("/{target}")).send();
    answer.refused(403, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a_presigned_put_may_be_large() {
    let bucket = Bucket::fresh().await;
    let body = bytes(6 << 20);
    Request::new("PUT", bucket.path("key")).presigned("600").body(&body).send().expect(200);
    assert!(bucket.bytes("key").await == body);
}

#[tokio::test]
async fn a_presigned_request_is_good_for_its_time_only() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let at = |seconds: i64| {
        let now = jiff::Timestamp::now();
        Signer { at: now + jiff::SignedDuration::from_secs(seconds), ..signer() }
    };
    let get = |seconds: i64, expires: &str| {
        Request::new("GET", bucket.path("key")).presigned_by(&at(seconds), expires).send()
    };
    get(-50, "600").expect(200);
    get(-601, "600").refused(403, "AccessDenied");
    get(-10, "5").refused(403, "AccessDenied");
    // A client's clock may be a little ahead.
    get(300, "600").expect(200);
    assert_eq!(get(3600, "600").status, 403);
}

#[tokio::test]
async fn a_time_out_of_bounds_is_refused() {
    let bucket = Bucket::fresh().await;
    for expires in ["604801", "-1", "x", ""] {
        let get = Request::new("GET", bucket.path("key")).presigned(expires).send();
        get.refused(400, "AuthorizationQueryParametersError");
    }
    // A week is the longest.
    Request::new("GET", bucket.path("key")).presigned("604800").send().refused(404, "NoSuchKey");
}

#[tokio::test]
async fn a_presigned_request_is_good_for_itself_only() {
    let bucket = Bucket::fresh().await;
    bucket.put_all(&["key", "other"]).await;
    let get = Request::new("GET", bucket.path("key")).presigned("600");
    let mut other = get.clone();
    other.path = bucket.path("other").into_bytes();
    other.send().refused(403, "SignatureDoesNotMatch");
    let mut delete = get.clone();
    delete.method = "DELETE".to_owned();
    delete.send().refused(403, "SignatureDoesNotMatch");
    get.clone().query("versionId", "null").send().refused(403, "SignatureDoesNotMatch");
    get.send().expect(200);
}

/// As the SDKs for JavaScript and Go presign: nobody can make a browser send headers along with a link.
#[tokio::test]
async fn what_a_presigned_url_carries_in_its_query_is_done() {
    let bucket = Bucket::fresh().await;
    let put = |name: &str, value: &str| {
        Request::new("PUT", bucket.path("key")).query(name, value).presigned("600").body("value")
    };
    let right = Algorithm::Crc32.of(b"value");
    let all = Request::new("PUT", bucket.path("key"))
        .query("x-amz-meta-color", "red & blue")
        .query("X-Amz-Tagging", "a=1&b=2")
        .query("x-amz-acl", "private")
        .query("x-amz-checksum-crc32", &right)
        .query("x-amz-sdk-checksum-algorithm", "CRC32")
        .presigned("600")
        .body("value");
    all.clone().header("x-amz-meta-color", "red").send().refused(400, "InvalidArgument");
    all.send().expect(200);
    let get =
        Request::new("GET", bucket.path("key")).query("x-amz-checksum-mode", "ENABLED").presigned("600");
    let answer = get.send().expect(200);
    assert_eq!(answer.header("x-amz-checksum-crc32"), Some(right.as_str()));
    assert_eq!(answer.header("x-amz-tagging-count"), Some("2"));
    assert_eq!(answer.header("x-amz-meta-color"), Some("red & blue"));

    put("x-amz-acl", "public-read").send().refused(400, "AccessControlListNotSupported");
    put("x-amz-server-side-encryption", "AES256").send().refused(501, "NotImplemented");
    put("x-amz-checksum-crc32", &Algorithm::Crc32.of(b"other")).send().refused(400, "BadDigest");
    // Nobody can change what was signed, or add to it.
    let mut changed = put("x-amz-meta-color", "red");
    changed.query[0].1 = "blue".to_owned();
    changed.send().refused(403, "SignatureDoesNotMatch");
    put("x-amz-meta-a", "1").query("x-amz-meta-b", "2").send().refused(403, "SignatureDoesNotMatch");
    // The algorithm alone is what the SDK says of itself.
    put("x-amz-sdk-checksum-algorithm", "CRC32").send().expect(200);
}

/// It was taken for the upload of an object without a byte.
#[tokio::test]
async fn a_presigned_url_can_name_the_source_of_a_copy_in_its_query() {
    let bucket = Bucket::fresh().await;
    bucket.put("source", "value").send().await.unwrap();
    let source = format!("{}/source", bucket.name);
    let copy = Request::new("PUT", bucket.path("copy")).query("x-amz-copy-source", source).presigned("600");
    let mut other = copy.clone();
    other.query[0].1 = format!("{}/copy", bucket.name);
    other.send().refused(403, "SignatureDoesNotMatch");
    assert!(copy.send().expect(200).element("ETag").is_some());
    assert_eq!(bucket.bytes("copy").await, b"value");
}

/// A header that was signed must come; the signature covers its value.
#[tokio::test]
async fn a_signed_header_must_be_there_and_as_it_was_signed() {
    let bucket = Bucket::fresh().await;
    let put = Request::new("PUT", bucket.path("key")).header("content-type", "text/plain").presigned("600");
    let put = put.body("value");
    put.clone().replace("content-type", "text/html").send().refused(403, "SignatureDoesNotMatch");
    assert_eq!(put.clone().without("content-type").send().status, 403);
    assert!(!bucket.has("key").await);
    put.send().expect(200);
}

#[tokio::test]
async fn a_query_that_lacks_something_is_refused() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let full = Request::new("GET", bucket.path("key")).presigned("600");
    for name in ["X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"]
    {
        let mut get = full.clone();
        get.query.retain(|(present, _)| present != name);
        get.send().refused(400, "AuthorizationQueryParametersError");
    }
}

#[tokio::test]
async fn signed_by_header_and_by_query_is_refused() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let both = Request::new("GET", bucket.path("key")).presigned("600").signed();
    assert_eq!(both.send().status, 400);
}

/// The SDK for Python presigns so unless it is told otherwise.
#[tokio::test]
async fn a_url_of_signature_version_2_is_good_for_itself_only() {
    let bucket = Bucket::fresh().await;
    bucket.put_all(&["key", "other"]).await;
    let path = bucket.path("key");
    let signer = signer();
    let signed = |method: &str, expires: i64, resource: &str| {
        let mut mac = Hmac::<Sha1>::new_from_slice(signer.secret_key.as_bytes()).unwrap();
        mac.update(format!("{method}\n\n\n{expires}\n{resource}").as_bytes());
        Request::new(method, &path)
            .query("AWSAccessKeyId", &signer.access_key)
            .query("Expires", expires.to_string())
            .query("Signature", STANDARD.encode(mac.finalize().into_bytes()))
    };
    let now = jiff::Timestamp::now().as_second();
    let get = signed("GET", now + 60, &path);
    get.send().expect(200);
    let mut other = get.clone();
    other.path = bucket.path("other").into_bytes();
    other.send().refused(403, "SignatureDoesNotMatch");
    get.clone().query("versionId", "null").send().refused(403, "SignatureDoesNotMatch");
    // Whatever is not signed must not mean anything.
    get.clone().query("attributes", "").send().refused(400, "InvalidRequest");
    get.clone().query("prefix", "a").send().refused(400, "InvalidRequest");
    signed("GET", now - 60, &path).send().refused(403, "AccessDenied");
    signed("GET", now + 60, &format!("{path}?versionId=null")).query("versionId", "null").send().expect(200);
    signed("DELETE", now + 60, &path).send().expect(204);
    assert!(!bucket.has("key").await);
}

#[tokio::test]
async fn older_signatures_are_refused_in_headers() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let by_header = Request::new("GET", bucket.path("key"))
        .header("authorization", format!("AWS {}:AAAAAAAAAAAAAAAAAAAAAAAAAAA=", signer().access_key));
    by_header.send().refused(400, "InvalidRequest");
}
