//! Damage to what a disk has promised to keep.

use replica::storage::disk::{Disk as _, DiskFile as _, SimulatedDisk};
use replica::storage::superblock::SUPERBLOCK_NAME;
use replica::storage::tables::TABLES_NAME;

use super::{deed, reigning};
use crate::random::Random;
use crate::world::World;

const LOG_PREFIX: &str = "wal-";
const CHUNK_PREFIX: &str = "chunks-";

/// What can befall the content of a file.
#[derive(Clone, Copy)]
pub(super) enum Damage {
    Rot,
    Unreadable,
    Misdirected,
    Phantom,
}

pub(super) fn damage(world: &mut World, damage: Damage) {
    let count = world.machines.len();
    let Some(machine) = world.nemesis.victim(count) else { return };
    if matches!(damage, Damage::Rot) && world.nemesis.random.percent(30) && damage_head(world, machine) {
        return;
    }
    let disk = world.machines[machine].disk.clone();
    let done = match damage {
        Damage::Rot | Damage::Unreadable => {
            let Some(file) = pick_file(&mut world.nemesis.random, &disk) else { return };
            match damage {
                Damage::Rot => disk.rot(&file),
                _ => disk.make_unreadable(&file),
            }
            .map(|damage| format!("{damage:?}"))
        }
        Damage::Misdirected => {
            disk.misdirect_next_write();
            Some("the next write will be misdirected".to_owned())
        }
        Damage::Phantom => {
            disk.lose_next_write();
            Some("the next write will be lost".to_owned())
        }
    };
    if let Some(done) = done {
        world.nemesis.afflict(machine);
        world.coverage.mark(match damage {
            Damage::Rot => "rot",
            Damage::Unreadable => "unreadable",
            Damage::Misdirected => "misdirect",
            Damage::Phantom => "phantom",
        });
        world.trace.note(world.now, Some(machine), &done);
        if world.nemesis.random.percent(30) {
            world.crash(machine, "power, upon damage");
        }
    }
}

/// The newest entry of one log rots, and others who hold it die: those who are left must not take
/// damage for absence. False if the machine holds no entry.
fn damage_head(world: &mut World, machine: usize) -> bool {
    let host = &mut world.machines[machine];
    let Some(process) = &mut host.process else { return false };
    let (op, name) = process.core.head();
    let Ok(Some(entry)) = process.wal.read(op, name) else { return false };
    let disk = host.disk.clone();
    let Some((file, offset)) = find(&disk, &entry.body) else { return false };
    let stub = find_last(&disk, &file, &entry.header.to_bytes()).filter(|stub| *stub > offset);
    let whole = world.nemesis.afflicted.get(&machine).is_none_or(|affliction| affliction.damages == 0);
    world.nemesis.afflict(machine);
    world.crash(machine, "power, before its head is damaged");
    let Some(damage) = world.machines[machine].disk.rot_at(&file, offset) else { return true };
    deed(world, Some(machine), "head rotten");
    world.trace.note(world.now, Some(machine), &format!("{damage:?}"));
    // With its stub, too, only what stands behind it tells that there was something.
    if let Some(stub) = stub.filter(|_| whole && world.nemesis.random.percent(60))
        && let Some(damage) = world.machines[machine].disk.rot_at(&file, stub)
    {
        world.nemesis.afflict(machine);
        deed(world, Some(machine), "head rotten, and its stub");
        world.trace.note(world.now, Some(machine), &format!("{damage:?}"));
    }
    if let Some(primary) = reigning(world)
        && world.nemesis.random.percent(70)
    {
        world.crash(primary, "power, while a head is rotten");
    }
    true
}

/// Where in the log's files these bytes are.
fn find(disk: &SimulatedDisk, bytes: &[u8]) -> Option<(String, u64)> {
    if bytes.is_empty() {
        return None;
    }
    for name in disk.names().ok()?.into_iter().filter(|name| name.starts_with(LOG_PREFIX)) {
        let file = disk.open(&name).ok()??;
        let mut content = vec![0; usize::try_from(file.len().ok()?).ok()?];
        if file.read_at(0, &mut content).is_err() {
            continue; // A sector of it is unreadable.
        }
        if let Some(index) = content.windows(bytes.len()).position(|window| window == bytes) {
            return Some((name, index as u64));
        }
    }
    None
}

/// Where these bytes are for the last time in a file of the log.
fn find_last(disk: &SimulatedDisk, name: &str, bytes: &[u8]) -> Option<u64> {
    let file = disk.open(name).ok()??;
    let mut content = vec![0; usize::try_from(file.len().ok()?).ok()?];
    file.read_at(0, &mut content).ok()?;
    content.windows(bytes.len()).rposition(|window| window == bytes).map(|index| index as u64)
}

/// Something in the chunk store of a machine is damaged, and nothing else on its disk.
pub(super) fn rot_chunks(world: &mut World) {
    let count = world.machines.len();
    let Some(machine) = world.nemesis.victim(count) else { return };
    let disk = world.machines[machine].disk.clone();
    let Ok(names) = disk.names() else { return };
    let files: Vec<&String> = names.iter().filter(|name| name.starts_with(CHUNK_PREFIX)).collect();
    if files.is_empty() {
        return;
    }
    let file = *world.nemesis.random.pick(&files);
    let damage = match world.nemesis.random.percent(70) {
        true => disk.rot(file),
        false => disk.make_unreadable(file),
    };
    if let Some(damage) = damage {
        world.nemesis.afflict(machine);
        deed(world, Some(machine), "chunk rot");
        world.trace.note(world.now, Some(machine), &format!("{damage:?}"));
    }
}

/// A machine whose memory cannot be trusted: it counts as one whose disk is damaged.
pub(super) fn lie(world: &mut World) {
    let count = world.machines.len();
    let Some(machine) = world.nemesis.victim(count) else { return };
    world.nemesis.afflict(machine);
    world.machines[machine].lies = true;
    deed(world, Some(machine), "lies from now on");
}

/// A kind of file first: most bytes are the log's, but the few others matter as much.
fn pick_file(random: &mut Random, disk: &SimulatedDisk) -> Option<String> {
    let names = disk.names().ok()?;
    let kind = random.below(4);
    let wanted: Vec<&String> = names
        .iter()
        .filter(|name| match kind {
            0 => *name == SUPERBLOCK_NAME,
            1 => *name == TABLES_NAME,
            _ => *name != SUPERBLOCK_NAME && *name != TABLES_NAME,
        })
        .collect();
    if wanted.is_empty() { None } else { Some((*random.pick(&wanted)).clone()) }
}
