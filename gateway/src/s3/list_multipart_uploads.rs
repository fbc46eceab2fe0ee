//! ListMultipartUploads: what has been begun and neither completed nor aborted.

use protocol::catalog::{Answer, ListPosition, Query as Ask, UploadEntry};

use crate::body::ChecksumKind;
use crate::cluster::{ClusterError, Link};
use crate::http::response::{self, Response};
use crate::http::{Call, Query};
use crate::s3::listing::Listing;
use crate::s3::owner::Owner;
use crate::s3::xml::Document;
use crate::s3::{S3Error, S3Result, bucket, upload_id};

struct Request {
    listing: Listing,
    key_marker: String,
    /// As the client sent it, to be repeated.
    upload_id_marker: String,
    after: ListPosition,
}

struct Page {
    entries: Vec<UploadEntry>,
    truncated: bool,
}

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>) -> S3Result<Response> {
    let request = Request::parse(&call.head.query)?;
    let (page, owner) = tokio::try_join!(request.page(call), Owner::find(call))?;
    Ok(response::xml(request.document(call.head.bucket_name(), &page, &owner)))
}

impl Request {
    fn parse(query: &Query) -> S3Result<Request> {
        let listing = Listing::parse(query, "max-uploads")?;
        let key_marker = query.get("key-marker").unwrap_or_default().to_owned();
        let upload_id_marker = query.get("upload-id-marker").unwrap_or_default().to_owned();
        // Without a key it means nothing, and S3 passes over it.
        let after = if key_marker.is_empty() || upload_id_marker.is_empty() {
            listing.after(&key_marker)
        } else {
            let upload = upload_id::parse(&upload_id_marker).map_err(|_| {
                S3Error::invalid_argument("Invalid uploadId marker")
                    .detail("ArgumentName", "upload-id-marker")
                    .detail("ArgumentValue", &upload_id_marker)
            })?;
            ListPosition::AfterUpload { key: key_marker.clone().into(), upload }
        };
        Ok(Request { listing, key_marker, upload_id_marker, after })
    }

    async fn page<L: Link>(&self, call: &Call<'_, L>) -> S3Result<Page> {
        let query = Ask::ListUploads {
            bucket: bucket::reference(call).await?,
            prefix: self.listing.prefix.clone().into(),
            delimiter: self.listing.delimiter.clone().into(),
            after: self.after.clone(),
            limit: self.listing.limit,
        };
        match bucket::read(call, &query).await? {
            Answer::Uploads { entries, next } => Ok(Page { entries, truncated: next.is_some() }),
            _ => Err(ClusterError::Invalid("the answer is not a list of uploads".into()).into()),
        }
    }

    fn document(&self, bucket: &str, page: &Page, owner: &Owner) -> Document {
        let listing = &self.listing;
        let mut document = Listing::document("ListMultipartUploadsResult", page.entries.len());
        document.element("Bucket", bucket);
        listing.name(&mut document, "KeyMarker", &self.key_marker);
        document.element("UploadIdMarker", &self.upload_id_marker);
        match page.entries.last().filter(|_| page.truncated) {
            Some(UploadEntry::Upload { key, id, .. }) => {
                listing.name(&mut document, "NextKeyMarker", key);
                document.element("NextUploadIdMarker", upload_id::format(*id));
            }
            Some(UploadEntry::Prefix { prefix }) => {
                listing.name(&mut document, "NextKeyMarker", prefix);
                document.element("NextUploadIdMarker", "");
            }
            None => {}
        }
        listing.name(&mut document, "Prefix", &listing.prefix);
        listing.write_request(&mut document, "MaxUploads");
        document.element("IsTruncated", page.truncated);
        for entry in &page.entries {
            self.write_upload(&mut document, entry, owner);
        }
        for entry in &page.entries {
            if let UploadEntry::Prefix { prefix } = entry {
                listing.write_common_prefix(&mut document, prefix);
            }
        }
        document
    }

    /// Nothing if the entry is a common prefix.
    fn write_upload(&self, document: &mut Document, entry: &UploadEntry, owner: &Owner) {
        let UploadEntry::Upload { key, id, created, checksum, .. } = entry else { return };
        document.group("Upload", |upload| {
            self.listing.name(upload, "Key", key);
            upload.element("UploadId", upload_id::format(*id));
            owner.write(upload, "Initiator");
            owner.write(upload, "Owner");
            upload.element("StorageClass", "STANDARD");
            upload.moment("Initiated", *created);
            if let Some(kind) = checksum.and_then(ChecksumKind::from_catalog) {
                upload.element("ChecksumAlgorithm", kind.algorithm.name());
                upload.element("ChecksumType", kind.checksum_type.name());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use protocol::catalog::UploadId;
    use protocol::types::Timestamp;

    use super::*;
    use crate::body::{Algorithm, ChecksumType};
    use crate::s3::ErrorCode;
    use crate::s3::listing::tests::{assert_document, owner, query};

    const ID: UploadId = UploadId::new(7);

    fn request(text: &str) -> S3Result<Request> {
        Request::parse(&query(text))
    }

    #[test]
    fn markers_say_where_to_begin() {
        let id = upload_id::format(ID);
        let after = |text: String| request(&text).unwrap().after;
        let key = || "a/".to_owned().into();
        assert_eq!(after(String::new()), ListPosition::Start);
        assert_eq!(after(format!("upload-id-marker={id}")), ListPosition::Start);
        assert_eq!(after("upload-id-marker=x".into()), ListPosition::Start);
        assert_eq!(after("key-marker=a/".into()), ListPosition::AfterKey { key: key() });
        let prefix = ListPosition::AfterPrefix { prefix: key() };
        assert_eq!(after("key-marker=a/&delimiter=/&upload-id-marker=".into()), prefix);
        assert_eq!(
            after(format!("key-marker=a/&upload-id-marker={id}")),
            ListPosition::AfterUpload { key: key(), upload: ID }
        );
        let error = request("key-marker=a&upload-id-marker=x").err().unwrap();
        assert_eq!(error.code, ErrorCode::InvalidArgument);
    }

    fn upload(key: &'static str) -> UploadEntry {
        let created = Timestamp::new(1_767_323_045_678_901);
        let kind = ChecksumKind { algorithm: Algorithm::Crc32, checksum_type: ChecksumType::Composite };
        let checksum = Some(kind.to_catalog());
        UploadEntry::Upload { key: key.into(), id: ID, created, headers: vec![], checksum }
    }

    #[test]
    fn a_page_names_uploads_and_where_to_go_on() {
        let id = upload_id::format(ID);
        let id_element = format!("<UploadId>{id}</UploadId>");
        let next_element = format!("<NextUploadIdMarker>{id}</NextUploadIdMarker>");
        let entries = vec![UploadEntry::Prefix { prefix: "A/".into() }, upload("a+b")];
        assert_document(
            request("delimiter=/&max-uploads=2&encoding-type=url").unwrap().document(
                "b",
                &Page { entries, truncated: true },
                &owner(),
            ),
            "ListMultipartUploadsResult",
            &[
                "<Bucket>b</Bucket><KeyMarker></KeyMarker><UploadIdMarker></UploadIdMarker>",
                "<NextKeyMarker>a%2Bb</NextKeyMarker>",
                &next_element,
                "<Prefix></Prefix><MaxUploads>2</MaxUploads><Delimiter>/</Delimiter>",
                "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>",
                "<Upload><Key>a%2Bb</Key>",
                &id_element,
                "<Initiator><ID>ab</ID></Initiator><Owner><ID>ab</ID></Owner>",
                "<StorageClass>STANDARD</StorageClass><Initiated>2026-01-02T03:04:05.678Z</Initiated>",
                "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>COMPOSITE</ChecksumType>",
                "</Upload><CommonPrefixes><Prefix>A/</Prefix></CommonPrefixes>",
            ],
        );
    }

    #[test]
    fn after_a_common_prefix_there_is_no_upload_to_go_on_after() {
        let entries = vec![upload("A"), UploadEntry::Prefix { prefix: "a/".into() }];
        let page = Page { entries, truncated: true };
        let text = request("delimiter=/").unwrap().document("b", &page, &owner()).finish();
        let expected = "<NextKeyMarker>a/</NextKeyMarker><NextUploadIdMarker></NextUploadIdMarker>";
        assert!(text.contains(expected), "{text}");
    }
}
