//! What clients want: a stream of operations and queries, made while the world runs, from what the
//! client has learned so far.
//!
//! Every value is written once in the life of a world: it says which client made it, and which of
//! that client's values it is. So a read names the write it saw.

mod copies;
mod knowledge;
mod options;
mod reads;
#[cfg(test)]
mod tests;
mod uploads;
mod values;
mod writes;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use protocol::catalog::{
    Answer, BucketRef, Conditions, Error, ListPosition, NewBody, Operation, Query, QueryReply, Reply, Tag,
    UploadId,
};
use protocol::data::placement::Layout;
use protocol::types::{Incarnation, REPLICAS_MAX, SessionId};

use crate::history::Outcome;
use crate::random::Random;
use knowledge::Knowledge;
pub use options::{KeyShape, Kind, WorkloadOptions};

/// The next thing that a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Write {
        operation: Operation,
    },
    Read {
        query: Query,
    },
    Pause {
        micros: u64,
    },
    /// With `Workload::oldest_live_upload` and the client's oldest read.
    Keepalive,
}

pub struct Workload {
    options: WorkloadOptions,
    layout: Layout,
    random: Random,
    client: u32,
    /// How many values this client has made.
    values: u64,
    session: SessionId,
    next_upload: u64,
    /// Upload numbers of operations that have no answer yet.
    live_uploads: BTreeSet<u64>,
    /// Whose disk is which, as this client believes.
    incarnations: [Incarnation; REPLICAS_MAX],
    /// And as it could know if it asked.
    incarnations_heard: [Incarnation; REPLICAS_MAX],
    knowledge: Knowledge,
    /// What follows from what was learned.
    planned: VecDeque<Action>,
    /// A bucket whose listings are turned into deletions.
    clearing: Option<Bytes>,
}

impl Workload {
    pub fn new(options: WorkloadOptions, layout: Layout, seed: u64, client: usize) -> Workload {
        Workload {
            options,
            layout,
            random: Random::branch(seed, &format!("workload {client}")),
            client: u32::try_from(client).expect("a world has few clients"),
            values: 0,
            session: SessionId::ZERO,
            next_upload: 1,
            live_uploads: BTreeSet::new(),
            incarnations: [Incarnation::ZERO; REPLICAS_MAX],
            incarnations_heard: [Incarnation::ZERO; REPLICAS_MAX],
            knowledge: Knowledge::default(),
            planned: VecDeque::new(),
            clearing: None,
        }
    }

    /// The client has a new session, and with it new upload numbers.
    pub fn set_session(&mut self, session: SessionId) {
        self.session = session;
        self.next_upload = 1;
        self.live_uploads.clear();
    }

    /// Every upload number below this is done with, and none below it is begun again but to be
    /// refused.
    pub fn oldest_live_upload(&self) -> u64 {
        self.live_uploads.first().copied().unwrap_or(self.next_upload)
    }

    #[expect(
        clippy::should_implement_trait,
        reason = "a workload never ends, and what comes next depends on what was learned"
    )]
    pub fn next(&mut self) -> Action {
        // Whoever clears a bucket hurries: others may be writing to it.
        let pursue = self.clearing.is_some() || self.random.percent(60);
        if let Some(action) = self.planned.pop_front_if(|_| pursue) {
            return action;
        }
        let kind = self.options.draw_kind(&mut self.random);
        self.action(kind)
    }

    fn action(&mut self, kind: Kind) -> Action {
        match kind {
            Kind::Keepalive => Action::Keepalive,
            Kind::Pause => Action::Pause { micros: self.random.below(self.options.pause_micros_max) + 1 },
            Kind::Collect => Action::Read { query: Query::Collectable { after: None, limit: self.limit() } },
            Kind::ClearBucket => self.clear_bucket(),
            kind => match self.query(kind) {
                Some(query) => Action::Read { query },
                None => Action::Write { operation: self.operation(kind) },
            },
        }
    }

    /// The client has an outcome, which may give it ideas.
    pub fn learned(&mut self, action: &Action, outcome: &Outcome) {
        match (action, outcome) {
            (Action::Write { operation }, outcome) => {
                if let Some(upload) = upload_number(operation) {
                    self.live_uploads.remove(&upload);
                }
                if let Outcome::Reply(reply) = outcome {
                    self.wrote(operation, reply);
                }
            }
            (Action::Read { query }, Outcome::Answer(answer)) => self.read(query, answer),
            _ => {}
        }
    }

    fn wrote(&mut self, operation: &Operation, reply: &Reply) {
        match reply {
            Ok(success) => self.knowledge.wrote(operation, success),
            Err(Error::NoSuchBucket) => self.plan_bucket(),
            Err(Error::TooFewCopies) => self.plan_more_copies(operation),
            Err(Error::DiskReplaced) => self.incarnations = self.incarnations_heard,
            Err(Error::NoSuchUpload) => {
                if let Operation::PutPart { upload, .. } | Operation::CopyPart { upload, .. } = operation {
                    self.knowledge.uploads.retain(|known| known.id != *upload);
                }
            }
            Err(_) => {}
        }
        if matches!(operation, Operation::CompleteUpload { .. }) {
            knowledge::remember(&mut self.knowledge.completions, operation.clone());
        }
    }

    fn read(&mut self, query: &Query, reply: &QueryReply) {
        let answer = match reply {
            Ok(answer) => answer,
            Err(Error::NoSuchBucket) => {
                self.clearing = None;
                return self.plan_bucket();
            }
            Err(_) => return,
        };
        self.knowledge.read(query, answer);
        match (query, answer) {
            (_, Answer::Collectable { retired, condemned, .. }) => {
                if !retired.is_empty() || !condemned.is_empty() {
                    let (retired, condemned) = (retired.clone(), condemned.clone());
                    self.plan(Action::Write { operation: Operation::Collect { retired, condemned } });
                }
            }
            (_, Answer::Debts { debts, .. }) => {
                self.plan_next_page(query, answer);
                self.plan_settling(debts);
            }
            (_, Answer::Rebuilding { disks }) => self.plan_rebuilt(disks),
            (Query::ListObjects { bucket, .. }, _) if self.clearing.as_ref() == Some(&bucket.name) => {
                self.plan_deletes(&bucket.name, &knowledge::keys(answer));
            }
            (Query::ListUploads { bucket, .. }, _) if self.clearing.as_ref() == Some(&bucket.name) => {
                self.plan_end(&bucket.name, knowledge::uploads(answer));
            }
            _ => self.plan_next_page(query, answer),
        }
    }

    fn plan_next_page(&mut self, query: &Query, answer: &Answer) {
        if let Some(query) = knowledge::next_page(query, answer) {
            self.plan(Action::Read { query });
        }
    }

    /// Plans that grow faster than they are carried out are dropped. Tells whether this one was kept.
    fn plan(&mut self, action: Action) -> bool {
        let kept = self.planned.len() < 16;
        if kept {
            self.planned.push_back(action);
        }
        kept
    }

    /// Makes a bucket that was missed, unless that is planned already.
    fn plan_bucket(&mut self) {
        let creates =
            |action: &Action| matches!(action, Action::Write { operation: Operation::CreateBucket { .. } });
        if !self.planned.iter().any(creates) {
            let operation = self.operation(Kind::CreateBucket);
            self.planned.push_front(Action::Write { operation });
        }
    }

    /// Lists everything in a bucket, in order to delete all of it, and then the bucket. Others may
    /// write in between: then it stays.
    fn clear_bucket(&mut self) -> Action {
        let bucket = self.bucket();
        for dropped in std::mem::take(&mut self.planned) {
            if let Action::Write { operation } = dropped
                && let Some(upload) = upload_number(&operation)
            {
                self.live_uploads.remove(&upload);
            }
        }
        self.clearing = Some(bucket.name.clone());
        let (prefix, delimiter, after) = (Bytes::new(), Bytes::new(), ListPosition::Start);
        Action::Read { query: Query::ListObjects { bucket, prefix, delimiter, after, limit: u32::MAX } }
    }

    fn plan_deletes(&mut self, name: &Bytes, keys: &[Bytes]) {
        let bucket = BucketRef::named(name.clone());
        for keys in keys.chunks(50) {
            let deletes = keys.iter().map(|key| values::delete(key.clone(), Conditions::none())).collect();
            let operation = Operation::DeleteObjects { bucket: bucket.clone(), deletes };
            self.plan(Action::Write { operation });
        }
        let (prefix, delimiter, after) = (Bytes::new(), Bytes::new(), ListPosition::Start);
        self.plan(Action::Read {
            query: Query::ListUploads { bucket, prefix, delimiter, after, limit: u32::MAX },
        });
    }

    fn plan_end(&mut self, name: &Bytes, uploads: Vec<(Bytes, UploadId)>) {
        self.clearing = None;
        let bucket = BucketRef::named(name.clone());
        for (key, upload) in uploads {
            self.plan(Action::Write {
                operation: Operation::AbortUpload { bucket: bucket.clone(), key, upload },
            });
        }
        self.plan(Action::Write { operation: Operation::DeleteBucket { bucket } });
    }

    fn bucket_name(&mut self) -> Bytes {
        Bytes::from(format!("bucket-{}", self.random.below(self.options.bucket_count)))
    }

    fn bucket(&mut self) -> BucketRef {
        let name = self.bucket_name();
        let exact = self.random.percent(self.options.exact_bucket_percent);
        match self.knowledge.buckets.get(&name).filter(|_| exact) {
            Some(id) => BucketRef::exact(name, *id),
            None => BucketRef::named(name),
        }
    }

    fn key(&mut self) -> Bytes {
        let count = self.options.key_count;
        let hot = self.random.percent(self.options.hot_percent);
        let number = self.random.below(if hot { count.div_ceil(10) } else { count });
        Bytes::from(self.options.key(number))
    }

    /// The limit of a page: mostly small, so that there are further pages.
    fn limit(&mut self) -> u32 {
        let small = self.random.between(1, 5);
        let limit = *self.random.pick(&[small, small, small, 20, 1000, 1000, u64::from(u32::MAX), 0]);
        u32::try_from(limit).expect("all of them fit")
    }
}

/// The upload number of the body that an operation brings.
fn upload_number(operation: &Operation) -> Option<u64> {
    match operation.new_body() {
        Some(NewBody::Chunked { upload, .. }) => Some(*upload),
        Some(NewBody::Inline { .. }) | None => None,
    }
}

impl Workload {
    fn tags(&mut self) -> Vec<Tag> {
        let count = if self.random.percent(70) { 0 } else { self.random.between(1, 3) };
        let mut tag = |index| Tag {
            key: Bytes::from(format!("tag-{index}")),
            value: Bytes::from(format!("{}", self.random.below(10))),
        };
        (0..count).map(&mut tag).collect()
    }
}
