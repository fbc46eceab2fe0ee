//! Bodies that are documents: collected as a whole, and paid for like what is stored.

use bytes::Bytes;

use super::{MemoryBudget, Payload};
use crate::s3::S3Result;

/// The longest document that is read. The longest honest ones list 10,000 parts with their checksums, or
/// 1000 keys of 1024 bytes.
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// All bytes of a document. Whoever does not say how many there will be pays for the most.
pub async fn document(payload: Payload, memory: &MemoryBudget) -> S3Result<Bytes> {
    let length = payload.declared_length().and_then(|length| usize::try_from(length).ok());
    let permit = memory.document(length.unwrap_or(DOCUMENT_BYTES_MAX).min(DOCUMENT_BYTES_MAX)).await?;
    let bytes = payload.collect(DOCUMENT_BYTES_MAX).await?;
    Ok(Bytes::from_owner(Charged { bytes, _permit: permit }))
}

/// The document and what was paid for it.
struct Charged<P> {
    bytes: Bytes,
    _permit: P,
}

impl<P> AsRef<[u8]> for Charged<P> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::HeaderMap;
    use http::header::{CONTENT_LENGTH, HeaderValue};

    use super::*;
    use crate::auth::signature::BodyAuth;
    use crate::body::MEMORY_BYTES_MIN;
    use crate::s3::ErrorCode;

    fn payload(body: &'static str, length: Option<usize>) -> Payload {
        let mut headers = HeaderMap::new();
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Payload::new(Body::from(body), BodyAuth::Unsigned, &headers).unwrap()
    }

    #[tokio::test]
    async fn a_document_counts_for_as_long_as_it_is_there() {
        let memory = MemoryBudget::new(MEMORY_BYTES_MIN);
        let taken = || memory.usage().0;
        let short = document(payload("<a/>", Some(4)), &memory).await.unwrap();
        assert_eq!((&short[..], taken()), (&b"<a/>"[..], 4));
        let unknown = document(payload("<a/>", None), &memory).await.unwrap();
        assert_eq!((&unknown[..], taken()), (&b"<a/>"[..], 4 + DOCUMENT_BYTES_MAX));
        drop((short, unknown));
        assert_eq!(taken(), 0);
    }

    #[tokio::test]
    async fn a_document_that_is_too_long_is_refused_and_paid_back() {
        let memory = MemoryBudget::new(MEMORY_BYTES_MIN);
        let refused = document(payload("", Some(DOCUMENT_BYTES_MAX + 1)), &memory).await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::MaxMessageLengthExceeded);
        assert_eq!(memory.usage().0, 0);
    }
}
