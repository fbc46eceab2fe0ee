//! The operations of S3, a file each, and what they share.

mod abort_multipart_upload;
mod absent_bucket_configuration;
mod absent_object_configuration;
mod bucket;
mod complete_multipart_upload;
mod conditions;
mod copy_object;
pub(crate) mod copy_source;
mod create_bucket;
mod create_multipart_upload;
mod delete_bucket;
mod delete_bucket_tagging;
mod delete_object;
mod delete_object_tagging;
mod delete_objects;
mod error;
mod get_bucket_acl;
mod get_bucket_location;
mod get_bucket_tagging;
mod get_bucket_versioning;
mod get_object;
mod get_object_acl;
mod get_object_attributes;
mod get_object_tagging;
mod head_bucket;
mod head_object;
mod headers;
mod list_buckets;
mod list_multipart_uploads;
mod list_object_versions;
mod list_objects;
mod list_objects_v2;
mod list_parts;
mod listing;
mod multipart;
mod object;
mod object_body;
mod owner;
mod parts_checksum;
mod put_bucket_acl;
mod put_bucket_tagging;
mod put_object;
mod put_object_acl;
mod put_object_tagging;
pub(crate) mod range;
mod read_request;
pub(crate) mod tags;
mod token;
mod unsupported;
pub(crate) mod upload_id;
mod upload_part;
mod upload_part_copy;
mod version;
pub(crate) mod xml;

pub use error::{ErrorCode, S3Error, S3Result};

use crate::body::Payload;
use crate::cluster::Link;
use crate::http::response::Response;
use crate::http::{Call, Operation};

/// Whoever asks has been authenticated, and may do this.
pub(crate) async fn perform<L: Link>(
    call: &Call<'_, L>,
    operation: Operation,
    payload: Payload,
) -> S3Result<Response> {
    match operation {
        Operation::ListBuckets => list_buckets::handle(call).await,
        Operation::CreateBucket => create_bucket::handle(call, payload).await,
        Operation::HeadBucket => head_bucket::handle(call).await,
        Operation::DeleteBucket => delete_bucket::handle(call).await,
        Operation::GetBucketLocation => get_bucket_location::handle(call).await,
        Operation::GetBucketVersioning => get_bucket_versioning::handle(call).await,
        Operation::GetBucketAcl => get_bucket_acl::handle(call).await,
        Operation::PutBucketAcl => put_bucket_acl::handle(call, payload).await,
        Operation::GetBucketTagging => get_bucket_tagging::handle(call).await,
        Operation::PutBucketTagging => put_bucket_tagging::handle(call, payload).await,
        Operation::DeleteBucketTagging => delete_bucket_tagging::handle(call).await,
        Operation::ListObjects => list_objects::handle(call).await,
        Operation::ListObjectsV2 => list_objects_v2::handle(call).await,
        Operation::ListObjectVersions => list_object_versions::handle(call).await,
        Operation::ListMultipartUploads => list_multipart_uploads::handle(call).await,
        Operation::DeleteObjects => delete_objects::handle(call, payload).await,
        Operation::AbsentBucketConfiguration(code) => absent_bucket_configuration::handle(call, code).await,
        Operation::PutObject => put_object::handle(call, payload).await,
        Operation::CopyObject => copy_object::handle(call).await,
        Operation::GetObject => get_object::handle(call).await,
        Operation::HeadObject => head_object::handle(call).await,
        Operation::DeleteObject => delete_object::handle(call).await,
        Operation::GetObjectAttributes => get_object_attributes::handle(call).await,
        Operation::GetObjectAcl => get_object_acl::handle(call).await,
        Operation::PutObjectAcl => put_object_acl::handle(call, payload).await,
        Operation::GetObjectTagging => get_object_tagging::handle(call).await,
        Operation::PutObjectTagging => put_object_tagging::handle(call, payload).await,
        Operation::DeleteObjectTagging => delete_object_tagging::handle(call).await,
        Operation::AbsentObjectConfiguration(code) => absent_object_configuration::handle(call, code).await,
        Operation::CreateMultipartUpload => create_multipart_upload::handle(call).await,
        Operation::UploadPart => upload_part::handle(call, payload).await,
        Operation::UploadPartCopy => upload_part_copy::handle(call).await,
        Operation::CompleteMultipartUpload => complete_multipart_upload::handle(call, payload).await,
        Operation::AbortMultipartUpload => abort_multipart_upload::handle(call).await,
        Operation::ListParts => list_parts::handle(call).await,
    }
}
