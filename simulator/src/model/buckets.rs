//! Buckets and the objects in them.

use bytes::Bytes;
use protocol::catalog::{
    BucketId, Checksums, Conditions, Delete, ETag, ETagMatch, Error, NewBody, ObjectSummary, Operation,
    Reply, SourceConditions, Success, Tag,
};
use protocol::types::Timestamp;

use super::{Bucket, CatalogModel, Content, Object, Place};

impl CatalogModel {
    pub(super) fn create_bucket(
        &mut self,
        place: &Place<'_>,
        name: &Bytes,
        owner: &Bytes,
        tags: &[Tag],
    ) -> Reply {
        if let Some(bucket) = self.buckets.get(name) {
            let mine = bucket.owner == *owner;
            return Err(if mine { Error::BucketAlreadyOwnedByYou } else { Error::BucketAlreadyExists });
        }
        let (id, created) = (BucketId::new(place.unique()), place.timestamp);
        let bucket = Bucket {
            id,
            owner: owner.clone(),
            created,
            tags: tags.to_vec(),
            objects: Default::default(),
            uploads: Default::default(),
        };
        self.buckets.insert(name.clone(), bucket);
        Ok(Success::BucketCreated { id, created })
    }

    pub(super) fn delete_bucket(&mut self, wanted: &protocol::catalog::BucketRef) -> Reply {
        let bucket = self.bucket(wanted)?;
        if !bucket.objects.is_empty() || !bucket.uploads.is_empty() {
            return Err(Error::BucketNotEmpty);
        }
        self.buckets.remove(&wanted.name);
        Ok(Success::Done)
    }

    pub(super) fn put_object(&mut self, place: &Place<'_>, operation: &Operation) -> Reply {
        let Operation::PutObject { bucket, key, conditions, etag, headers, checksums, tags, body } =
            operation
        else {
            return Err(Error::Malformed);
        };
        self.bucket(bucket)?.admits(key, conditions)?;
        let content = Content::Run(self.claim(place, body)?);
        let summary = summarize(place, length(body), *etag, checksums.clone());
        let object =
            Object { summary: summary.clone(), headers: headers.clone(), tags: tags.clone(), content };
        self.bucket_mut(bucket)?.objects.insert(key.clone(), object);
        Ok(Success::ObjectWritten { object: summary })
    }

    pub(super) fn copy_object(&mut self, place: &Place<'_>, operation: &Operation) -> Reply {
        let Operation::CopyObject {
            source,
            source_key,
            source_conditions,
            bucket,
            key,
            conditions,
            headers,
            tags,
        } = operation
        else {
            return Err(Error::Malformed);
        };
        let from = self.bucket(source)?.source(source_key, source_conditions)?;
        self.bucket(bucket)?.admits(key, conditions)?;
        let was = from.summary;
        let summary = summarize(place, was.size, was.etag, was.checksums);
        let object = Object {
            summary: summary.clone(),
            headers: headers.clone().unwrap_or(from.headers),
            tags: tags.clone().unwrap_or(from.tags),
            content: from.content,
        };
        self.bucket_mut(bucket)?.objects.insert(key.clone(), object);
        Ok(Success::ObjectWritten { object: summary })
    }
}

/// What a listing says of an object that is written at `place`.
pub(super) fn summarize(place: &Place<'_>, size: u64, etag: ETag, checksums: Checksums) -> ObjectSummary {
    ObjectSummary { version: place.unique(), size, etag, last_modified: place.timestamp, checksums }
}

pub(super) fn length(body: &NewBody) -> u64 {
    match body {
        NewBody::Inline { bytes } => bytes.len() as u64,
        NewBody::Chunked { body, .. } => body.length,
    }
}

impl Bucket {
    /// Whether the conditions allow to write `key`.
    pub(super) fn admits(&self, key: &Bytes, conditions: &Conditions) -> Result<(), Error> {
        let etag = self.objects.get(key).map(|object| object.summary.etag);
        if let Some(wanted) = &conditions.if_match {
            let etag = etag.ok_or(Error::NoSuchKey)?;
            if !is_among(etag, wanted) {
                return Err(Error::PreconditionFailed);
            }
        }
        match (&conditions.if_none_match, etag) {
            (Some(unwanted), Some(etag)) if is_among(etag, unwanted) => Err(Error::PreconditionFailed),
            _ => Ok(()),
        }
    }

    /// What is not there is as good as deleted, whatever the conditions.
    pub(super) fn delete(&mut self, delete: &Delete) -> Result<(), Error> {
        if self.objects.contains_key(&delete.key) {
            self.admits(&delete.key, &delete.conditions)?;
            self.objects.remove(&delete.key);
        }
        Ok(())
    }

    /// The source of a copy.
    pub(super) fn source(&self, key: &Bytes, conditions: &SourceConditions) -> Result<Object, Error> {
        let object = self.objects.get(key).ok_or(Error::NoSuchKey)?;
        let ObjectSummary { etag, last_modified, .. } = object.summary;
        // HTTP dates are whole seconds. A date is looked at only where no ETag is given.
        let second = |time: Timestamp| time.get() / 1_000_000;
        let later_than = |since: Timestamp| second(last_modified) > second(since);
        let holds = match (&conditions.if_match, conditions.if_unmodified_since) {
            (Some(wanted), _) => is_among(etag, wanted),
            (None, Some(since)) => !later_than(since),
            (None, None) => true,
        } && match (&conditions.if_none_match, conditions.if_modified_since) {
            (Some(unwanted), _) => !is_among(etag, unwanted),
            (None, Some(since)) => later_than(since),
            (None, None) => true,
        };
        if holds { Ok(object.clone()) } else { Err(Error::PreconditionFailed) }
    }
}

fn is_among(etag: ETag, wanted: &ETagMatch) -> bool {
    match wanted {
        ETagMatch::Any => true,
        ETagMatch::OneOf { etags } => etags.contains(&etag),
    }
}
