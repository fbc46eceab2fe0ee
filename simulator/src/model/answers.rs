//! What queries are answered.

use bytes::Bytes;
use protocol::catalog::{
    self, Answer, BodyId, BucketRef, COLLECT_COUNT_MAX, Error, ListEntry, ListPosition, NamedAccessKey,
    NamedBody, Piece, PieceSelection, PieceSource, PieceStart, Query, QueryReply, Upload, UploadEntry,
    UploadId,
};

use super::bodies::is_read_by_nobody;
use super::{Bucket, CatalogModel, Composition, Content, Live, Moment, Object, Run};

/// The same query for a shorter page.
pub(super) fn limited(query: &Query, count: usize) -> Query {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let mut query = query.clone();
    match &mut query {
        Query::ListBuckets { limit, .. }
        | Query::ListObjects { limit, .. }
        | Query::ListParts { limit, .. }
        | Query::ListObjectParts { limit, .. }
        | Query::ListUploads { limit, .. }
        | Query::ListAccessKeys { limit, .. }
        | Query::ListBodies { limit, .. }
        | Query::ListDebts { limit, .. } => *limit = count,
        Query::GetObject { pieces: Some(selection), .. } | Query::GetPieces { selection, .. } => {
            selection.limit = count;
        }
        Query::GetBucket { .. }
        | Query::GetObject { pieces: None, .. }
        | Query::GetAccessKey { .. }
        | Query::GetVerdicts { .. }
        | Query::GetBodies { .. }
        | Query::Rebuilding
        | Query::Collectable { .. } => {}
    }
    query
}

impl CatalogModel {
    pub fn answer(&self, moment: &Moment<'_>, query: &Query) -> QueryReply {
        let Moment { applied, live, disks } = *moment;
        match query {
            Query::GetBucket { bucket } => {
                let bucket = self.bucket(bucket)?.named(&bucket.name);
                Ok(Answer::Bucket { bucket })
            }
            Query::ListBuckets { owner, prefix, after, limit } => {
                let wanted = self.buckets.iter().filter(|(name, bucket)| {
                    name.starts_with(prefix)
                        && *name > after
                        && owner.as_ref().is_none_or(|owner| *owner == bucket.owner)
                });
                let (buckets, truncated) = self.page(wanted.map(|(name, bucket)| bucket.named(name)), *limit);
                Ok(Answer::Buckets { buckets, truncated })
            }
            Query::GetObject { bucket, key, pieces } => self.get_object(bucket, key, pieces.as_ref()),
            Query::GetPieces { upload, selection } => {
                let composition = self.composition(*upload).ok_or(Error::NoSuchUpload)?;
                let (pieces, more) = self.composed_pieces(composition, selection.from, selection.limit)?;
                Ok(Answer::Pieces { pieces, more })
            }
            Query::ListObjects { bucket, prefix, delimiter, after, limit } => {
                self.list_objects(bucket, prefix, delimiter, after, *limit)
            }
            Query::ListUploads { bucket, prefix, delimiter, after, limit } => {
                self.list_uploads(bucket, prefix, delimiter, after, *limit)
            }
            Query::ListParts { bucket, key, upload, after, limit } => {
                let open = self.bucket(bucket)?.upload(key, *upload)?;
                let parts = open.parts.values().map(|part| part.part.clone());
                let (parts, truncated) = self.page(parts.filter(|part| part.number > *after), *limit);
                let (headers, tags) = (open.headers.clone(), open.tags.clone());
                let (created, checksum) = (open.created, open.checksum);
                let upload = Upload { id: *upload, created, headers, tags, checksum };
                Ok(Answer::Parts { upload, parts, truncated })
            }
            Query::ListObjectParts { bucket, key, after, limit } => {
                let object = self.bucket(bucket)?.objects.get(key).ok_or(Error::NoSuchKey)?;
                let parts = object.content.upload().map_or(&[][..], |upload| {
                    &self.composition(upload).expect("an object's composition is kept").parts
                });
                let parts = parts.iter().map(|(_, part)| part.part.clone());
                let (parts, truncated) = self.page(parts.filter(|part| part.number > *after), *limit);
                Ok(Answer::ObjectParts { object: described(object), parts, truncated })
            }
            Query::GetAccessKey { id } => {
                let access_key = self.access_keys.get(id).ok_or(Error::NoSuchAccessKey)?.clone();
                Ok(Answer::AccessKey { access_key })
            }
            Query::ListAccessKeys { after, limit } => {
                let wanted = self.access_keys.iter().filter(|(id, _)| *id > after);
                let named = wanted.map(|(id, access_key)| NamedAccessKey {
                    id: id.clone(),
                    access_key: access_key.clone(),
                });
                let (access_keys, truncated) = self.page(named, *limit);
                Ok(Answer::AccessKeys { access_keys, truncated })
            }
            Query::GetVerdicts { chunks } => {
                let verdicts = chunks.iter().map(|chunk| self.verdict(live, applied, *chunk)).collect();
                Ok(Answer::Verdicts { applied, verdicts })
            }
            Query::Collectable { after, limit } => Ok(self.collectable(live, *after, *limit)),
            Query::ListBodies { after, limit } => {
                let wanted = self
                    .bodies
                    .iter()
                    .filter(|(id, body)| body.retired.is_none() && after.is_none_or(|after| **id > after));
                let named = wanted.map(|(id, body)| NamedBody { id: *id, body: body.body.clone() });
                let (bodies, truncated) = self.page(named, *limit);
                Ok(Answer::Bodies { bodies, truncated })
            }
            Query::ListDebts { node, after, limit } => Ok(self.debts(*node, *after, *limit)),
            Query::GetBodies { bodies } => {
                let known = bodies.iter().filter_map(|id| {
                    let body = self.bodies.get(id).filter(|body| body.retired.is_none())?;
                    Some(NamedBody { id: *id, body: body.body.clone() })
                });
                let (bodies, truncated) = self.page(known, u32::MAX);
                Ok(Answer::Bodies { bodies, truncated })
            }
            Query::Rebuilding => Ok(self.to_rebuild(disks)),
        }
    }

    /// The first entries, and whether there are more. A page that was to hold nothing lacks nothing.
    pub(super) fn page<E>(&self, mut entries: impl Iterator<Item = E>, limit: u32) -> (Vec<E>, bool) {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(self.limits.page_entries_max);
        let page: Vec<E> = entries.by_ref().take(limit).collect();
        let truncated = limit > 0 && entries.next().is_some();
        (page, truncated)
    }

    fn get_object(&self, bucket: &BucketRef, key: &Bytes, selection: Option<&PieceSelection>) -> QueryReply {
        let object = self.bucket(bucket)?.objects.get(key).ok_or(Error::NoSuchKey)?;
        let (pieces, more) = match selection {
            Some(selection) => self.pieces(object, selection)?,
            None => (Vec::new(), false),
        };
        Ok(Answer::Object { object: described(object), pieces, more })
    }

    fn pieces(&self, object: &Object, selection: &PieceSelection) -> Result<(Vec<Piece>, bool), Error> {
        let size = object.summary.size;
        let from = match selection.from {
            PieceStart::Suffix { length } => PieceStart::Offset { offset: size.saturating_sub(length) },
            from => from,
        };
        let run = match &object.content {
            Content::Run(run) => run,
            Content::Composed(upload) => {
                let composition = self.composition(*upload).expect("an object's composition is kept");
                return self.composed_pieces(composition, from, selection.limit);
            }
        };
        let wanted = match from {
            PieceStart::Part { number: 1 } => true,
            PieceStart::Part { .. } => return Err(Error::InvalidPartNumber),
            PieceStart::Offset { offset } => offset == 0 || offset < size,
            PieceStart::Suffix { .. } => false,
        };
        let piece = Piece { part: 0, offset: 0, length: size, source: self.source(run) };
        Ok(self.page(wanted.then_some(piece).into_iter(), selection.limit))
    }

    fn composed_pieces(
        &self,
        composition: &Composition,
        from: PieceStart,
        limit: u32,
    ) -> Result<(Vec<Piece>, bool), Error> {
        let parts = composition.parts.iter();
        let wanted = parts.filter(|(start, part)| match from {
            PieceStart::Offset { offset } => start + part.part.size > offset,
            PieceStart::Part { number } => part.part.number >= number,
            PieceStart::Suffix { .. } => false,
        });
        let pieces: Vec<Piece> = wanted
            .map(|(start, part)| {
                let (part, source) = (&part.part, self.source(&part.run));
                Piece { part: part.number, offset: *start, length: part.size, source }
            })
            .collect();
        match from {
            PieceStart::Part { number } if pieces.first().is_none_or(|piece| piece.part != number) => {
                Err(Error::InvalidPartNumber)
            }
            _ => Ok(self.page(pieces.into_iter(), limit)),
        }
    }

    fn source(&self, run: &Run) -> PieceSource {
        match run {
            Run::Inline(bytes) => PieceSource::Inline { bytes: bytes.clone() },
            Run::Slice { id, offset } => {
                let body = self.bodies.get(id).expect("a referenced body is kept").body.clone();
                PieceSource::Chunked { id: *id, body, offset: *offset }
            }
        }
    }

    fn list_objects(
        &self,
        bucket: &BucketRef,
        prefix: &Bytes,
        delimiter: &Bytes,
        after: &ListPosition,
        limit: u32,
    ) -> QueryReply {
        let rows = self.bucket(bucket)?.objects.iter().map(|(key, object)| (key, None, object));
        let found = listed(rows, prefix, delimiter, after);
        let entries = found.into_iter().map(|found| match found {
            Found::Row(key, _, object) => {
                ListEntry::Object { key: key.clone(), object: object.summary.clone() }
            }
            Found::Prefix(prefix) => ListEntry::Prefix { prefix },
        });
        let (entries, truncated) = self.page(entries, limit);
        let next = entries.last().filter(|_| truncated).map(|last| match last {
            ListEntry::Object { key, .. } => ListPosition::AfterKey { key: key.clone() },
            ListEntry::Prefix { prefix } => ListPosition::AfterPrefix { prefix: prefix.clone() },
        });
        Ok(Answer::Objects { entries, next })
    }

    fn list_uploads(
        &self,
        bucket: &BucketRef,
        prefix: &Bytes,
        delimiter: &Bytes,
        after: &ListPosition,
        limit: u32,
    ) -> QueryReply {
        let uploads = &self.bucket(bucket)?.uploads;
        let rows = uploads.iter().map(|((key, id), upload)| (key, Some(*id), upload));
        let found = listed(rows, prefix, delimiter, after);
        let entries = found.into_iter().map(|found| match found {
            Found::Row(key, id, upload) => {
                let (id, headers) = (id.expect("an upload has an id"), upload.headers.clone());
                let (created, checksum) = (upload.created, upload.checksum);
                UploadEntry::Upload { key: key.clone(), id, created, headers, checksum }
            }
            Found::Prefix(prefix) => UploadEntry::Prefix { prefix },
        });
        let (entries, truncated) = self.page(entries, limit);
        let next = entries.last().filter(|_| truncated).map(|last| match last {
            UploadEntry::Upload { key, id, .. } => {
                ListPosition::AfterUpload { key: key.clone(), upload: *id }
            }
            UploadEntry::Prefix { prefix } => ListPosition::AfterPrefix { prefix: prefix.clone() },
        });
        Ok(Answer::Uploads { entries, next })
    }

    fn collectable(&self, live: &Live, after: Option<BodyId>, limit: u32) -> Answer {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(COLLECT_COUNT_MAX);
        let ended = self.condemned.iter().filter(|(_, condemned)| is_read_by_nobody(live, condemned.since));
        let ended = ended.map(|(upload, _)| upload).chain(self.surplus.keys());
        let condemned: Vec<UploadId> = ended.copied().take(limit).collect();

        let mut retired = Vec::new();
        let mut looked_at = None;
        let mut next = None;
        let bodies = self.bodies.iter().filter(|(_, body)| body.retired.is_some());
        for id in bodies.map(|(id, _)| *id).filter(|id| after.is_none_or(|after| *id > after)) {
            if condemned.len() + retired.len() >= limit {
                next = looked_at.or(after);
                break;
            }
            looked_at = Some(id);
            if self.is_collectable(live, id) {
                retired.push(id);
            }
        }
        Answer::Collectable { retired, condemned, next }
    }
}

enum Found<'a, R> {
    Row(&'a Bytes, Option<UploadId>, &'a R),
    Prefix(Bytes),
}

/// The rows of a listing, those with a common prefix as one.
fn listed<'a, R>(
    rows: impl Iterator<Item = (&'a Bytes, Option<UploadId>, &'a R)>,
    prefix: &Bytes,
    delimiter: &Bytes,
    after: &ListPosition,
) -> Vec<Found<'a, R>> {
    let mut found: Vec<Found<'a, R>> = Vec::new();
    for (key, id, row) in rows {
        if !is_after(key, id, after) || !key.starts_with(prefix) {
            continue;
        }
        match common_prefix(key, prefix.len(), delimiter) {
            None => found.push(Found::Row(key, id, row)),
            Some(common) => {
                if !matches!(found.last(), Some(Found::Prefix(last)) if *last == common) {
                    found.push(Found::Prefix(common));
                }
            }
        }
    }
    found
}

/// Whether a listing that begins at `position` comes to this key, or to this upload of it.
pub fn is_after(key: &Bytes, upload: Option<UploadId>, position: &ListPosition) -> bool {
    match position {
        ListPosition::Start => true,
        ListPosition::AfterKey { key: after } => key > after,
        ListPosition::AfterPrefix { prefix } => key > prefix && !key.starts_with(prefix),
        ListPosition::AfterUpload { key: after, upload: id } => (key, upload) > (after, Some(*id)),
    }
}

/// The key up to and including the first delimiter from `from` on.
pub fn common_prefix(key: &Bytes, from: usize, delimiter: &[u8]) -> Option<Bytes> {
    if delimiter.is_empty() {
        return None;
    }
    let ends = from + delimiter.len()..=key.len();
    let end = ends.into_iter().find(|end| key[..*end].ends_with(delimiter))?;
    Some(key.slice(..end))
}

impl Bucket {
    fn named(&self, name: &Bytes) -> catalog::Bucket {
        let (owner, tags) = (self.owner.clone(), self.tags.clone());
        catalog::Bucket { name: name.clone(), id: self.id, owner, created: self.created, tags }
    }
}

fn described(object: &Object) -> catalog::Object {
    let Object { summary, headers, tags, content } = object.clone();
    catalog::Object { summary, headers, tags, upload: content.upload() }
}
