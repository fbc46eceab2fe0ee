//! What a replicated state machine is: the catalog is one, the example's key-value map another.

use bytes::Bytes;

use crate::state::Sessions;
use crate::tables::{TableFault, Tables};
use crate::types::{Incarnation, Op, REPLICAS_MAX, SessionId, Timestamp};

/// Why an operation or a query was refused before it had any effect; sent to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

/// Everything that an operation may know besides the tables. All of it is the same on every replica.
pub struct Context<'a> {
    /// The op of the entry that holds the request.
    pub op: Op,
    /// The request's place in the entry. With `op` it names the request for ever.
    pub index: usize,
    /// Cluster time: strictly increasing from request to request.
    pub timestamp: Timestamp,
    pub session: SessionId,
    pub sessions: &'a Sessions,
    /// Whose disk is which, by replica: what was said of an earlier disk says nothing of this one.
    pub incarnations: &'a [Incarnation; REPLICAS_MAX],
}

/// Deterministic, total, single-threaded. The only way to fail is a table that cannot be read.
pub trait Machine {
    /// Checks an operation before it is given a place in the log: `apply` may rely on it only for
    /// speed, never for safety, because an older release may have validated it. What only the holder
    /// of a secret can check is checked here and nowhere else.
    fn validate(&self, session: SessionId, operation: &Bytes) -> Result<(), Invalid>;

    /// Whether the operation makes the state larger: when disks are full, it is refused before it gets
    /// a place in the log. What frees space, and what other such operations need to come to an end,
    /// does not grow. Called for operations that were found valid.
    fn grows(&self, operation: &Bytes) -> bool;

    /// The reply is small (`Limits::reply_bytes_max`): it is kept for retries.
    fn apply<T: Tables>(
        &self,
        tables: &mut T,
        context: &Context<'_>,
        operation: &Bytes,
    ) -> Result<Bytes, TableFault>;

    /// Answers without changing anything.
    fn query<T: Tables>(
        &self,
        tables: &T,
        context: &QueryContext<'_>,
        query: &Bytes,
    ) -> Result<Result<Bytes, Invalid>, TableFault>;
}

pub struct QueryContext<'a> {
    /// The answer is exact as of this op.
    pub applied: Op,
    pub sessions: &'a Sessions,
    pub incarnations: &'a [Incarnation; REPLICAS_MAX],
}
