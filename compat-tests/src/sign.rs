//! Signature Version 4, as far as S3 uses it, from its description: by header, by query, chunk by chunk.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sha2::Sha256;

use crate::checksums::{hex, sha256_hex};

/// All but the unreserved characters.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
pub const STREAMING: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
pub const STREAMING_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
pub const STREAMING_UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

pub fn encode_path(path: impl AsRef<[u8]>) -> String {
    percent_encode(path.as_ref(), PATH).to_string()
}

pub fn encode_query(text: impl AsRef<[u8]>) -> String {
    percent_encode(text.as_ref(), QUERY).to_string()
}

/// Who signs, and what a signature is bound to besides the request.
#[derive(Clone, Debug)]
pub struct Signer {
    pub access_key: String,
    pub secret_key: String,
    pub region: String,
    pub service: String,
    pub at: Timestamp,
}

/// What of a request is signed. The path is decoded; so are the query's names and values.
pub struct Parts<'a> {
    pub method: &'a str,
    pub path: &'a [u8],
    pub query: &'a [(String, String)],
    /// Names in lower case.
    pub headers: &'a [(String, Vec<u8>)],
    pub payload: &'a str,
}

impl Signer {
    /// `YYYYMMDDTHHMMSSZ`
    pub fn date(&self) -> String {
        self.at.strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    pub fn scope(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.at.strftime("%Y%m%d"), self.region, self.service)
    }

    pub fn credential(&self) -> String {
        format!("{}/{}", self.access_key, self.scope())
    }

    /// The value of `Authorization`, for those of the headers.
    pub fn authorization(&self, parts: &Parts<'_>) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential={}, SignedHeaders={}, Signature={}",
            self.credential(),
            signed_headers(parts.headers),
            self.signature(parts),
        )
    }

    /// The query of a presigned request, without its signature.
    pub fn presigned_query(&self, seconds: &str, headers: &[(String, Vec<u8>)]) -> Vec<(String, String)> {
        [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("X-Amz-Credential", self.credential()),
            ("X-Amz-Date", self.date()),
            ("X-Amz-Expires", seconds.to_owned()),
            ("X-Amz-SignedHeaders", signed_headers(headers)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    pub fn signature(&self, parts: &Parts<'_>) -> String {
        let mut query: Vec<(String, String)> =
            parts.query.iter().map(|(name, value)| (encode_query(name), encode_query(value))).collect();
        query.sort();
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut canonical =
            format!("{}\n{}\n{}\n", parts.method, encode_path(parts.path), query.join("&")).into_bytes();
        for (name, value) in sorted(parts.headers) {
            canonical.extend_from_slice(name.as_bytes());
            canonical.push(b':');
            canonical.extend(with_single_spaces(value.trim_ascii()));
            canonical.push(b'\n');
        }
        canonical
            .extend_from_slice(format!("\n{}\n{}", signed_headers(parts.headers), parts.payload).as_bytes());
        self.sign(&["AWS4-HMAC-SHA256", &self.date(), &self.scope(), &sha256_hex(&canonical)])
    }

    pub fn chunk_signature(&self, previous: &str, chunk: &[u8]) -> String {
        let (empty, chunk) = (sha256_hex(b""), sha256_hex(chunk));
        self.sign(&["AWS4-HMAC-SHA256-PAYLOAD", &self.date(), &self.scope(), previous, &empty, &chunk])
    }

    /// `trailer`: each line `name:value` and a line feed.
    pub fn trailer_signature(&self, previous: &str, trailer: &[u8]) -> String {
        let digest = sha256_hex(trailer);
        self.sign(&["AWS4-HMAC-SHA256-TRAILER", &self.date(), &self.scope(), previous, &digest])
    }

    fn sign(&self, lines: &[&str]) -> String {
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        let date = self.at.strftime("%Y%m%d").to_string();
        for step in [&date, &self.region, &self.service, "aws4_request"] {
            key = hmac(&key, step.as_bytes());
        }
        hex(&hmac(&key, lines.join("\n").as_bytes()))
    }
}

pub fn signed_headers(headers: &[(String, Vec<u8>)]) -> String {
    sorted(headers).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";")
}

/// Several spaces in a row are signed as one.
fn with_single_spaces(value: &[u8]) -> impl Iterator<Item = u8> {
    let mut previous = 0;
    value.iter().copied().filter(move |&byte| {
        let again = byte == b' ' && previous == b' ';
        previous = byte;
        !again
    })
}

fn sorted(headers: &[(String, Vec<u8>)]) -> Vec<&(String, Vec<u8>)> {
    let mut sorted: Vec<_> = headers.iter().collect();
    sorted.sort_by_key(|(name, _)| name);
    sorted
}

fn hmac(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            region: "us-east-1".into(),
            service: "s3".into(),
            at: "2013-05-24T00:00:00Z".parse().unwrap(),
        }
    }

    fn headers(of: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        of.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
    }

    /// The examples of the S3 API's reference.
    #[test]
    fn the_published_examples_are_signed_as_published() {
        let headers = headers(&[
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("host", "examplebucket.s3.amazonaws.com"),
            ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ]);
        let parts = Parts {
            method: "PUT",
            path: b"/test$file.text",
            query: &[],
            headers: &headers,
            payload: "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        };
        assert_eq!(
            signer().signature(&parts),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
    }

    #[test]
    fn the_published_chunks_are_signed_as_published() {
        let seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
        let first = signer().chunk_signature(seed, &vec![b'a'; 65536]);
        assert_eq!(first, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
        let second = signer().chunk_signature(&first, &vec![b'a'; 1024]);
        assert_eq!(second, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497");
        let last = signer().chunk_signature(&second, b"");
        assert_eq!(last, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9");
    }
}
