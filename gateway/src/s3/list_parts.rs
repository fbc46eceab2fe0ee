//! The parts of an upload that is under way, a page at a time.

use protocol::catalog::{BucketRef, ETag, Part, Upload};

use super::multipart::{self, UploadRef};
use super::owner::Owner;
use super::{S3Result, bucket, unsupported, upload_id};
use crate::cluster::Link;
use crate::http::response::{self, Response};
use crate::http::{Call, Head};
use crate::s3::xml::Document;

/// A page has no more.
const PARTS_MAX: u32 = 1000;

struct Request {
    marker: u16,
    parts_max: u32,
}

impl Request {
    fn parse(head: &Head) -> S3Result<Request> {
        // No part has a greater number: the page after it is empty.
        let marker = head.query.number("part-number-marker", u32::from(u16::MAX))?.unwrap_or(0);
        Ok(Request {
            marker: u16::try_from(marker).unwrap_or(u16::MAX),
            parts_max: head.query.number("max-parts", PARTS_MAX)?.unwrap_or(PARTS_MAX),
        })
    }
}

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    unsupported::check(call.head)?;
    let request = Request::parse(call.head)?;
    let bucket = bucket::find(call).await?;
    let owner = Owner::of_bucket(&bucket, call.caller);
    let upload = UploadRef::of(call.head, BucketRef::exact(bucket.name, bucket.id))?;
    let page = upload.page(call.cluster(), request.marker, request.parts_max).await?;
    let (upload, parts, truncated) = page?;
    let page = Page { upload: &upload, parts: &parts, truncated };
    Ok(response::xml(page.document(call.head, &owner, &request)))
}

struct Page<'a> {
    upload: &'a Upload,
    parts: &'a [Part],
    truncated: bool,
}

impl Page<'_> {
    fn document(&self, head: &Head, owner: &Owner, request: &Request) -> Document {
        let mut document = Document::new("ListPartsResult");
        document.element("Bucket", head.bucket_name());
        document.element("Key", head.key());
        document.element("UploadId", upload_id::format(self.upload.id));
        for who in ["Initiator", "Owner"] {
            owner.write(&mut document, who);
        }
        document.element("StorageClass", "STANDARD");
        document.element("PartNumberMarker", request.marker);
        document.element("NextPartNumberMarker", self.parts.last().map_or(0, |part| part.number));
        document.element("MaxParts", request.parts_max);
        document.element("IsTruncated", self.truncated);
        if let Some(kind) = multipart::checksum_of(self.upload) {
            document.element("ChecksumAlgorithm", kind.algorithm.name());
            document.element("ChecksumType", kind.checksum_type.name());
        }
        for part in self.parts {
            document.group("Part", |document| {
                document.element("PartNumber", part.number);
                document.moment("LastModified", part.last_modified);
                document.element("ETag", format_args!("\"{}\"", ETag::simple(part.digest)));
                document.element("Size", part.size);
                multipart::write_checksums(document, &part.checksums);
            });
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use protocol::catalog::{ObjectChecksum, UploadId};
    use protocol::types::Timestamp;

    use super::*;
    use crate::s3::ErrorCode;
    use crate::s3::headers::tests::head_of;

    #[test]
    fn a_page_begins_after_a_number_and_has_at_most_a_thousand_parts() {
        for (query, marker, parts_max) in [
            ("", 0, 1000),
            ("&max-parts=2&part-number-marker=7", 7, 2),
            ("&max-parts=0", 0, 0),
            ("&max-parts=5000&part-number-marker=70000", u16::MAX, 1000),
        ] {
            let request = Request::parse(&head_of(&format!("/b/k?uploadId=x{query}"), &[])).unwrap();
            assert_eq!((request.marker, request.parts_max), (marker, parts_max), "{query}");
        }
        for query in ["max-parts=-1", "max-parts=x", "part-number-marker=-1"] {
            let refused = Request::parse(&head_of(&format!("/b/k?uploadId=x&{query}"), &[]));
            assert_eq!(refused.map(|_| ()).unwrap_err().code, ErrorCode::InvalidArgument, "{query}");
        }
    }

    #[test]
    fn the_document_says_what_is_known_of_the_parts() {
        let upload = Upload {
            id: UploadId::new(7),
            created: Timestamp::new(0),
            headers: Vec::new(),
            tags: Vec::new(),
            checksum: Some(0x11),
        };
        let part = Part {
            number: 3,
            size: 9,
            digest: [0xab; 16],
            last_modified: Timestamp::new(1_767_323_045_678_901),
            checksums: vec![ObjectChecksum { kind: 1, value: Bytes::from_static(&[0; 4]) }],
        };
        let page = Page { upload: &upload, parts: &[part], truncated: true };
        let head = head_of("/b/k%3C?uploadId=x", &[]);
        let owner = Owner { id: "me".into(), display_name: Some("Me".into()) };
        let request = Request { marker: 2, parts_max: 1 };
        let text = page.document(&head, &owner, &request).finish();
        let who = "<ID>me</ID><DisplayName>Me</DisplayName>";
        let expected = format!(
            "<Bucket>b</Bucket><Key>k&lt;</Key><UploadId>{}</UploadId><Initiator>{who}</Initiator>\
             <Owner>{who}</Owner><StorageClass>STANDARD</StorageClass><PartNumberMarker>2</PartNumberMarker>\
             <NextPartNumberMarker>3</NextPartNumberMarker><MaxParts>1</MaxParts><IsTruncated>true</IsTruncated>\
             <ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>COMPOSITE</ChecksumType>\
             <Part><PartNumber>3</PartNumber><LastModified>2026-01-02T03:04:05.678Z</LastModified>\
             <ETag>&quot;abababababababababababababababab&quot;</ETag><Size>9</Size>\
             <ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></ListPartsResult>",
            upload_id::format(UploadId::new(7))
        );
        assert!(text.ends_with(&expected), "{text}");
    }
}
