//! How clients see the name of an upload.
//!
//! ```text
//!  ┌───────────────────────┬───────────────────────┐
//!  │ the catalog's number  │ what follows from it  │
//!  └───────────────────────┴───────────────────────┘
//!     16 hexadecimal digits    16 hexadecimal digits
//! ```
//!
//! The second half tells a name of ours from whatever else a client sends, before anybody is asked. The
//! order of the texts is the order of the uploads, which markers of listings rely on.

use protocol::catalog::UploadId;

use super::{ErrorCode, S3Result};

/// No secret: whoever knows an upload's name still needs the right to write its key.
pub(crate) fn format(upload: UploadId) -> String {
    format!("{:016x}{:016x}", upload.get(), check_digits(upload.get()))
}

/// Anything but what `format` made is no upload.
pub(crate) fn parse(text: &str) -> S3Result<UploadId> {
    let upload = number(text).map(UploadId::new).ok_or(ErrorCode::NoSuchUpload)?;
    Ok(upload)
}

fn number(text: &str) -> Option<u64> {
    let (number, check) = text.split_at_checked(16)?;
    let (number, check) = (hexadecimal(number)?, hexadecimal(check)?);
    (check == check_digits(number)).then_some(number)
}

/// Exactly as `format` writes it: one upload has one name.
fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if digits { u64::from_str_radix(text, 16).ok() } else { None }
}

/// Every bit of the number changes about half of them.
fn check_digits(number: u64) -> u64 {
    let mixed = (number ^ 0x5653_544F_4E45_3031).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    mixed ^ (mixed >> 29)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_upload_has_a_name_and_names_are_ordered_like_uploads(a: u64, b: u64) {
            let (text_a, text_b) = (format(UploadId::new(a)), format(UploadId::new(b)));
            prop_assert_eq!(parse(&text_a), Ok(UploadId::new(a)));
            prop_assert_eq!(text_a.cmp(&text_b), a.cmp(&b));
        }

        #[test]
        fn a_name_with_another_character_is_none(id: u64, at in 0_usize..32, other: char) {
            let mut text: Vec<char> = format(UploadId::new(id)).chars().collect();
            prop_assume!(text[at] != other);
            text[at] = other;
            let text: String = text.into_iter().collect();
            prop_assert_eq!(parse(&text).unwrap_err().code, ErrorCode::NoSuchUpload);
        }
    }

    #[test]
    fn nonsense_is_no_upload() {
        let whole = format(UploadId::new(7));
        let upper = format(UploadId::new(0xAB)).to_uppercase();
        for text in ["", "7", "ä", "ääääääääääääääää", &whole[..31], &format!("{whole}0"), &upper]
        {
            assert_eq!(parse(text).unwrap_err().code, ErrorCode::NoSuchUpload, "{text}");
        }
    }
}
