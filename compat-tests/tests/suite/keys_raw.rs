//! Keys are bytes: odd ones, and odd ways to spell them.

use compat_tests::raw::Request;
use compat_tests::sign::encode_path;

use crate::bucket::Bucket;

/// Each is one object, told from all others.
const ODD: &[&str] = &[
    "a//b",
    "a/./b",
    "a/../b",
    "../a",
    "./a",
    "/a",
    "//a",
    "a/",
    "a//",
    ".",
    "..",
    "...",
    "/",
    "//",
    "a%2Fb",
    "a%b",
    "%",
    "%00",
    "a+b",
    "a b",
    "a\\b",
    "a?b",
    "a#b",
    "a&b=c",
    "a;b",
    "a:b",
    "a@b",
    "a*b",
    "a|b",
    "~a",
    "'a'",
    "\"a\"",
    "(a)",
    "[a]",
    "{a}",
    "<a>",
    "a,b",
    "$a",
    "!a",
    "^a",
    "`a`",
    "ünïcödé",
    "日本語/キー",
    "🦀",
    "e\u{301}",
    "\u{e9}",
    "\u{feff}",
    "\u{200b}",
    "a\tb",
    "a\nb",
    "a\rb",
    "\u{1}",
    "\u{7f}",
    "\u{85}",
    "\u{fffd}",
    "index.html",
    "-",
    "_",
    "aux",
    "con.txt",
    ".hidden",
    "~",
    "a.",
    "a ",
    " a",
    " ",
];

#[tokio::test]
async fn every_odd_key_is_a_key_of_its_own() {
    let bucket = Bucket::fresh().await;
    for key in ODD {
        let put = Request::new("PUT", bucket.path(key)).body(key).signed();
        let answer = put.send();
        assert_eq!(answer.status, 200, "{key:?}: {}", answer.text());
    }
    for key in ODD {
        let get = Request::new("GET", bucket.path(key)).signed().send();
        assert_eq!((get.status, get.text().as_str()), (200, *key), "{key:?}");
        let head = Request::new("HEAD", bucket.path(key)).signed().send();
        assert_eq!(head.status, 200, "{key:?}");
    }
    let list = Request::new("GET", format!("/{}", bucket.name)).query("list-type", "2");
    let list = list.query("encoding-type", "url").signed().send().expect(200);
    let listed: Vec<String> = list
        .elements("Key")
        .iter()
        .map(|key| percent_encoding::percent_decode_str(key).decode_utf8().unwrap().into_owned())
        .collect();
    let mut expected: Vec<&str> = ODD.to_vec();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    for key in ODD {
        Request::new("DELETE", bucket.path(key)).signed().send().expect(204);
    }
    assert_eq!(bucket.keys().await, [""; 0]);
}

/// The SDK spells them in its own way, and signs what it spells.
#[tokio::test]
async fn the_sdk_finds_every_odd_key() {
    let bucket = Bucket::fresh().await;
    // It takes what is nothing but white space for a missing key.
    let odd: Vec<&str> = ODD.iter().copied().filter(|key| !key.trim().is_empty()).collect();
    for key in &odd {
        bucket.put(key, *key).send().await.unwrap_or_else(|error| panic!("{key:?}: {error:?}"));
        assert_eq!(bucket.bytes(key).await, key.as_bytes(), "{key:?}");
    }
    for key in &odd {
        bucket.copy(key, "copy").send().await.unwrap_or_else(|error| panic!("{key:?}: {error:?}"));
        assert_eq!(bucket.bytes("copy").await, key.as_bytes(), "{key:?}");
        bucket.delete(key).send().await.unwrap();
        assert!(!bucket.has(key).await, "{key:?}");
    }
}

/// A path means what it says once decoded, however much of it was encoded and in which case.
#[tokio::test]
async fn a_key_may_be_spelled_in_many_ways() {
    let bucket = Bucket::fresh().await;
    bucket.put("a-b~c/d+e ü", "value").send().await.unwrap();
    let signed = Request::new("GET", bucket.path("a-b~c/d+e ü")).signed();
    for spelling in [
        "a-b~c/d%2Be%20%C3%BC",
        "a-b~c/d%2be%20%c3%bc",
        "%61%2D%62%7E%63/d%2Be%20%C3%BC",
        "a-b~c/d+e%20%C3%BC",
    ] {
        let get = signed.clone().spelled(format!("/{}/{spelling}", bucket.name)).send();
        assert_eq!((get.status, get.text().as_str()), (200, "value"), "{spelling}");
    }
}

/// Decoding twice would let one key stand for another.
#[tokio::test]
async fn an_encoded_percent_sign_is_not_decoded_twice() {
    let bucket = Bucket::fresh().await;
    bucket.put("a/b", "slash").send().await.unwrap();
    bucket.put("a%2Fb", "percent").send().await.unwrap();
    let get = |key: &str, target: &str| {
        let request = Request::new("GET", bucket.path(key)).signed();
        request.spelled(format!("/{}/{target}", bucket.name)).send().text()
    };
    assert_eq!(get("a%2Fb", "a%252Fb"), "percent");
    assert_eq!(get("a/b", "a/b"), "slash");
}

/// In a query a plus may stand for a space, in a path it is a plus.
#[tokio::test]
async fn a_plus_in_a_query_is_a_space() {
    let bucket = Bucket::fresh().await;
    bucket.put_all(&["a b", "a+b"]).await;
    let list =
        Request::new("GET", format!("/{}", bucket.name)).query("list-type", "2").query("prefix", "a b");
    let target = format!("/{}?list-type=2&prefix=a+b", bucket.name);
    let answer = list.signed().spelled(target).send().expect(200);
    assert_eq!(answer.elements("Key"), ["a b"]);
}

#[tokio::test]
async fn a_path_that_is_no_utf8_or_wrongly_encoded_is_refused() {
    let bucket = Bucket::fresh().await;
    for (path, target) in
        [("\u{fffd}", "%FF"), ("\u{fffd}", "%C3"), ("a%", "a%"), ("a%zz", "a%zz"), ("a%4", "a%4")]
    {
        let put = Request::new("PUT", bucket.path(path)).body("x").signed();
        let answer = put.spelled(format!("/{}/{target}", bucket.name)).send();
        assert!(matches!(answer.status, 400 | 403), "{target}: {}", answer.status);
    }
    assert_eq!(bucket.keys().await, [""; 0]);
}

/// A NUL is a byte like others.
#[tokio::test]
async fn a_nul_in_a_key_is_kept_or_refused() {
    let bucket = Bucket::fresh().await;
    let put = Request::new("PUT", bucket.path("a\0b")).body("value").signed().send();
    if put.status == 200 {
        let get = Request::new("GET", bucket.path("a\0b")).signed().send();
        assert_eq!(get.expect(200).body, b"value");
        bucket.put("a", "other").send().await.unwrap();
        let get = Request::new("GET", bucket.path("a\0b")).signed().send();
        assert_eq!(get.expect(200).body, b"value");
    } else {
        assert_eq!(put.status, 400);
    }
}

#[tokio::test]
async fn a_bucket_may_be_asked_with_a_slash_behind_it() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let list = Request::new("GET", format!("/{}/", bucket.name)).query("list-type", "2");
    assert_eq!(list.signed().send().expect(200).elements("Key"), ["key"]);
    Request::new("HEAD", format!("/{}/", bucket.name)).signed().send().expect(200);
}

#[tokio::test]
async fn a_query_that_s3_does_not_know_is_passed_over() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let get = Request::new("GET", bucket.path("key")).query("cache-buster", "17");
    assert_eq!(get.signed().send().expect(200).body, b"value");
}

#[test]
fn paths_are_encoded_as_signatures_have_it() {
    assert_eq!(encode_path("a b/+ü~"), "a%20b/%2B%C3%BC~");
}
