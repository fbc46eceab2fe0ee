//! The digests of S3, computed apart from the server's own code.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;

/// The five algorithms of `x-amz-checksum-*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub const ALL: [Algorithm; 5] =
        [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme, Algorithm::Sha1, Algorithm::Sha256];

    /// As `x-amz-checksum-algorithm` has it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "CRC32",
            Algorithm::Crc32c => "CRC32C",
            Algorithm::Crc64Nvme => "CRC64NVME",
            Algorithm::Sha1 => "SHA1",
            Algorithm::Sha256 => "SHA256",
        }
    }

    pub fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name().to_lowercase())
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        use crc_fast::{CrcAlgorithm, checksum};
        let crc32 = |algorithm| {
            let crc = u32::try_from(checksum(algorithm, bytes)).expect("a CRC of 32 bits");
            crc.to_be_bytes().to_vec()
        };
        match self {
            Algorithm::Crc32 => crc32(CrcAlgorithm::Crc32IsoHdlc),
            Algorithm::Crc32c => crc32(CrcAlgorithm::Crc32Iscsi),
            Algorithm::Crc64Nvme => checksum(CrcAlgorithm::Crc64Nvme, bytes).to_be_bytes().to_vec(),
            Algorithm::Sha1 => Sha1::digest(bytes).to_vec(),
            Algorithm::Sha256 => Sha256::digest(bytes).to_vec(),
        }
    }

    /// In base64, as it travels.
    pub fn of(self, bytes: &[u8]) -> String {
        STANDARD.encode(self.digest(bytes))
    }

    /// The checksum of the parts' checksums, and their number.
    pub fn composite(self, parts: &[&[u8]]) -> String {
        let digests: Vec<u8> = parts.iter().flat_map(|part| self.digest(part)).collect();
        format!("{}-{}", self.of(&digests), parts.len())
    }
}

/// For `Content-MD5`.
pub fn content_md5(bytes: &[u8]) -> String {
    STANDARD.encode(Md5::digest(bytes))
}

/// The ETag of bytes that were put in one piece, quoted.
pub fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", hex(&Md5::digest(bytes)))
}

/// The ETag of an object of parts, quoted.
pub fn etag_of_parts(parts: &[&[u8]]) -> String {
    let digests: Vec<u8> = parts.iter().flat_map(|part| Md5::digest(part).to_vec()).collect();
    format!("\"{}-{}\"", hex(&Md5::digest(digests)), parts.len())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the catalogue of parametrised CRC algorithms, and of RFC 3174 and FIPS 180-2.
    #[test]
    fn the_algorithms_give_their_published_values() {
        assert_eq!(hex(&Algorithm::Crc32.digest(b"123456789")), "cbf43926");
        assert_eq!(hex(&Algorithm::Crc32c.digest(b"123456789")), "e3069283");
        assert_eq!(hex(&Algorithm::Crc64Nvme.digest(b"123456789")), "ae8b14860a799888");
        assert_eq!(hex(&Algorithm::Sha1.digest(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert!(sha256_hex(b"abc").starts_with("ba7816bf8f01cfea"));
    }
}
