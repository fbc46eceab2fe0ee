//! Buckets, objects, uploads: S3 as a deterministic state machine over an ordered table.
//!
//! Operations change it, queries ask it; both are bytes on the way here. The catalog knows where the
//! bytes of an object are, and holds them itself only if they are few. Which chunks of which body
//! must be kept follows from the catalog and from nothing else.
//!
//! In reading order: the words (`names`, `metadata`, `body`), what is asked and answered
//! (`operation`, `query`, `reply`, `error`), the rows (`keys`, `rows`), and what happens (`apply`,
//! `answer`).

mod body;
mod error;
mod limits;
mod metadata;
mod names;

mod operation;
mod query;
mod reply;

mod keys;
mod rows;
mod store;

mod answer;
mod apply;

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::data::placement::Layout;
use crate::data::receipt::{Holding, Receipt, ReceiptKey};
use crate::machine::{Context, Invalid, Machine, QueryContext};
use crate::tables::{TableFault, Tables};
use crate::types::SessionId;
use crate::wire::Wire;

pub use answer::verdicts::verdict;
pub use body::{
    CHUNK_COUNT_MAX, ChunkedBody, EXTENT_COUNT_MAX, Encoding, Extent, NewBody, Piece, PieceSource,
};
pub use error::Error;
pub use limits::CatalogLimits;
pub use metadata::{
    BUCKET_TAG_COUNT_MAX, CHECKSUM_BYTES_MAX, CHECKSUM_COUNT_MAX, CONDITION_ETAGS_MAX, Checksums, Conditions,
    ETag, ETagMatch, HEADER_BYTES_MAX, HEADER_COUNT_MAX, Header, Headers, OBJECT_TAG_COUNT_MAX,
    ObjectChecksum, SourceConditions, TAG_KEY_CHARS_MAX, TAG_VALUE_CHARS_MAX, Tag, Tags, check_headers,
    check_tags, headers,
};
pub use names::{
    BodyId, BucketId, BucketRef, ChunkId, KEY_BYTES_MAX, PART_NUMBER_MAX, UploadId, check_bucket_name,
    check_key,
};
pub use operation::{
    ACCESS_KEY_ID_BYTES_MAX, AccessKey, AccessScope, ByteRange, COLLECT_COUNT_MAX, DELETE_COUNT_MAX,
    DISPLAY_NAME_BYTES_MAX, Delete, ListedPart, OWNER_BYTES_MAX, Operation, SCOPE_COUNT_MAX,
    SECRET_BYTES_MAX, SETTLE_COUNT_MAX, USER_NAME_BYTES_MAX,
};
pub use query::{BODY_COUNT_MAX, ListPosition, PieceSelection, PieceStart, Query, VERDICT_COUNT_MAX};
pub use reply::{
    Answer, Bucket, Debt, Disk, ListEntry, NamedAccessKey, NamedBody, Object, ObjectSummary, Part,
    QueryReply, Reply, Success, Upload, UploadEntry, Verdict,
};

/// The catalog itself is in the tables; this is only what its operations are measured by.
#[derive(Clone, Copy, Debug)]
pub struct Catalog {
    pub limits: CatalogLimits,
    /// The open one: receipts that were given under another do not count.
    pub layout: Layout,
    /// Only `validate` looks at it: what becomes of the log must not depend on a secret.
    pub receipts: ReceiptKey,
}

impl Catalog {
    pub const fn new(limits: CatalogLimits, layout: Layout, receipts: ReceiptKey) -> Catalog {
        Catalog { limits, layout, receipts }
    }

    fn decode(&self, operation: &Bytes) -> Result<Operation, &'static str> {
        let operation = Operation::from_bytes(operation).map_err(|_| "the operation cannot be read")?;
        operation.check(&self.limits)?;
        Ok(operation)
    }

    /// Whether replicas have given these receipts, for these chunks of this session's body. Whether they
    /// suffice is seen when the operation is applied: disks may be replaced until then.
    fn check_proofs(&self, session: SessionId, body: &NewBody) -> Result<(), &'static str> {
        let NewBody::Chunked { upload, body, layout, receipts } = body else { return Ok(()) };
        let id = BodyId { session, upload: *upload };
        let is_genuine = |receipt: &Receipt| {
            let root = body.roots.get(receipt.chunk as usize).copied();
            root.zip(body.chunk_length(receipt.chunk)).is_some_and(|(root, length)| {
                let chunk = id.chunk(receipt.chunk);
                let Receipt { node, incarnation, proof, .. } = *receipt;
                let holding = Holding { chunk, root, length, layout: *layout, node, incarnation };
                self.receipts.is_proved(&holding, &proof)
            })
        };
        if receipts.iter().all(is_genuine) { Ok(()) } else { Err("a receipt is not genuine") }
    }
}

impl Machine for Catalog {
    fn validate(&self, session: SessionId, operation: &Bytes) -> Result<(), Invalid> {
        let operation = self.decode(operation).map_err(Invalid)?;
        operation.new_body().map_or(Ok(()), |body| self.check_proofs(session, body)).map_err(Invalid)
    }

    fn grows(&self, operation: &Bytes) -> bool {
        Operation::from_bytes(operation).is_ok_and(|operation| operation.grows())
    }

    fn apply<T: Tables>(
        &self,
        tables: &mut T,
        context: &Context<'_>,
        operation: &Bytes,
    ) -> Result<Bytes, TableFault> {
        let reply: Reply = match self.decode(operation) {
            Ok(operation) => {
                let mut apply = apply::Apply { tables, context, catalog: self };
                store::answered(apply.operation(operation))?
            }
            Err(_) => Err(Error::Malformed),
        };
        Ok(reply.to_bytes())
    }

    fn query<T: Tables>(
        &self,
        tables: &T,
        context: &QueryContext<'_>,
        query: &Bytes,
    ) -> Result<Result<Bytes, Invalid>, TableFault> {
        let Ok(query) = Query::from_bytes(query) else {
            return Ok(Err(Invalid("the query cannot be read")));
        };
        if let Err(why) = query.check() {
            return Ok(Err(Invalid(why)));
        }
        let ask = answer::Ask { tables, context, limits: &self.limits };
        let reply: QueryReply = store::answered(ask.query(query))?;
        Ok(Ok(reply.to_bytes()))
    }
}
