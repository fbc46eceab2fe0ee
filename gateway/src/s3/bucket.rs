//! The bucket that a request is about.

use protocol::catalog::{self, Answer, Bucket, BucketRef, Query};

use super::{ErrorCode, S3Error, S3Result, unsupported};
use crate::cluster::{ClusterError, Link};
use crate::http::Call;

/// An error if there is none, or if it belongs to somebody else than the request says.
pub(crate) async fn find<L: Link>(call: &Call<'_, L>) -> S3Result<Bucket> {
    let bucket = reference(call).await?;
    let (_, answer) = call.gateway.cluster.read(&Query::GetBucket { bucket }).await?;
    match answer.map_err(|error| refused(call, error))? {
        Answer::Bucket { bucket } => Ok(bucket),
        _ => Err(ClusterError::Invalid("the answer is not a bucket".into()).into()),
    }
}

/// What an operation or a query on the bucket names.
pub(crate) async fn reference<L: Link>(call: &Call<'_, L>) -> S3Result<BucketRef> {
    unsupported::expected_bucket(call).await.map_err(|error| named(call, error))
}

/// What the catalog refused, with the bucket's name where S3 has it.
pub(crate) fn refused<L>(call: &Call<'_, L>, error: catalog::Error) -> S3Error {
    named(call, error.into())
}

fn named<L>(call: &Call<'_, L>, error: S3Error) -> S3Error {
    match error.code {
        ErrorCode::NoSuchBucket
        | ErrorCode::BucketNotEmpty
        | ErrorCode::BucketAlreadyExists
        | ErrorCode::BucketAlreadyOwnedByYou => error.detail("BucketName", call.head.bucket_name()),
        _ => error,
    }
}
