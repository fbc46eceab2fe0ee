use std::time::Duration;

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::auth::signature::sha256;
use crate::body::testing::pipe;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    HeaderMap::from_iter(pairs.iter().map(pair))
}

const CHUNKED: BodyAuth = BodyAuth::Chunked { signer: None, trailer: true };
const PLAIN: &[u8] = b"hello";

fn payload(body: &[u8], auth: BodyAuth, pairs: &[(&'static str, &str)]) -> S3Result<Payload> {
    Payload::new(Body::from(body.to_vec()), auth, &headers(pairs))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn read(mut payload: Payload) -> S3Result<(Vec<u8>, Digested)> {
    block_on(async {
        let mut bytes = Vec::new();
        while let Some(piece) = payload.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok((bytes, payload.finish()?))
    })
}

fn refused(body: &[u8], auth: BodyAuth, pairs: &[(&'static str, &str)]) -> ErrorCode {
    payload(body, auth, pairs).and_then(read).expect_err("it must be refused").code
}

#[test]
fn a_plain_body_is_its_bytes_and_their_digests() {
    let mut payload = payload(PLAIN, BodyAuth::Unsigned, &[("content-length", "5")]).unwrap();
    assert_eq!((payload.declared_length(), payload.algorithm()), (Some(5), None));
    payload.want_md5();
    payload.want(Algorithm::Crc64Nvme);
    payload.want(Algorithm::Sha1);
    payload.want(Algorithm::Sha1);
    let (bytes, digested) = read(payload).unwrap();
    assert_eq!(bytes, PLAIN);
    assert_eq!(hex(&digested.md5.unwrap()), "5d41402abc4b2a76b9719d911017c592");
    let texts: Vec<String> = digested.checksums.iter().map(Checksum::to_string).collect();
    assert_eq!(texts, ["M3eFcAZSQlc=", "qvTGHdzF6KLavt4PO0gs2a6pQ00="]);
    assert_eq!(digested.length, 5);
}

#[test]
fn every_digest_that_is_claimed_is_compared() {
    let right = [
        ("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="),
        ("x-amz-checksum-crc32", "NhCmhg=="),
        ("x-amz-checksum-crc32c", "mnG7TA=="),
        ("x-amz-checksum-crc64nvme", "M3eFcAZSQlc="),
        ("x-amz-checksum-sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00="),
        ("x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="),
    ];
    for (name, value) in right {
        let auth = || BodyAuth::Signed { sha256: sha256(PLAIN) };
        let (_, digested) = read(payload(PLAIN, auth(), &[(name, value)]).unwrap()).unwrap();
        assert_eq!(digested.checksums.len(), usize::from(name != "content-md5"));
        assert_eq!(refused(b"hellp", BodyAuth::Unsigned, &[(name, value)]), ErrorCode::BadDigest, "{name}");
        assert_eq!(refused(b"hellp", auth(), &[(name, value)]), ErrorCode::XAmzContentSha256Mismatch);
    }
    // Both at once, as some clients send them.
    assert!(payload(PLAIN, BodyAuth::Unsigned, &right[..2]).and_then(read).is_ok());
    let one_wrong = [right[0], ("x-amz-checksum-crc32", "AAAAAA==")];
    assert_eq!(refused(PLAIN, BodyAuth::Unsigned, &one_wrong), ErrorCode::BadDigest);
}

#[test]
fn a_body_in_chunks_is_what_they_hold() {
    let body = b"3\r\nhel\r\n2\r\nlo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
    let trailer = ("x-amz-trailer", "x-amz-checksum-crc32");
    for pairs in [&[trailer][..], &[trailer, ("x-amz-decoded-content-length", "5")]] {
        let (bytes, digested) = read(payload(body, CHUNKED, pairs).unwrap()).unwrap();
        assert_eq!((&bytes[..], digested.length), (PLAIN, 5));
        assert_eq!(digested.checksums[0].to_string(), "NhCmhg==");
    }
}

#[test]
fn a_trailer_is_the_one_that_was_announced() {
    let trailer = ("x-amz-trailer", "x-amz-checksum-crc32");
    for (end, code) in [
        ("x-amz-checksum-crc32:NhCmhQ==\r\n", ErrorCode::BadDigest),
        ("x-amz-checksum-crc32:NhCm\r\n", ErrorCode::InvalidRequest),
        ("x-amz-checksum-crc32c:mnG7TA==\r\n", ErrorCode::MalformedTrailer),
        ("", ErrorCode::MalformedTrailer),
        ("x-amz-checksum-crc32:NhCmhg==\r\nx-amz-checksum-crc32:NhCmhg==\r\n", ErrorCode::MalformedTrailer),
    ] {
        let body = format!("5\r\nhello\r\n0\r\n{end}\r\n");
        assert_eq!(refused(body.as_bytes(), CHUNKED, &[trailer]), code, "{end}");
    }
    let unannounced = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
    assert_eq!(refused(unannounced, CHUNKED, &[]), ErrorCode::MalformedTrailer);
}

#[test]
fn too_few_bytes_and_too_many_are_noticed() {
    for declared in ["4", "6"] {
        let plain = refused(PLAIN, BodyAuth::Unsigned, &[("content-length", declared)]);
        assert_eq!(plain, ErrorCode::IncompleteBody, "{declared}");
        let body = b"5\r\nhello\r\n0\r\n\r\n";
        let chunked = refused(body, CHUNKED, &[("x-amz-decoded-content-length", declared)]);
        assert_eq!(chunked, ErrorCode::IncompleteBody, "{declared}");
    }
    assert_eq!(refused(b"5\r\nhello\r\n0\r\n", CHUNKED, &[]), ErrorCode::IncompleteBody);
}

#[test]
fn a_body_that_nobody_announced_is_missed() {
    let without = payload(b"", BodyAuth::Unsigned, &[]).unwrap();
    assert_eq!(without.check_has_body().unwrap_err().code, ErrorCode::MissingContentLength);
    assert!(payload(b"", BodyAuth::Unsigned, &[("content-length", "0")]).unwrap().check_has_body().is_ok());
    assert!(
        payload(b"", BodyAuth::Unsigned, &[("transfer-encoding", "chunked")])
            .unwrap()
            .check_has_body()
            .is_ok()
    );
    // As over HTTP/2.
    assert!(payload(PLAIN, BodyAuth::Unsigned, &[]).unwrap().check_has_body().is_ok());
}

#[test]
fn a_connection_that_breaks_is_no_end() {
    let (sender, body) = pipe();
    let mut payload = Payload::new(body, BodyAuth::Unsigned, &HeaderMap::new()).unwrap();
    sender.send(Ok(Bytes::from_static(PLAIN))).unwrap();
    sender.send(Err("reset")).unwrap();
    block_on(async {
        assert_eq!(payload.next().await, Ok(Some(Bytes::from_static(PLAIN))));
        assert_eq!(payload.next().await.unwrap_err().code, ErrorCode::IncompleteBody);
    });
}

#[test]
fn a_client_that_falls_silent_is_given_up() {
    let (sender, body) = pipe();
    let mut payload = Payload::new(body, BodyAuth::Unsigned, &HeaderMap::new()).unwrap();
    payload.pace.silence = Duration::from_millis(20);
    sender.send(Ok(Bytes::from_static(PLAIN))).unwrap();
    block_on(async {
        assert_eq!(payload.next().await, Ok(Some(Bytes::from_static(PLAIN))));
        assert_eq!(payload.next().await.unwrap_err().code, ErrorCode::RequestTimeout);
    });
    drop(sender);
}

/// Ten of them kept the memory that every larger upload and every document needs, for as long as they liked.
#[tokio::test(start_paused = true)]
async fn a_client_that_sends_a_byte_now_and_then_is_given_up() {
    for (length, most) in [("1000000000", 90), ("1000", 150)] {
        let (sender, body) = pipe();
        let began = Instant::now();
        let client = tokio::spawn(async move {
            while sender.send(Ok(Bytes::from_static(b"x"))).is_ok() {
                tokio::time::sleep(Duration::from_secs(25)).await;
            }
        });
        let mut payload =
            Payload::new(body, BodyAuth::Unsigned, &headers(&[("content-length", length)])).unwrap();
        let refused = async {
            loop {
                if let Err(error) = payload.next().await {
                    return error.code;
                }
            }
        };
        let refused = timeout(Duration::from_secs(1000), refused).await.expect("it was not given up");
        assert_eq!(refused, ErrorCode::RequestTimeout);
        assert!(began.elapsed() <= Duration::from_secs(most), "{:?}", began.elapsed());
        drop(payload);
        client.await.unwrap();
    }
}

#[test]
fn documents_are_collected_up_to_a_size() {
    let collect = |pairs: &[(&'static str, &str)], max| {
        let payload = payload(PLAIN, BodyAuth::Unsigned, pairs).unwrap();
        block_on(payload.collect(max)).map_err(|error| error.code)
    };
    assert_eq!(collect(&[], 5), Ok(Bytes::from_static(PLAIN)));
    assert_eq!(collect(&[], 4), Err(ErrorCode::MaxMessageLengthExceeded));
    assert_eq!(collect(&[("content-length", "5")], 4), Err(ErrorCode::MaxMessageLengthExceeded));
    assert_eq!(collect(&[("content-md5", "XUFAKrxLKna5cZ2REBfFkw==")], 5), Err(ErrorCode::BadDigest));
}

proptest! {
    /// Whatever the pieces in which it comes, the same is read and the same is computed.
    #[test]
    fn pieces_make_no_difference(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6),
        is_signed in any::<bool>(),
    ) {
        let whole = pieces.concat();
        let auth = || match is_signed {
            true => BodyAuth::Signed { sha256: sha256(&whole) },
            false => BodyAuth::Unsigned,
        };
        let (sender, body) = pipe();
        for piece in &pieces {
            sender.send(Ok(Bytes::copy_from_slice(piece))).unwrap();
        }
        drop(sender);
        let read = |body| {
            let mut payload = Payload::new(body, auth(), &HeaderMap::new()).unwrap();
            payload.want_md5();
            Algorithm::ALL.into_iter().for_each(|algorithm| payload.want(algorithm));
            read(payload)
        };
        let (bytes, digested) = read(body).unwrap();
        prop_assert_eq!(&bytes, &whole);
        prop_assert_eq!((bytes, digested), read(Body::from(whole.clone())).unwrap());
    }
}
