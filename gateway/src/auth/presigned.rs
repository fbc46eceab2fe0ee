//! A signature in the query: a URL that somebody with a key made for somebody without one.

use super::canonical::SignedRequest;
use super::claim::{
    ALGORITHM, Claim, Credential, Place, parse_signed_headers, single, unsupported_mechanism,
};
use super::date::Instant;
use super::payload::{self, PayloadClaim};
use crate::s3::{ErrorCode, S3Error, S3Result};

pub(super) const SIGNATURE: &str = "X-Amz-Signature";

/// A week.
pub(super) const EXPIRES_SECONDS_MAX: u32 = 604_800;

type Pairs = [(Vec<u8>, Vec<u8>)];

/// Each of these makes a query that of a presigned URL.
pub(crate) const MARKS: [&str; 3] = ["X-Amz-Algorithm", "X-Amz-Credential", SIGNATURE];

pub(super) fn is_presigned(pairs: &Pairs) -> bool {
    MARKS.iter().any(|name| has(pairs, name))
}

pub(super) fn is_version_2(pairs: &Pairs) -> bool {
    has(pairs, "AWSAccessKeyId") && has(pairs, "Signature")
}

/// `pairs`: the request's query.
pub(super) fn read(request: &SignedRequest<'_>, mut pairs: Vec<(Vec<u8>, Vec<u8>)>) -> S3Result<Claim> {
    let algorithm = required(&pairs, "X-Amz-Algorithm")?;
    if algorithm.starts_with("AWS4-ECDSA-") {
        return Err(unsupported_mechanism());
    }
    if algorithm != ALGORITHM {
        return Err(wrong(format!("X-Amz-Algorithm only supports \"{ALGORITHM}\"")));
    }
    let credential = required(&pairs, "X-Amz-Credential")?;
    let signature = required(&pairs, SIGNATURE)?.to_owned();
    let date = required(&pairs, "X-Amz-Date")?;
    let signed_headers = required(&pairs, "X-Amz-SignedHeaders")?;
    let expires_seconds = parse_expires(required(&pairs, "X-Amz-Expires")?)?;
    // Nobody here gives out tokens: whoever sends one believes to be elsewhere.
    if has(&pairs, "X-Amz-Security-Token") || request.headers.contains_key("x-amz-security-token") {
        return Err(S3Error::new(ErrorCode::InvalidToken));
    }
    let at = Instant::parse(date)
        .ok_or_else(|| wrong("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""))?;
    let credential = Credential::parse(credential, at)
        .map_err(|why| wrong(format!("Error parsing the X-Amz-Credential parameter; {why}")))?;
    let signed_headers = parse_signed_headers(signed_headers)
        .ok_or_else(|| wrong("X-Amz-SignedHeaders does not consist of names of headers"))?;
    let payload = match single(request.headers, payload::HEADER)? {
        Some(payload) => PayloadClaim::parse(payload)?,
        // Some clients put all that they would send as headers into the query.
        None => match optional(&pairs, "X-Amz-Content-Sha256")? {
            Some(payload) => PayloadClaim::parse(payload)?,
            None => PayloadClaim::unsigned(),
        },
    };
    pairs.retain(|(name, _)| name != SIGNATURE.as_bytes());
    let place = Place::Query { expires_seconds };
    Ok(Claim { place, credential, at, signed_headers, signature, payload, pairs })
}

fn wrong(message: impl Into<String>) -> S3Error {
    S3Error::with(ErrorCode::AuthorizationQueryParametersError, message.into())
}

fn has(pairs: &Pairs, wanted: &str) -> bool {
    pairs.iter().any(|(name, _)| name == wanted.as_bytes())
}

pub(super) fn optional<'a>(pairs: &'a Pairs, wanted: &str) -> S3Result<Option<&'a str>> {
    let mut values = pairs.iter().filter(|(name, _)| name == wanted.as_bytes()).map(|(_, value)| value);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(wrong(format!("{wanted} is given more than once")));
    }
    std::str::from_utf8(value).map(Some).map_err(|_| wrong(format!("{wanted} is not a text")))
}

fn required<'a>(pairs: &'a Pairs, wanted: &str) -> S3Result<&'a str> {
    optional(pairs, wanted)?.ok_or_else(|| {
        wrong(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
             X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        )
    })
}

fn parse_expires(text: &str) -> S3Result<u32> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("X-Amz-Expires should be a number"));
    }
    if digits.len() < text.len() || digits.bytes().all(|byte| byte == b'0') {
        return Err(wrong("X-Amz-Expires must be positive"));
    }
    digits.parse().ok().filter(|seconds| *seconds <= EXPIRES_SECONDS_MAX).ok_or_else(|| {
        wrong(format!(
            "X-Amz-Expires must be less than a week (in seconds) that is, the given X-Amz-Expires must be \
             less than {EXPIRES_SECONDS_MAX} seconds"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_presigned_url_expires_within_a_week() {
        for (text, seconds) in [("1", 1), ("0086400", 86_400), ("604800", 604_800)] {
            assert_eq!(parse_expires(text).unwrap(), seconds, "{text}");
        }
        for (wrong, why) in [
            ("", "a number"),
            ("-", "a number"),
            ("1.5", "a number"),
            ("+5", "a number"),
            ("0", "positive"),
            ("-5", "positive"),
            ("604801", "less than a week"),
            ("99999999999999999999", "less than a week"),
        ] {
            let error = parse_expires(wrong).unwrap_err();
            assert!(error.message().contains(why), "{wrong}: {error}");
        }
    }
}
