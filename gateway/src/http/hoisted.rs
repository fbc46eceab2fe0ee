//! Headers that stand in the query of a presigned URL.
//!
//! Nobody can make a browser send a header along with a link. So some SDKs, those for JavaScript and Go among
//! them, move what they would have sent as `x-amz-` headers into the query that they sign. They mean what they
//! would mean as headers: passed over, an object would lose its metadata, and a copy would become an upload
//! of nothing.
//!
//! What is read here is believed only as far as the signature is: it covers the whole query. A URL of Version 2
//! is another matter. Its signature covers no such parameter, but the headers that it was made with, which
//! therefore have to be sent.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::request::Query;
use crate::auth::PRESIGNED_MARKS;
use crate::s3::{ErrorCode, S3Error, S3Result};

const PREFIX: &str = "x-amz-";

/// What says something of the signature, or of the SDK, and nothing of the request.
const OF_THE_SIGNER: [&str; 9] = [
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    // Which checksum the SDK would have computed if it had been given the body. As a header it promises one;
    // who signs a URL for somebody else cannot.
    "x-amz-sdk-checksum-algorithm",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// Adds them to the headers that were sent.
pub(super) fn join(headers: &mut HeaderMap, query: &Query) -> S3Result<()> {
    if !PRESIGNED_MARKS.iter().any(|mark| query.has(mark)) {
        return Ok(());
    }
    let sent = headers.clone();
    for (name, value) in query.pairs().filter(|(name, _)| is_hoisted(name)) {
        let wrong = |why: &str| {
            S3Error::invalid_argument(format!("the query parameter {name} {why}"))
                .detail("ArgumentName", name)
                .detail("ArgumentValue", value)
        };
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("names no header"))?;
        let value = HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes());
        let value = value.map_err(|_| wrong("has no value of a header"))?;
        match (sent.contains_key(&header), headers.contains_key(&header)) {
            (true, _) if sent.get_all(&header).iter().ne([&value]) => {
                return Err(wrong("is another one than the header of that name"));
            }
            (true, _) => {}
            // The signature does not cover their order.
            (false, true) => return Err(wrong("is given more than once")),
            (false, false) => {
                let added = headers.try_insert(header, value);
                added.map_err(|_| S3Error::new(ErrorCode::RequestHeaderSectionTooLarge))?;
            }
        }
    }
    Ok(())
}

fn is_hoisted(name: &str) -> bool {
    let begins = name.get(..PREFIX.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(PREFIX));
    begins && !OF_THE_SIGNER.iter().any(|other| other.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=x&X-Amz-Signature=y";

    /// The headers, a line each.
    fn joined(query: &str, sent: &[(&'static str, &str)]) -> Result<String, ErrorCode> {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        join(&mut headers, &Query::parse(query).unwrap()).map_err(|error| error.code)?;
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}\n", std::str::from_utf8(value.as_bytes()).unwrap())
        };
        let mut lines: Vec<_> = headers.iter().map(line).collect();
        lines.sort();
        Ok(lines.concat())
    }

    #[test]
    fn what_a_presigned_url_carries_is_what_a_header_would_say() {
        let query = "x-amz-meta-color=r%C3%B6t+&X-Amz-Tagging=a%3D1&x-amz-copy-source=b%2Fa%252Fb&prefix=x";
        let all = "accept: */*\nx-amz-copy-source: b/a%2Fb\nx-amz-meta-color: röt\nx-amz-tagging: a=1\n";
        assert_eq!(joined(&format!("{query}&{SIGNATURE}"), &[("accept", "*/*")]), Ok(all.into()));
        // Signed in a header, or by Version 2: no SDK hoists there, and Version 2 would not cover it.
        assert_eq!(joined(query, &[]), Ok(String::new()));
        let old = format!("{query}&AWSAccessKeyId=a&Signature=x&Expires=1");
        assert_eq!(joined(&old, &[]), Ok(String::new()));
    }

    /// An SDK names the algorithm in a URL for an upload and has no checksum to go with it.
    #[test]
    fn what_the_signer_says_of_itself_is_no_header() {
        for name in OF_THE_SIGNER {
            assert_eq!(joined(&format!("{name}=x&{SIGNATURE}"), &[]), Ok(String::new()), "{name}");
        }
    }

    #[test]
    fn a_header_that_says_something_else_is_refused() {
        let query = format!("x-amz-meta-a=1&{SIGNATURE}");
        let refused = Err(ErrorCode::InvalidArgument);
        assert_eq!(joined(&query, &[("x-amz-meta-a", "1")]), Ok("x-amz-meta-a: 1\n".into()));
        assert_eq!(joined(&query, &[("x-amz-meta-a", "2")]), refused);
        assert_eq!(joined(&query, &[("x-amz-meta-a", "1"), ("x-amz-meta-a", "2")]), refused);
        let twice = ["x-amz-meta-a=1&X-Amz-Meta-A=2", "x-amz-meta-a=1&x-amz-meta-a=1"];
        for query in twice.into_iter().chain(["x-amz-%C3%A4=1", "x-amz-acl=%0A"]) {
            assert_eq!(joined(&format!("{query}&{SIGNATURE}"), &[]), refused, "{query}");
        }
    }
}
