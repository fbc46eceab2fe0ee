//! Which bytes of an object are wanted: `Range`.

use std::ops::Range;

use http::HeaderValue;
use http::header::CONTENT_RANGE;
use protocol::catalog::PieceStart;

use crate::s3::{ErrorCode, S3Error, S3Result};

/// One range, as a client writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteRange {
    /// From the first on, to the last if there is one.
    From { first: u64, last: Option<u64> },
    /// The last so many.
    Suffix { length: u64 },
}

impl ByteRange {
    /// None of what is malformed, of several ranges, and of units that nobody knows: then the whole object
    /// is what S3 sends.
    pub(crate) fn parse(value: &[u8]) -> Option<ByteRange> {
        let (unit, range) = std::str::from_utf8(value).ok()?.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = range.trim().split_once('-')?;
        let (first, last) = (first.trim_end(), last.trim_start());
        match (first, last) {
            ("", length) => Some(ByteRange::Suffix { length: number(length)? }),
            (first, "") => Some(ByteRange::From { first: number(first)?, last: None }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(ByteRange::From { first, last: Some(last) })
            }
        }
    }

    /// Where its first byte is, of an object whose size is not known yet.
    pub(crate) fn start(self) -> PieceStart {
        match self {
            ByteRange::From { first, .. } => PieceStart::Offset { offset: first },
            ByteRange::Suffix { length } => PieceStart::Suffix { length },
        }
    }

    /// The bytes that it means of an object of this size. One at least, or it cannot be satisfied.
    pub(crate) fn of(self, size: u64) -> S3Result<Range<u64>> {
        let range = match self {
            ByteRange::From { first, last } => {
                first..last.map_or(size, |last| size.min(last.saturating_add(1)))
            }
            ByteRange::Suffix { length } => size.saturating_sub(length)..size,
        };
        if range.is_empty() { Err(self.unsatisfiable(size)) } else { Ok(range) }
    }

    fn unsatisfiable(self, size: u64) -> S3Error {
        let content_range = HeaderValue::try_from(format!("bytes */{size}")).expect("digits and signs");
        S3Error::new(ErrorCode::InvalidRange)
            .detail("RangeRequested", self.to_string())
            .detail("ActualObjectSize", size.to_string())
            .header(CONTENT_RANGE, content_range)
    }
}

/// So many digits that it overflows: beyond the end of every object.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

impl std::fmt::Display for ByteRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ByteRange::From { first, last: Some(last) } => write!(f, "bytes={first}-{last}"),
            ByteRange::From { first, last: None } => write!(f, "bytes={first}-"),
            ByteRange::Suffix { length } => write!(f, "bytes=-{length}"),
        }
    }
}

/// `bytes 0-4/10`: which bytes of how many an answer holds.
pub(crate) fn content_range(range: &Range<u64>, size: u64) -> HeaderValue {
    let text = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
    HeaderValue::try_from(text).expect("digits and signs")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of an object of ten bytes. None: the header is passed over.
    fn of_ten(value: &str) -> Option<Result<Range<u64>, ErrorCode>> {
        let range = ByteRange::parse(value.as_bytes())?;
        Some(range.of(10).map_err(|error| error.code))
    }

    #[test]
    fn ranges_mean_what_they_mean_in_s3() {
        let beyond = Some(Err(ErrorCode::InvalidRange));
        for (value, expected) in [
            ("bytes=0-4", Some(Ok(0..5))),
            ("bytes=0-0", Some(Ok(0..1))),
            ("bytes=4-9", Some(Ok(4..10))),
            ("bytes=4-10", Some(Ok(4..10))),
            ("bytes=4-99999999999999999999", Some(Ok(4..10))),
            ("bytes=4-18446744073709551615", Some(Ok(4..10))),
            ("bytes=0-", Some(Ok(0..10))),
            ("bytes=9-", Some(Ok(9..10))),
            ("bytes=10-", beyond.clone()),
            ("bytes=10-20", beyond.clone()),
            ("bytes=99999999999999999999-", beyond.clone()),
            ("bytes=-3", Some(Ok(7..10))),
            ("bytes=-10", Some(Ok(0..10))),
            ("bytes=-99999999999999999999", Some(Ok(0..10))),
            ("bytes=-0", beyond),
            (" Bytes = 1 - 2 ", Some(Ok(1..3))),
            ("bytes=5-4", None),
            ("bytes=0-1,4-5", None),
            ("bytes=0-1,", None),
            ("bytes=-", None),
            ("bytes=", None),
            ("bytes", None),
            ("bytes=a-b", None),
            ("bytes=0x1-2", None),
            ("bytes=+1-2", None),
            ("bytes=--1", None),
            ("bytes=1-2-3", None),
            ("items=0-4", None),
            ("0-4", None),
            ("", None),
        ] {
            assert_eq!(of_ten(value), expected, "{value}");
        }
    }

    #[test]
    fn nothing_of_an_empty_object_can_be_had() {
        for value in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            let error = ByteRange::parse(value.as_bytes()).unwrap().of(0).unwrap_err();
            assert_eq!(error.status().as_u16(), 416, "{value}");
            assert_eq!(error.headers, [(CONTENT_RANGE, HeaderValue::from_static("bytes */0"))]);
            let details = [("RangeRequested", value.to_owned()), ("ActualObjectSize", "0".to_owned())];
            assert_eq!(error.details, details);
        }
    }

    #[test]
    fn an_answer_says_which_bytes_it_holds() {
        assert_eq!(content_range(&(0..10), 10), "bytes 0-9/10");
        assert_eq!(content_range(&(3..4), 10), "bytes 3-3/10");
    }

    proptest! {
        #[test]
        fn a_range_is_never_empty_and_lies_in_the_object(first: u64, last: Option<u64>, size: u64, suffix: bool) {
            let range = match suffix {
                true => ByteRange::Suffix { length: first },
                false => ByteRange::From { first, last },
            };
            if last.is_none_or(|last| suffix || first <= last) {
                prop_assert_eq!(ByteRange::parse(range.to_string().as_bytes()), Some(range));
            }
            if let Ok(bytes) = range.of(size) {
                prop_assert!(bytes.start < bytes.end && bytes.end <= size);
                match range.start() {
                    PieceStart::Offset { offset } => prop_assert_eq!(offset, bytes.start),
                    PieceStart::Suffix { length } => prop_assert_eq!(size.saturating_sub(length), bytes.start),
                    PieceStart::Part { .. } => prop_assert!(false),
                }
            }
        }

        #[test]
        fn no_header_is_too_strange(value: Vec<u8>) {
            let _ = ByteRange::parse(&value);
        }
    }
}
