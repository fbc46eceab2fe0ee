//! Operations on objects and buckets.

use bytes::Bytes;
use protocol::catalog::{
    AccessKey, BucketRef, Conditions, Delete, ETag, ETagMatch, NewBody, Operation, SourceConditions, headers,
};
use protocol::types::Timestamp;

use super::values::{Value, delete};
use super::{Kind, Workload};

impl Workload {
    pub(super) fn operation(&mut self, kind: Kind) -> Operation {
        match kind {
            Kind::PutChunked => {
                let length = self.chunked_length();
                self.put(Conditions::none(), |workload, digest| workload.chunked(digest, length))
            }
            Kind::PutLate => {
                // Below the next number: spent, fenced, or given up and free again.
                let upload = self.random.below(self.next_upload);
                let length = self.chunked_length();
                self.put(Conditions::none(), |workload, digest| workload.chunked_as(upload, digest, length))
            }
            Kind::PutIfAbsent => self.put_inline(Conditions::absent()),
            Kind::PutIfMatch | Kind::PutUnlessMatch => self.put_conditional(kind),
            Kind::Delete | Kind::DeleteIfMatch | Kind::DeleteMany => self.delete(kind),
            Kind::PutTags => {
                let (bucket, key, tags) = (self.bucket(), self.key(), self.tags());
                Operation::PutObjectTags { bucket, key, tags }
            }
            Kind::Copy | Kind::CopyIf | Kind::CopySelf => self.copy(kind),
            Kind::CreateUpload
            | Kind::PutPart
            | Kind::CopyPart
            | Kind::Complete
            | Kind::CompleteAgain
            | Kind::Abort => self.multipart(kind),
            Kind::CreateBucket | Kind::DeleteBucket | Kind::PutBucketTags => self.bucket_operation(kind),
            Kind::PutAccessKey | Kind::DeleteAccessKey => self.access_key_operation(kind),
            Kind::Settle => self.settle(),
            Kind::Rebuilt => self.rebuilt(),
            _ => self.put_inline(Conditions::none()),
        }
    }

    fn put_inline(&mut self, conditions: Conditions) -> Operation {
        self.put(conditions, |workload, digest| workload.inline(digest))
    }

    fn put(
        &mut self,
        conditions: Conditions,
        body: impl FnOnce(&mut Workload, [u8; 16]) -> NewBody,
    ) -> Operation {
        let (bucket, key, tags) = (self.bucket(), self.key(), self.tags());
        self.put_at(bucket, key, tags, conditions, body)
    }

    fn put_at(
        &mut self,
        bucket: BucketRef,
        key: Bytes,
        tags: Vec<protocol::catalog::Tag>,
        conditions: Conditions,
        body: impl FnOnce(&mut Workload, [u8; 16]) -> NewBody,
    ) -> Operation {
        let Value { etag, headers, checksums } = self.value();
        let body = body(self, etag.digest);
        Operation::PutObject { bucket, key, conditions, etag, headers, checksums, tags, body }
    }

    /// With what the client knows of the key, which may be out of date, or with any ETag at all.
    fn put_conditional(&mut self, kind: Kind) -> Operation {
        let (bucket, key, tags) = (self.bucket(), self.key(), self.tags());
        let wanted = Some(self.etag_match(&bucket.name, &key));
        let conditions = match kind {
            Kind::PutIfMatch => Conditions { if_match: wanted, if_none_match: None },
            _ => Conditions { if_match: None, if_none_match: wanted },
        };
        let length = self.chunked_length();
        let chunked = self.random.percent(30);
        self.put_at(bucket, key, tags, conditions, |workload, digest| match chunked {
            true => workload.chunked(digest, length),
            false => workload.inline(digest),
        })
    }

    pub(super) fn etag_match(&mut self, bucket: &Bytes, key: &Bytes) -> ETagMatch {
        let known = self.knowledge.etag(bucket, key);
        let other = ETag::simple([0xee; 16]);
        match self.random.below(10) {
            0 => ETagMatch::Any,
            1 => ETagMatch::one(other),
            2 => ETagMatch::OneOf { etags: Vec::new() },
            3 => ETagMatch::OneOf { etags: known.into_iter().chain([other]).collect() },
            _ => ETagMatch::one(known.unwrap_or(other)),
        }
    }

    fn delete(&mut self, kind: Kind) -> Operation {
        let bucket = self.bucket();
        let count = if kind == Kind::DeleteMany { self.random.between(2, 8) } else { 1 };
        let mut deletes: Vec<Delete> = Vec::new();
        for _ in 0..count {
            let key = self.key();
            let conditional =
                kind == Kind::DeleteIfMatch || (kind == Kind::DeleteMany && self.random.percent(20));
            let if_match = conditional.then(|| self.etag_match(&bucket.name, &key));
            deletes.push(delete(key, Conditions { if_match, if_none_match: None }));
        }
        Operation::DeleteObjects { bucket, deletes }
    }

    fn copy(&mut self, kind: Kind) -> Operation {
        let (source, source_key) = (self.bucket(), self.key());
        let (bucket, key) = match kind {
            Kind::CopySelf => (source.clone(), source_key.clone()),
            _ => (self.bucket(), self.key()),
        };
        let conditional = kind == Kind::CopyIf;
        let source_conditions = match conditional && self.random.percent(60) {
            true => self.source_conditions(&source.name, &source_key),
            false => SourceConditions::none(),
        };
        let conditions = match (conditional && self.random.percent(60), self.random.percent(50)) {
            (false, _) => Conditions::none(),
            (true, true) => Conditions::absent(),
            (true, false) => {
                let if_match = Some(self.etag_match(&bucket.name, &key));
                Conditions { if_match, if_none_match: None }
            }
        };
        let replace = kind == Kind::CopySelf || self.random.percent(30);
        let headers = replace.then(|| {
            self.values += 1;
            headers([("x-copied-by", format!("client {}, {}", self.client, self.values))])
        });
        let tags = self.random.percent(20).then(|| self.tags());
        Operation::CopyObject {
            source,
            source_key,
            source_conditions,
            bucket,
            key,
            conditions,
            headers,
            tags,
        }
    }

    pub(super) fn source_conditions(&mut self, bucket: &Bytes, key: &Bytes) -> SourceConditions {
        let mut conditions = SourceConditions::none();
        if self.random.percent(40) {
            conditions.if_match = Some(self.etag_match(bucket, key));
        }
        if self.random.percent(30) {
            conditions.if_none_match = Some(self.etag_match(bucket, key));
        }
        // Long before everything, or long after: what date it is, a client of this world cannot know.
        let long_ago = Timestamp::new(1);
        let far_off = Timestamp::new(u64::MAX / 2);
        if self.random.percent(30) {
            conditions.if_modified_since = Some(*self.random.pick(&[long_ago, far_off]));
        }
        if self.random.percent(30) {
            conditions.if_unmodified_since = Some(*self.random.pick(&[long_ago, far_off]));
        }
        conditions
    }

    fn bucket_operation(&mut self, kind: Kind) -> Operation {
        match kind {
            Kind::CreateBucket => {
                let (name, tags) = (self.bucket_name(), self.tags());
                let owner = *self.random.pick(&["alice", "alice", "alice", "bob"]);
                Operation::CreateBucket { name, owner: Bytes::from_static(owner.as_bytes()), tags }
            }
            Kind::DeleteBucket => Operation::DeleteBucket { bucket: self.bucket() },
            _ => {
                let (bucket, tags) = (self.bucket(), self.tags());
                Operation::PutBucketTags { bucket, tags }
            }
        }
    }

    fn access_key_operation(&mut self, kind: Kind) -> Operation {
        let known = self.knowledge.access_keys.clone();
        let id = match known.is_empty() || self.random.percent(30) {
            true => Bytes::from(format!("AK{}", self.random.below(6))),
            false => self.random.pick(&known).clone(),
        };
        if kind == Kind::DeleteAccessKey {
            return Operation::DeleteAccessKey { id };
        }
        super::knowledge::remember(&mut self.knowledge.access_keys, id.clone());
        let digest = self.digest();
        let access_key = AccessKey {
            secret: Bytes::copy_from_slice(&digest),
            user: Bytes::from_static(b"alice"),
            owner: Bytes::from_static(b"alice"),
            display_name: Bytes::from_static(b"Alice"),
            flags: 0,
            scopes: Vec::new(),
            created: Timestamp::new(self.values),
        };
        Operation::PutAccessKey { id, access_key }
    }
}
