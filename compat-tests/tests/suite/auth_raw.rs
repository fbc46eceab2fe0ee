//! Who may ask: signatures in headers, right and wrong.

use compat_tests::raw::{Request, signer};
use compat_tests::server::server;
use compat_tests::sign::{Signer, UNSIGNED};

use crate::bucket::{Bucket, bytes};

fn list() -> Request {
    Request::new("GET", "/")
}

#[test]
fn a_request_without_a_signature_is_refused() {
    list().send().refused(403, "AccessDenied");
    Request::new("PUT", "/compat-nobody").send().refused(403, "AccessDenied");
    Request::new("GET", "/compat-nobody/key").send().refused(403, "AccessDenied");
}

#[test]
fn a_signature_by_another_secret_is_refused() {
    let signer = Signer { secret_key: "another-secret".to_owned(), ..signer() };
    let answer = list().signed_by(&signer, UNSIGNED).send();
    answer.refused(403, "SignatureDoesNotMatch");
}

#[test]
fn an_unknown_access_key_is_refused() {
    let signer = Signer { access_key: "AKIAUNKNOWN".to_owned(), ..signer() };
    list().signed_by(&signer, UNSIGNED).send().refused(403, "InvalidAccessKeyId");
}

/// Which region a client believes to be in says nothing about who it is.
#[test]
fn any_region_may_be_signed_for() {
    for region in ["us-east-1", "eu-west-1", "auto", "garage", "elsewhere"] {
        let signer = Signer { region: region.to_owned(), ..signer() };
        let answer = list().signed_by(&signer, UNSIGNED).send();
        if server().is_ours {
            answer.expect(200);
        }
    }
}

#[test]
fn another_service_is_refused() {
    let signer = Signer { service: "ec2".to_owned(), ..signer() };
    assert!(matches!(list().signed_by(&signer, UNSIGNED).send().status, 400 | 403));
}

#[test]
fn a_clock_that_is_too_far_off_is_refused_and_told_the_time() {
    let at = |seconds: i64| {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        list().signed_by(&Signer { at, ..signer() }, UNSIGNED).send()
    };
    for seconds in [-1000, 1000, -86_400 * 2] {
        let answer = at(seconds).refused(403, "RequestTimeTooSkewed");
        assert!(answer.element("ServerTime").is_some());
    }
    at(-800).expect(200);
    at(800).expect(200);
}

#[tokio::test]
async fn whatever_is_signed_cannot_be_changed() {
    let bucket = Bucket::fresh().await;
    bucket.put_all(&["key", "other"]).await;
    let get = Request::new("GET", bucket.path("key")).query("x-id", "GetObject").header("x-amz-meta-a", "1");
    let get = get.signed();
    let mut method = get.clone();
    method.method = "DELETE".to_owned();
    let mut path = get.clone();
    path.path = bucket.path("other").into_bytes();
    let changed = [
        method,
        path,
        get.clone().query("versionId", "null"),
        get.clone().replace("x-amz-meta-a", "2"),
        get.clone().replace("host", "elsewhere.example"),
        get.clone().replace("x-amz-content-sha256", UNSIGNED),
    ];
    for request in changed {
        request.send().refused(403, "SignatureDoesNotMatch");
    }
    assert!(bucket.has("key").await);
    get.send().expect(200);
}

/// A header that says it was signed and does not come.
#[test]
fn a_signed_header_that_is_missing_is_refused() {
    let request = list().header("x-amz-meta-a", "1").signed().without("x-amz-meta-a");
    assert_eq!(request.send().status, 403);
}

#[test]
fn white_space_around_signed_values_does_not_matter() {
    list().header("x-amz-meta-a", "  1  ").signed().send().expect(200);
}

/// Parameters are sorted before they are signed, by name and then by value.
#[tokio::test]
async fn the_order_of_the_query_does_not_matter() {
    let bucket = Bucket::fresh().await;
    let request = Request::new("GET", format!("/{}", bucket.name))
        .query("prefix", "ü +/")
        .query("list-type", "2")
        .query("delimiter", "/")
        .query("max-keys", "5");
    request.signed().send().expect(200);
}

#[test]
fn an_authorization_that_is_none_is_refused() {
    let date = signer().date();
    let credential = signer().credential();
    for value in [
        "".to_owned(),
        "x".to_owned(),
        "Basic dXNlcjpwYXNz".to_owned(),
        "Bearer token".to_owned(),
        "AWS4-HMAC-SHA256".to_owned(),
        "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=x".to_owned(),
        format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host"),
        format!("AWS4-HMAC-SHA256 Credential={credential}, Signature=00"),
        "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=00".to_owned(),
        format!("AWS4-ECDSA-P256-SHA256 Credential={credential}, SignedHeaders=host, Signature=00"),
    ] {
        let request = list()
            .header("authorization", &value)
            .header("x-amz-date", &date)
            .header("x-amz-content-sha256", UNSIGNED);
        let answer = request.send();
        assert!(matches!(answer.status, 400 | 403 | 501), "{value:?}: {}", answer.status);
        assert!(answer.element("Code").is_some_and(|code| code != "InternalError"), "{value:?}");
    }
}

#[test]
fn a_date_is_needed_and_must_be_the_credentials() {
    let signed = || list().signed();
    assert!(matches!(signed().without("x-amz-date").send().status, 400 | 403));
    assert!(matches!(signed().replace("x-amz-date", "yesterday").send().status, 400 | 403));
    let other = Signer { at: "2020-01-01T00:00:00Z".parse().unwrap(), ..signer() };
    let date = signer().date();
    let request = list().signed_by(&other, UNSIGNED).replace("x-amz-date", date);
    assert!(matches!(request.send().status, 400 | 403));
}

#[test]
fn the_digest_of_the_body_is_needed() {
    let request = list().signed().without("x-amz-content-sha256");
    assert!(matches!(request.send().status, 400 | 403));
    let request = Request::new("PUT", "/compat-x/key").body("value");
    request.signed_as("not-a-digest").send().refused(400, "InvalidArgument");
}

#[tokio::test]
async fn a_body_may_be_left_unsigned() {
    let bucket = Bucket::fresh().await;
    for size in [5, 6 << 20] {
        let put = Request::new("PUT", bucket.path("key")).body(bytes(size));
        put.signed_as(UNSIGNED).send().expect(200);
        assert!(bucket.bytes("key").await == bytes(size));
    }
}

#[test]
fn a_session_token_that_nobody_gave_is_refused() {
    let request = list().header("x-amz-security-token", "token").signed();
    let answer = request.send();
    assert!(matches!(answer.status, 400 | 403), "{}", answer.status);
}

/// Whoever may not ask learns nothing about what is there.
#[tokio::test]
async fn without_a_good_signature_nothing_is_told() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let signer = Signer { secret_key: "another-secret".to_owned(), ..signer() };
    for key in ["key", "missing"] {
        let get = Request::new("GET", bucket.path(key)).signed_by(&signer, UNSIGNED).send();
        get.refused(403, "SignatureDoesNotMatch");
        let put = Request::new("PUT", bucket.path(key)).body("x").signed_by(&signer, UNSIGNED).send();
        put.refused(403, "SignatureDoesNotMatch");
    }
    assert_eq!(bucket.bytes("key").await, b"value");
    assert_eq!(bucket.keys().await, ["key"]);
}
