//! Words become bytes and words again.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::world::{LAYOUT, RECEIPT_KEY, chunked_body, received};
use crate::catalog::*;
use crate::data::outline::ChunkRoot;
use crate::data::receipt::{Proof, Receipt};
use crate::machine::Machine as _;
use crate::types::{Checksum, Incarnation, ReplicaId, SessionId, Timestamp};

fn etag(seed: u8) -> ETag {
    ETag::simple([seed; 16])
}

fn chunked(upload: u64) -> NewBody {
    let extents = vec![
        Extent { chunk_count: 2, encoding: Encoding::Copies { count: 3 } },
        Extent { chunk_count: 1, encoding: Encoding::ErasureCoded { data: 2, parity: 1 } },
    ];
    let body = ChunkedBody { length: 250, chunk_size: 100, extents, roots: vec![ChunkRoot([7; 32]); 3] };
    let receipt = |chunk, node| Receipt {
        chunk,
        node: ReplicaId::new(node),
        incarnation: Incarnation::new(0x0102_0304),
        proof: Proof([0xcd; 16]),
    };
    NewBody::Chunked { upload, body, layout: 0x11, receipts: vec![receipt(2, 6), receipt(0, 1)] }
}

/// One operation of each kind, with something in every field.
fn operations() -> Vec<Operation> {
    let bucket = BucketRef::exact("bucket", BucketId::new(9));
    let key = Bytes::from_static(b"a\0/b");
    let tags = vec![Tag { key: "k".into(), value: "v".into() }];
    let headers = headers([("content-type", "text/plain")]);
    let checksums = vec![ObjectChecksum { kind: 3, value: "abcd".into() }];
    let conditions =
        Conditions { if_match: Some(ETagMatch::Any), if_none_match: Some(ETagMatch::one(etag(1))) };
    let source_conditions = SourceConditions {
        if_match: Some(ETagMatch::OneOf { etags: vec![etag(1), etag(2)] }),
        if_none_match: Some(ETagMatch::Any),
        if_modified_since: Some(Timestamp::new(5)),
        if_unmodified_since: Some(Timestamp::new(6)),
    };
    let upload = UploadId::new(77);
    let access_key = AccessKey {
        secret: "sealed".into(),
        user: "me".into(),
        owner: "me".into(),
        display_name: "Me".into(),
        flags: 5,
        scopes: vec![AccessScope { bucket: "bucket".into(), prefix: "logs/".into() }],
        created: Timestamp::new(8),
    };
    let body_id = BodyId { session: SessionId::new(4), upload: 5 };
    vec![
        Operation::CreateBucket { name: "bucket".into(), owner: "me".into(), tags: tags.clone() },
        Operation::DeleteBucket { bucket: bucket.clone() },
        Operation::PutBucketTags { bucket: bucket.clone(), tags: tags.clone() },
        Operation::PutObject {
            bucket: bucket.clone(),
            key: key.clone(),
            conditions: conditions.clone(),
            etag: etag(3),
            headers: headers.clone(),
            checksums: checksums.clone(),
            tags: tags.clone(),
            body: chunked(12),
        },
        Operation::CopyObject {
            source: BucketRef::named("other"),
            source_key: "s".into(),
            source_conditions: source_conditions.clone(),
            bucket: bucket.clone(),
            key: key.clone(),
            conditions: conditions.clone(),
            headers: Some(headers.clone()),
            tags: None,
        },
        Operation::DeleteObjects {
            bucket: bucket.clone(),
            deletes: vec![Delete { key: key.clone(), conditions: conditions.clone() }],
        },
        Operation::PutObjectTags { bucket: bucket.clone(), key: key.clone(), tags: tags.clone() },
        Operation::CreateUpload {
            bucket: bucket.clone(),
            key: key.clone(),
            headers,
            tags,
            checksum: Some(4),
        },
        Operation::PutPart {
            bucket: bucket.clone(),
            key: key.clone(),
            upload,
            part: 10_000,
            digest: [8; 16],
            checksums: checksums.clone(),
            body: NewBody::inline("bytes"),
        },
        Operation::CopyPart {
            bucket: bucket.clone(),
            key: key.clone(),
            upload,
            part: 1,
            source: bucket.clone(),
            source_key: "s".into(),
            source_conditions,
            range: Some(ByteRange { offset: 1, length: 2 }),
            checksums: checksums.clone(),
        },
        Operation::CompleteUpload {
            bucket: bucket.clone(),
            key: key.clone(),
            upload,
            conditions,
            parts: vec![ListedPart { number: 1, digest: [1; 16] }],
            etag: ETag { digest: [2; 16], part_count: 1 },
            checksums,
            size: Some(10),
        },
        Operation::AbortUpload { bucket, key, upload },
        Operation::PutAccessKey { id: "AK".into(), access_key },
        Operation::DeleteAccessKey { id: "AK".into() },
        Operation::Collect { retired: vec![body_id], condemned: vec![upload] },
        Operation::Settle {
            node: ReplicaId::new(6),
            incarnation: Incarnation::new(0x77),
            bodies: vec![body_id, body_id],
        },
        Operation::Rebuilt { node: ReplicaId::new(1), incarnation: Incarnation::new(0x88) },
    ]
}

fn queries() -> Vec<Query> {
    let bucket = BucketRef::named("bucket");
    let upload = UploadId::new(3);
    let id = BodyId { session: SessionId::new(1), upload: 2 };
    let selection = PieceSelection { from: PieceStart::Part { number: 9 }, limit: 4 };
    vec![
        Query::GetBucket { bucket: bucket.clone() },
        Query::ListBuckets { owner: Some("o".into()), prefix: "p".into(), after: "a".into(), limit: 3 },
        Query::GetObject { bucket: bucket.clone(), key: "k".into(), pieces: Some(selection.clone()) },
        Query::GetPieces { upload, selection },
        Query::ListObjects {
            bucket: bucket.clone(),
            prefix: "p".into(),
            delimiter: "/".into(),
            after: ListPosition::AfterPrefix { prefix: "p/".into() },
            limit: 1000,
        },
        Query::ListParts { bucket: bucket.clone(), key: "k".into(), upload, after: 3, limit: 9 },
        Query::ListObjectParts { bucket: bucket.clone(), key: "k".into(), after: 3, limit: 9 },
        Query::ListUploads {
            bucket,
            prefix: "p".into(),
            delimiter: "".into(),
            after: ListPosition::AfterUpload { key: "k".into(), upload },
            limit: 7,
        },
        Query::GetAccessKey { id: "AK".into() },
        Query::ListAccessKeys { after: "".into(), limit: 1 },
        Query::GetVerdicts { chunks: vec![id.chunk(0), id.chunk(1)] },
        Query::Collectable { after: Some(id), limit: 2 },
        Query::ListBodies { after: None, limit: 2 },
        Query::ListDebts { node: Some(ReplicaId::new(2)), after: Some(id), limit: 5 },
        Query::GetBodies { bodies: vec![id] },
        Query::Rebuilding,
    ]
}

#[test]
fn every_operation_survives_its_encoding_and_passes_its_own_check() {
    for operation in operations() {
        assert_eq!(operation.check(&CatalogLimits::standard()), Ok(()), "{operation:?}");
        assert_eq!(Operation::from_bytes(&operation.to_bytes()), Ok(operation));
    }
}

/// On a full disk everything must be possible that makes room, or there would be no way back.
#[test]
fn what_makes_room_does_not_grow() {
    let catalog = Catalog::new(CatalogLimits::standard(), LAYOUT, RECEIPT_KEY);
    let mut grow = BTreeSet::new();
    let mut others = BTreeSet::new();
    for operation in operations() {
        let name = format!("{operation:?}");
        let name = name.split([' ', '{']).next().unwrap().to_owned();
        let names = if catalog.grows(&operation.to_bytes()) { &mut grow } else { &mut others };
        names.insert(name);
    }
    let expected = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let freeing = [
        "AbortUpload",
        "Collect",
        "CompleteUpload",
        "DeleteAccessKey",
        "DeleteBucket",
        "DeleteObjects",
        "Rebuilt",
        "Settle",
    ];
    assert_eq!(others, expected(&freeing));
    assert_eq!(grow.len(), 9, "{grow:?}");
    assert!(!catalog.grows(&Bytes::from_static(b"what is no operation")));
}

#[test]
fn every_query_survives_its_encoding() {
    for query in queries() {
        assert_eq!(query.check(), Ok(()), "{query:?}");
        assert_eq!(Query::from_bytes(&query.to_bytes()), Ok(query));
    }
}

/// What is in a log today must be readable tomorrow. Whoever changes a format sees it here.
#[test]
fn the_bytes_of_operations_and_queries_are_these() {
    let put_tags = Operation::PutObjectTags {
        bucket: BucketRef::exact("b", BucketId::new(9)),
        key: "k".into(),
        tags: vec![Tag { key: "t".into(), value: "v".into() }],
    };
    assert_eq!(
        &put_tags.to_bytes()[..],
        b"\x0d\x01\0\0\0b\x01\x09\0\0\0\0\0\0\0\x01\0\0\0k\x01\0\0\0\x01\0\0\0t\x01\0\0\0v"
    );
    assert_eq!(fingerprint(operations()), "120e5b1e99240fdb5a2c354b30e214cf");
    assert_eq!(fingerprint(queries()), "2c0acb679aaf6b643d1649ab37e1a991");
}

/// A reply lies in a session's row until its client has it.
#[test]
fn the_bytes_of_what_is_said_of_copies_are_these() {
    let settled: Reply = Ok(Success::Settled { bodies: 7 });
    assert_eq!(&settled.to_bytes()[..], b"\x01\x08\x07\0\0\0");
    let errors = [Error::TooFewCopies, Error::WrongLayout, Error::DiskReplaced];
    let replies = errors.map(|error| Reply::Err(error).to_bytes().to_vec());
    assert_eq!(replies, [[0, 42], [0, 43], [0, 44]]);

    let id = BodyId { session: SessionId::new(1), upload: 2 };
    let debts = vec![Debt { id, missing: 0b101, copies_min: 2, chunk_count: 3 }];
    let answer: QueryReply = Ok(Answer::Debts { debts, next: Some(id) });
    assert_eq!(
        &answer.to_bytes()[..],
        b"\x01\x0d\x01\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x05\x02\x03\0\0\0\
          \x01\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0"
    );
    let disks = vec![Disk { node: ReplicaId::new(4), incarnation: Incarnation::new(9) }];
    let answer: QueryReply = Ok(Answer::Rebuilding { disks });
    assert_eq!(&answer.to_bytes()[..], b"\x01\x0e\x01\0\0\0\x04\x09\0\0\0\0\0\0\0");
}

fn fingerprint<W: Wire>(words: Vec<W>) -> String {
    let bytes: Vec<Bytes> = words.iter().map(Wire::to_bytes).collect();
    let bytes: Vec<&[u8]> = bytes.iter().map(AsRef::as_ref).collect();
    format!("{:032x}", Checksum::of_parts(&bytes).get())
}

#[test]
fn an_operation_that_is_cut_short_or_continued_is_refused() {
    for operation in operations() {
        let whole = operation.to_bytes();
        for size in 0..whole.len() {
            assert!(Operation::from_bytes(&whole.slice(..size)).is_err(), "{operation:?} cut to {size}");
        }
        let longer = Bytes::from([&whole[..], b"x"].concat());
        assert!(Operation::from_bytes(&longer).is_err());
    }
}

#[test]
fn an_etag_reads_as_it_is_written() {
    let multipart = ETag { digest: [0xab; 16], part_count: 12 };
    assert_eq!(multipart.to_string(), "abababababababababababababababab-12");
    for etag in [multipart, etag(1)] {
        assert_eq!(ETag::parse(etag.to_string().as_bytes()), Some(etag));
        assert_eq!(ETag::parse(format!("\"{etag}\"").as_bytes()), Some(etag));
    }
    for wrong in
        ["", "\"\"", "abc", "abababababababababababababababab-", "abababababababababababababababab-01"]
    {
        assert_eq!(ETag::parse(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn bucket_names_follow_the_rules() {
    for good in ["abc", "a.b-c", "123", "1.2.3.4.5", "my-bucket", &"a".repeat(63)] {
        assert_eq!(check_bucket_name(good.as_bytes()), Ok(()), "{good}");
    }
    for bad in [
        "ab",
        &"a".repeat(64),
        "Abc",
        "a_b",
        "-ab",
        "ab-",
        ".ab",
        "ab.",
        "a..b",
        "192.168.5.4",
        "999.1.1.1",
        "xn--abc",
        "sthree-x",
        "amzn-s3-demo-b",
        "x-s3alias",
        "x--ol-s3",
        "x.mrap",
        "x--x-s3",
        "a b",
    ] {
        assert!(check_bucket_name(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn tags_follow_the_rules() {
    let tag = |key: &str, value: &str| Tag {
        key: Bytes::from(key.to_owned()),
        value: Bytes::from(value.to_owned()),
    };
    assert_eq!(check_tags(&[tag(&"ä".repeat(128), &"ö".repeat(256)), tag("b", "")], 10), Ok(()));
    assert!(check_tags(&[tag("", "v")], 10).is_err());
    assert!(check_tags(&[tag(&"k".repeat(129), "v")], 10).is_err());
    assert!(check_tags(&[tag("k", &"v".repeat(257))], 10).is_err());
    assert!(check_tags(&[tag("aws:k", "v")], 10).is_err());
    assert!(check_tags(&[tag("k", "v"), tag("k", "w")], 10).is_err());
    assert!(check_tags(&[tag("a", ""), tag("b", "")], 1).is_err());
    assert!(check_tags(&[Tag { key: Bytes::from_static(b"\xff"), value: Bytes::new() }], 10).is_err());
}

/// Ten thousand parts are the most that S3 allows, and must fit into one operation.
#[test]
fn the_longest_list_of_parts_fits_into_one_operation() {
    let parts = (1..=PART_NUMBER_MAX).map(|number| ListedPart { number, digest: [9; 16] }).collect();
    let operation = Operation::CompleteUpload {
        bucket: BucketRef::named("b".repeat(63)),
        key: "k".repeat(KEY_BYTES_MAX).into(),
        upload: UploadId::new(1),
        conditions: Conditions::absent(),
        parts,
        etag: ETag { digest: [1; 16], part_count: PART_NUMBER_MAX },
        checksums: Vec::new(),
        size: None,
    };
    assert_eq!(operation.check(&CatalogLimits::standard()), Ok(()));
    assert!(operation.to_bytes().len() < crate::config::Limits::standard().operation_bytes_max);
}

/// A body of a thousand chunks with a receipt more for each than its owners give, and everything else
/// that an object may have.
#[test]
fn the_longest_body_with_its_receipts_fits_into_one_operation() {
    let id = BodyId { session: SessionId::new(1), upload: 1 };
    let disks = [0, 1, 2, 3].map(|node| Disk { node: ReplicaId::new(node), incarnation: Incarnation::ZERO });
    let mut body = chunked_body(100 * CHUNK_COUNT_MAX as u64);
    let extent = Extent { chunk_count: 1, encoding: Encoding::Copies { count: 3 } };
    body.extents = vec![extent; EXTENT_COUNT_MAX];
    let rest = u32::try_from(CHUNK_COUNT_MAX - EXTENT_COUNT_MAX + 1).unwrap();
    body.extents[0].chunk_count = rest;
    let tags = (0..OBJECT_TAG_COUNT_MAX)
        .map(|tag| {
            let key = format!("{tag}{}", "ä".repeat(TAG_KEY_CHARS_MAX - 1));
            Tag { key: key.into(), value: "ö".repeat(TAG_VALUE_CHARS_MAX).into() }
        })
        .collect();
    let checksum = |kind| ObjectChecksum { kind, value: Bytes::from(vec![1; CHECKSUM_BYTES_MAX]) };
    let operation = Operation::PutObject {
        bucket: BucketRef::exact("b".repeat(63), BucketId::new(9)),
        key: "k".repeat(KEY_BYTES_MAX).into(),
        conditions: Conditions {
            if_match: Some(ETagMatch::OneOf { etags: vec![etag(1); CONDITION_ETAGS_MAX] }),
            if_none_match: Some(ETagMatch::OneOf { etags: vec![etag(2); CONDITION_ETAGS_MAX] }),
        },
        etag: etag(3),
        headers: headers([("x-large", "v".repeat(HEADER_BYTES_MAX - 100))]),
        checksums: (0..).map(checksum).take(CHECKSUM_COUNT_MAX).collect(),
        tags,
        body: received(body, id, |_| disks.to_vec()),
    };
    assert_eq!(operation.check(&CatalogLimits::standard()), Ok(()));
    let bytes = operation.to_bytes();
    assert!(bytes.len() > 150_000);
    assert!(bytes.len() < crate::config::Limits::standard().operation_bytes_max);
}

#[test]
fn an_operation_settles_something_and_not_too_much() {
    let settle = |count| Operation::Settle {
        node: ReplicaId::ZERO,
        incarnation: Incarnation::ZERO,
        bodies: vec![BodyId { session: SessionId::new(1), upload: 1 }; count],
    };
    assert_eq!(settle(SETTLE_COUNT_MAX).check(&CatalogLimits::standard()), Ok(()));
    for count in [0, SETTLE_COUNT_MAX + 1] {
        assert!(settle(count).check(&CatalogLimits::standard()).is_err());
    }
}

#[test]
fn an_access_key_belongs_to_somebody_and_has_scopes_within_bounds() {
    let scope = |bucket: &str, prefix: usize| AccessScope {
        bucket: Bytes::from(bucket.to_owned()),
        prefix: "p".repeat(prefix).into(),
    };
    let check = |user: &str, scopes| {
        let access_key = AccessKey {
            secret: "sealed".into(),
            user: Bytes::from(user.to_owned()),
            owner: "me".into(),
            display_name: "".into(),
            flags: 0,
            scopes,
            created: Timestamp::new(8),
        };
        let operation = Operation::PutAccessKey { id: "AK".into(), access_key };
        operation.check(&CatalogLimits::standard())
    };
    let most = vec![scope("bucket", KEY_BYTES_MAX); SCOPE_COUNT_MAX];
    assert_eq!(check(&"u".repeat(USER_NAME_BYTES_MAX), most), Ok(()));
    assert!(check("", vec![]).is_err());
    assert!(check(&"u".repeat(USER_NAME_BYTES_MAX + 1), vec![]).is_err());
    assert!(check("me", vec![scope("bucket", 0); SCOPE_COUNT_MAX + 1]).is_err());
    assert!(check("me", vec![scope("No-Bucket", 0)]).is_err());
    assert!(check("me", vec![scope("bucket", KEY_BYTES_MAX + 1)]).is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic_a_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = Operation::from_bytes(&bytes).map(|operation| operation.check(&CatalogLimits::standard()));
        let _ = Query::from_bytes(&bytes).map(|query| query.check());
        let _ = Reply::from_bytes(&bytes);
        let _ = QueryReply::from_bytes(&bytes);
    }
}
