//! A catalog alone with its tables.

use std::cell::Cell;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::catalog::*;
use crate::data::outline::ChunkRoot;
use crate::data::placement::Layout;
use crate::data::receipt::{Holding, Receipt, ReceiptKey};
use crate::machine::{Context, Machine, QueryContext};
use crate::quorums::Quorums;
use crate::state::{SessionFacts, Sessions};
use crate::tables::{Scan, TableFault, Tables};
use crate::types::{Incarnation, Op, REPLICAS_MAX, ReplicaId, SessionId, Timestamp};

/// Tables in memory that count what is done to them.
#[derive(Default)]
pub(super) struct MemoryTables {
    pub(super) rows: BTreeMap<Vec<u8>, Bytes>,
    pub(super) gets: Cell<usize>,
    pub(super) puts: usize,
    pub(super) deletes: usize,
    /// Rows shown to visitors.
    pub(super) visits: Cell<usize>,
}

impl Tables for MemoryTables {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TableFault> {
        self.gets.set(self.gets.get() + 1);
        Ok(self.rows.get(key).cloned())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.puts += 1;
        self.rows.insert(key.to_vec(), Bytes::copy_from_slice(value));
    }

    fn delete(&mut self, key: &[u8]) {
        self.deletes += 1;
        self.rows.remove(key);
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Scan,
    ) -> Result<(), TableFault> {
        let to = to.map(<[u8]>::to_vec);
        for (key, value) in self.rows.range(from.to_vec()..) {
            if to.as_ref().is_some_and(|to| key >= to) {
                break;
            }
            self.visits.set(self.visits.get() + 1);
            if visit(key, value) == Scan::Stop {
                break;
            }
        }
        Ok(())
    }
}

impl MemoryTables {
    /// How many rows there are of the kind that begins with `kind`.
    pub(super) fn count(&self, kind: u8) -> usize {
        self.rows.keys().filter(|key| key[0] == kind).count()
    }

    pub(super) fn forget_counts(&mut self) {
        (self.puts, self.deletes) = (0, 0);
        self.gets.set(0);
        self.visits.set(0);
    }
}

pub(super) const ALICE: SessionId = SessionId::new(1);

/// Of five replicas three own a chunk, and three must hold it.
pub(super) const LAYOUT: Layout = Layout::first(Quorums::of(5));

pub(super) const RECEIPT_KEY: ReceiptKey = ReceiptKey::new([9; 32]);

pub(super) struct World {
    pub(super) catalog: Catalog,
    pub(super) tables: MemoryTables,
    pub(super) live: BTreeMap<SessionId, SessionFacts>,
    pub(super) op: Op,
    pub(super) incarnations: [Incarnation; REPLICAS_MAX],
    next_upload: u64,
}

impl World {
    /// With the bucket `bucket` and one session.
    pub(super) fn new() -> World {
        let limits = CatalogLimits { part_bytes_min: 5, inline_bytes_max: 100, ..CatalogLimits::standard() };
        let facts = SessionFacts { oldest_live_upload: 0, oldest_read: Op::ZERO };
        let mut world = World {
            catalog: Catalog::new(limits, LAYOUT, RECEIPT_KEY),
            tables: MemoryTables::default(),
            live: BTreeMap::from([(ALICE, facts)]),
            op: Op::new(10),
            incarnations: [Incarnation::ZERO; REPLICAS_MAX],
            next_upload: 1,
        };
        world.create_bucket("bucket");
        world
    }

    fn sessions(&self) -> Sessions {
        Sessions::with(self.live.clone())
    }

    pub(super) fn apply_bytes(&mut self, session: SessionId, operation: &Bytes) -> Reply {
        self.op = self.op.next();
        let sessions = self.sessions();
        let context = Context {
            op: self.op,
            index: 3,
            timestamp: Timestamp::new(self.op.get() * 1_000_000),
            session,
            sessions: &sessions,
            incarnations: &self.incarnations,
        };
        let reply = self.catalog.apply(&mut self.tables, &context, operation).unwrap();
        assert!(reply.len() <= crate::config::Limits::standard().reply_bytes_max);
        Reply::from_bytes(&reply).unwrap()
    }

    pub(super) fn apply_in(&mut self, session: SessionId, operation: Operation) -> Reply {
        let bytes = operation.to_bytes();
        assert_eq!(self.catalog.validate(session, &bytes), Ok(()));
        self.apply_bytes(session, &bytes)
    }

    pub(super) fn apply(&mut self, operation: Operation) -> Reply {
        self.apply_in(ALICE, operation)
    }

    pub(super) fn try_query(&self, query: Query) -> QueryReply {
        let sessions = self.sessions();
        let context =
            QueryContext { applied: self.op, sessions: &sessions, incarnations: &self.incarnations };
        let reply = self.catalog.query(&self.tables, &context, &query.to_bytes()).unwrap();
        QueryReply::from_bytes(&reply.unwrap()).unwrap()
    }

    pub(super) fn query(&self, query: Query) -> Answer {
        self.try_query(query).unwrap()
    }

    pub(super) fn create_bucket(&mut self, name: &'static str) -> BucketId {
        let operation =
            Operation::CreateBucket { name: name.into(), owner: "alice".into(), tags: Vec::new() };
        match self.apply(operation).unwrap() {
            Success::BucketCreated { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn try_put(&mut self, key: &[u8], conditions: Conditions, body: NewBody) -> Reply {
        let etag = self.new_etag();
        self.apply(put("bucket", key, conditions, etag, body))
    }

    /// Puts a small object and tells its ETag.
    pub(super) fn put(&mut self, key: &[u8], bytes: &'static str) -> ETag {
        written(self.try_put(key, Conditions::none(), NewBody::inline(bytes))).etag
    }

    /// Puts an object of chunks and tells its body.
    pub(super) fn put_chunked(&mut self, key: &[u8]) -> BodyId {
        let (id, body) = self.stored(250);
        written(self.try_put(key, Conditions::none(), body));
        id
    }

    /// A body whose chunks Alice has stored.
    pub(super) fn stored(&mut self, length: u64) -> (BodyId, NewBody) {
        let upload = self.next_upload;
        self.next_upload += 1;
        let id = BodyId { session: ALICE, upload };
        (id, received(chunked_body(length), id, self.owners(id)))
    }

    /// The present disks of those that own a chunk of a body.
    pub(super) fn owners(&self, id: BodyId) -> impl Fn(u32) -> Vec<Disk> + use<> {
        let incarnations = self.incarnations;
        move |index| {
            let disk = |node: ReplicaId| Disk { node, incarnation: incarnations[node.index()] };
            LAYOUT.owners(id.chunk(index)).map(disk).collect()
        }
    }

    pub(super) fn new_etag(&self) -> ETag {
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&self.op.get().to_le_bytes());
        ETag::simple(digest)
    }

    pub(super) fn delete(&mut self, key: &[u8]) -> Option<Error> {
        self.delete_if(key, Conditions::none())
    }

    pub(super) fn delete_if(&mut self, key: &[u8], conditions: Conditions) -> Option<Error> {
        let deletes = vec![Delete { key: Bytes::copy_from_slice(key), conditions }];
        let reply = self.apply(Operation::DeleteObjects { bucket: bucket(), deletes });
        match reply.unwrap() {
            Success::ObjectsDeleted { outcomes } => outcomes[0],
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn copy(&mut self, from: &[u8], to: &[u8]) -> Reply {
        self.apply(copy(from, to))
    }

    pub(super) fn object(&self, key: &[u8]) -> Result<(Object, Vec<Piece>, bool), Error> {
        let pieces = Some(PieceSelection::all(100));
        let key = Bytes::copy_from_slice(key);
        match self.try_query(Query::GetObject { bucket: bucket(), key, pieces })? {
            Answer::Object { object, pieces, more } => Ok((object, pieces, more)),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn verdict(&self, chunk: ChunkId) -> Verdict {
        match self.query(Query::GetVerdicts { chunks: vec![chunk] }) {
            Answer::Verdicts { applied, verdicts } => {
                assert_eq!(applied, self.op);
                verdicts[0]
            }
            other => panic!("{other:?}"),
        }
    }

    /// Collects until nothing more can be collected.
    pub(super) fn collect_all(&mut self) {
        loop {
            let query = Query::Collectable { after: None, limit: 1000 };
            let Answer::Collectable { retired, condemned, .. } = self.query(query) else { unreachable!() };
            if retired.is_empty() && condemned.is_empty() {
                return;
            }
            self.apply(Operation::Collect { retired, condemned }).unwrap();
        }
    }

    /// Alice has ended all her reads and all uploads below `upload`.
    pub(super) fn advance_marks(&mut self, upload: u64) {
        let oldest_read = self.op.next();
        self.live.insert(ALICE, SessionFacts { oldest_live_upload: upload, oldest_read });
    }

    /// Creates an upload of `key` with a part for each body, and tells how they are listed.
    pub(super) fn upload(&mut self, key: &[u8], bodies: Vec<(u16, NewBody)>) -> (UploadId, Vec<ListedPart>) {
        let upload = self.create_upload(key);
        let parts = bodies
            .into_iter()
            .map(|(number, body)| self.put_part(key, upload, number, body).unwrap())
            .collect();
        (upload, parts)
    }

    pub(super) fn create_upload(&mut self, key: &[u8]) -> UploadId {
        let operation = Operation::CreateUpload {
            bucket: bucket(),
            key: Bytes::copy_from_slice(key),
            headers: headers([("content-type", "x")]),
            tags: Vec::new(),
            checksum: None,
        };
        match self.apply(operation).unwrap() {
            Success::UploadCreated { upload, .. } => upload,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn put_part(
        &mut self,
        key: &[u8],
        upload: UploadId,
        number: u16,
        body: NewBody,
    ) -> Result<ListedPart, Error> {
        let digest = self.new_etag().digest;
        let operation = Operation::PutPart {
            bucket: bucket(),
            key: Bytes::copy_from_slice(key),
            upload,
            part: number,
            digest,
            checksums: Vec::new(),
            body,
        };
        self.apply(operation).map(|_| ListedPart { number, digest })
    }

    pub(super) fn complete(&mut self, key: &[u8], upload: UploadId, parts: &[ListedPart]) -> Reply {
        self.apply(complete(key, upload, parts, Conditions::none()))
    }

    pub(super) fn abort(&mut self, key: &[u8], upload: UploadId) -> Reply {
        self.apply(Operation::AbortUpload { bucket: bucket(), key: Bytes::copy_from_slice(key), upload })
    }
}

pub(super) fn bucket() -> BucketRef {
    BucketRef::named("bucket")
}

/// A body of `length` bytes in chunks of 100.
pub(super) fn chunked_body(length: u64) -> ChunkedBody {
    let chunk_count = u32::try_from(length.div_ceil(100)).unwrap();
    let extents = vec![Extent { chunk_count, encoding: Encoding::Copies { count: 3 } }];
    let roots = vec![ChunkRoot([1; 32]); chunk_count as usize];
    ChunkedBody { length, chunk_size: 100, extents, roots }
}

/// The body with a receipt of each disk that holds a chunk.
pub(super) fn received(body: ChunkedBody, id: BodyId, holders: impl Fn(u32) -> Vec<Disk>) -> NewBody {
    let receipts = (0..)
        .zip(&body.roots)
        .flat_map(|(index, _)| holders(index).into_iter().map(move |disk| (index, disk)))
        .map(|(index, disk)| receipt(&body, id, index, disk))
        .collect();
    NewBody::Chunked { upload: id.upload, body, layout: LAYOUT.version, receipts }
}

pub(super) fn receipt(body: &ChunkedBody, id: BodyId, index: u32, disk: Disk) -> Receipt {
    RECEIPT_KEY.receipt(&Holding {
        chunk: id.chunk(index),
        root: body.roots[index as usize],
        length: body.chunk_length(index).unwrap(),
        layout: LAYOUT.version,
        node: disk.node,
        incarnation: disk.incarnation,
    })
}

/// A body of `length` bytes that the first disks of all its owners hold.
pub(super) fn chunked(id: BodyId, length: u64) -> NewBody {
    let disk = |node| Disk { node, incarnation: Incarnation::ZERO };
    received(chunked_body(length), id, |index| LAYOUT.owners(id.chunk(index)).map(disk).collect())
}

pub(super) fn put(
    bucket: &'static str,
    key: &[u8],
    conditions: Conditions,
    etag: ETag,
    body: NewBody,
) -> Operation {
    Operation::PutObject {
        bucket: BucketRef::named(bucket),
        key: Bytes::copy_from_slice(key),
        conditions,
        etag,
        headers: headers([("content-type", "text/plain")]),
        checksums: Vec::new(),
        tags: Vec::new(),
        body,
    }
}

pub(super) fn copy(from: &[u8], to: &[u8]) -> Operation {
    Operation::CopyObject {
        source: bucket(),
        source_key: Bytes::copy_from_slice(from),
        source_conditions: SourceConditions::none(),
        bucket: bucket(),
        key: Bytes::copy_from_slice(to),
        conditions: Conditions::none(),
        headers: None,
        tags: None,
    }
}

pub(super) fn complete(
    key: &[u8],
    upload: UploadId,
    parts: &[ListedPart],
    conditions: Conditions,
) -> Operation {
    Operation::CompleteUpload {
        bucket: bucket(),
        key: Bytes::copy_from_slice(key),
        upload,
        conditions,
        parts: parts.to_vec(),
        etag: composed_etag(parts),
        checksums: Vec::new(),
        size: None,
    }
}

pub(super) fn composed_etag(parts: &[ListedPart]) -> ETag {
    let digests: Vec<&[u8]> = parts.iter().map(|part| &part.digest[..]).collect();
    let digest = crate::types::Checksum::of_parts(&digests).get().to_le_bytes();
    ETag { digest, part_count: u16::try_from(parts.len()).unwrap() }
}

pub(super) fn written(reply: Reply) -> ObjectSummary {
    match reply.unwrap() {
        Success::ObjectWritten { object } => object,
        other => panic!("{other:?}"),
    }
}
