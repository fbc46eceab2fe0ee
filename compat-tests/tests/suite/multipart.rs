//! Objects of parts.

use aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder;
use aws_sdk_s3::operation::upload_part::builders::UploadPartFluentBuilder;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart,
};
use compat_tests::checksums::{Algorithm, content_md5, etag, etag_of_parts};
use compat_tests::raw::Request;
use compat_tests::sdk::{assert_refused, assert_status};

use crate::bucket::{Bucket, bytes};

/// The smallest a part may be that is not the last.
pub(crate) const PART: usize = 5 << 20;
const OTHER: &str = "\"00000000000000000000000000000000\"";

/// An upload under way.
pub(crate) struct Upload<'a> {
    bucket: &'a Bucket,
    pub(crate) key: String,
    pub(crate) id: String,
}

impl<'a> Upload<'a> {
    pub(crate) async fn begin(bucket: &'a Bucket, key: &str) -> Upload<'a> {
        let begun = bucket.client.create_multipart_upload().bucket(&bucket.name).key(key);
        let begun = begun.send().await.unwrap();
        Upload { bucket, key: key.to_owned(), id: begun.upload_id().unwrap().to_owned() }
    }

    pub(crate) fn part(&self, number: i32, body: impl Into<Vec<u8>>) -> UploadPartFluentBuilder {
        let part = self.bucket.client.upload_part().bucket(&self.bucket.name).key(&self.key);
        part.upload_id(&self.id).part_number(number).body(body.into().into())
    }

    /// Puts it, and returns what completing needs.
    pub(crate) async fn put(&self, number: i32, body: impl Into<Vec<u8>>) -> CompletedPart {
        let put = self.part(number, body).send().await.unwrap();
        part(number, put.e_tag().unwrap())
    }

    pub(crate) fn complete(&self, parts: &[CompletedPart]) -> CompleteMultipartUploadFluentBuilder {
        let list = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec())).build();
        let complete = self.bucket.client.complete_multipart_upload().bucket(&self.bucket.name);
        complete.key(&self.key).upload_id(&self.id).multipart_upload(list)
    }

    pub(crate) fn raw(&self, method: &str) -> Request {
        Request::new(method, self.bucket.path(&self.key)).query("uploadId", self.id.as_str())
    }
}

pub(crate) fn part(number: i32, etag: &str) -> CompletedPart {
    CompletedPart::builder().part_number(number).e_tag(etag).build()
}

/// An object of these parts, numbered from 1.
pub(crate) async fn upload(bucket: &Bucket, key: &str, parts: &[Vec<u8>]) {
    let upload = Upload::begin(bucket, key).await;
    let mut completed = Vec::new();
    for (number, body) in (1..).zip(parts) {
        completed.push(upload.put(number, body.clone()).await);
    }
    upload.complete(&completed).send().await.unwrap();
}

#[tokio::test]
async fn an_object_of_parts_is_their_bytes_in_order() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    let bodies = [bytes(PART), bytes(PART + 1), bytes(100)];
    // In another order than they are put together.
    let third = upload.put(3, bodies[2].clone()).await;
    let first = upload.put(1, bodies[0].clone()).await;
    let second = upload.put(2, bodies[1].clone()).await;
    assert_eq!(first.e_tag(), Some(etag(&bodies[0]).as_str()));
    assert!(!bucket.has("key").await);
    let done = upload.complete(&[first, second, third]).send().await.unwrap();
    let expected = etag_of_parts(&[&bodies[0], &bodies[1], &bodies[2]]);
    assert_eq!(done.e_tag(), Some(expected.as_str()));
    assert_eq!((done.bucket(), done.key()), (Some(bucket.name.as_str()), Some("key")));
    assert!(done.location().is_some());
    let got = bucket.get("key").send().await.unwrap();
    assert_eq!(got.e_tag(), Some(expected.as_str()));
    assert!(got.body.collect().await.unwrap().to_vec() == bodies.concat());
}

#[tokio::test]
async fn an_object_may_be_one_small_part() {
    let bucket = Bucket::fresh().await;
    upload(&bucket, "key", &[b"value".to_vec()]).await;
    assert_eq!(bucket.bytes("key").await, b"value");
    assert_eq!(bucket.head("key").send().await.unwrap().e_tag(), Some(etag_of_parts(&[b"value"]).as_str()));
    upload(&bucket, "empty", &[vec![]]).await;
    assert_eq!(bucket.bytes("empty").await, b"");
}

#[tokio::test]
async fn the_numbers_of_parts_need_not_be_consecutive() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    let parts = [upload.put(7, bytes(PART)).await, upload.put(10_000, "end").await];
    upload.complete(&parts).send().await.unwrap();
    assert!(bucket.bytes("key").await == [bytes(PART), b"end".to_vec()].concat());
}

#[tokio::test]
async fn headers_given_at_the_beginning_are_those_of_the_object() {
    let bucket = Bucket::fresh().await;
    let begin = bucket.client.create_multipart_upload().bucket(&bucket.name).key("key");
    let begin = begin.content_type("text/plain").metadata("a", "1").cache_control("no-store").tagging("t=1");
    let id = begin.send().await.unwrap().upload_id().unwrap().to_owned();
    let upload = Upload { bucket: &bucket, key: "key".to_owned(), id };
    let only = upload.put(1, "value").await;
    upload.complete(&[only]).send().await.unwrap();
    let head = bucket.head("key").send().await.unwrap();
    assert_eq!(head.content_type(), Some("text/plain"));
    assert_eq!(head.cache_control(), Some("no-store"));
    assert_eq!(head.metadata().unwrap()["a"], "1");
    assert_eq!(head.tag_count(), Some(1));
}

#[tokio::test]
async fn a_part_put_again_replaces_the_earlier_one() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    let old = upload.put(1, "old").await;
    let new = upload.put(1, "new").await;
    assert_refused(upload.complete(&[old]).send().await, 400, "InvalidPart");
    upload.complete(&[new]).send().await.unwrap();
    assert_eq!(bucket.bytes("key").await, b"new");
}

#[tokio::test]
async fn parts_that_are_not_listed_are_left_out() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    let first = upload.put(1, bytes(PART)).await;
    upload.put(2, bytes(PART)).await;
    let third = upload.put(3, "end").await;
    upload.complete(&[first, third]).send().await.unwrap();
    assert!(bucket.bytes("key").await == [bytes(PART), b"end".to_vec()].concat());
}

#[tokio::test]
async fn a_list_of_parts_that_is_wrong_is_refused_and_the_upload_goes_on() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    let (first, second) = (upload.put(1, bytes(PART)).await, upload.put(2, "end").await);
    let missing = part(3, first.e_tag().unwrap());
    let wrong = part(2, OTHER);
    let refused = |parts: &[CompletedPart]| upload.complete(parts).send();
    assert_refused(refused(&[second.clone(), first.clone()]).await, 400, "InvalidPartOrder");
    assert_refused(refused(&[first.clone(), first.clone()]).await, 400, "InvalidPartOrder");
    assert_refused(refused(&[first.clone(), missing]).await, 400, "InvalidPart");
    assert_refused(refused(&[first.clone(), wrong]).await, 400, "InvalidPart");
    assert_refused(refused(&[]).await, 400, "MalformedXML");
    assert!(!bucket.has("key").await);
    upload.complete(&[first, second]).send().await.unwrap();
}

#[tokio::test]
async fn etags_of_parts_may_come_without_quotes() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    let put = upload.put(1, "value").await;
    let bare = part(1, put.e_tag().unwrap().trim_matches('"'));
    upload.complete(&[bare]).send().await.unwrap();
    assert_eq!(bucket.bytes("key").await, b"value");
}

#[tokio::test]
async fn a_part_that_is_too_small_is_refused_unless_it_is_the_last() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    let (first, second) = (upload.put(1, bytes(PART - 1)).await, upload.put(2, "end").await);
    assert_refused(upload.complete(&[first, second]).send().await, 400, "EntityTooSmall");
    assert!(!bucket.has("key").await);
}

#[tokio::test]
async fn the_size_that_the_client_expects_is_compared() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    let only = upload.put(1, "value").await;
    let wrong = upload.complete(std::slice::from_ref(&only)).mpu_object_size(6).send().await;
    assert_refused(wrong, 400, "InvalidRequest");
    upload.complete(&[only]).mpu_object_size(5).send().await.unwrap();
}

/// A client whose answer was lost asks again, and must not be told that there is no such upload.
#[tokio::test]
async fn an_upload_completed_again_is_answered_as_before() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    let only = upload.put(1, "value").await;
    let first = upload.complete(std::slice::from_ref(&only)).if_none_match("*").send().await.unwrap();
    let again = upload.complete(&[only]).if_none_match("*").send().await.unwrap();
    assert_eq!(first.e_tag(), again.e_tag());
    assert_eq!(first.checksum_crc64_nvme(), again.checksum_crc64_nvme());
}

#[tokio::test]
async fn a_completion_may_have_conditions() {
    let bucket = Bucket::fresh().await;
    let before = bucket.put("key", "before").send().await.unwrap();
    let upload = Upload::begin(&bucket, "key").await;
    let only = [upload.put(1, "after").await];
    assert_refused(upload.complete(&only).if_none_match("*").send().await, 412, "PreconditionFailed");
    assert_refused(upload.complete(&only).if_match(OTHER).send().await, 412, "PreconditionFailed");
    assert_eq!(bucket.bytes("key").await, b"before");
    upload.complete(&only).if_match(before.e_tag().unwrap()).send().await.unwrap();
    assert_eq!(bucket.bytes("key").await, b"after");

    let upload = Upload::begin(&bucket, "new").await;
    let only = [upload.put(1, "value").await];
    assert_refused(upload.complete(&only).if_match(OTHER).send().await, 404, "NoSuchKey");
    upload.complete(&only).if_none_match("*").send().await.unwrap();
}

#[tokio::test]
async fn an_aborted_upload_is_gone() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    let only = upload.put(1, "value").await;
    let abort = || {
        let abort = bucket.client.abort_multipart_upload().bucket(&bucket.name);
        abort.key("key").upload_id(&upload.id).send()
    };
    abort().await.unwrap();
    assert_refused(upload.part(2, "x").send().await, 404, "NoSuchUpload");
    assert_refused(upload.complete(&[only]).send().await, 404, "NoSuchUpload");
    assert_refused(abort().await, 404, "NoSuchUpload");
    assert!(!bucket.has("key").await);
}

#[tokio::test]
async fn an_upload_belongs_to_its_key() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    let other = Upload { bucket: &bucket, key: "other".to_owned(), id: upload.id.clone() };
    assert_refused(other.part(1, "x").send().await, 404, "NoSuchUpload");
    let unknown = Upload { bucket: &bucket, key: "key".to_owned(), id: "unknown".to_owned() };
    assert_refused(unknown.part(1, "x").send().await, 404, "NoSuchUpload");
    assert_refused(unknown.complete(&[part(1, OTHER)]).send().await, 404, "NoSuchUpload");
}

#[tokio::test]
async fn a_part_number_out_of_bounds_is_refused() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    for number in ["0", "-1", "10001", "x", ""] {
        let put = upload.raw("PUT").query("partNumber", number).body("x").signed().send();
        assert_eq!(put.element("Code").as_deref(), Some("InvalidArgument"), "{number}: {}", put.text());
    }
}

#[tokio::test]
async fn a_part_that_fails_its_digest_is_not_kept() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    let put = upload.part(1, "value").content_md5(content_md5(b"other")).send().await;
    assert_refused(put, 400, "BadDigest");
    let list = bucket.client.list_parts().bucket(&bucket.name).key("key").upload_id(&upload.id);
    assert_eq!(list.send().await.unwrap().parts().len(), 0);
}

#[tokio::test]
async fn an_upload_may_be_of_no_bucket() {
    let bucket = Bucket::fresh().await;
    let begin = bucket.client.create_multipart_upload().bucket("compat-no-such-bucket").key("key");
    assert_refused(begin.send().await, 404, "NoSuchBucket");
}

#[tokio::test]
async fn uploads_of_one_key_are_apart() {
    let bucket = Bucket::fresh().await;
    let (one, two) = (Upload::begin(&bucket, "key").await, Upload::begin(&bucket, "key").await);
    assert_ne!(one.id, two.id);
    let (first, second) = (one.put(1, "one").await, two.put(1, "two").await);
    two.complete(&[second]).send().await.unwrap();
    assert_eq!(bucket.bytes("key").await, b"two");
    one.complete(&[first]).send().await.unwrap();
    assert_eq!(bucket.bytes("key").await, b"one");
}

#[tokio::test]
async fn parts_are_listed_in_pages() {
    let bucket = Bucket::fresh().await;
    let upload = Upload::begin(&bucket, "key").await;
    for number in [2, 1, 5, 9] {
        upload.put(number, format!("part {number}")).await;
    }
    let page = |marker: Option<String>| {
        let list = bucket.client.list_parts().bucket(&bucket.name).key("key").upload_id(&upload.id);
        list.max_parts(3).set_part_number_marker(marker).send()
    };
    let first = page(None).await.unwrap();
    let numbers = |parts: &[aws_sdk_s3::types::Part]| -> Vec<i32> {
        parts.iter().map(|part| part.part_number().unwrap()).collect()
    };
    assert_eq!(numbers(first.parts()), [1, 2, 5]);
    assert_eq!(first.is_truncated(), Some(true));
    assert_eq!(first.next_part_number_marker(), Some("5"));
    assert_eq!(first.parts()[0].e_tag(), Some(etag(b"part 1").as_str()));
    assert_eq!(first.parts()[0].size(), Some(6));
    assert!(first.parts()[0].last_modified().is_some());
    assert_eq!((first.key(), first.upload_id()), (Some("key"), Some(upload.id.as_str())));
    let last = page(Some("5".to_owned())).await.unwrap();
    assert_eq!(numbers(last.parts()), [9]);
    assert_eq!(last.is_truncated(), Some(false));
}

#[tokio::test]
async fn the_parts_of_no_upload_are_refused() {
    let bucket = Bucket::fresh().await;
    let list = bucket.client.list_parts().bucket(&bucket.name).key("key").upload_id("unknown");
    assert_refused(list.send().await, 404, "NoSuchUpload");
}

#[tokio::test]
async fn uploads_under_way_are_listed_by_key_and_those_completed_are_not() {
    let bucket = Bucket::fresh().await;
    for key in ["b", "a/2", "a/1", "c"] {
        Upload::begin(&bucket, key).await;
    }
    let done = Upload::begin(&bucket, "done").await;
    let only = done.put(1, "value").await;
    done.complete(&[only]).send().await.unwrap();
    let list = || bucket.client.list_multipart_uploads().bucket(&bucket.name);
    let all = list().send().await.unwrap();
    let keys: Vec<_> = all.uploads().iter().map(|upload| upload.key().unwrap()).collect();
    assert_eq!(keys, ["a/1", "a/2", "b", "c"]);
    assert!(all.uploads().iter().all(|upload| upload.upload_id().is_some() && upload.initiated().is_some()));

    let some = list().prefix("a/").send().await.unwrap();
    assert_eq!(some.uploads().len(), 2);
    let grouped = list().delimiter("/").send().await.unwrap();
    let keys: Vec<_> = grouped.uploads().iter().map(|upload| upload.key().unwrap()).collect();
    assert_eq!(keys, ["b", "c"]);
    assert_eq!(grouped.common_prefixes()[0].prefix(), Some("a/"));
}

#[tokio::test]
async fn uploads_under_way_are_listed_in_pages() {
    let bucket = Bucket::fresh().await;
    let mut expected = Vec::new();
    for key in ["a", "b", "b", "b", "c"] {
        expected.push((key.to_owned(), Upload::begin(&bucket, key).await.id));
    }
    let (mut found, mut markers) = (Vec::new(), (None, None));
    for _ in 0..10 {
        let list = bucket.client.list_multipart_uploads().bucket(&bucket.name).max_uploads(2);
        let list = list.set_key_marker(markers.0).set_upload_id_marker(markers.1);
        let page = list.send().await.unwrap();
        assert!(page.uploads().len() <= 2);
        let names = page.uploads().iter().map(|upload| (upload.key().unwrap(), upload.upload_id().unwrap()));
        found.extend(names.map(|(key, id)| (key.to_owned(), id.to_owned())));
        if page.is_truncated() != Some(true) {
            break;
        }
        markers =
            (page.next_key_marker().map(str::to_owned), page.next_upload_id_marker().map(str::to_owned));
    }
    // Those of one key come in the order in which they began.
    assert_eq!(found, expected);
}

#[tokio::test]
async fn each_part_can_be_read_by_its_number() {
    let bucket = Bucket::fresh().await;
    let bodies = [bytes(PART), bytes(PART + 7), bytes(9)];
    upload(&bucket, "key", &bodies).await;
    let mut start = 0;
    for (number, body) in (1..).zip(&bodies) {
        let got = bucket.get("key").part_number(number).send().await.unwrap();
        let range = format!("bytes {start}-{}/{}", start + body.len() - 1, bodies.concat().len());
        assert_eq!(got.content_range(), Some(range.as_str()));
        assert_eq!(got.parts_count(), Some(3));
        assert_eq!(got.e_tag().unwrap().rsplit('-').next(), Some("3\""));
        assert!(got.body.collect().await.unwrap().to_vec() == *body, "{number}");
        let head = bucket.head("key").part_number(number).send().await.unwrap();
        assert_eq!(head.content_length(), i64::try_from(body.len()).ok());
        assert_eq!(head.parts_count(), Some(3));
        start += body.len();
    }
    assert_refused(bucket.get("key").part_number(4).send().await, 416, "InvalidPartNumber");
    assert_status(bucket.head("key").part_number(4).send().await, 416);
    let beyond = Request::new("GET", bucket.path("key")).query("partNumber", "4").signed().send();
    assert_eq!(beyond.element("PartNumberRequested").as_deref(), Some("4"));
    assert_eq!(beyond.element("ActualPartCount").as_deref(), Some("3"));
}

/// A client compares it with the bytes that come, and that of the object is that of other bytes.
#[tokio::test]
async fn a_part_comes_with_its_own_checksum() {
    let bucket = Bucket::fresh().await;
    let bodies = [bytes(PART), bytes(9)];
    for checksum_type in [ChecksumType::Composite, ChecksumType::FullObject] {
        let begun = bucket.client.create_multipart_upload().bucket(&bucket.name).key("key");
        let begun = begun.checksum_algorithm(ChecksumAlgorithm::Crc32).checksum_type(checksum_type.clone());
        let id = begun.send().await.unwrap().upload_id().unwrap().to_owned();
        let upload = Upload { bucket: &bucket, key: "key".to_owned(), id };
        let mut parts = Vec::new();
        for (number, body) in (1..).zip(&bodies) {
            let put = upload.part(number, body.clone()).checksum_algorithm(ChecksumAlgorithm::Crc32);
            parts.push(part(number, put.send().await.unwrap().e_tag().unwrap()));
        }
        upload.complete(&parts).send().await.unwrap();
        for (number, body) in (1..).zip(&bodies) {
            let expected = Algorithm::Crc32.of(body);
            let get = bucket.get("key").part_number(number).checksum_mode(ChecksumMode::Enabled);
            let got = get.send().await.unwrap();
            assert_eq!(got.checksum_crc32(), Some(expected.as_str()), "{checksum_type} {number}");
            assert_eq!(got.checksum_type(), Some(&checksum_type), "{number}");
            assert!(got.body.collect().await.unwrap().to_vec() == *body, "{number}");
            let head = bucket.head("key").part_number(number).checksum_mode(ChecksumMode::Enabled);
            assert_eq!(head.send().await.unwrap().checksum_crc32(), Some(expected.as_str()));
        }
    }
}

#[tokio::test]
async fn a_range_may_reach_over_parts() {
    let bucket = Bucket::fresh().await;
    let bodies = [bytes(PART), bytes(PART + 7), bytes(9)];
    upload(&bucket, "key", &bodies).await;
    let whole = bodies.concat();
    for (first, last) in [(PART - 3, PART + 3), (10, whole.len() - 1), (2 * PART, 2 * PART + 10)] {
        let got = bucket.get("key").range(format!("bytes={first}-{last}")).send().await.unwrap();
        assert!(got.body.collect().await.unwrap().to_vec() == whole[first..=last], "{first}-{last}");
    }
}

async fn begin_with(bucket: &Bucket, algorithm: Algorithm, kind: Option<ChecksumType>) -> Upload<'_> {
    let begin = bucket.client.create_multipart_upload().bucket(&bucket.name).key("key");
    let begin = begin.checksum_algorithm(ChecksumAlgorithm::from(algorithm.name()));
    let begun = begin.set_checksum_type(kind).send().await.unwrap();
    assert_eq!(begun.checksum_algorithm().map(ChecksumAlgorithm::as_str), Some(algorithm.name()));
    Upload { bucket, key: "key".to_owned(), id: begun.upload_id().unwrap().to_owned() }
}

fn with_checksum(number: i32, etag: &str, algorithm: Algorithm, value: &str) -> CompletedPart {
    let part = CompletedPart::builder().part_number(number).e_tag(etag);
    match algorithm {
        Algorithm::Crc32 => part.checksum_crc32(value),
        Algorithm::Crc32c => part.checksum_crc32_c(value),
        Algorithm::Crc64Nvme => part.checksum_crc64_nvme(value),
        Algorithm::Sha1 => part.checksum_sha1(value),
        Algorithm::Sha256 => part.checksum_sha256(value),
    }
    .build()
}

/// Of the checksums of the parts: for all but CRC64NVME what is meant if nothing is said.
#[tokio::test]
async fn a_composite_checksum_is_that_of_the_checksums() {
    let bucket = Bucket::fresh().await;
    let bodies = [bytes(PART), bytes(100)];
    for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Sha1, Algorithm::Sha256] {
        let upload = begin_with(&bucket, algorithm, None).await;
        let mut parts = Vec::new();
        for (number, body) in (1..).zip(&bodies) {
            let put = upload.part(number, body.clone());
            let put = put.checksum_algorithm(ChecksumAlgorithm::from(algorithm.name()));
            let put = put.send().await.unwrap();
            parts.push(with_checksum(number, put.e_tag().unwrap(), algorithm, &algorithm.of(body)));
        }
        upload.complete(&parts).send().await.unwrap();
        let expected = algorithm.composite(&[&bodies[0], &bodies[1]]);
        let head = Request::new("HEAD", bucket.path("key")).header("x-amz-checksum-mode", "ENABLED");
        let head = head.signed().send().expect(200);
        assert_eq!(head.header(&algorithm.header()), Some(expected.as_str()));
        assert_eq!(head.header("x-amz-checksum-type"), Some("COMPOSITE"));
        let got = bucket.get("key").checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
        assert!(got.body.collect().await.unwrap().to_vec() == bodies.concat());
    }
}

#[tokio::test]
async fn a_full_object_checksum_is_that_of_all_bytes() {
    let bucket = Bucket::fresh().await;
    let bodies = [bytes(PART), bytes(100)];
    for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
        let upload = begin_with(&bucket, algorithm, Some(ChecksumType::FullObject)).await;
        let mut parts = Vec::new();
        for (number, body) in (1..).zip(&bodies) {
            let put = upload.part(number, body.clone());
            let put = put.checksum_algorithm(ChecksumAlgorithm::from(algorithm.name()));
            parts.push(part(number, put.send().await.unwrap().e_tag().unwrap()));
        }
        let (expected, wrong) = (algorithm.of(&bodies.concat()), algorithm.of(b"other"));
        let with = |value: &str| {
            let complete = upload.complete(&parts).checksum_type(ChecksumType::FullObject);
            match algorithm {
                Algorithm::Crc32 => complete.checksum_crc32(value),
                Algorithm::Crc32c => complete.checksum_crc32_c(value),
                _ => complete.checksum_crc64_nvme(value),
            }
        };
        assert_refused(with(&wrong).send().await, 400, "BadDigest");
        with(&expected).send().await.unwrap();
        let head = Request::new("HEAD", bucket.path("key")).header("x-amz-checksum-mode", "ENABLED");
        let head = head.signed().send().expect(200);
        assert_eq!(head.header(&algorithm.header()), Some(expected.as_str()));
        assert_eq!(head.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
    }
}

#[tokio::test]
async fn a_part_listed_with_a_wrong_checksum_is_refused() {
    let bucket = Bucket::fresh().await;
    let upload = begin_with(&bucket, Algorithm::Sha256, None).await;
    let put = upload.part(1, "value").checksum_algorithm(ChecksumAlgorithm::Sha256).send().await.unwrap();
    assert_eq!(put.checksum_sha256(), Some(Algorithm::Sha256.of(b"value").as_str()));
    let etag = put.e_tag().unwrap();
    let wrong = with_checksum(1, etag, Algorithm::Sha256, &Algorithm::Sha256.of(b"other"));
    assert_refused(upload.complete(&[wrong]).send().await, 400, "InvalidPart");
    let right = with_checksum(1, etag, Algorithm::Sha256, &Algorithm::Sha256.of(b"value"));
    upload.complete(&[right]).send().await.unwrap();
}

#[tokio::test]
async fn a_kind_of_checksum_that_the_algorithm_has_not_is_refused() {
    let bucket = Bucket::fresh().await;
    for (algorithm, kind) in [
        (ChecksumAlgorithm::Sha256, ChecksumType::FullObject),
        (ChecksumAlgorithm::Crc64Nvme, ChecksumType::Composite),
    ] {
        let begin = bucket.client.create_multipart_upload().bucket(&bucket.name).key("key");
        let begin = begin.checksum_algorithm(algorithm).checksum_type(kind).send().await;
        assert_refused(begin, 400, "InvalidRequest");
    }
}

#[tokio::test]
async fn a_part_with_another_checksum_than_its_upload_is_refused() {
    let bucket = Bucket::fresh().await;
    let upload = begin_with(&bucket, Algorithm::Sha256, None).await;
    let put = upload.part(1, "value").checksum_algorithm(ChecksumAlgorithm::Crc32).send().await;
    assert_refused(put, 400, "InvalidRequest");
}
