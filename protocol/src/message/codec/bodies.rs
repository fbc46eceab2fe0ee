//! What each kind of message carries after its header.

use bytes::Bytes;

use super::vote::{decode_headers, encode_headers};
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::entry::{ENTRY_HEADER_SIZE, Entry, EntryHeader, Request};
use crate::message::{Body, QueryAnswer, StartView, VOTE_SLOTS_MAX, Vote};
use crate::state::{Outcome, Reply, decode_reason, encode_reason};
use crate::superblock::decode_row_sum;
use crate::tables::{Checkpoint, RangeSummary, Row};
use crate::types::{Checksum, Nonce, Op, REPLICAS_MAX, Room, Timestamp};

/// The numbers of the kinds. A number that is no longer used is never used again.
mod kind {
    pub(super) const REQUEST: u8 = 1;
    pub(super) const REPLY: u8 = 2;
    pub(super) const QUERY: u8 = 3;
    pub(super) const QUERY_REPLY: u8 = 4;
    pub(super) const LOCATE: u8 = 5;
    pub(super) const LOCATED: u8 = 6;

    pub(super) const PREPARE: u8 = 16;
    pub(super) const PREPARE_OK: u8 = 17;
    pub(super) const COMMIT: u8 = 18;
    pub(super) const COMMIT_OK: u8 = 19;

    pub(super) const START_VIEW_CHANGE: u8 = 32;
    pub(super) const DO_VIEW_CHANGE: u8 = 33;
    pub(super) const START_VIEW: u8 = 34;
    pub(super) const GET_VIEW: u8 = 35;

    pub(super) const GET_HEADERS: u8 = 48;
    pub(super) const HEADERS: u8 = 49;
    pub(super) const GET_ENTRY: u8 = 50;
    pub(super) const REPAIRED_ENTRY: u8 = 51;

    pub(super) const CHECKPOINT_ROOT: u8 = 64;
    pub(super) const GET_MANIFEST: u8 = 65;
    pub(super) const MANIFEST: u8 = 66;
    pub(super) const GET_ROWS: u8 = 67;
    pub(super) const ROWS: u8 = 68;
    pub(super) const SNAPSHOT_GONE: u8 = 69;

    pub(super) const REJOIN_ASK: u8 = 80;
    pub(super) const REJOIN_CHALLENGE: u8 = 81;
    pub(super) const REJOIN_ANSWER: u8 = 82;
    pub(super) const REJOIN_GRANTED: u8 = 83;
}

pub(super) fn number(body: &Body) -> u8 {
    match body {
        Body::Request(_) => kind::REQUEST,
        Body::Reply(_) => kind::REPLY,
        Body::Query { .. } => kind::QUERY,
        Body::QueryReply { .. } => kind::QUERY_REPLY,
        Body::Locate => kind::LOCATE,
        Body::Located { .. } => kind::LOCATED,
        Body::Prepare { .. } => kind::PREPARE,
        Body::PrepareOk { .. } => kind::PREPARE_OK,
        Body::Commit { .. } => kind::COMMIT,
        Body::CommitOk { .. } => kind::COMMIT_OK,
        Body::StartViewChange { .. } => kind::START_VIEW_CHANGE,
        Body::DoViewChange(_) => kind::DO_VIEW_CHANGE,
        Body::StartView(_) => kind::START_VIEW,
        Body::GetView { .. } => kind::GET_VIEW,
        Body::GetHeaders { .. } => kind::GET_HEADERS,
        Body::Headers { .. } => kind::HEADERS,
        Body::GetEntry { .. } => kind::GET_ENTRY,
        Body::RepairedEntry { .. } => kind::REPAIRED_ENTRY,
        Body::CheckpointRoot { .. } => kind::CHECKPOINT_ROOT,
        Body::GetManifest { .. } => kind::GET_MANIFEST,
        Body::Manifest { .. } => kind::MANIFEST,
        Body::GetRows { .. } => kind::GET_ROWS,
        Body::Rows { .. } => kind::ROWS,
        Body::SnapshotGone { .. } => kind::SNAPSHOT_GONE,
        Body::RejoinAsk { .. } => kind::REJOIN_ASK,
        Body::RejoinChallenge { .. } => kind::REJOIN_CHALLENGE,
        Body::RejoinAnswer { .. } => kind::REJOIN_ANSWER,
        Body::RejoinGranted { .. } => kind::REJOIN_GRANTED,
    }
}

/// About how many bytes the body will take, so that the large ones are copied only once.
pub(super) fn size_hint(body: &Body) -> usize {
    match body {
        Body::Request(request) => request.encoded_size_max(),
        Body::Reply(Reply { outcome: Outcome::Done(bytes), .. })
        | Body::QueryReply { answer: QueryAnswer::Done(bytes), .. } => 128 + bytes.len(),
        Body::Query { query, .. } => 16 + query.len(),
        Body::Prepare { entry, .. } | Body::RepairedEntry { entry } => 16 + entry.encoded_size(),
        Body::DoViewChange(_) => 128 + VOTE_SLOTS_MAX * (1 + ENTRY_HEADER_SIZE),
        Body::StartView(start) => 32 + start.headers.len() * ENTRY_HEADER_SIZE,
        Body::Headers { headers } => 8 + headers.len() * ENTRY_HEADER_SIZE,
        Body::Rows { rows, .. } => {
            256 + rows.iter().map(|(key, value)| 8 + key.len() + value.len()).sum::<usize>()
        }
        Body::Manifest { ranges, .. } => {
            512 + ranges.iter().map(|range| RANGE_SIZE_MIN + range.start.len()).sum::<usize>()
        }
        _ => 512,
    }
}

pub(super) fn encode(body: &Body, out: &mut Encoder) {
    match body {
        Body::Request(request) => request.encode(out),
        Body::Reply(reply) => reply.encode(out),
        Body::Query { number, query } => {
            out.u64(*number);
            out.bytes(query);
        }
        Body::QueryReply { number, applied, answer } => {
            out.u64(*number);
            out.u64(applied.get());
            encode_answer(answer, out);
        }
        Body::Locate => {}
        Body::Located { replica_count, normal } => {
            out.u8(*replica_count);
            out.bool(*normal);
        }
        Body::Prepare { entry, commit } => {
            out.u64(commit.get());
            entry.encode(out);
        }
        Body::PrepareOk { op, name } | Body::GetEntry { op, name } => encode_named(*op, *name, out),
        Body::Commit { commit, name, head, head_name, sequence, room } => {
            encode_named(*commit, *name, out);
            encode_named(*head, *head_name, out);
            out.u64(*sequence);
            out.u8(encode_room(*room));
        }
        Body::CommitOk { sequence, clock, room } => {
            out.u64(*sequence);
            out.u64(clock.get());
            out.u8(encode_room(*room));
        }
        Body::StartViewChange { candidate } => out.u64(candidate.get()),
        Body::DoViewChange(vote) => vote.encode(out),
        Body::StartView(start) => start.encode(out),
        Body::GetHeaders { low, high, name } => {
            out.u64(low.get());
            encode_named(*high, *name, out);
        }
        Body::Headers { headers } => encode_headers(headers, out),
        Body::RepairedEntry { entry } => entry.encode(out),
        Body::CheckpointRoot { checkpoint } => encode_checkpoint(checkpoint, out),
        Body::GetManifest { op, after } => {
            out.u64(op.get());
            encode_bound(after.as_ref(), out);
        }
        Body::Manifest { checkpoint, after, ranges, last } => {
            encode_checkpoint(checkpoint, out);
            encode_bound(after.as_ref(), out);
            out.bool(*last);
            encode_ranges(ranges, out);
        }
        Body::GetRows { op, start, end, after } => {
            out.u64(op.get());
            out.bytes(start);
            encode_bound(end.as_ref(), out);
            encode_bound(after.as_ref(), out);
        }
        Body::Rows { op, start, after, rows, last } => {
            out.u64(op.get());
            out.bytes(start);
            encode_bound(after.as_ref(), out);
            out.bool(*last);
            encode_rows(rows, out);
        }
        Body::SnapshotGone { op } => out.u64(op.get()),
        Body::GetView { nonce } | Body::RejoinAsk { nonce } => out.u128(nonce.get()),
        Body::RejoinChallenge { nonce, challenge } | Body::RejoinAnswer { nonce, challenge } => {
            out.u128(nonce.get());
            out.u128(challenge.get());
        }
        Body::RejoinGranted { nonce, op } => {
            out.u128(nonce.get());
            out.u64(op.get());
        }
    }
}

pub(super) fn decode(kind: u8, input: &mut Decoder) -> Result<Body, DecodeError> {
    Ok(match kind {
        kind::REQUEST => Body::Request(Request::decode(input)?),
        kind::REPLY => Body::Reply(Reply::decode(input)?),
        kind::QUERY => Body::Query { number: input.u64("query.number")?, query: input.bytes("query.bytes")? },
        kind::QUERY_REPLY => Body::QueryReply {
            number: input.u64("query_reply.number")?,
            applied: input.op("query_reply.applied")?,
            answer: decode_answer(input)?,
        },
        kind::LOCATE => Body::Locate,
        kind::LOCATED => decode_located(input)?,
        kind::PREPARE => {
            Body::Prepare { commit: input.op("prepare.commit")?, entry: decode_entry(input, "prepare.op")? }
        }
        kind::PREPARE_OK => {
            let (op, name) = decode_named(input, "prepare_ok.op")?;
            Body::PrepareOk { op, name }
        }
        kind::COMMIT => decode_commit(input)?,
        kind::COMMIT_OK => Body::CommitOk {
            sequence: input.u64("commit_ok.sequence")?,
            clock: Timestamp::new(input.u64("commit_ok.clock")?),
            room: decode_room(input, "commit_ok.room")?,
        },
        kind::START_VIEW_CHANGE => {
            Body::StartViewChange { candidate: input.view("start_view_change.candidate")? }
        }
        kind::DO_VIEW_CHANGE => Body::DoViewChange(Vote::decode(input)?),
        kind::START_VIEW => Body::StartView(StartView::decode(input)?),
        kind::GET_VIEW => Body::GetView { nonce: decode_nonce(input, "get_view.nonce")? },
        kind::GET_HEADERS => decode_get_headers(input)?,
        kind::HEADERS => Body::Headers { headers: decode_headers(input, "headers")? },
        kind::GET_ENTRY => {
            let (op, name) = decode_named(input, "get_entry.op")?;
            Body::GetEntry { op, name }
        }
        kind::REPAIRED_ENTRY => Body::RepairedEntry { entry: decode_entry(input, "repaired_entry.op")? },
        kind::CHECKPOINT_ROOT => Body::CheckpointRoot { checkpoint: decode_checkpoint(input)? },
        kind::GET_MANIFEST => Body::GetManifest {
            op: input.op("get_manifest.op")?,
            after: decode_bound(input, "get_manifest.after")?,
        },
        kind::MANIFEST => decode_manifest(input)?,
        kind::GET_ROWS => decode_get_rows(input)?,
        kind::ROWS => decode_rows(input)?,
        kind::SNAPSHOT_GONE => Body::SnapshotGone { op: input.op("snapshot_gone.op")? },
        kind::REJOIN_ASK => Body::RejoinAsk { nonce: decode_nonce(input, "rejoin_ask.nonce")? },
        kind::REJOIN_CHALLENGE => Body::RejoinChallenge {
            nonce: decode_nonce(input, "rejoin_challenge.nonce")?,
            challenge: decode_nonce(input, "rejoin_challenge.challenge")?,
        },
        kind::REJOIN_ANSWER => Body::RejoinAnswer {
            nonce: decode_nonce(input, "rejoin_answer.nonce")?,
            challenge: decode_nonce(input, "rejoin_answer.challenge")?,
        },
        kind::REJOIN_GRANTED => Body::RejoinGranted {
            nonce: decode_nonce(input, "rejoin_granted.nonce")?,
            op: input.op("rejoin_granted.op")?,
        },
        _ => return Err(DecodeError::Invalid("frame.kind")),
    })
}

const ANSWER_DONE: u8 = 1;
const ANSWER_INVALID: u8 = 2;
const ANSWER_ELSEWHERE: u8 = 3;
const ANSWER_BUSY: u8 = 4;

fn encode_answer(answer: &QueryAnswer, out: &mut Encoder) {
    match answer {
        QueryAnswer::Done(bytes) => {
            out.u8(ANSWER_DONE);
            out.bytes(bytes);
        }
        QueryAnswer::Invalid(reason) => {
            out.u8(ANSWER_INVALID);
            encode_reason(reason, out);
        }
        QueryAnswer::Elsewhere => out.u8(ANSWER_ELSEWHERE),
        QueryAnswer::Busy => out.u8(ANSWER_BUSY),
    }
}

fn decode_answer(input: &mut Decoder) -> Result<QueryAnswer, DecodeError> {
    Ok(match input.u8("answer.kind")? {
        ANSWER_DONE => QueryAnswer::Done(input.bytes("answer.bytes")?),
        ANSWER_INVALID => QueryAnswer::Invalid(decode_reason(input, "answer.reason")?),
        ANSWER_ELSEWHERE => QueryAnswer::Elsewhere,
        ANSWER_BUSY => QueryAnswer::Busy,
        _ => return Err(DecodeError::Invalid("answer.kind")),
    })
}

fn decode_located(input: &mut Decoder) -> Result<Body, DecodeError> {
    let replica_count = input.u8("located.replica_count")?;
    if !(1..=REPLICAS_MAX).contains(&usize::from(replica_count)) {
        return Err(DecodeError::Invalid("located.replica_count"));
    }
    Ok(Body::Located { replica_count, normal: input.bool("located.normal")? })
}

fn decode_commit(input: &mut Decoder) -> Result<Body, DecodeError> {
    let (commit, name) = decode_named(input, "commit.commit")?;
    let (head, head_name) = decode_named(input, "commit.head")?;
    if commit > head || (commit == head && name != head_name) {
        return Err(DecodeError::Invalid("commit.head"));
    }
    let sequence = input.u64("commit.sequence")?;
    Ok(Body::Commit { commit, name, head, head_name, sequence, room: decode_room(input, "commit.room")? })
}

const fn encode_room(room: Room) -> u8 {
    match room {
        Room::Ample => 0,
        Room::Pressed => 1,
        Room::Scarce => 2,
        Room::Spent => 3,
    }
}

fn decode_room(input: &mut Decoder, field: &'static str) -> Result<Room, DecodeError> {
    match input.u8(field)? {
        0 => Ok(Room::Ample),
        1 => Ok(Room::Pressed),
        2 => Ok(Room::Scarce),
        3 => Ok(Room::Spent),
        _ => Err(DecodeError::Invalid(field)),
    }
}

fn decode_get_headers(input: &mut Decoder) -> Result<Body, DecodeError> {
    let low = input.op("get_headers.low")?;
    let (high, name) = decode_named(input, "get_headers.high")?;
    if low > high {
        return Err(DecodeError::Invalid("get_headers.low"));
    }
    Ok(Body::GetHeaders { low, high, name })
}

fn decode_manifest(input: &mut Decoder) -> Result<Body, DecodeError> {
    let checkpoint = decode_checkpoint(input)?;
    let after = decode_bound(input, "manifest.after")?;
    let last = input.bool("manifest.last")?;
    let ranges = input.list(RANGE_SIZE_MIN, "manifest.ranges", decode_range)?;
    check_page(after.as_ref(), ranges.iter().map(|range| &range.start), last, "manifest.ranges")?;
    Ok(Body::Manifest { checkpoint, after, ranges, last })
}

fn decode_get_rows(input: &mut Decoder) -> Result<Body, DecodeError> {
    let op = input.op("get_rows.op")?;
    let start = input.bytes("get_rows.start")?;
    let end = decode_bound(input, "get_rows.end")?;
    if end.as_ref().is_some_and(|end| *end <= start) {
        return Err(DecodeError::Invalid("get_rows.end"));
    }
    let after = decode_bound(input, "get_rows.after")?;
    check_after(&start, after.as_ref(), "get_rows.after")?;
    Ok(Body::GetRows { op, start, end, after })
}

fn decode_rows(input: &mut Decoder) -> Result<Body, DecodeError> {
    let op = input.op("rows.op")?;
    let start = input.bytes("rows.start")?;
    let after = decode_bound(input, "rows.after")?;
    check_after(&start, after.as_ref(), "rows.after")?;
    let last = input.bool("rows.last")?;
    let rows = input.list(ROW_SIZE_MIN, "rows", decode_row)?;
    if rows.first().is_some_and(|(key, _)| *key < start) {
        return Err(DecodeError::Invalid("rows"));
    }
    check_page(after.as_ref(), rows.iter().map(|(key, _)| key), last, "rows")?;
    Ok(Body::Rows { op, start, after, rows, last })
}

/// The page before ended inside the range that begins at `start`.
fn check_after(start: &Bytes, after: Option<&Bytes>, field: &'static str) -> Result<(), DecodeError> {
    if after.is_some_and(|after| after < start) { Err(DecodeError::Invalid(field)) } else { Ok(()) }
}

/// A page continues after the one before, in ascending order, and only the last page may be empty:
/// whoever asks page after page gets to the end.
fn check_page<'a>(
    after: Option<&'a Bytes>,
    keys: impl Iterator<Item = &'a Bytes>,
    last: bool,
    field: &'static str,
) -> Result<(), DecodeError> {
    let mut count = 0;
    let mut previous = after;
    for key in keys {
        if previous.is_some_and(|previous| previous >= key) {
            return Err(DecodeError::Invalid(field));
        }
        previous = Some(key);
        count += 1;
    }
    if count == 0 && !last { Err(DecodeError::Invalid(field)) } else { Ok(()) }
}

/// An op and the name of its entry.
fn encode_named(op: Op, name: Checksum, out: &mut Encoder) {
    out.u64(op.get());
    out.u128(name.get());
}

fn decode_named(input: &mut Decoder, field: &'static str) -> Result<(Op, Checksum), DecodeError> {
    Ok((input.op(field)?, Checksum::new(input.u128(field)?)))
}

fn decode_nonce(input: &mut Decoder, field: &'static str) -> Result<Nonce, DecodeError> {
    Ok(Nonce::new(input.u128(field)?))
}

/// Genesis is known to everybody and never travels.
fn decode_entry(input: &mut Decoder, field: &'static str) -> Result<Entry, DecodeError> {
    let entry = Entry::decode(input)?;
    if entry.op() == Op::ZERO { Err(DecodeError::Invalid(field)) } else { Ok(entry) }
}

fn encode_checkpoint(checkpoint: &Checkpoint, out: &mut Encoder) {
    checkpoint.header.encode(out);
    out.raw(&checkpoint.root.to_bytes());
}

fn decode_checkpoint(input: &mut Decoder) -> Result<Checkpoint, DecodeError> {
    Ok(Checkpoint { header: EntryHeader::decode(input)?, root: decode_row_sum(input, "checkpoint.root")? })
}

/// A key at which a range ends or after which a page begins; none: the table's end, or its beginning.
fn encode_bound(key: Option<&Bytes>, out: &mut Encoder) {
    out.option(key, |out, key| out.bytes(key));
}

fn decode_bound(input: &mut Decoder, field: &'static str) -> Result<Option<Bytes>, DecodeError> {
    input.option(field, |input| input.bytes(field))
}

const RANGE_SIZE_MIN: usize = 4 + 32 + 8;

fn encode_ranges(ranges: &[RangeSummary], out: &mut Encoder) {
    out.count(ranges.len());
    for range in ranges {
        out.bytes(&range.start);
        out.raw(&range.sum.to_bytes());
        out.u64(range.row_count);
    }
}

fn decode_range(input: &mut Decoder) -> Result<RangeSummary, DecodeError> {
    Ok(RangeSummary {
        start: input.bytes("range.start")?,
        sum: decode_row_sum(input, "range.sum")?,
        row_count: input.u64("range.row_count")?,
    })
}

const ROW_SIZE_MIN: usize = 4 + 4;

fn encode_rows(rows: &[Row], out: &mut Encoder) {
    out.count(rows.len());
    for (key, value) in rows {
        out.bytes(key);
        out.bytes(value);
    }
}

fn decode_row(input: &mut Decoder) -> Result<Row, DecodeError> {
    Ok((input.bytes("row.key")?, input.bytes("row.value")?))
}
