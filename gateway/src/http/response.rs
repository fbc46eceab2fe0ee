//! How answers are made.

use axum::body::Body;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp as Moment;
use jiff::fmt::rfc2822::DateTimePrinter;
use protocol::catalog::ETag;
use protocol::types::Timestamp;

use crate::s3::S3Error;
use crate::s3::xml::Document;

pub(crate) type Response = http::Response<Body>;

/// For how long a client should leave us alone after a 503.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A document.
pub(crate) fn xml(document: Document) -> Response {
    let text = document.finish();
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    *response.body_mut() = Body::from(text);
    response
}

/// An error document. Without its body it is the answer to HEAD, which has the headers of what GET would
/// have been answered: `Content-Length: 0` would be wrong, and a cache believes it of a 304.
pub(crate) fn error(error: &S3Error, resource: &str, request_id: &str, with_body: bool) -> Response {
    let mut response = if error.status() == StatusCode::NOT_MODIFIED {
        Response::new(Body::empty())
    } else {
        xml(error_document(error, resource, request_id))
    };
    if !with_body {
        *response.body_mut() = Body::empty();
    }
    *response.status_mut() = error.status();
    if error.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    // The length of an object that is not sent is for HEAD only: GET has a body, which is empty.
    let is_said = |name: &HeaderName| !with_body || *name != CONTENT_LENGTH;
    for (name, value) in error.headers.iter().filter(|(name, _)| is_said(name)) {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

fn error_document(error: &S3Error, resource: &str, request_id: &str) -> Document {
    let mut document = Document::of_error();
    document.element("Code", error.code.as_str());
    document.element("Message", error.message());
    for (name, value) in &error.details {
        document.element(name, value);
    }
    document.element("Resource", resource);
    document.element("RequestId", request_id);
    document.element("HostId", HOST_ID);
    document
}

/// Some clients print it; it tells nothing.
const HOST_ID: &str = "viewstone";

/// With its quotes.
pub(crate) fn etag(etag: &ETag) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{etag}\"")).expect("hexadecimal digits, a hyphen and quotes")
}

/// A moment as headers write it: `Fri, 02 Jan 2026 03:04:05 GMT`.
pub(crate) fn http_date(moment: Timestamp) -> HeaderValue {
    let seconds = i64::try_from(moment.get() / 1_000_000).unwrap_or(i64::MAX);
    let moment = Moment::from_second(seconds).unwrap_or(Moment::UNIX_EPOCH);
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&moment);
    let text = text.unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 GMT".into());
    HeaderValue::from_str(&text).expect("letters, digits and spaces")
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;
    use crate::s3::ErrorCode;

    /// Every error said `Content-Length: 0` to HEAD, a 304 too: a cache would take it for the object's.
    #[test]
    fn head_is_answered_with_the_headers_of_get() {
        let length = |response: &Response| response.headers().get(CONTENT_LENGTH).cloned();
        let missing = S3Error::new(ErrorCode::NoSuchKey);
        let [get, head] = [true, false].map(|with_body| error(&missing, "/b/k", "1", with_body));
        assert_eq!(get.headers(), head.headers());
        assert!(length(&get).is_some());
        assert!(!get.body().is_end_stream() && head.body().is_end_stream());

        let unchanged = S3Error::new(ErrorCode::NotModified).header(CONTENT_LENGTH, HeaderValue::from(7));
        let [get, head] = [true, false].map(|with_body| error(&unchanged, "/b/k", "1", with_body));
        assert_eq!((length(&get), length(&head)), (None, Some(HeaderValue::from(7))));
        assert!(get.body().is_end_stream() && head.body().is_end_stream());
    }
}
