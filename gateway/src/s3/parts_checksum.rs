//! The checksum of an object of parts: computed from those of its parts, which were verified when they
//! came, and compared with what the client says it is.

use protocol::catalog::Part;

use super::multipart::{self, mixed_checksums};
use super::{ErrorCode, S3Error, S3Result};
use crate::body::{Algorithm, Checksum, ChecksumKind, ChecksumType};
use crate::http::Head;

/// What a client says of the whole object when it completes the upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    checksum: Option<Checksum>,
    checksum_type: Option<ChecksumType>,
}

impl Claim {
    pub(super) fn of(head: &Head) -> S3Result<Claim> {
        let mut claim = Claim { checksum: None, checksum_type: multipart::checksum_type(head)? };
        for algorithm in Algorithm::ALL {
            let name = algorithm.header();
            let Some(text) = head.header(&name)? else { continue };
            let checksum = Checksum::parse(algorithm, text.as_bytes())
                .ok_or_else(|| S3Error::invalid_request(format!("Value for {name} header is invalid.")))?;
            if claim.checksum.replace(checksum).is_some() {
                return Err(S3Error::invalid_request(
                    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
                ));
            }
        }
        Ok(claim)
    }

    /// Which checksum the object shall have.
    fn kind(&self, declared: Option<ChecksumKind>) -> S3Result<ChecksumKind> {
        let kind = match (declared, &self.checksum) {
            (Some(kind), Some(checksum)) if kind.algorithm != checksum.algorithm => {
                return Err(mixed_checksums(kind.algorithm, checksum.algorithm));
            }
            (Some(kind), _) => kind,
            // Nothing was declared, but the parts may have had it all the same.
            (None, Some(Checksum { algorithm, part_count, .. })) => {
                let of_parts = part_count.is_some() || !algorithm.allows(ChecksumType::FullObject);
                let implied = if of_parts { ChecksumType::Composite } else { ChecksumType::FullObject };
                let checksum_type = self.checksum_type.unwrap_or(implied);
                ChecksumKind { algorithm: *algorithm, checksum_type }
            }
            (None, None) => ChecksumKind::DEFAULT,
        };
        match self.checksum_type {
            Some(checksum_type) if checksum_type != kind.checksum_type => {
                Err(S3Error::invalid_request(format!(
                    "The upload was created using the {} checksum mode. The complete request must use the same \
                     checksum mode.",
                    kind.checksum_type.name()
                )))
            }
            _ => Ok(kind),
        }
    }

    /// The checksum of the object that consists of these parts, which are in order. None if nobody knows
    /// that of a part, which may have been copied by reference, and nobody has asked for it.
    pub(super) fn checksum_of_parts(
        &self,
        declared: Option<ChecksumKind>,
        parts: &[&Part],
    ) -> S3Result<Option<Checksum>> {
        let kind = self.kind(declared)?;
        let computed = combine(kind, parts);
        match (&self.checksum, &computed) {
            (Some(claimed), Some(computed)) if !is_as_claimed(claimed, computed) => Err(S3Error::with(
                ErrorCode::BadDigest,
                format!(
                    "The {} that was given is not that of the object that the parts make.",
                    kind.algorithm.name()
                ),
            )),
            (Some(_), None) => Err(S3Error::invalid_request(format!(
                "The {} that was given cannot be verified: not every part was uploaded with one.",
                kind.algorithm.name()
            ))),
            _ => Ok(computed),
        }
    }
}

/// Some clients leave out how many parts there are.
fn is_as_claimed(claimed: &Checksum, computed: &Checksum) -> bool {
    claimed.digest == computed.digest
        && (claimed.part_count.is_none() || claimed.part_count == computed.part_count)
}

fn combine(kind: ChecksumKind, parts: &[&Part]) -> Option<Checksum> {
    let of_part = |part: &&Part| stored(part, kind.algorithm);
    let checksums: Vec<Checksum> = parts.iter().map(of_part).collect::<Option<_>>()?;
    let digests = checksums.iter().map(|checksum| &checksum.digest[..]);
    match kind.checksum_type {
        ChecksumType::Composite => Some(Checksum::composite(kind.algorithm, digests)),
        ChecksumType::FullObject => {
            let lengths = parts.iter().map(|part| part.size);
            Checksum::full_of_parts(kind.algorithm, digests.zip(lengths))
        }
    }
}

fn stored(part: &Part, algorithm: Algorithm) -> Option<Checksum> {
    let mut stored = part.checksums.iter().filter_map(Checksum::from_catalog);
    stored.find(|checksum| checksum.algorithm == algorithm && checksum.part_count.is_none())
}

/// Whether a part's checksums are those with which the client lists it. It need not list any.
pub(super) fn is_as_listed(part: &Part, listed: &[Checksum]) -> bool {
    listed.iter().all(|listed| stored(part, listed.algorithm).as_ref() == Some(listed))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::types::Timestamp;

    use super::*;
    use crate::s3::headers::tests::head;

    const TYPES: [ChecksumType; 2] = [ChecksumType::Composite, ChecksumType::FullObject];

    fn claim(pairs: &[(&str, &str)]) -> S3Result<Claim> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        Claim::of(&head(&pairs))
    }

    /// A part of these bytes, with all checksums.
    fn part(number: u16, bytes: &[u8]) -> Part {
        let checksums = Algorithm::ALL.map(|algorithm| Checksum::of(algorithm, bytes).to_catalog());
        Part {
            number,
            size: bytes.len() as u64,
            digest: [0; 16],
            last_modified: Timestamp::new(0),
            checksums: checksums.to_vec(),
        }
    }

    #[test]
    fn a_claim_is_one_checksum_and_a_type() {
        let empty = claim(&[]).unwrap();
        assert_eq!(empty, Claim::default());
        let found = claim(&[("x-amz-checksum-crc32", "AAAAAA==-2"), ("x-amz-checksum-type", "COMPOSITE")]);
        let checksum = Checksum { part_count: Some(2), ..Checksum::full(Algorithm::Crc32, vec![0; 4]) };
        let expected = Claim { checksum: Some(checksum), checksum_type: Some(ChecksumType::Composite) };
        assert_eq!(found, Ok(expected));
        for pairs in [
            &[("x-amz-checksum-crc32", "AAAAAA==x")][..],
            &[("x-amz-checksum-sha1", "AAAAAA==")],
            &[("x-amz-checksum-type", "WHOLE")],
            &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-crc32c", "AAAAAA==")],
        ] {
            assert_eq!(claim(pairs).unwrap_err().code, ErrorCode::InvalidRequest, "{pairs:?}");
        }
    }

    #[test]
    fn what_was_declared_is_what_the_object_gets() {
        let parts = [part(1, b"abc"), part(4, b"defg")];
        let parts: Vec<_> = parts.iter().collect();
        let none = Claim::default();
        let full = none.checksum_of_parts(None, &parts).unwrap().unwrap();
        assert_eq!(full, Checksum::of(Algorithm::Crc64Nvme, b"abcdefg"), "what nobody asked for");
        for algorithm in Algorithm::ALL {
            for checksum_type in TYPES.into_iter().filter(|checksum_type| algorithm.allows(*checksum_type)) {
                let kind = ChecksumKind { algorithm, checksum_type };
                let found = none.checksum_of_parts(Some(kind), &parts).unwrap().unwrap();
                assert_eq!((found.algorithm, found.checksum_type()), (algorithm, checksum_type));
                if checksum_type == ChecksumType::FullObject {
                    assert_eq!(found, Checksum::of(algorithm, b"abcdefg"));
                } else {
                    let digests = [&b"abc"[..], b"defg"].map(|bytes| Checksum::of(algorithm, bytes).digest);
                    assert_eq!(found.digest, Checksum::of(algorithm, &digests.concat()).digest);
                    assert_eq!(found.part_count, Some(2));
                }
            }
        }
    }

    #[test]
    fn what_the_client_says_of_the_whole_must_be_so() {
        let parts = [part(1, b"abc"), part(2, b"d")];
        let parts: Vec<_> = parts.iter().collect();
        let crc32 = |checksum_type| Some(ChecksumKind { algorithm: Algorithm::Crc32, checksum_type });
        let (composite, full) = (crc32(ChecksumType::Composite), crc32(ChecksumType::FullObject));
        let of_parts = Claim::default().checksum_of_parts(composite, &parts).unwrap().unwrap().to_string();
        let bare = of_parts.strip_suffix("-2").unwrap();
        let of_bytes = Checksum::of(Algorithm::Crc32, b"abcd").to_string();
        let sha1 = Checksum::of(Algorithm::Sha1, b"abcd").to_string();
        let header = "x-amz-checksum-crc32";
        let (bad, invalid) = (Some(ErrorCode::BadDigest), Some(ErrorCode::InvalidRequest));
        let three = format!("{bare}-3");
        for (declared, pairs, refusal) in [
            (composite, &[(header, of_parts.as_str())][..], None),
            (composite, &[(header, bare)], None),
            (composite, &[(header, &of_parts), ("x-amz-checksum-type", "COMPOSITE")], None),
            (composite, &[(header, &three)], bad),
            (composite, &[(header, &of_bytes)], bad),
            (composite, &[("x-amz-checksum-type", "FULL_OBJECT")], invalid),
            (composite, &[("x-amz-checksum-sha1", &sha1)], invalid),
            (full, &[(header, &of_bytes)], None),
            (full, &[(header, &of_parts)], bad),
            (full, &[(header, &of_bytes), ("x-amz-checksum-type", "COMPOSITE")], invalid),
            (None, &[(header, &of_bytes)], None),
            (None, &[(header, &of_parts)], None),
            (None, &[(header, "AAAAAA==")], bad),
            (None, &[("x-amz-checksum-sha1", &sha1)], bad),
            (None, &[("x-amz-checksum-type", "COMPOSITE")], invalid),
        ] {
            let found = claim(pairs).unwrap().checksum_of_parts(declared, &parts);
            assert_eq!(found.err().map(|error| error.code), refusal, "{declared:?} {pairs:?}");
        }
    }

    /// Nobody has read a part that was copied by reference.
    #[test]
    fn a_part_without_a_checksum_leaves_the_object_without_one_unless_it_is_asked_for() {
        let copied = Part { checksums: Vec::new(), ..part(2, b"d") };
        let parts = [part(1, b"abc"), copied];
        let parts: Vec<_> = parts.iter().collect();
        assert_eq!(Claim::default().checksum_of_parts(None, &parts), Ok(None));
        let asked = claim(&[("x-amz-checksum-crc32", "AAAAAA==")]).unwrap();
        let refused = asked.checksum_of_parts(None, &parts).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_part_is_listed_with_its_own_checksums_or_none() {
        let part = part(1, b"abc");
        let own = |algorithm| Checksum::of(algorithm, b"abc");
        assert!(is_as_listed(&part, &[]));
        assert!(is_as_listed(&part, &[own(Algorithm::Sha1), own(Algorithm::Crc32)]));
        assert!(!is_as_listed(&part, &[own(Algorithm::Sha1), Checksum::of(Algorithm::Crc32, b"x")]));
        let bare = Part { checksums: Vec::new(), ..part };
        assert!(!is_as_listed(&bare, &[own(Algorithm::Sha1)]));
    }

    proptest! {
        #[test]
        fn the_default_checksum_of_any_parts_is_that_of_their_bytes(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..9),
        ) {
            let whole = Checksum::of(Algorithm::DEFAULT, &parts.concat());
            let parts: Vec<Part> = parts.iter().zip(1..).map(|(bytes, number)| part(number, bytes)).collect();
            let parts: Vec<&Part> = parts.iter().collect();
            prop_assert_eq!(Claim::default().checksum_of_parts(None, &parts), Ok(Some(whole)));
        }
    }
}
