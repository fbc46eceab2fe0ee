use super::*;
use crate::catalog::BodyId;
use crate::data::outline::BLOCK_SIZE;
use crate::data::receipt::Proof;
use crate::types::{Incarnation, ReplicaId, SessionId};

fn samples() -> Vec<DataMessage> {
    let chunk = BodyId { session: SessionId::new(0x1234), upload: 7 }.chunk(3);
    let root = ChunkRoot([0xab; 32]);
    let bytes = Bytes::from(vec![5; BLOCK_SIZE as usize + 1]);
    let outline = Outline::of(&bytes);
    let receipt = Receipt {
        chunk: 3,
        node: ReplicaId::new(2),
        incarnation: Incarnation::new(9),
        proof: Proof([0xcd; 16]),
    };
    let bodies = [
        DataBody::PutChunk { chunk, layout: 1, root, bytes: bytes.clone() },
        DataBody::Confirm { chunk, layout: 1, root, length: 77 },
        DataBody::GetBlocks { chunk, root, first: 4, count: 16 },
        DataBody::Stored { receipt },
        DataBody::Refused { why: DataRefusal::Full },
        DataBody::Blocks { outline, first: 0, bytes },
        DataBody::NotHere,
        DataBody::Introduce { replicas: 3 },
        DataBody::GetStatus,
        DataBody::Introduced { past: Past::Formatted, replicas: 3 },
        DataBody::Status { json: Bytes::from_static(b"{}") },
    ];
    let message = |body| DataMessage { cluster: ClusterId::new(0x55), call: 99, body };
    bodies.into_iter().map(message).collect()
}

#[test]
fn what_is_encoded_is_decoded() {
    for message in samples() {
        let (head, bytes) = message.encode();
        let sizes = Sizes::of_prefix(head.first_chunk().unwrap()).unwrap();
        assert_eq!(sizes, Sizes { head: head.len() - PREFIX_SIZE, bytes: bytes.len() });
        assert_eq!(DataMessage::decode(&Bytes::from(head), bytes), Ok(message));
    }
}

#[test]
fn a_head_with_any_bit_changed_is_refused() {
    for message in samples() {
        let (head, bytes) = message.encode();
        for bit in 0..head.len() * 8 {
            let mut changed = head.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(DataMessage::decode(&Bytes::from(changed), bytes.clone()).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn whatever_is_cut_short_is_refused() {
    for message in samples() {
        let (head, bytes) = message.encode();
        for size in 0..head.len() {
            assert!(DataMessage::decode(&Bytes::copy_from_slice(&head[..size]), bytes.clone()).is_err());
        }
        if !bytes.is_empty() {
            let cut = bytes.slice(1..);
            assert!(DataMessage::decode(&Bytes::from(head), cut).is_err());
        }
    }
}

#[test]
fn the_largest_outline_fits_into_a_head() {
    let outline = Outline::of(&vec![0; CHUNK_BYTES_MAX as usize]);
    let body = DataBody::Blocks { outline, first: 0, bytes: Bytes::new() };
    let (head, _) = DataMessage { cluster: ClusterId::ZERO, call: 0, body }.encode();
    assert!(head.len() - PREFIX_SIZE <= HEAD_SIZE_MAX);
}

/// Replicas of different releases must understand each other's questions.
#[test]
fn a_question_keeps_its_bytes() {
    let hex = |body: DataBody| {
        let (head, bytes) = DataMessage { cluster: ClusterId::new(0x55), call: 99, body }.encode();
        let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // Without the sum, which other tests look after.
        (digits(&head[..SUM_OFFSET]), digits(&head[SUM_OFFSET + 16..]), digits(&bytes))
    };
    let prefix = |kind: &str| {
        format!("56534450{:02x}{kind}0000{:032x}{:016x}", 1, 0x55_u128.swap_bytes(), 99_u64.swap_bytes())
    };
    let expected = |kind: &str, rest: &str, bytes: &str| (prefix(kind), rest.to_owned(), bytes.to_owned());
    assert_eq!(hex(DataBody::Introduce { replicas: 3 }), expected("04", "010000000000000003", ""));
    assert_eq!(hex(DataBody::GetStatus), expected("05", "0000000000000000", ""));
    let introduced = DataBody::Introduced { past: Past::Started, replicas: 5 };
    assert_eq!(hex(introduced), expected("14", "02000000000000000305", ""));
    let status = DataBody::Status { json: Bytes::from_static(b"{}") };
    assert_eq!(hex(status), expected("15", "0000000002000000", "7b7d"));
}
