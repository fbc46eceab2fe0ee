//! Finds out who signed a request.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use transport::ClusterKey;

use super::BodyAuth;
use super::caller::Caller;
use super::canonical::SignedRequest;
use super::claim::{Claim, Place, SERVICE};
use super::date::Instant;
use super::keys::{Identity, KeyRing, KeySource, RootKey};
use super::signature::{ChunkSigner, SigningKey, hex, is_same, sha256};
use super::version_2;
use crate::s3::{ErrorCode, S3Error, S3Result};

/// So far may a client's clock be from ours.
const SKEW_MAX: Duration = Duration::from_secs(15 * 60);

pub struct Authenticator<S> {
    keys: KeyRing<S>,
}

impl<S: KeySource> Authenticator<S> {
    /// `root`: a key that every gateway has from its configuration, beside those in the catalog.
    pub fn new(cluster_key: &ClusterKey, root: Option<RootKey>, source: S) -> Authenticator<S> {
        Authenticator { keys: KeyRing::new(cluster_key, root, source) }
    }

    /// Who signed the request, and what has to be checked of its body as it comes. `now`: our clock.
    /// Waits only for the access key, if it is not known yet.
    pub async fn authenticate(
        &self,
        request: &SignedRequest<'_>,
        now: SystemTime,
    ) -> S3Result<(Caller, BodyAuth)> {
        if let Some(claim) = version_2::Claim::read(request)? {
            claim.check_time(now)?;
            let identity = self.identity(&claim.access_key).await?;
            let body = claim.verify(request, identity.secret())?;
            return Ok((identity.caller().clone(), body));
        }
        let claim = Claim::read(request)?;
        claim.check_time(now)?;
        let identity = self.identity(&claim.credential.access_key).await?;
        let body = claim.verify(request, identity.secret())?;
        Ok((identity.caller().clone(), body))
    }

    async fn identity(&self, access_key: &str) -> S3Result<Arc<Identity>> {
        self.keys
            .get(access_key)
            .await?
            .ok_or_else(|| S3Error::new(ErrorCode::InvalidAccessKeyId).detail("AWSAccessKeyId", access_key))
    }
}

impl Claim {
    fn check_time(&self, now: SystemTime) -> S3Result<()> {
        let Some(now) = Instant::of(now) else {
            return Err(S3Error::with(ErrorCode::InternalError, "The server's clock is wrong."));
        };
        match self.place {
            Place::Header if self.at.distance(now) > SKEW_MAX => {
                Err(S3Error::new(ErrorCode::RequestTimeTooSkewed)
                    .detail("RequestTime", self.at.to_text())
                    .detail("ServerTime", now.to_iso())
                    .detail("MaxAllowedSkewMilliseconds", SKEW_MAX.as_millis().to_string()))
            }
            Place::Header => Ok(()),
            Place::Query { .. } if self.at > now && self.at.distance(now) > SKEW_MAX => {
                Err(S3Error::with(ErrorCode::AccessDenied, "Request is not yet valid")
                    .detail("X-Amz-Date", self.at.to_text())
                    .detail("ServerTime", now.to_iso()))
            }
            Place::Query { expires_seconds } => match self.at.plus(expires_seconds) {
                Some(expires) if now > expires => {
                    Err(S3Error::with(ErrorCode::AccessDenied, "Request has expired")
                        .detail("X-Amz-Expires", expires_seconds.to_string())
                        .detail("Expires", expires.to_iso())
                        .detail("ServerTime", now.to_iso()))
                }
                _ => Ok(()),
            },
        }
    }

    /// Whether the claim holds: the signature is the one that follows from the request and the secret.
    fn verify(self, request: &SignedRequest<'_>, secret: &str) -> S3Result<BodyAuth> {
        let key = SigningKey::new(secret, &self.credential.date, &self.credential.region, SERVICE);
        let canonical = request.canonical(&self.pairs, &self.signed_headers, self.payload.as_str());
        let string_to_sign = self.string_to_sign(&hex(&sha256(&canonical)));
        if !is_same(&key.sign(&string_to_sign), &self.signature) {
            return Err(S3Error::new(ErrorCode::SignatureDoesNotMatch)
                .detail("AWSAccessKeyId", self.credential.access_key)
                .detail("StringToSign", string_to_sign)
                .detail("SignatureProvided", self.signature)
                .detail("CanonicalRequest", String::from_utf8_lossy(&canonical)));
        }
        let Claim { at, credential, signature, payload, .. } = self;
        Ok(payload.into_body_auth(|| ChunkSigner::new(key, at.to_text(), credential.scope(), signature)))
    }
}
