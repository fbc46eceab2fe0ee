//! Making a document.

use std::fmt::{self, Display, Write};

use protocol::types::Timestamp;

/// The name space of everything but error documents. Some clients look for nothing else.
const NAME_SPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A document that is being made: elements in elements, text at the ends.
pub(crate) struct Document {
    text: String,
    root: &'static str,
}

impl Document {
    pub(crate) fn new(root: &'static str) -> Document {
        Document::with_capacity(root, 1024)
    }

    /// One that will have about so many bytes.
    pub(crate) fn with_capacity(root: &'static str, bytes: usize) -> Document {
        let mut document = Document { text: String::with_capacity(bytes), root };
        document.push_declaration();
        write!(document.text, "<{root} xmlns=\"{NAME_SPACE}\">").expect("memory takes all text");
        document
    }

    /// Error documents have no name space.
    pub(crate) fn of_error() -> Document {
        let mut document = Document { text: String::with_capacity(512), root: "Error" };
        document.push_declaration();
        document.text.push_str("<Error>");
        document
    }

    fn push_declaration(&mut self) {
        self.text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    }

    /// `<name>value</name>`, also if the value is empty.
    pub(crate) fn element(&mut self, name: &'static str, value: impl Display) {
        self.open(name);
        self.text(value);
        self.close(name);
    }

    /// Text in the element that is being made: for a root that holds nothing else.
    pub(crate) fn text(&mut self, value: impl Display) {
        write!(Escape(&mut self.text), "{value}").expect("memory takes all text");
    }

    /// An element only if there is a value.
    pub(crate) fn optional(&mut self, name: &'static str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.element(name, value);
        }
    }

    /// A moment as documents write it: `2026-01-02T03:04:05.678Z`.
    pub(crate) fn moment(&mut self, name: &'static str, moment: Timestamp) {
        self.open(name);
        write!(self.text, "{}", Iso8601(moment)).expect("memory takes all text");
        self.close(name);
    }

    /// An element that holds elements.
    pub(crate) fn group(&mut self, name: &'static str, inner: impl FnOnce(&mut Document)) {
        self.open(name);
        inner(self);
        self.close(name);
    }

    /// The same with an attribute, as access control lists have it.
    pub(crate) fn group_of_type(
        &mut self,
        name: &'static str,
        kind: &'static str,
        inner: impl FnOnce(&mut Document),
    ) {
        const SCHEMA: &str = "http://www.w3.org/2001/XMLSchema-instance";
        write!(self.text, "<{name} xmlns:xsi=\"{SCHEMA}\" xsi:type=\"{kind}\">")
            .expect("memory takes all text");
        inner(self);
        self.close(name);
    }

    pub(crate) fn finish(mut self) -> String {
        self.close(self.root);
        self.text
    }

    /// Pieces rather than formats: a page of a listing has ten thousand elements.
    fn open(&mut self, name: &'static str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
    }

    fn close(&mut self, name: &'static str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }
}

/// The last moment that four digits of a year can say, in milliseconds.
const MILLIS_MAX: u64 = 253_402_300_799_999;

/// Milliseconds, as S3 writes them.
struct Iso8601(Timestamp);

/// By hand, because a listing has a thousand of them, and a calendar with leap seconds, zones and
/// precisions is several times as slow.
impl Display for Iso8601 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = (self.0.get() / 1000).min(MILLIS_MAX);
        let (days, millis) = (millis / 86_400_000, millis % 86_400_000);
        let (year, month, day) = civil_date(days);
        let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
        let (second, millis) = (millis / 1000 % 60, millis % 1000);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (value, end) in
            [(year, 4), (month, 7), (day, 10), (hour, 13), (minute, 16), (second, 19), (millis, 23)]
        {
            push_digits(&mut text[..end], value);
        }
        f.write_str(std::str::from_utf8(&text).expect("digits and what was there are ASCII"))
    }
}

/// Writes a number into the digits at the end of a text, backwards.
fn push_digits(text: &mut [u8], mut value: u64) {
    for digit in text.iter_mut().rev().take_while(|byte| byte.is_ascii_digit()) {
        *digit = b"0123456789"[usize::try_from(value % 10).expect("a digit")];
        value /= 10;
    }
}

/// Year, month and day, from the days since 1970. Years begin in March here, so that a leap day is the
/// last day of a year; the days before a month are then a straight line, rounded.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Since the first of March of the year 0.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// What has a meaning in XML is written as an entity. Control characters cannot be in a document of XML
/// 1.0 at all: S3 writes them as numbers, which lenient parsers read; clients that care ask for
/// `encoding-type=url`.
struct Escape<'a>(&'a mut String);

impl Write for Escape<'_> {
    /// Runs of what needs no care are copied as a whole.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut run = 0;
        for (index, byte) in text.bytes().enumerate() {
            let entity = match byte {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                0x00..=0x1f | 0x7f => "",
                // The two that are no characters begin like this.
                0xef if text[index..].starts_with(['\u{fffe}', '\u{ffff}']) => "",
                _ => continue,
            };
            self.0.push_str(&text[run..index]);
            let character = text[index..].chars().next().expect("there is a byte");
            run = index + character.len_utf8();
            match entity {
                "" => write!(self.0, "&#x{:x};", u32::from(character))?,
                entity => self.0.push_str(entity),
            }
        }
        self.0.push_str(&text[run..]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_document_is_elements_in_elements() {
        let mut document = Document::new("Result");
        document.element("Name", "b");
        document.group("Owner", |owner| owner.element("ID", 7));
        document.optional("Nothing", None::<&str>);
        document.element("Empty", "");
        let text = document.finish();
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <Result xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <Name>b</Name><Owner><ID>7</ID></Owner><Empty></Empty></Result>";
        assert_eq!(text, expected);
    }

    #[test]
    fn text_cannot_break_out() {
        let mut document = Document::of_error();
        document.element("Key", "</Key><a b=\"&\">\u{1}\n\u{ffff}ä\u{fffd}");
        let text = document.finish();
        let expected =
            "<Key>&lt;/Key&gt;&lt;a b=&quot;&amp;&quot;&gt;&#x1;&#xa;&#xffff;ä\u{fffd}</Key></Error>";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn moments_have_milliseconds() {
        assert_eq!(Iso8601(Timestamp::new(1_767_323_045_678_901)).to_string(), "2026-01-02T03:04:05.678Z");
        assert_eq!(Iso8601(Timestamp::new(0)).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Iso8601(Timestamp::new(u64::MAX)).to_string(), "9999-12-31T23:59:59.999Z");
    }

    proptest! {
        #[test]
        fn the_calendar_is_the_usual_one(millis in 0..253_402_200_000_000_i64) {
            let expected = format!("{:.3}", jiff::Timestamp::from_millisecond(millis).unwrap());
            let micros = u64::try_from(millis).unwrap() * 1000 + 999;
            prop_assert_eq!(Iso8601(Timestamp::new(micros)).to_string(), expected);
        }
    }
}
