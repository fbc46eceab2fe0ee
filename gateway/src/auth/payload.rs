//! What `x-amz-content-sha256` says of a body.

use super::signature::{BodyAuth, ChunkSigner, parse_sha256};
use crate::s3::{ErrorCode, S3Error, S3Result};

pub(super) const HEADER: &str = "x-amz-content-sha256";
pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
pub(super) const STREAMING_UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
pub(super) const STREAMING: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
pub(super) const STREAMING_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";

/// Also the last line of the canonical request, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PayloadClaim {
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unsigned,
    Signed([u8; 32]),
    Chunked { signed: bool, trailer: bool },
}

impl PayloadClaim {
    pub(super) fn unsigned() -> PayloadClaim {
        PayloadClaim { text: UNSIGNED.into(), kind: Kind::Unsigned }
    }

    pub(super) fn parse(text: &str) -> S3Result<PayloadClaim> {
        let kind = match text {
            UNSIGNED => Kind::Unsigned,
            STREAMING_UNSIGNED_TRAILER => Kind::Chunked { signed: false, trailer: true },
            STREAMING => Kind::Chunked { signed: true, trailer: false },
            STREAMING_TRAILER => Kind::Chunked { signed: true, trailer: true },
            _ if text.starts_with("STREAMING-AWS4-ECDSA-P256-SHA256-") => {
                return Err(S3Error::with(
                    ErrorCode::NotImplemented,
                    "Chunks signed with asymmetric keys are not supported. Please use AWS4-HMAC-SHA256.",
                ));
            }
            _ => Kind::Signed(parse_sha256(text).ok_or_else(|| {
                S3Error::invalid_argument(format!(
                    "{HEADER} must be {UNSIGNED}, {STREAMING_UNSIGNED_TRAILER}, {STREAMING}, \
                     {STREAMING_TRAILER}, or a valid sha256 value."
                ))
                .detail("ArgumentName", HEADER)
                .detail("ArgumentValue", text)
            })?),
        };
        Ok(PayloadClaim { text: text.into(), kind })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// What the body has to be checked against, now that the claim is proved. `signer`: for chunks, seeded
    /// with the request's signature.
    pub(super) fn into_body_auth(self, signer: impl FnOnce() -> ChunkSigner) -> BodyAuth {
        match self.kind {
            Kind::Unsigned => BodyAuth::Unsigned,
            Kind::Signed(sha256) => BodyAuth::Signed { sha256 },
            Kind::Chunked { signed, trailer } => BodyAuth::Chunked { signer: signed.then(signer), trailer },
        }
    }

    /// None if the chunks would have to be verified.
    pub(super) fn into_body_auth_without_signer(self) -> Option<BodyAuth> {
        match self.kind {
            Kind::Unsigned => Some(BodyAuth::Unsigned),
            Kind::Signed(sha256) => Some(BodyAuth::Signed { sha256 }),
            Kind::Chunked { signed: true, .. } => None,
            Kind::Chunked { signed: false, trailer } => Some(BodyAuth::Chunked { signer: None, trailer }),
        }
    }
}
