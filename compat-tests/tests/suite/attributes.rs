//! `GetObjectAttributes`: what is asked for and nothing else.

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, ObjectAttributes};
use compat_tests::checksums::Algorithm;
use compat_tests::raw::Request;
use compat_tests::sdk::assert_refused;

use crate::bucket::{Bucket, bytes};
use crate::multipart::upload;

const ALL: [ObjectAttributes; 5] = [
    ObjectAttributes::Etag,
    ObjectAttributes::Checksum,
    ObjectAttributes::ObjectParts,
    ObjectAttributes::StorageClass,
    ObjectAttributes::ObjectSize,
];

#[tokio::test]
async fn the_attributes_of_an_object_of_one_piece_are_told() {
    let bucket = Bucket::fresh().await;
    let put = bucket.put("key", "value").checksum_algorithm(ChecksumAlgorithm::Sha256).send().await.unwrap();
    let asking = bucket.client.get_object_attributes().bucket(&bucket.name).key("key");
    let told = asking.set_object_attributes(Some(ALL.to_vec())).send().await.unwrap();
    // Without its quotes, as only here.
    assert_eq!(told.e_tag(), Some(put.e_tag().unwrap().trim_matches('"')));
    assert_eq!(told.object_size(), Some(5));
    assert_eq!(told.storage_class().unwrap().as_str(), "STANDARD");
    let checksum = told.checksum().unwrap();
    assert_eq!(checksum.checksum_sha256(), Some(Algorithm::Sha256.of(b"value").as_str()));
    assert_eq!(checksum.checksum_type(), Some(&ChecksumType::FullObject));
    assert!(told.object_parts().is_none());
    assert!(told.last_modified().is_some());
}

#[tokio::test]
async fn only_what_is_asked_for_is_told() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let asking = bucket.client.get_object_attributes().bucket(&bucket.name).key("key");
    let told = asking.object_attributes(ObjectAttributes::ObjectSize).send().await.unwrap();
    assert_eq!(told.object_size(), Some(5));
    assert_eq!(told.e_tag(), None);
    assert!(told.checksum().is_none() && told.storage_class().is_none());
}

#[tokio::test]
async fn the_parts_of_an_object_come_in_pages() {
    let bucket = Bucket::fresh().await;
    let parts = [bytes(5 << 20), bytes(5 << 20), bytes(10)];
    upload(&bucket, "key", &parts).await;
    let page = |marker: Option<String>| {
        let asking = bucket.client.get_object_attributes().bucket(&bucket.name).key("key").max_parts(2);
        let asking = asking.object_attributes(ObjectAttributes::ObjectParts);
        asking.set_part_number_marker(marker).send()
    };
    let first = page(None).await.unwrap();
    let first = first.object_parts().unwrap();
    assert_eq!(first.total_parts_count(), Some(3));
    assert_eq!(first.is_truncated(), Some(true));
    let next = first.next_part_number_marker().unwrap().to_owned();
    let last = page(Some(next)).await.unwrap();
    let last = last.object_parts().unwrap();
    assert_eq!(last.is_truncated(), Some(false));
    assert_eq!(last.total_parts_count(), Some(3));
}

#[tokio::test]
async fn the_attributes_of_what_is_not_there_are_refused() {
    let bucket = Bucket::fresh().await;
    let asking = bucket.client.get_object_attributes().bucket(&bucket.name).key("missing");
    let asked = asking.object_attributes(ObjectAttributes::Etag).send().await;
    assert_refused(asked, 404, "NoSuchKey");
}

#[tokio::test]
async fn to_ask_for_no_attribute_or_an_unknown_one_is_refused() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let asking = || Request::new("GET", bucket.path("key")).query("attributes", "");
    asking().signed().send().refused(400, "InvalidRequest");
    let odd = asking().header("x-amz-object-attributes", "Colour").signed().send();
    assert_eq!(odd.expect(400).element("Code").as_deref(), Some("InvalidArgument"));
}
