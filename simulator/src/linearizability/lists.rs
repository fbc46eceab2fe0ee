//! What is certain of listings.

use std::ops::Bound;

use bytes::Bytes;
use protocol::catalog::{
    Answer, BucketRef, Error, ListEntry, ListPosition, ObjectSummary, Query, QueryReply,
};

use super::project::{Event, Step, Written};
use super::{Events, described, named};
use crate::history::{Call, History};
use crate::model::{common_prefix, is_after};
use crate::workload::Action;

/// So many reads are made of listings: beyond, a long history of a large bucket is judged by what is
/// certain only.
const READS_MAX: usize = 20_000;

/// Judges all listings by what is certain, and says how many there were.
pub(super) fn check(history: &History, events: &Events) -> Result<usize, String> {
    let lists: Vec<List<'_>> = lists(history, events).collect();
    for list in &lists {
        let problem = match list.said() {
            Said::Page { entries, next } => list.problem(entries, next),
            Said::Nothing => None,
            Said::Nonsense => Some("is answered with something else".to_owned()),
        };
        if let Some(problem) = problem {
            return Err(format!("a list {problem}: {}", described(list.call)));
        }
    }
    Ok(lists.len())
}

/// A page is also a read of every key that it covers, whether it shows it or not. That all of these
/// happened at one moment is not looked at.
pub(super) fn add_reads(history: &History, events: &mut Events) {
    let mut reads = Vec::new();
    for list in lists(history, events) {
        if let Said::Page { entries, next } = list.said()
            && reads.len() < READS_MAX
        {
            reads.extend(list.reads(entries, next));
        }
    }
    for (name, event) in reads {
        events.entry(name).or_default().push(event);
    }
    for of_key in events.values_mut() {
        of_key.sort_by_key(|event| (event.invoked, event.call));
    }
}

/// The listings that were answered.
fn lists<'a>(history: &'a History, events: &'a Events) -> impl Iterator<Item = List<'a>> {
    history.calls().iter().enumerate().filter_map(|(index, call)| {
        let Action::Read { query: Query::ListObjects { bucket, prefix, delimiter, after, limit } } =
            &call.action
        else {
            return None;
        };
        let answer = call.answer()?;
        Some(List { index, call, answer, bucket, prefix, delimiter, after, limit: *limit, events })
    })
}

enum Said<'a> {
    Page { entries: &'a [ListEntry], next: Option<&'a ListPosition> },
    Nothing,
    Nonsense,
}

struct List<'a> {
    index: usize,
    call: &'a Call,
    answer: &'a QueryReply,
    bucket: &'a BucketRef,
    prefix: &'a Bytes,
    delimiter: &'a Bytes,
    after: &'a ListPosition,
    limit: u32,
    events: &'a Events,
}

impl<'a> List<'a> {
    /// A bucket that is not there has no keys; one of that id may just be another by now.
    fn said(&self) -> Said<'a> {
        match self.answer {
            Ok(Answer::Objects { entries, next }) if self.limit > 0 => {
                Said::Page { entries, next: next.as_ref() }
            }
            Ok(Answer::Objects { entries, .. }) if entries.is_empty() => Said::Nothing,
            Err(Error::NoSuchBucket) if self.bucket.id.is_none() => Said::Page { entries: &[], next: None },
            Err(Error::NoSuchBucket) => Said::Nothing,
            _ => Said::Nonsense,
        }
    }

    fn reads(&self, entries: &[ListEntry], next: Option<&ListPosition>) -> Vec<((Bytes, Bytes), Event)> {
        let reads = self.covered(next).filter_map(|(key, _)| {
            let step = match self.shown(key, entries) {
                None => Step::Absent,
                Some(ListEntry::Object { object, .. }) => {
                    Step::Is { etag: object.etag, version: Some(object.version) }
                }
                Some(ListEntry::Prefix { .. }) => return None,
            };
            let (invoked, responded) = (self.call.invoked, self.call.responded());
            let event = Event { call: self.index, invoked, responded, steps: vec![step] };
            Some(((self.bucket.name.clone(), key.clone()), event))
        });
        reads.collect()
    }

    /// The keys that the page must show if they are there.
    fn covered(&self, next: Option<&ListPosition>) -> impl Iterator<Item = (&Bytes, &[Event])> {
        self.keys(self.prefix).filter(move |(key, _)| {
            is_after(key, None, self.after) && next.is_none_or(|next| !is_after(key, None, next))
        })
    }

    /// The entry that stands for the key.
    fn shown<'e>(&self, key: &Bytes, entries: &'e [ListEntry]) -> Option<&'e ListEntry> {
        let common = common_prefix(key, self.prefix.len(), self.delimiter);
        let shown = common.as_ref().unwrap_or(key);
        entries.binary_search_by(|entry| name(entry).cmp(shown)).ok().map(|at| &entries[at])
    }

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
        let missing = self
            .covered(next)
            .find(|(key, of_key)| self.surely_present(of_key) && self.shown(key, entries).is_none());
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
