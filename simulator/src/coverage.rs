//! What was reached, over one seed or many: the core's own marks and the simulator's deeds.

use std::collections::BTreeMap;

use crate::linearizability::Checked;
use crate::oracles::Compared;

#[derive(Clone, Debug, Default)]
pub struct Coverage {
    marks: BTreeMap<String, u64>,
    /// In how many seeds each was reached.
    seeds_with: BTreeMap<String, u64>,
    pub seeds: u64,
    pub compared: Compared,
    pub operations: u64,
    /// Histories of single keys that were judged without looking at the log, and those too long for it.
    pub keys_judged: u64,
    pub keys_skipped: u64,
    pub virtual_micros: u64,
}

impl Coverage {
    pub fn mark(&mut self, what: impl Into<String>) {
        *self.marks.entry(what.into()).or_default() += 1;
    }

    /// What the judge from outside has looked at.
    pub fn seen(&mut self, seen: &Checked) {
        self.keys_judged += seen.keys as u64;
        self.keys_skipped += seen.skipped as u64;
    }

    pub fn count(&self, what: &str) -> u64 {
        self.marks.get(what).copied().unwrap_or(0)
    }

    /// Marks what only the whole of a run shows.
    pub fn notice_combinations(&mut self) {
        let combinations = [
            ("two rejoins in one run", self.count("RejoinFinished") >= 2),
            ("rejoin and truncation in one run", self.all(&["RejoinFinished", "NackQuorumTruncated"])),
            ("sync and rejoin in one run", self.all(&["SyncFinished", "RejoinFinished"])),
            ("power cut with a rotten head", self.all(&["crash all", "head rotten"])),
            ("full disk and a view change", self.all(&["GrowthRefused", "ViewStartedAsPrimary"])),
        ];
        for (what, _) in combinations.into_iter().filter(|(_, reached)| *reached) {
            self.mark(what);
        }
    }

    fn all(&self, marks: &[&str]) -> bool {
        marks.iter().all(|mark| self.count(mark) > 0)
    }

    /// How many seeds have reached this, of `seeds`.
    pub fn seeds_with(&self, what: &str) -> u64 {
        self.seeds_with.get(what).copied().unwrap_or(0)
    }

    /// Adds what one seed reached.
    pub fn add(&mut self, other: &Coverage) {
        self.seeds += 1;
        for (what, count) in &other.marks {
            *self.marks.entry(what.clone()).or_default() += count;
            *self.seeds_with.entry(what.clone()).or_default() += 1;
        }
        self.compared.entries += other.compared.entries;
        self.compared.replies += other.compared.replies;
        self.compared.reads += other.compared.reads;
        self.compared.lists += other.compared.lists;
        self.compared.bodies += other.compared.bodies;
        self.compared.roots += other.compared.roots;
        self.compared.votes += other.compared.votes;
        self.compared.evictions += other.compared.evictions;
        self.operations += other.operations;
        self.keys_judged += other.keys_judged;
        self.keys_skipped += other.keys_skipped;
        self.virtual_micros += other.virtual_micros;
    }

    /// The summary after a run: what was compared, then every mark.
    pub fn report(&self) -> String {
        let compared = &self.compared;
        let mut text = format!(
            "compared: {} log entries, {} replies, {} reads ({} of lists), {} bodies, {} state roots, {} votes, {} evictions of sessions, {} histories of keys ({} too long); {:.0} s of virtual time\n",
            compared.entries,
            compared.replies,
            compared.reads,
            compared.lists,
            compared.bodies,
            compared.roots,
            compared.votes,
            compared.evictions,
            self.keys_judged,
            self.keys_skipped,
            std::time::Duration::from_micros(self.virtual_micros).as_secs_f64(),
        );
        for line in self.marks.iter().collect::<Vec<_>>().chunks(3) {
            for (what, count) in line {
                text.push_str(&format!("  {what:<32}{count:>9}"));
            }
            text.push('\n');
        }
        text
    }
}
