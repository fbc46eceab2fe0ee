//! What each operation needs its caller to be allowed. What an operation touches besides its target, as
//! the source of a copy, it asks for itself.

use super::request::Head;
use super::route::Operation;
use crate::auth::Caller;
use crate::s3::{ErrorCode, S3Result};

pub(super) fn authorise(operation: Operation, caller: &Caller, head: &Head) -> S3Result<()> {
    let (bucket, key) = (head.bucket_name(), head.key());
    let prefix = head.query.get("prefix").unwrap_or_default();
    let allowed = match operation {
        // Shows only what the caller may see.
        Operation::ListBuckets => true,
        Operation::CreateBucket => caller.may_create_bucket(bucket),
        Operation::HeadBucket
        | Operation::GetBucketLocation
        | Operation::GetBucketVersioning
        | Operation::GetBucketAcl => caller.may_see_bucket(bucket),
        Operation::GetBucketTagging | Operation::AbsentBucketConfiguration(_) => {
            caller.may_read_bucket(bucket)
        }
        Operation::DeleteBucket
        | Operation::PutBucketAcl
        | Operation::PutBucketTagging
        | Operation::DeleteBucketTagging => caller.may_change_bucket(bucket),
        Operation::ListObjects
        | Operation::ListObjectsV2
        | Operation::ListObjectVersions
        | Operation::ListMultipartUploads => caller.may_list(bucket, prefix),
        // Each key is decided on its own, if there can be one.
        Operation::DeleteObjects => caller.may_write_somewhere(bucket),
        Operation::GetObject
        | Operation::HeadObject
        | Operation::GetObjectAttributes
        | Operation::GetObjectAcl
        | Operation::GetObjectTagging
        | Operation::AbsentObjectConfiguration(_)
        | Operation::ListParts => caller.may_read(bucket, key),
        Operation::PutObject
        | Operation::CopyObject
        | Operation::DeleteObject
        | Operation::PutObjectAcl
        | Operation::PutObjectTagging
        | Operation::DeleteObjectTagging
        | Operation::CreateMultipartUpload
        | Operation::UploadPart
        | Operation::UploadPartCopy
        | Operation::CompleteMultipartUpload
        | Operation::AbortMultipartUpload => caller.may_write(bucket, key),
    };
    if allowed { Ok(()) } else { Err(ErrorCode::AccessDenied.into()) }
}
