//! Reading a document that a client sent: into a small tree, whose size, depth and number of elements
//! are bounded. Whoever sends a document has an access key, but may still be careless or malicious.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::body::DOCUMENT_BYTES_MAX;
use crate::s3::{ErrorCode, S3Error, S3Result};

/// Twice what the deepest document of S3 needs.
const DEPTH_MAX: usize = 16;

/// 10,000 parts with their number, their ETag, and all checksums that one part may have.
const ELEMENT_COUNT_MAX: usize = 120_000;

/// Attributes are not looked at: they are name spaces and schema hints.
const ATTRIBUTE_COUNT_MAX: usize = 16;

/// An element and what is in it. Name spaces and prefixes are dropped: clients disagree about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    /// As it stands there, spaces and all, because it may be a key. Empty if there are children.
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// Reads a document whose root has this name.
    pub(crate) fn parse(document: &[u8], root: &'static str) -> S3Result<Element> {
        let element = Element::parse_any(document)?;
        if element.name == root {
            Ok(element)
        } else {
            Err(malformed(format!("the document is not a {root}")))
        }
    }

    fn parse_any(document: &[u8]) -> S3Result<Element> {
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(malformed("the document is too long"));
        }
        let text = std::str::from_utf8(document).map_err(|_| malformed("the document is not UTF-8"))?;
        let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
        let mut tree = Tree::default();
        while tree.on_event(reader.read_event().map_err(|error| malformed(error.to_string()))?)? {}
        tree.root.ok_or_else(|| malformed("the document has no element"))
    }

    /// The child of this name. An error if there are several.
    pub(crate) fn optional(&self, name: &'static str) -> S3Result<Option<&Element>> {
        let mut named = self.all(name);
        let first = named.next();
        match named.next() {
            Some(_) => Err(malformed(format!("{} has more than one {name}", self.name))),
            None => Ok(first),
        }
    }

    /// The child of this name. An error if there is none.
    pub(crate) fn required(&self, name: &'static str) -> S3Result<&Element> {
        self.optional(name)?.ok_or_else(|| malformed(format!("{} has no {name}", self.name)))
    }

    /// The text of the child of this name.
    pub(crate) fn optional_text(&self, name: &'static str) -> S3Result<Option<&str>> {
        match self.optional(name)? {
            Some(child) if child.children.is_empty() => Ok(Some(&child.text)),
            Some(_) => Err(malformed(format!("{name} is not text"))),
            None => Ok(None),
        }
    }

    pub(crate) fn required_text(&self, name: &'static str) -> S3Result<&str> {
        self.optional_text(name)?.ok_or_else(|| malformed(format!("{} has no {name}", self.name)))
    }

    /// The children of this name, in their order.
    pub(crate) fn all(&self, name: &'static str) -> impl Iterator<Item = &Element> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

pub(crate) fn malformed(why: impl Into<String>) -> S3Error {
    S3Error::with(ErrorCode::MalformedXml, why.into())
}

/// The elements that have begun, and the root once it has ended.
#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    root: Option<Element>,
    element_count: usize,
}

impl Tree {
    /// False at the end of the document.
    fn on_event(&mut self, event: Event<'_>) -> S3Result<bool> {
        match event {
            Event::Start(start) => self.open(&start)?,
            Event::Empty(start) => {
                self.open(&start)?;
                self.close()?;
            }
            // The reader has seen that it fits its beginning.
            Event::End(_) => self.close()?,
            Event::Text(text) => self.push_text(&text.xml10_content())?,
            Event::CData(text) => self.push_text(&text.xml10_content())?,
            Event::GeneralRef(reference) => {
                let number = reference.resolve_char_ref().map_err(|error| malformed(error.to_string()))?;
                let character = match (number, &*reference) {
                    (Some(character), _) => character,
                    (None, "lt") => '<',
                    (None, "gt") => '>',
                    (None, "amp") => '&',
                    (None, "apos") => '\'',
                    (None, "quot") => '"',
                    (None, name) => return Err(malformed(format!("the entity {name} is not known"))),
                };
                self.push_text(character.encode_utf8(&mut [0; 4]))?;
            }
            // It could define entities, in terms of each other.
            Event::DocType(_) => return Err(malformed("a document type is not accepted")),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            Event::Eof if self.open.is_empty() => return Ok(false),
            Event::Eof => return Err(malformed("the document ends too early")),
        }
        Ok(true)
    }

    fn open(&mut self, start: &BytesStart<'_>) -> S3Result<()> {
        if self.root.is_some() {
            return Err(malformed("the document has more than one root"));
        }
        if self.open.len() == DEPTH_MAX {
            return Err(malformed("the document is too deep"));
        }
        self.element_count += 1;
        if self.element_count > ELEMENT_COUNT_MAX {
            return Err(malformed("the document has too many elements"));
        }
        // Whether one repeats is not checked: that would take time squared.
        let mut attributes = start.attributes();
        for (index, attribute) in attributes.with_checks(false).enumerate() {
            if index == ATTRIBUTE_COUNT_MAX {
                return Err(malformed("an element has too many attributes"));
            }
            attribute.map_err(|error| malformed(error.to_string()))?;
        }
        let name = start.local_name().into_inner().to_owned();
        self.open.push(Element { name, ..Element::default() });
        Ok(())
    }

    fn close(&mut self) -> S3Result<()> {
        let mut element = self.open.pop().ok_or_else(|| malformed("an element ends that has not begun"))?;
        if !element.children.is_empty() {
            if !is_space(&element.text) {
                return Err(malformed(format!("{} has both text and elements", element.name)));
            }
            element.text = String::new();
        }
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn push_text(&mut self, text: &str) -> S3Result<()> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if is_space(text) => {}
            None => return Err(malformed("there is text outside of all elements")),
        }
        Ok(())
    }
}

fn is_space(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::s3::xml::Document;

    fn root(document: &str) -> Element {
        Element::parse(document.as_bytes(), "R").unwrap()
    }

    fn refused(document: &str) -> bool {
        let outcome = Element::parse_any(document.as_bytes());
        outcome.is_err_and(|error| error.code == ErrorCode::MalformedXml)
    }

    #[test]
    fn a_document_becomes_a_tree_without_name_spaces() {
        let plain = root("<R><K>a</K><E/><D><X>1</X><X>2</X></D></R>");
        let decorated = root(
            "\u{feff}<?xml version='1.0' encoding='UTF-8'?>\n<!-- a -->\n<s3:R xmlns:s3='u' xmlns=\"v\">\n  \
             <s3:K a='b'>a</s3:K>\n <E></E> <D>\n<X>1</X><!-- b --><X><![CDATA[2]]></X>\n</D>\n</s3:R>\n",
        );
        assert_eq!(plain, decorated);
        assert_eq!(plain.required_text("K").unwrap(), "a");
        assert_eq!(plain.required_text("E").unwrap(), "");
        assert_eq!(plain.optional_text("N").unwrap(), None);
        let texts: Vec<_> = plain.required("D").unwrap().all("X").map(|x| x.text.as_str()).collect();
        assert_eq!(texts, ["1", "2"]);
    }

    #[test]
    fn text_is_kept_as_it_is() {
        for (written, read) in [
            ("  a b  ", "  a b  "),
            ("&lt;&gt;&amp;&apos;&quot;", "<>&'\""),
            ("a&#xd;b&#10;c&#x1;d", "a\rb\nc\u{1}d"),
            ("a<![CDATA[<&>]]>b", "a<&>b"),
            ("ä\u{1F600}", "ä\u{1F600}"),
        ] {
            assert_eq!(root(&format!("<R>{written}</R>")).text, read, "{written}");
        }
    }

    #[test]
    fn what_is_missing_or_repeats_is_malformed() {
        let element = root("<R><A/><A/><B><C/></B></R>");
        assert!(element.optional("A").is_err());
        assert!(element.required("N").is_err());
        assert!(element.required_text("N").is_err());
        assert!(element.required_text("B").is_err());
        assert!(Element::parse(b"<R/>", "S").is_err());
    }

    #[test]
    fn what_is_not_a_document_is_malformed() {
        for document in [
            "",
            " ",
            "a",
            "<R>",
            "<R></S>",
            "</R>",
            "<R/><R/>",
            "<R/>a",
            "<R>a<B/></R>",
            "<R>&a;</R>",
            "<R>&</R>",
            "<R>&#x0;</R>",
            "<R>&#xd800;</R>",
            "<R a=b/>",
            "<R a='b/>",
            "<!DOCTYPE R><R/>",
            "<!DOCTYPE R [<!ENTITY a 'b'>]><R>&a;</R>",
            "<R><![CDATA[a</R>",
            "<R><!-- a</R>",
        ] {
            assert!(refused(document), "{document}");
        }
        assert!(Element::parse_any(b"<R>\xff</R>").is_err());
    }

    #[test]
    fn what_is_too_much_is_malformed() {
        let nested = |depth: usize| "<A>".repeat(depth) + &"</A>".repeat(depth);
        assert!(!refused(&nested(DEPTH_MAX)));
        assert!(refused(&nested(DEPTH_MAX + 1)));

        let flat = |count: usize| format!("<R>{}</R>", "<A/>".repeat(count - 1));
        assert!(!refused(&flat(ELEMENT_COUNT_MAX)));
        assert!(refused(&flat(ELEMENT_COUNT_MAX + 1)));

        assert!(!refused(&format!("<R{}/>", " a='b'".repeat(ATTRIBUTE_COUNT_MAX))));
        assert!(refused(&format!("<R{}/>", " a='b'".repeat(ATTRIBUTE_COUNT_MAX + 1))));

        let long = |length: usize| format!("<R>{}</R>", "a".repeat(length - "<R></R>".len()));
        assert!(!refused(&long(DOCUMENT_BYTES_MAX)));
        assert!(refused(&long(DOCUMENT_BYTES_MAX + 1)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Element::parse_any(&bytes);
        }

        /// Pieces of documents in any order get further than bytes do.
        #[test]
        fn no_pieces_make_the_reader_panic(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "<a>", "</a>", "<a/>", "<a b='c'>", "<", ">", "&lt;", "&#x1;", "&", ";", "<![CDATA[",
                    "]]>", "<!--", "-->", "<?xml ", "?>", "<!DOCTYPE ", "[", "]", "a", " ", "ä", "\u{feff}",
                    "'", "\"", "=",
                ]),
                0..40,
            ),
        ) {
            let _ = Element::parse_any(pieces.concat().as_bytes());
        }

        #[test]
        fn what_is_written_is_read(text in any::<String>()) {
            // XML has no way to say it.
            prop_assume!(!text.contains('\0'));
            let mut document = Document::new("R");
            document.element("Key", &text);
            let element = Element::parse(document.finish().as_bytes(), "R").unwrap();
            prop_assert_eq!(element.required_text("Key").unwrap(), text);
        }
    }
}
