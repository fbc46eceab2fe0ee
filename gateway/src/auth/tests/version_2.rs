//! URLs that were signed by Signature Version 2.

use std::time::Duration;

use http::Method;

use super::Request;
use crate::auth::BodyAuth;
use crate::s3::{ErrorCode, S3Error};

/// At any host, a minute before they end, as botocore 1.44 signed them.
fn from_botocore(method: Method, path: &str, query: &str) -> Request {
    let query = format!("{query}&AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Expires=1369353660");
    Request { host: "h".into(), ..Request::new(method, path, query.trim_start_matches('&')) }
}

fn refusal(request: &Request) -> S3Error {
    request.authenticate().expect_err("it must be refused")
}

/// "Signing and authenticating REST requests", "Query string request authentication alternative".
#[test]
fn the_published_url_is_accepted() {
    let query =
        "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620";
    let request =
        Request { host: "johnsmith.s3.amazonaws.com".into(), ..Request::get("/photos/puppy.jpg", query) };
    let then = std::time::UNIX_EPOCH + Duration::from_secs(1_175_139_620);
    let (caller, body) = request.authenticate_at(then).unwrap();
    assert_eq!(caller.access_key, "AKIAIOSFODNN7EXAMPLE");
    assert!(matches!(body, BodyAuth::Unsigned));
    // The bucket is signed, too.
    let other = Request { host: "another.s3.amazonaws.com".into(), ..request.clone() };
    assert_eq!(other.authenticate_at(then).unwrap_err().code, ErrorCode::SignatureDoesNotMatch);
    let late = request.authenticate_at(then + Duration::from_secs(1)).unwrap_err();
    assert_eq!((late.code, late.message()), (ErrorCode::AccessDenied, "Request has expired"));
}

#[test]
fn what_the_sdk_for_python_presigns_is_accepted() {
    for (method, path, query) in [
        (
            Method::GET,
            "/b/a%20b/%C3%BC%2B",
            "response-content-type=text%2Fx%20y&versionId=null&Signature=yhGzBGnvt3kGh%2B8cswPDFX%2FG5DU%3D",
        ),
        (Method::PUT, "/b/k", "uploadId=u&partNumber=2&Signature=m5CF8U5jziCZqhwdeXfc%2Fx9T5Qk%3D"),
        (Method::POST, "/b/k", "uploads&Signature=V3jl6U3KoWhbX1wcwvJtUPHcEgE%3D"),
    ] {
        from_botocore(method, path, query).authenticate().unwrap();
    }
}

/// They stand in the query for whoever sends the request: they have to be sent.
#[test]
fn signed_headers_have_to_come_as_headers() {
    let query = "Signature=UuFDZb0ekME4S5eJii8hUo%2BZw%2Fk%3D&content-type=text%2Fplain&x-amz-meta-a=b%20c";
    let without = from_botocore(Method::PUT, "/b/k", query);
    assert_eq!(refusal(&without).code, ErrorCode::SignatureDoesNotMatch);
    let request = without.with("content-type", "text/plain").with("x-amz-meta-a", "b c");
    request.authenticate().unwrap();
    let more = request.with("x-amz-acl", "private");
    assert_eq!(refusal(&more).code, ErrorCode::SignatureDoesNotMatch);
}

#[test]
fn whatever_means_something_is_signed() {
    let signature = "Signature=m5CF8U5jziCZqhwdeXfc%2Fx9T5Qk%3D";
    let request =
        |method, path: &str, query: &str| from_botocore(method, path, &format!("{query}&{signature}"));
    for (method, path, query, expected) in [
        (Method::PUT, "/b/k", "uploadId=u&partNumber=3", ErrorCode::SignatureDoesNotMatch),
        (Method::PUT, "/b/k", "uploadId=u&partNumber=2&partNumber=2", ErrorCode::SignatureDoesNotMatch),
        (Method::PUT, "/b/K", "uploadId=u&partNumber=2", ErrorCode::SignatureDoesNotMatch),
        (Method::GET, "/b/k", "uploadId=u&partNumber=2", ErrorCode::SignatureDoesNotMatch),
        // Not even under another spelling.
        (Method::PUT, "/b/k", "uploadId=u&partNumber=2&%74agging", ErrorCode::SignatureDoesNotMatch),
        (Method::PUT, "/b/k", "uploadId=u&partNumber=2&prefix=a", ErrorCode::InvalidRequest),
        (Method::PUT, "/b/k", "uploadId=u&partNumber=2&attributes", ErrorCode::InvalidRequest),
        (
            Method::PUT,
            "/b/k",
            "uploadId=u&partNumber=2&Expires=2",
            ErrorCode::AuthorizationQueryParametersError,
        ),
    ] {
        assert_eq!(refusal(&request(method, path, query)).code, expected, "{path} {query}");
    }
    request(Method::PUT, "/b/k", "partNumber=2&x-id=UploadPart&uploadId=u").authenticate().unwrap();
}

#[test]
fn what_is_no_such_url_is_refused() {
    for (query, expected) in [
        ("AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=x", ErrorCode::AccessDenied),
        ("AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=x&Expires=", ErrorCode::AccessDenied),
        ("AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=x&Expires=soon", ErrorCode::AccessDenied),
        ("AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=x&Expires=%2B1369353660", ErrorCode::AccessDenied),
        (
            "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=x&Expires=18446744073709551615",
            ErrorCode::AccessDenied,
        ),
        (
            "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=x&Expires=99999999999999999999",
            ErrorCode::AccessDenied,
        ),
        (
            "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=&Expires=1369353660",
            ErrorCode::SignatureDoesNotMatch,
        ),
        ("AWSAccessKeyId=AKIAUNKNOWN&Signature=x&Expires=1369353660", ErrorCode::InvalidAccessKeyId),
        ("AWSAccessKeyId=%FF&Signature=x&Expires=1369353660", ErrorCode::AuthorizationQueryParametersError),
    ] {
        assert_eq!(refusal(&Request::get("/b/k", query)).code, expected, "{query}");
    }
    let token = from_botocore(Method::GET, "/b/k", "Signature=x").with("x-amz-security-token", "t");
    assert_eq!(refusal(&token).code, ErrorCode::InvalidToken);
    let both = from_botocore(Method::GET, "/b/k", "Signature=x").with("authorization", "AWS a:b");
    assert_eq!(refusal(&both).code, ErrorCode::InvalidArgument);
}

/// The key that would have to verify the chunks is one of Version 4.
#[test]
fn signed_chunks_need_another_signature() {
    let request = from_botocore(Method::PUT, "/b/k", "Signature=x");
    let chunks = request.with("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    assert_eq!(refusal(&chunks).code, ErrorCode::SignatureDoesNotMatch);
}
