mod properties;
mod rows;
mod stories;

use bytes::Bytes;

use super::*;
use crate::codec::Encoder;
use crate::tables::{MemoryTables, Tables};
use crate::types::{Checksum, ClientId, ClusterId, Epoch, RequestNumber};

/// Counts how often each (session, operation) was executed, and answers with the count.
struct Counter;

impl Machine for Counter {
    fn validate(&self, _: SessionId, _: &Bytes) -> Result<(), Invalid> {
        Ok(())
    }

    fn grows(&self, _: &Bytes) -> bool {
        true
    }

    fn apply<T: Tables>(
        &self,
        tables: &mut T,
        context: &Context<'_>,
        operation: &Bytes,
    ) -> Result<Bytes, TableFault> {
        let key = counter_key(context.session, operation);
        let count = tables.get(&key)?.map_or(0, |value| value[0]) + 1;
        tables.put(&key, &[count]);
        Ok(Bytes::copy_from_slice(&[count]))
    }

    fn query<T: Tables>(
        &self,
        tables: &T,
        _: &QueryContext<'_>,
        query: &Bytes,
    ) -> Result<Result<Bytes, Invalid>, TableFault> {
        Ok(tables.get(query)?.ok_or(Invalid("never executed")))
    }
}

fn counter_key(session: SessionId, operation: &[u8]) -> Vec<u8> {
    let mut key = vec![0x10];
    key.extend_from_slice(&session.get().to_be_bytes());
    key.extend_from_slice(operation);
    key
}

fn limits() -> Limits {
    Limits {
        sessions_max: 3,
        session_window: 4,
        session_timeout_micros: 1_000,
        reply_bytes_max: 16,
        ..Limits::standard()
    }
}

fn genesis() -> EntryHeader {
    EntryHeader::genesis(ClusterId::new(1), Epoch::ZERO)
}

fn fresh() -> State<Counter, MemoryTables> {
    State::new(Counter, MemoryTables::new(genesis()), limits()).unwrap()
}

/// The next entry after `parent`, as a primary would prepare it at `time`.
fn entry(parent: &EntryHeader, time: u64, requests: &[Request]) -> Entry {
    let mut body = Encoder::new();
    let op = parent.op.next();
    let mut incarnations = parent.incarnations;
    for request in requests {
        request.encode(&mut body);
        if let Operation::Rejoin { replica, .. } = request.operation {
            incarnations[replica.index()] = Incarnation::from_rejoin(op);
        }
    }
    let body = body.finish();
    let header = EntryHeader {
        op,
        parent: parent.name(),
        timestamp: last_timestamp(parent).next().max(Timestamp::new(time)),
        incarnations,
        request_count: u32::try_from(requests.len()).unwrap(),
        body_size: u32::try_from(body.len()).unwrap(),
        body_checksum: Checksum::of(&body),
        ..parent.clone()
    };
    Entry::assemble(header, body.into()).unwrap()
}

fn request(client: u128, session: SessionId, number: u64, operation: Operation) -> Request {
    Request {
        client: ClientId::new(client),
        session,
        number: RequestNumber::new(number),
        answered_below: RequestNumber::ZERO,
        deadline: Timestamp::new(u64::MAX),
        operation,
    }
}

fn register(client: u128) -> Request {
    request(client, SessionId::ZERO, 1, Operation::Register)
}

fn add(client: u128, session: SessionId, number: u64) -> Request {
    let operation = Operation::Machine(Bytes::copy_from_slice(&number.to_be_bytes()));
    request(client, session, number, operation)
}

fn by_primary(operation: Operation) -> Request {
    request(0, SessionId::ZERO, 0, operation)
}

/// What each replica does with its own disk, and the tests with the log.
impl State<Counter, MemoryTables> {
    fn batch(&mut self, time: u64, requests: &[Request]) -> Vec<Reply> {
        let entry = entry(&self.applied, time, requests);
        self.apply(&entry).unwrap()
    }

    fn one(&mut self, request: &Request) -> Outcome {
        self.batch(0, std::slice::from_ref(request)).remove(0).outcome
    }

    fn registered(&mut self, client: u128) -> SessionId {
        self.batch(0, &[register(client)]).remove(0).session
    }

    fn count(&self, session: SessionId, number: u64) -> u8 {
        let key = counter_key(session, &number.to_be_bytes());
        self.tables.get(&key).unwrap().map_or(0, |value| value[0])
    }

    /// Freezes, flushes, and tells the root.
    fn checkpoint(&mut self) -> crate::tables::RowSum {
        self.freeze();
        assert!(self.tables.finish_flush());
        self.tables.durable().root
    }

    /// Loses the memory, not the disk.
    fn restarted(mut self) -> State<Counter, MemoryTables> {
        self.tables.crash();
        State::new(Counter, self.tables, limits()).unwrap()
    }
}
