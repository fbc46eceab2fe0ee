//! What machines do with their disks, and when.

use protocol::types::{Checksum, Op};
use replica::storage::space::Judgement;

use super::{Happening, World};
use crate::node::{Done, Job};

impl World {
    /// Starts the next group, if none is under way and something waits.
    pub(super) fn begin_group(&mut self, machine: usize) {
        let process = self.machines[machine].process.as_mut().expect("only processes write");
        if process.group_under_way || !process.has_group_to_write() {
            return;
        }
        process.group_under_way = true;
        let entries = std::mem::take(&mut process.appends);
        self.begin_job(machine, Job::Group(entries));
    }

    pub(super) fn flush(&mut self, machine: usize) {
        let process = self.machines[machine].process.as_ref().expect("only processes flush");
        if let Some(flush) = process.flush_job() {
            self.begin_job(machine, Job::Flush(flush));
        }
    }

    pub(super) fn begin_job(&mut self, machine: usize, job: Job) {
        let host = &mut self.machines[machine];
        let delay = host.random.exponential(job.micros() * host.slowness);
        let boot = host.boot;
        let number = host.process.as_mut().expect("only processes do I/O").begin(job);
        self.schedule(delay, Happening::Job { machine, boot, number });
    }

    /// Does what was under way, and tells the core. Any error ends the process.
    pub(super) fn end_job(&mut self, machine: usize, boot: u64, number: u64) {
        let host = &mut self.machines[machine];
        let Some(process) = host.process.as_mut().filter(|_| host.boot == boot) else { return };
        let job = process.end(number);
        let what = job.name();
        let result = process.run(job);
        for damage in self.machines[machine].disk.take_damages() {
            self.trace.note(self.now, Some(machine), &format!("damage: {damage:?}"));
        }
        match result {
            Ok(Done::Superblock) => {
                self.with_core(machine, boot, |core, out| core.on_superblock_written(out));
            }
            Ok(Done::Checked(checked)) => self.checked(machine, boot, *checked),
            Ok(Done::Chunks(written)) => self.chunks_written(machine, boot, written),
            Ok(Done::Group(done)) => {
                self.with_core(machine, boot, |core, out| {
                    for (op, name) in done {
                        core.on_appended(op, name, out);
                    }
                });
                let host = &mut self.machines[machine];
                if let Some(process) = host.process.as_mut().filter(|_| host.boot == boot) {
                    process.group_under_way = false;
                    self.begin_group(machine);
                }
            }
            Ok(Done::Flush(flushed)) => {
                self.with_core(machine, boot, |core, out| {
                    if core.state_mut().tables_mut().finish_flush(*flushed) {
                        core.on_checkpoint_flushed(out);
                    }
                });
            }
            Ok(Done::Counted(counted)) => {
                self.with_core(machine, boot, |core, _| core.state_mut().tables_mut().finish_count(counted));
            }
            Err(error) => self.io_failed(machine, what, &error),
        }
    }

    /// What a disk has room for is looked at often, as what is accepted in between must fit, too.
    pub(super) fn judge_space(&mut self, machine: usize, boot: u64) {
        let host = &mut self.machines[machine];
        let disk = host.disk.clone();
        let Some(process) = host.process.as_mut().filter(|_| host.boot == boot) else { return };
        let Judgement { room, needed_bytes, wants_count } = process.judge_space(&disk);
        if let Some(plane) = &mut process.plane {
            plane.log_needs = needed_bytes;
        }
        if wants_count {
            let job = process.core.state_mut().tables_mut().count_job();
            self.begin_job(machine, Job::Count(job));
        }
        self.with_core(machine, boot, |core, out| core.on_room(room, out));
    }

    /// Reads at once, and tells the core a little later.
    pub(super) fn read_entry(&mut self, machine: usize, op: Op, name: Checksum) {
        let host = &mut self.machines[machine];
        let process = host.process.as_mut().expect("only processes read");
        match process.wal.read(op, name) {
            Ok(entry) => {
                let (boot, delay) = (host.boot, host.random.exponential(100 * host.slowness));
                let entry = entry.map(Box::new);
                self.schedule(delay, Happening::EntryRead { machine, boot, op, name, entry });
            }
            Err(error) => self.io_failed(machine, "read", &error),
        }
    }

    fn io_failed(&mut self, machine: usize, what: &'static str, error: &std::io::Error) {
        self.coverage.mark(format!("crash in {what}"));
        self.trace.note(self.now, Some(machine), &format!("{what} failed: {error}"));
        self.crash(machine, what);
    }
}
