//! What it costs to take the bytes of a request: digests and framing, without the network and the cluster.
//! Each is one body of 64 MiB in pieces of 64 KiB; seconds for a GiB are sixteen times the time shown.

use axum::body::Body;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway::auth::signature::{BodyAuth, ChunkSigner, SigningKey};
use gateway::body::{Algorithm, Payload};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

const BODY_BYTES: usize = 64 << 20;
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

fn bodies(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let body = Bytes::from((0..=250).cycle().take(BODY_BYTES).collect::<Vec<u8>>());
    let framed = in_signed_chunks(&body);
    let sha256 = Sha256::digest(&body).into();
    let default = [Algorithm::DEFAULT];

    let mut group = criterion.benchmark_group("body");
    group.throughput(Throughput::Bytes(BODY_BYTES as u64)).sample_size(10);
    let mut measure = |name: &str, body: &Bytes, auth: BodyAuth, algorithms: &[Algorithm], md5: bool| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| receive(&runtime, body, auth.clone(), algorithms, md5));
        });
    };
    measure("nothing", &body, BodyAuth::Unsigned, &[], false);
    measure("md5", &body, BodyAuth::Unsigned, &[], true);
    for algorithm in Algorithm::ALL {
        measure(algorithm.name(), &body, BodyAuth::Unsigned, &[algorithm], false);
    }
    measure("unsigned put: md5, crc64nvme", &body, BodyAuth::Unsigned, &default, true);
    measure("signed put: md5, crc64nvme, sha256", &body, BodyAuth::Signed { sha256 }, &default, true);
    let chunked = BodyAuth::Chunked { signer: Some(signer()), trailer: false };
    measure("put in signed chunks of 64 KiB", &framed, chunked, &default, true);
}

criterion_group!(benches, bodies);
criterion_main!(benches);
