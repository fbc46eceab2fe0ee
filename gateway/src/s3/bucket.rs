//! The bucket that a request is about.

use protocol::catalog::{self, Answer, Bucket, BucketRef, Operation, Query, Success};

use super::{ErrorCode, S3Error, S3Result, unsupported};
use crate::cluster::{ClusterError, Link};
use crate::http::Call;

/// An error if there is none, or if it belongs to somebody else than the request says.
pub(crate) async fn find<L: Link>(call: &Call<'_, L>) -> S3Result<Bucket> {
    let bucket = reference(call).await?;
    match read(call, &Query::GetBucket { bucket }).await? {
        Answer::Bucket { bucket } => Ok(bucket),
        _ => Err(ClusterError::Invalid("the answer is not a bucket".into()).into()),
    }
}

/// What an operation or a query on the bucket names.
pub(crate) async fn reference<L: Link>(call: &Call<'_, L>) -> S3Result<BucketRef> {
    unsupported::expected_bucket(call).await.map_err(|error| named(call, error))
}

/// Asks the catalog about the bucket. An error names the bucket where S3 does.
pub(crate) async fn read<L: Link>(call: &Call<'_, L>, query: &Query) -> S3Result<Answer> {
    call.read(query).await.map_err(|error| named(call, error))
}

/// Changes the bucket, in the same way.
pub(crate) async fn submit<L: Link>(call: &Call<'_, L>, operation: &Operation) -> S3Result<Success> {
    call.submit(operation).await.map_err(|error| named(call, error))
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
