//! What people do to a cluster: restarts in order and out of order, and disks in the wrong machine.

use crate::faults::{Lift, deed};
use crate::world::World;

/// One thing that an operator does, wisely or not.
pub fn act(world: &mut World, machine: usize) {
    match world.nemesis.random.below(4) {
        0 => restart(world, machine),
        1 => roll(world),
        2 => hasty(world),
        _ => old_disk(world),
    }
}

/// The process is asked to end: a primary asks the others to go on without it.
pub fn restart(world: &mut World, machine: usize) {
    if !world.machines[machine].is_up() {
        return;
    }
    deed(world, Some(machine), "restart");
    world.resign(machine);
    let delay = world.nemesis.random.between(1_000, 300_000);
    world.crash_soon(machine, delay);
}

/// One after the other, with or without enough time between them.
fn roll(world: &mut World) {
    deed(world, None, "rolling restart");
    let pause = *world.nemesis.random.pick(&[50_000, 400_000, 2_000_000]);
    for machine in 0..world.machines.len() {
        let at = pause * machine as u64;
        world.nemesis.later(world.now, at, at + pause / 2, Lift::Restart(machine));
    }
}

/// All at once.
fn hasty(world: &mut World) {
    deed(world, None, "all restarted at once");
    for machine in 0..world.machines.len() {
        restart(world, machine);
    }
}

/// A disk that was replaced is put back for a while.
fn old_disk(world: &mut World) {
    let swappable = |machine: &usize| {
        let host = &world.machines[*machine];
        host.shelved.is_some() && !host.has_old_disk && world.nemesis.may_swap(*machine)
    };
    let swappable: Vec<usize> = (0..world.machines.len()).filter(swappable).collect();
    if swappable.is_empty() {
        return;
    }
    let machine = *world.nemesis.random.pick(&swappable);
    deed(world, Some(machine), "old disk put back");
    world.nemesis.doom(machine, true);
    world.crash(machine, "its disk is pulled out");
    world.machines[machine].swap_disks();
    world.nemesis.later(world.now, 300_000, 4_000_000, Lift::NewDisk(machine));
}

/// The mistake is undone.
pub fn new_disk(world: &mut World, machine: usize) {
    if !world.machines[machine].has_old_disk {
        return;
    }
    world.crash(machine, "its old disk is pulled out");
    deed(world, Some(machine), "new disk put back");
    world.machines[machine].swap_disks();
    world.nemesis.doom(machine, false);
    world.start_soon(machine, 10_000);
}
