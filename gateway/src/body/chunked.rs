//! `aws-chunked`: a body in chunks that say how large they are, may be signed one by one, and may be
//! followed by headers.
//!
//! ```text
//!  10000;chunk-signature=ad80…\r\n   size in hexadecimal digits; the signature if chunks are signed
//!  …65536 bytes…\r\n
//!  0;chunk-signature=b6c6…\r\n
//!  x-amz-checksum-crc32c:sOO8/Q==\r\n
//!  x-amz-trailer-signature:d81f…\r\n  if chunks are signed
//!  \r\n
//! ```
//!
//! The bytes of a chunk are passed on before its signature is known to be right, because chunks may be
//! large. Whoever takes them does nothing final until the end has been reached.
//!
//! Two things that one widely used client does are let pass: it ends the lines of the trailer with a line
//! feed, an empty line before the signature among them, and sends an empty line after the end.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::auth::signature::{ChunkSigner, sha256};
use crate::s3::{ErrorCode, S3Error};

const LINE_BYTES_MAX: usize = 1024;
const TRAILER_COUNT_MAX: usize = 8;

/// Sixteen digits would do for any 64-bit number; none of ours is so large.
const SIZE_DIGITS_MAX: usize = 15;

const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// What is wrong with such a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkError {
    Malformed(&'static str),
    MalformedTrailer(&'static str),
    WrongSignature,
    /// It ends in the middle.
    Truncated,
}

impl From<ChunkError> for S3Error {
    fn from(error: ChunkError) -> S3Error {
        match error {
            ChunkError::Malformed(why) => S3Error::with(ErrorCode::InvalidRequest, why),
            ChunkError::MalformedTrailer(why) => S3Error::with(ErrorCode::MalformedTrailer, why),
            ChunkError::WrongSignature => S3Error::with(
                ErrorCode::SignatureDoesNotMatch,
                "The signature of a chunk of the body, or of its trailer, is not the one that follows from it.",
            ),
            ChunkError::Truncated => S3Error::new(ErrorCode::IncompleteBody),
        }
    }
}

/// A header that follows the body. The name is in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) name: String,
    pub(super) value: String,
}

pub(super) struct ChunkDecoder {
    /// None: chunks are not signed.
    signing: Option<Signing>,
    may_have_trailers: bool,
    state: State,
    /// The line so far.
    line: Vec<u8>,
    trailers: Vec<Trailer>,
}

struct Signing {
    signer: ChunkSigner,
    /// Of the bytes of this chunk so far.
    hasher: Sha256,
    /// Of this chunk.
    claimed: String,
    trailer_verified: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Data {
        left: u64,
    },
    /// The line break after a chunk's bytes.
    DataEnd,
    Trailers,
    Over,
}

impl ChunkDecoder {
    pub(super) fn new(signer: Option<ChunkSigner>, may_have_trailers: bool) -> ChunkDecoder {
        let signing = signer.map(|signer| Signing {
            signer,
            hasher: Sha256::new(),
            claimed: String::new(),
            trailer_verified: false,
        });
        ChunkDecoder {
            signing,
            may_have_trailers,
            state: State::Size,
            line: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// The next bytes of the body that are in `input`, which is taken from its beginning. None when it is
    /// used up. After an error nothing more may be asked.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, ChunkError> {
        while !input.is_empty() {
            match self.state {
                State::Data { left } => return self.take_data(input, left).map(Some),
                State::Size => {
                    if let Some(line) = self.take_line(input)? {
                        self.on_size(without_carriage_return(&line)?)?;
                    }
                }
                State::DataEnd => {
                    if let Some(line) = self.take_line(input)? {
                        self.on_data_end(without_carriage_return(&line)?)?;
                    }
                }
                State::Trailers => {
                    if let Some(line) = self.take_line(input)? {
                        self.on_trailer(line.strip_suffix(b"\r").unwrap_or(&line))?;
                    }
                }
                State::Over => self.on_surplus(input)?,
            }
        }
        Ok(None)
    }

    /// There is no more input.
    pub(super) fn finish(self) -> Result<Vec<Trailer>, ChunkError> {
        match (self.state, &self.line[..]) {
            (State::Over, b"" | b"\r\n") => Ok(self.trailers),
            _ => Err(ChunkError::Truncated),
        }
    }

    fn take_data(&mut self, input: &mut Bytes, left: u64) -> Result<Bytes, ChunkError> {
        let length = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let data = input.split_to(length);
        if let Some(signing) = &mut self.signing {
            signing.hasher.update(&data);
        }
        let left = left - length as u64;
        self.state = if left > 0 { State::Data { left } } else { State::DataEnd };
        if left == 0 {
            self.verify_chunk()?;
        }
        Ok(data)
    }

    /// A whole line without its line feed, or None if its end has not come.
    fn take_line(&mut self, input: &mut Bytes) -> Result<Option<Vec<u8>>, ChunkError> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let length = end.unwrap_or(input.len());
        if self.line.len() + length > LINE_BYTES_MAX {
            return Err(ChunkError::Malformed("A line between the chunks of the body is too long."));
        }
        self.line.extend_from_slice(&input.split_to(length));
        if end.is_none() {
            return Ok(None);
        }
        let _ = input.split_to(1);
        Ok(Some(std::mem::take(&mut self.line)))
    }

    fn on_size(&mut self, line: &[u8]) -> Result<(), ChunkError> {
        let (size, extension) = match line.iter().position(|byte| *byte == b';') {
            Some(end) => (&line[..end], Some(&line[end + 1..])),
            None => (line, None),
        };
        let size = parse_size(size).ok_or(ChunkError::Malformed("The size of a chunk is not a number."))?;
        match (&mut self.signing, extension) {
            (None, None) => {}
            (None, Some(_)) => {
                return Err(ChunkError::Malformed("A chunk is signed, but the request says that none is."));
            }
            (Some(signing), extension) => {
                let signature = extension.and_then(|extension| extension.strip_prefix(b"chunk-signature="));
                let signature = signature.and_then(|signature| std::str::from_utf8(signature).ok());
                signing.claimed = signature.ok_or(ChunkError::Malformed("A chunk is not signed."))?.into();
            }
        }
        if size > 0 {
            self.state = State::Data { left: size };
            return Ok(());
        }
        self.state = State::Trailers;
        self.verify_chunk()
    }

    fn verify_chunk(&mut self) -> Result<(), ChunkError> {
        let Some(signing) = &mut self.signing else { return Ok(()) };
        let digest = signing.hasher.finalize_reset().into();
        match signing.signer.verify_chunk(&digest, &signing.claimed) {
            true => Ok(()),
            false => Err(ChunkError::WrongSignature),
        }
    }

    fn on_data_end(&mut self, line: &[u8]) -> Result<(), ChunkError> {
        if !line.is_empty() {
            return Err(ChunkError::Malformed("A chunk is longer than it says."));
        }
        self.state = State::Size;
        Ok(())
    }

    fn on_trailer(&mut self, line: &[u8]) -> Result<(), ChunkError> {
        let is_signed = self.signing.as_ref().is_none_or(|signing| signing.trailer_verified);
        if line.is_empty() {
            if is_signed || !self.may_have_trailers {
                self.state = State::Over;
            } else if self.trailers.is_empty() {
                return Err(ChunkError::MalformedTrailer("The trailer is not signed."));
            }
            return Ok(());
        }
        if !self.may_have_trailers {
            return Err(ChunkError::Malformed(
                "The body has a trailer, but the request says that it has none.",
            ));
        }
        let Trailer { name, value } = parse_trailer(line)?;
        match &mut self.signing {
            Some(signing) if name == TRAILER_SIGNATURE => {
                if signing.trailer_verified {
                    return Err(ChunkError::MalformedTrailer("The trailer is signed twice."));
                }
                if !signing.signer.verify_trailer(&trailer_digest(&self.trailers), &value) {
                    return Err(ChunkError::WrongSignature);
                }
                signing.trailer_verified = true;
            }
            Some(signing) if signing.trailer_verified => {
                return Err(ChunkError::MalformedTrailer("The trailer goes on after its signature."));
            }
            _ if self.trailers.len() == TRAILER_COUNT_MAX => {
                return Err(ChunkError::MalformedTrailer("The trailer has too many lines."));
            }
            _ => self.trailers.push(Trailer { name, value }),
        }
        Ok(())
    }

    fn on_surplus(&mut self, input: &mut Bytes) -> Result<(), ChunkError> {
        let seen = self.line.len();
        self.line.extend_from_slice(&input.split_to(input.len().min(3 - seen)));
        if !b"\r\n".starts_with(&self.line[..]) {
            return Err(ChunkError::Malformed("The body goes on after its last chunk."));
        }
        Ok(())
    }
}

fn without_carriage_return(line: &[u8]) -> Result<&[u8], ChunkError> {
    line.strip_suffix(b"\r")
        .ok_or(ChunkError::Malformed("A line between the chunks of the body does not end with CR LF."))
}

fn parse_size(digits: &[u8]) -> Option<u64> {
    let is_hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    if !is_hex || digits.len() > SIZE_DIGITS_MAX {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn parse_trailer(line: &[u8]) -> Result<Trailer, ChunkError> {
    let malformed = ChunkError::MalformedTrailer("A line of the trailer is not a header.");
    let line = std::str::from_utf8(line).map_err(|_| malformed)?;
    let (name, value) = line.split_once(':').ok_or(malformed)?;
    let name = name.trim().to_ascii_lowercase();
    if name.is_empty() {
        return Err(malformed);
    }
    Ok(Trailer { name, value: value.trim().to_owned() })
}

fn trailer_digest(trailers: &[Trailer]) -> [u8; 32] {
    let lines: String = trailers.iter().map(|Trailer { name, value }| format!("{name}:{value}\n")).collect();
    sha256(lines)
}

#[cfg(test)]
mod tests;
