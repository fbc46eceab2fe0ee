//! DeleteObject. Deleting a key that is not there succeeds, also under a condition.

use http::StatusCode;
use protocol::catalog::{Delete, Operation, Success};

use crate::cluster::{ClusterError, Link};
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::{S3Error, S3Result, conditions, object, unsupported};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    unsupported::check(call.head)?;
    check_version(call.head.query.get("versionId"))?;
    let delete =
        Delete { key: call.head.key().to_owned().into(), conditions: conditions::for_write(call.head)? };
    let bucket = unsupported::expected_bucket(call).await?;
    let operation = Operation::DeleteObjects { bucket, deletes: vec![delete] };
    let (_, reply) = call.cluster().submit(&operation).await?;
    match reply.map_err(|error| object::refused(call, error))? {
        Success::ObjectsDeleted { outcomes } => match outcomes.first() {
            Some(None) => Ok(response::empty(StatusCode::NO_CONTENT)),
            Some(Some(error)) => Err(object::refused(call, *error)),
            None => Err(unexpected()),
        },
        _ => Err(unexpected()),
    }
}

fn unexpected() -> S3Error {
    ClusterError::Invalid("the answer is not that of a deletion".into()).into()
}

/// Nothing has a version but the one called null, so whoever names another one is mistaken: S3 does not
/// find the id of such a version well-formed.
pub(crate) fn check_version(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some("null") => Ok(()),
        Some(version) => Err(S3Error::invalid_argument("Invalid version id specified")
            .detail("ArgumentName", "versionId")
            .detail("ArgumentValue", version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_that_there_is_can_be_deleted() {
        assert_eq!(check_version(None), Ok(()));
        assert_eq!(check_version(Some("null")), Ok(()));
        assert!(check_version(Some("")).is_err());
        assert!(check_version(Some("3HL4kqtJlcpXroDTDmJ.rmSpXd3QBUA.")).is_err());
    }
}
