//! A replica as a model checker needs it: without time, with an identity, and open to inspection.
//!
//! Compiled only with the feature `models`. None of this decides anything: every step that a search
//! takes goes through the inputs of the core itself. What is here makes two replicas equal that can
//! only do the same things from now on, so that a search comes to an end.
//!
//! # Time
//!
//! A clock would make every state a new one. So the checker's clock stands still, and after each step
//! `forget_time` stops the timers that begin something new (suspicion, escalation, heartbeats) and
//! makes those due that merely ask for what is missing. What a stopped timer would have done is an
//! input of its own (`leave_for`, `beat_once`), which the checker may give at any moment: it sees at
//! least the executions that real clocks allow.

use super::select_log::Ballot;
use super::status::{Backup, Rejoining, Status};
use super::*;
use crate::codec::Encoder;

/// When everything happens.
const NOW: Tick = Tick::new(1 << 40);
const NEVER: Tick = Tick::new(u64::MAX);

/// What a checker's properties and its network need to know of a replica.
#[derive(Clone, Debug)]
pub struct Inspection {
    pub status: StatusName,
    pub is_primary: bool,
    /// The log without op 0: name, and whether the body is durable here.
    pub log: Vec<(Op, Checksum, bool)>,
    /// The ballots that an elect that does not lead yet has counted or dropped.
    pub elected_by: Option<Vec<Ballot>>,
    /// Up to where each replica has acknowledged this primary's log.
    pub acknowledged: Option<[Op; REPLICAS_MAX]>,
    /// The nonce that an answer to this replica's `GetView` must carry.
    pub asked_view: Option<Nonce>,
    /// The challenges that this primary waits to be answered.
    pub challenges: Vec<(ReplicaId, Nonce, Nonce)>,
    /// The nonce of a replica that is rejoining, while its `Rejoin` is not known to be committed.
    pub awaits_grant: Option<Nonce>,
}

impl<M: Machine, T: ReplicaTables> Replica<M, T> {
    /// The moment at which a checker starts replicas and lets them tick.
    pub const STANDSTILL: Tick = NOW;

    /// Everybody wishes for this view, and this replica does, too. A wish promises nothing and may be
    /// uttered at any time, so a checker need not keep wishes in its network.
    pub fn leave_for(&mut self, candidate: View, out: &mut Vec<Effect>) {
        if !self.halted {
            for other in self.others() {
                self.peers.wishes(other, candidate, self.now);
            }
            self.wish(candidate);
            self.settle();
        }
        self.hand_over(out);
    }

    /// One heartbeat, if this replica leads.
    pub fn beat_once(&mut self, out: &mut Vec<Effect>) {
        if !self.halted {
            self.beat();
        }
        self.hand_over(out);
    }

    /// Forgets how long ago things happened, and how often.
    pub fn forget_time(&mut self) {
        self.now = NOW;
        self.random = Xoshiro256PlusPlus::seed_from_u64(u64::from(self.me().get()));
        self.durable.boot_count = self.durable.boot_count.min(1);
        self.wanted.boot_count = self.wanted.boot_count.min(1);
        if let Some(writing) = &mut self.writing {
            writing.boot_count = writing.boot_count.min(1);
        }
        self.candidate = None;
        self.candidate_resend_at = NEVER;
        self.fruitless_views = 0;
        self.heard_view = View::ZERO;
        self.ask_view_at = Tick::ZERO;
        self.catch_up = CatchUp::Unknown;
        self.roots.clear();
        self.peers = Peers::default();
        for other in self.others() {
            self.peers.is_there(other, self.now);
        }
        self.repair.forget_time(NEVER);
        self.status_forgets_time();
    }

    fn status_forgets_time(&mut self) {
        match &mut self.status {
            Status::Primary(primary) => {
                // It has been heard, so it knows what time it is; which beat this is says nothing else.
                primary.sequence = 1;
                primary.answered = [1; REPLICAS_MAX];
                primary.confirmed = 1;
                primary.changed_at = Op::ZERO;
                primary.heartbeat_at = NEVER;
                primary.confirmed_at = NOW;
                primary.progress_at = NOW;
                primary.throttled_until = Tick::ZERO;
                primary.expire_at = NEVER;
            }
            Status::Backup(backup) => {
                backup.heartbeat = 0;
                backup.suspect_at = NEVER;
                backup.starving.clear();
            }
            Status::ViewChange(change) => {
                change.waited = false;
                change.resend_at = NEVER;
                change.escalate_at = NEVER;
                change.durable_through = Op::ZERO;
            }
            Status::Recovering(recovering) => recovering.escalate_at = NEVER,
            Status::Rejoining(rejoining) => rejoining.ask_at = Tick::ZERO,
            Status::Syncing(_) => {}
        }
    }

    /// Two replicas with equal identities will do the same upon the same inputs. To be asked after
    /// `forget_time`, of a replica that neither syncs nor reads its WAL.
    pub fn identity(&self) -> Vec<u8> {
        assert!(self.reading.is_empty());
        let mut out = Encoder::with_capacity(1024);
        out.bool(self.halted);
        out.bool(self.head_certain);
        self.durable.encode(&mut out);
        out.option(Some(&self.wanted).filter(|wanted| **wanted != self.durable), |out, wanted| {
            wanted.encode(out);
        });
        out.option(self.writing.as_ref(), |out, writing| writing.encode(out));
        self.log.identify(&mut out);
        out.u64(self.commit.get());
        out.u64(self.reclaimed.get());
        // The state is what the log up to here has made of it.
        out.u128(self.state.applied_name().get());
        self.repair.identify(&mut out);
        out.option(self.asked_view, |out, nonce| out.u128(nonce.get()));
        self.identify_status(&mut out);
        out.finish()
    }

    fn identify_status(&self, out: &mut Encoder) {
        match &self.status {
            Status::Primary(primary) => {
                out.u8(0);
                out.u64(primary.inherited.get());
                primary.acknowledged.iter().for_each(|op| out.u64(op.get()));
                out.count(primary.queue.len());
                primary.queue.iter().for_each(|request| request.encode(out));
                out.count(primary.admitted.len());
                for (session, number, client) in &primary.admitted {
                    out.u64(session.get());
                    out.u64(number.get());
                    out.u128(client.get());
                }
                assert!(primary.reads.is_empty());
                out.count(primary.challenges.len());
                for (replica, (nonce, challenge)) in &primary.challenges {
                    out.u8(replica.get());
                    out.u128(nonce.get());
                    out.u128(challenge.get());
                }
                out.count(primary.rejoins.len());
                for (replica, nonce) in &primary.rejoins {
                    out.u8(replica.get());
                    out.u128(nonce.get());
                }
            }
            Status::Backup(Backup { early, acknowledged, .. }) => {
                out.u8(1);
                out.u64(acknowledged.get());
                out.count(early.len());
                early.values().for_each(|entry| out.u128(entry.name.get()));
            }
            Status::ViewChange(change) => {
                out.u8(2);
                out.bool(change.elected);
                out.count(change.ballots.len());
                for (replica, ballot) in &change.ballots {
                    out.u8(replica.get());
                    out.u64(ballot.incarnation.get());
                    ballot.vote.encode(out);
                }
            }
            Status::Recovering(_) => out.u8(3),
            Status::Syncing(_) => out.u8(4),
            Status::Rejoining(Rejoining { nonce, granted, learned, sync, .. }) => {
                out.u8(5);
                out.u128(nonce.get());
                out.option(*granted, |out, (op, view)| {
                    out.u64(op.get());
                    out.u64(view.get());
                });
                out.option(*learned, |out, view| out.u64(view.get()));
                out.bool(sync.is_some());
            }
        }
    }

    pub fn inspect(&self) -> Inspection {
        let slots = self.log.slots().filter(|slot| slot.header.op > Op::ZERO);
        let log = slots.map(|slot| (slot.header.op, slot.name, slot.body == log::BodyState::Durable));
        Inspection {
            status: self.status.name(),
            is_primary: self.is_primary(),
            log: log.collect(),
            elected_by: match &self.status {
                Status::ViewChange(change) if change.elected => {
                    Some(change.ballots.values().cloned().collect())
                }
                _ => None,
            },
            acknowledged: match &self.status {
                Status::Primary(primary) => Some(primary.acknowledged),
                _ => None,
            },
            asked_view: self.asked_view,
            challenges: match &self.status {
                Status::Primary(primary) => {
                    let challenges = primary.challenges.iter();
                    challenges.map(|(replica, (nonce, challenge))| (*replica, *nonce, *challenge)).collect()
                }
                _ => Vec::new(),
            },
            awaits_grant: match &self.status {
                Status::Rejoining(Rejoining { nonce, granted: None, .. }) => Some(*nonce),
                _ => None,
            },
        }
    }
}
