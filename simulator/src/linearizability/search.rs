//! The search for an order of the calls on one key.
//!
//! Two things keep it short. Writes that were acknowledged tell their versions, and versions rise, so
//! their order is given. And a call that was given up is not tried everywhere: first those that make
//! an answer possible which otherwise is not, the others only when nothing else helps.

use std::collections::BTreeSet;

use protocol::catalog::{Conditions, ETag, ETagMatch, UploadId};

use super::project::{Event, Step, Written};

pub(super) enum Verdict {
    Explained,
    /// The call that the longest explanation could not go beyond.
    Unexplained {
        stuck: usize,
    },
    GivenUp,
}

/// A key between two calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    object: Option<Written>,
    /// The highest version so far: the next is higher.
    highest: u64,
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

/// The events of a key, each kind sorted by when they began.
struct Search {
    certain: Vec<Event>,
    uncertain: Vec<Uncertain>,
}

struct Uncertain {
    event: Event,
    /// The one before it that would do exactly the same: which of the two happened makes no
    /// difference, so let it be the earlier.
    alike: Option<usize>,
}

/// Looks for an order until all certain events are in it. What is stuck is named by its call.
pub(super) fn search(events: &[Event], steps_max: usize) -> Verdict {
    let search = Search::prepare(events);
    let state = State { object: None, highest: 0, consumed: BTreeSet::new() };
    let start = Node { first: 0, beyond: BTreeSet::new(), uncertain: BTreeSet::new(), state };
    // By how many events they have guessed; of those with equally few the latest first.
    let mut stacks = vec![vec![start]];
    let mut visited = BTreeSet::new();
    let mut furthest = 0;
    for _ in 0..steps_max {
        let Some(guesses) = stacks.iter().position(|stack| !stack.is_empty()) else {
            return Verdict::Unexplained { stuck: search.certain[furthest].call };
        };
        let mut node = stacks[guesses].pop().expect("it is not empty");
        search.take_what_changes_nothing(&mut node);
        if node.first == search.certain.len() {
            return Verdict::Explained;
        }
        furthest = furthest.max(node.first);
        if !visited.contains(&node) {
            let children = search.expand(&node);
            if stacks.len() < guesses + 2 {
                stacks.push(Vec::new());
            }
            stacks[guesses + 1].extend(children.guessed);
            stacks[guesses].extend(children.likely);
            visited.insert(node);
        }
    }
    Verdict::GivenUp
}

#[derive(Default)]
struct Children {
    /// The likeliest last.
    likely: Vec<Node>,
    guessed: Vec<Node>,
}

impl Search {
    fn prepare(events: &[Event]) -> Search {
        let mut events = events.to_vec();
        settle_what_was_seen(&mut events);
        let mentioned = mentioned(&events);
        let (certain, rest): (Vec<Event>, Vec<Event>) = events.into_iter().partition(Event::is_certain);
        let mut uncertain: Vec<Uncertain> = Vec::new();
        for mut event in rest {
            event.steps.iter_mut().for_each(|step| forget_etag(step, &mentioned));
            let alike = uncertain.iter().rposition(|earlier| earlier.event.steps == event.steps);
            uncertain.push(Uncertain { event, alike });
        }
        Search { certain, uncertain }
    }

    /// The certain events that may be next: those that began before any other that is still to come
    /// had ended. And the time by which an uncertain one must have begun to be next.
    fn candidates(&self, node: &Node) -> (Vec<usize>, u64) {
        let mut candidates = Vec::new();
        let mut bound = u64::MAX;
        for (at, event) in self.certain.iter().enumerate().skip(node.first) {
            if event.invoked > bound {
                break;
            }
            if !node.beyond.contains(&at) {
                bound = bound.min(event.responded);
                candidates.push(at);
            }
        }
        candidates.retain(|at| self.certain[*at].invoked <= bound);
        (candidates, bound)
    }

    /// A read that is true now may as well happen now: whatever comes later is not disturbed by it.
    fn take_what_changes_nothing(&self, node: &mut Node) {
        loop {
            let (candidates, _) = self.candidates(node);
            let mut taken = false;
            for at in candidates {
                let steps = &self.certain[at].steps;
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

    fn expand(&self, node: &Node) -> Children {
        let (candidates, bound) = self.candidates(node);
        let mut children = Children::default();
        for (at, Uncertain { event, alike }) in self.uncertain.iter().enumerate() {
            if event.invoked > bound {
                break;
            }
            let its_turn = alike.is_none_or(|alike| node.uncertain.contains(&alike));
            if node.uncertain.contains(&at) || !its_turn {
                continue;
            }
            let Some(after) = node.state.after(&event.steps).filter(|after| *after != node.state) else {
                continue;
            };
            let helps = candidates.iter().any(|next| {
                let steps = &self.certain[*next].steps;
                after.after(steps).is_some() && node.state.after(steps).is_none()
            });
            let mut child = node.clone();
            child.uncertain.insert(at);
            child.state = after;
            if helps { children.likely.push(child) } else { children.guessed.push(child) }
        }
        let lowest = candidates.iter().filter_map(|at| version(&self.certain[*at])).min();
        for at in candidates.into_iter().rev() {
            let event = &self.certain[at];
            if version(event) > lowest {
                continue;
            }
            if let Some(after) = node.state.after(&event.steps) {
                let mut child = node.clone();
                child.take(at);
                child.state = after;
                children.likely.push(child);
            }
        }
        children
    }
}

/// A write that nobody answered, but whose value somebody saw, has happened before it was seen.
fn settle_what_was_seen(events: &mut [Event]) {
    let etags = |event: &Event| -> Vec<Option<ETag>> {
        event.steps.iter().filter_map(Step::written).map(|written| written.etag).collect()
    };
    let writers: Vec<Option<ETag>> = events.iter().flat_map(etags).collect();
    for at in 0..events.len() {
        let (false, Some(Step::Write(written))) = (events[at].is_certain(), events[at].steps.last()) else {
            continue;
        };
        let mut may_be_its = writers.iter().filter(|etag| etag.is_none() || **etag == written.etag);
        if may_be_its.nth(1).is_some() {
            continue;
        }
        let seen = events.iter().filter(|event| {
            event
                .steps
                .iter()
                .any(|step| matches!(step, Step::Is { etag, .. } if Some(*etag) == written.etag))
        });
        if let Some(responded) = seen.map(|event| event.responded).min() {
            // A value that was seen before it was asked for is nobody's; the search will say so.
            events[at].responded = responded.max(events[at].invoked);
        }
    }
}

/// The ETags that an answer or a condition could tell apart from others.
fn mentioned(events: &[Event]) -> BTreeSet<ETag> {
    let mut mentioned = BTreeSet::new();
    for step in events.iter().flat_map(|event| &event.steps) {
        let conditions = match step {
            Step::Is { etag, .. } => {
                mentioned.insert(*etag);
                continue;
            }
            Step::Admits(conditions)
            | Step::Refuses(conditions)
            | Step::Delete(conditions)
            | Step::DeleteIfAdmitted(conditions) => conditions,
            Step::Complete { conditions, written, .. } => {
                mentioned.extend(written.etag);
                conditions
            }
            Step::Absent | Step::Present | Step::Write(_) | Step::Consume(_) => continue,
        };
        for condition in conditions.if_match.iter().chain(&conditions.if_none_match) {
            if let ETagMatch::OneOf { etags } = condition {
                mentioned.extend(etags);
            }
        }
    }
    mentioned
}

/// Values that nobody ever asks about are all the same.
fn forget_etag(step: &mut Step, mentioned: &BTreeSet<ETag>) {
    if let Step::Write(Written { etag: Some(etag), .. }) = step
        && !mentioned.contains(etag)
    {
        *etag = ETag { digest: [0xff; 16], part_count: u16::MAX };
    }
}

/// The version that the event writes, if it surely writes.
fn version(event: &Event) -> Option<u64> {
    match event.steps.last() {
        Some(Step::Write(written)) => written.version,
        _ => None,
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
            Step::Write(written) => self.write(*written),
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
                    return self.may_admit(conditions) && self.write(*written);
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

    fn write(&mut self, written: Written) -> bool {
        self.object = Some(written);
        written.version.is_none_or(|version| self.rises_to(version))
    }

    fn rises_to(&mut self, version: u64) -> bool {
        let rises = version > self.highest;
        self.highest = version;
        rises
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
                self.rises_to(version)
            }
            (_, None) => true,
        }
    }

    /// With an unknown ETag, both answers are possible.
    fn may_admit(&self, conditions: &Conditions) -> bool {
        let Some(object) = &self.object else { return conditions.if_match.is_none() };
        let Some(etag) = object.etag else {
            return conditions.if_none_match != Some(ETagMatch::Any);
        };
        conditions.if_match.as_ref().is_none_or(|wanted| wanted.matches(&etag))
            && conditions.if_none_match.as_ref().is_none_or(|unwanted| !unwanted.matches(&etag))
    }

    fn may_refuse(&self, conditions: &Conditions) -> bool {
        self.object.is_some_and(|object| object.etag.is_none() || !self.may_admit(conditions))
    }
}
