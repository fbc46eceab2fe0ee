//! Values that say who made them.

use bytes::Bytes;
use protocol::catalog::{
    BodyId, Checksums, ChunkedBody, Conditions, Delete, ETag, Encoding, Extent, Headers, NewBody,
    ObjectChecksum, headers,
};
use protocol::data::outline::ChunkRoot;

use super::Workload;

/// A body has so many chunks at most: each brings its receipts into the log.
const CHUNKS_MAX: u64 = 8;

/// What a value is, besides its bytes.
pub(super) struct Value {
    pub(super) etag: ETag,
    pub(super) headers: Headers,
    pub(super) checksums: Checksums,
}

impl Workload {
    /// A value that was never written before.
    pub(super) fn value(&mut self) -> Value {
        let digest = self.digest();
        let name = format!("value {} of client {}", self.values, self.client);
        let mut checksums = Vec::new();
        if self.random.percent(30) {
            checksums.push(ObjectChecksum { kind: 1, value: Bytes::copy_from_slice(&digest[..12]) });
        }
        Value { etag: ETag::simple(digest), headers: headers([("x-name", name)]), checksums }
    }

    /// Names the client and its value; so do all bytes of the body that it goes with.
    pub(super) fn digest(&mut self) -> [u8; 16] {
        self.values += 1;
        let mut digest = [0x5a; 16];
        digest[..4].copy_from_slice(&self.client.to_be_bytes());
        digest[4..12].copy_from_slice(&self.values.to_be_bytes());
        digest
    }

    pub(super) fn inline(&mut self, digest: [u8; 16]) -> NewBody {
        let most = self.options.limits.inline_bytes_max;
        let large = self.random.percent(self.options.large_inline_percent);
        let size = match large {
            true => most - self.random.index(2).min(most),
            false => self.random.index(40.min(most + 1)),
        };
        let bytes: Vec<u8> = digest.iter().copied().cycle().take(size).collect();
        NewBody::inline(bytes)
    }

    /// A body of chunks under a new upload number. The chunks themselves are not looked at by the
    /// catalog, so a body may be of any size here.
    pub(super) fn chunked(&mut self, digest: [u8; 16], length: u64) -> NewBody {
        let upload = self.next_upload;
        self.next_upload += 1;
        self.live_uploads.insert(upload);
        self.chunked_as(upload, digest, length)
    }

    pub(super) fn chunked_as(&mut self, upload: u64, digest: [u8; 16], length: u64) -> NewBody {
        let body = self.chunked_body(digest, length);
        let id = BodyId { session: self.session, upload };
        let layout = self.layout.version + u32::from(self.random.percent(1));
        let receipts = self.receipts(id, &body, layout);
        NewBody::Chunked { upload, body, layout, receipts }
    }

    fn chunked_body(&mut self, digest: [u8; 16], length: u64) -> ChunkedBody {
        let floor = u32::try_from(length.div_ceil(CHUNKS_MAX)).expect("lengths are moderate");
        let chunk_size = self.options.chunk_size.max(floor);
        let mut body = ChunkedBody { length, chunk_size, extents: Vec::new(), roots: Vec::new() };
        let mut left = u32::try_from(body.chunk_count()).expect("the chunks are large enough");
        let root = |index: u32| {
            let mut root = [0; 32];
            root[..16].copy_from_slice(&digest);
            root[16..20].copy_from_slice(&index.to_be_bytes());
            ChunkRoot(root)
        };
        body.roots = (0..left).map(root).collect();
        while left > 0 {
            let chunk_count = match self.random.percent(70) || body.extents.len() > 3 {
                true => left,
                false => u32::try_from(self.random.between(1, u64::from(left))).expect("it is below a u32"),
            };
            let encoding = match self.random.percent(50) {
                true => Encoding::Copies { count: 3 },
                false => Encoding::ErasureCoded { data: 2, parity: 1 },
            };
            body.extents.push(Extent { chunk_count, encoding });
            left -= chunk_count;
        }
        body
    }

    /// A length around one of the numbers that matter.
    pub(super) fn chunked_length(&mut self) -> u64 {
        let chunk = u64::from(self.options.chunk_size);
        let inline = self.options.limits.inline_bytes_max as u64;
        let base = *self.random.pick(&[1, inline, inline + 1, chunk, 2 * chunk, 5 * chunk]);
        (base + self.random.below(3)).saturating_sub(1).max(1)
    }
}

pub(super) fn delete(key: Bytes, conditions: Conditions) -> Delete {
    Delete { key, conditions }
}
