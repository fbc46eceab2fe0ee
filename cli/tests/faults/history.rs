//! What clients did and saw, and whether one copy of the data could have answered so.
//!
//! Every answer says where in the log it is true, and every write has a version that orders it among
//! those of its key. So the order need not be searched for: it is checked.
//!
//! * Whatever began after something else had ended stands later in the log.
//! * A read sees the last write of its key up to its own place.
//! * A write whose outcome is unknown may be seen or not; one that was refused is never seen.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use gateway::cluster::ClusterError;
use protocol::types::{Op, SessionId};

use crate::clients::Value;

pub(crate) type Key = u32;

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) key: Key,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// `version` is the catalog's.
    Put {
        value: Value,
        outcome: Outcome<(Op, u64)>,
    },
    Delete {
        outcome: Outcome<Op>,
    },
    /// None: there was no object.
    Read {
        op: Op,
        seen: Option<(Value, u64)>,
    },
    /// Nothing was learnt.
    ReadFailed {
        error: ClusterError,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<T> {
    Done(T),
    Unknown,
    /// It never took effect and never will.
    Refused(ClusterError),
}

impl<T> Outcome<T> {
    pub(crate) fn of_error(error: ClusterError) -> Outcome<T> {
        match error {
            // What is refused for want of room may have been sent twice, and the other copy found room.
            ClusterError::Unknown | ClusterError::Closed | ClusterError::Full => Outcome::Unknown,
            refused => Outcome::Refused(refused),
        }
    }

    fn error(&self) -> Option<ClusterError> {
        match self {
            Outcome::Done(_) => None,
            Outcome::Unknown => Some(ClusterError::Unknown),
            Outcome::Refused(error) => Some(error.clone()),
        }
    }
}

impl Event {
    /// Where in the log it stands, if it is known.
    fn op(&self) -> Option<Op> {
        match &self.what {
            What::Put { outcome: Outcome::Done((op, _)), .. } => Some(*op),
            What::Delete { outcome: Outcome::Done(op) } => Some(*op),
            What::Read { op, .. } => Some(*op),
            _ => None,
        }
    }

    fn is_read(&self) -> bool {
        matches!(self.what, What::Read { .. } | What::ReadFailed { .. })
    }

    /// What the client was told instead of an answer.
    pub(crate) fn error(&self) -> Option<ClusterError> {
        match &self.what {
            What::Put { outcome, .. } => outcome.error(),
            What::Delete { outcome } => outcome.error(),
            What::Read { .. } => None,
            What::ReadFailed { error } => Some(error.clone()),
        }
    }
}

/// What a history that is as it should be consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) puts: usize,
    pub(crate) deletes: usize,
    pub(crate) reads: usize,
    pub(crate) errors: usize,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { puts, deletes, reads, errors } = self;
        write!(f, "{puts} puts, {deletes} deletes, {reads} reads, {errors} without an answer")
    }
}

/// The error is the first thing that no single copy could have answered.
pub(crate) fn judge(events: &[Event]) -> Result<Tally, String> {
    check_real_time(events)?;
    let mut keys: BTreeMap<Key, Vec<&Event>> = BTreeMap::new();
    for event in events {
        keys.entry(event.key).or_default().push(event);
    }
    for events in keys.values() {
        Register::of(events)?.check(events)?;
    }
    let mut tally = Tally::default();
    for event in events {
        match (&event.what, event.error()) {
            (_, Some(_)) => tally.errors += 1,
            (What::Put { .. }, None) => tally.puts += 1,
            (What::Delete { .. }, None) => tally.deletes += 1,
            (What::Read { .. } | What::ReadFailed { .. }, None) => tally.reads += 1,
        }
    }
    Ok(tally)
}

/// Nothing goes back in time, whichever keys are concerned.
fn check_real_time(events: &[Event]) -> Result<(), String> {
    let mut by_begin: Vec<&Event> = events.iter().filter(|event| event.op().is_some()).collect();
    let mut by_end = by_begin.clone();
    by_begin.sort_by_key(|event| event.began);
    by_end.sort_by_key(|event| event.ended);
    let mut ended = by_end.into_iter().peekable();
    let mut latest: Option<&Event> = None;
    for event in by_begin {
        while let Some(earlier) = ended.next_if(|earlier| earlier.ended < event.began) {
            if latest.is_none_or(|latest| latest.op() < earlier.op()) {
                latest = Some(earlier);
            }
        }
        if let Some(latest) = latest {
            let in_order = if event.is_read() { latest.op() <= event.op() } else { latest.op() < event.op() };
            if !in_order {
                return Err(format!(
                    "{event:?}\nbegan after this had ended, and stands before it:\n{latest:?}"
                ));
            }
        }
    }
    Ok(())
}

/// What is known of the writes of one key.
struct Register<'a> {
    /// By value: what became of it, and when it began.
    puts: HashMap<Value, &'a Event>,
    /// Puts that took effect: version and op.
    versions: Vec<(u64, Op)>,
    /// Acknowledged deletes.
    deletes: Vec<Op>,
    /// When the first delete began that may have taken effect or not.
    first_unknown_delete: Option<Instant>,
}

impl<'a> Register<'a> {
    fn of(events: &[&'a Event]) -> Result<Register<'a>, String> {
        let mut register =
            Register { puts: HashMap::new(), versions: vec![], deletes: vec![], first_unknown_delete: None };
        for &event in events {
            match &event.what {
                What::Put { value, outcome } => {
                    if let Some(twice) = register.puts.insert(*value, event) {
                        return Err(format!("a test must not write a value twice: {twice:?}"));
                    }
                    if let Outcome::Done((op, version)) = outcome {
                        register.versions.push((*version, *op));
                    }
                }
                What::Delete { outcome: Outcome::Done(op) } => register.deletes.push(*op),
                What::Delete { outcome: Outcome::Unknown } => {
                    let first = register.first_unknown_delete.get_or_insert(event.began);
                    *first = event.began.min(*first);
                }
                _ => {}
            }
        }
        // What was seen once has happened, also if nobody was told when it did.
        for event in events {
            if let What::Read { seen: Some((_, version)), .. } = &event.what {
                register.versions.push((*version, op_of(*version)));
            }
        }
        Ok(register)
    }

    fn check(&self, events: &[&Event]) -> Result<(), String> {
        for event in events {
            if let What::Read { op, seen } = &event.what {
                let checked = match seen {
                    Some((value, version)) => self.check_seen(event, *op, *value, *version),
                    None => self.check_absent(event, *op),
                };
                checked.map_err(|why| format!("{why}:\n{event:?}"))?;
            }
        }
        Ok(())
    }

    fn check_seen(&self, read: &Event, op: Op, value: Value, version: u64) -> Result<(), String> {
        let put = self.puts.get(&value).ok_or("a value that nobody wrote to this key")?;
        if put.began > read.ended {
            return Err(format!("a value from the future, {put:?}"));
        }
        match &put.what {
            What::Put { outcome: Outcome::Done((_, acknowledged)), .. } if *acknowledged != version => {
                return Err(format!("a value under another version than acknowledged, {put:?}"));
            }
            What::Put { outcome: Outcome::Refused(_), .. } => {
                return Err(format!("a value that was refused, {put:?}"));
            }
            _ => {}
        }
        let written_at = op_of(version);
        if written_at > op {
            return Err(format!("a value that stands later in the log, {put:?}"));
        }
        if let Some(newer) = self.versions.iter().find(|(other, at)| *other > version && *at <= op) {
            return Err(format!("version {} was written at {:?}, and is not seen", newer.0, newer.1));
        }
        // Within one entry of the log, which came first is not known here.
        if let Some(delete) = self.deletes.iter().find(|delete| written_at < **delete && **delete <= op) {
            return Err(format!("it was deleted at {delete:?}"));
        }
        Ok(())
    }

    fn check_absent(&self, read: &Event, op: Op) -> Result<(), String> {
        let last_put = self.versions.iter().map(|(_, at)| *at).filter(|at| *at <= op).max();
        let last_delete = self.deletes.iter().copied().filter(|at| *at <= op).max();
        let Some(put) = last_put else { return Ok(()) };
        let may_be_gone = self.first_unknown_delete.is_some_and(|began| began <= read.ended);
        if last_delete.is_none_or(|delete| delete < put) && !may_be_gone {
            return Err(format!("what was put at {put:?} is gone"));
        }
        Ok(())
    }
}

/// Where in the log a version was made.
fn op_of(version: u64) -> Op {
    SessionId::new(version).registered_at()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn version(op: u64) -> u64 {
        SessionId::from_register(Op::new(op), 0).get()
    }

    fn value(number: u64) -> Value {
        Value { number, size: 1 }
    }

    /// Events that take from one moment to another.
    struct Story {
        start: Instant,
        events: Vec<Event>,
    }

    impl Story {
        fn new() -> Story {
            Story { start: Instant::now(), events: vec![] }
        }

        fn add(mut self, from: u64, to: u64, what: What) -> Story {
            let at = |moment| self.start + Duration::from_secs(moment);
            let (began, ended) = (at(from), at(to));
            self.events.push(Event { key: 1, began, ended, what });
            self
        }

        fn put(self, from: u64, to: u64, number: u64, op: u64) -> Story {
            let outcome = Outcome::Done((Op::new(op), version(op)));
            self.add(from, to, What::Put { value: value(number), outcome })
        }

        fn lost_put(self, from: u64, to: u64, number: u64) -> Story {
            self.add(from, to, What::Put { value: value(number), outcome: Outcome::Unknown })
        }

        fn delete(self, from: u64, to: u64, op: u64) -> Story {
            self.add(from, to, What::Delete { outcome: Outcome::Done(Op::new(op)) })
        }

        fn sees(self, from: u64, to: u64, op: u64, seen: Option<(u64, u64)>) -> Story {
            let seen = seen.map(|(number, op)| (value(number), version(op)));
            self.add(from, to, What::Read { op: Op::new(op), seen })
        }

        fn passes(self) {
            judge(&self.events).unwrap();
        }

        fn fails(self, because: &str) {
            let why = judge(&self.events).unwrap_err();
            assert!(why.contains(because), "{why}");
        }
    }

    #[test]
    fn what_one_copy_would_answer_passes() {
        let story = Story::new().sees(0, 1, 1, None).put(1, 2, 1, 5).sees(3, 4, 5, Some((1, 5)));
        story.put(4, 6, 2, 7).sees(5, 7, 6, Some((1, 5))).delete(8, 9, 9).sees(10, 11, 9, None).passes();
    }

    #[test]
    fn an_acknowledged_write_that_is_not_there_is_found() {
        Story::new().put(0, 1, 1, 5).sees(2, 3, 6, None).fails("is gone");
        Story::new().put(0, 1, 1, 5).put(2, 3, 2, 6).sees(4, 5, 6, Some((1, 5))).fails("not seen");
    }

    #[test]
    fn a_read_that_goes_back_in_time_is_found() {
        let story = Story::new().put(0, 1, 1, 5).put(2, 3, 2, 8);
        story.sees(4, 5, 7, Some((1, 5))).fails("stands before it");
    }

    #[test]
    fn a_deleted_value_that_comes_back_is_found() {
        let story = Story::new().put(0, 1, 1, 5).delete(2, 3, 6);
        story.sees(4, 5, 7, Some((1, 5))).fails("deleted");
    }

    #[test]
    fn a_write_without_an_answer_may_be_seen_or_not_but_not_unseen_again() {
        let unknown = || Story::new().put(0, 1, 1, 5).lost_put(2, 3, 2);
        unknown().sees(4, 5, 9, Some((1, 5))).passes();
        unknown().sees(4, 5, 9, Some((2, 6))).passes();
        unknown().sees(4, 5, 9, Some((2, 6))).sees(6, 7, 9, Some((1, 5))).fails("not seen");
        // It stands after what was acknowledged later: then the later one is not seen any more.
        unknown().put(4, 5, 3, 7).sees(6, 7, 9, Some((2, 8))).passes();
        unknown().put(4, 5, 3, 7).sees(6, 7, 9, Some((2, 6))).fails("not seen");
    }

    #[test]
    fn a_value_that_was_refused_or_never_written_is_found() {
        let refused = Outcome::Refused(ClusterError::Invalid("too long".to_owned()));
        let story = Story::new().add(0, 1, What::Put { value: value(1), outcome: refused });
        story.sees(2, 3, 6, Some((1, 5))).fails("refused");
        Story::new().sees(2, 3, 6, Some((1, 5))).fails("nobody wrote");
    }
}
