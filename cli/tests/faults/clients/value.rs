//! Values that name themselves: whoever reads one knows which write it comes from, and what every byte
//! of it must be.

use bytes::Bytes;
use protocol::catalog::ETag;

/// What one write brings. No two writes of a test bring the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Value {
    pub(crate) number: u64,
    pub(crate) size: u64,
}

impl Value {
    /// Incompressible, and different in every place from any other value's.
    pub(crate) fn bytes(self) -> Bytes {
        let size = usize::try_from(self.size).unwrap();
        let mut bytes = vec![0; size];
        let mut state = self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for piece in bytes.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            piece.copy_from_slice(&state.to_le_bytes()[..piece.len()]);
        }
        Bytes::from(bytes)
    }

    /// The name that the catalog keeps with it.
    pub(crate) fn etag(self) -> ETag {
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&self.number.to_le_bytes());
        digest[8..].copy_from_slice(&self.size.to_le_bytes());
        ETag::simple(digest)
    }

    pub(crate) fn of_etag(etag: ETag) -> Value {
        let (number, size) = etag.digest.split_at(8);
        let read = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        Value { number: read(number), size: read(size) }
    }
}
