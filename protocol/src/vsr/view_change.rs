//! How a view ends and the next begins.
//!
//! ```text
//!  suspicion ──▶ wish: StartViewChange(w) to all, nothing durable
//!                  │ view-change quorum of wishes (or a vote for w) seen
//!                  ▼
//!  promise: superblock {view w, vote}  ──durable──▶ DoViewChange(vote) to the primary of w
//!                                                     │ quorum of votes: select_log
//!                                                     ▼
//!  elect: superblock {view w, log_view w, suffix} ──durable──▶ fetch what is missing
//!                                                     │ every body up to the head is durable
//!                                                     ▼
//!                                      StartView to all ──▶ backups: superblock, then acknowledge
//! ```

use super::select_log::{Ballot, ChosenLog, Selection, select_log};
use super::status::Status;
use super::*;
use crate::entry::EntryHeader;
use crate::message::{StartView, Vote};

impl<M: Machine, T: ReplicaTables> Replica<M, T> {
    /// Tells everybody that this replica wants to leave for `candidate`. Promises nothing.
    pub(super) fn wish(&mut self, candidate: View) {
        if matches!(self.status, Status::Syncing(_) | Status::Rejoining(_)) || candidate <= self.view() {
            return;
        }
        let candidate = self.candidate.map_or(candidate, |mine| mine.max(candidate));
        if self.candidate != Some(candidate) {
            self.candidate = Some(candidate);
            self.event(Event::BecameCandidate);
            self.send_wish(candidate);
        }
    }

    fn send_wish(&mut self, candidate: View) {
        self.send_all(&Body::StartViewChange { candidate });
        self.candidate_resend_at = self.after(self.config.timeouts.resend_ms);
    }

    pub(super) fn tick_candidate(&mut self) {
        if let Some(candidate) = self.candidate
            && self.now >= self.candidate_resend_at
        {
            self.send_wish(candidate);
        }
    }

    pub(super) fn on_start_view_change(&mut self, from: ReplicaId, view: View, candidate: View) {
        self.peers.wishes(from, candidate, self.now);
        if candidate <= self.view() {
            if self.is_primary() && view < self.view() {
                self.send_start_view(from, None);
            }
            return;
        }
        let joins = match &self.status {
            // The peer has promised a later view and will never come back to this one.
            Status::Primary(_) => view > self.view(),
            Status::Backup(backup) => {
                self.candidate.is_some()
                    || from == self.primary_of(self.view())
                    || self.now >= backup.suspect_at
            }
            Status::ViewChange(change) => {
                from == self.primary_of(self.view())
                    || self.candidate.is_some()
                    || self.now.plus(self.patience() / 2) >= change.escalate_at
            }
            Status::Recovering(_) => true,
            Status::Syncing(_) | Status::Rejoining(_) => false,
        };
        if joins {
            if self.is_primary() {
                self.event(Event::AbdicatedForLaterView);
            }
            self.wish(candidate);
        }
    }

    /// The highest view that enough replicas wish for.
    fn wished_by_quorum(&self) -> Option<View> {
        let mine = self.candidate?;
        let fresh_ms = self.config.timeouts.resend_ms * 5;
        let mut wishes: Vec<View> = vec![mine];
        for other in self.others() {
            let facts = self.peers.get(other);
            if facts.candidate > self.view() && self.now.since(facts.candidate_at) <= fresh_ms {
                wishes.push(facts.candidate);
            }
        }
        wishes.sort_unstable_by(|a, b| b.cmp(a));
        wishes.get(self.config.quorums.view_change - 1).copied()
    }

    pub(super) fn compute_vote(&self, view: View) -> Vote {
        let window = self.config.limits.suffix_count();
        Vote {
            view,
            log_view: self.log_view(),
            commit: self.commit,
            checkpoint: self.wanted.checkpoint.op(),
            certain: self.head_certain,
            slots: self.log.vote_slots(window),
            incarnations: self.incarnations(),
        }
    }

    /// Promises `view`: from now on this replica takes part in nothing older.
    fn transition_to_view_change(&mut self, view: View) {
        assert!(view > self.view());
        self.leave_status();
        self.wanted.vote = Some(self.compute_vote(view));
        self.wanted.view = view;
        self.candidate = None;
        self.asked_view = None;
        self.repair.forget();
        self.status = Status::ViewChange(self.new_view_change());
        self.event(Event::ViewChangeStarted);
        if planted(Canary::VoteBeforeDurable) {
            self.send_vote();
        }
    }

    fn send_vote(&mut self) {
        let vote = if planted(Canary::VoteBeforeDurable) { &self.wanted.vote } else { &self.durable.vote };
        let Some(vote) = vote.clone() else { return };
        let primary = self.primary_of(self.view());
        if primary != self.me() && vote.view == self.view() {
            self.send(primary, Body::DoViewChange(vote));
        }
    }

    /// A superblock write has completed: what waited for its promise happens now.
    pub(super) fn after_superblock(&mut self) {
        if self.durable.tables_lost
            && let Some(reason) = self.dying.take()
        {
            return self.halt(Halt::TablesLost(reason));
        }
        if let Status::ViewChange(change) = &self.status
            && !change.elected
            && self.durable.view == self.view()
        {
            self.send_vote();
        }
        self.checkpoint_is_durable();
    }

    pub(super) fn on_do_view_change(&mut self, from: ReplicaId, incarnation: Incarnation, vote: Vote) {
        if matches!(self.status, Status::Syncing(_) | Status::Rejoining(_)) {
            return;
        }
        // A vote is proof that a quorum wished for its view.
        if vote.view > self.view() {
            self.transition_to_view_change(vote.view);
        }
        if vote.view < self.view() || self.primary_of(vote.view) != self.me() {
            return;
        }
        if self.is_primary() {
            return self.send_start_view(from, None);
        }
        let patience = self.patience();
        let escalate_at = self.after(patience);
        let Status::ViewChange(change) = &mut self.status else { return };
        if change.elected {
            return;
        }
        let ballot = Ballot { replica: from, incarnation, vote };
        match change.ballots.get(&from) {
            Some(known) if known.incarnation > incarnation => {}
            Some(known) if known.incarnation == incarnation && known.vote != ballot.vote => {
                self.diverged(format!("replica {from} cast two votes for view {}", self.view()));
            }
            Some(known) if known.incarnation == incarnation => {}
            _ => {
                change.ballots.insert(from, ballot);
                change.escalate_at = escalate_at;
            }
        }
    }

    pub(super) fn settle_view_change(&mut self) {
        if !matches!(self.status, Status::Syncing(_) | Status::Rejoining(_))
            && let Some(view) = self.wished_by_quorum()
            && view > self.view()
        {
            self.transition_to_view_change(view);
        }
        if self.primary_of(self.view()) != self.me() {
            return;
        }
        let Status::ViewChange(change) = &mut self.status else { return };
        if change.elected {
            return self.finish_election();
        }
        // The own vote is a vote like any other, and counts once it is durable.
        if self.durable.view == self.wanted.view
            && let Some(vote) = &self.durable.vote
        {
            let me = self.config.replica;
            let incarnation = self.durable.incarnation;
            change.ballots.entry(me).or_insert_with(|| Ballot {
                replica: me,
                incarnation,
                vote: vote.clone(),
            });
            self.count_votes();
        }
    }

    fn count_votes(&mut self) {
        let Status::ViewChange(change) = &mut self.status else { return };
        let ballots: Vec<Ballot> = change.ballots.values().cloned().collect();
        match select_log(&self.config.quorums, self.config.limits.pipeline_max, &ballots) {
            Selection::Wait => {
                let enough = ballots.len() >= self.config.quorums.view_change;
                if enough && !change.waited {
                    change.waited = true;
                    self.event(Event::SelectionWaited);
                }
            }
            Selection::Unrecoverable(_) => {
                if !change.waited {
                    change.waited = true;
                    self.event(Event::SelectionUnrecoverable);
                }
            }
            Selection::Diverged(what) => self.diverged(what),
            Selection::Chosen(chosen) => self.install_chosen(chosen),
        }
    }

    fn install_chosen(&mut self, mut chosen: ChosenLog) {
        if self.lags_behind(&chosen) {
            // Somebody who still has the log shall lead; this replica would have to sync first.
            self.event(Event::AbdicatedForLaterView);
            return self.wish(self.view().next());
        }
        if planted(Canary::ElectKeepsOwnLog) {
            chosen.headers = self.log.newest(self.config.limits.suffix_count());
        }
        if chosen.truncated {
            self.event(Event::NackQuorumTruncated);
        }
        if !self.adopt_log(self.view(), chosen.headers, chosen.commit) {
            return;
        }
        let escalate_at = {
            let patience = self.patience();
            self.after(patience)
        };
        if let Status::ViewChange(change) = &mut self.status {
            change.elected = true;
            change.escalate_at = escalate_at;
        }
        self.event(Event::ViewChangeElected);
    }

    /// Whether the chosen log needs entries that no voter's WAL has any more, while a voter has them
    /// in its checkpoint.
    fn lags_behind(&self, chosen: &ChosenLog) -> bool {
        let Status::ViewChange(change) = &self.status else { return false };
        let next = self.log.checkpoint().next();
        let have_all = self.log.first().header.op <= next && self.log.head_op() >= chosen.checkpoint;
        chosen.checkpoint >= next
            && !have_all
            && change
                .ballots
                .keys()
                .filter(|voter| **voter != self.config.replica)
                .all(|voter| self.peers.get(*voter).floor >= next)
    }

    /// Whether a log with this end cannot be the one whose beginning was applied here.
    pub(super) fn contradicts_applied(&self, headers: &[EntryHeader]) -> bool {
        let applied = self.state.applied();
        headers.last().is_none_or(|head| head.op < applied.op)
            || headers.iter().any(|header| header.op == applied.op && *header != *applied)
    }

    /// Makes `headers` the log of `view`, on disk by one superblock write, before anything else of it.
    /// False if that would contradict what was applied.
    pub(super) fn adopt_log(&mut self, view: View, headers: Vec<EntryHeader>, commit: Op) -> bool {
        let head = headers.last().map_or(Op::ZERO, |header| header.op);
        if self.contradicts_applied(&headers) {
            self.diverged(format!("the log of view {view} contradicts applied op {}", self.applied()));
            return false;
        }
        let window = self.config.limits.suffix_count();
        let skip = headers.len().saturating_sub(window);
        self.wanted.suffix = headers[skip..].to_vec();
        self.wanted.view = view;
        self.wanted.log_view = view;
        self.wanted.vote = None;
        if self.log.replace(headers) {
            self.event(Event::SuffixReplaced);
        }
        if !self.head_certain {
            self.log.wal_index().certain_above(head);
            self.head_certain = true;
            self.event(Event::HeadLearned);
        }
        self.commit = self.commit.max(commit);
        true
    }

    /// The elect leads once its promise and every body of its log are durable.
    fn finish_election(&mut self) {
        let progress = self.log.durable_through();
        let patience = self.patience();
        let escalate_at = self.after(patience);
        let Status::ViewChange(change) = &mut self.status else { return };
        if progress > change.durable_through {
            change.durable_through = progress;
            change.escalate_at = escalate_at;
        }
        if self.view_is_durable() && !self.headers_missing() && progress == self.log.head_op() {
            self.transition_to_primary();
        }
    }

    pub(super) fn tick_view_change(&mut self) {
        let Status::ViewChange(change) = &mut self.status else { return };
        let (resend, escalate) = (self.now >= change.resend_at, self.now >= change.escalate_at);
        if resend {
            change.resend_at = self.now.plus(self.config.timeouts.resend_ms);
            if self.durable.view == self.wanted.view {
                self.send_vote();
            }
        }
        if escalate {
            self.fruitless_views = self.fruitless_views.saturating_add(1);
            let patience = self.patience();
            let escalate_at = self.after(patience);
            if let Status::ViewChange(change) = &mut self.status {
                change.escalate_at = escalate_at;
            }
            self.wish(self.view().next());
        }
    }

    pub(super) fn send_start_view(&mut self, to: ReplicaId, nonce: Option<Nonce>) {
        if !self.view_is_durable() {
            return;
        }
        let window = self.config.limits.suffix_count();
        let start = StartView { commit: self.commit, headers: self.log.newest(window), nonce };
        self.send(to, Body::StartView(start));
    }

    pub(super) fn on_start_view(&mut self, from: ReplicaId, view: View, start: StartView) {
        if from != self.primary_of(view) || view < self.view() || start.headers.is_empty() {
            return;
        }
        let answers_us = start.nonce.is_some() && start.nonce == self.asked_view;
        if start.nonce.is_some() && !answers_us {
            return;
        }
        if let Status::Rejoining(_) = self.status {
            if answers_us {
                self.learn_log(view, start);
            }
            return;
        }
        if matches!(self.status, Status::Syncing(_)) {
            return;
        }
        let installed = view == self.log_view();
        let normal = matches!(self.status, Status::Primary(_) | Status::Backup(_));
        if installed && normal && !planted(Canary::LateStartViewReplacesLog) {
            self.commit = self.commit.max(start.commit);
            return;
        }
        if installed && !answers_us && !planted(Canary::LateStartViewReplacesLog) {
            return;
        }
        if self.contradicts_applied(&start.headers) {
            // A view that was over before the checkpoint that this replica fetched: old news.
            return;
        }
        self.leave_status();
        if self.adopt_log(view, start.headers, start.commit) {
            self.transition_to_backup();
        }
    }

    pub(super) fn on_get_view(&mut self, from: ReplicaId, nonce: Nonce) {
        if self.is_primary() {
            self.send_start_view(from, Some(nonce));
        }
    }

    /// The same until it is answered, or an answer slower than the next question would never count.
    pub(super) fn view_nonce(&mut self) -> Nonce {
        let fresh = self.nonce();
        *self.asked_view.get_or_insert(fresh)
    }

    /// Asks `to` for the log of its view. Asking changes nothing here.
    pub(super) fn ask_view(&mut self, to: ReplicaId) {
        if to == self.me() || self.now < self.ask_view_at {
            return;
        }
        self.ask_view_at = self.after(self.config.timeouts.resend_ms);
        let nonce = self.view_nonce();
        self.send(to, Body::GetView { nonce });
    }
}
