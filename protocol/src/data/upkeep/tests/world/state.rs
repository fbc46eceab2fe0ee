//! What a prefix of the log makes: a real catalog, and the facts around it.

use std::collections::BTreeMap;

use super::KEY;
use crate::catalog::*;
use crate::data::placement::Layout;
use crate::entry::EntryHeader;
use crate::machine::{Context, Machine, QueryContext};
use crate::state::{SessionFacts, Sessions};
use crate::tables::MemoryTables;
use crate::types::{ClusterId, Epoch, Incarnation, Op, REPLICAS_MAX, ReplicaId, SessionId, Timestamp};
use crate::wire::Wire;

/// One entry of the log.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Begin,
    End(SessionId),
    /// A session's marks.
    Marks(SessionId, u64),
    Rejoin(ReplicaId),
    Operation(SessionId, Box<Operation>),
}

/// The state that a prefix of the log makes.
pub(crate) struct State {
    catalog: Catalog,
    tables: MemoryTables,
    pub(crate) live: BTreeMap<SessionId, SessionFacts>,
    pub(super) incarnations: [Incarnation; REPLICAS_MAX],
    pub(crate) applied: usize,
}

impl State {
    pub(crate) fn new(layout: Layout) -> State {
        let limits = CatalogLimits { inline_bytes_max: 10, ..CatalogLimits::standard() };
        State {
            catalog: Catalog::new(limits, layout, KEY),
            tables: MemoryTables::new(EntryHeader::genesis(ClusterId::new(1), Epoch::ZERO)),
            live: BTreeMap::new(),
            incarnations: [Incarnation::ZERO; REPLICAS_MAX],
            applied: 0,
        }
    }

    pub(crate) fn op(&self) -> Op {
        Op::new(self.applied as u64)
    }

    pub(crate) fn apply(&mut self, entry: &Entry) -> Option<Reply> {
        self.applied += 1;
        let op = self.op();
        let fresh = SessionFacts { oldest_live_upload: 0, oldest_read: op };
        match entry {
            Entry::Begin => {
                self.live.insert(SessionId::from_register(op, 0), fresh);
            }
            Entry::End(session) => {
                self.live.remove(session);
            }
            Entry::Marks(session, oldest_live_upload) => {
                let facts = SessionFacts { oldest_live_upload: *oldest_live_upload, oldest_read: op };
                self.live.insert(*session, facts);
            }
            Entry::Rejoin(node) => self.incarnations[node.index()] = Incarnation::from_rejoin(op),
            Entry::Operation(session, operation) => {
                let sessions = Sessions::with(self.live.clone());
                let context = Context {
                    op,
                    index: 0,
                    timestamp: Timestamp::new(op.get()),
                    session: *session,
                    sessions: &sessions,
                    incarnations: &self.incarnations,
                };
                let reply = self.catalog.apply(&mut self.tables, &context, &operation.to_bytes());
                return Some(Reply::from_bytes(&reply.unwrap()).unwrap());
            }
        }
        None
    }

    pub(crate) fn query(&self, query: &Query) -> Answer {
        let sessions = Sessions::with(self.live.clone());
        let context =
            QueryContext { applied: self.op(), sessions: &sessions, incarnations: &self.incarnations };
        let reply = self.catalog.query(&self.tables, &context, &query.to_bytes()).unwrap().unwrap();
        QueryReply::from_bytes(&reply).unwrap().unwrap()
    }

    pub(crate) fn verdict(&self, chunk: ChunkId) -> Verdict {
        match self.query(&Query::GetVerdicts { chunks: vec![chunk] }) {
            Answer::Verdicts { verdicts, .. } => verdicts[0],
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn bodies(&self) -> Vec<NamedBody> {
        match self.query(&Query::ListBodies { after: None, limit: 1000 }) {
            Answer::Bodies { bodies, truncated: false } => bodies,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn debts(&self) -> Vec<Debt> {
        match self.query(&Query::ListDebts { node: None, after: None, limit: 1000 }) {
            Answer::Debts { debts, .. } => debts,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn rebuilding(&self) -> Vec<Disk> {
        match self.query(&Query::Rebuilding) {
            Answer::Rebuilding { disks } => disks,
            other => panic!("{other:?}"),
        }
    }
}
