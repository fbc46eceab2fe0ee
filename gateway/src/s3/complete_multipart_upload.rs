//! An upload becomes an object: the parts that the client lists, in the order of their numbers. No byte
//! moves, however large the object is.
//!
//! The parts' checksums are read first, and the object's is made of them. A part that is put again in
//! between has another digest than the client lists, and the log refuses it. Completing an upload again is
//! answered as before while the key still holds its object: clients that miss the answer ask again.

use md5::{Digest, Md5};
use protocol::catalog::{
    Checksums, ETag, Error, ListedPart, ObjectSummary, Operation, PART_NUMBER_MAX, Part, Success,
};

use super::multipart::{self, UploadRef};
use super::parts_checksum::{Claim, is_as_listed};
use super::{ErrorCode, S3Result, bucket, conditions, unsupported};
use crate::body::{self, Algorithm, Checksum, Payload};
use crate::cluster::{Cluster, ClusterError, Link};
use crate::http::response::{self, Response};
use crate::http::{Call, Head};
use crate::s3::xml::{Document, Element, malformed};

/// So many parts are read at once: as many as one page has.
const PAGE_PARTS: u32 = 1000;

/// A part as the client lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    number: u16,
    /// As the client wrote it.
    etag: String,
    /// None if no part can have the ETag.
    digest: Option<[u8; 16]>,
    checksums: Vec<Checksum>,
}

pub(crate) async fn handle<L: Link>(call: &Call<'_, L>, payload: Payload) -> S3Result<Response> {
    let head = call.head;
    unsupported::check(head)?;
    let conditions = conditions::for_write(head)?;
    let size = head.parsed_header("x-amz-mp-object-size")?;
    let claim = Claim::of(head)?;
    // Kept to the end: what it was paid for is what is made of it, too.
    let list = body::document(payload, &call.gateway.memory).await?;
    let listed = parse(&list)?;
    let upload = UploadRef::of(head, bucket::reference(call).await?)?;
    let parts = named(&upload, &listed)?;
    let cluster = call.cluster();
    let checksums = checksums(cluster, &upload, &listed, &claim).await?;
    let etag = etag_of(&parts);
    let UploadRef { bucket, key, upload } = upload;
    let operation =
        Operation::CompleteUpload { bucket, key, upload, conditions, parts, etag, checksums, size };
    let (_, reply) = cluster.submit(&operation).await?;
    match reply.map_err(|error| bucket::refused(call, error))? {
        Success::ObjectWritten { object } => Ok(response::xml(document(head, &object))),
        _ => Err(ClusterError::Invalid("the answer is not an object".into()).into()),
    }
}

fn parse(document: &[u8]) -> S3Result<Vec<Listed>> {
    let root = Element::parse(document, "CompleteMultipartUpload")?;
    let listed = root.all("Part").map(parse_part).collect::<S3Result<Vec<_>>>()?;
    if listed.is_empty() {
        return Err(malformed("You must specify at least one part"));
    }
    if listed.len() > usize::from(PART_NUMBER_MAX) {
        return Err(malformed("An upload has at most 10000 parts"));
    }
    if !listed.is_sorted_by(|a, b| a.number < b.number) {
        return Err(ErrorCode::InvalidPartOrder.into());
    }
    Ok(listed)
}

fn parse_part(element: &Element) -> S3Result<Listed> {
    let number = multipart::parse_part_number(element.required_text("PartNumber")?.trim());
    let etag = element.required_text("ETag")?.trim();
    let digest = ETag::parse(etag.as_bytes()).filter(|etag| etag.part_count == 0).map(|etag| etag.digest);
    let mut checksums = Vec::new();
    for algorithm in Algorithm::ALL {
        let Some(text) = element.optional_text(algorithm.element())?.map(str::trim) else { continue };
        // Some clients write an element for what they do not have.
        if text.is_empty() {
            continue;
        }
        let checksum = Checksum::parse(algorithm, text.as_bytes());
        checksums.push(checksum.ok_or_else(|| malformed(format!("{} is malformed", algorithm.element())))?);
    }
    let number = number.ok_or_else(|| malformed("A part has a number between 1 and 10000"))?;
    Ok(Listed { number, etag: etag.to_owned(), digest, checksums })
}

/// As the operation lists them.
fn named(upload: &UploadRef, listed: &[Listed]) -> S3Result<Vec<ListedPart>> {
    let part = |listed: &Listed| match listed.digest {
        Some(digest) => Ok(ListedPart { number: listed.number, digest }),
        None => Err(multipart::invalid_part(upload.upload, listed.number, &listed.etag)),
    };
    listed.iter().map(part).collect()
}

/// The MD5 of the parts' MD5s, as every client computes it.
fn etag_of(parts: &[ListedPart]) -> ETag {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part.digest);
    }
    let part_count = u16::try_from(parts.len()).expect("there are at most 10000");
    ETag { digest: md5.finalize().into(), part_count }
}

/// What the object's checksums will be. Of an upload that is gone none need be known: if it has become
/// the object that is asked for, the answer tells those that the object has.
async fn checksums<L: Link>(
    cluster: &Cluster<L>,
    upload: &UploadRef,
    listed: &[Listed],
    claim: &Claim,
) -> S3Result<Checksums> {
    let last = listed.last().map_or(0, |listed| listed.number);
    let mut found: Vec<Part> = Vec::with_capacity(listed.len());
    loop {
        let after = found.last().map_or(0, |part| part.number);
        let (declared, parts, truncated) = match upload.page(cluster, after, PAGE_PARTS).await? {
            Ok(page) => page,
            Err(Error::NoSuchUpload) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        found.extend(parts);
        if !truncated || found.last().is_some_and(|part| part.number >= last) {
            let parts = matched(upload, listed, &found)?;
            let checksum = claim.checksum_of_parts(multipart::checksum_of(&declared), &parts)?;
            return Ok(checksum.iter().map(Checksum::to_catalog).collect());
        }
    }
}

/// The stored part of each listed one.
fn matched<'a>(upload: &UploadRef, listed: &[Listed], found: &'a [Part]) -> S3Result<Vec<&'a Part>> {
    let mut found = found.iter();
    let part = |listed: &Listed| {
        let part = found.find(|part| part.number >= listed.number);
        part.filter(|part| {
            part.number == listed.number
                && Some(part.digest) == listed.digest
                && is_as_listed(part, &listed.checksums)
        })
        .ok_or_else(|| multipart::invalid_part(upload.upload, listed.number, &listed.etag))
    };
    listed.iter().map(part).collect()
}

fn document(head: &Head, object: &ObjectSummary) -> Document {
    let mut document = Document::new("CompleteMultipartUploadResult");
    document.element("Location", format_args!("{}://{}{}", head.scheme, head.host, head.raw_path));
    document.element("Bucket", head.bucket_name());
    document.element("Key", head.key());
    document.element("ETag", format_args!("\"{}\"", object.etag));
    multipart::write_checksums(&mut document, &object.checksums);
    let checksum = object.checksums.first().and_then(Checksum::from_catalog);
    document.optional("ChecksumType", checksum.map(|checksum| checksum.checksum_type().name()));
    document
}

#[cfg(test)]
mod tests {
    use protocol::catalog::{BucketRef, UploadId};
    use protocol::types::Timestamp;

    use super::*;
    use crate::s3::headers::tests::head_of;

    const ETAG: &str = "0123456789abcdef0123456789abcdef";

    fn parsed(parts: &str) -> Result<Vec<Listed>, ErrorCode> {
        let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        parse(document.as_bytes()).map_err(|error| error.code)
    }

    fn part(number: &str, etag: &str, more: &str) -> String {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{more}</Part>")
    }

    fn upload() -> UploadRef {
        UploadRef { bucket: BucketRef::named("b"), key: "k".into(), upload: UploadId::new(7) }
    }

    #[test]
    fn etags_come_quoted_and_bare_and_in_entities() {
        for etag in [ETAG.to_owned(), format!("\"{ETAG}\""), format!("&quot;{ETAG}&#34;\n")] {
            let listed = parsed(&part("3", &etag, "")).unwrap();
            let digest = ETag::parse(ETAG.as_bytes()).unwrap().digest;
            assert_eq!(named(&upload(), &listed), Ok(vec![ListedPart { number: 3, digest }]), "{etag}");
        }
        for etag in ["", "x", &format!("{ETAG}-2")] {
            let listed = parsed(&part("3", etag, "")).unwrap();
            let refused = named(&upload(), &listed).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidPart, "{etag}");
            assert!(refused.details.contains(&("PartNumber", "3".into())));
        }
    }

    #[test]
    fn a_list_is_neither_empty_nor_out_of_order_nor_too_long() {
        assert_eq!(parsed(""), Err(ErrorCode::MalformedXml));
        for number in ["0", "10001", "x", ""] {
            assert_eq!(parsed(&part(number, ETAG, "")), Err(ErrorCode::MalformedXml), "{number}");
        }
        assert_eq!(parsed("<Part><PartNumber>1</PartNumber></Part>"), Err(ErrorCode::MalformedXml));
        let pair = |a, b| parsed(&(part(a, ETAG, "") + &part(b, ETAG, ""))).map(|listed| listed.len());
        assert_eq!(pair("1", "7"), Ok(2));
        assert_eq!(pair("7", "1"), Err(ErrorCode::InvalidPartOrder));
        assert_eq!(pair("7", "7"), Err(ErrorCode::InvalidPartOrder));
        let all: String = (1..=10_000).map(|number| part(&number.to_string(), ETAG, "")).collect();
        assert_eq!(parsed(&all).map(|listed| listed.len()), Ok(10_000));
        assert_eq!(parsed(&(all + &part("10000", ETAG, ""))), Err(ErrorCode::MalformedXml));
    }

    #[test]
    fn a_part_can_be_listed_with_its_checksums() {
        let more = "<ChecksumCRC32>AAAAAA==</ChecksumCRC32><ChecksumSHA256></ChecksumSHA256>";
        let listed = parsed(&part("1", ETAG, more)).unwrap();
        assert_eq!(listed[0].checksums, [Checksum::full(Algorithm::Crc32, vec![0; 4])]);
        let wrong = part("1", ETAG, "<ChecksumCRC32>AAAA</ChecksumCRC32>");
        assert_eq!(parsed(&wrong), Err(ErrorCode::MalformedXml));
    }

    #[test]
    fn the_etag_is_that_of_the_parts_etags() {
        let part = |number, bytes: &[u8]| ListedPart { number, digest: Md5::digest(bytes).into() };
        let etag = etag_of(&[part(1, b"abc"), part(2, b"d")]);
        // md5(md5("abc") + md5("d")), by any other program.
        assert_eq!(etag.to_string(), "26b10a702bd95f42e3c2737f5975aa20-2");
    }

    #[test]
    fn each_listed_part_is_one_that_was_uploaded() {
        let digest = ETag::parse(ETAG.as_bytes()).unwrap().digest;
        let stored = |number| Part {
            number,
            size: 1,
            digest,
            last_modified: Timestamp::new(0),
            checksums: vec![Checksum::of(Algorithm::Crc32, b"x").to_catalog()],
        };
        let found = [stored(1), stored(3), stored(4), stored(9)];
        let listed = |number: u16, checksum: &[u8]| Listed {
            number,
            etag: ETAG.into(),
            digest: Some(digest),
            checksums: vec![Checksum::of(Algorithm::Crc32, checksum)],
        };
        let numbers = |listed: &[Listed]| {
            let parts = matched(&upload(), listed, &found).map_err(|error| error.details[1].1.clone())?;
            Ok::<_, String>(parts.iter().map(|part| part.number).collect::<Vec<_>>())
        };
        assert_eq!(numbers(&[listed(1, b"x"), listed(4, b"x"), listed(9, b"x")]), Ok(vec![1, 4, 9]));
        assert_eq!(numbers(&[listed(1, b"x"), listed(2, b"x")]), Err("2".into()));
        assert_eq!(numbers(&[listed(1, b"x"), listed(10, b"x")]), Err("10".into()));
        assert_eq!(numbers(&[listed(1, b"x"), listed(3, b"y")]), Err("3".into()));
        let other = Listed { digest: Some([0; 16]), ..listed(4, b"x") };
        assert_eq!(numbers(&[listed(3, b"x"), other]), Err("4".into()));
    }

    #[test]
    fn the_document_tells_where_the_object_is() {
        let object = ObjectSummary {
            version: 1,
            size: 4,
            etag: ETag { digest: [0xab; 16], part_count: 2 },
            last_modified: Timestamp::new(0),
            checksums: vec![Checksum::of(Algorithm::Crc32, b"").to_catalog()],
        };
        let head = head_of("/b/a%20b?uploadId=x", &[]);
        let text = document(&head, &object).finish();
        let expected = "<Location>http://localhost/b/a%20b</Location><Bucket>b</Bucket><Key>a b</Key>\
            <ETag>&quot;abababababababababababababababab-2&quot;</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32>\
            <ChecksumType>FULL_OBJECT</ChecksumType></CompleteMultipartUploadResult>";
        assert!(text.ends_with(expected), "{text}");
    }
}
