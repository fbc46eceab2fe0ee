//! The object that a request is about.

use protocol::catalog::{self, Answer, BucketRef, Object, Part, Piece, PieceSelection, PieceStart, Query};

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

/// What is known of a part of the object, if it was uploaded in parts. None also if it is another object by
/// now that has the key.
pub(crate) async fn find_part<L: Link>(
    call: &Call<'_, L>,
    bucket: BucketRef,
    object: &Object,
    number: u16,
) -> S3Result<Option<Part>> {
    if object.upload.is_none() {
        return Ok(None);
    }
    let (key, after) = (call.head.key().to_owned().into(), number - 1);
    let (_, answer) = call.cluster().read(&Query::ListObjectParts { bucket, key, after, limit: 1 }).await?;
    match answer {
        Ok(Answer::ObjectParts { object: found, parts, .. }) if found.upload == object.upload => {
            Ok(parts.into_iter().find(|part| part.number == number))
        }
        Ok(Answer::ObjectParts { .. }) | Err(_) => Ok(None),
        Ok(_) => Err(ClusterError::Invalid("the answer is not the parts of an object".into()).into()),
    }
}

/// A part was asked for that the object has not got. The answer tells how many it has.
pub(crate) async fn no_such_part<L: Link>(call: &Call<'_, L>, bucket: BucketRef, number: u16) -> S3Error {
    match find(call, bucket).await {
        Ok(object) => S3Error::new(ErrorCode::InvalidPartNumber)
            .detail("PartNumberRequested", number.to_string())
            .detail("ActualPartCount", object.summary.etag.part_count.max(1).to_string()),
        Err(error) => error,
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
