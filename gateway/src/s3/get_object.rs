//! GetObject: an object's bytes, all of them or some.

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use protocol::catalog::{self, BucketRef};

use crate::cluster::{ClusterError, Link, READ_BYTES_FREE};
use crate::http::Call;
use crate::http::answers::PaidFor;
use crate::http::response::{self, Response};
use crate::s3::object_body::ObjectBody;
use crate::s3::read_request::{ReadRequest, Wanted};
use crate::s3::{S3Result, object, read_request, unsupported};

/// An object that is replaced while its first bytes are on their way is opened again, so many times.
const ATTEMPTS: usize = 4;

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    let mut request = ReadRequest::parse(call.head)?;
    let bucket = unsupported::expected_bucket(call).await?;
    for _ in 0..ATTEMPTS {
        if let Some(answer) = attempt(call, &mut request, &bucket).await? {
            return Ok(answer);
        }
    }
    Err(ClusterError::Expired.into())
}

/// None if it has to be tried again: what was opened is not there any more, or not what is wanted.
///
/// The answer begins only when the first bytes are there. Until then whatever goes wrong has its own
/// words; afterwards there is only the connection to cut.
async fn attempt<L: Link>(
    call: &Call<'_, L>,
    request: &mut ReadRequest,
    bucket: &BucketRef,
) -> S3Result<Option<Response>> {
    let key = Bytes::copy_from_slice(call.head.key().as_bytes());
    let opened = call.cluster().open(bucket.clone(), key, request.wanted.start()).await?;
    let record = match (opened, request.wanted) {
        (Err(catalog::Error::InvalidPartNumber), Wanted::Part(number)) => {
            return Err(object::no_such_part(call, bucket.clone(), number).await);
        }
        (opened, _) => opened.map_err(|error| object::refused(call, error))?,
    };
    if request.check(&record.object)? {
        return Ok(None);
    }
    let range = request.range(&record.object, record.first_piece())?;
    let mut answer = response::empty(StatusCode::OK);
    request.describe(&record.object, &range, &mut answer);
    if let Some(number) = request.part_with_checksums()
        && let Some(part) = object::find_part(call, bucket.clone(), &record.object, number).await?
    {
        read_request::write_part_checksums(&record.object, &part, answer.headers_mut());
    }
    if range.is_empty() {
        return Ok(Some(answer));
    }

    let length = range.end - range.start;
    let mut reader = record.read(range, call.seed()).await?;
    match reader.next().await {
        Ok(Some(first)) => {
            *answer.body_mut() = Body::new(ObjectBody::begun(first, reader, length));
            if length > READ_BYTES_FREE {
                answer.extensions_mut().insert(PaidFor);
            }
            Ok(Some(answer))
        }
        Ok(None) => Err(ClusterError::Lost("the beginning of the object".into()).into()),
        Err(ClusterError::Expired) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
