//! How a world ends: the troubles stop, everything becomes what it should be, and what has been is
//! judged.

use std::collections::BTreeSet;

use protocol::catalog::{ChunkId, Verdict};
use protocol::types::{Op, Peer};
use protocol::vsr::StatusName;

use super::{Failure, Happening, World};
use crate::linearizability;
use crate::operator;
use crate::options::Mode;
use crate::plane::Plane;
use crate::planted;

/// After the troubles: so long may it take until everything is as it should be.
const HEALING_MAX: u64 = 240_000_000;

/// With a clock that is further behind, in microseconds, sessions need not end in this time.
const CLOCK_BEHIND_MAX: i64 = 60_000_000;

impl World {
    /// Ends the troubles, waits until all is as it should be, and judges what has been.
    pub fn settle(&mut self) -> Result<(), Failure> {
        self.heal();
        let deadline = self.now + HEALING_MAX;
        let mut excused = false;
        while !self.is_settled() {
            if self.now >= deadline {
                if let Some(excuse) = self.what_is_beyond_the_budget() {
                    self.trace.note(self.now, None, &format!("the core is stuck: {excuse}"));
                    self.coverage.mark("core not served, and the world says why");
                    excused = true;
                    break;
                }
                let lacking = self.what_chunks_lack().unwrap_or_default();
                return Err(self.fail(format!("not live: {}{lacking}", self.what_is_unsettled())));
            }
            self.repeat_old_messages();
            self.run_until(self.now + 100_000)?;
        }
        self.judge(excused)?;
        self.last_power_cut();
        if let Some(what) = self.failure.take() {
            return Err(self.fail(what));
        }
        self.coverage.compared = self.oracles.compared;
        self.coverage.notice_combinations();
        self.coverage.virtual_micros = self.now;
        Ok(())
    }

    fn judge(&mut self, excused: bool) -> Result<(), Failure> {
        let config = self.options.config.clone();
        let catalog = self.catalog();
        planted::with(None, || self.oracles.replay(&config, catalog)).map_err(|what| self.fail(what))?;
        let seen = linearizability::check(&self.clients.history).map_err(|what| self.fail(what))?;
        self.coverage.seen(&seen);
        let compared = self.oracles.compared;
        if !excused && (compared.entries == 0 || compared.replies == 0) {
            return Err(self.fail("nothing was compared".into()));
        }
        Ok(())
    }

    /// The troubles end. In liveness mode only for a random core; the rest stays as broken as it is.
    pub fn heal(&mut self) {
        self.trace.note(self.now, None, "the troubles end");
        let outside =
            if self.options.mode == Mode::Liveness { self.choose_outside() } else { BTreeSet::new() };
        for machine in 0..self.machines.len() {
            operator::new_disk(self, machine);
        }
        let outside_links = outside.iter().map(|machine| Peer::Replica(self.machines[*machine].id)).collect();
        self.network.calm(&outside_links);
        self.release();
        let dead = self.break_for_good(&outside);
        self.nemesis.end(&outside, dead);
        self.release();
        for machine in (0..self.machines.len()).filter(|machine| !outside.contains(machine)) {
            self.machines[machine].paused_until = 0;
            self.machines[machine].slowness = 1;
            self.machines[machine].disk.set_capacity(u64::MAX);
            if !self.machines[machine].is_up() {
                self.schedule(1, Happening::Start { machine });
            }
        }
        self.clients.calm();
    }

    /// Every healed machine is normal, holds the whole log, has applied it and knows that, and no client
    /// waits.
    fn is_settled(&mut self) -> bool {
        if !self.what_is_unsettled().is_empty() || self.look_at_chunks > self.now {
            return false;
        }
        // Every chunk is read, so not every time.
        self.look_at_chunks = self.now + 500_000;
        self.what_chunks_lack().is_none()
    }

    /// Whether a machine is normal, holds the whole log, has applied it and knows that.
    fn is_current(&self, machine: usize) -> bool {
        let committed = Op::new(self.oracles.committed_count() as u64);
        self.machines[machine].process.as_ref().is_some_and(|process| {
            let core = &process.core;
            let whole = core.durable_through() == core.head().0 && core.applied() >= committed;
            let current = core.applied() == core.head().0 && core.has_caught_up();
            core.status() == StatusName::Normal && whole && current
        })
    }

    fn what_is_unsettled(&self) -> String {
        let mut text = String::new();
        for (index, machine) in self.machines.iter().enumerate() {
            if self.nemesis.is_outside(index) {
                continue;
            }
            match &machine.process {
                None => text.push_str(&format!("replica {index} is down; ")),
                Some(_) if self.is_current(index) => {}
                Some(process) => {
                    let core = &process.core;
                    text.push_str(&format!(
                        "replica {index}: {:?} view {} log_view {} head {} commit {} applied {} durable {} caught up {}; ",
                        core.status(),
                        core.view(),
                        core.log_view(),
                        core.head().0,
                        core.commit(),
                        core.applied(),
                        core.durable_through(),
                        core.has_caught_up(),
                    ));
                }
            }
        }
        if let Some(waiting) = self.clients.waiting() {
            text.push_str(&waiting);
        }
        text
    }

    /// What the healed machines still lack, owe, or should have forgotten. None: nothing.
    pub(super) fn what_chunks_lack(&self) -> Option<String> {
        let chunks = self.oracles.chunks.as_ref()?;
        let up = |machine: &usize| !self.nemesis.is_outside(*machine);
        let planes: Vec<(usize, &Plane)> = (0..self.machines.len())
            .filter(up)
            .filter_map(|machine| {
                Some((machine, &**self.machines[machine].process.as_ref()?.plane.as_ref()?))
            })
            .collect();
        // A machine outside the core may keep a session alive for ever, and with it what it may be reading.
        let disturbed = (0..self.machines.len())
            .any(|machine| self.nemesis.is_outside(machine) && self.machines[machine].is_up());
        let time_goes_on =
            !disturbed && self.machines.iter().all(|machine| machine.clock_offset > -CLOCK_BEHIND_MAX);
        for (machine, plane) in &planes {
            if let Some(owed) = chunks.owed_by(self.machines[*machine].id) {
                return Some(format!("replica {machine} owes {owed}; "));
            }
            // Nobody reads or uploads any more: what is not referenced is of no use to anybody. But the
            // sessions of dead processes end only when time goes on, and on a clock that was set back it
            // does not for a while.
            let useless = |chunk: &ChunkId| match chunks.verdict(*chunk) {
                Verdict::Dead => true,
                Verdict::Retiring | Verdict::Pending => time_goes_on,
                Verdict::Referenced => false,
            };
            if let Some(chunk) = plane.holdings().into_iter().find(useless) {
                let verdict = chunks.verdict(chunk);
                return Some(format!("replica {machine} keeps {chunk:?}, which is {verdict:?}; "));
            }
        }
        let layout = chunks.layout();
        for named in chunks.referenced() {
            for (index, root) in (0..).zip(&named.body.roots) {
                let chunk = named.id.chunk(index);
                for (machine, plane) in &planes {
                    let owns = layout.owns(self.machines[*machine].id, chunk);
                    if owns && !plane.has_sound(chunk, *root) {
                        return Some(format!("replica {machine} lacks {chunk:?}; "));
                    }
                }
            }
        }
        None
    }

    /// The power goes everywhere, once more: what was called durable must be there afterwards.
    pub(super) fn last_power_cut(&mut self) {
        if self.oracles.chunks.is_none() {
            return;
        }
        for machine in 0..self.machines.len() {
            if !self.nemesis.is_outside(machine) && self.machines[machine].is_up() {
                self.kill(machine);
                self.start(machine);
            }
        }
    }
}
