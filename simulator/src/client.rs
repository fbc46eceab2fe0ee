//! The clients: the real client machine, a workload that tells it what to want, and a memory of what
//! it was told.

mod transfers;

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::catalog::{
    Answer, Catalog, CatalogLimits, Error, NewBody, Operation, Query, QueryReply, Reply, Success,
};
use protocol::client::{Client, ClientSettings, Failure, Output, Ticket};
use protocol::data::fence::ReadTicket;
use protocol::data::message::{DataBody, DataMessage};
use protocol::data::placement::Layout;
use protocol::data::receipt::ReceiptKey;
use protocol::message::Message;
use protocol::quorums::Quorums;
use protocol::types::{ClientId, Incarnation, Op, Peer, REPLICAS_MAX, ReplicaId, Tick, Timestamp};
use protocol::wire::Wire;

use crate::coverage::Coverage;
use crate::history::{History, Id, Outcome};
use crate::options::{Options, Stack};
use crate::random::Random;
use crate::workload::{Action, Workload};
pub use transfers::Missing;
use transfers::{Contents, Event, Readers, Transfers};

/// How often a client machine is told the time, in microseconds.
const PACE: u64 = 10_000;

/// Small, so that every bound is met: a part of a few bytes is a part, a page of a few keys a page.
pub const CATALOG_LIMITS: CatalogLimits = CatalogLimits {
    inline_bytes_max: 4 << 10,
    part_bytes_min: 16,
    page_bytes_max: 16 << 10,
    ..CatalogLimits::standard()
};

/// Known to the workloads too: they give receipts in the replicas' name.
pub const RECEIPT_KEY: ReceiptKey = ReceiptKey::new([0x5e; 32]);

pub fn catalog(quorums: Quorums) -> Catalog {
    Catalog::new(CATALOG_LIMITS, Layout::first(quorums), RECEIPT_KEY)
}

/// What is under way.
struct Call {
    id: Id,
    action: Action,
    /// Whoever it was told to: everything up to here had taken effect before the call was made.
    floor: Op,
    purpose: Purpose,
}

/// What an answer is for, besides the workload's curiosity.
#[derive(Clone, Copy)]
enum Purpose {
    Plain,
    /// The commit of an upload.
    Commit(u64),
    /// The record of an object that is read.
    Record(ReadTicket),
    /// More pieces for a read that is under way.
    Pieces(u64),
}

struct One {
    machine: Client,
    workload: Workload,
    calls: BTreeMap<Ticket, Call>,
    next_at: u64,
    random: Random,
    /// None where there are no chunks.
    transfers: Option<Transfers>,
    /// The process does nothing until then, and nobody notices but its session.
    frozen_until: u64,
    /// After the troubles: a last write and a last read, which must be answered.
    farewell: Vec<Ticket>,
    farewells: u64,
}

pub struct Clients {
    options: Options,
    all: Vec<One>,
    /// Which client a process belongs to, or belonged to before it died.
    owners: BTreeMap<ClientId, usize>,
    pub history: History,
    calm: bool,
    answers: Vec<(Bytes, Op, Bytes)>,
    /// Everything up to here has taken effect: somebody was told.
    told: Op,
    /// What all bodies are made of.
    contents: Contents,
    /// What was found wrong by looking at bytes, and what readers found missing.
    broken: Option<String>,
    missing: Vec<Missing>,
}

/// What a client process has to say.
#[derive(Default)]
pub struct Sends {
    pub messages: Vec<(Peer, Message)>,
    pub frames: Vec<(ReplicaId, DataMessage)>,
}

impl Clients {
    pub fn new(options: &Options) -> Clients {
        let mut clients = Clients {
            options: options.clone(),
            all: Vec::new(),
            owners: BTreeMap::new(),
            history: History::new(),
            calm: false,
            answers: Vec::new(),
            told: Op::ZERO,
            contents: Contents::new(),
            broken: None,
            missing: Vec::new(),
        };
        let layout = Layout::first(options.config.quorums);
        for index in 0..options.client_count {
            let mut random = Random::branch(options.seed, &format!("client {index}"));
            let machine = clients.begin(index, &mut random, 0);
            clients.all.push(One {
                machine,
                workload: Workload::new(options.workload.clone(), layout, options.seed, index),
                calls: BTreeMap::new(),
                next_at: 0,
                transfers: clients.begin_transfers(&mut random),
                frozen_until: 0,
                random,
                farewell: Vec::new(),
                farewells: 0,
            });
        }
        clients
    }

    /// A new process, with a new random name.
    fn begin(&mut self, index: usize, random: &mut Random, now: u64) -> Client {
        let id = ClientId::new(u128::from(random.word()) << 64 | u128::from(random.word()));
        self.owners.insert(id, index);
        let config = &self.options.config;
        let count = u8::try_from(config.quorums.replica_count).expect("at most seven");
        let settings = ClientSettings {
            keepalive_ms: 1_000,
            timeout_ms: 15_000,
            requests_max: 64,
            queries_max: 64,
            operation_bytes_max: config.limits.operation_bytes_max,
            ..ClientSettings::standard()
        };
        Client::new(id, config.cluster, config.epoch, count, settings, random.word(), tick(now))
    }

    fn begin_transfers(&self, random: &mut Random) -> Option<Transfers> {
        let config = &self.options.config;
        let layout = Layout::first(config.quorums);
        let begin = || {
            let random = Random::branch(random.word(), "transfers");
            let readers = Readers {
                slow_percent: self.options.slow_reader_percent,
                pause_max: self.options.slow_reader_pause,
                protected_ms: self.options.read_ms_max,
            };
            Transfers::new(layout, config.cluster, readers, random)
        };
        (self.options.stack == Stack::Whole).then(begin)
    }

    pub fn peers(&self) -> impl Iterator<Item = Peer> + use<> {
        let peers: Vec<Peer> = self.all.iter().map(|one| Peer::Client(one.machine.id())).collect();
        peers.into_iter()
    }

    /// The name of the process that this client is at present.
    pub fn id(&self, index: usize) -> ClientId {
        self.all[index].machine.id()
    }

    pub fn pace(&self) -> u64 {
        PACE
    }

    /// Whose disk is which by now. Clients make use of it later, or never.
    pub fn hear_of_disks(&mut self, index: usize, incarnations: &[Incarnation; REPLICAS_MAX]) {
        self.all[index].workload.hear_of_disks(incarnations);
    }

    /// A client looks at its clock: it may want something new, or die.
    pub fn step(&mut self, index: usize, now: u64, coverage: &mut Coverage) -> Sends {
        if !self.calm && self.all[index].random.per_million(self.options.client_freeze) {
            coverage.mark("client frozen");
            let micros = *self.all[index].random.pick(&[300_000, 3_000_000, 8_000_000]);
            self.all[index].frozen_until = now + micros;
        }
        if self.is_frozen(index, now) {
            return Sends::default();
        }
        if !self.calm && self.all[index].random.per_million(self.options.client_crash) {
            self.die(index, now, coverage);
        }
        self.all[index].machine.on_tick(tick(now));
        if self.calm {
            self.say_farewell(index, now);
        } else if now >= self.all[index].next_at && self.all[index].busy() < self.options.client_window {
            self.act(index, now, coverage);
        }
        let (calm, one) = (self.calm, &mut self.all[index]);
        if let Some(transfers) = &mut one.transfers {
            transfers.learn(one.machine.newest_op());
            transfers.step(now, calm, &self.contents);
        }
        self.drain(index, now, coverage).0
    }

    fn is_frozen(&self, index: usize, now: u64) -> bool {
        !self.calm && self.all[index].frozen_until > now
    }

    /// Holds up all client processes until then.
    pub fn freeze_all(&mut self, until: u64) {
        self.all.iter_mut().for_each(|one| one.frozen_until = until);
    }

    /// Until when what comes for this process must wait, if it must.
    pub fn frozen_until(&self, id: ClientId, now: u64) -> Option<u64> {
        let index = *self.owners.get(&id)?;
        self.is_frozen(index, now).then_some(self.all[index].frozen_until)
    }

    fn die(&mut self, index: usize, now: u64, coverage: &mut Coverage) {
        coverage.mark("client crash");
        let mut random = self.all[index].random.clone();
        let machine = self.begin(index, &mut random, now);
        let transfers = self.begin_transfers(&mut random);
        let one = &mut self.all[index];
        one.random = random;
        one.machine = machine;
        one.transfers = transfers;
        for (_, call) in std::mem::take(&mut one.calls) {
            self.history.unknown(call.id, now);
        }
    }

    fn act(&mut self, index: usize, now: u64, coverage: &mut Coverage) {
        let one = &mut self.all[index];
        one.next_at = now + one.random.exponential(self.options.think);
        let action = one.workload.next();
        if let Action::Write { operation } = &action
            && let (Some(transfers), Some(NewBody::Chunked { body, .. })) =
                (&mut one.transfers, operation.new_body())
        {
            let name = *body.roots[0].0.first_chunk().expect("a root is longer than a name");
            let (size, length) = (body.chunk_size, body.length);
            let begun = transfers.begin_upload(now, operation.clone(), size, length, name);
            match begun {
                Some(id) => drop(self.contents.insert(id, name)),
                None => one.workload.learned(&action, &Outcome::NoEffect),
            }
            return;
        }
        let mut purpose = Purpose::Plain;
        if let (Some(transfers), Action::Read { query: Query::GetObject { pieces: Some(_), .. } }) =
            (&mut one.transfers, &action)
            && let Some(ticket) = transfers.begin_read(now)
        {
            purpose = Purpose::Record(ticket);
        }
        self.issue(index, now, action, purpose, coverage);
    }

    /// Sends a write or a read on its way, and remembers it.
    fn issue(&mut self, index: usize, now: u64, action: Action, purpose: Purpose, coverage: &mut Coverage) {
        let told = self.told;
        let one = &mut self.all[index];
        let accepted = match &action {
            Action::Pause { micros } => {
                one.next_at = now + micros;
                return;
            }
            Action::Keepalive => {
                // Where there are transfers, the fence says what is needed, and says it always.
                if one.transfers.is_some() {
                    return;
                }
                let reads = one.calls.values().filter(|call| matches!(call.action, Action::Read { .. }));
                let oldest_read = reads.map(|call| call.floor).min().unwrap_or(told);
                return one.machine.set_watermarks(one.workload.oldest_live_upload(), oldest_read);
            }
            Action::Write { operation } => {
                let patience = *one.random.pick(&[500_000, 4_000_000, 30_000_000]);
                let deadline = Timestamp::new(true_clock(now) + patience);
                one.machine.submit(tick(now), operation.to_bytes(), deadline)
            }
            Action::Read { query } => one.machine.query(tick(now), query.to_bytes()),
        };
        let Ok(ticket) = accepted else {
            self.abandon(index, now, purpose);
            return self.all[index].workload.learned(&action, &Outcome::NoEffect);
        };
        coverage.operations += 1;
        let id = self.history.invoke(index, now, &action);
        self.all[index].calls.insert(ticket, Call { id, action, floor: told, purpose });
    }

    /// There will be no answer.
    fn abandon(&mut self, index: usize, now: u64, purpose: Purpose) {
        let Some(transfers) = &mut self.all[index].transfers else { return };
        match purpose {
            Purpose::Plain => {}
            Purpose::Commit(upload) => transfers.on_decided(upload),
            Purpose::Record(ticket) => transfers.end_read(ticket),
            Purpose::Pieces(download) => transfers.on_pieces(now, download, None),
        }
    }

    /// A call to a holder was answered, or its connection was lost.
    pub fn on_data(
        &mut self,
        id: ClientId,
        now: u64,
        from: ReplicaId,
        call: u64,
        answer: Option<DataBody>,
        coverage: &mut Coverage,
    ) -> Sends {
        let Some(index) = self.owners.get(&id).copied() else { return Sends::default() };
        let (calm, one) = (self.calm, &mut self.all[index]);
        let Some(transfers) = one.transfers.as_mut().filter(|_| one.machine.id() == id) else {
            return Sends::default();
        };
        match answer {
            Some(body) => transfers.on_answer(now, from, call, body),
            None => transfers.on_call_failed(now, from, call),
        }
        transfers.step(now, calm, &self.contents);
        self.drain(index, now, coverage).0
    }

    /// What came of the transfers leads to writes and reads, which lead to more.
    fn follow_transfers(&mut self, index: usize, now: u64, coverage: &mut Coverage) {
        loop {
            let Some(transfers) = &mut self.all[index].transfers else { return };
            let events = transfers.take_events();
            if events.is_empty() {
                return;
            }
            for event in events {
                match event {
                    Event::Commit { upload, operation } => {
                        coverage.mark("body committed");
                        if let Some(transfers) = &mut self.all[index].transfers {
                            transfers.on_submitted(upload);
                        }
                        let action = Action::Write { operation };
                        self.issue(index, now, action, Purpose::Commit(upload), coverage);
                    }
                    Event::GaveUp { operation } => {
                        let workload = &mut self.all[index].workload;
                        workload.learned(&Action::Write { operation }, &Outcome::NoEffect);
                    }
                    Event::AskPieces { download, query } => {
                        let action = Action::Read { query };
                        self.issue(index, now, action, Purpose::Pieces(download), coverage);
                    }
                    Event::Missing(missing) => self.missing.push(missing),
                    Event::Broken(what) => drop(self.broken.get_or_insert(what)),
                    Event::Mark(what) => coverage.mark(what),
                }
            }
        }
    }

    /// The log has decided on what a transfer waits for, or the catalog has answered it.
    fn settle_purpose(&mut self, index: usize, now: u64, op: Op, purpose: Purpose, outcome: &Outcome) {
        let Some(transfers) = &mut self.all[index].transfers else { return };
        match (purpose, outcome) {
            (Purpose::Plain, _) => {}
            (Purpose::Commit(upload), Outcome::Reply(Err(Error::TooFewCopies))) => {
                transfers.on_too_few_copies(now, upload);
            }
            (Purpose::Record(ticket), Outcome::Answer(Ok(answer))) => {
                transfers.on_record(now, ticket, op, answer);
            }
            (Purpose::Pieces(download), Outcome::Answer(Ok(Answer::Pieces { pieces, more }))) => {
                transfers.on_pieces(now, download, Some((pieces.clone(), *more)));
            }
            (purpose, _) => self.abandon(index, now, purpose),
        }
    }

    /// What readers found wrong since the last call, if anything.
    pub fn take_broken(&mut self) -> Option<String> {
        self.broken.take()
    }

    /// What nobody had when readers asked for it, since the last call.
    pub fn take_missing(&mut self) -> Vec<Missing> {
        std::mem::take(&mut self.missing)
    }

    /// Everybody must be served once more after the troubles: a write and a read.
    fn say_farewell(&mut self, index: usize, now: u64) {
        let one = &mut self.all[index];
        if one.farewells >= 2 || !one.farewell.is_empty() {
            return;
        }
        let name = Bytes::from(format!("farewell-{index}"));
        let accepted = if one.farewells == 0 {
            let operation = Operation::CreateBucket { name, owner: Bytes::from_static(b"all"), tags: vec![] };
            one.machine.submit(tick(now), operation.to_bytes(), Timestamp::new(u64::MAX))
        } else {
            let query =
                Query::ListBuckets { owner: None, prefix: Bytes::new(), after: Bytes::new(), limit: 1 };
            one.machine.query(tick(now), query.to_bytes())
        };
        one.farewell.extend(accepted);
    }

    pub fn on_message(
        &mut self,
        id: ClientId,
        now: u64,
        message: Message,
        coverage: &mut Coverage,
    ) -> (Sends, Result<(), String>) {
        let Some(index) = self.owners.get(&id).copied() else { return (Sends::default(), Ok(())) };
        // What comes for a process that died arrives nowhere.
        if self.all[index].machine.id() != id {
            return (Sends::default(), Ok(()));
        }
        self.all[index].machine.on_message(tick(now), message);
        self.drain(index, now, coverage)
    }

    fn drain(&mut self, index: usize, now: u64, coverage: &mut Coverage) -> (Sends, Result<(), String>) {
        let mut sends = Sends::default();
        let mut result = Ok(());
        self.follow_transfers(index, now, coverage);
        while let Some(output) = self.all[index].machine.next_output() {
            match output {
                Output::Send { to, message } => sends.messages.push((Peer::Replica(to), message)),
                Output::Completed { ticket, op, reply } => {
                    result = result.and(self.completed(index, now, ticket, op, reply, coverage));
                }
                Output::Failed { ticket, reason } => self.failed(index, now, ticket, &reason, coverage),
                Output::SessionBegan { session } => {
                    coverage.mark("session began");
                    let one = &mut self.all[index];
                    one.workload.set_session(session);
                    if let Some(transfers) = &mut one.transfers {
                        transfers.on_session_began(session);
                    }
                }
                Output::Closed => {}
            }
            self.follow_transfers(index, now, coverage);
        }
        let one = &mut self.all[index];
        if let Some(transfers) = &mut one.transfers {
            transfers.learn(one.machine.newest_op());
            let (oldest_live_upload, oldest_read) = transfers.watermarks(now);
            one.machine.set_watermarks(oldest_live_upload, oldest_read);
            sends.frames = transfers.take_frames();
        }
        (sends, result)
    }

    fn completed(
        &mut self,
        index: usize,
        now: u64,
        ticket: Ticket,
        op: Op,
        reply: Bytes,
        coverage: &mut Coverage,
    ) -> Result<(), String> {
        let one = &mut self.all[index];
        if one.farewell.contains(&ticket) {
            one.farewell.clear();
            one.farewells += 1;
            return Ok(());
        }
        let Some(call) = one.calls.remove(&ticket) else { return Ok(()) };
        self.told = self.told.max(op);
        let outcome = match &call.action {
            Action::Write { .. } if op <= call.floor => {
                return Err(format!("a write that began after op {} took effect at op {op}", call.floor));
            }
            Action::Read { .. } if op < call.floor => {
                return Err(format!("a read that began after op {} was answered as of op {op}", call.floor));
            }
            Action::Read { query } => {
                self.answers.push((query.to_bytes(), op, reply.clone()));
                Outcome::Answer(QueryReply::from_bytes(&reply).map_err(|error| error.to_string())?)
            }
            _ => Outcome::Reply(Reply::from_bytes(&reply).map_err(|error| error.to_string())?),
        };
        self.all[index].workload.learned(&call.action, &outcome);
        reached(&call.action, &outcome).iter().for_each(|what| coverage.mark(*what));
        self.settle_purpose(index, now, op, call.purpose, &outcome);
        self.history.respond(call.id, now, outcome);
        Ok(())
    }

    fn failed(&mut self, index: usize, now: u64, ticket: Ticket, reason: &Failure, coverage: &mut Coverage) {
        let one = &mut self.all[index];
        // A farewell that failed is said again.
        one.farewell.retain(|waiting| *waiting != ticket);
        let Some(call) = one.calls.remove(&ticket) else { return };
        coverage.mark(match reason {
            Failure::Unknown => "outcome unknown",
            Failure::Full => "outcome: full",
            Failure::Definite | Failure::SessionOver => "outcome: no effect",
            Failure::Invalid(_) => "outcome: invalid",
        });
        match reason {
            Failure::Definite | Failure::SessionOver | Failure::Invalid(_)
                if matches!(call.action, Action::Write { .. }) =>
            {
                one.workload.learned(&call.action, &Outcome::NoEffect);
                self.history.respond(call.id, now, Outcome::NoEffect);
            }
            _ => self.history.unknown(call.id, now),
        }
        self.abandon(index, now, call.purpose);
    }

    /// The answers to reads since the last call: what was asked, as of which op, and what was said.
    pub fn take_answers(&mut self) -> Vec<(Bytes, Op, Bytes)> {
        std::mem::take(&mut self.answers)
    }

    /// No more wishes but the last ones.
    pub fn calm(&mut self) {
        self.calm = true;
    }

    /// Who still waits for something.
    pub fn waiting(&self) -> Option<String> {
        let calls: usize = self.all.iter().map(|one| one.calls.len()).sum();
        let farewells = self.all.iter().filter(|one| one.farewells < 2).count();
        let idle = |one: &&One| one.transfers.as_ref().is_none_or(Transfers::is_idle);
        let busy = self.all.len() - self.all.iter().filter(idle).count();
        let waits = calls > 0 || farewells > 0 || busy > 0;
        waits.then(|| {
            format!("{calls} calls wait, {farewells} clients have not been served again, {busy} move bytes")
        })
    }
}

impl One {
    /// How much is under way.
    fn busy(&self) -> usize {
        self.calls.len() + self.transfers.as_ref().map_or(0, Transfers::count)
    }
}

/// What an outcome shows of copies and debts: worlds in which disks are replaced must get to all of it.
fn reached(action: &Action, outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Reply(Ok(_)) if matches!(action, Action::Write { operation: Operation::Rebuilt { .. } }) => {
            Some("disk rebuilt")
        }
        Outcome::Reply(Err(Error::WrongLayout)) => Some("wrong layout"),
        Outcome::Reply(Err(Error::TooFewCopies)) => Some("too few copies"),
        Outcome::Reply(Err(Error::DiskReplaced)) => Some("disk replaced"),
        Outcome::Reply(Ok(Success::Settled { bodies: 1.. })) => Some("debts settled"),
        Outcome::Answer(Ok(Answer::Debts { debts, .. })) if !debts.is_empty() => Some("debts listed"),
        Outcome::Answer(Ok(Answer::Rebuilding { disks })) if !disks.is_empty() => Some("disks to rebuild"),
        _ => None,
    }
}

fn tick(now: u64) -> Tick {
    Tick::new(now / 1_000)
}

/// What a good clock shows, in microseconds.
pub fn true_clock(now: u64) -> u64 {
    1_700_000_000_000_000 + now
}
