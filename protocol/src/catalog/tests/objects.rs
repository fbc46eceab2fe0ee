//! Buckets and objects.

use bytes::Bytes;
use proptest::prelude::*;

use super::world::*;
use crate::catalog::*;
use crate::machine::{Invalid, Machine, QueryContext};
use crate::state::Sessions;
use crate::types::Timestamp;

fn inline(object: &(Object, Vec<Piece>, bool)) -> &Bytes {
    match &object.1[0].source {
        PieceSource::Inline { bytes } => bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bucket_that_exists_cannot_be_created_again_and_it_matters_whose_it_is() {
    let mut world = World::new();
    let create = |owner: &'static str| Operation::CreateBucket {
        name: "bucket".into(),
        owner: owner.into(),
        tags: Vec::new(),
    };
    assert_eq!(world.apply(create("alice")), Err(Error::BucketAlreadyOwnedByYou));
    assert_eq!(world.apply(create("bob")), Err(Error::BucketAlreadyExists));
}

#[test]
fn a_bucket_is_deleted_only_when_nothing_is_in_it() {
    let mut world = World::new();
    let delete = Operation::DeleteBucket { bucket: bucket() };
    world.put(b"k", "v");
    assert_eq!(world.apply(delete.clone()), Err(Error::BucketNotEmpty));
    world.delete(b"k");
    let upload = world.create_upload(b"k");
    assert_eq!(world.apply(delete.clone()), Err(Error::BucketNotEmpty));
    world.abort(b"k", upload).unwrap();
    assert_eq!(world.apply(delete.clone()), Ok(Success::Done));
    assert_eq!(world.apply(delete), Err(Error::NoSuchBucket));
    assert_eq!(world.try_put(b"k", Conditions::none(), NewBody::inline("late")), Err(Error::NoSuchBucket));
}

/// Somebody checked permissions against the old bucket, and the new one is somebody else's.
#[test]
fn what_was_meant_for_a_deleted_bucket_does_not_reach_a_new_one_of_the_same_name() {
    let mut world = World::new();
    world.apply(Operation::DeleteBucket { bucket: bucket() }).unwrap();
    let old = world.create_bucket("bucket");
    world.apply(Operation::DeleteBucket { bucket: bucket() }).unwrap();
    let new = world.create_bucket("bucket");
    assert_ne!(old, new);
    let tags = |id| Operation::PutBucketTags { bucket: BucketRef::exact("bucket", id), tags: Vec::new() };
    assert_eq!(world.apply(tags(old)), Err(Error::NoSuchBucket));
    assert_eq!(world.apply(tags(new)), Ok(Success::Done));
}

#[test]
fn buckets_are_listed_by_name_for_their_owner() {
    let mut world = World::new();
    for name in ["aaa", "aab", "zzz"] {
        world.create_bucket(name);
    }
    let foreign = Operation::CreateBucket { name: "aac".into(), owner: "bob".into(), tags: Vec::new() };
    world.apply(foreign).unwrap();
    let list = |owner: Option<&'static str>, prefix: &'static str, after: &'static str, limit| {
        let owner = owner.map(Bytes::from);
        match world.query(Query::ListBuckets { owner, prefix: prefix.into(), after: after.into(), limit }) {
            Answer::Buckets { buckets, truncated } => {
                (buckets.into_iter().map(|bucket| bucket.name).collect::<Vec<_>>(), truncated)
            }
            other => panic!("{other:?}"),
        }
    };
    let names = |names: &[&'static str]| names.iter().map(|name| Bytes::from(*name)).collect::<Vec<_>>();
    assert_eq!(list(None, "", "", 100), (names(&["aaa", "aab", "aac", "bucket", "zzz"]), false));
    assert_eq!(list(Some("alice"), "aa", "", 100), (names(&["aaa", "aab"]), false));
    assert_eq!(list(Some("alice"), "", "aaa", 2), (names(&["aab", "bucket"]), true));
    assert_eq!(list(Some("bob"), "", "aac", 2), (names(&[]), false));
    assert_eq!(list(None, "", "", 0), (names(&[]), false));
}

#[test]
fn a_bucket_keeps_its_tags() {
    let mut world = World::new();
    let tags = vec![Tag { key: "team".into(), value: "core".into() }];
    world.apply(Operation::PutBucketTags { bucket: bucket(), tags: tags.clone() }).unwrap();
    let Answer::Bucket { bucket } = world.query(Query::GetBucket { bucket: bucket() }) else { panic!() };
    assert_eq!((bucket.tags, bucket.owner), (tags, Bytes::from("alice")));
}

/// The cost of the most common operation, on which everybody else waits.
#[test]
fn a_small_put_reads_two_rows_and_writes_one() {
    let mut world = World::new();
    world.put(b"k", "before");
    world.tables.forget_counts();
    world.put(b"k", "value");
    let tables = &world.tables;
    assert_eq!((tables.gets.get(), tables.puts, tables.deletes, tables.visits.get()), (2, 1, 0, 0));
}

/// The rows are compared between replicas and outlive releases.
#[test]
fn the_row_of_a_small_object_has_these_bytes() {
    let mut world = World::new();
    let etag = ETag::simple([0xee; 16]);
    world.apply(put("bucket", b"k", Conditions::none(), etag, NewBody::inline("value"))).unwrap();
    let row = world.tables.rows.values().last().unwrap();
    let version = (world.op.get() * 4096 + 3).to_le_bytes();
    let modified = (world.op.get() * 1_000_000).to_le_bytes();
    let expected = [
        &b"\x01"[..],
        &version,
        b"\x05\0\0\0\0\0\0\0",
        &[0xee; 16],
        b"\0\0",
        &modified,
        b"\0\0\0\0",
        b"\x01\0\0\0\x0c\0\0\0content-type\x0a\0\0\0text/plain",
        b"\0\0\0\0",
        b"\x01\x05\0\0\0value",
    ];
    assert_eq!(row, &expected.concat());
}

#[test]
fn an_object_reads_as_it_was_put_under_any_bytes_for_a_key() {
    let mut world = World::new();
    for key in [&b"a"[..], b"a/", b"a//b", b"\0", b"a\0", b"\xff\xff", &[0xff; 1024]] {
        let etag = world.put(key, "value");
        let object = world.object(key).unwrap();
        assert_eq!(inline(&object), "value");
        assert_eq!(object.0.summary.etag, etag);
        assert_eq!(object.0.summary.last_modified, Timestamp::new(world.op.get() * 1_000_000));
        assert_eq!(object.0.headers, headers([("content-type", "text/plain")]));
    }
    assert_eq!(world.object(b"a/b").err(), Some(Error::NoSuchKey));
}

#[test]
fn every_put_has_a_greater_version() {
    let mut world = World::new();
    world.put(b"k", "1");
    let first = world.object(b"k").unwrap().0.summary.version;
    world.put(b"k", "2");
    assert!(world.object(b"k").unwrap().0.summary.version > first);
}

#[test]
fn an_object_without_content_has_one_empty_piece() {
    let mut world = World::new();
    world.put(b"k", "");
    let object = world.object(b"k").unwrap();
    assert_eq!((inline(&object).len(), object.0.summary.size, object.2), (0, 0, false));
}

#[test]
fn conditions_of_a_put_are_decided_as_s3_does() {
    let here = ETag::simple([1; 16]);
    let other = ETag::simple([2; 16]);
    let if_match = |wanted| Conditions { if_match: Some(wanted), if_none_match: None };
    let if_none_match = |unwanted| Conditions { if_match: None, if_none_match: Some(unwanted) };
    let nothing = ETagMatch::OneOf { etags: Vec::new() };
    // The conditions, the outcome where there is no object, the outcome where there is one.
    let (ok, failed, absent) = (None, Some(Error::PreconditionFailed), Some(Error::NoSuchKey));
    let table = [
        (Conditions::none(), ok, ok),
        (if_none_match(ETagMatch::Any), ok, failed),
        (if_none_match(ETagMatch::one(here)), ok, failed),
        (if_none_match(ETagMatch::one(other)), ok, ok),
        (if_none_match(nothing.clone()), ok, ok),
        (if_match(ETagMatch::Any), absent, ok),
        (if_match(ETagMatch::one(here)), absent, ok),
        (if_match(ETagMatch::OneOf { etags: vec![other, here] }), absent, ok),
        (if_match(ETagMatch::one(other)), absent, failed),
        (if_match(nothing), absent, failed),
        (Conditions { if_match: Some(ETagMatch::Any), if_none_match: Some(ETagMatch::Any) }, absent, failed),
    ];
    for (conditions, without, with) in table {
        let mut world = World::new();
        let body = || NewBody::inline("new");
        let reply = world.try_put(b"k", conditions.clone(), body());
        assert_eq!(reply.err(), without, "{conditions:?} without an object");
        world.apply(put("bucket", b"k", Conditions::none(), here, NewBody::inline("old"))).unwrap();
        assert_eq!(
            world.try_put(b"k", conditions.clone(), body()).err(),
            with,
            "{conditions:?} with an object"
        );
        let content = if with.is_none() { "new" } else { "old" };
        assert_eq!(inline(&world.object(b"k").unwrap()), content);
    }
}

#[test]
fn deleting_what_is_not_there_succeeds_even_conditionally() {
    let mut world = World::new();
    assert_eq!(world.delete_if(b"k", Conditions::matching(ETag::simple([9; 16]))), None);
    let etag = world.put(b"k", "v");
    assert_eq!(
        world.delete_if(b"k", Conditions::matching(ETag::simple([9; 16]))),
        Some(Error::PreconditionFailed)
    );
    assert!(world.object(b"k").is_ok());
    assert_eq!(world.delete_if(b"k", Conditions::matching(etag)), None);
    assert_eq!(world.object(b"k").err(), Some(Error::NoSuchKey));
}

#[test]
fn each_key_of_a_batch_is_deleted_on_its_own() {
    let mut world = World::new();
    world.put(b"a", "v");
    world.put(b"b", "v");
    let delete = |key: &'static str, conditions| Delete { key: key.into(), conditions };
    let deletes = vec![
        delete("a", Conditions::none()),
        delete("b", Conditions::matching(ETag::simple([9; 16]))),
        delete("c", Conditions::none()),
        delete("a", Conditions::none()),
    ];
    let reply = world.apply(Operation::DeleteObjects { bucket: bucket(), deletes });
    let outcomes = vec![None, Some(Error::PreconditionFailed), None, None];
    assert_eq!(reply, Ok(Success::ObjectsDeleted { outcomes }));
    assert!(world.object(b"a").is_err());
    assert!(world.object(b"b").is_ok());
}

#[test]
fn a_copy_has_the_sources_metadata_unless_it_brings_its_own() {
    let mut world = World::new();
    let etag = world.put(b"source", "value");
    let tags = vec![Tag { key: "k".into(), value: "v".into() }];
    let put_tags = Operation::PutObjectTags { bucket: bucket(), key: "source".into(), tags: tags.clone() };
    world.apply(put_tags).unwrap();
    world.copy(b"source", b"same").unwrap();
    let same = world.object(b"same").unwrap();
    assert_eq!((inline(&same), &same.0.tags, same.0.summary.etag), (&Bytes::from("value"), &tags, etag));

    let own = headers([("x-amz-meta-a", "b")]);
    let Operation::CopyObject { source, source_key, source_conditions, bucket, key, conditions, .. } =
        copy(b"source", b"source")
    else {
        unreachable!()
    };
    let (headers, tags) = (Some(own.clone()), Some(Vec::new()));
    world
        .apply(Operation::CopyObject {
            source,
            source_key,
            source_conditions,
            bucket,
            key,
            conditions,
            headers,
            tags,
        })
        .unwrap();
    let changed = world.object(b"source").unwrap();
    assert_eq!(inline(&changed), "value");
    assert_eq!((changed.0.headers, changed.0.tags), (own, Vec::new()));
}

#[test]
fn conditions_on_the_source_of_a_copy_are_decided_as_s3_does() {
    let mut world = World::new();
    let here = world.put(b"source", "value");
    let now = world.object(b"source").unwrap().0.summary.last_modified;
    let (before, later) = (now.minus(1_000_000), now.plus(1_000_000));
    let same_second = now.plus(999_999);
    let any = Some(ETagMatch::Any);
    let (matching, other) = (Some(ETagMatch::one(here)), Some(ETagMatch::one(ETag::simple([9; 16]))));
    // If-Match, If-None-Match, modified since, unmodified since, whether the copy is made.
    let table = [
        (None, None, None, None, true),
        (matching.clone(), None, None, None, true),
        (other.clone(), None, None, None, false),
        (None, any, None, None, false),
        (None, other.clone(), None, None, true),
        (None, None, Some(before), None, true),
        (None, None, Some(now), None, false),
        (None, None, Some(later), None, false),
        (None, None, None, Some(before), false),
        (None, None, None, Some(now), true),
        (None, None, None, Some(same_second), true),
        // The ETag decides, whatever the date says.
        (matching.clone(), None, None, Some(before), true),
        (None, matching, Some(before), None, false),
        (None, other, Some(later), None, true),
    ];
    for (if_match, if_none_match, if_modified_since, if_unmodified_since, made) in table {
        let conditions = SourceConditions { if_match, if_none_match, if_modified_since, if_unmodified_since };
        let mut operation = copy(b"source", b"copy");
        if let Operation::CopyObject { source_conditions, .. } = &mut operation {
            *source_conditions = conditions.clone();
        }
        let expected = if made { None } else { Some(Error::PreconditionFailed) };
        assert_eq!(world.apply(operation).err(), expected, "{conditions:?}");
    }
    assert_eq!(world.copy(b"absent", b"copy"), Err(Error::NoSuchKey));
}

#[test]
fn an_access_key_is_kept_listed_and_deleted() {
    let mut world = World::new();
    let access_key = AccessKey {
        secret: "sealed".into(),
        user: "alice".into(),
        owner: "alice".into(),
        display_name: "Alice".into(),
        flags: 1,
        scopes: Vec::new(),
        created: Timestamp::new(7),
    };
    for id in ["AK1", "AK2", "AK3"] {
        world.apply(Operation::PutAccessKey { id: id.into(), access_key: access_key.clone() }).unwrap();
    }
    assert_eq!(
        world.query(Query::GetAccessKey { id: "AK2".into() }),
        Answer::AccessKey { access_key: access_key.clone() }
    );
    let Answer::AccessKeys { access_keys, truncated } =
        world.query(Query::ListAccessKeys { after: "AK1".into(), limit: 1 })
    else {
        panic!()
    };
    assert_eq!((access_keys[0].id.as_ref(), truncated), (&b"AK2"[..], true));
    assert_eq!(world.apply(Operation::DeleteAccessKey { id: "AK2".into() }), Ok(Success::Done));
    assert_eq!(world.apply(Operation::DeleteAccessKey { id: "AK2".into() }), Err(Error::NoSuchAccessKey));
    assert_eq!(world.try_query(Query::GetAccessKey { id: "AK2".into() }), Err(Error::NoSuchAccessKey));
}

#[test]
fn what_is_out_of_bounds_is_refused_before_the_log_and_again_in_it() {
    let mut world = World::new();
    let etag = ETag::simple([1; 16]);
    let too_large = put("bucket", b"k", Conditions::none(), etag, NewBody::inline(vec![0; 101]));
    let no_key = put("bucket", b"", Conditions::none(), etag, NewBody::inline("v"));
    let long_key = put("bucket", &[b'k'; 1025], Conditions::none(), etag, NewBody::inline("v"));
    let mut unsorted = put("bucket", b"k", Conditions::none(), etag, NewBody::inline("v"));
    if let Operation::PutObject { headers, .. } = &mut unsorted {
        *headers = [("b", ""), ("a", "")]
            .map(|(name, value)| Header { name: name.into(), value: value.into() })
            .to_vec();
    }
    let mut uncovered =
        put("bucket", b"k", Conditions::none(), etag, chunked(BodyId { session: ALICE, upload: 1 }, 250));
    if let Operation::PutObject { body: NewBody::Chunked { body, .. }, .. } = &mut uncovered {
        body.extents[0].chunk_count = 4;
    }
    let before = world.tables.rows.clone();
    for operation in [too_large, no_key, long_key, unsorted, uncovered] {
        let bytes = operation.to_bytes();
        assert!(world.catalog.validate(ALICE, &bytes).is_err(), "{operation:?}");
        assert_eq!(world.apply_bytes(ALICE, &bytes), Err(Error::Malformed));
    }
    assert_eq!(world.catalog.validate(ALICE, &Bytes::new()), Err(Invalid("the operation cannot be read")));
    assert_eq!(world.tables.rows, before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_that_are_no_operation_change_nothing(
        bytes in proptest::collection::vec(any::<u8>(), 0..120), kind in 0u8..48,
    ) {
        let mut world = World::new();
        world.put(b"k", "v");
        let before = world.tables.rows.clone();
        let bytes = Bytes::from([&[kind][..], &bytes].concat());
        if world.apply_bytes(ALICE, &bytes) == Err(Error::Malformed) {
            prop_assert_eq!(&world.tables.rows, &before);
        }
        let sessions = Sessions::with([]);
        let context = QueryContext { applied: world.op, sessions: &sessions, incarnations: &world.incarnations };
        prop_assert!(world.catalog.query(&world.tables, &context, &bytes).is_ok());
    }
}
