//! Operations on multipart uploads.

use protocol::catalog::{
    BucketRef, ByteRange, Conditions, ETag, ETagMatch, ListedPart, Operation, SourceConditions,
};
use protocol::types::Checksum;

use super::knowledge::KnownUpload;
use super::values::Value;
use super::{Kind, Workload};

/// The highest part number in ordinary use: few, so that parts are put again.
const PARTS_USED: u64 = 6;

impl Workload {
    /// Without an upload to go on with, begins one.
    pub(super) fn multipart(&mut self, kind: Kind) -> Operation {
        let again = self.knowledge.completions.len();
        if kind == Kind::CompleteAgain && again > 0 {
            // The last one is mostly still the key's object.
            let back = if self.random.percent(70) { 0 } else { self.random.index(again) };
            return self.knowledge.completions[again - 1 - back].clone();
        }
        let Some(upload) = self.knowledge.upload(&mut self.random).filter(|_| kind != Kind::CreateUpload)
        else {
            let Value { headers, checksums, .. } = self.value();
            let (bucket, key, tags) = (self.bucket(), self.key(), self.tags());
            let checksum = checksums.first().map(|checksum| checksum.kind);
            return Operation::CreateUpload { bucket, key, headers, tags, checksum };
        };
        let bucket = BucketRef::named(upload.bucket.clone());
        match kind {
            Kind::Abort => Operation::AbortUpload { bucket, key: upload.key, upload: upload.id },
            Kind::CopyPart => self.copy_part(bucket, upload),
            Kind::Complete | Kind::CompleteAgain if !upload.parts.is_empty() => self.complete(bucket, upload),
            _ => self.put_part(bucket, upload),
        }
    }

    fn part_number(&mut self) -> u16 {
        let number = if self.random.percent(95) { self.random.between(1, PARTS_USED) } else { 10_000 };
        u16::try_from(number).expect("part numbers are small")
    }

    /// Mostly large enough not to be the last one, by a chunk or by inline bytes where that is enough.
    fn put_part(&mut self, bucket: BucketRef, upload: KnownUpload) -> Operation {
        let Value { etag, checksums, .. } = self.value();
        let minimum = self.options.limits.part_bytes_min;
        let body = match self.random.below(10) {
            0..6 => {
                let length = (minimum + self.random.below(3)).max(1);
                self.chunked(etag.digest, length)
            }
            6 => {
                let length = (minimum / 2).max(1);
                self.chunked(etag.digest, length)
            }
            _ => self.inline(etag.digest),
        };
        let part = self.part_number();
        let digest = etag.digest;
        Operation::PutPart { bucket, key: upload.key, upload: upload.id, part, digest, checksums, body }
    }

    fn copy_part(&mut self, bucket: BucketRef, upload: KnownUpload) -> Operation {
        let (source, source_key) = (self.bucket(), self.key());
        let source_conditions = match self.random.percent(20) {
            true => self.source_conditions(&source.name, &source_key),
            false => SourceConditions::none(),
        };
        let part_size = self.options.limits.part_bytes_min;
        let range = self.random.percent(50).then(|| {
            let small = self.random.below(8);
            let offset = *self.random.pick(&[0, small, part_size, part_size + small]);
            let length = *self.random.pick(&[1, small + 1, part_size.max(1), part_size + 2]);
            ByteRange { offset, length }
        });
        let Value { checksums, .. } = self.value();
        Operation::CopyPart {
            bucket,
            key: upload.key,
            upload: upload.id,
            part: self.part_number(),
            source,
            source_key,
            source_conditions,
            range,
            checksums,
        }
    }

    /// Mostly as a client does that knows what it uploaded; sometimes one part is left out, is named
    /// wrongly or stands in the wrong place, or the size is not what it was said to be.
    fn complete(&mut self, bucket: BucketRef, upload: KnownUpload) -> Operation {
        let mut parts: Vec<ListedPart> = Vec::new();
        let mut size = 0;
        for (number, (digest, bytes)) in &upload.parts {
            parts.push(ListedPart { number: *number, digest: *digest });
            size += bytes;
        }
        let at = self.random.index(parts.len());
        let mut size = self.random.percent(30).then_some(size);
        match self.random.below(16) {
            0 => parts[at].digest[0] ^= 0xff,
            1 => parts.reverse(),
            2 => size = Some(1),
            3 => parts[at].number = 9_999,
            4 | 5 if parts.len() > 1 => {
                parts.remove(at);
                size = None;
            }
            _ => {}
        }
        let digests: Vec<&[u8]> = parts.iter().map(|part| &part.digest[..]).collect();
        let digest = Checksum::of_parts(&digests).get().to_be_bytes();
        let part_count = u16::try_from(parts.len()).expect("there are few");
        let conditions = match self.random.below(10) {
            0 => Conditions::absent(),
            1 => {
                let if_match: Option<ETagMatch> = Some(self.etag_match(&upload.bucket, &upload.key));
                Conditions { if_match, if_none_match: None }
            }
            _ => Conditions::none(),
        };
        let Value { checksums, .. } = self.value();
        Operation::CompleteUpload {
            bucket,
            key: upload.key,
            upload: upload.id,
            conditions,
            parts,
            etag: ETag { digest, part_count },
            checksums,
            size,
        }
    }
}
