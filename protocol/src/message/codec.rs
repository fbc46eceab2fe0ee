//! Messages as bytes.

use super::Vote;
use crate::codec::{DecodeError, Decoder, Encoder};

/// The fixed part of every message.
pub const FRAME_HEADER_SIZE: usize = 128;

/// A larger frame is refused before it is read.
pub const MESSAGE_SIZE_MAX: usize = (1 << 20) + (64 << 10);

impl Vote {
    pub fn encode(&self, _out: &mut Encoder) {
        todo!()
    }

    pub fn decode(_input: &mut Decoder) -> Result<Vote, DecodeError> {
        todo!()
    }
}
