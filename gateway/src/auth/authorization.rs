//! The `Authorization` header.
//!
//! `AWS4-HMAC-SHA256 Credential=…/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;…, Signature=…`

use super::canonical::SignedRequest;
use super::claim::{
    ALGORITHM, Claim, Credential, Place, parse_signed_headers, single, unsupported_mechanism,
};
use super::date::Instant;
use super::payload::{self, PayloadClaim};
use crate::s3::{ErrorCode, S3Error, S3Result};

/// `pairs`: the request's query.
pub(super) fn read(request: &SignedRequest<'_>, pairs: Vec<(Vec<u8>, Vec<u8>)>) -> S3Result<Claim> {
    let text = single(request.headers, "authorization")?.unwrap_or_default().trim();
    let (scheme, fields) = text.split_once(' ').unwrap_or((text, ""));
    check_scheme(scheme)?;
    let fields = Fields::parse(fields)?;
    let at = time_of(request)?;
    refuse_tokens(request)?;
    let credential = Credential::parse(fields.credential, at).map_err(|why| malformed(&why))?;
    let signed_headers = parse_signed_headers(fields.signed_headers)
        .ok_or_else(|| malformed("the SignedHeaders are not names of headers."))?;
    let payload = single(request.headers, payload::HEADER)?.ok_or_else(|| {
        S3Error::invalid_request("Missing required header for this request: x-amz-content-sha256")
    })?;
    Ok(Claim {
        place: Place::Header,
        credential,
        at,
        signed_headers,
        signature: fields.signature.into(),
        payload: PayloadClaim::parse(payload)?,
        pairs,
    })
}

fn malformed(why: &str) -> S3Error {
    let message = format!("The authorization header is malformed; {why}");
    S3Error::with(ErrorCode::AuthorizationHeaderMalformed, message)
}

fn check_scheme(scheme: &str) -> S3Result<()> {
    match scheme {
        ALGORITHM => Ok(()),
        // Signature Version 2, and what else is called like ours.
        "AWS" => Err(unsupported_mechanism()),
        other if other.starts_with("AWS4-") => Err(unsupported_mechanism()),
        _ => Err(S3Error::invalid_argument("Unsupported Authorization Type")
            .detail("ArgumentName", "Authorization")),
    }
}

/// The second that is signed, and that must not be far away: of `x-amz-date`, or else of `Date`.
fn time_of(request: &SignedRequest<'_>) -> S3Result<Instant> {
    let at = match single(request.headers, "x-amz-date")? {
        Some(text) => Instant::parse_http(text),
        None => single(request.headers, "date")?.and_then(Instant::parse_http),
    };
    at.ok_or_else(|| {
        let message = "AWS authentication requires a valid Date or x-amz-date header";
        S3Error::with(ErrorCode::AccessDenied, message)
    })
}

/// Nobody here gives out tokens: whoever sends one believes to be elsewhere.
fn refuse_tokens(request: &SignedRequest<'_>) -> S3Result<()> {
    match request.headers.contains_key("x-amz-security-token") {
        true => Err(S3Error::new(ErrorCode::InvalidToken)),
        false => Ok(()),
    }
}

struct Fields<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> S3Result<Fields<'a>> {
        let [mut credential, mut signed_headers, mut signature] = [None; 3];
        for field in text.split(',').map(str::trim).filter(|field| !field.is_empty()) {
            let (name, value) =
                field.split_once('=').ok_or_else(|| malformed("a component has no equal sign."))?;
            let place = match name.trim() {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => {
                    return Err(malformed("a component is neither Credential, SignedHeaders nor Signature."));
                }
            };
            if place.replace(value.trim()).is_some() {
                return Err(malformed("a component is given twice."));
            }
        }
        let there = |field: Option<&'a str>, name| {
            field.ok_or_else(|| malformed(&format!("the authorization header requires a {name}.")))
        };
        Ok(Fields {
            credential: there(credential, "Credential")?,
            signed_headers: there(signed_headers, "SignedHeaders")?,
            signature: there(signature, "Signature")?,
        })
    }
}
