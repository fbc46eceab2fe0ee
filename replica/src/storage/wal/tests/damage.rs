//! Damage to what was reported: an entry is present, lost, or the end is uncertain; it never silently
//! disappears. Each entry has three witnesses, and it takes the loss of all three to deny it.

use super::*;
use crate::storage::disk::Damage;

const LAST: u64 = 10;

/// Groups under load and groups alone, the last of them in two segments.
fn build(disk: &SimulatedDisk) {
    let (mut wal, _) = open_with(disk, true);
    wal.append(&entry(1, 1, 20_000)).unwrap();
    settle(&mut wal);
    append(&mut wal, 2..=5);
    wal.commit_group().unwrap();
    for group in [6..=6, 7..=7, 8..=LAST] {
        append(&mut wal, group);
        settle(&mut wal);
    }
}

fn disk_after(harm: &[Harm]) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    build(&disk);
    for harm in harm {
        harm.strike(&disk);
    }
    disk
}

/// One thing that goes wrong on a disk.
#[derive(Clone, Debug)]
enum Harm {
    /// A write that never happened.
    Lost(Damage),
    /// A flipped bit in this sector of a file.
    Rot(String, u64),
}

impl Harm {
    /// All that can befall what `build` writes, one by one.
    fn all() -> Vec<Harm> {
        let mut all = Vec::new();
        for write in 1.. {
            let disk = SimulatedDisk::new(1);
            disk.lose_write(write);
            build(&disk);
            let Some(lost) = disk.take_damages().pop() else { return all };
            // A long record tells no more than its first sectors.
            let sectors = (0..(lost.size / SECTOR).min(10)).map(|index| lost.offset + index * SECTOR);
            all.extend(sectors.map(|sector| Harm::Rot(lost.file.clone(), sector)));
            all.push(Harm::Lost(lost));
        }
        all
    }

    fn strike(&self, disk: &SimulatedDisk) {
        match self {
            Harm::Lost(damage) => {
                let file = disk.open(&damage.file).unwrap().unwrap();
                file.write_at(damage.offset, &vec![0; usize::try_from(damage.size).unwrap()]).unwrap();
                file.sync().unwrap();
            }
            Harm::Rot(file, sector) => drop(disk.rot_at(file, sector + 18).unwrap()),
        }
    }
}

fn known(scan: &WalScan) -> usize {
    (1..=LAST).filter(|op| scan.records.iter().any(|record| record.header.op == Op::new(*op))).count()
}

#[test]
fn one_damage_never_makes_the_end_uncertain_or_an_entry_disappear() {
    for harm in Harm::all() {
        let mut disk = disk_after(std::slice::from_ref(&harm));
        for _ in 0..2 {
            let (_, scan) = reopen(&mut disk);
            assert_eq!((known(&scan), scan.certain), (10, true), "{harm:?}: {}", found(&scan));
        }
    }
}

#[test]
fn two_damages_never_make_an_entry_disappear() {
    let all = Harm::all();
    assert!(all.len() > 40);
    let mut uncertain = 0;
    for (index, first) in all.iter().enumerate() {
        for second in &all[index + 1..] {
            let mut disk = disk_after(&[first.clone(), second.clone()]);
            let (_, scan) = reopen(&mut disk);
            assert!(known(&scan) == 10 || !scan.certain, "{first:?} {second:?}: {}", found(&scan));
            uncertain += u32::from(!scan.certain);
        }
    }
    assert!(uncertain > 0);
}

/// Writes that land elsewhere or nowhere: stubs, marks or records, in new segments and in used ones.
#[test]
fn a_write_that_goes_astray_makes_no_reported_entry_disappear() {
    for seed in 0..300 {
        let (mut disk, mut wal) = new_wal(seed);
        let mut first = 1;
        if seed % 3 == 0 {
            append(&mut wal, 1..=60);
            settle(&mut wal);
            wal.reclaim(Op::new(60));
            first = 61;
        }
        append(&mut wal, first..=first + 3);
        wal.commit_group().unwrap();
        let mut last = first + 3;
        if seed % 4 < 2 {
            append(&mut wal, last + 1..=last + 3);
            last += 3;
        }
        match seed % 2 {
            0 => disk.lose_write(1 + seed / 12 % 2),
            _ => disk.misdirect_next_write(),
        }
        settle(&mut wal);
        append(&mut wal, last + 1..=last + 2);
        last += 2;
        settle(&mut wal);
        let damages = disk.take_damages();
        assert!(!damages.is_empty());
        let (_, scan) = reopen(&mut disk);
        let is_known = |op: u64| scan.records.iter().any(|record| record.header.op == Op::new(op));
        assert!(!scan.certain || (first..=last).all(is_known), "seed {seed}: {damages:?}: {}", found(&scan));
    }
}
