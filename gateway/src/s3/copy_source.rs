//! What a copy is made of: `x-amz-copy-source`.

use http::HeaderName;
use percent_encoding::percent_decode;
use protocol::catalog::{BucketRef, KEY_BYTES_MAX, SourceConditions};

use crate::cluster::Link;
use crate::http::{Call, Head};
use crate::s3::{ErrorCode, S3Error, S3Result, conditions, unsupported, version};

const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");

/// How a version is asked for. Any other question mark belongs to the key.
const VERSION: &[u8] = b"?versionId=";

/// The object that a copy reads, and what must be true of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopySource {
    pub(crate) bucket: BucketRef,
    pub(crate) key: String,
    pub(crate) conditions: SourceConditions,
}

impl CopySource {
    pub(crate) fn parse(head: &Head) -> S3Result<CopySource> {
        let text = head.headers.get(COPY_SOURCE).map(|value| value.as_bytes()).unwrap_or_default();
        let (bucket, key) = parse(text)?;
        let conditions = conditions::for_source(head)?;
        Ok(CopySource { bucket: BucketRef::named(bucket), key, conditions })
    }

    /// Makes sure that the caller may read it, and that its bucket is whose the caller believes it to be.
    pub(crate) async fn authorise<L: Link>(&mut self, call: &Call<'_, L>) -> S3Result<()> {
        let name = std::str::from_utf8(&self.bucket.name).expect("it was parsed from text");
        if !call.caller.may_read(name, &self.key) {
            return Err(ErrorCode::AccessDenied.into());
        }
        self.bucket = unsupported::expected_source_bucket(call, self.bucket.clone()).await?;
        Ok(())
    }
}

/// `bucket/key` with or without a slash before it, percent-encoded as a whole or in parts. Clients that
/// encode nothing are understood, too: a plus is a plus, and a percent sign that begins no escape stands
/// for itself.
fn parse(text: &[u8]) -> S3Result<(String, String)> {
    let at = text.windows(VERSION.len()).rposition(|window| window == VERSION);
    let (path, version) = match at {
        Some(at) => (&text[..at], Some(&text[at + VERSION.len()..])),
        None => (text, None),
    };
    if path.starts_with(b"arn:") {
        return Err(S3Error::not_implemented("a copy from an access point is not implemented"));
    }
    version::check(version)?;
    let path = percent_decode(path).decode_utf8().map_err(|_| invalid("is not UTF-8"))?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    match path.split_once('/') {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
            if key.len() > KEY_BYTES_MAX {
                return Err(ErrorCode::KeyTooLong.into());
            }
            Ok((bucket.to_owned(), key.to_owned()))
        }
        _ => Err(invalid("must name a bucket and a key")),
    }
}

fn invalid(why: &str) -> S3Error {
    S3Error::invalid_argument(format!("the copy source {why}")).detail("ArgumentName", COPY_SOURCE.as_str())
}

#[cfg(test)]
mod tests {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn source(text: &str) -> Result<(String, String), ErrorCode> {
        parse(text.as_bytes()).map_err(|error| error.code)
    }

    #[test]
    fn a_source_is_a_bucket_and_a_key_in_many_spellings() {
        for (text, key) in [
            ("b/k", "k"),
            ("/b/k", "k"),
            ("%2Fb%2Fk", "k"),
            ("b%2fa%2Fb", "a/b"),
            ("b//k", "/k"),
            ("/b/a//./../c/", "a//./../c/"),
            ("b/a+b", "a+b"),
            ("b/a%2Bb%20c", "a+b c"),
            ("b/a b", "a b"),
            ("b/100%", "100%"),
            ("b/%C3%A4", "ä"),
            ("b/ä", "ä"),
            ("b/what?", "what?"),
            ("b/k?versionId=null", "k"),
            ("b/k?versionId=x?versionId=null", "k?versionId=x"),
            ("b/k%3FversionId=x", "k?versionId=x"),
        ] {
            assert_eq!(source(text), Ok(("b".into(), key.into())), "{text}");
        }
    }

    #[test]
    fn what_names_no_object_is_refused() {
        for (text, code) in [
            ("", ErrorCode::InvalidArgument),
            ("/", ErrorCode::InvalidArgument),
            ("b", ErrorCode::InvalidArgument),
            ("/b/", ErrorCode::InvalidArgument),
            ("//k", ErrorCode::InvalidArgument),
            ("b/%FF", ErrorCode::InvalidArgument),
            ("b/k?versionId=", ErrorCode::InvalidArgument),
            ("b/k?versionId=3HL4kqtJlcpXroDTDmJ.rmSpXd3QBUA.", ErrorCode::NoSuchVersion),
            ("arn:aws:s3:us-west-2:1:accesspoint/a/object/k", ErrorCode::NotImplemented),
            (&format!("b/{}", "k".repeat(1025)), ErrorCode::KeyTooLong),
        ] {
            assert_eq!(source(text), Err(code), "{text}");
        }
    }

    /// What a careful client leaves as it is, and what a lazy one does.
    const CAREFUL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    const LAZY: &AsciiSet = &CAREFUL.remove(b'/').remove(b'+').remove(b':').remove(b'=').remove(b'&');

    proptest! {
        #[test]
        fn every_key_can_be_named(bucket in "[a-z0-9.-]{1,63}", key in ".{1,100}", slash: bool, lazy: bool) {
            let whole = format!("{}{bucket}/{key}", if slash { "/" } else { "" });
            let text = percent_encode(whole.as_bytes(), if lazy { LAZY } else { CAREFUL }).to_string();
            prop_assert_eq!(source(&text), Ok((bucket, key)));
        }

        #[test]
        fn no_bytes_are_too_strange(text: Vec<u8>) {
            if let Ok((bucket, key)) = parse(&text) {
                prop_assert!(!bucket.is_empty() && !bucket.contains('/') && !key.is_empty());
            }
        }
    }
}
