//! A body on its way to its holders, and the operation that makes it count.
//!
//! It belongs to a task of its own: a caller that goes away before the commit leaves an upload that is
//! given up, one that goes away afterwards changes nothing.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use protocol::catalog::{CHUNK_COUNT_MAX, Error, NewBody, Operation, Reply};
use protocol::data::outline::CHUNK_BYTES_MAX;
use protocol::data::put::{PreparedChunk, Put, PutFailure, PutOutput, PutSettings, StoredBody};
use protocol::types::Op;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::calls::{Answered, Calls};
use super::session::{Clock, UploadGuard};
use super::{Cluster, ClusterError, Link};

/// The size of all chunks of a body but the last, unless the body is very large.
pub const CHUNK_SIZE: u32 = 4 << 20;

/// The chunk size of a body of so many bytes. None if no body can be so large.
pub fn chunk_size_for(length: u64) -> Option<u32> {
    let most = |chunk_size: u32| u64::from(chunk_size) * CHUNK_COUNT_MAX as u64;
    [CHUNK_SIZE, CHUNK_BYTES_MAX].into_iter().find(|chunk_size| length <= most(*chunk_size))
}

/// Makes the operation that refers to the body. Called again if the receipts have to be renewed.
type MakeOperation = Box<dyn Fn(NewBody) -> Operation + Send>;

type Committed = Result<(Op, Reply), ClusterError>;

enum Step {
    Chunk { chunk: PreparedChunk, accepted: oneshot::Sender<Result<(), ClusterError>> },
    Commit { operation: MakeOperation, committed: oneshot::Sender<Committed> },
}

pub struct Upload {
    chunk_size: usize,
    buffered: BytesMut,
    steps: mpsc::Sender<Step>,
}

impl<L: Link> Cluster<L> {
    /// Begins to store a body in chunks of this size.
    pub async fn upload(&self, chunk_size: u32, seed: u64) -> Result<Upload, ClusterError> {
        self.upload_sharing(chunk_size, seed, Arc::new(Notify::new())).await
    }

    /// The same among others that share some memory. Whenever `shortage` is notified, bytes are let go
    /// that are kept only for replicas that are late.
    pub async fn upload_sharing(
        &self,
        chunk_size: u32,
        seed: u64,
        shortage: Arc<Notify>,
    ) -> Result<Upload, ClusterError> {
        let guard = self.begin_upload().await?;
        let (steps, queue) = mpsc::channel(1);
        let clock = Clock::start();
        let put = Put::new(self.layout(), guard.body, chunk_size, PutSettings::standard(), seed, clock.now());
        let calls = Calls::new(self.clone());
        let task = Task { cluster: self.clone(), put, calls, clock, guard, shortage };
        tokio::spawn(task.run(queue));
        Ok(Upload { chunk_size: chunk_size as usize, buffered: BytesMut::new(), steps })
    }
}

impl Upload {
    /// Takes the next bytes of the body. Waits while too much is under way. Who gives up waiting must give
    /// up the upload: some of the bytes may have been taken.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), ClusterError> {
        while self.buffered.len() + bytes.len() >= self.chunk_size {
            let chunk = if self.buffered.is_empty() {
                bytes.split_to(self.chunk_size)
            } else {
                let missing = bytes.split_to(self.chunk_size - self.buffered.len());
                self.buffered.extend_from_slice(&missing);
                self.buffered.split().freeze()
            };
            self.offer(chunk).await?;
        }
        if !bytes.is_empty() {
            if self.buffered.is_empty() {
                self.buffered.reserve(self.chunk_size);
            }
            self.buffered.extend_from_slice(&bytes);
        }
        Ok(())
    }

    /// Takes the next bytes of the body in the form in which they are sent, so that nothing is copied: all
    /// calls but the last bring as many as the size of a chunk. For who makes chunks himself and never
    /// calls `write`.
    pub async fn write_chunk(&mut self, bytes: Bytes) -> Result<(), ClusterError> {
        assert!(self.buffered.is_empty());
        self.offer(bytes).await
    }

    async fn offer(&self, bytes: Bytes) -> Result<(), ClusterError> {
        let chunk = PreparedChunk::of(bytes);
        let (accepted, answer) = oneshot::channel();
        self.steps.send(Step::Chunk { chunk, accepted }).await.map_err(|_| ClusterError::Closed)?;
        answer.await.unwrap_or(Err(ClusterError::Closed))
    }

    /// Makes the body, which must not be empty, durable, and then commits what `operation` makes of it.
    /// Once all bytes are taken it goes on, whether or not anybody waits for the answer.
    pub async fn commit(mut self, operation: impl Fn(NewBody) -> Operation + Send + 'static) -> Committed {
        if !self.buffered.is_empty() {
            let rest = self.buffered.split().freeze();
            self.offer(rest).await?;
        }
        let (committed, answer) = oneshot::channel();
        let step = Step::Commit { operation: Box::new(operation), committed };
        self.steps.send(step).await.map_err(|_| ClusterError::Closed)?;
        answer.await.unwrap_or(Err(ClusterError::Closed))
    }
}

struct Task<L> {
    cluster: Cluster<L>,
    put: Put,
    calls: Calls<L>,
    clock: Clock,
    guard: UploadGuard,
    shortage: Arc<Notify>,
}

/// What the put has come to.
enum Outcome {
    Ready(StoredBody),
    Failed(PutFailure),
}

impl<L: Link> Task<L> {
    async fn run(mut self, mut steps: mpsc::Receiver<Step>) {
        let mut failed = None;
        // A chunk for which there is no room yet. The end of the body never waits for room: after a
        // last chunk that is shorter than the others there is none, and nothing else comes.
        let mut waiting: Option<(PreparedChunk, oneshot::Sender<Result<(), ClusterError>>)> = None;
        loop {
            if let Some(Outcome::Failed(failure)) = self.perform() {
                failed = Some(failure);
            }
            if let Some((chunk, accepted)) = waiting.take_if(|_| self.put.wants_more() || failed.is_some()) {
                let _ = accepted.send(self.offer(failed, chunk));
                continue;
            }
            let wake = self.wake_at();
            tokio::select! {
                () = self.shortage.notified() => self.put.let_late_holders_go(self.clock.now()),
                step = steps.recv(), if waiting.is_none() => match step {
                    // The caller went away.
                    None => return,
                    Some(Step::Chunk { chunk, accepted }) => waiting = Some((chunk, accepted)),
                    Some(Step::Commit { operation, committed }) => {
                        return self.commit(failed, operation, committed).await;
                    }
                },
                answered = self.calls.next() => self.on_answered(answered),
                () = sleep_until(wake) => self.put.on_tick(self.clock.now()),
            }
        }
    }

    fn offer(&mut self, failed: Option<PutFailure>, chunk: PreparedChunk) -> Result<(), ClusterError> {
        match failed {
            Some(failure) => Err(error_of(failure)),
            None => {
                let offered = self.put.offer(self.clock.now(), chunk);
                offered.map_err(|error| ClusterError::Invalid(error.to_string()))
            }
        }
    }

    async fn commit(
        mut self,
        failed: Option<PutFailure>,
        operation: MakeOperation,
        committed: oneshot::Sender<Committed>,
    ) {
        let outcome = match failed {
            Some(failure) => Err(error_of(failure)),
            None => match self.put.finish(self.clock.now()) {
                Ok(()) => self.store_and_submit(operation).await,
                Err(error) => Err(ClusterError::Invalid(error.to_string())),
            },
        };
        let counts = matches!(outcome, Ok((_, Ok(_))));
        // Whoever asked may have gone away: what was done is done all the same.
        let _ = committed.send(outcome);
        if counts {
            self.linger().await;
        }
    }

    async fn store_and_submit(&mut self, operation: MakeOperation) -> Committed {
        loop {
            let stored = match self.outcome().await {
                Outcome::Ready(stored) => stored,
                Outcome::Failed(failure) => return Err(error_of(failure)),
            };
            let operation = operation(stored.into());
            let (op, reply) = self.submit(&operation).await?;
            if reply != Err(Error::TooFewCopies) {
                return Ok((op, reply));
            }
            self.put.on_too_few_copies(self.clock.now());
        }
    }

    /// Late receipts are still taken while the log decides: it may ask for more.
    async fn submit(&mut self, operation: &Operation) -> Committed {
        let cluster = self.cluster.clone();
        let submitted = cluster.submit_commit(operation, Some(self.guard.body));
        tokio::pin!(submitted);
        loop {
            self.perform();
            let wake = self.wake_at();
            tokio::select! {
                outcome = &mut submitted => return outcome,
                () = self.shortage.notified() => self.put.let_late_holders_go(self.clock.now()),
                answered = self.calls.next() => self.on_answered(answered),
                () = sleep_until(wake) => self.put.on_tick(self.clock.now()),
            }
        }
    }

    async fn outcome(&mut self) -> Outcome {
        loop {
            if let Some(outcome) = self.perform() {
                return outcome;
            }
            self.step().await;
        }
    }

    /// The bytes are kept a little longer for owners that have not got them: what comes through now
    /// need not be repaired.
    async fn linger(&mut self) {
        loop {
            self.perform();
            if self.put.next_tick().is_none() {
                return;
            }
            self.step().await;
        }
    }

    async fn step(&mut self) {
        let wake = self.wake_at();
        tokio::select! {
            () = self.shortage.notified() => self.put.let_late_holders_go(self.clock.now()),
            answered = self.calls.next() => self.on_answered(answered),
            () = sleep_until(wake) => self.put.on_tick(self.clock.now()),
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        self.put.next_tick().map(|tick| self.clock.instant(tick))
    }

    fn on_answered(&mut self, answered: Answered) {
        let Answered { from, call, answer } = answered;
        match answer {
            Ok(answer) => self.put.on_answer(self.clock.now(), from, call, answer),
            Err(_) => self.put.on_call_failed(self.clock.now(), from, call),
        }
    }

    fn perform(&mut self) -> Option<Outcome> {
        let mut outcome = None;
        while let Some(output) = self.put.next_output() {
            match output {
                PutOutput::Send { to, call, body } => self.calls.make(to, call, body),
                PutOutput::Abandon { call } => self.calls.abandon(call),
                PutOutput::Ready(stored) => outcome = Some(Outcome::Ready(stored)),
                PutOutput::Failed(failure) => outcome = Some(Outcome::Failed(failure)),
            }
        }
        outcome
    }
}

fn error_of(failure: PutFailure) -> ClusterError {
    match failure {
        PutFailure::NoQuorum => ClusterError::Unavailable("too few replicas could store the body"),
        PutFailure::Full => ClusterError::Full,
        PutFailure::Conflict => ClusterError::Unavailable("the upload's name was used before"),
        PutFailure::WrongLayout => ClusterError::Unavailable("the cluster's layout has changed"),
    }
}

/// For ever, if there is nothing to wait for.
pub(super) async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::time::Duration;

    use protocol::catalog::Success;
    use protocol::client::ClientSettings;
    use protocol::data::message::DataBody;
    use protocol::data::placement::Layout;
    use protocol::data::receipt::{Proof, Receipt};
    use protocol::entry;
    use protocol::message::{Body, Message};
    use protocol::quorums::Quorums;
    use protocol::state;
    use protocol::types::{
        ClientId, ClusterId, Epoch, Incarnation, Peer, ReplicaId, RequestNumber, SessionId,
    };
    use protocol::wire::Wire;
    use tokio::time::sleep;

    use super::*;
    use crate::cluster::{ClusterOptions, Unreachable};

    /// Replicas that store whatever they are sent, with a log that executes at once.
    struct Store {
        log: Arc<Mutex<Log>>,
        replies: mpsc::UnboundedSender<Message>,
    }

    #[derive(Default)]
    struct Log {
        executed: BTreeMap<RequestNumber, Bytes>,
        /// What it has executed, it says.
        answers: bool,
        /// The newest that a keepalive has said.
        oldest_live_upload: u64,
    }

    impl Log {
        fn execute(&mut self, request: entry::Request) -> Option<state::Outcome> {
            match request.operation {
                entry::Operation::Register => Some(state::Outcome::Registered { window: 8 }),
                entry::Operation::Keepalive { oldest_live_upload, .. } => {
                    self.oldest_live_upload = self.oldest_live_upload.max(oldest_live_upload);
                    Some(state::Outcome::Acknowledged)
                }
                entry::Operation::Machine(operation) => {
                    self.executed.insert(request.number, operation);
                    let reply: Reply = Ok(Success::Done);
                    self.answers.then(|| state::Outcome::Done(reply.to_bytes()))
                }
                _ => None,
            }
        }
    }

    impl Link for Store {
        fn send(&self, to: ReplicaId, message: Message) {
            let Body::Request(request) = message.body else { return };
            let (client, number) = (request.client, request.number);
            let Some(outcome) = self.log.lock().unwrap().execute(request) else { return };
            let session = SessionId::new(4096);
            let reply = state::Reply { client, session, number, op: Op::new(5), outcome };
            let from = Peer::Replica(to);
            let _ = self.replies.send(Message { from, body: Body::Reply(reply), ..message });
        }

        async fn call(
            &self,
            to: ReplicaId,
            body: DataBody,
            _patience: Duration,
        ) -> Result<DataBody, Unreachable> {
            let DataBody::PutChunk { chunk, .. } = body else {
                return Err(Unreachable("nothing else is asked for".into()));
            };
            let (incarnation, proof) = (Incarnation::new(1), Proof([0; 16]));
            Ok(DataBody::Stored { receipt: Receipt { chunk: chunk.index, node: to, incarnation, proof } })
        }

        fn nearest(&self) -> Option<ReplicaId> {
            None
        }
    }

    fn cluster(log: &Arc<Mutex<Log>>) -> Cluster<Store> {
        let (replies, mut queue) = mpsc::unbounded_channel();
        let options = ClusterOptions {
            cluster: ClusterId::new(1),
            epoch: Epoch::ZERO,
            layout: Layout::first(Quorums::of(3)),
            client: ClientId::new(1),
            seed: 1,
            settings: ClientSettings::standard(),
        };
        let cluster = Cluster::start(Store { log: Arc::clone(log), replies }, options);
        let replied = cluster.downgrade();
        tokio::spawn(async move {
            while let Some(message) = queue.recv().await
                && let Some(cluster) = replied.upgrade()
            {
                cluster.deliver(message);
            }
        });
        cluster
    }

    async fn becomes(what: &str, is_so: impl Fn() -> bool) {
        let waiting = async {
            while !is_so() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"));
    }

    /// A client of the store hangs up when the log has its operation and nobody knows yet what became of
    /// it. Its bytes must stay until that is known, and no longer.
    #[tokio::test(start_paused = true)]
    async fn a_commit_whose_caller_goes_away_comes_to_its_end_and_leaves_nothing_behind() {
        let log = Arc::new(Mutex::new(Log::default()));
        let look = |is_so: fn(&Log) -> bool| is_so(&log.lock().unwrap());
        let cluster = cluster(&log);
        let mut upload = cluster.upload(CHUNK_SIZE, 1).await.unwrap();
        upload.write("bytes".into()).await.unwrap();
        let commit = tokio::spawn(upload.commit(|_| Operation::DeleteAccessKey { id: "id".into() }));
        becomes("sent", || look(|log| !log.executed.is_empty())).await;
        commit.abort();
        assert!(commit.await.unwrap_err().is_cancelled());
        becomes("a keepalive", || look(|log| log.oldest_live_upload > 0)).await;
        assert!(look(|log| log.oldest_live_upload == 1), "it may still count");

        log.lock().unwrap().answers = true;
        becomes("its end", || look(|log| log.oldest_live_upload == 2)).await;
        assert_eq!(log.lock().unwrap().executed.len(), 1, "it was executed once");
        let gone = cluster.downgrade();
        drop(cluster);
        becomes("nobody has the cluster", || gone.upgrade().is_none()).await;
    }
}
