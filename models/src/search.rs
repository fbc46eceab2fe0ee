//! Breadth-first search over all states that a model can reach, each visited once.
//!
//! Of a visited state only a hash of 64 bits is kept, and the action that led to it. Two states with
//! one hash would be taken for one: with ten million states the chance that any two collide is about
//! three in a million. The first violation found is one with the fewest steps.

use std::collections::HashSet;
use std::fmt::Display;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

/// Something whose states can be enumerated.
pub trait Model {
    type State: Clone;
    type Action: Copy + Display;

    fn initial(&mut self) -> Self::State;

    /// Equal for equal states; for different ones different but for a collision.
    fn fingerprint(&self, state: &Self::State) -> u64;

    /// Calls `visit` with every action that is possible, and what comes of it: a state, or the
    /// sentence that says what must not have happened.
    fn successors(&mut self, state: &Self::State, visit: &mut Visit<'_, Self>);

    /// What is wrong with a state, if anything.
    fn violation(&self, state: &Self::State) -> Option<String>;

    /// One line about an action from `before` to `after`, for a reader.
    fn tell(&self, before: &Self::State, action: Self::Action, after: &Self::State) -> String;
}

pub type Visit<'a, M> = dyn FnMut(<M as Model>::Action, Result<<M as Model>::State, String>) + 'a;

/// When to give up.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub time: Duration,
    /// Of the whole process, in bytes.
    pub memory: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// There is nothing else to be seen.
    Exhausted,
    /// All states up to the depth before this one were seen, and some of this depth.
    Bound(&'static str),
    Violation {
        what: String,
        story: Vec<String>,
    },
}

#[derive(Clone, Debug)]
pub struct Report {
    pub states: u64,
    pub transitions: u64,
    pub depth: u32,
    pub elapsed: Duration,
    pub end: End,
}

/// The keys are hashes already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only words are hashed");
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

type Seen = HashSet<u64, BuildHasherDefault<Identity>>;

/// How many states pass between two looks at the clock and the memory.
const LOOK_EVERY: u64 = 1 << 12;

pub fn search<M: Model>(model: &mut M, budget: Budget) -> Report {
    let begin = Instant::now();
    let initial = model.initial();
    let mut seen = Seen::default();
    seen.insert(model.fingerprint(&initial));
    // By number of the state: its parent's number, and the action that led here.
    let mut steps: Vec<(u32, Option<M::Action>)> = vec![(0, None)];
    let mut frontier = vec![(0_u32, initial)];
    let mut transitions = 0;
    let mut depth = 0;
    let mut looked_at = 0;
    let end = 'search: loop {
        let mut next = Vec::new();
        for (number, state) in frontier.drain(..) {
            let mut wrong = None;
            let mut found = Vec::new();
            model.successors(&state, &mut |action, outcome| {
                transitions += 1;
                match outcome {
                    Ok(state) => found.push((action, state)),
                    Err(what) => wrong = wrong.take().or(Some((action, what))),
                }
            });
            for (action, state) in found {
                if wrong.is_some() {
                    break;
                }
                if !seen.insert(model.fingerprint(&state)) {
                    continue;
                }
                wrong = model.violation(&state).map(|what| (action, what));
                let here = u32::try_from(steps.len()).expect("memory ends before four billion states");
                steps.push((number, Some(action)));
                next.push((here, state));
            }
            if let Some((action, what)) = wrong {
                let story = retell(model, &steps, number, action);
                break 'search End::Violation { what, story };
            }
            if seen.len() as u64 >= looked_at + LOOK_EVERY {
                looked_at = seen.len() as u64;
                if begin.elapsed() > budget.time {
                    break 'search End::Bound("time");
                }
                if resident_bytes() > budget.memory {
                    break 'search End::Bound("memory");
                }
            }
        }
        if next.is_empty() {
            break End::Exhausted;
        }
        depth += 1;
        frontier = next;
    };
    Report { states: seen.len() as u64, transitions, depth, elapsed: begin.elapsed(), end }
}

/// The way from the beginning to an action upon the state of this number, told again step by step.
fn retell<M: Model>(
    model: &mut M,
    steps: &[(u32, Option<M::Action>)],
    number: u32,
    last: M::Action,
) -> Vec<String> {
    let mut actions = vec![last];
    let mut at = number;
    while let (parent, Some(action)) = steps[at as usize] {
        actions.push(action);
        at = parent;
    }
    let mut state = model.initial();
    let mut story = Vec::new();
    for action in actions.into_iter().rev() {
        let wanted = action.to_string();
        let mut after = None;
        model.successors(&state, &mut |action, outcome| {
            if after.is_none() && action.to_string() == wanted {
                after = Some(outcome);
            }
        });
        match after {
            Some(Ok(after)) => {
                story.push(model.tell(&state, action, &after));
                state = after;
            }
            Some(Err(_)) | None => story.push(model.tell(&state, action, &state)),
        }
    }
    story
}

/// Zero where the system does not tell: then only time bounds a search.
fn resident_bytes() -> u64 {
    const PAGE_SIZE: u64 = 4096;
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_SIZE
}
