//! `ListObjectVersions` of a bucket that has no versions: each object is the version `null`.

use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use compat_tests::checksums::etag;
use compat_tests::raw::Request;
use compat_tests::sdk::{assert_refused, client};

use crate::bucket::{Bucket, fresh_name};

fn keys(page: &ListObjectVersionsOutput) -> Vec<&str> {
    page.versions().iter().map(|version| version.key().unwrap()).collect()
}

#[tokio::test]
async fn each_object_is_the_version_null_and_the_latest() {
    let bucket = Bucket::fresh().await;
    bucket.put_all(&["b", "a"]).await;
    bucket.put("a", "newer").send().await.unwrap();
    let page = bucket.versions().send().await.unwrap();
    assert_eq!(keys(&page), ["a", "b"]);
    let version = &page.versions()[0];
    assert_eq!((version.version_id(), version.is_latest()), (Some("null"), Some(true)));
    assert_eq!((version.size(), version.e_tag()), (Some(5), Some(etag(b"newer").as_str())));
    assert!(version.last_modified().is_some());
    assert_eq!(page.delete_markers().len(), 0);
    assert_eq!(page.is_truncated(), Some(false));
}

#[tokio::test]
async fn a_deleted_object_leaves_no_version() {
    let bucket = Bucket::fresh().await;
    bucket.put("a", "1").send().await.unwrap();
    bucket.delete("a").send().await.unwrap();
    let page = bucket.versions().send().await.unwrap();
    assert_eq!((page.versions().len(), page.delete_markers().len()), (0, 0));
}

#[tokio::test]
async fn versions_take_a_prefix_and_a_delimiter() {
    let bucket = Bucket::fresh().await;
    bucket.put_all(&["a", "b/1", "b/2", "c/1"]).await;
    let page = bucket.versions().delimiter("/").send().await.unwrap();
    assert_eq!(keys(&page), ["a"]);
    let prefixes: Vec<_> = page.common_prefixes().iter().map(|prefix| prefix.prefix().unwrap()).collect();
    assert_eq!(prefixes, ["b/", "c/"]);
    let page = bucket.versions().prefix("b/").send().await.unwrap();
    assert_eq!(keys(&page), ["b/1", "b/2"]);
}

#[tokio::test]
async fn versions_come_in_pages_by_both_markers() {
    let expected = ["a", "b", "c", "d", "e"];
    let bucket = Bucket::fresh().await;
    bucket.put_all(&expected).await;
    let (mut found, mut markers) = (Vec::new(), (None, None));
    loop {
        let list = bucket.versions().max_keys(2);
        let list = list.set_key_marker(markers.0).set_version_id_marker(markers.1);
        let page = list.send().await.unwrap();
        found.extend(keys(&page).into_iter().map(str::to_owned));
        if page.is_truncated() != Some(true) {
            break;
        }
        assert!(page.next_key_marker().is_some() && page.next_version_id_marker().is_some());
        markers =
            (page.next_key_marker().map(str::to_owned), page.next_version_id_marker().map(str::to_owned));
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_key_marker_alone_goes_on_after_the_key() {
    let bucket = Bucket::fresh().await;
    bucket.put_all(&["a", "b", "c"]).await;
    let page = bucket.versions().key_marker("a").send().await.unwrap();
    assert_eq!(keys(&page), ["b", "c"]);
}

#[tokio::test]
async fn a_version_marker_without_a_key_is_refused() {
    let bucket = Bucket::fresh().await;
    let list = Request::new("GET", format!("/{}", bucket.name)).query("versions", "");
    list.query("version-id-marker", "null").signed().send().refused(400, "InvalidArgument");
}

#[tokio::test]
async fn the_versions_of_what_is_not_there_are_refused() {
    assert_refused(client().list_object_versions().bucket(fresh_name()).send().await, 404, "NoSuchBucket");
}
