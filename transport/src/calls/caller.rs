//! The asking side.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use protocol::data::message::{DataBody, DataMessage, DataRefusal, STATUS_BYTES_MAX};
use protocol::data::outline::BLOCK_SIZE;
use protocol::types::{Peer, ReplicaId};
use quinn::{Connection, ConnectionError, ReadError, SendStream, WriteError};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::wire::{self, Head, ReadFault};
use super::{CallError, reset};
use crate::buffers::Buffers;
use crate::counters::Tally;
use crate::dial::Backoff;
use crate::limits::CALL_BYTES_MAX;
use crate::read::{Broken, ChunkReader};
use crate::transport::Shared;

/// The way of calls to one replica. Dialled by the first call, and again by the first after a loss.
pub(crate) struct CallRoute {
    to: ReplicaId,
    place: Arc<str>,
    tally: Arc<Tally>,
    line: Arc<Mutex<Line>>,
}

struct Line {
    connection: Option<Connection>,
    /// After a failure: until when to say so at once instead of dialling. Callers ask somebody else,
    /// and must not each wait for the same silence.
    resting: Option<(Instant, String)>,
    backoff: Backoff,
}

impl CallRoute {
    pub(crate) fn new(to: ReplicaId, place: String, tally: Arc<Tally>) -> CallRoute {
        let line = Line { connection: None, resting: None, backoff: Backoff::new() };
        CallRoute { to, place: place.into(), tally, line: Arc::new(Mutex::new(line)) }
    }

    pub(crate) async fn call(&self, shared: &Arc<Shared>, body: DataBody) -> Result<DataBody, CallError> {
        assert!(body.is_call());
        self.tally.calls_made.add(1);
        let answer = async {
            let connection = self.connection(shared).await?;
            let call = shared.calls_count.fetch_add(1, Ordering::Relaxed);
            let question = DataMessage { cluster: shared.cluster, call, body };
            exchange(&connection, &shared.buffers, question).await
        };
        answer.await.inspect_err(|_| self.tally.calls_failed.add(1))
    }

    async fn connection(&self, shared: &Arc<Shared>) -> Result<Connection, CallError> {
        let line = Arc::clone(&self.line).lock_owned().await;
        if let Some(connection) = &line.connection
            && connection.close_reason().is_none()
        {
            return Ok(connection.clone());
        }
        if let Some((until, why)) = &line.resting
            && Instant::now() < *until
        {
            return Err(CallError::Unreachable(why.clone()));
        }
        // On its own: callers that are less patient than a handshake takes must not break off one
        // after the other.
        let dialling = dial(Arc::clone(shared), Peer::Replica(self.to), Arc::clone(&self.place), line);
        tokio::spawn(dialling).await.unwrap_or_else(|ended| Err(CallError::Unreachable(ended.to_string())))
    }
}

async fn dial(
    shared: Arc<Shared>,
    peer: Peer,
    place: Arc<str>,
    mut line: OwnedMutexGuard<Line>,
) -> Result<Connection, CallError> {
    if let Some(lost) = line.connection.take() {
        shared.book.closed(peer, &lost);
    }
    match shared.dialler.connect(peer, &place).await {
        Ok(connection) => {
            line.resting = None;
            line.backoff.reset();
            line.connection = Some(connection.clone());
            shared.book.opened(peer, &connection);
            Ok(connection)
        }
        Err(error) => {
            let why = error.to_string();
            line.resting = Some((Instant::now() + line.backoff.next(), why.clone()));
            Err(CallError::Unreachable(why))
        }
    }
}

async fn exchange(
    connection: &Connection,
    buffers: &Buffers,
    question: DataMessage,
) -> Result<DataBody, CallError> {
    let (send, receive) = connection.open_bi().await.map_err(lost)?;
    let mut unanswered = Unanswered { question: send, answered: false };
    match wire::write(&mut unanswered.question, &question).await {
        // Stopped: the answer is known before the question is. It may be that there is no room.
        Ok(()) | Err(WriteError::Stopped(_)) => {}
        Err(WriteError::ConnectionLost(error)) => return Err(lost(error)),
        Err(error) => return Err(CallError::Lost(error.to_string())),
    }
    let mut stream = ChunkReader::new(receive);
    let head = match Head::read(&mut stream).await {
        Ok(head) => head,
        Err(ReadFault::Broken(Broken::Stream(ReadError::Reset(code)))) if code == reset::BUSY => {
            return Ok(DataBody::Refused { why: DataRefusal::Busy });
        }
        Err(fault) => return Err(failure(fault)),
    };
    if head.bytes_size() > answer_bytes_max(&question.body) {
        return Err(CallError::Nonsense("longer than what was asked for".into()));
    }
    let answer = head.read_rest(&mut stream, buffers).await.map_err(failure)?;
    if (answer.cluster, answer.call) != (question.cluster, question.call) || answer.body.is_call() {
        return Err(CallError::Nonsense("not the answer to this call".into()));
    }
    unanswered.answered = true;
    Ok(answer.body)
}

/// A question that may still be on its way. If nobody waits for the answer any more, the rest of it
/// need not arrive.
struct Unanswered {
    question: SendStream,
    answered: bool,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if !self.answered {
            // Fails if all of it was acknowledged: then there is nothing to take back.
            let _ = self.question.reset(reset::CANCELLED);
        }
    }
}

/// No answer may take more memory than its caller reckons with.
fn answer_bytes_max(question: &DataBody) -> usize {
    match question {
        DataBody::GetBlocks { count, .. } => count.saturating_mul(BLOCK_SIZE).min(CALL_BYTES_MAX) as usize,
        DataBody::GetStatus => STATUS_BYTES_MAX as usize,
        _ => 0,
    }
}

fn lost(error: ConnectionError) -> CallError {
    CallError::Lost(error.to_string())
}

fn failure(fault: ReadFault) -> CallError {
    match fault {
        ReadFault::Broken(Broken::Stream(ReadError::Reset(code))) if code == reset::DECLINED => {
            CallError::Declined
        }
        ReadFault::Broken(broken) => CallError::Lost(broken.to_string()),
        ReadFault::Garbled(error) => CallError::Nonsense(error.to_string()),
    }
}
