//! What no client should send: it is refused, and the server is there for the next one.

use compat_tests::raw::{Request, Wire};
use compat_tests::sign::UNSIGNED;

use crate::bucket::Bucket;
use crate::multipart::Upload;

#[tokio::test]
async fn documents_that_are_none_are_refused() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let upload = Upload::begin(&bucket, "key").await;
    let deep = "<a>".repeat(10_000);
    let bomb = "<!DOCTYPE d [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]>\
        <Delete><Object><Key>&b;</Key></Object></Delete>";
    let external = "<!DOCTYPE d [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>\
        <Delete><Object><Key>&a;</Key></Object></Delete>";
    for body in
        ["<", "<>", "\u{0}", "<a", "<a></b>", "<a/><b/>", "&amp;", &deep, bomb, external, "{\"json\": 1}"]
    {
        let requests = [
            Request::new("POST", format!("/{}", bucket.name)).query("delete", ""),
            Request::new("PUT", bucket.path("key")).query("tagging", ""),
            Request::new("PUT", format!("/{}", bucket.name)).query("tagging", ""),
            upload.raw("POST"),
        ];
        for request in requests {
            let answer = request.body(body).signed().send();
            assert_eq!(answer.status, 400, "{:.40}: {}", body, answer.text());
            assert_eq!(answer.element("Code").as_deref(), Some("MalformedXML"), "{body:.40}");
        }
    }
    assert_eq!(bucket.bytes("key").await, b"value");
}

#[tokio::test]
async fn a_document_that_is_too_long_is_refused() {
    let bucket = Bucket::fresh().await;
    let body = format!("<Tagging>{}</Tagging>", " ".repeat(3 << 20));
    let put = Request::new("PUT", format!("/{}", bucket.name)).query("tagging", "").body(body);
    let answer = put.signed().send();
    assert_eq!(answer.status, 400, "{}", answer.text());
}

/// Elements that a server does not know may come from a newer client.
#[tokio::test]
async fn a_document_may_have_a_declaration_comments_and_unknown_elements() {
    let bucket = Bucket::fresh().await;
    let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- tags -->\n\
        <Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Later>x</Later>\n<TagSet>\n<Tag>\
        <Value><![CDATA[1 = 2]]></Value><Key>a</Key></Tag>\n</TagSet></Tagging>\n";
    let put = Request::new("PUT", format!("/{}", bucket.name)).query("tagging", "").body(body);
    let answer = put.signed().send();
    assert!(matches!(answer.status, 200 | 204), "{}", answer.text());
    let tags = bucket.client.get_bucket_tagging().bucket(&bucket.name).send().await.unwrap();
    assert_eq!((tags.tag_set()[0].key(), tags.tag_set()[0].value()), ("a", "1 = 2"));
}

#[test]
fn an_unknown_method_is_refused() {
    for method in ["PATCH", "TRACE", "BREW"] {
        let answer = Request::new(method, "/compat-x/key").signed().send();
        assert!(matches!(answer.status, 400..=405 | 501), "{method}: {}", answer.status);
    }
}

#[test]
fn what_is_not_http_gets_no_500() {
    for bytes in [
        &b"\r\n\r\n"[..],
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"PUT /b/k HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"PUT /b/k HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let mut wire = Wire::connect();
        wire.write(bytes);
        wire.finish();
        if let Some(answer) = wire.read(false) {
            assert!(
                (400..500).contains(&answer.status) || answer.status == 505,
                "{bytes:?}: {}",
                answer.status
            );
        }
    }
}

/// Both would let two readers see two different requests.
#[test]
fn a_length_and_chunks_together_are_refused() {
    let mut wire = Wire::connect();
    wire.write(
        b"PUT /compat-x/key HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n\
          0\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
    );
    if let Some(answer) = wire.read(false) {
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
}

#[test]
fn headers_beyond_all_measure_are_refused() {
    let request = Request::new("GET", "/").header("x-amz-meta-long", "v".repeat(200_000));
    let mut wire = Wire::connect();
    wire.write(&request.head());
    if let Some(answer) = wire.read(false) {
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    Request::new("GET", "/").signed().send().expect(200);
}

#[tokio::test]
async fn a_put_larger_than_may_be_is_refused_before_it_is_sent() {
    let bucket = Bucket::fresh().await;
    let put = Request::new("PUT", bucket.path("key"))
        .header("content-length", (5_u64 * 1024 * 1024 * 1024 + 1).to_string())
        .header("expect", "100-continue")
        .signed_as("UNSIGNED-PAYLOAD");
    let answer = tokio::task::spawn_blocking(move || {
        let mut wire = Wire::connect();
        wire.write(&put.head());
        wire.read(false).unwrap()
    });
    answer.await.unwrap().refused(400, "EntityTooLarge");
}

/// Two lines are signed like one with a comma, which could be cut elsewhere; one of them would count.
#[tokio::test]
async fn a_copy_has_one_source() {
    let bucket = Bucket::fresh().await;
    bucket.put_all(&["a", "a,b"]).await;
    let copy = Request::new("PUT", bucket.path("copy"));
    let copy = copy.header("x-amz-copy-source", bucket.source("a")).header("x-amz-copy-source", "b");
    let answer = copy.signed().send();
    assert!(matches!(answer.status, 400 | 403), "{}", answer.text());
    assert!(!bucket.has("copy").await);
}

/// A client that lost the upload's id, or means another version, must not find the object replaced.
#[tokio::test]
async fn a_part_without_an_upload_and_a_version_do_not_replace_an_object() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    for (name, value) in [("partNumber", "1"), ("versionId", "null")] {
        let put = Request::new("PUT", bucket.path("key")).query(name, value).body("other");
        put.signed().send().refused(400, "InvalidArgument");
        assert_eq!(bucket.bytes("key").await, b"value", "{name}");
    }
}

/// It would be stored compressed, and nobody would know.
#[tokio::test]
async fn a_body_that_is_compressed_on_its_way_is_refused() {
    let bucket = Bucket::fresh().await;
    let put = Request::new("PUT", bucket.path("key")).header("transfer-encoding", "gzip, chunked");
    let answer = put.body("5\r\nvalue\r\n0\r\n\r\n").without_length().signed_as(UNSIGNED).send();
    assert!(matches!(answer.status, 400 | 501), "{}", answer.text());
    assert!(!bucket.has("key").await);
}

#[tokio::test]
async fn head_is_not_told_that_an_object_has_no_bytes_because_it_is_unchanged() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let head = Request::new("HEAD", bucket.path("key")).header("if-none-match", "*").signed().send();
    assert_eq!(head.status, 304);
    assert!(matches!(head.header("content-length"), None | Some("5")), "{:?}", head.headers);
}
