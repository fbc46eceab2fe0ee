//! Queries.

use bytes::Bytes;
use protocol::catalog::{ListPosition, PieceSelection, PieceStart, Query};

use super::{Kind, Workload};

impl Workload {
    /// None if it is not a query, or if nothing is known to ask about.
    pub(super) fn query(&mut self, kind: Kind) -> Option<Query> {
        Some(match kind {
            Kind::Get => {
                let (bucket, key, pieces) = (self.bucket(), self.key(), Some(self.selection()));
                Query::GetObject { bucket, key, pieces }
            }
            Kind::Head => {
                let (bucket, key) = (self.bucket(), self.key());
                Query::GetObject { bucket, key, pieces: None }
            }
            Kind::GetPieces => {
                let known = self.knowledge.composed.len();
                let upload = *self.knowledge.composed.get(self.random.index(known))?;
                let mut selection = self.selection();
                if let PieceStart::Suffix { length } = selection.from {
                    selection.from = PieceStart::Offset { offset: length };
                }
                Query::GetPieces { upload, selection }
            }
            Kind::GetBucket => Query::GetBucket { bucket: self.bucket() },
            Kind::List => {
                let (bucket, limit) = (self.bucket(), self.limit());
                let (prefix, delimiter, after) = self.place();
                Query::ListObjects { bucket, prefix, delimiter, after, limit }
            }
            Kind::ListUploads => {
                let (bucket, limit) = (self.bucket(), self.limit());
                let (prefix, delimiter, after) = self.place();
                Query::ListUploads { bucket, prefix, delimiter, after, limit }
            }
            Kind::ListBuckets => Query::ListBuckets {
                owner: self.random.percent(50).then(|| Bytes::from_static(b"alice")),
                prefix: Bytes::from_static(self.random.pick(&["", "", "bucket", "x"]).as_bytes()),
                after: if self.random.percent(30) { self.bucket_name() } else { Bytes::new() },
                limit: self.limit(),
            },
            Kind::ListParts => {
                let upload = self.knowledge.upload(&mut self.random)?;
                let after = u16::try_from(self.random.below(4)).expect("it is below 4");
                let bucket = protocol::catalog::BucketRef::named(upload.bucket);
                Query::ListParts { bucket, key: upload.key, upload: upload.id, after, limit: self.limit() }
            }
            Kind::ListObjectParts => {
                let after = u16::try_from(self.random.below(4)).expect("it is below 4");
                Query::ListObjectParts { bucket: self.bucket(), key: self.key(), after, limit: self.limit() }
            }
            Kind::GetAccessKey => {
                Query::GetAccessKey { id: Bytes::from(format!("AK{}", self.random.below(6))) }
            }
            Kind::ListAccessKeys => {
                let after = if self.random.percent(70) { "" } else { "AK2" };
                Query::ListAccessKeys { after: Bytes::from_static(after.as_bytes()), limit: self.limit() }
            }
            Kind::Verdicts => self.verdicts(),
            Kind::ListBodies => Query::ListBodies { after: None, limit: self.limit() },
            Kind::ListDebts => self.list_debts(),
            Kind::GetBodies => Query::GetBodies { bodies: self.some_bodies() },
            Kind::Rebuilding => Query::Rebuilding,
            _ => return None,
        })
    }

    fn selection(&mut self) -> PieceSelection {
        let part_size = self.options.limits.part_bytes_min;
        let offset = *self.random.pick(&[0, 1, part_size, 2 * part_size + 1]);
        let number = u16::try_from(self.random.below(4)).expect("it is below 4");
        let from = match self.random.below(10) {
            0..6 => PieceStart::Offset { offset: 0 },
            6 => PieceStart::Offset { offset },
            7 => PieceStart::Suffix { length: offset },
            _ => PieceStart::Part { number },
        };
        PieceSelection { from, limit: self.limit() }
    }

    /// Prefix, delimiter and position of a listing. Positions that nobody was told are allowed too:
    /// a list may begin after any key.
    fn place(&mut self) -> (Bytes, Bytes, ListPosition) {
        let key = self.key();
        let prefix = match self.random.below(10) {
            0..6 => Bytes::new(),
            6 => key,
            _ => key.slice(..key.len().div_ceil(2)),
        };
        let delimiter = *self.random.pick(&[&b""[..], b"", b"/", b"/", b"e", b"//", b"\0"]);
        let key = self.key();
        let after = match self.random.below(10) {
            0..7 => ListPosition::Start,
            7 | 8 => ListPosition::AfterKey { key },
            _ => ListPosition::AfterPrefix { prefix: key.slice(..key.len().div_ceil(2)) },
        };
        (prefix, Bytes::from_static(delimiter), after)
    }

    /// About chunks that somebody read, own ones, and ones that may not exist.
    fn verdicts(&mut self) -> Query {
        let chunks = self
            .some_bodies()
            .iter()
            .map(|body| body.chunk(u32::try_from(self.random.below(3)).expect("it is below 3")))
            .collect();
        Query::GetVerdicts { chunks }
    }
}
