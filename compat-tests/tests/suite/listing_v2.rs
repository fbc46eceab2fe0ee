//! `ListObjectsV2`.

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use compat_tests::checksums::etag;
use compat_tests::raw::Request;
use compat_tests::sdk::{assert_refused, client};

use crate::bucket::{Bucket, fresh_name};

fn keys(page: &ListObjectsV2Output) -> Vec<&str> {
    page.contents().iter().map(|object| object.key().unwrap()).collect()
}

fn prefixes(page: &ListObjectsV2Output) -> Vec<&str> {
    page.common_prefixes().iter().map(|prefix| prefix.prefix().unwrap()).collect()
}

async fn filled(keys: &[&str]) -> Bucket {
    let bucket = Bucket::fresh().await;
    bucket.put_all(keys).await;
    bucket
}

/// Pages of this size until there is no more. Keys and prefixes as they come.
async fn walk(bucket: &Bucket, delimiter: Option<&str>, size: i32) -> (Vec<String>, Vec<usize>) {
    let (mut found, mut sizes, mut token) = (Vec::new(), Vec::new(), None);
    loop {
        let list = bucket.list().max_keys(size).set_delimiter(delimiter.map(str::to_owned));
        let page = list.set_continuation_token(token).send().await.unwrap();
        let mut entries: Vec<String> =
            keys(&page).into_iter().chain(prefixes(&page)).map(str::to_owned).collect();
        entries.sort();
        assert_eq!(page.key_count(), i32::try_from(entries.len()).ok());
        sizes.push(entries.len());
        found.extend(entries);
        token = page.next_continuation_token().map(str::to_owned);
        assert_eq!(page.is_truncated(), Some(token.is_some()));
        if token.is_none() {
            return (found, sizes);
        }
    }
}

#[tokio::test]
async fn an_empty_bucket_has_an_empty_list() {
    let bucket = Bucket::fresh().await;
    let page = bucket.list().send().await.unwrap();
    assert_eq!((keys(&page).len(), page.key_count(), page.is_truncated()), (0, Some(0), Some(false)));
    assert_eq!(page.name(), Some(bucket.name.as_str()));
    assert_eq!(page.max_keys(), Some(1000));
}

#[tokio::test]
async fn an_entry_tells_what_the_object_is() {
    let bucket = filled(&["key"]).await;
    let page = bucket.list().send().await.unwrap();
    let entry = &page.contents()[0];
    assert_eq!((entry.key(), entry.size()), (Some("key"), Some(3)));
    assert_eq!(entry.e_tag(), Some(etag(b"key").as_str()));
    assert_eq!(entry.storage_class().unwrap().as_str(), "STANDARD");
    let head = bucket.head("key").send().await.unwrap();
    assert_eq!(entry.last_modified().unwrap().secs(), head.last_modified().unwrap().secs());
    assert!(entry.owner().is_none());
}

#[tokio::test]
async fn the_owner_is_told_if_asked_for() {
    let bucket = filled(&["key"]).await;
    let page = bucket.list().fetch_owner(true).send().await.unwrap();
    assert!(page.contents()[0].owner().and_then(|owner| owner.id()).is_some_and(|id| !id.is_empty()));
}

/// Bytes decide, not letters or languages.
#[tokio::test]
async fn keys_are_listed_in_the_order_of_their_bytes() {
    let bucket =
        filled(&["é", "z", "Z", "a", "a b", "a!", "a/", "a0", "~", "\u{10000}", "\u{ffee}", "1"]).await;
    let mut expected = vec!["é", "z", "Z", "a", "a b", "a!", "a/", "a0", "~", "\u{10000}", "\u{ffee}", "1"];
    expected.sort_by_key(|key| key.as_bytes());
    let page = bucket.list().send().await.unwrap();
    assert_eq!(keys(&page), expected);
}

#[tokio::test]
async fn a_prefix_picks_what_begins_with_it() {
    let bucket = filled(&["a", "a/1", "a/2", "ab", "b"]).await;
    for (prefix, expected) in [
        ("a", vec!["a", "a/1", "a/2", "ab"]),
        ("a/", vec!["a/1", "a/2"]),
        ("a/1", vec!["a/1"]),
        ("c", vec![]),
        ("", vec!["a", "a/1", "a/2", "ab", "b"]),
    ] {
        let page = bucket.list().prefix(prefix).send().await.unwrap();
        assert_eq!(keys(&page), expected, "{prefix}");
        assert_eq!(page.prefix().unwrap_or_default(), prefix);
    }
}

#[tokio::test]
async fn a_delimiter_rolls_up_what_has_it_behind_the_prefix() {
    let bucket = filled(&["a", "b/", "b/1", "b/2/3", "c//d", "c//e", "d/x"]).await;
    let page = bucket.list().delimiter("/").send().await.unwrap();
    assert_eq!((keys(&page), prefixes(&page)), (vec!["a"], vec!["b/", "c/", "d/"]));
    assert_eq!(page.delimiter(), Some("/"));
    assert_eq!(page.key_count(), Some(4));
    let page = bucket.list().delimiter("/").prefix("b/").send().await.unwrap();
    assert_eq!((keys(&page), prefixes(&page)), (vec!["b/", "b/1"], vec!["b/2/"]));
    let page = bucket.list().delimiter("/").prefix("c/").send().await.unwrap();
    assert_eq!((keys(&page), prefixes(&page)), (vec![], vec!["c//"]));
    let page = bucket.list().delimiter("/").prefix("b").send().await.unwrap();
    assert_eq!((keys(&page), prefixes(&page)), (vec![], vec!["b/"]));
}

#[tokio::test]
async fn a_delimiter_may_be_any_text() {
    let bucket = filled(&["a--b--c", "a--d", "aXYb", "a-e", "x", "ünü"]).await;
    let page = bucket.list().delimiter("--").send().await.unwrap();
    assert_eq!((keys(&page), prefixes(&page)), (vec!["a-e", "aXYb", "x", "ünü"], vec!["a--"]));
    let page = bucket.list().delimiter("--").prefix("a--").send().await.unwrap();
    assert_eq!((keys(&page), prefixes(&page)), (vec!["a--d"], vec!["a--b--"]));
    let page = bucket.list().delimiter("ü").send().await.unwrap();
    assert_eq!(prefixes(&page), ["ü"]);
    let page = bucket.list().delimiter("not there").send().await.unwrap();
    assert_eq!(keys(&page).len(), 6);
}

#[tokio::test]
async fn pages_together_are_the_list() {
    let expected = ["a", "b", "c", "d", "e", "f", "g"];
    let bucket = filled(&expected).await;
    for (size, sizes) in [(1, vec![1; 7]), (3, vec![3, 3, 1]), (7, vec![7]), (1000, vec![7])] {
        let (found, pages) = walk(&bucket, None, size).await;
        assert_eq!(found, expected, "{size}");
        assert_eq!(pages, sizes, "{size}");
    }
}

/// A common prefix counts as one, and is told on one page only.
#[tokio::test]
async fn pages_with_a_delimiter_tell_each_prefix_once() {
    let bucket = filled(&["a/1", "a/2", "a/3", "b", "c/1", "c/2", "d", "e/1"]).await;
    for size in 1..=6 {
        let (found, _) = walk(&bucket, Some("/"), size).await;
        assert_eq!(found, ["a/", "b", "c/", "d", "e/"], "{size}");
    }
}

#[tokio::test]
async fn a_list_may_start_after_a_key() {
    let bucket = filled(&["a", "b", "b/1", "b/2", "c"]).await;
    for (after, expected) in [
        ("a", vec!["b", "b/1", "b/2", "c"]),
        ("b", vec!["b/1", "b/2", "c"]),
        ("b/1x", vec!["b/2", "c"]),
        ("c", vec![]),
        ("", vec!["a", "b", "b/1", "b/2", "c"]),
    ] {
        let page = bucket.list().start_after(after).send().await.unwrap();
        assert_eq!(keys(&page), expected, "{after}");
        assert_eq!(page.start_after().unwrap_or_default(), after);
    }
}

/// To start inside a common prefix leaves the rest of it.
#[tokio::test]
async fn a_list_may_start_inside_a_common_prefix() {
    let bucket = filled(&["a/1", "a/2", "b/1"]).await;
    let page = bucket.list().delimiter("/").start_after("a/1").send().await.unwrap();
    assert_eq!(prefixes(&page), ["a/", "b/"]);
    let page = bucket.list().delimiter("/").start_after("a/2").send().await.unwrap();
    assert_eq!(prefixes(&page), ["b/"]);
}

#[tokio::test]
async fn a_token_beats_the_key_to_start_after() {
    let bucket = filled(&["a", "b", "c", "d"]).await;
    let first = bucket.list().max_keys(1).start_after("a").send().await.unwrap();
    assert_eq!(keys(&first), ["b"]);
    let token = first.next_continuation_token().unwrap();
    let page = bucket.list().continuation_token(token).start_after("a").send().await.unwrap();
    assert_eq!(keys(&page), ["c", "d"]);
    assert_eq!(page.continuation_token(), Some(token));
}

#[tokio::test]
async fn a_list_goes_on_where_an_object_was_that_is_gone() {
    let bucket = filled(&["a", "b", "c"]).await;
    let first = bucket.list().max_keys(2).send().await.unwrap();
    bucket.delete("b").send().await.unwrap();
    bucket.put("a", "again").send().await.unwrap();
    let token = first.next_continuation_token().unwrap();
    let page = bucket.list().continuation_token(token).send().await.unwrap();
    assert_eq!(keys(&page), ["c"]);
}

#[tokio::test]
async fn a_token_that_was_not_given_out_is_refused() {
    let bucket = filled(&["a"]).await;
    for token in ["x", "not a token"] {
        let list = Request::new("GET", format!("/{}", bucket.name)).query("list-type", "2");
        list.query("continuation-token", token).signed().send().refused(400, "InvalidArgument");
    }
}

/// Tokens travel through queries and documents, whatever the keys.
#[tokio::test]
async fn tokens_are_plain_text_whatever_the_keys() {
    let odd = ["a\nb", "a%0Ab", "a+b c", "é\u{10ffff}", "\u{1}", "&<>\"'"];
    let bucket = Bucket::fresh().await;
    for key in odd {
        bucket.put(key, "x").send().await.unwrap();
    }
    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let list = bucket.list().max_keys(1).encoding_type(EncodingType::Url);
        let page = list.set_continuation_token(token).send().await.unwrap();
        found.extend(keys(&page).into_iter().map(decoded));
        token = page.next_continuation_token().map(str::to_owned);
        let Some(token) = &token else { break };
        assert!(token.bytes().all(|byte| byte.is_ascii_graphic()), "{token}");
    }
    let mut expected = odd.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(found, expected);
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// A mount looks so whether the bucket is there.
#[tokio::test]
async fn a_list_of_at_most_no_keys_is_empty_and_whole() {
    let bucket = filled(&["a", "b/1"]).await;
    let page = bucket.list().max_keys(0).send().await.unwrap();
    assert_eq!((keys(&page).len(), page.key_count(), page.is_truncated()), (0, Some(0), Some(false)));
    assert_eq!(page.max_keys(), Some(0));
    assert_eq!(page.next_continuation_token(), None);
}

#[tokio::test]
async fn more_than_a_thousand_keys_are_not_given_at_once() {
    let bucket = filled(&["a"]).await;
    let page = bucket.list().max_keys(5000).send().await.unwrap();
    assert_eq!(keys(&page), ["a"]);
    assert_eq!(page.max_keys(), Some(1000));
}

#[tokio::test]
async fn a_number_of_keys_that_is_none_is_refused() {
    let bucket = filled(&["a"]).await;
    for size in ["-1", "x", "1.5", "99999999999999999999"] {
        let list = Request::new("GET", format!("/{}", bucket.name)).query("list-type", "2");
        list.query("max-keys", size).signed().send().refused(400, "InvalidArgument");
    }
}

#[tokio::test]
async fn an_encoding_that_is_none_is_refused() {
    let bucket = filled(&["a"]).await;
    let list = Request::new("GET", format!("/{}", bucket.name)).query("list-type", "2");
    list.query("encoding-type", "base64").signed().send().refused(400, "InvalidArgument");
}

/// Clients decode what they find if the answer names the encoding: all of it, percent by percent.
#[tokio::test]
async fn an_encoded_list_encodes_keys_prefixes_and_what_was_asked() {
    let bucket = filled(&["p +%/a b", "p +%/ü/x", "p +%/\n"]).await;
    let list = Request::new("GET", format!("/{}", bucket.name))
        .query("list-type", "2")
        .query("encoding-type", "url")
        .query("prefix", "p +%/")
        .query("delimiter", "/")
        .query("start-after", "p +");
    let answer = list.signed().send().expect(200);
    assert_eq!(answer.element("EncodingType").as_deref(), Some("url"));
    let told: Vec<String> =
        ["Key", "Prefix", "StartAfter", "Delimiter"].iter().flat_map(|name| answer.elements(name)).collect();
    assert!(told.iter().all(|text| !text.contains(['+', ' ', '\n'])), "{told:?}");
    assert_eq!(
        answer.elements("Key").iter().map(|key| decoded(key)).collect::<Vec<_>>(),
        ["p +%/\n", "p +%/a b"]
    );
    assert!(answer.elements("Prefix").iter().any(|prefix| decoded(prefix) == "p +%/ü/"));
    assert_eq!(answer.element("StartAfter").map(|text| decoded(&text)).as_deref(), Some("p +"));
}

#[tokio::test]
async fn a_document_escapes_what_xml_reserves() {
    let bucket = filled(&["a & b <c> \"d\" 'e'"]).await;
    let page = bucket.list().send().await.unwrap();
    assert_eq!(keys(&page), ["a & b <c> \"d\" 'e'"]);
}

/// A tab, a line feed and a carriage return are characters of XML, but parsers change them unless escaped.
#[tokio::test]
async fn white_space_in_keys_survives_without_encoding() {
    let bucket = filled(&["a\tb", "a\nb", "a\rb", " a", "a "]).await;
    let page = bucket.list().send().await.unwrap();
    assert_eq!(keys(&page), [" a", "a\tb", "a\nb", "a\rb", "a "]);
}

#[tokio::test]
async fn the_list_has_the_namespace_that_parsers_look_for() {
    let bucket = filled(&["a"]).await;
    let list = Request::new("GET", format!("/{}", bucket.name)).query("list-type", "2");
    let answer = list.signed().send().expect(200);
    assert!(answer.text().contains("<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"));
    assert_eq!(answer.header("content-type"), Some("application/xml"));
}

#[tokio::test]
async fn a_list_of_what_is_not_there_is_refused() {
    let list = client().list_objects_v2().bucket(fresh_name()).send().await;
    assert!(list.as_ref().is_err_and(|error| error.as_service_error().unwrap().is_no_such_bucket()));
    assert_refused(list, 404, "NoSuchBucket");
}

#[tokio::test]
async fn a_list_shows_at_once_what_was_written_and_deleted() {
    let bucket = Bucket::fresh().await;
    for index in 0..20 {
        let key = format!("key-{index:02}");
        bucket.put(&key, "x").send().await.unwrap();
        assert_eq!(bucket.keys().await.last(), Some(&key));
    }
    for index in 0..20 {
        let key = format!("key-{index:02}");
        bucket.delete(&key).send().await.unwrap();
        assert!(!bucket.keys().await.contains(&key));
    }
}

#[tokio::test]
async fn more_than_a_page_of_keys_is_listed() {
    let bucket = Bucket::fresh().await;
    let expected: Vec<String> = (0..1050).map(|index| format!("key-{index:04}")).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for keys in expected.chunks(66) {
        let puts: Vec<_> = keys.iter().map(|key| bucket.put(key, "x")).collect();
        tasks.spawn(async move {
            for put in puts {
                put.send().await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let first = bucket.list().send().await.unwrap();
    assert_eq!((keys(&first).len(), first.is_truncated()), (1000, Some(true)));
    assert_eq!(bucket.keys().await, expected);
}
