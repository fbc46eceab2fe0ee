//! The one form of a request that both sides sign.
//!
//! ```text
//!  GET                                       method
//!  /a%20key                                  path
//!  prefix=b%2Fc                              query, sorted
//!  host:bucket.example.com                   the signed headers, sorted
//!  x-amz-date:20130524T000000Z
//!
//!  host;x-amz-date                           their names
//!  e3b0c44298fc1c14…                         what is signed of the body
//! ```
//!
//! Clients differ in how they write a path on the wire: which characters they escape, and in which
//! case. S3 decodes what it received once and encodes it again by the strict rule of RFC 3986, with the
//! slashes as they are, and that is what a client must have signed. Nothing is normalised: `//`, `.`
//! and `..` are parts of keys. A query is treated in the same way, pair by pair; there `+` is a space.

use http::{HeaderMap, HeaderName, Method};

/// A request as it was received. Neither path nor query may have been decoded or normalised.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    pub method: &'a Method,
    /// Begins with `/`.
    pub raw_path: &'a str,
    /// Without the `?`. Empty if there is none.
    pub raw_query: &'a str,
    pub headers: &'a HeaderMap,
    /// As the client named us: the `Host` header, the `:authority` of HTTP/2, or what a trusted proxy says
    /// it was. With the port, if the client gave one.
    pub host: &'a str,
    /// The bucket, if the host names it and the path does not.
    pub host_bucket: Option<&'a str>,
}

impl SignedRequest<'_> {
    /// The canonical request, with the query's `pairs` and without a signature among them.
    pub(super) fn canonical(
        &self,
        pairs: &[(Vec<u8>, Vec<u8>)],
        signed_headers: &[HeaderName],
        payload: &str,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b'\n');
        encode_into(&mut out, &decode(self.raw_path, false), true);
        out.push(b'\n');
        out.extend_from_slice(canonical_query(pairs).as_bytes());
        out.push(b'\n');
        for name in signed_headers {
            out.extend_from_slice(name.as_str().as_bytes());
            out.push(b':');
            self.value_into(&mut out, name);
            out.push(b'\n');
        }
        out.push(b'\n');
        for (index, name) in signed_headers.iter().enumerate() {
            if index > 0 {
                out.push(b';');
            }
            out.extend_from_slice(name.as_str().as_bytes());
        }
        out.push(b'\n');
        out.extend_from_slice(payload.as_bytes());
        out
    }

    /// The header's values, trimmed, with single spaces inside, joined by commas. A header that is not
    /// there counts as empty: clients sign empty ones that their HTTP library then does not send.
    fn value_into(&self, out: &mut Vec<u8>, name: &HeaderName) {
        if *name == http::header::HOST {
            return out.extend_from_slice(self.host.as_bytes());
        }
        for (index, value) in self.headers.get_all(name).iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            let words = value.as_bytes().split(|byte| matches!(byte, b' ' | b'\t'));
            for (index, word) in words.filter(|word| !word.is_empty()).enumerate() {
                if index > 0 {
                    out.push(b' ');
                }
                out.extend_from_slice(word);
            }
        }
    }
}

/// The decoded pairs of a query, in their order.
pub(super) fn query_pairs(raw_query: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pairs = raw_query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        })
        .collect()
}

/// Encoded and then sorted, by name and by value.
pub(super) fn canonical_query(pairs: &[(Vec<u8>, Vec<u8>)]) -> String {
    let mut encoded: Vec<(String, String)> =
        pairs.iter().map(|(name, value)| (encode(name), encode(value))).collect();
    encoded.sort_unstable();
    let pairs: Vec<String> = encoded.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Decodes `%XX` once. A `%` that begins no such thing stands for itself.
pub(super) fn decode(text: &str, plus_is_space: bool) -> Vec<u8> {
    let digit = |byte: Option<&u8>| {
        byte.and_then(|byte| char::from(*byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
    };
    let text = text.as_bytes();
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'%' => match (digit(text.get(at)), digit(text.get(at + 1))) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    at += 2;
                }
                _ => decoded.push(b'%'),
            },
            b'+' if plus_is_space => decoded.push(b' '),
            _ => decoded.push(*byte),
        }
    }
    decoded
}

/// Escapes everything but the unreserved characters.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    encode_into(&mut out, bytes, false);
    String::from_utf8(out).expect("only ASCII is written")
}

/// As a path: the slashes stay.
pub(super) fn encode_path(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    encode_into(&mut out, bytes, true);
    String::from_utf8(out).expect("only ASCII is written")
}

fn encode_into(out: &mut Vec<u8>, bytes: &[u8], keep_slash: bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(*byte),
            b'/' if keep_slash => out.push(b'/'),
            _ => out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(path: &str, query: &str, headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let request = SignedRequest {
            method: &Method::GET,
            raw_path: path,
            raw_query: query,
            headers: &map,
            host: "h:1",
            host_bucket: None,
        };
        let mut names: Vec<HeaderName> = map.keys().cloned().collect();
        names.push(http::header::HOST);
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        let canonical = request.canonical(&query_pairs(query), &names, "payload");
        String::from_utf8(canonical).unwrap()
    }

    #[test]
    fn a_path_is_decoded_once_and_never_normalised() {
        for (raw, expected) in [
            ("/", "/"),
            ("/b/a+b", "/b/a%2Bb"),
            ("/b/a%20b", "/b/a%20b"),
            ("/b//c/./../d/", "/b//c/./../d/"),
            ("/b/%2e%2e", "/b/.."),
            ("/b/%252F", "/b/%252F"),
            ("/b/%2F", "/b//"),
            ("/b/a*b'(c)!", "/b/a%2Ab%27%28c%29%21"),
            ("/b/ä%c3%A4", "/b/%C3%A4%C3%A4"),
            ("/b/100%", "/b/100%25"),
            ("/b/%zz%4", "/b/%25zz%254"),
        ] {
            let canonical = canonical(raw, "", &[]);
            assert_eq!(canonical, format!("GET\n{expected}\n\nhost:h:1\n\nhost\npayload"), "{raw}");
        }
    }

    #[test]
    fn a_query_is_decoded_encoded_and_sorted() {
        for (raw, expected) in [
            ("", ""),
            ("&&", ""),
            ("acl", "acl="),
            ("b=1&a=2", "a=2&b=1"),
            ("a=2&a=10&a", "a=&a=10&a=2"),
            ("prefix=a+b%2Bc/d", "prefix=a%20b%2Bc%2Fd"),
            ("a=b=c", "a=b%3Dc"),
            // By what is encoded: `%` comes before letters.
            ("a%2Fb=1&aa=1&a=1", "a=1&a%2Fb=1&aa=1"),
        ] {
            assert_eq!(canonical("/", raw, &[]).lines().nth(2), Some(expected), "{raw}");
        }
    }

    #[test]
    fn headers_are_trimmed_collapsed_and_joined() {
        let headers = [("x-amz-a", "  one   two\tthree "), ("x-amz-b", "1"), ("x-amz-b", " 2"), ("a", "")];
        let canonical = canonical("/", "", &headers);
        let expected = "a:\nhost:h:1\nx-amz-a:one two three\nx-amz-b:1,2\n\na;host;x-amz-a;x-amz-b\n";
        assert!(canonical.contains(expected), "{canonical}");
    }
}
