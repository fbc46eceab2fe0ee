//! HeadObject: what GetObject would answer, without the bytes.

use http::StatusCode;

use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::read_request::{ReadRequest, Wanted};
use crate::s3::{S3Result, object, read_request, unsupported};

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    let mut request = ReadRequest::parse(call.head)?;
    let bucket = unsupported::expected_bucket(call).await?;
    // Only where a part lies has to be asked for.
    let start = matches!(request.wanted, Wanted::Part(_)).then(|| request.wanted.start());
    let (object, piece) = object::find_with_piece(call, bucket.clone(), start).await?;
    request.check(&object)?;
    let part = piece.map(|piece| piece.offset..piece.offset + piece.length);
    let range = request.range(&object, part)?;
    let mut answer = response::empty(StatusCode::OK);
    request.describe(&object, &range, &mut answer);
    if let Some(number) = request.part_with_checksums()
        && let Some(part) = object::find_part(call, bucket, &object, number).await?
    {
        read_request::write_part_checksums(&object, &part, answer.headers_mut());
    }
    Ok(answer)
}
