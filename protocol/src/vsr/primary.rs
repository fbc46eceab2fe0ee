//! The primary: admits requests, orders them, counts acknowledgements, answers.

use super::status::{Primary, Question, RequestKey, Status, request_key};
use super::*;
use crate::codec::Encoder;
use crate::entry::{EntryHeader, Operation, Request};
use crate::state::{Admission, Outcome, Refusal, Reply};
use crate::types::{RequestNumber, SessionId};

/// Requests that wait for a place in a batch, in batches.
const QUEUE_BATCHES_MAX: usize = 4;

/// How often idle sessions are looked for.
const EXPIRE_INTERVAL_MS: u64 = 1_000;

/// A prepare waits so long while a reachable backup lags behind half of the WAL.
const THROTTLE_MS: u64 = 20;

impl<M: Machine, T: ReplicaTables> Replica<M, T> {
    /// Leads the installed view. Everything that the log inherits is durable here.
    pub(super) fn transition_to_primary(&mut self) {
        self.leave_status();
        assert_eq!(self.primary_of(self.view()), self.me());
        assert!(self.head_certain);
        self.status = Status::Primary(Primary {
            inherited: self.log.head_op(),
            changed_at: self.log.head_op(),
            acknowledged: match planted(Canary::AckOfAnotherLog) {
                false => [Op::ZERO; REPLICAS_MAX],
                true => [self.log.head_op(); REPLICAS_MAX],
            },
            queue: Default::default(),
            queue_bytes: 0,
            admitted: Default::default(),
            sequence: 0,
            answered: [0; REPLICAS_MAX],
            confirmed: 0,
            heartbeat_at: self.now,
            confirmed_at: self.now,
            progress_at: self.now,
            throttled_until: Tick::ZERO,
            expire_at: self.now.plus(EXPIRE_INTERVAL_MS),
            reads: Default::default(),
            reads_bytes: 0,
            challenges: BTreeMap::new(),
            rejoins: Default::default(),
        });
        self.candidate = None;
        self.asked_view = None;
        self.event(Event::ViewStartedAsPrimary);
        for other in self.others() {
            self.send_start_view(other, None);
        }
        self.beat();
    }

    /// What must not outlive the present status: pending reads get an answer, the rest is dropped
    /// and sent again by the clients.
    pub(super) fn leave_status(&mut self) {
        self.fail_reads();
    }

    /// Sends a heartbeat. Its number also serves reads: whoever answers it has promised nothing later.
    pub(super) fn beat(&mut self) {
        let next_at = self.after(self.config.timeouts.heartbeat_ms);
        let Status::Primary(primary) = &mut self.status else { return };
        primary.sequence += 1;
        primary.heartbeat_at = next_at;
        let sequence = primary.sequence;
        let head = self.log.head();
        let (head, head_name) = (head.header.op, head.name);
        let name = self.log.slot(self.commit).map_or(Checksum::ZERO, |slot| slot.name);
        let (commit, room) = (self.commit, self.room_of_all());
        self.send_all(&Body::Commit { commit, name, head, head_name, sequence, room });
    }

    pub(super) fn on_request(&mut self, request: Request, forwarded: bool) {
        if !self.is_primary() {
            if !forwarded {
                self.remember_request(request);
            }
            return;
        }
        if let Err(refusal) = self.check_request(&request) {
            return self.refuse(&request, refusal);
        }
        match self.standing(&request) {
            Admission::New => {}
            Admission::Answered(reply) => return self.repeat(reply),
            // True of this replica's table; whether it is true, a quorum must confirm first.
            Admission::OutsideWindow | Admission::SessionGone => {
                if !self.ask_when_confirmed(Question::Standing(request.clone())) {
                    self.refuse(&request, Refusal::Busy);
                }
                return;
            }
        }
        let limits = self.config.limits;
        let key = request_key(&request);
        let Status::Primary(primary) = &mut self.status else { return };
        if primary.admitted.contains(&key) && !planted(Canary::RetryPreparedTwice) {
            return self.event(Event::RequestDuplicateInPipeline);
        }
        if let Some(refusal) = self.refused_for_room(&request) {
            return self.refuse(&request, refusal);
        }
        let Status::Primary(primary) = &mut self.status else { return };
        if primary.queue.len() >= QUEUE_BATCHES_MAX * limits.batch_requests_max
            || primary.queue_bytes >= QUEUE_BATCHES_MAX * limits.batch_bytes_max
        {
            return self.refuse(&request, Refusal::Busy);
        }
        primary.admitted.insert(key);
        primary.queue_bytes += request.encoded_size_max();
        primary.queue.push_back(request);
    }

    /// What can be said against a request without looking at its session.
    pub(super) fn check_request(&self, request: &Request) -> Result<(), Refusal> {
        match &request.operation {
            Operation::Expire { .. } | Operation::Rejoin { .. } => {
                return Err(Refusal::Invalid("only the primary proposes this".into()));
            }
            Operation::Machine(operation) => {
                if operation.len() > self.config.limits.operation_bytes_max {
                    return Err(Refusal::Invalid("the operation is too large".into()));
                }
                let verdict = self.state.machine().validate(request.session, operation);
                verdict.map_err(|invalid| Refusal::Invalid(invalid.0.into()))?;
            }
            Operation::Register | Operation::Keepalive { .. } | Operation::Close => {}
        }
        Ok(())
    }

    /// What the table says of a request. A deadline that has passed is not looked at: only the log
    /// can tell whether an earlier copy of the request took effect.
    fn standing(&self, request: &Request) -> Admission {
        if planted(Canary::RetryPreparedTwice) {
            return Admission::New;
        }
        self.state.sessions().check(request)
    }

    fn repeat(&mut self, reply: Reply) {
        self.event(Event::RequestDuplicateAnswered);
        self.send_client(reply.client, Body::Reply(reply));
    }

    /// The table's verdict on a request, confirmed.
    pub(super) fn tell_standing(&mut self, request: &Request) {
        match self.standing(request) {
            // Its session was only now learned of. The client will send it again.
            Admission::New => {}
            Admission::Answered(reply) => self.repeat(reply),
            Admission::OutsideWindow => self.refuse(request, Refusal::OutsideWindow),
            Admission::SessionGone => self.refuse(request, Refusal::SessionGone),
        }
    }

    fn refuse(&mut self, request: &Request, refusal: Refusal) {
        let reply = Reply {
            client: request.client,
            session: request.session,
            number: request.number,
            op: Op::ZERO,
            outcome: Outcome::Refused(refusal),
        };
        self.send_client(request.client, Body::Reply(reply));
    }

    /// Cluster time, before the log makes it strictly increasing: the median of the voters' clocks, so
    /// that a single clock that runs or jumps ahead cannot age everybody's requests.
    fn cluster_clock(&self) -> Timestamp {
        let recent = self.now.minus(4 * self.config.timeouts.abdication_ms);
        self.peers.median_clock(self.clock, recent.max(Tick::new(1)))
    }

    pub(super) fn inheritance_is_applied(&self) -> bool {
        matches!(&self.status, Status::Primary(primary) if self.applied() >= primary.inherited)
    }

    pub(super) fn settle_primary(&mut self) {
        // Nothing is stamped before the others have told their clocks.
        let unheard = self.confirmed() == 0;
        if !self.is_primary() || unheard || !self.view_is_durable() || !self.inheritance_is_applied() {
            return;
        }
        while self.may_prepare() {
            if let Some(request) = self.next_rejoin() {
                self.prepare(vec![request]);
                continue;
            }
            let batch = self.take_batch();
            if batch.is_empty() {
                break;
            }
            self.prepare(batch);
        }
        if self.should_carry_on() {
            self.carry_on();
        }
    }

    fn may_prepare(&mut self) -> bool {
        let limits = self.config.limits;
        let head = self.log.head_op();
        let Status::Primary(primary) = &self.status else { return false };
        if primary.queue.is_empty() && primary.rejoins.is_empty() {
            return false;
        }
        if head >= self.commit.plus(limits.pipeline_max) {
            self.event(Event::PipelineFull);
            return false;
        }
        if head >= self.reclaimed.plus(limits.wal_ops_max) {
            self.event(Event::WalFull);
            return false;
        }
        if self.now < primary.throttled_until {
            return false;
        }
        if !primary.rejoins.is_empty() {
            // Alone, with nothing else under way: what it does to the incarnations must be certain.
            return self.applied() == head;
        }
        // What arrives while the disk is busy becomes the next batch.
        let full =
            primary.queue.len() >= limits.batch_requests_max || primary.queue_bytes >= limits.batch_bytes_max;
        if self.log.is_writing() && !full {
            return false;
        }
        !self.throttle()
    }

    /// Slows down, but never stops, for a reachable backup that would fall out of the WAL.
    fn throttle(&mut self) -> bool {
        let limit = self.config.limits.throttle_lag_ops();
        let suspicion_ms = self.config.timeouts.suspicion_ms;
        let lags = self.others().into_iter().any(|other| {
            let Status::Primary(primary) = &self.status else { return false };
            let facts = self.peers.get(other);
            let reachable = facts.known && self.now.since(facts.heard_at) < suspicion_ms;
            reachable && primary.acknowledged[other.index()].plus(limit) < self.commit
        });
        if lags {
            self.event(Event::Throttled);
            let until = self.now.plus(THROTTLE_MS);
            if let Status::Primary(primary) = &mut self.status {
                primary.throttled_until = until;
            }
        }
        // This prepare still goes out; the next one waits.
        false
    }

    fn next_rejoin(&mut self) -> Option<Request> {
        let Status::Primary(primary) = &mut self.status else { return None };
        let (replica, nonce) = primary.rejoins.pop_front()?;
        if self.state.rejoined(nonce).is_some() {
            return None;
        }
        self.event(Event::RejoinPrepared);
        Some(self.own_request(Operation::Rejoin { replica, nonce }))
    }

    pub(super) fn own_request(&self, operation: Operation) -> Request {
        Request {
            client: ClientId::ZERO,
            session: SessionId::ZERO,
            number: RequestNumber::ZERO,
            answered_below: RequestNumber::ZERO,
            deadline: Timestamp::new(u64::MAX),
            operation,
        }
    }

    /// The next requests that still deserve a place in the log.
    fn take_batch(&mut self) -> Vec<Request> {
        let limits = self.config.limits;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < limits.batch_requests_max {
            let Status::Primary(primary) = &mut self.status else { break };
            let Some(request) = primary.queue.front() else { break };
            let size = request.encoded_size_max();
            if bytes + size > limits.batch_bytes_max {
                break;
            }
            let request = primary.queue.pop_front().expect("it was just seen");
            primary.queue_bytes -= size;
            if let Admission::Answered(reply) = self.standing(&request) {
                self.settle_request(&request_key(&request));
                self.repeat(reply);
                continue;
            }
            // It may have waited, and the disks have filled in the meantime.
            if let Some(refusal) = self.refused_for_room(&request) {
                self.settle_request(&request_key(&request));
                self.refuse(&request, refusal);
                continue;
            }
            bytes += size;
            batch.push(request);
        }
        batch
    }

    fn settle_request(&mut self, key: &RequestKey) {
        if let Status::Primary(primary) = &mut self.status {
            primary.admitted.remove(key);
        }
    }

    /// Gives requests their place: the next entry of the log.
    pub(super) fn prepare(&mut self, requests: Vec<Request>) {
        let parent = self.log.head();
        let op = parent.header.op.next();
        if requests.iter().any(|request| matches!(request.operation, Operation::Machine(_)))
            && let Status::Primary(primary) = &mut self.status
        {
            primary.changed_at = op;
        }
        let mut incarnations = parent.header.incarnations;
        for request in &requests {
            if let Operation::Rejoin { replica, .. } = request.operation {
                incarnations[replica.index()] = Incarnation::from_rejoin(op);
                self.forget_acknowledgements(replica);
            }
        }
        let parent = self.log.head();
        let size_max = requests.iter().map(Request::encoded_size_max).sum();
        let mut body = Encoder::with_capacity(size_max);
        for request in &requests {
            request.encode(&mut body);
        }
        let body = body.finish();
        let earliest = parent.header.timestamp.plus(u64::from(parent.header.request_count).max(1));
        let header = EntryHeader {
            cluster: self.config.cluster,
            epoch: self.config.epoch,
            release: RELEASE,
            view: self.view(),
            op,
            parent: parent.name,
            timestamp: match planted(Canary::TimeRunsBack) {
                false => earliest.max(self.cluster_clock()),
                true => self.clock,
            },
            incarnations,
            request_count: u32::try_from(requests.len()).expect("batches are bounded"),
            body_size: u32::try_from(body.len()).expect("batches are bounded"),
            body_checksum: Checksum::of(&body),
        };
        let name = header.name();
        let entry = Entry { header, name, body: body.into() };
        self.log.append(entry.header.clone());
        self.log.keep_body(&entry);
        self.log.on_writing(op, name);
        self.out.push(Effect::Append { entry: entry.clone() });
        self.send_all(&Body::Prepare { entry, commit: self.commit });
    }

    /// The replica's disk is about to be replaced: what it acknowledged is gone.
    fn forget_acknowledgements(&mut self, replica: ReplicaId) {
        if let Status::Primary(primary) = &mut self.status {
            primary.acknowledged[replica.index()] = Op::ZERO;
            primary.answered[replica.index()] = 0;
        }
    }

    pub(super) fn on_prepare_ok(&mut self, from: ReplicaId, view: View, op: Op, name: Checksum) {
        let ours = view == self.view() && self.log.slot(op).is_some_and(|slot| slot.name == name);
        if !ours && !planted(Canary::AckOfAnotherLog) {
            return;
        }
        if let Status::Primary(primary) = &mut self.status {
            let acknowledged = &mut primary.acknowledged[from.index()];
            *acknowledged = (*acknowledged).max(op);
        }
    }

    /// Counts the votes for the log: committed is what a replication quorum holds durably.
    pub(super) fn settle_commit(&mut self) {
        let own = self.acknowledgeable();
        let view_is_durable = self.view_is_durable();
        let Status::Primary(primary) = &mut self.status else { return };
        if !view_is_durable {
            return;
        }
        let mut votes: Vec<Op> = vec![own];
        for (index, acknowledged) in primary.acknowledged.iter().enumerate() {
            if index != self.config.replica.index() && index < self.config.quorums.replica_count {
                votes.push(*acknowledged);
            }
        }
        votes.sort_unstable_by(|a, b| b.cmp(a));
        let committed = votes[self.config.quorums.replication - 1];
        if committed > self.commit {
            self.commit = committed;
            primary.progress_at = self.now;
            self.fruitless_views = 0;
        }
    }

    /// Sends the replies of an entry that was just applied.
    pub(super) fn answer(&mut self, replies: Vec<Reply>) {
        for reply in replies {
            let session =
                if let Outcome::Registered { .. } = reply.outcome { SessionId::ZERO } else { reply.session };
            let key = (session, reply.number, reply.client);
            match &mut self.status {
                Status::Primary(primary) => {
                    primary.admitted.remove(&key);
                    self.send_client(reply.client, Body::Reply(reply));
                }
                Status::Backup(backup) => {
                    backup.starving.remove(&key);
                }
                _ => {}
            }
        }
    }

    pub(super) fn tick_primary(&mut self) {
        let Status::Primary(primary) = &self.status else { return };
        let timeouts = self.config.timeouts;
        if self.now >= primary.heartbeat_at {
            self.beat();
        }
        let impatience = self.patience().max(timeouts.abdication_ms) * 4;
        let Status::Primary(primary) = &mut self.status else { return };
        let idle = self.commit >= self.log.head_op() && primary.queue.is_empty();
        if idle {
            primary.progress_at = self.now;
        }
        if planted(Canary::DeafPrimaryStays) {
            return;
        }
        if self.now.since(primary.confirmed_at) > timeouts.abdication_ms {
            self.event(Event::AbdicatedUnheard);
            return self.transition_to_recovering(true);
        }
        if self.now.since(primary.progress_at) > impatience {
            self.fruitless_views = self.fruitless_views.saturating_add(1);
            self.event(Event::SuspectedStuckCommit);
            return self.transition_to_recovering(true);
        }
        if self.now >= primary.expire_at {
            primary.expire_at = self.now.plus(EXPIRE_INTERVAL_MS);
            self.propose_expiry();
        }
    }

    fn propose_expiry(&mut self) {
        let sessions = self.state.sessions().idle(self.cluster_clock());
        if sessions.is_empty() || !self.inheritance_is_applied() {
            return;
        }
        self.event(Event::SessionsExpired);
        let request = self.own_request(Operation::Expire { sessions });
        if let Status::Primary(primary) = &mut self.status {
            primary.queue_bytes += request.encoded_size_max();
            primary.queue.push_front(request);
        }
    }

    pub(super) fn send_located(&mut self, client: ClientId) {
        let replica_count =
            u8::try_from(self.config.quorums.replica_count).expect("there are at most seven replicas");
        let normal = matches!(self.status, Status::Primary(_) | Status::Backup(_));
        self.send_client(client, Body::Located { replica_count, normal });
    }
}
