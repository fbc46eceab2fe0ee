//! What a request says before its body: which bucket and key, and the query. Read from the raw bytes of
//! the request line, because a key is exactly what the client sent: `a//b`, `a/../b` and `%2F` are names.

use std::str::FromStr;

use http::header::{AsHeaderName, HOST};
use http::{HeaderMap, HeaderValue, Method, request};
use percent_encoding::percent_decode_str;
use protocol::catalog::{BucketRef, KEY_BYTES_MAX};

use super::hoisted;
use crate::s3::{ErrorCode, S3Error, S3Result};

/// A request without its body.
#[derive(Clone, Debug)]
pub struct Head {
    pub method: Method,
    /// As received: percent-encoded, and never normalised.
    pub raw_path: String,
    pub raw_query: String,
    /// How the client would write the beginning of the URL.
    pub scheme: &'static str,
    /// The host that the client meant, with the port if it named one.
    pub host: String,
    /// The bucket, if the host names it.
    pub host_bucket: Option<String>,
    /// Those that were sent, and those that a presigned URL carries in its query.
    pub headers: HeaderMap,
    pub target: Target,
    pub query: Query,
}

/// Goes with a request that came over TLS.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encrypted;

/// What a request is about. The service itself if there is no bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    pub bucket: Option<String>,
    pub key: Option<String>,
}

/// The query's pairs, decoded, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Head {
    /// `domains`: those of which a subdomain is a bucket.
    pub fn parse(parts: &request::Parts, domains: &[String]) -> S3Result<Head> {
        let host = host_of(parts)?;
        let raw_path = parts.uri.path().to_owned();
        let raw_query = parts.uri.query().unwrap_or_default().to_owned();
        let host_bucket = bucket_of_host(&host, domains).map(str::to_owned);
        let target = Target::parse(&raw_path, host_bucket.as_deref())?;
        let query = Query::parse(&raw_query)?;
        check_given_once(&parts.headers)?;
        let mut headers = parts.headers.clone();
        hoisted::join(&mut headers, &query)?;
        let scheme = scheme_of(parts);
        let method = parts.method.clone();
        Ok(Head { method, raw_path, raw_query, scheme, host, host_bucket, headers, target, query })
    }

    /// A header's text. None if it is not there; an error if it is not text.
    pub fn header(&self, name: impl AsHeaderName + Copy) -> S3Result<Option<&str>> {
        match self.headers.get(name) {
            None => Ok(None),
            Some(value) => match std::str::from_utf8(value.as_bytes()) {
                Ok(text) => Ok(Some(text.trim())),
                Err(_) => Err(S3Error::invalid_argument("a header is not UTF-8")),
            },
        }
    }

    /// A header that is a number or a word of ours.
    pub fn parsed_header<T: FromStr>(&self, name: &'static str) -> S3Result<Option<T>> {
        let Some(text) = self.header(name)? else { return Ok(None) };
        let value = text.parse();
        value.map(Some).map_err(|_| {
            S3Error::invalid_argument(format!("the header {name} is not valid"))
                .detail("ArgumentName", name)
                .detail("ArgumentValue", text)
        })
    }

    /// The bucket that the request is about.
    pub fn bucket(&self) -> S3Result<BucketRef> {
        let name = self.target.bucket.clone().ok_or(ErrorCode::InvalidBucketName)?;
        Ok(BucketRef::named(name))
    }

    pub fn bucket_name(&self) -> &str {
        self.target.bucket.as_deref().unwrap_or_default()
    }

    /// The key that the request is about.
    pub fn key(&self) -> &str {
        self.target.key.as_deref().unwrap_or_default()
    }

    /// How error documents name what the request was about.
    pub fn resource(&self) -> &str {
        &self.raw_path
    }
}

/// HTTP/2 says `:authority`, HTTP/1.1 says `Host`.
fn host_of(parts: &request::Parts) -> S3Result<String> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    // Whoever stands before us may have looked at the other one.
    if hosts.next().is_some() {
        return Err(S3Error::with(ErrorCode::BadRequest, "the Host header is given more than once"));
    }
    if let Some(authority) = parts.uri.authority() {
        return Ok(authority.as_str().to_owned());
    }
    host.map(str::to_owned).ok_or_else(|| S3Error::with(ErrorCode::BadRequest, "the Host header is missing"))
}

/// `https` also if a proxy says that it was. Anybody can say so: it is believed because nothing follows from
/// it but how the answer to the same request writes a URL.
fn scheme_of(parts: &request::Parts) -> &'static str {
    let forwarded = parts.headers.get("x-forwarded-proto").map(HeaderValue::as_bytes).unwrap_or_default();
    let first = forwarded.split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    let encrypted = parts.extensions.get::<Encrypted>().is_some() || first.eq_ignore_ascii_case(b"https");
    if encrypted { "https" } else { "http" }
}

/// S3's own headers that are lists, so that several lines of them mean what one with commas does.
const LISTS: &[&str] = &[
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-none-match",
    "x-amz-object-attributes",
    "x-amz-optional-object-attributes",
    "x-amz-trailer",
];

/// What is signed of a header that is there twice is one text, with a comma: a client that signed
/// `bucket/a,b` as the source of a copy would have signed `bucket/a` and `b` as well. So a header of
/// which one line counts has one line.
fn check_given_once(headers: &HeaderMap) -> S3Result<()> {
    let may_repeat =
        |name: &str| !name.starts_with("x-amz-") || name.starts_with("x-amz-meta-") || LISTS.contains(&name);
    for name in headers.keys().filter(|name| !may_repeat(name.as_str())) {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(S3Error::invalid_argument(format!("the header {name} is given more than once"))
                .detail("ArgumentName", name.as_str()));
        }
    }
    Ok(())
}

/// Without a port.
pub(super) fn name_of_host(host: &str) -> &str {
    match host.rsplit_once(':') {
        // An IPv6 address in brackets has colons of its own.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// `bucket` of `bucket.domain`, with or without a port.
fn bucket_of_host<'a>(host: &'a str, domains: &[String]) -> Option<&'a str> {
    let name = name_of_host(host);
    domains.iter().find_map(|domain| {
        let split = name.len().checked_sub(domain.len() + 1).filter(|split| *split > 0)?;
        let (bucket, rest) = (name.get(..split)?, name.get(split..)?);
        let suffix = rest.strip_prefix('.')?;
        suffix.eq_ignore_ascii_case(domain).then_some(bucket)
    })
}

impl Target {
    fn parse(raw_path: &str, bucket_of_host: Option<&str>) -> S3Result<Target> {
        let path = raw_path.strip_prefix('/').unwrap_or(raw_path);
        let (bucket, key) = match bucket_of_host {
            Some(bucket) => (bucket.to_owned(), path),
            None => {
                let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
                (decode(bucket)?, key)
            }
        };
        if bucket.is_empty() {
            return if key.is_empty() {
                Ok(Target::default())
            } else {
                Err(S3Error::new(ErrorCode::InvalidBucketName))
            };
        }
        let key = decode(key)?;
        if key.len() > KEY_BYTES_MAX {
            let error = S3Error::new(ErrorCode::KeyTooLong);
            return Err(error
                .detail("Size", key.len().to_string())
                .detail("MaxSizeAllowed", KEY_BYTES_MAX.to_string()));
        }
        Ok(Target { bucket: Some(bucket), key: Some(key).filter(|key| !key.is_empty()) })
    }
}

/// Decoded once. A plus is a plus. What looks like an escape and is none would be two names for one key.
fn decode(raw: &str) -> S3Result<String> {
    let is_escape = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !raw.split('%').skip(1).all(is_escape) {
        return Err(S3Error::with(ErrorCode::InvalidUri, "the path holds a broken percent escape"));
    }
    match percent_decode_str(raw).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(S3Error::with(ErrorCode::InvalidUri, "the path is not UTF-8")),
    }
}

impl Query {
    /// Here a plus is a space, as forms have it.
    pub fn parse(raw: &str) -> S3Result<Query> {
        let decode = |raw: &str| match percent_decode_str(&raw.replace('+', " ")).decode_utf8() {
            Ok(text) => Ok(text.into_owned()),
            Err(_) => Err(S3Error::with(ErrorCode::InvalidUri, "the query is not UTF-8")),
        };
        let pairs = raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Query { pairs: pairs.collect::<S3Result<_>>()? })
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(name, _)| name.as_str())
    }

    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A number between zero and `most`; what is greater counts as `most`, but one that no client has in
    /// an `int` is a mistake. None if it is not given.
    pub fn number(&self, name: &'static str, most: u32) -> S3Result<Option<u32>> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number =
            text.parse::<i32>().ok().filter(|_| digits).and_then(|number| u32::try_from(number).ok());
        let Some(number) = number else {
            let error =
                S3Error::invalid_argument(format!("Provided {name} not an integer or within integer range"));
            return Err(error.detail("ArgumentName", name).detail("ArgumentValue", text));
        };
        Ok(Some(number.min(most)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> S3Result<Target> {
        Target::parse(path, None)
    }

    fn at(bucket: &str, key: &str) -> Target {
        Target { bucket: Some(bucket.into()), key: Some(key.to_owned()).filter(|key| !key.is_empty()) }
    }

    #[test]
    fn a_path_is_a_bucket_and_a_key_and_nothing_is_normalised() {
        assert_eq!(target("/"), Ok(Target::default()));
        assert_eq!(target("/b"), Ok(at("b", "")));
        assert_eq!(target("/b/"), Ok(at("b", "")));
        for (path, key) in [
            ("/b/k", "k"),
            ("/b/a/", "a/"),
            ("/b//", "/"),
            ("/b/a//b", "a//b"),
            ("/b/./../a", "./../a"),
            ("/b/a+b", "a+b"),
            ("/b/a%2Fb", "a/b"),
            ("/b/a%252Fb", "a%2Fb"),
            ("/b/%20%00%C3%A4", " \0ä"),
        ] {
            assert_eq!(target(path), Ok(at("b", key)), "{path}");
        }
    }

    #[test]
    fn paths_that_name_nothing_are_refused() {
        assert_eq!(target("//k").unwrap_err().code, ErrorCode::InvalidBucketName);
        for path in ["/b/%FF", "/b/a%", "/b/a%4", "/b/a%zz", "/%2/k"] {
            assert_eq!(target(path).unwrap_err().code, ErrorCode::InvalidUri, "{path}");
        }
        let long = format!("/b/{}", "k".repeat(1025));
        assert_eq!(target(&long).unwrap_err().code, ErrorCode::KeyTooLong);
    }

    fn head(headers: &[(&str, &str)]) -> S3Result<Head> {
        let mut request = http::Request::builder().uri("/b/k");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Head::parse(&request.body(()).unwrap().into_parts().0, &[])
    }

    /// The holder of a URL that was signed for a copy of `b/a,b` could copy `b/a` with it.
    #[test]
    fn a_header_of_which_one_line_counts_comes_once() {
        let host = ("host", "localhost");
        for (name, code) in [
            ("x-amz-copy-source", Some(ErrorCode::InvalidArgument)),
            ("x-amz-acl", Some(ErrorCode::InvalidArgument)),
            ("x-amz-tagging", Some(ErrorCode::InvalidArgument)),
            ("host", Some(ErrorCode::BadRequest)),
            ("x-amz-meta-a", None),
            ("x-amz-object-attributes", None),
            ("x-amz-copy-source-if-match", None),
            ("if-match", None),
            ("accept", None),
        ] {
            let refused = head(&[host, (name, "a"), (name, "b")]).map_err(|error| error.code).err();
            assert_eq!(refused, code, "{name}");
        }
    }

    #[test]
    fn a_proxy_can_say_that_a_request_came_encrypted() {
        let scheme = |value| head(&[("host", "localhost"), ("x-forwarded-proto", value)]).unwrap().scheme;
        for value in ["https", "HTTPS", "https, http", " https"] {
            assert_eq!(scheme(value), "https", "{value}");
        }
        for value in ["http", "", "http, https", "httpsx", "javascript"] {
            assert_eq!(scheme(value), "http", "{value}");
        }
    }

    #[test]
    fn a_subdomain_of_ours_is_a_bucket() {
        let domains = ["s3.example.com".to_owned(), "localhost".to_owned()];
        for (host, bucket) in [
            ("b.s3.example.com", Some("b")),
            ("b.c.S3.Example.com:9000", Some("b.c")),
            ("b.localhost:9000", Some("b")),
            ("s3.example.com", None),
            (".localhost", None),
            ("blocalhost", None),
            ("127.0.0.1:9000", None),
            ("[::1]:9000", None),
            ("ä.localhost", Some("ä")),
        ] {
            assert_eq!(bucket_of_host(host, &domains), bucket, "{host}");
        }
        assert_eq!(Target::parse("/a//b", Some("b")), Ok(at("b", "a//b")));
        assert_eq!(Target::parse("/", Some("b")), Ok(at("b", "")));
    }

    #[test]
    fn a_query_is_decoded_in_order() {
        let query = Query::parse("uploads&prefix=a%2Fb+c&x=&x=2&=y").unwrap();
        let pairs: Vec<_> = query.pairs().collect();
        assert_eq!(pairs, [("uploads", ""), ("prefix", "a/b c"), ("x", ""), ("x", "2"), ("", "y")]);
        assert_eq!(query.get("x"), Some(""));
        assert!(query.has("uploads") && !query.has("upload"));
        assert!(Query::parse("a=%FF").is_err());
    }

    #[test]
    fn numbers_are_bounded_and_not_negative() {
        let query = Query::parse("a=5&b=5000&c=-1&d=x&e=&f=2147483648&h=2147483647&i=%2B1").unwrap();
        assert_eq!(query.number("a", 1000), Ok(Some(5)));
        assert_eq!(query.number("b", 1000), Ok(Some(1000)));
        assert_eq!(query.number("c", 1000).unwrap_err().code, ErrorCode::InvalidArgument);
        assert_eq!(query.number("d", 1000).unwrap_err().code, ErrorCode::InvalidArgument);
        assert_eq!(query.number("e", 1000), Ok(None));
        assert_eq!(query.number("f", 1000).unwrap_err().code, ErrorCode::InvalidArgument);
        assert_eq!(query.number("h", 1000), Ok(Some(1000)));
        assert_eq!(query.number("i", 1000).unwrap_err().code, ErrorCode::InvalidArgument);
        assert_eq!(query.number("g", 1000), Ok(None));
    }
}
