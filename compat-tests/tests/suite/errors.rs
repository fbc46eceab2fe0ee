//! How a refusal looks.

use compat_tests::raw::Request;

use crate::bucket::{Bucket, fresh_name};

#[tokio::test]
async fn an_error_is_a_document_that_names_the_request() {
    let bucket = Bucket::fresh().await;
    let answer = Request::new("GET", bucket.path("missing")).signed().send().refused(404, "NoSuchKey");
    assert_eq!(answer.header("content-type"), Some("application/xml"));
    assert!(answer.text().starts_with("<?xml "));
    assert!(answer.element("Message").is_some_and(|message| !message.is_empty()));
    assert_eq!(answer.element("RequestId").as_deref(), answer.header("x-amz-request-id"));
    assert_eq!(answer.element("Resource"), Some(bucket.path("missing")));
}

#[test]
fn an_error_to_head_has_no_document() {
    let answer = Request::new("HEAD", format!("/{}/key", fresh_name())).signed().send().expect(404);
    assert!(answer.header("x-amz-request-id").is_some());
}

#[tokio::test]
async fn a_document_escapes_what_the_client_said() {
    let bucket = Bucket::fresh().await;
    let key = "<script>&\"'\u{1}";
    let answer = Request::new("GET", bucket.path(key)).signed().send().refused(404, "NoSuchKey");
    assert!(!answer.text().contains("<script>"), "{}", answer.text());
}

/// Whoever asks for what is not there is told so, not that it failed.
#[tokio::test]
async fn what_is_not_implemented_says_so() {
    let bucket = Bucket::fresh().await;
    for (method, query) in [
        ("POST", "select"),
        ("POST", "restore"),
        ("GET", "torrent"),
        ("PUT", "retention"),
        ("PUT", "legal-hold"),
        ("PUT", "renameObject"),
    ] {
        let request = Request::new(method, bucket.path("key")).query(query, "").body("<x/>");
        let answer = request.signed().send();
        assert_eq!(answer.status, 501, "{method} {query}: {}", answer.text());
        assert_eq!(answer.element("Code").as_deref(), Some("NotImplemented"), "{method} {query}");
    }
    for (method, query) in
        [("GET", "inventory"), ("GET", "analytics"), ("PUT", "notification"), ("GET", "metrics")]
    {
        let request = Request::new(method, format!("/{}", bucket.name)).query(query, "");
        let answer = request.signed().send();
        assert_eq!(answer.status, 501, "{method} {query}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_owner_that_is_not_the_expected_one_is_refused() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let get = bucket.get("key").expected_bucket_owner("somebody-else").send().await;
    compat_tests::sdk::assert_refused(get, 403, "AccessDenied");
    let put = bucket.put("key", "other").expected_bucket_owner("somebody-else").send().await;
    compat_tests::sdk::assert_refused(put, 403, "AccessDenied");
    assert_eq!(bucket.bytes("key").await, b"value");
}

#[tokio::test]
async fn an_acl_that_would_open_something_is_refused() {
    let bucket = Bucket::fresh().await;
    for acl in ["public-read", "public-read-write", "authenticated-read"] {
        let put = Request::new("PUT", bucket.path("key")).header("x-amz-acl", acl).body("value");
        put.signed().send().refused(400, "AccessControlListNotSupported");
    }
    assert!(!bucket.has("key").await);
    let put = Request::new("PUT", bucket.path("key")).header("x-amz-acl", "private").body("value");
    put.signed().send().expect(200);
}

/// s3cmd copies the list of the source along with its bytes.
#[tokio::test]
async fn the_only_acl_there_is_may_be_put_again() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    for path in [bucket.path(""), bucket.path("key")] {
        let acl = |method: &str| Request::new(method, &path).query("acl", "");
        let list = acl("GET").signed().send().expect(200).text();
        acl("PUT").body(&list).signed().send().expect(200);
        acl("PUT").header("x-amz-acl", "private").signed().send().expect(200);
        let less = list.replace("FULL_CONTROL", "READ");
        acl("PUT").body(&less).signed().send().refused(400, "AccessControlListNotSupported");
        acl("PUT")
            .header("x-amz-acl", "public-read")
            .signed()
            .send()
            .refused(400, "AccessControlListNotSupported");
        acl("PUT").signed().send().refused(400, "MalformedXML");
    }
    let absent = Request::new("PUT", bucket.path("absent")).query("acl", "").header("x-amz-acl", "private");
    absent.signed().send().refused(404, "NoSuchKey");
}
