//! A fresh bucket, and the operations on it with its name filled in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::copy_object::builders::CopyObjectFluentBuilder;
use aws_sdk_s3::operation::delete_object::builders::DeleteObjectFluentBuilder;
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use aws_sdk_s3::operation::head_object::builders::HeadObjectFluentBuilder;
use aws_sdk_s3::operation::list_object_versions::builders::ListObjectVersionsFluentBuilder;
use aws_sdk_s3::operation::list_objects::builders::ListObjectsFluentBuilder;
use aws_sdk_s3::operation::list_objects_v2::builders::ListObjectsV2FluentBuilder;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use compat_tests::sdk;
use compat_tests::sign::encode_path;

pub(crate) struct Bucket {
    pub(crate) client: Client,
    pub(crate) name: String,
}

/// A name that no test has used, also not in an earlier run against the same server.
pub(crate) fn fresh_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    format!("compat-{now:x}-{count}")
}

impl Bucket {
    pub(crate) async fn fresh() -> Bucket {
        let bucket = Bucket { client: sdk::client(), name: fresh_name() };
        bucket.client.create_bucket().bucket(&bucket.name).send().await.unwrap();
        bucket
    }

    pub(crate) fn put(&self, key: &str, body: impl Into<Vec<u8>>) -> PutObjectFluentBuilder {
        self.client.put_object().bucket(&self.name).key(key).body(body.into().into())
    }

    pub(crate) fn get(&self, key: &str) -> GetObjectFluentBuilder {
        self.client.get_object().bucket(&self.name).key(key)
    }

    pub(crate) fn head(&self, key: &str) -> HeadObjectFluentBuilder {
        self.client.head_object().bucket(&self.name).key(key)
    }

    pub(crate) fn delete(&self, key: &str) -> DeleteObjectFluentBuilder {
        self.client.delete_object().bucket(&self.name).key(key)
    }

    pub(crate) fn copy(&self, from: &str, to: &str) -> CopyObjectFluentBuilder {
        self.client.copy_object().bucket(&self.name).key(to).copy_source(self.source(from))
    }

    pub(crate) fn list(&self) -> ListObjectsV2FluentBuilder {
        self.client.list_objects_v2().bucket(&self.name)
    }

    pub(crate) fn list_v1(&self) -> ListObjectsFluentBuilder {
        self.client.list_objects().bucket(&self.name)
    }

    pub(crate) fn versions(&self) -> ListObjectVersionsFluentBuilder {
        self.client.list_object_versions().bucket(&self.name)
    }

    /// For `x-amz-copy-source`.
    pub(crate) fn source(&self, key: &str) -> String {
        format!("{}/{}", self.name, encode_path(key))
    }

    /// `/bucket/key`, for requests by hand.
    pub(crate) fn path(&self, key: &str) -> String {
        format!("/{}/{key}", self.name)
    }

    pub(crate) async fn bytes(&self, key: &str) -> Vec<u8> {
        let output = self.get(key).send().await.unwrap();
        output.body.collect().await.unwrap().to_vec()
    }

    pub(crate) async fn has(&self, key: &str) -> bool {
        match self.head(key).send().await {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.raw_response().unwrap().status().as_u16(), 404, "{error:?}");
                false
            }
        }
    }

    pub(crate) async fn put_all(&self, keys: &[&str]) {
        for key in keys {
            self.put(key, *key).send().await.unwrap();
        }
    }

    /// All keys, over all pages.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut pages = self.list().into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            keys.extend(page.unwrap().contents().iter().map(|object| object.key().unwrap().to_owned()));
        }
        keys
    }
}

/// So many bytes, each run of them unlike others.
pub(crate) fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ count as u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}
