//! What clients did and saw, and when: all that a judge from outside may know.

use protocol::catalog::{QueryReply, Reply};

use crate::workload::Action;

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A write was decided, for or against.
    Reply(Reply),
    Answer(QueryReply),
    /// It had no effect and never will have one. Only what the log itself says is so sure: a deadline
    /// that had passed, for instance. A session that is gone says nothing about what it did before.
    NoEffect,
}

/// One call of a client, from when it was made until its outcome was known.
#[derive(Clone, Debug)]
pub struct Call {
    pub client: usize,
    pub action: Action,
    pub invoked: u64,
    pub end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Under way, or given up: it may take effect at any time, or never.
    Open,
    At {
        responded: u64,
        outcome: Outcome,
    },
}

/// Names a call in its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(usize);

#[derive(Default)]
pub struct History {
    calls: Vec<Call>,
    /// The time of the last event: events arrive in order.
    now: u64,
}

impl History {
    pub fn new() -> History {
        History::default()
    }

    pub fn invoke(&mut self, client: usize, now: u64, action: &Action) -> Id {
        self.pass(now);
        self.calls.push(Call { client, action: action.clone(), invoked: now, end: End::Open });
        Id(self.calls.len() - 1)
    }

    pub fn respond(&mut self, id: Id, now: u64, outcome: Outcome) {
        self.pass(now);
        let call = &mut self.calls[id.0];
        assert_eq!(call.end, End::Open, "a call ends once");
        call.end = End::At { responded: now, outcome };
    }

    /// The client has given up. What it asked for stays possible for ever.
    pub fn unknown(&mut self, id: Id, now: u64) {
        self.pass(now);
        assert_eq!(self.calls[id.0].end, End::Open, "a call ends once");
    }

    /// In the order in which they were made.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    fn pass(&mut self, now: u64) {
        assert!(now >= self.now, "time does not run backwards");
        self.now = now;
    }
}

impl Call {
    /// When the outcome was known; the end of time if it never was.
    pub fn responded(&self) -> u64 {
        match &self.end {
            End::Open => u64::MAX,
            End::At { responded, .. } => *responded,
        }
    }

    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.end {
            End::Open => None,
            End::At { outcome, .. } => Some(outcome),
        }
    }

    pub fn reply(&self) -> Option<&Reply> {
        match self.outcome() {
            Some(Outcome::Reply(reply)) => Some(reply),
            _ => None,
        }
    }

    pub fn answer(&self) -> Option<&QueryReply> {
        match self.outcome() {
            Some(Outcome::Answer(answer)) => Some(answer),
            _ => None,
        }
    }
}
