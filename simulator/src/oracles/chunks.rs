//! What becomes of chunks: who has which, who may delete them, and who must not miss them.
//!
//! The judge applies the committed log as it grows, to a catalog of its own. So it knows what may
//! become of a chunk as of the newest op that anybody has applied, and the replicas, which may be
//! far behind, are held to that.

use std::collections::{BTreeMap, BTreeSet};

use protocol::catalog::{
    self, Answer, BodyId, Catalog, ChunkId, Debt, NamedBody, NewBody, Query, QueryReply, Verdict, verdict,
};
use protocol::config::Config;
use protocol::data::outline::ChunkRoot;
use protocol::data::placement::Layout;
use protocol::entry::{Entry, EntryHeader, Operation};
use protocol::state::{Outcome, Reply, State};
use protocol::tables::MemoryTables;
use protocol::types::{Checksum, Incarnation, Op, REPLICAS_MAX, ReplicaId, SessionId};
use protocol::wire::Wire;

use super::Life;
use crate::planted;

const PAGE: u32 = 1_000;

/// What an operation says of chunks.
enum Claim {
    /// They may be referred to.
    Body { id: BodyId, body: NewBody, was_dead: bool },
    /// They are on this disk.
    Here { life: Life, chunks: Vec<ChunkId> },
}

pub struct Chunks {
    layout: Layout,
    shadow: State<Catalog, MemoryTables>,
    /// So many committed entries were applied.
    seen: usize,
    /// What each life of a disk has called durable.
    held: BTreeMap<Life, BTreeMap<ChunkId, ChunkRoot>>,
    /// What was ever seen on each of them, whatever has become of it.
    seen_on: BTreeMap<Life, BTreeSet<ChunkId>>,
    /// A name has one content for ever.
    roots: BTreeMap<ChunkId, ChunkRoot>,
    /// Bodies that were committed.
    pub bodies: u64,
}

impl Chunks {
    pub fn new(config: &Config, catalog: Catalog) -> Chunks {
        let genesis = EntryHeader::genesis(config.cluster, config.epoch);
        let layout = catalog.layout;
        let shadow = State::new(catalog, MemoryTables::new(genesis), config.limits);
        Chunks {
            layout,
            shadow: shadow.expect("empty tables can be read"),
            seen: 0,
            held: BTreeMap::new(),
            seen_on: BTreeMap::new(),
            roots: BTreeMap::new(),
            bodies: 0,
        }
    }

    /// A store says that it has made a chunk durable.
    pub fn on_durable(&mut self, life: Life, chunk: ChunkId, root: ChunkRoot) -> Result<(), String> {
        self.on_found(life, chunk, root, true)
    }

    /// An index lists the chunk. Whether it is worth anything has been looked at.
    pub fn on_found(
        &mut self,
        life: Life,
        chunk: ChunkId,
        root: ChunkRoot,
        sound: bool,
    ) -> Result<(), String> {
        let known = *self.roots.entry(chunk).or_insert(root);
        if known != root {
            return Err(format!("{life:?} stores other bytes under the name {chunk:?} than somebody before"));
        }
        self.seen_on.entry(life).or_default().insert(chunk);
        if sound {
            self.held.entry(life).or_default().insert(chunk, root);
        }
        Ok(())
    }

    /// A receipt leaves a replica. For a chunk that the log has given up it is worth nothing, and the
    /// replica may not have heard of that yet.
    pub fn on_receipt(&self, life: Life, chunk: ChunkId, root: ChunkRoot) -> Result<(), String> {
        let held = self.held.get(&life).and_then(|held| held.get(&chunk));
        if held == Some(&root) || self.verdict(chunk) == Verdict::Dead {
            return Ok(());
        }
        Err(format!("{life:?} gives a receipt for {chunk:?}, which it never made durable"))
    }

    pub(super) fn advance(
        &mut self,
        entries: &BTreeMap<Checksum, Entry>,
        committed: &[Checksum],
    ) -> Result<(), String> {
        while let Some(name) = committed.get(self.seen) {
            let entry = entries.get(name).ok_or("a committed entry has no body anywhere")?;
            self.seen += 1;
            planted::with(None, || self.apply(entry))?;
        }
        Ok(())
    }

    fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        let before = self.shadow.incarnations();
        let mut claims = Vec::new();
        for request in entry.requests().map_err(|error| error.to_string())? {
            let Operation::Machine(bytes) = &request.operation else { continue };
            let Ok(operation) = catalog::Operation::from_bytes(bytes) else { continue };
            if let Some(claim) = self.claim(request.session, operation)? {
                claims.push((request.session, request.number, claim));
            }
        }
        let replies = self.shadow.apply(entry).map_err(|fault| fault.to_string())?;
        let disks = [before, self.shadow.incarnations()];
        for (session, number, claim) in claims {
            let answers = |reply: &&Reply| (reply.session, reply.number) == (session, number);
            // The answer to a request that comes again is of an earlier op.
            let reply = replies.iter().find(answers).filter(|reply| reply.op == entry.op());
            if !reply.is_some_and(has_succeeded) {
                continue;
            }
            let judged = match claim {
                Claim::Body { id, was_dead: true, .. } => Err(format!("{id:?} is referred to, and was dead")),
                Claim::Body { id, body, was_dead: false } => {
                    self.bodies += 1;
                    self.check_copies(id, &body, &disks)
                }
                Claim::Here { life, chunks } => self.check_claimed(life, &chunks),
            };
            judged.map_err(|what| format!("op {}: {what}", entry.op()))?;
        }
        Ok(())
    }

    /// What an operation says of chunks, if it says anything.
    fn claim(&self, session: SessionId, operation: catalog::Operation) -> Result<Option<Claim>, String> {
        Ok(match operation {
            catalog::Operation::PutObject { body: body @ NewBody::Chunked { upload, .. }, .. }
            | catalog::Operation::PutPart { body: body @ NewBody::Chunked { upload, .. }, .. } => {
                let id = BodyId { session, upload };
                let was_dead = self.verdict(id.chunk(0)) == Verdict::Dead;
                Some(Claim::Body { id, body, was_dead })
            }
            catalog::Operation::Settle { node, incarnation, bodies } => {
                let Answer::Bodies { bodies, .. } = self.ask(&Query::GetBodies { bodies }) else {
                    return Err("bodies were asked for".into());
                };
                Some(Claim::Here { life: (node, incarnation), chunks: self.owned(node, &bodies) })
            }
            catalog::Operation::Rebuilt { node, incarnation } => {
                let bodies = self.referenced();
                let mut chunks = self.owned(node, &bodies);
                let debts = self.debts(node);
                chunks.retain(|chunk| !debts.iter().any(|debt| debt.id == chunk.body));
                Some(Claim::Here { life: (node, incarnation), chunks })
            }
            _ => None,
        })
    }

    fn owned(&self, node: ReplicaId, bodies: &[NamedBody]) -> Vec<ChunkId> {
        let chunks = bodies.iter().flat_map(|named| {
            let count = u32::try_from(named.body.roots.len()).expect("a body has a thousand chunks at most");
            (0..count).map(|index| named.id.chunk(index))
        });
        chunks.filter(|chunk| self.layout.owns(node, *chunk)).collect()
    }

    /// A replica says of its disk that these are on it. They must have been, whatever may have become of
    /// them since.
    fn check_claimed(&self, life: Life, chunks: &[ChunkId]) -> Result<(), String> {
        let seen = |chunk: &ChunkId| self.seen_on.get(&life).is_some_and(|seen| seen.contains(chunk));
        match chunks.iter().find(|chunk| !seen(chunk)) {
            Some(chunk) => Err(format!("{life:?} says that {chunk:?} is here, which never was")),
            None => Ok(()),
        }
    }

    /// Enough disks had said that they hold the chunk, and did when they said so.
    fn check_copies(
        &self,
        id: BodyId,
        body: &NewBody,
        disks: &[[Incarnation; REPLICAS_MAX]; 2],
    ) -> Result<(), String> {
        let NewBody::Chunked { body, receipts, .. } = body else { return Ok(()) };
        for (index, root) in (0..).zip(&body.roots) {
            let chunk = id.chunk(index);
            let good = receipts.iter().filter(|receipt| receipt.chunk == index).filter(|receipt| {
                let life = (receipt.node, receipt.incarnation);
                let is_present = disks.iter().any(|disks| disks[receipt.node.index()] == receipt.incarnation);
                is_present && self.on_receipt(life, chunk, *root).is_ok()
            });
            let nodes: BTreeSet<ReplicaId> = good.map(|receipt| receipt.node).collect();
            if nodes.len() < self.layout.copies_min() {
                return Err(format!("{chunk:?} is referenced and durable on {} disks", nodes.len()));
            }
        }
        Ok(())
    }

    /// As of the newest op that anybody has applied.
    pub fn verdict(&self, chunk: ChunkId) -> Verdict {
        let verdict = planted::with(None, || {
            verdict(self.shadow.tables(), self.shadow.sessions(), self.shadow.applied().op, chunk)
        });
        verdict.expect("tables in memory can be read")
    }

    /// A replica is about to delete this.
    pub fn on_delete(&self, replica: ReplicaId, chunk: ChunkId) -> Result<(), String> {
        match self.verdict(chunk) {
            Verdict::Dead => Ok(()),
            verdict => Err(format!("replica {replica} deletes {chunk:?}, which is {verdict:?}")),
        }
    }

    /// A reader that relies on its session was told by everybody that a chunk is not there. True if it
    /// had itself to blame: its session has ended, and it has not heard.
    pub fn on_missing(&self, chunk: ChunkId, session: SessionId, record: Op) -> Result<(), String> {
        let verdict = self.verdict(chunk);
        if verdict != Verdict::Dead {
            return Err(format!("{chunk:?} is {verdict:?}, and nobody has it"));
        }
        match self.shadow.sessions().session(session) {
            Some(facts) if facts.oldest_read <= record => {
                Err(format!("{chunk:?} was collected under a read of op {record} in a live session"))
            }
            _ => Ok(()),
        }
    }

    /// What a disk has promised to hold and nobody is free to forget.
    pub fn promises(&mut self, life: Life) -> Vec<(ChunkId, ChunkRoot)> {
        let held: Vec<_> =
            self.held.get(&life).into_iter().flatten().map(|(it, root)| (*it, *root)).collect();
        let (dead, live): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|(chunk, _)| self.verdict(*chunk) == Verdict::Dead);
        if let Some(held) = self.held.get_mut(&life) {
            for (chunk, _) in dead {
                held.remove(&chunk);
            }
        }
        live
    }

    pub fn has_promised(&self, life: Life, chunk: ChunkId) -> bool {
        self.held.get(&life).is_some_and(|held| held.contains_key(&chunk))
    }

    /// The damage to a disk is made up for: from now on it is held to what it has.
    pub fn set_promises(&mut self, life: Life, held: BTreeMap<ChunkId, ChunkRoot>) {
        self.held.insert(life, held);
    }

    /// All chunks that were ever stored and are not dead.
    pub fn living(&mut self) -> Vec<(ChunkId, ChunkRoot, Verdict)> {
        let judged: Vec<_> =
            self.roots.iter().map(|(chunk, root)| (*chunk, *root, self.verdict(*chunk))).collect();
        for (chunk, _, _) in judged.iter().filter(|(_, _, verdict)| *verdict == Verdict::Dead) {
            self.roots.remove(chunk);
        }
        judged.into_iter().filter(|(_, _, verdict)| *verdict != Verdict::Dead).collect()
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// What is referenced, and by how many the log says that it lacks copies.
    pub fn referenced(&self) -> Vec<NamedBody> {
        let mut all: Vec<NamedBody> = Vec::new();
        loop {
            let after = all.last().map(|named| named.id);
            let Answer::Bodies { bodies, truncated } = self.ask(&Query::ListBodies { after, limit: PAGE })
            else {
                panic!("bodies were asked for");
            };
            let ended = !truncated || bodies.is_empty();
            all.extend(bodies);
            if ended {
                return all;
            }
        }
    }

    /// What the log still says that this replica lacks.
    pub fn owed_by(&self, node: ReplicaId) -> Option<String> {
        let debts = self.debts(node);
        if let Some(debt) = debts.first() {
            return Some(format!("{} bodies, such as {:?}", debts.len(), debt.id));
        }
        let Answer::Rebuilding { disks } = self.ask(&Query::Rebuilding) else { return None };
        disks.iter().any(|disk| disk.node == node).then(|| "everything, as its disk counts as new".into())
    }

    /// At most a page of them: in these worlds that is all.
    fn debts(&self, node: ReplicaId) -> Vec<Debt> {
        match self.ask(&Query::ListDebts { node: Some(node), after: None, limit: PAGE }) {
            Answer::Debts { debts, .. } => debts,
            _ => Vec::new(),
        }
    }

    fn ask(&self, query: &Query) -> Answer {
        let answer = planted::with(None, || self.shadow.query(&query.to_bytes()));
        let bytes = answer.expect("tables in memory can be read").expect("the query is sound");
        QueryReply::from_bytes(&bytes).expect("answers can be read").expect("such queries always succeed")
    }
}

fn has_succeeded(reply: &Reply) -> bool {
    match &reply.outcome {
        Outcome::Done(bytes) => matches!(catalog::Reply::from_bytes(bytes), Ok(Ok(_))),
        _ => false,
    }
}
