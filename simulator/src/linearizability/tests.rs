//! Small histories, good and bad; and large ones made by a store that is right, then spoilt.

use bytes::Bytes;
use protocol::catalog::{
    Answer, BucketRef, CatalogLimits, Conditions, Delete, ETag, ETagMatch, Error, ListEntry, ListPosition,
    ListedPart, NewBody, Object, ObjectSummary, Operation, Query, QueryReply, Reply, SourceConditions,
    Success, UploadId,
};
use protocol::data::placement::Layout;
use protocol::quorums::Quorums;
use protocol::state::SessionFacts;
use protocol::types::{Incarnation, Op, REPLICAS_MAX, SessionId, Timestamp};

use super::*;
use crate::history::{History, Outcome};
use crate::model::{CatalogModel, Live, Moment, Place};
use crate::random::Random;
use crate::workload::{Workload, WorkloadOptions};

/// Calls in any order, to be told in the order of time.
#[derive(Clone, Default)]
struct Story {
    calls: Vec<(u64, Option<u64>, Action, Outcome)>,
}

impl Story {
    fn history(&self) -> History {
        let mut moments: Vec<(u64, bool, usize)> = Vec::new();
        for (at, (invoked, responded, ..)) in self.calls.iter().enumerate() {
            moments.push((*invoked, false, at));
            responded.iter().for_each(|responded| moments.push((*responded, true, at)));
        }
        moments.sort_unstable();
        let mut history = History::new();
        let mut ids = BTreeMap::new();
        for (now, ends, at) in moments {
            let (_, _, action, outcome) = &self.calls[at];
            if ends {
                history.respond(ids[&at], now, outcome.clone());
            } else {
                ids.insert(at, history.invoke(at, now, action));
            }
        }
        let end = self.calls.iter().map(|(invoked, responded, ..)| responded.unwrap_or(*invoked)).max();
        for (at, (_, responded, ..)) in self.calls.iter().enumerate() {
            if responded.is_none() {
                history.unknown(ids[&at], end.unwrap_or_default());
            }
        }
        history
    }

    fn check(&self) -> Result<Checked, String> {
        check(&self.history())
    }

    fn write(
        mut self,
        invoked: u64,
        responded: impl Into<Option<u64>>,
        operation: Operation,
        reply: Reply,
    ) -> Story {
        self.calls.push((invoked, responded.into(), Action::Write { operation }, Outcome::Reply(reply)));
        self
    }

    fn query(mut self, invoked: u64, responded: u64, query: Query, answer: QueryReply) -> Story {
        self.calls.push((invoked, Some(responded), Action::Read { query }, Outcome::Answer(answer)));
        self
    }

    /// Values are numbers: ETag, version and bytes follow from them.
    fn put(self, invoked: u64, responded: impl Into<Option<u64>>, key: &'static str, value: u8) -> Story {
        self.put_if(invoked, responded, key, value, Conditions::none(), wrote(value))
    }

    fn put_if(
        self,
        invoked: u64,
        responded: impl Into<Option<u64>>,
        key: &'static str,
        value: u8,
        conditions: Conditions,
        reply: Reply,
    ) -> Story {
        let operation = Operation::PutObject {
            bucket: bucket(),
            key: key.into(),
            conditions,
            etag: etag(value),
            headers: Vec::new(),
            checksums: Vec::new(),
            tags: Vec::new(),
            body: NewBody::inline(vec![value]),
        };
        self.write(invoked, responded, operation, reply)
    }

    fn delete(self, invoked: u64, responded: impl Into<Option<u64>>, key: &'static str) -> Story {
        let deletes = vec![Delete { key: key.into(), conditions: Conditions::none() }];
        let operation = Operation::DeleteObjects { bucket: bucket(), deletes };
        self.write(invoked, responded, operation, Ok(Success::ObjectsDeleted { outcomes: vec![None] }))
    }

    /// Version `version` of value `value`; a value of zero is none.
    fn get_version(self, invoked: u64, responded: u64, key: &'static str, value: u8, version: u64) -> Story {
        let query = Query::GetObject { bucket: bucket(), key: key.into(), pieces: None };
        let answer = match value {
            0 => Err(Error::NoSuchKey),
            value => {
                let summary = ObjectSummary { version, ..summary(value) };
                let object = Object { summary, headers: Vec::new(), tags: Vec::new(), upload: None };
                Ok(Answer::Object { object, pieces: Vec::new(), more: false })
            }
        };
        self.query(invoked, responded, query, answer)
    }

    fn get(self, invoked: u64, responded: u64, key: &'static str, value: u8) -> Story {
        self.get_version(invoked, responded, key, value, u64::from(value))
    }

    fn copy(
        self,
        invoked: u64,
        responded: impl Into<Option<u64>>,
        from: &'static str,
        to: &'static str,
        value: u8,
        version: u64,
    ) -> Story {
        let operation = Operation::CopyObject {
            source: bucket(),
            source_key: from.into(),
            source_conditions: SourceConditions::none(),
            bucket: bucket(),
            key: to.into(),
            conditions: Conditions::none(),
            headers: None,
            tags: None,
        };
        let object = ObjectSummary { version, ..summary(value) };
        self.write(invoked, responded, operation, Ok(Success::ObjectWritten { object }))
    }

    fn complete(self, invoked: u64, responded: impl Into<Option<u64>>, upload: u64, value: u8) -> Story {
        let operation = Operation::CompleteUpload {
            bucket: bucket(),
            key: "k".into(),
            upload: UploadId::new(upload),
            conditions: Conditions::none(),
            parts: vec![ListedPart { number: 1, digest: [value; 16] }],
            etag: etag(value),
            checksums: Vec::new(),
            size: None,
        };
        self.write(invoked, responded, operation, wrote(value))
    }

    fn list(self, invoked: u64, responded: u64, entries: &[(&'static str, u8)]) -> Story {
        self.list_page(invoked, responded, ListPosition::Start, entries, None)
    }

    fn list_page(
        self,
        invoked: u64,
        responded: u64,
        after: ListPosition,
        entries: &[(&'static str, u8)],
        next: Option<ListPosition>,
    ) -> Story {
        let entry = |(key, value): &(&'static str, u8)| match value {
            0 => ListEntry::Prefix { prefix: Bytes::from_static(key.as_bytes()) },
            value => ListEntry::Object { key: Bytes::from_static(key.as_bytes()), object: summary(*value) },
        };
        let query = Query::ListObjects {
            bucket: bucket(),
            prefix: Bytes::new(),
            delimiter: "/".into(),
            after,
            limit: 10,
        };
        let entries = entries.iter().map(entry).collect();
        self.query(invoked, responded, query, Ok(Answer::Objects { entries, next }))
    }
}

fn bucket() -> BucketRef {
    BucketRef::named("bucket")
}

fn etag(value: u8) -> ETag {
    ETag::simple([value; 16])
}

fn summary(value: u8) -> ObjectSummary {
    ObjectSummary {
        version: u64::from(value),
        size: 1,
        etag: etag(value),
        last_modified: Timestamp::ZERO,
        checksums: Vec::new(),
    }
}

fn wrote(value: u8) -> Reply {
    Ok(Success::ObjectWritten { object: summary(value) })
}

fn story() -> Story {
    Story::default()
}

#[test]
fn one_thing_after_the_other_is_fine() {
    let story =
        story().get(0, 1, "k", 0).put(2, 3, "k", 1).get(4, 5, "k", 1).delete(6, 7, "k").get(8, 9, "k", 0);
    assert_eq!(story.check(), Ok(Checked { keys: 1, operations: 5, lists: 0, skipped: 0 }));
}

#[test]
fn a_stale_read_is_found() {
    let story = story().put(0, 1, "k", 1).put(2, 3, "k", 2).get(4, 5, "k", 1);
    assert!(story.check().unwrap_err().contains("no order of the 3 calls on bucket/k"));
}

#[test]
fn a_lost_write_is_found() {
    story().put(0, 1, "k", 1).get(2, 3, "k", 0).check().unwrap_err();
    story().put(0, 1, "k", 1).put(2, 3, "other", 2).get(4, 5, "k", 0).check().unwrap_err();
}

#[test]
fn a_delete_that_came_back_is_found() {
    story().put(0, 1, "k", 1).delete(2, 3, "k").get(4, 5, "k", 1).check().unwrap_err();
}

#[test]
fn a_value_that_nobody_wrote_is_found() {
    story().put(0, 1, "k", 1).get(2, 3, "k", 9).check().unwrap_err();
}

#[test]
fn concurrent_writes_may_come_in_either_order() {
    story().put(0, 10, "k", 1).put(5, 15, "k", 2).get(20, 21, "k", 2).check().unwrap();
    story().put(0, 10, "k", 2).put(5, 15, "k", 1).get(20, 21, "k", 2).check().unwrap();
    // But not in one order by their versions and in another by what is read.
    story().put(0, 10, "k", 1).put(5, 15, "k", 2).get(20, 21, "k", 1).check().unwrap_err();
}

#[test]
fn two_readers_agree_on_the_order_of_concurrent_writes() {
    let writes = story().put(0, None, "k", 1).put(0, None, "k", 2);
    writes.clone().get(1, 2, "k", 1).get(3, 4, "k", 2).check().unwrap();
    writes.clone().get(1, 2, "k", 2).get(3, 4, "k", 1).check().unwrap_err();
    writes.get(1, 2, "k", 1).get(3, 4, "k", 2).get(5, 6, "k", 1).check().unwrap_err();
}

/// A search that hurries past the delete, because there is nothing to delete yet, finds no order.
#[test]
fn a_delete_may_wait_for_a_put_that_is_under_way() {
    story().delete(0, 10, "k").put(1, 9, "k", 1).get(11, 12, "k", 0).check().unwrap();
    story().delete(0, 10, "k").put(1, 9, "k", 1).get(11, 12, "k", 1).check().unwrap();
}

#[test]
fn what_was_given_up_may_happen_late_or_never_but_not_twice() {
    let given_up = story().put(0, None, "k", 1).get(10, 11, "k", 0);
    given_up.check().unwrap();
    given_up.clone().get(20, 21, "k", 1).get(22, 23, "k", 1).check().unwrap();
    given_up.clone().get(20, 21, "k", 1).delete(22, 23, "k").get(24, 25, "k", 0).check().unwrap();
    let twice = given_up.get(20, 21, "k", 1).delete(22, 23, "k").get(24, 25, "k", 0).get(26, 27, "k", 1);
    twice.check().unwrap_err();
}

/// The same bytes under a second version: the request was executed again.
#[test]
fn a_write_that_took_effect_twice_is_found() {
    let story = story().put(0, None, "k", 1).get_version(10, 11, "k", 1, 5).get_version(12, 13, "k", 1, 6);
    story.check().unwrap_err();
}

#[test]
fn what_had_no_effect_is_not_there() {
    let mut story = story().put(0, 1, "k", 1);
    story.calls[0].3 = Outcome::NoEffect;
    story.clone().get(2, 3, "k", 0).check().unwrap();
    story.put(2, 3, "k", 2).get(4, 5, "k", 1).check().unwrap_err();
}

#[test]
fn of_two_who_write_only_if_absent_one_succeeds() {
    let first = story().put_if(0, 10, "k", 1, Conditions::absent(), wrote(1));
    let refused = Err(Error::PreconditionFailed);
    first.clone().put_if(5, 15, "k", 2, Conditions::absent(), refused).check().unwrap();
    first.put_if(5, 15, "k", 2, Conditions::absent(), wrote(2)).check().unwrap_err();
}

#[test]
fn a_refusal_needs_a_reason() {
    let refused = Err(Error::PreconditionFailed);
    story().put_if(0, 1, "k", 1, Conditions::absent(), refused.clone()).check().unwrap_err();
    // Somebody may have been there.
    let other = story().put(0, None, "k", 2);
    other.put_if(5, 6, "k", 1, Conditions::absent(), refused).get(7, 8, "k", 2).check().unwrap();
}

#[test]
fn a_lost_update_is_found() {
    let both = |second: Reply| {
        let read = story().put(0, 1, "k", 1);
        let one = read.put_if(2, 10, "k", 2, Conditions::matching(etag(1)), wrote(2));
        one.put_if(2, 10, "k", 3, Conditions::matching(etag(1)), second)
    };
    both(wrote(3)).check().unwrap_err();
    both(Err(Error::PreconditionFailed)).check().unwrap();
}

#[test]
fn a_copy_is_of_what_was_there() {
    let values = story().put(0, 1, "a", 1).put(2, 3, "a", 2);
    values.clone().copy(4, 5, "a", "b", 2, 9).get_version(6, 7, "b", 2, 9).check().unwrap();
    values.clone().copy(4, 5, "a", "b", 1, 9).get_version(6, 7, "b", 1, 9).check().unwrap_err();
    // Onto itself it writes what it read, at one moment.
    let onto_itself = values.copy(4, 20, "a", "a", 2, 9);
    onto_itself.clone().put(6, 7, "a", 12).get_version(21, 22, "a", 2, 9).check().unwrap_err();
    onto_itself.put(6, 7, "a", 12).get(21, 22, "a", 12).check().unwrap();
}

#[test]
fn a_copy_that_was_given_up_may_have_copied_anything() {
    let copied = story().put(0, 1, "a", 1).copy(2, None, "a", "b", 1, 9);
    copied.clone().get_version(10, 11, "b", 1, 7).check().unwrap();
    copied.get_version(10, 11, "b", 1, 7).get_version(12, 13, "b", 1, 8).check().unwrap_err();
}

#[test]
fn a_completion_is_repeated_and_not_done_again() {
    let completed = story().complete(0, 1, 70, 1);
    completed.clone().complete(2, 3, 70, 1).get(4, 5, "k", 1).check().unwrap();
    // The answer to the first was missed.
    story().complete(0, None, 70, 1).complete(2, 3, 70, 1).check().unwrap();
    // The second would bring back what was deleted.
    completed.delete(2, 3, "k").complete(4, 5, 70, 1).check().unwrap_err();
}

#[test]
fn an_aborted_upload_is_not_completed() {
    let abort = || Operation::AbortUpload { bucket: bucket(), key: "k".into(), upload: UploadId::new(70) };
    let aborted = story().write(0, 1, abort(), Ok(Success::Done));
    aborted.clone().complete(2, 3, 70, 1).check().unwrap_err();
    aborted.complete(2, 3, 71, 1).check().unwrap();
    story().complete(0, 10, 70, 1).write(5, None, abort(), Ok(Success::Done)).check().unwrap();
}

#[test]
fn a_bucket_that_is_deleted_is_empty() {
    let delete = Operation::DeleteBucket { bucket: bucket() };
    let full = story().put(0, 1, "k", 1).write(2, 3, delete.clone(), Ok(Success::Done));
    full.check().unwrap_err();
    story().put(0, 1, "k", 1).delete(2, 3, "k").write(4, 5, delete, Ok(Success::Done)).check().unwrap();
}

#[test]
fn a_list_that_misses_a_key_is_found() {
    let puts = story().put(0, 1, "a", 1).put(2, 3, "b", 2).put(4, 5, "c", 3);
    let whole = puts.clone().list(6, 7, &[("a", 1), ("b", 2), ("c", 3)]);
    assert_eq!(whole.check(), Ok(Checked { keys: 3, operations: 6, lists: 1, skipped: 0 }));
    let hole = puts.clone().list(6, 7, &[("a", 1), ("c", 3)]).check();
    assert!(hole.unwrap_err().contains("lacks bucket/b"));
    let short = |next| puts.clone().list_page(6, 7, ListPosition::Start, &[("a", 1)], next);
    short(None).check().unwrap_err();
    short(Some(ListPosition::AfterKey { key: "a".into() })).check().unwrap();
    short(Some(ListPosition::AfterKey { key: "b".into() })).check().unwrap_err();
}

#[test]
fn a_list_that_shows_a_deleted_key_is_found() {
    let deleted = story().put(0, 1, "a", 1).delete(2, 3, "a");
    deleted.clone().list(4, 5, &[]).check().unwrap();
    deleted.list(4, 5, &[("a", 1)]).check().unwrap_err();
    story().list(4, 5, &[("a", 1)]).put(6, 7, "a", 1).check().unwrap_err();
}

#[test]
fn what_happens_during_a_list_may_be_in_it_or_not() {
    for entries in [&[("a", 1)][..], &[]] {
        story().put(0, 5, "a", 1).list(4, 9, entries).check().unwrap();
        story().put(0, None, "a", 1).list(4, 9, entries).check().unwrap();
        story().put(0, 1, "a", 1).delete(8, 12, "a").list(4, 9, entries).check().unwrap();
    }
}

#[test]
fn a_list_that_shows_an_old_value_is_found() {
    let replaced = story().put(0, 1, "a", 1).put(2, 3, "a", 2);
    replaced.clone().list(4, 5, &[("a", 2)]).check().unwrap();
    replaced.clone().list(4, 5, &[("a", 1)]).check().unwrap_err();
    replaced.list(4, 5, &[("a", 3)]).check().unwrap_err();
}

#[test]
fn a_common_prefix_stands_for_keys_that_are_there() {
    let nested = story().put(0, 1, "a/x", 1).put(2, 3, "b", 2);
    nested.clone().list(4, 5, &[("a/", 0), ("b", 2)]).check().unwrap();
    nested.clone().list(4, 5, &[("b", 2)]).check().unwrap_err();
    nested.clone().list(4, 5, &[("a/", 0), ("b", 2), ("c/", 0)]).check().unwrap_err();
    // It may be listed after the key that the list begins after, if that key is below it.
    let after = |key: &'static str| ListPosition::AfterKey { key: key.into() };
    nested.clone().list_page(4, 5, after("a/b"), &[("a/", 0), ("b", 2)], None).check().unwrap();
    nested.clone().list_page(4, 5, after("a/x"), &[("b", 2)], None).check().unwrap();
    nested.list_page(4, 5, after("a0"), &[("a/", 0), ("b", 2)], None).check().unwrap_err();
}

#[test]
fn a_list_out_of_order_is_found() {
    let puts = story().put(0, 1, "a", 1).put(2, 3, "b", 2);
    puts.list(4, 5, &[("b", 2), ("a", 1)]).check().unwrap_err();
}

#[test]
fn versions_that_contradict_time_are_found() {
    let story = story().put(0, 1, "a", 2).put(2, 3, "b", 1);
    assert!(story.check().unwrap_err().contains("after number 2 was acknowledged"));
}

#[test]
fn other_bytes_than_were_put_are_found() {
    let mut story = story().put(0, 1, "k", 1).get(2, 3, "k", 1);
    story.check().unwrap();
    let Outcome::Answer(Ok(Answer::Object { object, .. })) = &mut story.calls[1].3 else { panic!() };
    object.summary.size = 2;
    assert!(story.check().unwrap_err().contains("other bytes"));
}

/// Dozens of writes that nobody knows the fate of, and all alike: one of them will do for all.
#[test]
fn what_was_given_up_and_never_seen_does_not_make_the_search_long() {
    let mut story = story();
    for value in 1..=100 {
        story = story.put(0, None, "k", value);
    }
    let seen = story.get(10, 11, "k", 7).get(12, 13, "k", 0).history();
    let problem = check_within(&seen, 1_000).unwrap_err();
    assert!(problem.contains("no order"), "{problem}");
}

/// The same, but each of them tells apart what it finds: there are too many subsets to look at.
#[test]
fn a_search_that_takes_too_long_is_given_up_and_counted() {
    let mut story = story();
    for value in 1..=40 {
        let if_none_match = Some(ETagMatch::one(etag(value + 1)));
        let conditions = Conditions { if_match: None, if_none_match };
        story = story.put_if(0, None, "k", value, conditions, wrote(value));
    }
    // No order explains the last of these, but to know that takes a while.
    let history = story.put(1, 2, "other", 50).get(10, 11, "k", 7).get(12, 13, "k", 60).history();
    let checked = check_within(&history, 1_000).unwrap();
    assert_eq!(checked, Checked { keys: 1, operations: 1, lists: 0, skipped: 1 });
}

/// How the calls of a simulated world lie in time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// They take their time, overlap, and some get lost.
    Loose,
    /// One after the other: there is only one order.
    Strict,
}

/// A store that does one thing after the other, and its clients.
fn simulate(seed: u64, steps: u64, calls: Calls) -> Story {
    let limits = CatalogLimits { inline_bytes_max: 64, part_bytes_min: 5, ..CatalogLimits::standard() };
    let mut random = Random::branch(seed, "store");
    let mut options = WorkloadOptions::draw(&mut random, limits);
    options.key_count = options.key_count.min(12);
    let layout = Layout::first(Quorums::of(3));
    let mut store = CatalogModel::new(limits, layout);
    let disks = [Incarnation::ZERO; REPLICAS_MAX];
    let session = SessionId::new(1);
    let facts = SessionFacts { oldest_live_upload: 0, oldest_read: Op::ZERO };
    let live = Live::from([(session, facts)]);
    let mut clients: Vec<Workload> =
        (0..4).map(|client| Workload::new(options.clone(), layout, seed, client)).collect();
    let mut free_at = [0; 4];
    let mut story = Story::default();
    for op in 1..=steps {
        // The moment at which the store decides lies somewhere within the call.
        let decided = op * 10;
        let client = random.index(clients.len());
        if free_at[client] >= decided {
            continue;
        }
        let (before, after, lost) = match calls {
            Calls::Loose => (random.below(40), random.below(60), random.percent(4)),
            Calls::Strict => (0, 0, false),
        };
        let invoked = decided - before.min(decided - free_at[client]);
        let action = clients[client].next();
        let outcome = match &action {
            Action::Write { operation } => {
                let place = Place {
                    op: Op::new(op),
                    index: 0,
                    timestamp: Timestamp::new(decided),
                    session,
                    live: &live,
                    disks: &disks,
                };
                // Some are lost on the way there, some on the way back.
                if lost {
                    if random.percent(50) {
                        let _ = store.apply(&place, operation);
                    }
                    story.calls.push((invoked, None, action, Outcome::NoEffect));
                    continue;
                }
                Outcome::Reply(store.apply(&place, operation))
            }
            Action::Read { query } => {
                let moment = Moment { applied: Op::new(op), live: &live, disks: &disks };
                Outcome::Answer(store.answer(&moment, query))
            }
            Action::Pause { .. } | Action::Keepalive => continue,
        };
        clients[client].learned(&action, &outcome);
        let responded = decided + after;
        free_at[client] = responded + 1;
        story.calls.push((invoked, Some(responded), action, outcome));
    }
    story
}

#[test]
fn a_store_that_is_right_is_never_blamed() {
    let mut total = Checked::default();
    for seed in 0..40 {
        for calls in [Calls::Loose, Calls::Strict] {
            let checked = simulate(seed, 600, calls).check();
            let checked = checked.unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
            total.keys += checked.keys;
            total.operations += checked.operations;
            total.lists += checked.lists;
            total.skipped += checked.skipped;
        }
    }
    assert!(total.operations > 10_000 && total.lists > 1_000, "{total:?}");
    assert!(total.skipped * 100 <= total.keys, "{total:?}");
}

/// In how many of the worlds that `spoil` can spoil it is noticed.
fn caught(calls: Calls, spoil: fn(&Story) -> Option<Story>) -> (u32, u32) {
    let spoilt: Vec<Story> = (0..30).filter_map(|seed| spoil(&simulate(seed, 400, calls))).collect();
    assert!(spoilt.len() >= 15);
    let caught = spoilt.iter().filter(|story| story.check().is_err()).count();
    (u32::try_from(caught).unwrap(), u32::try_from(spoilt.len()).unwrap())
}

/// One answer of a good history is replaced by that to an earlier and equal question, as a replica
/// that lags behind would give it. While others write, it may be right all the same.
#[test]
fn a_store_that_answers_from_the_past_is_caught() {
    let (caught_strictly, spoilt) = caught(Calls::Strict, with_an_old_answer);
    assert_eq!(caught_strictly, spoilt);
    let (caught_loosely, spoilt) = caught(Calls::Loose, with_an_old_answer);
    assert!(caught_loosely * 10 >= spoilt * 8, "{caught_loosely} of {spoilt}");
}

/// From a page in the middle of a good history an object is missing.
#[test]
fn a_store_that_leaves_a_key_out_of_a_list_is_caught() {
    let (caught_strictly, spoilt) = caught(Calls::Strict, with_a_hole);
    assert_eq!(caught_strictly, spoilt);
    let (caught_loosely, spoilt) = caught(Calls::Loose, with_a_hole);
    assert!(caught_loosely * 10 >= spoilt * 6, "{caught_loosely} of {spoilt}");
}

/// A write of a good history is acknowledged and yet not there: every later call was answered by a
/// store that never saw it.
#[test]
fn a_store_that_loses_a_write_is_caught() {
    let (caught_strictly, spoilt) = caught(Calls::Strict, with_a_lost_write);
    assert_eq!(caught_strictly, spoilt);
}

fn with_an_old_answer(story: &Story) -> Option<Story> {
    for (at, (invoked, _, action, outcome)) in story.calls.iter().enumerate().rev() {
        let Outcome::Answer(answer @ (Ok(Answer::Object { .. }) | Err(Error::NoSuchKey))) = outcome else {
            continue;
        };
        let old = story.calls[..at].iter().find_map(|(_, responded, earlier, outcome)| match outcome {
            Outcome::Answer(old) if earlier == action && responded.is_some_and(|at| at + 200 < *invoked) => {
                (old != answer && *old != Err(Error::NoSuchBucket)).then(|| outcome.clone())
            }
            _ => None,
        });
        if let Some(old) = old {
            let mut spoilt = story.clone();
            spoilt.calls[at].3 = old;
            return Some(spoilt);
        }
    }
    None
}

fn with_a_hole(story: &Story) -> Option<Story> {
    let mut spoilt = story.clone();
    let middle = spoilt.calls.len() / 2;
    let pages = spoilt.calls[..middle].iter_mut().rev().filter_map(|(_, _, _, outcome)| match outcome {
        Outcome::Answer(Ok(Answer::Objects { entries, .. })) => Some(entries),
        _ => None,
    });
    for entries in pages {
        if let Some(at) = entries.iter().position(|entry| matches!(entry, ListEntry::Object { .. })) {
            entries.remove(at);
            return Some(spoilt);
        }
    }
    None
}

/// Adds a put that was acknowledged just before somebody read its key and saw something else.
fn with_a_lost_write(story: &Story) -> Option<Story> {
    let middle = story.calls.len() / 2;
    let read = story.calls[middle..].iter().find_map(|(invoked, _, action, outcome)| match action {
        Action::Read { query: Query::GetObject { bucket, key, .. } }
            if matches!(outcome, Outcome::Answer(Ok(_) | Err(Error::NoSuchKey))) =>
        {
            Some((*invoked, bucket.clone(), key.clone()))
        }
        _ => None,
    });
    let (invoked, bucket, key) = read?;
    // As if it had stood behind the operation before the read.
    let version = SessionId::from_register(Op::new(invoked / 10 - 1), 1).get();
    let object = ObjectSummary { version, ..summary(0xaa) };
    let operation = Operation::PutObject {
        bucket,
        key,
        conditions: Conditions::none(),
        etag: etag(0xaa),
        headers: Vec::new(),
        checksums: Vec::new(),
        tags: Vec::new(),
        body: NewBody::inline("x"),
    };
    Some(story.clone().write(invoked - 5, invoked - 4, operation, Ok(Success::ObjectWritten { object })))
}
