//! Tags, in headers and in documents.

use std::borrow::Cow;
use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use protocol::catalog::{TAG_KEY_CHARS_MAX, TAG_VALUE_CHARS_MAX, Tag, Tags};

use super::xml::{Document, Element};
use super::{ErrorCode, S3Error, S3Result};

/// The tags of `x-amz-tagging`: `a=b&c=d`, encoded as the query of a URL.
pub(crate) fn parse_header(text: &str, count_max: usize) -> S3Result<Tags> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(key)?, decode(value)?))
    });
    checked(pairs.collect::<S3Result<Vec<_>>>()?, count_max)
}

fn decode(text: &str) -> S3Result<String> {
    // As in forms: here a plus is a space.
    match percent_decode_str(&text.replace('+', " ")).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(S3Error::invalid_argument("the header x-amz-tagging is not UTF-8, encoded as a query")
            .detail("ArgumentName", "x-amz-tagging")
            .detail("ArgumentValue", text)),
    }
}

/// The tags of a `Tagging` document.
pub(crate) fn parse_document(document: &[u8], count_max: usize) -> S3Result<Tags> {
    let tagging = Element::parse(document, "Tagging")?;
    parse_set(tagging.required("TagSet")?, count_max)
}

/// The tags in an element that holds nothing else.
pub(crate) fn parse_set(set: &Element, count_max: usize) -> S3Result<Tags> {
    let pairs = set
        .all("Tag")
        .map(|tag| Ok((tag.required_text("Key")?.to_owned(), tag.required_text("Value")?.to_owned())));
    checked(pairs.collect::<S3Result<Vec<_>>>()?, count_max)
}

fn checked(pairs: Vec<(String, String)>, count_max: usize) -> S3Result<Tags> {
    if pairs.len() > count_max {
        return Err(invalid(format!("there are {} tags, and {count_max} are allowed", pairs.len())));
    }
    let mut keys = BTreeSet::new();
    for (key, value) in &pairs {
        if key.is_empty() || key.chars().count() > TAG_KEY_CHARS_MAX || !key.chars().all(is_allowed) {
            return Err(invalid("The TagKey you have provided is invalid").detail("TagKey", key));
        }
        if value.chars().count() > TAG_VALUE_CHARS_MAX || !value.chars().all(is_allowed) {
            return Err(invalid("The TagValue you have provided is invalid")
                .detail("TagKey", key)
                .detail("TagValue", value));
        }
        if key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:")) {
            return Err(invalid("System tags cannot be added/updated by requester").detail("TagKey", key));
        }
        if !keys.insert(key) {
            return Err(invalid("Cannot provide multiple Tags with the same key").detail("TagKey", key));
        }
    }
    Ok(pairs.into_iter().map(|(key, value)| Tag { key: key.into(), value: value.into() }).collect())
}

/// Letters, digits and spaces of any script, and a few signs.
fn is_allowed(character: char) -> bool {
    let space = character.is_whitespace() && !character.is_control();
    character.is_alphanumeric() || space || "_.:/=+-@".contains(character)
}

fn invalid(why: impl Into<Cow<'static, str>>) -> S3Error {
    S3Error::with(ErrorCode::InvalidTag, why)
}

/// The document that `parse_document` reads.
pub(crate) fn document(tags: &[Tag]) -> Document {
    let mut document = Document::new("Tagging");
    document.group("TagSet", |set| {
        for Tag { key, value } in tags {
            set.group("Tag", |tag| {
                tag.element("Key", String::from_utf8_lossy(key));
                tag.element("Value", String::from_utf8_lossy(value));
            });
        }
    });
    document
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::catalog::{OBJECT_TAG_COUNT_MAX, check_tags};

    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        let tag = |(key, value): &(&str, &str)| Tag {
            key: key.as_bytes().to_vec().into(),
            value: value.as_bytes().to_vec().into(),
        };
        pairs.iter().map(tag).collect()
    }

    fn header(text: &str) -> S3Result<Tags> {
        parse_header(text, OBJECT_TAG_COUNT_MAX)
    }

    #[test]
    fn a_header_is_a_query() {
        for (text, expected) in [
            ("", &[][..]),
            ("a=b", &[("a", "b")]),
            ("a=b&c=d&", &[("a", "b"), ("c", "d")]),
            ("a", &[("a", "")]),
            ("a=", &[("a", "")]),
            ("a=b=c", &[("a", "b=c")]),
            ("a+b=c%2Bd%26", &[]),
            ("a+b=c%2Bd%20e", &[("a b", "c+d e")]),
            ("%C3%A4=%E6%97%A5", &[("ä", "日")]),
        ] {
            match (header(text), expected) {
                // An ampersand is none of the signs.
                (Err(error), []) => assert_eq!(error.code, ErrorCode::InvalidTag, "{text}"),
                (parsed, expected) => assert_eq!(parsed, Ok(tags(expected)), "{text}"),
            }
        }
        assert_eq!(header("a=%FF").unwrap_err().code, ErrorCode::InvalidArgument);
    }

    #[test]
    fn tags_that_break_a_rule_are_refused() {
        let (long_key, long_value) = ("k".repeat(129), format!("k={}", "v".repeat(257)));
        let many = "abcdefghijk".chars().map(|key| format!("{key}=1&")).collect::<String>();
        for text in ["=a", "a=1&a=2", "aws:a=1", "AWS:a=1", "a%0A=1", "a=%3C", &long_key, &long_value, &many]
        {
            assert_eq!(header(text).unwrap_err().code, ErrorCode::InvalidTag, "{text}");
        }
        assert!(header(&"ä".repeat(128)).is_ok());
        assert!(header(&format!("k={}", "ä".repeat(256))).is_ok());
        assert!(header(&many[4..]).is_ok());
    }

    #[test]
    fn a_document_without_its_parts_is_malformed() {
        for document in [
            "",
            "<Tags/>",
            "<Tagging/>",
            "<Tagging><TagSet/><TagSet/></Tagging>",
            "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
            "<Tagging><TagSet><Tag><Value>a</Value></Tag></TagSet></Tagging>",
        ] {
            let error = parse_document(document.as_bytes(), OBJECT_TAG_COUNT_MAX).unwrap_err();
            assert_eq!(error.code, ErrorCode::MalformedXml, "{document}");
        }
        assert_eq!(parse_document(b"<Tagging><TagSet/></Tagging>", 0), Ok(Tags::new()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            pairs in prop::collection::btree_map("[a-zäß 0-9_.:/=+@-]{1,128}", "[a-zäß 0-9_.:/=+@-]{0,256}", 0..10),
        ) {
            prop_assume!(pairs.keys().all(|key| !key.starts_with("aws:")));
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let document = document(&tags(&pairs)).finish();
            let parsed = parse_document(document.as_bytes(), OBJECT_TAG_COUNT_MAX);
            prop_assert_eq!(&parsed, &Ok(tags(&pairs)));
            prop_assert!(check_tags(&parsed.unwrap(), OBJECT_TAG_COUNT_MAX).is_ok());
        }

        /// What we let pass the catalog must not refuse: it would not say why.
        #[test]
        fn what_passes_here_passes_in_the_catalog(text in "[a-zA-Z:=&%+0-9]{0,60}") {
            if let Ok(tags) = header(&text) {
                prop_assert_eq!(check_tags(&tags, OBJECT_TAG_COUNT_MAX), Ok(()));
            }
        }
    }
}
