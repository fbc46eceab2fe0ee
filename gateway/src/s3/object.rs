//! The object that a request is about.

use protocol::catalog::{self, Answer, BucketRef, Object, Piece, PieceSelection, PieceStart, Query};

use crate::cluster::{ClusterError, Link};
use crate::http::Call;
use crate::s3::{ErrorCode, S3Error, S3Result};

/// What is known of it. An error if it is not there.
pub(crate) async fn find<L: Link>(call: &Call<'_, L>, bucket: BucketRef) -> S3Result<Object> {
    find_with_piece(call, bucket, None).await.map(|(object, _)| object)
}

/// The same, and the piece that begins with this part.
pub(crate) async fn find_with_piece<L: Link>(
    call: &Call<'_, L>,
    bucket: BucketRef,
    from: Option<PieceStart>,
) -> S3Result<(Object, Option<Piece>)> {
    let pieces = from.map(|from| PieceSelection { from, limit: 1 });
    let query = Query::GetObject { bucket, key: call.head.key().to_owned().into(), pieces };
    let (_, answer) = call.cluster().read(&query).await?;
    match answer.map_err(|error| refused(call, error))? {
        Answer::Object { object, pieces, .. } => Ok((object, pieces.into_iter().next())),
        _ => Err(ClusterError::Invalid("the answer is not an object".into()).into()),
    }
}

/// What the catalog refused, with the name of what is missing.
pub(crate) fn refused<L: Link>(call: &Call<'_, L>, error: catalog::Error) -> S3Error {
    let error = S3Error::from(error);
    match error.code {
        ErrorCode::NoSuchKey => error.detail("Key", call.head.key()),
        ErrorCode::NoSuchBucket => error.detail("BucketName", call.head.bucket_name()),
        _ => error,
    }
}
