//! The one table of what S3 clients are told when something is refused. No status code and no code word
//! stands anywhere else.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;
use protocol::catalog;

use crate::cluster::ClusterError;

/// An answer that is an error document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Error {
    pub code: ErrorCode,
    /// For people. None: the code's own words.
    pub message: Option<Cow<'static, str>>,
    /// Further elements of the document, which some clients read: `Region`, `ServerTime` and the like.
    pub details: Vec<(&'static str, String)>,
    /// Further headers of the answer.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
}

pub type S3Result<T> = Result<T, S3Error>;

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident $code:literal $status:literal $message:literal)*) => {
        /// What S3 calls it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$meta])* $name,)*
        }

        impl ErrorCode {
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name,)*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $code,)*
                }
            }

            pub fn status(self) -> StatusCode {
                let status = match self {
                    $(ErrorCode::$name => $status,)*
                };
                StatusCode::from_u16(status).expect("the table holds only such numbers")
            }

            fn message(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $message,)*
                }
            }
        }
    };
}

codes! {
    /// Has no body: the client has it already.
    NotModified "NotModified" 304 "The object has not been changed."

    AccessControlListNotSupported "AccessControlListNotSupported" 400 "Access control lists are not supported: whoever has access has it through its access key."
    AuthorizationHeaderMalformed "AuthorizationHeaderMalformed" 400 "The Authorization header is malformed."
    AuthorizationQueryParametersError "AuthorizationQueryParametersError" 400 "The query parameters of a presigned request are not valid."
    BadDigest "BadDigest" 400 "The digest or checksum that was given does not fit the bytes that came."
    BadRequest "BadRequest" 400 "The request cannot be understood."
    EntityTooLarge "EntityTooLarge" 400 "The upload is larger than is allowed."
    EntityTooSmall "EntityTooSmall" 400 "A part that is not the last one is smaller than is allowed."
    IllegalVersioningConfigurationException "IllegalVersioningConfigurationException" 400 "The versioning configuration is not valid."
    IncompleteBody "IncompleteBody" 400 "Fewer bytes came than the request said."
    InvalidArgument "InvalidArgument" 400 "An argument is not valid."
    InvalidBucketName "InvalidBucketName" 400 "The bucket name is not valid."
    InvalidDigest "InvalidDigest" 400 "The Content-MD5 is not valid."
    InvalidEncryptionAlgorithmError "InvalidEncryptionAlgorithmError" 400 "The encryption algorithm is not valid."
    InvalidLocationConstraint "InvalidLocationConstraint" 400 "The location constraint is not valid."
    InvalidPart "InvalidPart" 400 "A listed part was not uploaded, or its ETag is another one."
    InvalidPartOrder "InvalidPartOrder" 400 "The listed parts are not in ascending order."
    InvalidRequest "InvalidRequest" 400 "The request is not valid."
    InvalidStorageClass "InvalidStorageClass" 400 "The storage class is not known."
    InvalidTag "InvalidTag" 400 "A tag is not valid."
    InvalidToken "InvalidToken" 400 "The security token is not valid."
    InvalidUri "InvalidURI" 400 "The URI cannot be parsed."
    KeyTooLong "KeyTooLongError" 400 "The key is longer than 1024 bytes."
    MalformedTrailer "MalformedTrailerError" 400 "The headers after the body are not well-formed."
    MalformedXml "MalformedXML" 400 "The XML is not well-formed, or not what the operation expects."
    MaxMessageLengthExceeded "MaxMessageLengthExceeded" 400 "The request is too large."
    MetadataTooLarge "MetadataTooLarge" 400 "The metadata headers are larger than is allowed."
    MissingRequestBody "MissingRequestBodyError" 400 "The request has no body."
    MissingSecurityHeader "MissingSecurityHeader" 400 "A required header is missing."
    RequestHeaderSectionTooLarge "RequestHeaderSectionTooLarge" 400 "The request's headers and query are larger than is allowed."
    RequestTimeout "RequestTimeout" 400 "Nothing was read from the connection for too long."
    TooManyBuckets "TooManyBuckets" 400 "There are more buckets than are allowed."
    UnexpectedContent "UnexpectedContent" 400 "The request must not have a body."
    UserKeyMustBeSpecified "UserKeyMustBeSpecified" 400 "The key is missing."
    XAmzContentSha256Mismatch "XAmzContentSHA256Mismatch" 400 "The x-amz-content-sha256 does not fit the bytes that came."

    AccessDenied "AccessDenied" 403 "Access denied."
    InvalidAccessKeyId "InvalidAccessKeyId" 403 "The access key is not known here."
    InvalidObjectState "InvalidObjectState" 403 "The operation is not possible in the object's state."
    RequestTimeTooSkewed "RequestTimeTooSkewed" 403 "The request's time and the server's differ by too much."
    SignatureDoesNotMatch "SignatureDoesNotMatch" 403 "The signature that was given is not the one that follows from the request. Check the secret key and how the request is signed."

    NoSuchBucket "NoSuchBucket" 404 "There is no such bucket."
    NoSuchBucketPolicy "NoSuchBucketPolicy" 404 "The bucket has no policy."
    NoSuchCorsConfiguration "NoSuchCORSConfiguration" 404 "The bucket has no CORS configuration."
    NoSuchKey "NoSuchKey" 404 "There is no such key."
    NoSuchLifecycleConfiguration "NoSuchLifecycleConfiguration" 404 "The bucket has no lifecycle configuration."
    NoSuchObjectLockConfiguration "NoSuchObjectLockConfiguration" 404 "The object has no lock configuration."
    NoSuchPublicAccessBlockConfiguration "NoSuchPublicAccessBlockConfiguration" 404 "The bucket has no public access block."
    NoSuchTagSet "NoSuchTagSet" 404 "There is no tag set."
    NoSuchUpload "NoSuchUpload" 404 "There is no such upload. It may have been completed or aborted."
    NoSuchVersion "NoSuchVersion" 404 "There is no such version."
    NoSuchWebsiteConfiguration "NoSuchWebsiteConfiguration" 404 "The bucket has no website configuration."
    ObjectLockConfigurationNotFound "ObjectLockConfigurationNotFoundError" 404 "The bucket has no object lock configuration."
    OwnershipControlsNotFound "OwnershipControlsNotFoundError" 404 "The bucket has no ownership controls."
    ReplicationConfigurationNotFound "ReplicationConfigurationNotFoundError" 404 "The bucket has no replication configuration."
    ServerSideEncryptionConfigurationNotFound "ServerSideEncryptionConfigurationNotFoundError" 404 "The bucket has no encryption configuration."

    MethodNotAllowed "MethodNotAllowed" 405 "The method is not allowed for this resource."

    BucketAlreadyExists "BucketAlreadyExists" 409 "The bucket exists and belongs to somebody else."
    BucketAlreadyOwnedByYou "BucketAlreadyOwnedByYou" 409 "The bucket exists and is yours."
    BucketNotEmpty "BucketNotEmpty" 409 "The bucket is not empty."
    InvalidBucketState "InvalidBucketState" 409 "The operation is not possible in the bucket's state."

    MissingContentLength "MissingContentLength" 411 "The Content-Length header is missing."
    PreconditionFailed "PreconditionFailed" 412 "A precondition of the request does not hold."

    InvalidPartNumber "InvalidPartNumber" 416 "The object has no part of this number."
    InvalidRange "InvalidRange" 416 "The range cannot be satisfied."

    InternalError "InternalError" 500 "Something went wrong here. Please try again."
    NotImplemented "NotImplemented" 501 "A header or query of the request asks for something that is not implemented."
    ServiceUnavailable "ServiceUnavailable" 503 "The cluster has no quorum at the moment. Please try again."
    SlowDown "SlowDown" 503 "There is too much to do at the moment. Please reduce the rate."
    /// S3 has no word for it. Not 507: clients try again after a 503, and there may be room by then.
    StorageFull "StorageFull" 503 "The disks are full. Deleting still works."
}

impl S3Error {
    pub fn new(code: ErrorCode) -> S3Error {
        S3Error { code, message: None, details: Vec::new(), headers: Vec::new() }
    }

    /// With words for this case.
    pub fn with(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> S3Error {
        S3Error { message: Some(message.into()), ..S3Error::new(code) }
    }

    /// With one more element in the document.
    #[must_use]
    pub fn detail(mut self, name: &'static str, value: impl Into<String>) -> S3Error {
        self.details.push((name, value.into()));
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: http::HeaderName, value: http::HeaderValue) -> S3Error {
        self.headers.push((name, value));
        self
    }

    pub fn invalid_argument(message: impl Into<Cow<'static, str>>) -> S3Error {
        S3Error::with(ErrorCode::InvalidArgument, message)
    }

    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> S3Error {
        S3Error::with(ErrorCode::InvalidRequest, message)
    }

    pub fn not_implemented(message: impl Into<Cow<'static, str>>) -> S3Error {
        S3Error::with(ErrorCode::NotImplemented, message)
    }

    pub fn status(&self) -> StatusCode {
        self.code.status()
    }

    pub fn message(&self) -> &str {
        self.message.as_deref().unwrap_or(self.code.message())
    }
}

impl From<ErrorCode> for S3Error {
    fn from(code: ErrorCode) -> S3Error {
        S3Error::new(code)
    }
}

/// What the catalog refused, in S3's words.
impl From<catalog::Error> for S3Error {
    fn from(error: catalog::Error) -> S3Error {
        use catalog::Error as Catalog;
        let code = match error {
            Catalog::NoSuchBucket => ErrorCode::NoSuchBucket,
            Catalog::BucketAlreadyExists => ErrorCode::BucketAlreadyExists,
            Catalog::BucketAlreadyOwnedByYou => ErrorCode::BucketAlreadyOwnedByYou,
            Catalog::BucketNotEmpty => ErrorCode::BucketNotEmpty,
            Catalog::NoSuchKey => ErrorCode::NoSuchKey,
            Catalog::PreconditionFailed => ErrorCode::PreconditionFailed,
            Catalog::NoSuchUpload => ErrorCode::NoSuchUpload,
            Catalog::InvalidPart => ErrorCode::InvalidPart,
            Catalog::InvalidPartOrder => ErrorCode::InvalidPartOrder,
            Catalog::EntityTooSmall => ErrorCode::EntityTooSmall,
            Catalog::SizeMismatch => {
                return S3Error::invalid_request(
                    "x-amz-mp-object-size is not the size of the parts together",
                );
            }
            Catalog::InvalidRange => ErrorCode::InvalidRange,
            Catalog::InvalidPartNumber => ErrorCode::InvalidPartNumber,
            Catalog::NoSuchAccessKey => ErrorCode::InvalidAccessKeyId,
            // What the gateway deals with itself. If it cannot, trying again is right.
            Catalog::CopyNeedsData
            | Catalog::UploadFenced
            | Catalog::UploadSpent
            | Catalog::TooFewCopies
            | Catalog::WrongLayout
            | Catalog::DiskReplaced => {
                return S3Error::with(ErrorCode::ServiceUnavailable, format!("the cluster refused: {error}"));
            }
            Catalog::Malformed => ErrorCode::InternalError,
        };
        S3Error::new(code)
    }
}

impl From<ClusterError> for S3Error {
    fn from(error: ClusterError) -> S3Error {
        let code = match error {
            ClusterError::Unavailable(_) | ClusterError::Closed => ErrorCode::ServiceUnavailable,
            ClusterError::Full => return S3Error::new(ErrorCode::StorageFull),
            // May have taken effect: S3 says so with a 500, after which clients look or try again.
            ClusterError::Unknown | ClusterError::Lost(_) | ClusterError::Invalid(_) => {
                ErrorCode::InternalError
            }
            ClusterError::Busy(_) | ClusterError::Expired => ErrorCode::SlowDown,
        };
        S3Error::with(code, error.to_string())
    }
}

impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message())
    }
}

impl std::error::Error for S3Error {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_its_own_word_and_says_something() {
        let words: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            assert!(code.message().ends_with('.'), "{code:?}");
            assert!(code.status().as_u16() >= 300, "{code:?}");
        }
    }
}
