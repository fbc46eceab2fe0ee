//! Headers that ask for what we do not do. A client that asks for encryption, a lock or a grant must not
//! believe that it has got one.

use http::{HeaderName, HeaderValue};
use protocol::catalog::{Answer, BucketRef, Query};

use crate::cluster::{ClusterError, Link};
use crate::http::{Call, Head};
use crate::s3::{ErrorCode, S3Error, S3Result};

const ACL: HeaderName = HeaderName::from_static("x-amz-acl");
const EXPECTED_OWNER: HeaderName = HeaderName::from_static("x-amz-expected-bucket-owner");
const EXPECTED_SOURCE_OWNER: HeaderName = HeaderName::from_static("x-amz-source-expected-bucket-owner");

/// What begins like one of these would change the outcome. Whole names are among them.
const REFUSED: &[&str] = &[
    "x-amz-server-side-encryption",
    "x-amz-copy-source-server-side-encryption",
    "x-amz-object-lock-",
    "x-amz-bucket-object-lock-enabled",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
    "x-amz-mfa",
    // Conditions on more than the ETag.
    "x-amz-if-match-",
    "x-amz-rename-source",
];

/// Refuses a request that asks for something that it would not get.
pub(crate) fn check(head: &Head) -> S3Result<()> {
    for (name, value) in &head.headers {
        // Some clients say so of every bucket that they create.
        if name == "x-amz-bucket-object-lock-enabled" && value.as_bytes().eq_ignore_ascii_case(b"false") {
            continue;
        }
        if REFUSED.iter().any(|prefix| name.as_str().starts_with(prefix)) {
            let error = S3Error::not_implemented(format!("the header {name} is not implemented"));
            return Err(error.detail("Header", name.as_str()));
        }
        if name.as_str().starts_with("x-amz-grant-") {
            return Err(ErrorCode::AccessControlListNotSupported.into());
        }
    }
    // These two give nobody anything.
    let harmless = |acl: &HeaderValue| acl == "private" || acl == "bucket-owner-full-control";
    match head.headers.get(ACL) {
        Some(acl) if !harmless(acl) => Err(ErrorCode::AccessControlListNotSupported.into()),
        _ => Ok(()),
    }
}

/// Whether a list was asked for by its short name, one that `check` lets pass.
pub(crate) fn has_harmless_acl(head: &Head) -> bool {
    head.headers.contains_key(ACL)
}

/// The bucket of the request. A client that says whose it believes the bucket to be is heard only if it
/// is right, and what it asks for concerns that bucket and no later one of the same name.
pub(crate) async fn expected_bucket<L: Link>(call: &Call<'_, L>) -> S3Result<BucketRef> {
    expected(call, call.head.bucket()?, &EXPECTED_OWNER).await
}

/// The same of the bucket that a copy reads from.
pub(crate) async fn expected_source_bucket<L: Link>(
    call: &Call<'_, L>,
    source: BucketRef,
) -> S3Result<BucketRef> {
    expected(call, source, &EXPECTED_SOURCE_OWNER).await
}

async fn expected<L: Link>(call: &Call<'_, L>, bucket: BucketRef, name: &HeaderName) -> S3Result<BucketRef> {
    let Some(owner) = call.head.headers.get(name) else { return Ok(bucket) };
    let (_, answer) = call.gateway.cluster.read(&Query::GetBucket { bucket }).await?;
    match answer? {
        Answer::Bucket { bucket } if bucket.owner == owner.as_bytes() => {
            Ok(BucketRef::exact(bucket.name, bucket.id))
        }
        Answer::Bucket { .. } => Err(ErrorCode::AccessDenied.into()),
        _ => Err(ClusterError::Invalid("the answer is not a bucket".into()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::headers::tests::head;

    #[test]
    fn what_would_change_the_outcome_is_refused() {
        let (not_implemented, no_lists) =
            (Some(ErrorCode::NotImplemented), Some(ErrorCode::AccessControlListNotSupported));
        for (name, value, refusal) in [
            ("x-amz-server-side-encryption", "AES256", not_implemented),
            ("x-amz-server-side-encryption-customer-algorithm", "AES256", not_implemented),
            ("x-amz-copy-source-server-side-encryption-customer-key", "x", not_implemented),
            ("x-amz-object-lock-mode", "GOVERNANCE", not_implemented),
            ("x-amz-bucket-object-lock-enabled", "true", not_implemented),
            ("x-amz-bucket-object-lock-enabled", "False", None),
            ("x-amz-website-redirect-location", "/", not_implemented),
            ("x-amz-write-offset-bytes", "0", not_implemented),
            ("x-amz-mfa", "x", not_implemented),
            ("x-amz-if-match-size", "1", not_implemented),
            ("x-amz-grant-read", "id=x", no_lists),
            ("x-amz-acl", "public-read", no_lists),
            ("x-amz-acl", "", no_lists),
            ("x-amz-acl", "private", None),
            ("x-amz-acl", "bucket-owner-full-control", None),
            ("x-amz-request-payer", "requester", None),
            ("x-amz-meta-server-side-encryption", "x", None),
            ("x-amz-sdk-checksum-algorithm", "CRC32", None),
        ] {
            let refused = check(&head(&[(name, value.as_bytes())])).map_err(|error| error.code).err();
            assert_eq!(refused, refusal, "{name}: {value}");
        }
    }
}
