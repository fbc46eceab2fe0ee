//! Upkeep as its driver sees it. Inputs change what is known; then `settle` begins whatever has become
//! due.

use std::collections::{BTreeMap, VecDeque};

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::chores::Chores;
use super::collection::Collection;
use super::debts::Debts;
use super::findings::Findings;
use super::mend::Mends;
use super::pull::Pulls;
use super::scrub::Scrub;
use super::survey::Survey;
use super::{Ask, Figures, Mark, Proposal, UpkeepOutput, UpkeepSettings};
use crate::catalog::{Answer, BodyId, ChunkId, Operation, Query, Reply};
use crate::data::message::DataBody;
use crate::data::storage::{Found, Job, ReadFault, Standing, StoreFault};
use crate::types::{ReplicaId, Tick};

/// What an answer of the own catalog is for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Debts,
    /// The bodies of these debts.
    OwedBodies(Vec<BodyId>),
    /// The body of a finding.
    FoundBody(BodyId),
    Rebuilding,
    /// A page of the survey, or of the count before it.
    Survey,
    Scrub,
    Verdicts(Vec<ChunkId>),
    Collectable,
}

/// What a report of the store is for.
#[derive(Clone, Debug)]
pub(super) enum Begun {
    /// A look for chunks of a body that is being mended.
    Find(BodyId, Vec<u32>),
    /// A closer look at one of its chunks.
    Examine(BodyId, u32),
    Quarantine(ChunkId),
    Store(ChunkId),
    Discard,
    Scrub(ChunkId, u32),
    Walk,
    Delete(usize),
}

/// What an operation in the log is for.
#[derive(Clone, Debug)]
pub(super) enum Proposed {
    Settle(Vec<BodyId>),
    Rebuilt,
    Collect,
}

pub struct Upkeep {
    pub(super) me: ReplicaId,
    pub(super) settings: UpkeepSettings,
    pub(super) standing: Standing,
    /// Space of the disk that chunks may take.
    pub(super) space_bytes: u64,
    pub(super) now: Tick,
    pub(super) random: Xoshiro256PlusPlus,
    /// The last number that was given, to whatever. None is given twice, so that an answer that comes
    /// after everything was begun anew is never taken for another one.
    last_number: u64,
    asked: BTreeMap<Ask, Asked>,
    begun: BTreeMap<Job, Begun>,
    proposed: BTreeMap<Proposal, Proposed>,
    pub(super) mends: Mends,
    pub(super) pulls: Pulls,
    pub(super) debts: Debts,
    pub(super) survey: Survey,
    pub(super) findings: Findings,
    pub(super) scrub: Scrub,
    pub(super) collection: Collection,
    pub(super) chores: Chores,
    pub(super) figures: Figures,
    outputs: VecDeque<UpkeepOutput>,
}

impl Upkeep {
    /// Fetches nothing until `set_space` says that there is room for it. `scrub_from` is what `scrub_position` last said, in this process or an earlier one.
    pub fn new(
        me: ReplicaId,
        standing: Standing,
        scrub_from: Option<BodyId>,
        settings: UpkeepSettings,
        seed: u64,
        now: Tick,
    ) -> Upkeep {
        let mut upkeep = Upkeep {
            me,
            settings,
            standing,
            space_bytes: 0,
            now,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            last_number: 0,
            asked: BTreeMap::new(),
            begun: BTreeMap::new(),
            proposed: BTreeMap::new(),
            mends: Mends::default(),
            pulls: Pulls::new(now),
            debts: Debts::new(now),
            survey: Survey::new(now),
            findings: Findings::default(),
            scrub: Scrub::new(now, scrub_from),
            collection: Collection::new(now),
            chores: Chores::new(now),
            figures: Figures::default(),
            outputs: VecDeque::new(),
        };
        upkeep.settle();
        upkeep
    }

    /// While the replica's word does not count, or its catalog is old, nothing is done. When another disk is in use, or the
    /// tables are another state, everything begins anew; what is still under way is ignored when it is
    /// reported.
    pub fn set_standing(&mut self, now: Tick, standing: Standing) {
        self.advance(now);
        let before = std::mem::replace(&mut self.standing, standing);
        let state = |it: Standing| (it.incarnation, it.ready, it.caught_up, it.layout);
        if state(before) != state(standing) {
            self.begin_anew();
        } else if before.primary != standing.primary {
            self.chores = Chores::new(self.now);
        }
        self.settle();
    }

    /// Free space of the disk, and how much of it is not for chunks.
    pub fn set_space(&mut self, now: Tick, available_bytes: u64, reserve_bytes: u64) {
        self.advance(now);
        self.space_bytes = available_bytes.saturating_sub(reserve_bytes);
        self.hasten_collection();
        self.settle();
    }

    /// A look at an old catalog is soon over, and passes by whatever has come since: a scrub would come
    /// again a week later, and take a damaged chunk for one that nobody refers to.
    fn is_working(&self) -> bool {
        self.standing.ready && self.standing.caught_up
    }

    /// Whether there is hardly any room for chunks.
    pub(super) fn is_full(&self) -> bool {
        self.space_bytes < self.settings.pull_bytes_max
    }

    /// What was found damaged is remembered, and so is how far the scrub is: both are looked at again
    /// before anything is done about them.
    fn begin_anew(&mut self) {
        self.asked.clear();
        self.begun.clear();
        self.proposed.clear();
        self.mends = Mends::default();
        self.pulls = Pulls::new(self.now);
        self.debts = Debts::new(self.now);
        self.survey = Survey::new(self.now);
        self.findings.begin_anew();
        self.scrub.begin_anew(self.now);
        self.collection = Collection::new(self.now);
        self.chores = Chores::new(self.now);
    }

    pub fn on_tick(&mut self, now: Tick) {
        self.advance(now);
        self.settle();
    }

    /// Somebody could not read this chunk here. Looked into before it is believed.
    pub fn on_damage(&mut self, now: Tick, chunk: ChunkId) {
        self.advance(now);
        self.findings.add(chunk, now);
        self.settle();
    }

    /// `None`: the catalog cannot be asked at present.
    pub fn on_local_answer(&mut self, now: Tick, ask: Ask, answer: Option<Answer>) {
        self.advance(now);
        match self.asked.remove(&ask) {
            Some(Asked::Debts) => self.on_debts(answer),
            Some(Asked::OwedBodies(ids)) => self.on_owed_bodies(ids, answer),
            Some(Asked::FoundBody(id)) => self.on_found_body(id, answer),
            Some(Asked::Rebuilding) => self.on_rebuilding(answer),
            Some(Asked::Survey) => self.on_survey_page(answer),
            Some(Asked::Scrub) => self.on_scrub_page(answer),
            Some(Asked::Verdicts(chunks)) => self.on_verdicts(chunks, answer),
            Some(Asked::Collectable) => self.on_collectable(answer),
            None => {}
        }
        self.settle();
    }

    /// `None`: nobody knows what became of it, or it never took effect.
    pub fn on_proposed(&mut self, now: Tick, proposal: Proposal, reply: Option<Reply>) {
        self.advance(now);
        match self.proposed.remove(&proposal) {
            Some(Proposed::Settle(bodies)) => self.on_settled(bodies, reply),
            Some(Proposed::Rebuilt) => self.on_rebuilt(reply),
            Some(Proposed::Collect) => self.on_collected(reply),
            None => {}
        }
        self.settle();
    }

    pub fn on_answer(&mut self, now: Tick, from: ReplicaId, call: u64, body: DataBody) {
        self.advance(now);
        self.on_blocks(from, call, body);
        self.settle();
    }

    /// The answer will not come.
    pub fn on_call_failed(&mut self, now: Tick, from: ReplicaId, call: u64) {
        self.advance(now);
        self.on_silence(from, call);
        self.settle();
    }

    /// In the order of the question.
    pub fn on_found(&mut self, now: Tick, job: Job, found: Vec<Result<Found, ReadFault>>) {
        self.advance(now);
        if let Some(Begun::Find(body, indexes)) = self.reported(job, |begun| matches!(begun, Begun::Find(..)))
        {
            self.on_looked(body, &indexes, &found);
        }
        self.settle();
    }

    pub fn on_scrubbed(&mut self, now: Tick, job: Job, outcome: Result<(), ReadFault>) {
        self.advance(now);
        let is_scrub = |begun: &Begun| matches!(begun, Begun::Scrub(..) | Begun::Examine(..));
        match self.reported(job, is_scrub) {
            Some(Begun::Scrub(chunk, bytes)) => self.on_scrubbed_chunk(chunk, bytes, outcome),
            Some(Begun::Examine(body, index)) => self.on_examined(body, index, outcome),
            _ => {}
        }
        self.settle();
    }

    pub fn on_stored(&mut self, now: Tick, job: Job, outcome: Result<(), StoreFault>) {
        self.advance(now);
        if let Some(Begun::Store(chunk)) = self.reported(job, |begun| matches!(begun, Begun::Store(_))) {
            self.on_pull_stored(chunk, outcome);
        }
        self.settle();
    }

    pub fn on_walked(&mut self, now: Tick, job: Job, chunks: Vec<ChunkId>) {
        self.advance(now);
        if self.reported(job, |begun| matches!(begun, Begun::Walk)).is_some() {
            self.on_walked_over(chunks);
        }
        self.settle();
    }

    /// What was to be set aside, discarded or deleted is.
    pub fn on_done(&mut self, now: Tick, job: Job) {
        self.advance(now);
        let is_done =
            |begun: &Begun| matches!(begun, Begun::Quarantine(_) | Begun::Discard | Begun::Delete(_));
        match self.reported(job, is_done) {
            Some(Begun::Quarantine(chunk)) => self.on_set_aside(chunk),
            Some(Begun::Delete(count)) => self.on_deleted(count),
            _ => {}
        }
        self.settle();
    }

    /// A report that does not fit the job is ignored: the job stays.
    fn reported(&mut self, job: Job, fits: impl FnOnce(&Begun) -> bool) -> Option<Begun> {
        if self.begun.get(&job).is_some_and(fits) { self.begun.remove(&job) } else { None }
    }

    pub fn next_output(&mut self) -> Option<UpkeepOutput> {
        self.outputs.pop_front()
    }

    /// When `on_tick` has something to do, whatever else happens.
    pub fn next_tick(&self) -> Option<Tick> {
        if !self.is_working() {
            return None;
        }
        let duties = [
            self.pulls_due_at(),
            self.debts_due_at(),
            self.survey_due_at(),
            self.findings_due_at(),
            self.scrub_due_at(),
            self.collection_due_at(),
            self.chores_due_at(),
        ];
        duties.into_iter().flatten().min()
    }

    /// Where the scrub should go on after a restart: keep it somewhere durable now and then. What was
    /// found bad and is not replaced lies after it, and is found again.
    pub fn scrub_position(&self) -> Option<BodyId> {
        self.scrub_from()
    }

    pub fn figures(&self) -> Figures {
        Figures {
            damaged: self.findings.count() as u64,
            lost: self.findings.lost() as u64,
            bytes_to_rebuild: self.survey.bytes_left(),
            pull_bytes: self.pulls.bytes(),
            scrubbed_through: self.scrub.cursor(),
            oldest_unscrubbed: self.scrub.oldest(),
            ..self.figures
        }
    }

    fn advance(&mut self, now: Tick) {
        self.now = self.now.max(now);
    }

    /// What is found damaged comes before what is owed: it may be the last but one copy. The end of
    /// one thing may be the beginning of another, so it goes on until nothing begins.
    fn settle(&mut self) {
        let mut before = None;
        while self.is_working() && before != Some(self.steps()) {
            before = Some(self.steps());
            self.settle_findings();
            self.settle_debts();
            self.settle_survey();
            self.settle_mends();
            self.settle_pulls();
            self.settle_scrub();
            self.settle_collection();
            self.settle_chores();
        }
    }

    /// Counts what has begun and what has ended.
    fn steps(&self) -> (u64, u64) {
        (self.last_number, self.mends.ended())
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn ask(&mut self, asked: Asked, query: Query) {
        let ask = Ask(self.next_number());
        self.asked.insert(ask, asked);
        self.outputs.push_back(UpkeepOutput::AskLocal { ask, query });
    }

    pub(super) fn propose(&mut self, proposed: Proposed, operation: Operation) {
        let proposal = Proposal(self.next_number());
        self.proposed.insert(proposal, proposed);
        self.outputs.push_back(UpkeepOutput::Propose { proposal, operation });
    }

    pub(super) fn begin(&mut self, begun: Begun, output: impl FnOnce(Job) -> UpkeepOutput) {
        let job = Job::new(self.next_number());
        self.begun.insert(job, begun);
        self.outputs.push_back(output(job));
    }

    /// Tells the number of the call.
    pub(super) fn call(&mut self, to: ReplicaId, body: DataBody) -> u64 {
        let call = self.next_number();
        self.outputs.push_back(UpkeepOutput::Call { to, call, body });
        call
    }

    pub(super) fn mark(&mut self, mark: Mark) {
        self.outputs.push_back(UpkeepOutput::Mark(mark));
    }

    /// After about so long: replicas that began together do not go on in step.
    pub(super) fn later(&mut self, duration_ms: u64) -> Tick {
        let spread = self.random.next_u64() % duration_ms.max(1);
        self.now.plus((duration_ms / 2).saturating_add(spread).max(1))
    }
}
