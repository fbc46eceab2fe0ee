//! What a request says of its signature: whose key, when, over which headers. Nothing of it is proved
//! until the signature is.

use http::{HeaderMap, HeaderName};

use super::canonical::{SignedRequest, query_pairs};
use super::date::Instant;
use super::payload::PayloadClaim;
use super::signature::TERMINATOR;
use super::{authorization, presigned};
use crate::s3::{ErrorCode, S3Error, S3Result};

/// The only algorithm there is here, but for the URLs of `version_2`.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

pub(super) const SERVICE: &str = "s3";

/// Named like ours, and without a meaning here: CloudFront tells its request ids to every origin.
const ADDED_BY_PROXY: &str = "x-amz-cf-id";

/// Where in the request the signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Header,
    /// A presigned URL, valid for so many seconds.
    Query {
        expires_seconds: u32,
    },
}

#[derive(Debug)]
pub(super) struct Claim {
    pub(super) place: Place,
    pub(super) credential: Credential,
    pub(super) at: Instant,
    pub(super) signed_headers: Vec<HeaderName>,
    pub(super) signature: String,
    pub(super) payload: PayloadClaim,
    /// The query, decoded, without the signature if it stood there.
    pub(super) pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Claim {
    /// What `version_2` did not take for its own.
    pub(super) fn read(request: &SignedRequest<'_>) -> S3Result<Claim> {
        let pairs = query_pairs(request.raw_query);
        let in_header = request.headers.contains_key(http::header::AUTHORIZATION);
        let in_query = presigned::is_presigned(&pairs);
        let in_old_query = presigned::is_version_2(&pairs);
        if in_header && (in_query || in_old_query) {
            return Err(S3Error::invalid_argument(
                "Only one of the Authorization header and the signature in the query may be given.",
            )
            .detail("ArgumentName", "Authorization"));
        }
        let claim = match (in_header, in_query) {
            (true, _) => authorization::read(request, pairs)?,
            (_, true) => presigned::read(request, pairs)?,
            _ => return Err(S3Error::with(ErrorCode::AccessDenied, "The request is not signed.")),
        };
        claim.check_signed_headers(request.headers)?;
        Ok(claim)
    }

    /// What could change the meaning of a request must be signed: the host and every `x-amz-` header.
    /// Others need not be: proxies drop and add them, and clients add conditions after signing.
    fn check_signed_headers(&self, headers: &HeaderMap) -> S3Result<()> {
        let is_signed = |name: &&HeaderName| self.signed_headers.contains(name);
        let unsigned = |name: &HeaderName| {
            S3Error::with(
                ErrorCode::AccessDenied,
                "There were headers present in the request which were not signed",
            )
            .detail("HeadersNotSigned", name.as_str())
        };
        if !is_signed(&&http::header::HOST) {
            return Err(unsigned(&http::header::HOST));
        }
        let matters =
            |name: &&HeaderName| name.as_str().starts_with("x-amz-") && name.as_str() != ADDED_BY_PROXY;
        let unsigned_one = headers.keys().filter(matters).find(|name| !is_signed(name));
        unsigned_one.map_or(Ok(()), |name| Err(unsigned(name)))
    }

    /// What is signed: the canonical request's digest, bound to time and scope.
    pub(super) fn string_to_sign(&self, canonical_sha256: &str) -> String {
        let (at, scope) = (self.at.to_text(), self.credential.scope());
        format!("{ALGORITHM}\n{at}\n{scope}\n{canonical_sha256}")
    }
}

/// Signature Version 2 in a header, and 4 with asymmetric keys, in S3's words.
pub(super) fn unsupported_mechanism() -> S3Error {
    S3Error::invalid_request(
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )
}

/// `AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credential {
    pub(super) access_key: String,
    /// Eight digits, those of the claim's instant.
    pub(super) date: String,
    /// Any: whatever a client is configured with. There is only one place here.
    pub(super) region: String,
}

impl Credential {
    /// The error is the reason, to be put into the words of the place where the credential stood.
    pub(super) fn parse(text: &str, at: Instant) -> Result<Credential, String> {
        // From the right: an access key may hold slashes.
        let mut parts = text.rsplitn(5, '/');
        let (terminator, service, region, date, access_key) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
        let (Some(terminator), Some(service), Some(region), Some(date), Some(access_key)) =
            (terminator, service, region, date, access_key)
        else {
            return Err("the Credential is mis-formatted; expecting \
                        \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"."
                .into());
        };
        if access_key.is_empty() || region.is_empty() {
            return Err("the Credential has no access key or no region.".into());
        }
        if terminator != TERMINATOR {
            return Err(format!("incorrect terminal {terminator:?}. It must be {TERMINATOR:?}."));
        }
        if service != SERVICE {
            return Err(format!("incorrect service {service:?}. This endpoint belongs to {SERVICE:?}."));
        }
        let day = at.day();
        if date != day {
            return Err(format!(
                "Invalid credential date {date:?}. This date is not the same as X-Amz-Date: {day:?}."
            ));
        }
        Ok(Credential { access_key: access_key.into(), date: date.into(), region: region.into() })
    }

    /// `20130524/us-east-1/s3/aws4_request`
    pub(super) fn scope(&self) -> String {
        format!("{}/{}/{SERVICE}/{TERMINATOR}", self.date, self.region)
    }
}

/// The names between semicolons, in the order in which they were signed. None: one is not a name.
pub(super) fn parse_signed_headers(text: &str) -> Option<Vec<HeaderName>> {
    text.split(';').map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect()
}

/// The text of a header that is given at most once.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> S3Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let wrong = |why| Err(S3Error::invalid_argument(format!("{name} {why}")).detail("ArgumentName", name));
    if values.next().is_some() {
        return wrong("is given more than once");
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => wrong("is not a text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_names_key_day_and_region() {
        let at = Instant::parse("20130524T000000Z").unwrap();
        let parse = |text| Credential::parse(text, at);
        let credential = parse("AK/20130524/eu-west-1/s3/aws4_request").unwrap();
        assert_eq!((&*credential.access_key, &*credential.region), ("AK", "eu-west-1"));
        assert_eq!(credential.scope(), "20130524/eu-west-1/s3/aws4_request");
        assert_eq!(parse("a/b/20130524/x/s3/aws4_request").unwrap().access_key, "a/b");
        for (wrong, why) in [
            ("", "mis-formatted"),
            ("AK", "mis-formatted"),
            ("20130524/us-east-1/s3/aws4_request", "mis-formatted"),
            ("/20130524/us-east-1/s3/aws4_request", "no access key"),
            ("AK/20130524//s3/aws4_request", "no region"),
            ("AK/20130524/us-east-1/s3/aws3_request", "incorrect terminal"),
            ("AK/20130524/us-east-1/ec2/aws4_request", "incorrect service \"ec2\""),
            ("AK/20130523/us-east-1/s3/aws4_request", "not the same as X-Amz-Date: \"20130524\""),
            ("AK/today/us-east-1/s3/aws4_request", "Invalid credential date"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
