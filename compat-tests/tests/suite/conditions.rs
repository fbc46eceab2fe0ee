//! Conditions on reading and on writing.

use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use compat_tests::raw::Request;
use compat_tests::sdk::{assert_refused, assert_status};

use crate::bucket::Bucket;

const OTHER: &str = "\"00000000000000000000000000000000\"";

/// A bucket with one object, and the ETag of that.
async fn one() -> (Bucket, String) {
    let bucket = Bucket::fresh().await;
    let etag = bucket.put("key", "value").send().await.unwrap().e_tag().unwrap().to_owned();
    (bucket, etag)
}

fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}

fn past() -> DateTime {
    DateTime::from(SystemTime::now() - Duration::from_secs(3600))
}

fn future() -> DateTime {
    DateTime::from(SystemTime::now() + Duration::from_secs(3600))
}

#[tokio::test]
async fn a_read_if_match_is_answered_if_it_does() {
    let (bucket, etag) = one().await;
    for good in [etag.as_str(), bare(&etag), "*", &format!("{OTHER}, {etag}")] {
        bucket.get("key").if_match(good).send().await.unwrap();
        bucket.head("key").if_match(good).send().await.unwrap();
    }
    assert_refused(bucket.get("key").if_match(OTHER).send().await, 412, "PreconditionFailed");
    assert_status(bucket.head("key").if_match(OTHER).send().await, 412);
}

#[tokio::test]
async fn a_read_if_none_match_is_304_if_it_does() {
    let (bucket, etag) = one().await;
    for same in [etag.as_str(), bare(&etag), "*", &format!("{OTHER}, {etag}"), &format!("W/{etag}")] {
        assert_status(bucket.get("key").if_none_match(same).send().await, 304);
        assert_status(bucket.head("key").if_none_match(same).send().await, 304);
    }
    bucket.get("key").if_none_match(OTHER).send().await.unwrap();
    bucket.head("key").if_none_match(OTHER).send().await.unwrap();
}

#[tokio::test]
async fn a_304_names_the_object_and_has_no_body() {
    let (bucket, etag) = one().await;
    let request = Request::new("GET", bucket.path("key")).header("if-none-match", &etag);
    let answer = request.signed().send().expect(304);
    assert_eq!(answer.header("etag"), Some(etag.as_str()));
    assert!(answer.header("last-modified").is_some());
    assert_eq!(answer.header("content-length").unwrap_or("0"), "0");
}

#[tokio::test]
async fn dates_are_conditions_of_reading() {
    let (bucket, _) = one().await;
    bucket.get("key").if_modified_since(past()).send().await.unwrap();
    assert_status(bucket.get("key").if_modified_since(DateTime::from(SystemTime::now())).send().await, 304);
    bucket.get("key").if_unmodified_since(future()).send().await.unwrap();
    let late = bucket.get("key").if_unmodified_since(past()).send().await;
    assert_refused(late, 412, "PreconditionFailed");
    assert_status(bucket.head("key").if_unmodified_since(past()).send().await, 412);
}

/// A date that nobody has yet, or that is none, is no condition.
#[tokio::test]
async fn dates_that_make_no_sense_are_passed_over() {
    let (bucket, _) = one().await;
    for date in ["yesterday", "Sat, 01 Jan", ""] {
        for name in ["if-modified-since", "if-unmodified-since"] {
            let request = Request::new("GET", bucket.path("key")).header(name, date);
            assert_eq!(request.signed().send().status, 200, "{name}: {date}");
        }
    }
}

#[tokio::test]
async fn an_etag_beats_the_date_beside_it() {
    let (bucket, etag) = one().await;
    bucket.get("key").if_match(&etag).if_unmodified_since(past()).send().await.unwrap();
    bucket.get("key").if_none_match(OTHER).if_modified_since(future()).send().await.unwrap();
    let same = bucket.get("key").if_none_match(&etag).if_modified_since(past()).send().await;
    assert_status(same, 304);
}

#[tokio::test]
async fn a_condition_on_what_is_not_there_is_404() {
    let (bucket, etag) = one().await;
    assert_refused(bucket.get("missing").if_match(&etag).send().await, 404, "NoSuchKey");
    assert_refused(bucket.get("missing").if_none_match("*").send().await, 404, "NoSuchKey");
}

#[tokio::test]
async fn a_put_if_none_match_any_creates_once() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "1").if_none_match("*").send().await.unwrap();
    let again = bucket.put("key", "2").if_none_match("*").send().await;
    assert_refused(again, 412, "PreconditionFailed");
    assert_eq!(bucket.bytes("key").await, b"1");
    bucket.delete("key").send().await.unwrap();
    bucket.put("key", "3").if_none_match("*").send().await.unwrap();
}

#[tokio::test]
async fn of_many_that_create_at_the_same_time_one_does() {
    let bucket = Bucket::fresh().await;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..16 {
        let put = bucket.put("key", index.to_string()).if_none_match("*");
        tasks.spawn(async move { (index, put.send().await) });
    }
    let mut winners = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (index, Ok(_)) => winners.push(index),
            (_, Err(error)) => assert_refused(error, 412, "PreconditionFailed"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(bucket.bytes("key").await, winners[0].to_string().as_bytes());
}

#[tokio::test]
async fn a_put_if_match_replaces_what_it_knows() {
    let (bucket, etag) = one().await;
    let second = bucket.put("key", "2").if_match(&etag).send().await.unwrap();
    assert_refused(bucket.put("key", "3").if_match(&etag).send().await, 412, "PreconditionFailed");
    bucket.put("key", "3").if_match(bare(second.e_tag().unwrap())).send().await.unwrap();
    bucket.put("key", "4").if_match("*").send().await.unwrap();
    assert_eq!(bucket.bytes("key").await, b"4");
}

#[tokio::test]
async fn of_many_that_replace_the_same_one_does() {
    let (bucket, etag) = one().await;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..16 {
        let put = bucket.put("key", format!("new {index}")).if_match(&etag);
        tasks.spawn(async move { put.send().await });
    }
    let mut winners = 0;
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            Ok(_) => winners += 1,
            Err(error) => assert_refused(error, 412, "PreconditionFailed"),
        }
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn a_put_if_match_on_what_is_not_there_is_404_and_stores_nothing() {
    let (bucket, etag) = one().await;
    for condition in [etag.as_str(), "*"] {
        assert_refused(bucket.put("missing", "x").if_match(condition).send().await, 404, "NoSuchKey");
    }
    assert!(!bucket.has("missing").await);
}

/// Written down only for `*`. An ETag means what it means for reading.
#[tokio::test]
async fn a_put_if_none_match_of_an_etag_spares_that_object() {
    let (bucket, etag) = one().await;
    assert_refused(bucket.put("key", "2").if_none_match(&etag).send().await, 412, "PreconditionFailed");
    bucket.put("key", "2").if_none_match(OTHER).send().await.unwrap();
    assert_eq!(bucket.bytes("key").await, b"2");
}

/// Large bodies are stored before they are decided on, small ones with the decision.
#[tokio::test]
async fn a_large_put_is_refused_as_a_small_one_is() {
    let (bucket, _) = one().await;
    let large = vec![7; 6 << 20];
    let put = bucket.put("key", large.clone()).if_none_match("*").send().await;
    assert_refused(put, 412, "PreconditionFailed");
    assert_refused(bucket.put("key", large).if_match(OTHER).send().await, 412, "PreconditionFailed");
    assert_eq!(bucket.bytes("key").await, b"value");
}

/// Some clients add the condition after they have signed.
#[tokio::test]
async fn a_condition_that_is_not_signed_counts() {
    let (bucket, _) = one().await;
    let put = Request::new("PUT", bucket.path("key")).body("2").signed().header("if-none-match", "*");
    put.send().refused(412, "PreconditionFailed");
    assert_eq!(bucket.bytes("key").await, b"value");
}

#[tokio::test]
async fn a_delete_if_match_removes_what_it_knows() {
    let (bucket, etag) = one().await;
    assert_refused(bucket.delete("key").if_match(OTHER).send().await, 412, "PreconditionFailed");
    assert!(bucket.has("key").await);
    bucket.delete("key").if_match(&etag).send().await.unwrap();
    assert!(!bucket.has("key").await);
    bucket.put("key", "2").send().await.unwrap();
    bucket.delete("key").if_match("*").send().await.unwrap();
    assert!(!bucket.has("key").await);
}

#[tokio::test]
async fn a_delete_if_match_of_what_is_not_there_succeeds() {
    let (bucket, etag) = one().await;
    bucket.delete("missing").if_match(&etag).send().await.unwrap();
}
