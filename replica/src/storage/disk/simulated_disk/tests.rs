use super::*;

fn disk_with_file(seed: u64) -> (SimulatedDisk, SimulatedFile) {
    let disk = SimulatedDisk::new(seed);
    let file = disk.create("a").unwrap();
    file.allocate(16 << 10).unwrap();
    file.sync().unwrap();
    disk.sync_names().unwrap();
    (disk, file)
}

fn content(disk: &SimulatedDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).unwrap().unwrap();
    let mut out = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut out).unwrap();
    out
}

#[test]
fn synced_bytes_survive_every_crash_and_unsynced_sectors_each_their_own_way() {
    let (mut kept, mut lost, mut torn) = (0, 0, 0);
    for seed in 0..50 {
        let (mut disk, file) = disk_with_file(seed);
        file.write_at(0, &[1; 8192]).unwrap();
        file.sync().unwrap();
        file.write_at(4096, &[2; 8192]).unwrap();
        disk.crash();

        let bytes = content(&disk, "a");
        assert!(bytes[..4096].iter().all(|byte| *byte == 1));
        for (index, sector) in bytes[4096..12288].chunks(512).enumerate() {
            let old = if index < 8 { 1 } else { 0 };
            match sector.iter().filter(|byte| **byte == 2).count() {
                512 => kept += 1,
                0 => lost += 1,
                _ => torn += 1,
            }
            assert!(sector.iter().all(|byte| *byte == 2 || *byte == old));
        }
        assert!(bytes[12288..].iter().all(|byte| *byte == 0));
    }
    assert!(kept > 50 && lost > 50 && torn > 5);
}

#[test]
fn a_file_whose_name_was_not_synced_may_vanish_and_a_removed_one_may_return() {
    let (mut vanished, mut returned) = (0, 0);
    for seed in 0..50 {
        let (mut disk, _) = disk_with_file(seed);
        disk.create("b").unwrap().sync().unwrap();
        disk.remove("a").unwrap();
        disk.crash();

        vanished += u32::from(disk.open("b").unwrap().is_none());
        returned += u32::from(disk.open("a").unwrap().is_some());
    }
    assert!((10..50).contains(&vanished));
    assert!((10..50).contains(&returned));
}

#[test]
fn a_length_that_was_not_synced_may_fall_back_in_both_directions() {
    let mut lengths = [0; 3];
    for seed in 0..60 {
        let (mut disk, file) = disk_with_file(seed);
        file.write_at(0, &[7; 16384]).unwrap();
        file.sync().unwrap();
        file.set_len(if seed % 2 == 0 { 100 } else { 20000 }).unwrap();
        disk.crash();

        let bytes = content(&disk, "a");
        match bytes.len() {
            100 => lengths[0] += 1,
            16384 => lengths[1] += 1,
            20000 => lengths[2] += 1,
            other => panic!("length {other}"),
        }
        if bytes.len() == 16384 {
            assert!(bytes[4096..].iter().all(|byte| *byte == 7));
        }
    }
    assert!(lengths.iter().all(|count| *count > 5), "{lengths:?}");
}

#[test]
fn the_counted_call_fails_and_so_do_all_that_follow_until_the_crash() {
    let (mut disk, file) = disk_with_file(1);
    disk.fail_after(2);
    file.write_at(0, &[1]).unwrap();
    assert!(file.sync().is_err());
    assert!(file.len().is_err());
    assert!(disk.is_dead());

    disk.crash();
    assert!(file.len().is_err(), "the old process is gone");
    assert!(disk.open("a").unwrap().is_some());
}

#[test]
fn after_a_failed_sync_reads_see_the_bytes_and_a_crash_takes_them() {
    let (mut disk, file) = disk_with_file(1);
    file.write_at(0, &[1; 1024]).unwrap();
    disk.fail_next_sync();
    assert!(file.sync().is_err());
    file.write_at(512, &[2; 1024]).unwrap();
    file.sync().unwrap();
    assert_eq!(content(&disk, "a")[0], 1);

    disk.crash();
    let bytes = content(&disk, "a");
    assert_eq!((bytes[0], bytes[512], bytes[1024]), (0, 2, 2));
}

#[test]
fn a_lost_write_is_visible_until_the_crash_although_it_was_synced() {
    let (mut disk, file) = disk_with_file(1);
    disk.lose_next_write();
    file.write_at(512, &[1; 512]).unwrap();
    file.write_at(0, &[1; 512]).unwrap();
    file.sync().unwrap();
    let damages = disk.take_damages();
    assert_eq!(damages.len(), 1);
    assert_eq!((damages[0].kind, damages[0].offset, damages[0].size), (DamageKind::Phantom, 512, 512));

    disk.crash();
    let bytes = content(&disk, "a");
    assert_eq!((bytes[0], bytes[512]), (1, 0));
}

#[test]
fn a_misdirected_write_says_where_it_landed() {
    for seed in 0..20 {
        let (disk, file) = disk_with_file(seed);
        disk.misdirect_next_write();
        file.write_at(1024, &[1; 512]).unwrap();
        let damages = disk.take_damages();
        let landed = damages.iter().find(|damage| damage.kind == DamageKind::Misdirected).unwrap();
        assert_ne!(landed.offset, 1024);
        assert_eq!(content(&disk, "a")[usize::try_from(landed.offset).unwrap()], 1);
    }
}

#[test]
fn rot_and_unreadable_sectors_last_until_they_are_written_again() {
    let (disk, file) = disk_with_file(1);
    file.write_at(0, &[0; 4096]).unwrap();
    file.sync().unwrap();
    let rotten = disk.rot("a").unwrap();
    assert_ne!(content(&disk, "a")[usize::try_from(rotten.offset).unwrap()], 0);

    let damage = disk.make_unreadable_at("a", 700).unwrap();
    assert_eq!((damage.offset, damage.size), (512, 512));
    assert!(super::super::is_unreadable(&file.read_at(600, &mut [0; 10]).unwrap_err()));
    file.read_at(0, &mut [0; 512]).unwrap();
    file.write_at(512, &[0; 512]).unwrap();
    file.read_at(600, &mut [0; 10]).unwrap();
}

#[test]
fn space_is_taken_by_allocation_and_by_writes_into_holes_and_given_back() {
    let (disk, file) = disk_with_file(1);
    disk.set_capacity(20 << 10);
    assert_eq!(disk.used_bytes(), 16 << 10);
    file.write_at(0, &[1; 16 << 10]).unwrap();
    assert_eq!(disk.used_bytes(), 16 << 10);

    let other = disk.create("b").unwrap();
    assert_eq!(other.write_at(0, &[0; 5000]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    other.write_at(0, &[0; 4096]).unwrap();
    disk.remove("a").unwrap();
    disk.sync_names().unwrap();
    other.write_at(0, &[0; 5000]).unwrap();
    assert_eq!(disk.used_bytes(), 8 << 10);
}

#[test]
fn equal_seeds_and_calls_end_in_equal_bytes() {
    let run = || {
        let (mut disk, file) = disk_with_file(9);
        for index in 0..40 {
            file.write_at(index * 300, &[u8::try_from(index).unwrap(); 700]).unwrap();
            if index % 7 == 0 {
                file.sync().unwrap();
            }
        }
        disk.crash();
        content(&disk, "a")
    };
    assert_eq!(run(), run());
}

#[test]
fn a_hole_gives_its_space_back_and_an_unsynced_one_may_come_back_whole() {
    let (mut closed, mut open) = (0, 0);
    for seed in 0..40 {
        let mut disk = SimulatedDisk::new(seed);
        let file = disk.create("a").unwrap();
        file.write_at(0, &[7; 12 << 10]).unwrap();
        file.sync().unwrap();
        disk.sync_names().unwrap();
        disk.set_capacity(20 << 10);
        assert_eq!(disk.available().unwrap(), 8 << 10);
        file.punch_hole(4096, 4096).unwrap();
        assert_eq!(disk.available().unwrap(), 12 << 10);
        assert_eq!(content(&disk, "a")[4096..8192], [0; 4096]);

        disk.crash();
        let bytes = content(&disk, "a");
        assert!(bytes[..4096].iter().chain(&bytes[8192..]).all(|byte| *byte == 7));
        match bytes[4096..8192].iter().filter(|byte| **byte == 7).count() {
            0 => open += 1,
            _ => closed += 1,
        }
    }
    assert!(open > 5 && closed > 5, "{open} {closed}");
}

#[test]
fn a_direct_read_sees_what_the_medium_has_and_the_cache_does_not_show() {
    let (disk, file) = disk_with_file(1);
    file.write_at(0, &[1; 8192]).unwrap();
    assert_eq!(file.read_direct_at(4096, 600).unwrap(), [1; 600][..]);
    file.sync().unwrap();
    disk.lose_next_write();
    file.write_at(512, &[2; 512]).unwrap();
    file.sync().unwrap();

    assert_eq!(content(&disk, "a")[512], 2);
    let medium = file.read_direct_at(0, 2048).unwrap();
    assert!(medium.iter().all(|byte| *byte == 1));
    disk.make_unreadable_at("a", 0).unwrap();
    assert!(super::super::is_unreadable(&file.read_direct_at(0, 10).unwrap_err()));
}
