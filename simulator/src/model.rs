//! What the log means, told once more by other means: plain maps, no rows, no reference counts, no
//! order of bytes that an encoding has to keep.
//!
//! It shares with the real thing the words it is spoken to in, and nothing else. An independent
//! telling is worth something only as long as it is simple enough to be believed without a test.

mod answers;
mod bodies;
mod buckets;
mod copies;
mod multipart;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::catalog::{
    AccessKey, Answer, BodyId, BucketId, BucketRef, CatalogLimits, ChunkedBody, Error, Headers,
    ObjectSummary, Operation, Part, Query, QueryReply, Reply, Success, Tags, UploadId,
};
use protocol::config::Limits;
use protocol::data::placement::Layout;
use protocol::entry::{self, Entry, Request};
use protocol::state::{self, SessionFacts};
use protocol::types::{Incarnation, Op, REPLICAS_MAX, ReplicaId, SessionId, Timestamp};
use protocol::wire::Wire;

pub use answers::{common_prefix, is_after};
use sessions::{Heard, Sessions};

/// The live sessions, and what the log knows of them.
pub type Live = BTreeMap<SessionId, SessionFacts>;

/// By replica, its present disk.
pub type Disks = [Incarnation; REPLICAS_MAX];

/// Where in the log an operation stands, and who asked for it.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub op: Op,
    pub index: usize,
    pub timestamp: Timestamp,
    pub session: SessionId,
    pub live: &'a Live,
    pub disks: &'a Disks,
}

/// After which op a query is answered.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    pub applied: Op,
    pub live: &'a Live,
    pub disks: &'a Disks,
}

impl Place<'_> {
    /// The name that nothing else in the cluster ever has.
    fn unique(&self) -> u64 {
        SessionId::from_register(self.op, self.index).get()
    }
}

/// The whole replicated state, sessions included, fed with the committed log.
pub struct Model {
    catalog: CatalogModel,
    sessions: Sessions,
    disks: Disks,
    applied: Op,
}

impl Model {
    pub fn new(limits: &Limits, catalog: CatalogLimits, layout: Layout) -> Model {
        Model {
            catalog: CatalogModel::new(catalog, layout),
            sessions: Sessions::new(limits),
            disks: [Incarnation::ZERO; REPLICAS_MAX],
            applied: Op::ZERO,
        }
    }

    /// Sessions that had to go because there was no room.
    pub fn evicted(&self) -> u64 {
        self.sessions.evicted()
    }

    /// What the clients of this entry must be told, in the order of its requests.
    pub fn execute(&mut self, entry: &Entry) -> Result<Vec<state::Reply>, String> {
        if entry.op() != self.applied.next() {
            return Err(format!("op {} does not follow op {}", entry.op(), self.applied));
        }
        let requests = entry.requests().map_err(|error| format!("op {}: {error}", entry.op()))?;
        let replies =
            requests.iter().enumerate().map(|(index, request)| self.request(entry, index, request)).collect();
        self.applied = entry.op();
        Ok(replies)
    }

    /// The answer as of the last entry executed.
    pub fn answer(&self, query: &Query) -> QueryReply {
        let live = self.sessions.live();
        self.catalog.answer(&self.moment(&live), query)
    }

    /// Whether `actual` is a right answer as of the last entry executed. See `CatalogModel::agrees`.
    pub fn agrees(&self, query: &Query, actual: &QueryReply) -> Result<(), String> {
        let live = self.sessions.live();
        self.catalog.agrees(&self.moment(&live), query, actual)
    }

    fn moment<'a>(&'a self, live: &'a Live) -> Moment<'a> {
        Moment { applied: self.applied, live, disks: &self.disks }
    }

    pub fn applied(&self) -> Op {
        self.applied
    }

    fn request(&mut self, entry: &Entry, index: usize, request: &Request) -> state::Reply {
        let op = entry.op();
        let timestamp = entry.header.timestamp.plus(index as u64);
        match self.sessions.hear(request, op, index, timestamp) {
            Heard::Answered(reply) => reply,
            Heard::Execute => {
                let outcome = match &request.operation {
                    entry::Operation::Machine(bytes) => {
                        let live = self.sessions.live();
                        let (session, disks) = (request.session, self.disks);
                        let place = Place { op, index, timestamp, session, live: &live, disks: &disks };
                        state::Outcome::Done(self.catalog.apply_bytes(&place, bytes).to_bytes())
                    }
                    operation => {
                        if let entry::Operation::Rejoin { replica, .. } = operation {
                            let disk = entry.header.incarnations.get(replica.index());
                            disk.iter().for_each(|disk| self.disks[replica.index()] = **disk);
                        }
                        self.sessions.manage(request.session, operation, op, timestamp);
                        state::Outcome::Acknowledged
                    }
                };
                self.sessions.answer(request, op, outcome)
            }
        }
    }
}

/// What the catalog's documentation says, and nothing about how it is done.
pub struct CatalogModel {
    limits: CatalogLimits,
    layout: Layout,
    buckets: BTreeMap<Bytes, Bucket>,
    access_keys: BTreeMap<Bytes, AccessKey>,
    /// What became of completed uploads, for as long as anything may refer to them.
    composed: BTreeMap<UploadId, Composition>,
    /// Parts that were uploaded and not listed, of completed uploads, until a `Collect` takes them.
    surplus: BTreeMap<UploadId, BTreeMap<u16, Run>>,
    /// Parts that wait for a `Collect`: of aborted uploads, and of objects that are gone.
    condemned: BTreeMap<UploadId, Condemned>,
    /// Every body that was committed and not yet forgotten.
    bodies: BTreeMap<BodyId, Body>,
    /// The disks of which their replicas have said that they hold all that they should.
    rebuilt: BTreeMap<ReplicaId, Incarnation>,
}

struct Bucket {
    id: BucketId,
    owner: Bytes,
    created: Timestamp,
    tags: Tags,
    objects: BTreeMap<Bytes, Object>,
    uploads: BTreeMap<(Bytes, UploadId), OpenUpload>,
}

#[derive(Clone)]
struct Object {
    summary: ObjectSummary,
    headers: Headers,
    tags: Tags,
    content: Content,
}

#[derive(Clone, PartialEq, Eq)]
enum Content {
    /// All the bytes, or a run of those of a body.
    Run(Run),
    /// The parts of a completed upload.
    Composed(UploadId),
}

#[derive(Clone, PartialEq, Eq)]
enum Run {
    Inline(Bytes),
    Slice { id: BodyId, offset: u64 },
}

struct OpenUpload {
    created: Timestamp,
    headers: Headers,
    tags: Tags,
    checksum: Option<u8>,
    parts: BTreeMap<u16, PartModel>,
}

#[derive(Clone)]
struct PartModel {
    part: Part,
    run: Run,
}

/// The parts of a completed upload, with where they begin in the object.
struct Composition {
    parts: Vec<(u64, PartModel)>,
}

struct Condemned {
    since: Op,
    /// By number, those that are not taken apart yet.
    parts: BTreeMap<u16, Run>,
    /// What the upload had become. Gone as soon as the first part is taken.
    composition: Option<Composition>,
}

struct Body {
    body: ChunkedBody,
    /// When nothing referred to it any more.
    retired: Option<Op>,
    /// The replicas that lack a chunk they should hold.
    owing: BTreeSet<ReplicaId>,
    /// How many disks held the chunk that was on the fewest when the body was committed.
    copies_min: usize,
}

impl CatalogModel {
    pub fn new(limits: CatalogLimits, layout: Layout) -> CatalogModel {
        CatalogModel {
            limits,
            layout,
            buckets: BTreeMap::new(),
            access_keys: BTreeMap::new(),
            composed: BTreeMap::new(),
            surplus: BTreeMap::new(),
            condemned: BTreeMap::new(),
            bodies: BTreeMap::new(),
            rebuilt: BTreeMap::new(),
        }
    }

    fn apply_bytes(&mut self, place: &Place<'_>, bytes: &Bytes) -> Reply {
        match Operation::from_bytes(bytes) {
            Ok(operation) => self.apply(place, &operation),
            Err(_) => Err(Error::Malformed),
        }
    }

    pub fn apply(&mut self, place: &Place<'_>, operation: &Operation) -> Reply {
        operation.check(&self.limits).map_err(|_| Error::Malformed)?;
        let reply = self.decide(place, operation)?;
        self.retire(place.op);
        Ok(reply)
    }

    fn decide(&mut self, place: &Place<'_>, operation: &Operation) -> Reply {
        match operation {
            Operation::CreateBucket { name, owner, tags } => self.create_bucket(place, name, owner, tags),
            Operation::DeleteBucket { bucket } => self.delete_bucket(bucket),
            Operation::PutBucketTags { bucket, tags } => {
                self.bucket_mut(bucket)?.tags = tags.clone();
                Ok(Success::Done)
            }
            Operation::PutObject { .. } => self.put_object(place, operation),
            Operation::CopyObject { .. } => self.copy_object(place, operation),
            Operation::DeleteObjects { bucket, deletes } => {
                let bucket = self.bucket_mut(bucket)?;
                let outcomes = deletes.iter().map(|delete| bucket.delete(delete).err()).collect();
                Ok(Success::ObjectsDeleted { outcomes })
            }
            Operation::PutObjectTags { bucket, key, tags } => {
                let bucket = self.bucket_mut(bucket)?;
                bucket.objects.get_mut(key).ok_or(Error::NoSuchKey)?.tags = tags.clone();
                Ok(Success::Done)
            }
            Operation::CreateUpload { .. }
            | Operation::PutPart { .. }
            | Operation::CopyPart { .. }
            | Operation::CompleteUpload { .. }
            | Operation::AbortUpload { .. } => self.decide_multipart(place, operation),
            Operation::PutAccessKey { id, access_key } => {
                self.access_keys.insert(id.clone(), access_key.clone());
                Ok(Success::Done)
            }
            Operation::DeleteAccessKey { id } => {
                self.access_keys.remove(id).map(|_| Success::Done).ok_or(Error::NoSuchAccessKey)
            }
            Operation::Collect { retired, condemned } => Ok(self.collect(place, retired, condemned)),
            Operation::Settle { node, incarnation, bodies } => {
                self.settle(place, *node, *incarnation, bodies)
            }
            Operation::Rebuilt { node, incarnation } => self.note_rebuilt(place, *node, *incarnation),
        }
    }

    fn bucket(&self, wanted: &BucketRef) -> Result<&Bucket, Error> {
        let bucket = self.buckets.get(&wanted.name).ok_or(Error::NoSuchBucket)?;
        if wanted.id.is_none_or(|id| id == bucket.id) { Ok(bucket) } else { Err(Error::NoSuchBucket) }
    }

    fn bucket_mut(&mut self, wanted: &BucketRef) -> Result<&mut Bucket, Error> {
        self.bucket(wanted)?;
        self.buckets.get_mut(&wanted.name).ok_or(Error::NoSuchBucket)
    }

    /// Like `answer`, but a page may be shorter than it was asked for: pages are bounded in bytes
    /// too, and how many bytes an entry counts for is nobody's business. What a short page says must
    /// still be right, and it must say that there is more.
    pub fn agrees(&self, moment: &Moment<'_>, query: &Query, actual: &QueryReply) -> Result<(), String> {
        let expected = self.answer(moment, query);
        if expected == *actual {
            return Ok(());
        }
        if let (Ok(expected), Ok(answer)) = (&expected, actual) {
            let (most, count) = (entry_count(expected), entry_count(answer));
            let short = 0 < count && count < most;
            if short && self.answer(moment, &answers::limited(query, count)) == *actual {
                return Ok(());
            }
            if let (Answer::Bodies { bodies, .. }, true, Query::GetBodies { .. }) = (expected, short, query) {
                let bodies = bodies[..count].to_vec();
                if *answer == (Answer::Bodies { bodies, truncated: true }) {
                    return Ok(());
                }
            }
        }
        Err(format!("{query:?} as of op {} is answered {actual:?} instead of {expected:?}", moment.applied))
    }
}

/// How many entries a page has; none if the answer is not a page that may be cut.
fn entry_count(answer: &Answer) -> usize {
    match answer {
        Answer::Buckets { buckets, .. } => buckets.len(),
        Answer::Object { pieces, .. } | Answer::Pieces { pieces, .. } => pieces.len(),
        Answer::Objects { entries, .. } => entries.len(),
        Answer::Parts { parts, .. } | Answer::ObjectParts { parts, .. } => parts.len(),
        Answer::Uploads { entries, .. } => entries.len(),
        Answer::AccessKeys { access_keys, .. } => access_keys.len(),
        Answer::Bodies { bodies, .. } => bodies.len(),
        Answer::Debts { debts, .. } => debts.len(),
        Answer::Bucket { .. }
        | Answer::AccessKey { .. }
        | Answer::Verdicts { .. }
        | Answer::Rebuilding { .. }
        | Answer::Collectable { .. } => 0,
    }
}
