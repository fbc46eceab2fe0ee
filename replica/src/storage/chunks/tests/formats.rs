use super::*;
use crate::storage::disk::SECTOR_SIZE;
use format::{HeaderCopy, PAGE_SIZE};

const ADDRESS: Address = Address { cluster: CLUSTER, replica: REPLICA, segment: 7, salt: 0x5a17 };
const HEADER: SegmentHeader =
    SegmentHeader { salt: 0x5a17, slot_count: 4096, previous: 6, previous_slots: 61 };

fn slot() -> Slot {
    Slot {
        state: SlotState::Live,
        durable: 2,
        page: 515,
        pages: 18,
        chunk: id(6),
        root: Outline::of(&content(6, BLOCK + 9)).root(),
        length: u32::try_from(BLOCK).unwrap() + 9,
    }
}

fn head() -> Vec<u8> {
    let outline = Outline::of(&content(6, BLOCK + 9));
    format::encode_head(ADDRESS, 515, 3, id(6), &outline.root(), &outline)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn other_addresses() -> [Address; 4] {
    [
        Address { cluster: ClusterId::new(1), ..ADDRESS },
        Address { replica: ReplicaId::new(1), ..ADDRESS },
        Address { segment: 6, ..ADDRESS },
        Address { salt: 1, ..ADDRESS },
    ]
}

#[test]
fn headers_slots_and_heads_are_valid_only_at_their_own_place() {
    let header = format::encode_header(ADDRESS, 1, &HEADER);
    let sector = format::encode_slot(ADDRESS, 3, &slot());
    assert_eq!(format::decode_header(ADDRESS, 1, &header), HeaderCopy::Valid(HEADER));
    assert_eq!(format::decode_header(ADDRESS, 0, &header), HeaderCopy::Damaged);
    assert_eq!(format::decode_header(ADDRESS, 0, &[0; SECTOR_SIZE]), HeaderCopy::Blank);
    assert_eq!(format::decode_slot(ADDRESS, 3, &sector), Some(slot()));
    assert_eq!(format::decode_slot(ADDRESS, 2, &sector), None);
    let found = format::decode_head(ADDRESS, 515, &head()).unwrap();
    assert_eq!((found.slot, found.chunk, found.root), (3, id(6), slot().root));
    assert_eq!(found.outline, Outline::of(&content(6, BLOCK + 9)));
    assert!(format::decode_head(ADDRESS, 516, &head()).is_none());
    for other in other_addresses() {
        assert_eq!(format::decode_slot(other, 3, &sector), None);
        assert!(format::decode_head(other, 515, &head()).is_none());
        let without_salt = Address { salt: 0, ..other } == Address { salt: 0, ..ADDRESS };
        let expected = if without_salt { HeaderCopy::Valid(HEADER) } else { HeaderCopy::Damaged };
        assert_eq!(format::decode_header(other, 1, &header), expected, "the header says the salt");
    }
}

#[test]
fn every_bit_of_a_header_a_slot_and_a_head_counts() {
    let header = format::encode_header(ADDRESS, 0, &HEADER);
    let sector = format::encode_slot(ADDRESS, 3, &slot());
    for index in 0..SECTOR_SIZE {
        let flipped = |bytes: &[u8]| {
            let mut bad = bytes.to_vec();
            bad[index] ^= 0x10;
            bad
        };
        assert_eq!(format::decode_header(ADDRESS, 0, &flipped(&header)), HeaderCopy::Damaged, "byte {index}");
        assert_eq!(format::decode_slot(ADDRESS, 3, &flipped(&sector)), None, "byte {index}");
    }
    // The outline's two hashes end at 144; the padding behind them is nobody's.
    for index in 0..144 {
        let mut bad = head();
        bad[index] ^= 1;
        assert!(format::decode_head(ADDRESS, 515, &bad).is_none(), "byte {index}");
    }
}

#[test]
fn input_that_is_cut_off_or_arbitrary_is_refused_without_a_panic() {
    let sector = format::encode_slot(ADDRESS, 3, &slot());
    let header = format::encode_header(ADDRESS, 0, &HEADER);
    for size in 0..144 {
        assert!(format::decode_head(ADDRESS, 515, &head()[..size]).is_none());
        assert!(format::decode_slot(ADDRESS, 3, &sector[..size]).is_none());
        assert_ne!(format::decode_header(ADDRESS, 0, &header[..size]), HeaderCopy::Valid(HEADER));
        assert_eq!(format::head_pages_claimed(&head()[..size]).is_some(), size >= 80);
    }
    let mut long = vec![0xff; PAGE_SIZE];
    assert!(format::decode_head(ADDRESS, 515, &long).is_none());
    long[16..20].copy_from_slice(b"VCR1");
    assert_eq!(format::head_pages_claimed(&long), None, "no chunk is so long");
}

#[test]
fn the_size_of_a_record_follows_from_the_length_of_the_chunk_and_back() {
    let lengths = [1, 4096, 4097, 4 << 20, 125 << 16, (125 << 16) + 1, (126 << 16) - 1, 8 << 20];
    for length in lengths {
        let pages = format::record_pages(length);
        assert_eq!(pages, format::head_pages(length) + length.div_ceil(4096));
        assert_eq!(format::head_pages_within(pages), format::head_pages(length), "{length}");
        assert!(format::length_within(pages) >= length);
        assert_eq!(format::record_pages(format::length_within(pages)), pages, "{length}");
    }
    assert_eq!(format::record_pages(8 << 20), format::RECORD_PAGES_MAX);
}

#[test]
fn a_segment_of_a_later_format_is_not_opened_and_not_judged() {
    let (mut disk, mut store) = new_store(1);
    store_all(&mut store, [1], 10);
    let file = disk.open(FIRST).unwrap().unwrap();
    let mut header = vec![0; SECTOR_SIZE];
    file.read_at(0, &mut header).unwrap();
    header[20] = 9;
    let covered = Address { segment: 0, salt: 0, ..ADDRESS }.checksum_for_test(0, &header[16..]);
    header[..16].copy_from_slice(&covered);
    file.write_at(0, &header).unwrap();
    file.sync().unwrap();

    disk.crash();
    let error = open(&disk).err().unwrap();
    assert_eq!(error.to_string(), "segment 0 has format version 9");
}

#[test]
fn the_formats_are_fixed() {
    let header = format::encode_header(ADDRESS, 1, &HEADER);
    assert_eq!(hex(&header[..76]), GOLDEN_HEADER);
    assert!(header[76..].iter().all(|byte| *byte == 0));
    let sector = format::encode_slot(ADDRESS, 3, &slot());
    assert_eq!(hex(&sector[..92]), GOLDEN_SLOT);
    assert!(sector[92..].iter().all(|byte| *byte == 0));
    let head = head();
    assert_eq!(head.len(), PAGE_SIZE);
    assert_eq!(hex(&head[..144]), GOLDEN_HEAD);
    assert!(head[144..].iter().all(|byte| *byte == 0));
    assert_eq!(format::slot_offset(3), 8192 + 3 * SECTOR);
    assert_eq!(format::first_page(format::slot_count_for(ChunkOptions::SEGMENT_SIZE)), 2 + 512);
}

const GOLDEN_HEADER: &str = "9212e831359dd46e45f577aa0186db1c5643473101000000c10000000000000000000000000000000200000007000000175a000000000000000000000000000000100000060000003d000000";
const GOLDEN_SLOT: &str = "12b55258ac97dfeb3acbbfd2d9b9da655643533101000000020000000302000012000000000000000000000001000000000000000200000073a26589c501afbab60b829974a01677f77421a8e5f627552d8206ed5d0908e809000100";
const GOLDEN_HEAD: &str = "a6285b633dcf15572c8cfd304cf8ed325643523103000000000000000000000001000000000000000200000073a26589c501afbab60b829974a01677f77421a8e5f627552d8206ed5d0908e8090001006783a8e9a0baa1e97e529ef6e03adcbd63d8a2e5ea75130e806a9b9b60cf783513263b2c9e8a720e82a00e0f55870a7aeb8c0d81498793f6645c89ab97f42314";
