//! What it costs to take the bytes of a request: digests and framing, without the network and the cluster.
//!
//! ```sh
//! cargo bench -p viewstone-gateway --bench body
//! ```
//!
//! CPU time and not criterion's: on a machine that does other things too, a clock on the wall tells nothing.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use gateway::auth::signature::{BodyAuth, ChunkSigner, SigningKey};
use gateway::body::{Algorithm, Payload};
use http::{HeaderMap, HeaderValue};
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

const BODY_BYTES: usize = 64 << 20;
const ROUNDS: usize = 5;
const GIB: f64 = (1_u64 << 30) as f64;
const PIECE_BYTES: usize = 64 << 10;
const CHUNK_BYTES: usize = 64 << 10;

/// The pieces of a body as a connection brings them.
struct Pieces(Bytes);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let length = PIECE_BYTES.min(self.0.len());
        let piece = self.0.split_to(length);
        std::task::Poll::Ready((length > 0).then(|| Ok(http_body::Frame::data(piece))))
    }
}

fn signer() -> ChunkSigner {
    let key = SigningKey::new("secret", "20260102", "us-east-1", "s3");
    ChunkSigner::new(key, "20260102T030405Z", "20260102/us-east-1/s3/aws4_request", "seed")
}

/// As a client sends it that signs chunks.
fn in_signed_chunks(body: &[u8]) -> Bytes {
    let mut signer = signer();
    let mut framed = Vec::new();
    for chunk in body.chunks(CHUNK_BYTES).chain([&[][..]]) {
        let signature = signer.sign_chunk(&Sha256::digest(chunk).into());
        framed.extend_from_slice(format!("{:x};chunk-signature={signature}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.into()
}

fn receive(runtime: &Runtime, body: &Bytes, auth: BodyAuth, algorithms: &[Algorithm], md5: bool) {
    let mut headers = HeaderMap::new();
    headers.insert("content-length", HeaderValue::from(body.len()));
    runtime.block_on(async {
        let mut payload = Payload::new(Body::new(Pieces(body.clone())), auth, &headers).expect("it is sound");
        if md5 {
            payload.want_md5();
        }
        algorithms.iter().for_each(|algorithm| payload.want(*algorithm));
        let mut length = 0;
        while let Some(piece) = payload.next().await.expect("it is sound") {
            length += piece.len();
        }
        assert_eq!(length, BODY_BYTES);
        payload.finish().expect("it is sound");
    });
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let body = Bytes::from((0..=250).cycle().take(BODY_BYTES).collect::<Vec<u8>>());
    let framed = in_signed_chunks(&body);
    let sha256 = Sha256::digest(&body).into();
    let default = [Algorithm::DEFAULT];
    // Without `--bench`, which cargo passes, this is a test that everything runs.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };

    println!("CPU seconds for a GiB, the best of {rounds} rounds");
    let measure = |name: &str, body: &Bytes, auth: BodyAuth, algorithms: &[Algorithm], md5: bool| {
        let times = (0..rounds).map(|_| {
            let began = cpu_time();
            receive(&runtime, body, auth.clone(), algorithms, md5);
            cpu_time() - began
        });
        let best = times.min().expect("there is a round");
        println!("{:8.3}  {name}", best.as_secs_f64() * GIB / BODY_BYTES as f64);
    };
    measure("nothing", &body, BodyAuth::Unsigned, &[], false);
    measure("MD5", &body, BodyAuth::Unsigned, &[], true);
    for algorithm in Algorithm::ALL {
        measure(algorithm.name(), &body, BodyAuth::Unsigned, &[algorithm], false);
    }
    measure("put, not signed: MD5, CRC64NVME", &body, BodyAuth::Unsigned, &default, true);
    let signed = BodyAuth::Signed { sha256 };
    measure("put, signed: MD5, CRC64NVME, SHA256", &body, signed, &default, true);
    let chunked = BodyAuth::Chunked { signer: Some(signer()), trailer: false };
    measure("put in signed chunks of 64 KiB: the same", &framed, chunked, &default, true);
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("less than a second"))
}
