//! Versions: there is one of each object, and its name is `null`.

use crate::http::Head;
use crate::s3::{ErrorCode, S3Error, S3Result};

const NULL: &[u8] = b"null";

/// Refuses to read any version but the one there is.
pub(crate) fn check(version: Option<&[u8]>) -> S3Result<()> {
    match version {
        None | Some(NULL) => Ok(()),
        Some(b"") => Err(S3Error::invalid_argument("a version's id is not empty")),
        Some(version) => {
            let version = String::from_utf8_lossy(version).into_owned();
            Err(S3Error::new(ErrorCode::NoSuchVersion).detail("VersionId", version))
        }
    }
}

/// The same of the version that a request's query names.
pub(crate) fn check_query(head: &Head) -> S3Result<()> {
    check(head.query.get("versionId").map(str::as_bytes))
}
