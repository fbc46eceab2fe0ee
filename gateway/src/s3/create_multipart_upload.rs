//! Beginning an upload in parts. What is said of the object is said here: its headers, its tags, and
//! which checksum its parts shall have. Nobody sees an object before the upload is completed.

use bytes::Bytes;
use protocol::catalog::{OBJECT_TAG_COUNT_MAX, Operation, Success};

use super::{S3Result, bucket, headers, multipart, tags, unsupported, upload_id};
use crate::cluster::{ClusterError, Link};
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::xml::Document;

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    let head = call.head;
    unsupported::check(head)?;
    let checksum = multipart::declared_checksum(head)?;
    let operation = Operation::CreateUpload {
        headers: headers::stored(head)?,
        tags: match head.header("x-amz-tagging")? {
            Some(text) => tags::parse_header(text, OBJECT_TAG_COUNT_MAX)?,
            None => Vec::new(),
        },
        checksum: checksum.map(|kind| kind.to_catalog()),
        bucket: bucket::reference(call).await?,
        key: Bytes::from(head.key().to_owned()),
    };
    let (_, reply) = call.cluster().submit(&operation).await?;
    let Success::UploadCreated { upload, .. } = reply.map_err(|error| bucket::refused(call, error))? else {
        return Err(ClusterError::Invalid("the answer is not an upload".into()).into());
    };
    let mut document = Document::new("InitiateMultipartUploadResult");
    document.element("Bucket", head.bucket_name());
    document.element("Key", head.key());
    document.element("UploadId", upload_id::format(upload));
    let mut response = response::xml(document);
    if let Some(kind) = checksum {
        multipart::write_kind(kind, response.headers_mut());
    }
    Ok(response)
}
