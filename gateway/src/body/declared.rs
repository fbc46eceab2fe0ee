//! What the headers of a request say of the bytes that follow them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName};

use super::checksum::{Algorithm, Checksum};
use crate::auth::signature::BodyAuth;
use crate::s3::{ErrorCode, S3Error, S3Result};

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const DECODED_LENGTH: HeaderName = HeaderName::from_static("x-amz-decoded-content-length");
const SDK_ALGORITHM: HeaderName = HeaderName::from_static("x-amz-sdk-checksum-algorithm");
const TRAILER: HeaderName = HeaderName::from_static("x-amz-trailer");
const CHECKSUM_PREFIX: &str = "x-amz-checksum-";

/// These begin like the header of a checksum and hold none.
const NO_CHECKSUMS: [&str; 3] = ["x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) md5: Option<[u8; 16]>,
    pub(super) checksum: Option<Checksum>,
    /// The checksum will follow the body.
    pub(super) trailer: Option<Algorithm>,
    /// Of the bytes without their framing.
    pub(super) length: Option<u64>,
    /// There is a body, though it may be empty: how long it is has been said, or it ends by itself.
    pub(super) has_body: bool,
}

impl Declared {
    pub(super) fn parse(headers: &HeaderMap, auth: &BodyAuth) -> S3Result<Declared> {
        let content_length = number(headers, &CONTENT_LENGTH)?;
        let decoded_length = number(headers, &DECODED_LENGTH)?;
        let has_body =
            content_length.is_some() || decoded_length.is_some() || headers.contains_key(TRANSFER_ENCODING);
        let (length, may_have_trailers) = match auth {
            BodyAuth::Chunked { trailer, .. } => (decoded_length, *trailer),
            // Some clients leave `aws-chunked` in the encoding of a body that is not framed. One that is framed
            // tells its length without the framing.
            _ if decoded_length.is_some() && decoded_length != content_length => {
                return Err(S3Error::invalid_request(
                    "x-amz-decoded-content-length is there, but x-amz-content-sha256 does not say that the body \
                     is aws-chunked.",
                ));
            }
            _ => (content_length, false),
        };
        check_transfer_encoding(headers)?;
        let checksum = checksum(headers)?;
        let trailer = trailer(headers)?;
        if trailer.is_some() && !may_have_trailers {
            return Err(S3Error::invalid_request(
                "x-amz-trailer is there, but x-amz-content-sha256 says that nothing follows the body.",
            ));
        }
        if checksum.is_some() && trailer.is_some() {
            return Err(several_checksums());
        }
        let named = trailer.or(checksum.as_ref().map(|checksum| checksum.algorithm));
        check_sdk_algorithm(headers, named)?;
        Ok(Declared { md5: md5(headers)?, checksum, trailer, length, has_body })
    }

    /// The algorithm of the checksum that the client sends.
    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        self.trailer.or(self.checksum.as_ref().map(|checksum| checksum.algorithm))
    }
}

/// Chunks are taken apart before we see them, and nothing else is: what came compressed by the transfer
/// would be stored as if it were the client's bytes.
fn check_transfer_encoding(headers: &HeaderMap) -> S3Result<()> {
    let values = headers.get_all(TRANSFER_ENCODING).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    if codings.all(|coding| matches!(coding.trim_ascii().to_ascii_lowercase().as_slice(), b"chunked" | b"")) {
        return Ok(());
    }
    let error = S3Error::not_implemented("a transfer encoding other than chunked is not implemented");
    Err(error.detail("Header", TRANSFER_ENCODING.as_str()))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> S3Result<Option<u64>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let digits = value.as_bytes().trim_ascii();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    match number.filter(|_| is_number) {
        Some(number) => Ok(Some(number)),
        None => Err(S3Error::invalid_argument(format!("{name} is not a number"))),
    }
}

fn md5(headers: &HeaderMap) -> S3Result<Option<[u8; 16]>> {
    let Some(value) = headers.get(CONTENT_MD5) else { return Ok(None) };
    let digest = STANDARD.decode(value.as_bytes().trim_ascii()).ok();
    let digest = digest.and_then(|digest| <[u8; 16]>::try_from(digest).ok());
    digest.map(Some).ok_or(S3Error::new(ErrorCode::InvalidDigest))
}

fn checksum(headers: &HeaderMap) -> S3Result<Option<Checksum>> {
    let mut found = None;
    for (name, value) in headers {
        if !name.as_str().starts_with(CHECKSUM_PREFIX) || NO_CHECKSUMS.contains(&name.as_str()) {
            continue;
        }
        let algorithm = Algorithm::of_header(name.as_str().as_bytes()).ok_or_else(|| unsupported(name))?;
        if found.is_some() {
            return Err(several_checksums());
        }
        let checksum = parse_checksum(algorithm, value.as_bytes());
        found = Some(checksum.ok_or_else(|| invalid_value(name.as_str(), "header"))?);
    }
    Ok(found)
}

/// Of the bytes of one request: that is never a composite.
pub(super) fn parse_checksum(algorithm: Algorithm, value: &[u8]) -> Option<Checksum> {
    Checksum::parse(algorithm, value.trim_ascii()).filter(|checksum| checksum.part_count.is_none())
}

fn trailer(headers: &HeaderMap) -> S3Result<Option<Algorithm>> {
    let names =
        headers.get_all(TRAILER).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut found = None;
    for name in names.map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
        let algorithm = Algorithm::of_header(name).ok_or_else(|| {
            S3Error::invalid_request("The value specified in the x-amz-trailer header is not supported")
        })?;
        if found.replace(algorithm).is_some() {
            return Err(several_checksums());
        }
    }
    Ok(found)
}

fn check_sdk_algorithm(headers: &HeaderMap, named: Option<Algorithm>) -> S3Result<()> {
    let Some(value) = headers.get(SDK_ALGORITHM) else { return Ok(()) };
    let algorithm = Algorithm::parse(value.as_bytes().trim_ascii());
    match (algorithm, named) {
        (None, _) => Err(unsupported(&SDK_ALGORITHM)),
        (Some(_), None) => Err(S3Error::invalid_request(
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
             headers were found.",
        )),
        (Some(algorithm), Some(named)) if algorithm != named => {
            Err(invalid_value(SDK_ALGORITHM.as_str(), "header"))
        }
        _ => Ok(()),
    }
}

fn unsupported(name: &HeaderName) -> S3Error {
    S3Error::invalid_request(format!(
        "{name}: the checksum algorithm is not supported. Those that are: CRC32, CRC32C, CRC64NVME, SHA1, SHA256"
    ))
}

fn several_checksums() -> S3Error {
    S3Error::invalid_request(
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    )
}

pub(super) fn invalid_value(name: &str, kind: &str) -> S3Error {
    S3Error::invalid_request(format!("Value for {name} {kind} is invalid."))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        HeaderMap::from_iter(pairs.iter().map(pair))
    }

    const CHUNKED: BodyAuth = BodyAuth::Chunked { signer: None, trailer: true };

    fn refused(pairs: &[(&'static str, &'static str)], auth: &BodyAuth) -> ErrorCode {
        Declared::parse(&headers(pairs), auth).expect_err("it must be refused").code
    }

    #[test]
    fn lengths_are_those_of_the_bytes_without_framing() {
        let both = headers(&[("content-length", "100"), ("x-amz-decoded-content-length", "60")]);
        assert_eq!(Declared::parse(&both, &CHUNKED).unwrap().length, Some(60));
        let chunked = headers(&[("transfer-encoding", "chunked")]);
        let declared = Declared::parse(&chunked, &CHUNKED).unwrap();
        assert_eq!((declared.length, declared.has_body), (None, true));
        assert!(!Declared::parse(&HeaderMap::new(), &BodyAuth::Unsigned).unwrap().has_body);
        for wrong in ["", "-1", "+1", "1e3", "99999999999999999999"] {
            let code = refused(&[("x-amz-decoded-content-length", wrong)], &CHUNKED);
            assert_eq!(code, ErrorCode::InvalidArgument, "{wrong}");
        }
    }

    #[test]
    fn a_digest_is_sixteen_bytes_in_base64() {
        let right = headers(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")]);
        assert!(Declared::parse(&right, &BodyAuth::Unsigned).unwrap().md5.is_some());
        for wrong in ["", "1B2M2Y8AsgTpgAmY7PhCfg", "AAAA", "d41d8cd98f00b204e9800998ecf8427e"] {
            let code = refused(&[("content-md5", wrong)], &BodyAuth::Unsigned);
            assert_eq!(code, ErrorCode::InvalidDigest, "{wrong}");
        }
    }

    /// It was stored compressed, and nobody was told.
    #[test]
    fn a_body_that_is_compressed_on_its_way_is_refused() {
        for value in ["chunked", "Chunked", " chunked "] {
            let chunked = headers(&[("transfer-encoding", value)]);
            assert!(Declared::parse(&chunked, &BodyAuth::Unsigned).unwrap().has_body, "{value}");
        }
        for value in ["gzip, chunked", "gzip", "deflate,chunked", "xchunked"] {
            let code = refused(&[("transfer-encoding", value)], &BodyAuth::Unsigned);
            assert_eq!(code, ErrorCode::NotImplemented, "{value}");
        }
    }

    #[test]
    fn there_is_one_checksum_and_it_is_a_sound_one() {
        let declared = |pairs: &[_]| Declared::parse(&headers(pairs), &CHUNKED);
        let header = declared(&[
            ("x-amz-checksum-crc32", "AAAAAA=="),
            ("x-amz-checksum-mode", "ENABLED"),
            ("x-amz-checksum-type", "FULL_OBJECT"),
            ("x-amz-checksum-algorithm", "CRC32"),
            ("x-amz-sdk-checksum-algorithm", "crc32"),
        ]);
        assert_eq!(header.unwrap().algorithm(), Some(Algorithm::Crc32));
        let trailer = declared(&[("x-amz-trailer", "X-Amz-Checksum-Sha256")]).unwrap();
        assert_eq!((trailer.trailer, trailer.checksum), (Some(Algorithm::Sha256), None));
        for wrong in [
            &[("x-amz-checksum-crc32", "AAAAAAAA")][..],
            &[("x-amz-checksum-crc32", "AAAAAA==-1")],
            &[("x-amz-checksum-crc32", "")],
            &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-crc32c", "AAAAAA==")],
            &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-trailer", "x-amz-checksum-crc32")],
            &[("x-amz-checksum-xxhash64", "AAAAAAAAAAA=")],
            &[("x-amz-trailer", "x-amz-meta-a")],
            &[("x-amz-trailer", "x-amz-checksum-crc32,x-amz-checksum-sha1")],
            &[("x-amz-sdk-checksum-algorithm", "CRC32")],
            &[("x-amz-sdk-checksum-algorithm", "MD4"), ("x-amz-checksum-crc32", "AAAAAA==")],
            &[("x-amz-sdk-checksum-algorithm", "SHA1"), ("x-amz-checksum-crc32", "AAAAAA==")],
        ] {
            assert_eq!(refused(wrong, &CHUNKED), ErrorCode::InvalidRequest, "{wrong:?}");
        }
    }

    #[test]
    fn what_the_headers_say_agrees_with_what_is_signed() {
        for auth in [
            BodyAuth::Unsigned,
            BodyAuth::Signed { sha256: [0; 32] },
            BodyAuth::Chunked { signer: None, trailer: false },
        ] {
            let code = refused(&[("x-amz-trailer", "x-amz-checksum-crc32")], &auth);
            assert_eq!(code, ErrorCode::InvalidRequest);
        }
        // The framing would be stored as if it were the client's bytes.
        let framed = [("content-length", "100"), ("x-amz-decoded-content-length", "60")];
        assert_eq!(refused(&framed, &BodyAuth::Unsigned), ErrorCode::InvalidRequest);
        let unframed = headers(&[("content-encoding", "gzip, aws-chunked"), ("content-length", "100")]);
        assert_eq!(Declared::parse(&unframed, &BodyAuth::Unsigned).unwrap().length, Some(100));
    }
}
