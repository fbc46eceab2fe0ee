//! Votes and the headers they are made of. A vote has the same bytes in a message and in the superblock.

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::entry::{ENTRY_HEADER_SIZE, EntryHeader};
use crate::message::{HEADERS_COUNT_MAX, SlotState, StartView, VOTE_SLOTS_MAX, Vote, VoteSlot};
use crate::types::{Incarnation, Nonce, REPLICAS_MAX};

const PRESENT: u8 = 1;
const FAULTY: u8 = 2;
const MISSING: u8 = 3;

impl Vote {
    pub fn encode(&self, out: &mut Encoder) {
        out.u64(self.view.get());
        out.u64(self.log_view.get());
        out.u64(self.commit.get());
        out.u64(self.checkpoint.get());
        out.bool(self.certain);
        for incarnation in self.incarnations {
            out.u64(incarnation.get());
        }
        out.count(self.slots.len());
        for slot in &self.slots {
            out.u8(match slot.state {
                SlotState::Present => PRESENT,
                SlotState::Faulty => FAULTY,
                SlotState::Missing => MISSING,
            });
            slot.header.encode(out);
        }
    }

    pub fn decode(input: &mut Decoder) -> Result<Vote, DecodeError> {
        let view = input.view("vote.view")?;
        let log_view = input.view("vote.log_view")?;
        if log_view > view {
            return Err(DecodeError::Invalid("vote.log_view"));
        }
        let commit = input.op("vote.commit")?;
        let checkpoint = input.op("vote.checkpoint")?;
        let certain = input.bool("vote.certain")?;
        let mut incarnations = [Incarnation::ZERO; REPLICAS_MAX];
        for incarnation in &mut incarnations {
            *incarnation = input.incarnation("vote.incarnations")?;
        }
        let slots = input.list(1 + ENTRY_HEADER_SIZE, "vote.slots", decode_slot)?;
        if slots.len() > VOTE_SLOTS_MAX {
            return Err(DecodeError::Invalid("vote.slots"));
        }
        check_chain(slots.iter().map(|slot| &slot.header), "vote.slots")?;
        Ok(Vote { view, log_view, commit, checkpoint, certain, slots, incarnations })
    }
}

fn decode_slot(input: &mut Decoder) -> Result<VoteSlot, DecodeError> {
    let state = match input.u8("vote.slot.state")? {
        PRESENT => SlotState::Present,
        FAULTY => SlotState::Faulty,
        MISSING => SlotState::Missing,
        _ => return Err(DecodeError::Invalid("vote.slot.state")),
    };
    Ok(VoteSlot { header: EntryHeader::decode(input)?, state })
}

impl StartView {
    pub fn encode(&self, out: &mut Encoder) {
        out.u64(self.commit.get());
        out.option(self.nonce, |out, nonce| out.u128(nonce.get()));
        encode_headers(&self.headers, out);
    }

    pub fn decode(input: &mut Decoder) -> Result<StartView, DecodeError> {
        let commit = input.op("start_view.commit")?;
        let nonce =
            input.option("start_view.nonce", |input| Ok(Nonce::new(input.u128("start_view.nonce")?)))?;
        let headers = decode_headers(input, "start_view.headers")?;
        // A view begins with everything that is committed.
        if headers.last().is_none_or(|head| head.op < commit) {
            return Err(DecodeError::Invalid("start_view.commit"));
        }
        Ok(StartView { commit, headers, nonce })
    }
}

pub(super) fn encode_headers(headers: &[EntryHeader], out: &mut Encoder) {
    out.count(headers.len());
    for header in headers {
        header.encode(out);
    }
}

/// Part of one log: never empty, ascending, each header naming the one before.
pub(crate) fn decode_headers(
    input: &mut Decoder,
    field: &'static str,
) -> Result<Vec<EntryHeader>, DecodeError> {
    let headers = input.list(ENTRY_HEADER_SIZE, field, EntryHeader::decode)?;
    if headers.len() > HEADERS_COUNT_MAX {
        return Err(DecodeError::Invalid(field));
    }
    check_chain(headers.iter(), field)?;
    Ok(headers)
}

fn check_chain<'a>(
    headers: impl Iterator<Item = &'a EntryHeader>,
    field: &'static str,
) -> Result<(), DecodeError> {
    let mut parent: Option<&EntryHeader> = None;
    for header in headers {
        if parent.is_some_and(|parent| !header.follows(parent)) {
            return Err(DecodeError::Invalid(field));
        }
        parent = Some(header);
    }
    if parent.is_some() { Ok(()) } else { Err(DecodeError::Invalid(field)) }
}
