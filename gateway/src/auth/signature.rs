//! The arithmetic of Signature Version 4: the key of a day, what is signed with it, and the signatures
//! of a body that comes in chunks.
//!
//! ```text
//!  secret ─date─▶ ─region─▶ ─service─▶ ─"aws4_request"─▶ SigningKey
//!
//!  request's signature ─▶ chunk 1 ─▶ chunk 2 ─▶ … ─▶ empty chunk ─▶ trailer
//! ```
//!
//! Each signature of the second line covers the one before it, so that chunks can be neither dropped
//! nor swapped, nor taken into another request.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const CHUNK_ALGORITHM: &str = "AWS4-HMAC-SHA256-PAYLOAD";
const TRAILER_ALGORITHM: &str = "AWS4-HMAC-SHA256-TRAILER";

/// What ends every scope.
pub(crate) const TERMINATOR: &str = "aws4_request";

/// The SHA-256 of nothing, in hexadecimal digits.
pub(crate) const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Signs for one day, region and service: what a secret access key is never used for itself.
#[derive(Clone)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// `date`: eight digits, `20130524`.
    pub fn new(secret: &str, date: &str, region: &str, service: &str) -> SigningKey {
        let key = hmac(format!("AWS4{secret}").as_bytes(), date);
        let key = hmac(&key, region);
        let key = hmac(&key, service);
        SigningKey(hmac(&key, TERMINATOR))
    }

    /// The signature of a string to sign, as it is sent: 64 hexadecimal digits.
    pub fn sign(&self, string_to_sign: &str) -> String {
        hex(&hmac(&self.0, string_to_sign))
    }
}

/// A key is a secret: it is not printed.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// The signatures of a body's chunks, one after the other.
#[derive(Clone, Debug)]
pub struct ChunkSigner {
    key: SigningKey,
    /// The request's, `20130524T000000Z`.
    timestamp: String,
    /// `20130524/us-east-1/s3/aws4_request`.
    scope: String,
    /// The signature before the next one: first the request's own.
    previous: String,
}

impl ChunkSigner {
    pub fn new(
        key: SigningKey,
        timestamp: impl Into<String>,
        scope: impl Into<String>,
        seed_signature: impl Into<String>,
    ) -> ChunkSigner {
        ChunkSigner { key, timestamp: timestamp.into(), scope: scope.into(), previous: seed_signature.into() }
    }

    /// Whether this is the signature of the next chunk, the empty last one included. `chunk_sha256`:
    /// the digest of the chunk's bytes. A body with a chunk that was refused is refused as a whole.
    pub fn verify_chunk(&mut self, chunk_sha256: &[u8; 32], claimed: &str) -> bool {
        let expected = self.sign_chunk(chunk_sha256);
        is_same(&expected, claimed)
    }

    /// Whether this is the signature of the trailer. `trailer_sha256`: the digest of its lines without
    /// the signature's own, each as `name:value` and a line feed.
    pub fn verify_trailer(&mut self, trailer_sha256: &[u8; 32], claimed: &str) -> bool {
        let expected = self.sign_trailer(trailer_sha256);
        is_same(&expected, claimed)
    }

    /// The signature of the next chunk, for whoever sends it.
    pub fn sign_chunk(&mut self, chunk_sha256: &[u8; 32]) -> String {
        let ChunkSigner { timestamp, scope, previous, .. } = self;
        let digest = hex(chunk_sha256);
        self.previous = self
            .key
            .sign(&format!("{CHUNK_ALGORITHM}\n{timestamp}\n{scope}\n{previous}\n{EMPTY_SHA256}\n{digest}"));
        self.previous.clone()
    }

    /// The signature of the trailer, for whoever sends it.
    pub fn sign_trailer(&mut self, trailer_sha256: &[u8; 32]) -> String {
        let ChunkSigner { timestamp, scope, previous, .. } = self;
        let digest = hex(trailer_sha256);
        self.previous =
            self.key.sign(&format!("{TRAILER_ALGORITHM}\n{timestamp}\n{scope}\n{previous}\n{digest}"));
        self.previous.clone()
    }
}

/// What the request's signature says about its body.
#[derive(Clone, Debug)]
pub enum BodyAuth {
    /// Nothing: `UNSIGNED-PAYLOAD`, or a presigned URL that says nothing.
    Unsigned,
    /// It has this digest.
    Signed { sha256: [u8; 32] },
    /// It comes in chunks of `aws-chunked`. Without a signer they are not signed:
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`. `trailer`: headers follow the last chunk.
    Chunked { signer: Option<ChunkSigner>, trailer: bool },
}

/// Compares in a time that does not tell how much of a guess was right.
pub(crate) fn is_same(expected: &str, claimed: &str) -> bool {
    expected.as_bytes().ct_eq(claimed.as_bytes()).into()
}

fn hmac(key: &[u8], message: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().into()
}

pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The digest that 64 hexadecimal digits of either case stand for.
pub(crate) fn parse_sha256(digits: &str) -> Option<[u8; 32]> {
    let digits = digits.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const TIMESTAMP: &str = "20130524T000000Z";
    const SCOPE: &str = "20130524/us-east-1/s3/aws4_request";

    fn signer(seed: &str) -> ChunkSigner {
        let key = SigningKey::new(SECRET, "20130524", "us-east-1", "s3");
        ChunkSigner::new(key, TIMESTAMP, SCOPE, seed)
    }

    /// 65 KiB of `a` in chunks of 64 KiB, as AWS documents the upload in several chunks.
    fn chunks() -> [[u8; 32]; 3] {
        [sha256(vec![b'a'; 65_536]), sha256(vec![b'a'; 1_024]), sha256(b"")]
    }

    #[test]
    fn the_digest_of_nothing_is_right() {
        assert_eq!(hex(&sha256(b"")), EMPTY_SHA256);
        assert_eq!(parse_sha256(EMPTY_SHA256), Some(sha256(b"")));
        assert_eq!(parse_sha256(&EMPTY_SHA256.to_uppercase()), Some(sha256(b"")));
        for wrong in ["", "e3", &EMPTY_SHA256.replace('e', "g"), &format!("{EMPTY_SHA256}00")] {
            assert_eq!(parse_sha256(wrong), None, "{wrong}");
        }
    }

    /// AWS: "Authenticating Requests: Signature Calculations for the Authorization Header: Transferring
    /// Payload in Multiple Chunks".
    #[test]
    fn the_published_chunks_have_the_published_signatures() {
        let mut signer = signer("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
        let published = [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ];
        for (digest, signature) in chunks().iter().zip(published) {
            assert!(signer.verify_chunk(digest, signature), "{signature}");
        }
    }

    /// AWS: the same upload with a trailing CRC32C.
    #[test]
    fn the_published_trailer_has_the_published_signature() {
        let mut signer = signer("106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e");
        let published = [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ];
        for (digest, signature) in chunks().iter().zip(published) {
            assert!(signer.verify_chunk(digest, signature), "{signature}");
        }
        let trailer = sha256("x-amz-checksum-crc32c:sOO8/Q==\n");
        let signature = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
        assert!(signer.verify_trailer(&trailer, signature));
    }

    #[test]
    fn a_chunk_out_of_its_place_is_refused() {
        let [first, second, last] = chunks();
        let mut sender = signer("seed");
        let signatures = [sender.sign_chunk(&first), sender.sign_chunk(&second), sender.sign_chunk(&last)];

        let mut receiver = signer("seed");
        assert!(!receiver.verify_chunk(&second, &signatures[1]));
        let mut receiver = signer("seed");
        assert!(receiver.verify_chunk(&first, &signatures[0]));
        assert!(!receiver.verify_chunk(&last, &signatures[2]));
        assert!(!receiver.verify_chunk(&second, &signatures[1]));
        let mut receiver = signer("another request");
        assert!(!receiver.verify_chunk(&first, &signatures[0]));
        let mut receiver = signer("seed");
        assert!(!receiver.verify_chunk(&first, &signatures[0].to_uppercase()));
        let mut receiver = signer("seed");
        assert!(!receiver.verify_chunk(&first, ""));
    }
}
