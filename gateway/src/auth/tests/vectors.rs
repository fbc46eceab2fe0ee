//! What AWS publishes: "Authenticating Requests (AWS Signature Version 4)" in the API reference of S3.

use http::Method;

use super::{Request, example_time};
use crate::auth::signature::{EMPTY_SHA256, sha256};
use crate::auth::{BodyAuth, Grants};

fn at_the_time(request: Request) -> Request {
    request.with("x-amz-date", "20130524T000000Z")
}

#[test]
fn the_published_get_of_a_range_is_accepted() {
    let request = at_the_time(Request::get("/test.txt", ""))
        .with("range", "bytes=0-9")
        .with("x-amz-content-sha256", EMPTY_SHA256)
        .authorized(
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        );
    let (caller, body) = request.authenticate().unwrap();
    assert_eq!((&*caller.access_key, &*caller.display_name), ("AKIAIOSFODNN7EXAMPLE", "root"));
    assert_eq!(caller.grants, Grants::default());
    assert!(matches!(body, BodyAuth::Signed { sha256: digest } if digest == sha256(b"")));
}

#[test]
fn the_published_put_is_accepted() {
    let request = at_the_time(Request::new(Method::PUT, "/test$file.text", ""))
        .with("date", "Fri, 24 May 2013 00:00:00 GMT")
        .with("x-amz-storage-class", "REDUCED_REDUNDANCY")
        .with("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072")
        .authorized(
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        );
    let (_, body) = request.authenticate().unwrap();
    let digest = sha256(b"Welcome to Amazon S3.");
    assert!(matches!(body, BodyAuth::Signed { sha256 } if sha256 == digest));
}

#[test]
fn the_published_get_of_a_lifecycle_is_accepted() {
    let request =
        at_the_time(Request::get("/", "lifecycle")).with("x-amz-content-sha256", EMPTY_SHA256).authorized(
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        );
    request.authenticate().unwrap();
}

#[test]
fn the_published_list_of_objects_is_accepted() {
    let request = at_the_time(Request::get("/", "max-keys=2&prefix=J"))
        .with("x-amz-content-sha256", EMPTY_SHA256)
        .authorized(
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        );
    request.authenticate().unwrap();
}

#[test]
fn the_published_presigned_url_is_accepted_and_made() {
    let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256\
                 &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
                 &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
                 &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let (_, body) = Request::get("/test.txt", query).authenticate().unwrap();
    assert!(matches!(body, BodyAuth::Unsigned));
    assert_eq!(Request::get("/test.txt", "").presigned(86_400).query, query);
}

/// A body of 65 KiB in chunks of 64 KiB, without and with a trailer.
#[test]
fn the_published_uploads_in_chunks_are_accepted_and_their_chunks_too() {
    let upload = |payload| {
        let request = Request::new(Method::PUT, "/examplebucket/chunkObject.txt", "");
        let request = Request { host: "s3.amazonaws.com".into(), ..request };
        at_the_time(request)
            .with("x-amz-storage-class", "REDUCED_REDUNDANCY")
            .with("x-amz-content-sha256", payload)
            .with("content-encoding", "aws-chunked")
            .with("x-amz-decoded-content-length", "66560")
            .with("content-length", "66824")
    };
    let plain = upload("STREAMING-AWS4-HMAC-SHA256-PAYLOAD").authorized(
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
         x-amz-decoded-content-length;x-amz-storage-class",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    );
    let (_, body) = plain.authenticate().unwrap();
    let BodyAuth::Chunked { signer: Some(mut signer), trailer: false } = body else { panic!("{body:?}") };
    let first = sha256(vec![b'a'; 65_536]);
    assert!(signer.verify_chunk(&first, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"));

    let trailing = upload("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
        .with("x-amz-trailer", "x-amz-checksum-crc32c")
        .authorized(
            "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
             x-amz-storage-class;x-amz-trailer",
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        );
    let (_, body) = trailing.authenticate().unwrap();
    let BodyAuth::Chunked { signer: Some(mut signer), trailer: true } = body else { panic!("{body:?}") };
    assert!(signer.verify_chunk(&first, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"));
}

#[test]
fn the_signer_makes_the_published_signature() {
    let request = Request::get("/test.txt", "").with("range", "bytes=0-9").signed(EMPTY_SHA256);
    let authorization = request.headers["authorization"].to_str().unwrap();
    assert_eq!(
        authorization,
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
         SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
         Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    );
    request.authenticate_at(example_time()).unwrap();
}
