//! How a replica starts: from its superblock and its WAL, without asking anybody.
//!
//! ```text
//!  superblock ──▶ amnesiac? ───────────────▶ Rejoining
//!             ──▶ tables lost or mixed? ───▶ Syncing
//!             ──▶ log_view < view? ────────▶ ViewChange, with the vote that it holds
//!             ──▶ primary of its view? ────▶ Recovering: leave the view (another content for the
//!             │                              same op may be on its way)
//!  WAL        ──▶ end of the log unknown? ─▶ Recovering: learn the head
//!             ──▶ otherwise ───────────────▶ Backup
//! ```

use super::log::{Log, WalIndex, recover_headers};
use super::status::{Recovering, Status, ViewChange};
use super::sync::Sync;
use super::*;
use crate::wal::WalScan;

impl<M: Machine, T: ReplicaTables> Replica<M, T> {
    /// `state` is as the tables had it durably; `scan` is what the WAL found.
    pub fn new(config: Config, superblock: Superblock, scan: WalScan, state: State<M, T>, seed: u64) -> Self {
        config.limits.check().expect("limits are checked when the cluster is formatted");
        assert_eq!(superblock.replica, config.replica);
        assert_eq!(superblock.cluster, config.cluster);
        assert_eq!(usize::from(superblock.replica_count), config.quorums.replica_count);

        // The tables may be one checkpoint ahead of the superblock, never behind, unless they are lost.
        let tables = state.tables().durable().clone();
        let checkpoint =
            if tables.op() > superblock.checkpoint.op() { tables } else { superblock.checkpoint.clone() };
        let headers =
            recover_headers(&superblock.suffix, superblock.log_view, &checkpoint.header, &scan.records);
        let first = headers[0].op;
        let log = Log::new(headers, WalIndex::new(&scan), checkpoint.op());
        let superblock_checkpoint = superblock.checkpoint.op();
        let mut wanted = superblock.clone();
        wanted.boot_count += 1;
        wanted.checkpoint = checkpoint.clone();
        Replica {
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            now: Tick::ZERO,
            clock: Timestamp::ZERO,
            out: Vec::new(),
            halted: false,
            dying: None,
            durable: superblock,
            wanted,
            writing: None,
            log,
            commit: checkpoint.op(),
            reclaimed: if first < checkpoint.op() { first.previous() } else { checkpoint.op() },
            frozen_at: checkpoint.op(),
            announced: superblock_checkpoint,
            state,
            status: Status::Recovering(Recovering { escalate_at: Tick::ZERO }),
            room: Room::Ample,
            head_certain: scan.certain || planted(Canary::DamagedEndTrusted),
            catch_up: CatchUp::Unknown,
            peers: Peers::default(),
            repair: Repair::default(),
            candidate: None,
            asked_view: None,
            heard_view: View::ZERO,
            ask_view_at: Tick::ZERO,
            candidate_resend_at: Tick::ZERO,
            fruitless_views: 0,
            reading: BTreeMap::new(),
            going_on: false,
            roots: BTreeMap::new(),
            config,
        }
    }

    /// Decides what this replica is. To be called once, before anything else.
    pub fn start(&mut self, now: Tick, clock: Timestamp, out: &mut Vec<Effect>) {
        self.now = now;
        self.clock = clock;
        if planted(Canary::BlankDiskVotes) {
            self.wanted.amnesiac = None;
        }
        if let Some(nonce) = self.wanted.amnesiac {
            self.transition_to_rejoining(nonce);
        } else if self.tables_must_be_fetched() {
            self.event(Event::TablesLostAtStart);
            let minimum = self.wanted.checkpoint.op();
            self.status = Status::Syncing(Sync::new(minimum));
        } else {
            self.wanted.tables_lost = false;
            self.resume();
        }
        self.settle();
        out.append(&mut self.out);
    }

    /// Tables that are behind the superblock were lost. If it names no checkpoint either, they are
    /// merely empty: the log tells everything.
    pub(super) fn tables_must_be_fetched(&self) -> bool {
        let tables = self.state.tables();
        tables.syncing().is_some() || tables.durable().op() < self.durable.checkpoint.op()
    }

    fn resume(&mut self) {
        let view = self.view();
        if self.log_view() < view && self.wanted.vote.is_some() {
            if planted(Canary::VoteComputedTwice) {
                self.wanted.vote = Some(self.compute_vote(view));
            }
            self.status = Status::ViewChange(self.new_view_change());
            return;
        }
        let was_primary = self.primary_of(view) == self.me();
        if was_primary && planted(Canary::PrimaryContinues) && self.head_certain && self.boots_before() > 0 {
            return self.transition_to_primary();
        }
        if was_primary || !self.head_certain {
            return self.transition_to_recovering(was_primary);
        }
        self.transition_to_backup();
    }

    fn boots_before(&self) -> u64 {
        self.durable.boot_count
    }

    /// The head of a primary that is heard is no lower than anything that was committed before. What lies
    /// above the commit number there may yet be replaced, in another view: its primary tells another head.
    pub(super) fn heard_head(&mut self, head: Op) {
        // Later heads are those of later requests: under load there would be no end. An old heartbeat that
        // was long under way makes this early, and costs a look at an old catalog.
        if self.catch_up == CatchUp::Unknown {
            self.catch_up = CatchUp::Behind(head);
        }
    }

    /// Another view, in which another head counts.
    pub(super) fn forget_heard_head(&mut self) {
        if self.catch_up != CatchUp::Done {
            self.catch_up = CatchUp::Unknown;
        }
    }

    pub(super) fn settle_catch_up(&mut self) {
        let done = match (&self.status, self.catch_up) {
            (Status::Backup(_), CatchUp::Behind(head)) => self.applied() >= head,
            // A quorum follows it: nobody else has committed anything that it has not inherited.
            (Status::Primary(_), _) => self.confirmed() > 0 && self.inheritance_is_applied(),
            // What is being fetched is a state of the log only when it is complete.
            (Status::Syncing(_), _) => {
                self.catch_up = CatchUp::Unknown;
                false
            }
            _ => false,
        };
        if done {
            self.catch_up = CatchUp::Done;
        }
    }

    /// Not fit for its place in the view. A primary leaves; anybody else waits to be told the head.
    pub(super) fn transition_to_recovering(&mut self, leave: bool) {
        self.leave_status();
        self.asked_view = None;
        if !self.head_certain {
            self.event(Event::UncertainHead);
        }
        let patience = if leave { 0 } else { self.config.timeouts.suspicion_ms };
        let escalate_at = self.after(patience);
        self.status = Status::Recovering(Recovering { escalate_at });
        if leave {
            self.wish(self.view().next());
        }
    }

    pub(super) fn tick_recovering(&mut self) {
        let Status::Recovering(recovering) = &self.status else { return };
        if self.now >= recovering.escalate_at {
            self.wish(self.view().next());
            let escalate_at = self.after(self.config.timeouts.suspicion_ms);
            if let Status::Recovering(recovering) = &mut self.status {
                recovering.escalate_at = escalate_at;
            }
        }
        let primary = self.primary_of(self.view().max(self.heard_view));
        if primary != self.me() {
            self.ask_view(primary);
        }
    }

    pub(super) fn new_view_change(&mut self) -> ViewChange {
        let patience = self.patience();
        let timeouts = self.config.timeouts;
        ViewChange {
            ballots: BTreeMap::new(),
            elected: false,
            waited: false,
            resend_at: self.now.plus(timeouts.resend_ms),
            escalate_at: self.after(patience),
            durable_through: self.log.durable_through(),
        }
    }

    /// How long to wait for a view to begin, doubled with every view that did not.
    pub(super) fn patience(&self) -> u64 {
        let timeouts = self.config.timeouts;
        let doubled = timeouts.escalation_ms.saturating_mul(1 << self.fruitless_views.min(6));
        doubled.min(timeouts.escalation_max_ms)
    }
}
