//! Clients that go away in the middle of an upload, wherever that is.

#![expect(clippy::unwrap_used, reason = "all of this is tests, also what is not marked as one")]

use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use compat_tests::checksums::Algorithm;
use compat_tests::cluster::Cluster;
use compat_tests::raw::{Request, Wire};
use compat_tests::server::Server;
use tokio::time::sleep;

const BUCKET: &str = "cut";

/// Replicas look once a minute for what nothing refers to, and the first look may come too early.
const COLLECTION_PATIENCE: Duration = Duration::from_secs(180);

/// What is uploaded: a body of several chunks, so that some are stored before the last byte has come.
const LARGE: usize = (9 << 20) + 5;
const SMALL: usize = 5000;

#[derive(Clone, Copy, Debug)]
enum Form {
    Plain,
    SignedChunks,
    UnsignedChunksAndTrailer,
}

fn body(size: usize) -> Vec<u8> {
    (0..size).map(|index| u8::try_from(index * 31 % 251).unwrap()).collect()
}

/// A put of an object, or of a part of an upload.
fn request(server: &Server, path: &str, part_of: Option<&str>, form: Form, body: &[u8]) -> Request {
    let put = Request::to(server, "PUT", path);
    let put = match part_of {
        Some(upload) => put.query("partNumber", "1").query("uploadId", upload),
        None => put,
    };
    let pieces: Vec<&[u8]> = body.chunks(65_536).collect();
    let crc = Algorithm::Crc32.of(body);
    let trailer = [("x-amz-checksum-crc32", crc.as_str())];
    match form {
        Form::Plain => put.body(body).signed(),
        Form::SignedChunks => put.chunked_with_trailer(&pieces, &trailer),
        Form::UnsignedChunksAndTrailer => put.unsigned_chunks_with_trailer(&pieces, &trailer),
    }
}

/// How many bytes of a request are sent: in its head, at the end of it, in the body, at the edges of chunks
/// and just beyond them, in the last chunk's line and in the trailer.
fn cuts(head: usize, body: usize) -> Vec<usize> {
    let ends = [200, 40, 3, 1].map(|left| body - left);
    let within = [1, body / 7, 65_536, 4 << 20, (4 << 20) + 500, 8 << 20].into_iter().chain(ends);
    let within = within.filter(|at| *at < body).map(|at| head + at);
    [1, head / 2, head - 1, head].into_iter().chain(within).collect()
}

/// Sends so much of it and goes away, at once or after the server has had time to take it all.
fn cut_off(server: &Server, wire: &[u8], at: usize, waits: bool) {
    let mut connection = Wire::connect_to(server);
    connection.offer(&wire[..at]);
    if waits {
        std::thread::sleep(Duration::from_millis(50));
    }
}

async fn keys(client: &Client) -> Vec<String> {
    let page = client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    page.contents().iter().map(|object| object.key().unwrap().to_owned()).collect()
}

/// Cuts off this request wherever it may be cut, at once and after a while.
fn cut_everywhere(server: &Server, path: &str, part_of: Option<&str>, form: Form, size: usize) {
    let body = body(size);
    let put = request(server, path, part_of, form, &body);
    let wire = [put.head(), put.body.clone()].concat();
    for at in cuts(put.head().len(), put.body.len()) {
        for waits in [false, true] {
            cut_off(server, &wire, at, waits);
        }
    }
}

#[tokio::test]
async fn an_upload_that_is_cut_off_anywhere_leaves_no_object_no_chunk_and_no_request() {
    let cluster = Cluster::start("disconnects", 3, 1);
    let server = cluster.server(0);
    let client = Client::from_conf(cluster.config(0).build());
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    let upload = client.create_multipart_upload().bucket(BUCKET).key("parts").send().await.unwrap();
    let upload = upload.upload_id().unwrap().to_owned();

    for (form, size) in [
        (Form::Plain, LARGE),
        (Form::SignedChunks, LARGE),
        (Form::UnsignedChunksAndTrailer, LARGE),
        (Form::Plain, SMALL),
        (Form::SignedChunks, SMALL),
        (Form::UnsignedChunksAndTrailer, SMALL),
    ] {
        cut_everywhere(&server, &format!("/{BUCKET}/{form:?}-{size}"), None, form, size);
    }
    cut_everywhere(&server, &format!("/{BUCKET}/parts"), Some(&upload), Form::SignedChunks, LARGE);
    assert!(cluster.chunk_count() > 0, "nothing was stored before the connections broke");
    let begun = Instant::now();
    while cluster.requests_running(0) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "a request is stuck");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(keys(&client).await, [""; 0]);

    // All bytes came, and the answer found nobody: it is there, whole, or it is not.
    let whole = body(LARGE);
    for (number, form) in
        [Form::Plain, Form::SignedChunks, Form::UnsignedChunksAndTrailer].into_iter().enumerate()
    {
        let put = request(&server, &format!("/{BUCKET}/whole-{number}"), None, form, &whole);
        let wire = [put.head(), put.body].concat();
        cut_off(&server, &wire, wire.len(), false);
    }
    let parts = client.list_parts().bucket(BUCKET).key("parts").upload_id(&upload).send().await.unwrap();
    assert_eq!(parts.parts().len(), 0);
    client.abort_multipart_upload().bucket(BUCKET).key("parts").upload_id(&upload).send().await.unwrap();
    // What was being committed may appear a moment after its request has ended, but not for ever.
    let begun = Instant::now();
    while client.delete_bucket().bucket(BUCKET).send().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the bucket does not become empty");
        for key in keys(&client).await {
            let got = client.get_object().bucket(BUCKET).key(&key).send().await.unwrap();
            assert!(key.starts_with("whole-"), "{key}");
            assert!(got.body.collect().await.unwrap().to_vec() == whole, "{key}");
            client.delete_object().bucket(BUCKET).key(&key).send().await.unwrap();
        }
    }

    let begun = Instant::now();
    while cluster.chunk_count() > 0 {
        assert!(begun.elapsed() < COLLECTION_PATIENCE, "{} chunks are left", cluster.chunk_count());
        sleep(Duration::from_millis(500)).await;
    }
}
