//! Whether one copy of an object could have answered as the store did.
//!
//! A history is linearizable if each operation can be given a moment between its call and its return so
//! that, done one after another in that order, all give the answers that were given. Wing and Gong's
//! search, done breadth first: going through calls and returns in the order in which they happened, keep
//! every state in which the object may be, together with the operations under way that must have happened
//! for it. A return drops the candidates in which its operation has not happened; if none is left, no
//! order explains the answers.
//!
//! Of a write without an answer nobody knows whether it happens, or when: it is under way for ever.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

/// What was written. No two writes of a history write the same.
pub type Value = u64;

/// An operation on one object, with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Put(Value),
    /// Creates the object. False: it was told that there is one.
    Create(Value, bool),
    /// Replaces what it expects.
    Swap {
        expected: Value,
        value: Value,
        outcome: Swap,
    },
    Delete,
    Read(Option<Value>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    Done,
    /// There is another object.
    Other,
    /// There is no object.
    Missing,
}

impl Operation {
    /// The state after it. None: in this state it would have been answered otherwise.
    fn apply(self, state: Option<Value>) -> Option<Option<Value>> {
        let (fits, after) = match self {
            Operation::Put(value) => (true, Some(value)),
            Operation::Create(value, true) => (state.is_none(), Some(value)),
            Operation::Create(_, false) => (state.is_some(), state),
            Operation::Swap { expected, value, outcome: Swap::Done } => {
                (state == Some(expected), Some(value))
            }
            Operation::Swap { expected, outcome: Swap::Other, .. } => {
                (state.is_some_and(|present| present != expected), state)
            }
            Operation::Swap { outcome: Swap::Missing, .. } => (state.is_none(), state),
            Operation::Delete => (true, None),
            Operation::Read(seen) => (state == seen, state),
        };
        fits.then_some(after)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub operation: Operation,
    pub called: Instant,
    /// None: no answer came. The operation is the write as if it had been obeyed.
    pub returned: Option<Instant>,
}

/// A state that the object may be in, and which of the operations under way have happened for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Candidate {
    state: Option<Value>,
    /// A bit for each of those that will return.
    happened: u128,
    /// A bit for each of those that never will.
    lost: u128,
}

/// Operations under way, each in a place of its own.
#[derive(Default)]
struct Underway {
    places: Vec<Option<usize>>,
}

impl Underway {
    fn enter(&mut self, event: usize) -> usize {
        let place = self.places.iter().position(Option::is_none).unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        assert!(place < 128, "more operations under way than can be told apart");
        self.places[place] = Some(event);
        place
    }
}

/// The error names the answer that no order explains, and what went before.
///
/// The object is not there at the beginning.
pub fn check(events: &[Event]) -> Result<(), String> {
    let mut moments: Vec<(Instant, bool, usize)> = Vec::new();
    for (index, event) in events.iter().enumerate() {
        moments.push((event.called, false, index));
        moments.extend(event.returned.map(|returned| (returned, true, index)));
    }
    // What is called at the moment at which something returns was called before: the weaker reading.
    moments.sort();
    let (mut underway, mut lost) = (Underway::default(), Underway::default());
    let mut candidates = HashSet::from([Candidate { state: None, happened: 0, lost: 0 }]);
    for (_, is_return, index) in moments {
        if !is_return {
            match events[index].returned {
                Some(_) => underway.enter(index),
                None => lost.enter(index),
            };
            continue;
        }
        let place = underway.places.iter().position(|event| *event == Some(index));
        let bit = 1 << place.expect("it was called before");
        candidates = close(events, &underway, &lost, candidates);
        candidates.retain(|candidate| candidate.happened & bit != 0);
        if candidates.is_empty() {
            return Err(explain(events, index));
        }
        candidates = candidates
            .into_iter()
            .map(|candidate| Candidate { happened: candidate.happened & !bit, ..candidate })
            .collect();
        underway.places[place.expect("it was called before")] = None;
    }
    Ok(())
}

/// All candidates that follow from these when more of what is under way happens.
///
/// To have used up more of the lost writes than another candidate that is otherwise the same is of no
/// use: nothing ever demands that they happen. Without that, each lost write would double the candidates.
fn close(
    events: &[Event],
    underway: &Underway,
    lost: &Underway,
    candidates: HashSet<Candidate>,
) -> HashSet<Candidate> {
    let mut found: HashMap<(Option<Value>, u128), Vec<u128>> = HashMap::new();
    let mut layer: Vec<Candidate> = candidates.into_iter().collect();
    // Those that have used up the least come first, so what is of no use is seen to be so at once.
    layer.sort_by_key(|candidate| candidate.lost.count_ones());
    let mut queue = std::collections::VecDeque::from(layer);
    while let Some(candidate) = queue.pop_front() {
        let known = found.entry((candidate.state, candidate.happened)).or_default();
        if known.iter().any(|lost| lost & candidate.lost == *lost) {
            continue;
        }
        known.retain(|lost| lost & candidate.lost != candidate.lost);
        known.push(candidate.lost);
        let step =
            |event: &Option<usize>| event.and_then(|event| events[event].operation.apply(candidate.state));
        for (place, event) in underway.places.iter().enumerate() {
            if let (0, Some(state)) = (candidate.happened & (1 << place), step(event)) {
                queue.push_back(Candidate {
                    state,
                    happened: candidate.happened | (1 << place),
                    ..candidate
                });
            }
        }
        for (place, event) in lost.places.iter().enumerate() {
            if let (0, Some(state)) = (candidate.lost & (1 << place), step(event)) {
                queue.push_back(Candidate { state, lost: candidate.lost | (1 << place), ..candidate });
            }
        }
    }
    let candidate = |((state, happened), losts): ((Option<Value>, u128), Vec<u128>)| {
        losts.into_iter().map(move |lost| Candidate { state, happened, lost })
    };
    found.into_iter().flat_map(candidate).collect()
}

fn explain(events: &[Event], index: usize) -> String {
    let wrong = &events[index];
    let began = events.iter().map(|event| event.called).min().unwrap_or(wrong.called);
    let line = |event: &Event| {
        let called = event.called.duration_since(began).as_secs_f64();
        match event.returned {
            Some(returned) => {
                let returned = returned.duration_since(began).as_secs_f64();
                format!("{called:.6}..{returned:.6} {:?}", event.operation)
            }
            None => format!("{called:.6}..         {:?}", event.operation),
        }
    };
    let mut before: Vec<&Event> =
        events.iter().filter(|event| Some(event.called) <= wrong.returned).collect();
    before.sort_by_key(|event| event.called);
    let before: Vec<String> = before.iter().rev().take(30).rev().map(|event| line(event)).collect();
    format!("no order explains {}\nbefore it:\n{}", line(wrong), before.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Operations from one moment to another. To 0: no answer came.
    fn history(of: &[(u64, u64, Operation)]) -> Vec<Event> {
        let began = Instant::now();
        let at = |moment: u64| began + Duration::from_millis(moment);
        of.iter()
            .map(|&(called, returned, operation)| Event {
                operation,
                called: at(called),
                returned: (returned > 0).then(|| at(returned)),
            })
            .collect()
    }

    use Operation::{Create, Delete, Put, Read};

    fn swap(expected: Value, value: Value, outcome: Swap) -> Operation {
        Operation::Swap { expected, value, outcome }
    }

    #[test]
    fn what_one_copy_could_have_answered_is_accepted() {
        let good: &[&[(u64, u64, Operation)]] = &[
            &[(1, 2, Put(1)), (3, 4, Read(Some(1))), (5, 6, Delete), (7, 8, Read(None))],
            // A read beside a write may see it or not, and of two such reads the later may be the one that does.
            &[(1, 10, Put(1)), (2, 3, Read(None)), (4, 5, Read(Some(1)))],
            // Two writes beside each other: either may be the last.
            &[(1, 10, Put(1)), (2, 9, Put(2)), (11, 12, Read(Some(1)))],
            &[(1, 10, Put(1)), (2, 9, Put(2)), (11, 12, Read(Some(2)))],
            &[(1, 2, Create(1, true)), (3, 4, Create(2, false)), (5, 6, swap(1, 3, Swap::Done))],
            &[(1, 10, Create(1, true)), (1, 10, Create(2, false)), (1, 10, Create(3, false))],
            &[(1, 2, swap(1, 2, Swap::Missing)), (3, 4, Put(3)), (5, 6, swap(1, 2, Swap::Other))],
            // A write without an answer happens late, or never.
            &[(1, 0, Put(1)), (2, 3, Read(None)), (4, 5, Put(2)), (6, 7, Read(Some(1)))],
            &[(1, 0, Put(1)), (2, 3, Put(2)), (4, 5, Read(Some(2)))],
            &[(1, 0, Delete), (2, 3, Put(2)), (4, 5, Read(None)), (6, 7, Read(None))],
        ];
        for operations in good {
            assert_eq!(check(&history(operations)), Ok(()), "{operations:?}");
        }
    }

    #[test]
    fn what_no_single_copy_could_have_answered_is_found() {
        let broken: &[&[(u64, u64, Operation)]] = &[
            // A lost write, a stale read, a value from nowhere.
            &[(1, 2, Put(1)), (3, 4, Read(None))],
            &[(1, 2, Put(1)), (3, 4, Put(2)), (5, 6, Read(Some(1)))],
            &[(1, 2, Read(Some(7)))],
            // Seen and then not seen any more.
            &[(1, 10, Put(1)), (2, 3, Read(Some(1))), (4, 5, Read(None))],
            // Two that create, two that replace the same.
            &[(1, 10, Create(1, true)), (2, 9, Create(2, true))],
            &[(1, 2, Put(1)), (3, 9, swap(1, 2, Swap::Done)), (3, 9, swap(1, 3, Swap::Done))],
            // Refused for what was not so.
            &[(1, 2, Create(1, false))],
            &[(1, 2, Put(1)), (3, 4, swap(1, 2, Swap::Other))],
            &[(1, 2, Put(1)), (3, 4, swap(1, 2, Swap::Missing))],
            // Back from the dead: a write without an answer happens once.
            &[(1, 0, Put(1)), (2, 3, Read(Some(1))), (4, 5, Put(2)), (6, 7, Read(Some(1)))],
            // Not before it was called.
            &[(1, 2, Read(Some(1))), (3, 0, Put(1))],
        ];
        for operations in broken {
            assert!(check(&history(operations)).is_err(), "{operations:?}");
        }
    }

    /// Each could have happened at any time since, in any order.
    #[test]
    fn many_lost_writes_do_not_slow_the_search_down() {
        let mut operations: Vec<_> = (0..60).map(|value| (value + 1, 0, Put(value))).collect();
        operations.extend((0..60).map(|value| (100 + value * 2, 101 + value * 2, Read(Some(59 - value)))));
        let began = Instant::now();
        assert_eq!(check(&history(&operations)), Ok(()));
        operations.push((300, 301, Read(Some(30))));
        assert!(check(&history(&operations)).is_err());
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
