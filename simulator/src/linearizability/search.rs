//! The search for an order of the calls on one key.

use std::collections::BTreeSet;

use protocol::catalog::{Conditions, ETag, UploadId};

use super::project::{Event, Step, Written};

pub(super) enum Verdict {
    Explained,
    /// The event that the longest explanation could not go beyond.
    Unexplained {
        stuck: usize,
    },
    GivenUp,
}

/// A key between two calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    object: Option<Written>,
    /// Uploads to the key that have been completed or aborted.
    consumed: BTreeSet<UploadId>,
}

/// A place in the search: which events have happened, and what they left.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    /// All certain events before this one have happened.
    first: usize,
    /// Certain events after it that have.
    beyond: BTreeSet<usize>,
    /// Uncertain events that have.
    uncertain: BTreeSet<usize>,
    state: State,
}

/// The events of a key, sorted by when they began. `certain` and `uncertain` are places in `events`.
struct Search<'a> {
    events: &'a [Event],
    certain: Vec<usize>,
    uncertain: Vec<usize>,
}

/// Looks for an order until all certain events are in it.
pub(super) fn search(events: &[Event], steps_max: usize) -> Verdict {
    let (certain, uncertain) = (0..events.len()).partition(|at| events[*at].is_certain());
    let search = Search { events, certain, uncertain };
    let state = State { object: None, consumed: BTreeSet::new() };
    let start = Node { first: 0, beyond: BTreeSet::new(), uncertain: BTreeSet::new(), state };
    let mut stack = vec![start];
    let mut visited = BTreeSet::new();
    let mut furthest = 0;
    for _ in 0..steps_max {
        let Some(mut node) = stack.pop() else {
            return Verdict::Unexplained { stuck: search.certain[furthest] };
        };
        search.take_what_changes_nothing(&mut node);
        if node.first == search.certain.len() {
            return Verdict::Explained;
        }
        furthest = furthest.max(node.first);
        if !visited.contains(&node) {
            search.expand(&node, &mut stack);
            visited.insert(node);
        }
    }
    Verdict::GivenUp
}

impl Search<'_> {
    fn certain(&self, at: usize) -> &Event {
        &self.events[self.certain[at]]
    }

    /// The certain events that may be next: those that began before any other that is still to come
    /// had ended. And the time by which an uncertain one must have begun to be next.
    fn candidates(&self, node: &Node) -> (Vec<usize>, u64) {
        let mut candidates = Vec::new();
        let mut bound = u64::MAX;
        for at in node.first..self.certain.len() {
            let event = self.certain(at);
            if event.invoked > bound {
                break;
            }
            if !node.beyond.contains(&at) {
                bound = bound.min(event.responded);
                candidates.push(at);
            }
        }
        candidates.retain(|at| self.certain(*at).invoked <= bound);
        (candidates, bound)
    }

    /// A read that is true now may as well happen now: whatever comes later is not disturbed by it.
    fn take_what_changes_nothing(&self, node: &mut Node) {
        loop {
            let (candidates, _) = self.candidates(node);
            let mut taken = false;
            for at in candidates {
                let steps = &self.certain(at).steps;
                let reads = steps.iter().all(|step| node.state.is_read_by(step));
                if reads && node.state.after(steps).is_some_and(|after| after == node.state) {
                    node.take(at);
                    taken = true;
                }
            }
            if !taken {
                return;
            }
        }
    }

    /// Puts what may come next on the stack, the likeliest last. Uncertain events come after certain
    /// ones, and among them those first that make a certain one possible: otherwise every call that was
    /// ever given up would be tried everywhere.
    fn expand(&self, node: &Node, stack: &mut Vec<Node>) {
        let (candidates, bound) = self.candidates(node);
        let mut helpful = Vec::new();
        for at in self.uncertain.iter().filter(|at| !node.uncertain.contains(at)) {
            let event = &self.events[*at];
            if event.invoked > bound {
                break;
            }
            let Some(after) = node.state.after(&event.steps).filter(|after| *after != node.state) else {
                continue;
            };
            let helps = candidates.iter().any(|next| {
                let steps = &self.certain(*next).steps;
                after.after(steps).is_some() && node.state.after(steps).is_none()
            });
            let mut child = node.clone();
            child.uncertain.insert(*at);
            child.state = after;
            if helps { helpful.push(child) } else { stack.push(child) }
        }
        stack.extend(helpful);
        for at in candidates.iter().rev() {
            if let Some(after) = node.state.after(&self.certain(*at).steps) {
                let mut child = node.clone();
                child.take(*at);
                child.state = after;
                stack.push(child);
            }
        }
    }
}

impl Node {
    fn take(&mut self, at: usize) {
        self.beyond.insert(at);
        while self.beyond.remove(&self.first) {
            self.first += 1;
        }
    }
}

impl State {
    /// The state after the steps, or nothing if they cannot happen here.
    fn after(&self, steps: &[Step]) -> Option<State> {
        let mut state = self.clone();
        steps.iter().all(|step| state.step(step)).then_some(state)
    }

    /// Whether the step changes nothing, here and wherever else it might come. A delete of what is not
    /// there is no such step: later there may be something.
    fn is_read_by(&self, step: &Step) -> bool {
        match step {
            Step::Absent | Step::Present | Step::Is { .. } | Step::Admits(_) | Step::Refuses(_) => true,
            Step::Complete { upload, .. } => self.consumed.contains(upload),
            Step::Write(_) | Step::Delete(_) | Step::DeleteIfAdmitted(_) | Step::Consume(_) => false,
        }
    }

    fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Absent => self.object.is_none(),
            Step::Present => self.object.is_some(),
            Step::Is { etag, version } => self.is(*etag, *version),
            Step::Admits(conditions) => self.may_admit(conditions),
            Step::Refuses(conditions) => self.may_refuse(conditions),
            Step::Write(written) => {
                self.object = Some(*written);
                true
            }
            Step::Delete(conditions) => {
                let passes = self.object.is_none() || self.may_admit(conditions);
                self.object = None;
                passes
            }
            Step::DeleteIfAdmitted(conditions) => {
                if self.may_admit(conditions) {
                    self.object = None;
                }
                true
            }
            Step::Complete { upload, conditions, written } => {
                if self.consumed.insert(*upload) {
                    let admitted = self.may_admit(conditions);
                    self.object = Some(*written);
                    return admitted;
                }
                // Without an answer, a completion that came too late did nothing.
                match (written.etag, written.version) {
                    (Some(etag), version @ Some(_)) => self.is(etag, version),
                    _ => true,
                }
            }
            Step::Consume(upload) => self.consumed.insert(*upload),
        }
    }

    /// Whether the object may be this one; from then on it is.
    fn is(&mut self, etag: ETag, version: Option<u64>) -> bool {
        let Some(object) = &mut self.object else { return false };
        if object.etag.is_some_and(|known| known != etag) {
            return false;
        }
        object.etag = Some(etag);
        match (object.version, version) {
            (Some(known), Some(version)) => known == version,
            (None, Some(version)) => {
                object.version = Some(version);
                true
            }
            (_, None) => true,
        }
    }

    /// With an unknown ETag, both answers are possible.
    fn may_admit(&self, conditions: &Conditions) -> bool {
        let Some(object) = &self.object else { return conditions.if_match.is_none() };
        let Some(etag) = object.etag else {
            return conditions.if_none_match != Conditions::absent().if_none_match;
        };
        conditions.if_match.as_ref().is_none_or(|wanted| wanted.matches(&etag))
            && conditions.if_none_match.as_ref().is_none_or(|unwanted| !unwanted.matches(&etag))
    }

    fn may_refuse(&self, conditions: &Conditions) -> bool {
        self.object.is_some_and(|object| object.etag.is_none() || !self.may_admit(conditions))
    }
}
