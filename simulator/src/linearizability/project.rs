//! What each call says about each key: what must have been true, and what became true.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::catalog::{
    Answer, BucketRef, Conditions, Delete, ETag, Error, Operation, Query, Reply, SourceConditions, Success,
    UploadId,
};

use crate::history::{Call, History, Outcome};
use crate::workload::Action;

/// By bucket name and key, each in the order of their beginnings.
pub(super) type Events = BTreeMap<(Bytes, Bytes), Vec<Event>>;

/// The part of a call that concerns one key. Its steps happen at once, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) call: usize,
    pub(super) invoked: u64,
    /// The end of time if the outcome is not known; then it need not have happened either.
    pub(super) responded: u64,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Absent,
    Present,
    /// The object is this one.
    Is {
        etag: ETag,
        version: Option<u64>,
    },
    /// The conditions let a write pass.
    Admits(Conditions),
    /// The key is there, and the conditions do not let a write pass.
    Refuses(Conditions),
    Write(Written),
    /// Succeeds if the key is absent or the conditions let it pass.
    Delete(Conditions),
    /// A delete of which it is not known whether it passed.
    DeleteIfAdmitted(Conditions),
    /// Writes if the upload is not consumed yet. If it is, the object is the one written then.
    Complete {
        upload: UploadId,
        conditions: Conditions,
        written: Written,
    },
    /// The upload can not be completed any more.
    Consume(UploadId),
}

/// What is known of the value of a write. An unknown copy has an unknown ETag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Written {
    pub(super) etag: Option<ETag>,
    pub(super) version: Option<u64>,
}

impl Step {
    /// What the step writes, or may write.
    pub(super) fn written(&self) -> Option<Written> {
        match self {
            Step::Write(written) | Step::Complete { written, .. } => Some(*written),
            _ => None,
        }
    }
}

impl Event {
    /// Whether it is known to have happened.
    pub(super) fn is_certain(&self) -> bool {
        self.responded < u64::MAX
    }
}

pub(super) fn project(history: &History) -> Events {
    let mut projection = Projection { events: Events::new(), of_buckets: Vec::new() };
    for (index, call) in history.calls().iter().enumerate() {
        if call.outcome() == Some(&Outcome::NoEffect) {
            continue;
        }
        match &call.action {
            Action::Write { operation } => projection.write(index, call, operation),
            Action::Read { query } => projection.read(index, call, query),
            Action::Pause { .. } | Action::Keepalive => {}
        }
    }
    projection.finish()
}

struct Projection {
    events: Events,
    /// A bucket that is made or deleted has no keys at that moment.
    of_buckets: Vec<(Bytes, Event)>,
}

impl Projection {
    fn finish(self) -> Events {
        let mut events = self.events;
        for (bucket, event) in self.of_buckets {
            for ((name, _), of_key) in &mut events {
                if *name == bucket {
                    of_key.push(event.clone());
                }
            }
        }
        for of_key in events.values_mut() {
            of_key.sort_by_key(|event| (event.invoked, event.call));
        }
        events
    }

    fn add(&mut self, index: usize, call: &Call, bucket: &BucketRef, key: &Bytes, steps: Vec<Step>) {
        if steps.is_empty() {
            return;
        }
        let event = Event { call: index, invoked: call.invoked, responded: call.responded(), steps };
        self.events.entry((bucket.name.clone(), key.clone())).or_default().push(event);
    }

    fn read(&mut self, index: usize, call: &Call, query: &Query) {
        let (Query::GetObject { bucket, key, .. } | Query::ListObjectParts { bucket, key, .. }, Some(answer)) =
            (query, call.answer())
        else {
            return;
        };
        let steps = match answer {
            Ok(Answer::Object { object, .. } | Answer::ObjectParts { object, .. }) => {
                let (etag, version) = (object.summary.etag, Some(object.summary.version));
                vec![Step::Is { etag, version }]
            }
            Err(Error::NoSuchKey) => vec![Step::Absent],
            Err(Error::InvalidPartNumber) => vec![Step::Present],
            Err(Error::NoSuchBucket) => no_bucket(bucket),
            _ => Vec::new(),
        };
        self.add(index, call, bucket, key, steps);
    }

    fn write(&mut self, index: usize, call: &Call, operation: &Operation) {
        let reply = call.reply();
        match operation {
            Operation::PutObject { bucket, key, conditions, etag, .. } => {
                let written = Written { etag: Some(*etag), version: version(reply) };
                let steps = put(bucket, conditions, written, reply);
                self.add(index, call, bucket, key, steps);
            }
            Operation::CopyObject { .. } => self.copy(index, call, operation),
            Operation::DeleteObjects { bucket, deletes } => {
                self.delete(index, call, bucket, deletes);
            }
            Operation::PutObjectTags { bucket, key, .. } => {
                self.add(index, call, bucket, key, read_only(bucket, reply));
            }
            Operation::CopyPart { source, source_key, bucket, .. } => {
                let which = source == bucket || reply != Some(&Err(Error::NoSuchBucket));
                let steps = if which { read_only(source, reply) } else { Vec::new() };
                self.add(index, call, source, source_key, steps);
            }
            Operation::CompleteUpload { bucket, key, upload, conditions, etag, .. } => {
                let written = Written { etag: Some(*etag), version: version(reply) };
                let (upload, conditions) = (*upload, conditions.clone());
                let steps = match reply {
                    None | Some(Ok(_)) => vec![Step::Complete { upload, conditions, written }],
                    Some(Err(error)) => refused(bucket, &conditions, *error),
                };
                self.add(index, call, bucket, key, steps);
            }
            Operation::AbortUpload { bucket, key, upload } => {
                let steps = match reply {
                    None | Some(Ok(_)) => vec![Step::Consume(*upload)],
                    Some(Err(error)) => refused(bucket, &Conditions::none(), *error),
                };
                self.add(index, call, bucket, key, steps);
            }
            Operation::CreateUpload { bucket, key, .. } | Operation::PutPart { bucket, key, .. }
                if reply == Some(&Err(Error::NoSuchBucket)) =>
            {
                self.add(index, call, bucket, key, no_bucket(bucket));
            }
            Operation::CreateBucket { name, .. } => self.empty_bucket(index, call, name),
            Operation::DeleteBucket { bucket } => self.empty_bucket(index, call, &bucket.name),
            _ => {}
        }
    }

    fn empty_bucket(&mut self, index: usize, call: &Call, name: &Bytes) {
        if matches!(call.reply(), Some(Ok(_))) {
            let (invoked, responded) = (call.invoked, call.responded());
            let event = Event { call: index, invoked, responded, steps: vec![Step::Absent] };
            self.of_buckets.push((name.clone(), event));
        }
    }

    /// A copy reads one key and writes another. That it does both at one moment is not checked, unless
    /// they are the same.
    fn copy(&mut self, index: usize, call: &Call, operation: &Operation) {
        let Operation::CopyObject { source, source_key, source_conditions, bucket, key, conditions, .. } =
            operation
        else {
            return;
        };
        let reply = call.reply();
        let onto_itself = (&source.name, source_key) == (&bucket.name, key);
        let (mut from, to) = match reply {
            Some(Ok(Success::ObjectWritten { object })) => {
                let written = Written { etag: Some(object.etag), version: Some(object.version) };
                (
                    vec![Step::Is { etag: object.etag, version: None }],
                    vec![Step::Admits(conditions.clone()), Step::Write(written)],
                )
            }
            Some(Ok(_)) => return,
            // Where two things may have been refused, nothing is known of either.
            Some(Err(error)) => match error {
                Error::NoSuchKey if conditions.if_match.is_none() => (vec![Step::Absent], Vec::new()),
                Error::NoSuchBucket if source == bucket => (no_bucket(source), no_bucket(bucket)),
                Error::PreconditionFailed if *source_conditions == SourceConditions::none() => {
                    (vec![Step::Present], vec![Step::Refuses(conditions.clone())])
                }
                _ => return,
            },
            None => {
                let written = Written { etag: None, version: None };
                (Vec::new(), vec![Step::Admits(conditions.clone()), Step::Write(written)])
            }
        };
        if onto_itself {
            from.extend(to);
            self.add(index, call, bucket, key, from);
        } else {
            self.add(index, call, source, source_key, from);
            self.add(index, call, bucket, key, to);
        }
    }

    fn delete(&mut self, index: usize, call: &Call, bucket: &BucketRef, deletes: &[Delete]) {
        let outcomes = match call.reply() {
            Some(Ok(Success::ObjectsDeleted { outcomes })) => Some(outcomes),
            Some(Ok(_)) => return,
            Some(Err(error)) => {
                for delete in deletes {
                    self.add(index, call, bucket, &delete.key, refused(bucket, &delete.conditions, *error));
                }
                return;
            }
            None => None,
        };
        // A key may stand there twice.
        let mut by_key: BTreeMap<&Bytes, Vec<Step>> = BTreeMap::new();
        for (at, delete) in deletes.iter().enumerate() {
            let conditions = delete.conditions.clone();
            let step = match outcomes.map(|outcomes| outcomes.get(at)) {
                None => Step::DeleteIfAdmitted(conditions),
                Some(Some(None)) => Step::Delete(conditions),
                Some(Some(Some(Error::PreconditionFailed))) => Step::Refuses(conditions),
                Some(_) => continue,
            };
            by_key.entry(&delete.key).or_default().push(step);
        }
        for (key, steps) in by_key {
            self.add(index, call, bucket, key, steps);
        }
    }
}

fn put(bucket: &BucketRef, conditions: &Conditions, written: Written, reply: Option<&Reply>) -> Vec<Step> {
    match reply {
        None | Some(Ok(_)) => vec![Step::Admits(conditions.clone()), Step::Write(written)],
        Some(Err(error)) => refused(bucket, conditions, *error),
    }
}

/// What is known when a write to a key was refused.
fn refused(bucket: &BucketRef, conditions: &Conditions, error: Error) -> Vec<Step> {
    match error {
        Error::PreconditionFailed => vec![Step::Refuses(conditions.clone())],
        Error::NoSuchKey => vec![Step::Absent],
        Error::NoSuchBucket => no_bucket(bucket),
        _ => Vec::new(),
    }
}

/// A call that needs an object and does not change it.
fn read_only(bucket: &BucketRef, reply: Option<&Reply>) -> Vec<Step> {
    match reply {
        Some(Ok(_)) => vec![Step::Present],
        Some(Err(Error::NoSuchKey)) => vec![Step::Absent],
        Some(Err(Error::NoSuchBucket)) => no_bucket(bucket),
        _ => Vec::new(),
    }
}

/// A bucket that is not there has no keys. One that was asked for by its id may just be another now.
fn no_bucket(bucket: &BucketRef) -> Vec<Step> {
    if bucket.id.is_none() { vec![Step::Absent] } else { Vec::new() }
}

fn version(reply: Option<&Reply>) -> Option<u64> {
    match reply {
        Some(Ok(Success::ObjectWritten { object })) => Some(object.version),
        _ => None,
    }
}
