//! The task that holds the session: one `protocol::client` for all callers of this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use protocol::catalog::BodyId;
use protocol::catalog::{Operation, Query, QueryReply, Reply};
use protocol::client::{Client, ClientError, ClientSettings, Failure, Output, Ticket};
use protocol::data::fence::{Fence, READ_MS_MAX, ReadTicket};
use protocol::data::placement::Layout;
use protocol::message::Message;
use protocol::types::{ClientId, ClusterId, Epoch, Op, ReplicaId, SessionId, Tick, Timestamp};
use protocol::wire::Wire;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::read_room::{ReadPlace, ReadRoom};
use super::{ClusterError, Link};

/// How far the clocks of gateways and replicas may differ. A request says until when, in cluster
/// time, it may take effect; a gateway whose clock is behind by more than this cannot write.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Commands and messages that wait for the task.
const QUEUE: usize = 4_096;

/// For how long a caller waits for the first session.
const SESSION_PATIENCE: Duration = Duration::from_secs(20);

/// The bytes are on their way to being collected: whoever has them may send them again.
const OUTLIVED: ClusterError = ClusterError::Unavailable("the upload outlived its session");

#[derive(Clone, Debug)]
pub struct ClusterOptions {
    pub cluster: ClusterId,
    pub epoch: Epoch,
    pub layout: Layout,
    /// Random, new at every start.
    pub client: ClientId,
    pub seed: u64,
    pub settings: ClientSettings,
}

/// A client of the cluster. Clones share one session.
pub struct Cluster<L> {
    shared: Arc<Shared<L>>,
}

impl<L> Clone for Cluster<L> {
    fn clone(&self) -> Cluster<L> {
        Cluster { shared: self.shared.clone() }
    }
}

/// Does not keep the client alive.
pub struct WeakCluster<L> {
    shared: Weak<Shared<L>>,
}

impl<L> WeakCluster<L> {
    pub fn upgrade(&self) -> Option<Cluster<L>> {
        self.shared.upgrade().map(|shared| Cluster { shared })
    }
}

struct Shared<L> {
    link: L,
    layout: Layout,
    commands: mpsc::Sender<Command>,
    messages: mpsc::Sender<Message>,
    read_room: ReadRoom,
}

type Answer<T> = oneshot::Sender<Result<T, ClusterError>>;

/// An answer and the op at which, or as of which, it is true.
type At<T> = (Op, T);

enum Command {
    /// `body`: the upload that the operation commits. Its receipts name the session that it began in.
    Submit {
        operation: Bytes,
        body: Option<BodyId>,
        answer: Answer<At<Bytes>>,
    },
    Query {
        query: Bytes,
        answer: Answer<At<Bytes>>,
    },
    BeginUpload {
        answer: Answer<UploadGuard>,
    },
    EndUpload(BodyId),
    BeginRead {
        answer: Answer<ReadGuard>,
    },
    OnRecord(ReadTicket, Op),
    EndRead(ReadTicket),
    Close {
        answer: oneshot::Sender<()>,
    },
}

impl<L: Link> Cluster<L> {
    /// Begins at once to look for the primary and to ask for a session. Must be called in a runtime.
    pub fn start(link: L, options: ClusterOptions) -> Cluster<L> {
        let (commands, command_queue) = mpsc::channel(QUEUE);
        let (messages, message_queue) = mpsc::channel(QUEUE);
        let (layout, read_room) = (options.layout, ReadRoom::new());
        let shared = Arc::new(Shared { link, layout, commands, messages, read_room });
        let clock = Clock::start();
        let replica_count =
            u8::try_from(options.layout.quorums.replica_count).expect("there are at most seven replicas");
        let task = Task {
            client: Client::new(
                options.client,
                options.cluster,
                options.epoch,
                replica_count,
                options.settings,
                options.seed,
                clock.now(),
            ),
            timeout: Duration::from_millis(options.settings.timeout_ms),
            clock,
            fence: Fence::new(READ_MS_MAX),
            waiting: BTreeMap::new(),
            waiting_for_session: Vec::new(),
            closing: None,
            commands: shared.commands.downgrade(),
        };
        // The task must not keep itself alive: it ends when the last clone is gone.
        let weak = Arc::downgrade(&shared);
        tokio::spawn(async move {
            let send = move |to, message| {
                if let Some(shared) = weak.upgrade() {
                    shared.link.send(to, message);
                }
            };
            task.run(command_queue, message_queue, send).await;
        });
        Cluster { shared }
    }

    /// Hands over what a replica sent to this client. Drops it if too much waits: it will be said again.
    pub fn deliver(&self, message: Message) {
        let _ = self.shared.messages.try_send(message);
    }

    pub fn downgrade(&self) -> WeakCluster<L> {
        WeakCluster { shared: Arc::downgrade(&self.shared) }
    }

    pub fn link(&self) -> &L {
        &self.shared.link
    }

    pub fn replicas(&self) -> impl Iterator<Item = ReplicaId> + use<L> {
        let count = u8::try_from(self.shared.layout.quorums.replica_count);
        (0..count.expect("there are at most seven replicas")).map(ReplicaId::new)
    }

    pub fn layout(&self) -> Layout {
        self.shared.layout
    }

    /// Changes the catalog. The answer is the catalog's own, and where in the log it was given.
    pub async fn submit(&self, operation: &Operation) -> Result<At<Reply>, ClusterError> {
        self.submit_commit(operation, None).await
    }

    /// Changes the catalog by something that refers to an upload's chunks.
    pub(super) async fn submit_commit(
        &self,
        operation: &Operation,
        body: Option<BodyId>,
    ) -> Result<At<Reply>, ClusterError> {
        let operation = operation.to_bytes();
        let (op, reply) = self.command(|answer| Command::Submit { operation, body, answer }).await?;
        let reply = Reply::from_bytes(&reply).map_err(|error| ClusterError::Invalid(error.to_string()))?;
        Ok((op, reply))
    }

    /// Asks the catalog. The answer reflects everything that was acknowledged to anybody before.
    pub async fn read(&self, query: &Query) -> Result<At<QueryReply>, ClusterError> {
        let query = query.to_bytes();
        let (op, reply) = self.command(|answer| Command::Query { query, answer }).await?;
        let reply =
            QueryReply::from_bytes(&reply).map_err(|error| ClusterError::Invalid(error.to_string()))?;
        Ok((op, reply))
    }

    /// Lets what is under way end, and gives the session up.
    pub async fn close(&self) {
        let (answer, closed) = oneshot::channel();
        if self.shared.commands.send(Command::Close { answer }).await.is_ok() {
            let _ = closed.await;
        }
    }

    /// A name under which chunks can be stored.
    pub(super) async fn begin_upload(&self) -> Result<UploadGuard, ClusterError> {
        self.command(|answer| Command::BeginUpload { answer }).await
    }

    pub(super) async fn begin_read(&self) -> Result<ReadGuard, ClusterError> {
        self.command(|answer| Command::BeginRead { answer }).await
    }

    /// For a read of so many bytes.
    pub(super) async fn read_place(&self, length: u64) -> Result<ReadPlace, ClusterError> {
        self.shared.read_room.take(length).await
    }

    pub(super) async fn on_record(&self, read: &ReadGuard, op: Op) {
        let _ = self.shared.commands.send(Command::OnRecord(read.ticket, op)).await;
    }

    async fn command<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, ClusterError> {
        let (answer, answered) = oneshot::channel();
        self.shared.commands.send(command(answer)).await.map_err(|_| ClusterError::Closed)?;
        answered.await.unwrap_or(Err(ClusterError::Closed))
    }
}

/// An upload that is under way. However it ends, also if it never reaches whoever asked for it, its
/// number must not hold back collection.
pub(super) struct UploadGuard {
    pub(super) body: BodyId,
    commands: mpsc::Sender<Command>,
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        say(&self.commands, Command::EndUpload(self.body));
    }
}

/// A read that is under way, in the same way. What it protects may be collected after an hour all the
/// same: who reads on finds its bytes, or finds that they are gone.
pub(super) struct ReadGuard {
    ticket: ReadTicket,
    commands: mpsc::Sender<Command>,
}

#[cfg(test)]
impl ReadGuard {
    /// Of a read that no session knows of.
    pub(super) fn of_nobody() -> ReadGuard {
        let mut fence = Fence::new(READ_MS_MAX);
        fence.on_session_began(SessionId::new(1));
        let ticket = fence.begin_read(Tick::ZERO).expect("there is a session");
        let (commands, _) = mpsc::channel(1);
        ReadGuard { ticket, commands }
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        say(&self.commands, Command::EndRead(self.ticket));
    }
}

/// What does not get through at once is said by a task of its own: a watermark that is never released
/// would hold back collection for ever.
fn say(commands: &mpsc::Sender<Command>, command: Command) {
    if let Err(mpsc::error::TrySendError::Full(command)) = commands.try_send(command)
        && let Ok(runtime) = tokio::runtime::Handle::try_current()
    {
        let commands = commands.clone();
        runtime.spawn(async move { commands.send(command).await.ok() });
    }
}

/// The ticks of one machine: milliseconds since it began.
pub(super) struct Clock {
    begun: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { begun: Instant::now() }
    }

    pub(super) fn now(&self) -> Tick {
        Tick::new(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// What happened since `moment` has taken no time.
    pub(super) fn leave_out_since(&mut self, moment: Instant) {
        self.begun += moment.elapsed();
    }

    /// When the tick has certainly come: `now` cuts off what is no whole millisecond.
    pub(super) fn instant(&self, tick: Tick) -> Instant {
        self.begun + Duration::from_millis(tick.get().saturating_add(1))
    }
}

struct Task {
    client: Client,
    timeout: Duration,
    clock: Clock,
    fence: Fence,
    waiting: BTreeMap<Ticket, Answer<At<Bytes>>>,
    /// Uploads and reads that came before there was a session.
    waiting_for_session: Vec<(Instant, Command)>,
    closing: Option<oneshot::Sender<()>>,
    /// For the guards that are given out. The task itself must not keep its own queue open.
    commands: mpsc::WeakSender<Command>,
}

impl Task {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut messages: mpsc::Receiver<Message>,
        send: impl Fn(ReplicaId, Message),
    ) {
        loop {
            // Not only when nothing comes: queues that are never empty must not stop the clock.
            if self.wake_at() <= Instant::now() {
                self.on_time();
            }
            self.renew_watermarks();
            if self.perform(&send) {
                break;
            }
            let wake = self.wake_at();
            tokio::select! {
                // Answers first: they make room.
                biased;
                message = messages.recv() => match message {
                    Some(message) => self.client.on_message(self.clock.now(), message),
                    None => break,
                },
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
                () = tokio::time::sleep_until(wake) => self.on_time(),
            }
        }
        if let Some(closing) = self.closing.take() {
            let _ = closing.send(());
        }
    }

    fn on_time(&mut self) {
        self.client.on_tick(self.clock.now());
        self.give_up_waiting_for_session();
    }

    fn wake_at(&self) -> Instant {
        let client = self.client.next_tick().map(|tick| self.clock.instant(tick));
        let waiting = self.waiting_for_session.first().map(|(until, _)| *until);
        let idle = Instant::now() + Duration::from_secs(1);
        [client, waiting].into_iter().flatten().min().unwrap_or(idle)
    }

    fn obey(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Submit { body: Some(body), answer, .. } if !self.fence.is_upload_live(body) => {
                let _ = answer.send(Err(OUTLIVED));
            }
            Command::Submit { operation, body, answer } => {
                let deadline = self.deadline();
                let ticket = match body {
                    Some(body) => self.client.submit_in(now, body.session, operation, deadline),
                    None => self.client.submit(now, operation, deadline),
                };
                self.accepted(ticket, answer);
            }
            Command::Query { query, answer } => {
                let ticket = self.client.query(now, query);
                self.accepted(ticket, answer);
            }
            // Whoever asks has a sender, so there is one to be upgraded. A guard that nobody receives ends
            // what it guards when it is dropped here.
            Command::BeginUpload { answer } => match (self.fence.begin_upload(), self.commands.upgrade()) {
                (Some(body), Some(commands)) => drop(answer.send(Ok(UploadGuard { body, commands }))),
                _ => self.wait_for_session(Command::BeginUpload { answer }),
            },
            Command::BeginRead { answer } => match (self.fence.begin_read(now), self.commands.upgrade()) {
                (Some(ticket), Some(commands)) => drop(answer.send(Ok(ReadGuard { ticket, commands }))),
                _ => self.wait_for_session(Command::BeginRead { answer }),
            },
            Command::EndUpload(body) => self.fence.end_upload(body),
            Command::OnRecord(ticket, op) => self.fence.on_record(ticket, op),
            Command::EndRead(ticket) => self.fence.end_read(ticket),
            Command::Close { answer } => {
                self.closing = Some(answer);
                self.client.close(now);
            }
        }
    }

    /// Also when nobody has asked for anything: what the keepalives' answers tell lets other clients'
    /// deleted bytes go.
    fn renew_watermarks(&mut self) {
        self.fence.learn(self.client.newest_op());
        let watermarks = self.fence.watermarks(self.clock.now());
        self.client.set_watermarks(watermarks.oldest_live_upload, watermarks.oldest_read);
    }

    fn wait_for_session(&mut self, command: Command) {
        self.waiting_for_session.push((Instant::now() + SESSION_PATIENCE, command));
    }

    fn accepted(&mut self, ticket: Result<Ticket, ClientError>, answer: Answer<At<Bytes>>) {
        match ticket {
            Ok(ticket) => drop(self.waiting.insert(ticket, answer)),
            Err(error) => {
                let _ = answer.send(Err(match error {
                    ClientError::Busy => ClusterError::Unavailable("too many requests are under way"),
                    ClientError::TooLarge => ClusterError::Invalid(error.to_string()),
                    ClientError::Closed => ClusterError::Closed,
                }));
            }
        }
    }

    /// Until when, in cluster time, a request that is sent now may take effect.
    fn deadline(&self) -> Timestamp {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let deadline = wall + self.timeout + CLOCK_SKEW;
        Timestamp::new(u64::try_from(deadline.as_micros()).unwrap_or(u64::MAX))
    }

    /// True when the client has closed.
    fn perform(&mut self, send: &impl Fn(ReplicaId, Message)) -> bool {
        while let Some(output) = self.client.next_output() {
            match output {
                Output::Send { to, message } => send(to, message),
                Output::Completed { ticket, op, reply } => self.answer(ticket, Ok((op, reply))),
                Output::Failed { ticket, reason } => self.answer(
                    ticket,
                    Err(match reason {
                        Failure::Unknown => ClusterError::Unknown,
                        Failure::Definite => ClusterError::Unavailable("no quorum answered in time"),
                        Failure::SessionOver => OUTLIVED,
                        Failure::Full => ClusterError::Full,
                        Failure::Invalid(why) => ClusterError::Invalid(why),
                    }),
                ),
                Output::SessionBegan { session } => self.session_began(session),
                Output::Closed => return true,
            }
        }
        false
    }

    fn answer(&mut self, ticket: Ticket, result: Result<At<Bytes>, ClusterError>) {
        if let Some(answer) = self.waiting.remove(&ticket) {
            // Whoever asked may have gone away: what was done is done all the same.
            let _ = answer.send(result);
        }
    }

    fn session_began(&mut self, session: SessionId) {
        tracing::debug!(session = session.get(), "a session began");
        self.fence.on_session_began(session);
        for (_, command) in std::mem::take(&mut self.waiting_for_session) {
            self.obey(command);
        }
    }

    fn give_up_waiting_for_session(&mut self) {
        let now = Instant::now();
        while let Some((until, _)) = self.waiting_for_session.first()
            && *until <= now
        {
            let none = ClusterError::Unavailable("no session: is there a quorum?");
            match self.waiting_for_session.remove(0).1 {
                Command::BeginUpload { answer } => drop(answer.send(Err(none))),
                Command::BeginRead { answer } => drop(answer.send(Err(none))),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::message::Body;
    use protocol::quorums::Quorums;
    use protocol::state;
    use protocol::types::{Incarnation, Peer, RELEASE, RequestNumber, View};

    use super::*;

    fn task() -> (Task, mpsc::Sender<Command>, mpsc::Receiver<Command>) {
        let (commands, queue) = mpsc::channel(10);
        let clock = Clock::start();
        let count = u8::try_from(Quorums::of(3).replica_count).expect("three");
        let settings = ClientSettings::standard();
        let client =
            Client::new(ClientId::new(1), ClusterId::new(2), Epoch::ZERO, count, settings, 3, clock.now());
        let task = Task {
            client,
            timeout: Duration::from_secs(1),
            clock,
            fence: Fence::new(READ_MS_MAX),
            waiting: BTreeMap::new(),
            waiting_for_session: Vec::new(),
            closing: None,
            commands: commands.downgrade(),
        };
        (task, commands, queue)
    }

    /// A read or an upload that nobody ends would hold back collection in the whole cluster.
    #[tokio::test]
    async fn what_a_caller_asked_for_and_did_not_wait_for_holds_nothing_back() {
        let (mut task, _commands, mut queue) = task();
        let (read, _) = oneshot::channel();
        let (upload, _) = oneshot::channel();
        task.obey(Command::BeginRead { answer: read });
        task.obey(Command::BeginUpload { answer: upload });
        task.session_began(SessionId::new(4096));
        task.fence.learn(Op::new(9));
        assert_eq!(task.fence.watermarks(Tick::ZERO).oldest_live_upload, 1);

        for _ in 0..2 {
            let command = queue.try_recv().expect("what was given to nobody has ended");
            task.obey(command);
        }
        let marks = task.fence.watermarks(Tick::ZERO);
        assert_eq!((marks.oldest_live_upload, marks.oldest_read), (2, Op::new(9)));
    }

    #[tokio::test]
    async fn an_upload_that_outlived_its_session_is_not_committed_in_the_next() {
        let (mut task, _commands, _queue) = task();
        task.session_began(SessionId::new(4096));
        let (answer, mut begun) = oneshot::channel();
        task.obey(Command::BeginUpload { answer });
        let guard = begun.try_recv().expect("there is a session").expect("and so an upload");
        task.session_began(SessionId::new(8192));

        let (answer, mut committed) = oneshot::channel();
        task.obey(Command::Submit { operation: Bytes::new(), body: Some(guard.body), answer });
        assert!(matches!(committed.try_recv(), Ok(Err(ClusterError::Unavailable(_)))));
    }

    /// It waited for an answer that would have told it: in the next session it would be malformed.
    #[tokio::test]
    async fn a_commit_that_waited_through_a_change_of_session_may_be_tried_again() {
        let (mut task, _commands, _queue) = task();
        task.session_began(SessionId::new(4096));
        let (answer, mut begun) = oneshot::channel();
        task.obey(Command::BeginUpload { answer });
        let guard = begun.try_recv().expect("there is a session").expect("and so an upload");
        let (answer, mut committed) = oneshot::channel();
        task.obey(Command::Submit { operation: Bytes::new(), body: Some(guard.body), answer });
        assert!(committed.try_recv().is_err(), "it waits");

        let next = state::Reply {
            client: ClientId::new(1),
            session: SessionId::new(8192),
            number: RequestNumber::new(1),
            op: Op::new(2),
            outcome: state::Outcome::Registered { window: 8 },
        };
        let message = Message {
            cluster: ClusterId::new(2),
            epoch: Epoch::ZERO,
            release: RELEASE,
            from: Peer::Replica(ReplicaId::ZERO),
            view: View::ZERO,
            incarnation: Incarnation::ZERO,
            checkpoint: Op::ZERO,
            floor: Op::ZERO,
            body: Body::Reply(next),
        };
        task.client.on_message(task.clock.now(), message);
        assert!(!task.perform(&|_, _| {}));
        assert_eq!(committed.try_recv(), Ok(Err(OUTLIVED)));
    }
}
