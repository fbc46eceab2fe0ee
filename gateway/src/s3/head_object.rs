//! HeadObject: what GetObject would answer, without the bytes.

use http::StatusCode;

use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::read_request::{ReadRequest, Wanted};
use crate::s3::{S3Result, object, unsupported};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    let mut request = ReadRequest::parse(call.head)?;
    let bucket = unsupported::expected_bucket(call).await?;
    // Only where a part lies has to be asked for.
    let start = matches!(request.wanted, Wanted::Part(_)).then(|| request.wanted.start());
    let (object, piece) = object::find_with_piece(call, bucket, start).await?;
    request.check(&object)?;
    let part = piece.map(|piece| piece.offset..piece.offset + piece.length);
    let range = request.range(&object, part)?;
    let mut answer = response::empty(StatusCode::OK);
    request.describe(&object, &range, &mut answer);
    Ok(answer)
}
