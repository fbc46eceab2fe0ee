mod checksum;
mod chunked;
pub use checksum::{Algorithm, Checksum, ChecksumType};
