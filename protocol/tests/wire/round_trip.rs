use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::codec::{DecodeError, Decoder, Encoder};
use protocol::entry::{Entry, EntryHeader, Operation, Request};
use protocol::message::{
    Body, FRAME_PREFIX_SIZE, HEADERS_COUNT_MAX, MESSAGE_SIZE_MAX, Message, QueryAnswer, VOTE_SLOTS_MAX, Vote,
};
use protocol::state::REASON_SIZE_MAX;
use protocol::superblock::{SUPERBLOCK_SIZE_MAX, Superblock};
use protocol::types::{ClientId, Op, Peer, RequestNumber, Room, View};

use crate::samples;

fn invalid(field: &'static str) -> Result<Message, DecodeError> {
    Err(DecodeError::Invalid(field))
}

fn decode_again(message: &Message) -> Result<Message, DecodeError> {
    Message::decode(message.encode())
}

#[test]
fn every_message_decodes_to_itself_and_has_one_encoding() {
    for message in samples::messages() {
        let bytes = message.encode();
        let decoded = Message::decode(bytes.clone()).unwrap();
        assert_eq!(decoded, message);
        assert_eq!(decoded.encode(), bytes);
    }
}

#[test]
fn the_samples_contain_every_kind() {
    let kinds: BTreeSet<&str> = samples::messages().iter().map(|message| message.body.kind()).collect();
    assert_eq!(kinds.len(), 28);
    let numbers: BTreeSet<u8> = samples::messages().iter().map(|message| message.encode()[6]).collect();
    assert_eq!(numbers.len(), kinds.len());
}

#[test]
fn the_first_bytes_of_a_frame_tell_its_size() {
    for message in samples::messages() {
        let frame = message.encode();
        let prefix: &[u8; FRAME_PREFIX_SIZE] = frame.first_chunk().unwrap();
        assert_eq!(Message::frame_size(prefix), Ok(frame.len()));
    }
}

#[test]
fn a_frame_above_the_maximum_is_refused_by_its_prefix() {
    let mut prefix: [u8; FRAME_PREFIX_SIZE] =
        *samples::from_client(Body::Locate).encode().first_chunk().unwrap();
    prefix[8..12].copy_from_slice(&u32::try_from(MESSAGE_SIZE_MAX + 1).unwrap().to_le_bytes());
    assert_eq!(Message::frame_size(&prefix), Err(DecodeError::Invalid("frame.size")));
    prefix[8..12].copy_from_slice(&127_u32.to_le_bytes());
    assert_eq!(Message::frame_size(&prefix), Err(DecodeError::Invalid("frame.size")));
}

#[test]
fn two_frames_in_a_row_are_not_one_message() {
    let frame = samples::from_client(Body::Locate).encode();
    let twice = Bytes::from([&frame[..], &frame[..]].concat());
    assert_eq!(Message::decode(twice), Err(DecodeError::TrailingBytes));
}

#[test]
fn an_operation_shares_the_memory_of_its_frame() {
    let frame = samples::from_client(Body::Query { number: 1, query: Bytes::from(vec![7; 4096]) }).encode();
    let Body::Query { query, .. } = Message::decode(frame.clone()).unwrap().body else {
        unreachable!("a query was encoded");
    };
    assert!(frame.as_ptr_range().contains(&query.as_ptr()));
}

#[test]
fn the_entry_and_the_superblock_decode_to_themselves() {
    let mut out = Encoder::new();
    samples::entry().encode(&mut out);
    samples::superblock().encode(&mut out);
    let mut input = Decoder::new(Bytes::from(out.finish()));
    let entry = Entry::decode(&mut input).unwrap();
    assert_eq!(entry, samples::entry());
    assert_eq!(entry.requests().unwrap(), samples::requests());
    assert_eq!(Superblock::decode(&mut input).unwrap(), samples::superblock());
    input.finish().unwrap();
}

#[test]
fn the_largest_superblock_fits() {
    let mut superblock = samples::superblock();
    superblock.suffix = samples::chain(93, VOTE_SLOTS_MAX as u64);
    let vote = superblock.vote.as_mut().unwrap();
    vote.slots = vec![vote.slots[0].clone(); VOTE_SLOTS_MAX];
    let mut out = Encoder::new();
    superblock.encode(&mut out);
    assert!(out.len() <= SUPERBLOCK_SIZE_MAX);
}

#[test]
fn a_client_speaks_for_nobody_but_itself() {
    let refused = invalid("frame.sender");

    let mut borrowed = samples::requests().remove(0);
    borrowed.client = ClientId::new(666);
    assert_eq!(decode_again(&samples::from_client(Body::Request(borrowed))), refused);

    for request in samples::requests() {
        let replica_only = matches!(request.operation, Operation::Expire { .. } | Operation::Rejoin { .. });
        let message = samples::from_client(Body::Request(request));
        assert_eq!(decode_again(&message).is_err(), replica_only);
    }

    let vote = samples::from_client(Body::DoViewChange(samples::vote()));
    assert_eq!(decode_again(&vote), refused);

    let mut boastful = samples::from_client(Body::Locate);
    boastful.checkpoint = Op::new(1);
    assert_eq!(decode_again(&boastful), invalid("frame.standing"));
}

#[test]
fn a_replica_number_beyond_the_largest_cluster_is_refused() {
    let mut message = samples::from_replica(Body::Locate);
    message.from = Peer::Replica(protocol::types::ReplicaId::new(7));
    assert_eq!(decode_again(&message), invalid("frame.sender"));
}

#[test]
fn numbers_without_a_successor_are_refused() {
    let mut message = samples::from_replica(Body::Locate);
    message.view = View::new(u64::MAX);
    assert_eq!(decode_again(&message), invalid("frame.view"));

    let mut message = samples::from_replica(Body::Locate);
    message.floor = Op::new(u64::MAX);
    assert_eq!(decode_again(&message), invalid("frame.floor"));

    let mut request = samples::requests().remove(0);
    request.number = RequestNumber::new(u64::MAX);
    assert_eq!(decode_again(&samples::from_client(Body::Request(request))), invalid("request.number"));
}

#[test]
fn a_vote_is_one_chain_of_at_most_nine_headers() {
    let refused = invalid("vote.slots");
    let with = |change: &dyn Fn(&mut Vote)| {
        let mut vote = samples::vote();
        change(&mut vote);
        decode_again(&samples::from_replica(Body::DoViewChange(vote)))
    };
    assert!(with(&|_| {}).is_ok());
    assert_eq!(with(&|vote| vote.slots.clear()), refused);
    assert_eq!(with(&|vote| vote.slots.reverse()), refused);
    assert_eq!(with(&|vote| vote.slots = [&vote.slots[..2], &vote.slots[3..]].concat()), refused);
    // The right op, but the child of another entry.
    assert_eq!(with(&|vote| vote.slots[1].header.timestamp = vote.slots[0].header.timestamp), refused);
    assert_eq!(with(&|vote| vote.log_view = vote.view.next()), invalid("vote.log_view"));

    let slot = samples::vote().slots.remove(0);
    let long = |vote: &mut Vote| {
        let headers = samples::chain(97, VOTE_SLOTS_MAX as u64 + 1);
        vote.slots =
            headers.into_iter().map(|header| protocol::message::VoteSlot { header, ..slot }).collect();
    };
    assert_eq!(with(&long), refused);
}

#[test]
fn a_new_view_begins_with_everything_committed() {
    let mut message = samples::from_replica(Body::StartView(protocol::message::StartView {
        commit: Op::new(101),
        headers: samples::chain(97, 5),
        nonce: None,
    }));
    assert!(decode_again(&message).is_ok());
    if let Body::StartView(start) = &mut message.body {
        start.commit = Op::new(102);
    }
    assert_eq!(decode_again(&message), invalid("start_view.commit"));
}

#[test]
fn headers_are_one_chain_and_neither_none_nor_too_many() {
    let with = |headers: Vec<EntryHeader>| decode_again(&samples::from_replica(Body::Headers { headers }));
    assert!(with(samples::chain(1, HEADERS_COUNT_MAX as u64)).is_ok());
    assert_eq!(with(samples::chain(1, HEADERS_COUNT_MAX as u64 + 1)), invalid("headers"));
    assert_eq!(with(vec![]), invalid("headers"));
}

#[test]
fn pages_of_a_sync_go_forward_and_come_to_an_end() {
    let key = Bytes::from_static;
    let rows = |after: Option<&'static [u8]>, keys: &[&'static [u8]], last| {
        let rows = keys.iter().map(|k| (key(k), key(b"value"))).collect();
        decode_again(&samples::from_replica(Body::Rows {
            op: Op::new(64),
            start: key(b"b"),
            after: after.map(key),
            rows,
            last,
        }))
    };
    assert!(rows(None, &[b"b", b"c"], false).is_ok());
    assert!(rows(Some(b"b"), &[b"c"], false).is_ok());
    assert!(rows(None, &[], true).is_ok());
    assert_eq!(rows(None, &[], false), invalid("rows"));
    assert_eq!(rows(None, &[b"c", b"b"], true), invalid("rows"));
    assert_eq!(rows(None, &[b"b", b"b"], true), invalid("rows"));
    assert_eq!(rows(None, &[b"a"], true), invalid("rows"));
    assert_eq!(rows(Some(b"c"), &[b"c"], true), invalid("rows"));
    assert_eq!(rows(Some(b"a"), &[b"c"], true), invalid("rows.after"));
}

#[test]
fn a_heartbeat_never_commits_beyond_its_head() {
    let (op, name) = (Op::new(5), protocol::types::Checksum::new(1));
    let beat = |commit, head_name| {
        let head_name = protocol::types::Checksum::new(head_name);
        decode_again(&samples::from_replica(Body::Commit {
            commit,
            name,
            head: op,
            head_name,
            sequence: 1,
            room: Room::Ample,
        }))
    };
    assert!(beat(op.previous(), 2).is_ok());
    assert!(beat(op, 1).is_ok());
    assert_eq!(beat(op.next(), 1), invalid("commit.head"));
    assert_eq!(beat(op, 2), invalid("commit.head"));
}

#[test]
fn a_long_reason_is_cut_between_two_characters() {
    let reason = "ж".repeat(REASON_SIZE_MAX);
    let body = Body::QueryReply { number: 1, applied: Op::ZERO, answer: QueryAnswer::Invalid(reason) };
    let Body::QueryReply { answer: QueryAnswer::Invalid(cut), .. } =
        decode_again(&samples::from_replica(body)).unwrap().body
    else {
        unreachable!("a refusal was encoded");
    };
    assert_eq!(cut, "ж".repeat(REASON_SIZE_MAX / 2));
}

#[test]
fn an_entry_with_another_body_is_not_an_entry() {
    let mut out = Encoder::new();
    samples::entry().encode(&mut out);
    let mut bytes = out.finish();
    *bytes.last_mut().unwrap() ^= 1;
    let decoded = Entry::decode(&mut Decoder::new(Bytes::from(bytes)));
    assert_eq!(decoded, Err(DecodeError::Invalid("entry.body_checksum")));
}

#[test]
fn requests_that_end_early_are_refused() {
    let request: Request = samples::requests().remove(5);
    let mut out = Encoder::new();
    request.encode(&mut out);
    let bytes = Bytes::from(out.finish());
    assert!(bytes.len() <= request.encoded_size_max());
    for size in 0..bytes.len() {
        let decoded = Request::decode(&mut Decoder::new(bytes.slice(..size)));
        assert!(matches!(decoded, Err(DecodeError::Truncated(_))), "at {size}: {decoded:?}");
    }
}
