//! References to bodies, and the death of chunks.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::world::*;
use crate::catalog::keys::{self, Bodies};
use crate::catalog::rows::{BodyRow, DebtRow, ManifestRow, ObjectBody, ObjectRow, PartBody, PartRow};
use crate::catalog::*;
use crate::state::SessionFacts;
use crate::tables::RowSum;
use crate::types::{Incarnation, Op, ReplicaId, SessionId, Timestamp};

#[test]
fn a_chunk_lives_from_its_commit_to_the_last_reference_and_the_last_read() {
    let mut world = World::new();
    let (id, body) = world.stored(250);
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Pending);
    written(world.try_put(b"a", Conditions::none(), body));
    assert_eq!(world.verdict(id.chunk(2)), Verdict::Referenced);
    assert_eq!(world.verdict(id.chunk(3)), Verdict::Dead, "the body has three chunks");
    world.copy(b"a", b"b").unwrap();
    world.delete(b"a");
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Referenced);
    world.put(b"b", "something else");
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Retiring);
    assert_eq!(world.verdict(id.chunk(3)), Verdict::Dead, "what is dead does not come back");
    world.advance_marks(0);
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Dead);
}

#[test]
fn a_read_that_began_when_the_object_was_deleted_still_holds_its_chunks() {
    let mut world = World::new();
    let id = world.put_chunked(b"k");
    world.delete(b"k");
    let facts = |oldest_read| SessionFacts { oldest_live_upload: 100, oldest_read };
    world.live.insert(ALICE, facts(world.op));
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Retiring);
    world.live.insert(ALICE, facts(world.op.next()));
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Dead);
}

#[test]
fn an_upload_that_was_never_committed_dies_with_its_mark_or_its_session() {
    let mut world = World::new();
    let (first, _) = world.stored(250);
    let (second, _) = world.stored(250);
    world.advance_marks(second.upload);
    assert_eq!(world.verdict(first.chunk(0)), Verdict::Dead);
    assert_eq!(world.verdict(second.chunk(0)), Verdict::Pending);
    world.live.clear();
    assert_eq!(world.verdict(second.chunk(0)), Verdict::Dead);
}

/// A gateway stalls for an hour, its session is expired, its chunks are collected; then it returns.
#[test]
fn a_fenced_upload_cannot_be_committed() {
    let mut world = World::new();
    let (below, body) = world.stored(250);
    world.advance_marks(below.upload + 1);
    assert_eq!(world.try_put(b"k", Conditions::none(), body), Err(Error::UploadFenced));
    let expired = SessionId::new(99);
    let body = chunked(BodyId { session: expired, upload: 1 }, 250);
    let etag = world.new_etag();
    let late = put("bucket", b"k", Conditions::none(), etag, body);
    assert_eq!(world.apply_in(expired, late), Err(Error::UploadFenced));
    assert!(world.object(b"k").is_err());
}

/// Otherwise a second commit could name chunks that the first one's deletion has condemned.
#[test]
fn an_upload_number_is_committed_once_even_after_its_body_is_gone() {
    let mut world = World::new();
    let (id, body) = world.stored(250);
    written(world.try_put(b"k", Conditions::none(), body.clone()));
    assert_eq!(world.try_put(b"l", Conditions::none(), body.clone()), Err(Error::UploadSpent));
    world.delete(b"k");
    assert_eq!(world.try_put(b"k", Conditions::none(), body.clone()), Err(Error::UploadSpent));

    world.advance_marks(id.upload);
    world.collect_all();
    assert_eq!(world.tables.count(Bodies::Retired as u8), 1, "the number is not fenced yet");
    assert_eq!(world.try_put(b"k", Conditions::none(), body.clone()), Err(Error::UploadSpent));
    world.advance_marks(id.upload + 1);
    world.collect_all();
    assert_eq!(world.tables.count(Bodies::Retired as u8), 0);
    assert_eq!(world.try_put(b"k", Conditions::none(), body), Err(Error::UploadFenced));
}

#[test]
fn a_refused_put_leaves_its_upload_free_for_another_try() {
    let mut world = World::new();
    world.put(b"k", "here");
    let (id, body) = world.stored(250);
    let reply = world.try_put(b"k", Conditions::absent(), body.clone());
    assert_eq!(reply, Err(Error::PreconditionFailed));
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Pending);
    written(world.try_put(b"k", Conditions::none(), body));
}

#[test]
fn copying_an_object_onto_itself_never_lets_go_of_its_body() {
    let mut world = World::new();
    let id = world.put_chunked(b"k");
    world.copy(b"k", b"k").unwrap();
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Referenced);
    world.delete(b"k");
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Retiring);
}

#[test]
fn the_parts_of_a_copied_object_live_until_its_last_copy_is_gone() {
    let mut world = World::new();
    let (id, body) = world.stored(250);
    let (upload, parts) = world.upload(b"a", vec![(1, body)]);
    world.complete(b"a", upload, &parts).unwrap();
    world.tables.forget_counts();
    world.copy(b"a", b"b").unwrap();
    assert_eq!(world.tables.puts, 2, "the copy and the count");
    for key in [b"a", b"b"] {
        world.advance_marks(100);
        world.collect_all();
        assert_eq!(world.verdict(id.chunk(0)), Verdict::Referenced);
        assert_eq!(world.object(b"b").unwrap().1.len(), 1);
        world.delete(key);
    }
    world.advance_marks(100);
    world.collect_all();
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Retiring, "the parts went only now");
    world.advance_marks(100);
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Dead);
}

/// A release that writes a row in another way parts from its peers at the next checkpoint.
#[test]
fn a_table_with_every_kind_of_row_has_this_sum() {
    let mut world = World::new();
    world.put(b"small", "value");
    world.put_chunked(b"large");
    let id = BodyId { session: ALICE, upload: 50 };
    let stand_in = |node| Disk { node, incarnation: world.incarnations[0] };
    let stands_in = received(chunked_body(250), id, |index| {
        LAYOUT.order(id.chunk(index)).skip(1).map(stand_in).collect()
    });
    written(world.try_put(b"indebted", Conditions::none(), stands_in));
    let (node, incarnation) = (ReplicaId::new(1), Incarnation::ZERO);
    world.apply(Operation::Rebuilt { node, incarnation }).unwrap();
    world.put_chunked(b"gone");
    world.delete(b"gone");
    let (_, body) = world.stored(250);
    let (upload, parts) = world.upload(b"parts", vec![(1, body), (2, NewBody::inline("last"))]);
    world.complete(b"parts", upload, &parts).unwrap();
    let (upload, parts) =
        world.upload(b"surplus", vec![(1, NewBody::inline("first")), (2, NewBody::inline("x"))]);
    world.complete(b"surplus", upload, &parts[..1]).unwrap();
    world.create_upload(b"open");
    let aborted = world.create_upload(b"aborted");
    world.abort(b"aborted", aborted).unwrap();
    let access_key = AccessKey {
        secret: "sealed".into(),
        user: "alice".into(),
        owner: "alice".into(),
        display_name: "Alice".into(),
        flags: 1,
        scopes: Vec::new(),
        created: Timestamp::new(7),
    };
    world.apply(Operation::PutAccessKey { id: "AK".into(), access_key }).unwrap();

    let kinds: BTreeSet<u8> = world.tables.rows.keys().map(|key| key[0]).collect();
    assert_eq!(
        Vec::from_iter(kinds),
        [0x10, 0x11, 0x20, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x40, 0x41, 0x42, 0x43]
    );
    let mut sum = RowSum::ZERO;
    for (key, value) in &world.tables.rows {
        sum.add(RowSum::of_row(key, value));
    }
    assert_eq!(
        sum.0.map(|lane| format!("{lane:016x}")),
        ["f080ec8dbccb5b89", "13f88260ce65527e", "d87230319c5a51fb", "fa16512fd0ffca16"]
    );
}

#[test]
fn collecting_what_cannot_be_collected_does_nothing() {
    let mut world = World::new();
    let id = world.put_chunked(b"k");
    let (upload, parts) = world.upload(b"m", vec![(1, NewBody::inline("part"))]);
    world.complete(b"m", upload, &parts).unwrap();
    world.advance_marks(100);
    let before = world.tables.rows.clone();
    let unknown = BodyId { session: ALICE, upload: 77 };
    let collect =
        Operation::Collect { retired: vec![id, unknown], condemned: vec![upload, UploadId::new(5)] };
    assert_eq!(world.apply(collect), Ok(Success::Collected { retired: 0, parts: 0 }));
    assert_eq!(world.tables.rows, before);
}

/// Collectable rows may stand behind many that are not.
#[test]
fn a_walk_over_retired_bodies_goes_on_where_it_stopped() {
    let mut world = World::new();
    for _ in 0..5 {
        world.put_chunked(b"k");
    }
    world.delete(b"k");
    world.advance_marks(100);
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let Answer::Collectable { retired, next, .. } = world.query(Query::Collectable { after, limit: 2 })
        else {
            panic!()
        };
        found.extend(retired.iter().map(|id| id.upload));
        if next.is_none() {
            break;
        }
        after = next;
    }
    assert_eq!(found, [1, 2, 3, 4, 5]);
}

#[test]
fn every_referenced_body_is_listed_once() {
    let mut world = World::new();
    let ids: Vec<_> = (0..3).map(|number| world.put_chunked(&[b'a' + number])).collect();
    world.copy(b"a", b"z").unwrap();
    world.delete(b"b");
    let Answer::Bodies { bodies, truncated } = world.query(Query::ListBodies { after: None, limit: 1 })
    else {
        panic!()
    };
    assert_eq!((bodies[0].id, truncated), (ids[0], true));
    let rest = world.query(Query::ListBodies { after: Some(ids[0]), limit: 10 });
    let Answer::Bodies { bodies, truncated } = rest else { panic!() };
    assert_eq!((bodies.len(), bodies[0].id, truncated), (1, ids[2], false));
}

/// One step of a random history over a few keys, sessions and uploads.
#[derive(Clone, Debug)]
enum Step {
    Put { session: u64, key: u8, upload: u64 },
    PutInline { key: u8 },
    Copy { from: u8, to: u8 },
    Delete { key: u8 },
    CreateUpload { key: u8 },
    PutPart { session: u64, nth: usize, part: u16, upload: u64 },
    CopyPart { nth: usize, part: u16, source: u8 },
    Complete { nth: usize, skip: u16 },
    Abort { nth: usize },
    Keepalive { session: u64, uploads: u64, reads: bool },
    Expire { session: u64 },
    Collect,
}

fn step() -> impl Strategy<Value = Step> {
    let session = || 1..4u64;
    let key = || 0..4u8;
    let nth = || 0..4usize;
    let part = || 1..4u16;
    prop_oneof![
        3 => (session(), key(), 0..15u64).prop_map(|(session, key, upload)| Step::Put { session, key, upload }),
        1 => key().prop_map(|key| Step::PutInline { key }),
        2 => (key(), key()).prop_map(|(from, to)| Step::Copy { from, to }),
        2 => key().prop_map(|key| Step::Delete { key }),
        1 => key().prop_map(|key| Step::CreateUpload { key }),
        3 => (session(), nth(), part(), 0..15u64)
            .prop_map(|(session, nth, part, upload)| Step::PutPart { session, nth, part, upload }),
        1 => (nth(), part(), key()).prop_map(|(nth, part, source)| Step::CopyPart { nth, part, source }),
        3 => (nth(), 0..4u16).prop_map(|(nth, skip)| Step::Complete { nth, skip }),
        1 => nth().prop_map(|nth| Step::Abort { nth }),
        2 => (session(), 0..3u64, any::<bool>())
            .prop_map(|(session, uploads, reads)| Step::Keepalive { session, uploads, reads }),
        1 => session().prop_map(|session| Step::Expire { session }),
        2 => Just(Step::Collect),
    ]
}

/// A body of two chunks; of some, all owners have both, of some not.
fn partly_owned(id: BodyId) -> NewBody {
    let lacks = usize::from(id.upload.is_multiple_of(2));
    let disk = |node| Disk { node, incarnation: Incarnation::ZERO };
    received(chunked_body(150), id, |index| {
        LAYOUT.order(id.chunk(index)).skip(lacks).take(3).map(disk).collect()
    })
}

/// A world with three sessions, and every chunk that was ever found dead.
struct History {
    world: World,
    uploads: Vec<(Bytes, UploadId, BTreeMap<u16, [u8; 16]>)>,
    dead: BTreeSet<ChunkId>,
}

impl History {
    fn new() -> History {
        let mut world = World::new();
        for session in 1..4 {
            let facts = SessionFacts { oldest_live_upload: 0, oldest_read: Op::ZERO };
            world.live.insert(SessionId::new(session), facts);
        }
        History { world, uploads: Vec::new(), dead: BTreeSet::new() }
    }

    /// Some steps are refused, which is as good a test as any.
    fn take(&mut self, step: Step) {
        let world = &mut self.world;
        match step {
            Step::Put { session, key, upload } => {
                let etag = world.new_etag();
                let session = SessionId::new(session);
                let body = partly_owned(BodyId { session, upload });
                let operation = put("bucket", &[b'a' + key], Conditions::none(), etag, body);
                let _ = world.apply_in(session, operation);
            }
            Step::PutInline { key } => drop(world.put(&[b'a' + key], "inline")),
            Step::Copy { from, to } => drop(world.copy(&[b'a' + from], &[b'a' + to])),
            Step::Delete { key } => drop(world.delete(&[b'a' + key])),
            Step::CreateUpload { key } => {
                let upload = world.create_upload(&[b'a' + key]);
                self.uploads.push((Bytes::from(vec![b'a' + key]), upload, BTreeMap::new()));
            }
            Step::PutPart { session, nth, part, upload } => {
                let digest = world.new_etag().digest;
                let session = SessionId::new(session);
                let body = partly_owned(BodyId { session, upload });
                self.part(session, nth, part, |bucket, key, id| Operation::PutPart {
                    bucket,
                    key,
                    upload: id,
                    part,
                    digest,
                    checksums: Vec::new(),
                    body,
                });
            }
            Step::CopyPart { nth, part, source } => {
                self.part(ALICE, nth, part, |bucket, key, upload| Operation::CopyPart {
                    source: bucket.clone(),
                    bucket,
                    key,
                    upload,
                    part,
                    source_key: Bytes::from(vec![b'a' + source]),
                    source_conditions: SourceConditions::none(),
                    range: None,
                    checksums: Vec::new(),
                });
            }
            Step::Complete { nth, skip } => {
                let Some(nth) = nth.checked_rem(self.uploads.len()) else { return };
                let (key, upload, parts) = self.uploads[nth].clone();
                let listed: Vec<_> = parts
                    .into_iter()
                    .filter(|(number, _)| *number != skip)
                    .map(|(number, digest)| ListedPart { number, digest })
                    .collect();
                if !listed.is_empty() && world.complete(&key, upload, &listed).is_ok() {
                    self.uploads.remove(nth);
                }
            }
            Step::Abort { nth } => {
                if let Some(nth) = nth.checked_rem(self.uploads.len()) {
                    let (key, upload, _) = self.uploads.remove(nth);
                    world.abort(&key, upload).unwrap();
                }
            }
            Step::Keepalive { session, uploads, reads } => {
                let now = world.op;
                if let Some(facts) = world.live.get_mut(&SessionId::new(session)) {
                    facts.oldest_live_upload += uploads;
                    if reads {
                        facts.oldest_read = now;
                    }
                }
            }
            Step::Expire { session } => {
                // Most histories keep Alice, so that something goes on happening.
                if session != ALICE.get() || world.op.get().is_multiple_of(4) {
                    world.live.remove(&SessionId::new(session));
                }
            }
            Step::Collect => world.collect_all(),
        }
    }

    fn part(
        &mut self,
        session: SessionId,
        nth: usize,
        part: u16,
        operation: impl FnOnce(BucketRef, Bytes, UploadId) -> Operation,
    ) {
        let Some(nth) = nth.checked_rem(self.uploads.len()) else { return };
        let (key, upload, parts) = &mut self.uploads[nth];
        let reply = self.world.apply_in(session, operation(bucket(), key.clone(), *upload));
        if let Ok(Success::PartWritten { digest, .. }) = reply {
            parts.insert(part, digest);
        }
    }

    fn rows<R: Wire>(&self, kind: u8) -> impl Iterator<Item = (&[u8], R)> {
        let rows = self.world.tables.rows.iter().filter(move |(key, _)| key[0] == kind);
        rows.map(|(key, value)| (&key[..], R::from_bytes(value).unwrap()))
    }

    /// Counts every reference anew and compares with what the rows say.
    fn check_references(&self) {
        let mut bodies: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        let mut manifests: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for (_, object) in self.rows::<ObjectRow>(0x20) {
            match object.body {
                ObjectBody::Inline { .. } => {}
                ObjectBody::Chunked { id } => *bodies.entry(Bodies::Referenced.row(id)).or_default() += 1,
                ObjectBody::Composed { upload } => {
                    *manifests.entry(keys::manifest(upload)).or_default() += 1;
                }
            }
        }
        for (_, part) in self.rows::<PartRow>(0x31) {
            if let PartBody::Slice { id, .. } = part.body {
                *bodies.entry(Bodies::Referenced.row(id)).or_default() += 1;
            }
        }
        let counted: BTreeMap<_, _> =
            self.rows::<BodyRow>(0x40).map(|(key, row)| (key.to_vec(), row.references)).collect();
        assert_eq!(counted, bodies);
        for (key, _) in self.rows::<DebtRow>(0x42) {
            assert!(bodies.contains_key(&[&[0x40], &key[1..]].concat()), "{key:?} owes what nothing needs");
        }
        let counted: BTreeMap<_, _> =
            self.rows::<ManifestRow>(0x32).map(|(key, row)| (key.to_vec(), row.references)).collect();
        assert_eq!(counted, manifests);
    }

    /// Every part belongs to an upload that is under way, completed or condemned, and to one only.
    fn check_owners(&self) {
        let named = |kind: u8| -> BTreeSet<Vec<u8>> {
            let rows = self.world.tables.rows.keys().filter(|key| key[0] == kind);
            rows.map(|key| key[1..9].to_vec()).collect()
        };
        let open: BTreeSet<Vec<u8>> = {
            let rows = self.world.tables.rows.keys().filter(|key| key[0] == 0x30);
            rows.map(|key| key[key.len() - 8..].to_vec()).collect()
        };
        let (parts, manifests, condemned) = (named(0x31), named(0x32), named(0x34));
        for upload in &parts {
            let owners = [&open, &manifests, &condemned].iter().filter(|set| set.contains(upload)).count();
            assert_eq!(owners, 1, "{upload:?}");
        }
        assert!(manifests.is_subset(&named(0x33)));
        assert!(named(0x35).is_subset(&manifests));
    }

    fn check_deaths(&mut self) {
        for session in 1..4 {
            for upload in 0..15 {
                for index in 0..3 {
                    let chunk = BodyId { session: SessionId::new(session), upload }.chunk(index);
                    let verdict = self.world.verdict(chunk);
                    if self.dead.contains(&chunk) {
                        assert_eq!(verdict, Verdict::Dead, "{chunk:?} has come back");
                    }
                    if verdict == Verdict::Dead {
                        self.dead.insert(chunk);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn references_are_counted_right_and_the_dead_stay_dead(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut history = History::new();
        for step in steps {
            history.take(step);
            history.check_references();
            history.check_owners();
            history.check_deaths();
        }

        // Once everything is deleted and all sessions have ended, nothing is left but the bucket.
        for key in 0..4 {
            history.world.delete(&[b'a' + key]);
        }
        for (key, upload, _) in std::mem::take(&mut history.uploads) {
            history.world.abort(&key, upload).unwrap();
        }
        history.world.live.clear();
        history.world.collect_all();
        history.check_deaths();
        prop_assert_eq!(history.world.tables.rows.len(), 1);
    }
}

/// A gateway registers and puts chunks on a replica that has not applied its session yet. That replica
/// gave the chunks up for dead, because it found no session that could commit them.
#[test]
fn a_replica_that_is_behind_does_not_take_a_new_session_for_an_ended_one() {
    let world = World::new();
    let chunk = |op, index| {
        let session = SessionId::from_register(op, index);
        BodyId { session, upload: 1 }.chunk(0)
    };
    assert_eq!(world.verdict(chunk(world.op.next(), 0)), Verdict::Pending);
    assert_eq!(world.verdict(chunk(Op::MAX, 0)), Verdict::Pending);
    assert_eq!(world.verdict(chunk(world.op, 5)), Verdict::Dead);
}
