//! What queries are answered.

mod access_keys;
mod buckets;
mod collectable;
mod copies;
mod listing;
mod objects;
pub(super) mod pieces;
mod uploads;
pub(super) mod verdicts;

use super::CatalogLimits;
use super::query::Query;
use super::reply::Answer;
use super::store::Failure;
use crate::machine::QueryContext;
use crate::tables::Tables;

/// One query under way.
pub(super) struct Ask<'a, T> {
    pub(super) tables: &'a T,
    pub(super) context: &'a QueryContext<'a>,
    pub(super) limits: &'a CatalogLimits,
}

impl<T: Tables> Ask<'_, T> {
    pub(super) fn query(&self, query: Query) -> Result<Answer, Failure> {
        match query {
            Query::GetBucket { bucket } => self.get_bucket(bucket),
            Query::ListBuckets { owner, prefix, after, limit } => {
                self.list_buckets(owner.as_deref(), &prefix, &after, limit)
            }
            Query::GetObject { bucket, key, pieces } => self.get_object(&bucket, &key, pieces.as_ref()),
            Query::GetPieces { upload, selection } => self.get_pieces(upload, &selection),
            Query::ListObjects { bucket, prefix, delimiter, after, limit } => {
                self.list_objects(&bucket, &prefix, &delimiter, &after, limit)
            }
            Query::ListObjectParts { bucket, key, after, limit } => {
                self.list_object_parts(&bucket, &key, after, limit)
            }
            Query::ListParts { bucket, key, upload, after, limit } => {
                self.list_parts(&bucket, &key, upload, after, limit)
            }
            Query::ListUploads { bucket, prefix, delimiter, after, limit } => {
                self.list_uploads(&bucket, &prefix, &delimiter, &after, limit)
            }
            Query::GetAccessKey { id } => self.get_access_key(&id),
            Query::ListAccessKeys { after, limit } => self.list_access_keys(&after, limit),
            Query::GetVerdicts { chunks } => self.get_verdicts(&chunks),
            Query::Collectable { after, limit } => self.collectable(after, limit),
            Query::ListBodies { after, limit } => self.list_bodies(after, limit),
            Query::ListDebts { node, after, limit } => self.list_debts(node, after, limit),
            Query::GetBodies { bodies } => self.get_bodies(&bodies),
            Query::Rebuilding => self.rebuilding(),
        }
    }

    /// An empty page that can take what the query asks for and no more than one page may hold.
    fn page<E>(&self, limit: u32) -> Page<E> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(self.limits.page_entries_max);
        Page { entries: Vec::new(), limit, bytes_left: self.limits.page_bytes_max, truncated: false }
    }
}

/// The entries of an answer, as they are collected.
struct Page<E> {
    entries: Vec<E>,
    limit: usize,
    bytes_left: usize,
    /// There is at least one entry that the page does not hold.
    truncated: bool,
}

impl<E> Page<E> {
    /// Whether there is room for an entry that exists; if there is not, the page is truncated. Nothing
    /// is truncated of a page that was to hold nothing.
    fn has_room(&mut self) -> bool {
        let full = self.entries.len() >= self.limit || self.bytes_left == 0;
        self.truncated = full && !self.entries.is_empty();
        self.limit > 0 && !self.truncated
    }

    /// `bytes` is about what the entry takes in the answer.
    fn push(&mut self, entry: E, bytes: usize) {
        self.entries.push(entry);
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
    }
}
