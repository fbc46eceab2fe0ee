//! What is certain of listings.

use std::ops::Bound;

use bytes::Bytes;
use protocol::catalog::{Answer, BucketRef, Error, ListEntry, ListPosition, ObjectSummary, Query};

use super::project::{Event, Step, Written};
use super::{Events, described, named};
use crate::history::{Call, History};
use crate::model::{common_prefix, is_after};
use crate::workload::Action;

/// Judges all listings and says how many there were.
pub(super) fn check(history: &History, events: &Events) -> Result<usize, String> {
    let mut count = 0;
    for call in history.calls() {
        let Action::Read { query: Query::ListObjects { bucket, prefix, delimiter, after, limit } } =
            &call.action
        else {
            continue;
        };
        let list = List { call, bucket, prefix, delimiter, after, events };
        let problem = match call.answer() {
            Some(Ok(Answer::Objects { entries, next })) if *limit > 0 => list.problem(entries, next.as_ref()),
            Some(Ok(Answer::Objects { entries, .. })) if entries.is_empty() => None,
            Some(Err(Error::NoSuchBucket)) if bucket.id.is_none() => list.problem(&[], None),
            Some(Err(Error::NoSuchBucket)) => None,
            Some(_) => Some("is answered with something else".to_owned()),
            None => continue,
        };
        if let Some(problem) = problem {
            return Err(format!("a list {problem}: {}", described(call)));
        }
        count += 1;
    }
    Ok(count)
}

struct List<'a> {
    call: &'a Call,
    bucket: &'a BucketRef,
    prefix: &'a Bytes,
    delimiter: &'a Bytes,
    after: &'a ListPosition,
    events: &'a Events,
}

impl List<'_> {
    fn problem(&self, entries: &[ListEntry], next: Option<&ListPosition>) -> Option<String> {
        self.problem_of_order(entries)
            .or_else(|| entries.iter().find_map(|entry| self.problem_of_entry(entry)))
            .or_else(|| self.missing(entries, next))
    }

    fn problem_of_order(&self, entries: &[ListEntry]) -> Option<String> {
        if entries.windows(2).any(|pair| name(&pair[0]) >= name(&pair[1])) {
            return Some("is not in order".to_owned());
        }
        let stray = entries.iter().map(name).find(|name| {
            !name.starts_with(self.prefix) || !is_after(name, None, self.after) && !self.is_around_start(name)
        });
        stray.map(|name| format!("holds {}, which it was not asked for", name.escape_ascii()))
    }

    /// A common prefix may be less than the key that the list begins after, if that key has it.
    fn is_around_start(&self, name: &Bytes) -> bool {
        let start = match self.after {
            ListPosition::AfterKey { key } | ListPosition::AfterPrefix { prefix: key } => key,
            ListPosition::Start | ListPosition::AfterUpload { .. } => return false,
        };
        start.starts_with(name) && !self.delimiter.is_empty() && name.ends_with(self.delimiter)
    }

    /// An entry must say something that was true while the list was made.
    fn problem_of_entry(&self, entry: &ListEntry) -> Option<String> {
        match entry {
            ListEntry::Object { key, object } => {
                let of_key = self.events_of(key);
                if self.surely_absent(of_key) {
                    return Some(format!("holds {}, which was not there", named(&self.bucket.name, key)));
                }
                let possible = of_key.iter().any(|event| self.may_have_written(of_key, event, object));
                let shown = named(&self.bucket.name, key);
                (!possible).then(|| format!("shows {shown} as it was not at the time"))
            }
            ListEntry::Prefix { prefix } => {
                let mut below = self.keys(prefix).filter(|(_, of_key)| !self.surely_absent(of_key));
                let name = prefix.escape_ascii();
                below.next().is_none().then(|| format!("holds the prefix {name}, below which was nothing"))
            }
        }
    }

    fn missing(&self, entries: &[ListEntry], next: Option<&ListPosition>) -> Option<String> {
        let lacking = |key: &Bytes| {
            let common = common_prefix(key, self.prefix.len(), self.delimiter);
            let shown = common.unwrap_or_else(|| key.clone());
            entries.binary_search_by(|entry| name(entry).cmp(&shown)).is_err()
        };
        let mut covered = self.keys(self.prefix).filter(|(key, _)| {
            is_after(key, None, self.after) && next.is_none_or(|next| !is_after(key, None, next))
        });
        let missing = covered.find(|(key, of_key)| self.surely_present(of_key) && lacking(key));
        missing.map(|(key, _)| format!("lacks {}", named(&self.bucket.name, key)))
    }

    fn events_of(&self, key: &Bytes) -> &[Event] {
        self.events.get(&(self.bucket.name.clone(), key.clone())).map_or(&[], |of_key| &of_key[..])
    }

    /// The keys that anybody ever touched and that begin with `prefix`.
    fn keys<'b>(&'b self, prefix: &'b Bytes) -> impl Iterator<Item = (&'b Bytes, &'b [Event])> {
        let start = (self.bucket.name.clone(), prefix.clone());
        self.events
            .range((Bound::Included(start), Bound::Unbounded))
            .take_while(move |((bucket, key), _)| *bucket == self.bucket.name && key.starts_with(prefix))
            .map(|((_, key), of_key)| (key, &of_key[..]))
    }

    /// Somebody knew before the list began that the key was there, and nobody may have removed it
    /// since.
    fn surely_present(&self, of_key: &[Event]) -> bool {
        self.surely(of_key, proves_presence, may_remove)
    }

    /// Somebody knew that the key was not there, or nobody had made it yet.
    fn surely_absent(&self, of_key: &[Event]) -> bool {
        let ended = self.call.responded();
        let never = of_key.iter().all(|event| event.invoked > ended || !may_create(event));
        never || self.surely(of_key, proves_absence, may_create)
    }

    fn surely(&self, of_key: &[Event], proves: fn(&Event) -> bool, may_undo: fn(&Event) -> bool) -> bool {
        let (began, ended) = (self.call.invoked, self.call.responded());
        // Of all proofs the one that began last is the best: it has the fewest undoings after it.
        let proof = of_key.iter().rev().find(|event| event.responded < began && proves(event));
        proof.is_some_and(|proof| {
            let undone = |event: &Event| event.responded >= proof.invoked && event.invoked <= ended;
            of_key.iter().all(|event| std::ptr::eq(event, proof) || !may_undo(event) || !undone(event))
        })
    }

    /// Whether the event may have written what the list shows, and nothing certain came between.
    fn may_have_written(&self, of_key: &[Event], event: &Event, shown: &ObjectSummary) -> bool {
        let began_in_time = event.invoked <= self.call.responded();
        let fits = |written: &Written| {
            written.etag.is_none_or(|etag| etag == shown.etag)
                && written.version.is_none_or(|version| version == shown.version)
        };
        let wrote =
            began_in_time && event.steps.iter().filter_map(Step::written).any(|written| fits(&written));
        let replaced = |later: &Event| {
            later.invoked > event.responded
                && later.responded < self.call.invoked
                && later.steps.iter().any(|step| match step {
                    Step::Write(written) => !fits(written),
                    Step::Delete(_) | Step::Absent => true,
                    _ => false,
                })
        };
        wrote && !of_key.iter().any(replaced)
    }
}

fn name(entry: &ListEntry) -> &Bytes {
    match entry {
        ListEntry::Object { key, .. } => key,
        ListEntry::Prefix { prefix } => prefix,
    }
}

fn may_create(event: &Event) -> bool {
    event.steps.iter().any(|step| step.written().is_some())
}

fn may_remove(event: &Event) -> bool {
    event.steps.iter().any(|step| matches!(step, Step::Delete(_) | Step::DeleteIfAdmitted(_)))
}

/// Whether the key is there when the event has happened.
fn proves_presence(event: &Event) -> bool {
    event.is_certain()
        && event.steps.last().is_some_and(|step| match step {
            Step::Present | Step::Is { .. } | Step::Refuses(_) | Step::Write(_) | Step::Complete { .. } => {
                true
            }
            Step::Absent
            | Step::Admits(_)
            | Step::Delete(_)
            | Step::DeleteIfAdmitted(_)
            | Step::Consume(_) => false,
        })
}

/// Whether the key is not there when the event has happened.
fn proves_absence(event: &Event) -> bool {
    event.is_certain()
        && event.steps.last().is_some_and(|step| matches!(step, Step::Absent | Step::Delete(_)))
}
