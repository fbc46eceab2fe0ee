//! Making a document.

use std::fmt::{Display, Write};

use jiff::Timestamp as Moment;
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
        let mut document = Document { text: String::with_capacity(1024), root };
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
        write!(self.text, "<{name}>").expect("memory takes all text");
        write!(Escape(&mut self.text), "{value}").expect("memory takes all text");
        write!(self.text, "</{name}>").expect("memory takes all text");
    }

    /// An element only if there is a value.
    pub(crate) fn optional(&mut self, name: &'static str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.element(name, value);
        }
    }

    /// A moment as documents write it: `2026-01-02T03:04:05.678Z`.
    pub(crate) fn moment(&mut self, name: &'static str, moment: Timestamp) {
        self.element(name, iso_8601(moment));
    }

    /// An element that holds elements.
    pub(crate) fn group(&mut self, name: &'static str, inner: impl FnOnce(&mut Document)) {
        write!(self.text, "<{name}>").expect("memory takes all text");
        inner(self);
        write!(self.text, "</{name}>").expect("memory takes all text");
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
        write!(self.text, "</{name}>").expect("memory takes all text");
    }

    pub(crate) fn finish(mut self) -> String {
        write!(self.text, "</{}>", self.root).expect("memory takes all text");
        self.text
    }
}

/// Milliseconds, as S3 writes them.
pub(crate) fn iso_8601(moment: Timestamp) -> String {
    let millis = i64::try_from(moment.get() / 1000).unwrap_or(i64::MAX);
    let moment = Moment::from_millisecond(millis).unwrap_or(Moment::MAX);
    format!("{moment:.3}")
}

/// What has a meaning in XML is written as an entity. Control characters cannot be in a document of XML
/// 1.0 at all: S3 writes them as numbers, which lenient parsers read; clients that care ask for
/// `encoding-type=url`.
struct Escape<'a>(&'a mut String);

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\u{0}'..='\u{1f}' | '\u{7f}' | '\u{fffe}' | '\u{ffff}' => {
                    write!(self.0, "&#x{:x};", u32::from(character))?;
                }
                _ => self.0.push(character),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        document.element("Key", "</Key><a b=\"&\">\u{1}\n\u{ffff}ä");
        let text = document.finish();
        let expected = "<Key>&lt;/Key&gt;&lt;a b=&quot;&amp;&quot;&gt;&#x1;&#xa;&#xffff;ä</Key></Error>";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn moments_have_milliseconds() {
        assert_eq!(iso_8601(Timestamp::new(1_767_323_045_678_901)), "2026-01-02T03:04:05.678Z");
        assert_eq!(iso_8601(Timestamp::new(0)), "1970-01-01T00:00:00.000Z");
    }
}
