//! HeadBucket. Clients learn the region from it, also from its errors, before they ask for anything else.

use http::{HeaderName, HeaderValue, StatusCode};

use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::{S3Result, bucket};

const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    // A region that no header can hold is not said.
    let region = HeaderValue::from_str(&call.region()).ok();
    match bucket::find(call).await {
        Ok(_) => {
            let mut response = response::empty(StatusCode::OK);
            response.headers_mut().extend(region.map(|region| (BUCKET_REGION, region)));
            Ok(response)
        }
        Err(mut error) => {
            error.headers.extend(region.map(|region| (BUCKET_REGION, region)));
            Err(error)
        }
    }
}
