//! The bytes of a request.
//!
//! In reading order: checksums (`checksum`), the framing of `aws-chunked` (`chunked`), what the headers say of
//! a body (`declared`), and the body itself (`payload`).

mod checksum;
mod chunked;
mod declared;
mod payload;
#[cfg(test)]
pub(crate) mod testing;

pub use checksum::{Algorithm, Checksum, ChecksumKind, ChecksumType};
pub(crate) use declared::content_encoding;
pub use payload::{Digested, Payload};
