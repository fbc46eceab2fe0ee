//! What is wrong with a request, in S3's words.

use std::time::Duration;

use http::Method;

use super::{ACCESS_KEY, Request, example_time};
use crate::auth::BodyAuth;
use crate::auth::signature::EMPTY_SHA256;
use crate::s3::{ErrorCode, S3Error};

const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

fn signed() -> Request {
    Request::get("/bucket/key", "list-type=2").with("x-amz-meta-a", "b").signed(EMPTY_SHA256)
}

fn refusal(request: &Request) -> S3Error {
    request.authenticate().expect_err("it must be refused")
}

fn detail<'a>(error: &'a S3Error, wanted: &str) -> Option<&'a str> {
    error.details.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str())
}

/// The same request, with something in its `Authorization` header put in the place of something else.
fn reworded(request: &Request, from: &str, to: &str) -> Request {
    let text = request.headers["authorization"].to_str().unwrap();
    assert!(text.contains(from), "{from} in {text}");
    request.clone().without("authorization").with("authorization", text.replace(from, to))
}

#[test]
fn a_request_without_a_signature_is_denied() {
    let error = refusal(&Request::get("/bucket/key", "versionId=1"));
    assert_eq!(error.code, ErrorCode::AccessDenied);
}

#[test]
fn a_wrong_signature_is_answered_with_what_should_have_been_signed() {
    let request = signed();
    let wrong = Request { path: "/bucket/other".into(), ..request.clone() };
    let error = refusal(&wrong);
    assert_eq!(error.code, ErrorCode::SignatureDoesNotMatch);
    assert_eq!(detail(&error, "AWSAccessKeyId"), Some(ACCESS_KEY));
    let authorization = request.headers["authorization"].to_str().unwrap();
    let provided = detail(&error, "SignatureProvided").unwrap();
    assert!(provided.len() == 64 && authorization.ends_with(provided));
    let string_to_sign = detail(&error, "StringToSign").unwrap();
    assert!(
        string_to_sign
            .starts_with("AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n")
    );
    assert_eq!(
        detail(&error, "CanonicalRequest").unwrap(),
        format!(
            "GET\n/bucket/other\nlist-type=2\nhost:examplebucket.s3.amazonaws.com\n\
             x-amz-content-sha256:{EMPTY_SHA256}\nx-amz-date:20130524T000000Z\nx-amz-meta-a:b\n\n\
             host;x-amz-content-sha256;x-amz-date;x-amz-meta-a\n{EMPTY_SHA256}"
        )
    );
}

#[test]
fn whatever_is_signed_cannot_be_changed() {
    let request = signed();
    request.authenticate().unwrap();
    for changed in [
        Request { method: Method::PUT, ..request.clone() },
        Request { host: "elsewhere".into(), ..request.clone() },
        Request { path: "/bucket/key/".into(), ..request.clone() },
        Request { query: "list-type=1".into(), ..request.clone() },
        Request { query: String::new(), ..request.clone() },
        request.clone().without("x-amz-meta-a"),
        request.clone().with("x-amz-meta-a", "c"),
        request.clone().without("x-amz-content-sha256").with("x-amz-content-sha256", UNSIGNED),
        request.clone().without("x-amz-date").with("x-amz-date", "20130524T000001Z"),
        reworded(&request, "us-east-1", "us-east-2"),
        reworded(&request, "host;", "a;host;"),
    ] {
        assert_eq!(refusal(&changed).code, ErrorCode::SignatureDoesNotMatch, "{changed:?}");
    }
}

#[test]
fn the_host_and_every_amazon_header_must_be_signed() {
    let error = refusal(&signed().with("x-amz-acl", "public-read"));
    assert_eq!(error.code, ErrorCode::AccessDenied);
    assert_eq!(detail(&error, "HeadersNotSigned"), Some("x-amz-acl"));
    let error = refusal(&reworded(&signed(), "host;", ""));
    assert_eq!((error.code, detail(&error, "HeadersNotSigned")), (ErrorCode::AccessDenied, Some("host")));
    let presigned = Request::get("/bucket/key", "").presigned(60);
    assert_eq!(refusal(&presigned.with("x-amz-acl", "private")).code, ErrorCode::AccessDenied);
}

/// Proxies add headers, and clients add conditions, after a request was signed.
#[test]
fn other_headers_need_not_be_signed() {
    let request = signed().with("if-none-match", "*").with("via", "1.1 proxy").with("range", "bytes=0-9");
    request.with("x-amz-cf-id", "a").authenticate().unwrap();
}

/// A proxy may drop an empty header, or a client's HTTP library.
#[test]
fn a_header_that_was_signed_empty_need_not_come() {
    let request = Request::get("/", "").with("content-type", "").signed(EMPTY_SHA256);
    request.without("content-type").authenticate().unwrap();
}

#[test]
fn an_unknown_access_key_is_called_that() {
    let error = refusal(&reworded(&signed(), ACCESS_KEY, "AKIAUNKNOWN"));
    assert_eq!(error.code, ErrorCode::InvalidAccessKeyId);
    assert_eq!(detail(&error, "AWSAccessKeyId"), Some("AKIAUNKNOWN"));
    assert_eq!(
        refusal(&reworded(&signed(), ACCESS_KEY, &"A".repeat(129))).code,
        ErrorCode::InvalidAccessKeyId
    );
}

#[test]
fn a_malformed_authorization_is_called_that() {
    let request = signed();
    for (from, to) in [
        (ACCESS_KEY, ""),
        ("/20130524/us-east-1/s3/aws4_request", ""),
        ("/s3/", "/ec2/"),
        ("aws4_request", "aws5_request"),
        ("/20130524/", "/20130525/"),
        ("SignedHeaders=", "Headers="),
        ("SignedHeaders=host", "SignedHeaders=ho st"),
        ("Signature=", "Signature"),
        ("Signature=", "Credential=a, Signature="),
        ("Credential=", ""),
        ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256"),
    ] {
        let error = refusal(&reworded(&request, from, to));
        let expected = match to {
            "AWS4-HMAC-SHA256" => ErrorCode::InvalidRequest,
            _ => ErrorCode::AuthorizationHeaderMalformed,
        };
        assert_eq!(error.code, expected, "{from} {to}: {error}");
    }
}

#[test]
fn other_ways_to_sign_are_refused_with_a_word_that_says_so() {
    let with = |text: &str| refusal(&signed().without("authorization").with("authorization", text)).code;
    assert_eq!(with("AWS AKIAIOSFODNN7EXAMPLE:bWq2s1WEIj+Ydj0vQ697zp+IXMU="), ErrorCode::InvalidRequest);
    assert_eq!(with("AWS4-ECDSA-P256-SHA256 Credential=a"), ErrorCode::InvalidRequest);
    assert_eq!(with("Basic dXNlcjpwYXNz"), ErrorCode::InvalidArgument);
    assert_eq!(with("Bearer x"), ErrorCode::InvalidArgument);
    assert_eq!(with(""), ErrorCode::InvalidArgument);
    assert_eq!(with("ä"), ErrorCode::InvalidArgument);
    let twice = signed();
    let text = twice.headers["authorization"].clone();
    assert_eq!(refusal(&twice.with("authorization", text)).code, ErrorCode::InvalidArgument);
    let both = Request { query: Request::get("/", "").presigned(60).query, ..signed() };
    assert_eq!(refusal(&both).code, ErrorCode::InvalidArgument);
}

#[test]
fn a_clock_may_be_wrong_by_fifteen_minutes() {
    let request = signed();
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    for now in [example_time() - minutes(15), example_time() + minutes(15)] {
        request.authenticate_at(now).unwrap();
    }
    for now in
        [example_time() - minutes(15) - minutes(1), example_time() + minutes(15) + Duration::from_secs(1)]
    {
        let error = request.authenticate_at(now).unwrap_err();
        assert_eq!(error.code, ErrorCode::RequestTimeTooSkewed);
        assert_eq!(detail(&error, "RequestTime"), Some("20130524T000000Z"));
        assert_eq!(detail(&error, "MaxAllowedSkewMilliseconds"), Some("900000"));
        assert!(detail(&error, "ServerTime").unwrap().starts_with("2013-05-2"));
    }
}

#[test]
fn the_time_may_stand_in_the_date_header_and_must_stand_somewhere() {
    let dateless = signed().without("x-amz-date");
    let error = refusal(&dateless);
    assert_eq!(error.code, ErrorCode::AccessDenied);
    assert_eq!(error.message(), "AWS authentication requires a valid Date or x-amz-date header");
    assert_eq!(refusal(&dateless.clone().with("x-amz-date", "today")).code, ErrorCode::AccessDenied);
    // The header that was signed is missing now: it is the signature that does not fit.
    let with_date = dateless.with("date", "Fri, 24 May 2013 00:00:00 GMT");
    assert_eq!(refusal(&with_date).code, ErrorCode::SignatureDoesNotMatch);
}

#[test]
fn what_is_signed_of_the_body_must_be_said_and_understood() {
    let error = refusal(&signed().without("x-amz-content-sha256"));
    assert_eq!(error.code, ErrorCode::InvalidRequest);
    assert_eq!(error.message(), "Missing required header for this request: x-amz-content-sha256");
    for wrong in ["", "UNSIGNED", "e3b0", "STREAMING-NOTHING"] {
        let request = signed().without("x-amz-content-sha256").with("x-amz-content-sha256", wrong);
        let error = refusal(&request);
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{wrong}");
        assert_eq!(detail(&error, "ArgumentValue"), Some(wrong));
    }
    let asymmetric = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD";
    let request = signed().without("x-amz-content-sha256").with("x-amz-content-sha256", asymmetric);
    assert_eq!(refusal(&request).code, ErrorCode::NotImplemented);

    let body = |payload| Request::get("/", "").signed(payload).authenticate().unwrap().1;
    assert!(matches!(body(UNSIGNED), BodyAuth::Unsigned));
    assert!(matches!(
        body("STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        BodyAuth::Chunked { signer: None, trailer: true }
    ));
}

#[test]
fn a_presigned_url_lives_from_its_date_to_its_end() {
    let request = Request::get("/bucket/key", "").presigned(3_600);
    let seconds = Duration::from_secs;
    // A client's clock may be ahead of ours.
    for now in [example_time() - seconds(900), example_time(), example_time() + seconds(3_600)] {
        request.authenticate_at(now).unwrap();
    }
    let error = request.authenticate_at(example_time() + seconds(3_601)).unwrap_err();
    assert_eq!((error.code, error.message()), (ErrorCode::AccessDenied, "Request has expired"));
    assert_eq!(detail(&error, "Expires"), Some("2013-05-24T01:00:00Z"));
    assert_eq!(detail(&error, "ServerTime"), Some("2013-05-24T01:00:01Z"));
    let error = request.authenticate_at(example_time() - seconds(901)).unwrap_err();
    assert_eq!((error.code, error.message()), (ErrorCode::AccessDenied, "Request is not yet valid"));
}

#[test]
fn a_presigned_url_works_for_every_method_and_with_signed_headers() {
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE] {
        Request::new(method, "/bucket/a%20b", "uploadId=a+b").presigned(60).authenticate().unwrap();
    }
    let with_header = Request::get("/", "").with("x-amz-meta-a", " b  c ").presigned(60);
    with_header.authenticate().unwrap();
    let changed = with_header.without("x-amz-meta-a").with("x-amz-meta-a", "d");
    assert_eq!(refusal(&changed).code, ErrorCode::SignatureDoesNotMatch);
}

/// As some clients presign: what would be a header stands in the query.
#[test]
fn a_presigned_url_may_say_what_is_signed_of_the_body() {
    let digest = format!("X-Amz-Content-Sha256={UNSIGNED}");
    let (_, body) = Request::get("/", &digest).presigned(60).authenticate().unwrap();
    assert!(matches!(body, BodyAuth::Unsigned));
    let wrong = Request::get("/", "X-Amz-Content-Sha256=x").presigned(60);
    assert_eq!(refusal(&wrong).code, ErrorCode::InvalidArgument);
}

#[test]
fn a_malformed_presigned_url_is_called_that() {
    let request = Request::get("/bucket/key", "").presigned(60);
    for (from, to) in [
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256&", ""),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
        ("X-Amz-Date=20130524T000000Z&", ""),
        ("X-Amz-Date=20130524T000000Z", "X-Amz-Date=20130524"),
        ("X-Amz-Expires=60&", ""),
        ("X-Amz-Expires=60", "X-Amz-Expires=604801"),
        ("X-Amz-Expires=60", "X-Amz-Expires=a"),
        ("X-Amz-SignedHeaders=host&", ""),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=%00"),
        ("&X-Amz-Signature=", "&Signature="),
        ("&X-Amz-Signature=", "&X-Amz-Signature=a&X-Amz-Signature="),
        ("%2Fs3%2F", "%2Fec2%2F"),
        ("%2F20130524%2F", "%2F20130525%2F"),
        (ACCESS_KEY, "%ff"),
    ] {
        assert!(request.query.contains(from), "{from}");
        let wrong = Request { query: request.query.replace(from, to), ..request.clone() };
        let error = refusal(&wrong);
        assert_eq!(error.code, ErrorCode::AuthorizationQueryParametersError, "{from} {to}: {error}");
    }
    let asymmetric = request.query.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256");
    assert_eq!(refusal(&Request { query: asymmetric, ..request }).code, ErrorCode::InvalidRequest);
}

#[test]
fn a_token_is_refused_because_nobody_here_gave_it() {
    let in_header = Request::get("/", "").with("x-amz-security-token", "t");
    assert_eq!(refusal(&in_header.clone().signed(UNSIGNED)).code, ErrorCode::InvalidToken);
    assert_eq!(refusal(&in_header.presigned(60)).code, ErrorCode::InvalidToken);
    let in_query = Request::get("/", "X-Amz-Security-Token=t").presigned(60);
    assert_eq!(refusal(&in_query).code, ErrorCode::InvalidToken);
}

/// What the refusal says of a wrong signature must not hold the secret, nor the right signature.
#[test]
fn a_refusal_gives_nothing_away() {
    let request = signed();
    let right = request.headers["authorization"].to_str().unwrap().rsplit('=').next().unwrap().to_owned();
    let error = refusal(&reworded(&request, &right, &"0".repeat(64)));
    assert_eq!(error.code, ErrorCode::SignatureDoesNotMatch);
    let everything = format!("{error:?}");
    assert!(!everything.contains(&right) && !everything.contains(super::SECRET));
}
