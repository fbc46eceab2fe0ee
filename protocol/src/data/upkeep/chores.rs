//! The primary lets the log forget what nothing can need any more.

use super::machine::{Asked, Proposed, Upkeep};
use crate::catalog::{Answer, BodyId, COLLECT_COUNT_MAX, Operation, Query, Reply, Success};
use crate::types::Tick;

#[derive(Debug)]
pub(super) struct Chores {
    /// Bodies up to here are not to be forgotten yet. None: from the beginning.
    after: Option<BodyId>,
    /// Something is asked, or proposed.
    busy: bool,
    next_at: Tick,
}

impl Chores {
    pub(super) fn new(now: Tick) -> Chores {
        Chores { after: None, busy: false, next_at: now }
    }
}

impl Upkeep {
    pub(super) fn settle_chores(&mut self) {
        if !self.standing.primary || self.chores.busy || self.chores.next_at > self.now {
            return;
        }
        self.chores.busy = true;
        let limit = u32::try_from(COLLECT_COUNT_MAX).unwrap_or(u32::MAX);
        self.ask(Asked::Collectable, Query::Collectable { after: self.chores.after, limit });
    }

    pub(super) fn on_collectable(&mut self, answer: Option<Answer>) {
        let Some(Answer::Collectable { retired, condemned, next }) = answer else {
            return self.pause();
        };
        // Where to go on must lie further on, or the same rows would be looked at for ever.
        let next = next.filter(|next| Some(*next) > self.chores.after);
        self.chores.after = next;
        if retired.is_empty() && condemned.is_empty() {
            match next {
                Some(_) => self.chores.busy = false,
                None => self.pause(),
            }
            return;
        }
        self.propose(Proposed::Collect, Operation::Collect { retired, condemned });
    }

    /// Goes on at once while there is something to forget.
    pub(super) fn on_collected(&mut self, reply: Option<Reply>) {
        match reply {
            Some(Ok(Success::Collected { retired, parts })) if retired > 0 || parts > 0 => {
                self.chores.busy = false;
            }
            _ => self.pause(),
        }
    }

    fn pause(&mut self) {
        self.chores.busy = false;
        self.chores.after = None;
        self.chores.next_at = self.later(self.settings.chores_interval_ms);
    }

    pub(super) fn chores_due_at(&self) -> Option<Tick> {
        (self.standing.primary && !self.chores.busy).then_some(self.chores.next_at)
    }
}
