//! The checksum that a client chose when it began an upload. Every part has one of its algorithm, and the
//! object's is made of theirs.
//!
//! It is kept with the upload among the headers that become the object's, under a name that no header can
//! have: so it never leaves as one.

use protocol::catalog::{Header, Headers};

use crate::body::{Algorithm, ChecksumType};

const NAME: &[u8] = b":checksum";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UploadChecksum {
    pub(crate) algorithm: Algorithm,
    pub(crate) checksum_type: ChecksumType,
}

impl UploadChecksum {
    /// If the client names none.
    pub(crate) const DEFAULT: UploadChecksum =
        UploadChecksum { algorithm: Algorithm::DEFAULT, checksum_type: ChecksumType::FullObject };

    /// Keeps it among the headers of an upload.
    pub(crate) fn keep(self, headers: &mut Headers) {
        let value = format!("{} {}", self.algorithm.name(), self.checksum_type.name());
        headers.retain(|header| header.name != NAME);
        headers.push(Header { name: NAME.into(), value: value.into() });
        headers.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// What the client chose for an upload with these headers. None if it chose nothing.
    pub(crate) fn of(headers: &Headers) -> Option<UploadChecksum> {
        let header = headers.iter().find(|header| header.name == NAME)?;
        let space = header.value.iter().position(|byte| *byte == b' ')?;
        let (algorithm, checksum_type) = header.value.split_at(space);
        Some(UploadChecksum {
            algorithm: Algorithm::parse(algorithm)?,
            checksum_type: ChecksumType::parse(&checksum_type[1..])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName};
    use protocol::catalog::{check_headers, headers};

    use super::*;

    #[test]
    fn it_is_kept_with_the_headers_and_never_leaves_as_one() {
        assert!(HeaderName::from_bytes(NAME).is_err());
        assert_eq!(UploadChecksum::of(&headers([("content-type", "a")])), None);
        for algorithm in Algorithm::ALL {
            for checksum_type in [ChecksumType::Composite, ChecksumType::FullObject] {
                let chosen = UploadChecksum { algorithm, checksum_type };
                let mut headers = headers([("content-type", "a"), ("x-amz-meta-a", "b")]);
                UploadChecksum::DEFAULT.keep(&mut headers);
                chosen.keep(&mut headers);
                assert_eq!(check_headers(&headers), Ok(()));
                assert_eq!(UploadChecksum::of(&headers), Some(chosen));
                let mut answer = HeaderMap::new();
                crate::s3::headers::write(&headers, &mut answer);
                assert_eq!(answer.len(), 2);
            }
        }
    }
}
