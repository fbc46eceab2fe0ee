//! Uploads in parts.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::catalog::{
    BucketRef, ByteRange, Checksums, Error, ListedPart, Operation, Part, Reply, Success, UploadId,
};
use protocol::types::Checksum;

use super::buckets::{length, summarize};
use super::{
    Bucket, CatalogModel, Composition, Condemned, Content, Object, OpenUpload, PartModel, Place, Run,
};

impl CatalogModel {
    pub(super) fn decide_multipart(&mut self, place: &Place<'_>, operation: &Operation) -> Reply {
        match operation {
            Operation::CreateUpload { bucket, key, headers, tags, checksum } => {
                let (id, created) = (UploadId::new(place.unique()), place.timestamp);
                let upload = OpenUpload {
                    created,
                    headers: headers.clone(),
                    tags: tags.clone(),
                    checksum: *checksum,
                    parts: BTreeMap::new(),
                };
                self.bucket_mut(bucket)?.uploads.insert((key.clone(), id), upload);
                Ok(Success::UploadCreated { upload: id, created })
            }
            Operation::PutPart { bucket, key, upload, part, digest, checksums, body } => {
                self.bucket(bucket)?.upload(key, *upload)?;
                let run = self.claim(place, body)?;
                let part = Part {
                    number: *part,
                    size: length(body),
                    digest: *digest,
                    last_modified: place.timestamp,
                    checksums: checksums.clone(),
                };
                self.place_part(bucket, key, *upload, PartModel { part, run })
            }
            Operation::CopyPart {
                bucket,
                key,
                upload,
                part,
                source,
                source_key,
                source_conditions,
                range,
                checksums,
            } => {
                self.bucket(bucket)?.upload(key, *upload)?;
                let from = self.bucket(source)?.source(source_key, source_conditions)?;
                let part = self.copied_part(place, &from, *part, *range, checksums.clone())?;
                self.place_part(bucket, key, *upload, part)
            }
            Operation::CompleteUpload { .. } => self.complete(place, operation),
            Operation::AbortUpload { bucket, key, upload } => {
                let uploads = &mut self.bucket_mut(bucket)?.uploads;
                let open = uploads.remove(&(key.clone(), *upload)).ok_or(Error::NoSuchUpload)?;
                let parts = open.parts.into_iter().map(|(number, part)| (number, part.run)).collect();
                self.condemned.insert(*upload, Condemned { since: place.op, parts, composition: None });
                Ok(Success::Done)
            }
            _ => Err(Error::Malformed),
        }
    }

    fn place_part(&mut self, bucket: &BucketRef, key: &Bytes, upload: UploadId, part: PartModel) -> Reply {
        let Part { number, size, digest, last_modified, .. } = part.part;
        let uploads = &mut self.bucket_mut(bucket)?.uploads;
        let open = uploads.get_mut(&(key.clone(), upload)).ok_or(Error::NoSuchUpload)?;
        open.parts.insert(number, part);
        Ok(Success::PartWritten { digest, size, last_modified })
    }

    /// The whole of an object in one piece has the object's digest; of anything else nobody knows
    /// the MD5, and the digest is a hash of which bytes of which version they are.
    fn copied_part(
        &self,
        place: &Place<'_>,
        source: &Object,
        number: u16,
        range: Option<ByteRange>,
        checksums: Checksums,
    ) -> Result<PartModel, Error> {
        let size = source.summary.size;
        let ByteRange { offset, length } = range.unwrap_or(ByteRange { offset: 0, length: size });
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(Error::InvalidRange);
        }
        let etag = source.summary.etag;
        let digest = if length == size && etag.part_count == 0 {
            etag.digest
        } else {
            let hash = Checksum::of_parts(&[
                &source.summary.version.to_le_bytes(),
                &etag.digest,
                &etag.part_count.to_le_bytes(),
                &offset.to_le_bytes(),
                &length.to_le_bytes(),
            ]);
            hash.get().to_le_bytes()
        };
        let (start, run) = match &source.content {
            Content::Run(run) => (0, run),
            Content::Composed(upload) => {
                let parts = self.composition(*upload).map_or(&[][..], |composition| &composition.parts);
                let holder = parts.iter().find(|(start, part)| start + part.part.size > offset);
                let (start, part) = holder.ok_or(Error::CopyNeedsData)?;
                if offset + length > start + part.part.size {
                    return Err(Error::CopyNeedsData);
                }
                (*start, &part.run)
            }
        };
        let run = match run {
            Run::Inline(bytes) => {
                let from = usize::try_from(offset - start).expect("inline bytes are in memory");
                let to = usize::try_from(offset - start + length).expect("inline bytes are in memory");
                Run::Inline(bytes.slice(from..to))
            }
            Run::Slice { id, offset: at } => Run::Slice { id: *id, offset: at + offset - start },
        };
        let last_modified = place.timestamp;
        let part = Part { number, size: length, digest, last_modified, checksums };
        Ok(PartModel { part, run })
    }

    fn complete(&mut self, place: &Place<'_>, operation: &Operation) -> Reply {
        let Operation::CompleteUpload { bucket, key, upload, conditions, parts, etag, checksums, size } =
            operation
        else {
            return Err(Error::Malformed);
        };
        let within = self.bucket(bucket)?;
        let Ok(open) = within.upload(key, *upload) else {
            // Clients ask again when they miss the answer.
            let done = within.objects.get(key).filter(|object| {
                object.content == Content::Composed(*upload) && object.summary.etag == *etag
            });
            let object = done.ok_or(Error::NoSuchUpload)?.summary.clone();
            return Ok(Success::ObjectWritten { object });
        };
        within.admits(key, conditions)?;
        let composition = open.compose(parts, self.limits.part_bytes_min)?;
        let total = composition.size();
        if size.is_some_and(|size| size != total) {
            return Err(Error::SizeMismatch);
        }

        let summary = summarize(place, total, *etag, checksums.clone());
        let within = self.bucket_mut(bucket)?;
        let open = within.uploads.remove(&(key.clone(), *upload)).ok_or(Error::NoSuchUpload)?;
        let content = Content::Composed(*upload);
        let object = Object { summary: summary.clone(), headers: open.headers, tags: open.tags, content };
        within.objects.insert(key.clone(), object);
        let is_listed = |number: &u16| composition.parts.iter().any(|(_, part)| part.part.number == *number);
        let surplus = open.parts.into_iter().filter(|(number, _)| !is_listed(number));
        let surplus: BTreeMap<u16, Run> = surplus.map(|(number, part)| (number, part.run)).collect();
        if !surplus.is_empty() {
            self.surplus.insert(*upload, surplus);
        }
        self.composed.insert(*upload, composition);
        Ok(Success::ObjectWritten { object: summary })
    }
}

impl Bucket {
    pub(super) fn upload(&self, key: &Bytes, upload: UploadId) -> Result<&OpenUpload, Error> {
        self.uploads.get(&(key.clone(), upload)).ok_or(Error::NoSuchUpload)
    }
}

impl OpenUpload {
    fn compose(&self, listed: &[ListedPart], part_bytes_min: u64) -> Result<Composition, Error> {
        if listed.windows(2).any(|pair| pair[0].number >= pair[1].number) {
            return Err(Error::InvalidPartOrder);
        }
        let mut parts = Vec::new();
        let mut offset = 0;
        for (index, wanted) in listed.iter().enumerate() {
            let found = self.parts.get(&wanted.number).filter(|found| found.part.digest == wanted.digest);
            let found = found.ok_or(Error::InvalidPart)?;
            let last = index + 1 == listed.len();
            if found.part.size < part_bytes_min && !last {
                return Err(Error::EntityTooSmall);
            }
            parts.push((offset, found.clone()));
            offset += found.part.size;
        }
        Ok(Composition { parts })
    }
}

impl Composition {
    fn size(&self) -> u64 {
        self.parts.iter().map(|(_, part)| part.part.size).sum()
    }
}
