//! What was reached, over one seed or many: the core's own marks and the simulator's deeds.

use std::collections::BTreeMap;

use crate::oracles::Compared;

#[derive(Clone, Debug, Default)]
pub struct Coverage {
    marks: BTreeMap<String, u64>,
    pub compared: Compared,
    pub operations: u64,
    pub virtual_micros: u64,
}

impl Coverage {
    pub fn mark(&mut self, what: impl Into<String>) {
        *self.marks.entry(what.into()).or_default() += 1;
    }

    pub fn count(&self, what: &str) -> u64 {
        self.marks.get(what).copied().unwrap_or(0)
    }

    pub fn add(&mut self, other: &Coverage) {
        for (what, count) in &other.marks {
            *self.marks.entry(what.clone()).or_default() += count;
        }
        self.compared.entries += other.compared.entries;
        self.compared.replies += other.compared.replies;
        self.compared.reads += other.compared.reads;
        self.compared.lists += other.compared.lists;
        self.compared.roots += other.compared.roots;
        self.compared.votes += other.compared.votes;
        self.operations += other.operations;
        self.virtual_micros += other.virtual_micros;
    }

    /// The summary after a run: what was compared, then every mark.
    pub fn report(&self) -> String {
        let compared = &self.compared;
        let mut text = format!(
            "compared: {} log entries, {} replies, {} reads ({} of lists), {} state roots, {} votes; {:.0} s of virtual time\n",
            compared.entries,
            compared.replies,
            compared.reads,
            compared.lists,
            compared.roots,
            compared.votes,
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
