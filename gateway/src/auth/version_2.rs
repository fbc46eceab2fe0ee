//! A URL that was signed by Signature Version 2. S3 has left it behind, but the AWS SDK for Python, and with
//! it the command line, still presigns so wherever nobody told it otherwise and the region is one of the
//! old ones, like `us-east-1`.
//!
//! ```text
//!  GET                                       method
//!                                            Content-MD5
//!  text/plain                                Content-Type
//!  1369353660                                when the URL ends, in seconds of 1970
//!  x-amz-meta-a:b                            all x-amz- headers, sorted
//!  /bucket/a%20key?versionId=null            bucket, path as it came, and sub-resources, sorted
//! ```
//!
//! The rest of the query is not covered. A URL that lists one prefix would list any, so a parameter that
//! means something and is not covered is refused.
//!
//! As a header this signature is refused: whoever sends headers signs each request anew, and can do better.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use sha1::Sha1;

use super::canonical::{SignedRequest, decode, query_pairs};
use super::claim::{single, unsupported_mechanism};
use super::date::Instant;
use super::payload::{self, PayloadClaim};
use super::presigned::{is_presigned, is_version_2, optional};
use super::signature::{BodyAuth, is_same};
use crate::s3::{ErrorCode, S3Error, S3Result};

/// What of a query is signed.
const COVERED: &[&str] = &[
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// What stands in such a query besides, and has no meaning there: the signature's own parameters, and a
/// word of some SDKs about themselves. The headers that were signed are repeated there, too; what counts
/// are those that come as headers.
const WITHOUT_MEANING: &[&str] =
    &["AWSAccessKeyId", "Signature", "Expires", "x-id", "content-type", "content-md5"];

#[derive(Debug)]
pub(super) struct Claim {
    pub(super) access_key: String,
    signature: String,
    /// As it was written, which is how it was signed.
    expires_text: String,
    expires: SystemTime,
    payload: PayloadClaim,
}

impl Claim {
    /// None if the request is signed in another way, or not at all.
    pub(super) fn read(request: &SignedRequest<'_>) -> S3Result<Option<Claim>> {
        let pairs = query_pairs(request.raw_query);
        if !is_version_2(&pairs) || is_presigned(&pairs) || request.headers.contains_key(AUTHORIZATION) {
            return Ok(None);
        }
        for (name, _) in &pairs {
            let is_one = |names: &[&str]| names.iter().any(|known| known.as_bytes() == name);
            if !is_one(COVERED) && !is_one(WITHOUT_MEANING) && !name.starts_with(b"x-amz-") {
                return Err(S3Error::invalid_request(format!(
                    "Signature Version 2 does not cover the query parameter {}. Please use AWS4-HMAC-SHA256.",
                    String::from_utf8_lossy(name)
                )));
            }
        }
        // Nobody here gives out tokens: whoever sends one believes to be elsewhere.
        if request.headers.contains_key("x-amz-security-token") {
            return Err(S3Error::new(ErrorCode::InvalidToken));
        }
        let required = |name| {
            optional(&pairs, name)?.ok_or_else(|| denied("Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"))
        };
        let expires_text = required("Expires")?.to_owned();
        let payload = match single(request.headers, payload::HEADER)? {
            Some(payload) => PayloadClaim::parse(payload)?,
            None => PayloadClaim::unsigned(),
        };
        Ok(Some(Claim {
            access_key: required("AWSAccessKeyId")?.to_owned(),
            signature: required("Signature")?.to_owned(),
            expires: parse_expires(&expires_text)?,
            expires_text,
            payload,
        }))
    }

    pub(super) fn check_time(&self, now: SystemTime) -> S3Result<()> {
        if now <= self.expires {
            return Ok(());
        }
        let iso = |time| Instant::of(time).map(Instant::to_iso).unwrap_or_default();
        Err(denied("Request has expired").detail("Expires", iso(self.expires)).detail("ServerTime", iso(now)))
    }

    /// Whether the claim holds: the signature is the one that follows from the request and the secret.
    pub(super) fn verify(self, request: &SignedRequest<'_>, secret: &str) -> S3Result<BodyAuth> {
        let string_to_sign = string_to_sign(request, &self.expires_text)?;
        if !is_same(&sign(secret, &string_to_sign), &self.signature) {
            return Err(S3Error::new(ErrorCode::SignatureDoesNotMatch)
                .detail("AWSAccessKeyId", self.access_key)
                .detail("StringToSign", String::from_utf8_lossy(&string_to_sign))
                .detail("SignatureProvided", self.signature));
        }
        // Chunks are signed by Version 4 only.
        self.payload.into_body_auth_without_signer().ok_or_else(unsupported_mechanism)
    }
}

fn denied(message: &'static str) -> S3Error {
    S3Error::with(ErrorCode::AccessDenied, message)
}

fn parse_expires(text: &str) -> S3Result<SystemTime> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|_| digits).map(Duration::from_secs);
    seconds
        .and_then(|seconds| UNIX_EPOCH.checked_add(seconds))
        .ok_or_else(|| denied("Invalid date (should be seconds since epoch)").detail("Expires", text))
}

fn sign(secret: &str, string_to_sign: &[u8]) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(string_to_sign);
    STANDARD.encode(mac.finalize().into_bytes())
}

fn string_to_sign(request: &SignedRequest<'_>, expires: &str) -> S3Result<Vec<u8>> {
    let mut out = Vec::with_capacity(256);
    let mut line = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        out.push(b'\n');
    };
    line(request.method.as_str().as_bytes());
    line(single(request.headers, "content-md5")?.unwrap_or_default().trim().as_bytes());
    line(single(request.headers, CONTENT_TYPE.as_str())?.unwrap_or_default().trim().as_bytes());
    line(expires.as_bytes());
    let mut names: Vec<&str> = request.headers.keys().map(|name| name.as_str()).collect();
    names.retain(|name| name.starts_with("x-amz-"));
    names.sort_unstable();
    for name in names {
        let values: Vec<&[u8]> =
            request.headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii()).collect();
        line(&[name.as_bytes(), b":", &values.join(&b","[..])].concat());
    }
    if let Some(bucket) = request.host_bucket {
        out.push(b'/');
        out.extend_from_slice(bucket.as_bytes());
    }
    out.extend_from_slice(request.raw_path.as_bytes());
    out.extend(sub_resources(request.raw_query));
    Ok(out)
}

/// With their question mark. One that stands without a value is signed without the equal sign.
fn sub_resources(raw_query: &str) -> Vec<u8> {
    let pairs = raw_query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value)) => (decode(name, true), Some(decode(value, true))),
        None => (decode(pair, true), None),
    });
    // By the decoded name, which is what the request will be taken for.
    let is_covered = |name: &[u8]| COVERED.iter().any(|covered| covered.as_bytes() == name);
    let mut covered: Vec<_> = pairs.filter(|(name, _)| is_covered(name)).collect();
    covered.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut out = Vec::new();
    for (name, value) in covered {
        out.push(if out.is_empty() { b'?' } else { b'&' });
        out.extend(name);
        if let Some(value) = value {
            out.push(b'=');
            out.extend(value);
        }
    }
    out
}
