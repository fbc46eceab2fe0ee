//! The bytes of a request.
//!
//! In reading order: checksums (`checksum`), the framing of `aws-chunked` (`chunked`), what the headers say of
//! a body (`declared`), how slowly it may come (`pace`), the body itself (`payload`), what memory all bodies may take (`budget`), those that are
//! documents (`document`), and the way into the cluster (`store`).

mod budget;
mod checksum;
mod chunked;
mod declared;
mod document;
mod pace;
mod payload;
mod store;
#[cfg(test)]
pub(crate) mod testing;

pub use budget::{MEMORY_BYTES, MEMORY_BYTES_MIN, MemoryBudget};
pub use checksum::{Algorithm, Checksum, ChecksumKind, ChecksumType};
pub use document::{DOCUMENT_BYTES_MAX, document};
pub use payload::{Digested, Payload};
pub use store::{BODY_BYTES_MAX, check_length, store};

/// A body in chunks, with and without trailers, as far as it makes sense: for whoever feeds it nonsense.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn decode_chunks(body: bytes::Bytes) {
    for may_have_trailers in [false, true] {
        let (mut decoder, mut input) = (chunked::ChunkDecoder::new(None, may_have_trailers), body.clone());
        let mut last = Ok(Some(bytes::Bytes::new()));
        while let Ok(Some(_)) = last {
            last = decoder.next(&mut input);
        }
        if last.is_ok() {
            let _ = decoder.finish();
        }
    }
}
