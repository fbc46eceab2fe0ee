//! What a client has learned and may use: ETags, uploads, ids.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::catalog::{
    Answer, BodyId, BucketId, ETag, ListEntry, Operation, Piece, PieceSource, Query, Success, UploadEntry,
    UploadId,
};

use crate::random::Random;

/// A client remembers so many of each thing; the oldest is forgotten first.
const REMEMBERED_MAX: usize = 24;

/// A multipart upload that the client began or saw in a list.
#[derive(Clone, Debug)]
pub(super) struct KnownUpload {
    pub(super) bucket: Bytes,
    pub(super) key: Bytes,
    pub(super) id: UploadId,
    pub(super) parts: BTreeMap<u16, ([u8; 16], u64)>,
}

#[derive(Default)]
pub(super) struct Knowledge {
    pub(super) buckets: BTreeMap<Bytes, BucketId>,
    /// The last that was heard of each object.
    pub(super) etags: BTreeMap<(Bytes, Bytes), ETag>,
    pub(super) uploads: Vec<KnownUpload>,
    /// Completions that were asked for, to be asked for again.
    pub(super) completions: Vec<Operation>,
    /// Uploads that have become objects.
    pub(super) composed: Vec<UploadId>,
    pub(super) bodies: Vec<BodyId>,
    pub(super) access_keys: Vec<Bytes>,
}

impl Knowledge {
    pub(super) fn etag(&self, bucket: &Bytes, key: &Bytes) -> Option<ETag> {
        self.etags.get(&(bucket.clone(), key.clone())).copied()
    }

    pub(super) fn upload(&self, random: &mut Random) -> Option<KnownUpload> {
        if self.uploads.is_empty() {
            return None;
        }
        // Mostly the same few, so that uploads get somewhere.
        let recent = if random.percent(70) { self.uploads.len().min(3) } else { self.uploads.len() };
        Some(self.uploads[self.uploads.len() - 1 - random.index(recent)].clone())
    }

    pub(super) fn wrote(&mut self, operation: &Operation, success: &Success) {
        match (operation, success) {
            (Operation::CreateBucket { name, .. }, Success::BucketCreated { id, .. }) => {
                self.buckets.insert(name.clone(), *id);
            }
            (
                Operation::PutObject { bucket, key, .. } | Operation::CopyObject { bucket, key, .. },
                Success::ObjectWritten { object },
            ) => {
                self.etags.insert((bucket.name.clone(), key.clone()), object.etag);
            }
            (Operation::CompleteUpload { bucket, key, upload, .. }, Success::ObjectWritten { object }) => {
                self.etags.insert((bucket.name.clone(), key.clone()), object.etag);
                self.uploads.retain(|known| known.id != *upload);
                remember(&mut self.composed, *upload);
            }
            (Operation::AbortUpload { upload, .. }, Success::Done) => {
                self.uploads.retain(|known| known.id != *upload);
            }
            (Operation::CreateUpload { bucket, key, .. }, Success::UploadCreated { upload, .. }) => {
                self.see_upload(&bucket.name, key, *upload);
            }
            (
                Operation::PutPart { upload, part, .. } | Operation::CopyPart { upload, part, .. },
                Success::PartWritten { digest, size, .. },
            ) => {
                let known = self.uploads.iter_mut().find(|known| known.id == *upload);
                if let Some(known) = known {
                    known.parts.insert(*part, (*digest, *size));
                }
            }
            _ => {}
        }
    }

    pub(super) fn read(&mut self, query: &Query, answer: &Answer) {
        match (query, answer) {
            (Query::GetBucket { .. }, Answer::Bucket { bucket }) => {
                self.buckets.insert(bucket.name.clone(), bucket.id);
            }
            (Query::GetObject { bucket, key, .. }, Answer::Object { object, pieces, .. }) => {
                self.etags.insert((bucket.name.clone(), key.clone()), object.summary.etag);
                object.upload.iter().for_each(|upload| remember(&mut self.composed, *upload));
                self.see_bodies(pieces);
            }
            (Query::GetPieces { .. }, Answer::Pieces { pieces, .. }) => self.see_bodies(pieces),
            (Query::ListObjects { bucket, .. }, Answer::Objects { entries, .. }) => {
                for entry in entries {
                    if let ListEntry::Object { key, object } = entry {
                        self.etags.insert((bucket.name.clone(), key.clone()), object.etag);
                    }
                }
            }
            (Query::ListUploads { bucket, .. }, Answer::Uploads { entries, .. }) => {
                for entry in entries {
                    if let UploadEntry::Upload { key, id, .. } = entry {
                        self.see_upload(&bucket.name, key, *id);
                    }
                }
            }
            (Query::ListParts { upload, .. }, Answer::Parts { parts, .. }) => {
                let known = self.uploads.iter_mut().find(|known| known.id == *upload);
                if let Some(known) = known {
                    known.parts.extend(parts.iter().map(|part| (part.number, (part.digest, part.size))));
                }
            }
            (_, Answer::Debts { debts, .. }) => {
                debts.iter().take(REMEMBERED_MAX / 4).for_each(|debt| remember(&mut self.bodies, debt.id));
            }
            _ => {}
        }
    }

    fn see_upload(&mut self, bucket: &Bytes, key: &Bytes, id: UploadId) {
        if self.uploads.iter().all(|known| known.id != id) {
            let (bucket, key) = (bucket.clone(), key.clone());
            remember(&mut self.uploads, KnownUpload { bucket, key, id, parts: BTreeMap::new() });
        }
    }

    fn see_bodies(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            if let PieceSource::Chunked { id, .. } = piece.source {
                remember(&mut self.bodies, id);
            }
        }
    }
}

pub(super) fn remember<T>(things: &mut Vec<T>, thing: T) {
    if things.len() >= REMEMBERED_MAX {
        things.remove(0);
    }
    things.push(thing);
}

/// The same query from where its answer says that there is more, if it is a listing and does.
pub(super) fn next_page(query: &Query, answer: &Answer) -> Option<Query> {
    let mut query = query.clone();
    match (&mut query, answer) {
        (Query::ListObjects { after, .. }, Answer::Objects { next: Some(next), .. })
        | (Query::ListUploads { after, .. }, Answer::Uploads { next: Some(next), .. }) => {
            after.clone_from(next);
        }
        (Query::ListParts { after, .. }, Answer::Parts { parts, truncated: true, .. }) => {
            *after = parts.last()?.number;
        }
        (Query::ListObjectParts { after, .. }, Answer::ObjectParts { parts, truncated: true, .. }) => {
            *after = parts.last()?.number;
        }
        (Query::ListBuckets { after, .. }, Answer::Buckets { buckets, truncated: true }) => {
            after.clone_from(&buckets.last()?.name);
        }
        (Query::ListBodies { after, .. }, Answer::Bodies { bodies, truncated: true }) => {
            *after = Some(bodies.last()?.id);
        }
        (Query::ListDebts { after, .. }, Answer::Debts { next: Some(next), .. }) => *after = Some(*next),
        _ => return None,
    }
    Some(query)
}

/// The objects of a page.
pub(super) fn keys(answer: &Answer) -> Vec<Bytes> {
    let Answer::Objects { entries, .. } = answer else { return Vec::new() };
    let keys = entries.iter().filter_map(|entry| match entry {
        ListEntry::Object { key, .. } => Some(key.clone()),
        ListEntry::Prefix { .. } => None,
    });
    keys.collect()
}

/// The uploads of a page.
pub(super) fn uploads(answer: &Answer) -> Vec<(Bytes, UploadId)> {
    let Answer::Uploads { entries, .. } = answer else { return Vec::new() };
    let uploads = entries.iter().filter_map(|entry| match entry {
        UploadEntry::Upload { key, id, .. } => Some((key.clone(), *id)),
        UploadEntry::Prefix { .. } => None,
    });
    uploads.collect()
}
