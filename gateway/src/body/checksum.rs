//! The checksums of S3: five algorithms, and for an object of parts two ways to make one of many.
//!
//! A *full-object* checksum is that of all bytes. A *composite* one is the checksum of the parts' checksums,
//! one after the other, and is written with `-N` after it. A CRC can be either, because the CRCs of two
//! strings give that of both together; of a SHA there is only the composite.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use http::HeaderName;
use protocol::catalog::ObjectChecksum;
use sha1::Sha1;
use sha2::{Digest, Sha256};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumType {
    Composite,
    FullObject,
}

impl Algorithm {
    pub const ALL: [Algorithm; 5] =
        [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme, Algorithm::Sha1, Algorithm::Sha256];

    /// What is computed when a client asks for nothing: it costs next to nothing.
    pub const DEFAULT: Algorithm = Algorithm::Crc64Nvme;

    /// As in `x-amz-checksum-algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "CRC32",
            Algorithm::Crc32c => "CRC32C",
            Algorithm::Crc64Nvme => "CRC64NVME",
            Algorithm::Sha1 => "SHA1",
            Algorithm::Sha256 => "SHA256",
        }
    }

    /// The element of documents that holds the value.
    pub fn element(self) -> &'static str {
        match self {
            Algorithm::Crc32 => "ChecksumCRC32",
            Algorithm::Crc32c => "ChecksumCRC32C",
            Algorithm::Crc64Nvme => "ChecksumCRC64NVME",
            Algorithm::Sha1 => "ChecksumSHA1",
            Algorithm::Sha256 => "ChecksumSHA256",
        }
    }

    /// The header or trailer that holds the value.
    pub fn header(self) -> HeaderName {
        HeaderName::from_static(match self {
            Algorithm::Crc32 => "x-amz-checksum-crc32",
            Algorithm::Crc32c => "x-amz-checksum-crc32c",
            Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Algorithm::Sha1 => "x-amz-checksum-sha1",
            Algorithm::Sha256 => "x-amz-checksum-sha256",
        })
    }

    /// Clients differ in the case.
    pub fn parse(name: &[u8]) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Of the name of a header or trailer, in any case.
    pub fn of_header(name: &[u8]) -> Option<Algorithm> {
        let header = |algorithm: &Algorithm| algorithm.header();
        Algorithm::ALL
            .into_iter()
            .find(|algorithm| header(algorithm).as_str().as_bytes().eq_ignore_ascii_case(name))
    }

    pub fn size(self) -> usize {
        match self {
            Algorithm::Crc32 | Algorithm::Crc32c => 4,
            Algorithm::Crc64Nvme => 8,
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
        }
    }

    /// Whether the checksum of an object of parts can be of this type.
    pub fn allows(self, checksum_type: ChecksumType) -> bool {
        match checksum_type {
            ChecksumType::Composite => self != Algorithm::Crc64Nvme,
            ChecksumType::FullObject => self.crc().is_some(),
        }
    }

    /// The type of an object of parts, if the client does not name one.
    pub fn default_type(self) -> ChecksumType {
        match self {
            Algorithm::Crc64Nvme => ChecksumType::FullObject,
            _ => ChecksumType::Composite,
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Algorithm::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Algorithm::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Algorithm::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Algorithm::Sha1 | Algorithm::Sha256 => None,
        }
    }

    fn number(self) -> u8 {
        match self {
            Algorithm::Crc32 => 1,
            Algorithm::Crc32c => 2,
            Algorithm::Crc64Nvme => 3,
            Algorithm::Sha1 => 4,
            Algorithm::Sha256 => 5,
        }
    }
}

impl ChecksumType {
    pub fn name(self) -> &'static str {
        match self {
            ChecksumType::Composite => "COMPOSITE",
            ChecksumType::FullObject => "FULL_OBJECT",
        }
    }

    pub fn parse(name: &[u8]) -> Option<ChecksumType> {
        [ChecksumType::Composite, ChecksumType::FullObject]
            .into_iter()
            .find(|checksum_type| checksum_type.name().as_bytes() == name)
    }
}

/// A checksum's value, of an object or a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    pub algorithm: Algorithm,
    /// `Algorithm::size` bytes.
    pub digest: Bytes,
    /// Of a composite checksum: how many parts it is made of.
    pub part_count: Option<u16>,
}

/// In the catalog, a checksum's kind is the algorithm's number, plus this if it is composite. The value is
/// the digest, and the number of parts after it (little-endian, two bytes) if it is composite.
const COMPOSITE: u8 = 0x10;

impl Checksum {
    /// Of all bytes.
    pub fn full(algorithm: Algorithm, digest: impl Into<Bytes>) -> Checksum {
        Checksum { algorithm, digest: digest.into(), part_count: None }
    }

    /// That of these bytes.
    #[cfg(test)]
    pub(crate) fn of(algorithm: Algorithm, bytes: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// As clients write it: base64, and `-N` after it if it is composite. None if it is no such checksum.
    pub fn parse(algorithm: Algorithm, text: &[u8]) -> Option<Checksum> {
        let (digest, part_count) = match text.iter().position(|byte| *byte == b'-') {
            Some(dash) => (&text[..dash], Some(parse_part_count(&text[dash + 1..])?)),
            None => (text, None),
        };
        let digest = STANDARD.decode(digest).ok()?;
        (digest.len() == algorithm.size()).then(|| Checksum { algorithm, digest: digest.into(), part_count })
    }

    pub fn checksum_type(&self) -> ChecksumType {
        match self.part_count {
            Some(_) => ChecksumType::Composite,
            None => ChecksumType::FullObject,
        }
    }

    /// The checksum of the parts' checksums, given in the order of the parts.
    pub fn composite<'a>(algorithm: Algorithm, parts: impl IntoIterator<Item = &'a [u8]>) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        let mut part_count = 0_u16;
        for part in parts {
            hasher.update(part);
            part_count = part_count.saturating_add(1);
        }
        Checksum { part_count: Some(part_count), ..hasher.finish() }
    }

    /// The checksum of all bytes, from those of the parts and their lengths. None if the algorithm cannot
    /// say that, or a part's checksum is none of its.
    pub fn full_of_parts<'a>(
        algorithm: Algorithm,
        parts: impl IntoIterator<Item = (&'a [u8], u64)>,
    ) -> Option<Checksum> {
        let crc = algorithm.crc()?;
        let mut combined = crc_fast::checksum(crc, b"");
        for (digest, length) in parts {
            if digest.len() != algorithm.size() {
                return None;
            }
            let digest = digest.iter().fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
            combined = crc_fast::checksum_combine(crc, combined, digest, length);
        }
        Some(Checksum::full(algorithm, crc_bytes(algorithm, combined)))
    }

    pub fn to_catalog(&self) -> ObjectChecksum {
        match self.part_count {
            None => ObjectChecksum { kind: self.algorithm.number(), value: self.digest.clone() },
            Some(part_count) => {
                let value = [&self.digest[..], &part_count.to_le_bytes()].concat();
                ObjectChecksum { kind: self.algorithm.number() | COMPOSITE, value: value.into() }
            }
        }
    }

    /// None if a later release wrote it.
    pub fn from_catalog(stored: &ObjectChecksum) -> Option<Checksum> {
        let ChecksumKind { algorithm, checksum_type } = ChecksumKind::from_catalog(stored.kind)?;
        let digest_size = algorithm.size();
        let is_composite = checksum_type == ChecksumType::Composite;
        let part_count = match stored.value.get(digest_size..)? {
            [] if !is_composite => None,
            [low, high] if is_composite => Some(u16::from_le_bytes([*low, *high])),
            _ => return None,
        };
        Some(Checksum { algorithm, digest: stored.value.slice(..digest_size), part_count })
    }
}

/// Which checksum the parts of an upload shall have, and what that of the object is made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumKind {
    pub algorithm: Algorithm,
    pub checksum_type: ChecksumType,
}

impl ChecksumKind {
    /// What an object of parts has whose client asked for nothing.
    pub const DEFAULT: ChecksumKind =
        ChecksumKind { algorithm: Algorithm::DEFAULT, checksum_type: ChecksumType::FullObject };

    /// Numbered like the checksum that the object will have.
    pub fn to_catalog(self) -> u8 {
        match self.checksum_type {
            ChecksumType::FullObject => self.algorithm.number(),
            ChecksumType::Composite => self.algorithm.number() | COMPOSITE,
        }
    }

    /// None if a later release wrote it.
    pub fn from_catalog(kind: u8) -> Option<ChecksumKind> {
        let number = kind & !COMPOSITE;
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.number() == number)?;
        let checksum_type = match kind & COMPOSITE {
            0 => ChecksumType::FullObject,
            _ => ChecksumType::Composite,
        };
        Some(ChecksumKind { algorithm, checksum_type })
    }
}

/// As in headers and documents.
impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&STANDARD.encode(&self.digest))?;
        self.part_count.map_or(Ok(()), |part_count| write!(f, "-{part_count}"))
    }
}

fn parse_part_count(text: &[u8]) -> Option<u16> {
    if text.first() == Some(&b'0') || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Computes one checksum piece by piece.
pub(super) enum Hasher {
    Crc { algorithm: Algorithm, digest: crc_fast::Digest },
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub(super) fn new(algorithm: Algorithm) -> Hasher {
        match (algorithm, algorithm.crc()) {
            (Algorithm::Sha256, _) => Hasher::Sha256(Sha256::new()),
            (_, None) => Hasher::Sha1(Sha1::new()),
            (_, Some(crc)) => Hasher::Crc { algorithm, digest: crc_fast::Digest::new(crc) },
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Crc { digest, .. } => digest.update(bytes),
            Hasher::Sha1(digest) => digest.update(bytes),
            Hasher::Sha256(digest) => digest.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Checksum {
        match self {
            Hasher::Crc { algorithm, digest } => {
                Checksum::full(algorithm, crc_bytes(algorithm, digest.finalize()))
            }
            Hasher::Sha1(digest) => Checksum::full(Algorithm::Sha1, digest.finalize().to_vec()),
            Hasher::Sha256(digest) => Checksum::full(Algorithm::Sha256, digest.finalize().to_vec()),
        }
    }
}

fn crc_bytes(algorithm: Algorithm, crc: u64) -> Bytes {
    Bytes::copy_from_slice(&crc.to_be_bytes()[size_of::<u64>() - algorithm.size()..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checksum(algorithm: Algorithm, bytes: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn published_values_are_computed() {
        for (algorithm, empty, digits) in [
            (Algorithm::Crc32, "AAAAAA==", "y/Q5Jg=="),
            (Algorithm::Crc32c, "AAAAAA==", "4waSgw=="),
            (Algorithm::Crc64Nvme, "AAAAAAAAAAA=", "rosUhgp5mIg="),
            (Algorithm::Sha1, "2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "98O8HYCOBHMq32eZZczDTKeuNEE="),
            (
                Algorithm::Sha256,
                "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
                "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
            ),
        ] {
            assert_eq!(checksum(algorithm, b"").to_string(), empty, "{algorithm:?}");
            assert_eq!(checksum(algorithm, b"123456789").to_string(), digits, "{algorithm:?}");
        }
    }

    #[test]
    fn an_algorithm_is_known_by_its_names() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::parse(algorithm.name().to_lowercase().as_bytes()), Some(algorithm));
            assert_eq!(Algorithm::of_header(algorithm.header().as_str().as_bytes()), Some(algorithm));
            assert_eq!(algorithm.element(), format!("Checksum{}", algorithm.name()));
            assert!(algorithm.allows(algorithm.default_type()));
        }
        assert_eq!(Algorithm::parse(b"MD5"), None);
        assert_eq!(Algorithm::of_header(b"x-amz-checksum-type"), None);
    }

    #[test]
    fn only_a_crc_can_be_that_of_a_whole_object_of_parts() {
        let types = |algorithm: Algorithm| {
            (algorithm.allows(ChecksumType::Composite), algorithm.allows(ChecksumType::FullObject))
        };
        assert_eq!(types(Algorithm::Crc32), (true, true));
        assert_eq!(types(Algorithm::Crc32c), (true, true));
        assert_eq!(types(Algorithm::Crc64Nvme), (false, true));
        assert_eq!(types(Algorithm::Sha1), (true, false));
        assert_eq!(types(Algorithm::Sha256), (true, false));
        assert_eq!(Checksum::full_of_parts(Algorithm::Sha1, [(&[0; 20][..], 1)]), None);
    }

    #[test]
    fn what_is_no_checksum_is_not_one() {
        for text in
            ["", "AAAAA", "AAAAAA", "AAAAAA==-", "AAAAAA==-0", "AAAAAA==-x", "AAAAAA==-70000", "AAAAAAA="]
        {
            assert_eq!(Checksum::parse(Algorithm::Crc32, text.as_bytes()), None, "{text}");
        }
    }

    /// What is on disks cannot be encoded in another way by a later release.
    #[test]
    fn the_catalog_is_given_the_same_bytes_as_ever() {
        let full = Checksum::full(Algorithm::Crc32c, vec![1, 2, 3, 4]).to_catalog();
        assert_eq!((full.kind, &full.value[..]), (2, &[1, 2, 3, 4][..]));
        let composite = Checksum { part_count: Some(0x1234), ..Checksum::full(Algorithm::Sha1, vec![7; 20]) };
        let composite = composite.to_catalog();
        assert_eq!(composite.kind, 0x14);
        assert_eq!(composite.value, [&[7; 20][..], &[0x34, 0x12]].concat());
        let numbers = Algorithm::ALL.map(Algorithm::number);
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_kind_is_numbered_like_the_checksum_that_comes_of_it() {
        for algorithm in Algorithm::ALL {
            for (checksum_type, part_count) in
                [(ChecksumType::FullObject, None), (ChecksumType::Composite, Some(3))]
            {
                let kind = ChecksumKind { algorithm, checksum_type };
                let comes = Checksum { part_count, ..checksum(algorithm, b"") };
                assert_eq!(kind.to_catalog(), comes.to_catalog().kind);
                assert_eq!(ChecksumKind::from_catalog(kind.to_catalog()), Some(kind));
            }
        }
        for kind in [0, 6, 0x10, 0x21] {
            assert_eq!(ChecksumKind::from_catalog(kind), None, "{kind}");
        }
    }

    #[test]
    fn a_stored_checksum_that_makes_no_sense_is_not_read() {
        for (kind, length) in [(0, 4), (1, 3), (1, 5), (0x11, 4), (6, 32), (0x21, 4)] {
            let stored = ObjectChecksum { kind, value: vec![0; length].into() };
            assert_eq!(Checksum::from_catalog(&stored), None, "{kind} {length}");
        }
    }

    fn algorithms() -> impl Strategy<Value = Algorithm> {
        proptest::sample::select(Algorithm::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn the_checksum_of_the_whole_follows_from_those_of_the_parts(
            algorithm in algorithms(),
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        ) {
            let digests: Vec<Bytes> =
                parts.iter().map(|part| checksum(algorithm, part).digest).collect();
            let pairs = digests.iter().zip(&parts).map(|(digest, part)| (&digest[..], part.len() as u64));
            let whole = Checksum::full_of_parts(algorithm, pairs);
            match algorithm.allows(ChecksumType::FullObject) {
                true => prop_assert_eq!(whole, Some(checksum(algorithm, &parts.concat()))),
                false => prop_assert_eq!(whole, None),
            }
        }

        #[test]
        fn a_composite_checksum_is_that_of_the_digests(
            algorithm in algorithms(),
            digests in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8),
        ) {
            let composite = Checksum::composite(algorithm, digests.iter().map(|digest| &digest[..]));
            let plain = checksum(algorithm, &digests.concat());
            prop_assert_eq!(composite.to_string(), format!("{}-{}", plain, digests.len()));
        }

        #[test]
        fn what_is_written_is_read_again(
            algorithm in algorithms(),
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            part_count in prop::option::of(1..10_000_u16),
        ) {
            let checksum = Checksum { part_count, ..checksum(algorithm, &bytes) };
            prop_assert_eq!(
                Checksum::parse(algorithm, checksum.to_string().as_bytes()),
                Some(checksum.clone())
            );
            prop_assert_eq!(Checksum::from_catalog(&checksum.to_catalog()), Some(checksum));
        }

        #[test]
        fn pieces_make_no_difference(
            algorithm in algorithms(),
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..8),
        ) {
            let mut hasher = Hasher::new(algorithm);
            pieces.iter().for_each(|piece| hasher.update(piece));
            prop_assert_eq!(hasher.finish(), checksum(algorithm, &pieces.concat()));
        }
    }
}
