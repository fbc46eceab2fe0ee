//! Bodies in chunks: `aws-chunked`, signed and not, whole and broken.

use std::time::Duration;

use compat_tests::checksums::Algorithm;
use compat_tests::raw::{Request, Wire};

use crate::bucket::{Bucket, bytes};

#[tokio::test]
async fn signed_chunks_are_put_together() {
    let bucket = Bucket::fresh().await;
    for size in [0, 1, 65_536, 200_000, 6 << 20] {
        let body = bytes(size);
        let pieces: Vec<&[u8]> = body.chunks(65_536).collect();
        Request::new("PUT", bucket.path("key")).chunked(&pieces).send().expect(200);
        let got = bucket.get("key").send().await.unwrap();
        assert_eq!(got.content_encoding(), None);
        assert!(got.body.collect().await.unwrap().to_vec() == body, "{size}");
    }
}

#[tokio::test]
async fn chunks_without_signatures_are_put_together() {
    let bucket = Bucket::fresh().await;
    for size in [0, 1, 70_000, 6 << 20] {
        let body = bytes(size);
        let pieces: Vec<&[u8]> = body.chunks(100_000).collect();
        let crc = Algorithm::Crc64Nvme.of(&body);
        let put = Request::new("PUT", bucket.path("key"));
        let put = put.unsigned_chunks_with_trailer(&pieces, &[("x-amz-checksum-crc64nvme", &crc)]);
        put.send().expect(200);
        assert!(bucket.bytes("key").await == body, "{size}");
    }
}

#[tokio::test]
async fn parts_of_an_upload_may_come_in_chunks() {
    let bucket = Bucket::fresh().await;
    let upload = crate::multipart::Upload::begin(&bucket, "key").await;
    let body = bytes(100_000);
    let put = upload.raw("PUT").query("partNumber", "1").chunked(&[&body]).send().expect(200);
    let part = crate::multipart::part(1, put.header("etag").unwrap());
    upload.complete(&[part]).send().await.unwrap();
    assert!(bucket.bytes("key").await == body);
}

/// Anything between the client and us may change a byte: wherever it is, nothing is stored.
#[tokio::test]
async fn a_changed_byte_in_a_chunk_is_found() {
    let bucket = Bucket::fresh().await;
    let body = bytes(200_000);
    let pieces: Vec<&[u8]> = body.chunks(65_536).collect();
    let whole = Request::new("PUT", bucket.path("key")).chunked(&pieces);
    for at in [100, 70_000, whole.body.len() - 200, whole.body.len() - 100] {
        let mut put = whole.clone();
        put.body[at] ^= 1;
        let answer = put.send();
        assert!(matches!(answer.status, 400 | 403), "{at}: {}", answer.status);
        assert!(!bucket.has("key").await, "{at}");
    }
    let mut put = whole;
    put.body[100] ^= 1;
    put.send().refused(403, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn chunks_in_another_order_are_refused() {
    let bucket = Bucket::fresh().await;
    let (first, second) = (bytes(70_000), bytes(70_001));
    let put = Request::new("PUT", bucket.path("key")).chunked(&[&first, &second]);
    let at = |body: &[u8], of: &[u8]| body.windows(32).position(|window| window == &of[..32]).unwrap();
    // Each begins with its line: what stands before the bytes, back to the end of the chunk before.
    let second_at = at(&put.body, &second) - format!("{:x};chunk-signature=", 70_001).len() - 64 - 2;
    let end = put.body.len() - "0;chunk-signature=".len() - 64 - 4;
    let mut swapped = put.clone();
    swapped.body = [&put.body[second_at..end], &put.body[..second_at], &put.body[end..]].concat();
    swapped.send().refused(403, "SignatureDoesNotMatch");
    assert!(!bucket.has("key").await);
}

#[tokio::test]
async fn chunks_that_end_too_early_store_nothing() {
    let bucket = Bucket::fresh().await;
    let body = bytes(200_000);
    let pieces: Vec<&[u8]> = body.chunks(65_536).collect();
    let put = Request::new("PUT", bucket.path("key")).chunked(&pieces);
    // Without the last chunk, which alone says that there is no more; and in the middle of one.
    for cut in [put.body.len() - 86, 150_000, 10] {
        let mut short = put.clone();
        short.body.truncate(cut);
        let answer = short.send();
        assert_eq!(answer.status, 400, "{cut}: {}", answer.text());
        assert!(!bucket.has("key").await, "{cut}");
    }
}

#[tokio::test]
async fn the_decoded_length_must_be_that_of_the_bytes() {
    let bucket = Bucket::fresh().await;
    let body = bytes(1000);
    for length in ["999", "1001", "0", "x", "-1"] {
        let crc = Algorithm::Crc32.of(&body);
        let put = Request::new("PUT", bucket.path("key"))
            .unsigned_chunks_with_trailer(&[&body], &[("x-amz-checksum-crc32", &crc)]);
        // Signed anew, with the wrong length.
        let content = put.body.clone();
        let put = Request::new("PUT", bucket.path("key"))
            .header("content-encoding", "aws-chunked")
            .header("x-amz-trailer", "x-amz-checksum-crc32")
            .header("x-amz-decoded-content-length", length)
            .body(content)
            .signed_as("STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        let answer = put.send();
        assert_eq!(answer.status, 400, "{length}: {}", answer.text());
        assert!(!bucket.has("key").await, "{length}");
    }
}

#[tokio::test]
async fn a_chunk_that_makes_no_sense_is_refused() {
    let bucket = Bucket::fresh().await;
    for content in [
        "",
        "x\r\n",
        "5\r\nvalue",
        "5\r\nvalue\r\n",
        "5\r\nvalueXX0\r\n\r\n",
        "-5\r\nvalue\r\n0\r\n\r\n",
        "ffffffffffffffffffff\r\nvalue\r\n0\r\n\r\n",
        "5\nvalue\n0\n\n",
        "5 \r\nvalue\r\n0\r\n\r\n",
    ] {
        let put = Request::new("PUT", bucket.path("key"))
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", "5")
            .header("x-amz-trailer", "x-amz-checksum-crc32")
            .body(content)
            .signed_as("STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        let answer = put.send();
        assert_eq!(answer.status, 400, "{content:?}: {}", answer.text());
        assert!(!bucket.has("key").await, "{content:?}");
    }
}

#[tokio::test]
async fn a_trailer_that_was_announced_must_come() {
    let bucket = Bucket::fresh().await;
    let body = bytes(1000);
    let content = [b"3e8\r\n", body.as_slice(), b"\r\n0\r\n\r\n"].concat();
    let put = Request::new("PUT", bucket.path("key"))
        .header("content-encoding", "aws-chunked")
        .header("x-amz-decoded-content-length", "1000")
        .header("x-amz-trailer", "x-amz-checksum-crc32")
        .body(content)
        .signed_as("STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    assert_eq!(put.send().status, 400);
    assert!(!bucket.has("key").await);
}

#[tokio::test]
async fn a_trailer_whose_signature_is_wrong_is_refused() {
    let bucket = Bucket::fresh().await;
    let (body, crc) = (bytes(1000), Algorithm::Crc32.of(&bytes(1000)));
    let mut put = Request::new("PUT", bucket.path("key"))
        .chunked_with_trailer(&[&body], &[("x-amz-checksum-crc32", &crc)]);
    let last_digit = put.body.len() - 5;
    put.body[last_digit] = if put.body[last_digit] == b'0' { b'1' } else { b'0' };
    put.send().refused(403, "SignatureDoesNotMatch");
    assert!(!bucket.has("key").await);
}

/// Some SDKs send chunks within chunks, with no length at all.
#[tokio::test]
async fn the_transfer_may_be_chunked_as_well() {
    let bucket = Bucket::fresh().await;
    let body = bytes(100_000);
    let crc = Algorithm::Crc32.of(&body);
    let put = Request::new("PUT", bucket.path("key"))
        .unsigned_chunks_with_trailer(&[&body], &[("x-amz-checksum-crc32", &crc)]);
    let mut put = put.header("transfer-encoding", "chunked");
    let mut content = Vec::new();
    for piece in put.body.chunks(30_000) {
        content.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        content.extend_from_slice(piece);
        content.extend_from_slice(b"\r\n");
    }
    content.extend_from_slice(b"0\r\n\r\n");
    put.body = content;
    put.send().expect(200);
    assert!(bucket.bytes("key").await == body);
}

/// A client asks before it sends much: the answer is about the bucket and the signature, not the bytes.
#[tokio::test]
async fn a_client_that_waits_for_100_is_told_to_go_on() {
    let bucket = Bucket::fresh().await;
    let put = Request::new("PUT", bucket.path("key")).header("expect", "100-continue").body("value");
    let put = put.signed();
    let answer = tokio::task::spawn_blocking(move || {
        let mut wire = Wire::connect();
        wire.write(&put.head());
        assert_eq!(wire.read(false).unwrap().status, 100);
        wire.write(&put.body);
        wire.read(false).unwrap()
    });
    answer.await.unwrap().expect(200);
    assert_eq!(bucket.bytes("key").await, b"value");
}

#[tokio::test]
async fn a_client_that_waits_for_100_and_may_not_is_told_so_instead() {
    let put = Request::new("PUT", "/compat-no-such-bucket/key").header("expect", "100-continue");
    let put = put.body(bytes(1000));
    tokio::task::spawn_blocking(move || {
        let mut wire = Wire::connect();
        wire.write(&put.head());
        assert_eq!(wire.read(false).unwrap().status, 403);
    })
    .await
    .unwrap();
}

/// boto3 does not send a body that was refused, and would send its next request instead. Of that, a server
/// that still expected the body took the beginning for it, and answered what was left with an empty 400.
#[tokio::test]
async fn what_follows_a_refusal_instead_of_a_body_is_not_taken_for_the_body() {
    let put = Request::new("PUT", "/compat-no-such-bucket/key").header("expect", "100-continue");
    let put = put.body(bytes(50));
    tokio::task::spawn_blocking(move || {
        let mut wire = Wire::connect();
        wire.write(&put.head());
        let refused = wire.read(false).unwrap();
        assert_eq!((refused.status, refused.header("connection")), (403, Some("close")));
        assert!(wire.read(false).is_none(), "the connection stays open");
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    let bucket = Bucket::fresh().await;
    let put = Request::new("PUT", bucket.path("key")).body(bytes(6 << 20)).signed();
    tokio::task::spawn_blocking(move || {
        let mut wire = Wire::connect();
        wire.write(&put.head());
        wire.write(&put.body[..5 << 20]);
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!bucket.has("key").await);
    assert_eq!(bucket.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_body_that_is_shorter_than_it_said_stores_nothing() {
    let bucket = Bucket::fresh().await;
    let put = Request::new("PUT", bucket.path("key")).header("content-length", "1000").body("short");
    let put = put.signed_as("UNSIGNED-PAYLOAD");
    let answer = tokio::task::spawn_blocking(move || {
        let mut wire = Wire::connect();
        wire.write(&put.head());
        wire.write(&put.body);
        wire.finish();
        wire.read(false)
    });
    if let Some(answer) = answer.await.unwrap() {
        assert_eq!(answer.status, 400);
    }
    assert!(!bucket.has("key").await);
}

/// Neither a length nor chunks: where the body ends cannot be known.
#[tokio::test]
async fn a_put_without_a_length_is_refused() {
    let bucket = Bucket::fresh().await;
    let put = Request::new("PUT", bucket.path("key")).without_length().signed().send();
    put.refused(411, "MissingContentLength");
    assert!(!bucket.has("key").await);
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let bucket = Bucket::fresh().await;
    let request = |key: &str| Request::new("PUT", bucket.path(key)).body(key).signed();
    let (first, second) = (request("first"), request("second"));
    let missing = Request::new("GET", bucket.path("missing")).signed();
    tokio::task::spawn_blocking(move || {
        let mut wire = Wire::connect();
        for (request, status) in [(&first, 200), (&missing, 404), (&second, 200), (&missing, 404)] {
            wire.write(&request.head());
            wire.write(&request.body);
            assert_eq!(wire.read(false).unwrap().status, status);
        }
    })
    .await
    .unwrap();
    assert_eq!(bucket.keys().await, ["first", "second"]);
}
