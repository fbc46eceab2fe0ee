//! Buckets: to make, to find, to describe and to remove.

use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, Tag, Tagging, VersioningConfiguration,
};
use compat_tests::raw::Request;
use compat_tests::sdk::{assert_refused, assert_status, client};

use crate::bucket::{Bucket, fresh_name};

#[tokio::test]
async fn a_bucket_that_was_made_is_there() {
    let bucket = Bucket::fresh().await;
    bucket.client.head_bucket().bucket(&bucket.name).send().await.unwrap();
}

#[tokio::test]
async fn making_a_bucket_tells_where_it_is() {
    let (client, name) = (client(), fresh_name());
    let made = client.create_bucket().bucket(&name).send().await.unwrap();
    assert_eq!(made.location(), Some(format!("/{name}").as_str()));
}

/// Clients find a bucket's region by this header.
#[tokio::test]
async fn the_head_of_a_bucket_names_its_region() {
    let bucket = Bucket::fresh().await;
    let head = bucket.client.head_bucket().bucket(&bucket.name).send().await.unwrap();
    assert!(head.bucket_region().is_some_and(|region| !region.is_empty()));
}

#[tokio::test]
async fn a_location_constraint_is_accepted() {
    let (client, name) = (client(), fresh_name());
    let configuration =
        CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::EuWest1).build();
    let making = client.create_bucket().bucket(&name).create_bucket_configuration(configuration);
    making.send().await.unwrap();
    client.head_bucket().bucket(&name).send().await.unwrap();
}

/// In the region that clients assume when they are told nothing, it succeeds again; others say that it is
/// yours already. In any case nothing is lost.
#[tokio::test]
async fn making_a_bucket_again_keeps_what_is_in_it() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    if let Err(error) = bucket.client.create_bucket().bucket(&bucket.name).send().await {
        assert!(error.into_service_error().is_bucket_already_owned_by_you());
    }
    assert_eq!(bucket.bytes("key").await, b"value");
}

#[test]
fn a_name_against_the_rules_is_refused() {
    let long = "a".repeat(64);
    let names = [
        "ab",
        &long,
        "Upper-case",
        "under_score",
        "-begins-with-dash",
        "ends-with-dash-",
        ".begins-with-dot",
        "ends-with-dot.",
        "two..dots",
        "192.168.5.4",
        "sp ace",
        "exclamation!",
        "ünicode",
    ];
    for name in names {
        let answer = Request::new("PUT", format!("/{name}")).signed().send();
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        assert_eq!(answer.element("Code").as_deref(), Some("InvalidBucketName"), "{name}");
    }
}

#[test]
fn a_name_at_the_edge_of_the_rules_is_accepted() {
    let unique = fresh_name();
    let longest = format!("{unique}-{}", "a".repeat(62 - unique.len()));
    for name in [format!("{unique}.with.dots"), format!("0-{unique}"), longest] {
        Request::new("PUT", format!("/{name}")).signed().send().expect(200);
        Request::new("HEAD", format!("/{name}")).signed().send().expect(200);
        Request::new("DELETE", format!("/{name}")).signed().send().expect(204);
    }
}

#[test]
fn a_location_constraint_that_is_no_xml_is_refused() {
    let path = format!("/{}", fresh_name());
    let body = "<CreateBucketConfiguration><LocationConstraint>";
    Request::new("PUT", &path).body(body).signed().send().refused(400, "MalformedXML");
    Request::new("HEAD", &path).signed().send().expect(404);
}

#[tokio::test]
async fn the_head_of_a_bucket_that_is_not_there_is_404() {
    assert_status(client().head_bucket().bucket(fresh_name()).send().await, 404);
}

#[tokio::test]
async fn an_empty_bucket_can_be_removed() {
    let bucket = Bucket::fresh().await;
    bucket.client.delete_bucket().bucket(&bucket.name).send().await.unwrap();
    assert_status(bucket.client.head_bucket().bucket(&bucket.name).send().await, 404);
}

#[tokio::test]
async fn a_bucket_that_holds_something_is_not_removed() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    let removing = || bucket.client.delete_bucket().bucket(&bucket.name).send();
    assert_refused(removing().await, 409, "BucketNotEmpty");
    bucket.delete("key").send().await.unwrap();
    removing().await.unwrap();
}

#[tokio::test]
async fn removing_a_bucket_that_is_not_there_is_refused() {
    assert_refused(client().delete_bucket().bucket(fresh_name()).send().await, 404, "NoSuchBucket");
}

#[tokio::test]
async fn a_bucket_made_again_under_its_name_is_empty() {
    let bucket = Bucket::fresh().await;
    bucket.put("key", "value").send().await.unwrap();
    bucket.delete("key").send().await.unwrap();
    bucket.client.delete_bucket().bucket(&bucket.name).send().await.unwrap();
    bucket.client.create_bucket().bucket(&bucket.name).send().await.unwrap();
    assert_eq!(bucket.keys().await, [""; 0]);
    assert!(!bucket.has("key").await);
}

#[tokio::test]
async fn the_list_of_buckets_has_those_that_were_made_with_their_dates_and_owner() {
    let bucket = Bucket::fresh().await;
    let list = bucket.client.list_buckets().send().await.unwrap();
    assert!(list.owner().and_then(|owner| owner.id()).is_some_and(|id| !id.is_empty()));
    let listed = list.buckets().iter().find(|listed| listed.name() == Some(bucket.name.as_str())).unwrap();
    let created = listed.creation_date().unwrap().secs();
    let now = jiff::Timestamp::now().as_second();
    assert!((now - 120..=now + 120).contains(&created), "{created} {now}");
}

#[tokio::test]
async fn the_list_of_buckets_takes_a_prefix() {
    let (client, prefix) = (client(), fresh_name());
    for end in ["a", "b"] {
        client.create_bucket().bucket(format!("{prefix}-{end}")).send().await.unwrap();
    }
    client.create_bucket().bucket(fresh_name()).send().await.unwrap();
    let list = client.list_buckets().prefix(&prefix).send().await.unwrap();
    let names: Vec<_> = list.buckets().iter().map(|bucket| bucket.name().unwrap()).collect();
    assert_eq!(names, [format!("{prefix}-a"), format!("{prefix}-b")]);
    assert_eq!(list.prefix(), Some(prefix.as_str()));
}

#[tokio::test]
async fn the_list_of_buckets_comes_in_pages() {
    let (client, prefix) = (client(), fresh_name());
    let expected: Vec<String> = (0..5).map(|index| format!("{prefix}-{index}")).collect();
    for name in &expected {
        client.create_bucket().bucket(name).send().await.unwrap();
    }
    let (mut names, mut token, mut sizes) = (Vec::new(), None, Vec::new());
    loop {
        let listing = client.list_buckets().prefix(&prefix).max_buckets(2).set_continuation_token(token);
        let page = listing.send().await.unwrap();
        sizes.push(page.buckets().len());
        names.extend(page.buckets().iter().map(|bucket| bucket.name().unwrap().to_owned()));
        token = page.continuation_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, expected);
    assert_eq!(sizes, [2, 2, 1]);
}

#[test]
fn a_page_size_of_buckets_out_of_bounds_is_refused() {
    for size in ["0", "-1", "10001", "x"] {
        let list = Request::new("GET", "/").query("max-buckets", size);
        list.signed().send().refused(400, "InvalidArgument");
    }
}

#[tokio::test]
async fn a_bucket_without_a_constraint_says_no_location() {
    let bucket = Bucket::fresh().await;
    bucket.client.get_bucket_location().bucket(&bucket.name).send().await.unwrap();
    let answer = Request::new("GET", format!("/{}", bucket.name)).query("location", "").signed().send();
    assert!(answer.expect(200).text().contains("<LocationConstraint"));
}

#[tokio::test]
async fn the_location_of_a_bucket_that_is_not_there_is_refused() {
    let asked = client().get_bucket_location().bucket(fresh_name()).send().await;
    assert_refused(asked, 404, "NoSuchBucket");
}

/// A bucket that never had versions says neither Enabled nor Suspended.
#[tokio::test]
async fn a_bucket_has_no_versioning() {
    let bucket = Bucket::fresh().await;
    let versioning = bucket.client.get_bucket_versioning().bucket(&bucket.name).send().await.unwrap();
    assert_eq!(versioning.status(), None);
    assert_eq!(versioning.mfa_delete(), None);
}

/// Whoever asks for versions relies on them: to say yes and keep none would lose data.
#[tokio::test]
async fn asking_for_versions_is_refused_or_obeyed() {
    let bucket = Bucket::fresh().await;
    let configuration =
        VersioningConfiguration::builder().status(aws_sdk_s3::types::BucketVersioningStatus::Enabled).build();
    let asking = bucket.client.put_bucket_versioning().bucket(&bucket.name);
    match asking.versioning_configuration(configuration).send().await {
        Err(error) => assert_refused(error, 501, "NotImplemented"),
        Ok(_) => {
            let first = bucket.put("key", "1").send().await.unwrap();
            bucket.put("key", "2").send().await.unwrap();
            let old = bucket.get("key").version_id(first.version_id().unwrap()).send().await.unwrap();
            assert_eq!(old.body.collect().await.unwrap().to_vec(), b"1");
        }
    }
}

/// Tools ask for all of these and take the proper code for "none".
#[tokio::test]
async fn what_was_never_configured_is_told_in_the_words_of_its_family() {
    let bucket = Bucket::fresh().await;
    let families = [
        ("policy", "NoSuchBucketPolicy"),
        ("cors", "NoSuchCORSConfiguration"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("website", "NoSuchWebsiteConfiguration"),
        ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
        ("ownershipControls", "OwnershipControlsNotFoundError"),
        ("replication", "ReplicationConfigurationNotFoundError"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("tagging", "NoSuchTagSet"),
    ];
    for (resource, code) in families {
        let answer = Request::new("GET", format!("/{}", bucket.name)).query(resource, "").signed().send();
        assert_eq!((answer.status, answer.element("Code").unwrap_or_default()), (404, code.to_owned()));
    }
}

#[tokio::test]
async fn to_configure_what_is_not_implemented_is_not_implemented() {
    let bucket = Bucket::fresh().await;
    for resource in ["policy", "cors", "lifecycle", "website", "replication", "encryption", "logging"] {
        let request = Request::new("PUT", format!("/{}", bucket.name)).query(resource, "").body("<x/>");
        let answer = request.signed().send();
        assert_eq!(answer.status, 501, "{resource}: {}", answer.text());
    }
}

fn tags(of: &[(&str, &str)]) -> Tagging {
    let tag = |&(key, value): &(&str, &str)| Tag::builder().key(key).value(value).build().unwrap();
    Tagging::builder().set_tag_set(Some(of.iter().map(tag).collect())).build().unwrap()
}

#[tokio::test]
async fn the_tags_of_a_bucket_are_kept_replaced_and_removed() {
    let bucket = Bucket::fresh().await;
    let (client, name) = (&bucket.client, bucket.name.as_str());
    let put = |of: Tagging| client.put_bucket_tagging().bucket(name).tagging(of).send();
    let get = || client.get_bucket_tagging().bucket(name).send();

    put(tags(&[("team", "storage"), ("ünï", "çödé + x/y@z")])).await.unwrap();
    let found = get().await.unwrap();
    let mut found: Vec<_> = found.tag_set().iter().map(|tag| (tag.key(), tag.value())).collect();
    found.sort_unstable();
    assert_eq!(found, [("team", "storage"), ("ünï", "çödé + x/y@z")]);

    put(tags(&[("only", "this")])).await.unwrap();
    let found = get().await.unwrap();
    assert_eq!(found.tag_set().len(), 1);

    client.delete_bucket_tagging().bucket(name).send().await.unwrap();
    assert_refused(get().await, 404, "NoSuchTagSet");
}

#[tokio::test]
async fn more_than_fifty_tags_of_a_bucket_are_refused() {
    let bucket = Bucket::fresh().await;
    let keys: Vec<String> = (0..51).map(|index| format!("key-{index}")).collect();
    let set = |count: usize| {
        let pairs: Vec<(&str, &str)> = keys[..count].iter().map(|key| (key.as_str(), "value")).collect();
        bucket.client.put_bucket_tagging().bucket(&bucket.name).tagging(tags(&pairs)).send()
    };
    set(50).await.unwrap();
    assert_status(set(51).await, 400);
}

#[tokio::test]
async fn two_tags_of_a_bucket_with_one_key_are_refused() {
    let bucket = Bucket::fresh().await;
    let twice = tags(&[("key", "1"), ("key", "2")]);
    let put = bucket.client.put_bucket_tagging().bucket(&bucket.name).tagging(twice).send().await;
    assert_refused(put, 400, "InvalidTag");
}

#[tokio::test]
async fn the_tags_of_a_bucket_that_is_not_there_are_refused() {
    let asked = client().get_bucket_tagging().bucket(fresh_name()).send().await;
    assert_refused(asked, 404, "NoSuchBucket");
}
