//! A body on its way from the client into the cluster.
//!
//! Its digests are known when its last byte has come. Only then is the operation made that lets it exist;
//! until then, an error, or a client that goes away, leaves chunks that nothing refers to.

use std::sync::Arc;

use bytes::Bytes;
use protocol::catalog::{CatalogLimits, NewBody, Operation, Success};
use tokio::sync::OwnedSemaphorePermit;

use super::budget::{MemoryBudget, Place};
use super::payload::{Digested, Payload};
use crate::cluster::{Cluster, Link};
use crate::s3::{ErrorCode, S3Error, S3Result};

/// The most bytes that one request can bring. What is larger is uploaded in parts.
pub const BODY_BYTES_MAX: u64 = 5 << 30;

/// Before anything is read: whether so much is allowed at all.
pub fn check_length(payload: &Payload) -> S3Result<()> {
    payload.check_has_body()?;
    match payload.declared_length() {
        Some(length) if length > BODY_BYTES_MAX => Err(too_large(length)),
        _ => Ok(()),
    }
}

fn too_large(length: u64) -> S3Error {
    S3Error::new(ErrorCode::EntityTooLarge)
        .detail("ProposedSize", length.to_string())
        .detail("MaxSizeAllowed", BODY_BYTES_MAX.to_string())
}

/// Stores the body and submits the operation that refers to it, which is made when the body's digests are
/// known. Once it is submitted it goes on, whether or not anybody waits for it.
pub async fn store<L: Link>(
    cluster: &Cluster<L>,
    budget: &MemoryBudget,
    mut payload: Payload,
    seed: u64,
    operation: impl Fn(&Digested, NewBody) -> Operation + Send + 'static,
) -> S3Result<(Digested, Success)> {
    check_length(&payload)?;
    let small = match read_small(&mut payload, budget).await? {
        Small::Whole { bytes, permit: _permit } => {
            let digested = payload.finish()?;
            let operation = operation(&digested, NewBody::inline(bytes));
            let (_, reply) = cluster.submit(&operation).await?;
            return Ok((digested, reply?));
        }
        Small::Beginning(bytes) => bytes,
    };
    let mut chunks = Chunks::begin(payload, budget, small).await?;
    let mut upload = cluster.upload_sharing(chunks.place.chunk_size, seed, budget.shortage()).await?;
    while let Some(chunk) = chunks.next().await? {
        upload.write_chunk(chunk).await?;
    }
    let (last, digested) = chunks.finish().await?;
    upload.write_chunk(last).await?;
    let digested = Arc::new(digested);
    let (_, reply) = upload
        .commit({
            let digested = digested.clone();
            move |body| operation(&digested, body)
        })
        .await?;
    Ok((Arc::unwrap_or_clone(digested), reply?))
}

enum Small {
    /// All of it.
    Whole { bytes: Vec<u8>, permit: OwnedSemaphorePermit },
    /// There is more than travels in the log.
    Beginning(Bytes),
}

/// A body that may be small is read until it is known whether it is.
async fn read_small(payload: &mut Payload, budget: &MemoryBudget) -> S3Result<Small> {
    let bytes_max = CatalogLimits::standard().inline_bytes_max;
    let declared = payload.declared_length();
    if declared.is_some_and(|length| length > bytes_max as u64) {
        return Ok(Small::Beginning(Bytes::new()));
    }
    let capacity = declared.map_or(bytes_max, |length| usize::try_from(length).unwrap_or(bytes_max));
    let permit = budget.small(capacity).await?;
    let mut collected = Vec::with_capacity(capacity);
    while let Some(bytes) = payload.next().await? {
        let fits = collected.len() + bytes.len() <= bytes_max;
        collected.extend_from_slice(&bytes);
        if !fits {
            return Ok(Small::Beginning(collected.into()));
        }
    }
    Ok(Small::Whole { bytes: collected, permit })
}

/// A payload in pieces of one size.
struct Chunks<'a> {
    payload: Payload,
    budget: &'a MemoryBudget,
    place: Place,
    buffer: Vec<u8>,
    /// What has come and found no room in the buffer.
    rest: Bytes,
    length: u64,
}

impl<'a> Chunks<'a> {
    /// `read`: what was read of the payload before.
    async fn begin(payload: Payload, budget: &'a MemoryBudget, read: Bytes) -> S3Result<Chunks<'a>> {
        let place = budget.place(payload.declared_length()).await?;
        let buffer = Vec::with_capacity(place.chunk_size as usize);
        let length = read.len() as u64;
        Ok(Chunks { payload, budget, place, buffer, rest: read, length })
    }

    /// The next chunk but the last: that one has to wait until the body has been verified.
    async fn next(&mut self) -> S3Result<Option<Bytes>> {
        let chunk_size = self.place.chunk_size as usize;
        loop {
            if self.rest.is_empty() {
                match self.payload.next().await? {
                    Some(bytes) => self.accept(bytes)?,
                    None => return Ok(None),
                }
            }
            if self.buffer.len() == chunk_size {
                let chunk = self.budget.send(std::mem::take(&mut self.buffer)).await?;
                self.buffer.reserve_exact(chunk_size);
                return Ok(Some(chunk));
            }
            let room = chunk_size - self.buffer.len();
            let fitting = self.rest.split_to(room.min(self.rest.len()));
            self.buffer.extend_from_slice(&fitting);
        }
    }

    fn accept(&mut self, bytes: Bytes) -> S3Result<()> {
        self.length += bytes.len() as u64;
        if self.length > BODY_BYTES_MAX {
            return Err(too_large(self.length));
        }
        self.rest = bytes;
        Ok(())
    }

    /// The last chunk of a body that was what it was said to be.
    async fn finish(self) -> S3Result<(Bytes, Digested)> {
        let digested = self.payload.finish()?;
        assert!(!self.buffer.is_empty());
        let chunk = if digested.length == self.buffer.len() as u64 {
            self.place.send_whole(self.buffer)
        } else {
            self.budget.send(self.buffer).await?
        };
        Ok((chunk, digested))
    }
}

#[cfg(test)]
mod tests;
