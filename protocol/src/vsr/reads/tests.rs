use std::collections::VecDeque;

use super::*;
use crate::config::{Limits, Timeouts};
use crate::entry::EntryHeader;
use crate::machine::{Context, QueryContext};
use crate::quorums::Quorums;
use crate::tables::{MemoryTables, Tables};
use crate::types::{ClusterId, Epoch, SessionId};
use crate::wal::WalScan;

const CLUSTER: ClusterId = ClusterId::new(7);
const CLIENT: ClientId = ClientId::new(8);

/// Answers a number with so many bytes.
struct Zeros;

impl Machine for Zeros {
    fn validate(&self, _: SessionId, _: &Bytes) -> Result<(), Invalid> {
        Ok(())
    }

    fn grows(&self, _: &Bytes) -> bool {
        true
    }

    fn apply<T: Tables>(&self, _: &mut T, _: &Context<'_>, _: &Bytes) -> Result<Bytes, TableFault> {
        Ok(Bytes::new())
    }

    fn query<T: Tables>(
        &self,
        _: &T,
        _: &QueryContext<'_>,
        query: &Bytes,
    ) -> Result<Result<Bytes, Invalid>, TableFault> {
        let size = std::str::from_utf8(query).unwrap().parse().unwrap();
        Ok(Ok(vec![0; size].into()))
    }
}

/// Replicas with disks that are done at once.
struct Cluster {
    cores: Vec<Replica<Zeros, MemoryTables>>,
    mail: VecDeque<(ReplicaId, Message)>,
    /// Who has asked to go on.
    unfinished: VecDeque<usize>,
    /// The queries that each input had answered.
    answered: Vec<Vec<u64>>,
    now: u64,
}

impl Cluster {
    fn of(count: u8) -> Cluster {
        let core = |id: u8| {
            let id = ReplicaId::new(id);
            let genesis = EntryHeader::genesis(CLUSTER, Epoch::new(1));
            let limits = Limits::standard();
            let config = Config {
                cluster: CLUSTER,
                epoch: Epoch::new(1),
                replica: id,
                quorums: Quorums::of(usize::from(count)),
                limits,
                timeouts: Timeouts::standard(),
            };
            let superblock = Superblock::format(CLUSTER, Epoch::new(1), id, count);
            let scan = WalScan { records: Vec::new(), certain: true };
            let state = State::new(Zeros, MemoryTables::new(genesis), limits).unwrap();
            Replica::new(config, superblock, scan, state, u64::from(id.get()))
        };
        let mut cluster = Cluster {
            cores: (0..count).map(core).collect(),
            mail: VecDeque::new(),
            unfinished: VecDeque::new(),
            answered: Vec::new(),
            now: 0,
        };
        for index in 0..usize::from(count) {
            cluster.feed(index, |core, out| core.start(Tick::ZERO, Timestamp::ZERO, out));
        }
        while !cluster.cores.iter().any(|core| core.is_primary() && core.view_is_durable()) {
            cluster.tick();
        }
        cluster.tick();
        cluster
    }

    fn primary(&self) -> usize {
        self.cores.iter().position(Replica::is_primary).unwrap()
    }

    fn tick(&mut self) {
        self.now += 10;
        let (tick, clock) = (Tick::new(self.now), Timestamp::new(self.now * 1_000));
        for index in 0..self.cores.len() {
            self.feed(index, |core, out| core.on_tick(tick, clock, out));
        }
        self.deliver();
    }

    /// Without the time being told.
    fn deliver(&mut self) {
        while let Some((to, message)) = self.mail.pop_front() {
            self.feed(to.index(), |core, out| core.on_message(message, out));
        }
    }

    fn ask(&mut self, number: u64, size: usize) {
        let message = Message {
            cluster: CLUSTER,
            epoch: Epoch::new(1),
            release: RELEASE,
            from: Peer::Client(CLIENT),
            view: View::ZERO,
            incarnation: Incarnation::ZERO,
            checkpoint: Op::ZERO,
            floor: Op::ZERO,
            body: Body::Query { number, query: size.to_string().into() },
        };
        self.feed(self.primary(), |core, out| core.on_message(message, out));
    }

    fn feed(
        &mut self,
        index: usize,
        input: impl FnOnce(&mut Replica<Zeros, MemoryTables>, &mut Vec<Effect>),
    ) {
        let mut effects = Vec::new();
        input(&mut self.cores[index], &mut effects);
        let mut completed = self.perform(index, effects);
        while let Some(effect) = completed.pop_front() {
            let mut effects = Vec::new();
            let core = &mut self.cores[index];
            match effect {
                Effect::Append { entry } => core.on_appended(entry.op(), entry.name, &mut effects),
                Effect::WriteSuperblock(_) => core.on_superblock_written(&mut effects),
                other => panic!("{other:?}"),
            }
            completed.extend(self.perform(index, effects));
        }
    }

    /// Gives back what has to be told of when it is done.
    fn perform(&mut self, index: usize, effects: Vec<Effect>) -> VecDeque<Effect> {
        let mut answered = Vec::new();
        let mut work = VecDeque::new();
        for effect in effects {
            match effect {
                Effect::Send { to: Peer::Replica(to), message } => self.mail.push_back((to, message)),
                Effect::Send { message, .. } => match message.body {
                    Body::QueryReply { number, answer: QueryAnswer::Done(_), .. } => answered.push(number),
                    other => panic!("{other:?}"),
                },
                Effect::GoOn => self.unfinished.push_back(index),
                Effect::Halt(why) => panic!("{why:?}"),
                Effect::Event(_) => {}
                other => work.push_back(other),
            }
        }
        self.answered.push(answered);
        work
    }

    /// What each go had answered, from the confirmation to the end.
    fn goes(&mut self) -> Vec<Vec<u64>> {
        self.answered.clear();
        self.deliver();
        while let Some(index) = self.unfinished.pop_front() {
            self.feed(index, |core, out| core.go_on(out));
            self.deliver();
        }
        self.answered.drain(..).filter(|answered| !answered.is_empty()).collect()
    }
}

/// A thousand listings that one heartbeat had confirmed were answered in one breath: for seconds the
/// primary told nobody that it was there, and held a gigabyte of answers.
#[test]
fn many_confirmed_reads_are_answered_in_several_goes_and_none_waits_for_the_time() {
    for (count, size, per_go) in [(100, 10, READS_PER_GO), (20, ANSWER_BYTES_PER_GO / 2, 2)] {
        let mut cluster = Cluster::of(3);
        for number in 0..count {
            cluster.ask(number, size);
        }
        let goes = cluster.goes();
        assert!(goes.iter().all(|answered| answered.len() <= per_go), "{goes:?}");
        assert!(goes.iter().any(|answered| answered.len() == per_go), "{goes:?}");
        assert_eq!(goes.concat(), Vec::from_iter(0..count), "all of them, in order");
    }
}

#[test]
fn a_replica_that_is_alone_answers_each_read_at_once() {
    let mut cluster = Cluster::of(1);
    for number in 0..3 {
        cluster.answered.clear();
        cluster.ask(number, 1);
        assert_eq!(cluster.answered.concat(), [number]);
    }
}
