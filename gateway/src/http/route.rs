//! The route table: which operation a request asks for. What is not in it is refused by name.

use http::Method;

use super::request::{Head, Query};
use crate::s3::{ErrorCode, S3Error, S3Result};

macro_rules! operations {
    ($($(#[$meta:meta])* $name:ident $(($data:ty))?,)*) => {
        /// What a request asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operation {
            $($(#[$meta])* $name $(($data))?,)*
        }

        impl Operation {
            /// As logs and metrics call it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Operation::$name { .. } => stringify!($name),)*
                }
            }
        }
    };
}

operations! {
    ListBuckets,

    CreateBucket,
    HeadBucket,
    DeleteBucket,
    GetBucketLocation,
    GetBucketVersioning,
    GetBucketAcl,
    PutBucketAcl,
    GetBucketTagging,
    PutBucketTagging,
    DeleteBucketTagging,
    ListObjects,
    ListObjectsV2,
    ListObjectVersions,
    ListMultipartUploads,
    DeleteObjects,
    /// A configuration that no bucket has.
    AbsentBucketConfiguration(ErrorCode),

    PutObject,
    CopyObject,
    GetObject,
    HeadObject,
    DeleteObject,
    GetObjectAttributes,
    GetObjectAcl,
    PutObjectAcl,
    GetObjectTagging,
    PutObjectTagging,
    DeleteObjectTagging,
    /// A configuration that no object has.
    AbsentObjectConfiguration(ErrorCode),

    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
}

use Operation::*;

/// What of a bucket or an object a query parameter can name. One that is not here is an argument, or
/// nothing at all: some clients add their own.
const SUB_RESOURCES: &[&str] = &[
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versioning",
    "versions",
    "website",
];

pub(super) fn route(head: &Head) -> S3Result<Operation> {
    let sub_resource = sub_resource(&head.query)?;
    match (&head.target.bucket, &head.target.key) {
        (None, _) => route_service(head),
        (Some(_), None) => route_bucket(head, sub_resource),
        (Some(_), Some(_)) => route_object(head, sub_resource),
    }
}

/// A request names one at most.
fn sub_resource(query: &Query) -> S3Result<Option<&str>> {
    let mut named = query.names().filter(|name| SUB_RESOURCES.contains(name));
    let first = named.next();
    match named.find(|name| Some(*name) != first) {
        Some(second) => Err(S3Error::invalid_argument(format!(
            "a request cannot ask for {} and {second} at once",
            first.unwrap_or_default()
        ))),
        None => Ok(first),
    }
}

fn route_service(head: &Head) -> S3Result<Operation> {
    match head.method {
        Method::GET => Ok(ListBuckets),
        _ => Err(ErrorCode::MethodNotAllowed.into()),
    }
}

fn route_bucket(head: &Head, sub_resource: Option<&str>) -> S3Result<Operation> {
    let operation = match (&head.method, sub_resource) {
        (&Method::GET, None) if head.query.get("list-type") == Some("2") => ListObjectsV2,
        (&Method::GET, None) => ListObjects,
        (&Method::HEAD, None) => HeadBucket,
        (&Method::PUT, None) => CreateBucket,
        (&Method::DELETE, None) => DeleteBucket,
        (&Method::POST, None) => {
            return Err(S3Error::not_implemented("uploads by an HTML form are not implemented"));
        }
        (&Method::POST, Some("delete")) => DeleteObjects,
        (&Method::GET, Some("location")) => GetBucketLocation,
        (&Method::GET, Some("versioning")) => GetBucketVersioning,
        (&Method::GET, Some("versions")) => ListObjectVersions,
        (&Method::GET, Some("uploads")) => ListMultipartUploads,
        (&Method::GET, Some("acl")) => GetBucketAcl,
        (&Method::PUT, Some("acl")) => PutBucketAcl,
        (&Method::GET, Some("tagging")) => GetBucketTagging,
        (&Method::PUT, Some("tagging")) => PutBucketTagging,
        (&Method::DELETE, Some("tagging")) => DeleteBucketTagging,
        (&Method::GET, Some("policy" | "policyStatus")) => {
            AbsentBucketConfiguration(ErrorCode::NoSuchBucketPolicy)
        }
        (&Method::GET, Some("cors")) => AbsentBucketConfiguration(ErrorCode::NoSuchCorsConfiguration),
        (&Method::GET, Some("lifecycle")) => {
            AbsentBucketConfiguration(ErrorCode::NoSuchLifecycleConfiguration)
        }
        (&Method::GET, Some("website")) => AbsentBucketConfiguration(ErrorCode::NoSuchWebsiteConfiguration),
        (&Method::GET, Some("publicAccessBlock")) => {
            AbsentBucketConfiguration(ErrorCode::NoSuchPublicAccessBlockConfiguration)
        }
        (&Method::GET, Some("ownershipControls")) => {
            AbsentBucketConfiguration(ErrorCode::OwnershipControlsNotFound)
        }
        (&Method::GET, Some("replication")) => {
            AbsentBucketConfiguration(ErrorCode::ReplicationConfigurationNotFound)
        }
        (&Method::GET, Some("object-lock")) => {
            AbsentBucketConfiguration(ErrorCode::ObjectLockConfigurationNotFound)
        }
        (&Method::GET, Some("encryption")) => {
            AbsentBucketConfiguration(ErrorCode::ServerSideEncryptionConfigurationNotFound)
        }
        _ => return Err(unknown(&head.method, sub_resource)),
    };
    Ok(operation)
}

/// A write that names a part and no upload, or a version, is not the write of an object that it would be
/// without them: a client that lost the upload's id must not find its object replaced by a part.
fn check_write(head: &Head, sub_resource: Option<&str>) -> S3Result<()> {
    let refused = |name, why| Err(S3Error::invalid_argument(why).detail("ArgumentName", name));
    match (&head.method, sub_resource) {
        (&Method::PUT, None) if head.query.has("partNumber") => {
            refused("partNumber", "This operation does not accept a part number without an upload id.")
        }
        (&Method::PUT, None | Some("uploadId")) | (&Method::POST, Some("uploads" | "uploadId"))
            if head.query.has("versionId") =>
        {
            refused("versionId", "This operation does not accept a version-id.")
        }
        _ => Ok(()),
    }
}

fn route_object(head: &Head, sub_resource: Option<&str>) -> S3Result<Operation> {
    check_write(head, sub_resource)?;
    let copies = head.headers.contains_key("x-amz-copy-source");
    let operation = match (&head.method, sub_resource) {
        (&Method::GET, None) => GetObject,
        (&Method::HEAD, None) => HeadObject,
        (&Method::PUT, None) if copies => CopyObject,
        (&Method::PUT, None) => PutObject,
        (&Method::DELETE, None) => DeleteObject,
        (&Method::GET, Some("attributes")) => GetObjectAttributes,
        (&Method::GET, Some("acl")) => GetObjectAcl,
        (&Method::PUT, Some("acl")) => PutObjectAcl,
        (&Method::GET, Some("tagging")) => GetObjectTagging,
        (&Method::PUT, Some("tagging")) => PutObjectTagging,
        (&Method::DELETE, Some("tagging")) => DeleteObjectTagging,
        (&Method::GET, Some("retention" | "legal-hold")) => {
            AbsentObjectConfiguration(ErrorCode::NoSuchObjectLockConfiguration)
        }
        (&Method::POST, Some("uploads")) => CreateMultipartUpload,
        (&Method::PUT, Some("uploadId")) if copies => UploadPartCopy,
        (&Method::PUT, Some("uploadId")) => UploadPart,
        (&Method::POST, Some("uploadId")) => CompleteMultipartUpload,
        (&Method::DELETE, Some("uploadId")) => AbortMultipartUpload,
        (&Method::GET, Some("uploadId")) => ListParts,
        _ => return Err(unknown(&head.method, sub_resource)),
    };
    Ok(operation)
}

fn unknown(method: &Method, sub_resource: Option<&str>) -> S3Error {
    match sub_resource {
        Some(name) => S3Error::not_implemented(format!("{method} of {name} is not implemented")),
        None => S3Error::new(ErrorCode::MethodNotAllowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(method: Method, uri: &str, headers: &[(&str, &str)]) -> Result<Operation, ErrorCode> {
        let mut request = http::Request::builder().method(method).uri(uri).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let head = Head::parse(&request.body(()).unwrap().into_parts().0, &[]).unwrap();
        route(&head).map_err(|error| error.code)
    }

    /// Each of them replaced the object.
    #[test]
    fn a_part_without_an_upload_and_a_version_do_not_replace_an_object() {
        let refused = Err(ErrorCode::InvalidArgument);
        let copy = [("x-amz-copy-source", "b/k")];
        assert_eq!(routed(Method::PUT, "/b/k?partNumber=1", &[]), refused);
        assert_eq!(routed(Method::PUT, "/b/k?partNumber=1", &copy), refused);
        assert_eq!(routed(Method::PUT, "/b/k?versionId=x", &[]), refused);
        assert_eq!(routed(Method::PUT, "/b/k?versionId=null", &copy), refused);
        assert_eq!(routed(Method::POST, "/b/k?uploads&versionId=x", &[]), refused);
        assert_eq!(routed(Method::PUT, "/b/k?partNumber=1&uploadId=", &[]), Ok(UploadPart));
        assert_eq!(routed(Method::PUT, "/b/k?x-id=PutObject", &[]), Ok(PutObject));
        assert_eq!(routed(Method::PUT, "/b/k?tagging&versionId=null", &[]), Ok(PutObjectTagging));
        assert_eq!(routed(Method::GET, "/b/k?partNumber=1&versionId=null", &[]), Ok(GetObject));
    }

    /// It was taken for an upload: the copy was an object without a byte.
    #[test]
    fn a_presigned_url_can_ask_for_a_copy() {
        let copy = "x-amz-copy-source=b%2Fo&X-Amz-Signature=x";
        assert_eq!(routed(Method::PUT, &format!("/b/k?{copy}"), &[]), Ok(CopyObject));
        let part = format!("/b/k?uploadId=u&partNumber=1&{copy}");
        assert_eq!(routed(Method::PUT, &part, &[]), Ok(UploadPartCopy));
    }
}
