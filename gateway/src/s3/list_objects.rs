//! ListObjects, the first form: pages by marker.

use crate::cluster::Link;
use crate::http::response::{self, Response};
use crate::http::{Call, Query};
use crate::s3::S3Result;
use crate::s3::listing::{Listing, Page, write_object};
use crate::s3::owner::Owner;
use crate::s3::xml::Document;

struct Request {
    listing: Listing,
    marker: String,
}

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    let request = Request::parse(&call.head.query)?;
    let after = request.listing.after(&request.marker);
    let (page, owner) = tokio::try_join!(request.listing.objects(call, after), Owner::find(call))?;
    Ok(response::xml(request.document(call.head.bucket_name(), &page, &owner)))
}

impl Request {
    fn parse(query: &Query) -> S3Result<Request> {
        let marker = query.get("marker").unwrap_or_default().to_owned();
        Ok(Request { listing: Listing::parse(query, "max-keys")?, marker })
    }

    fn document(&self, bucket: &str, page: &Page, owner: &Owner) -> Document {
        let Request { listing, marker } = self;
        let mut document = Listing::document("ListBucketResult", page.entries.len());
        document.element("Name", bucket);
        listing.name(&mut document, "Prefix", &listing.prefix);
        listing.name(&mut document, "Marker", marker);
        // Without a delimiter, S3 leaves it to the client to go on after the last key.
        if let Some(next) = page.next_marker().filter(|_| !listing.delimiter.is_empty()) {
            listing.name(&mut document, "NextMarker", next);
        }
        listing.write_request(&mut document, "MaxKeys");
        document.element("IsTruncated", page.next.is_some());
        for (key, object) in page.objects() {
            document.group("Contents", |contents| {
                listing.name(contents, "Key", key);
                write_object(contents, object, Some(owner));
            });
        }
        for prefix in page.prefixes() {
            listing.write_common_prefix(&mut document, prefix);
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use protocol::catalog::ListPosition;

    use super::*;
    use crate::s3::listing::tests::{OBJECT_WITH_OWNER, assert_document, object, owner, prefix, query};

    fn document(text: &str, page: &Page) -> Document {
        Request::parse(&query(text)).unwrap().document("b", page, &owner())
    }

    #[test]
    fn a_page_names_its_request_and_its_entries() {
        let next = Some(ListPosition::AfterPrefix { prefix: "c d/".into() });
        let page = Page { entries: vec![object("a+b"), prefix("c d/")], next };
        assert_document(
            document("prefix=&marker=%20&delimiter=/&max-keys=2&encoding-type=url", &page),
            "ListBucketResult",
            &[
                "<Name>b</Name><Prefix></Prefix><Marker>%20</Marker><NextMarker>c%20d/</NextMarker>",
                "<MaxKeys>2</MaxKeys><Delimiter>/</Delimiter><EncodingType>url</EncodingType>",
                "<IsTruncated>true</IsTruncated>",
                "<Contents><Key>a%2Bb</Key>",
                OBJECT_WITH_OWNER,
                "</Contents><CommonPrefixes><Prefix>c%20d/</Prefix></CommonPrefixes>",
            ],
        );
    }

    #[test]
    fn without_a_delimiter_there_is_no_next_marker() {
        let next = Some(ListPosition::AfterKey { key: "a".into() });
        assert_document(
            document("max-keys=1", &Page { entries: vec![object("a")], next }),
            "ListBucketResult",
            &[
                "<Name>b</Name><Prefix></Prefix><Marker></Marker><MaxKeys>1</MaxKeys>",
                "<IsTruncated>true</IsTruncated><Contents><Key>a</Key>",
                OBJECT_WITH_OWNER,
                "</Contents>",
            ],
        );
    }

    #[test]
    fn an_empty_page_is_the_last() {
        assert_document(
            document("delimiter=&max-keys=0&prefix=%3C", &Page { entries: vec![], next: None }),
            "ListBucketResult",
            &[
                "<Name>b</Name><Prefix>&lt;</Prefix><Marker></Marker><MaxKeys>0</MaxKeys>",
                "<IsTruncated>false</IsTruncated>",
            ],
        );
    }
}
