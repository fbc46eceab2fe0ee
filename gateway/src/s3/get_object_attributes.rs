//! GetObjectAttributes: what is known of an object, in a document.

use http::header::LAST_MODIFIED;
use http::{HeaderName, HeaderValue};
use protocol::catalog::{Answer, Object, PART_NUMBER_MAX, Part, Query};

use crate::body::Checksum;
use crate::cluster::{ClusterError, Link};
use crate::http::response::{self, Response};
use crate::http::{Call, Head};
use crate::s3::xml::Document;
use crate::s3::{S3Error, S3Result, conditions, object, unsupported, version};

const ATTRIBUTES: HeaderName = HeaderName::from_static("x-amz-object-attributes");
const MAX_PARTS: &str = "x-amz-max-parts";
const MARKER: &str = "x-amz-part-number-marker";

/// The most parts of one answer.
const PARTS_MAX: u32 = 1000;

/// What a client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wanted {
    etag: bool,
    checksum: bool,
    parts: bool,
    storage_class: bool,
    size: bool,
}

/// The part after which a page of parts begins, and how many parts it has at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    marker: u16,
    limit: u32,
}

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    unsupported::check(call.head)?;
    version::check_query(call.head)?;
    let wanted = Wanted::parse(call.head)?;
    let page = Page::parse(call.head)?;
    let conditions = conditions::for_read(call.head)?;
    let bucket = unsupported::expected_bucket(call).await?;

    let key = call.head.key().to_owned().into();
    let limit = if wanted.parts { page.limit } else { 0 };
    let query = Query::ListObjectParts { bucket, key, after: page.marker, limit };
    let (_, answer) = call.cluster().read(&query).await?;
    let Answer::ObjectParts { object, parts, truncated } =
        answer.map_err(|error| object::refused(call, error))?
    else {
        return Err(ClusterError::Invalid("the answer is not the parts of an object".into()).into());
    };
    conditions::check_read(&conditions, &object.summary)?;
    let mut answer = response::xml(document(wanted, page, &object, &parts, truncated));
    answer.headers_mut().insert(LAST_MODIFIED, response::http_date(object.summary.last_modified));
    Ok(answer)
}

impl Wanted {
    fn parse(head: &Head) -> S3Result<Wanted> {
        let mut wanted = Wanted::default();
        let values = head.headers.get_all(ATTRIBUTES).iter().map(HeaderValue::as_bytes);
        let names = values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        for name in names.filter(|name| !name.is_empty()) {
            match name {
                b"ETag" => wanted.etag = true,
                b"Checksum" => wanted.checksum = true,
                b"ObjectParts" => wanted.parts = true,
                b"StorageClass" => wanted.storage_class = true,
                b"ObjectSize" => wanted.size = true,
                _ => {
                    let name = String::from_utf8_lossy(name);
                    return Err(S3Error::invalid_argument("Invalid attribute name specified.")
                        .detail("ArgumentName", ATTRIBUTES.as_str())
                        .detail("ArgumentValue", name));
                }
            }
        }
        if wanted == Wanted::default() {
            return Err(S3Error::invalid_request(
                "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
            ));
        }
        Ok(wanted)
    }
}

impl Page {
    fn parse(head: &Head) -> S3Result<Page> {
        let limit = head.parsed_header::<u32>(MAX_PARTS)?.unwrap_or(PARTS_MAX).min(PARTS_MAX);
        let marker = head.parsed_header::<u32>(MARKER)?.unwrap_or(0);
        // Beyond the last part there is nothing, however far.
        Ok(Page { marker: u16::try_from(marker).unwrap_or(PART_NUMBER_MAX), limit })
    }
}

fn document(wanted: Wanted, page: Page, object: &Object, parts: &[Part], truncated: bool) -> Document {
    let summary = &object.summary;
    let mut document = Document::new("GetObjectAttributesResponse");
    if wanted.etag {
        // Here, and only here, S3 writes it without quotes.
        document.element("ETag", summary.etag);
    }
    if wanted.checksum {
        let checksums = || summary.checksums.iter().filter_map(Checksum::from_catalog);
        if let Some(checksum_type) = checksums().next().map(|checksum| checksum.checksum_type()) {
            document.group("Checksum", |group| {
                checksums().for_each(|checksum| group.element(checksum.algorithm.element(), &checksum));
                group.element("ChecksumType", checksum_type.name());
            });
        }
    }
    if wanted.parts && summary.etag.part_count > 0 {
        document.group("ObjectParts", |group| write_parts(group, page, object, parts, truncated));
    }
    if wanted.storage_class {
        document.element("StorageClass", "STANDARD");
    }
    if wanted.size {
        document.element("ObjectSize", summary.size);
    }
    document
}

fn write_parts(document: &mut Document, page: Page, object: &Object, parts: &[Part], truncated: bool) {
    document.element("PartsCount", object.summary.etag.part_count);
    document.element("PartNumberMarker", page.marker);
    document.element("NextPartNumberMarker", parts.last().map_or(page.marker, |part| part.number));
    document.element("MaxParts", page.limit);
    document.element("IsTruncated", truncated);
    for part in parts {
        document.group("Part", |group| {
            group.element("PartNumber", part.number);
            group.element("Size", part.size);
            for checksum in part.checksums.iter().filter_map(Checksum::from_catalog) {
                group.element(checksum.algorithm.element(), &checksum);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use protocol::catalog::{ETag, ObjectSummary, UploadId};
    use protocol::types::Timestamp;

    use super::*;
    use crate::body::Algorithm;
    use crate::s3::ErrorCode;
    use crate::s3::headers::tests::head;

    const ALL: Wanted = Wanted { etag: true, checksum: true, parts: true, storage_class: true, size: true };

    fn object(part_count: u16) -> Object {
        let checksum = Checksum::parse(Algorithm::Sha1, b"AAAAAAAAAAAAAAAAAAAAAAAAAAA=-2").unwrap();
        Object {
            summary: ObjectSummary {
                version: 1,
                size: 10,
                etag: ETag { digest: [0xab; 16], part_count },
                last_modified: Timestamp::new(0),
                checksums: vec![checksum.to_catalog()],
            },
            headers: Vec::new(),
            tags: Vec::new(),
            upload: Some(UploadId::new(1)),
        }
    }

    #[test]
    fn attributes_are_named_in_a_list() {
        let wanted = |values: &[&str]| {
            let headers: Vec<_> =
                values.iter().map(|value| ("x-amz-object-attributes", value.as_bytes())).collect();
            Wanted::parse(&head(&headers)).map_err(|error| error.code)
        };
        assert_eq!(wanted(&["ETag,Checksum , ObjectParts", "StorageClass,ObjectSize"]), Ok(ALL));
        assert_eq!(wanted(&["ObjectSize"]), Ok(Wanted { size: true, ..Wanted::default() }));
        assert_eq!(wanted(&["etag"]), Err(ErrorCode::InvalidArgument));
        assert_eq!(wanted(&[]), Err(ErrorCode::InvalidRequest));
        assert_eq!(wanted(&[" ,"]), Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn a_page_of_parts_has_bounds() {
        let page = |limit: &str, marker: &str| {
            let head = head(&[(MAX_PARTS, limit.as_bytes()), (MARKER, marker.as_bytes())]);
            Page::parse(&head).map_err(|error| error.code)
        };
        assert_eq!(page("2", "3"), Ok(Page { marker: 3, limit: 2 }));
        assert_eq!(page("5000", "70000"), Ok(Page { marker: PART_NUMBER_MAX, limit: PARTS_MAX }));
        assert_eq!(page("-1", "0"), Err(ErrorCode::InvalidArgument));
        assert_eq!(page("1", "x"), Err(ErrorCode::InvalidArgument));
        assert_eq!(Page::parse(&head(&[])), Ok(Page { marker: 0, limit: PARTS_MAX }));
    }

    #[test]
    fn the_document_holds_what_was_asked_for() {
        let part = Part {
            number: 4,
            size: 6,
            digest: [0; 16],
            last_modified: Timestamp::new(0),
            checksums: vec![Checksum::parse(Algorithm::Crc32, b"AAAAAQ==").unwrap().to_catalog()],
        };
        let page = Page { marker: 3, limit: 1 };
        let text = document(ALL, page, &object(2), &[part], true).finish();
        let expected = "<ETag>abababababababababababababababab-2</ETag>\
            <Checksum><ChecksumSHA1>AAAAAAAAAAAAAAAAAAAAAAAAAAA=-2</ChecksumSHA1>\
            <ChecksumType>COMPOSITE</ChecksumType></Checksum>\
            <ObjectParts><PartsCount>2</PartsCount><PartNumberMarker>3</PartNumberMarker>\
            <NextPartNumberMarker>4</NextPartNumberMarker><MaxParts>1</MaxParts>\
            <IsTruncated>true</IsTruncated>\
            <Part><PartNumber>4</PartNumber><Size>6</Size><ChecksumCRC32>AAAAAQ==</ChecksumCRC32></Part>\
            </ObjectParts><StorageClass>STANDARD</StorageClass><ObjectSize>10</ObjectSize>\
            </GetObjectAttributesResponse>";
        assert!(text.ends_with(expected), "{text}");

        let size = Wanted { size: true, parts: true, ..Wanted::default() };
        let text = document(size, page, &object(0), &[], false).finish();
        assert!(text.ends_with("/\"><ObjectSize>10</ObjectSize></GetObjectAttributesResponse>"), "{text}");
    }
}
