//! How clients see the place where a listing goes on.
//!
//! ```text
//!  base64url( version: 1 byte ┃ the catalog's ListPosition )
//! ```
//!
//! Letters, digits, `-` and `_` only, whatever bytes the key has: tokens travel through queries, headers
//! and logs. The position is a place between keys and no key, so that it stays valid when what was there
//! is deleted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::catalog::ListPosition;
use protocol::wire::Wire;

use super::{S3Error, S3Result};

/// A token may outlive the release that made it.
const VERSION: u8 = 1;

pub(crate) fn format(position: &ListPosition) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&position.to_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The position in a list of objects or buckets.
pub(crate) fn parse(text: &str) -> S3Result<ListPosition> {
    position(text).ok_or_else(|| {
        S3Error::invalid_argument("The continuation token provided is incorrect.")
            .detail("ArgumentName", "continuation-token")
            .detail("ArgumentValue", text)
    })
}

fn position(text: &str) -> Option<ListPosition> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let position = ListPosition::from_bytes(&bytes.strip_prefix(&[VERSION])?.to_vec().into()).ok()?;
    // Uploads have markers instead.
    (!matches!(position, ListPosition::AfterUpload { .. })).then_some(position)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::catalog::UploadId;

    use super::*;

    fn positions() -> impl Strategy<Value = ListPosition> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..1025);
        prop_oneof![
            Just(ListPosition::Start),
            bytes().prop_map(|key| ListPosition::AfterKey { key: key.into() }),
            bytes().prop_map(|prefix| ListPosition::AfterPrefix { prefix: prefix.into() }),
        ]
    }

    proptest! {
        #[test]
        fn every_position_comes_back(position in positions()) {
            let token = format(&position);
            prop_assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            prop_assert_eq!(parse(&token), Ok(position));
        }

        #[test]
        fn nothing_makes_the_parser_panic(text in any::<String>(), bytes in any::<Vec<u8>>()) {
            let _ = parse(&text);
            let _ = parse(&URL_SAFE_NO_PAD.encode(bytes));
        }
    }

    /// Clients keep tokens while a gateway is replaced.
    #[test]
    fn tokens_of_earlier_releases_stay_valid() {
        let position = ListPosition::AfterKey { key: "a/\n".into() };
        assert_eq!(format(&position), "AQIDAAAAYS8K");
        assert_eq!(parse("AQIDAAAAYS8K"), Ok(position));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let upload = ListPosition::AfterUpload { key: "a".into(), upload: UploadId::new(1) };
        let other_version = URL_SAFE_NO_PAD.encode([&[2], &ListPosition::Start.to_bytes()[..]].concat());
        let too_long = URL_SAFE_NO_PAD.encode([&[1], &ListPosition::Start.to_bytes()[..], &[0]].concat());
        for text in ["", "a", "AQ", "AQIDAAAAYS8K=", "ä", &format(&upload), &other_version, &too_long] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
