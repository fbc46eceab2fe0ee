//! Multipart uploads.

use bytes::Bytes;

use super::world::*;
use crate::catalog::*;

fn inline(length: usize) -> NewBody {
    NewBody::inline(vec![b'x'; length])
}

fn pieces(world: &World, key: &[u8], from: PieceStart, limit: u32) -> QueryReply {
    let pieces = Some(PieceSelection { from, limit });
    world.try_query(Query::GetObject { bucket: bucket(), key: Bytes::copy_from_slice(key), pieces })
}

/// Number, offset and length of the pieces.
fn places(answer: QueryReply) -> (Vec<(u16, u64, u64)>, bool) {
    match answer.unwrap() {
        Answer::Object { pieces, more, .. } | Answer::Pieces { pieces, more } => {
            (pieces.iter().map(|piece| (piece.part, piece.offset, piece.length)).collect(), more)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_upload_becomes_an_object_of_its_parts() {
    let mut world = World::new();
    let (id, body) = world.stored(250);
    let (upload, parts) = world.upload(b"k", vec![(2, body), (5, inline(7)), (6, inline(7)), (9, inline(1))]);
    let object = written(world.complete(b"k", upload, &parts));
    assert_eq!((object.size, object.etag), (265, composed_etag(&parts)));

    let (object, found, more) = world.object(b"k").unwrap();
    assert_eq!((object.upload, more), (Some(upload), false));
    assert_eq!(object.headers, headers([("content-type", "x")]));
    let found: Vec<_> = found.iter().map(|piece| (piece.part, piece.offset, piece.length)).collect();
    assert_eq!(found, [(2, 0, 250), (5, 250, 7), (6, 257, 7), (9, 264, 1)]);
    assert_eq!(world.verdict(id.chunk(2)), Verdict::Referenced);
    let list = Query::ListParts { bucket: bucket(), key: "k".into(), upload, after: 0, limit: 10 };
    assert_eq!(world.try_query(list), Err(Error::NoSuchUpload));
}

#[test]
fn pieces_are_found_by_offset_by_suffix_and_by_part() {
    let mut world = World::new();
    let (upload, parts) = world.upload(b"k", vec![(1, inline(10)), (3, inline(10)), (4, inline(5))]);
    world.complete(b"k", upload, &parts).unwrap();
    let offset = |offset| PieceStart::Offset { offset };
    let at = |from, limit| places(pieces(&world, b"k", from, limit));
    assert_eq!(at(offset(9), 1), (vec![(1, 0, 10)], true));
    assert_eq!(at(offset(10), 1), (vec![(3, 10, 10)], true));
    assert_eq!(at(offset(24), 9), (vec![(4, 20, 5)], false));
    assert_eq!(at(offset(25), 9), (vec![], false));
    assert_eq!(at(offset(u64::MAX), 9), (vec![], false));
    assert_eq!(at(PieceStart::Suffix { length: 6 }, 9), (vec![(3, 10, 10), (4, 20, 5)], false));
    assert_eq!(at(PieceStart::Suffix { length: 600 }, 1), (vec![(1, 0, 10)], true));
    assert_eq!(at(PieceStart::Part { number: 3 }, 1), (vec![(3, 10, 10)], true));
    for number in [0, 2, 5, u16::MAX] {
        let missing = pieces(&world, b"k", PieceStart::Part { number }, 1);
        assert_eq!(missing, Err(Error::InvalidPartNumber), "part {number}");
    }
    let more = Query::GetPieces { upload, selection: PieceSelection { from: offset(12), limit: 10 } };
    assert_eq!(places(world.try_query(more)), (vec![(3, 10, 10), (4, 20, 5)], false));
}

#[test]
fn an_object_in_one_piece_is_its_own_first_part() {
    let mut world = World::new();
    world.put(b"k", "value");
    assert_eq!(places(pieces(&world, b"k", PieceStart::Part { number: 1 }, 1)), (vec![(0, 0, 5)], false));
    assert_eq!(pieces(&world, b"k", PieceStart::Part { number: 2 }, 1), Err(Error::InvalidPartNumber));
    assert_eq!(places(pieces(&world, b"k", PieceStart::Offset { offset: 5 }, 1)), (vec![], false));
}

/// Parts of many different sizes make the longest layout, which is several rows.
#[test]
fn every_byte_of_a_thousand_unequal_parts_is_found() {
    let mut world = World::new();
    let bodies = (1..=1000u16).map(|number| (number * 2, inline(5 + usize::from(number) % 7))).collect();
    let (upload, parts) = world.upload(b"k", bodies);
    let size = written(world.complete(b"k", upload, &parts)).size;
    assert!(world.tables.count(0x33) > 2);
    let mut offset = 0;
    while offset < size {
        let (found, more) = places(pieces(&world, b"k", PieceStart::Offset { offset }, 3));
        assert_eq!(found[0].1, offset);
        let end = offset + found.iter().map(|place| place.2).sum::<u64>();
        assert_eq!(more, end < size);
        let middle = offset + found[0].2 - 1;
        assert_eq!(places(pieces(&world, b"k", PieceStart::Offset { offset: middle }, 1)).0[0], found[0]);
        offset = end;
    }
    assert_eq!(offset, size);
}

/// The operation everybody waits for must not rewrite what the upload has written.
#[test]
fn completing_an_upload_of_ten_thousand_parts_writes_a_handful_of_rows() {
    let mut world = World::new();
    let bodies = (1..=PART_NUMBER_MAX).map(|number| (number, inline(5))).collect();
    let (upload, parts) = world.upload(b"k", bodies);
    world.tables.forget_counts();
    assert_eq!(written(world.complete(b"k", upload, &parts)).size, 50_000);
    assert_eq!((world.tables.puts, world.tables.deletes), (3, 1));
    assert_eq!(world.tables.visits.get(), 10_000);
}

#[test]
fn a_list_that_differs_from_what_was_uploaded_is_refused() {
    let mut world = World::new();
    let (upload, parts) = world.upload(b"k", vec![(1, inline(5)), (2, inline(5)), (3, inline(5))]);
    let wrong = ListedPart { number: 2, digest: [0xee; 16] };
    let absent = ListedPart { number: 4, digest: parts[2].digest };
    let table = [
        (vec![parts[0], wrong], Error::InvalidPart),
        (vec![parts[0], absent], Error::InvalidPart),
        (vec![ListedPart { number: 0, ..parts[0] }], Error::InvalidPart),
        (vec![parts[1], parts[0]], Error::InvalidPartOrder),
        (vec![parts[0], parts[0]], Error::InvalidPartOrder),
    ];
    let before = world.tables.rows.clone();
    for (list, error) in table {
        assert_eq!(world.complete(b"k", upload, &list), Err(error), "{list:?}");
    }
    let mut operation = complete(b"k", upload, &parts, Conditions::none());
    if let Operation::CompleteUpload { size, .. } = &mut operation {
        *size = Some(16);
    }
    assert_eq!(world.apply(operation), Err(Error::SizeMismatch));
    assert_eq!(world.tables.rows, before);
    assert!(world.complete(b"k", upload, &parts).is_ok());
}

#[test]
fn only_the_last_part_may_be_small() {
    let mut world = World::new();
    let (upload, parts) = world.upload(b"k", vec![(1, inline(5)), (2, inline(4)), (3, inline(1))]);
    assert_eq!(world.complete(b"k", upload, &parts), Err(Error::EntityTooSmall));
    assert_eq!(world.complete(b"k", upload, &parts[1..]), Err(Error::EntityTooSmall));
    assert!(world.complete(b"k", upload, &[parts[0], parts[2]]).is_ok());
}

#[test]
fn parts_that_are_not_listed_are_nobodys_and_are_soon_dropped() {
    let mut world = World::new();
    let (id, body) = world.stored(250);
    let (upload, parts) = world.upload(b"k", vec![(1, inline(5)), (2, body), (3, inline(5))]);
    world.complete(b"k", upload, &[parts[0], parts[2]]).unwrap();
    let list = Query::ListObjectParts { bucket: bucket(), key: "k".into(), after: 0, limit: 9 };
    let Answer::ObjectParts { parts, .. } = world.query(list) else { panic!() };
    assert_eq!(parts.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 3]);
    world.collect_all();
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Retiring);
    assert_eq!((world.tables.count(0x31), world.tables.count(0x35)), (2, 0));
    assert_eq!(places(pieces(&world, b"k", PieceStart::Offset { offset: 0 }, 9)).0, [(1, 0, 5), (3, 5, 5)]);
}

/// One short request made every replica read ten thousand parts, hold their bytes and let go of their
/// bodies, while everybody else's operations waited.
#[test]
fn a_completion_costs_what_it_lists_and_not_what_it_leaves_out() {
    let mut world = World::new();
    let bodies = (1..=PART_NUMBER_MAX).map(|number| (number, inline(5))).collect();
    let (upload, parts) = world.upload(b"k", bodies);
    let mut wrong = complete(b"k", upload, &parts[..1], Conditions::none());
    if let Operation::CompleteUpload { size, .. } = &mut wrong {
        *size = Some(6);
    }
    world.tables.forget_counts();
    assert_eq!(world.apply(wrong), Err(Error::SizeMismatch));
    assert_eq!(world.tables.visits.get(), 2, "the part, and that there are more");

    world.tables.forget_counts();
    let absent = ListedPart { number: 1, digest: [0xee; 16] };
    assert_eq!(world.complete(b"k", upload, &[absent]), Err(Error::InvalidPart));
    assert_eq!(world.tables.visits.get(), 1);

    world.tables.forget_counts();
    assert_eq!(written(world.complete(b"k", upload, &parts[..1])).size, 5);
    assert_eq!((world.tables.puts, world.tables.deletes, world.tables.visits.get()), (4, 1, 2));
}

#[test]
fn parts_that_are_not_listed_are_dropped_a_few_at_a_time() {
    let mut world = World::new();
    world.catalog.limits.collect_parts_max = 2;
    let bodies: Vec<_> = (1..=9).map(|number| (number, world.stored(250))).collect();
    let ids: Vec<_> = bodies.iter().map(|(_, (id, _))| *id).collect();
    let bodies = bodies.into_iter().map(|(number, (_, body))| (number, body)).collect();
    let (upload, parts) = world.upload(b"k", bodies);
    world.complete(b"k", upload, &[parts[2], parts[5], parts[6]]).unwrap();
    for (dropped, left) in [(2, 7), (2, 5), (2, 3), (0, 3)] {
        let collect = Operation::Collect { retired: Vec::new(), condemned: vec![upload] };
        assert_eq!(world.apply(collect), Ok(Success::Collected { retired: 0, parts: dropped }));
        assert_eq!(world.tables.count(0x31), left);
    }
    assert_eq!(world.tables.count(0x35), 0);
    for (id, number) in ids.iter().zip(1..) {
        let expected = if [3, 6, 7].contains(&number) { Verdict::Referenced } else { Verdict::Retiring };
        assert_eq!(world.verdict(id.chunk(0)), expected, "part {number}");
    }
}

#[test]
fn an_object_that_goes_before_its_surplus_takes_it_along() {
    let mut world = World::new();
    let (_, body) = world.stored(250);
    let (upload, parts) = world.upload(b"k", vec![(1, inline(5)), (2, body), (3, inline(5))]);
    world.complete(b"k", upload, &parts[..1]).unwrap();
    world.delete(b"k");
    for _ in 0..2 {
        world.advance_marks(100);
        world.collect_all();
    }
    assert_eq!(world.tables.rows.len(), 1, "only the bucket is left");
}

#[test]
fn a_part_that_is_put_again_replaces_the_first_and_its_old_name_completes_nothing() {
    let mut world = World::new();
    let (id, body) = world.stored(250);
    let (upload, old) = world.upload(b"k", vec![(1, body)]);
    let new = world.put_part(b"k", upload, 1, inline(9)).unwrap();
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Retiring);
    assert_eq!(world.complete(b"k", upload, &old), Err(Error::InvalidPart));
    assert_eq!(written(world.complete(b"k", upload, &[new])).size, 9);
}

/// A client that missed the answer asks again; some do so with the condition that the object is new.
#[test]
fn completing_again_is_answered_as_before_while_the_object_is_there() {
    let mut world = World::new();
    let (upload, parts) = world.upload(b"k", vec![(1, inline(5))]);
    let again = complete(b"k", upload, &parts, Conditions::absent());
    let first = world.apply(again.clone());
    assert!(first.is_ok());
    assert_eq!(world.apply(again.clone()), first);
    assert_eq!(world.complete(b"other", upload, &parts), Err(Error::NoSuchUpload));
    world.put(b"k", "newer");
    assert_eq!(world.apply(again), Err(Error::NoSuchUpload));
}

#[test]
fn a_failed_condition_leaves_the_upload_as_it_is() {
    let mut world = World::new();
    world.put(b"k", "here");
    let (upload, parts) = world.upload(b"k", vec![(1, inline(5))]);
    let operation = complete(b"k", upload, &parts, Conditions::absent());
    assert_eq!(world.apply(operation.clone()), Err(Error::PreconditionFailed));
    world.delete(b"k");
    assert!(world.apply(operation).is_ok());
}

#[test]
fn an_aborted_upload_is_gone_at_once_and_its_bodies_soon() {
    let mut world = World::new();
    world.catalog.limits.collect_parts_max = 2;
    let bodies: Vec<_> = (1..=5).map(|number| (number, world.stored(250))).collect();
    let ids: Vec<_> = bodies.iter().map(|(_, (id, _))| *id).collect();
    let (upload, parts) =
        world.upload(b"k", bodies.into_iter().map(|(number, (_, body))| (number, body)).collect());
    world.abort(b"k", upload).unwrap();
    assert_eq!(world.abort(b"k", upload), Err(Error::NoSuchUpload));
    assert_eq!(world.complete(b"k", upload, &parts), Err(Error::NoSuchUpload));
    assert_eq!(world.put_part(b"k", upload, 1, inline(5)), Err(Error::NoSuchUpload));

    let collect = |world: &mut World| {
        world.apply(Operation::Collect { retired: Vec::new(), condemned: vec![upload] }).unwrap()
    };
    assert_eq!(collect(&mut world), Success::Collected { retired: 0, parts: 0 }, "a read may be under way");
    world.advance_marks(100);
    for parts in [2, 2, 1, 0] {
        assert_eq!(collect(&mut world), Success::Collected { retired: 0, parts });
    }
    world.advance_marks(100);
    assert!(ids.iter().all(|id| world.verdict(id.chunk(0)) == Verdict::Dead));
    world.collect_all();
    assert_eq!(world.tables.rows.len(), 1, "only the bucket is left");
}

/// The pieces of a large object are asked for a page at a time, and the object may go in between.
#[test]
fn a_reader_finds_the_rest_of_a_deleted_object_until_it_is_fenced_and_never_half_of_it() {
    let mut world = World::new();
    world.catalog.limits.collect_parts_max = 1;
    let (upload, parts) = world.upload(b"k", vec![(1, inline(5)), (2, inline(5))]);
    world.complete(b"k", upload, &parts).unwrap();
    world.delete(b"k");
    world.collect_all();
    let rest = Query::GetPieces { upload, selection: PieceSelection::all(10) };
    assert_eq!(places(world.try_query(rest.clone())).0.len(), 2);
    world.advance_marks(0);
    world.apply(Operation::Collect { retired: Vec::new(), condemned: vec![upload] }).unwrap();
    assert_eq!(world.tables.count(0x31), 1, "half of it is gone");
    assert_eq!(world.try_query(rest), Err(Error::NoSuchUpload));
}

/// A thousand large objects may be condemned at once: their layouts are forty rows each.
#[test]
fn a_collect_that_has_taken_its_fill_leaves_further_uploads_alone() {
    let mut world = World::new();
    world.catalog.limits.collect_parts_max = 1;
    let condemned = [&b"a"[..], b"b"].map(|key| {
        let (upload, parts) = world.upload(key, vec![(1, inline(5))]);
        world.complete(key, upload, &parts).unwrap();
        world.delete(key);
        upload
    });
    world.advance_marks(0);
    let collect = Operation::Collect { retired: Vec::new(), condemned: condemned.to_vec() };
    assert_eq!(world.apply(collect.clone()), Ok(Success::Collected { retired: 0, parts: 1 }));
    assert_eq!((world.tables.count(0x31), world.tables.count(0x33), world.tables.count(0x34)), (1, 1, 1));
    assert_eq!(world.apply(collect), Ok(Success::Collected { retired: 0, parts: 1 }));
    assert_eq!(world.tables.rows.len(), 1, "only the bucket is left");
}

#[test]
fn parts_are_listed_in_pages() {
    let mut world = World::new();
    let (upload, parts) = world.upload(b"k", vec![(1, inline(5)), (4, inline(6)), (7, inline(7))]);
    let list = |after, limit| match world.query(Query::ListParts {
        bucket: bucket(),
        key: "k".into(),
        upload,
        after,
        limit,
    }) {
        Answer::Parts { parts, truncated, .. } => {
            (parts.iter().map(|part| (part.number, part.size, part.digest)).collect::<Vec<_>>(), truncated)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(list(0, 2), (vec![(1, 5, parts[0].digest), (4, 6, parts[1].digest)], true));
    assert_eq!(list(4, 2), (vec![(7, 7, parts[2].digest)], false));
    assert_eq!(list(u16::MAX, 2), (vec![], false));
}

#[test]
fn the_parts_of_an_object_are_those_it_was_uploaded_in() {
    let mut world = World::new();
    let (upload, parts) = world.upload(b"k", vec![(2, inline(5)), (4, inline(6)), (7, inline(7))]);
    let list = |world: &World, key: &'static str, after, limit| {
        let key = key.into();
        match world.try_query(Query::ListObjectParts { bucket: bucket(), key, after, limit })? {
            Answer::ObjectParts { object, parts, truncated } => {
                let parts: Vec<_> = parts.iter().map(|part| (part.number, part.size)).collect();
                Ok((object.summary.size, parts, truncated))
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(list(&world, "k", 0, 9), Err(Error::NoSuchKey), "it is not completed");
    world.complete(b"k", upload, &parts).unwrap();
    assert_eq!(list(&world, "k", 0, 2), Ok((18, vec![(2, 5), (4, 6)], true)));
    assert_eq!(list(&world, "k", 4, 2), Ok((18, vec![(7, 7)], false)));
    assert_eq!(list(&world, "k", 0, 0), Ok((18, vec![], false)));
    world.copy(b"k", b"copy").unwrap();
    world.delete(b"k");
    assert_eq!(list(&world, "copy", 4, 2), Ok((18, vec![(7, 7)], false)));
    world.put(b"small", "123");
    assert_eq!(list(&world, "small", 0, 9), Ok((3, vec![], false)));
}

fn copy_part(upload: UploadId, source: &'static str, number: u16, range: Option<(u64, u64)>) -> Operation {
    Operation::CopyPart {
        bucket: bucket(),
        key: "k".into(),
        upload,
        part: number,
        source: bucket(),
        source_key: source.into(),
        source_conditions: SourceConditions::none(),
        range: range.map(|(offset, length)| ByteRange { offset, length }),
        checksums: vec![ObjectChecksum { kind: 3, value: Bytes::from(vec![number.to_le_bytes()[0]]) }],
    }
}

fn listed(reply: Reply, number: u16) -> ListedPart {
    match reply.unwrap() {
        Success::PartWritten { digest, .. } => ListedPart { number, digest },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_part_that_is_copied_refers_to_the_bytes_of_its_source() {
    let mut world = World::new();
    let id = world.put_chunked(b"big");
    world.put(b"small", "0123456789");
    let upload = world.create_upload(b"k");
    let whole = listed(world.apply(copy_part(upload, "big", 1, None)), 1);
    let middle = listed(world.apply(copy_part(upload, "big", 2, Some((120, 30)))), 2);
    let inline = listed(world.apply(copy_part(upload, "small", 3, Some((3, 4)))), 3);
    assert_eq!(whole.digest, world.object(b"big").unwrap().0.summary.etag.digest);
    assert_ne!(whole.digest, middle.digest);
    assert_eq!(written(world.complete(b"k", upload, &[whole, middle, inline])).size, 284);
    world.delete(b"big");
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Referenced);

    let pieces = world.object(b"k").unwrap().1;
    let source = |index: usize| match &pieces[index].source {
        PieceSource::Chunked { id, offset, .. } => Ok((*id, *offset)),
        PieceSource::Inline { bytes } => Err(bytes.clone()),
    };
    assert_eq!((source(0), source(1), source(2)), (Ok((id, 0)), Ok((id, 120)), Err("3456".into())));
    assert_eq!((pieces[1].offset, pieces[1].length), (250, 30));

    // Of an object in parts, a range that lies in one of them.
    let upload = world.create_upload(b"k");
    let again = world.apply(copy_part(upload, "k", 1, Some((255, 20))));
    assert!(again.is_ok());
    assert_eq!(world.apply(copy_part(upload, "k", 2, Some((240, 20)))), Err(Error::CopyNeedsData));
    assert_eq!(world.apply(copy_part(upload, "k", 2, Some((280, 5)))), Err(Error::InvalidRange));
    assert_eq!(world.apply(copy_part(upload, "absent", 2, None)), Err(Error::NoSuchKey));
    let object = written(world.complete(b"k", upload, &[listed(again, 1)]));
    assert_eq!(object.size, 20);
    world.advance_marks(0);
    world.collect_all();
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Referenced, "the new object needs it");
}

/// What a client declared when it began an upload, and what is known of its parts' bytes, is told by
/// whoever lists them: the edge reads there what it needs to complete the upload.
#[test]
fn what_was_declared_of_checksums_is_listed() {
    let mut world = World::new();
    world.put(b"small", "0123456789");
    let create = |checksum| Operation::CreateUpload {
        bucket: bucket(),
        key: "k".into(),
        headers: headers([("content-type", "x")]),
        tags: Vec::new(),
        checksum,
    };
    for checksum in [None, Some(0), Some(7)] {
        let Ok(Success::UploadCreated { upload, .. }) = world.apply(create(checksum)) else { panic!() };
        world.apply(copy_part(upload, "small", 9, Some((3, 4)))).unwrap();
        let list = Query::ListParts { bucket: bucket(), key: "k".into(), upload, after: 0, limit: 10 };
        let Answer::Parts { upload: listed, parts, .. } = world.query(list) else { panic!() };
        assert_eq!(listed.checksum, checksum);
        assert_eq!(parts[0].checksums, [ObjectChecksum { kind: 3, value: Bytes::from_static(&[9]) }]);
    }
    let all = Query::ListUploads {
        bucket: bucket(),
        prefix: "".into(),
        delimiter: "".into(),
        after: ListPosition::Start,
        limit: 10,
    };
    let Answer::Uploads { entries, .. } = world.query(all) else { panic!() };
    let declared = entries.iter().map(|entry| match entry {
        UploadEntry::Upload { checksum, .. } => *checksum,
        UploadEntry::Prefix { .. } => panic!("there is no delimiter"),
    });
    assert_eq!(declared.collect::<Vec<_>>(), [None, Some(0), Some(7)]);
}
