//! ListObjectVersions. There is one version of each object, the present one, and it is called `null`: what
//! S3 calls the versions of a bucket that was never versioned.

use crate::cluster::Link;
use crate::http::response::{self, Response};
use crate::http::{Call, Query};
use crate::s3::listing::{Listing, Page, write_object};
use crate::s3::owner::Owner;
use crate::s3::xml::Document;
use crate::s3::{S3Error, S3Result};

/// How every version is called.
const NULL: &str = "null";

struct Request {
    listing: Listing,
    key_marker: String,
    version_id_marker: String,
}

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    let request = Request::parse(&call.head.query)?;
    // After the key or after its only version: that is the same place.
    let after = request.listing.after(&request.key_marker);
    let (page, owner) = tokio::try_join!(request.listing.objects(call, after), Owner::find(call))?;
    Ok(response::xml(request.document(call.head.bucket_name(), &page, &owner)))
}

impl Request {
    fn parse(query: &Query) -> S3Result<Request> {
        let key_marker = query.get("key-marker").unwrap_or_default().to_owned();
        let version_id_marker = query.get("version-id-marker").unwrap_or_default().to_owned();
        let refused = |why| {
            Err(S3Error::invalid_argument(why)
                .detail("ArgumentName", "version-id-marker")
                .detail("ArgumentValue", &version_id_marker))
        };
        match version_id_marker.as_str() {
            "" => {}
            _ if key_marker.is_empty() => {
                return refused("A version-id marker cannot be specified without a key marker.");
            }
            NULL => {}
            _ => return refused("Invalid version id specified"),
        }
        Ok(Request { listing: Listing::parse(query, "max-keys")?, key_marker, version_id_marker })
    }

    fn document(&self, bucket: &str, page: &Page, owner: &Owner) -> Document {
        let Request { listing, key_marker, version_id_marker } = self;
        let mut document = Listing::document("ListVersionsResult", page.entries.len());
        document.element("Name", bucket);
        listing.name(&mut document, "Prefix", &listing.prefix);
        listing.name(&mut document, "KeyMarker", key_marker);
        document.element("VersionIdMarker", version_id_marker);
        if let Some(next) = page.next_marker() {
            listing.name(&mut document, "NextKeyMarker", next);
            document.element("NextVersionIdMarker", NULL);
        }
        listing.write_request(&mut document, "MaxKeys");
        document.element("IsTruncated", page.next.is_some());
        for (key, object) in page.objects() {
            document.group("Version", |version| {
                listing.name(version, "Key", key);
                version.element("VersionId", NULL);
                version.element("IsLatest", true);
                write_object(version, object, Some(owner));
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
    use crate::s3::ErrorCode;
    use crate::s3::listing::tests::{OBJECT_WITH_OWNER, assert_document, object, owner, prefix, query};

    fn request(text: &str) -> S3Result<Request> {
        Request::parse(&query(text))
    }

    #[test]
    fn a_version_marker_needs_a_key_and_is_null() {
        assert!(request("key-marker=a&version-id-marker=null").is_ok());
        assert!(request("key-marker=a&version-id-marker=").is_ok());
        assert!(request("version-id-marker=").is_ok());
        for text in ["version-id-marker=null", "key-marker=a&version-id-marker=1"] {
            let error = request(text).err().unwrap();
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{text}");
        }
    }

    #[test]
    fn each_object_is_its_latest_version() {
        let next = Some(ListPosition::AfterPrefix { prefix: "b/".into() });
        let page = Page { entries: vec![object("a"), prefix("b/")], next };
        assert_document(
            request("delimiter=/&key-marker=A&version-id-marker=null").unwrap().document(
                "b",
                &page,
                &owner(),
            ),
            "ListVersionsResult",
            &[
                "<Name>b</Name><Prefix></Prefix><KeyMarker>A</KeyMarker>",
                "<VersionIdMarker>null</VersionIdMarker>",
                "<NextKeyMarker>b/</NextKeyMarker><NextVersionIdMarker>null</NextVersionIdMarker>",
                "<MaxKeys>1000</MaxKeys><Delimiter>/</Delimiter><IsTruncated>true</IsTruncated>",
                "<Version><Key>a</Key><VersionId>null</VersionId><IsLatest>true</IsLatest>",
                OBJECT_WITH_OWNER,
                "</Version><CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>",
            ],
        );
    }
}
