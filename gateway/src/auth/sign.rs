//! The client's side: signs requests and makes presigned URLs.

use std::fmt;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::canonical::{SignedRequest, canonical_query, encode_path, query_pairs};
use super::claim::{ALGORITHM, Claim, Credential, Place, SERVICE};
use super::date::Instant;
use super::payload::{self, PayloadClaim};
use super::presigned::SIGNATURE;
use super::signature::{ChunkSigner, SigningKey, hex, sha256};
use crate::s3::{S3Error, S3Result};

/// Whoever signs with an access key.
#[derive(Clone)]
pub struct Signer {
    pub access_key: String,
    pub secret: String,
    pub region: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signer { access_key, region, .. } = self;
        f.debug_struct("Signer")
            .field("access_key", access_key)
            .field("region", region)
            .finish_non_exhaustive()
    }
}

/// What to sign, as it will be sent. The `Host` header is made of `host`.
#[derive(Clone, Copy, Debug)]
pub struct ToSign<'a> {
    pub method: &'a Method,
    pub host: &'a str,
    pub raw_path: &'a str,
    pub raw_query: &'a str,
}

impl Signer {
    /// Adds `x-amz-date`, `x-amz-content-sha256` and `Authorization`, and signs all headers that are
    /// there. `payload`: what `x-amz-content-sha256` is to say, a digest or one of its words. What comes
    /// back signs the chunks, if the body has any.
    pub fn sign(
        &self,
        what: ToSign<'_>,
        headers: &mut HeaderMap,
        payload: &str,
        now: SystemTime,
    ) -> S3Result<ChunkSigner> {
        let at = instant(now)?;
        headers.insert("x-amz-date", text(&at.to_text())?);
        headers.insert(payload::HEADER, text(payload)?);
        headers.remove(http::header::AUTHORIZATION);
        let claim = Claim {
            place: Place::Header,
            credential: self.credential(at),
            at,
            signed_headers: names(headers),
            signature: String::new(),
            payload: PayloadClaim::parse(payload)?,
            pairs: query_pairs(what.raw_query),
        };
        let signed_headers = join(&claim.signed_headers);
        let signature = self.signature(&claim, &what.request(headers));
        let credential = format!("{}/{}", self.access_key, claim.credential.scope());
        let authorization = format!(
            "{ALGORITHM} Credential={credential}, SignedHeaders={signed_headers}, Signature={signature}"
        );
        headers.insert(http::header::AUTHORIZATION, text(&authorization)?);
        let key = self.key(&claim.credential);
        Ok(ChunkSigner::new(key, at.to_text(), claim.credential.scope(), signature))
    }

    /// The query of a URL that whoever has it can use until it expires, with these headers.
    pub fn presign(
        &self,
        what: ToSign<'_>,
        headers: &HeaderMap,
        expires_seconds: u32,
        now: SystemTime,
    ) -> S3Result<String> {
        let at = instant(now)?;
        let credential = self.credential(at);
        let signed_headers = names(headers);
        let mut pairs = query_pairs(what.raw_query);
        for (name, value) in [
            ("X-Amz-Algorithm", ALGORITHM.to_owned()),
            ("X-Amz-Credential", format!("{}/{}", self.access_key, credential.scope())),
            ("X-Amz-Date", at.to_text()),
            ("X-Amz-Expires", expires_seconds.to_string()),
            ("X-Amz-SignedHeaders", join(&signed_headers)),
        ] {
            pairs.push((name.into(), value.into()));
        }
        let claim = Claim {
            place: Place::Query { expires_seconds },
            credential,
            at,
            signed_headers,
            signature: String::new(),
            payload: PayloadClaim::unsigned(),
            pairs,
        };
        let signature = self.signature(&claim, &what.request(headers));
        Ok(format!("{}&{SIGNATURE}={signature}", canonical_query(&claim.pairs)))
    }

    /// What a signed request says of a body with these bytes.
    pub fn payload(body: &[u8]) -> String {
        hex(&sha256(body))
    }

    /// The path of a bucket or of an object in it, as it is sent.
    pub fn path(bucket: &str, key: impl AsRef<[u8]>) -> String {
        let mut path = [b"/", bucket.as_bytes()].concat();
        if !key.as_ref().is_empty() {
            path.push(b'/');
            path.extend_from_slice(key.as_ref());
        }
        encode_path(&path)
    }

    fn credential(&self, at: Instant) -> Credential {
        Credential { access_key: self.access_key.clone(), date: at.day(), region: self.region.clone() }
    }

    fn key(&self, credential: &Credential) -> SigningKey {
        SigningKey::new(&self.secret, &credential.date, &credential.region, SERVICE)
    }

    fn signature(&self, claim: &Claim, request: &SignedRequest<'_>) -> String {
        let canonical = request.canonical(&claim.pairs, &claim.signed_headers, claim.payload.as_str());
        self.key(&claim.credential).sign(&claim.string_to_sign(&hex(&sha256(&canonical))))
    }
}

impl<'a> ToSign<'a> {
    fn request(&self, headers: &'a HeaderMap) -> SignedRequest<'a> {
        let ToSign { method, host, raw_path, raw_query } = *self;
        SignedRequest { method, raw_path, raw_query, headers, host, host_bucket: None }
    }
}

fn instant(now: SystemTime) -> S3Result<Instant> {
    Instant::of(now).ok_or_else(|| S3Error::invalid_request("the clock shows a time that no date expresses"))
}

fn text(text: &str) -> S3Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| S3Error::invalid_request("a header would not be a text"))
}

/// The names of the headers and `host`, sorted.
fn names(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut names: Vec<HeaderName> =
        headers.keys().filter(|name| **name != http::header::HOST).cloned().collect();
    names.push(http::header::HOST);
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names
}

fn join(names: &[HeaderName]) -> String {
    let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
    names.join(";")
}
