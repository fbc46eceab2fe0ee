//! The conditions that a request may tie to an object: `If-Match` and its relatives.

use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp as Moment;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::tz::TimeZone;
use protocol::catalog::{CONDITION_ETAGS_MAX, Conditions, ETag, ETagMatch, ObjectSummary, SourceConditions};
use protocol::types::Timestamp;

use crate::http::Head;
use crate::http::response;
use crate::s3::{ErrorCode, S3Error, S3Result};

const SOURCE_IF_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-match");
const SOURCE_IF_NONE_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-none-match");
const SOURCE_IF_MODIFIED_SINCE: HeaderName = HeaderName::from_static("x-amz-copy-source-if-modified-since");
const SOURCE_IF_UNMODIFIED_SINCE: HeaderName =
    HeaderName::from_static("x-amz-copy-source-if-unmodified-since");

/// What must be true of a key that is to be written or deleted. Dates are not for that: several writes fit
/// into one second. A condition that we would not check is refused rather than passed over.
pub(crate) fn for_write(head: &Head) -> S3Result<Conditions> {
    if let Some(name) = [IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE].iter().find(|name| has(head, name)) {
        let error = S3Error::not_implemented("a date cannot be a condition of a write");
        return Err(error.detail("Header", name.as_str()));
    }
    Ok(Conditions {
        if_match: etag_match(&head.headers, &IF_MATCH)?,
        if_none_match: etag_match(&head.headers, &IF_NONE_MATCH)?,
    })
}

/// What must be true of an object that is to be read. A date that is none is passed over, as HTTP has it.
pub(crate) fn for_read(head: &Head) -> S3Result<SourceConditions> {
    let date = |name: &HeaderName| head.headers.get(name).and_then(|value| parse_date(value.as_bytes()));
    Ok(SourceConditions {
        if_match: etag_match(&head.headers, &IF_MATCH)?,
        if_none_match: etag_match(&head.headers, &IF_NONE_MATCH)?,
        if_modified_since: date(&IF_MODIFIED_SINCE),
        if_unmodified_since: date(&IF_UNMODIFIED_SINCE),
    })
}

/// What must be true of the source of a copy. This writes, so nothing is passed over.
pub(crate) fn for_source(head: &Head) -> S3Result<SourceConditions> {
    let date = |name: &HeaderName| match head.headers.get(name) {
        None => Ok(None),
        Some(value) => match parse_date(value.as_bytes()) {
            Some(date) => Ok(Some(date)),
            None => Err(invalid(name, "is not a date")),
        },
    };
    Ok(SourceConditions {
        if_match: etag_match(&head.headers, &SOURCE_IF_MATCH)?,
        if_none_match: etag_match(&head.headers, &SOURCE_IF_NONE_MATCH)?,
        if_modified_since: date(&SOURCE_IF_MODIFIED_SINCE)?,
        if_unmodified_since: date(&SOURCE_IF_UNMODIFIED_SINCE)?,
    })
}

/// Whether an object may be read. If the client has it already, the answer says which one it has.
pub(crate) fn check_read(conditions: &SourceConditions, object: &ObjectSummary) -> S3Result<()> {
    let ObjectSummary { etag, last_modified, size, .. } = object;
    if !conditions.hold_as_unchanged(etag, *last_modified) {
        let failed = if conditions.if_match.is_some() { "If-Match" } else { "If-Unmodified-Since" };
        return Err(S3Error::new(ErrorCode::PreconditionFailed).detail("Condition", failed));
    }
    if !conditions.hold_as_changed(etag, *last_modified) {
        let error = S3Error::new(ErrorCode::NotModified);
        return Err(error
            .header(http::header::ETAG, response::etag(etag))
            .header(http::header::CONTENT_LENGTH, HeaderValue::from(*size))
            .header(http::header::LAST_MODIFIED, response::http_date(*last_modified)));
    }
    Ok(())
}

fn has(head: &Head, name: &HeaderName) -> bool {
    head.headers.contains_key(name)
}

/// A list of ETags, in quotes or bare, or a star. What no object of ours can have matches nothing, but a
/// header that names nothing at all is a mistake: to write without the condition would be a worse one.
fn etag_match(headers: &HeaderMap, name: &HeaderName) -> S3Result<Option<ETagMatch>> {
    let mut etags = Vec::new();
    let mut count = 0;
    for value in headers.get_all(name) {
        for item in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            match item {
                b"" => continue,
                b"*" => return Ok(Some(ETagMatch::Any)),
                _ => count += 1,
            }
            etags.extend(ETag::parse(strong(name, item)));
        }
    }
    if count > CONDITION_ETAGS_MAX {
        return Err(invalid(name, "names too many ETags"));
    }
    if count == 0 && headers.contains_key(name) {
        return Err(invalid(name, "names no ETag"));
    }
    Ok((count > 0).then_some(ETagMatch::OneOf { etags }))
}

/// Our ETags are strong. Proxies that change a body on its way make weak ones of them: good enough to
/// know that nothing has changed, but never to say that something must not have.
fn strong<'a>(name: &HeaderName, etag: &'a [u8]) -> &'a [u8] {
    let for_absence = *name == IF_NONE_MATCH || *name == SOURCE_IF_NONE_MATCH;
    etag.strip_prefix(b"W/").filter(|_| for_absence).unwrap_or(etag)
}

fn invalid(name: &HeaderName, why: &str) -> S3Error {
    S3Error::invalid_argument(format!("the header {name} {why}")).detail("ArgumentName", name.as_str())
}

/// Any of the three forms that HTTP has had.
pub(crate) fn parse_date(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let moment = DateTimeParser::new().parse_timestamp(text).ok();
    let moment = moment.or_else(|| parse_old_date(text))?;
    // What is before 1970 is before every object.
    Some(Timestamp::new(u64::try_from(moment.as_microsecond()).unwrap_or(0)))
}

fn parse_old_date(text: &str) -> Option<Moment> {
    let formats = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let date = formats.iter().find_map(|format| DateTime::strptime(format, text).ok())?;
    TimeZone::UTC.to_timestamp(date).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::headers::tests::head;

    const ETAG: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "ffffffffffffffffffffffffffffffff-3";

    fn etag(text: &str) -> ETag {
        ETag::parse(text.as_bytes()).unwrap()
    }

    fn one_of(etags: &[&str]) -> Option<ETagMatch> {
        Some(ETagMatch::OneOf { etags: etags.iter().map(|text| etag(text)).collect() })
    }

    #[test]
    fn etags_come_quoted_and_bare_and_in_lists() {
        let long = vec!["\"x\""; CONDITION_ETAGS_MAX + 1].join(",");
        let bad = Err(ErrorCode::InvalidArgument);
        for (value, if_match, if_none_match) in [
            ("*", Ok(Some(ETagMatch::Any)), Ok(Some(ETagMatch::Any))),
            (ETAG, Ok(one_of(&[ETAG])), Ok(one_of(&[ETAG]))),
            (&format!("\"{ETAG}\""), Ok(one_of(&[ETAG])), Ok(one_of(&[ETAG]))),
            (&format!("\"{ETAG}\", {OTHER}"), Ok(one_of(&[ETAG, OTHER])), Ok(one_of(&[ETAG, OTHER]))),
            (&format!("W/\"{ETAG}\""), Ok(one_of(&[])), Ok(one_of(&[ETAG]))),
            ("\"ABCORZ\"", Ok(one_of(&[])), Ok(one_of(&[]))),
            ("\"x\", *", Ok(Some(ETagMatch::Any)), Ok(Some(ETagMatch::Any))),
            ("", bad.clone(), bad.clone()),
            (" , ,", bad.clone(), bad.clone()),
            (&long, bad.clone(), bad),
        ] {
            let matching = for_write(&head(&[("if-match", value.as_bytes())]));
            assert_eq!(matching.map(|found| found.if_match).map_err(|error| error.code), if_match, "{value}");
            let absent = for_write(&head(&[("if-none-match", value.as_bytes())]));
            let absent = absent.map(|found| found.if_none_match).map_err(|error| error.code);
            assert_eq!(absent, if_none_match, "{value}");
        }
        let lines: [(&str, &[u8]); 2] = [("if-match", ETAG.as_bytes()), ("if-match", OTHER.as_bytes())];
        assert_eq!(for_write(&head(&lines)).unwrap().if_match, one_of(&[ETAG, OTHER]));
        assert_eq!(for_write(&head(&[])), Ok(Conditions::none()));
    }

    #[test]
    fn a_date_is_no_condition_of_a_write() {
        for name in ["if-modified-since", "if-unmodified-since"] {
            let refused = for_write(&head(&[(name, b"Fri, 02 Jan 2026 03:04:05 GMT")])).unwrap_err();
            assert_eq!(refused.code, ErrorCode::NotImplemented, "{name}");
        }
    }

    #[test]
    fn dates_have_three_forms() {
        let expected = Some(Timestamp::new(784_111_777_000_000));
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            " Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06 Nov 1994 09:49:37 +0100",
        ] {
            assert_eq!(parse_date(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(parse_date(b"Thu, 01 Jan 1925 00:00:00 GMT"), Some(Timestamp::new(0)));
        for text in ["", "0", "yesterday", "Sun, 32 Nov 1994 08:49:37 GMT", "\u{e4}"] {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_copy_is_not_made_under_a_date_that_is_none() {
        let refused = for_source(&head(&[("x-amz-copy-source-if-modified-since", b"yesterday")]));
        assert_eq!(refused.unwrap_err().code, ErrorCode::InvalidArgument);
        assert_eq!(for_read(&head(&[("if-modified-since", b"yesterday")])), Ok(SourceConditions::none()));
        let found = for_source(&head(&[
            ("x-amz-copy-source-if-match", b"*"),
            ("x-amz-copy-source-if-unmodified-since", b"Sun, 06 Nov 1994 08:49:37 GMT"),
            ("if-none-match", b"*"),
        ]));
        let expected = SourceConditions {
            if_match: Some(ETagMatch::Any),
            if_unmodified_since: Some(Timestamp::new(784_111_777_000_000)),
            ..SourceConditions::none()
        };
        assert_eq!(found, Ok(expected));
    }

    /// Every combination of a true, a false and an absent condition, as S3 documents them: an ETag decides
    /// where a date is given as well.
    #[test]
    fn conditions_of_a_read_have_the_precedence_of_s3() {
        let object = ObjectSummary {
            version: 1,
            size: 1,
            etag: etag(ETAG),
            last_modified: Timestamp::new(784_111_777_900_000),
            checksums: Vec::new(),
        };
        let (before, at) = ("Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:37 GMT");
        let (ok, unmodified, failed) = (Ok(()), Err(304), Err(412));
        for (headers, expected) in [
            (&[][..], ok),
            (&[("if-match", ETAG)], ok),
            (&[("if-match", "*")], ok),
            (&[("if-match", OTHER)], failed),
            (&[("if-unmodified-since", at)], ok),
            (&[("if-unmodified-since", before)], failed),
            (&[("if-match", ETAG), ("if-unmodified-since", before)], ok),
            (&[("if-match", OTHER), ("if-unmodified-since", at)], failed),
            (&[("if-none-match", OTHER)], ok),
            (&[("if-none-match", ETAG)], unmodified),
            (&[("if-none-match", "*")], unmodified),
            (&[("if-modified-since", before)], ok),
            (&[("if-modified-since", at)], unmodified),
            (&[("if-none-match", ETAG), ("if-modified-since", before)], unmodified),
            (&[("if-none-match", OTHER), ("if-modified-since", at)], ok),
            (&[("if-match", OTHER), ("if-none-match", ETAG)], failed),
            (&[("if-match", ETAG), ("if-none-match", ETAG)], unmodified),
        ] {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            let conditions = for_read(&head(&headers)).unwrap();
            let outcome = check_read(&conditions, &object);
            assert_eq!(outcome.clone().map_err(|error| error.status().as_u16()), expected, "{headers:?}");
            if expected == unmodified {
                let names: Vec<_> = outcome.unwrap_err().headers.into_iter().map(|(name, _)| name).collect();
                assert_eq!(names, ["etag", "content-length", "last-modified"]);
            }
        }
    }
}
