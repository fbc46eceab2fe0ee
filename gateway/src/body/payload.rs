//! The bytes of a request, without their framing, and everything that is said of them proved or refuted.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt;
use md5::Md5;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout};

use super::checksum::{Algorithm, Checksum, Hasher};
use super::chunked::{ChunkDecoder, Trailer};
use super::declared::{Declared, invalid_value, parse_checksum};
use super::pace::Pace;
use crate::auth::signature::{BodyAuth, hex};
use crate::s3::{ErrorCode, S3Error, S3Result};

/// The body of one request. Nothing of it counts before `finish` has said that it is as it should be.
pub struct Payload {
    body: Body,
    framing: Framing,
    declared: Declared,
    signed_sha256: Option<[u8; 32]>,
    digester: Digester,
    length: u64,
    is_over: bool,
    pace: Pace,
}

enum Framing {
    Plain,
    Chunked {
        decoder: Box<ChunkDecoder>,
        /// What has come and is not decoded yet.
        input: Bytes,
    },
}

/// What a body has turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    pub length: u64,
    /// If it was asked for, by us or by the client.
    pub md5: Option<[u8; 16]>,
    /// First the one that the client sent, if it sent one; then those that we wanted besides.
    pub checksums: Vec<Checksum>,
}

impl Payload {
    /// Nothing is read yet: a client that waits to be told to go on still waits.
    pub fn new(body: Body, auth: BodyAuth, headers: &HeaderMap) -> S3Result<Payload> {
        let declared = Declared::parse(headers, &auth)?;
        let md5 = declared.md5.map(|_| Md5::new());
        let mut digester = Digester { md5, ..Digester::default() };
        if let Some(algorithm) = declared.algorithm() {
            digester.want(algorithm);
        }
        let mut signed_sha256 = None;
        let framing = match auth {
            BodyAuth::Unsigned => Framing::Plain,
            BodyAuth::Signed { sha256 } => {
                signed_sha256 = Some(sha256);
                digester.sha256.get_or_insert_default();
                Framing::Plain
            }
            BodyAuth::Chunked { signer, trailer } => {
                let decoder = Box::new(ChunkDecoder::new(signer, trailer));
                Framing::Chunked { decoder, input: Bytes::new() }
            }
        };
        let pace = Pace::of_body(declared.length);
        Ok(Payload { body, framing, declared, signed_sha256, digester, length: 0, is_over: false, pace })
    }

    /// The same of a request whose checksums are not those of its body, but those of the object that an
    /// upload becomes.
    pub fn of_completion(body: Body, auth: BodyAuth, headers: &HeaderMap) -> S3Result<Payload> {
        let mut headers = headers.clone();
        for algorithm in Algorithm::ALL {
            headers.remove(algorithm.header());
        }
        Payload::new(body, auth, &headers)
    }

    /// How many bytes there will be, if the client has said so.
    pub fn declared_length(&self) -> Option<u64> {
        self.declared.length
    }

    /// A request that is to bring bytes says how many, or that it will end by itself: otherwise HTTP takes
    /// it to have none, and what the client has forgotten would be stored as an empty object.
    pub fn check_has_body(&self) -> S3Result<()> {
        // HTTP/2 needs no header for a body that ends by itself.
        if self.declared.has_body || !self.body.is_end_stream() {
            return Ok(());
        }
        Err(S3Error::new(ErrorCode::MissingContentLength))
    }

    /// The algorithm of the checksum that the client sends.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.declared.algorithm()
    }

    /// The MD5 is to be computed, whether or not the client sent one.
    pub fn want_md5(&mut self) {
        assert_eq!(self.length, 0);
        self.digester.md5.get_or_insert_default();
    }

    /// One more checksum is to be computed.
    pub fn want(&mut self, algorithm: Algorithm) {
        assert_eq!(self.length, 0);
        self.digester.want(algorithm);
    }

    /// The next bytes. None at the end.
    pub async fn next(&mut self) -> S3Result<Option<Bytes>> {
        while !self.is_over {
            if let Framing::Chunked { decoder, input } = &mut self.framing
                && let Some(data) = decoder.next(input)?
            {
                return self.accept(data).map(Some);
            }
            let Some(bytes) = self.receive().await? else {
                self.is_over = true;
                break;
            };
            match &mut self.framing {
                Framing::Chunked { input, .. } => *input = bytes,
                Framing::Plain if bytes.is_empty() => {}
                Framing::Plain => return self.accept(bytes).map(Some),
            }
        }
        Ok(None)
    }

    async fn receive(&mut self) -> S3Result<Option<Bytes>> {
        loop {
            let began = Instant::now();
            let frame = timeout(self.pace.patience(), self.body.frame()).await;
            let frame = frame.map_err(|_| S3Error::new(ErrorCode::RequestTimeout))?;
            let count =
                frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
            self.pace.on_bytes(count, began.elapsed());
            match frame {
                None => return Ok(None),
                // The connection broke, or what came on it was no HTTP.
                Some(Err(_)) => return Err(S3Error::new(ErrorCode::IncompleteBody)),
                Some(Ok(frame)) => {
                    // What is no data are trailers of HTTP, which mean nothing in S3.
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    fn accept(&mut self, bytes: Bytes) -> S3Result<Bytes> {
        self.length += bytes.len() as u64;
        if self.declared.length.is_some_and(|declared| self.length > declared) {
            return Err(S3Error::with(ErrorCode::IncompleteBody, "More bytes came than the request said."));
        }
        self.digester.update(&bytes);
        Ok(bytes)
    }

    /// Whether the bytes were what they were said to be. After `next` has come to their end.
    pub fn finish(self) -> S3Result<Digested> {
        assert!(self.is_over);
        let Payload { framing, declared, signed_sha256, digester, length, .. } = self;
        let trailers = match framing {
            Framing::Plain => Vec::new(),
            Framing::Chunked { decoder, .. } => decoder.finish()?,
        };
        if declared.length.is_some_and(|declared| length != declared) {
            return Err(S3Error::new(ErrorCode::IncompleteBody));
        }
        let (digested, sha256) = digester.finish(length);
        check_sha256(signed_sha256, sha256)?;
        check_md5(declared.md5, digested.md5)?;
        let in_trailer = checksum_of_trailers(&trailers, declared.trailer)?;
        if let Some(claimed) = in_trailer.or(declared.checksum) {
            check_checksum(&claimed, &digested.checksums)?;
        }
        Ok(digested)
    }

    /// All bytes, which are a document and not many.
    pub async fn collect(mut self, bytes_max: usize) -> S3Result<Bytes> {
        let too_long = || S3Error::new(ErrorCode::MaxMessageLengthExceeded);
        if self.declared.length.is_some_and(|length| length > bytes_max as u64) {
            return Err(too_long());
        }
        self.pace = Pace::of_document();
        let mut collected = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            if collected.len() + bytes.len() > bytes_max {
                return Err(too_long());
            }
            collected.extend_from_slice(&bytes);
        }
        self.finish()?;
        Ok(collected.freeze())
    }
}

fn check_sha256(signed: Option<[u8; 32]>, computed: Option<[u8; 32]>) -> S3Result<()> {
    let (Some(signed), Some(computed)) = (signed, computed) else { return Ok(()) };
    if signed == computed {
        return Ok(());
    }
    Err(S3Error::new(ErrorCode::XAmzContentSha256Mismatch)
        .detail("ClientComputedContentSHA256", hex(&signed))
        .detail("S3ComputedContentSHA256", hex(&computed)))
}

fn check_md5(claimed: Option<[u8; 16]>, computed: Option<[u8; 16]>) -> S3Result<()> {
    let (Some(claimed), Some(computed)) = (claimed, computed) else { return Ok(()) };
    if claimed == computed {
        return Ok(());
    }
    let error = S3Error::with(ErrorCode::BadDigest, "The Content-MD5 does not fit the bytes that came.");
    Err(error
        .detail("ExpectedDigest", STANDARD.encode(claimed))
        .detail("CalculatedDigest", STANDARD.encode(computed)))
}

fn check_checksum(claimed: &Checksum, computed: &[Checksum]) -> S3Result<()> {
    if computed.contains(claimed) {
        return Ok(());
    }
    Err(S3Error::with(
        ErrorCode::BadDigest,
        format!("The {} that was given does not fit the bytes that came.", claimed.algorithm.name()),
    ))
}

/// The one that was announced must be there, and no other.
fn checksum_of_trailers(trailers: &[Trailer], announced: Option<Algorithm>) -> S3Result<Option<Checksum>> {
    let malformed = |why| Err(S3Error::with(ErrorCode::MalformedTrailer, why));
    match (trailers, announced) {
        ([], None) => Ok(None),
        ([trailer], Some(algorithm)) if trailer.name == algorithm.header().as_str() => {
            let checksum = parse_checksum(algorithm, trailer.value.as_bytes());
            checksum.map(Some).ok_or_else(|| invalid_value(&trailer.name, "trailing header"))
        }
        ([], Some(_)) => malformed("The trailer that the request announces is not there."),
        _ => malformed("The trailer is not the one that the request announces."),
    }
}

/// What MD5 and SHA-256 take at a time. Each waits for itself all the time, so a processor that is given a block
/// of one and then a block of the other computes both at once: together they cost a sixth less.
const DIGEST_BLOCK_SIZE: usize = 64;

/// Computes everything that is wanted of a body, each digest once. The SHA-256 may be wanted twice: by the
/// request's signature, and as a checksum.
#[derive(Default)]
struct Digester {
    md5: Option<Md5>,
    sha256: Option<Sha256>,
    others: Vec<Hasher>,
    wanted: Vec<Algorithm>,
}

impl Digester {
    fn want(&mut self, algorithm: Algorithm) {
        if self.wanted.contains(&algorithm) {
            return;
        }
        self.wanted.push(algorithm);
        match algorithm {
            Algorithm::Sha256 => {
                self.sha256.get_or_insert_default();
            }
            _ => self.others.push(Hasher::new(algorithm)),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match (&mut self.md5, &mut self.sha256) {
            (Some(md5), Some(sha256)) => {
                for block in bytes.chunks(DIGEST_BLOCK_SIZE) {
                    md5.update(block);
                    sha256.update(block);
                }
            }
            (Some(md5), None) => md5.update(bytes),
            (None, Some(sha256)) => sha256.update(bytes),
            (None, None) => {}
        }
        for hasher in &mut self.others {
            hasher.update(bytes);
        }
    }

    /// And the SHA-256, if anybody wanted it.
    fn finish(self, length: u64) -> (Digested, Option<[u8; 32]>) {
        let sha256: Option<[u8; 32]> = self.sha256.map(|sha256| sha256.finalize().into());
        let mut computed: Vec<Checksum> = self.others.into_iter().map(Hasher::finish).collect();
        computed.extend(sha256.map(|digest| Checksum::full(Algorithm::Sha256, digest.to_vec())));
        let of = |algorithm: &Algorithm| {
            let found = computed.iter().find(|checksum| checksum.algorithm == *algorithm);
            found.expect("what is wanted is computed").clone()
        };
        let checksums = self.wanted.iter().map(of).collect();
        (Digested { length, md5: self.md5.map(|md5| md5.finalize().into()), checksums }, sha256)
    }
}

#[cfg(test)]
mod tests;
