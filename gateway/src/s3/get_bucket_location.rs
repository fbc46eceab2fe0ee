//! GetBucketLocation. S3's first region has no name here, and clients know that.

use crate::cluster::Link;
use crate::http::Call;
use crate::http::response::{self, Response};
use crate::s3::xml::Document;
use crate::s3::{S3Result, bucket};

const FIRST_REGION: &str = "us-east-1";

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    bucket::find(call).await?;
    Ok(response::xml(document(call.region())))
}

fn document(region: &str) -> Document {
    let mut document = Document::new("LocationConstraint");
    if region != FIRST_REGION {
        document.text(region);
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::listing::tests::assert_document;

    #[test]
    fn the_first_region_is_not_named() {
        assert_document(document("us-east-1"), "LocationConstraint", &[]);
        assert_document(document("here"), "LocationConstraint", &["here"]);
    }
}
