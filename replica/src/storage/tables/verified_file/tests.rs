use super::*;
use crate::storage::disk::{Disk, SimulatedDisk};

fn open(disk: &SimulatedDisk) -> io::Result<VerifiedFile<<SimulatedDisk as Disk>::File>> {
    let file = match disk.open("tables")? {
        Some(file) => file,
        None => disk.create("tables")?,
    };
    disk.sync_names()?;
    VerifiedFile::open(file)
}

fn read(file: &impl StorageBackend, offset: u64, size: usize) -> Vec<u8> {
    let mut out = vec![0xff; size];
    file.read(offset, &mut out).unwrap();
    out
}

fn fill(file: &impl StorageBackend, block: u64, with: u8) {
    file.write(block * BLOCK, &[with; BLOCK_SIZE]).unwrap();
}

#[test]
fn any_range_that_was_written_is_read_back() {
    let disk = SimulatedDisk::new(1);
    let file = open(&disk).unwrap();
    file.set_len(10 * BLOCK).unwrap();
    let mut model = vec![0; 10 * BLOCK_SIZE];
    file.write(0, &model).unwrap();
    for (step, (offset, size)) in
        [(0, 320), (4090, 10), (5000, 9000), (4096, 8192), (0, 40960), (40959, 1), (100, 0)]
            .iter()
            .enumerate()
    {
        let data = vec![u8::try_from(step + 1).unwrap(); *size];
        file.write(*offset, &data).unwrap();
        let start = index(*offset);
        model[start..start + size].copy_from_slice(&data);
        assert_eq!(read(&file, 0, 40960), model);
        assert_eq!(read(&file, 4000, 5000), model[4000..9000]);
    }
    file.sync_data().unwrap();
    assert_eq!(read(&open(&disk).unwrap(), 0, 40960), model);
    assert!(file.read(40959, &mut [0; 2]).is_err());
    assert!(file.write(40960, &[0]).is_err());
}

#[test]
fn a_range_across_groups_is_read_back_around_the_map_between_them() {
    let disk = SimulatedDisk::new(1);
    let file = open(&disk).unwrap();
    let block_count = 2 * GROUP_BLOCKS + 10;
    file.set_len(block_count * BLOCK).unwrap();
    let data: Vec<u8> = (1..block_count).flat_map(|block| [block.to_le_bytes()[0]; BLOCK_SIZE]).collect();
    file.write(BLOCK, &data).unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.open("tables").unwrap().unwrap().len().unwrap(), (2 + 2 * 514 + 2 + 9) * STRIDE);

    let file = open(&disk).unwrap();
    assert_eq!(read(&file, BLOCK, data.len()), data);
    let across = index(GROUP_BLOCKS) * BLOCK_SIZE - 5;
    assert_eq!(read(&file, BLOCK + across as u64, 10), data[across..across + 10]);
}

#[test]
fn a_block_that_should_have_been_written_and_is_blank_is_not_zeros() {
    let disk = SimulatedDisk::new(1);
    let file = open(&disk).unwrap();
    file.set_len(3 * BLOCK).unwrap();
    assert!(file.read(BLOCK, &mut [0; 10]).is_err());
    assert_eq!(read(&file, 0, 10), [0; 10]);
}

/// redb read such a block as a page of its allocator state, and panicked.
#[test]
fn a_block_whose_last_write_never_happened_is_refused_although_it_is_whole() {
    let mut disk = SimulatedDisk::new(1);
    let file = open(&disk).unwrap();
    file.set_len(3 * BLOCK).unwrap();
    fill(&file, 1, 1);
    fill(&file, 2, 1);
    file.sync_data().unwrap();
    disk.lose_next_write();
    fill(&file, 1, 2);
    file.sync_data().unwrap();
    disk.crash();

    let file = open(&disk).unwrap();
    assert_eq!(file.read(BLOCK, &mut [0; 8]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(read(&file, 2 * BLOCK, 1), [1]);
}

#[test]
fn a_page_of_the_map_whose_last_write_never_happened_takes_the_file_to_the_sync_before() {
    let mut disk = SimulatedDisk::new(1);
    let file = open(&disk).unwrap();
    file.set_len(3 * BLOCK).unwrap();
    for round in 1..=3 {
        file.write(0, &[round; 8]).unwrap();
        fill(&file, 1 + u64::from(round % 2), round);
        if round == 3 {
            disk.lose_next_write();
        }
        file.sync_data().unwrap();
    }
    disk.crash();

    let file = open(&disk).unwrap();
    assert_eq!((read(&file, 0, 1), read(&file, BLOCK, 1)), (vec![2], vec![2]));
    // It was written for the sync that is not known any more.
    assert!(file.read(2 * BLOCK, &mut [0; 8]).is_err());
}

/// Like redb: a new tree beside the old one, a sync, then the root that names it, and another. A crash
/// at any call must leave one of the two trees, whole, and a file that goes on.
#[test]
fn a_crash_at_any_call_leaves_the_old_tree_or_the_new_one_whole() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..200 {
        let mut disk = SimulatedDisk::new(seed);
        let mut round = 0;
        for life in 0..4 {
            disk.fail_after(1 + seed * 7 % 31 + life * 3);
            if let Ok(file) = open(&disk) {
                while write_tree(&file, round + 1).is_ok() {
                    round += 1;
                }
            }
            disk.crash();
            let file = open(&disk).unwrap();
            let found = if file.len().unwrap() == 0 { 0 } else { read(&file, 0, 1)[0] };
            assert!(found == round || found == round + 1, "seed {seed}: {found} after {round}");
            let side = if found == round { &mut old } else { &mut new };
            *side += 1;
            check_tree(&file, found);
            round = found;
        }
    }
    assert!(old > 50 && new > 50, "{old} {new}");
}

/// The blocks of odd rounds never hold those of even ones. The last is in the second group.
fn tree_of(round: u8) -> (u64, [u64; 3]) {
    let (odd, size) = (u64::from(round % 2), u64::from(round % 5));
    (GROUP_BLOCKS * (1 + size % 3) + 7 + size, [1 + odd, 5 + odd, GROUP_BLOCKS + 2 + odd])
}

fn write_tree(file: &impl StorageBackend, round: u8) -> io::Result<()> {
    let (block_count, blocks) = tree_of(round);
    if file.len()? < block_count * BLOCK {
        file.set_len(block_count * BLOCK)?;
    }
    for block in blocks {
        file.write(block * BLOCK, &[round; BLOCK_SIZE])?;
    }
    file.sync_data()?;
    file.write(0, &[round; 8])?;
    file.sync_data()?;
    file.set_len(block_count * BLOCK)
}

fn check_tree(file: &impl StorageBackend, round: u8) {
    for block in tree_of(round).1.into_iter().filter(|_| round > 0) {
        assert_eq!(read(file, block * BLOCK, BLOCK_SIZE), [round; BLOCK_SIZE]);
    }
}

#[test]
fn blocks_that_were_cut_off_and_come_back_were_never_written() {
    let disk = SimulatedDisk::new(1);
    let file = open(&disk).unwrap();
    file.set_len(1000 * BLOCK).unwrap();
    for block in [1, 5, 999] {
        fill(&file, block, 1);
    }
    file.sync_data().unwrap();
    file.set_len(4 * BLOCK).unwrap();
    file.set_len(1000 * BLOCK).unwrap();
    file.sync_data().unwrap();

    for file in [file, open(&disk).unwrap()] {
        assert_eq!(read(&file, BLOCK, 1), [1]);
        assert!(file.read(5 * BLOCK, &mut [0]).is_err());
        assert!(file.read(999 * BLOCK, &mut [0]).is_err());
    }
}

#[test]
fn a_file_that_was_cut_gives_its_space_back_once_no_copy_of_block_0_needs_it() {
    let disk = SimulatedDisk::new(1);
    let size = || disk.open("tables").unwrap().unwrap().len().unwrap() / STRIDE;
    let file = open(&disk).unwrap();
    file.set_len(100 * BLOCK).unwrap();
    file.sync_data().unwrap();
    file.set_len(10 * BLOCK).unwrap();
    file.sync_data().unwrap();
    assert_eq!(size(), 2 + 2 + 99);
    file.write(0, &[1]).unwrap();
    file.sync_data().unwrap();
    assert_eq!(size(), 2 + 2 + 9);
}

#[test]
fn when_the_newest_block_0_rots_blocks_written_since_the_older_one_are_refused() {
    let mut disk = SimulatedDisk::new(1);
    let file = open(&disk).unwrap();
    file.set_len(3 * BLOCK).unwrap();
    file.write(0, &[1; 320]).unwrap();
    fill(&file, 1, 1);
    file.sync_data().unwrap();
    file.write(0, &[2; 320]).unwrap();
    // As if the page had been freed by the first root.
    fill(&file, 1, 3);
    file.sync_data().unwrap();
    disk.crash();

    let file = open(&disk).unwrap();
    assert_eq!((read(&file, 0, 1)[0], read(&file, BLOCK, 1)[0]), (2, 3));
    disk.rot_at("tables", 5).unwrap();
    let file = open(&disk).unwrap();
    assert_eq!(read(&file, 0, 1), [1]);
    assert!(file.read(BLOCK, &mut [0; 8]).is_err());

    disk.rot_at("tables", STRIDE + 5).unwrap();
    assert_eq!(open(&disk).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn after_a_failed_sync_nothing_durable_is_overwritten_by_another() {
    let mut disk = SimulatedDisk::new(1);
    let file = open(&disk).unwrap();
    file.set_len(3 * BLOCK).unwrap();
    file.write(0, &[1; 8]).unwrap();
    file.sync_data().unwrap();
    file.write(0, &[2; 8]).unwrap();
    disk.fail_next_sync();
    assert!(file.sync_data().is_err());
    file.write(0, &[3; 8]).unwrap();
    assert!(file.sync_data().is_err());
    disk.crash();
    assert_eq!(read(&open(&disk).unwrap(), 0, 1), [1]);
}
