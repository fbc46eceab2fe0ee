//! `ListObjects`, which old clients and file systems still use.

use aws_sdk_s3::operation::list_objects::ListObjectsOutput;
use compat_tests::raw::Request;
use compat_tests::sdk::{assert_refused, client};

use crate::bucket::{Bucket, fresh_name};

fn keys(page: &ListObjectsOutput) -> Vec<&str> {
    page.contents().iter().map(|object| object.key().unwrap()).collect()
}

fn prefixes(page: &ListObjectsOutput) -> Vec<&str> {
    page.common_prefixes().iter().map(|prefix| prefix.prefix().unwrap()).collect()
}

async fn filled(keys: &[&str]) -> Bucket {
    let bucket = Bucket::fresh().await;
    bucket.put_all(keys).await;
    bucket
}

#[tokio::test]
async fn the_list_has_all_keys_in_order_with_their_owner() {
    let bucket = filled(&["b", "a", "c"]).await;
    let page = bucket.list_v1().send().await.unwrap();
    assert_eq!(keys(&page), ["a", "b", "c"]);
    assert_eq!((page.is_truncated(), page.max_keys()), (Some(false), Some(1000)));
    assert!(page.contents()[0].owner().and_then(|owner| owner.id()).is_some());
}

#[tokio::test]
async fn a_marker_is_where_the_list_goes_on() {
    let bucket = filled(&["a", "b", "c", "d"]).await;
    let page = bucket.list_v1().marker("b").send().await.unwrap();
    assert_eq!(keys(&page), ["c", "d"]);
    assert_eq!(page.marker(), Some("b"));
    let page = bucket.list_v1().marker("bb").send().await.unwrap();
    assert_eq!(keys(&page), ["c", "d"]);
}

/// Without a delimiter the last key is where the next page begins; clients that want it told get it.
#[tokio::test]
async fn pages_go_on_after_the_last_key() {
    let expected = ["a", "b", "c", "d", "e"];
    let bucket = filled(&expected).await;
    let (mut found, mut marker) = (Vec::new(), None);
    loop {
        let page = bucket.list_v1().max_keys(2).set_marker(marker).send().await.unwrap();
        found.extend(keys(&page).into_iter().map(str::to_owned));
        if page.is_truncated() != Some(true) {
            break;
        }
        marker = found.last().cloned();
        assert!(page.next_marker().is_none_or(|next| Some(next) == marker.as_deref()));
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn pages_with_a_delimiter_go_on_after_the_next_marker() {
    let bucket = filled(&["a/1", "a/2", "b", "c/1", "c/2", "d"]).await;
    for size in 1..=5 {
        let (mut found, mut marker) = (Vec::new(), None);
        loop {
            let list = bucket.list_v1().delimiter("/").max_keys(size).set_marker(marker);
            let page = list.send().await.unwrap();
            let mut entries = [keys(&page), prefixes(&page)].concat();
            entries.sort_unstable();
            found.extend(entries.into_iter().map(str::to_owned));
            if page.is_truncated() != Some(true) {
                break;
            }
            marker = Some(page.next_marker().unwrap().to_owned());
        }
        assert_eq!(found, ["a/", "b", "c/", "d"], "{size}");
    }
}

/// How a file system asks whether something is there.
#[tokio::test]
async fn two_keys_under_a_prefix_tell_a_directory() {
    let bucket = filled(&["dir/", "dir/file", "dir2/file", "file"]).await;
    let probe = |prefix: &str| bucket.list_v1().prefix(prefix).delimiter("/").max_keys(2).send();
    let page = probe("dir/").await.unwrap();
    assert_eq!((keys(&page), prefixes(&page)), (vec!["dir/", "dir/file"], vec![]));
    let page = probe("dir2").await.unwrap();
    assert_eq!((keys(&page), prefixes(&page)), (vec![], vec!["dir2/"]));
    let page = probe("nothing").await.unwrap();
    assert_eq!((keys(&page), prefixes(&page)), (vec![], vec![]));
}

#[tokio::test]
async fn what_was_asked_is_told_even_if_it_is_empty() {
    let bucket = filled(&["a"]).await;
    let list = Request::new("GET", format!("/{}", bucket.name)).query("prefix", "").query("marker", "");
    let answer = list.signed().send().expect(200);
    assert_eq!(answer.element("Prefix").as_deref(), Some(""));
    assert_eq!(answer.element("Marker").as_deref(), Some(""));
}

#[tokio::test]
async fn an_encoded_list_encodes_keys_and_markers() {
    let bucket = filled(&["a b/1", "a b/2", "ü+/1"]).await;
    let list = Request::new("GET", format!("/{}", bucket.name))
        .query("encoding-type", "url")
        .query("delimiter", "/")
        .query("max-keys", "1");
    let answer = list.signed().send().expect(200);
    assert_eq!(answer.element("EncodingType").as_deref(), Some("url"));
    assert!(matches!(answer.element("NextMarker").as_deref(), Some("a%20b/" | "a%20b%2F")));
}

#[tokio::test]
async fn a_list_of_at_most_no_keys_is_empty_and_whole() {
    let bucket = filled(&["a"]).await;
    let page = bucket.list_v1().max_keys(0).send().await.unwrap();
    assert_eq!((keys(&page).len(), page.is_truncated()), (0, Some(false)));
}

#[tokio::test]
async fn a_number_of_keys_that_is_none_is_refused() {
    let bucket = filled(&["a"]).await;
    for size in ["-1", "x"] {
        let list = Request::new("GET", format!("/{}", bucket.name)).query("max-keys", size);
        list.signed().send().refused(400, "InvalidArgument");
    }
}

/// Without an encoding, what XML cannot carry is written as S3 writes it: as a reference.
#[tokio::test]
async fn control_characters_are_written_as_references() {
    let bucket = filled(&["a\u{1}b"]).await;
    let answer = Request::new("GET", format!("/{}", bucket.name)).signed().send().expect(200);
    let key = answer.element("Key").unwrap().to_lowercase();
    assert!(matches!(key.as_str(), "a&#1;b" | "a&#x1;b" | "a&#x01;b"), "{key}");
}

#[tokio::test]
async fn a_list_of_what_is_not_there_is_refused() {
    assert_refused(client().list_objects().bucket(fresh_name()).send().await, 404, "NoSuchBucket");
}
