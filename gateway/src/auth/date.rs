//! Points in time as requests write them.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A second, as Signature Version 4 writes it: `20130524T000000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instant(Timestamp);

impl Instant {
    /// None: the clock is set to a time that no date can express.
    pub(super) fn of(time: SystemTime) -> Option<Instant> {
        let timestamp = Timestamp::try_from(time).ok()?;
        Timestamp::from_second(timestamp.as_second()).ok().map(Instant)
    }

    /// Reads the form with letters and without separators.
    pub(super) fn parse(text: &str) -> Option<Instant> {
        let digits = text.as_bytes();
        if digits.len() != 16 || digits[8] != b'T' || digits[15] != b'Z' {
            return None;
        }
        let number = |from: usize, to: usize| {
            digits[from..to].iter().try_fold(0_i16, |number, digit| {
                digit.is_ascii_digit().then(|| number * 10 + i16::from(digit - b'0'))
            })
        };
        let small = |from: usize| number(from, from + 2).and_then(|number| i8::try_from(number).ok());
        let date_time =
            DateTime::new(number(0, 4)?, small(4)?, small(6)?, small(9)?, small(11)?, small(13)?, 0).ok()?;
        let zoned = date_time.to_zoned(TimeZone::UTC).ok()?;
        Some(Instant(zoned.timestamp()))
    }

    /// Reads a `Date` header: as HTTP writes it, or in our own form.
    pub(super) fn parse_http(text: &str) -> Option<Instant> {
        let from_http = || jiff::fmt::rfc2822::parse(text).ok().map(|zoned| Instant(zoned.timestamp()));
        Instant::parse(text).or_else(from_http)
    }

    /// `20130524T000000Z`
    pub(super) fn to_text(self) -> String {
        self.0.strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    /// `20130524`
    pub(super) fn day(self) -> String {
        self.0.strftime("%Y%m%d").to_string()
    }

    /// `2013-05-24T00:00:00Z`, as error documents have it.
    pub(super) fn to_iso(self) -> String {
        self.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// How far apart two instants are, whichever comes first.
    pub(super) fn distance(self, other: Instant) -> Duration {
        Duration::from_secs(self.0.as_second().abs_diff(other.0.as_second()))
    }

    /// None: beyond all dates.
    pub(super) fn plus(self, seconds: u32) -> Option<Instant> {
        Timestamp::from_second(self.0.as_second().checked_add(i64::from(seconds))?).ok().map(Instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "20130524T010203Z";

    #[test]
    fn an_instant_reads_as_it_is_written() {
        let instant = Instant::parse(TEXT).unwrap();
        assert_eq!(
            instant,
            Instant::of(SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_357_323)).unwrap()
        );
        assert_eq!(instant.to_text(), TEXT);
        assert_eq!(instant.day(), "20130524");
        assert_eq!(instant.to_iso(), "2013-05-24T01:02:03Z");
        assert_eq!(Instant::parse_http("Fri, 24 May 2013 01:02:03 GMT"), Some(instant));
        assert_eq!(Instant::parse_http(TEXT), Some(instant));
        let later = instant.plus(86_400).unwrap();
        assert_eq!(later.to_text(), "20130525T010203Z");
        assert_eq!(later.distance(instant), Duration::from_secs(86_400));
        assert_eq!(instant.distance(later), Duration::from_secs(86_400));
    }

    #[test]
    fn the_parts_of_a_second_do_not_count() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_369_357_323_999);
        assert_eq!(Instant::of(time), Instant::parse(TEXT));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for wrong in [
            "",
            "20130524",
            "20130524T010203",
            "20130524t010203z",
            "20131324T010203Z",
            "20130230T010203Z",
            "20130524T240203Z",
            "20130524T010260Z",
            "2013052xT010203Z",
            "+0130524T010203Z",
            "2013ä524T010203Z",
            "2013-05-24T01:02:03Z",
        ] {
            assert_eq!(Instant::parse(wrong), None, "{wrong}");
        }
        for wrong in ["yesterday", "Fri, 24 May 2013", "Fri, 99 May 2013 01:02:03 GMT"] {
            assert_eq!(Instant::parse_http(wrong), None, "{wrong}");
        }
    }
}
