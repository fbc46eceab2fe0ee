//! Readmission of a replica whose disk was lost.
//!
//! ```text
//!  r (amnesiac)                     primary                      the others
//!   RejoinAsk(nonce) ───────────────▶
//!   ◀─────────────── RejoinChallenge   (a late duplicate cannot answer it)
//!   RejoinAnswer ───────────────────▶ Rejoin{r, nonce} into the log ──▶ committed without r
//!   RejoinAsk(nonce) ───────────────▶
//!   ◀──────────────── RejoinGranted{R}
//!   checkpoint, log through R and beyond: durable
//!   superblock {inc R, view, log_view, not amnesiac} in one write: a voter again
//! ```

use super::status::{Rejoining, Status};
use super::sync::Sync;
use super::*;
use crate::message::StartView;

impl<M: Machine, T: ReplicaTables> Replica<M, T> {
    pub(super) fn transition_to_rejoining(&mut self, nonce: Nonce) {
        let minimum = self.wanted.checkpoint.op();
        let sync = self.tables_must_be_fetched().then(|| Sync::new(minimum));
        self.status =
            Status::Rejoining(Rejoining { nonce, ask_at: self.now, granted: None, sync, learned: None });
    }

    pub(super) fn tick_rejoin(&mut self) {
        let resend_ms = self.config.timeouts.resend_ms;
        let relearn_ms = self.config.timeouts.escalation_ms;
        let ask_at = self.after(resend_ms);
        let relearn_at = self.after(relearn_ms);
        let Status::Rejoining(rejoining) = &mut self.status else { return };
        if self.now < rejoining.ask_at {
            return;
        }
        if rejoining.granted.is_none() {
            rejoining.ask_at = ask_at;
            let nonce = rejoining.nonce;
            self.event(Event::RejoinAsked);
            return self.send_all(&Body::RejoinAsk { nonce });
        }
        // Also when something was learned: the view may have changed, and its log with it.
        rejoining.ask_at = if rejoining.learned.is_some() { relearn_at } else { ask_at };
        if rejoining.sync.is_none() {
            let nonce = self.view_nonce();
            self.send_all(&Body::GetView { nonce });
        }
    }

    pub(super) fn on_rejoin_ask(&mut self, from: ReplicaId, nonce: Nonce) {
        if !self.inheritance_is_applied() {
            return;
        }
        if let Some((replica, op)) = self.state.rejoined(nonce) {
            if replica == from {
                self.send(from, Body::RejoinGranted { nonce, op });
            }
            return;
        }
        let challenge = self.nonce();
        let Status::Primary(primary) = &mut self.status else { return };
        let known = primary.challenges.get(&from).filter(|(asked, _)| *asked == nonce);
        let challenge = known.map_or(challenge, |(_, challenge)| *challenge);
        primary.challenges.insert(from, (nonce, challenge));
        self.event(Event::RejoinChallenged);
        self.send(from, Body::RejoinChallenge { nonce, challenge });
    }

    pub(super) fn on_rejoin_challenge(&mut self, from: ReplicaId, nonce: Nonce, challenge: Nonce) {
        if let Status::Rejoining(rejoining) = &self.status
            && rejoining.nonce == nonce
        {
            self.send(from, Body::RejoinAnswer { nonce, challenge });
        }
    }

    pub(super) fn on_rejoin_answer(&mut self, from: ReplicaId, nonce: Nonce, challenge: Nonce) {
        let Status::Primary(primary) = &mut self.status else { return };
        if primary.challenges.get(&from) == Some(&(nonce, challenge)) {
            primary.challenges.remove(&from);
            primary.rejoins.retain(|(replica, _)| *replica != from);
            primary.rejoins.push_back((from, nonce));
        }
    }

    pub(super) fn on_rejoin_granted(&mut self, view: View, nonce: Nonce, op: Op) {
        let now = self.now;
        if let Status::Rejoining(rejoining) = &mut self.status
            && rejoining.nonce == nonce
            && rejoining.granted.is_none()
        {
            rejoining.granted = Some((op, view));
            rejoining.ask_at = now;
        }
    }

    /// A primary told its log. In memory only: nothing is promised before all of it is durable.
    pub(super) fn learn_log(&mut self, view: View, start: StartView) {
        let Status::Rejoining(rejoining) = &self.status else { return };
        let Some((op, granted_view)) = rejoining.granted else { return };
        if self.wanted.amnesiac.is_none() {
            // The promise about another log is already on its way to the disk.
            return;
        }
        let head = start.headers.last().map_or(Op::ZERO, |header| header.op);
        let busy = rejoining.sync.is_some();
        if view < granted_view || head < op || busy || self.contradicts_applied(&start.headers) {
            return;
        }
        self.asked_view = None;
        if let Status::Rejoining(rejoining) = &mut self.status {
            rejoining.learned = Some(view);
        }
        self.commit = self.commit.max(start.commit);
        self.log.replace(start.headers);
    }

    pub(super) fn settle_rejoin(&mut self) {
        let Status::Rejoining(rejoining) = &self.status else { return };
        let (Some((op, _)), Some(view)) = (rejoining.granted, rejoining.learned) else { return };
        if self.wanted.amnesiac.is_none() {
            if self.durable.amnesiac.is_none() {
                self.event(Event::RejoinFinished);
                self.head_certain = true;
                self.transition_to_backup();
            }
            return;
        }
        let complete = rejoining.sync.is_none()
            && !self.headers_missing()
            && self.log.durable_through() == self.log.head_op()
            && self.log.head_op() >= op;
        if !complete {
            return;
        }
        let window = self.config.limits.suffix_count();
        self.wanted.incarnation = Incarnation::from_rejoin(op);
        self.wanted.view = view;
        self.wanted.log_view = view;
        self.wanted.vote = None;
        self.wanted.suffix = self.log.newest(window);
        self.wanted.amnesiac = None;
        // The lost disk's acknowledgements are void, and this one has none yet.
        let head = self.log.head_op();
        self.log.wal_index().certain_above(head);
    }
}
