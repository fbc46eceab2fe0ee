//! Parts of objects, by bytes and by part numbers.

use aws_sdk_s3::types::ChecksumMode;
use compat_tests::raw::Request;
use compat_tests::sdk::assert_refused;

use crate::bucket::{Bucket, bytes};

/// Range, first byte, bytes: all forms of a single range, on an object of 100 bytes.
const RANGES: &[(&str, usize, usize)] = &[
    ("bytes=0-0", 0, 1),
    ("bytes=0-99", 0, 100),
    ("bytes=0-", 0, 100),
    ("bytes=99-", 99, 1),
    ("bytes=10-19", 10, 10),
    ("bytes=90-1000", 90, 10),
    ("bytes=-1", 99, 1),
    ("bytes=-100", 0, 100),
    ("bytes=-1000", 0, 100),
    ("bytes=5-18446744073709551615", 5, 95),
];

#[tokio::test]
async fn every_form_of_a_single_range_is_answered_with_its_bytes() {
    let bucket = Bucket::fresh().await;
    let body = bytes(100);
    bucket.put("key", body.clone()).send().await.unwrap();
    for &(range, start, count) in RANGES {
        let get = Request::new("GET", bucket.path("key")).header("range", range).signed().send().expect(206);
        let content_range = format!("bytes {start}-{}/100", start + count - 1);
        assert_eq!(get.header("content-range"), Some(content_range.as_str()), "{range}");
        assert_eq!(get.header("content-length"), Some(count.to_string().as_str()), "{range}");
        assert_eq!(get.body, body[start..start + count], "{range}");

        let head = Request::new("HEAD", bucket.path("key")).header("range", range).signed().send();
        assert_eq!(head.status, 206, "{range}");
        assert_eq!(head.header("content-range"), Some(content_range.as_str()), "{range}");
        assert_eq!(head.header("content-length"), Some(count.to_string().as_str()), "{range}");
    }
}

#[tokio::test]
async fn a_range_beyond_the_end_is_refused_and_the_size_is_told() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", bytes(100)).send().await.unwrap();
    bucket.put("empty", "").send().await.unwrap();
    for (key, range) in
        [("key", "bytes=100-"), ("key", "bytes=100-200"), ("key", "bytes=-0"), ("empty", "bytes=0-0")]
    {
        let get = Request::new("GET", bucket.path(key)).header("range", range).signed().send();
        let size = if key == "empty" { 0 } else { 100 };
        assert_eq!(get.header("content-range"), Some(format!("bytes */{size}").as_str()), "{range}");
        get.refused(416, "InvalidRange");
        Request::new("HEAD", bucket.path(key)).header("range", range).signed().send().expect(416);
    }
}

/// A range that is none is as if it were not there, and so are several at once.
#[tokio::test]
async fn what_is_no_single_range_is_answered_with_everything() {
    let bucket = Bucket::fresh().await;
    let body = bytes(100);
    bucket.put("key", body.clone()).send().await.unwrap();
    for range in ["bytes=9-5", "bytes=a-b", "bytes=", "bytes", "lines=1-2", "bytes=0-1,5-6", "0-5"] {
        let get = Request::new("GET", bucket.path("key")).header("range", range).signed().send();
        assert_eq!((get.status, get.body == body), (200, true), "{range}");
        assert_eq!(get.header("content-range"), None, "{range}");
    }
}

#[tokio::test]
async fn a_range_of_a_large_object_may_begin_and_end_anywhere() {
    let bucket = Bucket::fresh().await;
    let body = bytes(9 << 20);
    bucket.put("key", body.clone()).send().await.unwrap();
    let edge = 4 << 20;
    for (first, last) in [
        (0, 10),
        (65_535, 65_536),
        (edge - 1, edge),
        (edge, edge),
        (edge - 100_000, 2 * edge + 5),
        (8 << 20, (9 << 20) - 1),
    ] {
        let got = bucket.get("key").range(format!("bytes={first}-{last}")).send().await.unwrap();
        assert_eq!(got.content_range(), Some(format!("bytes {first}-{last}/{}", body.len()).as_str()));
        assert!(got.body.collect().await.unwrap().to_vec() == body[first..=last], "{first}-{last}");
    }
}

/// Readers that go part by part notice so that the object is another one by now.
#[tokio::test]
async fn a_range_of_an_object_that_has_changed_is_refused_by_if_match() {
    let bucket = Bucket::fresh().await;
    let first = bucket.put("key", bytes(100)).send().await.unwrap();
    let etag = first.e_tag().unwrap();
    let read = || bucket.get("key").range("bytes=0-9").if_match(etag).send();
    read().await.unwrap();
    bucket.put("key", bytes(101)).send().await.unwrap();
    assert_refused(read().await, 412, "PreconditionFailed");
}

/// The checksum of the object is not the checksum of the bytes that come.
#[tokio::test]
async fn a_range_comes_without_the_checksum_of_the_whole() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", bytes(100)).send().await.unwrap();
    let reading = bucket.get("key").range("bytes=0-9").checksum_mode(ChecksumMode::Enabled);
    let got = reading.send().await.unwrap();
    assert_eq!(got.checksum_crc32(), None);
    assert_eq!(got.body.collect().await.unwrap().to_vec(), bytes(100)[..10]);
}

#[tokio::test]
async fn an_object_put_in_one_piece_is_its_own_first_part() {
    let bucket = Bucket::fresh().await;
    let body = bytes(1000);
    bucket.put("key", body.clone()).send().await.unwrap();
    let got = bucket.get("key").part_number(1).send().await.unwrap();
    assert_eq!(got.content_length(), Some(1000));
    assert_eq!(got.body.collect().await.unwrap().to_vec(), body);
    let second = bucket.get("key").part_number(2).send().await;
    assert_refused(second, 416, "InvalidPartNumber");
}

#[tokio::test]
async fn a_part_number_out_of_bounds_is_refused() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    for number in ["0", "-1", "10001", "x"] {
        let get = Request::new("GET", bucket.path("key")).query("partNumber", number).signed().send();
        get.refused(400, "InvalidArgument");
    }
}

#[tokio::test]
async fn a_range_and_a_part_number_together_are_refused() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let both = bucket.get("key").part_number(1).range("bytes=0-1").send().await;
    assert_refused(both, 400, "InvalidRequest");
}
